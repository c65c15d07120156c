//! A node that signs a second history of its chain, and the court's word on it.

use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::Digest;
use basoche_protocol::journal::{Branch, Citation, Head, HeadRow};
use basoche_protocol::message::{Body, ForkSettled};
use basoche_protocol::time::Span;
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::{Frame, Item, Run};
use serde_bytes::ByteBuf;

use super::World;
use super::cast::Who;

impl World {
    /// The bar's node records its last message at another instant, too, and tells the court; gives the end of its
    /// first history.
    pub(crate) fn fork(&mut self) -> Citation {
        let (node, seal) = (&self.nodes[Who::Bar.home()], &self.keys[Who::Bar as usize].signer);
        let replica = node.engine.dossier(&self.dossier).unwrap();
        let (chain, seq, leaf) = {
            let mut own = replica.chains().iter();
            let (branch, held) = own
                .find(|(branch, _)| branch.chain.node == Who::Bar.subject())
                .unwrap();
            (branch.chain, held.size() - 1, held.last().unwrap().0)
        };
        let mut item = node.disk.items[&(Branch::first(chain), seq)].clone();
        item.entry.recorded_at = item.entry.recorded_at + Span::from_ms(1);
        let leaves = replica.chain(&chain).unwrap().tree().leaves();
        let mut tree: Tree = leaves[..seq as usize].iter().copied().collect();
        tree.push(*item.entry.leaf().as_bytes());
        let row = HeadRow {
            chain,
            size: seq + 1,
            leaf: item.entry.leaf(),
            root: Digest::new(tree.root()),
        };
        let mut rows = replica.frontier();
        rows.retain(|row| row.chain != chain);
        rows.push(row);
        rows.sort_by_key(|row| (row.chain, row.leaf));
        let head = Head {
            v: Head::VERSION,
            head_no: 1 << 20,
            dossier: self.dossier,
            node: chain.node,
            incarnation: chain.incarnation,
            rows,
            registries: vec![],
            time: self.now,
        };
        let head = Unsigned::new(Typ::Head, seal, self.now, head.encode())
            .sign(seal)
            .unwrap();
        let item = Item {
            entry: ByteBuf::from(item.entry.encode()),
            sealed: item.sealed.as_ref().map(|sealed| ByteBuf::from(sealed.encode())),
        };
        let run = Frame::Run(Run {
            dossier: self.dossier,
            chain,
            items: vec![item],
            head: ByteBuf::from(head.encode()),
        });
        let court = &mut self.nodes[Who::Court.home()].engine;
        court.handle_frame(Who::Bar.subject(), &run.encode(), self.now);
        self.settle();
        Citation { chain, seq, leaf }
    }

    /// The judge lets one history count.
    pub(crate) fn settle_fork(&mut self, keep: Citation) {
        let order = ForkSettled {
            ext: None,
            keep,
            reason: "Nœud restauré deux fois.".into(),
        };
        self.act(Who::Judge, Body::ForkSettled(order));
    }
}
