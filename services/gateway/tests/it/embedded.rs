//! The in-process rate limiter keeps its port's contract.

use std::sync::Arc;

use gateway::adapters::outbound::rate_limit::InProcessRateLimiter;

use crate::contract;

macro_rules! keeps_the_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            contract::$case(Arc::new(InProcessRateLimiter::default())).await;
        }
    )*};
}
limiter_cases!(keeps_the_contract);
