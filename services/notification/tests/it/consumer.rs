//! From the event log to the provider's ledger, whatever happens on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use eventlog::EventLog;
use eventlog::consume::Handler;
use notification::adapters::streams::{ORDERS, PAYMENTS};
use tokio::time::Instant;

use crate::harness::{Setup, Shop};
use crate::people::{STRANGER, address, order, user};

/// What a confirmed order leaves in the ledger.
fn confirmation(number: u128) -> Vec<(String, String, String)> {
    let event = format!("ORDERS/{}/2", order(number));
    let phone = format!("+447700900{number:03}");
    vec![(event.clone(), "email".into(), address(number)), (event, "sms".into(), phone)]
}

fn confirmations(numbers: impl Iterator<Item = u128>) -> BTreeSet<(String, String, String)> {
    numbers.flat_map(confirmation).collect()
}

fn sent(shop: &Shop) -> BTreeSet<(String, String, String)> {
    let lines = shop.sent();
    let distinct: BTreeSet<_> = lines.iter().cloned().collect();
    assert_eq!(distinct.len(), lines.len(), "the ledger has one line for each message");
    distinct
}

#[test]
fn customers_are_told_of_every_end_of_an_order_and_of_nothing_else() {
    Setup::new().process(async |shop| {
        let (one, two) = (order(1).to_string(), order(2).to_string());
        shop.confirmed_order(1).await;
        shop.publish(ORDERS, &one, "StockCommitted", "{}").await;
        let named = format!(r#"{{"user":"{}"}}"#, user(2));
        shop.publish(ORDERS, &two, "OrderCreated", &named).await;
        let failed = format!(
            r#"{{"order_id":"{two}","user_id":"{}","amount":{{"minor":1900,"currency":"EUR"}},"not_after":1,
                "reference":"acq_1","reason":"declined"}}"#,
            user(2)
        );
        shop.publish(PAYMENTS, &two, "PaymentIntended", &failed).await;
        shop.publish(PAYMENTS, &two, "PaymentFailed", &failed).await;
        shop.publish(ORDERS, &two, "OrderCancelled", &named).await;
        shop.serve().await;

        let mut expected = confirmation(1);
        expected.push((format!("ORDERS/{two}/2"), "email".into(), address(2)));
        expected.push((format!("PAYMENTS/{two}/2"), "email".into(), address(2)));
        assert_eq!(shop.sent(), expected);
        let ledger = shop.ledger();
        assert_eq!(ledger.iter().map(|line| line.order_id.clone()).collect::<Vec<_>>(), [&*one, &one, &two, &two]);
        assert!(ledger[3].body.contains("19.00 EUR") && ledger[3].body.contains("declined"), "{}", ledger[3].body);
        let metrics = shop.metrics.render();
        for counted in [
            r#"channel="email",kind="OrderConfirmed",outcome="accepted"} 1"#,
            r#"channel="sms",kind="OrderConfirmed",outcome="accepted"} 1"#,
            r#"channel="email",kind="PaymentFailed",outcome="accepted"} 1"#,
        ] {
            assert!(metrics.lines().any(|line| line.starts_with("notifications_total") && line.ends_with(counted)));
        }
        assert!(shop.dead_letters().await.is_empty());
    });
}

