//! The certificate that a client shows of itself, for servers that ask for one.

use std::{fmt, sync::Arc};

use rustls::{
    InconsistentKeys,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};

/// A client certificate with its key. `Debug` shows neither.
#[derive(Clone)]
pub struct Identity {
    certificates_pem: Vec<u8>,
    key_pem: Vec<u8>,
    certified: Arc<CertifiedKey>,
}

/// A certificate and a key are not what a client can show. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum NotAnIdentity {
    /// The first text has no certificate.
    #[error("the client certificate holds no `-----BEGIN CERTIFICATE-----` block, or a damaged one")]
    Certificate,
    /// The second text has no private key.
    #[error("the client key holds no `-----BEGIN PRIVATE KEY-----` block, or a damaged one")]
    Key,
    /// The key is encrypted.
    #[error("the client key is encrypted, and there is no place for its passphrase: store it decrypted")]
    Encrypted,
    /// The key is of a kind that TLS does not use.
    #[error("the client key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// Each is well, but they are not of one pair.
    #[error("the client key does not belong to the client certificate")]
    Mismatch,
}

impl Identity {
    /// Takes a PEM chain, the client's own certificate first, and the PEM key of that one (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// [`NotAnIdentity`], which says which of the two is wrong and why.
    pub fn from_pem(certificates_pem: Vec<u8>, key_pem: Vec<u8>) -> Result<Self, NotAnIdentity> {
        let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
            CertificateDer::pem_slice_iter(&certificates_pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(NotAnIdentity::Certificate)?;
        let is_encrypted = memchr::memmem::find(&key_pem, b"BEGIN ENCRYPTED PRIVATE KEY").is_some()
            || memchr::memmem::find(&key_pem, b"Proc-Type: 4,ENCRYPTED").is_some();
        if is_encrypted {
            return Err(NotAnIdentity::Encrypted);
        }
        let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| NotAnIdentity::Key)?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
            if error == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
                NotAnIdentity::Mismatch
            } else {
                NotAnIdentity::Unusable(error)
            }
        })?;
        Ok(Self { certificates_pem, key_pem, certified: Arc::new(certified) })
    }

    /// The PEM texts that it was made of: chain and key.
    pub(crate) fn pem(&self) -> (&[u8], &[u8]) {
        (&self.certificates_pem, &self.key_pem)
    }

    /// For the one place that connects.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.pem() == other.pem()
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(***)")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// *Scenario*: a certificate and its key, the key of another one, and texts that are no such thing, or an encrypted key.
    /// *Guarantees*: the pair is taken and not shown; everything else is refused with the name of what is wrong.
    #[test]
    fn identities() {
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        let parse = |certificate: &str, key: &str| Identity::from_pem(certificate.into(), key.into());
        let shown = format!("{:?}", parse(&certificate, &key).unwrap());
        assert_eq!(shown, "Identity(***)");
        assert!(parse(&(certificate.clone() + &other), &key).is_ok(), "a chain");
        assert_ne!(parse(&certificate, &key).unwrap(), parse(&other, &other_key).unwrap());
        let check = |certificate: &str, key: &str, expected: &str| {
            let refused = parse(certificate, key).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        };
        check(&certificate, &other_key, "does not belong");
        check(&(other.clone() + &certificate), &key, "does not belong");
        check("", &key, "client certificate holds no");
        check(&key, &key, "client certificate holds no");
        check("-----BEGIN CERTIFICATE-----\nAAAA\n", &key, "client certificate holds no");
        check(&certificate, "", "client key holds no");
        check(&certificate, &certificate, "client key holds no");
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        check(&certificate, &encrypted, "is encrypted");
        let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        check(&certificate, nonsense, "cannot be used");
    }
}
