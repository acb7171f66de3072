//! What a run leaves behind, and that its numbers agree with each other.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use audit::Finding;
use audit::witness::{Record, Witness};
use experiment::report::Summary;
use scenario::{known, parse};
use shopctl::campaign::engine::play_untraced;

use crate::harness::{Bench, SMALL, TINY, copy_folder, unhurried};
use crate::tamperings::{IN_DATABASES, IN_THE_LOG};

/// What a run of that scenario in virtual time comes to.
fn played(source: &str) -> Summary {
    let scenario = parse(source, "virtual.yaml", &[], &known()).unwrap();
    play_untraced(&scenario).map_err(|failure| failure.message).unwrap().summary
}

fn count(summary: &Summary, step: &str, outcome: &str) -> u64 {
    summary.steps.get(step).and_then(|step| step.outcomes.get(outcome)).copied().unwrap_or_default()
}

#[test]
fn fates_steps_and_files_of_a_run_agree() {
    let bench = Bench::played();
    let (summary, folder) = (bench.summary(), bench.run_folder());
    let orders = &summary.orders;

    assert_eq!(orders.started, 80, "60 buyers and 20 who change their minds; a retry is no new order");
    assert_eq!(orders.confirmed + orders.cancelled + orders.rejected + orders.errors + orders.unknown, orders.started);
    assert_eq!(orders.cancelled_by.values().sum::<u64>(), orders.cancelled);
    assert_eq!(orders.units_confirmed["LAMP"].min(40), orders.units_confirmed["LAMP"], "no more than there were");

    assert_eq!(count(&summary, "create", "done"), orders.confirmed + orders.cancelled);
    assert_eq!(count(&summary, "confirm", "done"), orders.confirmed);
    assert_eq!(count(&summary, "commit_stock", "done"), orders.confirmed);
    assert_eq!(count(&summary, "cancel", "done"), orders.cancelled);
    for (name, step) in &summary.steps {
        assert_eq!(step.outcomes.values().sum::<u64>(), step.count, "{name}");
        assert!(step.measured == 0 || step.percentiles.p99_us.is_some(), "{name} has its histogram");
    }

    let record = std::fs::read_to_string(folder.join("orders.jsonl")).unwrap();
    let mut fates: BTreeMap<&str, u64> = BTreeMap::new();
    for line in record.lines() {
        if let Record::Fate { fate, .. } = serde_json::from_str(line).unwrap() {
            *fates.entry(fate.as_str()).or_default() += 1;
        }
    }
    let of = |fate: &str| fates.get(fate).copied().unwrap_or_default();
    assert_eq!(fates.values().sum::<u64>(), orders.started);
    assert_eq!((of("confirmed"), of("cancelled")), (orders.confirmed, orders.cancelled));
    assert_eq!(Witness::read(BufReader::new(record.as_bytes())).unwrap().orders.len() as u64, orders.started);

    let applicable = |finding: &&Finding| finding.not_applicable.is_none();
    assert!(summary.invariants.iter().filter(applicable).all(|finding| finding.violations == 0 && finding.checked > 0));
    let json = std::fs::read_to_string(bench.path("copy.json")).unwrap();
    assert_eq!(json, std::fs::read_to_string(folder.join("summary.json")).unwrap());
    assert!(std::fs::read_to_string(bench.path("copy.md")).unwrap().contains("`commit_stock`"));
    assert!(std::fs::read_to_string(bench.path("stdout.txt")).unwrap().contains("PASSED (exit 0)"));

    let audited = bench.shopctl(&["audit", "--run", &folder.to_string_lossy()]).exits(0);
    assert!(audited.stdout().contains("80 orders"), "{}", audited.stdout());
}

#[test]
fn an_invariant_that_has_no_meaning_here_is_neither_kept_nor_broken() {
    let bench = Bench::new(&unhurried(TINY));
    let ended = bench.shopctl(&["run", "scenario.yaml", "--set", "expect.invariants=[cache_converges]"]).exits(0);
    let told = ended.stdout();
    assert!(told.contains("none of the invariants named is applicable here"), "{told}");
    assert!(told.contains("0 kept (0 checks)") && told.contains("cache_converges not applicable: "), "{told}");
    let folder = bench.run_folder();
    let report = std::fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("| cache_converges | – | – | not applicable: "), "{report}");
    let audited = bench.shopctl(&["audit", "--run", &folder.to_string_lossy()]).exits(0).stdout();
    assert!(audited.contains("–       cache_converges"), "{audited}");
}

/// In virtual time: in which order buyers come to the last units is up to the seed, and not to the machine.
#[test]
fn what_is_sold_out_is_sold_to_the_last_unit() {
    // Without those who change their minds: a cancellation can refuse a reservation as well.
    let (head, rest) = TINY.split_once("  undecided:").unwrap();
    let summary = played(&format!("{head}expect:{}", rest.split_once("expect:").unwrap().1));
    assert_eq!(summary.exit_code, 0, "{:?}", summary.verdict);
    let orders = &summary.orders;
    assert_eq!(orders.units_confirmed["LAMP"], 40);
    assert!(orders.cancelled_by["sold_out"] > 0 && orders.cancelled_by["declined"] > 0);
    assert_eq!(count(&summary, "reserve_stock", "refused"), orders.cancelled_by["sold_out"]);
    assert_eq!(count(&summary, "process_payment", "refused"), orders.cancelled_by["declined"]);
    assert_eq!(count(&summary, "release_stock", "done"), orders.cancelled_by["declined"]);
}

