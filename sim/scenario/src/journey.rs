//! `journey` of a load group: what one buyer does, step by step.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use chassis::settings::DurationRange;
use kernel::{Quantity, Sku};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::check::Check;
use super::error::quote;
use super::keys::{Key, Need, Shape};
use super::map::Keys;
use super::places::NodePath;
use super::shop::{ANY, Catalog, sku};

/// A word of journeys.
#[derive(Debug, Clone, Copy)]
pub struct StepKind {
    pub name: &'static str,
    /// How it is written.
    pub example: &'static str,
    pub(super) argument: Takes,
    /// One line for people.
    pub meaning: &'static str,
}

/// What stands behind a step's name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    /// This has to be there.
    Needs(Shape),
    /// This may be there.
    May(Shape),
}

/// The steps of this build.
pub const STEPS: &[StepKind] = &[
    StepKind {
        name: "login",
        example: "login",
        argument: Takes::Nothing,
        meaning: "signs in with address and password; the steps after it carry the new token",
    },
    StepKind {
        name: "search",
        example: "search: sneaker",
        argument: Takes::Needs(Shape::Text { longest: SEARCH_CHARS_MAX, empty: false }),
        meaning: "searches the products for a text",
    },
    StepKind {
        name: "view",
        example: "view: any",
        argument: Takes::Needs(Shape::Pick),
        meaning: "looks at one product; `any` is a random one",
    },
    StepKind {
        name: "think",
        example: "think: 50ms..300ms",
        argument: Takes::Needs(Shape::Durations(THINK_MAX)),
        meaning: "does nothing for a while, drawn evenly",
    },
    StepKind {
        name: "order",
        example: "order: { items: [ { sku: any, quantity: 1..2 } ] }",
        argument: Takes::Needs(Shape::Map("order")),
        meaning: "buys under a fresh idempotency key",
    },
    StepKind {
        name: "await",
        example: "await: 10s",
        argument: Takes::May(Shape::Duration(AWAIT_MIN, AWAIT_MAX)),
        meaning: "asks for the last order until it has ended, at most so long; 10s if nothing is said",
    },
    StepKind { name: "cancel", example: "cancel", argument: Takes::Nothing, meaning: "cancels the last order" },
    StepKind {
        name: "retry_same_key",
        example: "retry_same_key",
        argument: Takes::Nothing,
        meaning: "sends the last order once more under the same key",
    },
    StepKind {
        name: "restock",
        example: "restock: { sku: any, quantity: 50 }",
        argument: Takes::Needs(Shape::Map("restock")),
        meaning: "the shop's staff, not the buyer, take in a delivery",
    },
];

pub(super) const STEPS_MAX: usize = 100;
const ORDER_ITEMS_MAX: usize = 50;
const SEARCH_CHARS_MAX: usize = 100;
const THINK_MAX: Duration = Duration::from_secs(3600);
const COPIES_MAX: u32 = 10;
const WAIT_DEFAULT: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(30);
const AWAIT_DEFAULT: Duration = Duration::from_secs(10);
const AWAIT_MIN: Duration = Duration::from_millis(1);
const AWAIT_MAX: Duration = Duration::from_secs(600);

pub(super) const ORDER_KEYS: &[Key] = &[
    Key {
        name: "items",
        shape: Shape::List("order_item", 1, ORDER_ITEMS_MAX),
        need: Need::Required,
        meaning: "what is bought",
    },
    Key {
        name: "wait",
        shape: Shape::Duration(Duration::ZERO, WAIT_MAX),
        need: Need::Default("2s"),
        meaning: "how long the reply may wait for the outcome, rounded up to whole seconds; `0s` asks for an answer at once",
    },
    Key {
        name: "copies",
        shape: Shape::Whole(1, COPIES_MAX as u64),
        need: Need::Default("1"),
        meaning: "so many identical requests are sent at once, under one key",
    },
];

pub(super) const ORDER_ITEM_KEYS: &[Key] = &[
    Key {
        name: "sku",
        shape: Shape::Pick,
        need: Need::Required,
        meaning: "the product; `any` is drawn anew each time",
    },
    Key {
        name: "quantity",
        shape: Shape::Quantity(Quantity::MAX),
        need: Need::Default("1"),
        meaning: "units, drawn evenly from a range",
    },
];

pub(super) const RESTOCK_KEYS: &[Key] = &[
    Key {
        name: "sku",
        shape: Shape::Pick,
        need: Need::Required,
        meaning: "the product; `any` is drawn anew each time",
    },
    Key {
        name: "quantity",
        shape: Shape::Quantity(Quantity::MAX),
        need: Need::Required,
        meaning: "units that come in, drawn evenly from a range; `--scale` leaves them as they are",
    },
];

