//! The section `shop`: who can buy, what is on the shelves, how the services are set.

use std::collections::BTreeMap;

use indexmap::{IndexMap, IndexSet};
use kernel::{Currency, Money, Sku};
use serde::Deserialize;

use super::check::Check;
use super::error::quote;
use super::keys::{Key, Need, Shape};
use super::map::Keys;
use super::places::NodePath;

/// The SKUs of generated products start with this; no item of the file may.
pub const GENERATED_PREFIX: &str = "GEN-";
/// The word that stands for a random product of the catalogue.
pub(super) const ANY: &str = "any";

const USERS_MAX: u32 = 1_000_000;
const GENERATED_MAX: u32 = 100_000;
/// What the inventory takes in at once.
const STOCK_MAX: u32 = kernel::Quantity::MAX;
/// The dearest product, in units of its currency: a large order must not leave 64 bits.
const PRICE_UNITS_MAX: i64 = 1_000_000;
const NAME_CHARS_MAX: usize = 200;

const ITEMS_MAX: usize = 10_000;
/// How the name of a setting ends that only a build for tests has.
pub const PLANTED_BUG: &str = ".planted_bug";

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "users",
        shape: Shape::Whole(1, USERS_MAX as u64),
        need: Need::Required,
        meaning: "registered customers; the load draws from them in an order that the seed shuffles",
    },
    Key {
        name: "catalog",
        shape: Shape::Map("catalog"),
        need: Need::Required,
        meaning: "the products; at least one, all in one currency",
    },
    Key {
        name: "settings",
        shape: Shape::Map("settings"),
        need: Need::Optional,
        meaning: "settings of the services, `service.name: value`; shown in the report",
    },
];

pub(super) const CATALOG_KEYS: &[Key] = &[
    Key {
        name: "generate",
        shape: Shape::Whole(0, GENERATED_MAX as u64),
        need: Need::Default("0"),
        meaning: "so many products made up, `GEN-0001` and on, priced in EUR",
    },
    Key {
        name: "stock",
        shape: Shape::Whole(0, STOCK_MAX as u64),
        need: Need::Default("0"),
        meaning: "units of each generated product; required with `generate`",
    },
    Key {
        name: "items",
        shape: Shape::List("item", 0, ITEMS_MAX),
        need: Need::Optional,
        meaning: "products of your own",
    },
];

pub(super) const ITEM_KEYS: &[Key] = &[
    Key { name: "sku", shape: Shape::OwnSku, need: Need::Required, meaning: "what journeys call it; unique" },
    Key {
        name: "name",
        shape: Shape::Text { longest: NAME_CHARS_MAX, empty: false },
        need: Need::Required,
        meaning: "what it is called and found by",
    },
    Key { name: "price", shape: Shape::Price(PRICE_UNITS_MAX), need: Need::Required, meaning: "of one unit" },
    Key {
        name: "stock",
        shape: Shape::Whole(0, STOCK_MAX as u64),
        need: Need::Required,
        meaning: "units at the start; 0 is sold out from the beginning",
    },
];

/// Says in one line why the setting with this name cannot have this value.
pub type SettingCheck = Box<dyn Fn(&str, &str) -> Result<(), String>>;

/// What the services of this build know: settings, and what can be broken. The caller gives it, so that
/// a scenario can be read without a service.
pub struct Known {
    /// All settings, such as `acquirer.decline_rate`.
    pub names: Vec<String>,
    pub check: SettingCheck,
    /// What faults can be injected into.
    pub targets: Vec<&'static chassis::chaos::Target>,
}

/// What the services of this build know.
pub fn known() -> Known {
    let names = shop::described_settings().into_iter().map(|setting| setting.name).collect();
    Known { names, check: Box::new(shop::check), targets: shop::fault::vocabulary::targets() }
}

/// The shop before the first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shop {
    /// Registered customers, from 1 on; the load draws from them.
    pub users: u32,
    pub catalog: Catalog,
    /// Service settings by name, each as it is written in the file.
    pub settings: BTreeMap<String, String>,
}

