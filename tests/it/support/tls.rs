//! Certificates made for one test run.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority of its own, and a server's certificate from it for `127.0.0.1` and `localhost`. The files go with
/// the value.
#[derive(Debug)]
pub(crate) struct Certificates {
    directory: TempDir,
    /// The authority's certificate.
    pub(crate) ca_pem: String,
    /// The server's certificate.
    pub(crate) certificate_pem: String,
    /// The server's key.
    pub(crate) key_pem: String,
}

impl Certificates {
    /// Makes them anew: no two authorities know each other.
    pub(crate) fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "flowlogd test authority");
        let authority_key = KeyPair::generate().unwrap();
        let ca_pem = authority.self_signed(&authority_key).unwrap().pem();

        let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let server_key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let certificate_pem = server.signed_by(&server_key, &issuer).unwrap().pem();

        let certificates = Self {
            directory: TempDir::new().unwrap(),
            ca_pem,
            certificate_pem,
            key_pem: server_key.serialize_pem(),
        };
        fs::write(certificates.certificate_file(), &certificates.certificate_pem).unwrap();
        fs::write(certificates.key_file(), &certificates.key_pem).unwrap();
        certificates
    }

    /// Where the server's certificate lies.
    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.directory.path().join("server.pem")
    }

    /// Where the server's key lies.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.path().join("server.key")
    }
}
