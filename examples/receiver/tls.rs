//! Certificates: given ones, or a CA and a certificate for localhost made on the spot.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// A server configuration from a certificate chain and its key, both PEM.
pub(crate) fn load(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read certificates from {}", certificate.display()))?;
    let key_der = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read a private key from {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .context("the certificate and the key do not belong together")?;
    Ok(Arc::new(config))
}

/// The same with the certificate in `directory`, which is made where it is missing, together with its CA in `ca.pem`.
/// A receiver that starts again is trusted again.
pub(crate) fn load_or_create(directory: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let [ca, certificate, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| directory.join(name));
    if !(ca.exists() && certificate.exists() && key.exists()) {
        let made = create().context("cannot make a certificate")?;
        fs::create_dir_all(directory)?;
        for (path, pem) in [(&certificate, made.certificate), (&key, made.key), (&ca, made.ca)] {
            fs::write(path, pem).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    load(&certificate, &key)
}

/// PEM texts.
struct Made {
    ca: String,
    certificate: String,
    key: String,
}

fn create() -> Result<Made, rcgen::Error> {
    let mut ca_params = CertificateParams::default();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca_params.distinguished_name.push(DnType::CommonName, "receiver example CA");
    let issuer = CertifiedIssuer::self_signed(ca_params, KeyPair::generate()?)?;

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "receiver example");
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Made { ca: issuer.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}
