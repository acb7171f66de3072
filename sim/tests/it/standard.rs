//! Every service of a running shop answers health and reflection on its gRPC port, to anybody.

use futures_util::stream::{StreamExt as _, iter};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::{Bench, TINY};

/// The roles with a gRPC port, and the services that are theirs.
const PORTS: [(&str, Option<&str>); 7] = [
    ("acquirer", Some("acquirer.v1.AcquirerService")),
    ("inventory", Some("inventory.v1.InventoryService")),
    ("notification", None),
    ("order", Some("order.v1.OrderService")),
    ("payment", Some("payment.v1.PaymentService")),
    ("product", Some("product.v1.ProductService")),
    ("user", Some("user.v1.UserService")),
];

async fn listed(channel: Channel) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(iter([request])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("not a list: {answer:?}") };
    listed.service.into_iter().map(|service| service.name).collect()
}

#[test]
fn every_service_says_that_it_is_well_and_what_it_serves() {
    let bench = Bench::new(TINY);
    let mut shop = bench.spawn(&["up", "--listen", "127.0.0.1:0"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (role, service) in PORTS {
        let line = shop.says(&format!("  {role} "));
        let address = line.split_whitespace().nth(2).unwrap();
        runtime.block_on(async {
            let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
            let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
            assert_eq!(health.into_inner().status(), ServingStatus::Serving, "{role}");
            let expected: Vec<&str> = ["grpc.health.v1.Health"].into_iter().chain(service).collect();
            assert_eq!(listed(channel).await, expected, "{role}");
        });
    }
}
