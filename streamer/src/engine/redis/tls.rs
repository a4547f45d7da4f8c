//! What TLS needs to know before it connects: whom to trust, and which certificate to show.

use std::sync::Arc;

use redis::{ErrorKind, RedisError, RedisResult};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::own_certificate::OwnCertificate;

/// Certificates in PEM, as they are in their files.
#[derive(Default)]
pub(super) struct Certificates {
    /// The authorities to trust instead of the system's.
    pub(super) authorities: Option<Vec<u8>>,
    /// The certificate to show, and its key.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether any certificate of the server is accepted.
    pub(super) insecure: bool,
}

impl Certificates {
    /// Settings for all connections of an engine, which can then resume each other's sessions. Reads the system's
    /// certificates, which blocks.
    pub(super) fn into_config(self) -> RedisResult<ClientConfig> {
        // A program that chose its cryptography is left alone, and so is one that did not: it may still choose.
        let provider = CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("the TLS settings", error))?;
        let builder = if self.insecure {
            let verifier = Arc::new(TrustAnyone(algorithms));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            let roots = Arc::new(roots(self.authorities.as_deref())?);
            let usual = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            let usual = usual.map_err(|error| unusable("the certificates to trust", error))?;
            let own = match &self.authorities {
                Some(pem) => certificates_in(pem, "the file of the parameter ca")?,
                None => Vec::new(),
            };
            let verifier = Arc::new(OwnCertificate::new(usual, own));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        };
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let certificates = certificates_in(certificates, "the file of the parameter cert")?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| unusable("the file of the parameter key", error))?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| unusable("the files of the parameters cert and key", error))?
            }
        };
        config.enable_sni = !self.insecure;
        Ok(config)
    }
}

fn roots(authorities: Option<&[u8]>) -> RedisResult<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(pem) => {
            let file = "the file of the parameter ca";
            for certificate in certificates_in(pem, file)? {
                roots.add(certificate).map_err(|error| unusable(file, error))?;
            }
        }
        // A certificate that cannot be used is passed over: the system's owner put it there for others, too. With none
        // at all no server will be trusted, and the error of that says what to do.
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    Ok(roots)
}

fn certificates_in(pem: &[u8], file: &'static str) -> RedisResult<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| unusable(file, error))?;
    if certificates.is_empty() {
        return Err(unusable(file, "it holds no certificate in PEM"));
    }
    Ok(certificates)
}

fn unusable(what: &str, why: impl std::fmt::Display) -> RedisError {
    RedisError::from((
        ErrorKind::InvalidClientConfig,
        "TLS cannot be set up",
        format!("{what}: {why}"),
    ))
}

/// What may be done about a failed handshake, where that is known.
pub(super) fn advice(error: &std::io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "name the file of the authority that signed it with ?ca=FILE in the URL; ?insecure switches the check off",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            Some("connect to a name that the server's certificate is for; ?insecure in the URL switches the check off")
        }
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            Some(
                "the server shows the certificate of an authority as its own: name exactly that one with ?ca=FILE in the \
                 URL, or make one with basicConstraints=CA:FALSE; ?insecure switches the check off",
            )
        }
        Error::InvalidMessage(_) => Some("does the server speak TLS on this port?"),
        Error::AlertReceived(_) => {
            Some("does the server demand a certificate, named with the parameters cert and key?")
        }
        _ => None,
    }
}

/// What `insecure=true` asks for.
#[derive(Debug)]
struct TrustAnyone(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let certificates = Certificates {
            authorities: Some(b"nothing of the kind".to_vec()),
            ..Certificates::default()
        };
        let error = certificates.into_config().map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("the parameter ca"), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidClientConfig);
    }
}
