//! Keycloak's Admin REST API, as far as registering a client needs it.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::client::Object;
use crate::oidc::OidcError;
use crate::oidc::probe::{Probe, reason};
use crate::secret::Secret;

/// One realm's administration, with an administrator's token.
#[derive(Debug)]
pub(super) struct Admin<'a> {
    probe: &'a Probe,
    /// `https://host/admin/realms/lab`
    realm: Url,
    bearer: HeaderValue,
}

/// A client or its mappers cannot be registered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Only Keycloak can be told to register a client.
    #[error("{issuer} is not a realm of Keycloak: it has no administration that could be asked")]
    NotKeycloak {
        /// The issuer.
        issuer: String,
    },
    /// It does not answer, or may not be asked.
    #[error("cannot ask Keycloak's administration")]
    Unreachable(#[source] OidcError),
    /// 401.
    #[error("Keycloak does not take the token at {address}")]
    Token {
        /// Where.
        address: String,
    },
    /// The token holds what no token can.
    #[error("what was given as the administrator's token is none")]
    NoToken,
    /// 403.
    #[error("the token may not {what} at {address}")]
    Forbidden {
        /// What was tried.
        what: &'static str,
        /// Where.
        address: String,
    },
    /// 404, for the realm as a whole.
    #[error("there is no administration of this realm at {address}")]
    Realm {
        /// Where.
        address: String,
    },
    /// 409.
    #[error("Keycloak has the same already{}", said(reason.as_deref()))]
    Conflict {
        /// Its words.
        reason: Option<String>,
    },
    /// The client is another kind of client.
    #[error("the client {id} speaks {protocol}, not OpenID Connect")]
    OtherProtocol {
        /// The client.
        id: String,
        /// `saml`.
        protocol: String,
    },
    /// A client that was named is not there.
    #[error("there is no client {id} in the realm")]
    NoClient {
        /// The client.
        id: String,
    },
    /// Keycloak gives no secret for it.
    #[error("Keycloak gives no secret for the client {id}{}", said(reason.as_deref()))]
    NoSecret {
        /// The client.
        id: String,
        /// Why.
        reason: Option<String>,
    },
    /// Any other refusal.
    #[error("Keycloak does not {what}: it answers {status}{}", said(reason.as_deref()))]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        status: StatusCode,
        /// Its words.
        reason: Option<String>,
    },
    /// An answer that is not as Keycloak's.
    #[error("cannot understand what {address} answers")]
    Malformed {
        /// Where.
        address: String,
    },
}

impl AdminError {
    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotKeycloak { .. } => {
                "register the client by hand; without --register, all that it needs is printed"
            }
            Self::Unreachable(_) => {
                "see that Keycloak's administration can be reached from here (--admin-url, if it has an address of its own)"
            }
            Self::Token { .. } => {
                "get a new one right before: by default it lives one minute; it must come from this Keycloak, by the address that it calls its own"
            }
            Self::NoToken => "give the access token alone, or the JSON of the token endpoint's answer",
            Self::Forbidden { .. } => {
                "use the token of somebody with the role manage-clients of the client realm-management (or, in the realm master, of <realm>-realm)"
            }
            Self::Realm { .. } => {
                "compare the realm's name; if the administration has an address of its own, give it with --admin-url"
            }
            Self::Conflict { .. } => "run it again: somebody may have registered it meanwhile",
            Self::OtherProtocol { .. } => "choose another name with --client-id",
            Self::NoClient { .. } => "register it first, or correct --api-client and provider.api_clients",
            Self::NoSecret { .. } => "look at the client's Credentials in Keycloak's console",
            Self::Refused { .. } => "read Keycloak's log; a client policy of the realm may forbid it",
            Self::Malformed { .. } => "see whether it is Keycloak that answers there, not a proxy's page",
        }
    }
}

