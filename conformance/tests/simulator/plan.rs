//! What happens in a run: a list of values, drawn from a seed. The same seed is the same list.

use basoche_protocol::fixture::{Network, Rng};

/// Nodes of every federation: court, bar, company and further bars.
pub(crate) const NODES: usize = 7;
/// Operations of every plan.
const OPERATIONS: usize = 220;
/// Faults of every plan, at least.
pub(crate) const FAULTS: usize = 5;

/// Somebody's act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saying {
    Exhibit,
    Dire,
    Provision,
    PreReport,
    Report,
    /// The court has an exhibit or a dire erased.
    Erasure,
    /// The court holds one, or lifts the hold that stands.
    Hold,
    /// An act for which the author is not competent.
    Unlawful,
    /// By the lawyer whose key is revoked, dated before the revocation.
    Backdated,
}

/// What a dishonest node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malice {
    /// Records something that is no message, then something lawful.
    Poison,
    /// Records an act that nobody may do, or a message of another dossier, or one dated back.
    Invent,
    /// Says that others hold and signed what they did not.
    LieInHead,
    /// The same without a signature, of any length; and inventories that are wrong.
    LieInFrontier,
    /// Sends many runs of which the first is missing, and the first much later.
    Flood,
    /// Sends bytes that are no frame, and frames of dossiers that do not exist.
    Babble,
    /// Writes another history of the chain that it writes by hand, and tells some of one and some of the other.
    Equivocate,
    /// Keeps runs from these peers (a mask).
    Withhold(u8),
    /// Reads nothing any more.
    Deaf,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Somebody (by number) says something in a dossier (by number).
    Say(usize, usize, Saying),
    /// A user sends an earlier submission (by number) again.
    Again(usize),
    /// A connection breaks.
    Cut(usize, usize),
    /// It is made again.
    Join(usize, usize),
    /// What one node sends to another arrives only after the next [`Op::Heal`].
    Hold(usize, usize),
    /// The nodes of this mask and the others lose each other.
    Split(u8),
    /// Every pair of nodes is connected, nothing is held.
    Heal,
    /// A node loses power.
    Crash(usize),
    /// A node's disk is copied.
    Backup(usize),
    /// A node's disk becomes the last copy.
    Restore(usize),
    /// A node's clock goes wrong by so many milliseconds.
    Skew(usize, i64),
    /// The network mangles frames, or no longer.
    Weather(Network),
    /// A dishonest node (the first or the second one) does what it does.
    Malice(usize, Malice),
    /// The expert takes a further lawyer (by number), and so their node, into the small dossier.
    Enter(usize),
    /// The expert removes them: a new key epoch begins.
    Leave(usize),
    /// The expert asks all members of a dossier to sign that they hold what the expert's node does.
    Barrier(usize),
    /// A node signs whatever barrier of a dossier it can.
    Sign(usize, usize),
    /// A node asks another one for a proof.
    Ask(usize, usize),
}

impl Op {
    /// The name of its kind, for the histogram.
    pub(crate) fn kind(&self) -> String {
        let name = match self {
            Self::Say(_, _, saying) => format!("say {saying:?}"),
            Self::Malice(_, Malice::Withhold(_)) => "malice Withhold".to_owned(),
            Self::Malice(_, malice) => format!("malice {malice:?}"),
            other => format!("{other:?}"),
        };
        name.split('(').next().unwrap_or_default().to_lowercase()
    }

    /// Whether it is a fault, of the world or of somebody.
    pub(crate) fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Say(..)
                | Self::Again(_)
                | Self::Join(..)
                | Self::Heal
                | Self::Backup(_)
                | Self::Enter(_)
                | Self::Leave(_)
                | Self::Barrier(_)
                | Self::Sign(..)
                | Self::Ask(..)
        )
    }
}

