//! Group commit: what goes together, what does not, and what becomes of it when something fails.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chassis::context::{Context, Tracer};
use chassis::metrics::Metrics;
use chassis::rng::Seeds;
use store::StoreError;
use store::gather::{BATCH_MAX, Failed, Gather, Traced, Writer};
use tokio::sync::Semaphore;

/// Writes texts: remembers each batch, waits for a permit before it answers, and does what a text says:
/// `bad…` spoils its batch, `down…` fails it for all, `panic…` breaks the writer down. Texts with the
/// same letter before `#` do not go together.
struct Texts {
    batches: Mutex<Vec<Vec<String>>>,
    traces: Mutex<Vec<Option<String>>>,
    permits: Semaphore,
}

struct Shared(Arc<Texts>);

#[async_trait]
impl Writer for Shared {
    type Command = String;
    type Answer = String;
    type Key = String;

    fn name(&self) -> &'static str {
        "texts"
    }

    fn key(&self, command: &String) -> Option<String> {
        command.split_once('#').map(|(key, _)| key.to_owned())
    }

    async fn write(&self, batch: &[Traced<String>]) -> Result<Vec<String>, Failed> {
        let texts: Vec<String> = batch.iter().map(|traced| traced.command.clone()).collect();
        self.0.batches.lock().unwrap().push(texts.clone());
        self.0.traces.lock().unwrap().extend(batch.iter().map(|traced| traced.trace.clone()));
        self.0.permits.acquire().await.unwrap().forget();
        let has = |what: &str| texts.iter().any(|text| text.starts_with(what));
        assert!(!has("panic"), "as planned");
        if has("down") {
            return Err(Failed::All(StoreError::Unavailable("down".into())));
        }
        if has("bad") {
            return Err(Failed::OneOfThem(StoreError::Conflict("bad".into())));
        }
        Ok(texts.iter().map(|text| format!("{text}!")).collect())
    }
}

fn texts() -> (Arc<Texts>, Gather<Shared>) {
    let texts = Texts { batches: Mutex::default(), traces: Mutex::default(), permits: Semaphore::new(0) };
    let texts = Arc::new(texts);
    (texts.clone(), Gather::new(Shared(texts), BATCH_MAX, &Metrics::new("test")))
}

/// Submits `first`, waits until it is being written, submits the others each as a caller of its own, lets
/// everything be written, and answers all answers in order.
async fn behind(first: &str, others: &[&str]) -> (Arc<Texts>, Vec<Result<String, StoreError>>) {
    let (texts, gather) = texts();
    let submit = |text: &str| {
        let (gather, text) = (gather.clone(), text.to_owned());
        tokio::spawn(async move { gather.submit(text).await })
    };
    let mut callers = vec![submit(first)];
    while texts.batches.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    callers.extend(others.iter().map(|text| submit(text)));
    for _ in 0..=others.len() {
        tokio::task::yield_now().await;
    }
    texts.permits.add_permits(1000);
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(caller.await.unwrap());
    }
    (texts, answers)
}

fn batches(texts: &Texts) -> Vec<Vec<String>> {
    texts.batches.lock().unwrap().clone()
}

#[tokio::test]
async fn what_comes_while_a_batch_is_written_is_the_next_batch() {
    let (texts, answers) = behind("one", &["two", "three", "four"]).await;
    assert_eq!(batches(&texts), [vec!["one"], vec!["two", "three", "four"]]);
    let answers: Vec<String> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, ["one!", "two!", "three!", "four!"]);
}

#[tokio::test]
async fn a_command_that_finds_nobody_writing_is_written_alone_and_at_once() {
    let (texts, gather) = texts();
    texts.permits.add_permits(2);
    assert_eq!(gather.submit("one".into()).await.unwrap(), "one!");
    assert_eq!(gather.submit("two".into()).await.unwrap(), "two!");
    assert_eq!(batches(&texts), [["one"], ["two"]]);
}

#[tokio::test]
async fn commands_of_one_key_go_one_after_the_other_and_hold_up_nobody() {
    let (texts, _) = behind("first", &["a#1", "a#2", "b#1", "a#3", "free"]).await;
    assert_eq!(batches(&texts)[1..], [vec!["a#1", "b#1", "free"], vec!["a#2"], vec!["a#3"]]);
}

#[tokio::test]
async fn a_command_that_spoils_its_batch_spoils_nobody_elses() {
    let (texts, answers) = behind("first", &["one", "bad", "two"]).await;
    assert!(matches!(answers[2], Err(StoreError::Conflict(_))));
    assert_eq!((answers[1].clone().unwrap(), answers[3].clone().unwrap()), ("one!".into(), "two!".into()));
    assert_eq!(batches(&texts)[1..], [vec!["one", "bad", "two"], vec!["one"], vec!["bad"], vec!["two"]]);
}

#[tokio::test]
async fn nothing_is_tried_again_when_none_would_fare_better_alone() {
    let (texts, answers) = behind("first", &["one", "down"]).await;
    assert!(answers[1..].iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))));
    assert_eq!(batches(&texts).len(), 2);
    let (texts, _) = behind("first", &["bad", "one", "down", "two"]).await;
    assert_eq!(batches(&texts).len(), 2);
}

#[tokio::test]
async fn a_writer_that_breaks_down_leaves_nobody_waiting_and_the_next_command_finds_another() {
    let (texts, answers) = behind("panic", &["one"]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))), "{answers:?}");
    drop(texts);
    let (texts, gather) = self::texts();
    texts.permits.add_permits(10);
    assert!(gather.submit("panic".into()).await.is_err());
    assert_eq!(gather.submit("one".into()).await.unwrap(), "one!");
}

#[tokio::test]
async fn who_goes_away_takes_nothing_with_them() {
    let (texts, gather) = texts();
    let caller = tokio::spawn({
        let gather = gather.clone();
        async move { gather.submit("one".into()).await }
    });
    while batches(&texts).is_empty() {
        tokio::task::yield_now().await;
    }
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    texts.permits.add_permits(2);
    assert_eq!(gather.submit("two".into()).await.unwrap(), "two!");
    assert_eq!(batches(&texts), [["one"], ["two"]]);
}

#[tokio::test]
async fn each_command_keeps_its_own_trace() {
    let (texts, gather) = texts();
    texts.permits.add_permits(10);
    let tracer = Tracer::new(&Seeds::from_number(1));
    let one = |text: &'static str| {
        let (gather, trace) = (gather.clone(), tracer.span(None).unwrap());
        let context = Context { trace: Some(trace), token: None };
        (trace.to_string(), async move { context.scope(gather.submit(text.into())).await.unwrap() })
    };
    let ((first, submit_first), (second, submit_second)) = (one("one"), one("two"));
    tokio::join!(submit_first, submit_second);
    let traces: BTreeSet<Option<String>> = texts.traces.lock().unwrap().iter().cloned().collect();
    assert_eq!(traces, BTreeSet::from([Some(first), Some(second)]));
}

#[tokio::test]
async fn a_full_queue_refuses_and_forgets_nobody() {
    let (texts, gather) = texts();
    let many = (0..9000).map(|number| number.to_string());
    let all = tokio::spawn({
        let gather = gather.clone();
        async move { gather.submit_all(many).await }
    });
    while batches(&texts).is_empty() {
        tokio::task::yield_now().await;
    }
    texts.permits.add_permits(1000);
    let answers = all.await.unwrap();
    let written = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((answers.len(), written), (9000, 8192));
    assert!(batches(&texts).iter().all(|batch| batch.len() <= 256));
}