#[test]
fn a_missed_threshold_exits_99() {
    let scenario = TINY.replace("rate<0.01]", "rate<0.01]\n    order_duration: [p(50)<1us]");
    let bench = Bench::new(&unhurried(&scenario));
    let ended = bench.shopctl(&["run", "scenario.yaml"]).exits(99);
    assert!(ended.stdout().contains("threshold missed: order_duration p(50)<1us"), "{}", ended.stdout());
}

#[test]
fn a_percentile_that_the_samples_cannot_carry_is_inconclusive() {
    let scenario = TINY.replace("rate<0.01]", "rate<0.01]\n    order_duration: [p(99.9)<10s]");
    let bench = Bench::new(&unhurried(&scenario));
    let ended = bench.shopctl(&["run", "scenario.yaml"]).exits(113);
    assert!(ended.stdout().contains("too few samples"), "{}", ended.stdout());
}

#[test]
fn an_audit_notices_every_tampering_and_names_an_order_or_a_product() {
    let bench = Bench::played();
    let (run, copy) = (bench.run_folder(), bench.path("tampered"));
    for (database, sql, invariant) in IN_DATABASES.iter().chain(IN_THE_LOG) {
        copy_folder(&run, &copy);
        let connection = rusqlite::Connection::open(copy.join(format!("data/{database}.db"))).unwrap();
        assert!(connection.execute(sql, []).unwrap() > 0, "{sql} changed nothing");
        drop(connection);
        let ended = bench.shopctl(&["audit", "--run", "tampered"]);
        assert_eq!(ended.code(), 111, "{sql}\n{}{}", ended.stdout(), ended.stderr());
        assert!(ended.stdout().contains(&format!("BROKEN  {invariant} ")), "{sql}\n{}", ended.stdout());
        std::fs::remove_dir_all(&copy).unwrap();
    }
}

/// Makes a run's folder one of a shop that told its customers nothing, as older ones did.
fn forget_notifications(run: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        // Only the database itself is there for certain.
        let _ = std::fs::remove_file(run.join(format!("data/courier_db.db{suffix}")));
    }
    let log = rusqlite::Connection::open(run.join("data/event_log.db")).unwrap();
    for table in ["consumers", "pending"] {
        log.execute(&format!("DELETE FROM {table} WHERE name = 'notification-service'"), []).unwrap();
    }
}

#[test]
fn books_of_a_shop_that_told_nobody_are_audited_without_that_invariant() {
    let bench = Bench::played();
    let run = bench.run_folder();
    let audit = || bench.shopctl(&["audit", "--run", &run.to_string_lossy()]);
    assert!(audit().exits(0).stdout().contains("notified_once"));
    forget_notifications(&run);
    let audited = audit().exits(0).stdout();
    assert!(!audited.contains("notified_once") && audited.contains("nothing_in_flight"), "{audited}");
}

#[test]
fn a_providers_ledger_that_is_gone_is_not_taken_for_one_that_never_was() {
    let bench = Bench::played();
    let run = bench.run_folder();
    std::fs::remove_file(run.join("data/courier_db.db")).unwrap();
    let ended = bench.shopctl(&["audit", "--run", &run.to_string_lossy()]).exits(104);
    assert!(ended.stderr().contains("courier_db"), "{}", ended.stderr());
}

#[test]
fn a_run_waits_for_the_messages_and_says_which_events_were_given_up_on() {
    let bench = Bench::new(SMALL);
    let simulated = |settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|setting| format!("shop.settings.{setting}")).collect();
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        bench.shopctl(&["simulate", "scenario.yaml"].into_iter().chain(set).collect::<Vec<_>>())
    };
    simulated(&["notification.provider_latency=300ms"]).exits(0);
    let broken = ["notification.provider_failure_rate=1", "notification.deliveries=2"];
    let told = simulated(&broken).exits(111).stdout();
    assert!(told.contains("notified_once") && told.contains("DEAD_LETTERS"), "{told}");

    let settings = format!("settings:\n    {}", broken.join("\n    ").replace('=', ": "));
    let summary = played(&SMALL.replace("settings:", &settings));
    let broken: Vec<_> = summary.invariants.iter().filter(|finding| finding.violations > 0).collect();
    assert_eq!(broken.iter().map(|finding| finding.name.as_str()).collect::<Vec<_>>(), ["notified_once"]);
    assert!(broken[0].examples[0].contains("DEAD_LETTERS"), "{}", broken[0].examples[0]);
}

#[test]
fn an_audit_without_the_record_of_the_run_proves_little() {
    let bench = Bench::played();
    let folder = bench.run_folder();
    let audit = || bench.shopctl(&["audit", "--run", &folder.to_string_lossy()]);
    let record = std::fs::read_to_string(folder.join("orders.jsonl")).unwrap();
    let beginning: Vec<&str> = record.lines().take(20).collect();
    std::fs::write(folder.join("orders.jsonl"), beginning.join("\n") + "\n").unwrap();
    assert!(audit().exits(111).stdout().contains("the record of them is incomplete"));
    std::fs::remove_file(folder.join("orders.jsonl")).unwrap();
    audit().exits(113);
}