/// The products: the written items and the generated ones, together at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// How many products are made up, `GEN-0001` and on.
    pub generate: u32,
    /// Units of each generated product.
    pub stock: u32,
    pub items: Vec<Item>,
}

/// A product that the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub sku: Sku,
    pub name: String,
    pub price: Money,
    /// Units at the start; 0 is sold out from the beginning.
    pub stock: u32,
}

impl Catalog {
    /// The SKU of the generated product with this number, which counts from 1.
    pub fn generated_sku(number: u32) -> String {
        format!("{GENERATED_PREFIX}{number:04}")
    }

    /// All SKUs: the items in the file's order, then the generated products.
    pub fn skus(&self) -> impl Iterator<Item = String> + '_ {
        let items = self.items.iter().map(|item| item.sku.to_string());
        items.chain((1..=self.generate).map(Self::generated_sku))
    }

    /// Whether a product has this SKU.
    pub fn has(&self, sku: &Sku) -> bool {
        let generated = sku.as_str().strip_prefix(GENERATED_PREFIX).and_then(|number| number.parse::<u32>().ok());
        let known = |number: u32| (1..=self.generate).contains(&number) && Self::generated_sku(number) == sku.as_str();
        generated.is_some_and(known) || self.items.iter().any(|item| item.sku == *sku)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShopFile {
    users: Option<String>,
    catalog: Option<Keys<CatalogFile>>,
    settings: Option<IndexMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogFile {
    generate: Option<String>,
    stock: Option<String>,
    items: Option<Vec<Keys<ItemFile>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ItemFile {
    sku: Option<String>,
    name: Option<String>,
    price: Option<String>,
    stock: Option<String>,
}

impl ShopFile {
    pub(super) fn validate(self, at: &NodePath, known: &Known, check: &mut Check) -> Shop {
        let users = check.required(self.users, at, "users");
        let users = users.map_or(1, |text| check.whole(&text, &at.key("users"), 1..=USERS_MAX));
        let catalog = match check.required(self.catalog, at, "catalog") {
            Some(Keys(catalog)) => catalog.validate(&at.key("catalog"), check),
            None => Catalog { generate: 0, stock: 0, items: Vec::new() },
        };
        let settings = settings(self.settings.unwrap_or_default(), &at.key("settings"), known, check);
        Shop { users, catalog, settings }
    }
}

fn settings(
    written: IndexMap<String, String>,
    at: &NodePath,
    known: &Known,
    check: &mut Check,
) -> BTreeMap<String, String> {
    for (name, value) in &written {
        if !known.names.contains(name) && name.ends_with(PLANTED_BUG) {
            let build = "bugs are planted in builds with `--features planted-bugs` alone";
            check.key(&at.key(name), format!("no service of this build has {}: {build}", quote(name)));
        } else if !known.names.contains(name) {
            let problem = check.key(&at.key(name), format!("no service has a setting {}", quote(name)));
            problem.suggest(name, known.names.iter().map(String::as_str));
        } else if let Err(reason) = (known.check)(name, value) {
            check.value(&at.key(name), reason);
        }
    }
    written.into_iter().collect()
}

impl CatalogFile {
    fn validate(self, at: &NodePath, check: &mut Check) -> Catalog {
        let before = check.problems.len();
        let generate = self.generate.map_or(0, |text| check.whole(&text, &at.key("generate"), 0..=GENERATED_MAX));
        if generate > 0 {
            check.required(self.stock.as_ref(), at, "stock");
        }
        let stock = self.stock.map_or(0, |text| check.whole(&text, &at.key("stock"), 0..=STOCK_MAX));
        let items = items(self.items.unwrap_or_default(), &at.key("items"), generate > 0, check);
        if check.problems.len() == before && generate == 0 && items.is_empty() {
            check.key(at, "a shop sells something: give `items`, or `generate` and `stock`");
        }
        Catalog { generate, stock, items }
    }
}

fn items(written: Vec<Keys<ItemFile>>, at: &NodePath, generates: bool, check: &mut Check) -> Vec<Item> {
    if written.len() > ITEMS_MAX {
        check.key(at, format!("`items` has {} products; {ITEMS_MAX} are the most", written.len()));
    }
    let mut seen = IndexSet::new();
    let mut currency = generates.then_some(Currency::EUR);
    let mut items = Vec::new();
    for (index, Keys(item)) in written.into_iter().enumerate() {
        let at = at.index(index);
        let Some(item) = item.validate(&at, check) else { continue };
        if !seen.insert(item.sku.clone()) {
            check.value(&at.key("sku"), format!("`{}` is in the catalogue twice", item.sku));
        }
        // An order may hold any products, and its total is one amount.
        let expected = *currency.get_or_insert(item.price.currency);
        if item.price.currency != expected {
            let message = format!("`price` is in {}; the rest of the catalogue is in {expected}", item.price.currency);
            check.value(&at.key("price"), message);
        }
        items.push(item);
    }
    items
}

impl ItemFile {
    fn validate(self, at: &NodePath, check: &mut Check) -> Option<Item> {
        let sku = check.required(self.sku, at, "sku").and_then(|text| own_sku(&text, &at.key("sku"), check));
        let name = check.required(self.name, at, "name");
        let name = name.map(|name| check.line(name, &at.key("name"), NAME_CHARS_MAX));
        let price = check.required(self.price, at, "price").and_then(|text| price(&text, &at.key("price"), check));
        let stock = check.required(self.stock, at, "stock");
        let stock = stock.map(|text| check.whole(&text, &at.key("stock"), 0..=STOCK_MAX));
        Some(Item { sku: sku?, name: name?, price: price?, stock: stock? })
    }
}

fn own_sku(text: &str, at: &NodePath, check: &mut Check) -> Option<Sku> {
    let sku = sku(text, at, check)?;
    if text.starts_with(GENERATED_PREFIX) {
        check.value(at, format!("{} starts with `{GENERATED_PREFIX}`, which generated products do", quote(text)));
    }
    if text == ANY {
        check.value(at, "`any` stands for a random product; it cannot be a SKU");
    }
    Some(sku)
}

pub(super) fn sku(text: &str, at: &NodePath, check: &mut Check) -> Option<Sku> {
    let sku = text.parse().ok();
    if sku.is_none() {
        check.value(at, format!("`sku` is 1 to 64 letters, digits, `.`, `_` or `-`, not {}", quote(text)));
    }
    sku
}

fn price(text: &str, at: &NodePath, check: &mut Check) -> Option<Money> {
    match text.parse::<Money>() {
        Ok(price) if (1..=PRICE_UNITS_MAX * 100).contains(&price.minor) => Some(price),
        Ok(_) => {
            check.value(at, format!("`price` is from 0.01 to {PRICE_UNITS_MAX}, not {}", quote(text)));
            None
        }
        Err(_) => {
            check.value(at, format!("`price` is an amount such as 129.00 EUR, not {}", quote(text)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, parsed};
    use super::*;

    const HEAD: &str =
        "version: 1\nname: x\nload: { g: { executor: constant-vus, vus: 1, duration: 1s, journey: [ view: any ] } }\n";

    fn shop(text: &str, expected: &[(&str, &str)]) {
        check(&format!("{HEAD}{text}"), expected);
    }

    #[test]
    fn reads_users_products_and_settings_as_written() {
        let text = "shop:\n  users: 3\n  catalog: { generate: 2, stock: 7, items: [ { sku: A, name: B C, price: 1.5 EUR, stock: 0 } ] }\n  settings: { acquirer.decline_rate: 0.030 }\n";
        let shop = parsed(&format!("{HEAD}{text}")).shop;
        assert_eq!((shop.users, shop.catalog.generate, shop.catalog.stock), (3, 2, 7));
        assert_eq!(shop.catalog.items[0].price.minor, 150);
        assert_eq!(shop.catalog.skus().collect::<Vec<_>>(), ["A", "GEN-0001", "GEN-0002"]);
        assert_eq!(shop.settings["acquirer.decline_rate"], "0.030");
    }

    #[test]
    fn a_generated_sku_exists_in_its_one_spelling() {
        let catalog = Catalog { generate: 12_000, stock: 1, items: vec![] };
        for (sku, there) in
            [("GEN-0001", true), ("GEN-12000", true), ("GEN-1", false), ("GEN-12001", false), ("GEN-0000", false)]
        {
            assert_eq!(catalog.has(&sku.parse().unwrap()), there, "{sku}");
        }
    }

    #[test]
    fn a_shop_without_users_or_products_is_refused() {
        shop("shop: {}", &[("4:1", "`shop` needs `users`"), ("4:1", "`shop` needs `catalog`")]);
        shop("shop: { users: 1, catalog: {} }", &[("4:19", "a shop sells something")]);
        shop("shop: { users: 1, catalog: { generate: 1 } }", &[("4:19", "`catalog` needs `stock`")]);
        shop(
            "shop: { users: 0, catalog: { generate: 1, stock: 1 } }",
            &[("4:16", "`users` is a whole number from 1 to 1000000, not `0`")],
        );
    }

    #[test]
    fn each_wrong_item_is_named_at_its_place() {
        let text = "shop:\n  users: 1\n  catalog:\n    items:\n      - { sku: A, name: A, price: 1 EUR, stock: 1 }\n";
        for (item, place, message) in [
            ("sku: A, name: B, price: 1 EUR, stock: 1", "9:16", "`A` is in the catalogue twice"),
            ("sku: any, name: B, price: 1 EUR, stock: 1", "9:16", "cannot be a SKU"),
            ("sku: GEN-9, name: B, price: 1 EUR, stock: 1", "9:16", "which generated products do"),
            ("sku: a b, name: B, price: 1 EUR, stock: 1", "9:16", "not `a b`"),
            ("sku: B, name: '', price: 1 EUR, stock: 1", "9:25", "1 to 200 characters"),
            ("sku: B, name: B, price: 1, stock: 1", "9:35", "`price` is an amount such as 129.00 EUR, not `1`"),
            ("sku: B, name: B, price: 0 EUR, stock: 1", "9:35", "from 0.01"),
            ("sku: B, name: B, price: 1 USD, stock: 1", "9:35", "the rest of the catalogue is in EUR"),
            ("sku: B, name: B, price: 1 EUR, stock: -1", "9:49", "not `-1`"),
            ("sku: B, name: B, price: 1 EUR, stock: 99999999999", "9:49", "not `99999999999`"),
            ("sku: B, name: B, price: 1 EUR", "9:9", "an item of `items` needs `stock`"),
            ("sku: B, name: B, price: 1 EUR, stok: 1", "9:42", "unknown key `stok`, did you mean `stock`?"),
        ] {
            shop(&format!("{text}      - {{ {item} }}\n"), &[(place, message)]);
        }
    }

    #[test]
    fn settings_are_those_of_the_services() {
        let text = "shop:\n  users: 1\n  catalog: { generate: 1, stock: 1 }\n  settings:\n";
        shop(
            &format!("{text}    acquirer.decline_rat: 1\n"),
            &[("8:5", "no service has a setting `acquirer.decline_rat`, did you mean `acquirer.decline_rate`?")],
        );
        shop(
            &format!("{text}    order.planted_bug: x\n"),
            &[("8:5", "no service of this build has `order.planted_bug`: bugs are planted in builds with `--features")],
        );
        shop(&format!("{text}    acquirer.decline_rate: 2\n"), &[("8:28", "`2` is not a share")]);
        shop(&format!("{text}    acquirer.decline_rate:\n"), &[("8:5", "nothing stands here")]);
        shop(&format!("{text}    acquirer: {{ decline_rate: 1 }}\n"), &[("8:15", "a map stands here")]);
    }
}
