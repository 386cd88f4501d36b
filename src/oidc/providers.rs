//! All providers that people may sign in at, by their names in the configuration.

use std::sync::Arc;

use super::jwt::Jwt;
use super::{LogoutToken, LogoutTokenError, OidcError, Provider, bearer};

/// The providers, in the order of the configuration; a clone is another handle.
#[derive(Debug, Clone)]
pub struct Providers(Arc<[(Arc<str>, Provider)]>);

impl Providers {
    /// These, by name.
    pub fn new(providers: Vec<(Arc<str>, Provider)>) -> Self {
        Self(providers.into())
    }

    /// The provider of this name.
    pub fn find(&self, name: &str) -> Option<&Provider> {
        self.iter().find(|(known, _)| &***known == name).map(|(_, provider)| provider)
    }

    /// What people read for the provider of this name.
    pub fn title(&self, name: &str) -> Option<&str> {
        self.find(name)?.0.title.as_deref()
    }

    /// The name itself, if there is such a provider.
    pub fn name(&self, name: &str) -> Option<Arc<str>> {
        self.iter().find(|(known, _)| &***known == name).map(|(known, _)| Arc::clone(known))
    }

    /// The name of the first.
    pub fn first(&self) -> Option<Arc<str>> {
        self.0.first().map(|(name, _)| Arc::clone(name))
    }

    /// The provider that calls itself so, with its name.
    pub fn of_issuer(&self, issuer: &str) -> Option<(&Arc<str>, &Provider)> {
        self.iter().find(|(_, provider)| provider.is_called(issuer))
    }

    /// Verifies a logout token, whichever provider it says that it is from.
    pub async fn logout_token(&self, token: &str) -> Result<LogoutToken, LogoutTokenError> {
        let jwt = Jwt::parse(token).map_err(LogoutTokenError::Unverified)?;
        let Some((_, provider)) = jwt.claimed_issuer().and_then(|issuer| self.of_issuer(issuer)) else {
            let error = OidcError::untrusted("its logout token is from another issuer", None);
            return Err(LogoutTokenError::Unverified(error));
        };
        provider.logout_token(token).await
    }

    /// The one that an access token says it is from, true or not.
    pub fn named_by(&self, token: &str) -> Option<(&Arc<str>, &Provider)> {
        let issuer = bearer::issuer(token)?;
        // Also while it is away: what it issued is then refused for that reason.
        self.iter().find(|(_, provider)| provider.0.description.is_issuer(&issuer))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Provider)> {
        self.0.iter().map(|(name, provider)| (name, provider))
    }

    /// Whether anybody can sign in: at least one provider is known and its keys are.
    pub fn is_ready(&self) -> bool {
        self.iter().any(|(_, provider)| provider.is_ready())
    }
}
