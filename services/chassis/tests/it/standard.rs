//! What every gRPC port answers beside its own service: health, and reflection.

use chassis::grpc::serving;
use futures_util::stream::{StreamExt as _, iter};
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::*;

const SERVICE: &str = "acquirer.v1.AcquirerService";

/// A probe as services are built.
fn probed(env: &Env, probe: &Probe) -> App {
    App::Grpc(serving(env, AcquirerServiceServer::new(probe.clone()), proto::DESCRIPTORS).unwrap())
}

/// A probe as services are built, and a channel to it in nobody's name.
fn started(probe: &Probe) -> (Running, PeerChannel) {
    let (main, ops) = (free_port(), free_port());
    let (main_at, ops_at) = (main.address().unwrap().to_string(), ops.address().unwrap().to_string());
    let env = env(CALLEE, BTreeMap::from([(CALLEE, main_at.clone())]));
    let service = Service { env: env.clone(), app: probed(&env, probe), ops: Router::new(), tasks: Vec::new() };
    let task = tokio::spawn(run(service, main.listen().unwrap(), ops.listen().unwrap()));
    let nobody = channel(&env, CALLEE, Identity::Caller(env.clone()), PATIENCE).unwrap();
    (Running { env, ops: ops_at, main: main_at, task }, nobody)
}

fn asked(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn health_is_told_to_anybody_also_with_a_token_that_does_not_hold() {
    let (running, nobody) = started(&Probe::default());
    let mut health = HealthClient::new(nobody);
    for service in ["", SERVICE] {
        let answer = soon("health", health.check(asked(service))).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    assert_eq!(health.check(asked("user.v1.UserService")).await.unwrap_err().code(), Code::NotFound);
    let mut stale = Request::new(asked(""));
    stale.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer stale"));
    assert!(health.check(stale).await.is_ok());
    // The service itself still looks at tokens, and all of it is measured.
    let refused = [("authorization", "Bearer stale")];
    assert_eq!(raw_call(&running.main, METHOD, &refused).await.0, Code::Unauthenticated);
    assert!(http_get(&running.ops, "/metrics").await.contains("grpc.health.v1.Health/Check"));
}

#[tokio::test(start_paused = true)]
async fn who_watches_is_told_of_the_drain_and_does_not_hold_it_up() {
    let (running, _ops) = start_in_memory(|env| probed(env, &Probe::default()));
    let nobody = channel(&running.env, CALLEE, Identity::Caller(running.env.clone()), PATIENCE).unwrap();
    let mut health = HealthClient::new(nobody);
    let mut watched = health.watch(asked(SERVICE)).await.unwrap().into_inner();
    let mut unknown = health.watch(asked("nobody.v1.Nothing")).await.unwrap().into_inner();
    let mut next = async || soon("a status", watched.message()).await.unwrap().map(|answer| answer.status());
    assert_eq!(next().await, Some(ServingStatus::Serving));
    let first = soon("a status", unknown.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    running.env.shutdown.cancel();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None);
    let began = Instant::now();
    running.ended().await;
    assert!(began.elapsed() < Duration::from_secs(4), "the drain waited for its own end");
}

#[tokio::test]
async fn reflection_names_what_is_served_here_and_how_it_is_called() {
    let (_running, nobody) = started(&Probe::default());
    let mut reflection = ServerReflectionClient::new(nobody);
    let question =
        |message_request| ServerReflectionRequest { host: String::new(), message_request: Some(message_request) };
    let questions = [
        question(MessageRequest::ListServices(String::new())),
        question(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
        question(MessageRequest::FileContainingSymbol("made.up.Service".to_owned())),
    ];
    let answers = reflection.server_reflection_info(iter(questions)).await.unwrap().into_inner();
    let answers: Vec<_> = soon("answers", answers.collect::<Vec<_>>()).await;
    let mut answers = answers.into_iter().map(|answer| answer.map(|answer| answer.message_response.unwrap()));
    let Some(Ok(MessageResponse::ListServicesResponse(listed))) = answers.next() else { panic!("no list") };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["grpc.health.v1.Health", SERVICE], "nothing that is served elsewhere");
    let Some(Ok(MessageResponse::FileDescriptorResponse(file))) = answers.next() else { panic!("no file") };
    let file = prost_types::FileDescriptorProto::decode(file.file_descriptor_proto[0].as_slice()).unwrap();
    assert!(file.service[0].method.iter().any(|method| method.name() == "Charge"));
    assert!(matches!(answers.next(), Some(Err(status)) if status.code() == Code::NotFound));
}
