//! The shortest history that shows a violation, while the books of the simulation are there.

use std::collections::BTreeMap;

use kernel::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::StoreError;
use store::sqlite::Storage;

use crate::explain::facts::Fault;
use crate::explain::folder::{Around, Folder};
use crate::explain::{Story, render};
use audit::Finding;
use audit::rows::all;
use experiment::run::Conducted;

/// Most lines of a history.
const LINES_MAX: usize = 40;
/// Most events of a product that are told.
const EVENTS_MAX: usize = 28;
/// How much of an order's id is enough to know it by.
const ID_SHOWN: usize = 8;

/// One example of a broken invariant, told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub invariant: String,
    pub example: String,
    /// Ends with a line break; empty where nothing more than the example is known.
    pub text: String,
}

/// The first broken invariant of which a history can be told, and the shortest one that its examples
/// have. `None` if nothing is broken.
pub fn shortest(storage: &Storage, conducted: &Conducted, wanted: &[&str], record: Vec<u8>) -> Option<History> {
    let broken = conducted.audit.findings.iter().filter(|finding| finding.violations > 0);
    let broken: Vec<&Finding> = broken.filter(|finding| wanted.contains(&finding.name.as_str())).collect();
    let first = broken.first()?;
    let around = around(conducted);
    let bare = || {
        let example = first.examples.first().cloned().unwrap_or_default();
        History { invariant: first.name.clone(), example, text: String::new() }
    };
    let Ok(folder) = Folder::simulated(storage, record, around.clone()) else { return Some(bare()) };
    let told = broken.iter().find_map(|finding| {
        let texts = finding.examples.iter().filter_map(|example| {
            let text = tell(&folder, storage, &around, example)?;
            Some(History { invariant: finding.name.clone(), example: example.clone(), text })
        });
        texts.min_by_key(|history| history.text.lines().count())
    });
    Some(told.unwrap_or_else(bare))
}

fn around(conducted: &Conducted) -> Around {
    let faults = conducted.faults.iter().filter_map(|entry| {
        let target = entry.fault.target.name;
        let whole = entry.fault.to_string();
        Some(Fault {
            name: entry.fault.name.clone(),
            target: target.to_owned(),
            kind: whole.strip_prefix(target).unwrap_or(&whole).trim_start().to_owned(),
            from: Timestamp::from_micros(entry.injected_at_us?),
            until: entry.lifted_at_us.map(Timestamp::from_micros),
        })
    });
    Around {
        faults: faults.collect(),
        breaker: conducted.breaker.transitions.clone(),
        started_at_us: conducted.started_at.as_micros(),
    }
}

/// The story of whatever the example is about.
fn tell(folder: &Folder, storage: &Storage, around: &Around, example: &str) -> Option<String> {
    let words = || example.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let mut orders: Vec<String> = words().filter(|word| word.len() == 36).map(str::to_owned).collect();
    orders.retain(|id| folder.has(id));
    if orders.is_empty() && example.contains("work that is due") {
        orders = folder.due().ok()?;
    }
    let stories = orders.iter().filter_map(|id| folder.facts(id).ok()).map(|facts| Story::of(&facts));
    if let Some(story) = stories.min_by_key(|story| story.entries.len()) {
        return Some(render::brief(&story, LINES_MAX));
    }
    let mut words = words().skip_while(|word| *word != "product").skip(1);
    let product = words.next()?.parse().ok()?;
    of_product(storage, around, product).ok()
}

/// Something that happened to a product's stock.
struct Moved {
    at: Timestamp,
    /// An order's, or empty for a fault.
    what: String,
    left: Option<i64>,
}

