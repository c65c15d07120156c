//! X.509 certificates (RFC 5280). SPEC §9.3.
//!
//! This module says what a certificate holds and who issued it. Who may enrol it is the business of
//! [`crate::admission`].

use std::fmt;

use basoche_protocol::crypto;
use basoche_protocol::directory::Certified;
use basoche_protocol::id::{CertificateId, Digest};
use basoche_protocol::jose::{Algorithm, VerifyingKey};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::limits;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::x509::{Signed, instant, pem_or_der};

/// A certificate that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Larger than [`limits::CERTIFICATE_BYTES`].
    #[error("the certificate is larger than {} bytes", limits::CERTIFICATE_BYTES)]
    TooLarge,
    /// Not one DER certificate with nothing after it.
    #[error("not one DER certificate of RFC 5280")]
    NotDer,
    /// `notBefore` is not earlier than `notAfter`, or lies before 1970.
    #[error("the certificate's dates are not a period after 1970")]
    Dates,
}

/// A certificate, read once.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    id: CertificateId,
    der: Vec<u8>,
    spki: Vec<u8>,
    not_before: Instant,
    not_after: Instant,
}

impl Certificate {
    /// Reads DER bytes.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse(der)?;
        let validity = certificate.validity();
        let (Some(not_before), Some(not_after)) = (instant(validity.not_before), instant(validity.not_after))
        else {
            return Err(CertificateError::Dates);
        };
        if not_before >= not_after {
            return Err(CertificateError::Dates);
        }
        Ok(Self {
            id: CertificateId::new(crypto::sha256(&[der])),
            der: der.to_vec(),
            spki: certificate.public_key().raw.to_vec(),
            not_before,
            not_after,
        })
    }

    /// Reads PEM text of one certificate (RFC 7468), or DER bytes.
    pub fn from_pem_or_der(bytes: &[u8]) -> Result<Self, CertificateError> {
        let der = pem_or_der(bytes, "CERTIFICATE").ok_or(CertificateError::NotDer)?;
        Self::from_der(&der)
    }

    /// SHA-256 of the DER bytes, `x5t#S256`. ENV-7.
    pub fn id(&self) -> CertificateId {
        self.id
    }

    /// The DER bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of [`Self::spki`].
    pub fn spki_sha256(&self) -> Digest {
        Digest::of(&[&self.spki])
    }

    /// The first instant of its validity.
    pub fn not_before(&self) -> Instant {
        self.not_before
    }

    /// The last instant of its validity.
    pub fn not_after(&self) -> Instant {
        self.not_after
    }

    /// The serial number that its issuer gave it, big-endian, without leading zeros.
    pub fn serial(&self) -> Vec<u8> {
        parse(&self.der).map_or_else(|_| Vec::new(), |read| read.serial.to_bytes_be())
    }

    /// The key of a certificate that is its own issuer and whose signature verifies under that key with ES256,
    /// the only algorithm of roots. `None` for any other certificate.
    pub fn self_signed_key(&self) -> Option<VerifyingKey> {
        let certificate = parse(&self.der).ok()?;
        let key = VerifyingKey::from_spki(Algorithm::Es256, &self.spki).ok()?;
        let tbs = &certificate.tbs_certificate;
        (tbs.subject.as_raw() == tbs.issuer.as_raw() && signed(&certificate).is_by(&key)).then_some(key)
    }

    /// Whether it may issue certificates: `cA` in its basic constraints, and `keyCertSign` in its key usage if it
    /// states one. RFC 5280 §4.2.1.9, §4.2.1.3.
    pub fn may_issue(&self) -> bool {
        let Ok(certificate) = parse(&self.der) else {
            return false;
        };
        let is_ca = matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
        let signs = match certificate.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
            Err(_) => false,
        };
        is_ca && signs
    }

    /// Whether it may sign revocation lists: `cRLSign` in its key usage, if it states one. RFC 5280 §4.2.1.3.
    pub(crate) fn may_revoke(&self) -> bool {
        let certificate = parse(&self.der);
        certificate.is_ok_and(|read| match read.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
            Err(_) => false,
        })
    }

    /// Whether `issuer`, whose key is `key`, issued it to somebody who signs: names, dates and signature fit, and its key
    /// usage, if stated, has `digitalSignature` or `nonRepudiation`. RFC 5280 §6.1.3, without the parts about paths.
    pub fn is_issued_by(&self, issuer: &Self, key: &VerifyingKey) -> bool {
        let (Ok(certificate), Ok(above)) = (parse(&self.der), parse(&issuer.der)) else {
            return false;
        };
        let signs = match certificate.key_usage() {
            Ok(usage) => {
                usage.is_none_or(|usage| usage.value.digital_signature() || usage.value.non_repudiation())
            }
            Err(_) => false,
        };
        let named = certificate.issuer().as_raw() == above.subject().as_raw();
        let dated = (issuer.not_before..=issuer.not_after).contains(&self.not_before);
        signs && named && dated && signed(&certificate).is_by(key)
    }

    /// The name of its holder, DER.
    pub(crate) fn subject_name(&self) -> Vec<u8> {
        parse(&self.der).map_or_else(|_| Vec::new(), |read| read.subject().as_raw().to_vec())
    }
}

/// What the certificate says of its key, as messages ask for it; `None` where the key cannot be used with `algorithm`.
pub fn read(der: &[u8], algorithm: Algorithm) -> Option<Certified> {
    let certificate = Certificate::from_der(der).ok()?;
    Some(Certified {
        key: VerifyingKey::from_spki(algorithm, certificate.spki()).ok()?,
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
    })
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.id)
    }
}

fn signed<'a>(certificate: &'a X509Certificate<'_>) -> Signed<'a> {
    let tbs = &certificate.tbs_certificate;
    Signed {
        bytes: tbs.as_ref(),
        algorithms: [&certificate.signature_algorithm, &tbs.signature],
        signature: &certificate.signature_value,
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > limits::CERTIFICATE_BYTES {
        return Err(CertificateError::TooLarge);
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(CertificateError::NotDer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Certificate::from_der(&bytes).is_err());
            prop_assert!(Certificate::from_pem_or_der(&bytes).is_err());
        }
    }
}
