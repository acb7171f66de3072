//! The witness: a small model of the shop, fed only by what clients saw.
//!
//! Its record is written line by line as replies arrive, so that it outlives a killed process, and
//! is read back by the same code that fed the model live.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Finding;
use super::manifest::Manifest;

/// A line of an order to place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub sku: String,
    pub quantity: u32,
}

/// An order as an answer showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub id: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What the order is of, as the answer says.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub items: Vec<Item>,
}

impl Seen {
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "CONFIRMED" | "CANCELLED")
    }
}

/// One line of `orders.jsonl`. Times are microseconds since the load's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Record {
    /// A request to place an order is about to leave; once more with the same key is a retry.
    Sent { at_us: u64, user: String, key: String, items: Vec<Item> },
    /// Its answer.
    Reply {
        at_us: u64,
        user: String,
        key: String,
        http: u16,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        order: Option<Seen>,
        /// From the instant that the request was due.
        took_us: u64,
    },
    /// No whole answer came. If `sent`, the order may exist.
    NoReply { at_us: u64, user: String, key: String, sent: bool, why: String },
    /// What a later look at the order, or its cancellation, showed.
    Saw { at_us: u64, user: String, key: String, order: Seen },
    /// What became of it, as far as its client can know; one for each key, at the end.
    Fate {
        user: String,
        key: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        id: Option<String>,
        fate: Fate,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
    },
    /// Staff are about to take in a delivery; of an identity that was used before it changes nothing.
    Restock { at_us: u64, id: String, sku: String, quantity: u32 },
    /// What they were answered.
    Restocked { at_us: u64, id: String, became: Delivery },
}

impl Record {
    /// Whose key this is about; deliveries are about nobody's.
    pub fn owner(&self) -> Option<(&String, &String)> {
        match self {
            Self::Sent { user, key, .. }
            | Self::Reply { user, key, .. }
            | Self::NoReply { user, key, .. }
            | Self::Saw { user, key, .. }
            | Self::Fate { user, key, .. } => Some((user, key)),
            Self::Restock { .. } | Self::Restocked { .. } => None,
        }
    }
}

/// What staff know of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Its units are in stock, or were.
    Taken,
    /// A 4xx, or the request never left: it did not come in.
    Refused,
    /// No answer, or a 5xx: it may have come in.
    Unknown,
}

/// Units of a product that staff brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restocked {
    pub sku: String,
    pub quantity: u32,
    pub became: Delivery,
}

/// Calls `take` with every line of an `orders.jsonl`. A last line cut short by a kill is left out.
///
/// # Errors
/// The number of the first other line that is not a record, and why.
pub fn each_record(input: impl BufRead, mut take: impl FnMut(Record)) -> Result<(), String> {
    let mut broken: Option<String> = None;
    for (index, line) in input.split(b'\n').enumerate() {
        if let Some(broken) = broken {
            return Err(broken);
        }
        let line = line.map_err(|error| format!("line {}: {error}", index + 1))?;
        match serde_json::from_slice(&line) {
            Ok(record) => take(record),
            Err(error) => broken = Some(format!("line {}: {error}", index + 1)),
        }
    }
    Ok(())
}

/// What became of an order. Disjoint; they add up to the orders started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Confirmed,
    /// The order exists and came to nothing.
    Cancelled,
    /// Refused with a 4xx: there is no order.
    Rejected,
    /// A 5xx, or the request never left.
    Errors,
    /// No reply, or an order that had not ended when the run did.
    Unknown,
}

impl Fate {
    pub const ALL: [Self; 5] = [Self::Confirmed, Self::Cancelled, Self::Rejected, Self::Errors, Self::Unknown];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Errors => "errors",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of one key.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub items: Vec<Item>,
    /// When it was first sent, in microseconds since the load's start.
    pub sent_at_us: Option<u64>,
    /// Every order id that an answer to this key named: more than one is a violation.
    pub ids: Vec<String>,
    /// The last state seen, and every end that was ever told.
    pub last: Option<Seen>,
    pub ends: Vec<Seen>,
    pub rejected: bool,
    pub failed: bool,
    pub unanswered: bool,
    /// The same key came back with other items and was accepted: a violation.
    pub items_changed: bool,
}

