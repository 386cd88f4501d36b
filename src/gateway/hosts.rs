//! The hub's own origins: the one that everybody knows, one for each provider that has a host of its own, and one for each
//! user where they have hosts of their own.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;
use url::Url;

use crate::config::UserDomain;
use crate::user::UserName;

/// One origin, in the forms that requests are compared with.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `https://hub.example`, without a slash.
    pub origin: String,
    /// `hub.example`, or with its port where that is not 443.
    pub host: String,
    /// The same, as a header value.
    pub host_value: HeaderValue,
    /// `hub.example`
    pub name: String,
    /// The same, to make addresses from.
    url: Url,
    /// The providers whose people may be here. What others vouch for means nothing here.
    pub providers: Arc<[Arc<str>]>,
    /// Of a user's own host: their label. Nothing but their servers is here.
    pub label: Option<Box<str>>,
}

/// All of them, the one that everybody knows first.
#[derive(Debug, Clone)]
pub struct Hosts {
    main: Origin,
    others: Vec<Origin>,
    users: Option<UserDomain>,
}

impl Origin {
    /// The part after the origin of an address that is here; else nothing.
    pub fn local<'a>(&self, address: &'a str) -> Option<&'a str> {
        if address.starts_with('/') {
            return Some(address);
        }
        address.strip_prefix(&self.origin).filter(|rest| rest.starts_with('/'))
    }

    /// Of a URL that is an origin.
    pub fn new(url: &Url, providers: impl Into<Arc<[Arc<str>]>>) -> Self {
        let name = url.host_str().unwrap_or_default().to_owned();
        let host = url.port().map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        Self {
            origin: url.origin().ascii_serialization(),
            host_value: HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("localhost")),
            host,
            name,
            url: url.clone(),
            providers: providers.into(),
            label: None,
        }
    }

    /// Host names have no case; a default port may be written out.
    pub(super) fn is_host(&self, authority: &str) -> bool {
        let written_out =
            || authority.strip_suffix(":443").is_some_and(|name| name.eq_ignore_ascii_case(&self.host));
        authority.eq_ignore_ascii_case(&self.host) || written_out()
    }

    /// The address of one of the hub's own pages.
    pub(super) fn page(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }
}

impl Hosts {
    /// The main one, the others, and below which names users have theirs.
    pub fn new(main: Origin, others: Vec<Origin>, users: Option<UserDomain>) -> Self {
        Self { main, others, users }
    }

    /// The one that everybody knows.
    pub(super) fn main(&self) -> &Origin {
        &self.main
    }

    /// The one that an authority names.
    pub(super) fn find(&self, authority: &str) -> Option<Cow<'_, Origin>> {
        let known = std::iter::once(&self.main).chain(&self.others).find(|origin| origin.is_host(authority));
        if let Some(known) = known {
            return Some(Cow::Borrowed(known));
        }
        let (name, port) =
            authority.split_once(':').map_or((authority, None), |(name, port)| (name, Some(port)));
        let written_out = port == Some("443") && self.main.url.port().is_none();
        let same_port = written_out || port == self.main.url.port().map(|port| port.to_string()).as_deref();
        self.user_at(name).filter(|_| same_port).map(Cow::Owned)
    }

    /// The one of this name, whatever its port.
    pub(super) fn named(&self, name: &str) -> Option<Cow<'_, Origin>> {
        let mut all = std::iter::once(&self.main).chain(&self.others);
        let known = all.find(|origin| origin.name.eq_ignore_ascii_case(name));
        known.map(Cow::Borrowed).or_else(|| self.user_at(name).map(Cow::Owned))
    }

    /// Whether users have hosts of their own.
    pub(super) fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// The one where this user's servers are, if users have their own.
    pub(super) fn of_user(&self, user: &UserName) -> Option<Origin> {
        self.below(user.label())
    }

    /// The user's host of this name.
    fn user_at(&self, name: &str) -> Option<Origin> {
        let (label, _) =
            name.split_once('.').filter(|_| self.users.as_ref().is_some_and(|users| users.covers(name)))?;
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if label.is_empty() || label.len() > 63 || !inner {
            return None;
        }
        self.below(label.to_ascii_lowercase())
    }

    fn below(&self, label: String) -> Option<Origin> {
        let name = format!("{label}.{}", self.users.as_ref()?.parent());
        let host = self.main.url.port().map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        let mut url = self.main.url.clone();
        url.set_host(Some(&name)).ok()?;
        Some(Origin {
            origin: format!("https://{host}"),
            host_value: HeaderValue::from_str(&host).ok()?,
            host,
            name,
            url,
            providers: Arc::clone(&self.main.providers),
            label: Some(label.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_host_in_whatever_way_it_is_written() {
        let hosts = |url: &str| {
            let users = UserDomain::try_from("*.hub.example".to_owned()).unwrap();
            Hosts::new(Origin::new(&Url::parse(url).unwrap(), vec![]), vec![], Some(users))
        };
        let found = |url: &str, authority: &str| {
            hosts(url)
                .find(authority)
                .map(|origin| (origin.origin.clone(), origin.label.as_deref().map(str::to_owned)))
        };
        let alice = ("https://alice.hub.example".to_owned(), Some("alice".to_owned()));
        for authority in ["alice.hub.example", "ALICE.Hub.example", "alice.hub.example:443"] {
            assert_eq!(found("https://hub.example", authority), Some(alice.clone()), "{authority}");
        }
        let own = ("https://hub.example".to_owned(), None);
        assert_eq!(found("https://hub.example", "hub.example"), Some(own));
        for authority in [
            "alice.hub.example:8443",
            "alice.hub.example.",
            ".hub.example",
            "a.alice.hub.example",
            "al%69ce.hub.example",
            "al ice.hub.example",
            "alice.hub.example:443:443",
            "alice.hub.example:",
            "al_ice.hub.example",
        ] {
            assert_eq!(found("https://hub.example", authority), None, "{authority}");
        }
        let port = ("https://alice.hub.example:8443".to_owned(), Some("alice".to_owned()));
        assert_eq!(found("https://hub.example:8443", "alice.hub.example:8443"), Some(port));
        assert_eq!(found("https://hub.example:8443", "alice.hub.example"), None);
        let user = UserName::parse("alice").unwrap();
        let of_user = hosts("https://hub.example:8443").of_user(&user).unwrap();
        assert_eq!(of_user.origin, "https://alice.hub.example:8443");
    }
}