impl<'a> Admin<'a> {
    /// Asks nothing yet.
    pub(super) fn new(probe: &'a Probe, realm: Url, token: &Secret) -> Result<Self, AdminError> {
        probe.check("the administration's address", &realm).map_err(AdminError::Unreachable)?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_private| AdminError::NoToken)?;
        bearer.set_sensitive(true);
        Ok(Self { probe, realm, bearer })
    }

    /// The client of this name.
    pub(super) async fn find(&self, client_id: &str) -> Result<Option<Object>, AdminError> {
        const WHAT: &str = "look for clients";
        let mut url = self.at(&["clients"]);
        url.query_pairs_mut().append_pair("clientId", client_id);
        let Reply { address, body, .. } = self.call(Method::GET, &url, None, WHAT).await?;
        let malformed = || AdminError::Malformed { address: address.clone() };
        let clients: Vec<Object> = serde_json::from_slice(&body).map_err(|_private| malformed())?;
        let is_it = |client: &Object| client.get("clientId").and_then(Value::as_str) == Some(client_id);
        Ok(clients.into_iter().find(is_it))
    }

    /// Makes a client with its mappers.
    pub(super) async fn create(&self, client: &Object) -> Result<(), AdminError> {
        let body = Value::Object(client.clone());
        self.call(Method::POST, &self.at(&["clients"]), Some(&body), "register the client").await.map(drop)
    }

    /// Changes a client. Keycloak merges attributes; what is not named stays.
    pub(super) async fn change(&self, id: &str, client: &Object) -> Result<(), AdminError> {
        let mut client = client.clone();
        // Mappers are changed one by one, and the secret not at all.
        for left_alone in ["protocolMappers", "secret", "access"] {
            client.remove(left_alone);
        }
        let url = self.at(&["clients", id]);
        self.call(Method::PUT, &url, Some(&Value::Object(client)), "change the client").await.map(drop)
    }

    /// Adds a mapper to a client.
    pub(super) async fn add_mapper(&self, id: &str, mapper: &Value) -> Result<(), AdminError> {
        let url = self.at(&["clients", id, "protocol-mappers", "models"]);
        self.call(Method::POST, &url, Some(mapper), "add a mapper").await.map(drop)
    }

    /// Changes a mapper of a client.
    pub(super) async fn change_mapper(&self, id: &str, mapper: &Value) -> Result<(), AdminError> {
        let own = mapper.get("id").and_then(Value::as_str).unwrap_or_default();
        let url = self.at(&["clients", id, "protocol-mappers", "models", own]);
        self.call(Method::PUT, &url, Some(mapper), "change a mapper").await.map(drop)
    }

    /// The client's secret.
    pub(super) async fn secret(&self, id: &str, client_id: &str) -> Result<Secret, AdminError> {
        let url = self.at(&["clients", id, "client-secret"]);
        let reply = self.call(Method::GET, &url, None, "read the client's secret").await?;
        let missing = |reason: Option<&str>| AdminError::NoSecret {
            id: client_id.to_owned(),
            reason: reason.map(str::to_owned),
        };
        let body: Value = serde_json::from_slice(&reply.body).map_err(|_private| missing(None))?;
        match body.get("value").and_then(Value::as_str) {
            Some(value) if value.starts_with("${vault.") => Err(missing(Some("it is in Keycloak's vault"))),
            Some(value) if !value.is_empty() && !value.contains(char::is_control) => Ok(Secret::new(value)),
            _ => Err(missing(None)),
        }
    }

    /// Segments are encoded, whatever Keycloak's ids are made of.
    fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.realm.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    async fn call(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
        what: &'static str,
    ) -> Result<Reply, AdminError> {
        let unusable = |_error| AdminError::Malformed { address: url.to_string() };
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(AUTHORIZATION, &self.bearer)
            .body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default())
            .map_err(unusable)?;
        if body.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let (head, body) = self.probe.call(request).await.map_err(AdminError::Unreachable)?.into_parts();
        let address = self.realm.to_string();
        let reason = reason(&body);
        match head.status {
            status if status.is_success() => Ok(Reply { address, body }),
            StatusCode::UNAUTHORIZED => Err(AdminError::Token { address }),
            StatusCode::FORBIDDEN => Err(AdminError::Forbidden { what, address }),
            StatusCode::NOT_FOUND if url.path().ends_with("/clients") => Err(AdminError::Realm { address }),
            StatusCode::CONFLICT => Err(AdminError::Conflict { reason }),
            status => Err(AdminError::Refused { what, status, reason }),
        }
    }
}

/// An answer that is a success.
struct Reply {
    address: String,
    body: Vec<u8>,
}

fn said(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}
