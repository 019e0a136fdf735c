//! Certificates made for one test run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flowlogd::http::Identity;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// An authority of its own, with a server's certificate for `127.0.0.1` and `localhost` and a client's.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// The authority's certificate.
    pub(crate) ca_pem: String,
    /// The server's certificate.
    pub(crate) certificate_pem: String,
    /// The server's key.
    pub(crate) key_pem: String,
    /// A client's certificate.
    pub(crate) client_certificate_pem: String,
    /// The client's key.
    pub(crate) client_key_pem: String,
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

        let mut client = CertificateParams::new(Vec::new()).unwrap();
        client.distinguished_name.push(DnType::CommonName, "flowlogd test client");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate().unwrap();
        let client_certificate_pem = client.signed_by(&client_key, &issuer).unwrap().pem();

        Self {
            ca_pem,
            certificate_pem,
            key_pem: server_key.serialize_pem(),
            client_certificate_pem,
            client_key_pem: client_key.serialize_pem(),
        }
    }

    /// What a client of this authority shows.
    pub(crate) fn client_identity(&self) -> Identity {
        let pem = |text: &str| text.as_bytes().to_vec();
        Identity::from_pem(pem(&self.client_certificate_pem), pem(&self.client_key_pem)).unwrap()
    }

    /// Writes the server's certificate and key as PEM files into a directory; returns where they lie.
    pub(crate) fn write_to(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let (certificate_file, key_file) = (directory.join("server.pem"), directory.join("server.key"));
        fs::write(&certificate_file, &self.certificate_pem).unwrap();
        fs::write(&key_file, &self.key_pem).unwrap();
        (certificate_file, key_file)
    }
}
