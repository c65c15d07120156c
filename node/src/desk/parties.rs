//! Parties whose keys were enrolled inside of a dossier, as people see them. SPEC §6.26.

use basoche_protocol::directory::{Directory, Status};
use basoche_protocol::dossier::Replica;
use basoche_protocol::id::{CertificateId, MessageId, SubjectId};
use basoche_protocol::text::b64url_encode;
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};

/// A key that was enrolled inside of the dossier.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartyView {
    /// The party.
    pub subject: SubjectId,
    /// What the party is called here.
    pub name: String,
    /// The message that enrolled the key.
    pub enrolment: MessageId,
    /// The expert who did.
    pub by: SubjectId,
    /// The key's certificate.
    pub certificate: CertificateId,
    /// What it is worth now: `valid`, or why not.
    pub status: String,
    /// The key to which personal documents for the party are wrapped now: DER SubjectPublicKeyInfo, base64url.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encryption_spki: Option<String>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub no_encryption_key: Option<String>,
}

/// Every such key, the earliest first.
pub(super) fn parties(replica: &Replica, registry: &dyn Directory, at: Instant) -> Vec<PartyView> {
    let state = replica.state();
    let mut keys: Vec<_> = state.party_keys().collect();
    keys.sort_by_key(|(message, key)| (key.at, *message));
    let inside = state.inside(registry);
    let view = |(enrolment, key): (MessageId, &basoche_protocol::dossier::PartyKey)| {
        let certificate = key.party.certificate_id();
        let reads = state.party_encryption_key(&key.party.subject, at, registry);
        let reads = reads.unwrap_or(Err("enrolled without an encryption key"));
        PartyView {
            subject: key.party.subject,
            name: key.party.name.clone(),
            enrolment,
            by: key.by,
            certificate,
            status: worth(&inside, &certificate, at),
            no_encryption_key: reads.as_ref().err().map(|&reason| reason.to_owned()),
            encryption_spki: reads.ok().map(|spki| b64url_encode(&spki)),
        }
    };
    keys.into_iter().map(view).collect()
}

/// What a certificate is worth at an instant: `valid`, or why not.
pub(crate) fn worth(directory: &dyn Directory, certificate: &CertificateId, at: Instant) -> String {
    match directory.status(certificate, at) {
        Status::Valid(_) => "valid".to_owned(),
        Status::Contested { reason, .. } | Status::Invalid { reason } | Status::Undetermined { reason } => {
            reason.to_owned()
        }
    }
}
