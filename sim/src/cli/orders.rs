//! `shopctl orders`: those that do not get on by themselves, and the projection of all.

use chassis::clock::{Clock, SystemClock};
use http::Method;
use kernel::{OrderId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Duration;

use super::args::{OrdersCommand, RetryArgs, StuckArgs, TargetArgs};
use super::target::{Target, said};
use super::{runtime, say};
use experiment::report::exit::{ExitCode, Failure};
use shop::http::is_success;

const STUCK: &str = "/api/v1/admin/orders/stuck";
const REBUILD: &str = "/api/v1/admin/orders/rebuild";

/// The shop answers within 50 s, and goes on if it is not done by then: whoever asks again waits for the end.
const REBUILD_DEADLINE: Duration = Duration::from_secs(60);
const REBUILD_ASKED_MAX: usize = 20;

/// Orders asked for at once, the most that the shop answers, and how many pages are read.
const PAGE: usize = 100;
const PAGES_MAX: usize = 100;

#[derive(Deserialize)]
struct Page {
    items: Vec<Stuck>,
    /// What the next request asks for as `after`; none on the last page.
    next: Option<String>,
}

/// What a rebuild found.
#[derive(Debug, Deserialize)]
struct Rebuilt {
    orders: u64,
    missing: u64,
    differing: u64,
    stray: u64,
}

/// An order that waits for an operator, or whose step fails again and again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stuck {
    order_id: String,
    status: String,
    step: String,
    attempts: u32,
    /// The order's last event, in RFC 3339, as is `due_at`.
    since: String,
    /// None for an order that waits for an operator.
    due_at: Option<String>,
    detail: Option<String>,
}

pub fn run(command: &OrdersCommand) -> Result<ExitCode, Failure> {
    match command {
        OrdersCommand::Stuck(args) => runtime()?.block_on(stuck(args)),
        OrdersCommand::Retry(args) => runtime()?.block_on(retry(args)),
        OrdersCommand::Rebuild { shop } => runtime()?.block_on(rebuild(shop)),
    }
}

async fn stuck(args: &StuckArgs) -> Result<ExitCode, Failure> {
    let target = Target::sign_in(&args.shop.target, &args.shop.admin).await?;
    let orders = list(&target).await?;
    if args.json {
        let json = serde_json::json!({ "orders": orders });
        let json = serde_json::to_string_pretty(&json).map_err(|error| Failure::shop(format!("error: {error}")))?;
        say(json);
    } else {
        say(table(&orders, SystemClock.now()));
    }
    Ok(ExitCode::Kept)
}

async fn list(target: &Target) -> Result<Vec<Stuck>, Failure> {
    let mut orders: Vec<Stuck> = Vec::new();
    let mut path = format!("{STUCK}?limit={PAGE}");
    for _ in 0..PAGES_MAX {
        let answer = target.get(&path).await?;
        let page: Page = target.understood("list stuck orders", &answer)?;
        orders.extend(page.items);
        let Some(next) = page.next else { break };
        path = format!("{STUCK}?limit={PAGE}&after={next}");
    }
    Ok(orders)
}

async fn retry(args: &RetryArgs) -> Result<ExitCode, Failure> {
    let ids: Vec<OrderId> = args.orders.iter().map(|id| whole_id(id)).collect::<Result<_, _>>()?;
    let target = Target::sign_in(&args.shop.target, &args.shop.admin).await?;
    let ids = if args.all {
        let orders = list(&target).await?;
        orders.into_iter().map(|order| order.order_id).collect()
    } else {
        ids.iter().map(OrderId::to_string).collect::<Vec<_>>()
    };
    if ids.is_empty() {
        say("no order is stuck");
    }
    let (mut refused, mut code) = (0, ExitCode::Invalid);
    for id in &ids {
        let answer = target.call(Method::POST, &format!("/api/v1/admin/orders/{id}/retry"), None).await?;
        if is_success(answer.status) {
            say(format_args!("{id}  goes on"));
        } else {
            refused += 1;
            if answer.status >= 500 {
                code = ExitCode::ShopFailed;
            }
            say(format_args!("{id}  REFUSED: {}", said(&answer)));
        }
    }
    match refused {
        0 => Ok(ExitCode::Kept),
        _ => Err(Failure { code, message: format!("error: {refused} of {} orders were not retried", ids.len()) }),
    }
}

