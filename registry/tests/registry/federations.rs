//! Federations of twelve nodes under an authority that signs two histories: it is found out within two rounds of messages,
//! nothing that it grants in both counts anywhere, and nobody honest is accused. REG-21, LOG-12 to LOG-14.
//!
//! Nine of the nodes are witnesses, three of each profession, of which two must have seen what is granted; up to two of them
//! sign whatever they are given. The network falls apart while the bar's authority shows each part another history, the
//! court's is honest, then comes together again. `BASOCHE_LONG=1` compiles it for a thousand seeds.

mod authorities;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use basoche_protocol::id::SubjectId;
use basoche_protocol::plant::{Bug, plant};
use basoche_protocol::time::Instant;
use basoche_protocol::tree::Tree;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::log::{self, Effect, Gossip, Note, Policy, Watch, Witness};
use basoche_registry::{Anchors, Inadmissible, Replica};

use crate::kit::{BAR, COMPANY, COURT, Key, authority, subject};
use crate::log::kit::{Holder, second};
use crate::status::letter;
use authorities::{Branch, Liar};

const NODES: usize = 12;
const WITNESSES: usize = 9;
const PROFESSIONS: [&str; 3] = ["courts", "bars", "companies"];

/// A sequence that its seed decides (SplitMix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % bound
    }
}

/// What one node tells another.
#[derive(Clone)]
enum Message {
    Leaf(String, u64, RegistryLeaf),
    Note(Vec<u8>),
    Proof(Vec<u8>),
}

/// A node: what it holds, what it has heard, and its key if it is a witness.
struct Node {
    replica: Replica,
    gossip: Gossip,
    witness: Option<Holder>,
    /// Of the log of the bar: whatever it has cosigned, by size.
    cosigned: BTreeMap<u64, [u8; 32]>,
}

/// What a run is told to do without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lack {
    Nothing,
    /// Nodes tell each other leaves, and nothing of checkpoints.
    Gossip,
    /// Replicas take whatever is entered as published for published.
    Rules,
}

pub(crate) struct World {
    nodes: Vec<Node>,
    /// On which side of the network each node is.
    sides: Vec<usize>,
    healed: bool,
    under_way: VecDeque<(usize, usize, Message)>,
    now: u64,
    gossips: bool,
}

fn id(node: usize) -> SubjectId {
    subject(200 + node as u8)
}

fn number(peer: SubjectId) -> usize {
    (0..NODES).find(|node| id(*node) == peer).unwrap()
}

pub(crate) fn witness(number: usize) -> Holder {
    Holder::witness(number as u8 + 1)
}

fn policy() -> String {
    let witnesses = (0..WITNESSES).map(|number| format!("witness w{number} {}\n", witness(number).key));
    let groups = PROFESSIONS.iter().enumerate().map(|(place, name)| {
        let first = place * 3;
        format!("group {name} 2 w{first} w{} w{}\n", first + 1, first + 2)
    });
    let lines: String = witnesses.chain(groups).collect();
    format!("{lines}group all all {}\nquorum all\n", PROFESSIONS.join(" "))
}

pub(crate) fn anchors() -> Anchors {
    let policy = Arc::new(Policy::parse(policy().as_bytes()).unwrap());
    let with = |origin| {
        let keyed = authority(origin).with_log_key(Holder::log(origin).key).unwrap();
        keyed.with_policy(Arc::clone(&policy)).unwrap()
    };
    Anchors::new([COURT, BAR, COMPANY].map(with).to_vec()).unwrap()
}

