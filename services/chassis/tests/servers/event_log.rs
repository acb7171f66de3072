//! The event log on JetStream keeps the contract, across a lost connection too.

use chassis::Servers;
use chassis::events::jetstream::JetStreamLog;
use chassis::events::{EventLog, Stream};

use crate::contract;

/// A log of this test's own, with all its streams.
pub async fn log(servers: &Servers) -> JetStreamLog {
    let log = JetStreamLog::connect(servers, "test").await.unwrap();
    for stream in Stream::ALL {
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