async fn rebuild(shop: &TargetArgs) -> Result<ExitCode, Failure> {
    let target = Target::sign_in(&shop.target, &shop.admin).await?;
    let mut asked = 1;
    let answer = loop {
        let answer = target.call_within(REBUILD_DEADLINE, Method::POST, REBUILD, None).await?;
        if answer.status != 504 || asked == REBUILD_ASKED_MAX {
            break answer;
        }
        asked += 1;
    };
    if answer.status == 409 {
        return Err(Failure::invalid(format!("error: nothing was changed: {}", said(&answer))));
    }
    let Rebuilt { orders, missing, differing, stray } = target.understood("rebuild the projection", &answer)?;
    say(format_args!(
        "{orders} orders rebuilt: {missing} had no row, {differing} rows were wrong, {stray} rows were no order's"
    ));
    Ok(ExitCode::Kept)
}

fn whole_id(text: &str) -> Result<OrderId, Failure> {
    text.parse()
        .map_err(|_| Failure::invalid(format!("error: {text}: a whole order id is needed, as `orders stuck` shows it")))
}

fn table(orders: &[Stuck], now: Timestamp) -> String {
    if orders.is_empty() {
        return "no order is stuck".into();
    }
    let mut lines = vec![format!(
        "{:<36}  {:<14}  {:<15}  {:>8}  {:>8}  {:>8}",
        "order", "status", "step", "attempts", "for", "next"
    )];
    for order in orders {
        // A time that cannot be read is shown as it is.
        let waits = order.since.parse().map_or_else(|_| order.since.clone(), |since| age(now.since(since)));
        let next = order.due_at.as_deref().map(|due| {
            due.parse().map_or_else(|_| due.to_owned(), |due: Timestamp| format!("in {}", age(due.since(now))))
        });
        lines.push(format!(
            "{:<36}  {:<14}  {:<15}  {:>8}  {:>8}  {:>8}",
            order.order_id,
            order.status,
            order.step,
            order.attempts,
            waits,
            next.unwrap_or_else(|| "-".into())
        ));
        lines.extend(order.detail.iter().filter(|detail| !detail.is_empty()).map(|detail| format!("    {detail}")));
    }
    lines.push(
        "mend the cause, then: shopctl orders retry ORDER… or --all; what happened: shopctl explain ORDER --target URL"
            .into(),
    );
    lines.join("\n")
}

