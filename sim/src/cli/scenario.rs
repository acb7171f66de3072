//! `shopctl scenario list|check|settings|new|schema|docs`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::args::{NewScenarioArgs, ScenarioArgs, ScenarioCommand};
use super::say;
use experiment::report::exit::{ExitCode, Failure};
use scenario::reference::{self, Services};
use scenario::shop::PLANTED_BUG;
use scenario::template;
use shop::fault::vocabulary;

pub fn run(command: &ScenarioCommand) -> Result<ExitCode, Failure> {
    match command {
        ScenarioCommand::List { folder } => list(folder),
        ScenarioCommand::Check(args) => check(args),
        ScenarioCommand::Settings => {
            for setting in shop::described_settings() {
                let default = setting.default.unwrap_or_else(|| "off".into());
                say(format_args!("{:<36} {default:<14} {}", setting.name, setting.help));
            }
            Ok(ExitCode::Kept)
        }
        ScenarioCommand::New(args) => new(args),
        ScenarioCommand::Schema => {
            say(with_services(|services| format!("{:#}", reference::schema(services))));
            Ok(ExitCode::Kept)
        }
        ScenarioCommand::Docs { into } => docs(into.as_deref()),
    }
}

fn with_services<T>(tell: impl FnOnce(&Services<'_>) -> T) -> T {
    let mut settings = shop::described_settings();
    // Bugs to plant exist in builds for tests only, and what is told is the same in all builds.
    settings.retain(|setting| !setting.name.ends_with(PLANTED_BUG));
    tell(&Services { settings: &settings, targets: &vocabulary::targets() })
}

fn docs(into: Option<&Path>) -> Result<ExitCode, Failure> {
    let text = with_services(reference::text);
    let Some(path) = into else {
        say(text.trim_end());
        return Ok(ExitCode::Kept);
    };
    let failed = |why: String| Failure::invalid(format!("error: {}: {why}", path.display()));
    let page = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let page = reference::put_into(&page, &text).map_err(failed)?;
    fs::write(path, page).map_err(|error| failed(error.to_string()))?;
    Ok(ExitCode::Kept)
}

fn new(args: &NewScenarioArgs) -> Result<ExitCode, Failure> {
    let name = &args.name;
    if !scenario::is_name(name) {
        return Err(Failure::invalid(format!("error: a scenario's name is 1 to 48 of a-z, 0-9 and `-`, not `{name}`")));
    }
    let path = args.out.clone().unwrap_or_else(|| Path::new("scenarios").join(format!("{name}.yaml")));
    let folder = path.parent().unwrap_or(Path::new(""));
    // Editors look for the schema beside the file.
    let text = template::named(&args.like, name, &path.display().to_string(), folder.join("schema.json").exists());
    let created = fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let written = created.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "this file is there already; name another with --out".to_owned(),
            std::io::ErrorKind::NotFound => "there is no such folder; name a file with --out".to_owned(),
            _ => error.to_string(),
        };
        Failure::invalid(format!("error: {}: {why}", path.display()))
    })?;
    say(format_args!("{}: made like {}; check it with: shopctl scenario check {0}", path.display(), args.like));
    Ok(ExitCode::Kept)
}

fn list(folder: &Path) -> Result<ExitCode, Failure> {
    let unreadable = |error: std::io::Error| Failure::invalid(format!("error: {}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(unreadable)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .collect();
    paths.sort();
    let known = scenario::known();
    for path in paths {
        match scenario::load(&path, &[], &known) {
            Ok(scenario) => say(format_args!(
                "{:<32} {:>4}s  {}",
                path.display().to_string(),
                scenario.duration().as_secs(),
                scenario.about
            )),
            Err(_) => {
                say(format_args!("{:<32}   –    invalid: see `shopctl scenario check`", path.display().to_string()))
            }
        }
    }
    Ok(ExitCode::Kept)
}

fn check(args: &ScenarioArgs) -> Result<ExitCode, Failure> {
    let known = scenario::known();
    let mut wrong = Vec::new();
    for path in &args.scenarios {
        match scenario::load(path, &args.overrides(None), &known) {
            Ok(scenario) => say(format_args!("{}: {} is valid", path.display(), scenario.name)),
            Err(errors) => wrong.push(errors.to_string()),
        }
    }
    if wrong.is_empty() { Ok(ExitCode::Kept) } else { Err(Failure::invalid(wrong.join("\n"))) }
}
