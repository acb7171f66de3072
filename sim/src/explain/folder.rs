//! Facts from a shop's data folder, and from the run around it. A running shop may go on writing:
//! each database is read in one transaction, that is, as it was at one moment.

use std::path::{Path, PathBuf};

use kernel::{Money, Timestamp};
use order::domain::Line;
use rusqlite::{Connection, OptionalExtension, Row};
use store::StoreError;
use store::sqlite::Storage;
use tokio::time::Duration;

use super::facts::{Attempt, Behind, Client, Facts, Fault, Happened, LedgerLine, Message, OrderFacts, Reservation};
use super::record::RunRecord;
use audit::rows::all;
use experiment::report::Summary;
use world::lock::FolderLock;
use world::probe::observe::Transition;

/// An id may be cut to so many characters.
const PREFIX_MIN: usize = 6;
/// Most orders that an ambiguous prefix is answered with.
const NAMED_MAX: usize = 5;
/// Names as near as this to what was typed are suggested.
const NEAR: f64 = 0.85;

/// Where the books are, and what a run has left beside them.
pub struct Folder {
    path: PathBuf,
    storage: Storage,
    orders: Connection,
    record: Option<RunRecord>,
    around: Option<Around>,
    notes: Vec<String>,
}

/// What surrounded the orders of a run.
#[derive(Debug, Clone, Default)]
pub struct Around {
    pub faults: Vec<Fault>,
    pub breaker: Vec<Transition>,
    /// The shop's clock at the load's start, in microseconds since 1970; 0 if nobody has noted it.
    pub started_at_us: i64,
}

impl Folder {
    /// A data folder, of `shopctl up --data`.
    ///
    /// # Errors
    /// One line: there are no books here.
    pub fn data(path: &Path) -> Result<Self, String> {
        if !path.is_dir() {
            return Err(format!("{}: no such folder", path.display()));
        }
        let storage = Storage::Folder(path.to_owned());
        let orders = storage
            .open_read_only(order::DATABASE)
            .map_err(|error| format!("{}: no books here: {error}", path.display()))?;
        let mut notes = Vec::new();
        if FolderLock::is_taken(path) {
            notes.push("a shop is running on this folder: what is under way is not in the books yet".into());
        }
        Ok(Self { path: path.to_owned(), storage, orders, record: None, around: None, notes })
    }

    /// A run's folder, of `shopctl run`.
    ///
    /// # Errors
    /// One line: there are no books here, or what is beside them cannot be read.
    pub fn run(path: &Path) -> Result<Self, String> {
        if !path.is_dir() {
            return Err(format!("{}: no such folder", path.display()));
        }
        let mut folder = Self::data(&path.join("data"))?;
        let record = path.join("orders.jsonl");
        if record.exists() {
            folder.record = Some(RunRecord::read(&record)?);
        } else {
            folder.notes.push("there is no orders.jsonl here: what its client saw is not known".into());
        }
        let summary = path.join("summary.json");
        if summary.exists() {
            let named = |error: &dyn std::fmt::Display| format!("{}: {error}", summary.display());
            let text = std::fs::read_to_string(&summary).map_err(|error| named(&error))?;
            let summary: Summary = serde_json::from_str(&text).map_err(|error| named(&error))?;
            folder.around = Some(Around::from(&summary));
        } else {
            folder.notes.push("there is no summary.json here: faults and breaker are not known".into());
        }
        Ok(folder)
    }

    /// The books of a simulation, while they are there.
    ///
    /// # Errors
    /// One line: there are none, or the record cannot be read.
    pub fn simulated(storage: &Storage, record: Vec<u8>, around: Around) -> Result<Self, String> {
        let orders = storage.open_read_only(order::DATABASE).map_err(|error| format!("no books: {error}"))?;
        let (path, record) = (PathBuf::from("the simulation"), Some(RunRecord::of(record)?));
        Ok(Self { path, storage: storage.clone(), orders, record, around: Some(around), notes: Vec::new() })
    }

    /// The id of the order that is meant: by its id, the beginning of it, or an idempotency key of the run.
    ///
    /// # Errors
    /// One line: none or several are meant, with what is near.
    pub fn find(&self, wanted: &str) -> Result<String, String> {
        let keys: Vec<_> =
            self.record.iter().flat_map(|record| &record.keys).filter(|(owner, _)| owner.1 == wanted).collect();
        match keys.as_slice() {
            [] => {}
            [(_, placed)] => return self.of_key(wanted, placed.order.as_deref(), placed.refused.as_deref()),
            several => {
                let orders = several.iter().filter_map(|(_, placed)| placed.order.as_deref());
                return Err(ambiguous(wanted, "is a key of several users, with orders", orders));
            }
        }
        let begins = wanted.to_ascii_lowercase();
        if begins.len() < PREFIX_MIN {
            return Err(format!("{wanted}: give at least {PREFIX_MIN} characters of an order id, or a whole key"));
        }
        let ids = self.ids().map_err(|error| self.named(&error))?;
        let found: Vec<&str> = ids.iter().map(String::as_str).filter(|id| id.starts_with(&begins)).collect();
        match found.as_slice() {
            [id] => Ok((*id).to_owned()),
            [] => Err(self.unknown(wanted, &ids)),
            several => Err(ambiguous(wanted, "is the beginning of several orders", several.iter().copied())),
        }
    }

