//! The event log on JetStream keeps the contract, across a lost connection too.

use std::time::Duration;

use eventlog::jetstream::JetStreamLog;
use eventlog::{ConsumerSettings, DEAD_LETTERS, Event, EventLog, Publish, Stream};
use store::Servers;
use tokio::time::timeout;

use crate::contract::{self, EMPTY, OTHER, STREAM};
use crate::world::soon;

/// Every stream of these tests.
pub const STREAMS: [Stream; 4] = [STREAM, OTHER, EMPTY, DEAD_LETTERS];

/// A log of this test's own, with all its streams.
pub async fn log(servers: &Servers) -> JetStreamLog {
    let log = JetStreamLog::connect(servers, "test").await.unwrap();
    for stream in STREAMS {
        log.prepare(stream).await.unwrap();
    }
    log
}

/// Runs each case of the contract on a new log.
macro_rules! keeps {
    ($($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                let borrowed = servers::for_test().unwrap();
                contract::$case(&log(&borrowed.connections).await).await;
            }
        )*
    };
}

keeps!(
    sequences_increase,
    a_wrong_expectation_is_refused_with_the_actual_sequence,
    the_last_event_again_answers_its_old_sequence,
    the_last_event_behind_itself_is_known_by_its_id,
    an_older_event_again_is_never_appended,
    one_refusal_does_not_stop_the_others,
    an_empty_batch_is_answered_with_nothing,
    an_aggregate_is_read_back_whole_and_in_order,
    the_last_message_of_an_aggregate_is_known,
    streams_are_apart,
    a_new_consumer_starts_at_the_beginning_and_what_it_acknowledged_never_comes_again,
    a_delivery_is_in_stream_order_and_never_more_than_asked_for,
    what_is_not_acknowledged_comes_again_after_the_wait,
    what_is_due_again_comes_before_what_is_new,
    a_message_put_off_comes_again_when_it_said,
    acknowledging_twice_or_what_never_was_is_harmless,
    poison_is_parked_and_the_others_go_on,
    poison_put_off_after_its_last_delivery_is_parked_at_once,
    what_is_parked_is_a_dead_letter_at_once_and_never_comes_again,
    a_dead_letter_that_nobody_can_read_does_not_multiply,
    consumers_of_different_names_each_get_everything,
    only_the_wanted_kinds_are_delivered_and_the_others_are_done_with,
    handles_of_one_name_share_the_work,
    what_one_handle_dropped_the_other_gets,
    a_waiting_consumer_is_woken_by_a_publication,
    giving_up_waiting_loses_nothing,
    a_message_is_found_at_its_sequence,
    a_stream_is_scanned_in_pages,
    names_that_no_subject_may_have_are_read_back,
    the_lag_is_what_is_not_acknowledged,
    a_consumer_that_is_ahead_of_a_loss_is_sent_back,
);

#[tokio::test]
async fn another_process_goes_on_where_this_one_crashed() {
    let borrowed = servers::for_test().unwrap();
    contract::before_a_crash(&log(&borrowed.connections).await).await;
    contract::after_the_crash(&log(&borrowed.connections).await).await;
}

#[tokio::test]
async fn a_crash_between_the_dead_letter_and_the_end_of_its_message_neither_loses_nor_doubles_it() {
    let borrowed = servers::for_test().unwrap();
    let log = log(&borrowed.connections).await;
    let ack_wait = Duration::from_millis(300);
    let settings = || ConsumerSettings { name: "choking", ack_wait, deliveries_max: 1, kinds: &[] };
    contract::put(&log, "poison", 1, 0).await.unwrap();
    let mut choking = log.consumer(STREAM, settings()).await.unwrap();
    soon("the poison", choking.next(1)).await.unwrap();
    // What the consumer writes when it parks the message; then its process dies.
    let event = Event { aggregate: "THINGS.choking.poison/1".into(), version: 1, ..contract::event("poison", 1) };
    log.publish(DEAD_LETTERS, &[Publish { event, expected_last: 0 }]).await.remove(0).unwrap();
    drop(choking);
    let mut choking = log.consumer(STREAM, settings()).await.unwrap();
    let settled = async {
        while log.lag(STREAM).await.unwrap().iter().any(|lag| lag.unacknowledged > 0) {
            let came = timeout(Duration::from_millis(50), choking.next(1)).await;
            assert!(came.is_err(), "it had its last delivery: {came:?}");
        }
    };
    soon("the end of the message", settled).await;
    assert_eq!(log.scan(DEAD_LETTERS, 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_the_url_is_one_line_without_the_token() {
    let borrowed = servers::for_test().unwrap();
    let right = &borrowed.connections;
    let (token, place) = right.nats.trim_start_matches("nats://").split_once('@').unwrap();
    let wrong = [
        (format!("nats://no-{token}@{place}"), "refuses the login"),
        (format!("nats://{token}@127.0.0.1:1"), "127.0.0.1:1"),
        (format!("http://{token}@{place}"), "NATS_URL"),
    ];
    for (nats, says) in wrong {
        let Err(error) = JetStreamLog::connect(&Servers { nats, ..right.clone() }, "test").await else {
            panic!("connected")
        };
        let line = error.to_string();
        assert!(line.contains(says) && line.lines().count() == 1 && !line.contains(token), "{line}");
    }
}
