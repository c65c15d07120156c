//! Signatures and key wraps: the only owner of `josekit`. SPEC §5.2, §5.5.
//!
//! Only its signers, verifiers and ECDH-ES key wrap are used; the first ES256 signature of a key is
//! verified by [`crate::crypto`], as josekit would. Its JSON and header parsers never see bytes from
//! outside: this crate parses headers itself, in their one fixed form, and checks every length before a call.
//!
//! Signing and wrapping draw their nonces inside OpenSSL. They are effects: nothing in this crate calls them, the
//! node does.

use std::fmt;
use std::sync::OnceLock;

use josekit::jwe::alg::ecdh_es::EcdhEsJweAlgorithm;
use josekit::jwe::{JweContext, JweDecrypter, JweHeader};
use josekit::jws::alg::ecdsa::EcdsaJwsAlgorithm;
use josekit::jws::alg::rsassa::RsassaJwsAlgorithm;
use josekit::jws::alg::rsassa_pss::RsassaPssJwsAlgorithm;
use josekit::jws::{JwsSigner, JwsVerifier};
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto;
use crate::id::{CertificateId, Digest, DossierId, SubjectId};
use crate::text::{b64url_decode, b64url_encode};
use crate::time::Instant;
use crate::wire::limits;
use crate::wire::number::numbers;

numbers! {
    /// A signature algorithm of RFC 7518 §3.1 that evidence may carry. ENV-14.
    Algorithm {
        /// ECDSA on P-256 with SHA-256, the default.
        Es256 = 1 "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = 2 "ES384",
        /// ECDSA on P-521 with SHA-512.
        Es512 = 3 "ES512",
        /// RSASSA-PSS with SHA-256.
        Ps256 = 4 "PS256",
        /// RSASSA-PSS with SHA-384.
        Ps384 = 5 "PS384",
        /// RSASSA-PSS with SHA-512.
        Ps512 = 6 "PS512",
        /// RSASSA-PKCS1-v1_5 with SHA-256: verified, produced only by tokens that have no PSS.
        Rs256 = 7 "RS256",
    }
}

impl Algorithm {
    /// Whether a signature claimed at `at` may use it. ENV-14: the table is dated (TS 119 312, ends of 2029-01-01).
    pub fn is_acceptable(self, at: Instant) -> bool {
        const RSA_PKCS1_ENDS: Instant = Instant::from_seconds(1_861_920_000);
        self != Self::Rs256 || at < RSA_PKCS1_ENDS
    }
}

/// A key or a token that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The key does not fit its algorithm, or is not in the stated form.
    #[error("the key does not fit its algorithm")]
    Unfit,
    /// The signature does not verify, or the wrap does not open.
    #[error("the signature or wrap does not hold")]
    Mismatch,
    /// The signer (a token, say) failed.
    #[error("the signer failed: {0}")]
    Signer(&'static str),
}

/// A public key bound to its one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    spki: Vec<u8>,
    /// Made for a key that is met again where it is known that it can be made: OpenSSL takes twice as long to read a key as to verify a
    /// signature, and most keys of a registry sign once.
    verifier: OnceLock<Verifier>,
    /// Set by the first signature.
    met: OnceLock<()>,
}

/// What comes before the point in the SubjectPublicKeyInfo of a key on P-256, RFC 5480 §2.1.1.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Whether `spki` is a point on P-256, in the one DER form of RFC 5480.
pub fn is_p256_spki(spki: &[u8]) -> bool {
    const BYTES: usize = 91;
    spki.len() == BYTES && VerifyingKey::from_spki(Algorithm::Es256, spki).is_ok()
}

#[derive(Clone)]
enum Verifier {
    Josekit(Box<dyn JwsVerifier>),
    #[cfg(feature = "test-util")]
    StandIn,
}

impl VerifyingKey {
    /// The key of a DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), for `algorithm` only.
    pub fn from_spki(algorithm: Algorithm, spki: &[u8]) -> Result<Self, KeyError> {
        let point = spki
            .strip_prefix(&P256_SPKI)
            .and_then(|point| point.try_into().ok());
        let key = Self {
            algorithm,
            spki: spki.to_vec(),
            verifier: OnceLock::new(),
            met: OnceLock::new(),
        };
        if algorithm != Algorithm::Es256 || !point.is_some_and(crypto::is_p256_point) {
            let _ = key.verifier.set(Verifier::read(algorithm, spki)?);
        }
        Ok(key)
    }

