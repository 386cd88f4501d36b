//! What a request's `Authorization` is: a token of ours, one of a provider, or nothing that concerns the hub. Pure.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

use super::refusal::Refusal;
use crate::token::ApiTokens;

/// What a client shows beside its cookies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// Nothing that is for the hub: no field, another scheme (Basic is never a session), or a token of the workspace's
    /// own, which its pages send.
    None,
    /// Says that it is an API token of this hub.
    ApiToken(&'a str),
    /// Has the form of a provider's access token.
    Jwt(&'a str),
}

impl<'a> Credential<'a> {
    /// Reads it. Two of them are none: which one counts must not depend on who reads.
    pub(super) fn find(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let mut fields = headers.get_all(AUTHORIZATION).into_iter();
        let first = fields.next().map_or(Self::None, Self::parse);
        let mut rest = fields.map(Self::parse).peekable();
        if rest.peek().is_none() {
            return Ok(first);
        }
        let concerns_us = first != Self::None || rest.any(|other| other != Self::None);
        if concerns_us { Err(Refusal::BadRequest("more than one Authorization")) } else { Ok(Self::None) }
    }

    fn parse(field: &'a HeaderValue) -> Self {
        let Some((scheme, token)) = field.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return Self::None;
        };
        if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("token") {
            return Self::None;
        }
        let token = token.trim();
        if token.starts_with(ApiTokens::PREFIX) {
            Self::ApiToken(token)
        } else if token.starts_with("ey") && token.bytes().filter(|b| *b == b'.').count() == 2 {
            // The header of every JWT is a JSON object in base64url.
            Self::Jwt(token)
        } else {
            Self::None
        }
    }
}

/// Whether a request to the API shows a token in JupyterHub's form, `Authorization: token …`. Its clients know 403 for one
/// that is not good, and take 401 for the hub's own failure; OAuth's say `Bearer`, and wait for 401 (RFC 6750 section 3.1).
pub(super) fn as_at_jupyterhub(path: &str, headers: &HeaderMap) -> bool {
    let below = path.strip_prefix("/hub/api").filter(|below| below.is_empty() || below.starts_with('/'));
    let field = below.and_then(|_| headers.get(AUTHORIZATION)?.to_str().ok());
    field.and_then(|field| field.split(' ').next()).is_some_and(|scheme| scheme.eq_ignore_ascii_case("token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&str]) -> HeaderMap {
        fields.iter().map(|field| (AUTHORIZATION, HeaderValue::from_str(field).unwrap())).collect()
    }

    #[test]
    fn only_tokens_are_looked_at() {
        for (field, expected) in [
            ("Bearer hubgate_x", Credential::ApiToken("hubgate_x")),
            ("token hubgate_x", Credential::ApiToken("hubgate_x")),
            ("TOKEN  hubgate_x ", Credential::ApiToken("hubgate_x")),
            ("Bearer eyJh.eyJp.c2ln", Credential::Jwt("eyJh.eyJp.c2ln")),
            ("Basic aHViZ2F0ZV94", Credential::None),
            ("Basic hubgate_x", Credential::None),
            ("token 0123456789abcdef", Credential::None),
            ("Bearer eyJh.eyJp", Credential::None),
            ("Bearer", Credential::None),
            ("hubgate_x", Credential::None),
            ("", Credential::None),
        ] {
            assert_eq!(Credential::find(&headers(&[field])).unwrap(), expected, "{field:?}");
        }
        assert_eq!(Credential::find(&headers(&[])).unwrap(), Credential::None);
    }

    #[test]
    fn two_credentials_are_refused_when_one_is_for_the_hub() {
        assert!(Credential::find(&headers(&["token hubgate_x", "token hubgate_y"])).is_err());
        assert!(Credential::find(&headers(&["Basic x", "token hubgate_y"])).is_err());
        assert!(Credential::find(&headers(&["Bearer eyJh.eyJp.c2ln", "token own"])).is_err());
        assert_eq!(Credential::find(&headers(&["Basic x", "token own"])).unwrap(), Credential::None);
    }
}