/// One thing a buyer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Signs in with address and password.
    Login,
    /// Searches the products for a text.
    Search(String),
    /// Looks at one product.
    View(Pick),
    /// Does nothing for a while, drawn evenly from the range.
    Think(DurationRange),
    Order(OrderStep),
    /// Asks for the last order until it has ended, at most this long.
    Await(Duration),
    /// Cancels the last order.
    Cancel,
    /// Sends the last order once more under the same idempotency key.
    RetrySameKey,
    /// The shop's staff take in a delivery.
    Restock(RestockStep),
}

/// Buys something under a fresh idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderStep {
    /// At least one.
    pub items: Vec<OrderItem>,
    /// How long the reply may wait for the outcome; zero asks for an answer at once.
    pub wait: Duration,
    /// How many times the same request is sent at once, under the same key: 1 but for those who press the
    /// button twice.
    pub copies: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderItem {
    pub sku: Pick,
    /// Drawn evenly; from 1 to [`Quantity::MAX`].
    pub quantity: RangeInclusive<u32>,
}

/// Brings new units under an identity of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestockStep {
    pub sku: Pick,
    /// Drawn evenly; from 1 to [`Quantity::MAX`].
    pub quantity: RangeInclusive<u32>,
}

/// Which product is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    Sku(Sku),
    /// A random product of the catalogue, drawn anew each time.
    Any,
}

/// One item of `journey`: a bare word, or a map of one key.
#[derive(Debug)]
pub(super) struct StepFile {
    name: String,
    argument: Argument,
    /// The first key too many.
    second: Option<String>,
}

#[derive(Debug)]
enum Argument {
    Nothing,
    Text(String),
    Order(OrderFile),
    Restock(RestockFile),
    /// Something, for a step whose argument is not read.
    Other,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderFile {
    items: Option<Vec<Keys<OrderItemFile>>>,
    wait: Option<String>,
    copies: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderItemFile {
    sku: Option<String>,
    quantity: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestockFile {
    sku: Option<String>,
    quantity: Option<String>,
}

impl<'de> Deserialize<'de> for StepFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StepVisitor)
    }
}

struct StepVisitor;

impl<'de> Visitor<'de> for StepVisitor {
    type Value = StepFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step such as `view: any` or `cancel`")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<StepFile, E> {
        Ok(StepFile { name: name.to_owned(), argument: Argument::Nothing, second: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StepFile, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Ok(StepFile { name: String::new(), argument: Argument::Nothing, second: None });
        };
        let argument = match name.as_str() {
            "order" => map.next_value::<Option<Keys<OrderFile>>>()?.map(|Keys(order)| Argument::Order(order)),
            "restock" => map.next_value::<Option<Keys<RestockFile>>>()?.map(|Keys(restock)| Argument::Restock(restock)),
            "search" | "view" | "think" | "await" => map.next_value::<Option<String>>()?.map(Argument::Text),
            _ => map.next_value::<Option<IgnoredAny>>()?.map(|_| Argument::Other),
        };
        let mut second = None;
        while let Some((key, IgnoredAny)) = map.next_entry::<String, _>()? {
            second.get_or_insert(key);
        }
        Ok(StepFile { name, argument: argument.unwrap_or(Argument::Nothing), second })
    }
}

/// Turns the steps of the file into those of the scenario, and judges them as a whole.
pub(super) fn journey(written: Vec<StepFile>, at: &NodePath, catalog: &Catalog, check: &mut Check) -> Vec<Step> {
    if written.len() > STEPS_MAX {
        check.key(at, format!("`journey` has {} steps; {STEPS_MAX} are the most", written.len()));
        return Vec::new();
    }
    let before = check.problems.len();
    let mut ordered = false;
    let mut steps = Vec::new();
    for (index, step) in written.into_iter().enumerate() {
        let at = at.index(index);
        if !ordered && matches!(step.name.as_str(), "await" | "cancel" | "retry_same_key") {
            check.key(&at.key(&step.name), format!("`{}` needs an `order` before it", step.name));
        }
        ordered |= step.name == "order";
        steps.extend(step.validate(&at, catalog, check));
    }
    if check.problems.len() == before && !steps.iter().any(|step| !matches!(step, Step::Think(_))) {
        check.key(at, "`journey` has no step that asks the shop for anything");
    }
    steps
}

impl StepFile {
    fn validate(self, at: &NodePath, catalog: &Catalog, check: &mut Check) -> Option<Step> {
        if let Some(second) = self.second {
            let message = format!("{} is a second step in one list item", quote(&second));
            check.key(&at.key(&second), message).help("start each step with its own `- `");
        }
        let at = at.key(&self.name);
        match (self.name.as_str(), self.argument) {
            ("login", Argument::Nothing) => Some(Step::Login),
            ("search", Argument::Text(text)) => Some(Step::Search(check.line(text, &at, SEARCH_CHARS_MAX))),
            ("view", Argument::Text(text)) => pick(&text, &at, catalog, check).map(Step::View),
            ("think", Argument::Text(text)) => Some(Step::Think(check.durations(&text, &at, THINK_MAX))),
            ("order", Argument::Order(order)) => order.validate(&at, catalog, check).map(Step::Order),
            ("restock", Argument::Restock(restock)) => restock.validate(&at, catalog, check).map(Step::Restock),
            ("await", Argument::Nothing) => Some(Step::Await(AWAIT_DEFAULT)),
            ("await", Argument::Text(text)) => Some(Step::Await(check.duration(&text, &at, AWAIT_MIN..=AWAIT_MAX))),
            ("cancel", Argument::Nothing) => Some(Step::Cancel),
            ("retry_same_key", Argument::Nothing) => Some(Step::RetrySameKey),
            (name, _) => {
                refuse(name, &at, check);
                None
            }
        }
    }
}

