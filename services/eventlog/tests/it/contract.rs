//! What every event log must do, whatever it is made of: each case runs on an empty log.

use std::collections::BTreeSet;
use std::time::Duration;

use eventlog::{
    Consumer, ConsumerSettings, DEAD_LETTERS, Event, EventLog, Lag, Message, Publish, PublishError, Stream,
};
use kernel::Timestamp;
use store::StoreError;
use tokio::time::{Instant, timeout};

use crate::world::soon;

/// What depends on whether time is paused; each test binary has its own.
pub struct Times {
    /// After this, what was delivered and not acknowledged is delivered again.
    pub ack_wait: Duration,
    /// A consumer that waits hears of a publication within this.
    pub woken: Duration,
}

const ACK_WAIT: Duration = crate::TIMES.ack_wait;
/// The stream that these tests publish to.
pub const STREAM: Stream = Stream::new("THINGS", "thing");
pub const OTHER: Stream = Stream::new("OTHERS", "other");
pub const EMPTY: Stream = Stream::new("NONE", "none");

/// The `version`th event of an aggregate; what is in it follows from the two.
pub fn event(aggregate: &str, version: i64) -> Event {
    Event {
        aggregate: aggregate.to_owned(),
        version,
        kind: format!("Kind{version}"),
        data: format!(r#"{{"of":"{aggregate}","number":{version},"text":"ü\"\\"}}"#),
        occurred_at: Timestamp::from_micros(1_000_000 * version + 7),
        traceparent: None,
    }
}

/// Appends one event to the stream of these tests.
pub async fn put(log: &dyn EventLog, aggregate: &str, version: i64, expected_last: i64) -> Result<i64, PublishError> {
    put_in(STREAM, log, event(aggregate, version), expected_last).await
}

async fn put_in(stream: Stream, log: &dyn EventLog, event: Event, expected_last: i64) -> Result<i64, PublishError> {
    let mut answers = log.publish(stream, &[Publish { event, expected_last }]).await;
    assert_eq!(answers.len(), 1, "one answer for one event");
    answers.remove(0)
}

/// Appends the first `count` versions of an aggregate; answers their sequences.
async fn put_all(log: &dyn EventLog, aggregate: &str, count: i64) -> Vec<i64> {
    let mut sequences = Vec::new();
    for version in 1..=count {
        let last = sequences.last().copied().unwrap_or(0);
        sequences.push(put(log, aggregate, version, last).await.unwrap());
    }
    sequences
}

/// The versions of an aggregate that stand in the log, in the log's order.
pub async fn versions(log: &dyn EventLog, aggregate: &str) -> Vec<i64> {
    log.read(STREAM, aggregate).await.unwrap().iter().map(|message| message.event.version).collect()
}

async fn consumer_with(log: &dyn EventLog, name: &'static str, deliveries_max: u32) -> Box<dyn Consumer> {
    log.consumer(STREAM, ConsumerSettings { name, ack_wait: ACK_WAIT, deliveries_max, kinds: &[] }).await.unwrap()
}

async fn consumer(log: &dyn EventLog, name: &'static str) -> Box<dyn Consumer> {
    consumer_with(log, name, 100).await
}

async fn take(consumer: &mut dyn Consumer, most: usize) -> Vec<Message> {
    let messages = soon("a delivery", consumer.next(most)).await.unwrap();
    assert!(!messages.is_empty() && messages.len() <= most, "1 to {most} messages: {messages:?}");
    messages
}

/// Takes and acknowledges until `count` messages have come.
async fn drain(consumer: &mut dyn Consumer, count: usize) -> Vec<Message> {
    let mut all = Vec::new();
    while all.len() < count {
        let messages = take(consumer, count - all.len()).await;
        consumer.acknowledge(&sequences(&messages)).await.unwrap();
        all.extend(messages);
    }
    all
}

/// Nothing comes, for longer than it takes to be delivered again.
async fn assert_quiet(consumer: &mut dyn Consumer) {
    let came = timeout(ACK_WAIT * 2, consumer.next(100)).await;
    assert!(came.is_err(), "expected nothing more: {came:?}");
}

fn sequences(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.sequence).collect()
}

fn ids(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.event.id()).collect()
}

