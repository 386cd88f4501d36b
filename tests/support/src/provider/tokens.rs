//! Tokens and keys.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::keys::SigningKey;
use super::{Grant, Lie, Provider, random};

impl Provider {
    /// The key set.
    pub(super) fn keys(&self) -> Value {
        let signing = self.state().keys.clone();
        let mut keys: Vec<Value> = signing.iter().map(|key| key.json(&key.name)).collect();
        let current = &signing[0];
        if self.lies(Lie::KeysEmpty) {
            keys.clear();
        }
        if self.lies(Lie::KeysJunk) {
            let mut encryption = current.json("encryption");
            encryption["use"] = "enc".into();
            encryption["alg"] = "RSA-OAEP".into();
            let mut junk = vec![
                encryption,
                json!({"kid": "unknown", "kty": "LATTICE", "x": "AAAA"}),
                json!({"kid": "base64", "kty": "RSA", "alg": "RS256", "use": "sig", "n": "!!!", "e": "AQAB"}),
                json!({"kid": "short", "kty": "RSA", "use": "sig", "n": URL_SAFE_NO_PAD.encode([0xff; 64]), "e": "AQAB"}),
                json!({"kty": "EC", "crv": "P-256", "use": "sig"}),
                json!("not a key"),
            ];
            junk.append(&mut keys);
            keys = junk;
        }
        if self.lies(Lie::KeysMany) {
            for _ in 0..2 {
                let other = SigningKey::generate();
                keys.insert(0, other.json(&other.name));
            }
        }
        if self.lies(Lie::KeysDuplicateName) {
            keys.insert(0, SigningKey::generate().json(&current.name));
        }
        json!({ "keys": keys })
    }

    /// What the token endpoint answers when all is well.
    pub(super) fn token_response(&self, grant: &Grant) -> Value {
        let access_token = self.access_token(grant);
        self.state().sessions.insert(access_token.clone(), grant.clone());
        let (refresh_token, refresh_lifetime) = self.issue_refresh_token(grant);
        let mut response = json!({
            "access_token": access_token, "expires_in": self.access_lifetime(),
            "refresh_token": refresh_token, "refresh_expires_in": refresh_lifetime, "token_type": "Bearer",
            "not-before-policy": self.state().rules.not_before, "session_state": grant.sid, "scope": grant.scopes,
        });
        // As Keycloak: without the scope it is OAuth 2.0 only.
        if grant.scopes.split(' ').any(|scope| scope == "openid") && !self.lies(Lie::TokenNoIdToken) {
            response["id_token"] = self.id_token(grant, response["access_token"].as_str().unwrap()).into();
        }
        let fields = response.as_object_mut().unwrap();
        if self.lies(Lie::TokenNoAccessToken) {
            fields.remove("access_token");
        }
        if self.lies(Lie::TokenNoExpiry) {
            fields.remove("expires_in");
        }
        if self.lies(Lie::TokenNoRefreshToken) {
            fields.remove("refresh_token");
        }
        if self.lies(Lie::TokenTypeDpop) {
            response["token_type"] = "DPoP".into();
        }
        if self.lies(Lie::TokenTypeUpperCase) {
            response["token_type"] = "BEARER".into();
        }
        response
    }

