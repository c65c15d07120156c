//! What the court's node has left at a mailbox for the expert's.

use basoche_node::bundle::Deposit;
use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::mailbox::{Address, Content, Parcel, Receipt};
use basoche_protocol::time::Span;
use basoche_protocol::wire::frame::{Frame, Item, Run as RunFrame};
use serde_bytes::ByteBuf;

use super::World;
use super::cast::Who;

impl World {
    /// The last run that the court's node wrote itself, with the receipt of the bar's node.
    pub(super) fn left_for_the_expert(&self) -> Option<Deposit> {
        let node = &self.nodes[0];
        let runs = node.disk.runs.values();
        let mut own = runs.filter(|(branch, ..)| branch.chain.node == Who::Court.subject());
        let (branch, from, to, head) = own.next_back()?;
        let items = node.disk.items(*branch, *from, *to).map(|item| Item {
            entry: ByteBuf::from(item.entry.encode()),
            sealed: item.sealed.as_ref().map(|sealed| ByteBuf::from(sealed.encode())),
        });
        let run = RunFrame {
            dossier: self.dossier,
            chain: branch.chain,
            items: items.collect(),
            head: ByteBuf::from(head.clone()),
        };
        let address = Address {
            dossier: self.dossier,
            addressee: Who::Company.subject(),
            key: node.engine.dossier(&self.dossier)?.key(0)?.clone(),
        };
        let tag = address.tag(Address::period(self.now));
        let parcel = Parcel::seal(&address, &tag, &Content::Run(Frame::Run(run).encode()));
        let bytes = parcel.encode();
        let receipt = Receipt {
            v: Receipt::VERSION,
            mailbox: Who::Bar.subject(),
            depositor: Who::Court.subject(),
            tag,
            parcel: parcel.digest(),
            size: bytes.len() as u64,
            accepted_at: self.now,
            kept_until: self.now + Span::from_seconds(86_400),
        };
        let seal = &self.keys[Who::Bar as usize].signer;
        let signed = Unsigned::new(Typ::MailboxReceipt, seal, self.now, receipt.encode());
        Some(Deposit {
            receipt: signed.sign(seal).unwrap().encode(),
            key: *parcel.own_key(&address),
            parcel: bytes,
        })
    }
}