impl Known {
    pub fn fate(&self) -> (Fate, Option<String>) {
        match &self.last {
            Some(seen) if seen.status == "CONFIRMED" => (Fate::Confirmed, None),
            Some(seen) if seen.status == "CANCELLED" => (Fate::Cancelled, seen.reason.clone()),
            Some(_) => (Fate::Unknown, None),
            None if self.unanswered => (Fate::Unknown, None),
            None if self.failed => (Fate::Errors, None),
            None if self.rejected => (Fate::Rejected, None),
            None => (Fate::Unknown, None),
        }
    }

    fn saw(&mut self, seen: &Seen) {
        if !self.ids.contains(&seen.id) {
            self.ids.push(seen.id.clone());
        }
        if seen.has_ended() {
            self.ends.push(seen.clone());
        }
        // A late answer of an earlier moment does not undo an end.
        if seen.has_ended() || !self.last.as_ref().is_some_and(Seen::has_ended) {
            self.last = Some(seen.clone());
        }
        if !seen.items.is_empty() && normalised(&seen.items) != normalised(&self.items) {
            self.items_changed = true;
        }
    }
}

fn normalised(items: &[Item]) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for item in items {
        *sums.entry(item.sku.as_str()).or_default() += u64::from(item.quantity);
    }
    sums
}

/// The model: everything that clients know, by (user, key), and what staff brought, by its identity.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    pub orders: BTreeMap<(String, String), Known>,
    pub deliveries: BTreeMap<String, Restocked>,
}

impl Witness {
    pub fn take(&mut self, record: &Record) {
        let Some((user, key)) = record.owner() else { return self.take_delivery(record) };
        let known = self.orders.entry((user.clone(), key.clone())).or_default();
        match record {
            Record::Sent { at_us, items, .. } => {
                known.items.clone_from(items);
                known.sent_at_us.get_or_insert(*at_us);
            }
            Record::Reply { http, order, .. } => match order {
                Some(seen) => known.saw(seen),
                None if (400..500).contains(http) => known.rejected = true,
                None => known.failed = true,
            },
            Record::NoReply { sent: true, .. } => known.unanswered = true,
            Record::NoReply { sent: false, .. } => known.failed = true,
            Record::Saw { order, .. } => known.saw(order),
            Record::Fate { .. } | Record::Restock { .. } | Record::Restocked { .. } => {}
        }
    }

    fn take_delivery(&mut self, record: &Record) {
        match record {
            Record::Restock { id, sku, quantity, .. } => {
                let on_its_way = Restocked { sku: sku.clone(), quantity: *quantity, became: Delivery::Unknown };
                self.deliveries.entry(id.clone()).or_insert(on_its_way);
            }
            Record::Restocked { id, became, .. } => {
                if let Some(delivery) = self.deliveries.get_mut(id) {
                    delivery.became = *became;
                }
            }
            _ => {}
        }
    }

    /// Units by SKU of the deliveries that `came` holds of.
    fn delivered(&self, came: impl Fn(Delivery) -> bool) -> BTreeMap<&str, i64> {
        let mut units = BTreeMap::new();
        for delivery in self.deliveries.values().filter(|delivery| came(delivery.became)) {
            *units.entry(delivery.sku.as_str()).or_default() += i64::from(delivery.quantity);
        }
        units
    }

    /// Units by SKU that staff were told are in stock.
    pub fn restocked(&self) -> BTreeMap<&str, i64> {
        self.delivered(|became| became == Delivery::Taken)
    }

    /// Reads what [`each_record`] finds.
    ///
    /// # Errors
    /// Those of [`each_record`].
    pub fn read(input: impl BufRead) -> Result<Self, String> {
        let mut witness = Self::default();
        each_record(input, |record| witness.take(&record))?;
        Ok(witness)
    }

    /// Orders that clients know of and whose end they have not seen: (user, key, id).
    pub fn open(&self) -> Vec<(String, String, String)> {
        let open = self.orders.iter().filter_map(|((user, key), known)| {
            let last = known.last.as_ref()?;
            (!last.has_ended()).then(|| (user.clone(), key.clone(), last.id.clone()))
        });
        open.collect()
    }

