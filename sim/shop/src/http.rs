//! A small HTTP/1.1 client over the injected network, with connections kept alive.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chassis::hazard::{self, CallFate};
use chassis::net::Network;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::time::{Duration, Instant, timeout_at};

/// Larger answers are an error.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Idle connections kept; those beyond are closed.
const IDLE_MAX: usize = 4096;
/// A connection that has been idle for longer is not used again: servers close theirs after a while,
/// and a request that meets the closing one on its way would be lost for no fault of the shop.
const IDLE_LONGEST: Duration = Duration::from_secs(4);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Answer {
    /// # Errors
    /// When the body is not JSON of that shape.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| error.to_string())
    }

    /// A line for a person: the status and the beginning of the body.
    pub fn summary(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        format!("{} {body}", self.status)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub struct NoAnswer {
    /// Whether the request may have reached the server. If not, it has had no effect.
    pub sent: bool,
    pub why: String,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A request to make.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    pub token: Option<&'a str>,
    pub headers: &'a [(&'static str, String)],
    pub body: Option<String>,
    pub deadline: Duration,
}

struct Idle {
    since: Instant,
    connection: SendRequest<Full<Bytes>>,
}

/// Speaks to one authority. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    network: Arc<dyn Network>,
    authority: Arc<str>,
    /// The role at the other end of the link that faults act on; `None` for a client that they spare.
    link: Option<&'static str>,
    idle: Arc<Mutex<Vec<Idle>>>,
}

impl HttpClient {
    /// A client whose calls the faults of links spare: for ops ports, and for people.
    pub fn new(network: Arc<dyn Network>, authority: String) -> Self {
        Self { network, authority: authority.into(), link: None, idle: Arc::default() }
    }

    /// A client of `role` whose calls suffer what is injected into the link to it.
    pub fn over_link(network: Arc<dyn Network>, authority: String, role: &'static str) -> Self {
        Self { link: Some(role), ..Self::new(network, authority) }
    }

    pub async fn get(&self, path: &str, token: Option<&str>, deadline: Duration) -> Result<Answer, NoAnswer> {
        self.call(Call { method: Method::GET, path, token, headers: &[], body: None, deadline }).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &impl serde::Serialize,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let body = serde_json::to_string(body).map_err(|error| NoAnswer { sent: false, why: error.to_string() })?;
        self.call(Call { method, path, token, headers: &[], body: Some(body), deadline }).await
    }

    /// # Errors
    /// When there is no whole answer within the deadline.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, NoAnswer> {
        let request = self.request(&call).map_err(|why| NoAnswer { sent: false, why })?;
        let fate = self.fate();
        if fate.is_plain() {
            return self.exchange(request, call.deadline).await;
        }
        self.befall(request, fate, call.deadline).await
    }

    fn fate(&self) -> CallFate {
        self.link.map_or_else(CallFate::default, |role| self.network.hazards().call(role))
    }

    async fn befall(
        &self,
        request: Request<Full<Bytes>>,
        fate: CallFate,
        longest: Duration,
    ) -> Result<Answer, NoAnswer> {
        let send = || {
            let (client, request) = (self.clone(), request.clone());
            async move { client.exchange(request, longest).await }
        };
        let silent = |why: String| Err(NoAnswer { sent: true, why });
        match fate.befall(longest, send).await {
            Ok(answer) => answer,
            Err(hazard::NoAnswer::CutOff) => silent("the call was cut off".to_owned()),
            Err(hazard::NoAnswer::InTime) => silent(format!("no answer within {longest:?}")),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, longest: Duration) -> Result<Answer, NoAnswer> {
        let deadline = Instant::now() + longest;
        let unsent = |why: String| NoAnswer { sent: false, why };
        let mut connection = match timeout_at(deadline, self.connection()).await {
            Ok(connection) => connection.map_err(unsent)?,
            Err(_) => return Err(unsent(format!("no connection within {longest:?}"))),
        };
        let exchange = async {
            let answer = connection.send_request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(Answer { status: head.status.as_u16(), body: body.to_bytes() })
        };
        let outcome = timeout_at(deadline, exchange).await;
        match outcome {
            Ok(Ok(answer)) => {
                self.keep(connection);
                Ok(answer)
            }
            Ok(Err(why)) => Err(NoAnswer { sent: true, why }),
            Err(_) => Err(NoAnswer { sent: true, why: format!("no answer within {longest:?}") }),
        }
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.path)
            .header(header::HOST, &*self.authority)
            .header(header::ACCEPT, "application/json");
        if let Some(token) = call.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        let body = Bytes::from(call.body.clone().unwrap_or_default());
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        loop {
            // The one that was used last is the least likely to be stale.
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(idle) if idle.connection.is_ready() && idle.since.elapsed() < IDLE_LONGEST => {
                    return Ok(idle.connection);
                }
                Some(_) => {}
                None => break,
            }
        }
        let socket = self.network.connect(&self.authority).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            // Its end is seen by whoever uses it next.
            let _ = connection.await;
        });
        sender.ready().await.map_err(|error| error.to_string())?;
        Ok(sender)
    }

    fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(Idle { since: Instant::now(), connection });
        }
    }
}

/// Whether a status is a success.
pub fn is_success(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|status| status.is_success())
}
