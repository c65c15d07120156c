//! What is fetched next, and from whom: the rarest first, from the fastest.
//!
//! A table of what is wanted, without any input or output: who fetches asks [`Plan::next`] and tells what became of it.
//! Documents that the fewest members hold come first, so that after a deposit thirty members do not all fetch from the
//! depositor: each begins somewhere else, and they have it from each other. Of the members that hold a document the one
//! is asked that is likely to bring it soonest, and none is asked for more than a few things at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use basoche_protocol::id::{Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::wire::limits;

use super::batch::{BATCH_BYTES, is_small};

/// Jobs that one source has at a time, at most.
const PER_SOURCE: usize = 2;
/// Bytes that a source is asked for before its rate is known, and at least.
const FIRST_BATCH: u64 = 1 << 20;
const LEAST_BATCH: u64 = 128 << 10;
/// Seconds that a batch should take at the rate of those before.
const BATCH_SECONDS: f64 = 0.5;
/// The first and the longest pause before a document is tried again, and before a source is that had no time.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a source is left alone that sent something else than was asked.
const BLAMED: Duration = Duration::from_secs(60);
/// Documents of which it is worth knowing anew who holds them.
const WINDOW: usize = 4096;

/// A document that is wanted.
#[derive(Clone, Debug)]
pub struct Want {
    /// The dossier.
    pub dossier: DossierId,
    /// The message that brought it.
    pub deposit: MessageId,
    /// The document.
    pub root: Digest,
    /// Bytes of its ciphertext.
    pub bytes: u64,
    /// The nodes that may have it, likeliest first.
    pub sources: Arc<[SubjectId]>,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Fetch small documents, each with its ciphertext's length, from one source.
    Batch {
        /// Their dossier.
        dossier: DossierId,
        /// Whom to ask.
        source: SubjectId,
        /// What.
        documents: Vec<(Digest, u64)>,
    },
    /// Fetch one document, from several sources at once if it is long.
    One {
        /// Its dossier.
        dossier: DossierId,
        /// The document.
        root: Digest,
        /// Bytes of its ciphertext.
        bytes: u64,
        /// Whom to ask, first things first.
        sources: Vec<SubjectId>,
    },
}

struct Wanted {
    want: Want,
    /// Where it stands in this node's own order: another node has another order.
    lot: u64,
    /// Who says that it holds it.
    holders: BTreeSet<SubjectId>,
    /// The sources that have not given it since the last pause.
    failed: BTreeSet<SubjectId>,
    due: Instant,
    pause: Duration,
    under_way: bool,
}

#[derive(Default)]
struct Peer {
    /// Bytes per second, once measured.
    rate: Option<f64>,
    jobs: usize,
    /// Left alone until then.
    until: Option<Instant>,
    refusals: u32,
}

/// Everything that is wanted.
pub struct Plan {
    own: SubjectId,
    /// Jobs at once, at most.
    jobs: usize,
    wants: BTreeMap<Digest, Wanted>,
    peers: BTreeMap<SubjectId, Peer>,
    /// Jobs for one document under way.
    ones: usize,
}

impl Plan {
    /// An empty plan of the node `own`, which does so many jobs at once.
    pub fn new(own: SubjectId, jobs: usize) -> Self {
        Self {
            own,
            jobs,
            wants: BTreeMap::new(),
            peers: BTreeMap::new(),
            ones: 0,
        }
    }