    /// One key, one order: no key was ever answered with two, and the books hold no more `orders`
    /// than clients used keys.
    pub fn one_key_one_order(&self, orders: u64) -> Finding {
        let mut finding = Finding::new("one_key_one_order");
        let keys = self.orders.len() as u64;
        finding.expect(orders <= keys, || {
            format!("{orders} orders exist, but clients used {keys} keys (or the record of them is incomplete)")
        });
        let mut owners: BTreeMap<&str, &(String, String)> = BTreeMap::new();
        for (owner, known) in &self.orders {
            let (user, key) = owner;
            finding.expect(known.ids.len() <= 1, || {
                format!("key {key} of user {user} was answered with orders {}", known.ids.join(" and "))
            });
            for id in &known.ids {
                if let Some(other) = owners.insert(id, owner) {
                    finding.check(Some(format!("order {id} was answered to key {key} and to key {}", other.1)));
                }
            }
        }
        finding
    }

    /// Nobody was told of more units than existed: those of the beginning, and those that may have come in since.
    pub fn never_told_more_than_stock(&self, manifest: &Manifest) -> Finding {
        let mut finding = Finding::new("never_told_more_than_stock");
        let mut told: BTreeMap<&str, i64> = BTreeMap::new();
        for known in self.orders.values() {
            if known.last.as_ref().is_some_and(|seen| seen.status == "CONFIRMED") {
                for item in &known.items {
                    *told.entry(&item.sku).or_default() += i64::from(item.quantity);
                }
            }
        }
        let brought = self.delivered(|became| became != Delivery::Refused);
        for (id, product) in &manifest.products {
            let confirmed = told.get(product.sku.as_str()).copied().unwrap_or_default();
            let existed = product.initial + brought.get(product.sku.as_str()).copied().unwrap_or_default();
            finding.expect(confirmed <= existed, || {
                format!("product {id} ({}): clients were told of {confirmed} units, {existed} existed", product.sku)
            });
        }
        finding
    }
}

/// Where records go: the model, and a file as they happen.
#[derive(Clone)]
pub struct WitnessLog {
    inner: Arc<Mutex<Log>>,
}

struct Log {
    witness: Witness,
    output: Box<dyn Write + Send>,
    failure: Option<String>,
}

