//! How both ledgers believe a row.

use kernel::{Money, Timestamp};
use store::StoreError;

use crate::domain::charge::{Charge, Key, State};

/// The name of the acquirer's database.
pub const DATABASE: &str = "acquirer_db";

/// A row as a database gives it, before it is believed.
pub struct Stored {
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub state: String,
    pub reason: String,
    pub updated_at: i64,
}

impl Stored {
    /// # Errors
    /// When the row is no charge.
    pub fn into_charge(self, key: &Key) -> Result<Charge, StoreError> {
        let corrupt = |what: String| StoreError::Corrupt(format!("charge {key}: {what}"));
        let amount = match (self.amount, self.currency) {
            (Some(minor), Some(currency)) => {
                Some(Money::new(minor, currency.parse().map_err(|error| corrupt(format!("{error}")))?))
            }
            _ => None,
        };
        let state = State::ALL.into_iter().find(|state| state.as_str() == self.state);
        Ok(Charge {
            key: key.clone(),
            amount,
            state: state.ok_or_else(|| corrupt(format!("`{}` is not a state", self.state)))?,
            reason: self.reason,
            updated_at: Timestamp::from_micros(self.updated_at),
        })
    }
}
