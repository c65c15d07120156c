//! A party's key is enrolled inside of the dossier. SPEC §6.26.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Content, Ext, check_ext, check_short, require};
use crate::crypto::sha256;
use crate::envelope::{Capacity, CoSignature, Envelope};
use crate::error::Malformed;
use crate::id::{CertificateId, Digest, DossierId, Salt, SubjectId};
use crate::jose::{Algorithm, is_p256_spki};
use crate::role::Assurance;
use crate::wire::{codec, limits};

/// The expert, to whom an authority has delegated it for this dossier, enrols a party's key (*certificat de partie*): it is
/// known to the members of the dossier, and counts in it alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartyEnrolment {
    /// Extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Ext,
    /// The party: [`Self::subject_of`] its first key.
    pub subject: SubjectId,
    /// What the party is called in this dossier.
    pub name: String,
    /// The node that serves the party.
    pub node: SubjectId,
    /// The certificate, DER, at most [`limits::CERTIFICATE_BYTES`].
    pub certificate: ByteBuf,
    /// The one algorithm of its key.
    pub algorithm: Algorithm,
    /// How the key is protected.
    pub assurance: Assurance,
    /// Opens the commitment of the delegation: [`commitment`].
    pub delegation_salt: Salt,
    /// The party's co-signature, an envelope, that it wants this key here: [`Self::place`].
    pub possession: ByteBuf,
    /// DER SubjectPublicKeyInfo of the key to which personal documents are wrapped, on P-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_spki: Option<ByteBuf>,
}

/// What a delegation says of its dossier: whoever does not know the dossier and the salt cannot tell which it is. REG-26.
pub fn commitment(salt: &Salt, dossier: &DossierId) -> Digest {
    Digest::of(&[&codec::encode(&("basoche-delegation/1", salt, dossier))])
}

impl PartyEnrolment {
    /// The id of the party of `dossier` whose first key has this certificate: nobody else's. PTY-2.
    pub fn subject_of(dossier: &DossierId, certificate: &CertificateId) -> SubjectId {
        let digest = sha256(&[&codec::encode(&("basoche-party/1", dossier, certificate))]);
        let mut id = [0; SubjectId::LEN];
        id.copy_from_slice(&digest[..SubjectId::LEN]);
        SubjectId::new(id)
    }

    /// Where the key is wanted, in the words of [`possession`](crate::envelope::possession): no log has such an origin.
    pub fn place(dossier: &DossierId) -> String {
        format!("dossier/{dossier}")
    }

    /// The certificate's id.
    pub fn certificate_id(&self) -> CertificateId {
        CertificateId::new(sha256(&[&self.certificate]))
    }

    /// The party's co-signature, well formed and not yet believed.
    pub(crate) fn shown(&self) -> Result<CoSignature, Malformed> {
        CoSignature::read(Envelope::decode(&self.possession)?)
    }
}

impl Content for PartyEnrolment {
    fn validate(&self) -> Result<(), Malformed> {
        check_ext(&self.ext)?;
        check_short(&self.name)?;
        require((1..=limits::CERTIFICATE_BYTES).contains(&self.certificate.len()))?;
        require(self.assurance != Assurance::Seal)?;
        require(
            self.encryption_spki
                .as_ref()
                .is_none_or(|spki| is_p256_spki(spki)),
        )?;
        let shown = self.shown().map_err(|_| Malformed::bad_value())?;
        require(shown.capacity() == Capacity::Possession)
    }
}
