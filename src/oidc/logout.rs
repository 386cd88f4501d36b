//! Logout at the provider.

use url::Url;

use super::exchange::refusal;
use super::http::place;
use super::{Detail, OidcError, Provider};
use crate::secret::Secret;

impl Provider {
    /// Where to send a browser to end its session at the provider (OpenID Connect RP-Initiated Logout 1.0), to come
    /// back to `return_to`, with `state`. `None` when the provider has no such place.
    pub fn logout_url(&self, id_token: Option<&Secret>, return_to: &Url, state: Option<&str>) -> Option<Url> {
        let known = self.0.known.load();
        let found = || known.as_ref().and_then(|known| known.logout.as_ref());
        let mut url = self.0.logout_url.as_ref().or_else(found)?.clone();
        url.query_pairs_mut()
            .append_pair("client_id", &self.0.client.id)
            .append_pair("post_logout_redirect_uri", return_to.as_str())
            .extend_pairs(state.map(|state| ("state", state)));
        let Some(id_token) = id_token else { return Some(url) };
        let mut hinted = url.clone();
        hinted.query_pairs_mut().append_pair("id_token_hint", id_token.expose());
        // Without it the provider asks the user first; with one that is too long it would answer with an error.
        Some(if hinted.as_str().len() > LONGEST { url } else { hinted })
    }

    /// Takes a refresh token back (RFC 7009), and what it allows with it: an offline token outlives the provider's
    /// session. Does nothing at a provider that does not say where.
    pub async fn revoke(&self, refresh_token: &Secret) -> Result<(), OidcError> {
        let known = self.known().await?;
        let Some(url) = &known.revocation else { return Ok(()) };
        let parameters = [("token", refresh_token.expose()), ("token_type_hint", "refresh_token")];
        let response = Box::pin(self.0.http.call(self.authenticated(&known, url, &parameters)?)).await?;
        if response.status().is_success() {
            return Ok(());
        }
        let fields = serde_json::from_slice(response.body()).ok();
        Err(fields.as_ref().and_then(refusal).unwrap_or_else(|| {
            OidcError::unreachable(place(url), Detail(format!("it answers {}", response.status())))
        }))
    }
}

/// Keycloak on Quarkus has answered request lines of more than 4096 bytes with 414 (keycloak/keycloak 14613).
const LONGEST: usize = 4000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config;
    use crate::secret::SecretSource;

    fn provider(logout_url: Option<&str>) -> Provider {
        let url = |text: &str| Url::parse(text).unwrap();
        let secret = SecretSource::Env("NONE".to_owned());
        let config = config::Provider {
            issuer: None,
            authorize_url: Some(url("https://kc.example/auth")),
            token_url: Some(url("https://kc.example/token")),
            userdata_url: Some(url("https://kc.example/me")),
            logout_url: logout_url.map(url),
            ..config::Provider::of_issuer("", "hub & co", secret)
        };
        Provider::new(&config, url("https://hub.example/cb"), Secret::new("s"), Clock::manual(0)).unwrap()
    }

    #[test]
    fn the_browser_comes_back_from_the_provider() {
        let back = Url::parse("https://hub.example/hub/logout").unwrap();
        assert_eq!(provider(None).logout_url(None, &back, None), None);
        let url = provider(Some("https://kc.example/end?x=1")).logout_url(
            Some(&Secret::new("a.b.c")),
            &back,
            Some("s&t"),
        );
        assert_eq!(
            url.unwrap().as_str(),
            "https://kc.example/end?x=1&client_id=hub+%26+co&post_logout_redirect_uri=https%3A%2F%2Fhub.example%2Fhub%2Flogout&state=s%26t&id_token_hint=a.b.c"
        );
    }

    #[test]
    fn a_token_that_is_too_long_for_a_url_is_left_out() {
        let back = Url::parse("https://hub.example/").unwrap();
        let long = Secret::new("x".repeat(30_000));
        let url = provider(Some("https://kc.example/end")).logout_url(Some(&long), &back, Some("s")).unwrap();
        assert!(url.as_str().len() < LONGEST && !url.as_str().contains("id_token_hint"));
        assert!(url.as_str().contains("state=s"));
    }
}