// Publishing.

pub async fn sequences_increase(log: &dyn EventLog) {
    let batch =
        [("a", 1), ("b", 1), ("c", 1)].map(|(name, version)| Publish { event: event(name, version), expected_last: 0 });
    let first: Vec<i64> = log.publish(STREAM, &batch).await.into_iter().map(Result::unwrap).collect();
    let next = put(log, "a", 2, first[0]).await.unwrap();
    let all = [first, vec![next]].concat();
    assert!(all[0] > 0 && all.is_sorted_by(|one, other| one < other), "{all:?}");
}

pub async fn a_wrong_expectation_is_refused_with_the_actual_sequence(log: &dyn EventLog) {
    let first = put(log, "a", 1, 0).await.unwrap();
    for wrong in [0, first + 1, first + 1000] {
        match put(log, "a", 2, wrong).await {
            Err(PublishError::WrongLast { expected, actual }) => assert_eq!((expected, actual), (wrong, first)),
            other => panic!("expected WrongLast, got {other:?}"),
        }
    }
    match put(log, "b", 1, first).await {
        Err(PublishError::WrongLast { expected, actual }) => assert_eq!((expected, actual), (first, 0)),
        other => panic!("an aggregate that has no events stands at 0: {other:?}"),
    }
    assert_eq!(versions(log, "a").await, [1], "nothing was appended");
    assert_eq!(versions(log, "b").await, [0; 0]);
}

pub async fn the_last_event_again_answers_its_old_sequence(log: &dyn EventLog) {
    let first = put(log, "a", 1, 0).await.unwrap();
    let second = put(log, "a", 2, first).await.unwrap();
    put(log, "b", 1, 0).await.unwrap();
    assert_eq!(put(log, "a", 2, first).await.unwrap(), second, "as it was first sent");
    assert_eq!(put(log, "a", 2, 0).await.unwrap(), second, "by somebody who knows nothing");
    assert_eq!(versions(log, "a").await, [1, 2], "nothing was appended");
}

/// No relay asks for that, and a log is only held to it while it remembers ids.
pub async fn the_last_event_behind_itself_is_known_by_its_id(log: &dyn EventLog) {
    let first = put(log, "a", 1, 0).await.unwrap();
    assert_eq!(put(log, "a", 1, first).await.unwrap(), first);
    assert_eq!(versions(log, "a").await, [1]);
}

/// A log with a memory of ids may know it again, one without refuses: it is not appended either way.
pub async fn an_older_event_again_is_never_appended(log: &dyn EventLog) {
    let stand = put_all(log, "a", 3).await;
    match put(log, "a", 1, 0).await {
        Ok(sequence) => assert_eq!(sequence, stand[0]),
        Err(PublishError::WrongLast { actual, .. }) => assert_eq!(actual, stand[2]),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(versions(log, "a").await, [1, 2, 3]);
}

pub async fn one_refusal_does_not_stop_the_others(log: &dyn EventLog) {
    let batch = [("a", 0), ("refused", 99), ("b", 0)]
        .map(|(name, expected_last)| Publish { event: event(name, 1), expected_last });
    let answers = log.publish(STREAM, &batch).await;
    assert!(matches!(answers[..], [Ok(_), Err(PublishError::WrongLast { .. }), Ok(_)]), "{answers:?}");
    assert_eq!(versions(log, "a").await, [1]);
    assert_eq!(versions(log, "refused").await, [0; 0]);
    assert_eq!(versions(log, "b").await, [1]);
}

pub async fn an_empty_batch_is_answered_with_nothing(log: &dyn EventLog) {
    assert!(log.publish(STREAM, &[]).await.is_empty());
}

// Reading.

pub async fn an_aggregate_is_read_back_whole_and_in_order(log: &dyn EventLog) {
    let mut stand = Vec::new();
    let traced =
        Event { traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()), ..event("a", 2) };
    let written = [event("a", 1), traced, event("a", 3)];
    for event in &written {
        put_in(STREAM, log, self::event("between", 1), 0).await.unwrap();
        stand.push(put_in(STREAM, log, event.clone(), stand.last().copied().unwrap_or(0)).await.unwrap());
    }
    let read = log.read(STREAM, "a").await.unwrap();
    assert_eq!(sequences(&read), stand);
    assert!(read.iter().all(|message| message.stream == STREAM));
    assert_eq!(read.into_iter().map(|message| message.event).collect::<Vec<_>>(), written);
    assert!(log.read(STREAM, "nobody").await.unwrap().is_empty());
}

