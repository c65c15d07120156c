//! Under which key a log goes on, after its key before has signed two histories or is given up. SPEC §9.2, REG-30.

use basoche_protocol::id::Digest;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::log::{Equivocation, Key, KeyKind};

/// Bytes of the proof that an entry states: the two notes with the log's own lines, and a path.
pub const CONTINUATION_PROOF_BYTES: usize = 8 * 1024;

/// Another key for the log (*continuation du journal*), agreed on by the roots of most authorities: all that stands before this
/// entry is the log's, and nothing else that the key before has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// From 1, one more than that of the key before; that of the anchors has 0.
    pub number: u64,
    /// The verifier key (C2SP `vkey`) of the checkpoints of more leaves than stand before this entry.
    pub log: Key,
    /// Root over the leaves before this entry.
    pub root: Digest,
    /// That the key before has signed two histories ([`Equivocation`], encoded). Without it nobody's entries give way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ByteBuf>,
}

impl Continuation {
    /// The proof, if it has one that can be read.
    pub fn equivocation(&self) -> Option<Equivocation> {
        Equivocation::decode(self.proof.as_ref()?).ok()
    }

    pub(super) fn is_in_range(&self) -> bool {
        let proof = self.proof.as_ref();
        let proof = proof.is_none_or(|proof| {
            proof.len() <= CONTINUATION_PROOF_BYTES && Equivocation::decode(proof).is_ok()
        });
        self.number > 0 && self.log.kind() == KeyKind::Log && proof
    }
}
