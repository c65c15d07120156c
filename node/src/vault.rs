//! The storage key: what it is made from, what is derived from it, and files sealed under it. DESIGN §5.
//!
//! A random storage key is made once and kept in `vault.json`, wrapped under a key that Argon2id (RFC 9106)
//! derives from the passphrase. From it, HKDF (RFC 5869) derives separate keys for row names, row values and
//! files. Whoever has the disk without the passphrase learns sizes and counts of rows, nothing else. Who has
//! both reads all that the node can read. Without the passphrase the data is lost.

mod sealed;

pub use sealed::SealedStore;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use basoche_protocol::text::{hex_decode, hex_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::files;

/// The file of the wrapped storage key, in the data directory.
pub const VAULT_FILE: &str = "vault.json";

/// Bytes that sealing adds: a nonce in front and a tag behind.
pub const SEAL_BYTES: usize = NONCE_LEN + TAG_BYTES;

const TAG_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
/// A vault file is a few hundred bytes; more is not read.
const MAX_VAULT_BYTES: u64 = 4096;

/// Work of one passphrase derivation.
#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// RFC 9106 §4, second recommended option, with one lane: 64 MiB, three passes.
const DEFAULT_COST: Cost = Cost {
    memory_kib: 64 << 10,
    passes: 3,
    lanes: 1,
};
/// What a vault file may ask for, so that a changed one cannot exhaust the machine: 1 GiB.
const MAX_COST: Cost = Cost {
    memory_kib: 1 << 20,
    passes: 16,
    lanes: 16,
};

/// Why the vault or a sealed file does not open.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The passphrase does not unwrap the storage key (or the file was changed: the two look the same).
    #[error(
        "the passphrase does not open {}: check where this node takes it from (passphrase file, systemd \
         credential or prompt), and that the data directory is this node's", path.display()
    )]
    WrongPassphrase {
        /// The vault file.
        path: PathBuf,
    },
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty: give one in the passphrase file, systemd credential or prompt")]
    EmptyPassphrase,
    /// There is no vault file.
    #[error("{} is missing: check the data directory and that its volume is mounted, or initialise the node", path.display())]
    Missing {
        /// The vault file.
        path: PathBuf,
    },
    /// A vault is to be created where one exists. It is never replaced: all data hangs on it.
    #[error("{} exists already: open it, or choose an empty data directory", path.display())]
    Exists {
        /// The vault file.
        path: PathBuf,
    },
    /// The vault file is not one that this program writes.
    #[error("{} is damaged ({what}): restore it from a backup; no data can be read without it", path.display())]
    Damaged {
        /// The vault file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A sealed file was changed, belongs to another purpose, or was sealed under another storage key.
    #[error(
        "the sealed file for {purpose} does not open under this node's storage key: restore it from a backup"
    )]
    NotOurs {
        /// What the file is for.
        purpose: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The random source or the key derivation failed: out of memory, as a rule.
    #[error("{what} failed: check the memory that the node may use")]
    Crypto {
        /// Which operation.
        what: &'static str,
    },
}

/// The root of everything sealed at rest: 32 random bytes, wiped from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StorageKey([u8; 32]);

impl StorageKey {
    /// A key from bytes made elsewhere: a token, a systemd credential, or a test.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Seals the content of a small file under `<data>/keys/`; `purpose` names it and must be given again to open it.
    pub fn seal_file(&self, purpose: &str, content: &[u8]) -> Result<Vec<u8>, VaultError> {
        seal(&self.derive(Label::File), purpose.as_bytes(), content).ok_or(VaultError::Crypto {
            what: "sealing a file",
        })
    }

    /// Opens what [`seal_file`](Self::seal_file) made for the same purpose.
    pub fn open_file(&self, purpose: &str, sealed: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        open_sealed(&self.derive(Label::File), purpose.as_bytes(), sealed)
            .map(Zeroizing::new)
            .ok_or_else(|| VaultError::NotOurs {
                purpose: purpose.into(),
            })
    }

