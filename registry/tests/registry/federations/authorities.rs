//! Two authorities: one that keeps one history, and one that keeps two.

use std::collections::BTreeSet;

use basoche_protocol::id::Digest;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::Content;
use basoche_registry::entry::Publication;
use basoche_registry::log::{Checkpoint, Note};

use super::{Rng, World, anchors, witness};
use crate::kit::{BAR, COURT, Federation, Key, enrolment, leaf, node, organisation, root, subject};
use crate::log::kit::Holder;
use basoche_protocol::role::Role;

/// One history of a log, as its authority keeps it.
pub(crate) struct Branch {
    origin: &'static str,
    pub(super) federation: Federation,
    leaves: Vec<RegistryLeaf>,
    /// Whom it has enrolled beyond the beginning.
    pub(crate) keys: Vec<u8>,
    next: u8,
}

impl Branch {
    pub(crate) fn new(origin: &'static str) -> Self {
        Self {
            origin,
            federation: Federation::under(anchors()),
            leaves: Vec::new(),
            keys: Vec::new(),
            next: if origin == COURT { 10 } else { 40 },
        }
    }

    fn fork(&self) -> Self {
        Self {
            origin: self.origin,
            federation: self.federation.copy(),
            leaves: self.leaves.clone(),
            keys: Vec::new(),
            next: self.next + 30,
        }
    }

    pub(super) fn tree(&self) -> Tree {
        self.federation
            .replica
            .tree(self.origin)
            .cloned()
            .unwrap_or_default()
    }

    /// Signs the next entry, of now.
    fn sign(
        &self,
        world: &World,
        about: Option<u8>,
        content: impl Into<Content>,
        der: &[u8],
    ) -> RegistryLeaf {
        let mut entry = self.federation.next(self.origin, about, content);
        (entry.issued_at, entry.effective_at) = (world.now(), world.now());
        leaf(&entry, &root(self.origin), &[], der)
    }

    /// Enters what follows; whether its own replica takes it.
    fn enter(&mut self, world: &World, about: Option<u8>, content: impl Into<Content>, der: &[u8]) -> bool {
        let leaf = self.sign(world, about, content, der);
        let taken = self.federation.admit(self.origin, &leaf).is_ok();
        if taken {
            self.leaves.push(leaf);
        }
        taken
    }

    /// Gives all leaves to one node of a side, and waits until that is quiet.
    fn hand_out(&self, world: &mut World, to: usize) {
        for (leaf, index) in self.leaves.iter().zip(0..) {
            let _ = world.take_leaf(to, self.origin, index, leaf);
        }
        world.settle();
    }

    fn begin(&mut self, world: &World) {
        let genesis = anchors().authority(self.origin).unwrap().genesis();
        assert!(self.enter(world, None, genesis, &[]));
        let (organisation_id, node_id) = (self.next, self.next + 1);
        assert!(self.enter(world, Some(organisation_id), organisation(self.origin), &[]));
        let seal = Key::new(node_id);
        let stated = node(organisation_id, &seal, node_id + 100);
        assert!(self.enter(world, Some(node_id), stated, seal.der()));
        self.next += 2;
    }

    fn enrol(&mut self, world: &World) -> u8 {
        let number = self.next;
        let key = Key::new(number);
        let role = if self.origin == COURT {
            Role::Judge
        } else {
            Role::Lawyer
        };
        let home = if self.origin == COURT { 11 } else { 41 };
        assert!(self.enter(world, Some(self.next), enrolment(&key, role, home), key.der()));
        self.next += 1;
        number
    }

    /// The checkpoint of this history, signed by its log.
    fn checkpoint(&self, world: &World) -> Note {
        let tree = self.tree();
        let head = RegistryHead {
            origin: self.origin.to_owned(),
            size: tree.size(),
            root: Digest::new(tree.root()),
        };
        let mut note = Note::new(Checkpoint::text(&head)).unwrap();
        Holder::log(self.origin).sign(&mut note, world.now());
        note
    }

