//! `shopctl audit`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use store::sqlite::Storage;
use tempfile::TempDir;

use super::args::{AuditArgs, Readable};
use super::shelves::{self, Wanted};
use super::{runtime, say};
use audit::books::Books;
use audit::invariants::{Audit, Evidence, audit};
use audit::manifest::{self, Manifest};
use audit::shelf::BookShelf;
use audit::sqlite::SqliteBooks;
use audit::witness::Witness;
use experiment::report::exit::{ExitCode, Failure};
use world::lock::FolderLock;

pub fn run(args: &AuditArgs) -> Result<ExitCode, Failure> {
    let in_run = |name: &str| args.run.as_ref().map(|run| run.join(name)).filter(|path| path.exists());
    let manifest = args.manifest.clone().or_else(|| in_run(manifest::FILE));
    let manifest = manifest.map(|path| Manifest::read(&path)).transpose().map_err(invalid)?;
    let witness = args.witness.clone().or_else(|| in_run("orders.jsonl"));
    let witness = witness.map(|path| read_witness(&path)).transpose().map_err(invalid)?;
    let audit = runtime()?.block_on(look(args, manifest.as_ref(), witness.as_ref()))?;
    say(render(&audit, manifest.is_some(), witness.is_some()));
    let missing = args.run.is_some() && (manifest.is_none() || witness.is_none());
    if missing {
        say("a run's folder holds its manifest and its record; without them this proves little");
    }
    Ok(match (audit.violations(), &audit.inconclusive) {
        (1.., _) => ExitCode::InvariantViolated,
        (0, Some(_)) => ExitCode::Inconclusive,
        (0, None) if missing || audit.findings.iter().any(|finding| finding.why_unseen().is_some()) => {
            ExitCode::Inconclusive
        }
        (0, None) => ExitCode::Kept,
    })
}

async fn look(args: &AuditArgs, manifest: Option<&Manifest>, witness: Option<&Witness>) -> Result<Audit, Failure> {
    let folder = match (&args.infra, &args.data, &args.run) {
        (Some(Readable::External), ..) => {
            let shelf = BookShelf::Servers(shelves::external(&args.namespace).await?);
            let books = shelf.open().await.map_err(|why| Failure::shop(format!("error: {why}")))?;
            return judge(&*books, manifest, witness).await;
        }
        (None, Some(data), _) => data.clone(),
        (None, None, Some(run)) => run.join("data"),
        (None, None, None) => {
            return Err(Failure::invalid("error: --data DIR, --run DIR or --infra external is needed"));
        }
    };
    if !folder.is_dir() {
        return Err(invalid(format!("{}: no such folder", folder.display())));
    }
    // While a shop writes, the databases are of different moments and would contradict each other.
    let _lock = FolderLock::take_for_reading(&folder).map_err(invalid)?;
    let copied = match shelves::stands_on_servers(&folder) {
        true => Some(shelves::copied(&folder, Wanted::Everything).await?),
        false => None,
    };
    let files = copied.as_ref().map_or(folder.as_path(), TempDir::path);
    let books = SqliteBooks::open(&Storage::Folder(files.to_owned()))
        .map_err(|error| invalid(format!("{}: no books here: {error}", folder.display())))?;
    judge(&books, manifest, witness).await
}

async fn judge(books: &dyn Books, manifest: Option<&Manifest>, witness: Option<&Witness>) -> Result<Audit, Failure> {
    audit(Evidence { books, manifest, witness }).await.map_err(|error| invalid(error.to_string()))
}

fn invalid(message: String) -> Failure {
    Failure::invalid(format!("error: {message}"))
}

fn read_witness(path: &Path) -> Result<Witness, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Witness::read(BufReader::new(file)).map_err(|why| format!("{}: {why}", path.display()))
}

fn render(audit: &Audit, manifest: bool, witness: bool) -> String {
    let mut lines = vec![format!("{} orders", audit.orders)];
    for finding in &audit.findings {
        if let Some(why) = &finding.not_applicable {
            lines.push(format!("  {:<7} {:<28} {why}", "–", finding.name));
            continue;
        }
        let word = match finding.why_unseen() {
            Some(_) => "UNSEEN",
            None if finding.violations > 0 => "BROKEN",
            None => "kept",
        };
        lines.push(format!(
            "  {word:<7} {:<28} {} checks, {} violations",
            finding.name, finding.checked, finding.violations
        ));
        lines.extend(finding.examples.iter().map(|example| format!("          {example}")));
    }
    if !manifest {
        lines.push("without a manifest the books' own restocks stand in for what was seeded".into());
    }
    if !witness {
        lines.push("without a witness's record what clients were told is not judged".into());
    }
    lines.extend(audit.inconclusive.clone());
    lines.join("\n")
}
