//! Where to go after a login: a path on this hub and nowhere else.

use std::fmt;

use url::Url;

/// A path with its query that no browser reads as another site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalPath(String);

impl LocalPath {
    /// `None` for whatever a browser could resolve to another origin, now or after it was decoded once more.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let second = text.as_bytes().get(1);
        let sound = text.starts_with('/')
            && !matches!(second, Some(b'/' | b'\\'))
            && text.len() <= LONGEST
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        if !sound {
            return None;
        }
        // A base of our own stands for the public origin: what leaves it leaves that as well.
        let base = Url::parse("https://hub.invalid/").ok()?;
        let url = base.join(text).ok()?;
        let stays =
            url.origin() == base.origin() && !url.path().starts_with("//") && url.username().is_empty();
        // A browser encodes more than came, and asks for that the next time.
        let stays = stays && url.as_str().len() - base.as_str().len() < LONGEST;
        stays.then(|| Self(text.to_owned()))
    }

    /// The path, or `/`.
    pub(super) fn or_root(text: Option<&str>) -> Self {
        text.and_then(Self::parse).unwrap_or_else(|| Self("/".to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters of a path with its query.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_as_short_as_a_browser_would_make_it_long() {
        let path = |quotes: usize| format!("/?{}", "'".repeat(quotes));
        assert_eq!(LocalPath::parse(&path(4094)), None, "a quote in a query becomes three characters");
        assert!(LocalPath::parse(&path(1300)).is_some());
        assert!(LocalPath::parse(&format!("/{}", "a".repeat(4095))).is_some());
        assert_eq!(LocalPath::parse(&format!("/{}", "a".repeat(4096))), None);
    }

    #[test]
    fn an_open_redirect_is_refused() {
        for text in [
            "",
            "evil",
            "//evil.com",
            "/\\evil.com",
            "\\/evil.com",
            "///evil.com",
            "/\n/evil.com",
            "/\t/evil.com",
            "/ /evil.com",
            "/./\\evil.com",
            "/x\\evil.com",
            "/../\\evil.com",
            "/.//evil.com",
            "/..//evil.com",
            "/x/..//evil.com",
            "https://evil.com",
            "https:evil.com",
            "javascript:alert(1)",
            "https://hub.invalid//evil.com",
            "/a\r\nSet-Cookie: x=y",
            "/ü",
            " /x",
            "/x\0",
            "/\u{2028}",
        ] {
            assert_eq!(LocalPath::parse(text), None, "{text:?}");
        }
        for text in
            ["/", "/user/alice/lab?a=//b#c", "/;@evil.com", "/%2f%2fevil.com", "/%0a/evil.com", "/hub/home"]
        {
            assert_eq!(LocalPath::parse(text).map(|path| path.to_string()).as_deref(), Some(text));
        }
    }
}
