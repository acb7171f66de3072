//! Recipients from the user service over gRPC, remembered for some minutes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::expiring::ExpiringMap;
use chassis::grpc::PeerChannel;
use kernel::UserId;
use proto::user::v1::GetUserRequest;
use proto::user::v1::user_service_client::UserServiceClient;
use tonic::Code;

use crate::application::ports::{RecipientError, Recipients};
use crate::domain::Recipient;

/// How old an address may be.
const TTL: Duration = Duration::from_secs(300);
/// How many addresses are remembered at most.
const CAPACITY: usize = 10_000;

pub struct GrpcRecipients {
    client: UserServiceClient<PeerChannel>,
    known: Mutex<ExpiringMap<UserId, String>>,
    clock: SharedClock,
}

impl GrpcRecipients {
    pub fn new(channel: PeerChannel, clock: SharedClock) -> Self {
        Self { client: UserServiceClient::new(channel), known: Mutex::new(ExpiringMap::new(CAPACITY)), clock }
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
        let asked = self.client.clone().get_user(GetUserRequest { id: user.to_string() }).await;
        let answer = asked.map_err(|status| match status.code() {
            Code::NotFound => RecipientError::NoSuchUser(user),
            code => RecipientError::Unavailable(format!("{code:?}: {}", status.message())),
        })?;
        let email = answer.into_inner().email;
        self.remember(user, &email);
        Ok(Recipient { user, email })
    }
}
