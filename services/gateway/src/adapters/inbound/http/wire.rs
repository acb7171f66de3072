//! JSON shapes that several resources share.

use kernel::{Currency, Timestamp};
use proto::common::v1 as common;
use serde::{Deserialize, Serialize};

use super::extract::checked;
use super::problem::Problem;

/// An amount in minor units: `{"minor": 12900, "currency": "EUR"}` is 129.00 EUR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoneyJson {
    pub(super) minor: i64,
    pub(super) currency: String,
}

impl MoneyJson {
    /// A price as a client may set it.
    ///
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
#[derive(Debug, Serialize)]
pub(super) struct Items<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page: Option<String>,
}

/// One page of a listing by time. `next_after` is what the next request asks for as `after`, `null`
/// on the last page.
#[derive(Debug, Serialize)]
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
#[derive(Debug, Serialize)]
pub(super) struct Pages<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// Whether a page of so many items may be followed by another.
pub(super) fn is_full(items: usize, limit: u32) -> bool {
    items >= usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The query of a page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    pub(super) after: Option<String>,
    pub(super) limit: Option<String>,
}

/// The query of a listing by time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineQuery {
    pub(super) after: Option<String>,
    pub(super) limit: Option<String>,
    /// Staff only: whose; everybody's without it.
    pub(super) user_id: Option<String>,
}
