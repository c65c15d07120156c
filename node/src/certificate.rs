//! Making keys, their self-signed certificates, and requests for others: the only owner of `rcgen`.

use basoche_protocol::crypto;
use basoche_protocol::id::CertificateId;
use thiserror::Error;
use zeroize::Zeroizing;

/// A key could not be made.
#[derive(Debug, Error)]
#[error("cannot make a key: {0}")]
pub struct CertificateError(String);

/// A new ECDSA P-256 key in its self-signed certificate.
pub struct Generated {
    /// X.509 certificate, DER.
    pub certificate_der: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Private key, PKCS#8 DER.
    pub private_key_pkcs8: Zeroizing<Vec<u8>>,
}

impl Generated {
    /// SHA-256 of the certificate, its `x5t#S256`.
    pub fn id(&self) -> CertificateId {
        CertificateId::new(crypto::sha256(&[&self.certificate_der]))
    }
}

/// The request (PKCS #10, RFC 2986, DER) that a certificate authority issue a certificate for the P-256 key of `pkcs8`.
pub fn request(common_name: &str, pkcs8: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let refuse = |error: rcgen::Error| CertificateError(error.to_string());
    let key = rcgen::KeyPair::try_from(pkcs8).map_err(refuse)?;
    let request = parameters(common_name).serialize_request(&key).map_err(refuse)?;
    Ok(request.der().to_vec())
}

/// Makes a key whose certificate bears `common_name`. Who it stands for is the registry's to say, and until when.
pub fn generate(common_name: &str) -> Result<Generated, CertificateError> {
    let refuse = |error: rcgen::Error| CertificateError(error.to_string());
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(refuse)?;
    let certificate = parameters(common_name).self_signed(&key).map_err(refuse)?;
    Ok(Generated {
        certificate_der: certificate.der().to_vec(),
        spki: rcgen::PublicKeyData::subject_public_key_info(&key),
        private_key_pkcs8: Zeroizing::new(key.serialize_der()),
    })
}

fn parameters(common_name: &str) -> rcgen::CertificateParams {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, common_name);
    parameters
}
