//! Money in integer minor units.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an amount or a currency was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("`{0}` is not a currency: three capital letters such as EUR are expected")]
    Currency(String),
    #[error("`{0}` is not an amount: write it as `129.00 EUR`")]
    Amount(String),
    #[error("{left} and {right} are different currencies")]
    Mixed { left: Currency, right: Currency },
    #[error("the amount is too large")]
    Overflow,
}

/// An ISO 4217 code such as `EUR`. Every currency here has two decimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    pub const EUR: Self = Self(*b"EUR");

    pub fn as_str(&self) -> &str {
        // Constructed from ASCII capitals only.
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(MoneyError::Currency(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(text: String) -> Result<Self, MoneyError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in the minor unit of its currency: `Money { minor: 12900, currency: EUR }` is 129.00 EUR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    pub minor: i64,
    pub currency: Currency,
}

impl Money {
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// # Errors
    /// `Mixed` for two currencies, `Overflow` beyond 64 bits.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed { left: self.currency, right: other.currency });
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// # Errors
    /// `Overflow` beyond 64 bits.
    pub fn checked_mul(self, times: u32) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(times)).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }
}

/// Reads `129.00 EUR`, `129 EUR` or `129.5 EUR`; never negative.
impl FromStr for Money {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let refused = || MoneyError::Amount(text.to_owned());
        let (amount, currency) = text.trim().split_once(' ').ok_or_else(refused)?;
        let currency = currency.trim().parse()?;
        let (units, cents) = amount.split_once('.').unwrap_or((amount, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if units.is_empty() || cents.len() > 2 || !digits(units) || !digits(cents) {
            return Err(refused());
        }
        let units: i64 = units.parse().map_err(|_| MoneyError::Overflow)?;
        let cents: i64 = format!("{cents:0<2}").parse().map_err(|_| refused())?;
        let minor = units.checked_mul(100).and_then(|minor| minor.checked_add(cents)).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        write!(f, "{sign}{}.{:02} {}", minor / 100, minor % 100, self.currency)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_forms_a_person_writes() {
        for (text, minor) in [("129.00 EUR", 12900), ("129 EUR", 12900), ("0.5 EUR", 50)] {
            assert_eq!(text.parse(), Ok(Money::new(minor, Currency::EUR)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_an_amount() {
        for text in ["", "129", "EUR 1", "-1 EUR", "1.234 EUR", "1,5 EUR", "1 eur", "1. 0 EUR", "٣ EUR"] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
        assert_eq!("92233720368547758.08 EUR".parse::<Money>(), Err(MoneyError::Overflow));
    }

    #[test]
    fn never_adds_two_currencies() {
        let dollars = Money::new(1, "USD".parse().unwrap());
        assert!(matches!(Money::new(1, Currency::EUR).checked_add(dollars), Err(MoneyError::Mixed { .. })));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(minor in 0..i64::MAX) {
            let money = Money::new(minor, Currency::EUR);
            prop_assert_eq!(money.to_string().parse(), Ok(money));
        }

        #[test]
        fn sums_agree_with_wide_integers_or_overflow(a in any::<i64>(), b in any::<i64>(), times in any::<u32>()) {
            let (left, right) = (Money::new(a, Currency::EUR), Money::new(b, Currency::EUR));
            let wide = |value: i128| i64::try_from(value).map_err(|_| MoneyError::Overflow);
            prop_assert_eq!(left.checked_add(right).map(|sum| sum.minor), wide(i128::from(a) + i128::from(b)));
            prop_assert_eq!(left.checked_mul(times).map(|sum| sum.minor), wide(i128::from(a) * i128::from(times)));
        }
    }
}