    /// A key whose signatures are [`stand_in`]s: what a simulator can afford by the million. Never in a program.
    #[cfg(feature = "test-util")]
    pub fn of_stand_in(spki: &[u8]) -> Self {
        Self {
            algorithm: Algorithm::Es256,
            spki: spki.to_vec(),
            verifier: OnceLock::from(Verifier::StandIn),
            met: OnceLock::new(),
        }
    }

    /// The one algorithm this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether both are one key under one algorithm.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.spki == other.spki
    }

    /// Verifies `signature` over a JWS signing input (RFC 7515 §5.2).
    pub fn verify(&self, signing_input: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let verifier = match self.verifier.get() {
            Some(verifier) => verifier,
            None if self.met.set(()).is_ok() => {
                let point = &self.spki[P256_SPKI.len()..];
                let holds = crypto::verifies_p256(point, signing_input, signature);
                return holds.then_some(()).ok_or(KeyError::Mismatch);
            }
            None => {
                let read = Verifier::read(self.algorithm, &self.spki)?;
                self.verifier.get_or_init(|| read)
            }
        };
        match verifier {
            Verifier::Josekit(verifier) => verifier
                .verify(signing_input, signature)
                .map_err(|_| KeyError::Mismatch),
            #[cfg(feature = "test-util")]
            Verifier::StandIn if signature == stand_in(&self.spki, signing_input) => Ok(()),
            #[cfg(feature = "test-util")]
            Verifier::StandIn => Err(KeyError::Mismatch),
        }
    }
}

impl Verifier {
    fn read(algorithm: Algorithm, spki: &[u8]) -> Result<Self, KeyError> {
        fn boxed<V: JwsVerifier + 'static, E>(
            verifier: Result<V, E>,
        ) -> Result<Box<dyn JwsVerifier>, KeyError> {
            verifier
                .map(|verifier| Box::new(verifier) as _)
                .map_err(|_| KeyError::Unfit)
        }
        let verifier = match algorithm {
            Algorithm::Es256 => boxed(EcdsaJwsAlgorithm::Es256.verifier_from_der(spki)),
            Algorithm::Es384 => boxed(EcdsaJwsAlgorithm::Es384.verifier_from_der(spki)),
            Algorithm::Es512 => boxed(EcdsaJwsAlgorithm::Es512.verifier_from_der(spki)),
            Algorithm::Ps256 => boxed(RsassaPssJwsAlgorithm::Ps256.verifier_from_der(spki)),
            Algorithm::Ps384 => boxed(RsassaPssJwsAlgorithm::Ps384.verifier_from_der(spki)),
            Algorithm::Ps512 => boxed(RsassaPssJwsAlgorithm::Ps512.verifier_from_der(spki)),
            Algorithm::Rs256 => boxed(RsassaJwsAlgorithm::Rs256.verifier_from_der(spki)),
        };
        verifier.map(Self::Josekit)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm)
    }
}

/// What stands in for an ES256 signature of the key `spki` in simulations: a digest, of the same length.
#[cfg(feature = "test-util")]
pub fn stand_in(spki: &[u8], signing_input: &[u8]) -> [u8; 64] {
    let half = crypto::sha256(&[b"stand-in signature", spki, signing_input]);
    std::array::from_fn(|index| half[index % 32])
}

/// Something that signs: a wallet, a token, a test. Its answers are checked like anybody's.
pub trait Signer: Send + Sync {
    /// The algorithm of its key.
    fn algorithm(&self) -> Algorithm;
    /// The certificate of its key.
    fn certificate(&self) -> CertificateId;
    /// Signs a JWS signing input: raw `R ‖ S` for ECDSA, as RFC 7518 §3.4 has it.
    fn sign(&self, signing_input: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// A private ES256 key in memory.
pub struct SoftwareKey {
    certificate: CertificateId,
    signer: Box<dyn JwsSigner>,
}

impl SoftwareKey {
    /// The key of a DER PKCS#8 structure (RFC 5958) on P-256, whose certificate is `certificate`.
    pub fn from_pkcs8(pkcs8: &[u8], certificate: CertificateId) -> Result<Self, KeyError> {
        let signer = EcdsaJwsAlgorithm::Es256
            .signer_from_der(pkcs8)
            .map_err(|_| KeyError::Unfit)?;
        Ok(Self {
            certificate,
            signer: Box::new(signer),
        })
    }
}

impl Signer for SoftwareKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn certificate(&self) -> CertificateId {
        self.certificate
    }

    fn sign(&self, signing_input: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.signer
            .sign(signing_input)
            .map_err(|_| KeyError::Signer("OpenSSL refused to sign"))
    }
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareKey({})", self.certificate)
    }
}

