//! The keys of stateless resets and retry tokens, for quinn. It has its own for either of two libraries of cryptography, and only
//! for the other one as soon as anything in the program asks for that: libp2p does.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey, HmacKey};

/// Makes the tokens of stateless resets, RFC 9000 §10.3.
pub(super) struct ResetKey(pub(super) hmac::Key);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(hmac::sign(&self.0, data).as_ref());
    }

    fn signature_len(&self) -> usize {
        self.0.algorithm().tag_len()
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        hmac::verify(&self.0, data, signature).map_err(|_| CryptoError)
    }
}

/// Seals the tokens of retries, RFC 9000 §8.1.2: each with a key of its own, derived from what is random in it.
pub(super) struct TokenKey(pub(super) hkdf::Prk);

impl HandshakeTokenKey for TokenKey {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        let info = [random_bytes];
        let expanded = self.0.expand(&info, &AES_256_GCM);
        let key = expanded.map(|key| LessSafeKey::new(UnboundKey::from(key)));
        Box::new(OneToken(key.ok()))
    }
}

/// The key of one token; none if it could not be derived, and then no token holds.
struct OneToken(Option<LessSafeKey>);

impl OneToken {
    fn key(&self) -> Result<(&LessSafeKey, Nonce), CryptoError> {
        let key = self.0.as_ref().ok_or(CryptoError)?;
        Ok((key, Nonce::assume_unique_for_key([0; 12])))
    }
}

impl AeadKey for OneToken {
    fn seal(&self, data: &mut Vec<u8>, additional_data: &[u8]) -> Result<(), CryptoError> {
        let (key, nonce) = self.key()?;
        let sealed = key.seal_in_place_append_tag(nonce, Aad::from(additional_data), data);
        sealed.map_err(|_| CryptoError)
    }

    fn open<'a>(&self, data: &'a mut [u8], additional_data: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        let (key, nonce) = self.key()?;
        let opened = key.open_in_place(nonce, Aad::from(additional_data), data);
        opened.map_err(|_| CryptoError)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_under_its_own_key_and_as_it_was_sealed() {
        let token_key = |secret: &[u8]| TokenKey(hkdf::Salt::new(hkdf::HKDF_SHA256, b"salt").extract(secret));
        let ours = token_key(&[1; 64]);
        let mut sealed = b"an address".to_vec();
        ours.aead_from_hkdf(b"random")
            .seal(&mut sealed, b"about")
            .unwrap();
        let opens = |key: &TokenKey, random: &[u8], about: &[u8], sealed: &[u8]| {
            let mut sealed = sealed.to_vec();
            let opened = key
                .aead_from_hkdf(random)
                .open(&mut sealed, about)
                .map(|plain| plain.to_vec());
            opened.ok()
        };
        assert_eq!(
            opens(&ours, b"random", b"about", &sealed),
            Some(b"an address".to_vec())
        );
        assert_eq!(opens(&token_key(&[2; 64]), b"random", b"about", &sealed), None);
        assert_eq!(opens(&ours, b"other", b"about", &sealed), None);
        assert_eq!(opens(&ours, b"random", b"else", &sealed), None);
        sealed[0] ^= 1;
        assert_eq!(opens(&ours, b"random", b"about", &sealed), None);
    }

    #[test]
    fn a_reset_is_known_by_its_key() {
        let key = |secret: &[u8]| ResetKey(hmac::Key::new(hmac::HMAC_SHA256, secret));
        let mut signature = vec![0; key(&[1; 64]).signature_len()];
        key(&[1; 64]).sign(b"connection", &mut signature);
        assert!(key(&[1; 64]).verify(b"connection", &signature).is_ok());
        assert!(key(&[1; 64]).verify(b"another", &signature).is_err());
        assert!(key(&[2; 64]).verify(b"connection", &signature).is_err());
    }
}
