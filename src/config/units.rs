//! Values with units: `"30s"`, `"64MiB"`, `"2 cpu"`, `"unlimited"`.

use std::time::Duration;

/// A duration: `"30s"`, `"12h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
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
}

/// Processors: `"2 cpu"`, `"0.5 cpu"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Cpu(pub f64);

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

macro_rules! stub { ($($t:ty),*) => { $(impl<'de> serde::Deserialize<'de> for $t { fn deserialize<D: serde::Deserializer<'de>>(_d: D) -> Result<Self, D::Error> { todo!() } })* } }
stub!(Span, Size, Cpu);
impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Limit<T> {
    fn deserialize<D: serde::Deserializer<'de>>(_d: D) -> Result<Self, D::Error> {
        todo!()
    }
}
