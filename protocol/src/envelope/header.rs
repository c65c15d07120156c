//! The protected header, in its one fixed serialisation. SPEC §5.2.

use crate::error::{Malformed, MalformedKind};
use crate::id::CertificateId;
use crate::jose::Algorithm;
use crate::text::{b64url_decode, b64url_encode};
use crate::time::Instant;
use crate::wire::number::numbers;

numbers! {
    /// What kind of structure a signature is for: nothing signed as one kind counts as another. ENV-6.
    Typ {
        /// A message of a dossier.
        Message = 1 "basoche-message",
        /// A further signature on another structure.
        CoSignature = 2 "basoche-cosignature",
        /// A journal head.
        Head = 3 "basoche-head",
        /// A registry entry.
        Registry = 4 "basoche-registry",
        /// The list of an evidence bundle's members.
        Bundle = 5 "basoche-bundle",
        /// A signed refusal.
        Refusal = 6 "basoche-refusal",
        /// A mailbox's receipt for a parcel.
        MailboxReceipt = 7 "basoche-mailbox-receipt",
    }
}

/// The members of every protected header; there are no others, and no unprotected header. ENV-6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `alg`, RFC 7515 §4.1.1.
    pub algorithm: Algorithm,
    /// `iat`: when the signer says that it signed, whole seconds (TS 119 182-1 V1.2.1 §5.1.11).
    pub issued_at: Instant,
    /// `typ`, RFC 7515 §4.1.9.
    pub typ: Typ,
    /// `x5t#S256`, RFC 7515 §4.1.8.
    pub certificate: CertificateId,
}

impl Header {
    /// `{"alg":…,"cty":"cbor","iat":…,"typ":…,"x5t#S256":…}`, this order, no white space.
    pub fn encode(&self) -> Vec<u8> {
        format!(
            r#"{{"alg":"{}","cty":"cbor","iat":{},"typ":"{}","x5t#S256":"{}"}}"#,
            self.algorithm,
            self.issued_at.seconds(),
            self.typ,
            b64url_encode(self.certificate.as_bytes())
        )
        .into_bytes()
    }

    /// Reads the fixed serialisation: whatever encodes otherwise is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = Malformed::at(0, MalformedKind::BadHeader);
        let header = std::str::from_utf8(bytes).ok().and_then(Self::parse).ok_or(bad)?;
        if header.encode() == bytes {
            Ok(header)
        } else {
            Err(bad)
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (algorithm, rest) = text
            .strip_prefix(r#"{"alg":""#)?
            .split_once(r#"","cty":"cbor","iat":"#)?;
        let (issued_at, rest) = rest.split_once(r#","typ":""#)?;
        let (typ, rest) = rest.split_once(r#"","x5t#S256":""#)?;
        let certificate = rest.strip_suffix(r#""}"#)?;
        // 2^40 seconds are some 34 000 years: milliseconds cannot overflow.
        let issued_at = issued_at
            .parse::<u64>()
            .ok()
            .filter(|seconds| *seconds < 1 << 40)?;
        Some(Self {
            algorithm: Algorithm::from_name(algorithm)?,
            issued_at: Instant::from_seconds(issued_at),
            typ: Typ::from_name(typ)?,
            certificate: CertificateId::new(b64url_decode(certificate)?.try_into().ok()?),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = concat!(
        r#"{"alg":"ES256","cty":"cbor","iat":1790000000,"typ":"basoche-message","#,
        r#""x5t#S256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#
    );

    #[test]
    fn the_fixed_serialisation_is_read_and_written() {
        let header = Header::decode(GOOD.as_bytes()).unwrap();
        assert_eq!(header.issued_at, Instant::from_seconds(1_790_000_000));
        assert_eq!(header.encode(), GOOD.as_bytes());
    }

    /// Each replaced fragment is a way in which JOSE libraries have been led astray. josekit: A, B, C, G, K.
    #[test]
    fn every_other_header_is_refused() {
        let cases = [
            ("ES256", "none"),
            ("ES256", "HS256"),
            ("ES256", "es256"),
            ("ES256", "EdDSA"),
            (r#""cty":"cbor","#, ""),
            (r#""cty":"cbor","#, r#""cty":"cbor","crit":["x"],"x":1,"#),
            (r#""cty":"cbor","#, r#""b64":false,"crit":["b64"],"cty":"cbor","#),
            (r#""cty":"cbor","#, r#""cty":"cbor","jwk":{},"#),
            (r#""cty":"cbor","#, r#""cty":"cbor","kid":"k","#),
            (r#""cty":"cbor","#, r#""cty":"cbor","x5u":"https://example.org","#),
            (r#""cty":"cbor","#, r#""cty":"cbor","zip":"DEF","#),
            (r#""alg":"#, r#""alg":"ES256","alg":"#),
            ("1790000000", "01790000000"),
            ("1790000000", "+1790000000"),
            ("1790000000", "1790000000.0"),
            ("1790000000", "-1"),
            ("1790000000", "18446744073709551615"),
            ("basoche-message", "JWT"),
            ("AAA\"}", "AAB\"}"),  // non-zero trailing bits
            ("AAA\"}", "AAA=\"}"), // padding
            ("AAA\"}", "AA\"}"),
            ("AAA\"}", "AAA\" }"),
            (",", ", "),
        ];
        for (from, to) in cases {
            let forged = GOOD.replacen(from, to, 1);
            assert_ne!(forged, GOOD);
            assert!(Header::decode(forged.as_bytes()).is_err(), "{forged}");
        }
        assert!(Header::decode(&[0xff]).is_err());
    }
}
