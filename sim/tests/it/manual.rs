//! The API's manual: its commands are run as they are written, with `curl` and a shell, and answer what it says.

use std::path::Path;
use std::process::Command;

use crate::harness::{Bench, PATIENT, TINY};

/// Where one command's output ends and the next one's begins.
const MARK: char = '\u{1e}';
const ANYTHING: char = '…';

/// A command of a document, and what it says that comes out; both as they stand there.
struct Example {
    command: String,
    output: String,
}

/// The commands in the document's `console` blocks.
fn examples(document: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut inside, mut goes_on) = (false, false);
    for line in document.lines() {
        if line.starts_with("```") {
            (inside, goes_on) = (line == "```console", false);
        } else if inside {
            match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => examples.push(Example { command: command.to_owned(), output: String::new() }),
                (None, Some(last)) if goes_on => last.command += &format!("\n{line}"),
                (None, Some(last)) => last.output += line,
                (None, None) => panic!("output before any command: {line}"),
            }
            let last = examples.last().unwrap();
            goes_on = last.output.is_empty() && last.command.ends_with('\\');
        }
    }
    examples
}

fn dense(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Whether `said` is what `expected` says, line breaks and blanks aside.
fn fits(said: &str, expected: &str) -> bool {
    let expected = dense(expected);
    let parts: Vec<&str> = expected.split(ANYTHING).collect();
    let said = dense(said);
    said.strip_prefix(parts[0]).is_some_and(|rest| goes_on(rest, &parts[1..]))
}

/// Whether `rest` is the parts in their order, with anything before each.
fn goes_on(rest: &str, parts: &[&str]) -> bool {
    match parts {
        [] => rest.is_empty(),
        [last] => rest.ends_with(last),
        [part, others @ ..] => rest.match_indices(part).any(|(at, _)| goes_on(&rest[at + part.len()..], others)),
    }
}

/// Headers of an answer that the manual leaves out.
fn without_noise(said: &str) -> String {
    let noise =
        ["traceparent:", "x-", "content-length:", "content-security-policy:", "referrer-policy:", "cache-control:"];
    let lines = said.lines().filter(|line| !noise.iter().any(|name| line.starts_with(name)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs the commands one after the other in one shell; answers what each printed.
fn run(bench: &Bench, gateway: &str, commands: &[String]) -> Vec<String> {
    let commands = commands.iter().map(|command| format!("printf '{MARK}'\n{command}\n"));
    let script = format!("set -eu\n{}", commands.collect::<String>()).replace("localhost:8080", gateway);
    std::fs::write(bench.path("manual.sh"), script).unwrap();
    let output = Command::new("sh").arg(bench.path("manual.sh")).current_dir(bench.path("")).output();
    let output = output.expect("a shell");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the manual's commands need `sh`, `curl` and `sed`: {complaint}");
    String::from_utf8(output.stdout).unwrap().split(MARK).skip(1).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

fn listening(bench: &Bench, arguments: &[&str]) -> (crate::harness::Running, String) {
    let mut shop = bench.spawn(&[&["up", "--listen", "127.0.0.1:0", "--set", PATIENT], arguments].concat());
    let line = shop.says("the shop is up");
    let gateway = line.rsplit_once("http://").unwrap().1.trim_end_matches("/api/v1").to_owned();
    (shop, gateway)
}

#[test]
fn the_manuals_commands_answer_what_it_says_and_leave_books_that_agree() {
    let bench = Bench::new(TINY);
    let (shop, gateway) = listening(&bench, &["--data", "data"]);
    let mut examples = examples(&read("docs/api/README.md"));
    examples.retain(|example| !example.command.starts_with("shopctl up") && !example.command.starts_with("st run"));
    assert!(examples.len() > 15, "{} examples", examples.len());
    let commands: Vec<String> = examples.iter().map(|example| example.command.clone()).collect();
    let said = run(&bench, &gateway, &commands);
    assert_eq!(said.len(), examples.len());
    for (example, said) in examples.iter().zip(said) {
        let said = without_noise(&said);
        assert!(fits(&said, &example.output), "{}\nsays\n{said}\nand not\n{}", example.command, example.output);
    }
    shop.stop();
    // A refund by staff is no violation, and the story names it.
    bench.shopctl(&["audit", "--data", "data"]).exits(0);
}

/// The three commands of the seed document, as written: the token is in the environment.
#[test]
fn the_seed_documents_commands_run_in_a_shell_as_written() {
    let bench = Bench::new(TINY);
    let (_shop, gateway) = listening(&bench, &[]);
    bench.shopctl(&["seed", "scenario.yaml", "--target", &format!("http://{gateway}")]).exits(0);
    let register = r#"curl -X POST http://localhost:8080/api/v1/users/register \
  -d '{"email":"test@example.com","password":"123456"}'"#;
    let login = r#"curl -X POST http://localhost:8080/api/v1/users/login \
  -d '{"email":"test@example.com","password":"123456"}'"#;
    let order = r#"curl -X POST http://localhost:8080/api/v1/orders \
  -H "Authorization: Bearer $TOKEN" \
  -d '{"items":[{"product_id":1,"quantity":2}]}'"#;
    let token = r#"TOKEN=$(sed 's/.*"token":"\([^"]*\)".*/\1/' answer)"#;
    let commands = [register.to_owned(), format!("{login} > answer"), token.to_owned(), order.to_owned()];
    let said = run(&bench, &gateway, &commands);
    assert!(said[0].contains(r#""email":"test@example.com""#), "{}", said[0]);
    assert!(said[3].contains(r#""status":"CONFIRMED""#) || said[3].contains(r#""status":"CANCELLED""#), "{}", said[3]);
}

#[test]
fn an_example_is_compared_but_for_what_is_different_each_time() {
    let document = "```console\n$ a \\\n    b\n{\"id\":\"…\",\n \"n\":1}\n$ c\n```\n```json\n$ not this\n```\n";
    let found = examples(document);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].command, "a \\\n    b");
    assert!(fits(r#"{"id": "7", "n": 1}"#, &found[0].output));
    for wrong in [r#"{"id":"7","n":2}"#, r#"{"id":"7","n":1,"m":1}"#, "", r#"["id":"7","n":1}"#] {
        assert!(!fits(wrong, &found[0].output), "{wrong}");
    }
    assert!(fits(r#"{"a":{},"b":{}}"#, r#"{"a":…}"#) && !fits(r#"{"a":{}},"#, r#"{"a":…}"#));
    assert!(fits("a b", "a…") && !fits("b a", "a…") && fits("", &found[1].output) && !fits("x", &found[1].output));
}
