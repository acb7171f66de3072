//! What a person types.

pub mod args;
pub mod audit;
pub mod bench;
pub mod campaign;
mod deaths;
pub mod doctor;
pub mod explain;
pub mod fault;
mod files;
mod git;
pub mod infra;
pub mod live;
pub mod logs;
pub mod orders;
pub mod pictures;
pub mod run;
pub mod scenario;
pub mod seed;
pub mod serve;
mod shelves;
pub mod signals;
pub mod simulate;
pub mod target;
pub mod up;

use std::io::Write as _;

use clap::{CommandFactory as _, Parser};

use args::{Arguments, Command};
use experiment::report::exit::{ExitCode, Failure};

/// Parses, runs, answers the exit code.
pub fn main() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // `--help` and `--version` are no errors.
            let code = if error.use_stderr() { ExitCode::Invalid } else { ExitCode::Kept };
            match serve::refusal(&Arguments::command(), &error) {
                Some(line) => drop(writeln!(std::io::stderr(), "{line}")),
                None => drop(error.print()),
            }
            return std::process::ExitCode::from(code.number());
        }
    };
    let outcome = match arguments.command {
        Command::Simulate(command) => simulate::run(&command),
        Command::Serve(role) => serve::run(role),
        other => {
            logs::start();
            dispatch(other)
        }
    };
    let code = outcome.unwrap_or_else(|failure| {
        let _ = writeln!(std::io::stderr(), "{}", failure.message);
        failure.code
    });
    std::process::ExitCode::from(code.number())
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(command) => run::run(&command),
        Command::Up(command) => up::run(&command),
        Command::Seed(command) => seed::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Explain(command) => explain::run(&command),
        Command::Orders(command) => orders::run(&command),
        Command::Scenario(command) => scenario::run(&command),
        Command::Fault(command) => fault::run(&command),
        Command::Bench(command) => bench::run(&command),
        Command::Doctor => doctor::run(),
        Command::Infra(command) => infra::run(&command),
        Command::Simulate(command) => simulate::run(&command),
        Command::Serve(role) => serve::run(role),
    }
}

/// The runtime that commands run on.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::shop(format!("error: no runtime: {error}")))
}

/// Prints without minding a reader that has gone.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
