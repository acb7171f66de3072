//! Recipients from the user service over gRPC, remembered for some minutes. Whoever has to be asked for while a
//! question is under way is in the next one: the busier the shop, the fewer the calls for each message.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::grpc::PeerChannel;
use chassis::metrics::Metrics;
use kernel::UserId;
use proto::user::v1::GetUsersRequest;
use proto::user::v1::user_service_client::UserServiceClient;
use store::StoreError;
use store::expiring::ExpiringMap;
use store::gather::{BATCH_MAX, Failed, Gather, Traced, Writer};

use crate::application::ports::{RecipientError, Recipients};
use crate::domain::Recipient;

/// How old an address may be.
const TTL: Duration = Duration::from_secs(300);
/// How many addresses are remembered at most.
const CAPACITY: usize = 10_000;

pub struct GrpcRecipients {
    asked: Gather<Addresses>,
    known: Mutex<ExpiringMap<UserId, String>>,
    clock: SharedClock,
}

impl GrpcRecipients {
    pub fn new(channel: PeerChannel, clock: SharedClock, metrics: &Metrics) -> Self {
        let asked = Gather::new(Addresses { client: UserServiceClient::new(channel) }, BATCH_MAX, metrics);
        Self { asked, known: Mutex::new(ExpiringMap::new(CAPACITY)), clock }
    }

    fn known(&self, user: UserId) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&user, self.clock.now()).cloned()
    }

    fn remember(&self, user: UserId, email: &str) {
        let now = self.clock.now();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(user, email.to_owned(), TTL, now);
    }
}

#[async_trait]
impl Recipients for GrpcRecipients {
    async fn of(&self, user: UserId) -> Result<Recipient, RecipientError> {
        if let Some(email) = self.known(user) {
            return Ok(Recipient { user, email });
        }
        let answer = self.asked.submit(user).await.map_err(|error| RecipientError::Unavailable(error.to_string()))?;
        let email = answer.ok_or(RecipientError::NoSuchUser(user))?;
        self.remember(user, &email);
        Ok(Recipient { user, email })
    }
}

/// Asks for the addresses of all that wait in one call, which belongs to the trace of none of them.
struct Addresses {
    client: UserServiceClient<PeerChannel>,
}

#[async_trait]
impl Writer for Addresses {
    type Command = UserId;
    /// `None` if there is no such user.
    type Answer = Option<String>;
    type Key = ();

    fn name(&self) -> &'static str {
        "addresses"
    }

    fn key(&self, _: &UserId) -> Option<()> {
        None
    }

    async fn write(&self, batch: &[Traced<UserId>]) -> Result<Vec<Option<String>>, Failed> {
        let ids = batch.iter().map(|asked| asked.command.to_string()).collect();
        let silent = |status: tonic::Status| {
            Failed::All(StoreError::Unavailable(format!("{:?}: {}", status.code(), status.message())))
        };
        let answer = self.client.clone().get_users(GetUsersRequest { ids }).await.map_err(silent)?;
        let told = answer.into_inner().users.into_iter();
        let emails: BTreeMap<String, String> = told.map(|user| (user.id, user.email)).collect();
        Ok(batch.iter().map(|asked| emails.get(&asked.command.to_string()).cloned()).collect())
    }
}
