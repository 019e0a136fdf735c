//! The roots of trust: the system's, and those that the operator names.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::SetupError;

/// The system's roots, as far as they can be read, and all of `extra_pem`.
///
/// # Errors
/// [`SetupError`] where `extra_pem` holds no certificate, or one that cannot be a root.
pub(super) fn load(extra_pem: Option<&[u8]>) -> Result<Arc<RootCertStore>, SetupError> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let (n_usable, n_ignored) = store.add_parsable_certificates(system.certs);
    tracing::debug!(n_usable, n_ignored, n_errors = system.errors.len(), "system root certificates read");
    if let Some(pem) = extra_pem {
        add_extra(&mut store, pem)?;
    }
    Ok(Arc::new(store))
}

/// Unlike the system's, every certificate that an operator names must be usable.
fn add_extra(store: &mut RootCertStore, pem: &[u8]) -> Result<(), SetupError> {
    let mut n_added = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(SetupError::Pem)?;
        store
            .add(certificate)
            .map_err(|source| SetupError::Root { number: n_added.saturating_add(1), source })?;
        n_added = n_added.saturating_add(1);
    }
    if n_added == 0 { Err(SetupError::NoCertificate) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pem: &str, expected: &str) {
        let error = add_extra(&mut RootCertStore::empty(), pem.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{pem:?} gave: {error}");
    }

    /// Scenario: the file of additional roots holds no certificate, a torn one, or bytes that are no certificate.
    /// Guarantees: each is refused with its own message; nothing is skipped silently.
    #[test]
    fn unusable_roots_are_refused() {
        check("", "hold no PEM certificate");
        check("\u{0}\u{1}binary", "hold no PEM certificate");
        check("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "hold no PEM certificate");
        check("-----BEGIN CERTIFICATE-----\nAAAA\n", "are not valid PEM");
        check("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "are not valid PEM");
        check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 cannot");
    }

    /// Scenario: a valid root is named. Guarantees: it is in the store.
    #[test]
    fn a_named_root_is_trusted() {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let root = parameters.self_signed(&key).unwrap();
        let mut store = RootCertStore::empty();
        add_extra(&mut store, root.pem().as_bytes()).unwrap();
        assert_eq!(store.len(), 1);
    }
}
