//! Numbers as people read them, each with its unit.

use tokio::time::Duration;

/// `1,204`
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `4.2 s`, `2 m 05 s`, `1 h 02 m`
pub fn span(value: Duration) -> String {
    let s = value.as_secs();
    match s {
        0..60 => format!("{:.1} s", value.as_millis() as f64 / 1e3),
        60..3600 => format!("{} m {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} m", s / 3600, s % 3600 / 60),
    }
}

/// A whole number of seconds, minutes or hours where it is one: for scales.
pub fn round_span(seconds: f64) -> String {
    let value = Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
    match value.as_secs() {
        s @ 0..60 if value.subsec_millis() == 0 => format!("{s} s"),
        s @ 60..3600 if s.is_multiple_of(60) => format!("{} m", s / 60),
        s @ 3600.. if s.is_multiple_of(3600) => format!("{} h", s / 3600),
        _ => span(value),
    }
}

/// `244/s`; one decimal where it says something.
pub fn rate(value: f64) -> String {
    if value < 9.95 && value > 0.0 {
        format!("{value:.1}/s")
    } else {
        format!("{}/s", count(value.round().max(0.0) as u64))
    }
}

/// `60 %`; of nothing it is nothing.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".into();
    }
    let percent = 100.0 * part as f64 / whole as f64;
    // Few are not none, and nearly all are not all.
    match part {
        0 => "0 %".into(),
        _ if percent < 1.0 => "<1 %".into(),
        _ if part < whole && percent > 99.0 => ">99 %".into(),
        _ => format!("{percent:.0} %"),
    }
}

/// A latency on a scale: `5 ms`, `200 µs`, `1 s`.
pub fn scale_us(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.0} s", us / 1e6),
    }
}

/// A latency to the unit: `151 ms`, `9.2 ms`; a dash without samples.
pub fn short_us(us: Option<u64>) -> String {
    match us {
        None => "–".into(),
        Some(us) if us < 1_000 => format!("{us} µs"),
        Some(us) if us < 9_950 => format!("{:.1} ms", us as f64 / 1e3),
        Some(us) if us < 999_500 => format!("{:.0} ms", us as f64 / 1e3),
        Some(us) => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// How far a threshold is from its bound; `waiting` for one that time may still bring there.
pub fn margin(value: f64, waiting: bool) -> String {
    let percent = (value.abs() * 100.0).min(9_999.0);
    let word = match value < 0.0 {
        true if waiting => "to go",
        true => "over",
        false => "to spare",
    };
    format!("{percent:.0} % {word}")
}

/// `1 call`, `2 calls`
pub fn several(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let spans = [4_200, 125_000, 3_720_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans, ["4.2 s", "2 m 05 s", "1 h 02 m"]);
        assert_eq!([0.5, 5.0, 90.0, 120.0, 7200.0].map(round_span), ["0.5 s", "5 s", "1 m 30 s", "2 m", "2 h"]);
        assert_eq!([0.0, 0.25, 9.97, 1_244.4].map(rate), ["0/s", "0.2/s", "10/s", "1,244/s"]);
        assert_eq!(
            [(0, 0), (0, 5), (1, 500), (499, 500), (500, 500)].map(|(a, b)| share(a, b)),
            ["0 %", "0 %", "<1 %", ">99 %", "100 %"]
        );
        assert_eq!([0.4, -0.123].map(|value| margin(value, false)), ["40 % to spare", "12 % over"]);
        assert_eq!(margin(-0.123, true), "12 % to go");
        assert_eq!([several(1, "call"), several(1_000, "call")], ["1 call", "1,000 calls"]);
    }
}
