//! Who it is: the ID token, with what userinfo and the access token add.

use serde_json::{Map, Value};
use tracing::debug;

use super::claims::{Expected, Occasion, check_access_token, merge, session, subject};
use super::discovery::Known;
use super::jwt::Jwt;
use super::keys::{Keys, Source};
use super::{OidcError, Provider};
use crate::identity::Identity;

impl Provider {
    /// Who the ID token says it is, with what userinfo and the access token add.
    pub(super) async fn identity(
        &self,
        known: &Known,
        keys: &Keys,
        occasion: Occasion<'_>,
        id_token: &str,
        access_token: &str,
    ) -> Result<Identity, OidcError> {
        let jwt = Jwt::parse(id_token)?;
        // `logout+jwt` and `at+jwt` are signed by the same keys.
        if !matches!(jwt.media_type().as_deref(), None | Some("jwt")) {
            return Err(OidcError::untrusted("its ID token is a token of another kind", jwt.media_type()));
        }
        let verified = keys.verify(&jwt, Source::Provider, &self.0.http, &self.0.clock).await?;
        self.expected(known).check(&verified.claims)?;
        occasion.check(&verified.claims)?;
        check_access_token(&verified, access_token)?;
        let subject = subject(&verified.claims)?.to_owned();
        let sid = session(&verified.claims);
        let mut claims = verified.claims;
        if let Some(userinfo) = self.userinfo_of(known, &subject, access_token).await? {
            claims = merge(claims, userinfo);
        }
        for (name, value) in self.own_access_token(known, keys, &subject, access_token).await? {
            if ROLES.contains(&name.as_str()) {
                claims.entry(name).or_insert(value);
            }
        }
        Ok(Identity { issuer: known.issuer.clone(), subject, sid, claims })
    }

    /// OAuth 2.0 without OpenID Connect: whose access token it is, is all there is to know.
    pub(super) async fn identity_by_userinfo(
        &self,
        known: &Known,
        access_token: &str,
    ) -> Result<Identity, OidcError> {
        let claims = match &known.userinfo {
            Some(userinfo) => self.userinfo(known, userinfo, access_token).await?,
            None => Map::new(),
        };
        let subject = subject(&claims)?.to_owned();
        Ok(Identity { issuer: known.issuer.clone(), subject, sid: None, claims })
    }

    /// The claims of an access token that is for us. Keycloak writes roles there only, unless it is told otherwise. They
    /// count if the token is signed by the same keys, for us, about the same person. Anything else is another service's
    /// business: then there are none.
    pub(super) async fn own_access_token(
        &self,
        known: &Known,
        keys: &Keys,
        subject: &str,
        access_token: &str,
    ) -> Result<Map<String, Value>, OidcError> {
        let expected = self.expected(known);
        let ours = |claims: &Map<String, Value>| {
            let is = |name: &str, wanted: &str| claims.get(name).and_then(Value::as_str) == Some(wanted);
            is("typ", "Bearer")
                && is("azp", expected.client)
                // Lightweight tokens have no `sub`.
                && (is("sub", subject) || !claims.contains_key("sub"))
                && expected.check_issuer(claims).is_ok()
                && expected.check_time(claims).is_ok()
                && expected.check_age(claims).is_ok()
        };
        // Keys are not looked for in the name of a token that is for others.
        let jwt = Jwt::parse(access_token).ok().filter(|jwt| ours(jwt.unverified()));
        let verified = match &jwt {
            Some(jwt) => keys.verify(jwt, Source::Provider, &self.0.http, &self.0.clock).await,
            None => Err(OidcError::untrusted("its access token is for others", None)),
        };
        match verified {
            Ok(verified) => Ok(verified.claims),
            Err(OidcError::Untrusted { what, .. }) => {
                debug!(what, "the access token says nothing about roles");
                Ok(Map::new())
            }
            // That it cannot be known now must not look like a loss of all roles.
            Err(error) => Err(error),
        }
    }

    /// What a token of this provider is compared with.
    pub(super) fn expected<'a>(&'a self, known: &'a Known) -> Expected<'a> {
        Expected {
            issuer: &known.issuer,
            client: &self.0.client.id,
            now: self.0.clock.now(),
            skew: self.0.skew,
            not_before: &self.0.not_before,
            trusted: &self.0.trusted_audiences,
        }
    }
}

/// What of an access token is about the person.
pub(super) const ROLES: [&str; 2] = ["realm_access", "resource_access"];
