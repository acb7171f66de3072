//! PLANTED BUGS of the acquirer, for tests that they are found: what each of them makes of a posting.

use clap::ValueEnum;

use crate::domain::charge::{Action, Charge, Posting, State};

/// What `planted_bug` can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlantedBug {
    /// A void does not block its key: a charge that comes after it is made.
    ChargeAfterVoid,
    /// A refund is no operation with a key: asked twice, it gives back twice. The index that allows one line of
    /// a kind for each key is missing as well.
    RefundTwice,
    /// A charge that comes after its `not_after` is made all the same.
    AcceptLateCharge,
}

impl PlantedBug {
    /// Where the key stands, for the decision about `posting`.
    pub fn remembered(self, current: Option<Charge>, posting: &Posting) -> Option<Charge> {
        match (self, &posting.action, current) {
            (Self::ChargeAfterVoid, Action::Charge { .. }, Some(Charge { state: State::Voided, .. })) => None,
            (Self::RefundTwice, Action::Refund, Some(refunded)) if refunded.state == State::Refunded => {
                Some(Charge { state: State::Captured, ..refunded })
            }
            (_, _, current) => current,
        }
    }

    /// What is posted.
    pub fn posted(self, mut posting: Posting) -> Posting {
        if let (Self::AcceptLateCharge, Action::Charge { not_after, .. }) = (self, &mut posting.action) {
            *not_after = posting.at.max(*not_after);
        }
        posting
    }
}
