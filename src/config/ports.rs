//! `profile.ports`: which ports of a workspace are reached by `/user/<name>/proxy/<port>/`.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A set of TCP ports: none, some, or any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

/// `"8050"` or `"8500-8599"`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse().ok().filter(|port| *port > 0);
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    (first <= last).then_some(first..=last)
}

const WRONG: &str = "not a set of ports; write \"any\", or numbers and ranges: [8050, \"8500-8599\"]";

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Set)
    }
}

struct Set;

impl<'de> Visitor<'de> for Set {
    type Value = Ports;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"any\", or numbers and ranges of ports")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
        if text == "any" { Ok(Ports(vec![1..=u16::MAX])) } else { Err(E::custom(WRONG)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ports, A::Error> {
        let mut ranges = Vec::new();
        while let Some(Entry(range)) = list.next_element()? {
            ranges.push(range);
        }
        Ok(Ports(ranges))
    }
}

struct Entry(RangeInclusive<u16>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port or a range of ports")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Entry, E> {
                let port = u16::try_from(number).ok().filter(|port| *port > 0);
                port.map(|port| Entry(port..=port)).ok_or_else(|| E::custom(WRONG))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                range(text).map(Entry).ok_or_else(|| E::custom(WRONG))
            }
        }
        deserializer.deserialize_any(One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Held {
        ports: Ports,
    }

    fn read(text: &str) -> Option<Ports> {
        toml::from_str::<Held>(&format!("ports = {text}")).ok().map(|held| held.ports)
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        let ports = read("[8050, \"8500-8599\"]").unwrap();
        let inside = [8050, 8500, 8599].map(|port| ports.contains(port));
        let outside = [0, 80, 8049, 8051, 8600, 65535].map(|port| ports.contains(port));
        assert_eq!((inside, outside), ([true; 3], [false; 6]));
        assert!(read("\"any\"").unwrap().contains(65535) && !read("\"any\"").unwrap().contains(0));
        assert!(read("[]").unwrap().is_empty());
        for wrong in
            ["\"all\"", "[0]", "[65536]", "[-1]", "[\"9-8\"]", "[\"x\"]", "8050", "[\"1-\"]", "[1.5]"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
