//! A run's record of what clients saw, and where its clock stands.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};

use kernel::{OrderId, Timestamp};
use order::domain::order::TENANT;
use tokio::time::Duration;

use super::facts::Client;
use audit::witness::{Record, each_record};

/// (user, key).
pub type Owner = (String, String);

/// What is kept of each key; the lines of the one that is asked for are read again.
#[derive(Debug, Clone, Default)]
pub struct Placed {
    first_sent_us: Option<u64>,
    first_seen_us: Option<u64>,
    /// The order that the key stands for, whether or not its client ever heard of it.
    pub order: Option<String>,
    /// How the last request without an order ended.
    pub refused: Option<String>,
}

/// Where the lines are.
#[derive(Debug)]
enum Lines {
    File(PathBuf),
    Memory(Vec<u8>),
}

/// An index over `orders.jsonl`.
#[derive(Debug)]
pub struct RunRecord {
    lines: Lines,
    pub keys: BTreeMap<Owner, Placed>,
}

impl RunRecord {
    /// # Errors
    /// One line that names the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::index(Lines::File(path.to_owned()))
    }

    /// The same of lines that no file holds.
    ///
    /// # Errors
    /// One line: they are no record.
    pub fn of(lines: Vec<u8>) -> Result<Self, String> {
        Self::index(Lines::Memory(lines))
    }

    fn index(lines: Lines) -> Result<Self, String> {
        let mut keys: BTreeMap<Owner, Placed> = BTreeMap::new();
        lines.each(|record| {
            let Some(owner) = owner(&record) else { return };
            let order = derived(&owner);
            let placed = keys.entry(owner).or_insert_with(|| Placed { order, ..Placed::default() });
            match &record {
                Record::Sent { at_us, .. } => placed.first_sent_us = placed.first_sent_us.or(Some(*at_us)),
                Record::Reply { at_us, order: Some(seen), .. } | Record::Saw { at_us, order: seen, .. } => {
                    placed.first_seen_us = placed.first_seen_us.or(Some(*at_us));
                    placed.order = Some(seen.id.clone());
                }
                Record::Reply { http, order: None, .. } => placed.refused = Some(format!("HTTP {http}")),
                Record::NoReply { why, .. } => placed.refused = Some(why.clone()),
                Record::Fate { .. } | Record::Restock { .. } | Record::Restocked { .. } => {}
            }
        })?;
        Ok(Self { lines, keys })
    }

    /// The owner of an order.
    pub fn owner_of(&self, order: &str) -> Option<&Owner> {
        self.keys.iter().find(|(_, placed)| placed.order.as_deref() == Some(order)).map(|(owner, _)| owner)
    }

    /// Between which moments the load began, for a run that has not said when. The record counts from there and the books count from
    /// 1970: every order was created after its request had left and before its first answer came.
    pub fn load_start(&self, created: impl Fn(&str) -> Option<Timestamp>) -> Option<(Timestamp, Timestamp)> {
        let (mut earliest, mut latest) = (i64::MIN, i64::MAX);
        for placed in self.keys.values() {
            let Some(created) = placed.order.as_deref().and_then(&created) else { continue };
            let before = |us: u64| created.as_micros().saturating_sub(i64::try_from(us).unwrap_or(i64::MAX));
            latest = latest.min(placed.first_sent_us.map_or(i64::MAX, before));
            earliest = earliest.max(placed.first_seen_us.map_or(i64::MIN, before));
        }
        if latest == i64::MAX {
            return None;
        }
        // A clock that jumped contradicts itself; then the requests are believed.
        let earliest = if earliest > latest || earliest == i64::MIN { latest } else { earliest };
        Some((Timestamp::from_micros(earliest), Timestamp::from_micros(latest)))
    }

    /// Every line about one key, on the shop's clock.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn client(&self, of: &Owner, (earliest, latest): (Timestamp, Timestamp)) -> Result<Client, String> {
        let within = latest.since(earliest) / 2;
        let start = earliest.plus(within);
        let mut seen = Vec::new();
        self.lines.each(|record| {
            if owner(&record).as_ref() != Some(of) {
                return;
            }
            let (Record::Sent { at_us, .. }
            | Record::Reply { at_us, .. }
            | Record::NoReply { at_us, .. }
            | Record::Saw { at_us, .. }) = record
            else {
                return;
            };
            seen.push((start.plus(Duration::from_micros(at_us)), record));
        })?;
        Ok(Client { key: of.1.clone(), seen, within })
    }
}

fn owner(record: &Record) -> Option<Owner> {
    record.owner().map(|(user, key)| (user.clone(), key.clone()))
}

/// An order id follows from its owner, so that an order whose client got no answer is found too.
fn derived((user, key): &Owner) -> Option<String> {
    Some(OrderId::derive(TENANT, user.parse().ok()?, key).to_string())
}

impl Lines {
    /// Calls `take` with every record.
    fn each(&self, take: impl FnMut(Record)) -> Result<(), String> {
        match self {
            Self::File(path) => {
                let named = |why: String| format!("{}: {why}", path.display());
                let file = File::open(path).map_err(|error| named(error.to_string()))?;
                each_record(BufReader::new(file), take).map_err(named)
            }
            Self::Memory(lines) => each_record(Cursor::new(lines), take),
        }
    }
}
