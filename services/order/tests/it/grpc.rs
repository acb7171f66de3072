//! The built service over gRPC: who may call what, with which input, and what travels with a call.

use std::time::Duration;

use order::adapters::streams::{INVENTORY, PAYMENTS};
use order::domain::Step;
use proto::order::v1::{CreateOrderRequest, Item, ListStuckRequest};
use tonic::Code;

use crate::harness::user;
use crate::site::{Site, build, by_id, by_sku, eventually, request};
use crate::world::Fault;

/// The code and the message of a refusal.
fn refusal<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> (Code, String) {
    let status = answer.expect_err("it should have been refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn an_order_is_placed_shown_listed_and_remembered() {
    let site = Site::open().await;
    let client = site.user(1);
    let answer =
        client.create(CreateOrderRequest { items: vec![by_sku("P-2", 3), by_id(1, 1)], ..request("k") }).await.unwrap();
    assert!(answer.created && answer.ended);
    let order = answer.order.unwrap();
    assert_eq!((order.status.as_str(), order.user_id.as_str()), ("CONFIRMED", user(1).to_string().as_str()));
    let lines: Vec<_> = order.lines.iter().map(|line| (line.product_id, line.sku.as_str(), line.quantity)).collect();
    assert_eq!(lines, [(1, "P-1", 1), (2, "P-2", 3)]);
    let total = order.total.clone().unwrap();
    assert_eq!((total.minor, total.currency.as_str()), (4000, "EUR"));

    let events = site.published(&order.id, 5).await;
    let shown = client.get(&order.id).await.unwrap();
    assert_eq!((shown.id.as_str(), shown.version), (order.id.as_str(), 5));
    assert_eq!(client.list(&order.user_id, 0, 0).await.unwrap(), [shown]);
    let history = client.history(&order.id).await.unwrap();
    let kinds: Vec<_> = history.iter().map(|event| (event.version, event.r#type.as_str())).collect();
    let expected = ["OrderCreated", "StockReserved", "PaymentProcessed", "OrderConfirmed", "StockCommitted"];
    assert!(kinds.iter().copied().eq((1..).zip(expected)), "{kinds:?}");
    assert!(history.iter().zip(&events).all(|(shown, event)| shown.data_json == event.data));
    assert!(history[2].data_json.contains(&format!("ch-{}", order.id)), "{}", history[2].data_json);
    assert!(history[3].data_json.contains(&order.user_id), "whom to tell: {}", history[3].data_json);
}

#[tokio::test]
async fn who_does_not_wait_is_answered_with_a_pending_order() {
    let site = Site::open().await;
    let client = site.user(1);
    let answer = client.create(CreateOrderRequest { wait_ms: 0, ..request("k") }).await.unwrap();
    let order = answer.order.unwrap();
    assert_eq!((answer.created, answer.ended, order.status.as_str()), (true, false, "PENDING"));
    client.becomes(&order.id, "CONFIRMED").await;
}

#[tokio::test]
async fn refusals_of_the_peers_cancel_the_order_and_name_the_reason() {
    for (fault, units, reason) in [
        (Some(Fault::Declined), 1, "declined"),
        (Some(Fault::BreakerOpen), 1, "unavailable"),
        (None, 1_000, "sold_out"),
    ] {
        let site = Site::open().await;
        site.world.next(Step::ProcessPayment, fault.as_slice());
        let order = site.user(1).order(CreateOrderRequest { items: vec![by_id(1, units)], ..request("k") }).await;
        assert_eq!((order.status.as_str(), order.cancel_reason.as_str()), ("CANCELLED", reason));
        assert_eq!(site.world.units(), 100);
    }
}

#[tokio::test]
async fn what_a_peer_does_not_answer_is_asked_again() {
    let site = Site::with(&[("step_timeout", "1s"), ("lease", "5s")]).await;
    site.world.next(Step::ReserveStock, &[Fault::HangAfter, Fault::RequestLost]);
    site.world.next(Step::ProcessPayment, &[Fault::ReplyLost, Fault::Ongoing(Duration::from_millis(10))]);
    site.world.next(Step::CommitStock, &[Fault::ReplyLost]);
    let client = site.user(1);
    let order = client.order(request("k")).await;
    assert_eq!(order.status, "CONFIRMED");
    site.published(&order.id, 5).await;
    let id = order.id.parse().unwrap();
    assert_eq!(site.world.effects(id), ["reserved", "captured", "sold"]);
    assert_eq!(site.world.calls(id).len(), 3 + 3 + 2);
}

#[tokio::test]
async fn nobody_in_particular_may_do_nothing() {
    let site = Site::open().await;
    let (order, owner) = (site.user(1).order(request("k")).await, user(1).to_string());
    for client in [site.anonymous(), site.client(Some("rubbish"))] {
        assert_eq!(refusal(client.create(request("k2")).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.get(&order.id).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.history(&order.id).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.cancel(&order.id).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.list(&owner, 0, 0).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.list("", 0, 0).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.attempts(&order.id, 0, 0).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.stuck(Default::default()).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.retry(&order.id).await).0, Code::Unauthenticated);
        assert_eq!(refusal(client.rebuild().await).0, Code::Unauthenticated);
    }
    assert_eq!(site.staff().list("", 0, 0).await.unwrap().len(), 1, "none of it left a trace");
}

#[tokio::test]
async fn an_order_is_its_owners_and_the_staffs() {
    let site = Site::open().await;
    site.world.always(Step::ProcessPayment, Fault::Ongoing(Duration::from_millis(50)));
    let (owner, other) = (site.user(1), site.user(2));
    let order = owner.order(CreateOrderRequest { wait_ms: 0, ..request("k") }).await;

    assert_eq!(refusal(other.create(request("k2")).await).0, Code::PermissionDenied, "in another's name");
    assert_eq!(refusal(other.get(&order.id).await).0, Code::PermissionDenied);
    assert_eq!(refusal(other.history(&order.id).await).0, Code::PermissionDenied);
    assert_eq!(refusal(other.cancel(&order.id).await).0, Code::PermissionDenied);
    assert_eq!(refusal(other.list(&order.user_id, 0, 0).await).0, Code::PermissionDenied);
    assert_eq!(refusal(other.list("", 0, 0).await).0, Code::PermissionDenied, "everybody's");
    assert_eq!(refusal(owner.list("", 0, 0).await).0, Code::PermissionDenied, "everybody's");
    assert_eq!(refusal(other.attempts(&order.id, 0, 0).await).0, Code::PermissionDenied);
    for client in [&owner, &other] {
        assert_eq!(refusal(client.stuck(Default::default()).await).0, Code::PermissionDenied);
        assert_eq!(refusal(client.retry(&order.id).await).0, Code::PermissionDenied, "not even one's own");
    }

    for client in [&owner, &site.staff(), &site.service()] {
        assert_eq!(client.get(&order.id).await.unwrap().id, order.id);
        assert_eq!(client.list(&order.user_id, 0, 0).await.unwrap().len(), 1);
        assert!(!client.attempts(&order.id, 0, 0).await.unwrap().is_empty());
    }
    assert_eq!(site.staff().cancel(&order.id).await.unwrap().cancel_reason, "by_client");
}

#[tokio::test]
async fn bad_input_is_refused_with_the_name_of_the_field() {
    let site = Site::open().await;
    let client = site.user(1);
    let items = |items: Vec<Item>| CreateOrderRequest { items, ..request("k") };
    let key = |key: &str| CreateOrderRequest { idempotency_key: key.into(), ..request("k") };
    for (request, field) in [
        (items(vec![]), "items"),
        (items(vec![by_id(1, 1); 101]), "items"),
        (items(vec![by_id(1, 1), by_id(2, 0)]), "items[1]: quantity"),
        (items(vec![by_id(1, 2_000_000)]), "items[0]: quantity"),
        (items(vec![by_sku("a b", 1)]), "items[0]"),
        (items(vec![by_sku("", 1)]), "items[0]"),
        (items(vec![Item { product: None, quantity: 1 }]), "items[0]"),
        (key(""), "idempotency_key"),
        (key("with space"), "idempotency_key"),
        (key("tab\tbed"), "idempotency_key"),
        (key("ümlaut"), "idempotency_key"),
        (key(&"x".repeat(129)), "idempotency_key"),
        (CreateOrderRequest { user_id: "me".into(), ..request("k") }, "user_id"),
    ] {
        let (code, message) = refusal(client.create(request).await);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.starts_with(&format!("{field}: ")), "{field}: {message}");
    }
    let too_much = items(vec![by_id(1, 1_000_000), by_sku("P-1", 1)]);
    let (code, message) = refusal(client.create(too_much).await);
    assert_eq!(code, Code::InvalidArgument, "one line by two names");
    assert!(message.starts_with("items: "), "{message}");
    assert_eq!(refusal(client.list("me", 0, 0).await).0, Code::InvalidArgument);
    let (code, message) = refusal(client.list_behind(&user(1).to_string(), 0, "17", 0).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("after_id: "), "{message}");
    assert!(client.list(&user(1).to_string(), 0, 0).await.unwrap().is_empty(), "none of it left a trace");
    let longest = CreateOrderRequest { items: vec![by_id(1, 1); 100], ..key(&"x".repeat(128)) };
    assert_eq!(client.order(longest).await.lines.len(), 1, "at the very bounds");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let site = Site::open().await;
    let client = site.user(1);
    for item in [by_id(5000, 1), by_id(-1, 1), by_sku("NOTHING", 1)] {
        let (code, message) = refusal(client.create(CreateOrderRequest { items: vec![item], ..request("k") }).await);
        assert_eq!(code, Code::NotFound, "{message}");
    }
    for id in ["", "42", "00000000-0000-0000-0000-000000000042"] {
        assert_eq!(refusal(client.get(id).await).0, Code::NotFound);
        assert_eq!(refusal(client.history(id).await).0, Code::NotFound);
        assert_eq!(refusal(client.cancel(id).await).0, Code::NotFound);
        assert_eq!(refusal(client.attempts(id, 0, 0).await).0, Code::NotFound);
        assert_eq!(refusal(site.staff().retry(id).await).0, Code::NotFound);
    }
}

#[tokio::test]
async fn without_the_catalogue_the_answer_is_unavailable_and_there_is_no_order() {
    let site = Site::open().await;
    site.world.set_catalogue_down(true);
    assert_eq!(refusal(site.user(1).create(request("k")).await).0, Code::Unavailable);
    assert!(site.staff().list("", 0, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_repeated_key_is_the_same_order_and_one_used_for_other_items_is_refused() {
    let site = Site::open().await;
    let client = site.user(1);
    let (first, second) = tokio::join!(client.create(request("k")), client.create(request("k")));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.created, second.created);
    assert_eq!(first.order.unwrap().id, second.order.unwrap().id);
    let other = CreateOrderRequest { items: vec![by_id(1, 2)], ..request("k") };
    assert_eq!(refusal(client.create(other).await).0, Code::AlreadyExists);
    assert_eq!(site.world.units(), 99);
}

#[tokio::test]
async fn an_order_is_cancelled_until_it_is_confirmed() {
    let site = Site::open().await;
    let client = site.user(1);
    let confirmed = client.order(request("a")).await;
    assert_eq!(refusal(client.cancel(&confirmed.id).await).0, Code::FailedPrecondition);

    site.world.always(Step::ProcessPayment, Fault::HangAfter);
    let order = client.order(CreateOrderRequest { wait_ms: 0, ..request("b") }).await;
    site.world.called(Step::ProcessPayment, 2).await;
    let cancelling = client.cancel(&order.id).await.unwrap();
    assert_eq!((cancelling.status.as_str(), cancelling.cancel_reason.as_str()), ("CANCELLING", "by_client"));
    let cancelled = client.becomes(&order.id, "CANCELLED").await;
    assert_eq!(client.cancel(&order.id).await.unwrap(), cancelled);
    let effects = site.world.effects(order.id.parse().unwrap());
    assert_eq!(effects, ["reserved", "captured", "refunded", "released"]);
}

#[tokio::test]
async fn one_trace_runs_from_the_client_through_the_peers_into_every_event() {
    let site = Site::open().await;
    let client = site.user(1);
    let order = client.order(request("k")).await;
    let trace = client.context.trace.unwrap();
    let events = site.published(&order.id, 5).await;
    let in_trace = |text: &str| text.starts_with(&format!("00-{:032x}-", trace.trace_id));
    for event in &events {
        assert!(in_trace(event.traceparent.as_deref().unwrap()), "{event:?}");
    }
    let sql = "SELECT traceparent FROM order_events UNION ALL SELECT traceparent FROM orders";
    let connection = site.database();
    let mut statement = connection.prepare(sql).unwrap();
    let stored: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(stored.len(), 6);
    assert!(stored.iter().all(|text| in_trace(text)), "{stored:?}");
    assert_eq!(site.peers.called_in(trace.trace_id), ["product", "inventory", "payment", "inventory"]);
}

#[tokio::test]
async fn lists_come_oldest_first_in_pages() {
    let site = Site::open().await;
    let client = site.user(1);
    for number in 0..25 {
        client.order(CreateOrderRequest { wait_ms: 0, ..request(&format!("k{number}")) }).await;
    }
    let list = async |after, limit| client.list(&user(1).to_string(), after, limit).await.unwrap();
    let all = list(0, 100).await;
    assert_eq!(all.len(), 25);
    assert!(all.is_sorted_by_key(|order| order.created_at_us));
    assert_eq!(list(0, 0).await.len(), 20, "a page if nobody says how many");
    assert_eq!(list(0, 4_000_000_000).await.len(), 25, "a bound that is too high is lowered");
    let ids = |orders: &[proto::order::v1::Order]| orders.iter().map(|order| order.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&list(all[9].created_at_us, 10).await), ids(&all[10..20]));
    let behind = client.list_behind(&user(1).to_string(), all[9].created_at_us, &all[9].id, 10).await.unwrap();
    assert_eq!(ids(&behind), ids(&all[10..20]));
}

#[tokio::test]
async fn an_event_in_the_log_wakes_the_order_that_waits_for_it() {
    for (step, stream, kind) in
        [(Step::ProcessPayment, PAYMENTS, "PaymentProcessed"), (Step::ReserveStock, INVENTORY, "StockReserved")]
    {
        // Without the event, the next look would come minutes later.
        let site = Site::with(&[("backoff_base", "300s"), ("backoff_cap", "300s"), ("lease", "600s")]).await;
        site.world.next(step, &[Fault::ReplyLost]);
        let client = site.user(1);
        let order = client.order(CreateOrderRequest { wait_ms: 0, ..request("k") }).await;
        eventually(async || {
            let sql = "SELECT count(*) FROM orders WHERE unknown_step IS NOT NULL";
            let unknown: i64 = site.database().query_row(sql, [], |row| row.get(0)).unwrap();
            (unknown == 1).then_some(())
        })
        .await;
        site.publish(stream, kind, &order.id).await;
        client.becomes(&order.id, "CONFIRMED").await;
    }
}

#[tokio::test]
async fn a_restarted_service_carries_its_orders_on() {
    let site = Site::with(&[("lease", "2100ms")]).await;
    site.world.next(Step::ProcessPayment, &[Fault::HangAfter]);
    let order = site.user(1).order(CreateOrderRequest { wait_ms: 0, ..request("k") }).await;
    site.world.called(Step::ProcessPayment, 1).await;
    let site = site.restart().await;
    let client = site.user(1);
    assert_eq!(client.becomes(&order.id, "CONFIRMED").await.id, order.id);
    assert_eq!(site.published(&order.id, 5).await.len(), 5);
    assert_eq!(site.world.effects(order.id.parse().unwrap()), ["reserved", "captured", "sold"]);
}

#[tokio::test]
async fn steps_are_measured_by_outcome() {
    let site = Site::open().await;
    site.world.next(Step::ReserveStock, &[Fault::ReplyLost]);
    let order = site.user(1).order(request("k")).await;
    site.published(&order.id, 5).await;
    let answer = site.ops("/steps").await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let steps: serde_json::Value = serde_json::from_str(body).unwrap();
    let measured = steps.as_array().unwrap().iter();
    let measured = measured.map(|one| format!("{} {} {}", one["step"], one["outcome"], one["count"]).replace('"', ""));
    let expected = [
        "create done 1",
        "reserve_stock done 1",
        "reserve_stock unknown 1",
        "process_payment done 1",
        "confirm done 1",
        "commit_stock done 1",
    ];
    assert_eq!(measured.collect::<Vec<_>>(), expected);
    let metrics = site.ops("/metrics").await;
    assert!(metrics.contains(r#"saga_step_duration_seconds_count{service="order",step="confirm",outcome="done"} 1"#));
    assert!(metrics.contains(r#"saga_retries_total{service="order",step="reserve_stock"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"retry_budget_tokens{service="order"} "#), "{metrics}");
}

#[tokio::test]
async fn attempts_under_way_are_counted_by_step() {
    let site = Site::open().await;
    site.world.next(Step::ReserveStock, &[Fault::HangBefore]);
    site.user(1).order(CreateOrderRequest { wait_ms: 0, ..request("k") }).await;
    site.world.called(Step::ReserveStock, 1).await;
    let answer = site.ops("/steps/in_flight").await;
    let in_flight: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let mut expected: serde_json::Map<String, serde_json::Value> =
        Step::ALL.iter().map(|step| (step.to_string(), 0.into())).collect();
    expected.insert("reserve_stock".into(), 1.into());
    assert_eq!(in_flight, serde_json::Value::Object(expected));
}

#[tokio::test]
async fn a_refund_that_answers_errors_is_listed_for_an_operator_whose_retry_ends_it() {
    let site = Site::with(&[("operator_after", "3"), ("retry_budget", "1")]).await;
    site.world.next(Step::ProcessPayment, &[Fault::BreakerOpen]);
    site.world.always(Step::RefundPayment, Fault::Broken);
    let (client, staff) = (site.user(1), site.staff());
    let order = client.order(CreateOrderRequest { wait_ms: 0, ..request("k") }).await;
    let asking = client.becomes(&order.id, "NEEDS_OPERATOR").await;

    let stuck = staff.stuck(Default::default()).await.unwrap();
    assert_eq!(stuck.len(), 1);
    assert_eq!((stuck[0].id.as_str(), stuck[0].user_id.as_str()), (order.id.as_str(), order.user_id.as_str()));
    assert_eq!((stuck[0].status.as_str(), stuck[0].step.as_str()), ("NEEDS_OPERATOR", "refund_payment"));
    assert_eq!((stuck[0].attempts, stuck[0].detail.as_str()), (3, "Internal: a bug"));
    assert_eq!((stuck[0].since_us, stuck[0].due_at_us), (asking.updated_at_us, None));
    let behind = ListStuckRequest { after_since_us: stuck[0].since_us, after_id: order.id.clone(), limit: 0 };
    assert!(staff.stuck(behind).await.unwrap().is_empty());
    let attempts = client.attempts(&order.id, 0, 0).await.unwrap();
    let of_refund: Vec<_> = attempts.iter().filter(|attempt| attempt.step == "refund_payment").collect();
    let facts = of_refund.iter().map(|attempt| (attempt.number, attempt.outcome.as_str(), attempt.took_us.is_some()));
    assert!(facts.eq([(1, "unknown", true), (2, "unknown", true), (3, "unknown", true)]));
    let words = |attempts: &[proto::order::v1::Attempt]| {
        attempts.iter().map(|attempt| attempt.detail.clone()).filter(|detail| !detail.is_empty()).collect::<Vec<_>>()
    };
    assert!(words(&attempts).is_empty(), "what participants say is not for customers");
    for client in [&staff, &site.service()] {
        let told = words(&client.attempts(&order.id, 0, 0).await.unwrap());
        assert_eq!(told, ["unavailable", "Internal: a bug", "Internal: a bug", "Internal: a bug"]);
    }
    let last = of_refund[2].sequence;
    assert!(client.attempts(&order.id, last, 0).await.unwrap().is_empty(), "a page ends where the next begins");
    assert_eq!(client.attempts(&order.id, last - 1, 1).await.unwrap().len(), 1);

    site.world.heal();
    assert_eq!(staff.retry(&order.id).await.unwrap().status, "CANCELLING");
    let cancelled = client.becomes(&order.id, "CANCELLED").await;
    assert!(staff.stuck(Default::default()).await.unwrap().is_empty());
    let (code, message) = refusal(staff.retry(&order.id).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("CANCELLED") && message.contains("nothing is left to do"), "{message}");
    assert_eq!(client.get(&order.id).await.unwrap(), cancelled, "refused, it changes nothing");
    let ended = site.published(&order.id, cancelled.version as usize).await.pop().unwrap();
    assert_eq!(ended.kind, "OrderCancelled");
    assert!(ended.data.contains(&order.user_id) && ended.data.contains("unavailable"), "{}", ended.data);
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_it_starts() {
    let all = ["product", "inventory", "payment"];
    for missing in all {
        let peers: Vec<_> = all.into_iter().filter(|role| *role != missing).collect();
        assert!(build(&[], &peers).await.unwrap_err().to_string().contains(missing), "{missing}");
    }
    let error = build(&[("lease", "2s"), ("step_timeout", "2s")], &all).await.unwrap_err().to_string();
    assert!(error.contains("order.lease") && error.contains("order.step_timeout"), "{error}");
}

#[tokio::test]
async fn a_damaged_projection_is_rebuilt_from_the_log_by_an_admin() {
    let site = Site::open().await;
    let client = site.user(1);
    let (first, second) = (client.order(request("a")).await, client.order(request("b")).await);
    site.tamper(&format!(
        "DELETE FROM orders WHERE id = '{}'; UPDATE orders SET total_minor = 1 WHERE id = '{}'",
        first.id, second.id
    ))
    .await;
    assert_eq!(refusal(client.get(&first.id).await).0, Code::NotFound);
    for other in [&client, &site.staff()] {
        assert_eq!(refusal(other.rebuild().await).0, Code::PermissionDenied);
    }
    let found = site.admin().rebuild().await.unwrap();
    assert_eq!((found.orders, found.missing, found.differing, found.stray), (2, 1, 1, 0));
    assert_eq!(client.get(&first.id).await.unwrap().status, "CONFIRMED");
    let again = client.create(request("a")).await.unwrap();
    assert_eq!((again.created, again.order.unwrap().id), (false, first.id));
    let found = site.service().rebuild().await.unwrap();
    assert_eq!((found.orders, found.missing, found.differing, found.stray), (2, 0, 0, 0));

    // As if the log had been lost: what it does not have cannot be made from it.
    site.tamper("DELETE FROM orders").await;
    site.lose_events(&second.id);
    let (code, message) = refusal(site.admin().rebuild().await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("lacks events of 1 orders") && message.contains(&second.id), "{message}");
}