    fn access_token(&self, grant: &Grant) -> String {
        if self.lies(Lie::AccessTokenOpaque) {
            return random();
        }
        if self.lies(Lie::TokenMalformedAccessToken) {
            return format!("{}\r\nX-Evil: 1", random());
        }
        let now = self.now();
        let mut claims = grant.user.claims.clone();
        let own = json!({
            "exp": now + self.access_lifetime(), "iat": now, "auth_time": grant.authenticated,
            "jti": format!("onrtac:{}", random()), "iss": self.issuer(), "aud": "account", "typ": "Bearer", "azp": Self::CLIENT_ID, "sid": grant.sid,
            "acr": grant.acr,
            "allowed-origins": ["https://hub.example"], "scope": grant.scopes,
        });
        claims.extend(own.as_object().unwrap().clone());
        for (lie, name, value) in [
            (Lie::AccessTokenOtherAzp, "azp", json!("other")),
            (Lie::AccessTokenOtherIssuer, "iss", json!("https://other.example/realms/test")),
            (Lie::AccessTokenOtherSubject, "sub", json!("other")),
            (Lie::AccessTokenOtherKind, "typ", json!("Action")),
            (Lie::AccessTokenExpired, "exp", json!(self.now() - 60)),
            (Lie::AccessTokenOld, "iat", json!(self.now() - 600)),
        ] {
            if self.lies(lie) {
                claims.insert(name.to_owned(), value);
            }
        }
        if self.lies(Lie::AccessTokenNoSubject) {
            claims.remove("sub");
        }
        if self.lies(Lie::AccessTokenLightweight) {
            let few = ["exp", "iat", "jti", "iss", "typ", "azp", "sid", "scope"];
            claims.retain(|name, _| few.contains(&name.as_str()));
        }
        if self.lies(Lie::AccessTokenBadSignature) {
            return jws(&self.header(), &claims, |text| SigningKey::generate().sign(text));
        }
        self.signed(&self.header(), &claims)
    }

    /// `realm_access` and `resource_access` are left out unless there is a mapper.
    pub(super) fn profile(&self, grant: &Grant) -> Map<String, Value> {
        let mapped = self.state().role_mapper;
        let mut claims = grant.user.claims.clone();
        claims.retain(|name, _| mapped || (name != "realm_access" && name != "resource_access"));
        claims
    }

