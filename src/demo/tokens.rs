//! ID tokens: signed with an RSA key that lives as long as the demo (RFC 7515, RS256).

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

use crate::seal;

/// Signs, and knows its own signatures again.
pub(super) struct Signer {
    key: RsaKeyPair,
    name: String,
    published: Value,
}

impl Signer {
    /// With a new key of 2048 bits.
    pub(super) fn new() -> Result<Self, Unspecified> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let name = seal::random_text::<9>();
        let (_, public) =
            RSAPublicKey::from_der(key.public_key().as_ref()).map_err(|_impossible| Unspecified)?;
        let published = json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": name,
            "n": number(public.modulus), "e": number(public.exponent),
        }]});
        Ok(Self { key, name, published })
    }

    /// The public key, as `jwks_uri` answers (RFC 7517).
    pub(super) fn keys(&self) -> &Value {
        &self.published
    }

    /// The claims as a signed token.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, Unspecified> {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.name});
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// The claims of a token that this key signed, however old it is.
    pub(super) fn open(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_header, claims) = signed.split_once('.')?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref());
        key.verify(signed.as_bytes(), &BASE64.decode(signature).ok()?).ok()?;
        serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.name)
    }
}

/// RFC 7518 section 6.3.1: no leading zero bytes, of which DER puts one before a set highest bit.
fn number(der: &[u8]) -> String {
    let start = der.iter().position(|byte| *byte != 0).unwrap_or(der.len());
    BASE64.encode(der.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::PublicKeyComponents;

    use super::*;

    #[test]
    fn only_tokens_of_this_key_are_known_again() {
        let (signer, other) = (Signer::new().unwrap(), Signer::new().unwrap());
        let claims = json!({"sub": "alice"});
        let token = signer.sign(&claims).unwrap();
        assert_eq!(signer.open(&token), Some(claims));
        assert_eq!(other.open(&token), None);
        let (content, signature) = token.rsplit_once('.').unwrap();
        let forged = BASE64.encode(json!({"sub": "bob"}).to_string());
        let header = content.split_once('.').unwrap().0;
        for wrong in
            ["", ".", "..", content, &format!("{header}.{forged}.{signature}"), &format!("{content}.")]
        {
            assert_eq!(signer.open(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_published_key_is_the_one_that_signs() {
        let signer = Signer::new().unwrap();
        let keys = signer.keys();
        let key = &keys["keys"][0];
        let part = |name: &str| BASE64.decode(key[name].as_str().unwrap()).unwrap();
        let public = PublicKeyComponents { n: part("n"), e: part("e") };
        let token = signer.sign(&json!({})).unwrap();
        let (content, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64.decode(signature).unwrap();
        assert!(public.verify(&RSA_PKCS1_2048_8192_SHA256, content.as_bytes(), &signature).is_ok());
    }
}
