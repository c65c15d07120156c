//! What the vectors are verified against: `vectors/fixture.json`. SPEC §13.1.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use basoche_protocol::directory::{Certified, Delegation, Directory, Signer, Status};
use basoche_protocol::envelope::EpochKey;
use basoche_protocol::id::{CertificateId, Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::jose::{Algorithm, VerifyingKey, WrapContext};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::text::hex_decode;
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};

/// The instant of receipt of every vector: 2026-11-22T00:00:00.000Z.
pub const RECEIVED_AT: Instant = Instant::from_seconds(1_795_305_600);

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The format of this file, 1.
    pub v: u64,
    /// The instant of receipt, RFC 3339.
    pub received_at: String,
    /// The dossier of every vector.
    pub dossier: DossierId,
    /// The message that sealed vectors are announced as.
    pub message: MessageId,
    /// The key of epoch 0.
    pub epoch_key: String,
    /// Whom wraps are for.
    pub wrap_recipient: SubjectId,
    /// The recipient's encryption key: DER PKCS#8, hexadecimal. Public on purpose.
    pub wrap_private_key: String,
    /// Who may sign.
    pub signers: Vec<SignerRow>,
    /// Who may enrol parties of which dossier.
    pub delegations: Vec<DelegationRow>,
}

/// A delegation, as a registry would know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationRow {
    /// To whom.
    pub delegate: SubjectId,
    /// What it says of its dossier.
    pub commitment: Digest,
    /// Keys, at most.
    pub keys: u64,
}

/// A signer, as a registry would know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerRow {
    /// Who it is, for the reader.
    pub name: String,
    /// The certificate.
    pub certificate: CertificateId,
    /// The subject.
    pub subject: SubjectId,
    /// The node that serves it.
    pub node: SubjectId,
    /// Its roles.
    pub roles: Vec<Role>,
    /// How its key is protected.
    pub assurance: Assurance,
    /// Its ES256 key: DER SubjectPublicKeyInfo, hexadecimal.
    pub spki: String,
    /// `valid` or `revoked`.
    pub status: String,
}

impl Fixture {
    /// Reads the file beside the vectors.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::InvalidData`] where the file is not a fixture.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(folder.join("fixture.json"))?;
        serde_json::from_str(&text).map_err(io::Error::other)
    }

    /// The key of epoch 0; `None` if the file holds none.
    #[must_use]
    pub fn epoch_key(&self) -> Option<EpochKey> {
        Some(EpochKey::new(hex_decode(&self.epoch_key)?.try_into().ok()?))
    }

    /// What every wrap is bound to.
    #[must_use]
    pub fn wrap_context(&self) -> WrapContext {
        WrapContext {
            dossier: self.dossier,
            epoch: 0,
            recipient: self.wrap_recipient,
        }
    }

    /// The registry that the signers make up; `None` if a key is not one.
    #[must_use]
    pub fn registry(&self) -> Option<Registry> {
        let known = self.signers.iter().map(|row| {
            let key = VerifyingKey::from_spki(Algorithm::Es256, &hex_decode(&row.spki)?).ok()?;
            let signer = Signer {
                subject: row.subject,
                node: row.node,
                roles: row.roles.clone(),
                assurance: row.assurance,
                key: Arc::new(key),
            };
            Some((row.certificate, (signer, row.status == "revoked")))
        });
        let delegations = self.delegations.iter();
        Some(Registry {
            signers: known.collect::<Option<_>>()?,
            delegations: delegations
                .map(|row| ((row.delegate, row.commitment), row.keys))
                .collect(),
        })
    }
}

/// What the fixture says, as messages ask for it.
#[derive(Debug)]
pub struct Registry {
    /// By certificate, and whether they are revoked.
    signers: BTreeMap<CertificateId, (Signer, bool)>,
    delegations: BTreeMap<(SubjectId, Digest), u64>,
}

impl Directory for Registry {
    fn status(&self, certificate: &CertificateId, _at: Instant) -> Status {
        match self.signers.get(certificate) {
            None => Status::Undetermined {
                reason: "not in the fixture",
            },
            Some((_, true)) => Status::Invalid { reason: "revoked" },
            Some((signer, false)) => Status::Valid(signer.clone()),
        }
    }

    fn read_certificate(&self, der: &[u8], algorithm: Algorithm) -> Option<Certified> {
        basoche_registry::certificate::read(der, algorithm)
    }

    fn delegation(&self, delegate: &SubjectId, commitment: &Digest, _at: Instant) -> Delegation {
        match self.delegations.get(&(*delegate, *commitment)) {
            Some(keys) => Delegation::Granted { keys: *keys },
            None => Delegation::Undetermined {
                reason: "not in the fixture",
            },
        }
    }
}
