//! Clients that mean no good, against a whole shop over HTTP: what one service alone cannot show.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::{Bench, PATIENCE, PATIENT, Running, TINY};

struct Shop {
    gateway: String,
    bench: Bench,
    running: Running,
}

fn shop(arguments: &[&str]) -> Shop {
    let bench = Bench::new(TINY);
    let mut running =
        bench.spawn(&[&["up", "--listen", "127.0.0.1:0", "--data", "data", "--set", PATIENT], arguments].concat());
    let line = running.says("the shop is up");
    let gateway = line.rsplit_once("http://").unwrap().1.trim_end_matches("/api/v1").to_owned();
    bench.shopctl(&["seed", "scenario.yaml", "--target", &format!("http://{gateway}")]).exits(0);
    Shop { gateway, bench, running }
}

impl Shop {
    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.gateway).unwrap();
        let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let length = body.len();
        write!(
            stream,
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: shop\r\n{token}Connection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn somebody(&self, name: &str) -> String {
        let body = format!(r#"{{"email":"{name}@example.com","password":"123456"}}"#);
        let (status, session) = self.ask("POST", "users/register", "", &body);
        assert_eq!(status, 201, "{session}");
        session["token"].as_str().unwrap().to_owned()
    }
}

#[track_caller]
fn refused(answer: &(u16, Value), status: u16, kind: &str) {
    let problem = answer.1["type"].as_str().unwrap_or_default();
    assert_eq!((answer.0, problem), (status, format!("urn:shopctl:problem:{kind}").as_str()), "{}", answer.1);
}

#[test]
fn one_customer_has_no_way_to_anothers_things() {
    let shop = shop(&[]);
    let (ada, eve) = (shop.somebody("ada"), shop.somebody("eve"));
    let (_, order) = shop.ask("POST", "orders", &ada, r#"{"items":[{"product_id":2,"quantity":1}]}"#);
    let order = order["id"].as_str().unwrap();
    for (method, path) in [
        ("GET", format!("orders/{order}")),
        ("GET", format!("orders/{order}/history")),
        ("GET", format!("orders/{order}/attempts")),
        ("POST", format!("orders/{order}/cancel")),
        ("GET", format!("payments/{order}")),
        ("GET", format!("payments/{order}/history")),
        ("POST", format!("payments/{order}/refund")),
        ("POST", format!("admin/orders/{order}/retry")),
    ] {
        refused(&shop.ask(method, &path, &eve, ""), 403, "forbidden");
        refused(&shop.ask(method, &path, "", ""), 401, "unauthenticated");
    }
    let me = shop.ask("GET", "users/me", &ada, "").1;
    let ada_id = me["id"].as_str().unwrap();
    for path in [format!("orders?user_id={ada_id}"), format!("payments?user_id={ada_id}")] {
        refused(&shop.ask("GET", &path, &eve, ""), 403, "forbidden");
    }
    refused(&shop.ask("GET", &format!("admin/users/{ada_id}"), &eve, ""), 403, "forbidden");
    let raise = shop.ask("PUT", &format!("admin/users/{ada_id}/role"), &ada, r#"{"role":"admin"}"#);
    refused(&raise, 403, "forbidden");
    assert_eq!(shop.ask("GET", "orders", &eve, "").1["items"], Value::Array(Vec::new()));
    assert_eq!(shop.ask("GET", &format!("orders/{order}"), &ada, "").0, 200, "it is still hers");
    shop.running.stop();
    shop.bench.shopctl(&["audit", "--data", "data"]).exits(0);
}

#[test]
fn a_search_for_statements_finds_nothing_and_does_nothing() {
    let shop = shop(&[]);
    let all = shop.ask("GET", "products", "", "").1["items"].as_array().unwrap().len();
    for text in [
        "%27%3B%20DROP%20TABLE%20products%3B%20--",
        "%27%20OR%20%271%27%3D%271",
        "%25",
        "_",
        "%00",
        "%5C",
        "%ff%fe",
        "a%20UNION%20SELECT%20password_hash%20FROM%20users",
    ] {
        for parameter in ["search", "category"] {
            let (status, found) = shop.ask("GET", &format!("products?{parameter}={text}"), "", "");
            let nothing = status == 200 && found["items"] == Value::Array(Vec::new());
            assert!(nothing || status == 400, "{parameter}={text}: {status} {found}");
        }
        let (status, _) = shop.ask("GET", &format!("categories?after={text}"), "", "");
        assert!([200, 400].contains(&status), "{text}: {status}");
    }
    assert_eq!(shop.ask("GET", "products", "", "").1["items"].as_array().unwrap().len(), all);
}

#[test]
fn a_token_is_good_until_it_expires_and_no_longer() {
    let shop = shop(&["--set", "user.token_ttl=2s", "--set", "gateway.rate_limit_per_minute=1000000"]);
    // A busy machine may keep them waiting until it has expired: then they sign up once more.
    let token = ["ada", "bob", "eve", "dan", "fay"].into_iter().map(|name| shop.somebody(name));
    let mut good = token.filter(|token| shop.ask("GET", "users/me", token, "").0 == 200);
    let token = good.next().expect("it is good at first");
    let deadline = Instant::now() + PATIENCE;
    let expired = loop {
        let answer = shop.ask("GET", "users/me", &token, "");
        if answer.0 != 200 {
            break answer;
        }
        assert!(Instant::now() < deadline, "still good");
    };
    refused(&expired, 401, "invalid-token");
}

#[test]
fn a_refund_by_staff_leaves_a_confirmed_order_and_books_that_agree() {
    let shop = shop(&[]);
    let ada = shop.somebody("ada");
    let login = r#"{"email":"admin@example.test","password":"embedded-admin"}"#;
    let admin = shop.ask("POST", "users/login", "", login).1["token"].as_str().unwrap().to_owned();
    let (status, order) = shop.ask("POST", "orders", &ada, r#"{"items":[{"product_id":2,"quantity":1}]}"#);
    assert_eq!((status, order["status"].as_str()), (201, Some("CONFIRMED")), "{order}");
    let order = order["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let (status, payment) = shop.ask("POST", &format!("payments/{order}/refund"), &admin, "");
        assert_eq!((status, payment["state"].as_str()), (200, Some("refunded")), "{payment}");
        assert!(payment["refunded_by"].is_string(), "{payment}");
    }
    assert_eq!(shop.ask("GET", &format!("orders/{order}"), &ada, "").1["status"], "CONFIRMED");
    shop.running.stop();
    shop.bench.shopctl(&["audit", "--data", "data"]).exits(0);
    let story = shop.bench.shopctl(&["explain", &order, "--data", "data"]).exits(0).stdout();
    assert!(story.contains("want the money given back"), "{story}");
    // Without the word of staff the same books are wrong.
    let payments = rusqlite::Connection::open(shop.bench.path("data/payment_db.db")).unwrap();
    let forgotten = "UPDATE payment_events SET kind = 'PaymentProcessed' WHERE kind = 'PaymentRefundRequested'";
    assert_eq!(payments.execute(forgotten, []).unwrap(), 1);
    drop(payments);
    let said = shop.bench.shopctl(&["audit", "--data", "data"]).exits(111).stdout();
    assert!(said.contains("confirmed_iff_captured"), "{said}");
}