    fn of_key(&self, key: &str, order: Option<&str>, refused: Option<&str>) -> Result<String, String> {
        let known = order.filter(|id| matches!(self.created(id), Ok(Some(_))));
        known.map(str::to_owned).ok_or_else(|| {
            let ended = refused.map(|why| format!(" (its client got: {why})")).unwrap_or_default();
            format!("{key}: a key of this run, but it made no order{ended}")
        })
    }

    fn unknown(&self, wanted: &str, ids: &[String]) -> String {
        let keys = self.record.iter().flat_map(|record| record.keys.keys()).map(|owner| owner.1.as_str());
        let near = ids.iter().map(String::as_str).chain(keys).map(|name| (strsim::jaro_winkler(name, wanted), name));
        let nearest = near.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(likeness, _)| *likeness >= NEAR);
        let what = if self.record.is_some() { "no order and no key of this run" } else { "no order of this shop" };
        let hint = match nearest {
            Some((_, name)) => format!("; did you mean `{name}`?"),
            None if self.record.is_some() => String::new(),
            None => "; keys are known from a run's record alone (--run DIR)".into(),
        };
        format!("{wanted}: {what} is called so{hint}")
    }

    fn named(&self, error: &StoreError) -> String {
        format!("{}: {error}", self.path.display())
    }

    /// Whether there is an order with this id.
    pub fn has(&self, id: &str) -> bool {
        matches!(self.created(id), Ok(Some(_)))
    }

    /// The first orders, by id, that somebody has to look at again.
    ///
    /// # Errors
    /// When the books cannot be read.
    pub fn due(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM orders WHERE due_at IS NOT NULL ORDER BY id LIMIT 5";
        all(&self.orders, sql, [], |row| row.get(0))
    }

    fn ids(&self) -> Result<Vec<String>, StoreError> {
        all(&self.orders, "SELECT id FROM orders ORDER BY id", [], |row| row.get(0))
    }

    fn created(&self, id: &str) -> Result<Option<Timestamp>, StoreError> {
        let mut statement = self.orders.prepare_cached("SELECT created_at FROM orders WHERE id = ?1")?;
        let at: Option<i64> = statement.query_row([id], |row| row.get(0)).optional()?;
        Ok(at.map(Timestamp::from_micros))
    }

    /// Everything about one order.
    ///
    /// # Errors
    /// One line: a book cannot be read.
    pub fn facts(&self, id: &str) -> Result<Facts, String> {
        let (order, events, attempts) = self.order(id).map_err(|error| self.named(&error))?;
        let behind = self.behind(id).map_err(|error| self.named(&error))?;
        let mut notes = self.notes.clone();
        if behind.messages.is_none() {
            notes.push("this shop keeps no book of messages".into());
        }
        let Around { faults, breaker, .. } = self.around.clone().unwrap_or_default();
        Ok(Facts {
            order,
            events,
            attempts: Some(attempts),
            behind: Some(behind),
            client: self.client(id)?,
            faults,
            breaker,
            notes,
        })
    }

    fn order(&self, id: &str) -> Result<(OrderFacts, Vec<Happened>, Vec<Attempt>), StoreError> {
        let now = self.orders.unchecked_transaction()?;
        let sql = "SELECT user_id, status, cancel_reason, lines, total_minor, currency, epoch, created_at, due_at
                   FROM orders WHERE id = ?1";
        let (mut order, lines) = now.prepare_cached(sql)?.query_row([id], |row| order_row(id, row))?;
        order.lines = serde_json::from_str::<Vec<Line>>(&lines)?;
        let sql = "SELECT step, number, outcome, epoch, started_at, took_us, detail
                   FROM saga_attempts WHERE order_id = ?1 ORDER BY sequence";
        let attempts = all(&now, sql, [id], attempt_row)?;
        let sql = "SELECT version, kind, data, occurred_at, published_seq
                   FROM order_events WHERE aggregate = ?1 ORDER BY version";
        Ok((order, all(&now, sql, [id], happened_row)?, attempts))
    }

    fn behind(&self, id: &str) -> Result<Behind, StoreError> {
        let payment = self.storage.open_read_only(payment::DATABASE)?;
        let sql = "SELECT version, kind, data, occurred_at, published_seq
                   FROM payment_events WHERE aggregate = ?1 ORDER BY version";
        let payment = all(&payment, sql, [id], happened_row)?;
        let acquirer = self.storage.open_read_only(acquirer::DATABASE)?;
        let sql = "SELECT sequence, kind, amount_minor, currency, at FROM ledger WHERE key = ?1 ORDER BY sequence";
        let ledger = all(&acquirer, sql, [id], ledger_row)?;
        let inventory = self.storage.open_read_only(inventory::DATABASE)?;
        let now = inventory.unchecked_transaction()?;
        let sql = "SELECT product_id, quantity, state FROM reservations WHERE order_id = ?1 ORDER BY product_id";
        let reservations = all(&now, sql, [id], |row| {
            Ok(Reservation { product_id: row.get(0)?, quantity: row.get(1)?, state: row.get(2)? })
        })?;
        let sql = "SELECT version, kind, data, occurred_at, published_seq
                   FROM inventory_events WHERE aggregate = ?1 ORDER BY version";
        let inventory = all(&now, sql, [id], happened_row)?;
        Ok(Behind { payment, inventory, ledger, reservations, messages: self.messages(id)? })
    }

    fn messages(&self, id: &str) -> Result<Option<Vec<Message>>, StoreError> {
        let is_file = matches!(self.storage, Storage::Folder(_));
        if is_file && !self.path.join(format!("{}.db", notification::DATABASE)).exists() {
            return Ok(None);
        }
        let courier = self.storage.open_read_only(notification::DATABASE)?;
        let sql = "SELECT event_id, channel, recipient, subject, body, accepted_at
                   FROM accepted WHERE order_id = ?1 ORDER BY accepted_at, event_id, channel";
        let messages = all(&courier, sql, [id], |row| {
            Ok(Message {
                event_id: row.get(0)?,
                channel: row.get(1)?,
                recipient: row.get(2)?,
                subject: row.get(3)?,
                body: row.get(4)?,
                at: Timestamp::from_micros(row.get(5)?),
            })
        })?;
        Ok(Some(messages))
    }

    fn client(&self, id: &str) -> Result<Option<Client>, String> {
        let Some(record) = &self.record else { return Ok(None) };
        let told = self.around.as_ref().map(|around| around.started_at_us).filter(|us| *us != 0);
        let start = match told.map(Timestamp::from_micros) {
            Some(exactly) => Some((exactly, exactly)),
            None => record.load_start(|order| self.created(order).ok().flatten()),
        };
        match record.owner_of(id).zip(start) {
            Some((owner, start)) => record.client(owner, start).map(Some),
            None => Ok(None),
        }
    }
}