    /// How many documents are wanted.
    pub fn len(&self) -> usize {
        self.wants.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    /// A document is wanted. One that is already stays as it is.
    pub fn add(&mut self, want: Want, now: Instant) {
        let holders = want.sources.first().copied().into_iter().collect();
        let lot = lot(&self.own, &want.root);
        self.wants.entry(want.root).or_insert(Wanted {
            want,
            lot,
            holders,
            failed: BTreeSet::new(),
            due: now,
            pause: PAUSE.0,
            under_way: false,
        });
    }

    /// The documents of which it matters now who holds them.
    pub fn candidates(&self) -> Vec<(DossierId, MessageId, Digest)> {
        let waiting = self.wants.values().filter(|one| !one.under_way).take(WINDOW);
        waiting
            .map(|one| (one.want.dossier, one.want.deposit, one.want.root))
            .collect()
    }

    /// Who says that it holds a document.
    pub fn held(&mut self, root: &Digest, holders: BTreeSet<SubjectId>) {
        if let Some(one) = self.wants.get_mut(root) {
            one.holders = holders;
        }
    }

    /// A document is wanted no more, unless it is under way.
    pub fn forget(&mut self, root: &Digest) {
        self.wants.retain(|known, one| known != root || one.under_way);
    }

    /// The next job, if there is one to be begun now.
    pub fn next(&mut self, now: Instant) -> Option<Job> {
        let job = self.choose(now)?;
        match &job {
            Job::Batch {
                source, documents, ..
            } => {
                self.peer(source).jobs += 1;
                documents.iter().for_each(|(root, _)| self.begin(root));
            }
            Job::One { root, .. } => {
                self.ones += 1;
                self.begin(root);
            }
        }
        Some(job)
    }

    fn choose(&self, now: Instant) -> Option<Job> {
        // One that takes long never keeps the small ones out.
        let small_only = self.jobs > 1 && self.ones + 1 >= self.jobs;
        let mut ready: Vec<&Wanted> = self
            .wants
            .values()
            .filter(|one| !one.under_way && one.due <= now && (!small_only || is_small(one.want.bytes)))
            .collect();
        ready.sort_unstable_by_key(|one| (one.holders.len(), one.lot));
        for first in &ready {
            let Some(source) = self.best(first, now) else {
                continue;
            };
            let Want {
                dossier, root, bytes, ..
            } = first.want;
            if !is_small(bytes) {
                let sources = self.in_order(first, now);
                return Some(Job::One {
                    dossier,
                    root,
                    bytes,
                    sources,
                });
            }
            let (documents, full) = self.batch(&ready, first, source);
            // One that is not full waits for more as long as this source is busy with another.
            if full || self.jobs_of(&source) == 0 {
                return Some(Job::Batch {
                    dossier,
                    source,
                    documents,
                });
            }
        }
        None
    }

    /// When there may be another job although nothing happens: `None` if something must.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let wants = self
            .wants
            .values()
            .filter(|one| !one.under_way)
            .map(|one| one.due);
        let peers = self.peers.values().filter_map(|peer| peer.until);
        wants.chain(peers).filter(|due| *due > now).min()
    }

    /// A job has ended: `lacking` is what it has not brought. What was brought is wanted no more.
    pub fn ended(&mut self, job: &Job, lacking: &BTreeSet<Digest>, now: Instant) {
        match job {
            Job::Batch {
                source, documents, ..
            } => {
                self.peer(source).jobs -= 1;
                for (root, _) in documents {
                    if lacking.contains(root) {
                        self.lacked(root, Some(*source), now);
                    } else {
                        self.wants.remove(root);
                    }
                }
            }
            Job::One { root, .. } => {
                self.ones -= 1;
                if lacking.contains(root) {
                    self.lacked(root, None, now);
                } else {
                    self.wants.remove(root);
                }
            }
        }
    }

    /// A source has brought so many bytes in this time.
    pub fn measured(&mut self, source: &SubjectId, bytes: u64, took: Duration) {
        let rate = bytes as f64 / took.as_secs_f64().max(1e-3);
        let peer = self.peer(source);
        peer.rate = Some(peer.rate.map_or(rate, |known| (known + rate) / 2.0));
        if bytes > 0 {
            (peer.refusals, peer.until) = (0, None);
        }
    }

    /// A source could not be reached or gives nothing now: it is left alone for a while, longer each time.
    pub fn refused(&mut self, source: &SubjectId, now: Instant) {
        let peer = self.peer(source);
        peer.until = Some(now + (PAUSE.0 * 2_u32.saturating_pow(peer.refusals)).min(PAUSE.1));
        peer.refusals = (peer.refusals + 1).min(16);
    }

    /// A source has sent something else than was asked.
    pub fn blamed(&mut self, source: &SubjectId, now: Instant) {
        self.peer(source).until = Some(now + BLAMED);
    }

