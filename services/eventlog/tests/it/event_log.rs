//! The embedded event log keeps the contract, in virtual time and across a crash.

use std::sync::Arc;
use std::time::Duration;

use chassis::metrics::Metrics;
use eventlog::counted::CountedLog;
use eventlog::{ConsumerSettings, EventLog};

use crate::contract;
use crate::world::World;

/// A new log as roles use it: counted.
fn log(world: &World, metrics: &Metrics) -> Arc<dyn EventLog> {
    CountedLog::over(world.log(), metrics)
}

/// Runs each case of the contract on a new log.
macro_rules! keeps {
    ($($case:ident),* $(,)?) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $case() {
                contract::$case(&*log(&World::new(), &Metrics::new("test"))).await;
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

#[tokio::test(start_paused = true)]
async fn what_the_log_has_taken_and_what_consumers_are_done_with_is_counted() {
    let (world, metrics) = (World::new(), Metrics::new("test"));
    let log = log(&world, &metrics);
    let first = contract::put(&*log, "a", 1, 0).await.unwrap();
    contract::put(&*log, "a", 2, first).await.unwrap();
    contract::put(&*log, "b", 1, first).await.unwrap_err();
    let settings = ConsumerSettings { name: "c", ack_wait: Duration::from_secs(9), deliveries_max: 9, kinds: &[] };
    let mut consumer = log.consumer(contract::STREAM, settings).await.unwrap();
    let counts = |published: u32, consumed: u32| {
        let (text, stream) = (metrics.render(), contract::STREAM);
        for line in [
            format!("events_published_total{{service=\"test\",stream=\"{stream}\"}} {published}\n"),
            format!("events_consumed_total{{service=\"test\",stream=\"{stream}\",consumer=\"c\"}} {consumed}\n"),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    };
    counts(2, 0);
    let messages = consumer.next(1).await.unwrap();
    counts(2, 0);
    consumer.acknowledge(&[messages[0].sequence]).await.unwrap();
    counts(2, 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_no_message_and_no_place() {
    let world = World::new();
    contract::before_a_crash(&*world.log()).await;
    contract::after_the_crash(&*world.log()).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_consumer_sleeps_until_it_is_woken() {
    let world = World::new();
    let log = world.log();
    let settings = ConsumerSettings { name: "idle", ack_wait: Duration::from_millis(1), deliveries_max: 1, kinds: &[] };
    let mut consumer = log.consumer(contract::STREAM, settings).await.unwrap();
    let before = world.clock.readings();
    let came = tokio::time::timeout(Duration::from_secs(3600), consumer.next(1)).await;
    assert!(came.is_err());
    let looked = world.clock.readings() - before;
    assert!(looked <= 2, "looked {looked} times at the clock in an idle hour");
}
