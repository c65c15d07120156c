//! What the court's node exports.

use std::io::{self, Cursor, Read};

use basoche_node::bundle::{Ciphertext, Deposit, Items, Run, Source};
use basoche_protocol::document::{DocumentKey, Encryptor};
use basoche_protocol::dossier::DocumentFact;
use basoche_protocol::envelope::Envelope;
use basoche_protocol::id::DossierId;
use basoche_protocol::journal::Entry;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::Anchors;

use super::World;

impl Source for World {
    fn dossier(&self) -> DossierId {
        self.dossier
    }

    fn anchors(&self) -> Anchors {
        self.anchors.clone()
    }

    fn leaves(&self) -> Items<'_, (String, u64, RegistryLeaf)> {
        Box::new(self.leaves.iter().cloned().map(Ok))
    }

    fn runs(&self) -> Items<'_, Run> {
        let disk = &self.nodes[0].disk;
        Box::new(disk.runs.values().map(|(branch, from, to, head)| {
            let entries = disk.items(*branch, *from, *to).map(|item| item.entry.encode());
            Ok(Run {
                chain: branch.chain,
                entries: entries.collect(),
                head: head.clone(),
            })
        }))
    }

    fn heads(&self) -> Items<'_, Vec<u8>> {
        Box::new(self.nodes[0].disk.heads.values().cloned().map(Ok))
    }

    fn envelope(&self, entry: &Entry) -> io::Result<Option<Envelope>> {
        let item = self.nodes[0]
            .disk
            .items
            .values()
            .find(|item| item.entry == *entry);
        let item = item.unwrap();
        let replica = self.nodes[0].engine.dossier(&self.dossier).unwrap();
        let Some(sealed) = &item.sealed else {
            return Ok(None);
        };
        let key = replica.key(sealed.key_epoch()).unwrap();
        let opened = sealed.open(&self.dossier, entry.message, key).ok();
        Ok(opened.filter(|envelope| Some(envelope.id()) != self.withheld))
    }

    fn deposits(&self) -> Items<'_, Deposit> {
        Box::new(self.left_for_the_expert().into_iter().map(Ok))
    }

    fn document(&self, document: &DocumentFact) -> io::Result<Option<(DocumentKey, Box<dyn Read>)>> {
        let replica = self.nodes[0].engine.dossier(&self.dossier).unwrap();
        let epoch = replica.key(0).unwrap();
        let Some(key) = document.reference.open_key(epoch, &self.dossier) else {
            return Ok(None);
        };
        let plaintext = self.documents.get(&document.reference.root).cloned();
        Ok(plaintext.map(|bytes| (key, Box::new(Cursor::new(bytes)) as Box<dyn Read>)))
    }

    fn ciphertext(&self, document: &DocumentFact) -> io::Result<Option<Box<dyn Read>>> {
        let ciphertext = self.ciphertexts.get(&document.reference.root).cloned();
        Ok(ciphertext.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>))
    }

    fn contested(&self, document: &DocumentFact) -> io::Result<Option<Ciphertext>> {
        let replica = self.nodes[0].engine.dossier(&self.dossier).unwrap();
        let (epoch, reference) = (replica.key(0).unwrap(), &document.reference);
        let key = reference.open_key(epoch, &self.dossier).unwrap();
        let mut encryptor = Encryptor::new(&key, reference.bytes).unwrap();
        let mut ciphertext = Vec::new();
        encryptor
            .push(&self.documents[&reference.root], &mut ciphertext)
            .unwrap();
        encryptor.finish(&mut ciphertext).unwrap();
        Ok(Some(Ciphertext {
            key: Some(key),
            bytes: ciphertext.len() as u64,
            ciphertext: Box::new(Cursor::new(ciphertext)),
        }))
    }
}