/// What became of a product's units, up to the moment at which there were none left to give.
fn of_product(storage: &Storage, around: &Around, product: i64) -> Result<String, StoreError> {
    let books = storage.open_read_only(inventory::DATABASE)?;
    let sql = "SELECT coalesce(sum(quantity), 0) FROM restocks WHERE product_id = ?1";
    let came: i64 = books.query_row(sql, [product], |row| row.get(0))?;
    let sql =
        "SELECT aggregate, kind, data, occurred_at FROM inventory_events ORDER BY occurred_at, aggregate, version";
    let events = all(&books, sql, [], |row| {
        let (order, kind, data): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((order, kind, data, Timestamp::from_micros(row.get(3)?)))
    })?;
    let sku = storage.open_read_only(product::DATABASE).ok().and_then(|products| {
        products.query_row("SELECT sku FROM products WHERE id = ?1", [product], |row| row.get::<_, String>(0)).ok()
    });
    let (mut left, mut moved) = (came, Vec::new());
    for (order, kind, data, at) in events {
        let data: Value = serde_json::from_str(&data).unwrap_or_default();
        let units = units_of(&data, product);
        let verb = match kind.as_str() {
            "StockReserved" => "holds",
            "StockReleased" => "gives back",
            "StockCommitted" => "buys",
            _ => continue,
        };
        if units == 0 {
            continue;
        }
        left += match verb {
            "holds" => -units,
            "gives back" => units,
            _ => 0,
        };
        let order: String = order.chars().take(ID_SHOWN).collect();
        moved.push(Moved { at, what: format!("order {order} {verb} {units}"), left: Some(left) });
    }
    for fault in &around.faults {
        moved.push(Moved {
            at: fault.from,
            what: format!("{} begins: {} of {}", fault.name, fault.kind, fault.target),
            left: None,
        });
        if let Some(until) = fault.until {
            moved.push(Moved { at: until, what: format!("{} is lifted", fault.name), left: None });
        }
    }
    moved.sort_by_key(|one| one.at);
    let name = sku.map(|sku| format!(" ({sku})")).unwrap_or_default();
    let sums = balance(&books, product)?;
    Ok(format!("product {product}{name}: {came} units came in\n{}{sums}", lines(&moved, around.started_at_us)))
}

/// The last moments before the first unit was given that was not there, and that one.
fn lines(moved: &[Moved], started_at_us: i64) -> String {
    let end = moved.iter().position(|one| one.left.is_some_and(|left| left < 0)).map_or(moved.len(), |at| at + 1);
    let begin = end.saturating_sub(EVENTS_MAX);
    let mut text = format!("{:>10}  what\n", "ms");
    if begin > 0 {
        text.push_str(&format!("{:>10}  ({begin} moments before)\n", ""));
    }
    for one in &moved[begin..end] {
        let ms = (one.at.as_micros() - started_at_us) as f64 / 1e3;
        let left = one.left.map(|left| format!(": {left} left")).unwrap_or_default();
        text.push_str(&format!("{ms:>10.2}  {}{left}\n", one.what));
    }
    if end < moved.len() {
        text.push_str(&format!("{:>10}  ({} moments after)\n", "", moved.len() - end));
    }
    text
}

fn balance(books: &rusqlite::Connection, product: i64) -> Result<String, StoreError> {
    let sql = "SELECT available, reserved, sold FROM stock WHERE product_id = ?1";
    let rows = all(books, sql, [product], |row| {
        Ok(format!(
            "in the end {} are available, {} reserved, {} sold\n",
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, i64>(2)?
        ))
    })?;
    Ok(rows.into_iter().next().unwrap_or_else(|| "in the end there is no stock row\n".into()))
}

fn units_of(data: &Value, product: i64) -> i64 {
    let lines = data["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = lines.iter().filter(|line| line["product_id"].as_i64() == Some(product));
    of.filter_map(|line| line["quantity"].as_i64()).sum()
}

/// The journeys that placed orders, by group; keys are `<seed>-<group>-<journey>-<order>`.
pub fn journeys<'a>(
    keys: impl Iterator<Item = &'a str>,
    seed: u64,
) -> BTreeMap<String, std::collections::BTreeSet<u64>> {
    let mut journeys: BTreeMap<String, std::collections::BTreeSet<u64>> = BTreeMap::new();
    let begins = format!("{seed}-");
    for key in keys {
        let Some(rest) = key.strip_prefix(&begins).and_then(|rest| rest.rsplit_once('-')) else { continue };
        if let Some((group, number)) = rest.0.rsplit_once('-')
            && let Ok(number) = number.parse()
        {
            journeys.entry(group.to_owned()).or_default().insert(number);
        }
    }
    journeys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journeys_are_known_by_their_keys() {
        let keys = ["7-big-spenders-12-1", "7-big-spenders-12-2", "7-b-0-1", "8-b-1-1", "odd"];
        let found = journeys(keys.into_iter(), 7);
        assert_eq!(found, BTreeMap::from([("big-spenders".into(), [12].into()), ("b".into(), [0].into())]));
    }

    #[test]
    fn a_product_s_history_ends_where_what_is_not_there_is_given() {
        let moved = |ms: i64, left: i64| {
            let at = Timestamp::from_micros(ms * 1_000);
            Moved { at, what: format!("order {ms} holds 1"), left: Some(left) }
        };
        let all: Vec<Moved> = (0..50).map(|number| moved(number, 39 - number)).collect();
        let text = lines(&all, 0);
        assert!(text.contains("order 40 holds 1: -1 left") && !text.contains("order 41"), "{text}");
        assert!(text.contains("(13 moments before)") && text.contains("(9 moments after)"), "{text}");
        assert!(text.lines().count() < LINES_MAX);
    }
}
