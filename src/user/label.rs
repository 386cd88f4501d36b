//! User names as labels of DNS: `alice.hub.example.org`.

use std::borrow::Cow;

use aws_lc_rs::digest;

/// Whether `label` is the one of this user, by their name in its normal form.
///
/// A name that is a label is written as it is. Any other becomes `u-<what of it fits>--<half its SHA-256>`: no name that is
/// a label has two hyphens in a row, and so none is taken for another's.
pub fn is_label_of(label: &str, name: &str) -> bool {
    of(name) == label
}

pub(super) fn of(name: &str) -> Cow<'_, str> {
    if is_label(name) { Cow::Borrowed(name) } else { Cow::Owned(made(name)) }
}

/// In lower case, as names are: host names have none.
fn is_label(name: &str) -> bool {
    let inner = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (1..=LONGEST).contains(&name.len())
        && inner
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

fn made(name: &str) -> String {
    let mut start = String::new();
    for c in name.chars() {
        if start.len() >= READABLE {
            break;
        }
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            start.push(c);
        } else if !start.is_empty() && !start.ends_with('-') {
            start.push('-');
        }
    }
    let start = start.trim_end_matches('-');
    let start = if start.is_empty() { "x" } else { start };
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let half = hash.as_ref().iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("u-{start}--{half}")
}

/// Of a label (RFC 1035 section 2.3.4).
const LONGEST: usize = 63;

/// With `u-`, `--` and 32 digits this fits.
const READABLE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_label_and_no_two_are_one() {
        assert_eq!(of("alice"), "alice");
        assert_eq!(of("anna-b"), "anna-b");
        assert_eq!(of("0000-0002-1825-0097"), "0000-0002-1825-0097");
        assert_eq!(of("anna@epfl.ch"), "u-anna-epfl-ch--974c535aa749c0b81b7aca7c2104efa2");
        let long = "a".repeat(64);
        let names = [
            "a",
            "a.b",
            "a-b",
            "a_b",
            "a--b",
            "a@b",
            "a+b",
            "jan.müller",
            "日本",
            "_",
            "a b",
            &long,
            "xn--a",
            "u-a--b",
        ];
        let labels: std::collections::BTreeSet<_> = names.iter().map(|name| of(name).into_owned()).collect();
        assert_eq!(labels.len(), names.len());
        for label in labels {
            let sound = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(
                sound && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-'),
                "{label}"
            );
            // Labels that mean another alphabet (RFC 5890 section 2.3.1) are none of ours.
            assert_ne!(label.get(2..4), Some("--"), "{label}");
        }
    }

    #[test]
    fn a_label_made_of_one_name_is_no_other_name() {
        let made = of("a.b").into_owned();
        assert!(is_label_of(&made, "a.b"));
        // Somebody who calls themselves so has another label.
        assert!(!is_label_of(&made, &made));
        assert!(!is_label_of("a-b", "a.b") && is_label_of("a-b", "a-b"));
    }
}
