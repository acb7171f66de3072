//! gRPC clients of the services behind the gateway, all in the caller's name.

use std::time::Duration;

use chassis::Env;
use chassis::env::StartError;
use chassis::grpc::{self, Identity, PeerChannel};
use proto::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::payment::v1::payment_service_client::PaymentServiceClient;
use proto::product::v1::product_service_client::ProductServiceClient;
use proto::user::v1::user_service_client::UserServiceClient;
use tonic::Request;

/// No call outlives this; shorter than the gateway's own deadline, so that the answer is a precise
/// one.
pub const CALL_DEADLINE_MAX: Duration = Duration::from_secs(34);

/// One client a service; each call clones the one it needs, which shares the connection.
#[derive(Clone)]
pub struct Clients {
    pub users: UserServiceClient<PeerChannel>,
    pub products: ProductServiceClient<PeerChannel>,
    pub orders: OrderServiceClient<PeerChannel>,
    pub payments: PaymentServiceClient<PeerChannel>,
    pub inventory: InventoryServiceClient<PeerChannel>,
    timeout: Duration,
}

impl Clients {
    /// Connects on first use. `timeout` is how long a peer may take when the call says nothing else.
    ///
    /// # Errors
    /// When nobody said where a peer is.
    pub fn connect(env: &Env, timeout: Duration) -> Result<Self, StartError> {
        let to = |role| grpc::channel(env, role, Identity::Caller(env.clone()), CALL_DEADLINE_MAX);
        Ok(Self {
            users: UserServiceClient::new(to("user")?),
            products: ProductServiceClient::new(to("product")?),
            orders: OrderServiceClient::new(to("order")?),
            payments: PaymentServiceClient::new(to("payment")?),
            inventory: InventoryServiceClient::new(to("inventory")?),
            timeout,
        })
    }

    /// `message` as a request with the usual deadline.
    pub fn request<T>(&self, message: T) -> Request<T> {
        self.request_after(Duration::ZERO, message)
    }

    /// `message` as a request to a peer that is expected to think for `work` before it answers.
    pub fn request_after<T>(&self, work: Duration, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout.saturating_add(work).min(CALL_DEADLINE_MAX));
        request
    }
}
