//! Clients that mean no good: each is answered with a problem, and nothing of theirs reaches a service.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::auth::{Keys, Role};
use kernel::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Shop, USER, shop, shop_with};

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn claims(role: &str) -> Value {
    json!({"sub": USER, "role": role, "iat": 0, "exp": 9_999_999_999_i64})
}

#[tokio::test]
async fn no_token_is_believed_for_what_it_says_of_itself() {
    let shop = shop().await;
    let own = shop.token(Role::Customer);
    let [header, _, signature] = own.split('.').collect::<Vec<_>>()[..] else { panic!("not a token: {own}") };
    let none = |algorithm: &str| part(&json!({"alg": algorithm, "typ": "JWT"}));
    let foreign = Keys::new(&[8; 32]).unwrap();
    let forged = [
        ("alg: none", format!("{}.{}.", none("none"), part(&claims("admin")))),
        ("alg: NONE with a signature", format!("{}.{}.{signature}", none("NONE"), part(&claims("admin")))),
        ("another algorithm", format!("{}.{}.{signature}", none("RS256"), part(&claims("admin")))),
        ("a foreign key", foreign.issue(USER, Role::Admin, Duration::from_secs(60), Timestamp::default())),
        ("a role raised by the client", format!("{header}.{}.{signature}", part(&claims("admin")))),
        ("no signature", format!("{header}.{}", part(&claims("admin")))),
        ("expired", shop.token_for(USER, Role::Admin, Duration::ZERO)),
        ("ten thousand letters", "x".repeat(10_000)),
        ("dots", "...".to_owned()),
    ];
    for (what, token) in forged {
        let reply = shop.ask("GET", "/admin/roles").bearer(&token).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (401, "invalid-token"), "{what}");
        assert!(reply.detail().ends_with("sign in again"), "{what}: {}", reply.detail());
    }
    let reply = shop.ask("GET", "/admin/roles").bearer(&own).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (403, "forbidden"), "the token itself is good");
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
}

#[tokio::test]
async fn a_role_in_a_body_or_in_a_header_raises_nobody() {
    let shop = shop().await;
    let body = json!({"email": "eve@example.test", "password": "secret", "role": "admin"});
    let reply = shop.ask("POST", "/users/register").json(body).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"));
    assert!(reply.detail().contains("role"), "{}", reply.detail());
    let raised = shop.ask("GET", "/admin/roles").by(Role::Customer).header("x-role", "admin").header("role", "admin");
    assert_eq!(raised.send().await.status, 403);
}

async fn order(shop: &Shop, body: &str) -> (u16, String, String) {
    let reply = shop.ask("POST", "/orders").by(Role::Customer).text(body).send().await;
    (reply.status, reply.problem(), reply.detail())
}

