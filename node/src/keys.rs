//! The node's own keys: seal, encryption, transport. Each is a file sealed under the storage key.

use std::path::{Path, PathBuf};

use basoche_protocol::crypto;
use basoche_protocol::envelope::{Capacity, CoSignature, possession};
use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::{Algorithm, DecryptionKey, KeyError, Signer, SoftwareKey, VerifyingKey};
use basoche_protocol::text::b64url_encode;
use basoche_registry::Certificate;
use basoche_registry::entry::Gossip;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::certificate::{self, CertificateError};
use crate::config::Config;
use crate::effects::{now, random};
use crate::files::write_new;
use crate::quic::{Identity, Secrets};
use crate::vault::{StorageKey, VaultError};

/// The node's keys cannot be made or read.
#[derive(Debug, Error)]
pub enum KeysError {
    /// A file cannot be read or written.
    #[error("key file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file does not open or does not hold what it should.
    #[error("key file {path}: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A key could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// What an authority needs in order to enrol a node: public halves only. `node init` writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRequest {
    /// 1.
    pub v: u64,
    /// The node's id.
    pub node: SubjectId,
    /// Certificate of the seal key, DER, base64url.
    pub seal_certificate: String,
    /// SubjectPublicKeyInfo of the encryption key, DER, base64url.
    pub encryption_spki: String,
    /// SHA-256 of the transport key's SubjectPublicKeyInfo.
    pub tls_spki_sha256: Digest,
    /// Where peers reach it, `host:port`.
    pub addresses: Vec<String>,
    /// The seal's signature that the node wants it in its authority's log, base64url. REG-9.
    pub possession: String,
    /// Where the node gossips, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gossip: Option<GossipRequest>,
}

/// Where a node gossips. GSP-1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GossipRequest {
    /// Its Ed25519 public key, base64url.
    pub key: String,
    /// The UDP port, at the hosts of the addresses.
    pub port: u16,
}

/// The proof that whoever holds the key of `signer` wants it to be `subject`'s at that place: in the log of that origin, or
/// in a dossier. REG-9, PTY-1.
pub fn show_possession(signer: &dyn Signer, subject: &SubjectId, place: &str) -> Result<String, KeyError> {
    let wanted = possession(place, subject, &signer.certificate());
    let shown = CoSignature::draft(signer, wanted, Capacity::Possession, now()).sign(signer)?;
    Ok(b64url_encode(&shown.encode()))
}

/// The private halves, as stored. Secret: no `Debug`, no `Display`.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Stored {
    #[zeroize(skip)]
    node: SubjectId,
    seal_certificate: Vec<u8>,
    seal_key: Vec<u8>,
    encryption_spki: Vec<u8>,
    encryption_key: Vec<u8>,
    tls_certificate: Vec<u8>,
    tls_key: Vec<u8>,
    reset_key: Vec<u8>,
    token_key: Vec<u8>,
    gossip_key: Vec<u8>,
}

/// The node's keys.
pub struct NodeKeys {
    stored: Stored,
}

const FILE: &str = "keys/node.key";
const PURPOSE: &str = "node keys";

impl NodeKeys {
    /// Makes new keys and writes them under `data`; refuses if there are keys already.
    pub fn create(data: &Path, storage: &StorageKey) -> Result<Self, KeysError> {
        let (seal, encryption) = (
            certificate::generate("basoche seal")?,
            certificate::generate("basoche encryption")?,
        );
        let tls = certificate::generate("basoche transport")?;
        let stored = Stored {
            node: SubjectId::new(random()),
            seal_certificate: seal.certificate_der,
            seal_key: seal.private_key_pkcs8.to_vec(),
            encryption_spki: encryption.spki,
            encryption_key: encryption.private_key_pkcs8.to_vec(),
            tls_certificate: tls.certificate_der,
            tls_key: tls.private_key_pkcs8.to_vec(),
            reset_key: random::<64>().to_vec(),
            token_key: random::<64>().to_vec(),
            gossip_key: random::<32>().to_vec(),
        };
        let path = data.join(FILE);
        let file = |source| KeysError::File {
            path: path.clone(),
            source,
        };
        let damaged = |what: String| KeysError::Damaged {
            path: path.clone(),
            what,
        };
        let plain = Zeroizing::new(serde_json::to_vec(&stored).map_err(|error| damaged(error.to_string()))?);
        let sealed = storage
            .seal_file(PURPOSE, &plain)
            .map_err(|error: VaultError| damaged(error.to_string()))?;
        std::fs::create_dir_all(data.join("keys")).map_err(file)?;
        write_new(&path, &sealed, 0o600).map_err(file)?;
        Ok(Self { stored })
    }

