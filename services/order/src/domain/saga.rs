//! The saga as a pure decision: what to do next, and what an answer means.
//!
//! The abort decision is an event of its own, committed before the first compensation is sent. A
//! step that may have started is compensated; one that was refused for certain has no effect to undo.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kernel::Timestamp;

use super::order::{CancelReason, Compensation, Order, OrderEvent, Status};

/// The steps of the saga and their compensations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The order and its first event are committed.
    Create,
    ReserveStock,
    ProcessPayment,
    /// The pivot: a local commit, after which the order only goes forward.
    Confirm,
    /// Reserved becomes sold. Forward only, retried for ever.
    CommitStock,
    RefundPayment,
    ReleaseStock,
    /// A local commit that ends a cancelled order.
    Cancel,
}

impl Step {
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::ReserveStock,
        Self::ProcessPayment,
        Self::Confirm,
        Self::CommitStock,
        Self::RefundPayment,
        Self::ReleaseStock,
        Self::Cancel,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::ReserveStock => "reserve_stock",
            Self::ProcessPayment => "process_payment",
            Self::Confirm => "confirm",
            Self::CommitStock => "commit_stock",
            Self::RefundPayment => "refund_payment",
            Self::ReleaseStock => "release_stock",
            Self::Cancel => "cancel",
        }
    }

    /// Before the pivot, and asked of a participant: it may be given up and undone.
    pub const fn is_forward(self) -> bool {
        matches!(self, Self::ReserveStock | Self::ProcessPayment)
    }

    /// A commit and nothing else: nobody is asked.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Confirm | Self::Cancel)
    }

    pub const fn is_compensation(self) -> bool {
        matches!(self, Self::RefundPayment | Self::ReleaseStock)
    }
}