impl World {
    fn new(rng: &mut Rng) -> Self {
        let anchors = anchors();
        let logs: Vec<log::Key> = [COURT, BAR, COMPANY]
            .map(|origin| Holder::log(origin).key)
            .to_vec();
        let cosigners: Vec<log::Key> = (0..WITNESSES).map(|number| witness(number).key).collect();
        let nodes = (0..NODES).map(|number| {
            let own = (number < WITNESSES).then(|| witness(number));
            let watch = Watch::new(logs.clone(), cosigners.clone());
            let watch = match &own {
                Some(own) => watch.with_witness(own.key.clone(), Witness::new()),
                None => watch,
            };
            Node {
                replica: Replica::new(anchors.clone()),
                gossip: Gossip::new(watch),
                witness: own,
                cosigned: BTreeMap::new(),
            }
        });
        let nodes = nodes.collect();
        // Two halves, or a few who are shown another history than most.
        let of = [2, 5][rng.below(2)];
        Self {
            nodes,
            sides: (0..NODES).map(|_| usize::from(rng.below(of) == 0)).collect(),
            healed: true,
            under_way: VecDeque::new(),
            now: 0,
            gossips: true,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        second(self.now)
    }

    fn tell(&mut self, from: usize, to: usize, message: Message) {
        let reached = self.healed || self.sides[from] == self.sides[to];
        let heard = self.gossips || matches!(message, Message::Leaf(..));
        if from != to && reached && heard {
            self.under_way.push_back((from, to, message));
        }
    }

    fn tell_others(&mut self, from: usize, but: Option<usize>, message: &Message) {
        for to in (0..NODES).filter(|to| Some(*to) != but) {
            self.tell(from, to, message.clone());
        }
    }

    /// All that is under way arrives; what it brings about is under way afterwards.
    fn round(&mut self) {
        self.now += 1;
        for (from, to, message) in std::mem::take(&mut self.under_way) {
            match message {
                Message::Leaf(origin, index, leaf) => {
                    let _ = self.take_leaf(to, &origin, index, &leaf);
                }
                Message::Note(note) => self.take_note(to, Some(from), &note),
                Message::Proof(proof) => {
                    // Whoever sends one has checked it.
                    self.nodes[to]
                        .gossip
                        .handle_proof(Some(id(from)), &proof)
                        .unwrap();
                    self.act(to);
                }
            }
        }
    }

    pub(crate) fn settle(&mut self) {
        while !self.under_way.is_empty() {
            self.round();
        }
    }

    /// Gives a leaf to a node, who passes it on if it is news.
    pub(crate) fn take_leaf(
        &mut self,
        to: usize,
        origin: &str,
        index: u64,
        leaf: &RegistryLeaf,
    ) -> Result<bool, Inadmissible> {
        let node = &mut self.nodes[to];
        let news = node.replica.admit(origin, index, leaf)?;
        if news {
            let tree = node.replica.tree(origin).unwrap();
            node.gossip.handle_entries(origin, tree);
            self.act(to);
            self.tell_others(to, None, &Message::Leaf(origin.to_owned(), index, leaf.clone()));
        }
        Ok(news)
    }

    /// Gives a checkpoint to a node.
    pub(crate) fn take_note(&mut self, to: usize, from: Option<usize>, note: &[u8]) {
        let Node { replica, gossip, .. } = &mut self.nodes[to];
        let tree = |origin: &str| replica.tree(origin);
        gossip.handle_note(from.map(id), note, tree).unwrap();
        self.act(to);
    }

    /// Does what the node's part in the gossip asks for.
    fn act(&mut self, node: usize) {
        let at = self.now();
        while let Some(effect) = self.nodes[node].gossip.poll_effect() {
            let watch = self.nodes[node].gossip.watch();
            let latest =
                |origin: &str| Message::Note(watch.latest(origin).unwrap().note().encode().into_bytes());
            match effect {
                Effect::Spread { origin, but } => {
                    let message = latest(&origin);
                    self.tell_others(node, but.map(number), &message);
                }
                Effect::Repeat { origin } => {
                    let message = latest(&origin);
                    self.tell_others(node, None, &message);
                }
                Effect::Answer { origin, to } => {
                    let message = latest(&origin);
                    self.tell(node, number(to), message);
                }
                Effect::Doubt { .. } => {}
                Effect::Accuse { origin, but } => {
                    let message = Message::Proof(watch.guilt(&origin).unwrap().encode());
                    self.tell_others(node, but.map(number), &message);
                }
                Effect::Cosign(proposal) => {
                    let Node {
                        gossip,
                        witness,
                        cosigned,
                        ..
                    } = &mut self.nodes[node];
                    let own = witness.as_ref().unwrap();
                    let head = proposal.head();
                    if head.origin == BAR {
                        cosigned.insert(head.size, *head.root.as_bytes());
                    }
                    let signature = own.secret.sign(&own.key.message(proposal.text(), at));
                    gossip.handle_cosigned(&proposal, &signature, at);
                }
            }
        }
    }

    /// The network comes together: each node tells every other what it has heard, and the leaves that the other lacks.
    fn heal(&mut self) {
        self.healed = true;
        for from in 0..NODES {
            let watch = self.nodes[from].gossip.watch();
            let proofs = watch.guilty().map(|(_, proof)| Message::Proof(proof.encode()));
            let notes = watch
                .all()
                .map(|one| Message::Note(one.note().encode().into_bytes()));
            let heard: Vec<_> = proofs.chain(notes).collect();
            for message in &heard {
                self.tell_others(from, None, message);
            }
            for origin in [COURT, BAR] {
                self.offer_leaves(from, origin);
            }
        }
    }

    fn offer_leaves(&mut self, from: usize, origin: &str) {
        use basoche_protocol::engine::Registry;
        let size = |node: &Node| node.replica.tree(origin).map_or(0, Tree::size);
        for to in 0..NODES {
            let lacks = size(&self.nodes[to]);
            let leaves = self.nodes[from].replica.leaves(origin, lacks, 1 << 20);
            for (leaf, index) in leaves.into_iter().zip(lacks..) {
                self.tell(from, to, Message::Leaf(origin.to_owned(), index, leaf));
            }
        }
    }

    /// Of the nodes of a side the checkpoint with most lines of the log that its `holder` says.
    pub(crate) fn gathered(&self, side: usize, origin: &str) -> Option<Note> {
        let latest = |node: usize| self.nodes[node].gossip.watch().latest(origin);
        let nodes = self.members(side).into_iter();
        let notes = nodes.filter_map(|node| Some(latest(node)?.note().clone()));
        notes.max_by_key(|note| note.signatures().len())
    }

    /// The nodes of a side, or all of them once it is one network.
    pub(crate) fn members(&self, side: usize) -> Vec<usize> {
        (0..NODES)
            .filter(|node| self.healed || self.sides[*node] == side)
            .collect()
    }
}

/// Plays a seed; what was found wrong, and whether one of the two histories had its quorum.
fn play(seed: u64, lack: Lack) -> (Vec<String>, bool) {
    plant((lack == Lack::Rules).then_some(Bug::NoQuorum));
    let mut rng = Rng(seed);
    let mut world = World::new(&mut rng);
    let corrupt: BTreeSet<usize> = (0..rng.below(3)).map(|_| rng.below(WITNESSES)).collect();
    let mut liar = Liar::new(corrupt.clone());
    let mut honest = Branch::new(COURT);

    // One network, one history: it is published.
    liar.found(&mut world, &mut rng);
    honest.found(&mut world, &mut rng);
    // Two networks, two histories.
    world.gossips = lack != Lack::Gossip;
    world.healed = false;
    let both = [0, 1].iter().all(|side| !world.members(*side).is_empty());
    for _ in 0..1 + rng.below(3) {
        for side in [0, 1] {
            if !world.members(side).is_empty() {
                liar.lie(&mut world, &mut rng, side);
            }
        }
        honest.go_on(&mut world, &mut rng);
    }
    // One network again.
    world.heal();
    world.round();
    world.round();
    let mut wrong = Vec::new();
    let has_proof = |node: &Node| node.gossip.watch().guilt(BAR).is_some();
    if both && !world.nodes.iter().all(has_proof) {
        let without = world.nodes.iter().filter(|node| !has_proof(node)).count();
        wrong.push(format!("{without} nodes have no proof after two rounds"));
    }
    world.settle();
    // The authority tries on; the honest one goes on.
    for side in [0, 1] {
        if both {
            liar.lie(&mut world, &mut rng, side);
        }
    }
    honest.go_on(&mut world, &mut rng);
    world.settle();
    judge(&world, &liar, &honest, &corrupt, both, &mut wrong);
    plant(None);
    let published = liar.tried.iter().any(|(_, seen)| *seen);
    (wrong, published)
}

/// What must hold at the end.
fn judge(
    world: &World,
    liar: &Liar,
    honest: &Branch,
    corrupt: &BTreeSet<usize>,
    both: bool,
    wrong: &mut Vec<String>,
) {
    let at = world.now();
    let valid = |key: u8| {
        let id = Key::new(key).certificate.id();
        let nodes = world.nodes.iter();
        nodes.filter(|node| letter(&node.replica, &id, at) == 'V').count()
    };
    // Of two histories one at most counts, and of that nothing that came after the proof.
    let counts = liar
        .granted()
        .map(|keys| keys.iter().filter(|key| valid(**key) > 0).count());
    if both && counts[0] > 0 && counts[1] > 0 {
        wrong.push(format!("both histories count somewhere: {counts:?}"));
    }
    let late = liar.late.iter().filter(|key| valid(**key) > 0).count();
    if both && late > 0 {
        wrong.push(format!("{late} enrolments after the proof count somewhere"));
    }
    // What only some of the professions have seen does not count.
    for (key, seen) in &liar.tried {
        if !seen && valid(*key) > 0 {
            wrong.push("an enrolment counts that no quorum has seen".into());
        }
    }
    for (number, node) in world.nodes.iter().enumerate() {
        if node.gossip.watch().guilt(COURT).is_some() {
            wrong.push(format!("node {number} accuses the honest log"));
        }
        // An honest witness has signed one history.
        let of_one = |branch: &Tree| {
            let mut signed = node.cosigned.iter();
            signed.all(|(size, root)| branch.root_at(*size) == Some(*root))
        };
        let signed_one = liar.trees().iter().any(of_one);
        if !corrupt.contains(&number) && !signed_one {
            wrong.push(format!("witness {number} has signed both histories"));
        }
        let missing = honest
            .keys
            .iter()
            .filter(|key| letter(&node.replica, &Key::new(**key).certificate.id(), at) != 'V');
        if world.gossips && missing.count() > 0 {
            wrong.push(format!("node {number} lacks what the honest log granted"));
        }
    }
}

/// As many as there are; a campaign is compiled for more.
const SEEDS: u64 = if option_env!("BASOCHE_LONG").is_some() {
    1000
} else {
    12
};

fn fails(lack: Lack) -> (u64, Vec<String>, u64) {
    let (mut failed, mut first, mut published) = (0, Vec::new(), 0);
    for seed in 0..SEEDS {
        let (wrong, had_quorum) = play(seed, lack);
        published += u64::from(had_quorum);
        if !wrong.is_empty() {
            failed += 1;
            if first.is_empty() {
                first = wrong;
                first.insert(0, format!("seed {seed}"));
            }
        }
    }
    (failed, first, published)
}

#[test]
fn who_signs_two_histories_is_found_out_and_grants_nothing_in_both() {
    let (failed, first, published) = fails(Lack::Nothing);
    // Both happen: a history that enough of the witnesses see, and none.
    assert!((SEEDS / 4..SEEDS).contains(&published), "{published} of {SEEDS}");
    assert_eq!(failed, 0, "of {SEEDS}: {first:?}");
}

/// Negative control: without gossip nobody finds out.
#[test]
fn it_is_noticed_that_nobody_gossips() {
    let (failed, first, _) = fails(Lack::Gossip);
    assert!(failed > 0);
    assert!(first.iter().any(|what| what.contains("no proof")), "{first:?}");
}

/// Negative control: replicas that ask for no quorum honour what only some have seen.
#[test]
fn it_is_noticed_that_replicas_skip_the_rules() {
    let (failed, first, _) = fails(Lack::Rules);
    assert!(failed > 0);
    assert!(first.iter().any(|what| what.contains("count")), "{first:?}");
}
