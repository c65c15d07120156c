//! What we know of one peer, and what we offer it. SPEC §10.3.

use std::collections::{BTreeMap, BTreeSet};

use serde_bytes::ByteBuf;

use super::backlog::Backlogs;
use super::{Engine, Event, Registry};
use crate::error::Malformed;
use crate::id::{Digest, DossierId, SubjectId};
use crate::plant::{Bug, planted};
use crate::time::Instant;
use crate::wire::frame::{Frame, Frontier, Hello, ProofRequest, RegistryRequest};
use crate::wire::limits;

/// Versions and features that one hello may name. SYN-1.
const HELLO_ITEMS: usize = 64;
/// Protocol versions that we speak, ascending.
const VERSIONS: &[u64] = &[1];

/// A connected peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Whether a version is agreed.
    pub(super) joined: bool,
    /// The dossiers of which it has told how far it holds them, and been sent what it lacked.
    pub(super) told: BTreeSet<DossierId>,
    /// The number of our last change of which it was told on this connection, and when.
    pub(super) sent: (u64, Instant),
    /// The dossiers that it has left, and been sent a last head of. SEAT-5.
    pub(super) seen_off: BTreeSet<DossierId>,
    /// How far it holds each authority's log.
    pub(super) registries: BTreeMap<String, u64>,
    /// Up to which leaf of each log it has been told where that goes on under another key, or has told us.
    pub(super) continued: BTreeMap<String, u64>,
    /// The leaves that it asked for last, and was not sent yet.
    pub(super) wants: Option<RegistryRequest>,
    /// Runs that came before what they cite, each with its dossier.
    pub(super) early: Vec<(DossierId, Vec<u8>)>,
    /// What it lacks.
    pub(super) backlogs: Backlogs,
    /// The proofs that it was asked for and has not given, by SHA-256 of the frame that asked. SYN-23.
    pub(super) asked: BTreeMap<Digest, ProofRequest>,
}

/// Runs of one peer that may wait for others, and those of one dossier. SYN-10.
const EARLY_RUNS: (usize, usize) = (64, 32);
/// Their bytes, of one peer.
const EARLY_BYTES: usize = 16 << 20;

impl Peer {
    /// Keeps a run that came before what it cites; false if there is no room.
    pub(super) fn keep_early(&mut self, dossier: DossierId, bytes: &[u8]) -> bool {
        let of_dossier = self.early.iter().filter(|(of, _)| *of == dossier).count();
        let held: usize = self.early.iter().map(|(_, early)| early.len()).sum();
        let room = (self.early.len() < EARLY_RUNS.0 && of_dossier < EARLY_RUNS.1)
            && held + bytes.len() <= EARLY_BYTES;
        let kept = room || planted(Bug::UnboundedBuffer);
        if kept {
            self.early.push((dossier, bytes.to_vec()));
        }
        kept
    }
}

impl<R: Registry> Engine<R> {
    /// A control connection to `peer` is up: says hello. An earlier connection to it is forgotten.
    pub fn handle_connected(&mut self, peer: SubjectId, now: Instant) {
        let earlier = self.peers.insert(peer, Peer::default());
        self.ask_no_longer(peer, earlier);
        let hello = Hello {
            versions: VERSIONS.to_vec(),
            features: Vec::new(),
            node: self.node,
            incarnation: self.fresh,
            registries: self.registry.heads(),
            time: now,
            software: self.software.clone(),
        };
        self.frames.push_back((peer, Frame::Hello(hello).encode()));
    }

    /// The control connection to `peer` is gone.
    pub fn handle_closed(&mut self, peer: SubjectId) {
        let gone = self.peers.remove(&peer);
        self.ask_no_longer(peer, gone);
        self.dossiers.retain(|_, held| held.brought_by != Some(peer));
    }

