//! The notification service on PostgreSQL and NATS: what it does on the embedded family it does here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod consumer;
#[path = "../it/contract.rs"]
mod contract;
mod family;
#[path = "../it/people.rs"]
mod people;
#[path = "../it/service.rs"]
mod service;

#[tokio::test]
async fn the_simulated_courier_keeps_the_contract_on_postgresql() {
    let family = family::Family::new();
    contract::all(family.courier().await, family.courier().await).await;
}
