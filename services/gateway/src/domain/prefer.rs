//! The `Prefer` header (RFC 7240), as far as it says how long a client would wait.

use std::time::Duration;

/// Nobody waits longer for an order.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long the client would wait, from the values of all its `Prefer` headers; `None` when it does
/// not say. The first `wait` counts and is capped at [`WAIT_MAX`]; `respond-async` alone means not
/// at all. A preference that cannot be read is ignored, as the standard asks.
pub fn wait<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Duration> {
    let mut asynchronous = None;
    for preference in values.into_iter().flat_map(|value| value.split(',')) {
        // Parameters, behind `;`, change nothing about either preference.
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("wait") {
            if let Some(wait) = seconds(value) {
                return Some(wait);
            }
        } else if name.eq_ignore_ascii_case("respond-async") {
            asynchronous = Some(Duration::ZERO);
        }
    }
    asynchronous
}

fn seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than a number can hold are still "very long".
    let seconds = text.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_forms_that_the_standard_allows() {
        let cases: [(&[&str], u64); 8] = [
            (&["wait=0"], 0),
            (&["wait=7"], 7),
            (&["WAIT = \"7\""], 7),
            (&["return=minimal, wait=7; foo=bar"], 7),
            (&["return=minimal", "wait=7"], 7),
            (&["respond-async"], 0),
            (&["respond-async, wait=7"], 7),
            (&["wait=99999999999999999999999"], 30),
        ];
        for (values, expected) in cases {
            assert_eq!(wait(values.iter().copied()), Some(Duration::from_secs(expected)), "{values:?}");
        }
    }

    #[test]
    fn ignores_what_it_cannot_read() {
        for value in ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=soon", "waiting=3", "handling=lenient"] {
            assert_eq!(wait([value]), None, "{value}");
        }
        assert_eq!(wait(["wait=soon, wait=3"]), Some(Duration::from_secs(3)));
    }

    proptest! {
        #[test]
        fn never_waits_longer_than_it_may(values in proptest::collection::vec(".{0,40}", 0..4), number in any::<u128>()) {
            let number = format!("wait={number}");
            let values = values.iter().map(String::as_str).chain([number.as_str()]);
            prop_assert!(wait(values).is_some_and(|wait| wait <= WAIT_MAX));
        }
    }
}
