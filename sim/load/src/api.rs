//! The shop's HTTP interface as a client sees it: paths, bodies, answers.

use serde::{Deserialize, Serialize};

use audit::witness::Item;
use http::Method;
use shop::http::{Answer, Call, HttpClient, NoAnswer};
use tokio::time::Duration;

/// The parts of an order that a client relies on.
#[derive(Debug, Clone, Deserialize)]
pub struct OrderView {
    pub id: String,
    pub status: String,
    #[serde(default)]
    pub cancel_reason: Option<String>,
    #[serde(default)]
    pub items: Vec<Item>,
}

/// A user that the load plays.
#[derive(Debug, Clone, Deserialize)]
pub struct Shopper {
    pub user_id: String,
    pub token: String,
    /// The address to sign in with.
    pub email: String,
}

#[derive(Serialize)]
struct LoginBody<'a> {
    email: &'a str,
    password: &'a str,
}

/// What signing in brings, as far as a client relies on it.
#[derive(Debug, Clone, Deserialize)]
pub struct SessionView {
    pub token: String,
}

#[derive(Serialize)]
struct RestockBody<'a> {
    quantity: u32,
    restock_id: &'a str,
}

#[derive(Serialize)]
struct OrderBody<'a> {
    items: &'a [Item],
}

/// Longer than any wait that the gateway allows.
pub const ORDER_DEADLINE: Duration = Duration::from_secs(55);
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Typed calls on a gateway.
#[derive(Clone)]
pub struct Api {
    pub client: HttpClient,
}

impl Api {
    pub async fn place_order(
        &self,
        token: &str,
        key: &str,
        items: &[Item],
        wait: Duration,
    ) -> Result<Answer, NoAnswer> {
        let body = serde_json::to_string(&OrderBody { items }).unwrap_or_default();
        let headers = [("idempotency-key", key.to_owned()), ("prefer", format!("wait={}", wait.as_secs_f64().ceil()))];
        let call = Call {
            method: Method::POST,
            path: "/api/v1/orders",
            token: Some(token),
            headers: &headers,
            body: Some(body),
            deadline: ORDER_DEADLINE,
        };
        self.client.call(call).await
    }

    pub async fn order(&self, token: &str, id: &str) -> Result<Answer, NoAnswer> {
        self.client.get(&format!("/api/v1/orders/{id}"), Some(token), DEADLINE).await
    }

    pub async fn cancel(&self, token: &str, id: &str) -> Result<Answer, NoAnswer> {
        let path = format!("/api/v1/orders/{id}/cancel");
        let call = Call {
            method: Method::POST,
            path: &path,
            token: Some(token),
            headers: &[],
            body: None,
            deadline: DEADLINE,
        };
        self.client.call(call).await
    }

    pub async fn login(&self, email: &str, password: &str) -> Result<Answer, NoAnswer> {
        let body = LoginBody { email, password };
        self.client.send(Method::POST, "/api/v1/users/login", None, &body, DEADLINE).await
    }

    pub async fn restock(&self, token: &str, product: i64, quantity: u32, id: &str) -> Result<Answer, NoAnswer> {
        let (path, body) = (format!("/api/v1/inventory/{product}/restock"), RestockBody { quantity, restock_id: id });
        self.client.send(Method::POST, &path, Some(token), &body, DEADLINE).await
    }

    pub async fn search(&self, token: &str, text: &str) -> Result<Answer, NoAnswer> {
        let query: String = text.bytes().map(percent_encoded).collect();
        self.client.get(&format!("/api/v1/products?search={query}"), Some(token), DEADLINE).await
    }

    pub async fn product(&self, token: &str, id: i64) -> Result<Answer, NoAnswer> {
        self.client.get(&format!("/api/v1/products/{id}"), Some(token), DEADLINE).await
    }
}

fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        return char::from(byte).to_string();
    }
    format!("%{byte:02X}")
}
