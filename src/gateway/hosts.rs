//! The hub's own origins: the one that everybody knows, and one for each provider that has a host of its own.

use std::sync::Arc;

use http::HeaderValue;
use url::Url;

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
    /// The providers that people may sign in at here. What others vouch for means nothing here.
    pub providers: Vec<Arc<str>>,
}

/// All of them, the one that everybody knows first.
#[derive(Debug, Clone)]
pub struct Hosts {
    main: Origin,
    others: Vec<Origin>,
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
    pub fn new(url: &Url, providers: Vec<Arc<str>>) -> Self {
        let name = url.host_str().unwrap_or_default().to_owned();
        let host = url.port().map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        Self {
            origin: url.origin().ascii_serialization(),
            host_value: HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("localhost")),
            host,
            name,
            url: url.clone(),
            providers,
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
    /// The main one, and the others.
    pub fn new(main: Origin, others: Vec<Origin>) -> Self {
        Self { main, others }
    }

    /// The one that everybody knows.
    pub(super) fn main(&self) -> &Origin {
        &self.main
    }

    /// The one that an authority names.
    pub(super) fn find(&self, authority: &str) -> Option<&Origin> {
        std::iter::once(&self.main).chain(&self.others).find(|origin| origin.is_host(authority))
    }

    /// The one of this name, whatever its port.
    pub(super) fn named(&self, name: &str) -> Option<&Origin> {
        let mut all = std::iter::once(&self.main).chain(&self.others);
        all.find(|origin| origin.name.eq_ignore_ascii_case(name))
    }
}
