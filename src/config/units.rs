//! Values with units: `"30s"`, `"64MiB"`, `"2 cpu"`, `"unlimited"`.
//!
//! A number alone is refused: nobody should have to know whether `30` are seconds or minutes. Errors say what is wrong
//! and, after a semicolon, what to write; they never repeat the value.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::value::Error as Reason;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, Visitor};

/// A duration: `"30s"`, `"12h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// From `"30s"`, `"5min"`, `"1h 30min"`, `"7days"`: at most ten years, so that adding it to a time never overflows.
    pub fn parse(text: &str) -> Option<Self> {
        let span = humantime::parse_duration(text).ok()?;
        (span <= LONGEST).then_some(Self(span))
    }
}

/// Bytes: `"64MiB"`, `"2GB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// So many KiB.
    pub const fn kibibytes(count: u64) -> Self {
        Self(count * 1024)
    }

    /// From `"64MiB"` (powers of 1024), `"2GB"` (powers of 1000), or `"4G"` as JupyterHub writes it (powers of 1024).
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_number(text)?;
        let unit: u128 = match unit {
            "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1000_u128.pow(2),
            "GB" => 1000_u128.pow(3),
            "TB" => 1000_u128.pow(4),
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            "T" | "TiB" => 1 << 40,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let bytes = whole.parse::<u64>().ok().map(u128::from)?.checked_mul(unit)?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let part = format!("0{fraction}").parse::<u64>().ok().map(u128::from)? * unit / scale;
        u64::try_from(bytes + part).ok().map(Self)
    }
}

/// Processors: `"2 cpu"`, `"0.5 cpu"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Cpu(pub f64);

impl Cpu {
    /// From `"2 cpu"`, `"0.5 cpu"`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_number(text)?;
        let count: f64 = number.parse().ok()?;
        (matches!(unit, "cpu" | "cpus") && count.is_finite()).then_some(Self(count))
    }
}

/// A value, or `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    /// At most this.
    Value(T),
    /// `"unlimited"`
    Unlimited,
}

impl<T> Limit<T> {
    /// `"unlimited"`
    pub const fn unlimited() -> Self {
        Self::Unlimited
    }

    /// The value, if there is a limit.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unlimited => None,
        }
    }
}

impl Limit<Span> {
    /// The time, or longer than any process lives, and short enough to be added to any other.
    pub fn or_longest(self) -> Duration {
        self.value().map_or(LONGEST, |span| span.0)
    }
}

/// `"1.5 GiB"` → `"1.5"`, `"GiB"`: a plain decimal number of at most 18 digits a side, and what follows it.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    let digits =
        |part: &str| (1..=18).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let good = match number.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(number),
    };
    good.then_some((number, unit.trim_start_matches(' ')))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unit { parse: Self::parse, wrong: SPAN })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unit { parse: Self::parse, wrong: SIZE })
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unit { parse: Self::parse, wrong: CPU })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitVisitor(PhantomData))
    }
}

/// Text with a unit, and what to say of anything else.
struct Unit<T> {
    parse: fn(&str) -> Option<T>,
    wrong: &'static str,
}

impl<T> Unit<T> {
    fn refuse<E: de::Error>(self) -> Result<T, E> {
        Err(E::custom(self.wrong))
    }
}

impl<T> Visitor<'_> for Unit<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wrong)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::custom(self.wrong))
    }

    fn visit_i64<E: de::Error>(self, _bare: i64) -> Result<T, E> {
        self.refuse()
    }

    fn visit_u64<E: de::Error>(self, _bare: u64) -> Result<T, E> {
        self.refuse()
    }

    fn visit_f64<E: de::Error>(self, _bare: f64) -> Result<T, E> {
        self.refuse()
    }
}

struct LimitVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LimitVisitor<T> {
    type Value = Limit<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit, or \"unlimited\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == "unlimited" { Ok(Limit::Unlimited) } else { limit(text) }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        limit(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        limit(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        limit(number)
    }
}

