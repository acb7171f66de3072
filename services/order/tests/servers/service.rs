//! The built service over gRPC, on the servers.

use eventlog::Backing;
use order::adapters::streams::PAYMENTS;
use order::domain::Step;
use proto::order::v1::CreateOrderRequest;
use servers::LocalServers;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::redis::Redis;
use tonic::Code;

use crate::site::{Site, by_id, request};
use crate::world::Fault;

async fn on_servers(servers: &store::Servers, settings: &[(&str, &str)]) -> Site {
    Site::on(tempfile::tempdir().unwrap(), Backing::Servers(servers.clone()), settings).await
}

async fn execute(servers: &store::Servers, sql: String) {
    let options = store::postgres::options(&servers.postgres).unwrap().database(&servers.database("order_db"));
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn an_order_goes_its_way_and_its_history_is_in_the_log() {
    let servers = servers::for_test().unwrap();
    let site = on_servers(&servers.connections, &[]).await;
    let client = site.user(1);
    let order = client.order(request("k")).await;
    assert_eq!(order.status, "CONFIRMED");
    let events = site.published(&order.id, 5).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let expected = ["OrderCreated", "StockReserved", "PaymentProcessed", "OrderConfirmed", "StockCommitted"];
    assert_eq!(kinds, expected);
    assert_eq!(client.history(&order.id).await.unwrap().len(), 5);
    assert_eq!(client.attempts(&order.id, 0, 0).await.unwrap().len(), 5);
    assert_eq!(client.list(&order.user_id, 0, 0).await.unwrap()[0].id, order.id);
    assert_eq!(site.world.effects(order.id.parse().unwrap()), ["reserved", "captured", "sold"]);

    site.world.next(Step::ProcessPayment, &[Fault::Declined]);
    let declined = client.order(request("declined")).await;
    assert_eq!((declined.status.as_str(), declined.cancel_reason.as_str()), ("CANCELLED", "declined"));
}

#[tokio::test]
async fn a_restarted_service_carries_its_orders_on() {
    let servers = servers::for_test().unwrap();
    let site = on_servers(&servers.connections, &[("lease", "2100ms")]).await;
    site.world.next(Step::ProcessPayment, &[Fault::HangAfter]);
    let order = site.user(1).order(CreateOrderRequest { wait_ms: 0, ..request("k") }).await;
    site.world.called(Step::ProcessPayment, 1).await;
    let site = site.restart().await;
    assert_eq!(site.user(1).becomes(&order.id, "CONFIRMED").await.id, order.id);
    assert_eq!(site.published(&order.id, 5).await.len(), 5);
    assert_eq!(site.world.effects(order.id.parse().unwrap()), ["reserved", "captured", "sold"]);
}

#[tokio::test]
async fn an_event_in_the_log_wakes_the_order_that_waits_for_it() {
    // Without the event, the next look would come minutes later.
    let servers = servers::for_test().unwrap();
    let patience = [("backoff_base", "300s"), ("backoff_cap", "300s"), ("lease", "600s")];
    let site = on_servers(&servers.connections, &patience).await;
    site.log.prepare(PAYMENTS).await.unwrap();
    site.world.next(Step::ProcessPayment, &[Fault::ReplyLost]);
    let client = site.user(1);
    let order = client.order(CreateOrderRequest { wait_ms: 0, ..request("k") }).await;
    crate::site::eventually(async || {
        let attempts = client.attempts(&order.id, 0, 0).await.unwrap();
        attempts.iter().any(|attempt| attempt.outcome == "unknown").then_some(())
    })
    .await;
    site.publish(PAYMENTS, "PaymentProcessed", &order.id).await;
    client.becomes(&order.id, "CONFIRMED").await;
}

#[tokio::test]
async fn a_key_never_makes_two_orders_with_redis_emptied_or_gone() {
    let mut servers = LocalServers::throwaway().unwrap();
    let connections = servers.connections("");
    let site = on_servers(&connections, &[]).await;
    let client = site.user(1);
    let again = async |key: &str, created: bool| {
        let answer = client.create(request(key)).await.unwrap();
        assert_eq!(answer.created, created, "{key}");
        let other = client.create(CreateOrderRequest { items: vec![by_id(1, 2)], ..request(key) }).await;
        assert_eq!(other.unwrap_err().code(), Code::AlreadyExists, "{key}");
        answer.order.unwrap().id
    };
    let first = again("k", true).await;
    assert_eq!(again("k", false).await, first);

    let redis = Redis::connect(&connections).await.unwrap();
    redis.ask::<()>(&redis::cmd("FLUSHALL")).await.unwrap();
    assert_eq!(again("k", false).await, first, "forgotten");

    // A rumour about a key that was never used.
    let id = kernel::OrderId::derive("shop", crate::harness::user(1), "rumour");
    let key = redis.key(format_args!("order:used:{id}"));
    redis.ask::<()>(redis::cmd("SET").arg(key).arg(1)).await.unwrap();
    again("rumour", true).await;

    servers.redis.kill();
    assert_eq!(again("k", false).await, first, "without Redis");
    again("new", true).await;
    assert_eq!(site.world.units(), 97);
}

#[tokio::test]
async fn a_damaged_projection_is_rebuilt_from_the_log_while_orders_come() {
    let servers = servers::for_test().unwrap();
    let site = on_servers(&servers.connections, &[]).await;
    let client = site.user(1);
    let (first, second) = (client.order(request("a")).await, client.order(request("b")).await);
    let sql = format!(
        "DELETE FROM orders WHERE id = '{}'; UPDATE orders SET total_minor = 1 WHERE id = '{}'",
        first.id, second.id
    );
    execute(&servers.connections, sql).await;
    let buying = async {
        for number in 0..20 {
            assert_eq!(client.order(request(&format!("k{number}"))).await.status, "CONFIRMED");
        }
    };
    let admin = site.admin();
    let (found, ()) = tokio::join!(admin.rebuild(), buying);
    let found = found.unwrap();
    assert_eq!((found.missing, found.differing, found.stray), (1, 1, 0));
    assert_eq!(client.get(&first.id).await.unwrap().status, "CONFIRMED");
    let found = site.service().rebuild().await.unwrap();
    assert_eq!((found.orders, found.missing, found.differing, found.stray), (22, 0, 0, 0));
}