/// Whole seconds, minutes, hours or days.
fn age(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::cli::args::{AdminArgs, TargetArgs};

    const ONE: &str = "6a3d9c51-51ab-5f7e-9a60-2a4a36c1f0aa";
    const TWO: &str = "6a3d9c51-51ab-5f7e-9a60-2a4a36c1f0bb";

    fn stuck_order(id: &str, status: &str, due_at: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "order_id": id, "user_id": "u", "status": status, "step": "refund_payment", "attempts": 12,
            "detail": "Unavailable: connection refused", "since": "2026-01-08T10:00:00.000000Z", "due_at": due_at,
        })
    }

    #[test]
    fn stuck_orders_are_shown_with_how_long_and_why() {
        let orders = [
            stuck_order(ONE, "NEEDS_OPERATOR", None),
            stuck_order(TWO, "CANCELLING", Some("2026-01-08T10:10:01.500000Z")),
        ];
        let orders = orders.map(|order| serde_json::from_value(order).unwrap());
        insta::assert_snapshot!(table(&orders, "2026-01-08T10:10:00Z".parse().unwrap()));
        assert_eq!(table(&[], Timestamp::default()), "no order is stuck");
    }

    /// A shop that knows these answers by "METHOD path", everything else is a 404.
    fn shop_that_says(answers: Vec<(String, u16, serde_json::Value)>) -> TargetArgs {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let answers: BTreeMap<_, _> = answers.into_iter().map(|(line, status, body)| (line, (status, body))).collect();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let read = socket.read(&mut request).await.unwrap();
                let line = String::from_utf8_lossy(&request[..read]);
                let line = line.split(" HTTP/").next().unwrap_or_default();
                let (status, body) = answers.get(line).cloned().unwrap_or((404, serde_json::json!({})));
                let body = body.to_string();
                let head =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                socket.write_all((head + &body).as_bytes()).await.unwrap();
            }
        });
        let admin = AdminArgs { admin_email: "admin@example.test".into(), admin_password: "x".into() };
        TargetArgs { target: format!("http://{address}"), admin }
    }

    fn shop_with_two_stuck_orders() -> TargetArgs {
        let page = |order, next: Option<&str>| serde_json::json!({ "items": [order], "next": next });
        let refusal =
            serde_json::json!({ "title": "Its state does not allow this", "detail": "nothing is left to do" });
        shop_that_says(vec![
            ("POST /api/v1/users/login".into(), 200, serde_json::json!({ "token": "t" })),
            (
                "GET /api/v1/admin/orders/stuck?limit=100".into(),
                200,
                page(stuck_order(ONE, "NEEDS_OPERATOR", None), Some("7.x")),
            ),
            (
                "GET /api/v1/admin/orders/stuck?limit=100&after=7.x".into(),
                200,
                page(stuck_order(TWO, "CANCELLING", None), None),
            ),
            (format!("POST /api/v1/admin/orders/{ONE}/retry"), 200, serde_json::json!({})),
            (format!("POST /api/v1/admin/orders/{TWO}/retry"), 409, refusal),
        ])
    }

    #[tokio::test]
    async fn every_page_of_stuck_orders_is_read() {
        let shop = shop_with_two_stuck_orders();
        let target = Target::sign_in(&shop.target, &shop.admin).await.map_err(|failure| failure.message).unwrap();
        let orders = list(&target).await.map_err(|failure| failure.message).unwrap();
        assert_eq!(orders.iter().map(|order| order.order_id.as_str()).collect::<Vec<_>>(), [ONE, TWO]);
    }

    async fn rebuilding(status: u16, body: serde_json::Value) -> Result<ExitCode, Failure> {
        let login = ("POST /api/v1/users/login".into(), 200, serde_json::json!({ "token": "t" }));
        rebuild(&shop_that_says(vec![login, (format!("POST {REBUILD}"), status, body)])).await
    }

    #[tokio::test]
    async fn a_rebuild_is_told_or_why_there_was_none() {
        let found = serde_json::json!({ "orders": 7, "missing": 3, "differing": 2, "stray": 1 });
        assert_eq!(rebuilding(200, found).await.map_err(|failure| failure.message), Ok(ExitCode::Kept));
        let refusal = serde_json::json!({ "title": "Not now", "detail": "the event log lacks events of 2 orders" });
        let failure = rebuilding(409, refusal).await.unwrap_err();
        assert_eq!(failure.code, ExitCode::Invalid);
        assert!(
            failure.message.contains("nothing was changed") && failure.message.contains("lacks events"),
            "{failure:?}"
        );
        assert_eq!(rebuilding(503, serde_json::json!({})).await.unwrap_err().code, ExitCode::ShopFailed);
        assert!(rebuilding(504, serde_json::json!({})).await.is_err(), "it is not asked for ever");
    }

    #[tokio::test]
    async fn a_refused_retry_does_not_keep_others_from_theirs_and_is_counted() {
        let (orders, all) = (vec![ONE.to_owned(), TWO.to_owned()], true);
        let given = RetryArgs { orders, all: false, shop: shop_with_two_stuck_orders() };
        let every = RetryArgs { orders: Vec::new(), all, shop: shop_with_two_stuck_orders() };
        for args in [given, every] {
            let failure = retry(&args).await.unwrap_err();
            assert_eq!(failure.code, ExitCode::Invalid);
            assert!(failure.message.contains("1 of 2 orders"), "{}", failure.message);
        }
        let one = RetryArgs { orders: vec![ONE.to_owned()], all: false, shop: shop_with_two_stuck_orders() };
        assert_eq!(retry(&one).await.map_err(|failure| failure.message), Ok(ExitCode::Kept));
        let shortened = RetryArgs { orders: vec![ONE[..8].to_owned()], all: false, shop: shop_with_two_stuck_orders() };
        assert!(retry(&shortened).await.unwrap_err().message.contains("a whole order id is needed"));
    }
}
