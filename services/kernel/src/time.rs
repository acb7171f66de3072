//! A point in time as a value. Where it comes from is the injected clock's business.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Saturates at the far end of time.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long from `earlier` to this; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 in UTC, for people and logs.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000) else {
            return write!(f, "{} µs", self.0);
        };
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second, micro) = time.to_hms_micro();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z", u8::from(month))
    }
}

/// What [`Timestamp`] is shown as, and other RFC 3339 texts.
impl FromStr for Timestamp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| format!("`{text}` is not a time (RFC 3339)"))?;
        let micros = time.unix_timestamp_nanos() / 1_000;
        i64::try_from(micros).map(Self).map_err(|_| format!("`{text}` is too far away"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_and_read_as_rfc_3339() {
        assert_eq!(Timestamp::from_micros(1_500_000).to_string(), "1970-01-01T00:00:01.500000Z");
        assert_eq!("1970-01-01T00:00:01.500000Z".parse(), Ok(Timestamp::from_micros(1_500_000)));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn is_read_in_any_time_zone_and_shown_in_utc() {
        let read: Timestamp = "2024-02-29T23:30:00-05:30".parse().unwrap();
        assert_eq!(read.to_string(), "2024-03-01T05:00:00.000000Z");
        assert_eq!(read.to_string().parse(), Ok(read));
    }

    #[test]
    fn is_shown_as_a_number_where_the_calendar_ends() {
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9223372036854775807 µs");
        assert_eq!(Timestamp::from_micros(-1).to_string(), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn never_wraps() {
        let end = Timestamp::from_micros(i64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::default().since(end), Duration::ZERO);
    }
}
