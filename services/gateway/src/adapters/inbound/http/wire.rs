//! JSON shapes that several resources share.

use std::fmt;
use std::marker::PhantomData;

use kernel::{Currency, Timestamp};
use proto::common::v1 as common;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::checked;
use super::problem::Problem;

/// An amount in minor units: `{"minor": 12900, "currency": "EUR"}` is 129.00 EUR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Money)]
pub(super) struct MoneyJson {
    pub(super) minor: i64,
    #[schema(min_length = 3, max_length = 3)]
    pub(super) currency: String,
}

/// A price as a client may set it, in minor units: 0.01 to 10,000,000.00 of a currency (ISO 4217).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Price {
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    minor: i64,
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
}

impl Price {
    /// # Errors
    /// When it is negative or in no currency.
    pub(super) fn into_price(self) -> Result<common::Money, Problem> {
        if self.minor < 0 {
            return Err(Problem::invalid("price.minor", "a price is not negative"));
        }
        let currency: Currency = checked("price.currency", &self.currency)?;
        Ok(common::Money { minor: self.minor, currency: currency.to_string() })
    }
}

impl TryFrom<Option<common::Money>> for MoneyJson {
    type Error = Problem;
    fn try_from(money: Option<common::Money>) -> Result<Self, Problem> {
        let money = money.ok_or_else(|| Problem::broken_answer("an amount is missing"))?;
        Ok(Self { minor: money.minor, currency: money.currency })
    }
}

/// RFC 3339.
pub(super) fn time(us: i64) -> String {
    Timestamp::from_micros(us).to_string()
}

/// `null` for what protobuf leaves empty.
pub(super) fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// One page. `next_page` is what the next request asks for, `null` on the last page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Items<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page: Option<String>,
}

/// One page of a listing by time. `next_after` is what the next request asks for as `after`, `null`
/// on the last page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Timeline<T> {
    pub(super) items: Vec<T>,
    pub(super) next_after: Option<i64>,
}

impl<T> Timeline<T> {
    /// A page that is not full is the last; `last_us` is when its last item was created.
    pub(super) fn new(items: Vec<T>, limit: u32, last_us: Option<i64>) -> Self {
        let full = is_full(items.len(), limit);
        Self { items, next_after: last_us.filter(|_| full) }
    }
}

/// One page of a listing by time whose cursor is exact: `next` is what the next request asks for as
/// `after`, `null` on the last page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Pages<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// Whether a page of so many items may be followed by another.
pub(super) fn is_full(items: usize, limit: u32) -> bool {
    items >= usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Reads a whole number also where it is written with a decimal point (`3.0`): in JSON the two are one number.
///
/// # Errors
/// When it is no number, has a fraction, or is too large for its type.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Whole(PhantomData))
}

/// As [`whole`], for a field that may be left out.
///
/// # Errors
/// As [`whole`].
pub(super) fn whole_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Number(#[serde(deserialize_with = "whole")] i64);
    Ok(Option::<Number>::deserialize(deserializer)?.map(|Number(number)| number))
}

struct Whole<T>(PhantomData<T>);

/// Up to here a float tells neighbouring whole numbers apart.
const FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

impl<T: TryFrom<i64>> Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::custom(format_args!("`{number}` is out of range")))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let signed = i64::try_from(number).map_err(|_| E::custom(format_args!("`{number}` is out of range")))?;
        self.visit_i64(signed)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        if number.fract() != 0.0 || number.abs() > FLOAT_MAX {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        // Exact: it is whole and small enough, as was just seen.
        self.visit_i64(number as i64)
    }
}

/// The query of a page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// What the page before said is next.
    #[param(pattern = "^[0-9]{0,18}$")]
    pub(super) after: Option<String>,
    /// How many items a page has.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub(super) limit: Option<String>,
}

/// The query of a page whose cursor is exact.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PlaceQuery {
    /// What the page before said is next.
    #[param(pattern = "^([0-9]{1,18}([.][0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?)?$")]
    pub(super) after: Option<String>,
    /// How many items a page has; 20 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub(super) limit: Option<String>,
}

/// The query of a listing by time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TimelineQuery {
    /// What the page before said is next.
    #[param(pattern = "^[0-9]{0,18}$")]
    pub(super) after: Option<String>,
    /// How many items a page has; 20 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub(super) limit: Option<String>,
    /// Staff only: whose; everybody's without it.
    #[param(format = "uuid")]
    pub(super) user_id: Option<String>,
}
