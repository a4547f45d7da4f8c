//! Certificates for TLS, made anew for each server.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Writes `ca.pem`, `cert.pem` and `key.pem` into a directory. The certificate is for 127.0.0.1 and localhost, and
/// serves a server and a client alike.
pub(crate) fn write(directory: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.distinguished_name.push(DnType::CommonName, "Test authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();

    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();

    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

/// The same with one certificate that is authority and server at once.
pub(crate) fn write_self_signed(directory: &Path) {
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut both = CertificateParams::new(names).unwrap();
    both.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = both.self_signed(&key).unwrap();
    for name in ["ca.pem", "cert.pem"] {
        fs::write(directory.join(name), certificate.pem()).unwrap();
    }
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}
