//! How an event stands in a message: the aggregate in the subject, type, version, time and trace in
//! headers, the data as the payload.

use std::fmt::Write as _;
use std::str::FromStr;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use kernel::Timestamp;
use store::StoreError;

use crate::event::Event;
use crate::log::Publish;

const KIND: &str = "Event-Type";
const VERSION: &str = "Event-Version";
/// Microseconds since 1970.
const OCCURRED_AT: &str = "Event-Occurred-At";
const TRACEPARENT: &str = "traceparent";

/// How long a subject may be: the server closes the connection of whoever sends a longer line than
/// 4,096 bytes, and there are two subjects in one.
const LONGEST_SUBJECT: usize = 1024;

/// An aggregate's name as the end of a subject. Letters, digits, `-`, `_`, `/` and nearly everything else
/// stand for themselves, single dots between other characters too. White space, control characters, `*`,
/// `>`, `%`, and dots where a subject must not have them are written `%` and two hexadecimal digits; an
/// empty name is a lone `%`.
pub(super) fn encode(aggregate: &str) -> String {
    let mut encoded = String::with_capacity(aggregate.len());
    let mut after_dot = true;
    let mut characters = aggregate.chars().peekable();
    while let Some(character) = characters.next() {
        let bad_dot = character == '.' && (after_dot || characters.peek().is_none());
        if bad_dot || character.is_whitespace() || character.is_control() || "*>%".contains(character) {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string does not fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
            after_dot = false;
        } else {
            encoded.push(character);
            after_dot = character == '.';
        }
    }
    if encoded.is_empty() { "%".to_owned() } else { encoded }
}

/// What [`encode`] was given.
pub(super) fn decode(encoded: &str) -> Option<String> {
    if encoded == "%" {
        return Some(String::new());
    }
    let mut parts = encoded.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The headers to publish with.
pub(super) fn headers(publish: &Publish) -> Result<HeaderMap, StoreError> {
    let event = &publish.event;
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, text: &str| {
        let value = HeaderValue::from_str(text)
            .map_err(|_| StoreError::Corrupt(format!("{}: {name} holds a line break", event.id())))?;
        headers.insert(name, value);
        Ok::<_, StoreError>(())
    };
    put(NATS_MESSAGE_ID, &format!("{}/{}", encode(&event.aggregate), event.version))?;
    put(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, &publish.expected_last.to_string())?;
    put(HeaderName::from_static(KIND), &event.kind)?;
    put(HeaderName::from_static(VERSION), &event.version.to_string())?;
    put(HeaderName::from_static(OCCURRED_AT), &event.occurred_at.as_micros().to_string())?;
    if let Some(traceparent) = &event.traceparent {
        put(HeaderName::from_static(TRACEPARENT), traceparent)?;
    }
    Ok(headers)
}

/// Refuses what the server would close the connection for.
pub(super) fn check_subject(subject: &str) -> Result<(), StoreError> {
    if subject.len() <= LONGEST_SUBJECT {
        return Ok(());
    }
    let start: String = subject.chars().take(60).collect();
    Err(StoreError::Corrupt(format!(
        "the subject {start}… has {} bytes, {LONGEST_SUBJECT} are allowed: shorten the aggregate's name",
        subject.len()
    )))
}

/// The event in a message; `prefix` is what comes before the aggregate in the subject.
pub(super) fn event(prefix: &str, subject: &str, headers: &HeaderMap, payload: &[u8]) -> Result<Event, StoreError> {
    let strange = |what: &str| StoreError::Corrupt(format!("the message on {subject} has no {what} that we know"));
    let text = |name: &str| headers.get(name).map(|value| value.as_str());
    Ok(Event {
        aggregate: subject.strip_prefix(prefix).and_then(decode).ok_or_else(|| strange("subject"))?,
        version: number(text(VERSION)).ok_or_else(|| strange(VERSION))?,
        kind: text(KIND).ok_or_else(|| strange(KIND))?.to_owned(),
        data: String::from_utf8(payload.to_vec()).map_err(|_| strange("payload"))?,
        occurred_at: Timestamp::from_micros(number(text(OCCURRED_AT)).ok_or_else(|| strange(OCCURRED_AT))?),
        traceparent: text(TRACEPARENT).map(str::to_owned),
    })
}

fn number(text: Option<&str>) -> Option<i64> {
    i64::from_str(text?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_legal_in_a_subject_stands_for_itself() {
        for name in ["0191e8a4-7f3c", "THINGS.mailer.0191e8a4/3", "ü_(1)"] {
            assert_eq!(encode(name), name);
        }
    }

    #[test]
    fn what_is_not_is_written_in_hexadecimal() {
        let pairs = [("", "%"), ("a b", "a%20b"), (".a..b.", "%2Ea.%2Eb%2E"), ("*", "%2A"), (">", "%3E"), ("%", "%25")];
        for (name, encoded) in pairs {
            assert_eq!(encode(name), encoded);
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_and_makes_a_legal_subject(name in "\\PC*|[.*>% \\r\\n\\ta]{0,8}") {
            let encoded = encode(&name);
            prop_assert!(encoded.split('.').all(|token| !token.is_empty()));
            prop_assert!(!encoded.contains(|c: char| c.is_whitespace() || c == '*' || c == '>'));
            prop_assert_eq!(decode(&encoded), Some(name));
        }
    }
}
