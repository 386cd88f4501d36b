//! Secrets: never printed, wiped when dropped, compared in constant time; and where the configuration says they are.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use subtle::ConstantTimeEq;
use thiserror::Error;
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

/// A secret is not where the configuration says.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Its file cannot be read.
    #[error("cannot read the secret in {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The environment lacks it, or holds something that is not text.
    #[error("the environment variable {name} is not set")]
    Unset {
        /// Which variable.
        name: String,
    },
    /// There is nothing in it.
    #[error("the secret in {place} is empty")]
    Empty {
        /// Which file or variable.
        place: String,
    },
}

impl SecretError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Read { .. } => "put the secret there, readable for the user that hubgate runs as",
            Self::Unset { name } if name == CREDENTIALS => {
                "a credential needs LoadCredential= in the systemd unit; elsewhere write { file = \"…\" }"
            }
            Self::Unset { .. } => "set it for hubgate, or write { file = \"…\" }",
            Self::Empty { .. } => "write the secret there",
        }
    }
}

/// Where systemd puts `LoadCredential=` (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

impl SecretSource {
    /// The secret, without white space at its end: editors and `echo` leave a newline.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let (text, place) = match self {
            Self::File(path) => file(path)?,
            Self::Env(name) => (Zeroizing::new(variable(name)?), name.clone()),
            Self::Credential(name) => file(&Path::new(&variable(CREDENTIALS)?).join(name))?,
        };
        let text = text.trim_end();
        if text.is_empty() { Err(SecretError::Empty { place }) } else { Ok(Secret::new(text)) }
    }
}

fn file(path: &Path) -> Result<(Zeroizing<String>, String), SecretError> {
    let place = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((Zeroizing::new(text), place)),
        Err(source) => Err(SecretError::Read { path: place, source }),
    }
}

fn variable(name: &str) -> Result<String, SecretError> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads secrets from the environment")]
    let value = std::env::var(name);
    value.map_err(|_unset| SecretError::Unset { name: name.to_owned() })
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
