//! Signed tokens (JWS, RFC 7515, as JWTs): taken apart, and their signature checked. What they claim is for `claims`.
//!
//! openidconnect checks signatures. Its verifier of ID tokens is not used: it knows no access tokens and no `azp`, and
//! it refuses a person whose profile holds an optional claim of an unusual type.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm as Algorithm};
use openidconnect::{JsonWebKey as _, SignatureVerificationError};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{BoxError, Detail, OidcError};
use crate::config::SigningAlgorithm;

/// A token that nobody has vouched for yet.
pub(super) struct Jwt<'a> {
    header: Header,
    algorithm: Algorithm,
    /// What the signature is over.
    signed: &'a str,
    claims: Map<String, Value>,
    signature: Vec<u8>,
}

/// A token that one of the provider's keys has signed.
pub(super) struct Verified {
    pub(super) claims: Map<String, Value>,
    key: CoreJsonWebKey,
    algorithm: Algorithm,
}

/// Why a token is not verified.
pub(super) enum Unverified {
    /// No key fits: the provider may have a new one.
    NoKey,
    /// The key that it names did not sign it.
    Forged(SignatureVerificationError),
}

/// RFC 7515 section 4. Members that we do not need are ignored, those in `crit` cannot be.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart, if it is signed in a way that can be accepted at all.
    pub(super) fn parse(token: &'a str) -> Result<Self, OidcError> {
        if token.split('.').count() == ENCRYPTED {
            return Err(OidcError::Settings {
                what:
                    "its token is encrypted, which hubgate does not read; let the client get it signed only"
                        .to_owned(),
                source: None,
            });
        }
        let malformed =
            |source: Option<BoxError>| OidcError::Untrusted { what: "its token is malformed", source };
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed(None))?;
        let (header, payload) = signed.split_once('.').ok_or_else(|| malformed(None))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|error| malformed(Some(error.into())));
        // A parser's error may show a piece of the token: not even its cause is kept.
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_private| malformed(None))?;
        if header.crit.is_some() {
            return Err(OidcError::untrusted("its token has extensions that must be understood", None));
        }
        let algorithm = serde_json::from_value(Value::String(header.alg.clone()))
            .ok()
            .filter(|algorithm| ALGORITHMS.contains(algorithm))
            .ok_or_else(|| not_accepted(&header.alg))?;
        let claims = serde_json::from_slice(&decode(payload)?).map_err(|_private| malformed(None))?;
        Ok(Self { algorithm, signed, claims, signature: decode(signature)?, header })
    }

    /// Whether it is signed in one of these ways.
    pub(super) fn check_algorithm(&self, accepted: &[Algorithm]) -> Result<(), OidcError> {
        if accepted.contains(&self.algorithm) { Ok(()) } else { Err(not_accepted(&self.header.alg)) }
    }

    /// Whom it says it is from, which nobody has verified.
    pub(super) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Its media type (`typ`), in lower case, without `application/`.
    pub(super) fn media_type(&self) -> Option<String> {
        let typ = self.header.typ.as_deref()?.to_ascii_lowercase();
        Some(typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ))
    }

    /// What it claims, for what it may be worth.
    pub(super) fn unverified(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Looks for the key that signed it.
    pub(super) fn verify(&self, keys: &[CoreJsonWebKey]) -> Result<Verified, Unverified> {
        let named = |key: &&CoreJsonWebKey| match (&self.header.kid, key.key_id()) {
            (Some(wanted), Some(kid)) => wanted == kid.as_str(),
            (Some(_), None) => false,
            (None, _) => true,
        };
        let mut forged = None;
        for key in keys.iter().filter(named).take(MOST_TRIED) {
            match key.verify_signature(&self.algorithm, self.signed.as_bytes(), &self.signature) {
                Ok(()) => {
                    return Ok(Verified {
                        claims: self.claims.clone(),
                        key: key.clone(),
                        algorithm: self.algorithm.clone(),
                    });
                }
                // Of another type, or not for signatures: as if it were not there.
                Err(SignatureVerificationError::InvalidKey(_)) => {}
                Err(error) => forged = Some(error),
            }
        }
        // A token without a name for its key may be signed by one that is new.
        match forged.filter(|_| self.header.kid.is_some()) {
            Some(error) => Err(Unverified::Forged(error)),
            None => Err(Unverified::NoKey),
        }
    }
}

impl Verified {
    /// `at_hash` of an access token (OpenID Connect Core 1.0, section 3.1.3.6).
    pub(super) fn half_hash(&self, token: &str) -> Option<String> {
        let hash = self.key.hash_bytes(token.as_bytes(), &self.algorithm).ok()?;
        hash.get(..hash.len() / 2).map(|half| URL_SAFE_NO_PAD.encode(half))
    }
}

fn not_accepted(algorithm: &str) -> OidcError {
    let name = algorithm.chars().take(16).collect::<String>();
    OidcError::untrusted(
        "its token is signed in a way that is not accepted (provider.signing_algorithms)",
        Some(format!("{name:?}")),
    )
}