/// What a wrap is bound to, so that it cannot be shown as another's. KEY-3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrapContext {
    /// The dossier whose key it is.
    pub dossier: DossierId,
    /// The key epoch.
    pub epoch: u64,
    /// The node that can open it.
    pub recipient: SubjectId,
}

/// What the wrap of a document's key for a person is bound to. KEY-10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentWrapContext {
    /// The dossier that the document belongs to.
    pub dossier: DossierId,
    /// The document's tree root.
    pub root: Digest,
    /// The person who can open it.
    pub recipient: SubjectId,
}

/// What a wrap is bound to.
pub trait Binding {
    /// The `apv` of the JWE (RFC 7518 §4.6.1.3).
    fn party(&self) -> [u8; 32];
}

impl Binding for WrapContext {
    fn party(&self) -> [u8; 32] {
        crypto::sha256(&[
            b"basoche/wrap/1",
            self.dossier.as_bytes(),
            &self.epoch.to_be_bytes(),
            self.recipient.as_bytes(),
        ])
    }
}

impl Binding for DocumentWrapContext {
    fn party(&self) -> [u8; 32] {
        crypto::sha256(&[
            b"basoche/person-wrap/1",
            self.dossier.as_bytes(),
            self.root.as_bytes(),
            self.recipient.as_bytes(),
        ])
    }
}

/// The header of a wrap: these members and no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrapHeader {
    alg: String,
    enc: String,
    apv: String,
    epk: EphemeralKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EphemeralKey {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

/// Only `A256GCM`, never compression: what josekit would otherwise accept is listed in SPEC §5.5.
fn wrap_context() -> JweContext {
    let mut context = JweContext::new();
    context.remove_compression("DEF");
    for encryption in [
        "A128CBC-HS256",
        "A192CBC-HS384",
        "A256CBC-HS512",
        "A128GCM",
        "A192GCM",
    ] {
        context.remove_content_encryption(encryption);
    }
    context
}

/// Wraps a key for a node or a person: a compact JWE, `ECDH-ES+A256KW` with `A256GCM` (RFC 7516). KEY-3, KEY-10.
///
/// `recipient_spki` is the DER SubjectPublicKeyInfo of the recipient's P-256 encryption key. Draws randomness.
pub fn wrap(key: &[u8; 32], context: &impl Binding, recipient_spki: &[u8]) -> Result<String, KeyError> {
    let encrypter = EcdhEsJweAlgorithm::EcdhEsA256kw
        .encrypter_from_der(recipient_spki)
        .map_err(|_| KeyError::Unfit)?;
    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    header.set_agreement_partyvinfo(context.party());
    wrap_context()
        .serialize_compact(key, &header, &encrypter)
        .map_err(|_| KeyError::Signer("key wrap failed"))
}

/// A recipient's private encryption key in memory: opens wraps. Reading one costs more than opening a wrap.
pub struct DecryptionKey {
    decrypter: Box<dyn JweDecrypter>,
}

impl DecryptionKey {
    /// The key of a DER PKCS#8 structure (RFC 5958) on P-256.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let decrypter = EcdhEsJweAlgorithm::EcdhEsA256kw
            .decrypter_from_der(pkcs8)
            .map_err(|_| KeyError::Unfit)?;
        Ok(Self {
            decrypter: Box::new(decrypter),
        })
    }

    /// Opens a wrap. Every length and member is checked first. KEY-3.
    pub fn unwrap(&self, wrap: &str, context: &impl Binding) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        check_wrap(wrap, context)?;
        let (key, _) = wrap_context()
            .deserialize_compact(wrap, &*self.decrypter)
            .map_err(|_| KeyError::Mismatch)?;
        let key = Zeroizing::new(key);
        let key = <[u8; 32]>::try_from(key.as_slice()).map_err(|_| KeyError::Mismatch)?;
        Ok(Zeroizing::new(key))
    }
}

