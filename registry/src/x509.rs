//! What certificates and revocation lists have in common: signatures, dates, PEM. RFC 5280; the owner of `x509_parser`,
//! with [`crate::certificate`] and [`crate::crl`].

use std::borrow::Cow;

use basoche_protocol::jose::{Algorithm, VerifyingKey};
use basoche_protocol::time::Instant;
use x509_parser::asn1_rs::BitString;
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
};
use x509_parser::pem::parse_x509_pem;
use x509_parser::time::ASN1Time;
use x509_parser::x509::AlgorithmIdentifier;

/// A signed structure: its bytes, the algorithm as it is named inside and outside of them, and the signature.
pub(crate) struct Signed<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) algorithms: [&'a AlgorithmIdentifier<'a>; 2],
    pub(crate) signature: &'a BitString<'a>,
}

impl Signed<'_> {
    /// Whether the signature is that of `key`, under the X.509 algorithm that is the same as the key's.
    pub(crate) fn is_by(&self, key: &VerifyingKey) -> bool {
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
        if self.signature.unused_bits != 0 || !self.algorithms.into_iter().all(fits) {
            return false;
        }
        let der = &self.signature.data;
        let raw = match coordinate {
            Some(bytes) => raw_signature(der, bytes),
            None => Some(der.to_vec()),
        };
        raw.is_some_and(|raw| key.verify(self.bytes, &raw).is_ok())
    }
}

/// The instant of an X.509 date; `None` before 1970.
pub(crate) fn instant(time: ASN1Time) -> Option<Instant> {
    u64::try_from(time.timestamp()).ok().map(Instant::from_seconds)
}

/// The DER bytes of what is given as PEM text (RFC 7468) of one block with that label, or as DER; `None` where it is PEM of
/// something else.
pub(crate) fn pem_or_der<'a>(bytes: &'a [u8], label: &str) -> Option<Cow<'a, [u8]>> {
    if !bytes.starts_with(b"-----BEGIN ") {
        return Some(Cow::Borrowed(bytes));
    }
    let (rest, pem) = parse_x509_pem(bytes).ok()?;
    let alone = rest.iter().all(u8::is_ascii_whitespace);
    (pem.label == label && alone).then_some(Cow::Owned(pem.contents))
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
            let read = pem_or_der(&bytes, "X509 CRL");
            prop_assert_eq!(read.as_deref(), Some(bytes.as_slice()));
        }
    }
}
