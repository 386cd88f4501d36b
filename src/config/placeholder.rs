//! Placeholders that name a claim of the provider: `{claim:email}`.

/// A part of a value that may have such placeholders in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it stands there.
    Text(&'a str),
    /// What the provider says: the claim's name.
    Claim(&'a str),
}

/// The parts of a value, in their order. A placeholder that does not end is text.
pub fn pieces(value: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while let Some((before, inside)) = rest.split_once(OPEN) {
        let Some((name, after)) = inside.split_once('}') else { break };
        pieces.push(Piece::Text(before));
        pieces.push(Piece::Claim(name));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    pieces
}

/// The names of the claims in a value.
pub fn claims_in(value: &str) -> impl Iterator<Item = &str> {
    pieces(value).into_iter().filter_map(|piece| match piece {
        Piece::Claim(name) => Some(name),
        Piece::Text(_) => None,
    })
}

/// Whether every placeholder in the value ends, and names a claim.
pub(super) fn is_whole(value: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'"');
    pieces(value).into_iter().all(|piece| match piece {
        Piece::Text(text) => !text.contains(OPEN),
        Piece::Claim(name) => (1..=MOST_BYTES).contains(&name.len()) && name.bytes().all(letter),
    })
}

/// How a placeholder begins.
pub(super) const OPEN: &str = "{claim:";
/// The longest name of a claim.
const MOST_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_texts_and_claims() {
        use Piece::{Claim, Text};
        assert_eq!(pieces(""), []);
        assert_eq!(pieces("{port}"), [Text("{port}")]);
        assert_eq!(pieces("{claim:email}"), [Claim("email")]);
        let both = [Claim("given_name"), Text(" "), Claim("family_name"), Text("!")];
        assert_eq!(pieces("{claim:given_name} {claim:family_name}!"), both);
        assert_eq!(pieces("x{claim:email"), [Text("x{claim:email")]);
        assert_eq!(claims_in("{claim:a}{claim:b}").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_placeholder_that_names_no_claim_is_noticed() {
        for whole in ["", "{port}", "{claim:email}", "a {claim:https://lab.example/unit} b"] {
            assert!(is_whole(whole), "{whole}");
        }
        let long = format!("{{claim:{}}}", "x".repeat(129));
        for odd in ["{claim:}", "{claim:email", "{claim:a b}", "{claim:{username}}", "{claim:é}", &long] {
            assert!(!is_whole(odd), "{odd}");
        }
    }
}
