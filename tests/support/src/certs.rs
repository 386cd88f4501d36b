//! Certificates of an authority that only this test run knows.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Whether its certificates say by which key they are signed, beside by whom.
    names_its_key: bool,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        Self::with("hubgate tests", KeyPair::generate().unwrap(), true)
    }

    /// One that somebody else has made, by its name and its key in PEM: what this one signs, whoever trusts that one
    /// trusts, too.
    pub fn known(common_name: &str, key: &str) -> Self {
        // How the other has named its key is its own affair.
        Self::with(common_name, KeyPair::from_pem(key).unwrap(), false)
    }

    fn with(common_name: &str, key: KeyPair, names_its_key: bool) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap(), names_its_key }
    }

    /// Its certificate, in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names, and its key, in PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = self.names_its_key;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a pair for these names as `cert.pem` and `key.pem`; answers the certificate.
    pub fn write_pair(&self, folder: &Path, names: &[&str]) -> String {
        let (certificate, key) = self.issue(names);
        fs::write(folder.join("cert.pem"), &certificate).unwrap();
        write_secret(&folder.join("key.pem"), &key);
        certificate
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a file that only its owner reads.
pub fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
