//! The timeline.

use kernel::Timestamp;
use serde::Serialize;
use tokio::time::Duration;

use super::conclusion::conclude;
use super::facts::{Attempt, Client, Facts, Happened};
use super::takeover::{TakeOver, take_overs};
use super::words::{self, Skus, span};
use audit::witness::{Record, Seen};

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    Fault,
    Breaker,
    Client,
    Order,
    Inventory,
    Payment,
    Acquirer,
    Courier,
}

impl Actor {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Breaker => "breaker",
            Self::Client => "client",
            Self::Order => "order",
            Self::Inventory => "inventory",
            Self::Payment => "payment",
            Self::Acquirer => "acquirer",
            Self::Courier => "courier",
        }
    }
}

/// One moment of the order's life.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// On the shop's clock, in microseconds since 1970.
    #[serde(rename = "at_us")]
    pub at: Timestamp,
    /// Since the order's creation; negative before it.
    pub since_us: i64,
    pub actor: Actor,
    pub what: String,
    /// Where it is written down, or in whose words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The faults that were active.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub during: Vec<String>,
    /// At equal times what has the lower rank comes first: causes before effects.
    #[serde(skip)]
    rank: u8,
    /// Something went wrong here.
    #[serde(skip)]
    pub amiss: bool,
    /// One of many alike: not worth a line of its own.
    #[serde(skip)]
    pub repeats: bool,
}

/// The whole story. It is also the JSON that `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    /// Of this format.
    pub version: u32,
    pub order: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The idempotency key, if the run's record is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    pub items: String,
    pub total: String,
    pub created_at: String,
    pub created_at_us: i64,
    pub entries: Vec<Entry>,
    pub conclusion: String,
    pub notes: Vec<String>,
}

/// Cause before effect, where the clock shows the same time.
mod rank {
    pub const FAULT: u8 = 0;
    pub const BREAKER: u8 = 1;
    pub const CLIENT_ASKS: u8 = 2;
    pub const TAKEN_OVER: u8 = 3;
    pub const ASKED: u8 = 4;
    pub const PARTICIPANT: u8 = 5;
    pub const ANSWERED: u8 = 6;
    pub const EVENT: u8 = 7;
    pub const MESSAGE: u8 = 8;
    pub const CLIENT_SEES: u8 = 9;
}

impl Story {
    /// Tells the facts; pure.
    pub fn of(facts: &Facts) -> Self {
        let order = &facts.order;
        let mut teller = Teller { facts, skus: Skus::of(&order.lines), entries: Vec::new() };
        teller.order_lane();
        teller.participants();
        teller.messages();
        if let Some(client) = &facts.client {
            teller.client(client);
        }
        teller.surroundings();
        let mut entries = teller.entries;
        entries.sort_by_key(|entry| (entry.at, entry.rank));
        let mut notes = facts.notes.clone();
        if let Some(client) = &facts.client
            && client.within > Duration::from_millis(1)
        {
            notes.push(format!("the client's times are those of the shop's clock to within {}", span(client.within)));
        }
        Self {
            version: 1,
            order: order.id.clone(),
            user: order.user.clone(),
            key: facts.client.as_ref().map(|client| client.key.clone()),
            status: order.status.clone(),
            cancel_reason: order.cancel_reason.clone(),
            items: words::units(&order.lines),
            total: order.total.to_string(),
            created_at: order.created_at.to_string(),
            created_at_us: order.created_at.as_micros(),
            conclusion: conclude(facts),
            entries,
            notes,
        }
    }
}

struct Teller<'a> {
    facts: &'a Facts,
    skus: Skus,
    entries: Vec<Entry>,
}

