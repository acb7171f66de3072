//! The retry budget: when much fails at once, retries stay a share of the first attempts instead of
//! multiplying the load on whoever is failing.
//!
//! A token bucket after Finagle's `RetryBudget` (Twitter, Finagle user guide, "Clients", section
//! "Retries"): each first attempt deposits a share of a token, some tokens come with time so that a
//! quiet shop may retry as well, and each retry withdraws one.

use kernel::Timestamp;

/// A token in the unit that balances are kept in: whole numbers, so that no rounding adds up. Time is
/// kept in microseconds, so this many make a second as well.
const TOKEN: u64 = 1_000_000;
/// So many seconds' worth of tokens gather with time, and no more.
const RESERVE_S: u64 = 10;
/// So many tokens gather from first attempts on top of that.
const DEPOSITED_MAX: u64 = 1_000 * TOKEN;

/// How many retries may be made now.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    /// Of a token, for each first attempt.
    share: u64,
    per_s: u32,
    balance: u64,
    last: Timestamp,
}

impl RetryBudget {
    /// `share` of a token (0 to 1) comes with each first attempt, `per_s` tokens come a second. It
    /// begins with as many as gather with time.
    pub fn new(share: f64, per_s: u32, now: Timestamp) -> Self {
        let share = (share.clamp(0.0, 1.0) * TOKEN as f64).round() as u64;
        let mut budget = Self { share, per_s, balance: 0, last: now };
        budget.balance = budget.reserve();
        budget
    }

    /// A step is asked of a participant for the first time.
    pub fn deposit(&mut self, now: Timestamp) {
        self.accrue(now);
        self.balance = self.balance.saturating_add(self.share).min(self.reserve() + DEPOSITED_MAX);
    }

    /// Takes the token for one retry; `false` if there is none.
    pub fn withdraw(&mut self, now: Timestamp) -> bool {
        self.accrue(now);
        let left = self.balance.checked_sub(TOKEN);
        self.balance = left.unwrap_or(self.balance);
        left.is_some()
    }

    /// How many tokens there are.
    pub fn tokens(&mut self, now: Timestamp) -> f64 {
        self.accrue(now);
        self.balance as f64 / TOKEN as f64
    }

    fn reserve(&self) -> u64 {
        u64::from(self.per_s) * RESERVE_S * TOKEN
    }

    /// What came with time. A clock that was set back costs what would have come meanwhile.
    fn accrue(&mut self, now: Timestamp) {
        let passed_us = u64::try_from(now.since(self.last).as_micros()).unwrap_or(u64::MAX);
        self.last = now;
        let came = passed_us.saturating_mul(self.per_s.into());
        // Deposits may have raised the balance above what gathers with time.
        self.balance = self.balance.max(self.balance.saturating_add(came).min(self.reserve()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(us: u64) -> Timestamp {
        Timestamp::from_micros(us.try_into().unwrap())
    }

    fn is_about(budget: &mut RetryBudget, second: u64, tokens: f64) -> bool {
        (budget.tokens(at(second * 1_000_000)) - tokens).abs() < 1e-9
    }

    #[test]
    fn a_quiet_shop_may_retry_and_has_its_reserve_back_after_ten_seconds() {
        let mut budget = RetryBudget::new(0.2, 3, at(0));
        assert_eq!((0..100).filter(|_| budget.withdraw(at(0))).count(), 30);
        assert!(is_about(&mut budget, 4, 12.0));
        assert!(is_about(&mut budget, 3600, 30.0), "no more than ten seconds' worth gathers");
    }

    #[test]
    fn five_first_attempts_pay_for_one_retry() {
        let mut budget = RetryBudget::new(0.2, 0, at(0));
        assert!(!budget.withdraw(at(0)));
        (0..5).for_each(|_| budget.deposit(at(0)));
        assert!(budget.withdraw(at(0)) && !budget.withdraw(at(0)));
    }

    #[test]
    fn what_first_attempts_leave_behind_is_bounded() {
        let mut budget = RetryBudget::new(1.0, 1, at(0));
        (0..5_000).for_each(|_| budget.deposit(at(0)));
        assert!(is_about(&mut budget, 0, 1_010.0));
        assert!(is_about(&mut budget, 60, 1_010.0), "time adds nothing to it and takes nothing away");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_tokens() {
        let mut budget = RetryBudget::new(0.0, 1, at(0));
        while budget.withdraw(at(60_000_000)) {}
        assert!(is_about(&mut budget, 0, 0.0) && is_about(&mut budget, 2, 2.0));
    }

    #[derive(Debug, Clone, Copy)]
    enum Op {
        Wait(u64),
        Deposit,
        Withdraw,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![(0u64..3_000_000).prop_map(Op::Wait), Just(Op::Deposit), Just(Op::Withdraw)];
        proptest::collection::vec(op, 0..200)
    }

    proptest! {
        #[test]
        fn never_more_retries_than_deposits_and_time_allow(share in 0.0f64..=1.0, per_s in 0u32..20, ops in ops()) {
            let mut budget = RetryBudget::new(share, per_s, at(0));
            let (mut now, mut deposits, mut retries) = (0, 0u32, 0u32);
            for op in ops {
                match op {
                    Op::Wait(us) => now += us,
                    Op::Deposit => { budget.deposit(at(now)); deposits += 1; }
                    Op::Withdraw => retries += u32::from(budget.withdraw(at(now))),
                }
                let allowed = f64::from(per_s) * (10.0 + now as f64 / 1e6) + share * f64::from(deposits);
                // Shares are rounded to the millionth of a token.
                prop_assert!(f64::from(retries) <= allowed + 1e-3, "{retries} of {allowed}");
            }
        }

        #[test]
        fn more_time_and_more_first_attempts_never_leave_less(
            share in 0.0f64..=1.0, per_s in 0u32..20, ops in ops(),
            extra in prop_oneof![(1u64..5_000_000).prop_map(Op::Wait), Just(Op::Deposit)], place in 0usize..200,
        ) {
            let run = |ops: &[Op]| {
                let (mut budget, mut now) = (RetryBudget::new(share, per_s, at(0)), 0);
                while budget.balance > 50 * TOKEN && budget.withdraw(at(0)) {}
                for op in ops {
                    match op {
                        Op::Wait(us) => now += us,
                        Op::Deposit => budget.deposit(at(now)),
                        // What is gained would be spent.
                        Op::Withdraw => {}
                    }
                }
                budget.tokens(at(now))
            };
            let mut more = ops.clone();
            more.insert(place.min(ops.len()), extra);
            prop_assert!(run(&more) >= run(&ops));
        }
    }
}