    /// Reads the keys under `data`.
    pub fn open(data: &Path, storage: &StorageKey) -> Result<Self, KeysError> {
        let path = data.join(FILE);
        let damaged = |what: String| KeysError::Damaged {
            path: path.clone(),
            what,
        };
        let sealed = std::fs::read(&path).map_err(|source| KeysError::File {
            path: path.clone(),
            source,
        })?;
        let plain = storage
            .open_file(PURPOSE, sealed)
            .map_err(|error| damaged(error.to_string()))?;
        let stored: Stored = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        if stored.reset_key.len() != 64 || stored.token_key.len() != 64 {
            return Err(damaged("a transport secret is not 64 bytes".into()));
        }
        if stored.gossip_key.len() != 32 {
            return Err(damaged("the gossip key is not 32 bytes".into()));
        }
        Ok(Self { stored })
    }

    /// The node's id.
    pub fn node(&self) -> SubjectId {
        self.stored.node
    }

    /// The seal: signs heads, statements and bundles.
    pub fn seal(&self) -> Result<SoftwareKey, KeysError> {
        let unfit = |_| KeysError::Damaged {
            path: FILE.into(),
            what: "the seal key is not a P-256 key".into(),
        };
        SoftwareKey::from_pkcs8(&self.stored.seal_key, self.seal_certificate()).map_err(unfit)
    }

    /// Whether a signature is the seal's own, as [`Self::seal`] makes them.
    pub fn check_seal(&self, signed: &[u8], signature: &[u8]) -> Result<(), KeysError> {
        let damaged = |what: String| KeysError::Damaged {
            path: FILE.into(),
            what,
        };
        let certificate = Certificate::from_der(&self.stored.seal_certificate);
        let certificate = certificate.map_err(|error| damaged(error.to_string()))?;
        VerifyingKey::from_spki(Algorithm::Es256, certificate.spki())
            .and_then(|key| key.verify(signed, signature))
            .map_err(|error| damaged(error.to_string()))
    }

    /// The seal's certificate.
    pub fn seal_certificate(&self) -> CertificateId {
        CertificateId::new(crypto::sha256(&[&self.stored.seal_certificate]))
    }

    /// The private encryption key: opens key wraps.
    pub fn encryption_key(&self) -> Result<DecryptionKey, KeysError> {
        let unfit = |_| KeysError::Damaged {
            path: FILE.into(),
            what: "the encryption key is not a P-256 key".into(),
        };
        DecryptionKey::from_pkcs8(&self.stored.encryption_key).map_err(unfit)
    }

    /// The transport key.
    pub fn identity(&self) -> Identity {
        Identity {
            certificate_der: self.stored.tls_certificate.clone(),
            private_key_pkcs8: Zeroizing::new(self.stored.tls_key.clone()),
        }
    }

    /// The transport secrets that outlive the process.
    pub fn secrets(&self) -> Secrets {
        let fixed = |bytes: &[u8]| {
            let mut key = [0; 64];
            key.copy_from_slice(bytes);
            key
        };
        Secrets {
            reset_key: fixed(&self.stored.reset_key),
            token_key: fixed(&self.stored.token_key),
        }
    }

    /// The Ed25519 key that the node shows where it gossips, RFC 8032 §5.1.5.
    pub fn gossip_seed(&self) -> Zeroizing<[u8; 32]> {
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&self.stored.gossip_key);
        seed
    }

    /// What the registry should say of where the node gossips, at that port.
    pub fn gossip(&self, port: u16) -> Gossip {
        let key = crypto::Ed25519Key::new(&self.gossip_seed()).public();
        Gossip { key, port }
    }

    /// SHA-256 of the SubjectPublicKeyInfo of the transport key.
    pub fn tls_spki_sha256(&self) -> Result<Digest, KeysError> {
        let spki = self.identity().spki_sha256();
        let spki = spki.map_err(|error| KeysError::Damaged {
            path: FILE.into(),
            what: error.to_string(),
        })?;
        Ok(Digest::new(spki))
    }

    /// The public halves, for the authority whose log is `origin`.
    pub fn request(&self, origin: &str, config: &Config) -> Result<NodeRequest, KeysError> {
        let shown = show_possession(&self.seal()?, &self.node(), origin);
        let possession = shown.map_err(|error| KeysError::Damaged {
            path: FILE.into(),
            what: error.to_string(),
        })?;
        Ok(NodeRequest {
            v: 1,
            node: self.node(),
            seal_certificate: b64url_encode(&self.stored.seal_certificate),
            encryption_spki: b64url_encode(&self.stored.encryption_spki),
            tls_spki_sha256: self.tls_spki_sha256()?,
            addresses: config.addresses.clone(),
            possession,
            gossip: config.gossip_port().map(|port| GossipRequest {
                key: b64url_encode(&self.gossip(port).key),
                port,
            }),
        })
    }
}
