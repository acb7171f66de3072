//! `shopctl explain`.

use std::path::Path;

use kernel::OrderId;
use tempfile::TempDir;

use super::args::{ExplainArgs, Readable};
use super::shelves::{self, Wanted};
use super::target::{Target, said};
use super::{runtime, say};
use crate::explain::facts::Attempt;
use crate::explain::folder::Folder;
use crate::explain::render::render;
use crate::explain::{Facts, Story, remote};
use experiment::report::exit::{ExitCode, Failure};
use shop::http::is_success;
use world::lock::FolderLock;

/// Pages of a hundred attempts that are read.
const ATTEMPT_PAGES_MAX: usize = 100;

pub fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let story = Story::of(&facts(args)?);
    if args.json {
        let json = serde_json::to_string_pretty(&story).map_err(|error| Failure::shop(format!("error: {error}")))?;
        say(json);
    } else {
        say(render(&story).trim_end());
    }
    Ok(ExitCode::Kept)
}

fn facts(args: &ExplainArgs) -> Result<Facts, Failure> {
    let invalid = |why: String| Failure::invalid(format!("error: {why}"));
    if let Some(url) = &args.target {
        return runtime()?.block_on(from_shop(url, args));
    }
    let on_servers = args.data.as_ref().filter(|data| shelves::stands_on_servers(data));
    let copied = match (args.infra, on_servers) {
        (Some(Readable::External), _) => Some(runtime()?.block_on(from_servers(args))?),
        (None, Some(data)) => Some(runtime()?.block_on(from_kept_servers(data, args))?),
        (None, None) => None,
    };
    let folder = match (&copied, &args.data, &args.run) {
        (Some(copied), ..) => Folder::data(copied.path()),
        (_, Some(data), _) => Folder::data(data),
        (.., Some(run)) => Folder::run(run),
        (None, None, None) => {
            return Err(invalid("--data DIR, --run DIR, --target URL or --infra external is needed".into()));
        }
    };
    let folder = folder.map_err(invalid)?;
    let id = folder.find(&args.order).map_err(invalid)?;
    folder.facts(&id).map_err(invalid)
}

/// The order's books, copied from servers that a shop may be running on.
async fn from_servers(args: &ExplainArgs) -> Result<TempDir, Failure> {
    let servers = shelves::external(&args.namespace).await?;
    shelves::copy(&servers, Wanted::Orders(&args.order)).await
}

/// The same from a folder of servers that do not run.
async fn from_kept_servers(data: &Path, args: &ExplainArgs) -> Result<TempDir, Failure> {
    let _lock = FolderLock::take_for_reading(data)
        .map_err(|why| Failure::invalid(format!("error: {why}, or ask it with --target URL")))?;
    shelves::copied(data, Wanted::Orders(&args.order)).await
}

async fn from_shop(url: &str, args: &ExplainArgs) -> Result<Facts, Failure> {
    let Ok(id) = args.order.parse::<OrderId>() else {
        return Err(Failure::invalid(format!(
            "error: {}: over --target a whole order id is needed; beginnings are found with --data and --run",
            args.order
        )));
    };
    let target = Target::sign_in(url, &args.admin).await?;
    let path = format!("/api/v1/orders/{id}");
    let order = target.get(&path).await?;
    if order.status == 404 {
        return Err(Failure::invalid(format!("error: {url}: {}", said(&order))));
    }
    let history = target.get(&format!("{path}/history")).await?;
    if let Some(answer) = [&order, &history].into_iter().find(|answer| !is_success(answer.status)) {
        return Err(Failure::shop(format!("error: {url}: could not read the order: {}", said(answer))));
    }
    let attempts = attempts(&target, &path).await?;
    remote::facts(&order, &history, attempts).map_err(|why| Failure::shop(format!("error: {url}: {why}")))
}

/// Every attempt of the order's steps; `None` from a shop that does not know the path.
async fn attempts(target: &Target, order: &str) -> Result<Option<Vec<Attempt>>, Failure> {
    let failed = |why: String| Failure::shop(format!("error: {}: {why}", target.url));
    let mut attempts = Vec::new();
    let mut after = 0;
    for _ in 0..ATTEMPT_PAGES_MAX {
        let page = target.get(&format!("{order}/attempts?after={after}")).await?;
        if page.status == 404 {
            return Ok(None);
        }
        if !is_success(page.status) {
            return Err(failed(format!("could not read the order's attempts: {}", said(&page))));
        }
        let (read, next) = remote::attempts(&page).map_err(failed)?;
        attempts.extend(read);
        let Some(next) = next else { break };
        after = next;
    }
    Ok(Some(attempts))
}
