//! Hashes, key derivation and authenticated encryption. The only module of this crate that names `aws_lc_rs`.
//!
//! SHA-256 (FIPS 180-4), HMAC (RFC 2104), HKDF (RFC 5869), AES-256-GCM (SP 800-38D), and Ed25519 (RFC 8032) for
//! the notes of the registry; whether an ECDSA signature on P-256 holds. Whose it must be is the business of the JOSE module. Nothing here draws random bytes: keys, salts and nonces are arguments.

use core::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey, UnparsedPublicKey,
};
use aws_lc_rs::{aead, digest, hmac};
use zeroize::Zeroizing;

/// Bytes that AES-256-GCM adds to what it seals.
pub const TAG_BYTES: usize = 16;

/// Messages up to this length are joined on the stack, which spares the set-up of a hash context. An inner
/// node of a Merkle tree takes 65 bytes.
const JOINED_BYTES: usize = 256;

/// SHA-256 of the concatenation of `parts`. The caller sees to it that the parts cannot be cut differently.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    if let [whole] = parts {
        return bytes_of(&digest::digest(&digest::SHA256, whole));
    }
    if total <= JOINED_BYTES {
        let mut joined = [0; JOINED_BYTES];
        let mut end = 0;
        for part in parts {
            joined[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        return bytes_of(&digest::digest(&digest::SHA256, &joined[..total]));
    }
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finish()
}

/// SHA-256 of a message that arrives in pieces.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// The hash of nothing so far.
    #[must_use]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Appends `bytes` to the message.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was appended.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        bytes_of(&self.0.finish())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sha256").finish_non_exhaustive()
    }
}

/// HMAC-SHA-256 of the concatenation of `parts`, RFC 2104.
#[must_use]
pub fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    hmac(key, parts)
}

/// HKDF-SHA-256, RFC 5869: one block of 32 bytes from `key`, `salt` and the concatenation of `info`.
#[must_use]
pub fn hkdf_sha256(key: &[u8; 32], salt: &[u8], info: &[&[u8]]) -> [u8; 32] {
    hkdf(key, salt, info)
}

fn hkdf(key: &[u8], salt: &[u8], info: &[&[u8]]) -> [u8; 32] {
    // §2.2 extract, then the first block of §2.3 expand: T(1) = HMAC(PRK, info ‖ 0x01).
    let pseudorandom_key = Zeroizing::new(hmac(salt, &[key]));
    let mut expand = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &*pseudorandom_key));
    info.iter().for_each(|part| expand.update(part));
    expand.update(&[1]);
    bytes_of(&expand.sign())
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    bytes_of(&context.sign())
}

/// The bytes are not what the holder of the key sealed under this nonce and these associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes are not authentic")]
pub struct OpenError;

/// An AES-256-GCM key, erased from memory when dropped. No nonce may be used twice to seal under one key.
pub struct AeadKey(aead::LessSafeKey);

impl AeadKey {
    /// Takes over a key of 32 bytes. The caller erases its own copy.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        // Unwrap safety: the only cause of failure is a key of another length.
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).expect("32 bytes");
        Self(aead::LessSafeKey::new(key))
    }

    /// Encrypts `data` where it stands and appends the tag of [`TAG_BYTES`].
    pub fn seal_in_place(&self, nonce: [u8; 12], aad: &[u8], data: &mut Vec<u8>) {
        let tag = self.seal_slice(nonce, aad, data);
        data.extend_from_slice(&tag);
    }

    /// Encrypts `data` where it stands and returns the tag, for a segment inside a larger buffer.
    pub fn seal_slice(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), data);
        // Unwrap safety: the only cause of failure is more than 64 GiB at once; no caller holds so much.
        bytes_of(&sealed.expect("less than 64 GiB"))
    }

    /// Checks the tag at the end of `data` and decrypts what stands before it, which is returned. Whatever
    /// the outcome, `data` no longer holds the ciphertext; after an error it holds nothing of use.
    pub fn open_in_place<'a>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place(nonce, aead::Aad::from(aad), data)
            .map_err(|_| OpenError)
    }

    /// Checks `tag` and decrypts `data` where it stands, for a segment inside a larger buffer. After an error
    /// `data` holds nothing of use.
    pub fn open_slice(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), OpenError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let opened = self
            .0
            .open_in_place_separate_tag(nonce, aead::Aad::from(aad), tag, data);
        opened.map(|_| ()).map_err(|_| OpenError)
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