/// Says what is wrong with a step that has another name or another argument than it should.
fn refuse(name: &str, at: &NodePath, check: &mut Check) {
    let names = STEPS.iter().map(|step| step.name);
    match STEPS.iter().find(|step| step.name == name) {
        Some(StepKind { argument: Takes::Nothing, .. }) => {
            check.key(at, format!("`{name}` stands alone; it takes nothing"));
        }
        Some(StepKind { argument: Takes::Needs(shape) | Takes::May(shape), example, .. }) => {
            let needs = match shape {
                Shape::Map("restock") => "`sku` and `quantity`".to_owned(),
                Shape::Map(_) => "items".to_owned(),
                other => other.words(),
            };
            check.key(at, format!("`{name}` needs {needs}: `{example}`"));
        }
        None => {
            check.key(at, format!("unknown step {}", quote(name))).suggest(name, names);
        }
    }
}

impl OrderFile {
    fn validate(self, at: &NodePath, catalog: &Catalog, check: &mut Check) -> Option<OrderStep> {
        let wait = self.wait.map(|text| check.duration(&text, &at.key("wait"), Duration::ZERO..=WAIT_MAX));
        let copies = self.copies.map(|text| check.whole(&text, &at.key("copies"), 1..=COPIES_MAX));
        let items = check.required(self.items, at, "items")?;
        let at = at.key("items");
        if !(1..=ORDER_ITEMS_MAX).contains(&items.len()) {
            check.value(&at, format!("`items` is a list of 1 to {ORDER_ITEMS_MAX} items"));
        }
        let items = items.into_iter().take(ORDER_ITEMS_MAX).enumerate();
        let items = items.filter_map(|(index, Keys(item))| item.validate(&at.index(index), catalog, check));
        Some(OrderStep { items: items.collect(), wait: wait.unwrap_or(WAIT_DEFAULT), copies: copies.unwrap_or(1) })
    }
}

impl OrderItemFile {
    fn validate(self, at: &NodePath, catalog: &Catalog, check: &mut Check) -> Option<OrderItem> {
        let quantity = self.quantity.map_or(1..=1, |text| quantity_of(&text, &at.key("quantity"), check));
        let sku = check.required(self.sku, at, "sku")?;
        Some(OrderItem { sku: pick(&sku, &at.key("sku"), catalog, check)?, quantity })
    }
}

impl RestockFile {
    fn validate(self, at: &NodePath, catalog: &Catalog, check: &mut Check) -> Option<RestockStep> {
        let (sku, quantity_at) = (check.required(self.sku, at, "sku"), at.key("quantity"));
        let quantity = check.required(self.quantity, at, "quantity");
        let quantity = quantity.map(|text| quantity_of(&text, &quantity_at, check));
        Some(RestockStep { sku: pick(&sku?, &at.key("sku"), catalog, check)?, quantity: quantity? })
    }
}

/// `2` or `1..3`.
fn quantity_of(text: &str, at: &NodePath, check: &mut Check) -> RangeInclusive<u32> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let units = |text: &str| text.parse::<u32>().ok().filter(|units| Quantity::try_from(*units).is_ok());
    match (units(low), units(high)) {
        (Some(low), Some(high)) if low <= high => low..=high,
        (Some(_), Some(_)) => {
            check.value(at, format!("`quantity` ends before it starts: {}", quote(text)));
            1..=1
        }
        _ => {
            let most = Quantity::MAX;
            let message =
                format!("`quantity` is a number from 1 to {most} or a range such as 1..2, not {}", quote(text));
            check.value(at, message);
            1..=1
        }
    }
}

fn pick(text: &str, at: &NodePath, catalog: &Catalog, check: &mut Check) -> Option<Pick> {
    if text == ANY {
        return Some(Pick::Any);
    }
    let sku = sku(text, at, check)?;
    if !catalog.has(&sku) {
        let problem = check.value(at, format!("the catalogue has no product {}", quote(text)));
        let items = catalog.items.iter().map(|item| item.sku.as_str());
        problem.suggest(text, items.chain([ANY]));
        if catalog.generate > 0 && problem.help.is_some() {
            let last = Catalog::generated_sku(catalog.generate);
            problem.help(format!("generated products are {} to {last}", Catalog::generated_sku(1)));
        }
    }
    Some(Pick::Sku(sku))
}

#[cfg(test)]
mod tests;