fn limit<'de, T, V, E>(value: V) -> Result<Limit<T>, E>
where
    T: Deserialize<'de>,
    V: IntoDeserializer<'de, Reason>,
    E: de::Error,
{
    T::deserialize(value.into_deserializer())
        .map(Limit::Value)
        .map_err(|reason| E::custom(format_args!("{reason}, or \"unlimited\"")))
}

const LONGEST: Duration = Duration::from_hours(3650 * 24);

const SPAN: &str = "not a duration with its unit; write \"30s\", \"5min\", \"12h\" or \"7days\"";
const SIZE: &str = "not a size with its unit; write \"512MiB\", \"4GiB\" or \"2GB\"";
const CPU: &str = "not a number of processors with its unit; write \"2 cpu\" or \"0.5 cpu\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Values {
        span: Option<Span>,
        size: Option<Size>,
        cpu: Option<Cpu>,
        memory: Option<Limit<Size>>,
        pids: Option<Limit<u64>>,
    }

    fn parse(text: &str) -> Result<Values, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn durations_carry_their_unit() {
        for (text, seconds) in
            [("30s", 30), ("5min", 300), ("12h", 43_200), ("7days", 604_800), ("1h 30min", 5400)]
        {
            assert_eq!(Span::parse(text), Some(Span::seconds(seconds)));
        }
        for wrong in ["", "30", "s", "-1s", "30 parsecs", "11years", "99999999999999999999s", "unlimited"] {
            assert_eq!(Span::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse("span = \"0s\"").unwrap().span, Some(Span::seconds(0)));
    }

    #[test]
    fn sizes_are_written_as_jupyterhub_and_docker_do() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("2GB", 2_000_000_000),
            ("512MB", 512_000_000),
            ("4G", 4 << 30),
            ("1.5G", 3 << 29),
            ("10 KiB", 10_240),
            ("1kB", 1000),
            ("2T", 2 << 40),
            ("7B", 7),
        ] {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        for wrong in
            ["", "4", "G", ".5G", "1.G", "1..5G", "-1G", "4g", "4 Gb", "1e3G", "99999999T", "4GiBs", "٤G"]
        {
            assert_eq!(Size::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse("size = \"1KiB\"").unwrap().size, Some(Size::kibibytes(1)));
    }

    #[test]
    fn processors_carry_their_unit() {
        assert_eq!(parse("cpu = \"2 cpu\"").unwrap().cpu, Some(Cpu(2.0)));
        assert_eq!(Cpu::parse("0.5 cpu"), Some(Cpu(0.5)));
        for wrong in ["2", "cpu", "-2 cpu", "inf cpu", "2 cores", "1e3 cpu", ""] {
            assert_eq!(Cpu::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_limit_is_a_value_or_written_out() {
        let values = parse("memory = \"unlimited\"\npids = 100").unwrap();
        assert_eq!(values.memory, Some(Limit::Unlimited));
        assert_eq!(values.pids, Some(Limit::Value(100)));
        assert_eq!(parse("memory = \"1G\"").unwrap().memory.unwrap().value(), Some(Size(1 << 30)));
        assert_eq!(parse("pids = \"unlimited\"").unwrap().pids, Some(Limit::Unlimited));
        for wrong in ["memory = \"none\"", "memory = 0", "pids = -1", "pids = \"many\"", "pids = 1.5"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.ends_with(", or \"unlimited\""), "{error}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_and_the_error_shows_how_to_write_it() {
        assert_eq!(parse("span = 30").unwrap_err(), SPAN);
        assert_eq!(parse("span = 1.5").unwrap_err(), SPAN);
        assert_eq!(parse("span = \"30\"").unwrap_err(), SPAN);
        assert_eq!(parse("size = 1024").unwrap_err(), SIZE);
        assert_eq!(parse("cpu = 2").unwrap_err(), CPU);
    }
}
