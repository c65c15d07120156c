//! Gossip: entries and checkpoints of the registry, passed on from node to node at a port of their own. SPEC §10.8.
//!
//! ```text
//! desk ──tell──▶ swarm ──▶ members ──▶ swarm ──heard──▶ desk ──verdict──▶ swarm ──▶ other members
//! ```
//! Nobody depends on it: what is lost here comes on the control connections. `swarm` is the only owner of libp2p, and there
//! only with the feature `p2p`.

#[cfg(feature = "p2p")]
mod swarm;

use basoche_protocol::id::SubjectId;
use basoche_registry::NodeInfo;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::config;
use crate::desk::DeskHandle;

/// Frames of this node that may wait to be told.
const UNTOLD: usize = 256;

/// A node that gossips, as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: SubjectId,
    /// The Ed25519 public key that it shows.
    pub key: [u8; 32],
    /// Where it listens, `host:port`.
    pub addresses: Vec<String>,
}

impl Member {
    /// Of what the registry says of a node.
    pub fn of(info: &NodeInfo) -> Option<Self> {
        let gossip = info.gossip?;
        let hosts = info
            .addresses
            .iter()
            .filter_map(|address| address.rsplit_once(':'));
        Some(Self {
            node: info.node,
            key: gossip.key,
            addresses: hosts.map(|(host, _)| format!("{host}:{}", gossip.port)).collect(),
        })
    }
}

/// What becomes of what a member has passed on. GSP-3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good and was news: the others should have it.
    PassOn,
    /// There is nothing wrong with it, and nothing new in it.
    Keep,
    /// Who passed it on should have known better.
    Refuse,
}

/// The way from the desk to the members.
pub struct Gossip {
    frames: mpsc::Sender<Bytes>,
    members: watch::Sender<Vec<Member>>,
}

impl Gossip {
    /// Tells the members a frame; if too many wait already, they hear of it on their control connections only.
    pub fn tell(&self, frame: Bytes) {
        if self.frames.try_send(frame).is_err() {
            tracing::debug!("too much gossip at once; it goes by the control connections");
        }
    }

    /// From now on these are the members, and nobody else is connected.
    pub fn set_members(&self, members: Vec<Member>) {
        self.members.send_if_modified(|known| match *known == members {
            true => false,
            false => {
                *known = members;
                true
            }
        });
    }
}

/// Listens, and gossips until the desk ends. `seed` is the node's Ed25519 key, RFC 8032 §5.1.5.
///
/// # Errors
/// In words: the port is taken, the environment would give the keys away, or this build has no gossip.
pub fn start(
    settings: &config::Gossip,
    seed: &[u8; 32],
    allow_private: bool,
    desk: DeskHandle,
) -> Result<Gossip, String> {
    let (frames, untold) = mpsc::channel(UNTOLD);
    let (members, known) = watch::channel(Vec::new());
    run(settings, seed, allow_private, desk, untold, known)?;
    Ok(Gossip { frames, members })
}

#[cfg(feature = "p2p")]
fn run(
    settings: &config::Gossip,
    seed: &[u8; 32],
    allow_private: bool,
    desk: DeskHandle,
    untold: mpsc::Receiver<Bytes>,
    members: watch::Receiver<Vec<Member>>,
) -> Result<(), String> {
    let swarm = swarm::Gossiper::listen(settings.listen, seed, allow_private)?;
    tokio::spawn(swarm.run(desk, untold, members));
    Ok(())
}

#[cfg(not(feature = "p2p"))]
fn run(
    _settings: &config::Gossip,
    _seed: &[u8; 32],
    _allow_private: bool,
    _desk: DeskHandle,
    _untold: mpsc::Receiver<Bytes>,
    _members: watch::Receiver<Vec<Member>>,
) -> Result<(), String> {
    Err("this build has no gossip (feature p2p): leave [gossip] out of the configuration".into())
}