pub async fn the_last_message_of_an_aggregate_is_known(log: &dyn EventLog) {
    assert!(log.last(STREAM, "a").await.unwrap().is_none());
    let stand = put_all(log, "a", 2).await;
    put_all(log, "b", 5).await;
    let last = log.last(STREAM, "a").await.unwrap().unwrap();
    assert_eq!((last.sequence, last.event), (stand[1], event("a", 2)));
}

pub async fn streams_are_apart(log: &dyn EventLog) {
    put_all(log, "a", 2).await;
    let elsewhere = put_in(OTHER, log, event("a", 1), 0).await.unwrap();
    assert_eq!(log.last(OTHER, "a").await.unwrap().unwrap().sequence, elsewhere);
    assert_eq!(versions(log, "a").await, [1, 2]);
    assert!(log.read(EMPTY, "a").await.unwrap().is_empty());
    let mut consumer = consumer(log, "things-only").await;
    assert_eq!(ids(&drain(&mut *consumer, 2).await), ["a/1", "a/2"]);
    assert_quiet(&mut *consumer).await;
}

pub async fn a_message_is_found_at_its_sequence(log: &dyn EventLog) {
    let stand = put_all(log, "a", 3).await;
    let found = log.at(STREAM, stand[1]).await.unwrap().unwrap();
    assert_eq!((found.stream, found.sequence, found.event), (STREAM, stand[1], event("a", 2)));
    for nowhere in [-1, 0, stand[2] + 1, i64::MAX] {
        assert!(log.at(STREAM, nowhere).await.unwrap().is_none(), "nothing stands at {nowhere}");
    }
}