impl Teller<'_> {
    fn entry(&self, at: Timestamp, rank: u8, actor: Actor, what: String) -> Entry {
        let since_us = at.as_micros().saturating_sub(self.facts.order.created_at.as_micros());
        let during = self.facts.faults.iter().filter(|fault| fault.touches(at, at));
        let during = during.map(|fault| fault.name.clone()).collect();
        Entry { at, since_us, actor, what, detail: None, during, rank, amiss: false, repeats: false }
    }

    /// The order's own doings. They are in order by versions and attempts, whatever the clock says: at
    /// equal times none is put before what came first.
    fn order_lane(&mut self) {
        let events = &self.facts.events;
        let attempts = self.facts.attempts.as_deref().unwrap_or_default();
        let mut lane: Vec<Entry> = Vec::new();
        let take_overs = take_overs(self.facts);
        let mut before: Option<&Attempt> = None;
        let mut told = 0;
        for (index, attempt) in attempts.iter().enumerate() {
            let own = events.iter().position(|event| {
                attempt.outcome == "done" && words::step_of(&event.kind) == Some(attempt.step.as_str())
            });
            // What was committed before this attempt began, and is no attempt's success.
            let earlier =
                own.unwrap_or_else(|| events.iter().take_while(|event| event.at <= attempt.started_at).count());
            while told < earlier {
                lane.push(self.event(&events[told], None));
                told += 1;
            }
            lane.extend(take_overs.iter().filter(|one| std::ptr::eq(one.by, attempt)).map(|one| self.taken_over(one)));
            let told_so_far = lane.len();
            if attempt.took.is_some() {
                lane.push(self.asked(before, attempt));
            }
            match own {
                Some(own) if own == told => {
                    lane.push(self.event(&events[own], Some(attempt)));
                    told += 1;
                }
                _ => lane.push(self.answered(attempt)),
            }
            let repeats = is_repetition(attempts, index);
            lane[told_so_far..].iter_mut().for_each(|entry| entry.repeats = repeats);
            before = Some(attempt);
        }
        lane.extend(events[told..].iter().map(|event| self.event(event, None)));
        let mut floor = (Timestamp::from_micros(i64::MIN), 0);
        for entry in &mut lane {
            if entry.at == floor.0 {
                entry.rank = entry.rank.max(floor.1);
            }
            floor = (entry.at, entry.rank);
        }
        self.entries.extend(lane);
    }

    fn taken_over(&self, taken: &TakeOver<'_>) -> Entry {
        let TakeOver { by, from, silence, lost_owner, .. } = taken;
        let epochs = format!("(epoch {from} → {})", by.epoch);
        let what = if *lost_owner {
            format!("recovery takes the order over {epochs}: nothing was written for {}", span(*silence))
        } else {
            format!("is taken over more than once {epochs}: an operator's retry, or an owner who wrote nothing")
        };
        let mut entry = self.entry(by.started_at, rank::TAKEN_OVER, Actor::Order, what);
        entry.amiss = true;
        entry
    }

    fn asked(&self, before: Option<&Attempt>, attempt: &Attempt) -> Entry {
        let order = &self.facts.order;
        let asks = match before.filter(|last| last.step == attempt.step && !last.is_decided()) {
            Some(last) => format!("asks again, {} later", span(attempt.started_at.since(last.ended_at()))),
            None => words::asks(&attempt.step, &order.lines, order.total),
        };
        let what = format!("{} {asks}", name(attempt));
        self.entry(attempt.started_at, rank::ASKED, Actor::Order, what)
    }

    fn answered(&self, attempt: &Attempt) -> Entry {
        let took = attempt.took.map(|took| format!(" after {}", span(took))).unwrap_or_default();
        let said = attempt.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let what = match attempt.outcome.as_str() {
            "unknown" => format!("{} ends unknown{took}{said}", name(attempt)),
            "ongoing" => format!("{} is still under way{took}{said}", name(attempt)),
            outcome => format!("{} is {outcome}{took}{said}", name(attempt)),
        };
        let mut entry = self.entry(attempt.ended_at(), rank::ANSWERED, Actor::Order, what);
        let faults = self.facts.faults.iter().filter(|fault| fault.touches(attempt.started_at, attempt.ended_at()));
        entry.during = faults.map(|fault| fault.name.clone()).collect();
        entry.amiss = attempt.outcome != "done";
        entry
    }

    /// An event of the order, with the attempt that brought it about.
    fn event(&self, event: &Happened, attempt: Option<&Attempt>) -> Entry {
        let order = &self.facts.order;
        let text = |field: &str| event.data[field].as_str().unwrap_or_default();
        let owner = || self.epoch_after(event).map(|epoch| format!(" under epoch {epoch}")).unwrap_or_default();
        let what = match event.kind.as_str() {
            "OrderCreated" => format!("created: PENDING, {} for {}", words::units(&order.lines), order.total),
            "CancellationStarted" if text("reason") == "by_client" => {
                format!("its client cancels: the order is taken over{}; {}", owner(), words::to_undo(event))
            }
            "CancellationStarted" => {
                format!("decides to abort ({}); {}", words::because(text("reason")), words::to_undo(event))
            }
            "OperatorRequested" => format!("calls for an operator: {}", text("why")),
            "OperatorResumed" => format!("an operator resumes it{}", owner()),
            _ => match (attempt, words::step_of(&event.kind)) {
                (Some(attempt), _) => {
                    let took = attempt.took.map(|took| format!(" after {}", span(took))).unwrap_or_default();
                    format!("{} is done{took}: {}", name(attempt), words::means(event))
                }
                (None, Some(step)) => format!("{step} is done: {}", words::means(event)),
                (None, None) => event.kind.clone(),
            },
        };
        let mut entry = self.entry(event.at, rank::EVENT, Actor::Order, what);
        entry.detail = self.place("ORDERS", event);
        entry.amiss = matches!(event.kind.as_str(), "CancellationStarted" | "OperatorRequested");
        entry
    }

    /// The epoch of whoever drives the order after it was taken over by a command.
    fn epoch_after(&self, event: &Happened) -> Option<i64> {
        let attempts = self.facts.attempts.as_deref()?;
        let next = attempts.iter().find(|attempt| attempt.started_at >= event.at);
        next.map(|attempt| attempt.epoch).or(self.facts.order.epoch)
    }

    /// Where an event stands in its stream.
    fn place(&self, stream: &str, event: &Happened) -> Option<String> {
        match event.published {
            Some(sequence) => Some(format!("{stream} {sequence}")),
            // Over HTTP the history is the stream, without its sequences.
            None => self.facts.behind.as_ref().map(|_| format!("not yet in {stream}")),
        }
    }

    fn participants(&mut self) {
        let Some(behind) = &self.facts.behind else { return };
        let mut entries = Vec::new();
        for event in &behind.inventory {
            let what = words::inventory(event, &self.skus);
            let what = format!("{what}{}", self.unrecorded("reserve_stock", &["StockReserved", "StockRefused"], event));
            let mut entry = self.entry(event.at, rank::PARTICIPANT, Actor::Inventory, what);
            entry.detail = self.place("INVENTORY", event);
            entries.push(entry);
        }
        for event in &behind.payment {
            let what =
                format!("{}{}", words::payment(event), self.unrecorded("process_payment", &["PaymentIntended"], event));
            let mut entry = self.entry(event.at, rank::PARTICIPANT, Actor::Payment, what);
            entry.detail = self.place("PAYMENTS", event);
            entries.push(entry);
        }
        for line in &behind.ledger {
            let mut entry = self.entry(line.at, rank::PARTICIPANT, Actor::Acquirer, words::ledger(line));
            entry.detail = Some(format!("ledger line {}", line.sequence));
            entries.push(entry);
        }
        self.entries.extend(entries);
    }

    /// An effect without an attempt that was recorded: its owner crashed or was overtaken, and the
    /// answer was lost.
    fn unrecorded(&self, step: &str, kinds: &[&str], event: &Happened) -> &'static str {
        let Some(attempts) = &self.facts.attempts else { return "" };
        let asked = attempts.iter().any(|attempt| attempt.step == step && attempt.started_at <= event.at);
        if asked || !kinds.contains(&event.kind.as_str()) {
            return "";
        }
        // The order may be waiting for this very answer.
        let later = attempts.iter().any(|attempt| attempt.started_at > event.at)
            || self.facts.events.iter().any(|other| other.at > event.at);
        if !later {
            return "; the attempt that asked for it is not written down yet";
        }
        "; the attempt was never written down: its owner was overtaken, or died"
    }

    fn messages(&mut self) {
        let messages = self.facts.behind.as_ref().and_then(|behind| behind.messages.as_deref()).unwrap_or_default();
        let entries = messages.iter().map(|message| {
            let mut entry = self.entry(message.at, rank::MESSAGE, Actor::Courier, words::message(message));
            entry.detail = Some(short_event(&message.event_id));
            entry
        });
        let entries: Vec<Entry> = entries.collect();
        self.entries.extend(entries);
    }

    fn client(&mut self, client: &Client) {
        let mut asked = false;
        for (at, record) in &client.seen {
            let (rank, what, amiss) = match record {
                Record::Sent { items, .. } if !asked => {
                    (rank::CLIENT_ASKS, format!("asks for {}", words::items(items)), false)
                }
                Record::Sent { .. } => (rank::CLIENT_ASKS, "asks again with the same key".into(), false),
                Record::Reply { http, order, took_us, .. } => {
                    let took = span(Duration::from_micros(*took_us));
                    let told = order.as_ref().map_or_else(|| "no order".into(), state);
                    (rank::CLIENT_SEES, format!("is told {told} (HTTP {http}, {took} after it was due)"), *http >= 400)
                }
                Record::NoReply { sent, why, .. } => {
                    let may = if *sent { "the order may exist" } else { "nothing was sent" };
                    (rank::CLIENT_SEES, format!("gets no answer: {why}; {may}"), true)
                }
                Record::Saw { order, .. } => (rank::CLIENT_SEES, format!("sees {}", state(order)), false),
                Record::Fate { .. } | Record::Restock { .. } | Record::Restocked { .. } => continue,
            };
            asked = true;
            let mut entry = self.entry(*at, rank, Actor::Client, what);
            entry.amiss = amiss;
            self.entries.push(entry);
        }
    }

    /// Faults and the breaker, as far as they touch the order's life, and how they stood when it began.
    fn surroundings(&mut self) {
        let created = self.facts.order.created_at;
        let ends = self.entries.iter().map(|entry| entry.at);
        let (from, until) = (ends.clone().min().unwrap_or(created), ends.max().unwrap_or(created));
        let mut entries = Vec::new();
        for fault in self.facts.faults.iter().filter(|fault| fault.touches(from, until)) {
            let what = format!("{} begins: {} of {}", fault.name, fault.kind, fault.target);
            entries.push(self.entry(fault.from, rank::FAULT, Actor::Fault, what));
            if let Some(lifted) = fault.until.filter(|lifted| *lifted <= until) {
                entries.push(self.entry(lifted, rank::FAULT, Actor::Fault, format!("{} is lifted", fault.name)));
            }
        }
        let moves = &self.facts.breaker;
        let first = moves.iter().rposition(|one| one.at_us <= from.as_micros());
        // What it was before only matters if it was not its usual self.
        let first = first.map_or(0, |index| if moves[index].to == "closed" { index + 1 } else { index });
        for one in moves[first..].iter().take_while(|one| one.at_us <= until.as_micros()) {
            let what = format!("{} → {}: {}", one.from, one.to, one.why);
            entries.push(self.entry(Timestamp::from_micros(one.at_us), rank::BREAKER, Actor::Breaker, what));
        }
        self.entries.extend(entries);
    }
}