    fn derive(&self, label: Label) -> Zeroizing<[u8; 32]> {
        let label = match label {
            Label::RowNames => b"basoche/1 row names",
            Label::RowValue => b"basoche/1 row value",
            Label::File => b"basoche/1 key files",
        };
        let mut key = Zeroizing::new([0; 32]);
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"basoche storage key").extract(&self.0);
        // Unwrap safety: HKDF fails only for outputs over 255 digests; this is one, of the length asked for.
        #[allow(clippy::unwrap_used)]
        root.expand(&[label.as_slice()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut()))
            .unwrap();
        key
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey(redacted)")
    }
}

/// What a key derived from the storage key is for.
#[derive(Clone, Copy)]
enum Label {
    RowNames,
    RowValue,
    File,
}

/// Makes a new storage key and writes `<dir>/vault.json` (mode 0600), durable on return.
///
/// Takes a few tenths of a second and 64 MiB. An existing vault is never replaced.
pub fn create(dir: &Path, passphrase: &SecretString) -> Result<StorageKey, VaultError> {
    create_at_cost(dir, passphrase, DEFAULT_COST)
}

/// Opens `<dir>/vault.json`.
pub fn open(dir: &Path, passphrase: &SecretString) -> Result<StorageKey, VaultError> {
    let path = dir.join(VAULT_FILE);
    let bytes = read_limited(&path)?;
    let damaged = |what: &str| VaultError::Damaged {
        path: path.clone(),
        what: what.into(),
    };
    let file: VaultFile = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
    if file.v != 1 || file.kdf != "argon2id" {
        return Err(damaged("made by a newer version"));
    }
    if file.m > MAX_COST.memory_kib || file.t > MAX_COST.passes || file.p > MAX_COST.lanes {
        return Err(damaged("the derivation costs more than the limit"));
    }
    let cost = Cost {
        memory_kib: file.m,
        passes: file.t,
        lanes: file.p,
    };
    let salt = hex_decode(&file.salt).filter(|salt| salt.len() == SALT_BYTES);
    let salt = salt.ok_or_else(|| damaged("salt"))?;
    let check = hex_decode(&file.check).filter(|check| check.len() == 32 + SEAL_BYTES);
    let check = check.ok_or_else(|| damaged("check"))?;
    let wrapping_key = stretch(passphrase, &salt, cost)?;
    let key = open_sealed(&wrapping_key, &wrap_context(cost), check).map(Zeroizing::new);
    let key = key.ok_or_else(|| VaultError::WrongPassphrase { path: path.clone() })?;
    <[u8; 32]>::try_from(key.as_slice())
        .map(StorageKey)
        .map_err(|_| damaged("check"))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultFile {
    v: u32,
    kdf: String,
    m: u32,
    t: u32,
    p: u32,
    salt: String,
    check: String,
}

fn create_at_cost(dir: &Path, passphrase: &SecretString, cost: Cost) -> Result<StorageKey, VaultError> {
    let path = dir.join(VAULT_FILE);
    let failed = VaultError::Crypto {
        what: "making a storage key",
    };
    let mut key = StorageKey([0; 32]);
    let mut salt = [0; SALT_BYTES];
    if rand::fill(&mut key.0)
        .and_then(|()| rand::fill(&mut salt))
        .is_err()
    {
        return Err(failed);
    }
    let wrapping_key = stretch(passphrase, &salt, cost)?;
    let check = seal(&wrapping_key, &wrap_context(cost), &key.0).ok_or(failed)?;
    let file = VaultFile {
        v: 1,
        kdf: "argon2id".into(),
        m: cost.memory_kib,
        t: cost.passes,
        p: cost.lanes,
        salt: hex_encode(&salt),
        check: hex_encode(&check),
    };
    let mut json = serde_json::to_vec(&file).map_err(|error| VaultError::Io {
        path: path.clone(),
        source: error.into(),
    })?;
    json.push(b'\n');
    files::write_new(&path, &json, 0o600).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => VaultError::Exists { path },
        _ => VaultError::Io { path, source: error },
    })?;
    Ok(key)
}

