//! What a scenario may hold, told in two ways: as a JSON Schema for editors ([`schema`](fn@schema))
//! and as text for people ([`text`](fn@text)). Both are made from the tables that the parser reads by.

mod schema;
mod text;

use chassis::chaos::Target;
use chassis::settings::Described;

use super::keys::Key;
use super::{during, expect, fault, journey, load, shop};

pub use schema::schema;
pub use text::text;

/// What the services of this build bring to it.
pub struct Services<'a> {
    pub settings: &'a [Described],
    pub targets: &'a [&'static Target],
}

/// A map of the file, under the name that [`Shape`](super::keys::Shape) calls it by.
struct Section {
    name: &'static str,
    keys: &'static [Key],
}

/// All maps but the file itself, in the order of the text.
const SECTIONS: &[Section] = &[
    Section { name: "shop", keys: shop::KEYS },
    Section { name: "catalog", keys: shop::CATALOG_KEYS },
    Section { name: "item", keys: shop::ITEM_KEYS },
    Section { name: "group", keys: load::KEYS },
    Section { name: "stage", keys: load::STAGE_KEYS },
    Section { name: "order", keys: journey::ORDER_KEYS },
    Section { name: "order_item", keys: journey::ORDER_ITEM_KEYS },
    Section { name: "restock", keys: journey::RESTOCK_KEYS },
    Section { name: "fault", keys: fault::KEYS },
    Section { name: "expect", keys: expect::KEYS },
    Section { name: "during", keys: during::KEYS },
];

const BEGINS: &str = "<!-- generated: shopctl scenario docs -->";
const ENDS: &str = "<!-- end -->";

/// `page` with the part between its two marks replaced by `text`.
///
/// # Errors
/// When the page has no such marks.
pub fn put_into(page: &str, text: &str) -> Result<String, String> {
    let lacks = || format!("the page has no line `{BEGINS}` with a line `{ENDS}` after it");
    let (before, rest) = page.split_once(BEGINS).ok_or_else(lacks)?;
    let (_, after) = rest.split_once(ENDS).ok_or_else(lacks)?;
    Ok(format!("{before}{BEGINS}\n\n{}\n\n{ENDS}{after}", text.trim()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::super::file::ScenarioFile;
    use super::super::keys::{Need, Shape};
    use super::super::map::Keys;
    use super::super::tests::{overridden, parsed, settings};
    use super::*;

    /// The keys that a type of the first stage knows, by its own word.
    fn fields<T: DeserializeOwned>() -> Vec<String> {
        let stranger = serde_json::from_str::<Keys<T>>(r#"{ "a stranger": 1 }"#).err().unwrap().to_string();
        stranger.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[track_caller]
    fn agree<T: DeserializeOwned>(keys: &[Key]) {
        let (mut read, mut told) = (fields::<T>(), keys.iter().map(|key| key.name).collect::<Vec<_>>());
        read.sort();
        told.sort_unstable();
        assert!(!read.is_empty());
        assert_eq!(read, told);
    }

    #[test]
    fn the_tables_have_the_keys_that_the_parser_reads() {
        agree::<ScenarioFile>(super::super::KEYS);
        agree::<shop::ShopFile>(shop::KEYS);
        agree::<shop::CatalogFile>(shop::CATALOG_KEYS);
        agree::<shop::ItemFile>(shop::ITEM_KEYS);
        agree::<load::GroupFile>(load::KEYS);
        agree::<load::StageFile>(load::STAGE_KEYS);
        agree::<journey::OrderFile>(journey::ORDER_KEYS);
        agree::<journey::OrderItemFile>(journey::ORDER_ITEM_KEYS);
        agree::<journey::RestockFile>(journey::RESTOCK_KEYS);
        agree::<expect::ExpectFile>(expect::KEYS);
        agree::<during::DuringFile>(during::KEYS);
    }

    #[test]
    fn every_section_that_a_key_points_to_is_told() {
        let elsewhere = ["settings", "thresholds", "invariants", "step"];
        let all = SECTIONS.iter().flat_map(|section| section.keys).chain(super::super::KEYS);
        for key in all {
            if let Shape::Map(name) | Shape::Named(name, ..) | Shape::List(name, ..) = key.shape {
                assert!(elsewhere.contains(&name) || SECTIONS.iter().any(|section| section.name == name), "{name}");
            }
        }
    }

    #[test]
    fn the_reference_takes_the_place_between_its_marks() {
        let page = put_into(&format!("a\n{BEGINS}\nold\n{ENDS}\nz\n"), "new\n").unwrap();
        assert_eq!(page, format!("a\n{BEGINS}\n\nnew\n\n{ENDS}\nz\n"));
        assert_eq!(put_into(&page, "new").unwrap(), page);
        assert!(put_into("a", "new").is_err());
    }

    const FULL: &str = "version: 1
name: x
shop: { users: 1, catalog: { generate: 1, stock: 1 } }
load:
  open:
    executor: ramping-arrival-rate
    stages: [ { duration: 9s, target: 9 } ]
    max_vus: 9
    journey: [ order: { items: [ { sku: any } ] }, await ]
  closed: { executor: ramping-vus, stages: [ { duration: 9s, target: 9 } ], journey: [ view: any ] }
  counted: { executor: shared-iterations, vus: 1, iterations: 1, journey: [ view: any ] }
";

    #[test]
    fn what_is_told_as_a_default_is_what_is_read() {
        let plain = parsed(FULL);
        let (mut seen, places) = (
            0,
            [
                ("", super::super::KEYS),
                ("load.open.", load::KEYS),
                ("load.closed.", load::KEYS),
                ("load.counted.", load::KEYS),
                ("load.open.journey.0.order.", journey::ORDER_KEYS),
                ("load.open.journey.0.order.items.0.", journey::ORDER_ITEM_KEYS),
                ("expect.", expect::KEYS),
            ],
        );
        for (place, keys) in places {
            for key in keys {
                let Need::Default(default) = key.need else { continue };
                // A key of another executor is refused, which is not what is looked for here.
                if let Ok(told) = overridden(FULL, &[(&format!("{place}{}", key.name), default)]) {
                    let same = super::super::Scenario { hash: plain.hash.clone(), ..told } == plain;
                    assert!(same, "{place}{} is not {default} when left out", key.name);
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 13);
    }

    #[test]
    fn what_is_told_as_the_bounds_is_what_is_allowed() {
        let allowed = |path: &str, value: String| overridden(FULL, &[(path, &value)]).is_ok();
        for (place, keys) in [("", super::super::KEYS), ("shop.", shop::KEYS), ("load.closed.", load::KEYS)] {
            for key in keys {
                let path = format!("{place}{}", key.name);
                if let Shape::Whole(low, high) = key.shape
                    && overridden(FULL, &[(&path, &low.to_string())]).is_ok()
                {
                    assert!(allowed(&path, high.to_string()), "{path}");
                    assert!(!allowed(&path, (i128::from(high) + 1).to_string()), "{path}");
                    assert!(!allowed(&path, (i128::from(low) - 1).to_string()), "{path}");
                }
            }
        }
    }

    #[test]
    fn every_step_example_is_a_step() {
        for step in journey::STEPS {
            let first = "order: { items: [ { sku: any } ] }";
            let example = step.example.replace("SHOE-1", "any");
            let text = FULL.replace(first, &format!("{first}, {example}"));
            assert!(super::super::parse(&text, "x", &[], &settings()).is_ok(), "{example}");
        }
    }
}
