//! A dishonest node's second life: a chain that it writes by hand, beside the one that its engine writes.

use basoche_protocol::dossier::{Replica, RunItem};
use basoche_protocol::envelope::{Envelope, Sealed, Typ, Unsigned};
use basoche_protocol::fixture::{Actor, Federation};
use basoche_protocol::id::{Digest, DossierId, Incarnation, KeySalt};
use basoche_protocol::journal::{ChainId, Citation, Head, HeadRow};
use basoche_protocol::role::Class;
use basoche_protocol::time::Instant;
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::{Frame, Item, Run};
use serde_bytes::ByteBuf;

/// One history of the chain, and every run of it so far.
#[derive(Clone)]
pub(crate) struct Forger {
    node: Actor,
    pub(crate) dossier: DossierId,
    pub(crate) chain: ChainId,
    /// Leaf hash and recorded instant of each entry.
    pub(crate) entries: Vec<(Digest, Instant)>,
    /// What its entries cite.
    pub(crate) cited: Vec<Citation>,
    tree: Tree,
    head_no: u64,
    /// Encoded run frames, one entry each.
    pub(crate) runs: Vec<Vec<u8>>,
}

impl Forger {
    pub(crate) fn new(node: &Actor, dossier: DossierId, incarnation: [u8; 16]) -> Self {
        let incarnation = Incarnation::new(incarnation);
        Self {
            node: node.clone(),
            dossier,
            chain: ChainId {
                node: node.subject,
                incarnation,
            },
            entries: Vec::new(),
            cited: Vec::new(),
            tree: Tree::new(),
            head_no: 0,
            runs: Vec::new(),
        }
    }

    /// A second history, which has the first `size` entries of this one.
    pub(crate) fn part(&self, size: usize) -> Self {
        let entries: Vec<_> = self.entries.iter().take(size).copied().collect();
        Self {
            tree: entries.iter().map(|(leaf, _)| *leaf.as_bytes()).collect(),
            entries,
            runs: self.runs.iter().take(size).cloned().collect(),
            ..self.clone()
        }
    }

    /// Records a message, whatever it says, under a head of its own; spoilt, so that nobody can open it.
    pub(crate) fn record(&mut self, replica: &Replica, envelope: &Envelope, spoilt: bool, now: Instant) {
        let Some((epoch, key)) = replica.newest_key() else {
            return;
        };
        let salt = KeySalt::new([77; 32]);
        let mut sealed = Sealed::seal(envelope, &self.dossier, Class::Member, epoch, key, salt);
        if spoilt {
            let mut bytes = sealed.encode();
            *bytes.last_mut().unwrap() ^= 1;
            sealed = Sealed::decode(&bytes).unwrap();
        }
        let mut entry = replica.draft(self.chain, envelope, &sealed, now, vec![], None);
        entry.seq = self.tree.size();
        let last = self.entries.last();
        entry.prev = last.map(|(leaf, _)| *leaf);
        // Not what its engine has written and may yet lose: nobody could take an entry that cites that.
        entry.deps.retain(|cited| cited.chain.node != self.chain.node);
        entry.recorded_at = last.map_or(now, |(_, at)| (*at).max(now));
        self.cited.extend(&entry.deps);
        self.tree.push(*entry.leaf().as_bytes());
        self.entries.push((entry.leaf(), entry.recorded_at));
        let item = RunItem {
            entry,
            sealed: Some(sealed),
        };
        let mut rows = replica.frontier();
        rows.retain(|row| row.chain != self.chain);
        rows.extend(self.row());
        rows.sort_by_key(|row| (row.chain, row.leaf));
        let head = self.head(rows, item.entry.recorded_at);
        let item = Item {
            entry: ByteBuf::from(item.entry.encode()),
            sealed: item.sealed.as_ref().map(|sealed| ByteBuf::from(sealed.encode())),
        };
        let run = Run {
            dossier: self.dossier,
            chain: self.chain,
            items: vec![item],
            head: ByteBuf::from(head),
        };
        self.runs.push(Frame::Run(run).encode());
    }

    /// The row of its chain, once it has an entry.
    pub(crate) fn row(&self) -> Option<HeadRow> {
        let (leaf, _) = *self.entries.last()?;
        Some(HeadRow {
            chain: self.chain,
            size: self.tree.size(),
            leaf,
            root: Digest::new(self.tree.root()),
        })
    }

    /// Signs a head over any rows.
    pub(crate) fn head(&mut self, rows: Vec<HeadRow>, time: Instant) -> Vec<u8> {
        self.head_no += 1;
        let head = Head {
            v: Head::VERSION,
            head_no: self.head_no - 1,
            dossier: self.dossier,
            node: self.chain.node,
            incarnation: self.chain.incarnation,
            rows,
            registries: vec![],
            time,
        };
        let unsigned = Unsigned::new(Typ::Head, &self.node.key, time, head.encode());
        unsigned.sign(&self.node.key).unwrap().encode()
    }

    /// Sends runs of its chain from one node to another.
    pub(crate) fn send<'a>(
        &self,
        federation: &mut Federation,
        from: usize,
        to: usize,
        runs: impl Iterator<Item = &'a Vec<u8>>,
    ) {
        for run in runs {
            federation.inject(from, to, run.clone());
        }
    }
}
