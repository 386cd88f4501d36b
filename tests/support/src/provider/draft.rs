//! Tokens that a test makes up, by the provider's own keys or by others.

use aws_lc_rs::hmac;
use serde_json::{Map, Value, json};

use super::keys::SigningKey;
use super::tokens::jws;
use super::{Provider, User, random};
use crate::client::{Answer, Client};

/// A token as Keycloak makes it, until it is changed.
#[derive(Clone)]
pub struct Draft {
    provider: Provider,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: Signed,
}

/// How a draft is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// As it should be.
    Well,
    /// By the same key, as PS256.
    Ps256,
    /// With the name of the provider's key, by another.
    ByAnotherKey,
    /// By a key, and with a name, that nobody knows.
    ByAnUnknownKey,
    /// Algorithm `none`, and no signature.
    ByNobody,
    /// Without a signature.
    Not,
    /// HS256 with the client's secret.
    BySecret,
    /// HS256 with the public key.
    ByPublicKey,
}

impl Provider {
    /// A logout token about a session, or about all of the current user's.
    pub fn logout_token(&self, sid: Option<&str>) -> Draft {
        let now = self.now();
        let mut claims = json!({
            "iat": now, "exp": now + 120, "jti": random(), "iss": self.issuer(), "aud": Self::CLIENT_ID,
            "sub": self.state().user.claims.get("sub"), "typ": "Logout",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        if let Some(sid) = sid {
            claims["sid"] = sid.into();
        }
        self.draft("logout+jwt", claims)
    }

    /// An access token of the current user, as the client `azp` gets it where an audience mapper puts us into it.
    pub fn access_token_for(&self, azp: &str) -> Draft {
        let now = self.now();
        let User { claims } = self.state().user.clone();
        let mut all = Value::Object(claims);
        let own = json!({
            "exp": now + 300, "iat": now, "auth_time": now - 10, "jti": format!("onrtac:{}", random()),
            "iss": self.issuer(), "aud": [Self::CLIENT_ID, "account"], "typ": "Bearer", "azp": azp, "sid": random(),
            "acr": "1", "scope": "openid profile email",
        });
        for (name, value) in own.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.draft("JWT", all)
    }

    /// An access token of a client's own: its service account's.
    pub fn service_account_token(&self, azp: &str) -> Draft {
        let mut draft = self
            .access_token_for(azp)
            .claim("preferred_username", format!("service-account-{azp}"))
            .claim("client_id", azp)
            .claim("clientHost", "192.0.2.1")
            .claim("clientAddress", "192.0.2.1")
            .claim("sub", random());
        for name in ["sid", "auth_time", "name", "given_name", "family_name", "email"] {
            draft = draft.without(name);
        }
        draft
    }

    /// What userinfo says of the current user, as a token: Keycloak's *User info signed response algorithm*.
    pub fn signed_userinfo(&self) -> Draft {
        let User { mut claims } = self.state().user.clone();
        claims.retain(|name, _| name != "realm_access" && name != "resource_access");
        claims.insert("iss".to_owned(), self.issuer().into());
        claims.insert("aud".to_owned(), Self::CLIENT_ID.into());
        self.draft("JWT", Value::Object(claims))
    }

    fn draft(&self, kind: &str, claims: Value) -> Draft {
        let mut header = self.header();
        header["typ"] = kind.into();
        Draft {
            provider: self.clone(),
            header: header.as_object().unwrap().clone(),
            claims: claims.as_object().unwrap().clone(),
            signed: Signed::Well,
        }
    }
}

impl Draft {
    /// With another value of a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Without a claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// With another value of a member of the header; `null` takes it away.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self.header.retain(|_, value| !value.is_null());
        self
    }

    /// Signed in another way.
    #[must_use]
    pub fn signed(mut self, signed: Signed) -> Self {
        self.signed = signed;
        self
    }

    /// The token.
    pub fn token(&self) -> String {
        let mut header = Value::Object(self.header.clone());
        let key = self.provider.signing_key();
        let mac = |secret: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes()).as_ref().to_vec()
        };
        match self.signed {
            Signed::Well => jws(&header, &self.claims, |text| key.sign(text)),
            Signed::Ps256 => {
                header["alg"] = "PS256".into();
                jws(&header, &self.claims, |text| key.sign_pss(text))
            }
            Signed::ByAnotherKey => jws(&header, &self.claims, |text| SigningKey::generate().sign(text)),
            Signed::ByAnUnknownKey => {
                header["kid"] = random().into();
                jws(&header, &self.claims, |text| SigningKey::generate().sign(text))
            }
            Signed::ByNobody => {
                header["alg"] = "none".into();
                jws(&header, &self.claims, |_| Vec::new())
            }
            Signed::Not => jws(&header, &self.claims, |_| Vec::new()),
            Signed::BySecret => {
                header["alg"] = "HS256".into();
                jws(&header, &self.claims, |text| mac(Provider::CLIENT_SECRET.as_bytes(), text))
            }
            Signed::ByPublicKey => {
                header["alg"] = "HS256".into();
                jws(&header, &self.claims, |text| mac(&key.public(), text))
            }
        }
    }

    /// Sends it as a logout token, as the provider does: a form, by nobody whom the hub knows.
    pub async fn post(&self, hub: &Client, target: &str) -> Answer {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let body = body.append_pair("logout_token", &self.token()).finish();
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"),
            ("User-Agent", "Apache-HttpClient/4.5.14 (Java/21.0.5)"),
        ];
        hub.fresh().send("POST", target, &headers, body.as_bytes()).await
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft")
            .field("claims", &self.claims)
            .field("signed", &self.signed)
            .finish_non_exhaustive()
    }
}
