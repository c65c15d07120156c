//! X.509 certificates (RFC 5280): the only owner of `x509_parser`. SPEC §9.3.
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
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::AlgorithmIdentifier;

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
        let instant = |time: ASN1Time| u64::try_from(time.timestamp()).map(Instant::from_seconds);
        let (Ok(not_before), Ok(not_after)) = (instant(validity.not_before), instant(validity.not_after))
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

    /// The key of a certificate that is its own issuer and whose signature verifies under that key with ES256,
    /// the only algorithm of roots. `None` for any other certificate.
    pub fn self_signed_key(&self) -> Option<VerifyingKey> {
        let certificate = parse(&self.der).ok()?;
        let key = VerifyingKey::from_spki(Algorithm::Es256, &self.spki).ok()?;
        let tbs = &certificate.tbs_certificate;
        (tbs.subject.as_raw() == tbs.issuer.as_raw() && is_signed_by(&certificate, &key)).then_some(key)
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
        signs && named && dated && is_signed_by(&certificate, key)
    }
}

/// Whether the signature of `certificate` is that of `key`, under the X.509 algorithm that is the same as the key's.
fn is_signed_by(certificate: &X509Certificate<'_>, key: &VerifyingKey) -> bool {
    let tbs = &certificate.tbs_certificate;
    let (oid, coordinate) = match key.algorithm() {
        Algorithm::Es256 => (OID_SIG_ECDSA_WITH_SHA256, Some(32)),
        Algorithm::Es384 => (OID_SIG_ECDSA_WITH_SHA384, Some(48)),
        Algorithm::Rs256 => (OID_PKCS1_SHA256WITHRSA, None),
        Algorithm::Es512 | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => return false,
    };
    // ECDSA takes no parameters (RFC 5758 §3.2), RSA takes NULL (RFC 4055 §5).
    let fits = |algorithm: &AlgorithmIdentifier<'_>| {
        let bare = match &algorithm.parameters {
            None => coordinate.is_some(),
            Some(parameters) => coordinate.is_none() && parameters.as_null().is_ok(),
        };
        algorithm.algorithm == oid && bare
    };
    let whole = certificate.signature_value.unused_bits == 0;
    if !whole
        || ![&certificate.signature_algorithm, &tbs.signature]
            .into_iter()
            .all(fits)
    {
        return false;
    }
    let der = &certificate.signature_value.data;
    let raw = match coordinate {
        Some(bytes) => raw_signature(der, bytes),
        None => Some(der.to_vec()),
    };
    raw.is_some_and(|raw| key.verify(tbs.as_ref(), &raw).is_ok())
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

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > limits::CERTIFICATE_BYTES {
        return Err(CertificateError::TooLarge);
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(CertificateError::NotDer),
    }
}

/// The raw `R ‖ S` of RFC 7518 §3.4 from the DER `Ecdsa-Sig-Value` of RFC 3279 §2.2.3, each of `bytes` bytes, at most 48.
fn raw_signature(der: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let [0x30, length, rest @ ..] = der else {
        return None;
    };
    // Two integers of at most 49 bytes: the length is always a single byte.
    if usize::from(*length) != rest.len() || *length >= 0x80 {
        return None;
    }
    let mut raw = vec![0; 2 * bytes];
    let rest = integer(rest, &mut raw[..bytes])?;
    let rest = integer(rest, &mut raw[bytes..])?;
    rest.is_empty().then_some(raw)
}

/// Copies a positive DER integer to the end of `out`; gives what follows it.
fn integer<'a>(der: &'a [u8], out: &mut [u8]) -> Option<&'a [u8]> {
    let [0x02, length, rest @ ..] = der else {
        return None;
    };
    let (digits, rest) = rest.split_at_checked(usize::from(*length))?;
    let digits = match digits {
        [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => return None,
        [0, digits @ ..] | digits => digits,
    };
    let start = out.len().checked_sub(digits.len())?;
    out[start..].copy_from_slice(digits);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn der_signatures_have_one_form() {
        let mut expected = vec![0; 64];
        (expected[31], expected[63]) = (1, 0x80);
        // SEQUENCE { INTEGER 1, INTEGER 128 }
        let good = [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80];
        assert_eq!(raw_signature(&good, 32), Some(expected));
        let bad: [&[u8]; 9] = [
            &[],
            &[0x30, 8, 2, 1, 1, 2, 2, 0, 0x80],       // a length too long
            &[0x30, 8, 2, 1, 1, 2, 2, 0, 0x80, 0],    // something after the integers
            &[0x30, 6, 2, 1, 1, 2, 1, 0x80],          // negative
            &[0x30, 7, 2, 1, 1, 2, 2, 0, 0x7f],       // not the shortest
            &[0x30, 5, 2, 0, 2, 1, 1],                // an empty integer
            &[0x30, 3, 2, 1, 1],                      // one integer
            &[0x30, 0x81, 7, 2, 1, 1, 2, 2, 0, 0x80], // a long length
            &[0x31, 7, 2, 1, 1, 2, 2, 0, 0x80],       // not a sequence
        ];
        for der in bad {
            assert_eq!(raw_signature(der, 32), None, "{der:02x?}");
        }
        let long = [&[0x30, 38, 2, 33][..], &[1; 33], &[2, 1, 1]].concat();
        assert_eq!(raw_signature(&long, 32), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = raw_signature(&bytes, 32);
            prop_assert!(Certificate::from_der(&bytes).is_err());
        }
    }
}
