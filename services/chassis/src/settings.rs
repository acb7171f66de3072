//! Service settings by name. Each service's configuration is one clap struct; a setting
//! `<role>.rate_limit_per_minute` is that struct's flag `--rate-limit-per-minute`, so that flags,
//! environment variables and scenario files share names, checks and help.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, Command, FromArgMatches};

/// A setting, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// As it is written in a scenario.
    pub name: String,
    /// `None` where leaving it out means "off".
    pub default: Option<String>,
    pub help: String,
}

/// The settings of `C` under `role`.
pub fn describe<C: Args>(role: &'static str) -> Vec<Described> {
    let command = command::<C>(role);
    let settings = command.get_arguments().filter_map(|argument| {
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        Some(Described {
            name: format!("{role}.{}", argument.get_long()?.replace('-', "_")),
            default: (!defaults.is_empty()).then(|| defaults.join(" ")),
            help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
        })
    });
    settings.collect()
}

/// Builds `C` from those of `values` that belong to `role`; the environment is not asked, so that a
/// scenario means the same on every machine.
///
/// # Errors
/// One line that names the setting and what is wrong with it.
pub fn parse<C: Args + FromArgMatches>(role: &'static str, values: &BTreeMap<String, String>) -> Result<C, String> {
    let prefix = format!("{role}.");
    let own = values.iter().filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?, value)));
    let flags = own.map(|(name, value)| format!("--{}={value}", name.replace('_', "-")));
    let matches = command::<C>(role)
        .try_get_matches_from(std::iter::once(role.to_owned()).chain(flags))
        .map_err(|error| one_line(role, &error))?;
    C::from_arg_matches(&matches).map_err(|error| one_line(role, &error))
}

fn command<C: Args>(role: &'static str) -> Command {
    C::augment_args(Command::new(role).no_binary_name(false).disable_help_flag(true))
        .mut_args(|argument| argument.env(Resettable::Reset))
}

fn one_line(role: &str, error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    format!("{role}: {first}")
}

/// A duration as people write it: `250us`, `50ms`, `1.5s`, `2m`, `1h`.
///
/// # Errors
/// When the text is no such duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is not a duration; write it like 50ms, 1.5s or 2m");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(split);
    let micros_per_unit = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 6e7,
        "h" => 3.6e9,
        _ => return Err(refused()),
    };
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(refused());
    }
    let micros = number.parse::<f64>().map_err(|_| refused())? * micros_per_unit;
    if micros > 3.6e12 {
        return Err(format!("`{text}` is longer than 1000h"));
    }
    Ok(Duration::from_micros(micros.round() as u64))
}

/// An inclusive range of durations, `5ms..30ms`; a single duration is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationRange {
    pub low: Duration,
    pub high: Duration,
}

impl FromStr for DurationRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let range = Self { low: duration(low)?, high: duration(high)? };
        if range.low > range.high {
            return Err(format!("`{text}` ends before it starts"));
        }
        Ok(range)
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}..{:?}", self.low, self.high)
    }
}

/// A share from 0 to 1, for clap.
///
/// # Errors
/// When the text is not such a number.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is not a share from 0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Args)]
    struct Example {
        #[arg(long, env = "EXAMPLE_RATE", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
        rate_per_minute: u32,
    }

    fn with(name: &str, value: &str) -> Result<Example, String> {
        parse("example", &BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn a_setting_is_a_flag_by_another_name() {
        let described = describe::<Example>("example");
        assert_eq!(described.len(), 1);
        assert_eq!(described[0].name, "example.rate_per_minute");
        assert_eq!(described[0].default.as_deref(), Some("100"));
        assert_eq!(with("example.rate_per_minute", "7").map(|e| e.rate_per_minute), Ok(7));
        assert_eq!(with("other.rate_per_minute", "7").map(|e| e.rate_per_minute), Ok(100));
    }

    #[test]
    fn a_bad_value_is_one_line_with_the_name() {
        let message = with("example.rate_per_minute", "0").unwrap_err();
        assert!(message.contains("--rate-per-minute") && !message.contains('\n'), "{message}");
    }

    #[test]
    fn durations_are_read_with_their_unit_or_refused() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for text in ["", "5", "-5ms", "5 ms", "ms", "1e9s", "99999h", "1.2.3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!("30ms..5ms".parse::<DurationRange>().is_err());
    }
}
