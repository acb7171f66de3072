//! `shopctl seed`.

use std::sync::Arc;

use chassis::net::SystemNetwork;

use super::args::SeedArgs;
use super::exit::{ExitCode, Failure};
use super::{runtime, say};
use crate::load::client::HttpClient;
use crate::run::seed::seed;
use crate::scenario;
use crate::world::{Admin, shop};

pub fn run(args: &SeedArgs) -> Result<ExitCode, Failure> {
    let scenario = scenario::load(&args.scenario, &[], &shop::known()).map_err(Failure::invalid)?;
    let authority = authority(&args.target).map_err(Failure::invalid)?;
    let client = HttpClient::new(Arc::new(SystemNetwork), authority);
    let admin = Admin { email: args.admin.admin_email.clone(), password: args.admin.admin_password.clone() };
    let seeded = runtime()?
        .block_on(seed(&client, &admin, &scenario))
        .map_err(|why| Failure::shop(format!("error: {}: {why}", args.target)))?;
    if let Some(path) = &args.manifest {
        seeded.manifest.write(path).map_err(|why| Failure::invalid(format!("error: {why}")))?;
    }
    let (users, products) = (seeded.shoppers.len(), seeded.products.len());
    say(format_args!("{}: {users} users and {products} products are there", args.target));
    Ok(ExitCode::Kept)
}

/// `http://host:port` → `host:port`.
fn authority(url: &str) -> Result<String, String> {
    let wrong = |why: &str| format!("error: --target {url}: {why}; write it as http://127.0.0.1:8080");
    let uri: http::Uri = url.parse().map_err(|_| wrong("not a URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong("only http is spoken"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(wrong("a path is not expected"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("no host"))?;
    match authority.port_u16() {
        Some(port) => Ok(format!("{}:{port}", authority.host())),
        None => Ok(format!("{}:80", authority.host())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_address_and_refuses_everything_else() {
        assert_eq!(authority("http://127.0.0.1:8080"), Ok("127.0.0.1:8080".into()));
        assert_eq!(authority("http://shop/"), Ok("shop:80".into()));
        for url in ["", "127.0.0.1:8080", "https://shop", "http://shop/api", "http://"] {
            assert!(authority(url).is_err(), "{url}");
        }
    }
}