fn read_limited(path: &Path) -> Result<Vec<u8>, VaultError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => VaultError::Missing { path: path.into() },
        _ => VaultError::Io {
            path: path.into(),
            source,
        },
    };
    if fs::metadata(path).map_err(error)?.len() > MAX_VAULT_BYTES {
        return Err(VaultError::Damaged {
            path: path.into(),
            what: "too long".into(),
        });
    }
    fs::read(path).map_err(error)
}

/// What the wrapping is bound to: its purpose and the derivation's cost.
fn wrap_context(cost: Cost) -> Vec<u8> {
    format!(
        "basoche/1 vault argon2id m={} t={} p={}",
        cost.memory_kib, cost.passes, cost.lanes
    )
    .into_bytes()
}

fn stretch(passphrase: &SecretString, salt: &[u8], cost: Cost) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let passphrase = passphrase.expose_secret();
    if passphrase.is_empty() {
        return Err(VaultError::EmptyPassphrase);
    }
    let mut key = Zeroizing::new([0; 32]);
    Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .and_then(|params| {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
        })
        .map_err(|_| VaultError::Crypto {
            what: "deriving a key from the passphrase",
        })?;
    Ok(key)
}

/// Nonce, ciphertext, tag of AES-256-GCM. `None` if the random source fails or `content` is beyond GCM's limit.
fn seal(key: &[u8; 32], context: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).ok()?;
    let mut sealed = Vec::with_capacity(content.len() + SEAL_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(content);
    let tag = cipher(key)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut sealed[NONCE_LEN..],
        )
        .ok()?;
    sealed.extend_from_slice(tag.as_ref());
    Some(sealed)
}

