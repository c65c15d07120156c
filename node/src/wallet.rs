//! A person's keys, one to sign with and one to read with, in a file that the person holds: never in a node. SPEC §12.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use basoche_protocol::crypto::{AeadKey, sha256};
use basoche_protocol::document::DocumentKey;
use basoche_protocol::id::{CertificateId, Digest, DossierId, SubjectId};
use basoche_protocol::jose::{KeyError, Signer, SoftwareKey};
use basoche_protocol::message::KeyWrap;
use basoche_protocol::text::{b64url_decode, b64url_encode};
use basoche_registry::Certificate;
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
    #[error("wallet {path}: wrong passphrase; it comes from --passphrase-file, else from BASOCHE_PASSPHRASE")]
    WrongPassphrase {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate is of another key than the wallet's.
    #[error("the certificate is not one of the wallet's key, or cannot be read")]
    OtherKey,
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
    /// Certificate, DER, base64url.
    pub certificate: String,
    /// DER SubjectPublicKeyInfo of the key to which personal documents are wrapped, base64url. Who is enrolled without
    /// one is nobody's recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_spki: Option<String>,
    /// The holder's signature that it wants this key in an authority's log, base64url. No log takes a person's or officer's key
    /// without; a root's needs none. REG-9, REG-12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possession: Option<String>,
}

/// What the holder of an enrolled key asks of its authority. REG-9.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderRequest {
    /// 1.
    pub v: u64,
    /// The authority's log.
    pub origin: String,
    /// Who asks.
    pub subject: SubjectId,
    /// The last entry about it in that log.
    pub prev: Option<u64>,
    /// The kind of the entry asked for.
    pub kind: u64,
    /// What it is to say: canonical CBOR, base64url.
    pub content: String,
    /// The certificate beside it, DER, base64url; empty if there is none.
    pub certificate: String,
    /// The holder's signature and, for a new key, that of its possession, base64url.
    pub cosignatures: Vec<String>,
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
    encryption_spki: String,
    sealed_encryption_key: String,
}

/// Which of the two keys a wallet's cipher seals: each has its own nonce and its own name in the sealed bytes.
#[derive(Clone, Copy)]
enum Place {
    Signature,
    Encryption,
}

impl Place {
    const fn nonce(self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[11] = match self {
            Self::Signature => 0,
            Self::Encryption => 1,
        };
        nonce
    }
}

/// An open wallet.
pub struct Wallet {
    /// Who holds it.
    pub subject: SubjectId,
    /// What the holder calls it.
    pub label: String,
    key: SoftwareKey,
    /// DER PKCS#8.
    signature_key: Zeroizing<Vec<u8>>,
    /// DER PKCS#8.
    encryption_key: Zeroizing<Vec<u8>>,
}

impl Wallet {
    /// Makes the two keys and writes them to `path`, sealed under `passphrase`; never replaces a file.
    pub fn create(path: &Path, label: &str, passphrase: &SecretString) -> Result<PersonRequest, WalletError> {
        Self::create_for(path, label, |_| SubjectId::new(random()), passphrase)
    }

    /// The same for somebody whose id is known, or follows from the certificate.
    pub fn create_for(
        path: &Path,
        label: &str,
        subject: impl FnOnce(&CertificateId) -> SubjectId,
        passphrase: &SecretString,
    ) -> Result<PersonRequest, WalletError> {
        let (made, encryption) = (certificate::generate(label)?, certificate::generate(label)?);
        let subject = subject(&made.id());
        let salt: [u8; 16] = random();
        let damaged = |what| WalletError::Damaged {
            path: path.to_owned(),
            what,
        };
        let cipher = cipher(passphrase, &salt).ok_or_else(|| damaged("argon2 failed"))?;
        let seal = |place: Place, key: &[u8]| {
            let mut sealed = key.to_vec();
            cipher.seal_in_place(place.nonce(), subject.as_bytes(), &mut sealed);
            b64url_encode(&sealed)
        };
        let stored = Stored {
            v: 1,
            label: label.to_owned(),
            subject,
            certificate: b64url_encode(&made.certificate_der),
            salt: b64url_encode(&salt),
            sealed_key: seal(Place::Signature, &made.private_key_pkcs8),
            encryption_spki: b64url_encode(&encryption.spki),
            sealed_encryption_key: seal(Place::Encryption, &encryption.private_key_pkcs8),
        };
        stored.write(path)?;
        Ok(stored.into_request())
    }