#[test]
fn events_that_do_not_name_the_buyer_are_told_to_whoever_placed_the_order() {
    Setup::new().process(async |shop| {
        let order = order(1).to_string();
        let created = format!(r#"{{"user":"{}","lines":[],"total":{{"minor":0,"currency":"EUR"}}}}"#, user(7));
        shop.publish(ORDERS, &order, "OrderCreated", &created).await;
        shop.publish(ORDERS, &order, "OrderConfirmed", "{}").await;
        shop.publish(PAYMENTS, &order, "PaymentFailed", r#"{"user_id":null,"amount":null}"#).await;
        shop.serve().await;
        let told: Vec<String> = shop.sent().into_iter().map(|(_, _, recipient)| recipient).collect();
        assert_eq!(told, [address(7), "+447700900007".into(), address(7)]);
    });
}

#[test]
fn an_event_that_names_the_buyer_needs_no_other_event() {
    Setup::new().process(async |shop| {
        let named = format!(r#"{{"user":"{}"}}"#, user(7));
        shop.publish(ORDERS, &order(1).to_string(), "OrderCancelled", &named).await;
        shop.serve().await;
        assert_eq!(shop.sent(), [(format!("ORDERS/{}/1", order(1)), "email".into(), address(7))]);
    });
}

#[test]
fn an_event_delivered_twice_makes_one_message() {
    Setup::new().process(async |shop| {
        shop.confirmed_order(1).await;
        // Somebody of the same name handled it all and died before it was acknowledged.
        let mut dying = shop.consumer(ORDERS).await;
        for message in dying.next(10).await.unwrap() {
            shop.announce.handle(&message).await.unwrap();
        }
        drop(dying);
        let before = shop.ledger();
        shop.serve().await;
        assert_eq!(shop.handed_over(), [2, 2], "mail and text message were handed over twice");
        assert_eq!(shop.ledger(), before);
        assert_eq!(sent(shop), confirmations(1..=1));
    });
}

#[test]
fn a_provider_that_fails_half_of_the_time_gets_every_message_once_in_the_end() {
    let mut setup = Setup::new();
    setup.manners.failure_rate = 0.5;
    setup.deliveries = 100;
    setup.process(async |shop| {
        for number in 0..50 {
            shop.confirmed_order(number).await;
        }
        shop.serve().await;
        assert_eq!(sent(shop), confirmations(0..50));
        assert!(shop.handed_over().into_iter().sum::<u32>() > 150, "it did not fail at all");
        assert!(shop.dead_letters().await.is_empty());
    });
}

#[test]
fn poison_goes_to_the_dead_letters_and_the_others_go_on() {
    let mut setup = Setup::new();
    setup.deliveries = 3;
    setup.process(async |shop| {
        let named = |number| format!(r#"{{"user":"{}"}}"#, user(number));
        let poison = [
            (order(101).to_string(), "{".to_owned()),
            (order(102).to_string(), r#"{"user":5}"#.to_owned()),
            // Nobody knows who placed it.
            (order(103).to_string(), "{}".to_owned()),
            (order(104).to_string(), named(STRANGER)),
            ("no-order".to_owned(), named(1)),
        ];
        for (number, (aggregate, data)) in (0..).zip(&poison) {
            shop.publish(ORDERS, aggregate, "OrderConfirmed", data).await;
            shop.confirmed_order(number).await;
        }
        shop.serve().await;
        assert_eq!(sent(shop), confirmations(0..5));
        let parked = poison.map(|(aggregate, _)| format!("ORDERS.notification-service.{aggregate}/1"));
        assert_eq!(shop.dead_letters().await, parked);
    });
}

#[test]
fn what_no_repetition_can_help_is_parked_at_its_first_delivery() {
    Setup::new().process(async |shop| {
        let stranger = format!(r#"{{"user":"{}"}}"#, user(STRANGER));
        let poison = [
            (order(101).to_string(), "{".to_owned()),
            (order(102).to_string(), stranger.clone()),
            ("no-order".to_owned(), stranger),
        ];
        for (aggregate, data) in &poison {
            shop.publish(ORDERS, aggregate, "OrderConfirmed", data).await;
        }
        let started = Instant::now();
        shop.serve().await;
        assert!(started.elapsed() < Duration::from_millis(100), "nothing was put off: {:?}", started.elapsed());
        let parked = poison.map(|(aggregate, _)| format!("ORDERS.notification-service.{aggregate}/1"));
        assert_eq!(shop.dead_letters().await, parked);
        let metrics = shop.metrics.render();
        for channel in ["email", "sms"] {
            let counted = format!(r#"channel="{channel}",kind="OrderConfirmed",outcome="unaddressed"}} 1"#);
            assert!(metrics.contains(&counted), "asked for once: {metrics}");
        }
    });
}

#[test]
fn an_order_whose_beginning_is_late_is_told_of_when_it_is_there() {
    Setup::new().process(async |shop| {
        let order = order(1).to_string();
        shop.publish(PAYMENTS, &order, "PaymentFailed", r#"{"user_id":null,"amount":null}"#).await;
        let begin = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            shop.publish(ORDERS, &order, "OrderCreated", &format!(r#"{{"user":"{}"}}"#, user(7))).await;
        };
        tokio::join!(shop.serve_until(|| !shop.ledger().is_empty()), begin);
        assert!(shop.dead_letters().await.is_empty());
    });
}

#[test]
fn a_provider_that_is_out_of_order_for_good_makes_dead_letters_and_not_silence() {
    let mut setup = Setup::new();
    setup.manners.failure_rate = 1.0;
    setup.deliveries = 4;
    setup.process(async |shop| {
        let named = format!(r#"{{"user":"{}"}}"#, user(1));
        shop.publish(ORDERS, &order(1).to_string(), "OrderCancelled", &named).await;
        shop.serve().await;
        assert_eq!(shop.handed_over(), [4]);
        assert_eq!(shop.dead_letters().await, [format!("ORDERS.notification-service.{}/1", order(1))]);
    });
}

#[test]
fn a_service_killed_in_the_middle_sends_nothing_twice_and_loses_nothing() {
    let mut setup = Setup::new();
    setup.concurrency = 4;
    setup.process(async |shop| {
        for number in 0..60 {
            shop.confirmed_order(number).await;
        }
    });
    // Killed at several places of the same batch and of the next ones.
    for lines in [10, 30, 70] {
        let (before, after) = setup.process(async |shop| {
            let before = shop.ledger();
            shop.serve_until(|| shop.ledger().len() >= lines).await;
            (before, shop.ledger())
        });
        assert!(after.len() < 120, "killed too late to prove anything");
        assert!(before.iter().all(|line| after.contains(line)), "what was accepted stays as it is");
    }
    setup.process(async |shop| {
        shop.serve().await;
        assert_eq!(sent(shop), confirmations(0..60));
        assert!(shop.handed_over().contains(&2), "nothing was handed over again: it was never in the middle");
        assert!(shop.dead_letters().await.is_empty());
        assert_eq!(shop.log.read(ORDERS, &order(1).to_string()).await.unwrap().len(), 2);
    });
}