/// How many attempts of a long series are told at its beginning and at its end.
const SERIES_BEGINS: usize = 3;
const SERIES_ENDS: usize = 2;

/// Whether an attempt without a decision stands in the middle of a series of them.
fn is_repetition(attempts: &[Attempt], index: usize) -> bool {
    let Some(middle) = attempts.get(index).filter(|attempt| !attempt.is_decided()) else { return false };
    let alike = |attempt: &Attempt| attempt.step == middle.step && attempt.outcome == middle.outcome;
    let before = attempts[..index].iter().rev().take(SERIES_BEGINS).filter(|attempt| alike(attempt)).count();
    let after = attempts[index + 1..].iter().take(SERIES_ENDS).filter(|attempt| alike(attempt)).count();
    before == SERIES_BEGINS && after == SERIES_ENDS
}

/// `process_payment #2 (epoch 3)`.
fn name(attempt: &Attempt) -> String {
    format!("{} #{} (epoch {})", attempt.step, attempt.number, attempt.epoch)
}

fn state(seen: &Seen) -> String {
    match &seen.reason {
        Some(reason) => format!("{}, {}", seen.status, words::because(reason)),
        None => seen.status.clone(),
    }
}

/// `ORDERS/<order>/5` → `event 5 of ORDERS`.
fn short_event(id: &str) -> String {
    let parts: Vec<&str> = id.split('/').collect();
    match parts.as_slice() {
        [stream, _, version] => format!("event {version} of {stream}"),
        _ => id.to_owned(),
    }
}
