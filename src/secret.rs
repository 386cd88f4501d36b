//! Secrets: never printed, wiped when dropped, compared in constant time; and where the configuration says they are.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::{env, fmt};

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

/// A secret is not where the configuration says. Names the place, never what is there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The configuration names no place.
    #[error("{key} is missing")]
    Missing {
        /// The key that would.
        key: &'static str,
    },
    /// The file, or systemd's, cannot be read.
    #[error("cannot read {place}")]
    Read {
        /// Which.
        place: SecretSource,
        /// Why.
        source: io::Error,
    },
    /// There is no such environment variable.
    #[error("{place} is not set")]
    Unset {
        /// Which.
        place: SecretSource,
    },
    /// systemd gave no credentials.
    #[error("{place} is nowhere, because $CREDENTIALS_DIRECTORY is not set")]
    NoCredentials {
        /// Which.
        place: SecretSource,
    },
    /// A credential's name is one file name.
    #[error("{place} is not a name that systemd gives")]
    Name {
        /// Which.
        place: SecretSource,
    },
    /// Nothing is there.
    #[error("{place} is empty")]
    Empty {
        /// Which.
        place: SecretSource,
    },
    /// Not UTF-8, or over [`SecretSource::MAX_BYTES`].
    #[error("{place} does not hold one secret in UTF-8")]
    NotText {
        /// Which.
        place: SecretSource,
    },
}

impl SecretError {
    /// What an operator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "add it: { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }",
            Self::Read { .. } => "see that it exists and that hubgate's user may read it",
            Self::Unset { .. } => "set it in the environment of the service",
            Self::NoCredentials { .. } | Self::Name { .. } => {
                "start hubgate by a systemd unit with LoadCredential=, or name a file"
            }
            Self::Empty { .. } => "put the secret into it",
            Self::NotText { .. } => "put the secret into it, on one line",
        }
    }
}

impl SecretSource {
    /// The longest secret.
    pub const MAX_BYTES: u64 = 65_536;

    /// Reads the secret, without the newline that editors put at the end of a file.
    pub fn read(&self) -> Result<Secret, SecretError> {
        self.read_with(|name| env::var_os(name))
    }

    /// The file it is in, when it is in one that can be found.
    pub fn path(&self) -> Option<PathBuf> {
        self.file(|name| env::var_os(name)).ok().flatten()
    }

    fn read_with(&self, environment: impl Fn(&str) -> Option<OsString>) -> Result<Secret, SecretError> {
        let mut text = match self.file(&environment)? {
            Some(path) => self.read_file(&path)?,
            None => self.variable(environment)?,
        };
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err(SecretError::Empty { place: self.clone() });
        }
        Ok(Secret(text))
    }

    fn file(&self, environment: impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, SecretError> {
        match self {
            Self::File(path) => Ok(Some(path.clone())),
            Self::Env(_) => Ok(None),
            Self::Credential(name) => {
                let folder = environment("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
                let folder = folder.ok_or_else(|| SecretError::NoCredentials { place: self.clone() })?;
                // `../x` or `/x` would leave the folder.
                if name.is_empty() || name.contains('/') || matches!(name.as_str(), "." | "..") {
                    return Err(SecretError::Name { place: self.clone() });
                }
                Ok(Some(PathBuf::from(folder).join(name)))
            }
        }
    }

    fn read_file(&self, path: &Path) -> Result<Zeroizing<String>, SecretError> {
        let mut text = Zeroizing::new(String::new());
        let read = File::open(path).and_then(|file| file.take(Self::MAX_BYTES + 1).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(SecretError::NotText { place: self.clone() })
            }
            Err(source) => Err(SecretError::Read { place: self.clone(), source }),
            Ok(_) if u64::try_from(text.len()).is_ok_and(|length| length <= Self::MAX_BYTES) => Ok(text),
            Ok(_) => Err(SecretError::NotText { place: self.clone() }),
        }
    }

    fn variable(
        &self,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Zeroizing<String>, SecretError> {
        let Self::Env(name) = self else { return Err(SecretError::Unset { place: self.clone() }) };
        // `env::var_os` panics on names that cannot be.
        let name = Some(name).filter(|name| !name.is_empty() && !name.contains(['=', '\0']));
        let value = name.and_then(|name| environment(name));
        let value = value.ok_or_else(|| SecretError::Unset { place: self.clone() })?;
        value.into_string().map(Zeroizing::new).map_err(|_value| SecretError::NotText { place: self.clone() })
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::Credential(name) => write!(f, "the credential {name}"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

// serde's own errors repeat the value they reject, so each kind of value is refused by hand.
impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMS)
    }

    fn visit_str<E: de::Error>(self, _literal: &str) -> Result<Self::Value, E> {
        Err(E::custom(LITERAL))
    }

    fn visit_i64<E: de::Error>(self, _literal: i64) -> Result<Self::Value, E> {
        Err(E::custom(LITERAL))
    }

    fn visit_u64<E: de::Error>(self, _literal: u64) -> Result<Self::Value, E> {
        Err(E::custom(LITERAL))
    }

    fn visit_f64<E: de::Error>(self, _literal: f64) -> Result<Self::Value, E> {
        Err(E::custom(LITERAL))
    }

    fn visit_bool<E: de::Error>(self, _literal: bool) -> Result<Self::Value, E> {
        Err(E::custom(LITERAL))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _literals: A) -> Result<Self::Value, A::Error> {
        Err(de::Error::custom(LITERAL))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let wrong = || de::Error::custom(MALFORMED);
        let Some(Place(key)) = map.next_key()? else { return Err(wrong()) };
        let source = match (key.as_str(), map.next_value()?) {
            ("file", Place(path)) => SecretSource::File(path.into()),
            ("env", Place(name)) => SecretSource::Env(name),
            ("credential", Place(name)) => SecretSource::Credential(name),
            _ => return Err(wrong()),
        };
        if map.next_key::<Place>()?.is_some() { Err(wrong()) } else { Ok(source) }
    }
}

/// A string where a literal secret may stand by mistake: its error does not repeat it either.
struct Place(String);

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer);
        text.map(Self).map_err(|_repeats_the_value| de::Error::custom(MALFORMED))
    }
}