/// The ways of the configuration.
pub(super) fn algorithms(configured: &[SigningAlgorithm]) -> Vec<Algorithm> {
    let algorithm = |configured: &SigningAlgorithm| match configured {
        SigningAlgorithm::Rs256 => Algorithm::RsaSsaPkcs1V15Sha256,
        SigningAlgorithm::Rs384 => Algorithm::RsaSsaPkcs1V15Sha384,
        SigningAlgorithm::Rs512 => Algorithm::RsaSsaPkcs1V15Sha512,
        SigningAlgorithm::Ps256 => Algorithm::RsaSsaPssSha256,
        SigningAlgorithm::Ps384 => Algorithm::RsaSsaPssSha384,
        SigningAlgorithm::Ps512 => Algorithm::RsaSsaPssSha512,
        SigningAlgorithm::Es256 => Algorithm::EcdsaP256Sha256,
        SigningAlgorithm::Es384 => Algorithm::EcdsaP384Sha384,
        SigningAlgorithm::EdDsa => Algorithm::EdDsa,
    };
    configured.iter().map(algorithm).collect()
}

/// The keys of a set that can verify what we accept; others, and those that are not understood, are left out.
pub(super) fn usable_keys(body: &[u8], algorithms: &[Algorithm]) -> Result<Vec<CoreJsonWebKey>, BoxError> {
    let set: CoreJsonWebKeySet = serde_json::from_slice(body)?;
    let keys: Vec<_> =
        set.keys().iter().filter(|key| usable(key, algorithms)).take(MOST_KEPT).cloned().collect();
    if keys.is_empty() {
        Err(Detail("no key in it can verify signatures".to_owned()).into())
    } else {
        Ok(keys)
    }
}

fn usable(key: &CoreJsonWebKey, algorithms: &[Algorithm]) -> bool {
    let signs = key.key_use().is_none_or(openidconnect::JsonWebKeyUse::allows_signature);
    let fits = |algorithm: &Algorithm| {
        !matches!(key.verify_signature(algorithm, b"", b""), Err(SignatureVerificationError::InvalidKey(_)))
    };
    signs && !short(key) && algorithms.iter().any(fits)
}

/// An RSA key of fewer than 2048 bits can be broken.
fn short(key: &CoreJsonWebKey) -> bool {
    let modulus = serde_json::to_value(key)
        .ok()
        .and_then(|key| Some(key.get("n")?.as_str()?.trim_start_matches('A').len()));
    // Base64 holds six bits a letter.
    modulus.is_some_and(|letters| letters * 6 < 2040)
}

/// Never `none`, and never a MAC: its key, our secret, is known to whoever can see our configuration.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RsaSsaPkcs1V15Sha256,
    Algorithm::RsaSsaPkcs1V15Sha384,
    Algorithm::RsaSsaPkcs1V15Sha512,
    Algorithm::RsaSsaPssSha256,
    Algorithm::RsaSsaPssSha384,
    Algorithm::RsaSsaPssSha512,
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EdDsa,
];

/// Parts of a JWE (RFC 7516 section 3.1).
const ENCRYPTED: usize = 5;
/// Keys with one name, or tried for a token that names none.
const MOST_TRIED: usize = 16;
/// Keys of one provider.
const MOST_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_keys_that_can_be_relied_on_are_kept() {
        let modulus = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xc5; bytes]);
        let rsa = |bytes| json!({"kty": "RSA", "use": "sig", "n": modulus(bytes), "e": "AQAB"});
        let leading_zeros = [vec![0; 200], vec![0xc5; 64]].concat();
        let weak = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(leading_zeros), "e": "AQAB"});
        let keys = |list: Value| usable_keys(json!({"keys": list}).to_string().as_bytes(), &ALGORITHMS);
        assert_eq!(keys(json!([rsa(256), rsa(512)])).unwrap().len(), 2);
        for bad in [
            json!([]),
            json!([rsa(64)]),
            json!([rsa(128)]),
            json!([weak]),
            json!([{"kty": "RSA", "use": "enc", "n": modulus(256), "e": "AQAB"}]),
            json!([{"kty": "RSA", "alg": "RSA-OAEP", "n": modulus(256), "e": "AQAB"}]),
            json!([{"kty": "oct", "k": modulus(32)}]),
            json!([{"kty": "EC", "crv": "P-521", "x": modulus(66), "y": modulus(66)}]),
        ] {
            assert!(keys(bad.clone()).is_err(), "{bad}");
        }
        assert!(usable_keys(b"[]", &ALGORITHMS).is_err());
        let ec = json!({"keys": [rsa(256)]}).to_string();
        assert!(
            usable_keys(ec.as_bytes(), &[Algorithm::EcdsaP256Sha256]).is_err(),
            "not for what is signed here"
        );
        let many: Vec<Value> = (0..1000).map(|_| rsa(256)).collect();
        assert_eq!(keys(json!(many)).unwrap().len(), MOST_KEPT);
    }

    #[test]
    fn only_signed_tokens_are_taken_apart() {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = |header: Value| format!("{}.{}.AAAA", part(header), part(json!({"sub": "s"})));
        assert!(Jwt::parse(&token(json!({"alg": "ES256", "typ": "application/JWT"}))).is_ok());
        for bad in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d.e"] {
            assert!(Jwt::parse(bad).is_err(), "{bad}");
        }
        for alg in ["none", "None", "NONE", "", "HS256", "HS512", "rs256", "RSA-OAEP", "A128GCM", "ES512"] {
            assert!(Jwt::parse(&token(json!({"alg": alg}))).is_err(), "{alg}");
        }
        assert!(Jwt::parse(&token(json!({"typ": "JWT"}))).is_err());
        assert!(Jwt::parse(&format!("{}.AAAA", token(json!({"alg": "RS256"})))).is_err());
    }
}