    /// A peer's hello: agrees on a version, then offers what it may lack. SYN-1.
    pub(super) fn handle_hello(
        &mut self,
        from: SubjectId,
        hello: &Hello,
        now: Instant,
    ) -> Result<(), Malformed> {
        let bounded = hello.versions.len() <= HELLO_ITEMS
            && hello.features.len() <= HELLO_ITEMS
            && hello.registries.len() <= limits::REGISTRIES
            && hello.software.len() <= limits::SHORT_TEXT_BYTES;
        if !bounded {
            return Err(Malformed::bad_value());
        }
        let common = hello.versions.iter().any(|version| VERSIONS.contains(version));
        if !common || hello.node != from {
            self.events.push_back(Event::Unusable { peer: from });
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return Ok(());
        };
        if std::mem::replace(&mut peer.joined, true) {
            return Err(Malformed::bad_value());
        }
        peer.registries = hello
            .registries
            .iter()
            .map(|head| (head.origin.clone(), head.size))
            .collect();
        self.events.push_back(Event::Joined { peer: from });
        self.greet(from, hello.incarnation, now);
        self.ask_for_leaves(None, now);
        Ok(())
    }

    /// Sends our frontier of every dossier of which `to` is a member and lags. SYN-7.
    pub(super) fn offer_frontiers(&mut self, to: SubjectId) {
        let shared: Vec<_> = self
            .dossiers
            .iter()
            .filter(|(_, held)| held.replica.state().nodes().contains(&to))
            .filter(|(dossier, held)| {
                let lags = !held.is_equal_at(&to) && self.held_back(&to, dossier).is_none();
                lags || !held.replica.lacking().is_empty()
            })
            .map(|(dossier, _)| *dossier)
            .chain(self.dormant_behind(&to))
            .collect();
        for dossier in shared {
            self.offer_frontier(to, dossier);
        }
    }

    /// Sends our frontier of one dossier, with the keys that the journal holds for `to`.
    pub(super) fn offer_frontier(&mut self, to: SubjectId, dossier: DossierId) {
        if !self.peers.get(&to).is_some_and(|peer| peer.joined) {
            return;
        }
        if let Some(frontier) = self.dormant_frontier(&to, &dossier) {
            self.stage.frames.push((to, Frame::Frontier(frontier).encode()));
        }
        let Some(held) = self.dossiers.get(&dossier) else {
            return;
        };
        let head = |node| {
            let head = held.replica.heads().get(node);
            head.map(|head| ByteBuf::from(head.encode()))
        };
        let later = held.replica.later_keys_for(to).map(|(wrap, _)| wrap);
        let wraps = held.replica.first_keys_for(to).chain(later).cloned();
        let wraps = wraps.take(limits::DOSSIER_NODES).collect();
        let frame = Frame::Frontier(Frontier {
            dossier,
            rows: held.durable_frontier(),
            wraps,
            head: head(&self.node),
            lacking: held.replica.lacking(),
            yours: head(&to),
        });
        self.stage.frames.push((to, frame.encode()));
    }
}

impl super::Held {
    /// Whether the latest head of `peer` covers all that we hold.
    pub(super) fn is_equal_at(&self, peer: &SubjectId) -> bool {
        let head = self.replica.heads().get(peer).map(|head| head.head());
        head.is_some_and(|head| {
            self.replica
                .frontier()
                .iter()
                .all(|row| head.rows_of(&row.chain).contains(row))
        })
    }

    /// The rows of our frontier that a head covers: own entries still without one are nobody's business. JRN-5.
    pub(super) fn durable_frontier(&self) -> Vec<crate::journal::HeadRow> {
        let mut rows = self.replica.frontier();
        let own = self.replica.chain(&self.writer).and_then(|chain| chain.last());
        rows.retain_mut(|row| {
            if row.chain != self.writer || own.map(|(leaf, _)| leaf) != Some(row.leaf) {
                return true;
            }
            let sealed = self
                .replica
                .chain(&row.chain)
                .and_then(|chain| chain.row_at(row.chain, self.sealed));
            sealed.map(|sealed| *row = sealed).is_some()
        });
        rows
    }
}
