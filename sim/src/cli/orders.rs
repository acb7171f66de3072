//! `shopctl orders`: those that do not get on by themselves.

use chassis::clock::{Clock, SystemClock};
use http::Method;
use kernel::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Duration;

use super::args::{OrdersCommand, RetryArgs, StuckArgs};
use super::exit::{ExitCode, Failure};
use super::target::{Target, said};
use super::{runtime, say};
use crate::load::client::is_success;

const STUCK: &str = "/api/v1/admin/orders/stuck";

/// Most orders that one call of a command looks at.
const ORDERS_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Page {
    orders: Vec<Stuck>,
}

/// An order that waits for an operator, or whose step fails again and again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stuck {
    id: String,
    status: String,
    #[serde(default)]
    step: Option<String>,
    #[serde(default)]
    attempts: u32,
    /// Microseconds since 1970, as is `due_at_us`.
    since_us: i64,
    #[serde(default)]
    due_at_us: Option<i64>,
    #[serde(default)]
    detail: Option<String>,
}

pub fn run(command: &OrdersCommand) -> Result<ExitCode, Failure> {
    match command {
        OrdersCommand::Stuck(args) => runtime()?.block_on(stuck(args)),
        OrdersCommand::Retry(args) => runtime()?.block_on(retry(args)),
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
    let answer = target.get(STUCK).await?;
    let page: Page = target.understood("list stuck orders", &answer)?;
    Ok(page.orders.into_iter().take(ORDERS_MAX).collect())
}

async fn retry(args: &RetryArgs) -> Result<ExitCode, Failure> {
    let target = Target::sign_in(&args.shop.target, &args.shop.admin).await?;
    let ids =
        if args.all { list(&target).await?.into_iter().map(|order| order.id).collect() } else { args.orders.clone() };
    if ids.is_empty() {
        say("no order is stuck");
    }
    let mut refused = 0;
    for id in &ids {
        let answer = target.call(Method::POST, &format!("/api/v1/admin/orders/{id}/retry"), None).await?;
        if is_success(answer.status) {
            say(format_args!("{id}  goes on"));
        } else {
            refused += 1;
            say(format_args!("{id}  REFUSED: {}", said(&answer)));
        }
    }
    match refused {
        0 => Ok(ExitCode::Kept),
        _ => Err(Failure::invalid(format!("error: {refused} of {} orders were not retried", ids.len()))),
    }
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
        let waits = age(now.since(Timestamp::from_micros(order.since_us)));
        let next = order.due_at_us.map(|due| format!("in {}", age(Timestamp::from_micros(due).since(now))));
        lines.push(format!(
            "{:<36}  {:<14}  {:<15}  {:>8}  {:>8}  {:>8}",
            order.id,
            order.status,
            order.step.as_deref().unwrap_or("-"),
            order.attempts,
            waits,
            next.unwrap_or_else(|| "-".into())
        ));
        lines.extend(order.detail.iter().filter(|detail| !detail.is_empty()).map(|detail| format!("    {detail}")));
    }
    lines.push(
        "mend the cause, then: shopctl orders retry ORDER… or --all; what happened: shopctl explain ORDER".into(),
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
    use super::*;

    #[test]
    fn stuck_orders_are_shown_with_how_long_and_why() {
        let order = Stuck {
            id: "6a3d9c51-51ab-5f7e-9a60-2a4a36c1f0aa".into(),
            status: "NEEDS_OPERATOR".into(),
            step: Some("refund_payment".into()),
            attempts: 12,
            since_us: 0,
            due_at_us: None,
            detail: Some("Unavailable: connection refused".into()),
        };
        let due = Stuck { status: "CANCELLING".into(), due_at_us: Some(601_500_000), detail: None, ..order.clone() };
        insta::assert_snapshot!(table(&[order, due], Timestamp::from_micros(600_000_000)));
        assert_eq!(table(&[], Timestamp::default()), "no order is stuck");
    }
}
