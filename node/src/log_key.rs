//! The key that signs an authority's checkpoints: Ed25519, in a file, sealed under a passphrase. SPEC §9.6, LOG-3.

use std::path::Path;

use basoche_protocol::crypto::Ed25519Key;
use basoche_protocol::text::{b64url_decode, b64url_encode};
use basoche_registry::log::{Key, KeyKind};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::effects::random;
use crate::files::write_new;
use crate::wallet::{WalletError, cipher};

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u64,
    /// The public half, as anchors have it.
    vkey: String,
    salt: String,
    sealed_key: String,
}

/// The nonce of the one thing that is sealed under a file's salt.
const NONCE: [u8; 12] = [0; 12];

/// An open log key.
pub struct LogKey {
    /// The public half.
    pub key: Key,
    secret: Ed25519Key,
}

impl LogKey {
    /// Makes the key of the log `origin` and writes it to `path`; never replaces a file. Gives the public half.
    pub fn create(path: &Path, origin: &str, passphrase: &SecretString) -> Result<Key, WalletError> {
        let damaged = |what| WalletError::Damaged {
            path: path.to_owned(),
            what,
        };
        let seed = Zeroizing::new(random::<32>());
        let public = Ed25519Key::new(&seed).public();
        let key = Key::new(origin, KeyKind::Log, public)
            .ok_or_else(|| damaged("the origin cannot be a key's name"))?;
        let (salt, vkey): ([u8; 16], _) = (random(), key.to_string());
        let cipher = cipher(passphrase, &salt).ok_or_else(|| damaged("argon2 failed"))?;
        let mut sealed = seed.to_vec();
        cipher.seal_in_place(NONCE, vkey.as_bytes(), &mut sealed);
        let stored = Stored {
            v: 1,
            vkey,
            salt: b64url_encode(&salt),
            sealed_key: b64url_encode(&sealed),
        };
        let json = serde_json::to_vec_pretty(&stored).map_err(|_| damaged("it cannot be written as JSON"))?;
        write_new(path, &json, 0o600).map_err(|source| WalletError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(key)
    }

    /// Opens the key at `path`.
    pub fn open(path: &Path, passphrase: &SecretString) -> Result<Self, WalletError> {
        let bytes = std::fs::read(path).map_err(|source| WalletError::File {
            path: path.to_owned(),
            source,
        })?;
        let damaged = |what| WalletError::Damaged {
            path: path.to_owned(),
            what,
        };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| damaged("it is not a log key"))?;
        if stored.v != 1 {
            return Err(damaged("it is of another version"));
        }
        let decode = |text: &str| b64url_decode(text).ok_or_else(|| damaged("a field is not base64url"));
        let (salt, sealed) = (decode(&stored.salt)?, decode(&stored.sealed_key)?);
        let cipher = cipher(passphrase, &salt).ok_or_else(|| damaged("the salt is too short"))?;
        let mut sealed = Zeroizing::new(sealed);
        let opened = cipher.open_in_place(NONCE, stored.vkey.as_bytes(), &mut sealed);
        let seed = opened.map_err(|_| WalletError::WrongPassphrase {
            path: path.to_owned(),
        })?;
        let seed: &[u8; 32] = (&*seed)
            .try_into()
            .map_err(|_| damaged("the key is not one of Ed25519"))?;
        let key = Key::parse(&stored.vkey).ok_or_else(|| damaged("its public half cannot be read"))?;
        let secret = Ed25519Key::new(seed);
        if secret.public() != *key.public() {
            return Err(damaged("its halves are not of one key"));
        }
        Ok(Self { key, secret })
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_log_key_opens_with_its_passphrase_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        let right = SecretString::from("right".to_owned());
        let key = LogKey::create(&path, "bar.example", &right).unwrap();
        let opened = LogKey::open(&path, &right).unwrap();
        assert_eq!(opened.key, key);
        let wrong = LogKey::open(&path, &SecretString::from("wrong".to_owned()));
        assert!(matches!(wrong, Err(WalletError::WrongPassphrase { .. })));
        assert!(matches!(
            LogKey::create(&path, "bar.example", &right),
            Err(WalletError::File { .. })
        ));
        std::fs::write(&path, b"{}").unwrap();
        assert!(matches!(
            LogKey::open(&path, &right),
            Err(WalletError::Damaged { .. })
        ));
    }
}