const FORMS: &str = "{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";
const LITERAL: &str = "a secret cannot stand in the configuration; \
    write { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";
const MALFORMED: &str = "not a place of a secret; \
    write one of { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_name: &str) -> Option<OsString> {
        None
    }

    #[test]
    fn a_secret_in_a_file_loses_one_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let source = SecretSource::File(path.clone());
        for (content, secret) in
            [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" a\n\n", " a\n")]
        {
            std::fs::write(&path, content).unwrap();
            assert!(source.read().unwrap().matches(secret), "{content:?}");
        }
        for empty in ["", "\n", "\r\n"] {
            std::fs::write(&path, empty).unwrap();
            assert!(matches!(source.read(), Err(SecretError::Empty { .. })), "{empty:?}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_read_names_its_place_and_not_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let source = SecretSource::File(path.clone());
        assert!(matches!(source.read(), Err(SecretError::Read { .. })));
        for content in [b"hunter2\xff".to_vec(), b"hunter2".repeat(10_000)] {
            std::fs::write(&path, content).unwrap();
            let error = source.read().unwrap_err();
            assert!(matches!(error, SecretError::NotText { .. }));
            assert!(error.to_string().contains(path.to_str().unwrap()));
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_secret_comes_from_the_environment_or_from_systemd() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("oidc"), "hunter2\n").unwrap();
        let environment = |name: &str| match name {
            "HUBGATE_SECRET" => Some(OsString::from("hunter3")),
            "CREDENTIALS_DIRECTORY" => Some(folder.path().into()),
            _ => None,
        };
        let read = |source: SecretSource| source.read_with(environment);
        assert!(read(SecretSource::Env("HUBGATE_SECRET".into())).unwrap().matches("hunter3"));
        assert!(read(SecretSource::Credential("oidc".into())).unwrap().matches("hunter2"));
        for name in ["", "A=B", "A\0", "NONE"] {
            let unset = read(SecretSource::Env(name.into()));
            assert!(matches!(unset, Err(SecretError::Unset { .. })), "{name:?}");
        }
        for name in ["", ".", "..", "../oidc", "/etc/passwd"] {
            let outside = read(SecretSource::Credential(name.into()));
            assert!(matches!(outside, Err(SecretError::Name { .. })), "{name:?}");
        }
        let credential = SecretSource::Credential("oidc".into());
        assert!(matches!(credential.read_with(nothing), Err(SecretError::NoCredentials { .. })));
    }

    #[test]
    fn a_literal_secret_is_refused_and_not_repeated() {
        for literal in [
            "\"4711\"",
            "4711",
            "4711.0",
            "[\"4711\"]",
            "{ \"4711\" = 1 }",
            "{ value = \"4711\" }",
            "{ file = 4711 }",
            "{ file = \"/x\", value = \"4711\" }",
            "{ env = [\"4711\"] }",
            "{}",
            "true",
            "4711-01-01",
        ] {
            let text = format!("secret = {literal}");
            let parsed = toml::from_str::<std::collections::BTreeMap<String, SecretSource>>(&text);
            let error = parsed.unwrap_err();
            assert!(!error.message().contains("4711"), "{literal}: {}", error.message());
        }
    }
}
