//! Facts from a running shop, as far as HTTP shows them.

use kernel::Money;
use order::domain::Line;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Duration;

use super::facts::{Attempt, Facts, Happened, OrderFacts};
use shop::http::Answer;

#[derive(Deserialize)]
struct OrderView {
    id: String,
    #[serde(default)]
    user_id: String,
    status: String,
    cancel_reason: Option<String>,
    items: Vec<Line>,
    total: Money,
    created_at: String,
}

#[derive(Deserialize)]
struct HistoryView {
    events: Vec<EventView>,
}

#[derive(Deserialize)]
struct EventView {
    version: i64,
    r#type: String,
    occurred_at: String,
    data: Value,
}

/// One page of an order's attempts.
#[derive(Deserialize)]
struct AttemptsView {
    items: Vec<AttemptView>,
    /// What the next request asks for as `after`; none on the last page.
    next_after: Option<i64>,
}

#[derive(Deserialize)]
struct AttemptView {
    step: String,
    number: u32,
    outcome: String,
    epoch: i64,
    started_at: String,
    took_us: Option<u64>,
    detail: Option<String>,
}

/// The attempts of one page, and where the next one begins.
///
/// # Errors
/// Why the answer is not what a shop answers.
pub fn attempts(page: &Answer) -> Result<(Vec<Attempt>, Option<i64>), String> {
    let page: AttemptsView = page.json().map_err(|why| format!("the order's attempts: {why}"))?;
    Ok((page.items.into_iter().map(Attempt::try_from).collect::<Result<_, _>>()?, page.next_after))
}

/// What the answers of `orders/{id}` and its `history` tell, both of them successes, with the attempts
/// (`None`: the shop does not show them).
///
/// # Errors
/// Which of them is not what a shop answers, and why.
pub fn facts(order: &Answer, history: &Answer, attempts: Option<Vec<Attempt>>) -> Result<Facts, String> {
    let order: OrderView = order.json().map_err(|why| format!("the order: {why}"))?;
    let history: HistoryView = history.json().map_err(|why| format!("its history: {why}"))?;
    let mut notes =
        vec!["over HTTP the ledger, the stock and the messages are not visible; see --data and --run".to_owned()];
    if attempts.is_none() {
        notes.push("this shop does not show the attempts of the steps".into());
    }
    Ok(Facts {
        order: OrderFacts {
            id: order.id,
            user: order.user_id,
            status: order.status,
            cancel_reason: order.cancel_reason,
            lines: order.items,
            total: order.total,
            epoch: None,
            created_at: order.created_at.parse()?,
            due_at: None,
        },
        events: history.events.into_iter().map(Happened::try_from).collect::<Result<_, _>>()?,
        attempts,
        behind: None,
        client: None,
        faults: Vec::new(),
        breaker: Vec::new(),
        notes,
    })
}

impl TryFrom<EventView> for Happened {
    type Error = String;
    fn try_from(event: EventView) -> Result<Self, String> {
        let EventView { version, r#type: kind, occurred_at, data } = event;
        Ok(Self { version, kind, data, at: occurred_at.parse()?, published: None })
    }
}

impl TryFrom<AttemptView> for Attempt {
    type Error = String;
    fn try_from(view: AttemptView) -> Result<Self, String> {
        let AttemptView { step, number, outcome, epoch, started_at, took_us, detail } = view;
        let (started_at, took) = (started_at.parse()?, took_us.map(Duration::from_micros));
        Ok(Self { step, number, outcome, epoch, started_at, took, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &'static str) -> Answer {
        Answer { status: 200, body: body.into() }
    }

    #[test]
    fn attempts_are_read_page_by_page() {
        let page = r#"{"items":[{"sequence":2,"step":"reserve_stock","number":1,"outcome":"unknown","epoch":1,
            "started_at":"2026-01-08T10:00:00.000300Z","took_us":1200,"detail":"Unavailable: refused"}],"next_after":2}"#;
        let (read, next) = attempts(&answer(page)).unwrap();
        assert_eq!((read[0].ended_at().as_micros() % 1_000_000, next), (1_500, Some(2)));
        assert!(attempts(&answer(r#"{"attempts":[]}"#)).is_err());
    }
}
