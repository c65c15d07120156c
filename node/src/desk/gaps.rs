//! Entries that nodes stated not to have got, although heads name them. SPEC §6.24.

use basoche_protocol::dossier::{GapFact, Replica};
use basoche_protocol::id::SubjectId;
use basoche_protocol::journal::{ChainId, HeadRow};
use serde::{Deserialize, Serialize};

/// A gap, and whether what was missing has come since.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GapView {
    /// The node that lacked the entries.
    pub node: SubjectId,
    /// Whose entries.
    pub of: SubjectId,
    /// The life of that node's store, hexadecimal.
    pub incarnation: String,
    /// Entries held when it was stated.
    pub held: u64,
    /// Entries named.
    pub named: u64,
    /// The node whose head names them.
    pub named_by: SubjectId,
    /// When it was recorded, RFC 3339.
    pub recorded_at: String,
    /// Whether the node has them by now, by what it holds here or by its latest head.
    pub closed: bool,
}

/// Every gap of a dossier, by node, chain and size. `here` is this node.
pub(super) fn gaps(replica: &Replica, here: SubjectId) -> Vec<GapView> {
    let has = |rows: &[HeadRow], chain: &ChainId, named: u64| {
        rows.iter().any(|row| row.chain == *chain && row.size >= named)
    };
    let ours = replica.frontier();
    let closed = |node: &SubjectId, chain: &ChainId, named| match replica.heads().get(node) {
        _ if *node == here => has(&ours, chain, named),
        head => head.is_some_and(|head| has(&head.head().rows, chain, named)),
    };
    let view = |(node, chain, named, fact): (SubjectId, ChainId, u64, &GapFact)| GapView {
        node,
        of: chain.node,
        incarnation: chain.incarnation.to_hex(),
        held: fact.held,
        named,
        named_by: fact.named_by,
        recorded_at: fact.at.to_string(),
        closed: closed(&node, &chain, named),
    };
    replica.state().gaps().map(view).collect()
}
