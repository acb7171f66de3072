//! PLANTED BUGS of the payment service, for tests that they are found: what each of them does. The use cases
//! ask whether it is theirs.

use clap::ValueEnum;

use super::*;

/// What `planted_bug` can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlantedBug {
    /// A payment whose fate is unknown is charged again, under a key that is made for the attempt.
    KeyPerAttempt,
    /// The provider is called first; what came of it is written down afterwards, intent and all.
    ChargeBeforeIntent,
    /// A compensation finds no capture in its books, so there is nothing to void and nothing to give back.
    OpenMeansUnpaid,
}

impl Payments {
    pub fn plant(&self, bug: PlantedBug) {
        // Once, before the service runs.
        let _ = self.planted_bug.set(bug);
    }

    pub(super) fn is_planted(&self, bug: PlantedBug) -> bool {
        self.planted_bug.get() == Some(&bug)
    }

    /// Instead of asking how the charge stands.
    pub(super) async fn charge_anew(&self, order: OrderId, terms: &Terms) -> Result<Option<Standing>, ProviderError> {
        let key = OrderId::derive("attempt", terms.user, &format!("{order} {}", self.clock.now().as_micros()));
        self.provider.charge(key, terms.amount, terms.not_after).await.map(Some)
    }

    /// Instead of the intent and what follows it.
    pub(super) async fn charge_first(&self, admitted: Admitted, intend: Command, terms: Terms) -> Answer {
        let started = Instant::now();
        let charged = self.provider.charge(intend.order, terms.amount, terms.not_after).await;
        admitted.ended(if charged.is_ok() { Ended::Succeeded } else { Ended::Failed }, started.elapsed());
        let Ok(standing) = charged else { return Ok(self.ongoing(&terms)) };
        let order = intend.order;
        self.execute(intend).await?;
        Ok(self.outcome(&self.settle(order, standing, Cause::Charge).await?))
    }

    /// Instead of the void's answer.
    pub(super) fn unpaid() -> Standing {
        Standing { settled: Settled::Voided, reference: String::new(), reason: String::new() }
    }
}
