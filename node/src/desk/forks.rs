//! Chains of which several histories are held, with the proof and what the court has ordered of them. SPEC §8.6.

use basoche_protocol::dossier::Replica;
use basoche_protocol::id::{Digest, SubjectId};
use basoche_protocol::journal::{Citation, ForkProof};
use basoche_protocol::text::{b64url_encode, hex_encode};
use serde::{Deserialize, Serialize};

/// A chain that its node forked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForkView {
    /// The node that signed several histories.
    pub node: SubjectId,
    /// The life of its store, hexadecimal.
    pub incarnation: String,
    /// The position at which they first part.
    pub parted_at: u64,
    /// The last entry of each history, in the order in which they came here.
    pub histories: Vec<Citation>,
    /// The last entry that the court lets count.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept: Option<Citation>,
    /// What proves it to anybody who believes the registry.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proof: Option<ProofView>,
}

/// Two heads of one chain that contradict each other. JRN-10.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProofView {
    /// The shorter head, base64url.
    pub a: String,
    /// The head that contradicts it, base64url.
    pub b: String,
    /// The leaf hash that the second has at the last position of the first.
    pub leaf: Digest,
    /// Its inclusion path, hexadecimal.
    pub path: Vec<String>,
}

impl From<&ForkProof> for ProofView {
    fn from(proof: &ForkProof) -> Self {
        Self {
            a: b64url_encode(&proof.a),
            b: b64url_encode(&proof.b),
            leaf: proof.leaf,
            path: proof.path.iter().map(|hash| hex_encode(hash)).collect(),
        }
    }
}

/// Every forked chain of a dossier, ascending.
pub(super) fn forks(replica: &Replica) -> Vec<ForkView> {
    let (chains, settled) = (replica.chains(), replica.state().settled());
    let forked = chains.forks().map(|(chain, parted_at)| {
        let last = chains.of(&chain).filter_map(|(_, held)| {
            Some(Citation {
                chain,
                seq: held.size().checked_sub(1)?,
                leaf: held.last()?.0,
            })
        });
        ForkView {
            node: chain.node,
            incarnation: chain.incarnation.to_hex(),
            parted_at,
            histories: last.collect(),
            kept: settled.get(&chain).copied(),
            proof: chains.proof(&chain).as_ref().map(ProofView::from),
        }
    });
    forked.collect()
}
