use super::*;
use kernel::Currency;
use proptest::prelude::*;
use uuid::Uuid;

pub(crate) fn line(product: i64, quantity: u32) -> Line {
    Line {
        product_id: ProductId(product),
        sku: format!("P-{product}").parse().unwrap(),
        quantity: quantity.try_into().unwrap(),
        unit_price: Money::new(100, Currency::EUR),
    }
}

pub(crate) fn pending() -> Order {
    let user = UserId::from_uuid(Uuid::from_u128(1));
    let created = Order::create(user, vec![line(1, 2)]).unwrap();
    Order::fold(OrderId::derive("shop", user, "k"), [(created, Timestamp::default())]).unwrap()
}

pub(crate) fn after(events: &[OrderEvent]) -> Result<Order, Rejected> {
    let mut order = pending();
    for event in events {
        order.apply(event, Timestamp::default())?;
    }
    Ok(order)
}

fn every_event() -> Vec<OrderEvent> {
    use OrderEvent as E;
    vec![
        E::StockReserved {},
        E::PaymentProcessed { reference: "r".into() },
        E::OrderConfirmed { user: None },
        E::StockCommitted {},
        E::CancellationStarted { reason: CancelReason::ByClient, compensate: vec![] },
        E::CancellationStarted {
            reason: CancelReason::Declined,
            compensate: vec![Compensation::RefundPayment, Compensation::ReleaseStock],
        },
        E::PaymentRefunded { money_returned: true },
        E::StockReleased { had_reservation: true },
        E::OrderCancelled { user: None, reason: None },
        E::OperatorRequested { why: "?".into() },
        E::OperatorResumed {},
    ]
}

#[test]
fn the_total_is_the_sum_of_the_lines() {
    let created = Order::create(UserId::from_uuid(Uuid::nil()), vec![line(1, 2), line(2, 3)]).unwrap();
    assert!(matches!(created, OrderEvent::OrderCreated { total, .. } if total.minor == 500));
}

#[test]
fn refuses_an_order_of_nothing_of_too_much_and_of_two_currencies() {
    let user = UserId::from_uuid(Uuid::nil());
    assert_eq!(Order::create(user, vec![]), Err(Rejected::Lines(0)));
    assert_eq!(Order::create(user, vec![line(1, 1); LINES_MAX + 1]), Err(Rejected::Lines(LINES_MAX + 1)));
    let mut dollars = line(2, 1);
    dollars.unit_price.currency = "USD".parse().unwrap();
    assert_eq!(Order::create(user, vec![line(1, 1), dollars]), Err(Rejected::Total));
}

#[test]
fn a_confirmed_order_cannot_be_cancelled() {
    use OrderEvent as E;
    let happy = [E::StockReserved {}, E::PaymentProcessed { reference: "r".into() }, E::OrderConfirmed { user: None }];
    let mut order = after(&happy).unwrap();
    let cancel = E::CancellationStarted { reason: CancelReason::ByClient, compensate: vec![] };
    assert!(order.apply(&cancel, Timestamp::default()).is_err());
    assert_eq!(order.status, Status::Confirmed);
}

#[test]
fn is_not_cancelled_before_its_compensations_are_done() {
    use OrderEvent as E;
    let compensate = vec![Compensation::RefundPayment, Compensation::ReleaseStock];
    let start = E::CancellationStarted { reason: CancelReason::ByClient, compensate };
    assert!(after(&[E::StockReserved {}, start.clone(), E::OrderCancelled { user: None, reason: None }]).is_err());
    let release = E::StockReleased { had_reservation: true };
    assert!(after(&[E::StockReserved {}, start.clone(), release.clone()]).is_err(), "out of order");
    let refund = E::PaymentRefunded { money_returned: false };
    let order =
        after(&[E::StockReserved {}, start, refund, release, E::OrderCancelled { user: None, reason: None }]).unwrap();
    assert_eq!(order.status, Status::Cancelled);
}