    fn id_token(&self, grant: &Grant, access_token: &str) -> String {
        let claims = self.id_token_claims(grant, access_token);
        let mut header = self.header();
        for (lie, name, value) in [
            (Lie::IdTokenUnknownKey, "kid", json!(random())),
            (Lie::IdTokenCriticalHeader, "crit", json!(["b64"])),
            (Lie::IdTokenIsLogoutToken, "typ", json!("logout+jwt")),
            (Lie::IdTokenMacOfSecret, "alg", json!("HS256")),
            (Lie::IdTokenMacOfPublicKey, "alg", json!("HS256")),
            (Lie::IdTokenAlgorithmNone, "alg", json!("none")),
        ] {
            if self.lies(lie) {
                header[name] = value;
            }
        }
        if self.lies(Lie::IdTokenUnnamedKey) {
            header.as_object_mut().unwrap().remove("kid");
        }
        let mac = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
        };
        if self.lies(Lie::IdTokenOtherAlgorithm) {
            header["alg"] = "PS256".into();
            return jws(&header, &claims, |text| self.signing_key().sign_pss(text));
        }
        if self.lies(Lie::IdTokenEncrypted) {
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM","zip":"DEF"}"#);
            return format!("{header}.AAAA.AAAA.AAAA.AAAA");
        }
        if self.lies(Lie::IdTokenMalformed) {
            return "not a token".to_owned();
        }
        if self.lies(Lie::IdTokenAlgorithmNone) || self.lies(Lie::IdTokenNoSignature) {
            return jws(&header, &claims, |_| Vec::new());
        }
        if self.lies(Lie::IdTokenMacOfSecret) {
            return jws(&header, &claims, |text| mac(Self::CLIENT_SECRET.as_bytes(), text));
        }
        if self.lies(Lie::IdTokenMacOfPublicKey) {
            let key = self.signing_key().public();
            return jws(&header, &claims, |text| mac(&key, text));
        }
        if self.lies(Lie::IdTokenBadSignature) || self.lies(Lie::IdTokenUnknownKey) {
            return jws(&header, &claims, |text| SigningKey::generate().sign(text));
        }
        self.signed(&header, &claims)
    }

    fn id_token_claims(&self, grant: &Grant, access_token: &str) -> Map<String, Value> {
        let now = self.now();
        let mut claims = self.profile(grant);
        let own = json!({
            "exp": now + 300, "iat": now, "auth_time": grant.authenticated, "jti": random(), "iss": self.issuer(),
            "aud": Self::CLIENT_ID, "typ": "ID", "azp": Self::CLIENT_ID, "sid": grant.sid, "acr": grant.acr,
            "at_hash": self.signing_key().half_hash(access_token),
        });
        claims.extend(own.as_object().unwrap().clone());
        if let Some(nonce) = &grant.nonce {
            claims.insert("nonce".to_owned(), nonce.as_str().into());
        }
        let groups: Vec<String> = (0..600).map(|n| format!("/faculty/institute/laboratory-{n}")).collect();
        for (lie, name, value) in [
            (Lie::IdTokenOtherIssuer, "iss", json!("https://other.example/realms/test")),
            (Lie::IdTokenOtherAudience, "aud", json!("other")),
            (Lie::IdTokenMoreAudiences, "aud", json!([Self::CLIENT_ID, "other"])),
            (Lie::IdTokenMoreAudiencesWithoutAzp, "aud", json!([Self::CLIENT_ID, "other"])),
            (Lie::IdTokenOtherAzp, "azp", json!("other")),
            (Lie::IdTokenOtherNonce, "nonce", json!(random())),
            (Lie::IdTokenExpired, "exp", json!(now - 600)),
            (Lie::IdTokenFromTheFuture, "iat", json!(now + 600)),
            (Lie::IdTokenOld, "iat", json!(now - 200)),
            (Lie::IdTokenOtherSubject, "sub", json!("f:ldap:mallory")),
            (Lie::IdTokenOtherSession, "sid", json!(random())),
            (Lie::IdTokenEarlierLogin, "auth_time", json!(grant.authenticated - 1)),
            (Lie::IdTokenLaterLogin, "auth_time", json!(now)),
            (
                Lie::IdTokenIsEvent,
                "events",
                json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
            ),
            (Lie::IdTokenNotYetValid, "nbf", json!(now + 600)),
            (Lie::IdTokenLongSubject, "sub", json!("x".repeat(256))),
            (Lie::IdTokenOtherAccessTokenHash, "at_hash", json!(random())),
            (Lie::IdTokenIsAccessToken, "typ", json!("Bearer")),
            (Lie::IdTokenLarge, "groups", json!(groups)),
            (Lie::IdTokenOddProfile, "phone_number_verified", json!(["perhaps"])),
        ] {
            if self.lies(lie) {
                claims.insert(name.to_owned(), value);
            }
        }
        for (lie, name) in [
            (Lie::IdTokenNoAudience, "aud"),
            (Lie::IdTokenMoreAudiencesWithoutAzp, "azp"),
            (Lie::IdTokenNoNonce, "nonce"),
            (Lie::IdTokenNoExpiry, "exp"),
            (Lie::IdTokenNoIssueTime, "iat"),
            (Lie::IdTokenNoSubject, "sub"),
            (Lie::IdTokenNoSession, "sid"),
            (Lie::IdTokenNoAccessTokenHash, "at_hash"),
        ] {
            if self.lies(lie) {
                claims.remove(name);
            }
        }
        claims.extend(self.state().id_token_claims.clone());
        claims.retain(|_, value| !value.is_null());
        claims
    }

    pub(super) fn header(&self) -> Value {
        let key = self.signing_key();
        json!({"alg": key.algorithm, "typ": "JWT", "kid": key.name})
    }

    pub(super) fn signing_key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.state().keys[0])
    }

    fn access_lifetime(&self) -> u64 {
        self.state().rules.access_lifetime.unwrap_or(300)
    }

    /// A token with the current key's signature.
    pub(super) fn signed(&self, header: &Value, claims: &Map<String, Value>) -> String {
        let key = self.signing_key();
        jws(header, claims, |text| key.sign(text))
    }
}

pub(super) fn jws(header: &Value, claims: &Map<String, Value>, sign: impl FnOnce(&str) -> Vec<u8>) -> String {
    let encode = |part: String| URL_SAFE_NO_PAD.encode(part);
    let text = format!("{}.{}", encode(header.to_string()), encode(json!(claims).to_string()));
    let signature = URL_SAFE_NO_PAD.encode(sign(&text));
    format!("{text}.{signature}")
}
