//! Secrets: never printed, wiped when dropped, compared in constant time; and where the configuration says they are.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A value that must not be seen.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value over.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself: for the one call that sends it to where it belongs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Where a secret is kept: `{ file = … }`, `{ env = … }` or `{ credential = … }`. A literal is refused, and not
/// repeated in the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY` (`LoadCredential=`).
    Credential(String),
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }")
    }

    // serde's own error repeats the value it rejects.
    fn visit_str<E: de::Error>(self, _literal: &str) -> Result<Self::Value, E> {
        Err(E::custom(
            "a secret cannot stand in the configuration; write { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let wrong =
            || de::Error::custom("write one of { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }");
        let Some(key) = map.next_key::<String>()? else { return Err(wrong()) };
        let source = match key.as_str() {
            "file" => SecretSource::File(map.next_value()?),
            "env" => SecretSource::Env(map.next_value()?),
            "credential" => SecretSource::Credential(map.next_value()?),
            _ => return Err(wrong()),
        };
        if map.next_key::<String>()?.is_some() { Err(wrong()) } else { Ok(source) }
    }
}
