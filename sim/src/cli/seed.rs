//! `shopctl seed`.

use super::args::SeedArgs;
use super::target::Target;
use super::{runtime, say};
use experiment::report::exit::{ExitCode, Failure};
use experiment::run::seed::seed;
use world::Admin;

pub fn run(args: &SeedArgs) -> Result<ExitCode, Failure> {
    let scenario = scenario::load(&args.scenario, &[], &scenario::known()).map_err(Failure::invalid)?;
    let client = Target::client(&args.shop.target)?;
    let url = &args.shop.target;
    let seeded = runtime()?
        .block_on(seed(&client, &Admin::from(&args.shop.admin), &scenario))
        .map_err(|why| Failure::shop(format!("error: {url}: {why}")))?;
    if let Some(path) = &args.manifest {
        seeded.manifest.write(path).map_err(|why| Failure::invalid(format!("error: {why}")))?;
    }
    let (users, products) = (seeded.shoppers.len(), seeded.products.len());
    say(format_args!("{url}: {users} users and {products} products are there"));
    Ok(ExitCode::Kept)
}
