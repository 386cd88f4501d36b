//! On which line each key stands.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// The lines of keys, written as `profile[0].image`.
#[derive(Debug)]
pub(super) struct Lines {
    keys: BTreeMap<String, usize>,
    /// Where lines end, in bytes.
    ends: Vec<usize>,
}

impl Lines {
    pub(super) fn new(text: &str, document: &DeTable<'_>) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        let mut lines = Self { keys: BTreeMap::new(), ends };
        lines.add_table("", document);
        lines
    }

    /// The line of `key`, or of the innermost table that it would stand in; none when that is the whole file.
    pub(super) fn of(&self, key: &str) -> Option<usize> {
        let mut key = key;
        loop {
            if let Some(line) = self.keys.get(key) {
                return Some(*line);
            }
            let (outer, _) = key.rsplit_once(['.', '['])?;
            key = outer;
        }
    }

    /// The line of a byte, from 1.
    pub(super) fn at(&self, offset: usize) -> usize {
        self.ends.partition_point(|end| *end < offset) + 1
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let dot = if prefix.is_empty() { "" } else { "." };
            let path = format!("{prefix}{dot}{}", key.get_ref().escape_debug());
            self.keys.insert(path.clone(), self.at(key.span().start));
            self.add_value(&path, value.get_ref());
        }
    }

    fn add_value(&mut self, path: &str, value: &DeValue<'_>) {
        if let Some(table) = value.as_table() {
            self.add_table(path, table);
        }
        for (index, element) in value.as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}[{index}]");
            self.keys.insert(path.clone(), self.at(element.span().start));
            self.add_value(&path, element.get_ref());
        }
    }
}