#[test]
fn an_old_log_replays_from_its_json() {
    let stored = r#"{"kind":"CancellationStarted","data":{"reason":"sold_out","compensate":["release_stock"]}}"#;
    let event: OrderEvent = serde_json::from_str(stored).unwrap();
    let compensate = vec![Compensation::ReleaseStock];
    assert_eq!(event, OrderEvent::CancellationStarted { reason: CancelReason::SoldOut, compensate });
}

#[test]
fn who_and_why_are_told_and_old_logs_that_do_not_say_replay() {
    let (confirmed, cancelled) =
        (OrderEvent::OrderConfirmed { user: None }, OrderEvent::OrderCancelled { user: None, reason: None });
    for (kind, silent) in [("OrderConfirmed", confirmed), ("OrderCancelled", cancelled)] {
        for data in ["{}", r#"{"user":null}"#] {
            let stored = format!(r#"{{"kind":"{kind}","data":{data}}}"#);
            assert_eq!(serde_json::from_str::<OrderEvent>(&stored).unwrap(), silent, "{stored}");
        }
        assert_eq!(serde_json::to_string(&silent).unwrap(), format!(r#"{{"kind":"{kind}","data":{{}}}}"#));
    }
    let (user, reason) = (Some(UserId::from_uuid(Uuid::nil())), Some(CancelReason::SoldOut));
    let told = OrderEvent::OrderCancelled { user, reason };
    let stored = serde_json::to_string(&told).unwrap();
    assert!(stored.contains(r#""user":"00000000-"#) && stored.contains(r#""reason":"sold_out""#), "{stored}");
    assert_eq!(serde_json::from_str::<OrderEvent>(&stored).unwrap(), told);
}

#[test]
fn lines_of_one_product_become_one_line_in_product_order() {
    let lines = vec![line(2, 1), line(1, 1), line(2, 4)];
    let merged = normalised(lines, |line| line.product_id, |line| &mut line.quantity).unwrap();
    assert_eq!(items_fingerprint(&merged), "1x1,2x5");
}

proptest! {
    #[test]
    fn an_orders_total_is_what_its_lines_add_up_to_or_there_is_no_order(
        lines in proptest::collection::vec((1i64..6, 1u32..=Quantity::MAX, 1i64..=i64::MAX), 1..8),
        dollars in any::<bool>(),
    ) {
        let mut lines: Vec<Line> = lines
            .into_iter()
            .map(|(product, quantity, minor)| {
                let mut line = line(product, 1);
                line.quantity = quantity.try_into().unwrap();
                line.unit_price.minor = minor;
                line
            })
            .collect();
        if dollars && let Some(last) = lines.last_mut() {
            last.unit_price.currency = "USD".parse().unwrap();
        }
        let exact: i128 = lines.iter().map(|line| i128::from(line.unit_price.minor) * i128::from(line.quantity.get())).sum();
        let one_currency = !dollars || lines.len() == 1;
        match Order::create(UserId::from_uuid(Uuid::nil()), lines.clone()) {
            Ok(created) => {
                // What is stored is what is read back.
                let json = serde_json::to_string(&created).unwrap();
                let events = [(serde_json::from_str(&json).unwrap(), Timestamp::default())];
                let order = Order::fold(pending().id, events).unwrap();
                prop_assert!(one_currency);
                prop_assert_eq!(i128::from(order.total.minor), exact);
                prop_assert_eq!((order.lines, order.status, order.version), (lines, Status::Pending, 1));
            }
            Err(refusal) => {
                prop_assert_eq!(refusal, Rejected::Total);
                prop_assert!(!one_currency || exact > i128::from(i64::MAX));
            }
        }
    }

    #[test]
    fn no_sequence_of_events_leaves_a_terminal_state_or_takes_an_illegal_step(picks in proptest::collection::vec(0usize..11, 0..40)) {
        let mut order = pending();
        for pick in picks {
            let before = order.clone();
            match order.apply(&every_event()[pick], Timestamp::default()) {
                Ok(()) => {
                    prop_assert!(before.status == order.status || before.status.may_become(order.status));
                    prop_assert!(!before.status.has_ended() || before.status == order.status);
                    prop_assert_eq!(order.version, before.version + 1);
                }
                Err(_) => prop_assert_eq!(before, order.clone()),
            }
        }
    }
}