/// Whether `signature` is that of the holder of `public` over `message`, RFC 8032 §5.1.7.
#[must_use]
pub fn ed25519_verifies(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public)
        .verify(message, signature)
        .is_ok()
}

/// Whether `point` is an uncompressed point on P-256 (SEC 1 §2.3.3), and not that at infinity.
pub(crate) fn is_p256_point(point: &[u8; 65]) -> bool {
    point[0] == 4 && ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok()
}

/// Whether `signature`, raw `R ‖ S`, is that of the key at `point` over `message`: ECDSA on P-256 with SHA-256, FIPS 186-5.
pub(crate) fn verifies_p256(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(message, signature).is_ok()
}

/// An Ed25519 key. Its signatures depend on the key and the message alone, RFC 8032 §5.1.6.
pub struct Ed25519Key(Ed25519KeyPair);

impl Ed25519Key {
    /// Takes over the 32 bytes of a private key (RFC 8032 §5.1.5). The caller erases its own copy.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        // Unwrap safety: the only cause of failure is a seed of another length.
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes"))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        bytes_of(self.0.public_key())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        bytes_of(&self.0.sign(message))
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Key(..)")
    }
}

/// Copies out a digest, tag or signature, whose length the algorithm fixes.
fn bytes_of<const N: usize>(value: &impl AsRef<[u8]>) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(value.as_ref());
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::text::{hex_decode, hex_encode};

    /// FIPS 180-2 appendix B.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const MILLION_A: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

    #[test]
    fn sha256_follows_fips_180() {
        assert_eq!(hex_encode(&sha256(&[b"abc"])), ABC);
        assert_eq!(hex_encode(&sha256(&[b"a", b"", b"bc"])), ABC);
        assert_eq!(
            hex_encode(&sha256(&[b"a".repeat(999_999).as_slice(), b"a"])),
            MILLION_A
        );
        assert_eq!(sha256(&[]), Sha256::default().finish());
    }

    #[test]
    fn a_hash_does_not_depend_on_the_pieces() {
        for total in [
            0,
            1,
            63,
            64,
            65,
            JOINED_BYTES - 1,
            JOINED_BYTES,
            JOINED_BYTES + 1,
            1000,
        ] {
            let message = vec![7; total];
            let (head, tail) = message.split_at(total / 3);
            let mut pieces = Sha256::new();
            pieces.update(head);
            let mut fork = pieces.clone();
            pieces.update(tail);
            fork.update(b"other");
            assert_eq!(sha256(&[head, tail]), sha256(&[&message]));
            assert_eq!(pieces.finish(), sha256(&[&message]));
            assert_eq!(fork.finish(), sha256(&[head, b"other"]));
        }
    }

    #[test]
    fn hmac_follows_rfc_4231() {
        // Case 1, whose key of 20 bytes RFC 2104 pads with zeros, as it does ours to the block length.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let tag = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex_encode(&hmac_sha256(&key, &[b"Hi ", b"There"])), tag);
    }

    #[test]
    fn hkdf_follows_rfc_5869() {
        // A.1: the first 32 of 42 bytes of output.
        let salt = hex_decode("000102030405060708090a0b0c").unwrap();
        let info = hex_decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        assert_eq!(
            hex_encode(&hkdf(&[0x0b; 22], &salt, &[&info[..4], &info[4..]])),
            okm
        );
        // A.3: no salt, no info.
        let okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        assert_eq!(hex_encode(&hkdf(&[0x0b; 22], &[], &[])), okm);
        assert_eq!(
            hkdf_sha256(&[1; 32], &salt, &[&info]),
            hkdf(&[1; 32], &salt, &[&info])
        );
    }

    /// The Galois/Counter Mode of Operation (McGrew and Viega), appendix B, test case 16.
    #[test]
    fn aes_256_gcm_follows_its_authors_test_case() {
        let key = hex_decode(&"feffe9928665731c6d6a8f9467308308".repeat(2))
            .unwrap()
            .try_into()
            .unwrap();
        let nonce = hex_decode("cafebabefacedbaddecaf888")
            .unwrap()
            .try_into()
            .unwrap();
        let aad = hex_decode("feedfacedeadbeeffeedfacedeadbeefabaddad2").unwrap();
        let plaintext = hex_decode(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        )
        .unwrap();
        let sealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                      8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                      76fc6ece0f4e1768cddf8853bb2d551b";

        let key = AeadKey::new(&key);
        let mut data = plaintext.clone();
        key.seal_in_place(nonce, &aad, &mut data);
        assert_eq!(hex_encode(&data), sealed);

        let mut slice = plaintext.clone();
        let tag = key.seal_slice(nonce, &aad, &mut slice);
        assert_eq!([&slice[..], &tag].concat(), data);
        key.open_slice(nonce, &aad, &mut slice, &tag).unwrap();
        assert_eq!(slice, plaintext);
        assert_eq!(key.open_in_place(nonce, &aad, &mut data).unwrap(), plaintext);
    }

    #[test]
    fn a_changed_tag_text_nonce_key_or_context_does_not_open() {
        let key = AeadKey::new(&[1; 32]);
        let mut sealed = b"dire".to_vec();
        key.seal_in_place([2; 12], b"context", &mut sealed);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 0x10;
            assert_eq!(
                key.open_in_place([2; 12], b"context", &mut changed),
                Err(OpenError)
            );
        }
        for short in 0..sealed.len() {
            assert_eq!(
                key.open_in_place([2; 12], b"context", &mut sealed[..short].to_vec()),
                Err(OpenError)
            );
        }
        assert_eq!(
            key.open_in_place([3; 12], b"context", &mut sealed.clone()),
            Err(OpenError)
        );
        assert_eq!(
            key.open_in_place([2; 12], b"", &mut sealed.clone()),
            Err(OpenError)
        );
        let other = AeadKey::new(&[9; 32]);
        assert_eq!(
            other.open_in_place([2; 12], b"context", &mut sealed.clone()),
            Err(OpenError)
        );
        assert_eq!(
            key.open_slice([2; 12], b"context", &mut sealed[..4].to_vec(), &[0; 16]),
            Err(OpenError)
        );
        assert_eq!(
            key.open_in_place([2; 12], b"context", &mut sealed).unwrap(),
            b"dire"
        );
    }

    /// RFC 8032 §7.1, test 2.
    #[test]
    fn ed25519_follows_rfc_8032() {
        let bytes = |hex: &str| hex_decode(hex).unwrap();
        let seed = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        let key = Ed25519Key::new(&seed.try_into().unwrap());
        assert_eq!(key.public().to_vec(), public);
        assert_eq!(key.sign(&[0x72]).to_vec(), signature);
        let mut signature: [u8; 64] = signature.try_into().unwrap();
        assert!(ed25519_verifies(&key.public(), &[0x72], &signature));
        assert!(!ed25519_verifies(&key.public(), &[0x73], &signature));
        assert!(!ed25519_verifies(&[0; 32], &[0x72], &signature));
        signature[40] ^= 1;
        assert!(!ed25519_verifies(&key.public(), &[0x72], &signature));
    }

    #[test]
    fn a_key_does_not_show_when_printed() {
        assert_eq!(format!("{:?}", Ed25519Key::new(&[1; 32])), "Ed25519Key(..)");
        assert_eq!(format!("{:?}", AeadKey::new(&[1; 32])), "AeadKey(..)");
    }
}