/// Refuses every wrap that is not exactly of our form, without any cryptography. KEY-4.
pub fn check_wrap(wrap: &str, context: &impl Binding) -> Result<(), KeyError> {
    const LENGTHS: [usize; 4] = [40, 12, 32, 16]; // encrypted key, iv, ciphertext, tag
    if wrap.len() > limits::WRAP_BYTES {
        return Err(KeyError::Mismatch);
    }
    let mut parts = wrap.split('.');
    let header = parts.next().and_then(b64url_decode).ok_or(KeyError::Mismatch)?;
    let header: WrapHeader = serde_json::from_slice(&header).map_err(|_| KeyError::Mismatch)?;
    for length in LENGTHS {
        let part = parts.next().and_then(b64url_decode).ok_or(KeyError::Mismatch)?;
        if part.len() != length {
            return Err(KeyError::Mismatch);
        }
    }
    let epk = &header.epk;
    let coordinates = [&epk.x, &epk.y]
        .iter()
        .all(|part| b64url_decode(part).is_some_and(|part| part.len() == 32));
    let exact = header.alg == "ECDH-ES+A256KW"
        && header.enc == "A256GCM"
        && header.apv == b64url_encode(&context.party())
        && epk.kty == "EC"
        && epk.crv == "P-256"
        && coordinates
        && parts.next().is_none();
    if exact { Ok(()) } else { Err(KeyError::Mismatch) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use josekit::jwe::ECDH_ES_A256KW;

    use super::*;

    fn context() -> WrapContext {
        WrapContext {
            dossier: DossierId::new([1; 32]),
            epoch: 0,
            recipient: SubjectId::new([2; 16]),
        }
    }

    fn forge(wrap: &str, part: usize, with: &str) -> String {
        let mut parts: Vec<_> = wrap.split('.').collect();
        parts[part] = with;
        parts.join(".")
    }

    #[test]
    fn a_wrap_opens_for_its_recipient_and_context_only() {
        let pair = ECDH_ES_A256KW
            .generate_ec_key_pair(josekit::jwk::alg::ec::EcCurve::P256)
            .unwrap();
        let other = ECDH_ES_A256KW
            .generate_ec_key_pair(josekit::jwk::alg::ec::EcCurve::P256)
            .unwrap();
        let wrapped = wrap(&[7; 32], &context(), &pair.to_der_public_key()).unwrap();
        let key = DecryptionKey::from_pkcs8(&pair.to_der_private_key()).unwrap();
        let other = DecryptionKey::from_pkcs8(&other.to_der_private_key()).unwrap();
        assert_eq!(*key.unwrap(&wrapped, &context()).unwrap(), [7; 32]);
        assert!(other.unwrap(&wrapped, &context()).is_err());
        let elsewhere = WrapContext {
            epoch: 1,
            ..context()
        };
        assert_eq!(key.unwrap(&wrapped, &elsewhere).unwrap_err(), KeyError::Mismatch);
    }

    /// The reproduced josekit defects: D (short tags), F (short encrypted key, a panic), G (`crit`), H (`zip`), I.
    #[test]
    fn wraps_that_josekit_mishandles_never_reach_it() {
        let pair = ECDH_ES_A256KW
            .generate_ec_key_pair(josekit::jwk::alg::ec::EcCurve::P256)
            .unwrap();
        let key = DecryptionKey::from_pkcs8(&pair.to_der_private_key()).unwrap();
        let good = wrap(&[7; 32], &context(), &pair.to_der_public_key()).unwrap();
        let header = String::from_utf8(b64url_decode(good.split('.').next().unwrap()).unwrap()).unwrap();
        let with_member = |member: &str| {
            let forged = header.replacen('{', &format!("{{{member},"), 1);
            forge(&good, 0, &b64url_encode(forged.as_bytes()))
        };
        let bad = [
            forge(&good, 1, &b64url_encode(&[0; 7])),  // F
            forge(&good, 4, &b64url_encode(&[0; 1])),  // D
            forge(&good, 4, &b64url_encode(&[0; 12])), // D
            forge(&good, 2, ""),
            with_member(r#""crit":["x"],"x":1"#), // G
            with_member(r#""zip":"DEF""#),        // H
            with_member(r#""apu":"AA""#),         // I
            with_member(r#""alg":"ECDH-ES""#),    // a member twice
            format!("{good}.AA"),
            good.replace('.', ""),
            // White space is no member, so that only the length tells it apart.
            forge(
                &good,
                0,
                &b64url_encode(format!("{header}{}", " ".repeat(200)).as_bytes()),
            ),
        ];
        for wrap in bad {
            assert_eq!(check_wrap(&wrap, &context()), Err(KeyError::Mismatch), "{wrap}");
            assert!(key.unwrap(&wrap, &context()).is_err());
        }
        check_wrap(&good, &context()).unwrap();
    }

    #[test]
    fn a_key_serves_its_one_algorithm() {
        let pair = josekit::jws::ES256.generate_key_pair().unwrap();
        let spki = pair.to_der_public_key();
        let key = VerifyingKey::from_spki(Algorithm::Es256, &spki).unwrap();
        for other in Algorithm::ALL.iter().filter(|other| **other != Algorithm::Es256) {
            assert!(VerifyingKey::from_spki(*other, &spki).is_err(), "{other}");
        }
        let signer =
            SoftwareKey::from_pkcs8(&pair.to_der_private_key(), CertificateId::new([0; 32])).unwrap();
        let signature = signer.sign(b"input").unwrap();
        assert_eq!(signature.len(), 64);
        key.verify(b"input", &signature).unwrap();
        assert!(key.verify(b"inpus", &signature).is_err());
        for degenerate in [vec![], vec![0; 64], vec![0xff; 64], vec![0; 63], vec![0; 65]] {
            assert!(key.verify(b"input", &degenerate).is_err());
        }
    }

    /// The first signature of a key is verified by another library than the rest: on all that anybody may send, both say the same.
    #[test]
    fn an_es256_signature_holds_if_and_only_if_josekit_says_so() {
        use p256::ecdsa::signature::Signer as _;
        use p256::pkcs8::EncodePublicKey;
        // The order of the group, big-endian.
        const ORDER: [u8; 32] = [
            0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
            0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
        ];
        let mut held = 0;
        for seed in 1..60_u8 {
            let secret = p256::ecdsa::SigningKey::from_bytes(&[seed; 32].into()).unwrap();
            let spki = secret.verifying_key().to_public_key_der().unwrap().into_vec();
            let fresh = || VerifyingKey::from_spki(Algorithm::Es256, &spki).unwrap();
            let theirs = EcdsaJwsAlgorithm::Es256.verifier_from_der(&spki).unwrap();
            let message = vec![seed; usize::from(seed)];
            let signature: p256::ecdsa::Signature = secret.sign(&message);
            let good = signature.to_bytes().to_vec();
            let with = |at: usize, half: &[u8; 32]| {
                let mut other = good.clone();
                other[at..at + 32].copy_from_slice(half);
                other
            };
            let negated = p256::ecdsa::Signature::from_scalars(signature.r(), -*signature.s()).unwrap();
            let mut tried = vec![
                good.clone(),
                negated.to_bytes().to_vec(),
                signature.to_der().as_bytes().to_vec(),
                good[..63].to_vec(),
                [&good[..], &[0]].concat(),
                vec![],
                vec![0; 64],
            ];
            for at in [0, 32] {
                tried.extend([with(at, &[0; 32]), with(at, &ORDER), with(at, &[0xff; 32])]);
            }
            for bit in 0..512 {
                let mut flipped = good.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                tried.push(flipped);
            }
            for signature in &tried {
                let (one, other) = (
                    fresh().verify(&message, signature).is_ok(),
                    theirs.verify(&message, signature).is_ok(),
                );
                assert_eq!(one, other, "{signature:02x?}");
                held += usize::from(one);
            }
            let again = fresh();
            for _ in 0..3 {
                again.verify(&message, &good).unwrap();
                assert!(again.verify(b"something else", &good).is_err());
            }
        }
        // The good one of each key, and the one with the other sign.
        assert_eq!(held, 2 * 59);
    }
}