    /// A document was not brought: by `source`, or by nobody.
    fn lacked(&mut self, root: &Digest, source: Option<SubjectId>, now: Instant) {
        let Some(one) = self.wants.get_mut(root) else {
            return;
        };
        one.under_way = false;
        one.failed.extend(source);
        if source.is_none() || one.want.sources.iter().all(|source| one.failed.contains(source)) {
            one.failed.clear();
            one.due = now + one.pause;
            one.pause = (one.pause * 2).min(PAUSE.1);
        }
    }

    fn begin(&mut self, root: &Digest) {
        if let Some(one) = self.wants.get_mut(root) {
            one.under_way = true;
        }
    }

    /// How much a source is asked for at once: what it brings in half a second, so that none holds the end up.
    fn batch_bytes(&self, source: &SubjectId) -> u64 {
        let rate = self.peers.get(source).and_then(|peer| peer.rate);
        rate.map_or(FIRST_BATCH, |rate| (rate * BATCH_SECONDS) as u64)
            .clamp(LEAST_BATCH, BATCH_BYTES)
    }

    /// Small documents that one source may bring in one request, the first things first; and whether more would not fit.
    fn batch(&self, ready: &[&Wanted], first: &Wanted, source: SubjectId) -> (Vec<(Digest, u64)>, bool) {
        let (mut documents, mut bytes, most) = (Vec::new(), 0, self.batch_bytes(&source));
        let fitting = ready.iter().filter(|one| {
            let alike = one.holders.contains(&source) || !first.holders.contains(&source);
            alike
                && one.want.dossier == first.want.dossier
                && is_small(one.want.bytes)
                && self.may_ask(one, &source)
        });
        for one in fitting {
            if documents.len() == limits::DOCUMENTS_PER_REQUEST || bytes + one.want.bytes > most {
                return (documents, true);
            }
            bytes += one.want.bytes;
            documents.push((one.want.root, one.want.bytes));
        }
        (documents, false)
    }

    fn may_ask(&self, one: &Wanted, source: &SubjectId) -> bool {
        one.want.sources.contains(source) && !one.failed.contains(source)
    }

    fn jobs_of(&self, source: &SubjectId) -> usize {
        self.peers.get(source).map_or(0, |peer| peer.jobs)
    }

    /// The sources of a document, those that hold it first, of these the fastest first.
    fn in_order(&self, one: &Wanted, now: Instant) -> Vec<SubjectId> {
        let unknown = Peer::default();
        let peer = |source: &SubjectId| self.peers.get(source).unwrap_or(&unknown);
        let mut sources: Vec<SubjectId> = one
            .want
            .sources
            .iter()
            .filter(|source| self.may_ask(one, source) && peer(source).until.is_none_or(|until| until <= now))
            .copied()
            .collect();
        // What has several jobs brings each of them the slower; who was never asked is tried.
        let rate = |source: &SubjectId| {
            let peer = peer(source);
            peer.rate.unwrap_or(f64::INFINITY) / (peer.jobs + 1) as f64
        };
        sources.sort_by(|a, b| {
            let holds = |source| one.holders.contains(source);
            holds(b)
                .cmp(&holds(a))
                .then_with(|| rate(b).total_cmp(&rate(a)))
                .then_with(|| peer(a).jobs.cmp(&peer(b).jobs))
        });
        sources
    }

    fn best(&self, one: &Wanted, now: Instant) -> Option<SubjectId> {
        let sources = self.in_order(one, now);
        // Who does not say that it holds it is asked only where nobody who does can be.
        let held = sources.first().is_some_and(|source| one.holders.contains(source));
        let free = |source: &SubjectId| self.jobs_of(source) < PER_SOURCE;
        let mut likely = sources
            .into_iter()
            .filter(|source| !held || one.holders.contains(source));
        likely.find(free)
    }

    fn peer(&mut self, source: &SubjectId) -> &mut Peer {
        self.peers.entry(*source).or_default()
    }
}

fn lot(own: &SubjectId, root: &Digest) -> u64 {
    let digest = Digest::of(&[own.as_bytes(), root.as_bytes()]);
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
