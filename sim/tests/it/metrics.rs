//! What a running shop shows on `/metrics`, what `docs/metrics.md` says of it, and what the dashboard makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use audit::witness::Item;
use chassis::net::SystemNetwork;
use load::api::Api;
use load::journey::seen;
use shop::http::{HttpClient, is_success};

use crate::harness::{Bench, PATIENCE, TINY};
use crate::rush::shoppers;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const ROLES: usize = 8;
/// What the figures are called, in the documentation and on the dashboard.
const FIGURES: [&str; 10] = [
    "Request latency",
    "Error rate per service",
    "Cache hit ratio",
    "Database connection pool",
    "NATS message throughput",
    "Circuit breaker status",
    "Orders per second",
    "Order success rate",
    "Average order value",
    "Payment success rate",
];

/// A metric: its type and its labels, but for `service` and `le`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shape {
    kind: String,
    labels: BTreeSet<String>,
}

fn page() -> String {
    fs::read_to_string(format!("{ROOT}/docs/metrics.md")).unwrap()
}

/// The rows of the table: what is always there, and what is not there until it happens.
fn documented() -> (BTreeMap<String, Shape>, BTreeMap<String, Shape>) {
    let (mut always, mut later) = (BTreeMap::new(), BTreeMap::new());
    for line in page().lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, _, labels, seen, _] = cells[..] else { panic!("{line}") };
        // Values stand in brackets behind their label.
        let labels = labels.split('(').map(|part| part.rsplit_once(')').map_or(part, |(_, rest)| rest));
        let labels: String = labels.collect();
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let rows = match seen {
            "always" => &mut always,
            "when it happens" => &mut later,
            other => panic!("{other}: {line}"),
        };
        rows.insert(name.trim_matches('`').to_owned(), Shape { kind: kind.to_owned(), labels });
    }
    (always, later)
}

/// What a scrape shows.
fn exposed(text: &str) -> BTreeMap<String, Shape> {
    let mut shapes = BTreeMap::<String, Shape>::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (declared, kind) = declared.split_once(' ').unwrap();
            declared.clone_into(&mut name);
            kind.clone_into(&mut shapes.entry(name.clone()).or_default().kind);
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&name), "{line} is not of {name}");
            let labels = line.split_once('{').map_or("", |(_, labels)| labels);
            let names = labels.split('"').step_by(2).filter_map(|part| part.trim_start_matches(',').strip_suffix('='));
            let names = names.filter(|name| !["service", "le"].contains(name)).map(str::to_owned);
            shapes.get_mut(&name).unwrap().labels.extend(names);
        }
    }
    shapes
}

/// The names of what can be asked for of a metric.
fn samples(shapes: &BTreeMap<String, Shape>) -> BTreeSet<String> {
    let of = |(name, shape): (&String, &Shape)| match shape.kind.as_str() {
        "counter" => vec![format!("{name}_total")],
        "histogram" => ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")).to_vec(),
        "gauge" => vec![name.clone()],
        other => panic!("{name} is a {other}"),
    };
    shapes.iter().flat_map(of).collect()
}

/// The samples that a PromQL expression asks for.
fn asked(expression: &str) -> BTreeSet<String> {
    let mut plain = String::new();
    let mut rest = expression;
    // Without label matchers, ranges and the labels that are grouped by.
    while let Some(open) = rest.find(['{', '[']).into_iter().chain(rest.find("by (").map(|by| by + 3)).min() {
        let close = match rest.as_bytes()[open] {
            b'{' => '}',
            b'[' => ']',
            _ => ')',
        };
        plain.push_str(&rest[..open]);
        plain.push(' ');
        rest = &rest[open + rest[open..].find(close).unwrap() + 1..];
    }
    plain.push_str(rest);
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
    let words = words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    words.filter(|word| !["histogram_quantile", "sum", "max", "rate", "by"].contains(word)).map(str::to_owned).collect()
}