#[tokio::test]
async fn impossible_quantities_are_refused_by_their_place() {
    let shop = shop().await;
    for quantity in ["-1", "0", "1000001", "4294967296", "9223372036854775808", "1e400", "1.5", "\"2\"", "null", "NaN"]
    {
        let body = format!(r#"{{"items":[{{"product_id":1,"quantity":1}},{{"product_id":1,"quantity":{quantity}}}]}}"#);
        let (status, problem, detail) = order(&shop, &body).await;
        assert_eq!((status, problem.as_str()), (400, "validation"), "{quantity}: {detail}");
        assert!(detail.starts_with("items[1].quantity: "), "{quantity}: {detail}");
    }
    for body in [r#"{"product_id":1.0,"quantity":2.0}"#, r#"{"product_id":null,"sku":"A","quantity":2e0}"#] {
        let body = format!(r#"{{"items":[{body}]}}"#);
        let reply = shop.ask("POST", "/orders").by(Role::Customer).text(&body).send().await;
        assert_eq!(reply.status, 201, "a whole number is one however it is written: {body}: {}", reply.text);
        assert!(shop.fakes.last().message.contains("quantity: 2"), "{}", shop.fakes.last().message);
    }
    let before = shop.fakes.count();
    for id in ["0", "-1", "9223372036854775808", "\"1\"", "1.5", "1e19"] {
        let (status, _, detail) = order(&shop, &format!(r#"{{"items":[{{"product_id":{id},"quantity":1}}]}}"#)).await;
        assert_eq!(status, 400, "{id}");
        assert!(detail.starts_with("items[0].product_id: "), "{id}: {detail}");
    }
    assert_eq!(shop.fakes.count(), before, "nothing reached a service");
}

#[tokio::test]
async fn an_order_of_ten_thousand_lines_is_refused_whatever_the_body_limit() {
    let line = r#"{"product_id":1,"quantity":1}"#;
    let body = format!(r#"{{"items":[{}]}}"#, vec![line; 10_000].join(","));
    let (status, problem, _) = order(&shop().await, &body).await;
    assert_eq!((status, problem.as_str()), (413, "body-too-large"));
    let roomy = shop_with(&[("body_limit", "16777216")]).await;
    let (status, problem, detail) = order(&roomy, &body).await;
    assert_eq!((status, problem.as_str()), (400, "validation"));
    assert_eq!(detail, "items: 1 to 100 items are expected");
    assert_eq!(roomy.fakes.count(), 0, "nothing reached a service");
}

#[tokio::test]
async fn ten_megabytes_are_not_read_to_their_end() {
    let shop = shop().await;
    let megabytes = 10 * 1024 * 1024;
    let head = format!("POST /api/v1/users/login HTTP/1.1\r\nhost: shop\r\ncontent-length: {megabytes}\r\n\r\n");
    // The answer comes while the body is still on its way: the rest is never sent.
    let said = [head.into_bytes(), vec![b' '; 128 * 1024]].concat();
    let answer = shop.raw(&said, |answer| answer.contains("body-too-large")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn depth_and_text_that_is_none_are_refused() {
    let shop = shop().await;
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(order(&shop, &format!(r#"{{"items":{deep}}}"#)).await.0, 400);
    for body in [
        &b"{\"email\":\"\xff\xfe@example.test\",\"password\":\"right\"}"[..],
        b"\xff\xfe\x00",
        b"{\"email\":\"\\ud800@example.test\",\"password\":\"right\"}",
    ] {
        let reply = shop.ask("POST", "/users/login").bytes(body).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{body:?}");
    }
    for path in ["/products?search=%ff%fe", "/products/%ff", "/orders/%00", "/products?search=%", "/inventory/..%2f1"] {
        let reply = shop.ask("GET", path).by(Role::Customer).send().await;
        assert!([200, 400, 404].contains(&reply.status), "{path}: {}", reply.status);
    }
}

#[tokio::test]
async fn header_bombs_are_problems_too() {
    let shop = shop().await;
    let mut many = shop.ask("GET", "/products");
    for number in 0..65 {
        many = many.header(&format!("x-{number}"), "1");
    }
    let reply = many.send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (431, "headers-too-large"));
    assert!(reply.detail().contains("at most 64"), "{}", reply.detail());
    let reply = shop.ask("GET", "/products").header("x-big", &"x".repeat(20_000)).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (431, "headers-too-large"));
    let reply = shop.ask("GET", &format!("/products?search={}", "x".repeat(9_000))).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (414, "uri-too-long"));
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
    // So much is nobody's request: the server hangs up on it.
    let bomb = format!("GET / HTTP/1.1\r\nhost: shop\r\n{}\r\n", "a: b\r\n".repeat(200_000));
    let answer = shop.raw(bomb.as_bytes(), |_| false).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(shop.ask("GET", "/products").send().await.status, 200, "others are served");
}

#[tokio::test]
async fn two_answers_to_one_request_are_not_to_be_had() {
    let shop = shop().await;
    let smuggled = b"POST /api/v1/users/login HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\
        transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /api/v1/products HTTP/1.1\r\nhost: shop\r\n\r\n";
    let answer = shop.raw(smuggled, |_| false).await;
    assert!(answer.matches("HTTP/1.1 ").count() <= 1 && !answer.contains("HTTP/1.1 200"), "{answer}");
    let split = shop.ask("GET", "/products").header("x-request-id", "a%0d%0aset-cookie: x").send().await;
    assert!(split.header("set-cookie").is_none());
    assert_ne!(split.header("x-request-id"), Some("a%0d%0aset-cookie: x"));
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let shop = shop_with(&[("body_timeout", "100ms")]).await;
    let head = b"POST /api/v1/users/login HTTP/1.1\r\nhost: shop\r\ncontent-length: 40\r\n\r\n{\"email";
    let answer = shop.raw(head, |answer| answer.contains("body-too-slow")).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("within 100 ms"), "{answer}");
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
}

#[tokio::test]
async fn a_request_that_takes_too_long_in_all_is_answered_504_and_its_fate_is_called_unknown() {
    let shop = shop_with(&[("request_timeout", "100ms")]).await;
    let body = json!({"items": [{"sku": crate::fakes::STALL, "quantity": 1}]});
    let reply = shop.ask("POST", "/orders").by(Role::Customer).json(body).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (504, "timeout"));
    assert!(reply.detail().contains("whether the request took effect is not known"), "{}", reply.detail());
}

#[tokio::test]
async fn a_search_is_text_and_nothing_else() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/products?search=%27%3B%20DROP%20TABLE%20products%3B%20--").send().await;
    assert_eq!(reply.status, 200);
    assert!(shop.fakes.last().message.contains("'; DROP TABLE products; --"), "{}", shop.fakes.last().message);
}

#[tokio::test]
async fn an_array_is_no_object() {
    let shop = shop().await;
    for (body, place) in [
        ("[[[1,null,1]]]", "body: "),
        (r#"{"items":[[1,null,1]]}"#, "items[0]: "),
        ("[]", "body: "),
        ("null", "body: "),
    ] {
        let (status, problem, detail) = order(&shop, body).await;
        assert_eq!((status, problem.as_str()), (400, "validation"), "{body}: {detail}");
        assert!(detail.starts_with(place) && detail.contains("expected an object"), "{body}: {detail}");
    }
    for (method, path, body) in [
        ("POST", "/users/login", r#"["ada@example.test","right"]"#),
        ("PUT", "/products/1", r#"{"price":[950,"EUR"]}"#),
        ("POST", "/products", r#"{"sku":"A","name":"a","price":[950,"EUR"]}"#),
        ("POST", "/inventory/1/restock", r#"[1,"delivery-1"]"#),
        ("PUT", "/admin/users/00000000-0000-0000-0000-000000000002/role", r#"["staff"]"#),
        ("POST", "/admin/users", r#"["buyer",0,1]"#),
    ] {
        let reply = shop.ask(method, path).by(Role::Admin).text(body).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{path}: {}", reply.text);
        assert!(reply.detail().contains("expected an object"), "{path}: {}", reply.detail());
    }
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
}
