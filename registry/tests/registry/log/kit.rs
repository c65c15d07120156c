//! Logs and witnesses whose keys are made from one byte.

use basoche_protocol::crypto::Ed25519Key;
use basoche_protocol::id::Digest;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::time::Instant;
use basoche_protocol::tree::{Tree, leaf_hash};
use basoche_registry::log::{Checkpoint, Key, KeyKind, Note};

pub(crate) const ORIGIN: &str = "justice.example/annuaire";

/// Whoever signs notes.
pub(crate) struct Holder {
    pub(crate) secret: Ed25519Key,
    pub(crate) key: Key,
}

impl Holder {
    pub(crate) fn new(name: &str, kind: KeyKind, seed: u8) -> Self {
        let secret = Ed25519Key::new(&[seed; 32]);
        let key = Key::new(name, kind, secret.public()).unwrap();
        Self { secret, key }
    }

    pub(crate) fn log(name: &str) -> Self {
        Self::new(name, KeyKind::Log, name.len() as u8)
    }

    pub(crate) fn witness(seed: u8) -> Self {
        Self::new(&format!("witness.example/w{seed}"), KeyKind::Cosigner, seed)
    }

    pub(crate) fn sign(&self, note: &mut Note, at: Instant) {
        let signature = self.secret.sign(&self.key.message(note.text(), at));
        note.add(self.key.line(&signature, at)).unwrap();
    }
}

pub(crate) fn second(n: u64) -> Instant {
    Instant::from_seconds(1_780_272_000 + n)
}

/// A tree of `size` leaves, those from `other` on being others than usual.
pub(crate) fn tree(size: u64, other: u64) -> Tree {
    let leaf = |n: u64| leaf_hash(&[&n.to_be_bytes()[..], &[u8::from(n >= other)]].concat());
    (0..size).map(leaf).collect()
}

/// The note in which the log `ORIGIN` says that it is `tree`.
pub(crate) fn note(tree: &Tree) -> Note {
    let head = RegistryHead {
        origin: ORIGIN.to_owned(),
        size: tree.size(),
        root: Digest::new(tree.root()),
    };
    let mut note = Note::new(Checkpoint::text(&head)).unwrap();
    Holder::log(ORIGIN).sign(&mut note, second(0));
    note
}

pub(crate) fn checkpoint(tree: &Tree) -> Checkpoint {
    Checkpoint::open(note(tree), &[Holder::log(ORIGIN).key]).unwrap()
}
