//! `private_key_jwt`: a short statement that our private key signs, in place of a secret (RFC 7523 section 2.2).

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::OidcError;
use crate::clock::Timestamp;
use crate::config::SigningAlgorithm;
use crate::seal::random_text;
use crate::secret::Secret;

/// Our private key, and how the provider knows it.
pub(super) struct Signer {
    key: Key,
    id: Option<String>,
}

enum Key {
    Rsa { pair: RsaKeyPair, pss: bool },
    P256(EcdsaKeyPair),
}

impl Signer {
    /// From PEM: an RSA key of 2048 bits or more, or one on the curve P-256.
    pub(super) fn new(
        pem: &Secret,
        id: Option<String>,
        algorithm: Option<SigningAlgorithm>,
    ) -> Result<Self, OidcError> {
        // What is wrong inside a private key is told to nobody.
        let der = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())
            .map_err(|_private| unusable("it holds no private key in PEM"))?;
        let key = match (rsa(&der), p256(&der), algorithm) {
            (Some(pair), _, None | Some(SigningAlgorithm::Rs256)) => Key::Rsa { pair, pss: false },
            (Some(pair), _, Some(SigningAlgorithm::Ps256)) => Key::Rsa { pair, pss: true },
            (None, Some(pair), None | Some(SigningAlgorithm::Es256)) => Key::P256(pair),
            (None, None, _) => return Err(unusable("it is neither RSA of 2048 bits or more, nor P-256")),
            (_, _, Some(_)) => return Err(unusable("it cannot sign as provider.client_key_algorithm says")),
        };
        Ok(Self { key, id })
    }

    /// That we are the client of this name, to `audience`, now, and once.
    pub(super) fn assertion(
        &self,
        client: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<String, OidcError> {
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT"});
        if let (Some(id), Some(header)) = (&self.id, header.as_object_mut()) {
            header.insert("kid".to_owned(), id.as_str().into());
        }
        let claims = json!({
            "iss": client, "sub": client, "aud": audience, "jti": random_text::<16>(), "iat": now,
            "exp": now.saturating_add(LIFETIME),
        });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let text = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.sign(text.as_bytes()).ok_or_else(|| unusable("it does not sign"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn algorithm(&self) -> &'static str {
        match &self.key {
            Key::Rsa { pss: false, .. } => "RS256",
            Key::Rsa { pss: true, .. } => "PS256",
            Key::P256(_) => "ES256",
        }
    }

    fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa { pair, pss } => {
                let encoding: &dyn RsaEncoding = if *pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, text, &mut signature).ok()?;
                Some(signature)
            }
            Key::P256(pair) => Some(pair.sign(&random, text).ok()?.as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("algorithm", &self.algorithm())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn rsa(der: &PrivateKeyDer<'_>) -> Option<RsaKeyPair> {
    match der {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).ok(),
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Sec1(_) | _ => None,
    }
}

fn p256(der: &PrivateKeyDer<'_>) -> Option<EcdsaKeyPair> {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    match der {
        PrivateKeyDer::Sec1(key) => EcdsaKeyPair::from_private_key_der(algorithm, key.secret_sec1_der()).ok(),
        PrivateKeyDer::Pkcs8(key) => EcdsaKeyPair::from_pkcs8(algorithm, key.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Pkcs1(_) | _ => None,
    }
}

fn unusable(why: &'static str) -> OidcError {
    OidcError::Settings { what: format!("provider.client_key cannot be used: {why}"), source: None }
}

/// Seconds. Keycloak takes none that lives longer than a minute, and its clock may be behind ours.
const LIFETIME: u64 = 45;

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

    use super::*;

    fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> Secret {
        Secret::new(KeyPair::generate_for(algorithm).unwrap().serialize_pem())
    }

    fn part(assertion: &str, index: usize) -> Value {
        let part = assertion.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_is_short_and_for_one_reader_and_one_use() {
        let signer = Signer::new(&pem(&PKCS_ECDSA_P256_SHA256), Some("k".to_owned()), None).unwrap();
        let one = signer.assertion("hub", "https://kc.example/realms/r", 1_000_000).unwrap();
        assert_eq!(part(&one, 0), json!({"alg": "ES256", "typ": "JWT", "kid": "k"}));
        let claims = part(&one, 1);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("hub"), &json!("hub")));
        assert_eq!(claims["aud"], "https://kc.example/realms/r");
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_000_000), &json!(1_000_000 + LIFETIME)));
        let other = signer.assertion("hub", "https://kc.example/realms/r", 1_000_000).unwrap();
        assert!(claims["jti"] != part(&other, 1)["jti"] && claims["jti"].as_str().unwrap().len() >= 22);
    }

    #[test]
    fn a_key_that_cannot_sign_is_refused_and_not_shown() {
        let curve = pem(&PKCS_ECDSA_P256_SHA256);
        for (key, algorithm, words) in [
            (Secret::new("canary"), None, "no private key"),
            (
                Secret::new("-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----"),
                None,
                "cannot be used",
            ),
            (pem(&PKCS_ECDSA_P384_SHA384), None, "neither RSA"),
            (curve.clone(), Some(SigningAlgorithm::Ps256), "client_key_algorithm"),
            (curve.clone(), Some(SigningAlgorithm::Rs256), "client_key_algorithm"),
        ] {
            let error = Signer::new(&key, None, algorithm).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(!format!("{error:?}").contains("canary"));
        }
        let signer = Signer::new(&curve, None, None).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer { algorithm: \"ES256\", id: None, .. }");
    }
}