impl WitnessLog {
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        let log = Log { witness: Witness::default(), output, failure: None };
        Self { inner: Arc::new(Mutex::new(log)) }
    }

    /// Takes the record in and writes it out, unbuffered: it must outlive this process.
    pub fn write(&self, record: &Record) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.witness.take(record);
        let mut line = serde_json::to_string(record).unwrap_or_default();
        line.push('\n');
        if let Err(error) = inner.output.write_all(line.as_bytes()) {
            inner.failure.get_or_insert(error.to_string());
        }
    }

    /// The model so far.
    pub fn witness(&self) -> Witness {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).witness.clone()
    }

    /// The model so far, if it is no larger than that.
    pub fn witness_of_at_most(&self, orders: usize) -> Option<Witness> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.witness.orders.len() <= orders).then(|| inner.witness.clone())
    }

    /// The first failure to write, if any: a record with holes proves nothing.
    pub fn failure(&self) -> Option<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: &str, status: &str) -> Seen {
        Seen { id: id.into(), status: status.into(), reason: None, items: vec![] }
    }

    fn sent(key: &str) -> Record {
        let items = vec![Item { sku: "A".into(), quantity: 2 }];
        Record::Sent { at_us: 0, user: "u".into(), key: key.into(), items }
    }

    fn reply(key: &str, http: u16, order: Option<Seen>) -> Record {
        Record::Reply { at_us: 1, user: "u".into(), key: key.into(), http, order, took_us: 1 }
    }

    fn fate_after(records: &[Record]) -> Fate {
        let mut witness = Witness::default();
        records.iter().for_each(|record| witness.take(record));
        witness.orders[&("u".to_owned(), "k".to_owned())].fate().0
    }

    #[test]
    fn a_fate_is_what_the_client_can_know() {
        let lost = Record::NoReply { at_us: 1, user: "u".into(), key: "k".into(), sent: true, why: "?".into() };
        let unsent = Record::NoReply { at_us: 1, user: "u".into(), key: "k".into(), sent: false, why: "?".into() };
        let confirmed = reply("k", 201, Some(seen("1", "CONFIRMED")));
        for (records, fate) in [
            (vec![sent("k")], Fate::Unknown),
            (vec![sent("k"), lost.clone()], Fate::Unknown),
            (vec![sent("k"), unsent], Fate::Errors),
            (vec![sent("k"), reply("k", 503, None)], Fate::Errors),
            (vec![sent("k"), reply("k", 429, None)], Fate::Rejected),
            (vec![sent("k"), reply("k", 202, Some(seen("1", "PENDING")))], Fate::Unknown),
            (vec![sent("k"), lost, confirmed.clone()], Fate::Confirmed),
            (vec![sent("k"), confirmed, reply("k", 202, Some(seen("1", "PAID")))], Fate::Confirmed),
        ] {
            assert_eq!(fate_after(&records), fate, "{records:?}");
        }
    }

    #[test]
    fn notices_a_key_that_made_two_orders() {
        let mut witness = Witness::default();
        for record in
            [sent("k"), reply("k", 201, Some(seen("1", "PENDING"))), reply("k", 201, Some(seen("2", "PENDING")))]
        {
            witness.take(&record);
        }
        assert_eq!(witness.one_key_one_order(1).violations, 1);
    }

    #[test]
    fn notices_that_clients_were_told_of_more_units_than_there_were() {
        let mut witness = Witness::default();
        for key in ["a", "b"] {
            witness.take(&sent(key));
            witness.take(&reply(key, 201, Some(seen(key, "CONFIRMED"))));
        }
        let product = super::super::manifest::SeededProduct { sku: "A".into(), initial: 3 };
        let manifest = Manifest { products: [(1, product)].into(), ..Manifest::default() };
        let finding = witness.never_told_more_than_stock(&manifest);
        assert_eq!(finding.violations, 1);
        assert!(finding.examples[0].contains("product 1 (A)"));
    }

    #[test]
    fn units_that_may_have_come_in_can_be_told_of_and_refused_ones_cannot() {
        let product = super::super::manifest::SeededProduct { sku: "A".into(), initial: 3 };
        let manifest = Manifest { products: [(1, product)].into(), ..Manifest::default() };
        let restock = Record::Restock { at_us: 0, id: "d".into(), sku: "A".into(), quantity: 1 };
        let answered = |became| Record::Restocked { at_us: 1, id: "d".into(), became };
        for (answers, violations) in [
            (vec![], 0),
            (vec![answered(Delivery::Taken)], 0),
            (vec![answered(Delivery::Unknown)], 0),
            (vec![answered(Delivery::Refused)], 1),
            // Once more under the same identity brings nothing more, and one unit too few is told at once.
            (
                vec![
                    answered(Delivery::Taken),
                    restock.clone(),
                    sent("c"),
                    reply("c", 201, Some(seen("c", "CONFIRMED"))),
                ],
                1,
            ),
        ] {
            let mut witness = Witness::default();
            for key in ["a", "b"] {
                witness.take(&sent(key));
                witness.take(&reply(key, 201, Some(seen(key, "CONFIRMED"))));
            }
            witness.take(&restock);
            answers.iter().for_each(|record| witness.take(record));
            assert_eq!(witness.never_told_more_than_stock(&manifest).violations, violations, "{answers:?}");
            assert_eq!(witness.restocked().contains_key("A"), answers.contains(&answered(Delivery::Taken)));
        }
    }

    #[test]
    fn a_record_cut_short_by_a_kill_is_read_up_to_the_cut() {
        let whole = serde_json::to_string(&sent("k")).unwrap();
        let cut = format!("{whole}\n{}", &whole[..20]);
        assert_eq!(Witness::read(cut.as_bytes()).unwrap().orders.len(), 1);
        let broken = format!("{}\n{whole}\n", &whole[..20]);
        assert!(Witness::read(broken.as_bytes()).unwrap_err().starts_with("line 1"));
    }
}
