//! Starts the service and calls it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis::auth::{Keys, Role};
use chassis::clock::SystemClock;
use chassis::context::{Context, Tracer};
use chassis::env::Env;
use chassis::grpc::{Identity, PeerChannel};
use chassis::metrics::Metrics;
use chassis::net::{BoundPort, SystemNetwork};
use chassis::rng::Seeds;
use chassis::serve;
use eventlog::Backing;
use proto::common::v1::{Money, Page};
use proto::product::v1 as wire;
use proto::product::v1::product_service_client::ProductServiceClient;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Shop {
    pub env: Env,
    running: JoinHandle<()>,
}

pub fn settings(settings: &[(&str, &str)]) -> product::Config {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    chassis::settings::parse(product::ROLE, &settings.collect::<BTreeMap<_, _>>()).unwrap()
}

fn env(address: String) -> Env {
    let seeds = Seeds::from_number(1);
    Env {
        role: product::ROLE,
        clock: Arc::new(SystemClock),
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(BTreeMap::from([(product::ROLE, address)])),
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(product::ROLE),
        ops: Arc::default(),
        chaos: false,
        shutdown: CancellationToken::new(),
    }
}

impl Shop {
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, settings(&[])).await
    }

    pub async fn start_with(folder: &Path, config: product::Config) -> Self {
        Self::start_on(crate::family::backing(folder), config).await
    }

    pub async fn start_on(backing: Backing, config: product::Config) -> Self {
        let port = || BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (main, ops) = (port(), port());
        let env = env(main.address().unwrap().to_string());
        let service = product::build(config, env.clone(), backing).await.unwrap();
        let running = tokio::spawn(serve::run(service, main.listen().unwrap(), ops.listen().unwrap()));
        Self { env, running }
    }

    /// Stops the service as a deployment does; what it stored stays in its folder.
    pub async fn stop(self) {
        self.env.shutdown.cancel();
        self.running.await.unwrap();
    }

    /// A client that calls anonymously, or in the name of whoever [`Shop::acting_as`] says.
    pub fn client(&self) -> ProductServiceClient<PeerChannel> {
        let identity = Identity::Caller(self.env.clone());
        ProductServiceClient::new(chassis::grpc::channel(&self.env, product::ROLE, identity, PATIENCE).unwrap())
    }

    /// Makes a call in the name of somebody of that role.
    pub async fn acting_as<T>(&self, role: Role, call: impl Future<Output = T>) -> T {
        let id = "00000000-0000-4000-8000-000000000001";
        let token = self.env.keys.issue(id, role, PATIENCE, self.env.clock.now());
        Context { trace: None, token: Some(token.into()) }.scope(call).await
    }

    pub async fn create(&self, request: wire::CreateProductRequest) -> Result<wire::Product, Status> {
        let mut client = self.client();
        self.acting_as(Role::Staff, client.create_product(request)).await.map(Response::into_inner)
    }

    pub async fn update(&self, request: wire::UpdateProductRequest) -> Result<wire::Product, Status> {
        let mut client = self.client();
        self.acting_as(Role::Staff, client.update_product(request)).await.map(Response::into_inner)
    }

    pub async fn delete(&self, id: i64) -> Result<(), Status> {
        let mut client = self.client();
        let call = client.delete_product(wire::DeleteProductRequest { id });
        self.acting_as(Role::Staff, call).await.map(drop)
    }

    pub async fn product(&self, id: i64) -> Result<wire::Product, Status> {
        self.client().get_product(wire::GetProductRequest { id }).await.map(Response::into_inner)
    }

    pub async fn quote(&self, products: Vec<wire::ProductRef>) -> Result<Vec<wire::Product>, Status> {
        let answer = self.client().quote_products(wire::QuoteProductsRequest { products }).await;
        answer.map(|response| response.into_inner().products)
    }

    pub async fn search(&self, text: &str, category: &str, page: Option<Page>) -> Result<Listed, Status> {
        let request = wire::SearchProductsRequest { search: text.to_owned(), category: category.to_owned(), page };
        let answer = self.client().search_products(request).await?.into_inner();
        let skus = answer.products.iter().map(|product| product.sku.clone()).collect();
        Ok(Listed { skus, next_after: answer.next_after, products: answer.products })
    }
}

#[derive(Debug)]
pub struct Listed {
    pub skus: Vec<String>,
    pub next_after: i64,
    pub products: Vec<wire::Product>,
}

pub fn eur(minor: i64) -> Money {
    Money { minor, currency: "EUR".to_owned() }
}

pub fn sneaker() -> wire::CreateProductRequest {
    named("SNEAKER-42", "Red Sneaker", "Shoes")
}

pub fn named(sku: &str, name: &str, category: &str) -> wire::CreateProductRequest {
    wire::CreateProductRequest {
        sku: sku.to_owned(),
        name: name.to_owned(),
        category: category.to_owned(),
        price: Some(eur(12_900)),
    }
}

pub fn unchanged(id: i64) -> wire::UpdateProductRequest {
    wire::UpdateProductRequest { id, name: None, category: None, price: None }
}

pub fn by_id(id: i64) -> wire::ProductRef {
    wire::ProductRef { r#ref: Some(wire::product_ref::Ref::Id(id)) }
}

pub fn by_sku(sku: &str) -> wire::ProductRef {
    wire::ProductRef { r#ref: Some(wire::product_ref::Ref::Sku(sku.to_owned())) }
}
