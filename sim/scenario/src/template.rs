//! Scenarios to start from: those that come with the repository, under another name.

/// The scenarios that a new one can be like.
pub const NAMES: [&str; 5] = ["flash-sale", "payment-outage", "oversell-race", "browse-and-buy", "smoke"];

const TEXTS: [&str; 5] = [
    include_str!("../../../scenarios/flash-sale.yaml"),
    include_str!("../../../scenarios/payment-outage.yaml"),
    include_str!("../../../scenarios/oversell-race.yaml"),
    include_str!("../../../scenarios/browse-and-buy.yaml"),
    include_str!("../../../scenarios/smoke.yaml"),
];

/// The line by which editors find the schema.
const SCHEMA_LINE: &str = "# yaml-language-server: $schema=schema.json\n";

/// The scenario `like`, called `name` and going to be at `path`. `with_schema` says whether the
/// schema is beside it. Empty if there is no such scenario.
pub fn named(like: &str, name: &str, path: &str, with_schema: bool) -> String {
    let text = NAMES.iter().zip(TEXTS).find(|(known, _)| **known == like).map_or("", |(_, text)| text);
    let text = if with_schema { text } else { text.strip_prefix(SCHEMA_LINE).unwrap_or(text) };
    let text = text.replace(&format!("scenarios/{like}.yaml"), path);
    text.replacen(&format!("\nname: {like}"), &format!("\nname: {name}"), 1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    #[test]
    fn every_template_is_a_scenario_under_its_new_name() {
        for like in NAMES {
            let text = named(like, "mine", "my/own.yaml", true);
            let scenario = parsed(&text);
            assert_eq!(scenario.name, "mine");
            assert!(text.starts_with(SCHEMA_LINE) && !text.contains(&format!("scenarios/{like}.yaml")), "{text}");
            let commands = text.matches("shopctl run my/own.yaml").count();
            assert!(commands > 0 || like == "smoke", "{text}");
            assert_eq!(named(like, "mine", "my/own.yaml", false), text.replace(SCHEMA_LINE, ""));
        }
    }
}
