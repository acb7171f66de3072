//! The roles' own interface for faults, `/chaos/faults` on their ops ports. It exists only in roles
//! that were started with `--chaos`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::chaos::{Fault, Target};
use chassis::net::Network;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::time::Duration;

use shop::http::{Answer, Call, HttpClient, NoAnswer, is_success};

/// A role that does not answer within this time is taken for gone.
const DEADLINE: Duration = Duration::from_secs(5);

/// A fault as its role tells of it. Times are microseconds since 1970 on the role's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub name: String,
    pub target: String,
    pub kind: String,
    pub parameters: BTreeMap<String, String>,
    pub injected_at_us: i64,
    #[serde(default)]
    pub until_us: Option<i64>,
    /// How many calls it has touched.
    pub hits: u64,
    #[serde(default)]
    pub lifted_at_us: Option<i64>,
    /// asked, time_over.
    #[serde(default)]
    pub lifted_because: Option<String>,
}

/// What a role tells of its faults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub active: Vec<Told>,
    /// Lifted ones, oldest first, bounded.
    #[serde(default)]
    pub history: Vec<Told>,
}

#[derive(Serialize)]
struct Injection<'a> {
    kind: &'a str,
    parameters: &'a BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Why a fault was not injected, in a line.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotInjected {
    /// The role refuses it: it is not active, or another of its name is.
    #[error("{0}")]
    Refused(String),
    /// There is no answer that can be understood: it may be active.
    #[error("{0}")]
    Unknown(String),
}

/// Speaks to the roles that can suffer faults.
#[derive(Clone)]
pub struct FaultApi {
    roles: BTreeMap<String, HttpClient>,
    token: Arc<str>,
}

impl FaultApi {
    /// `ops` is role → `host:port` of its ops port, `token` an administrator's.
    pub fn new(
        network: &Arc<dyn Network>,
        ops: impl IntoIterator<Item = (impl Into<String>, String)>,
        token: &str,
    ) -> Self {
        let client = |(role, address): (_, String)| (Into::into(role), HttpClient::new(network.clone(), address));
        Self { roles: ops.into_iter().map(client).collect(), token: token.into() }
    }

    /// Injects; the role lifts it by itself after `longest`, should nobody else.
    ///
    /// # Errors
    /// One line: why it is not active.
    pub async fn inject(&self, fault: &Fault, longest: Option<Duration>) -> Result<Told, NotInjected> {
        let for_ms = longest.map(|longest| u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        let body = Injection { kind: fault.kind.name, parameters: &fault.written, for_ms };
        let body = serde_json::to_string(&body).map_err(|error| NotInjected::Refused(error.to_string()))?;
        let path = format!("/chaos/faults/{}", fault.name);
        let answer = self.exchange(fault.target, Method::PUT, &path, Some(body)).await.map_err(NotInjected::Unknown)?;
        let refused = (400..500).contains(&answer.status);
        understood(fault.target, &answer)
            .map_err(|why| if refused { NotInjected::Refused(why) } else { NotInjected::Unknown(why) })
    }

    /// Lifts the fault of this name; answers how it was, or `None` if it was not active any more.
    ///
    /// # Errors
    /// One line: it may still be active.
    pub async fn lift(&self, target: &Target, name: &str) -> Result<Option<Told>, String> {
        let answer = self.exchange(target, Method::DELETE, &format!("/chaos/faults/{name}"), None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        understood(target, &answer).map(Some)
    }

    /// # Errors
    /// One line, when the role does not answer or knows of no faults.
    pub async fn list(&self, target: &Target) -> Result<Listing, String> {
        understood(target, &self.exchange(target, Method::GET, "/chaos/faults", None).await?)
    }

    async fn exchange(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, String> {
        let role = target.role;
        let client = self.roles.get(role).ok_or_else(|| format!("nobody knows where the {role} role is"))?;
        let call = Call { method, path, token: Some(&self.token), headers: &[], body, deadline: DEADLINE };
        let said = |error: NoAnswer| format!("the {role} role does not answer: {error}");
        client.call(call).await.map_err(said)
    }
}

fn understood<T: serde::de::DeserializeOwned>(target: &Target, answer: &Answer) -> Result<T, String> {
    let role = target.role;
    match answer.status {
        status if is_success(status) => answer.json().map_err(|error| format!("{role}: {error}")),
        404 => Err(format!("the {role} role was started without --chaos")),
        _ => Err(answer.json::<Refusal>().map_or_else(|_| answer.summary(), |refusal| refusal.error)),
    }
}
