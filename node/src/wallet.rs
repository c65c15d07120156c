//! A person's key, in a file that the person holds: never in a node. SPEC §12.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use basoche_protocol::crypto::{AeadKey, sha256};
use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_protocol::jose::{KeyError, Signer, SoftwareKey};
use basoche_protocol::text::{b64url_decode, b64url_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::certificate::{self, CertificateError};
use crate::effects::random;
use crate::files::write_new;

/// Argon2id: 64 MiB, 3 passes, as the vault does.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;

/// A wallet cannot be made or opened.
#[derive(Debug, Error)]
pub enum WalletError {
    /// The file cannot be read or written.
    #[error("wallet {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a wallet.
    #[error("wallet {path}: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The passphrase does not open it.
    #[error("wallet {path}: wrong passphrase; give it with --passphrase-file, or in BASOCHE_PASSPHRASE")]
    WrongPassphrase {
        /// Which file.
        path: PathBuf,
    },
    /// A key could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// What an authority needs in order to enrol a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonRequest {
    /// 1.
    pub v: u64,
    /// The person's id.
    pub subject: SubjectId,
    /// Certificate, DER, base64url. It is signed with its own key, which proves possession of it.
    pub certificate: String,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u64,
    label: String,
    subject: SubjectId,
    certificate: String,
    salt: String,
    sealed_key: String,
}

/// An open wallet.
pub struct Wallet {
    /// Who holds it.
    pub subject: SubjectId,
    /// What the holder calls it.
    pub label: String,
    key: SoftwareKey,
}

impl Wallet {
    /// Makes a key and writes it to `path`, sealed under `passphrase`; never replaces a file.
    pub fn create(path: &Path, label: &str, passphrase: &SecretString) -> Result<PersonRequest, WalletError> {
        let made = certificate::generate(label)?;
        let subject = SubjectId::new(random());
        let salt: [u8; 16] = random();
        let mut sealed = made.private_key_pkcs8.to_vec();
        let damaged = |what| WalletError::Damaged {
            path: path.to_owned(),
            what,
        };
        let cipher = cipher(passphrase, &salt).ok_or_else(|| damaged("argon2 failed"))?;
        cipher.seal_in_place([0; 12], subject.as_bytes(), &mut sealed);
        let stored = Stored {
            v: 1,
            label: label.to_owned(),
            subject,
            certificate: b64url_encode(&made.certificate_der),
            salt: b64url_encode(&salt),
            sealed_key: b64url_encode(&sealed),
        };
        let json = serde_json::to_vec_pretty(&stored).map_err(|_| damaged("it cannot be written as JSON"))?;
        write_new(path, &json, 0o600).map_err(|source| WalletError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(PersonRequest {
            v: 1,
            subject,
            certificate: stored.certificate,
        })
    }

    /// Opens the wallet at `path`.
    pub fn open(path: &Path, passphrase: &SecretString) -> Result<Self, WalletError> {
        let stored = Stored::read(path)?;
        let damaged = |what| WalletError::Damaged {
            path: path.to_owned(),
            what,
        };
        let (salt, sealed) = (b64url_decode(&stored.salt), b64url_decode(&stored.sealed_key));
        let (Some(salt), Some(sealed)) = (salt, sealed) else {
            return Err(damaged("a field is not base64url"));
        };
        let certificate =
            b64url_decode(&stored.certificate).ok_or_else(|| damaged("the certificate is not base64url"))?;
        let cipher = cipher(passphrase, &salt).ok_or_else(|| damaged("the salt is too short"))?;
        let mut sealed = Zeroizing::new(sealed);
        let wrong = WalletError::WrongPassphrase {
            path: path.to_owned(),
        };
        let Ok(key) = cipher.open_in_place([0; 12], stored.subject.as_bytes(), &mut sealed) else {
            return Err(wrong);
        };
        let id = CertificateId::new(sha256(&[&certificate]));
        let key = SoftwareKey::from_pkcs8(key, id).map_err(|_| damaged("the key is not a P-256 key"))?;
        Ok(Self {
            subject: stored.subject,
            label: stored.label,
            key,
        })
    }

    /// What the authority needs; the passphrase is not.
    pub fn request(path: &Path) -> Result<PersonRequest, WalletError> {
        let stored = Stored::read(path)?;
        Ok(PersonRequest {
            v: 1,
            subject: stored.subject,
            certificate: stored.certificate,
        })
    }
}

impl Stored {
    fn read(path: &Path) -> Result<Self, WalletError> {
        let bytes = std::fs::read(path).map_err(|source| WalletError::File {
            path: path.to_owned(),
            source,
        })?;
        let damaged = |what| WalletError::Damaged {
            path: path.to_owned(),
            what,
        };
        let stored: Self = serde_json::from_slice(&bytes).map_err(|_| damaged("it is not a wallet file"))?;
        if stored.v == 1 {
            Ok(stored)
        } else {
            Err(damaged("it is of another version"))
        }
    }
}

impl Signer for Wallet {
    fn algorithm(&self) -> basoche_protocol::jose::Algorithm {
        self.key.algorithm()
    }

    fn certificate(&self) -> CertificateId {
        self.key.certificate()
    }

    fn sign(&self, signing_input: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.sign(signing_input)
    }
}

/// The key that seals one wallet: each has its own salt, and is written once.
fn cipher(passphrase: &SecretString, salt: &[u8]) -> Option<AeadKey> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, key.as_mut())
        .ok()?;
    Some(AeadKey::new(&key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_opens_with_its_passphrase_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("judge.wallet");
        let right = SecretString::from("right".to_owned());
        let request = Wallet::create(&path, "judge", &right).unwrap();
        let wallet = Wallet::open(&path, &right).unwrap();
        assert_eq!(wallet.subject, request.subject);
        assert_eq!(Wallet::request(&path).unwrap().certificate, request.certificate);
        let wrong = Wallet::open(&path, &SecretString::from("wrong".to_owned()));
        assert!(matches!(wrong, Err(WalletError::WrongPassphrase { .. })));
        // A second one never replaces the first.
        assert!(matches!(
            Wallet::create(&path, "judge", &right),
            Err(WalletError::File { .. })
        ));
    }

    #[test]
    fn a_damaged_wallet_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet");
        std::fs::write(&path, b"{}").unwrap();
        let opened = Wallet::open(&path, &SecretString::from("x".to_owned()));
        assert!(matches!(opened, Err(WalletError::Damaged { .. })));
    }
}
