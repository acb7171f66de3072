//! What befalls calls: lost, late, made twice, cut off at a crash point. In memory, so that time can be paused.

use chassis::hazard::{CallFate, Fate, Hazards, Lost, Passage};

use super::*;

/// One fate for every call, and one point at which the role dies.
#[derive(Default)]
struct Fixed {
    call: CallFate,
    dies_at: &'static str,
    passed: Mutex<Vec<String>>,
}

impl Fate for Fixed {
    fn pass(&self, point: &str) -> Passage {
        self.passed.lock().unwrap().push(point.to_owned());
        if point == self.dies_at { Passage::Dead } else { Passage::On }
    }
    fn is_dead(&self) -> bool {
        false
    }
    fn call(&self, to: &str) -> CallFate {
        assert_eq!(to, CALLEE);
        self.call.clone()
    }
    fn storage_refuses(&self, _: bool) -> Option<&'static str> {
        None
    }
    fn storage_loses_answer(&self) -> bool {
        false
    }
}

/// A network with something that may befall.
struct Perilous<N>(N, Hazards);

#[async_trait]
impl<N: Network> Network for Perilous<N> {
    async fn connect(&self, authority: &str) -> io::Result<Box<dyn Socket>> {
        self.0.connect(authority).await
    }
    fn hazards(&self) -> Hazards {
        self.1.clone()
    }
}

/// Calls once, with a deadline of 3 s, under this fate; answers what came of it, after how many seconds, and
/// how often the call was served within ten.
async fn called(fate: Arc<Fixed>) -> (Result<StatusResponse, Code>, u64, usize) {
    let probe = Probe::default();
    let (network, listener) = in_memory();
    let (_ops, ops) = in_memory();
    let server = env(CALLEE, BTreeMap::from([(CALLEE, "h:1".into())]));
    let service = Service { env: server.clone(), app: probe.grpc(), ops: Router::new(), tasks: Vec::new() };
    tokio::spawn(run(service, Box::new(listener), Box::new(ops)));
    let network = Arc::new(Perilous(network, Hazards::new(fate)));
    let env = Env { network, role: CALLER, ..server.clone() };
    let identity = Identity::Service(env.clone());
    let mut client = AcquirerServiceClient::new(channel(&env, CALLEE, identity, Duration::from_secs(3)).unwrap());
    let started = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(9), client.status(StatusRequest { key: "now".into() })).await;
    let took = started.elapsed().as_secs();
    tokio::time::sleep(Duration::from_secs(10)).await;
    server.shutdown.cancel();
    let answer = answer.map_or(Err(Code::Unknown), |answer| answer.map(Response::into_inner).map_err(|s| s.code()));
    (answer, took, probe.seen().len())
}

fn fate(call: CallFate) -> Arc<Fixed> {
    Arc::new(Fixed { call, ..Fixed::default() })
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_ends_at_its_deadline_whether_or_not_it_was_served() {
    for (lost, served) in [(Lost::Request, 0), (Lost::Reply, 1)] {
        let (answer, took, seen) = called(fate(CallFate { lost: Some(lost), ..CallFate::default() })).await;
        assert_eq!((answer.unwrap_err(), took, seen), (Code::Cancelled, 3, served), "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_call_arrives_although_nobody_waits_for_it_any_more() {
    let late = |seconds| fate(CallFate { delay: Duration::from_secs(seconds), ..CallFate::default() });
    let (answer, took, seen) = called(late(2)).await;
    assert_eq!((answer.is_ok(), took, seen), (true, 2, 1));
    let (answer, took, seen) = called(late(5)).await;
    assert_eq!((answer.unwrap_err(), took, seen), (Code::Cancelled, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_made_twice_is_served_twice_and_answered_once() {
    let (answer, took, seen) =
        called(fate(CallFate { again: Some(Duration::from_secs(1)), ..CallFate::default() })).await;
    assert_eq!((answer.is_ok(), took, seen), (true, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_dies_at_its_call_never_goes_on() {
    for (point, served) in [("caller.call.callee.Status.before", 0), ("caller.call.callee.Status.after", 1)] {
        let fate = Arc::new(Fixed { dies_at: point, ..Fixed::default() });
        let (answer, took, seen) = called(fate.clone()).await;
        assert_eq!((answer.unwrap_err(), took, seen), (Code::Unknown, 9, served), "{point}");
        assert_eq!(fate.passed.lock().unwrap().last().unwrap(), point);
    }
}