/// What happens, and how long after what came before, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The dishonest nodes: none, one or two.
    pub(crate) dishonest: Vec<usize>,
    pub(crate) ops: Vec<(u64, Op)>,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // The court and the company stay honest, so that the procedure goes on.
        let mut suspects = vec![1, 3, 4, 5, 6];
        let dishonest: Vec<usize> = (0..rng.below(3))
            .map(|_| suspects.remove(rng.below(suspects.len() as u64) as usize))
            .collect();
        let mut ops = Vec::with_capacity(OPERATIONS);
        while ops.len() < OPERATIONS
            || ops.iter().filter(|(_, op): &&(u64, Op)| op.is_fault()).count() < FAULTS
        {
            let op = draw(&mut rng, dishonest.len());
            // Bursts, and now and then a long silence.
            let pause = match rng.below(10) {
                0..6 => rng.below(20),
                6..9 => rng.below(300),
                _ => rng.below(8000),
            };
            ops.push((pause, op));
        }
        if changes_roster(seed) {
            // Dice of its own: in what else happens, a seed stays what it was.
            let mut rng = Rng::new(seed ^ 0x0050_57e2);
            for lawyer in 0..NODES - 3 {
                let enters = rng.below(ops.len() as u64 * 3 / 4) as usize;
                let leaves = enters + 1 + rng.below((ops.len() - enters) as u64) as usize;
                ops.insert(enters, (rng.below(300), Op::Enter(lawyer)));
                if rng.below(3) > 0 {
                    ops.insert(leaves, (rng.below(300), Op::Leave(lawyer)));
                }
            }
        }
        if asks_for_barriers(seed) {
            let mut rng = Rng::new(seed ^ 0x0062_6172);
            for _ in 0..4 {
                let dossier = usize::from(rng.below(2) == 0);
                let at = rng.below(ops.len() as u64) as usize;
                ops.insert(at, (rng.below(300), Op::Barrier(dossier)));
                for _ in 0..2 * NODES {
                    let after = at + 1 + rng.below((ops.len() - at) as u64) as usize;
                    let node = rng.below(NODES as u64) as usize;
                    ops.insert(after, (rng.below(300), Op::Sign(node, dossier)));
                }
            }
        }
        if asks_for_proofs(seed) {
            let mut rng = Rng::new(seed ^ 0x7072_6f6f);
            for _ in 0..60 {
                let (at, from) = (rng.below(ops.len() as u64) as usize, node(&mut rng));
                // Every third question goes to a node that may lie.
                let to = match dishonest.first() {
                    Some(liar) if rng.below(3) == 0 => *liar,
                    _ => node(&mut rng),
                };
                ops.insert(at, (rng.below(300), Op::Ask(from, to)));
            }
        }
        Self { seed, dishonest, ops }
    }
}

/// Whether a seed changes who takes part in the small dossier.
pub(crate) fn changes_roster(seed: u64) -> bool {
    seed % 3 == 1
}

/// Whether a seed has barriers; the named ones have none.
fn asks_for_barriers(seed: u64) -> bool {
    seed % 5 == 3
}

/// Whether the nodes of a seed ask each other for proofs; the named ones do not.
pub(crate) fn asks_for_proofs(seed: u64) -> bool {
    seed % 7 == 3
}

fn node(rng: &mut Rng) -> usize {
    rng.below(NODES as u64) as usize
}

fn mask(rng: &mut Rng) -> u8 {
    rng.below(1 << NODES) as u8
}

fn draw(rng: &mut Rng, dishonest: usize) -> Op {
    match rng.below(100) {
        0..58 => {
            let saying = match rng.below(400) {
                0..140 => Saying::Exhibit,
                140..260 => Saying::Dire,
                260..330 => Saying::Provision,
                330..332 => Saying::PreReport,
                332..334 => Saying::Report,
                334..341 => Saying::Erasure,
                341..344 => Saying::Hold,
                344..368 => Saying::Unlawful,
                _ => Saying::Backdated,
            };
            Op::Say(usize::from(rng.below(4) == 0), rng.below(16) as usize, saying)
        }
        58..63 => Op::Again(rng.below(1 << 20) as usize),
        63..67 => Op::Cut(node(rng), node(rng)),
        67..73 => Op::Join(node(rng), node(rng)),
        73..75 => Op::Hold(node(rng), node(rng)),
        75..77 => Op::Split(mask(rng)),
        77..80 => Op::Heal,
        80..84 => Op::Crash(node(rng)),
        84..87 => Op::Backup(node(rng)),
        87..89 => Op::Restore(node(rng)),
        89..91 => Op::Skew(node(rng), rng.below(400_000) as i64 - 200_000),
        91..93 => Op::Weather(Network {
            lost: rng.below(100),
            repeated: rng.below(200),
            overtaking: rng.below(200),
        }),
        93 => Op::Weather(Network::default()),
        _ if dishonest == 0 => Op::Cut(node(rng), node(rng)),
        _ => {
            let malice = match rng.below(12) {
                0..2 => Malice::Poison,
                2 => Malice::Equivocate,
                3..6 => Malice::Invent,
                6 => Malice::LieInHead,
                7 => Malice::LieInFrontier,
                8 => Malice::Flood,
                9 => Malice::Babble,
                10 => Malice::Withhold(mask(rng)),
                _ => Malice::Deaf,
            };
            Op::Malice(rng.below(dishonest as u64) as usize, malice)
        }
    }
}