/// The content that [`seal`] was given; `None` if any byte, the key or the context differs.
fn open_sealed(key: &[u8; 32], context: &[u8], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher(key)
        .open_in_place(nonce, Aad::from(context), body)
        .ok()?
        .len();
    sealed.copy_within(NONCE_LEN..NONCE_LEN + length, 0);
    sealed.truncate(length);
    Some(sealed)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    // Unwrap safety: the only error is a key of the wrong length, and the type fixes it.
    #[allow(clippy::unwrap_used)]
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const CHEAP: Cost = Cost {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    fn passphrase(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn the_key_that_was_made_is_the_key_that_opens() {
        let dir = tempfile::tempdir().unwrap();
        let made = create(dir.path(), &passphrase("correct")).unwrap();
        assert_ne!(made.0, [0; 32]);
        assert_eq!(open(dir.path(), &passphrase("correct")).unwrap().0, made.0);
        let path = dir.path().join(VAULT_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            (&json["v"], &json["kdf"], &json["m"]),
            (&1.into(), &"argon2id".into(), &65536.into())
        );
        assert_eq!(format!("{made:?}"), "StorageKey(redacted)");
    }

    #[test]
    fn a_wrong_passphrase_says_so_and_where_to_look() {
        let dir = tempfile::tempdir().unwrap();
        create_at_cost(dir.path(), &passphrase("correct"), CHEAP).unwrap();
        let error = open(dir.path(), &passphrase("wrong")).unwrap_err();
        assert!(matches!(error, VaultError::WrongPassphrase { .. }));
        assert!(error.to_string().contains("passphrase file"), "{error}");
        assert!(matches!(
            open(dir.path(), &passphrase("")),
            Err(VaultError::EmptyPassphrase)
        ));
        assert!(matches!(
            create(dir.path(), &passphrase("")),
            Err(VaultError::EmptyPassphrase)
        ));
    }

    #[test]
    fn a_vault_is_never_replaced_nor_made_by_opening() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            open(dir.path(), &passphrase("p")),
            Err(VaultError::Missing { .. })
        ));
        let first = create_at_cost(dir.path(), &passphrase("p"), CHEAP).unwrap();
        let again = create_at_cost(dir.path(), &passphrase("p"), CHEAP);
        assert!(matches!(again, Err(VaultError::Exists { .. })));
        assert_eq!(open(dir.path(), &passphrase("p")).unwrap().0, first.0);
        let absent = create_at_cost(&dir.path().join("absent"), &passphrase("p"), CHEAP);
        assert!(matches!(absent, Err(VaultError::Io { .. })));
    }

    #[test]
    fn a_changed_vault_file_is_refused_without_much_work() {
        let dir = tempfile::tempdir().unwrap();
        create_at_cost(dir.path(), &passphrase("p"), CHEAP).unwrap();
        let path = dir.path().join(VAULT_FILE);
        let good = fs::read_to_string(&path).unwrap();
        let open_changed = |from: &str, to: &str| {
            assert!(good.contains(from));
            fs::write(&path, good.replacen(from, to, 1)).unwrap();
            open(dir.path(), &passphrase("p")).unwrap_err()
        };
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("argon2id", "scrypt"),
            ("\"m\":8", "\"m\":4000000000"),
            ("\"t\":1", "\"t\":1000000"),
            ("\"salt\":\"", "\"salt\":\"00"),
            ("\"check\":\"", "\"check\":\"zz"),
            ("{", "{\"more\":1,"),
            ("}", ""),
        ] {
            assert!(
                matches!(open_changed(from, to), VaultError::Damaged { .. }),
                "{from} -> {to}"
            );
        }
        // The cost is bound to the wrapped key.
        assert!(matches!(
            open_changed("\"t\":1", "\"t\":2"),
            VaultError::WrongPassphrase { .. }
        ));
        fs::write(&path, vec![b' '; 5000]).unwrap();
        assert!(matches!(
            open(dir.path(), &passphrase("p")),
            Err(VaultError::Damaged { .. })
        ));
    }

    #[test]
    fn a_sealed_file_opens_for_its_purpose_and_key_only() {
        let key = StorageKey([1; 32]);
        let sealed = key.seal_file("seal-key", b"secret").unwrap();
        assert_eq!(sealed.len(), 6 + SEAL_BYTES);
        assert_ne!(
            sealed,
            key.seal_file("seal-key", b"secret").unwrap(),
            "each sealing is fresh"
        );
        assert_eq!(
            key.open_file("seal-key", sealed.clone()).unwrap().as_slice(),
            b"secret"
        );
        let refused = |key: &StorageKey, purpose, sealed: &[u8]| {
            assert!(matches!(
                key.open_file(purpose, sealed.to_vec()),
                Err(VaultError::NotOurs { .. })
            ));
        };
        refused(&key, "transport-key", &sealed);
        refused(&StorageKey([2; 32]), "seal-key", &sealed);
        refused(&key, "seal-key", &sealed[..sealed.len() - 1]);
        refused(&key, "seal-key", b"");
        for offset in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[offset] ^= 1;
            refused(&key, "seal-key", &changed);
        }
    }

    #[test]
    fn the_derivations_are_fixed() {
        // A change here would lock every existing vault. Both values also come out of argon2-cffi and of Python's hmac.
        let key = stretch(&passphrase("passphrase"), &[7; SALT_BYTES], CHEAP).unwrap();
        assert_eq!(
            hex_encode(key.as_ref()),
            "f7a532bd11b673546936e975e1b7a1afa19629123d31092a8149ca2ae6a80b0e"
        );
        let key = StorageKey([1; 32]).derive(Label::RowValue);
        assert_eq!(
            hex_encode(key.as_ref()),
            "32175b4bf21843db2fddebe1c8ced846a078937fae3de2a98664a8a3a652b949"
        );
    }
}