    /// Shows the checkpoint to one node of a side, and gives what the nodes of that side say of it after a while.
    fn show(&self, world: &mut World, rng: &mut Rng, side: usize) -> Note {
        let note = self.checkpoint(world);
        let members = world.members(side);
        let to = members[rng.below(members.len())];
        world.take_note(to, None, note.encode().as_bytes());
        world.settle();
        let gathered = world.gathered(side, self.origin);
        gathered
            .filter(|gathered| gathered.text() == note.text())
            .unwrap_or(note)
    }

    /// Begins the log in one network, and publishes it.
    pub(crate) fn found(&mut self, world: &mut World, rng: &mut Rng) {
        self.begin(world);
        let to = rng.below(world.members(0).len());
        self.hand_out(world, to);
        let checkpoint = self.show(world, rng, 0).encode();
        assert!(self.enter(world, None, Publication { checkpoint }, &[]));
        self.hand_out(world, to);
    }

    /// Enrols somebody and publishes that, if the witnesses can be reached: an honest authority enters no more than that.
    pub(crate) fn go_on(&mut self, world: &mut World, rng: &mut Rng) {
        let members = world.members(1);
        let Some(to) = members.get(rng.below(members.len().max(1))).copied() else {
            return;
        };
        let key = self.enrol(world);
        self.hand_out(world, to);
        let checkpoint = self.show(world, rng, 1).encode();
        if self.enter(world, None, Publication { checkpoint }, &[]) {
            self.keys.push(key);
            self.hand_out(world, to);
        }
    }
}

/// An authority that shows each side of the network another history, with the keys of some witnesses in its hands.
pub(crate) struct Liar {
    branches: [Branch; 2],
    corrupt: BTreeSet<usize>,
    /// Whoever was enrolled, and whether a quorum has seen it as far as the authority could bring one together.
    pub(crate) tried: Vec<(u8, bool)>,
    /// Who was enrolled once it was proved.
    pub(crate) late: Vec<u8>,
}

impl Liar {
    pub(crate) fn new(corrupt: BTreeSet<usize>) -> Self {
        Self {
            branches: [Branch::new(BAR), Branch::new(BAR)],
            corrupt,
            tried: Vec::new(),
            late: Vec::new(),
        }
    }

    pub(crate) fn found(&mut self, world: &mut World, rng: &mut Rng) {
        self.branches[0].found(world, rng);
        self.branches[1] = self.branches[0].fork();
    }

    pub(crate) fn granted(&self) -> [&[u8]; 2] {
        self.branches.each_ref().map(|branch| branch.keys.as_slice())
    }

    pub(crate) fn trees(&self) -> [Tree; 2] {
        self.branches.each_ref().map(Branch::tree)
    }

    /// Enrols somebody in the history of that side, and does what it can to have it published.
    pub(crate) fn lie(&mut self, world: &mut World, rng: &mut Rng, side: usize) {
        let proved = world.healed;
        let branch = &mut self.branches[side];
        let key = branch.enrol(world);
        let members = world.members(side);
        let to = members[rng.below(members.len())];
        branch.hand_out(world, to);
        let mut note = branch.show(world, rng, side);
        for number in &self.corrupt {
            witness(*number).sign(&mut note, world.now());
        }
        let checkpoint = note.encode();
        let policy = anchors();
        let policy = policy.policy().unwrap();
        let keys: Vec<_> = policy.witnesses().cloned().collect();
        let checkpoint_seen = Checkpoint::open(note, &[Holder::log(BAR).key]).unwrap();
        let seen = checkpoint_seen.seen_by(&keys).unwrap();
        let enough = policy.is_met(seen.iter().map(|seen| &seen.by));
        // It hands that out, enough or not: nodes must not take what is not.
        let leaf = branch.sign(world, None, Publication { checkpoint }, &[]);
        let index = branch.tree().size();
        if world.take_leaf(to, BAR, index, &leaf) == Ok(true) {
            world.settle();
            branch.federation.admit(BAR, &leaf).unwrap();
            branch.leaves.push(leaf);
        }
        self.tried.push((key, enough));
        if proved {
            self.late.push(key);
        } else {
            branch.keys.push(key);
        }
    }
}

/// Subjects of nodes never meet those of the logs.
#[test]
fn nodes_are_nobody_in_the_logs() {
    assert_ne!(subject(200), subject(40));
}