impl FromStr for Step {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|step| step.as_str() == text);
        named.ok_or_else(|| format!("`{text}` is not a saga step"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of an attempt. A timeout is `Unknown`, never `Refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Done,
    /// For a business reason; the step has had no effect and never will.
    Refused,
    /// Under way; ask again.
    Ongoing,
    /// It may have had its effect, or may have it yet.
    Unknown,
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Done, Self::Refused, Self::Ongoing, Self::Unknown];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Ongoing => "ongoing",
            Self::Unknown => "unknown",
        }
    }
}

impl FromStr for Outcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|outcome| outcome.as_str() == text);
        named.ok_or_else(|| format!("`{text}` is not the outcome of a step"))
    }
}

/// What a participant answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Done(Done),
    Refused(CancelReason),
    Ongoing {
        retry_after: Duration,
    },
    Unknown {
        why: String,
    },
    /// The participant itself says that it cannot do this: asking again will hardly help. Whether it
    /// has had an effect all the same is not known, so the outcome is `Unknown`.
    Broken {
        why: String,
    },
}

/// What a step that is done leaves to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    Plain,
    Paid { reference: String },
    Refunded { money_returned: bool },
    Released { had_reservation: bool },
}

impl Reply {
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Done(_) => Outcome::Done,
            Self::Refused(_) => Outcome::Refused,
            Self::Ongoing { .. } => Outcome::Ongoing,
            Self::Unknown { .. } | Self::Broken { .. } => Outcome::Unknown,
        }
    }
}

/// How often the current step has been tried without a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tries {
    /// Attempts of any outcome; for people.
    pub attempts: u32,
    /// Those whose outcome is unknown. An ongoing one is not among them: asking again is what the
    /// participant wanted.
    pub unknown: u32,
    /// Those of them that the participant answered with a definite error.
    pub broken: u32,
}

impl Tries {
    /// With the attempt that ended in `reply`.
    pub const fn and(self, reply: &Reply) -> Self {
        let unknown = matches!(reply.outcome(), Outcome::Unknown) as u32;
        let broken = matches!(reply, Reply::Broken { .. }) as u32;
        Self {
            attempts: self.attempts.saturating_add(1),
            unknown: self.unknown.saturating_add(unknown),
            broken: self.broken.saturating_add(broken),
        }
    }
}

/// How patient the saga is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts of a forward step whose outcome stays unknown.
    pub attempts_max: u32,
    /// From the order's creation; after it, an unanswered forward step is aborted. `now` and the creation are
    /// told by one clock, which MUST NOT jump while a process runs.
    pub order_deadline: Duration,
    /// Definite errors of a compensation, after which an operator has to look.
    pub operator_after: u32,
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Commit these, then go on.
    Commit(Vec<OrderEvent>),
    /// The participant wants to be asked again, not before the delay is over.
    Poll { at_least: Duration },
    /// Nobody knows: try again, if the retry budget has a token for it.
    Retry,
}

/// The step that the order's state calls for; `None` when nothing is left to do or an operator has
/// to act.
pub fn next_step(order: &Order) -> Option<Step> {
    match order.status {
        Status::Pending => Some(Step::ReserveStock),
        Status::Reserved => Some(Step::ProcessPayment),
        Status::Paid => Some(Step::Confirm),
        Status::Confirmed if !order.stock_committed => Some(Step::CommitStock),
        Status::Cancelling => Some(match order.compensations.first() {
            Some(Compensation::RefundPayment) => Step::RefundPayment,
            Some(Compensation::ReleaseStock) => Step::ReleaseStock,
            None => Step::Cancel,
        }),
        Status::Confirmed | Status::Cancelled | Status::NeedsOperator => None,
    }
}

/// What undoes every step that may have started, in reverse order of the steps.
pub fn compensations(order: &Order) -> Vec<Compensation> {
    match order.status {
        Status::Pending => vec![Compensation::ReleaseStock],
        Status::Reserved | Status::Paid => vec![Compensation::RefundPayment, Compensation::ReleaseStock],
        _ => Vec::new(),
    }
}

/// The decision to abort although the current step may have started.
pub fn abort(order: &Order, reason: CancelReason) -> OrderEvent {
    OrderEvent::CancellationStarted { reason, compensate: compensations(order) }
}

/// What an answer of `step` means for the order. `tries` includes the attempt that was answered.
pub fn decide(order: &Order, step: Step, reply: Reply, tries: Tries, now: Timestamp, patience: Patience) -> Verdict {
    let too_late = now.since(order.created_at) >= patience.order_deadline;
    let give_up = || Verdict::Commit(vec![abort(order, CancelReason::Unavailable)]);
    match reply {
        Reply::Done(done) => Verdict::Commit(vec![event_of(order, step, done)]),
        Reply::Refused(reason) => Verdict::Commit(refused(order, step, reason)),
        Reply::Ongoing { .. } if step.is_forward() && too_late => give_up(),
        Reply::Ongoing { retry_after } => Verdict::Poll { at_least: retry_after },
        Reply::Unknown { .. } | Reply::Broken { .. }
            if step.is_forward() && (too_late || tries.unknown >= patience.attempts_max) =>
        {
            give_up()
        }
        Reply::Broken { .. } if step.is_compensation() && tries.broken >= patience.operator_after => {
            // What the participant said stands with the attempt; histories are for customers too.
            let why = format!("{step} is answered with errors again and again");
            Verdict::Commit(vec![OrderEvent::OperatorRequested { why }])
        }
        Reply::Unknown { .. } | Reply::Broken { .. } => Verdict::Retry,
    }
}

/// What to commit when a retry of `step` is not in the budget: a forward step is given up, as if it had
/// been tried often enough. `None` for what must be done whatever it takes.
pub fn without_retry(order: &Order, step: Step) -> Option<OrderEvent> {
    step.is_forward().then(|| abort(order, CancelReason::Unavailable))
}

/// The event that says that `step` is done.
pub fn event_of(order: &Order, step: Step, done: Done) -> OrderEvent {
    match (step, done) {
        (Step::ProcessPayment, Done::Paid { reference }) => OrderEvent::PaymentProcessed { reference },
        (Step::ProcessPayment, _) => OrderEvent::PaymentProcessed { reference: String::new() },
        (Step::RefundPayment, Done::Refunded { money_returned }) => OrderEvent::PaymentRefunded { money_returned },
        (Step::RefundPayment, _) => OrderEvent::PaymentRefunded { money_returned: false },
        (Step::ReleaseStock, Done::Released { had_reservation }) => OrderEvent::StockReleased { had_reservation },
        (Step::ReleaseStock, _) => OrderEvent::StockReleased { had_reservation: false },
        (Step::ReserveStock | Step::Create, _) => OrderEvent::StockReserved {},
        (Step::Confirm, _) => OrderEvent::OrderConfirmed { user: Some(order.user) },
        (Step::CommitStock, _) => OrderEvent::StockCommitted {},
        (Step::Cancel, _) => OrderEvent::OrderCancelled { user: Some(order.user), reason: order.cancel_reason },
    }
}

/// A participant that keeps its refusal says for certain that the step itself has no effect; what
/// came before it has. `Unavailable` is not kept: an earlier request, given up by its caller, may
/// still arrive and act, so the step is undone as well, which blocks it.
fn refused(order: &Order, step: Step, reason: CancelReason) -> Vec<OrderEvent> {
    let mut compensate = compensations(order);
    match step {
        _ if reason == CancelReason::Unavailable => {}
        Step::ReserveStock => compensate.retain(|due| *due != Compensation::ReleaseStock),
        Step::ProcessPayment => compensate.retain(|due| *due != Compensation::RefundPayment),
        _ => {}
    }
    vec![OrderEvent::CancellationStarted { reason, compensate }]
}

/// A delay with full jitter: uniform between nothing and `base · 2^(attempt − 1)`, capped
/// (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). `share` is drawn
/// uniformly from 0 to 1.
pub fn backoff(attempt: u32, base: Duration, cap: Duration, share: f64) -> Duration {
    let doubled = base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(20)));
    doubled.min(cap).mul_f64(share.clamp(0.0, 1.0))
}

/// The slowest pace: half the cap for certain, and jitter over the other half, so that orders which were
/// put off together do not come back together. `share` is drawn uniformly from 0 to 1.
pub fn slowest_backoff(cap: Duration, share: f64) -> Duration {
    cap.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::super::order::tests::{after, pending};
    use super::*;
    use OrderEvent as E;

    const PATIENCE: Patience = Patience { attempts_max: 3, order_deadline: Duration::from_secs(30), operator_after: 2 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn reserved() -> Order {
        after(&[E::StockReserved {}]).unwrap()
    }

    /// So many attempts, all of unknown outcome.
    const fn tries(unknown: u32) -> Tries {
        Tries { attempts: unknown, unknown, broken: 0 }
    }

    fn unknown() -> Reply {
        Reply::Unknown { why: "timeout".into() }
    }

    #[test]
    fn goes_through_the_steps_in_order() {
        let mut order = pending();
        let mut ran = Vec::new();
        while let Some(step) = next_step(&order) {
            ran.push(step);
            let Verdict::Commit(events) = decide(&order, step, Reply::Done(Done::Plain), tries(1), at(0), PATIENCE)
            else {
                panic!("{step} was not done");
            };
            for event in events {
                order.apply(&event, at(0)).unwrap();
            }
        }
        assert_eq!(ran, [Step::ReserveStock, Step::ProcessPayment, Step::Confirm, Step::CommitStock]);
    }

    #[test]
    fn a_sold_out_order_has_nothing_to_undo() {
        let verdict =
            decide(&pending(), Step::ReserveStock, Reply::Refused(CancelReason::SoldOut), tries(1), at(0), PATIENCE);
        let expected = E::CancellationStarted { reason: CancelReason::SoldOut, compensate: vec![] };
        assert_eq!(verdict, Verdict::Commit(vec![expected]));
    }

    #[test]
    fn a_declined_payment_gives_the_stock_back_and_refunds_nothing() {
        let reply = Reply::Refused(CancelReason::Declined);
        let verdict = decide(&reserved(), Step::ProcessPayment, reply, tries(1), at(0), PATIENCE);
        let compensate = vec![Compensation::ReleaseStock];
        let expected = E::CancellationStarted { reason: CancelReason::Declined, compensate };
        assert_eq!(verdict, Verdict::Commit(vec![expected]));
    }

    #[test]
    fn a_refusal_that_nobody_keeps_is_compensated_like_an_unknown_step() {
        let reply = Reply::Refused(CancelReason::Unavailable);
        let verdict = decide(&reserved(), Step::ProcessPayment, reply, tries(1), at(0), PATIENCE);
        let compensate = vec![Compensation::RefundPayment, Compensation::ReleaseStock];
        let expected = E::CancellationStarted { reason: CancelReason::Unavailable, compensate };
        assert_eq!(verdict, Verdict::Commit(vec![expected]));
    }

    #[test]
    fn a_timeout_is_never_taken_for_a_refusal() {
        let verdict = decide(&reserved(), Step::ProcessPayment, unknown(), tries(1), at(0), PATIENCE);
        assert_eq!(verdict, Verdict::Retry);
        let verdict = decide(&reserved(), Step::ProcessPayment, unknown(), tries(3), at(0), PATIENCE);
        let compensate = vec![Compensation::RefundPayment, Compensation::ReleaseStock];
        let expected = E::CancellationStarted { reason: CancelReason::Unavailable, compensate };
        assert_eq!(verdict, Verdict::Commit(vec![expected]), "given up, the payment is compensated too");
    }

    #[test]
    fn an_ongoing_payment_is_asked_again_until_the_order_is_too_old() {
        let ongoing = || Reply::Ongoing { retry_after: Duration::from_millis(50) };
        let again = decide(&reserved(), Step::ProcessPayment, ongoing(), tries(99), at(29), PATIENCE);
        assert_eq!(again, Verdict::Poll { at_least: Duration::from_millis(50) });
        let late = decide(&reserved(), Step::ProcessPayment, ongoing(), tries(1), at(30), PATIENCE);
        assert!(matches!(late, Verdict::Commit(_)));
    }

    #[test]
    fn compensations_and_the_sale_are_retried_for_ever() {
        let start = abort(&reserved(), CancelReason::ByClient);
        let cancelling = after(&[E::StockReserved {}, start]).unwrap();
        assert_eq!(next_step(&cancelling), Some(Step::RefundPayment));
        let verdict = decide(&cancelling, Step::RefundPayment, unknown(), tries(1_000), at(1_000_000), PATIENCE);
        assert_eq!(verdict, Verdict::Retry);
        let paid = E::PaymentProcessed { reference: "r".into() };
        let confirmed = after(&[E::StockReserved {}, paid, E::OrderConfirmed { user: None }]).unwrap();
        let verdict = decide(&confirmed, Step::CommitStock, unknown(), tries(1_000), at(1_000_000), PATIENCE);
        assert_eq!(verdict, Verdict::Retry);
    }

    #[test]
    fn attempts_of_an_ongoing_step_do_not_count_as_unknown_ones() {
        let ongoing = Reply::Ongoing { retry_after: Duration::ZERO };
        let polled = (0..9).fold(Tries::default(), |tries, _| tries.and(&ongoing)).and(&unknown());
        assert_eq!(polled, Tries { attempts: 10, unknown: 1, broken: 0 });
        assert_eq!(decide(&reserved(), Step::ProcessPayment, unknown(), polled, at(0), PATIENCE), Verdict::Retry);
    }

    #[test]
    fn an_operator_is_asked_for_when_a_compensation_answers_errors_and_for_nothing_else() {
        let broken = || Reply::Broken { why: "no".into() };
        let often = Tries { attempts: 9, unknown: 9, broken: 2 };
        let start = abort(&reserved(), CancelReason::ByClient);
        let cancelling = after(&[E::StockReserved {}, start]).unwrap();
        let ask = |reply, tries| decide(&cancelling, Step::RefundPayment, reply, tries, at(1_000_000), PATIENCE);
        assert_eq!(ask(broken(), Tries { broken: 1, ..often }), Verdict::Retry, "not yet");
        assert_eq!(ask(unknown(), often), Verdict::Retry, "it may only be away");
        let why = "refund_payment is answered with errors again and again".into();
        assert_eq!(ask(broken(), often), Verdict::Commit(vec![E::OperatorRequested { why }]));

        let forward = decide(&reserved(), Step::ProcessPayment, broken(), often, at(0), PATIENCE);
        assert_eq!(forward, Verdict::Commit(vec![abort(&reserved(), CancelReason::Unavailable)]));
        let paid = E::PaymentProcessed { reference: "r".into() };
        let confirmed = after(&[E::StockReserved {}, paid, E::OrderConfirmed { user: None }]).unwrap();
        assert_eq!(decide(&confirmed, Step::CommitStock, broken(), often, at(0), PATIENCE), Verdict::Retry);
    }

    #[test]
    fn without_a_retry_only_what_can_be_undone_is_given_up() {
        let order = reserved();
        let aborted = without_retry(&order, Step::ProcessPayment);
        assert_eq!(aborted, Some(abort(&order, CancelReason::Unavailable)));
        for step in [Step::CommitStock, Step::RefundPayment, Step::ReleaseStock] {
            assert_eq!(without_retry(&order, step), None, "{step}");
        }
    }

    #[test]
    fn steps_and_outcomes_are_read_back_by_their_names() {
        for step in Step::ALL {
            assert_eq!(step.as_str().parse(), Ok(step));
        }
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
        }
        assert!("rubbish".parse::<Step>().is_err() && "rubbish".parse::<Outcome>().is_err());
    }

    #[test]
    fn backoff_grows_to_its_cap_and_is_spread_over_the_whole_range() {
        let (base, cap) = (Duration::from_millis(10), Duration::from_secs(1));
        assert_eq!(backoff(1, base, cap, 1.0), base);
        assert_eq!(backoff(3, base, cap, 1.0), Duration::from_millis(40));
        assert_eq!(backoff(u32::MAX, base, cap, 1.0), cap);
        assert_eq!(backoff(3, base, cap, 0.0), Duration::ZERO);
    }
}
