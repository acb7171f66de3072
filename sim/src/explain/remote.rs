//! Facts from a running shop, as far as HTTP shows them.

use kernel::{Money, Timestamp};
use order::domain::Line;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Duration;

use super::facts::{Attempt, Facts, Happened, OrderFacts};
use crate::load::client::Answer;

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

#[derive(Deserialize)]
struct AttemptsView {
    attempts: Vec<AttemptView>,
}

#[derive(Deserialize)]
struct AttemptView {
    step: String,
    number: u32,
    outcome: String,
    epoch: i64,
    started_at_us: i64,
    took_us: Option<u64>,
    detail: Option<String>,
}

/// What the answers of `orders/{id}`, its `history` and its `attempts` (`None`: the shop does not show
/// them) tell; all of them are successes.
///
/// # Errors
/// Which of them is not what a shop answers, and why.
pub fn facts(order: &Answer, history: &Answer, attempts: Option<&Answer>) -> Result<Facts, String> {
    let order: OrderView = order.json().map_err(|why| format!("the order: {why}"))?;
    let history: HistoryView = history.json().map_err(|why| format!("its history: {why}"))?;
    let attempts: Option<AttemptsView> =
        attempts.map(Answer::json).transpose().map_err(|why| format!("its attempts: {why}"))?;
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
        attempts: attempts.map(|view| view.attempts.into_iter().map(Attempt::from).collect()),
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

impl From<AttemptView> for Attempt {
    fn from(view: AttemptView) -> Self {
        let AttemptView { step, number, outcome, epoch, started_at_us, took_us, detail } = view;
        let (started_at, took) = (Timestamp::from_micros(started_at_us), took_us.map(Duration::from_micros));
        Self { step, number, outcome, epoch, started_at, took, detail }
    }
}
