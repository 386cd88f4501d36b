//! What serde's messages mean. They repeat the values they refuse; what is made of them here never does.

use crate::spelling::distance;

/// Why serde stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// A key that must be there is not.
    Missing {
        /// Its name.
        field: String,
    },
    /// A key that is not known.
    Unknown {
        /// Those that are.
        known: Vec<String>,
    },
    /// A value that does not fit.
    Wrong {
        /// What it is not.
        what: String,
        /// What to write.
        remedy: String,
    },
}

impl Reason {
    pub(super) fn of(message: &str) -> Self {
        if let Some(field) = message.strip_prefix("missing field `") {
            return Self::Missing { field: field.trim_end_matches('`').to_owned() };
        }
        // The value comes before it, and may hold anything; what comes after is ours or serde's.
        let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
        if message.starts_with("unknown field `") {
            return Self::Unknown { known: expected.map(quoted).unwrap_or_default() };
        }
        if message.starts_with("unknown variant `") {
            let choices = expected.map(quoted).unwrap_or_default();
            let choices: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
            return wrong("not one of the choices", &format!("write {}", choices.join(" or ")));
        }
        if message.starts_with("invalid ") && expected.is_some() {
            return expected.map_or_else(|| wrong(NO_FIT, ""), kind);
        }
        if message == "invalid socket address syntax" {
            return wrong("not an address with its port", "write \"127.0.0.1:9180\" or \"[::]:443\"");
        }
        // `url` repeats the value after its message.
        let what = message.split_once(": \"").map_or(message, |(what, _)| what);
        match what.split_once("; ") {
            Some((what, remedy)) => wrong(what, remedy),
            None if what.len() < message.len() => wrong(what, "write \"https://…\""),
            None => wrong(what, "see config.toml.example"),
        }
    }
}

fn wrong(what: &str, remedy: &str) -> Reason {
    Reason::Wrong { what: what.to_owned(), remedy: remedy.to_owned() }
}

/// What serde expected, in the words of the file.
fn kind(expected: &str) -> Reason {
    if let Some((what, remedy)) = expected.split_once("; ") {
        return wrong(what, remedy);
    }
    let (base, unlimited) = match expected.strip_suffix(", or \"unlimited\"") {
        Some(base) => (base, ", or \"unlimited\""),
        None => (expected, ""),
    };
    let remedy = match base {
        "a boolean" => "write true or false",
        "u16" => "write a whole number up to 65535",
        "usize" | "u64" => "write a whole number",
        "a string" | "path string" => "write text in quotes",
        "a string representing an URL" => "write \"https://…\"",
        "socket address" => "write \"127.0.0.1:9180\" or \"[::]:443\"",
        "a sequence" => LIST,
        _ if base.starts_with("struct ") || base == "a map" => TABLE,
        _ => return wrong(NO_FIT, &format!("write {expected}")),
    };
    wrong(NO_FIT, &format!("{remedy}{unlimited}"))
}

/// The remedy in the form that `key` takes.
pub(super) fn form(key: &str, remedy: String) -> String {
    match (remedy.as_str(), key) {
        (LIST, "certificate" | "rule" | "profile" | "volume") => format!("write [[…{key}]], once for each"),
        (LIST, _) => "write a list: [\"…\"]".to_owned(),
        (TABLE, key) if SECTIONS.contains(&key) => format!("write [{key}], once"),
        (TABLE, _) => "write a table: { … = \"…\" }".to_owned(),
        _ => remedy,
    }
}

/// The key that was meant, or all that there are.
pub(super) fn unknown_remedy(key: &str, known: &[String]) -> String {
    let distances = known.iter().map(|candidate| (distance(key, candidate), candidate));
    let near = distances.filter(|(distance, candidate)| *distance <= candidate.chars().count().div_ceil(3));
    match near.min_by_key(|(distance, _)| *distance) {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("the keys here are {}", known.join(", ")),
    }
}

/// The names between backticks.
fn quoted(list: &str) -> Vec<String> {
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

pub(super) const NO_FIT: &str = "not a value of the right kind";
/// Sections that stand once.
pub(super) const SECTIONS: [&str; 10] =
    ["public", "listen", "session", "api", "admin", "store", "spawner", "hub_api", "forward", "log"];

const LIST: &str = "list";
const TABLE: &str = "table";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_repeats_a_value() {
        for message in [
            "invalid type: string \"hunter2\", expected struct Provider",
            "invalid type: integer `4711`, expected a string",
            "invalid type: string \"x, expected hunter2\", expected a boolean",
            "invalid value: integer `4711`, expected u64, or \"unlimited\"",
            "unknown variant `hunter2`, expected `token` or `hub`",
            "unknown variant `hunter2, expected `4711``, expected `token` or `hub`",
            "relative URL without a base: \"hunter2\"",
            "unknown field `hunter2`, expected `a` or `b`",
        ] {
            let reason = format!("{:?}", Reason::of(message));
            assert!(!reason.contains("hunter2") && !reason.contains("4711"), "{message} → {reason}");
        }
    }

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        let known = ["client_id", "client_secret", "issuer", "scopes"].map(str::to_owned);
        for (key, meant) in
            [("isuer", "issuer"), ("client-id", "client_id"), ("scope", "scopes"), ("clientid", "client_id")]
        {
            assert_eq!(unknown_remedy(key, &known), format!("did you mean `{meant}`?"));
        }
        assert_eq!(
            unknown_remedy("realm", &known),
            "the keys here are client_id, client_secret, issuer, scopes"
        );
    }
}
