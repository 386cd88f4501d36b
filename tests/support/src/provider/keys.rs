//! The keys that it signs by.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::random;

/// A key that signs, in one way.
pub(super) struct SigningKey {
    pub(super) name: String,
    pub(super) algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl SigningKey {
    /// The same for all providers of a process: making one takes a while.
    pub(super) fn first() -> Arc<Self> {
        static FIRST: LazyLock<Arc<SigningKey>> = LazyLock::new(SigningKey::generate);
        Arc::clone(&FIRST)
    }

    pub(super) fn generate() -> Arc<Self> {
        Self::generate_for("RS256")
    }

    pub(super) fn generate_for(algorithm: &'static str) -> Arc<Self> {
        let pair = match algorithm {
            "ES256" => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "ES384" => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        };
        Arc::new(Self { name: random(), algorithm, pair })
    }

    /// As the key set says it.
    pub(super) fn json(&self, name: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.pair {
            Pair::Rsa(pair) => {
                let (modulus, exponent) = numbers(pair.public_key().as_ref());
                json!({"kty": "RSA", "n": encode(&modulus), "e": encode(&exponent)})
            }
            Pair::Ec(pair) => {
                // An uncompressed point (SEC 1 section 2.3.3).
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if self.algorithm == "ES256" { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
        };
        key["kid"] = name.into();
        key["alg"] = self.algorithm.into();
        key["use"] = "sig".into();
        key
    }

    pub(super) fn sign(&self, text: &str) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => sign_rsa(pair, encoding(self.algorithm), text),
            Pair::Ec(pair) => pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
        }
    }

    /// By the same key in another way, if it is RSA.
    pub(super) fn sign_pss(&self, text: &str) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => sign_rsa(pair, &RSA_PSS_SHA256, text),
            Pair::Ec(_) | Pair::Ed(_) => self.sign(text),
        }
    }

    /// The public key, as a confused verifier would take it for a secret.
    pub(super) fn public(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The left half of a hash: `at_hash` of a token.
    pub(super) fn half_hash(&self, text: &str) -> String {
        let algorithm = match self.algorithm {
            "EdDSA" => &digest::SHA512,
            name if name.ends_with("512") => &digest::SHA512,
            name if name.ends_with("384") => &digest::SHA384,
            _ => &digest::SHA256,
        };
        let hash = digest::digest(algorithm, text.as_bytes());
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
    }
}

/// A key of a client, which the provider knows the public part of.
#[derive(Clone)]
pub struct ClientKey {
    /// The private key: what `provider.client_key` is to hold.
    pub pem: String,
    pub(super) public: Vec<u8>,
    pub(super) algorithm: &'static str,
}

impl ClientKey {
    /// A new one, to be used as `RS256`, `PS256` or `ES256`.
    pub fn generate(algorithm: &'static str) -> Self {
        let (der, public) = if algorithm == "ES256" {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            (pair.to_pkcs8v1().unwrap().as_ref().to_vec(), pair.public_key().as_ref().to_vec())
        } else {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            (pair.as_der().unwrap().as_ref().to_vec(), pair.public_key().as_ref().to_vec())
        };
        let base64 = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Self { pem, public, algorithm }
    }
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn encoding(algorithm: &str) -> &'static dyn RsaEncoding {
    match algorithm {
        "RS384" => &RSA_PKCS1_SHA384,
        "RS512" => &RSA_PKCS1_SHA512,
        "PS256" => &RSA_PSS_SHA256,
        "PS384" => &RSA_PSS_SHA384,
        "PS512" => &RSA_PSS_SHA512,
        _ => &RSA_PKCS1_SHA256,
    }
}

fn sign_rsa(pair: &RsaKeyPair, how: &'static dyn RsaEncoding, text: &str) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(how, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    signature
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 appendix A.1.1): a sequence of two integers.
fn numbers(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (sequence, _) = element(der);
    let (modulus, rest) = element(sequence);
    let (exponent, _) = element(rest);
    let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    (number(modulus), number(exponent))
}

/// The content of the first element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        long => {
            let bytes = usize::from(long & 0x7f);
            (der[2..2 + bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + bytes)
        }
    };
    der[start..].split_at(length)
}
