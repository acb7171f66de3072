//! A running shop that a command speaks to: its address, and who signs in there.

use std::sync::Arc;

use chassis::net::SystemNetwork;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Duration;

use super::args::AdminArgs;
use experiment::report::exit::Failure;
use shop::http::{Answer, Call, HttpClient, NoAnswer, is_success};
use world::Admin;

/// How long one request may take; signing in costs an argon2id hash.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A shop, and a session there as its administrator.
pub struct Target {
    pub client: HttpClient,
    pub token: String,
    /// As the user wrote it, for messages.
    pub url: String,
}

#[derive(Serialize)]
struct Login<'a> {
    email: &'a str,
    password: &'a str,
}

#[derive(serde::Deserialize)]
struct Session {
    token: String,
}

/// What a problem (RFC 9457) says to a person.
#[derive(serde::Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
}

impl Target {
    /// A client of the shop at `url`, without a session.
    ///
    /// # Errors
    /// When `url` is not `http://host[:port]` (104).
    pub fn client(url: &str) -> Result<HttpClient, Failure> {
        Ok(HttpClient::new(Arc::new(SystemNetwork), authority(url).map_err(Failure::invalid)?))
    }

    /// Signs in at the shop at `url`; commands take both from [`super::args::TargetArgs`].
    ///
    /// # Errors
    /// One line: a bad address or the wrong password (104), or a shop that cannot be reached (115).
    pub async fn sign_in(url: &str, admin: &AdminArgs) -> Result<Self, Failure> {
        let client = Self::client(url)?;
        let login = Login { email: &admin.admin_email, password: &admin.admin_password };
        let answer = client.send(Method::POST, "/api/v1/users/login", None, &login, DEADLINE).await;
        let answer = answer.map_err(|error| unreachable(url, &error))?;
        if matches!(answer.status, 400 | 401 | 403) {
            return Err(Failure::invalid(format!(
                "error: {url}: {} may not sign in ({}); see --admin-email and --admin-password",
                admin.admin_email,
                said(&answer)
            )));
        }
        let session: Session = understood(url, "sign in", &answer)?;
        Ok(Self { client, token: session.token, url: url.to_owned() })
    }

    /// `GET path`, whatever the status of the answer.
    ///
    /// # Errors
    /// When there is no answer (115).
    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// A request with this session, whatever the status of the answer. `body` is JSON.
    ///
    /// # Errors
    /// When there is no answer (115).
    pub async fn call(&self, method: Method, path: &str, body: Option<String>) -> Result<Answer, Failure> {
        self.call_within(DEADLINE, method, path, body).await
    }

    /// As [`Target::call`], for what takes its time.
    ///
    /// # Errors
    /// When there is no answer within `deadline` (115).
    pub async fn call_within(
        &self,
        deadline: Duration,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, Failure> {
        let call = Call { method, path, token: Some(&self.token), headers: &[], body, deadline };
        self.client.call(call).await.map_err(|error| unreachable(&self.url, &error))
    }

    /// The body of a successful answer; `what` completes "could not …".
    ///
    /// # Errors
    /// When the answer is a refusal, or not of that shape (115).
    pub fn understood<T: DeserializeOwned>(&self, what: &str, answer: &Answer) -> Result<T, Failure> {
        understood(&self.url, what, answer)
    }
}

/// The password of shops on one's own machine. Everywhere else it is no secret.
pub const OWN_MACHINE_PASSWORD: &str = "embedded-admin";

impl AdminArgs {
    /// The administrator of a shop that others can reach.
    ///
    /// # Errors
    /// When nobody chose a password.
    pub fn chosen(&self) -> Result<Admin, Failure> {
        match self.admin_password.as_str() {
            OWN_MACHINE_PASSWORD => Err(Failure::invalid(
                "error: --infra external: choose an administrator's password in SHOPCTL_ADMIN_PASSWORD \
                 (the default is for shops on your own machine only)",
            )),
            _ => Ok(self.into()),
        }
    }
}

impl From<&AdminArgs> for Admin {
    fn from(args: &AdminArgs) -> Self {
        Self { email: args.admin_email.clone(), password: args.admin_password.clone() }
    }
}

/// What an answer says, for a person: a problem's title and detail, or the beginning of the body.
pub fn said(answer: &Answer) -> String {
    match answer.json::<Problem>() {
        Ok(problem) if problem.detail.is_empty() => format!("{} {}", answer.status, problem.title),
        Ok(problem) => format!("{} {}: {}", answer.status, problem.title, problem.detail),
        Err(_) => answer.summary(),
    }
}

fn understood<T: DeserializeOwned>(url: &str, what: &str, answer: &Answer) -> Result<T, Failure> {
    if !is_success(answer.status) {
        return Err(Failure::shop(format!("error: {url}: could not {what}: {}", said(answer))));
    }
    answer.json().map_err(|error| {
        Failure::shop(format!("error: {url}: could not {what}: the answer is not what a shop answers: {error}"))
    })
}

fn unreachable(url: &str, error: &NoAnswer) -> Failure {
    Failure::shop(format!("error: {url}: the shop cannot be reached: {error}"))
}

/// `http://host:port` → `host:port`.
fn authority(url: &str) -> Result<String, String> {
    let wrong = |why: &str| format!("error: --target {url}: {why}; write it as http://127.0.0.1:8080");
    let uri: http::Uri = url.parse().map_err(|_| wrong("not a URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong("only http is spoken"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(wrong("a path is not expected"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("no host"))?;
    match authority.port_u16() {
        Some(port) => Ok(format!("{}:{port}", authority.host())),
        None => Ok(format!("{}:80", authority.host())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_address_and_refuses_everything_else() {
        assert_eq!(authority("http://127.0.0.1:8080"), Ok("127.0.0.1:8080".into()));
        assert_eq!(authority("http://shop/"), Ok("shop:80".into()));
        for url in ["", "127.0.0.1:8080", "https://shop", "http://shop/api", "http://"] {
            assert!(authority(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_problem_is_told_in_its_own_words() {
        let answer = |status, body: &'static str| Answer { status, body: body.into() };
        let problem =
            answer(404, r#"{"type":"urn:x","title":"There is no such thing","status":404,"detail":"order 7"}"#);
        assert_eq!(said(&problem), "404 There is no such thing: order 7");
        assert_eq!(said(&answer(502, "bad gateway")), "502 bad gateway");
    }
}
