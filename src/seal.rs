//! Sealing: what leaves the process and must come back unread and unchanged.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// Seals and opens values, and derives secrets that need not be stored. Made from the installation's key.
pub struct Sealer {
    aead: RandomizedNonceKey,
    derive: hmac::Key,
}

impl Sealer {
    /// From 32 random bytes.
    ///
    /// # Panics
    /// Never: the key has the length that the cipher takes.
    pub fn new(key: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let aead_key = hmac::sign(&root, b"hubgate seal v1");
        let derive_key = hmac::sign(&root, b"hubgate derive v1");
        #[expect(clippy::expect_used, reason = "HMAC-SHA256 gives the 32 bytes that AES-256 takes")]
        let aead = RandomizedNonceKey::new(&AES_256_GCM, aead_key.as_ref()).expect("a key of 32 bytes");
        Self { aead, derive: hmac::Key::new(hmac::HMAC_SHA256, derive_key.as_ref()) }
    }

    /// Seals `plain` (AES-256-GCM, random nonce). It opens only under the same `context`: what it is and whose.
    ///
    /// # Panics
    /// For a message of over 64 GiB.
    pub fn seal(&self, context: &str, plain: &[u8]) -> String {
        let mut sealed = plain.to_vec();
        let nonce = self.aead.seal_in_place_append_tag(Aad::from(context), &mut sealed);
        #[expect(clippy::expect_used, reason = "fails only for messages of over 64 GiB")]
        let nonce = nonce.expect("a message that fits in memory");
        let mut whole = nonce.as_ref().to_vec();
        whole.append(&mut sealed);
        URL_SAFE_NO_PAD.encode(whole)
    }

    /// The plain bytes; `None` for anything that this key did not seal under `context`, whatever is wrong with it.
    pub fn open(&self, context: &str, sealed: &str) -> Option<Vec<u8>> {
        let whole = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = whole.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut rest = rest.to_vec();
        let length = self.aead.open_in_place(nonce, Aad::from(context), &mut rest).ok()?.len();
        rest.truncate(length);
        Some(rest)
    }

    /// A secret that only this installation can compute: the same for the same `context` and `data`.
    pub fn derive(&self, context: &str, data: &str) -> Secret {
        let mut mac = hmac::Context::with_key(&self.derive);
        mac.update(context.as_bytes());
        mac.update(&[0]);
        mac.update(data.as_bytes());
        Secret::new(URL_SAFE_NO_PAD.encode(mac.sign().as_ref()))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// `N` random bytes from the system.
///
/// # Panics
/// If the system has none: nothing is safe then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "a machine without randomness must not go on")]
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    bytes
}

/// `N` random bytes, in base64url: 32 make 43 characters.
pub fn random_text<const N: usize>() -> String {
    URL_SAFE_NO_PAD.encode(random::<N>())
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    bytes
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _always = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_unchanged_and_in_its_place() {
        let sealer = Sealer::new(&[7; 32]);
        let cookie = sealer.seal("login a", b"state");
        assert_eq!(sealer.open("login a", &cookie).as_deref(), Some(&b"state"[..]));
        assert_eq!(sealer.open("login b", &cookie), None);
        assert_eq!(Sealer::new(&[8; 32]).open("login a", &cookie), None);
        for at in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open("login a", &String::from_utf8(changed).unwrap()), None, "byte {at}");
        }
        for wrong in ["", "AAAA", "=", cookie.get(..20).unwrap()] {
            assert_eq!(sealer.open("login a", wrong), None);
        }
    }

    #[test]
    fn derived_secrets_differ_by_context_and_data() {
        let sealer = Sealer::new(&[7; 32]);
        assert!(sealer.derive("a", "b").matches(sealer.derive("a", "b").expose()));
        assert!(!sealer.derive("a", "b").matches(sealer.derive("a", "c").expose()));
        assert!(!sealer.derive("ab", "c").matches(sealer.derive("a", "bc").expose()));
    }
}
