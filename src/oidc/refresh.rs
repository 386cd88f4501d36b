//! Refreshing (OpenID Connect Core 1.0, section 12): new tokens, and what the provider says of the person now.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::claims::{Occasion, merge, time};
use super::discovery::Known;
use super::exchange::TokenResponse;
use super::keys::Keys;
use super::person::ROLES;
use super::{OidcError, Provider, Tokens};
use crate::identity::Identity;

impl Provider {
    /// Uses the refresh token of a session: who it is now, and the tokens from now on.
    ///
    /// Claims are what the provider says this time: a role that it does not repeat is lost. `Refused` with
    /// `invalid_grant` is the end of the session there; all else is trouble that may pass. `Interrupted` has tokens
    /// that must be kept. To be called once at a time for a session, and not to be given up while it waits: a refresh
    /// token may count only once (RFC 9700 section 4.14.2).
    pub async fn refresh(
        &self,
        identity: &Identity,
        tokens: &Tokens,
    ) -> Result<(Identity, Tokens), OidcError> {
        let refresh_token = tokens.refresh_token.as_ref().ok_or_else(|| OidcError::Settings {
            what: "it gave no refresh token".to_owned(),
            source: None,
        })?;
        let known = self.known().await?;
        // The token is another's secret.
        if identity.issuer != known.issuer {
            return Err(OidcError::Mismatch("it began at another provider"));
        }
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
        let response = self.exchange(&known, &grant, Some(&identity.subject)).await?;
        let person = Box::pin(self.person_now(&known, identity, tokens, &response)).await;
        let claims = person.as_ref().ok().map(|person| &person.claims);
        let issued = self.issued(claims.filter(|_| known.keys.is_some() && response.id_token.is_some()));
        let mut renewed = response.tokens(issued);
        // RFC 6749 section 6: what is not given anew stays.
        if renewed.refresh_token.is_none() {
            renewed.refresh_token.clone_from(&tokens.refresh_token);
            renewed.refresh_expires = renewed.refresh_expires.or(tokens.refresh_expires);
        }
        if renewed.id_token.is_none() {
            renewed.id_token.clone_from(&tokens.id_token);
        }
        match person {
            Ok(person) => Ok((person, renewed)),
            // Tokens for somebody else, or of another's making, are not to be kept.
            Err(error @ OidcError::Untrusted { .. }) => Err(error),
            Err(error) => {
                // Nobody has been vouched for.
                renewed.issued = tokens.issued;
                Err(OidcError::Interrupted { tokens: Box::new(renewed), source: Arc::new(error) })
            }
        }
    }

    async fn person_now(
        &self,
        known: &Known,
        before: &Identity,
        tokens: &Tokens,
        response: &TokenResponse,
    ) -> Result<Identity, OidcError> {
        let access_token = response.access_token.expose();
        let Some(keys) = &known.keys else {
            let person = self.identity_by_userinfo(known, access_token).await?;
            if person.subject != before.subject {
                return Err(OidcError::untrusted("its userinfo is about somebody else", None));
            }
            return Ok(person);
        };
        let mut person = match &response.id_token {
            Some(id_token) => {
                let occasion = Occasion::Refresh { before, issued: tokens.issued };
                self.identity(known, keys, occasion, id_token.expose(), access_token).await?
            }
            None => self.identity_without_id_token(known, keys, before, access_token).await?,
        };
        keep_login(&mut person, before);
        Ok(person)
    }

    /// A provider need not repeat the ID token (section 12.2). What it said is not carried on, roles least of all.
    async fn identity_without_id_token(
        &self,
        known: &Known,
        keys: &Keys,
        before: &Identity,
        access_token: &str,
    ) -> Result<Identity, OidcError> {
        let userinfo = self.userinfo_of(known, &before.subject, access_token).await?;
        let own = self.own_access_token(known, keys, &before.subject, access_token).await?;
        if userinfo.is_none() && own.is_empty() {
            return Err(OidcError::untrusted("nothing in its answer says who it is", None));
        }
        let mut claims: Map<String, Value> = Map::new();
        claims.insert("iss".to_owned(), known.issuer.as_str().into());
        claims.insert("sub".to_owned(), before.subject.as_str().into());
        let mut claims = merge(claims, userinfo.unwrap_or_default());
        for (name, value) in own {
            if ROLES.contains(&name.as_str()) {
                claims.entry(name).or_insert(value);
            } else if OF_THE_LOGIN.contains(&name.as_str()) {
                claims.insert(name, value);
            }
        }
        Ok(Identity {
            issuer: known.issuer.clone(),
            subject: before.subject.clone(),
            sid: before.sid.clone(),
            claims,
        })
    }
}

/// What the session rests on is the login that it began with, however often it is refreshed.
fn keep_login(person: &mut Identity, before: &Identity) {
    person.sid = person.sid.take().or_else(|| before.sid.clone());
    for name in ["sid", "nonce"] {
        if let (false, Some(value)) = (person.claims.contains_key(name), before.claims.get(name)) {
            person.claims.insert(name.to_owned(), value.clone());
        }
    }
    // A later one is of a login for another client.
    if let (Ok(Some(_)), Some(value)) = (time(&before.claims, "auth_time"), before.claims.get("auth_time")) {
        person.claims.insert("auth_time".to_owned(), value.clone());
    }
}

/// What an access token says of how the person signed in.
const OF_THE_LOGIN: [&str; 3] = ["acr", "amr", "auth_time"];
