//! Reads the file: syntax, unknown keys and wrong values, each with its line.
//!
//! serde stops at the first error. So what it refuses is noted, taken out of the document (or put in, where it is
//! missing), and the rest is read again, until there is nothing to refuse. No message repeats a value, since it may be
//! a secret in a wrong place; `toml`'s own errors do.

mod lines;
mod message;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde_path_to_error::Segment;
use thiserror::Error;
use toml::de::DeTable;
use toml::{Table, Value};

use self::lines::Lines;
use self::message::Reason;
use super::Config;
use super::check::{self, Finding};

/// The configuration cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// All that is wrong in it.
    #[error("the configuration has {}", count(.0.len()))]
    Findings(Vec<Finding>),
}

impl ConfigError {
    /// What is wrong in the file, line by line; nothing when it cannot be read.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Read { .. } => &[],
            Self::Findings(findings) => findings,
        }
    }

    /// What an operator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Read { .. } => "see that it exists, that hubgate's user may read it, and that it is UTF-8",
            Self::Findings(_) => "correct the lines above; config.toml.example shows every key",
        }
    }
}

/// A configuration, and where its keys stand.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    path: String,
    lines: Lines,
    /// Written as `[provider]`.
    one_provider: bool,
}

impl Loaded {
    /// What is wrong with `key` (`profile[0].image`), with the line of it or of the section it is missing in.
    pub fn finding(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let key = as_written(key, self.one_provider);
        Finding {
            path: self.path.clone(),
            line: self.lines.of(&key),
            key,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// Reads and parses a file.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
    parse(&text, path)
}

/// Parses `text`; `path` is for messages. The error holds everything that is wrong, and with it whatever
/// [`super::check()`] finds in the sections that are read whole.
pub fn parse(text: &str, path: &Path) -> Result<Loaded, ConfigError> {
    let path = path.display().to_string();
    let (document, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::new(text, document.get_ref());
    if !errors.is_empty() {
        return Err(ConfigError::Findings(syntax(&lines, &path, &errors)));
    }
    let mut table: Table =
        toml::from_str(text).map_err(|error| ConfigError::Findings(syntax(&lines, &path, &[error])))?;
    let one_provider = wrap_provider(&mut table);
    let mut reading = Reading { path, lines, found: Vec::new(), noted: BTreeSet::new(), one_provider };
    reading.refuse_lists(&mut table);
    let config = loop {
        match serde_path_to_error::deserialize(table.clone()) {
            Ok(config) => break Some(reading.with_lines(config)),
            Err(error) if reading.repair(&mut table, &error) => {}
            Err(_) => break None,
        }
    };
    let Reading { path, lines, mut found, .. } = reading;
    let loaded = config.map(|config| Loaded { config, path, lines, one_provider });
    match loaded {
        Some(loaded) if found.is_empty() => Ok(loaded),
        loaded => {
            let also = loaded.iter().flat_map(check::rules);
            let also: Vec<_> = also.filter(|finding| !depends(finding, &found)).collect();
            found.extend(also);
            found.sort_by_key(|finding| finding.line);
            Err(ConfigError::Findings(found))
        }
    }
}

/// `[provider]` is the only element of its list. Answers whether it is written so, or not at all.
fn wrap_provider(table: &mut Table) -> bool {
    let Some(provider) = table.remove("provider") else { return true };
    let one = provider.is_table();
    table.insert("provider".to_owned(), if one { Value::Array(vec![provider]) } else { provider });
    one
}

/// A key in the words of the file.
fn as_written(key: &str, one_provider: bool) -> String {
    match key.strip_prefix("provider[0]") {
        Some(rest) if one_provider => format!("provider{rest}"),
        _ => key.to_owned(),
    }
}

/// The document while it is being mended.
struct Reading {
    path: String,
    lines: Lines,
    found: Vec<Finding>,
    noted: BTreeSet<String>,
    one_provider: bool,
}

impl Reading {
    fn with_lines(&self, mut config: Config) -> Config {
        for (index, rule) in config.rule.iter_mut().enumerate() {
            rule.line = self.lines.of(&format!("rule[{index}]"));
        }
        config
    }

    /// serde takes a list for a struct, its fields in order; nobody means that.
    fn refuse_lists(&mut self, table: &mut Table) {
        for section in message::SECTIONS {
            if table.get(section).is_some_and(Value::is_array) {
                table.remove(section);
                let place = Place(vec![Step::Key(section.to_owned())]);
                self.note(&place, message::NO_FIT, format!("write [{section}], once"));
            }
        }
    }

    /// Notes the error and changes `table` so that it does not come again. False when that cannot be done.
    fn repair(&mut self, table: &mut Table, error: &serde_path_to_error::Error<toml::de::Error>) -> bool {
        let mut place = Place::of(error.path());
        match Reason::of(error.inner().message()) {
            Reason::Missing { field } => {
                place.0.push(Step::Key(field.clone()));
                let standin = standin(&field);
                // What is missing in a section that is not there is told key by key.
                let section = standin.is_table() || standin.is_array();
                if !section || place.0.len() > 1 {
                    self.note(&place, "missing", missing_remedy(&field));
                }
                place.put(table, standin)
            }
            Reason::Unknown { known } => {
                let key = place.last_key();
                self.note(&place, "there is no such key", message::unknown_remedy(key, &known));
                place.take(table)
            }
            Reason::Wrong { what, remedy } => {
                self.note(&place, what, message::form(place.last_key(), remedy)) && place.take(table)
            }
        }
    }

    /// False when it is known already: then what was put there instead does not fit either.
    fn note(&mut self, place: &Place, what: impl Into<String>, remedy: impl Into<String>) -> bool {
        let key = as_written(&place.to_string(), self.one_provider);
        let new = self.noted.insert(key.clone());
        if new {
            let line = self.lines.of(&key);
            let (path, what, remedy) = (self.path.clone(), what.into(), remedy.into());
            self.found.push(Finding { path, line, key, what, remedy });
        }
        new
    }
}

/// Where in the document: from the outside in.
struct Place(Vec<Step>);

enum Step {
    Key(String),
    Index(usize),
}

impl Place {
    fn of(path: &serde_path_to_error::Path) -> Self {
        let mut steps = Vec::new();
        for segment in path {
            match segment {
                Segment::Map { key } => steps.push(Step::Key(key.clone())),
                Segment::Seq { index } => steps.push(Step::Index(*index)),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
            // Below such a key a secret may stand, even as a key.
            if matches!(segment, Segment::Map { key } if key.ends_with("_secret") || key == "client_key") {
                break;
            }
        }
        Self(steps)
    }

    fn last_key(&self) -> &str {
        let mut keys = self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        keys.next_back().unwrap_or_default()
    }

    /// Takes the innermost key on the way out of its table: with a bad element goes the whole list.
    fn take(&self, table: &mut Table) -> bool {
        let key = self.last_key();
        self.table_of_last_key(table).is_some_and(|table| table.remove(key).is_some())
    }

    fn put(&self, table: &mut Table, value: Value) -> bool {
        let key = self.last_key().to_owned();
        self.table_of_last_key(table).is_some_and(|table| table.insert(key, value).is_none())
    }

    fn table_of_last_key<'t>(&self, table: &'t mut Table) -> Option<&'t mut Table> {
        let last = self.0.iter().rposition(|step| matches!(step, Step::Key(_)))?;
        let mut steps = self.0.get(..last)?.iter();
        let Some(first) = steps.next() else { return Some(table) };
        let Step::Key(first) = first else { return None };
        let inner = steps.try_fold(table.get_mut(first)?, |value, step| match step {
            Step::Key(key) => value.get_mut(key.as_str()),
            Step::Index(index) => value.get_mut(*index),
        });
        inner?.as_table_mut()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                // A quoted key may hold anything, and this goes to terminals and logs.
                Step::Key(key) if at == 0 => write!(f, "{}", key.escape_debug())?,
                Step::Key(key) => write!(f, ".{}", key.escape_debug())?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A value that most missing keys take, so that reading can go on. It is never used.
fn standin(field: &str) -> Value {
    match field {
        "public" => Value::Table(Table::new()),
        "provider" => Value::Array(vec![Value::Table(Table::new())]),
        "client_secret" => {
            Value::Table(Table::from_iter([("env".to_owned(), Value::String("UNKNOWN".to_owned()))]))
        }
        _ => Value::String("https://unknown.invalid".to_owned()),
    }
}

fn missing_remedy(field: &str) -> String {
    match field {
        "client_secret" => format!("add `{field} = {{ credential = \"…\" }}`"),
        _ => format!("add `{field} = \"…\"`"),
    }
}

fn syntax(lines: &Lines, path: &str, errors: &[toml::de::Error]) -> Vec<Finding> {
    let finding = |error: &toml::de::Error| Finding {
        path: path.to_owned(),
        line: error.span().map(|span| lines.at(span.start)),
        key: "syntax".to_owned(),
        what: error.message().to_owned(),
        remedy: "this must be right before the rest can be read".to_owned(),
    };
    errors.iter().take(MOST_SYNTAX_ERRORS).map(finding).collect()
}

/// Whether `finding` may only be a consequence of what was `found` before: it is of a section that was not read whole.
fn depends(finding: &Finding, found: &[Finding]) -> bool {
    let about = |key| match section(key) {
        "certificate" => "listen",
        "rule" | "spawner" | "hub_api" => "profile",
        other => other,
    };
    let group = about(&finding.key);
    // An unknown section may be one that is missing, misspelt; and the profiles that rules name may be in it.
    let misspelt = |earlier: &Finding| section(&earlier.key) == earlier.key;
    let touched = finding.line.is_none() || group == "profile";
    found.iter().any(|earlier| about(&earlier.key) == group || (touched && misspelt(earlier)))
}

fn section(key: &str) -> &str {
    key.split(['.', '[']).next().unwrap_or_default()
}

fn count(findings: usize) -> String {
    if findings == 1 { "an error".to_owned() } else { format!("{findings} errors") }
}

/// One slip of a quote makes many.
const MOST_SYNTAX_ERRORS: usize = 10;