fn expressions_of_the_page() -> Vec<String> {
    page().split("```promql\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// A shop that has sold something, been looked at and been broken, with the ops port of each role.
struct Shop {
    _running: crate::harness::Running,
    bench: Bench,
    url: String,
    ops: Vec<String>,
}

impl Shop {
    fn up() -> Self {
        let bench = Bench::new(TINY);
        let mut running = bench.spawn(&["up", "--chaos", "--listen", "127.0.0.1:0"]);
        let address = |line: String| {
            let at = line.rsplit_once("http://").unwrap().1.trim_end_matches("/metrics");
            at.to_owned()
        };
        let ops = (0..ROLES).map(|_| address(running.says("/metrics"))).collect();
        let said = running.says("fill it with");
        let url = said.rsplit_once("--target ").unwrap().1.split(' ').next().unwrap().to_owned();
        Self { _running: running, bench, url, ops }
    }

    fn gateway(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    async fn scraped(&self) -> String {
        let mut text = String::new();
        for ops in &self.ops {
            let client = HttpClient::new(Arc::new(SystemNetwork), ops.clone());
            let answer = client.get("/metrics", None, PATIENCE).await.unwrap();
            let page = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(page.ends_with("# EOF\n"), "{page}");
            text.push_str(page.trim_end_matches("# EOF\n"));
        }
        text
    }

    /// Scrapes until `enough` of what is seen; fails after [`PATIENCE`].
    async fn scraped_until(&self, enough: impl Fn(&str) -> bool) -> String {
        let asked = tokio::time::timeout(PATIENCE, async {
            loop {
                let text = self.scraped().await;
                if enough(&text) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        asked.await.unwrap_or_else(|_| panic!("it was not seen within {PATIENCE:?}"))
    }
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_shop_shows_all_that_is_documented_and_nothing_else_and_the_figures_are_right() {
    let shop = Shop::up();
    let people = shoppers(shop.gateway()).await;
    let api = Api { client: HttpClient::new(Arc::new(SystemNetwork), shop.gateway().to_owned()) };
    let items = [Item { sku: "LAMP".into(), quantity: 2 }];
    for number in ["1", "2", "3", "3"] {
        let answer = api.place_order(&people[0].token, number, &items, Duration::from_secs(30)).await.unwrap();
        assert_eq!(seen(&answer).unwrap().status, "CONFIRMED", "{}", answer.summary());
    }
    // More than there are, and one that the open breaker refuses.
    let many = [Item { sku: "LAMP".into(), quantity: 100 }];
    let answer = api.place_order(&people[0].token, "4", &many, Duration::from_secs(30)).await.unwrap();
    assert_eq!(seen(&answer).unwrap().reason.as_deref(), Some("sold_out"));
    shop.bench.shopctl(&["fault", "inject", "breaker", "force_open", "--target", &shop.url]).exits(0);
    let answer = api.place_order(&people[0].token, "5", &items, Duration::from_secs(30)).await.unwrap();
    assert_eq!(seen(&answer).unwrap().reason.as_deref(), Some("unavailable"));
    for password in [user::BULK_PASSWORD, "a guess"] {
        let answer = api.login(&people[0].email, password).await.unwrap();
        assert_eq!(is_success(answer.status), password == user::BULK_PASSWORD);
    }

    let (always, later) = documented();
    assert!(always.len() > 20, "{always:?}");
    let all_there = |text: &str| always.keys().all(|name| exposed(text).contains_key(name));
    let told = r#"events_consumed_total{service="notification",stream="ORDERS",consumer="notification-service"}"#;
    let text = shop.scraped_until(|text| all_there(text) && value(text, told) >= 5.0).await;
    let shown = exposed(&text);
    for (name, shape) in &shown {
        let documented = always.get(name).or_else(|| later.get(name));
        assert_eq!(Some(shape), documented, "{name} is not as docs/metrics.md says");
    }

    for (sample, expected) in [
        (r#"orders_placed_total{service="order"}"#, 5.0),
        (r#"orders_ended_total{service="order",status="confirmed",reason="none"}"#, 3.0),
        (r#"orders_ended_total{service="order",status="cancelled",reason="sold_out"}"#, 1.0),
        (r#"orders_ended_total{service="order",status="cancelled",reason="unavailable"}"#, 1.0),
        (r#"order_value_minor_count{service="order",currency="EUR"}"#, 3.0),
        (r#"order_value_minor_sum{service="order",currency="EUR"}"#, 3.0 * 2.0 * 1990.0),
        (r#"payments_total{service="payment",outcome="captured"}"#, 3.0),
        (r#"payments_total{service="payment",outcome="declined"}"#, 0.0),
        (r#"payments_total{service="payment",outcome="unavailable"}"#, 1.0),
        (r#"breaker_state{service="payment"}"#, 1.0),
        (r#"user_logins_total{service="user",outcome="wrong"}"#, 1.0),
        (r#"store_connections_max{service="order",store="order_db"}"#, 2.0),
    ] {
        let seen = value(&text, sample);
        assert!((seen - expected).abs() < 1e-6, "{sample} is {seen}, not {expected}");
    }
    let hits = value(&text, r#"product_cache_requests_total{service="product",result="hit"}"#);
    assert!(hits >= 2.0, "{hits} hits of one product that was ordered five times");
}

#[test]
fn the_expressions_of_the_page_ask_for_what_it_documents() {
    let (mut all, later) = documented();
    all.extend(later);
    let known = samples(&all);
    let expressions = expressions_of_the_page();
    assert_eq!(expressions.len(), FIGURES.len() + 1, "throughput has two");
    for expression in &expressions {
        let asked = asked(expression);
        assert!(!asked.is_empty() && asked.is_subset(&known), "{asked:?} in {expression}");
    }
    for figure in FIGURES {
        assert!(page().contains(&format!("**{figure}**")), "{figure} is not explained");
    }
}

#[test]
fn the_dashboard_has_the_ten_figures_and_asks_for_what_is_documented() {
    let dashboard = fs::read_to_string(format!("{ROOT}/dashboards/shop.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut titles: Vec<&str> = panels.iter().map(|panel| panel["title"].as_str().unwrap()).collect();
    titles.sort_unstable();
    let mut figures = FIGURES;
    figures.sort_unstable();
    assert_eq!(titles, figures);
    let (mut all, later) = documented();
    all.extend(later);
    let known = samples(&all);
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
        let expression = target["expr"].as_str().unwrap();
        let asked = asked(expression);
        assert!(!asked.is_empty() && asked.is_subset(&known), "{asked:?} in {expression}");
    }
}

#[test]
fn what_an_expression_asks_for_is_found() {
    let expression = r#"histogram_quantile(0.5, sum by (le, a) (rate(x_bucket{b=~"sum|c"}[1m]))) / max(y_z)"#;
    assert_eq!(asked(expression), ["x_bucket", "y_z"].map(str::to_owned).into());
}