    /// Opens the wallet at `path`.
    pub fn open(path: &Path, passphrase: &SecretString) -> Result<Self, WalletError> {
        let stored = Stored::read(path)?;
        let damaged = |what| WalletError::Damaged {
            path: path.to_owned(),
            what,
        };
        let bytes = |text: &str| b64url_decode(text).ok_or_else(|| damaged("a field is not base64url"));
        let (salt, sealed) = (bytes(&stored.salt)?, bytes(&stored.sealed_key)?);
        let certificate =
            b64url_decode(&stored.certificate).ok_or_else(|| damaged("the certificate is not base64url"))?;
        let cipher = cipher(passphrase, &salt).ok_or_else(|| damaged("the salt is too short"))?;
        let wrong = || WalletError::WrongPassphrase {
            path: path.to_owned(),
        };
        let open = |place: Place, sealed: Vec<u8>| {
            let mut sealed = Zeroizing::new(sealed);
            let opened = cipher.open_in_place(place.nonce(), stored.subject.as_bytes(), &mut sealed);
            opened
                .map(|key| Zeroizing::new(key.to_vec()))
                .map_err(|_| wrong())
        };
        let signature_key = open(Place::Signature, sealed)?;
        let encryption_key = open(Place::Encryption, bytes(&stored.sealed_encryption_key)?)?;
        let id = CertificateId::new(sha256(&[&certificate]));
        let key =
            SoftwareKey::from_pkcs8(&signature_key, id).map_err(|_| damaged("the key is not a P-256 key"))?;
        Ok(Self {
            subject: stored.subject,
            label: stored.label,
            key,
            signature_key,
            encryption_key,
        })
    }

    /// What the authority needs; the passphrase is not.
    pub fn request(path: &Path) -> Result<PersonRequest, WalletError> {
        Stored::read(path).map(Stored::into_request)
    }

    /// What a certificate authority needs to issue a certificate for the signature key: PKCS #10, DER.
    pub fn certificate_request(&self) -> Result<Vec<u8>, WalletError> {
        Ok(certificate::request(&self.label, &self.signature_key)?)
    }

    /// Writes the wallet at `from` with another certificate of the same key to `to`; never replaces a file.
    ///
    /// # Errors
    /// [`WalletError::OtherKey`] where the certificate is of another key, or none.
    pub fn certify(from: &Path, to: &Path, certificate: &Certificate) -> Result<PersonRequest, WalletError> {
        let held = Stored::read(from)?;
        let now = b64url_decode(&held.certificate).and_then(|der| Certificate::from_der(&der).ok());
        if now.is_none_or(|now| now.spki() != certificate.spki()) {
            return Err(WalletError::OtherKey);
        }
        let stored = Stored {
            certificate: b64url_encode(certificate.der()),
            ..held
        };
        stored.write(to)?;
        Ok(stored.into_request())
    }

    /// The key of a personal document, from the wrap for this wallet's holder.
    ///
    /// # Errors
    /// [`KeyError::Mismatch`] where the wrap does not open.
    pub fn open_key(
        &self,
        wrap: &KeyWrap,
        dossier: &DossierId,
        root: &Digest,
    ) -> Result<DocumentKey, KeyError> {
        wrap.open(dossier, root, &self.encryption_key)
    }
}

impl Stored {
    fn into_request(self) -> PersonRequest {
        PersonRequest {
            v: 1,
            subject: self.subject,
            certificate: self.certificate,
            encryption_spki: Some(self.encryption_spki),
            possession: None,
        }
    }

    /// Writes it to a new file.
    fn write(&self, path: &Path) -> Result<(), WalletError> {
        let file = |source| WalletError::File {
            path: path.to_owned(),
            source,
        };
        let json = serde_json::to_vec_pretty(self).map_err(|error| file(error.into()))?;
        write_new(path, &json, 0o600).map_err(file)
    }

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
pub(crate) fn cipher(passphrase: &SecretString, salt: &[u8]) -> Option<AeadKey> {
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
    fn a_wallet_reads_what_is_wrapped_for_its_holder_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let passphrase = SecretString::from("right".to_owned());
        let make = |name: &str| {
            let path = dir.path().join(name);
            let request = Wallet::create(&path, name, &passphrase).unwrap();
            (Wallet::open(&path, &passphrase).unwrap(), request)
        };
        let ((judge, request), (clerk, _)) = (make("judge"), make("clerk"));
        let (key, dossier) = (DocumentKey::new([7; 32]), DossierId::new([1; 32]));
        let (root, spki) = (
            Digest::new([2; 32]),
            b64url_decode(&request.encryption_spki.unwrap()).unwrap(),
        );
        let wrap = KeyWrap::new(&key, &dossier, &root, judge.subject, &spki).unwrap();
        assert_eq!(judge.open_key(&wrap, &dossier, &root).unwrap(), key);
        assert!(clerk.open_key(&wrap, &dossier, &root).is_err());
        assert!(judge.open_key(&wrap, &dossier, &Digest::new([3; 32])).is_err());
        // It is a key of its own, not the one that signs.
        let certificate = b64url_decode(&request.certificate).unwrap();
        assert!(!certificate.windows(spki.len()).any(|part| part == spki));
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