pub async fn a_stream_is_scanned_in_pages(log: &dyn EventLog) {
    assert!(log.scan(STREAM, 0, 10).await.unwrap().is_empty(), "an empty stream");
    let stand = [put_all(log, "a", 3).await, put_all(log, "b", 4).await].concat();
    let all = log.scan(STREAM, 0, 100).await.unwrap();
    assert_eq!(sequences(&all), stand);
    assert_eq!(ids(&all), ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3", "b/4"]);
    let (mut pages, mut after) = (Vec::new(), 0);
    loop {
        let page = log.scan(STREAM, after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.sequence;
        pages.push(sequences(&page));
    }
    assert_eq!(pages, [&stand[..3], &stand[3..6], &stand[6..]]);
    assert!(log.scan(STREAM, stand[6] + 100, 3).await.unwrap().is_empty(), "behind the end");
    assert!(log.scan(STREAM, 0, 0).await.unwrap().is_empty(), "nothing was asked for");
}

pub async fn names_that_no_subject_may_have_are_read_back(log: &dyn EventLog) {
    for name in ["a b", "a..b", ".", "*", ">", "a.*.>", "100%", "", "THINGS.mail.x/1", "ü\n"] {
        let at = put(log, name, 1, 0).await.unwrap();
        let last = log.last(STREAM, name).await.unwrap().unwrap();
        assert_eq!((last.sequence, last.event), (at, event(name, 1)));
        assert_eq!(versions(log, name).await, [1], "{name:?} is not mixed up with others");
    }
}

// Consuming.

pub async fn a_new_consumer_starts_at_the_beginning_and_what_it_acknowledged_never_comes_again(log: &dyn EventLog) {
    put_all(log, "a", 3).await;
    let mut late = consumer(log, "late").await;
    let first = take(&mut *late, 100).await;
    assert_eq!(ids(&first), ["a/1", "a/2", "a/3"]);
    assert!(first.iter().all(|message| message.deliveries == 1));
    late.acknowledge(&sequences(&first)).await.unwrap();
    assert_quiet(&mut *late).await;
    drop(late);
    assert_quiet(&mut *consumer(log, "late").await).await;
}

pub async fn a_delivery_is_in_stream_order_and_never_more_than_asked_for(log: &dyn EventLog) {
    put_all(log, "a", 2).await;
    put_all(log, "b", 3).await;
    let mut consumer = consumer(log, "bounded").await;
    let mut all = take(&mut *consumer, 2).await;
    all.extend(take(&mut *consumer, 1).await);
    all.extend(take(&mut *consumer, 100).await);
    assert_eq!(ids(&all), ["a/1", "a/2", "b/1", "b/2", "b/3"]);
}

pub async fn what_is_not_acknowledged_comes_again_after_the_wait(log: &dyn EventLog) {
    put_all(log, "a", 2).await;
    let mut consumer = consumer(log, "forgetful").await;
    let taken_at = Instant::now();
    let first = take(&mut *consumer, 100).await;
    consumer.acknowledge(&[first[0].sequence]).await.unwrap();
    for deliveries in 2..=4 {
        let again = take(&mut *consumer, 100).await;
        assert_eq!(ids(&again), ["a/2"]);
        assert_eq!((again[0].sequence, again[0].deliveries), (first[1].sequence, deliveries));
        let waited = taken_at.elapsed();
        let due = ACK_WAIT * (deliveries - 1);
        assert!(waited >= due * 9 / 10, "delivery {deliveries} came after {waited:?}");
    }
    consumer.acknowledge(&[first[1].sequence]).await.unwrap();
    assert_quiet(&mut *consumer).await;
}

pub async fn what_is_due_again_comes_before_what_is_new(log: &dyn EventLog) {
    let stand = put_all(log, "a", 1).await;
    let mut consumer = consumer(log, "in-order").await;
    take(&mut *consumer, 1).await;
    consumer.retry_later(stand[0], Duration::ZERO).await.unwrap();
    put(log, "a", 2, stand[0]).await.unwrap();
    let both = drain(&mut *consumer, 2).await;
    assert_eq!(ids(&both), ["a/1", "a/2"]);
    assert_eq!(both.iter().map(|message| message.deliveries).collect::<Vec<_>>(), [2, 1]);
}

pub async fn a_message_put_off_comes_again_when_it_said(log: &dyn EventLog) {
    put_all(log, "a", 2).await;
    let mut consumer = consumer(log, "putting-off").await;
    let both = take(&mut *consumer, 100).await;
    let (sooner, later) = (ACK_WAIT / 4, ACK_WAIT * 2);
    let put_off_at = Instant::now();
    consumer.retry_later(both[0].sequence, later).await.unwrap();
    consumer.retry_later(both[1].sequence, sooner).await.unwrap();
    let first = take(&mut *consumer, 100).await;
    let after = put_off_at.elapsed();
    assert_eq!((ids(&first), first[0].deliveries), (vec!["a/2".to_owned()], 2));
    assert!(after >= sooner * 9 / 10 && after < ACK_WAIT, "sooner than the wait for an answer: {after:?}");
    consumer.acknowledge(&sequences(&first)).await.unwrap();
    let second = take(&mut *consumer, 100).await;
    let after = put_off_at.elapsed();
    assert_eq!((ids(&second), second[0].deliveries), (vec!["a/1".to_owned()], 2));
    assert!(after >= later * 9 / 10, "later than the wait for an answer: {after:?}");
}

pub async fn acknowledging_twice_or_what_never_was_is_harmless(log: &dyn EventLog) {
    let stand = put_all(log, "a", 1).await;
    let mut consumer = consumer(log, "eager").await;
    consumer.acknowledge(&[]).await.unwrap();
    drain(&mut *consumer, 1).await;
    consumer.acknowledge(&stand).await.unwrap();
    consumer.retry_later(stand[0], Duration::ZERO).await.unwrap();
    assert_quiet(&mut *consumer).await;
    put(log, "a", 2, stand[0]).await.unwrap();
    assert_eq!(ids(&drain(&mut *consumer, 1).await), ["a/2"]);
}

pub async fn poison_is_parked_and_the_others_go_on(log: &dyn EventLog) {
    put_in(STREAM, log, event("poison", 1), 0).await.unwrap();
    put_in(STREAM, log, event("good", 1), 0).await.unwrap();
    let settings = ConsumerSettings { name: "undertaker", ack_wait: ACK_WAIT, deliveries_max: 100, kinds: &[] };
    let mut parked = log.consumer(DEAD_LETTERS, settings).await.unwrap();
    let mut consumer = consumer_with(log, "choking", 3).await;
    let mut choked_on = Vec::new();
    let letters = tokio::select! {
        biased;
        letters = take(&mut *parked, 100) => letters,
        () = async {
            loop {
                for message in consumer.next(100).await.unwrap() {
                    match message.event.aggregate.as_str() {
                        "good" => consumer.acknowledge(&[message.sequence]).await.unwrap(),
                        _ => choked_on.push(message.deliveries),
                    }
                }
            }
        } => unreachable!(),
    };
    assert_eq!(choked_on, [1, 2, 3]);
    let [letter] = &letters[..] else { panic!("one letter: {letters:?}") };
    let poison = event("poison", 1);
    assert_eq!((&letter.event.kind, &letter.event.data), (&poison.kind, &poison.data));
    assert_eq!(letter.stream, DEAD_LETTERS);
    put_in(STREAM, log, event("afterwards", 1), 0).await.unwrap();
    assert_eq!(ids(&drain(&mut *consumer, 1).await), ["afterwards/1"]);
    assert_quiet(&mut *consumer).await;
}

pub async fn poison_put_off_after_its_last_delivery_is_parked_at_once(log: &dyn EventLog) {
    let stand = put_all(log, "poison", 1).await;
    let settings = ConsumerSettings { name: "undertaker", ack_wait: ACK_WAIT, deliveries_max: 100, kinds: &[] };
    let mut parked = log.consumer(DEAD_LETTERS, settings).await.unwrap();
    let mut consumer = consumer_with(log, "choking", 1).await;
    take(&mut *consumer, 1).await;
    let put_off_at = Instant::now();
    consumer.retry_later(stand[0], ACK_WAIT * 4).await.unwrap();
    let letters = tokio::select! {
        biased;
        letters = take(&mut *parked, 1) => letters,
        came = consumer.next(1) => panic!("it had its last delivery: {came:?}"),
    };
    assert_eq!(letters[0].event.data, event("poison", 1).data);
    assert!(put_off_at.elapsed() < ACK_WAIT, "parked after {:?}", put_off_at.elapsed());
}

pub async fn what_is_parked_is_a_dead_letter_at_once_and_never_comes_again(log: &dyn EventLog) {
    let stand = put_all(log, "poison", 2).await;
    let settings = ConsumerSettings { name: "undertaker", ack_wait: ACK_WAIT, deliveries_max: 100, kinds: &[] };
    let mut parked = log.consumer(DEAD_LETTERS, settings).await.unwrap();
    let mut consumer = consumer(log, "choosy").await;
    take(&mut *consumer, 2).await;
    consumer.acknowledge(&stand[1..]).await.unwrap();
    consumer.park(stand[0]).await.unwrap();
    // Nobody asks the consumer for more, and the letter is there all the same.
    let letters = drain(&mut *parked, 1).await;
    let (kind, data) = (letters[0].event.kind.clone(), letters[0].event.data.clone());
    assert_eq!((kind, data), (event("poison", 1).kind, event("poison", 1).data));
    consumer.park(stand[0]).await.unwrap();
    consumer.park(stand[1]).await.unwrap();
    consumer.park(stand[1] + 1000).await.unwrap();
    tokio::join!(assert_quiet(&mut *parked), assert_quiet(&mut *consumer));
    // Of a dead letter there is no second one.
    let settings = ConsumerSettings { name: "choosy-too", ack_wait: ACK_WAIT, deliveries_max: 100, kinds: &[] };
    let mut choosy_too = log.consumer(DEAD_LETTERS, settings).await.unwrap();
    let letter = take(&mut *choosy_too, 1).await.remove(0);
    choosy_too.park(letter.sequence).await.unwrap();
    tokio::join!(assert_quiet(&mut *choosy_too), assert_quiet(&mut *parked));
}

pub async fn a_dead_letter_that_nobody_can_read_does_not_multiply(log: &dyn EventLog) {
    put_all(log, "poison", 1).await;
    let mut choking = consumer_with(log, "choking", 1).await;
    take(&mut *choking, 1).await;
    assert_quiet(&mut *choking).await;
    let settings = ConsumerSettings { name: "choking-too", ack_wait: ACK_WAIT, deliveries_max: 1, kinds: &[] };
    let mut choking_too = log.consumer(DEAD_LETTERS, settings).await.unwrap();
    take(&mut *choking_too, 100).await;
    assert_quiet(&mut *choking_too).await;
    let settings = ConsumerSettings { name: "counting", ack_wait: ACK_WAIT, deliveries_max: 100, kinds: &[] };
    let mut counting = log.consumer(DEAD_LETTERS, settings).await.unwrap();
    assert_eq!(drain(&mut *counting, 1).await.len(), 1);
    assert_quiet(&mut *counting).await;
}

pub async fn consumers_of_different_names_each_get_everything(log: &dyn EventLog) {
    let (mut one, mut other) = (consumer(log, "one").await, consumer(log, "other").await);
    put_all(log, "a", 3).await;
    assert_eq!(ids(&drain(&mut *one, 3).await), ["a/1", "a/2", "a/3"]);
    assert_eq!(ids(&drain(&mut *other, 3).await), ["a/1", "a/2", "a/3"]);
}

pub async fn only_the_wanted_kinds_are_delivered_and_the_others_are_done_with(log: &dyn EventLog) {
    let kinds: &[&str] = &["Kind2", "Kind5"];
    let settings = || ConsumerSettings { name: "particular", ack_wait: ACK_WAIT, deliveries_max: 100, kinds };
    let mut particular = log.consumer(STREAM, settings()).await.unwrap();
    put_all(log, "a", 5).await;
    // One look at a time: what is not wanted must not end the search.
    let first = take(&mut *particular, 1).await;
    let second = take(&mut *particular, 1).await;
    assert_eq!(ids(&[first.clone(), second.clone()].concat()), ["a/2", "a/5"]);
    particular.acknowledge(&sequences(&[first, second].concat())).await.unwrap();
    assert_quiet(&mut *particular).await;
    let b = put(log, "b", 1, 0).await.unwrap();
    assert_quiet(&mut *particular).await;
    put(log, "b", 2, b).await.unwrap();
    assert_eq!(ids(&drain(&mut *particular, 1).await), ["b/2"]);
    let mut again = log.consumer(STREAM, settings()).await.unwrap();
    assert_quiet(&mut *again).await;
}

pub async fn handles_of_one_name_share_the_work(log: &dyn EventLog) {
    let (mut one, mut other) = (consumer(log, "shared").await, consumer(log, "shared").await);
    put_all(log, "a", 4).await;
    let mut all = drain(&mut *one, 2).await;
    all.extend(drain(&mut *other, 2).await);
    let mut all = ids(&all);
    all.sort();
    assert_eq!(all, ["a/1", "a/2", "a/3", "a/4"], "each went to one of them");
    tokio::join!(assert_quiet(&mut *one), assert_quiet(&mut *other));
}

pub async fn what_one_handle_dropped_the_other_gets(log: &dyn EventLog) {
    let (mut dying, mut living) = (consumer(log, "shared").await, consumer(log, "shared").await);
    put_all(log, "a", 1).await;
    take(&mut *dying, 1).await;
    drop(dying);
    let again = drain(&mut *living, 1).await;
    assert_eq!((ids(&again), again[0].deliveries), (vec!["a/1".to_owned()], 2));
}

pub async fn a_waiting_consumer_is_woken_by_a_publication(log: &dyn EventLog) {
    let mut consumer = consumer(log, "asleep").await;
    // No multiple of a period that somebody would poll with.
    let pause = Duration::from_millis(1_009);
    let publish = async {
        tokio::time::sleep(pause).await;
        let published_at = Instant::now();
        put(log, "a", 1, 0).await.unwrap();
        published_at
    };
    let (messages, published_at) = tokio::join!(take(&mut *consumer, 100), publish);
    let lag = published_at.elapsed();
    assert_eq!(ids(&messages), ["a/1"]);
    assert!(lag <= crate::TIMES.woken, "woke {lag:?} after the publication");
}

pub async fn giving_up_waiting_loses_nothing(log: &dyn EventLog) {
    let mut consumer = consumer(log, "impatient").await;
    assert_quiet(&mut *consumer).await;
    put_all(log, "a", 1).await;
    let came = drain(&mut *consumer, 1).await;
    assert_eq!((ids(&came), came[0].deliveries), (vec!["a/1".to_owned()], 1));
}

pub async fn the_lag_is_what_is_not_acknowledged(log: &dyn EventLog) {
    assert!(log.lag(STREAM).await.unwrap().is_empty());
    put_all(log, "a", 5).await;
    let (mut quick, mut slow) = (consumer(log, "quick").await, consumer(log, "slow").await);
    drain(&mut *quick, 5).await;
    let taken = take(&mut *slow, 3).await;
    slow.acknowledge(&[taken[0].sequence]).await.unwrap();
    let lag = |consumer: &str, unacknowledged| Lag { consumer: consumer.to_owned(), unacknowledged };
    let mut all = log.lag(STREAM).await.unwrap();
    all.sort_by(|one, other| one.consumer.cmp(&other.consumer));
    assert_eq!(all, [lag("quick", 0), lag("slow", 4)]);
    assert!(log.lag(OTHER).await.unwrap().is_empty(), "streams are apart");
}

/// What came after the loss is given again, to a consumer that is waiting too, and so is what was not acknowledged
/// before it; what else comes is up to the log.
pub async fn a_consumer_that_is_ahead_of_a_loss_is_sent_back(log: &dyn EventLog) {
    let stand = put_all(log, "a", 5).await;
    let (mut ahead, mut behind) = (consumer(log, "ahead").await, consumer(log, "behind").await);
    let taken = take(&mut *ahead, 5).await;
    ahead.acknowledge(&[taken[0].sequence, taken[2].sequence, taken[3].sequence, taken[4].sequence]).await.unwrap();
    drain(&mut *behind, 2).await;
    let wanted = BTreeSet::from(["a/2", "a/4", "a/5"].map(str::to_owned));
    let again = async {
        let mut came = BTreeSet::new();
        while !wanted.is_subset(&came) {
            match ahead.next(100).await {
                Ok(batch) => {
                    ahead.acknowledge(&sequences(&batch)).await.unwrap();
                    came.extend(ids(&batch));
                }
                // It had to find out.
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("{error}"),
            }
        }
        came
    };
    let rewind = async {
        tokio::task::yield_now().await;
        log.rewind(STREAM, stand[2]).await.unwrap();
    };
    let (came, ()) = soon("what was lost", async { tokio::join!(again, rewind) }).await;
    assert!(!came.contains("a/1"), "it was acknowledged, and everything before it: {came:?}");
    assert_quiet(&mut *ahead).await;
    assert_eq!(ids(&drain(&mut *behind, 3).await), ["a/3", "a/4", "a/5"], "it had not got so far");
    put(log, "a", 6, stand[4]).await.unwrap();
    assert_eq!(ids(&drain(&mut *ahead, 1).await), ["a/6"]);
    assert_eq!(ids(&drain(&mut *behind, 1).await), ["a/6"]);
}

// Across a crash: the two halves run on one log, closed and opened again in between.

pub async fn before_a_crash(log: &dyn EventLog) {
    put_all(log, "a", 3).await;
    let mut consumer = consumer(log, "durable").await;
    let taken = take(&mut *consumer, 2).await;
    consumer.acknowledge(&[taken[0].sequence]).await.unwrap();
}

pub async fn after_the_crash(log: &dyn EventLog) {
    assert_eq!(versions(log, "a").await, [1, 2, 3]);
    let mut consumer = consumer(log, "durable").await;
    let mut rest: Vec<_> =
        drain(&mut *consumer, 2).await.iter().map(|message| (message.event.version, message.deliveries)).collect();
    rest.sort();
    assert_eq!(rest, [(2, 2), (3, 1)], "the second was under way, the third had not been delivered");
    let last = log.last(STREAM, "a").await.unwrap().unwrap().sequence;
    assert!(put(log, "a", 4, last).await.unwrap() > last, "sequences go on where they were");
    assert_eq!(ids(&drain(&mut *consumer, 1).await), ["a/4"]);
    assert_quiet(&mut *consumer).await;
}