fn ambiguous<'a>(wanted: &str, why: &str, orders: impl Iterator<Item = &'a str>) -> String {
    let orders: Vec<&str> = orders.collect();
    let named = orders.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = orders.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{wanted} {why}: {named}{more}; give a whole id")
}

impl From<&Summary> for Around {
    fn from(summary: &Summary) -> Self {
        let faults = summary.faults.iter().filter_map(|fault| {
            Some(Fault {
                name: fault.name.clone(),
                target: fault.target.clone(),
                kind: fault.kind.clone(),
                from: Timestamp::from_micros(fault.injected_at_us?),
                until: fault.lifted_at_us.map(Timestamp::from_micros),
            })
        });
        Self {
            faults: faults.collect(),
            breaker: summary.breaker.transitions.clone(),
            started_at_us: summary.started_at_us,
        }
    }
}

/// An order without its lines, and those as they are stored.
fn order_row(id: &str, row: &Row<'_>) -> rusqlite::Result<(OrderFacts, String)> {
    let order = OrderFacts {
        id: id.to_owned(),
        user: row.get(0)?,
        status: row.get(1)?,
        cancel_reason: row.get(2)?,
        lines: Vec::new(),
        total: money(row.get(4)?, &row.get::<_, String>(5)?)?,
        epoch: row.get(6)?,
        created_at: Timestamp::from_micros(row.get(7)?),
        due_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_micros),
    };
    Ok((order, row.get(3)?))
}

fn money(minor: i64, currency: &str) -> rusqlite::Result<Money> {
    let unreadable = |error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error);
    let currency = currency.parse().map_err(|error: kernel::money::MoneyError| unreadable(Box::new(error)))?;
    Ok(Money::new(minor, currency))
}

fn attempt_row(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        step: row.get(0)?,
        number: row.get(1)?,
        outcome: row.get(2)?,
        epoch: row.get(3)?,
        started_at: Timestamp::from_micros(row.get(4)?),
        took: row.get::<_, Option<u64>>(5)?.map(Duration::from_micros),
        detail: row.get(6)?,
    })
}

fn happened_row(row: &Row<'_>) -> rusqlite::Result<Happened> {
    let data: String = row.get(2)?;
    Ok(Happened {
        version: row.get(0)?,
        kind: row.get(1)?,
        data: serde_json::from_str(&data).unwrap_or_default(),
        at: Timestamp::from_micros(row.get(3)?),
        published: row.get(4)?,
    })
}

fn ledger_row(row: &Row<'_>) -> rusqlite::Result<LedgerLine> {
    let amount = match (row.get::<_, Option<i64>>(2)?, row.get::<_, Option<String>>(3)?) {
        (Some(minor), Some(currency)) => Some(money(minor, &currency)?),
        _ => None,
    };
    let at = Timestamp::from_micros(row.get(4)?);
    Ok(LedgerLine { sequence: row.get(0)?, kind: row.get(1)?, amount, at })
}
