//! The key with which a node cosigns checkpoints: Ed25519, in a file of the data directory, sealed under the storage key.
//! SPEC §9.6, LOG-3 and LOG-13.
//!
//! It is in no backup: a store that is set back has forgotten what was cosigned, and must not go on under the same key.

use std::path::{Path, PathBuf};

use basoche_protocol::crypto::Ed25519Key;
use basoche_protocol::time::Instant;
use basoche_registry::log::{Key, KeyKind};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::effects::random;
use crate::files::write_new;
use crate::keys::KeysError;
use crate::vault::StorageKey;

/// In the data directory.
const FILE: &str = "keys/witness.key";
const PURPOSE: &str = "witness key";

/// The file, opened. Secret: no `Debug`, no `Display`.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Stored {
    name: String,
    seed: [u8; 32],
}

/// An open witness key.
pub struct WitnessKey {
    /// The public half, as policies have it.
    pub key: Key,
    secret: Ed25519Key,
}

impl WitnessKey {
    /// Where the key of the node with that data directory is, if it is a witness.
    pub fn path(data: &Path) -> PathBuf {
        data.join(FILE)
    }

    /// Makes a key of that name under `data`; never replaces one.
    ///
    /// # Errors
    /// The name cannot be a key's: it is empty, too long, or has a space or a `+`. There is a key. The file cannot be
    /// written.
    pub fn create(data: &Path, storage: &StorageKey, name: &str) -> Result<Self, KeysError> {
        let path = Self::path(data);
        let damaged = |what: String| KeysError::Damaged {
            path: path.clone(),
            what,
        };
        let stored = Stored {
            name: name.to_owned(),
            seed: random(),
        };
        let made = Self::of(&stored).ok_or_else(|| damaged(format!("{name:?} cannot be a key's name")))?;
        let plain = Zeroizing::new(serde_json::to_vec(&stored).map_err(|error| damaged(error.to_string()))?);
        let sealed = storage.seal_file(PURPOSE, &plain);
        let sealed = sealed.map_err(|error| damaged(error.to_string()))?;
        write_new(&path, &sealed, 0o600).map_err(|source| KeysError::File {
            path: path.clone(),
            source,
        })?;
        Ok(made)
    }

    /// Reads the key under `data`; `None` if the node is no witness.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it should be.
    pub fn open(data: &Path, storage: &StorageKey) -> Result<Option<Self>, KeysError> {
        let path = Self::path(data);
        let damaged = |what: String| KeysError::Damaged {
            path: path.clone(),
            what,
        };
        let sealed = match std::fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeysError::File { path, source }),
        };
        let plain = storage.open_file(PURPOSE, sealed);
        let plain = plain.map_err(|error| damaged(error.to_string()))?;
        let stored: Stored = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        let key = Self::of(&stored).ok_or_else(|| damaged("its name cannot be a key's".into()))?;
        Ok(Some(key))
    }

    fn of(stored: &Stored) -> Option<Self> {
        let secret = Ed25519Key::new(&stored.seed);
        let key = Key::new(&stored.name, KeyKind::Cosigner, secret.public())?;
        Some(Self { key, secret })
    }

    /// Cosigns `text` as seen at `at`, to the second.
    pub fn cosign(&self, text: &str, at: Instant) -> [u8; 64] {
        self.secret.sign(&self.key.message(text, at))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_key_opens_under_its_storage_key_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        let storage = StorageKey::from_bytes([7; 32]);
        assert!(WitnessKey::open(dir.path(), &storage).unwrap().is_none());
        let bad = WitnessKey::create(dir.path(), &storage, "with space");
        assert!(matches!(bad, Err(KeysError::Damaged { .. })));
        assert!(WitnessKey::open(dir.path(), &storage).unwrap().is_none());
        let made = WitnessKey::create(dir.path(), &storage, "court.example/witness").unwrap();
        let opened = WitnessKey::open(dir.path(), &storage).unwrap().unwrap();
        assert_eq!(opened.key, made.key);
        assert_eq!(opened.key.kind(), KeyKind::Cosigner);
        let again = WitnessKey::create(dir.path(), &storage, "court.example/witness");
        assert!(matches!(again, Err(KeysError::File { .. })));
        let other = WitnessKey::open(dir.path(), &StorageKey::from_bytes([8; 32]));
        assert!(matches!(other, Err(KeysError::Damaged { .. })));
    }
}
