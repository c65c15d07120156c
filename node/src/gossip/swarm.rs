//! The members' swarm: gossipsub over QUIC, whose peers the registry names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use basoche_protocol::id::SubjectId;
use basoche_protocol::wire::limits;
use bytes::Bytes;
use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::futures::StreamExt;
use libp2p::gossipsub::{
    self, IdentTopic, MessageAcceptance, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, PublishError, TopicScoreParams, ValidationMode,
};
use libp2p::identity::{self, Keypair};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::{Member, Verdict};
use crate::desk::{DeskHandle, Input};
use crate::network::{is_public, lookup};

/// The one topic. GSP-2.
const TOPIC: &str = "basoche/registry/1";
/// What a message has around its frame, at most: who said it, its signature, the topic.
const AROUND: usize = 1024;
/// Messages that may wait for the desk; of more the node makes nothing, and they are not passed on by it.
const UNJUDGED: usize = 64;
/// How often members are dialled that are not connected.
const DIAL_AGAIN: Duration = Duration::from_secs(5);
/// Members that are dialled at once, and to which this node connects by itself: a mesh has 12 at most.
const DIALS: usize = 8;
const DIALLED: usize = 24;
/// Connections that others have begun: not yet known whose, and known.
const STRANGERS: u32 = 32;
const VISITORS: u32 = 256;
/// A connection on which nothing is agreed ends.
const IDLE: Duration = Duration::from_secs(60);
/// Streams of one connection, and bytes under way on one of them and on all.
const STREAMS: u32 = 8;
const STREAM_BYTES: u32 = 1 << 20;
const CONNECTION_BYTES: u32 = 2 << 20;

#[derive(NetworkBehaviour)]
struct Behaviour {
    allowed: allow_block_list::Behaviour<AllowedPeers>,
    limits: connection_limits::Behaviour,
    gossip: gossipsub::Behaviour,
}

/// Something that a member has passed on.
struct Heard {
    id: MessageId,
    by: PeerId,
    node: SubjectId,
    frame: Bytes,
}

/// The node's part in the swarm.
pub(super) struct Gossiper {
    swarm: Swarm<Behaviour>,
    topic: IdentTopic,
    allow_private: bool,
    members: BTreeMap<PeerId, Member>,
    /// The member with which the next round of dialling begins.
    turn: usize,
}

impl Gossiper {
    /// Listens at that address.
    pub(super) fn listen(address: SocketAddr, seed: &[u8; 32], allow_private: bool) -> Result<Self, String> {
        // libp2p writes the keys of its connections into that file.
        if std::env::var_os("SSLKEYLOGFILE").is_some() {
            return Err("SSLKEYLOGFILE is set, which would give away what is said: unset it".into());
        }
        let keypair = Keypair::ed25519_from_bytes(*seed).map_err(|error| error.to_string())?;
        let topic = IdentTopic::new(TOPIC);
        let behaviour = Behaviour {
            allowed: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(
                ConnectionLimits::default()
                    .with_max_pending_incoming(Some(STRANGERS))
                    .with_max_pending_outgoing(Some(STRANGERS))
                    .with_max_established_incoming(Some(VISITORS))
                    .with_max_established_per_peer(Some(2)),
            ),
            gossip: gossip(&keypair, &topic)?,
        };
        let built = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_quic_config(|mut quic| {
                quic.max_concurrent_stream_limit = STREAMS;
                quic.max_stream_data = STREAM_BYTES;
                quic.max_connection_data = CONNECTION_BYTES;
                quic
            })
            .with_behaviour(|_| behaviour);
        let built = built.map_err(|error| error.to_string())?;
        let mut swarm = built
            .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
            .build();
        let listens = swarm.listen_on(multiaddr(address));
        listens.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        Ok(Self {
            swarm,
            topic,
            allow_private,
            members: BTreeMap::new(),
            turn: 0,
        })
    }

    /// Gossips until the desk ends.
    pub(super) async fn run(
        mut self,
        desk: DeskHandle,
        mut untold: mpsc::Receiver<Bytes>,
        mut members: watch::Receiver<Vec<Member>>,
    ) {
        let (heard, to_judge) = mpsc::channel(UNJUDGED);
        let (judged, mut verdicts) = mpsc::channel(UNJUDGED);
        tokio::spawn(judge(desk, to_judge, judged));
        let mut found = JoinSet::new();
        let mut dial_again = tokio::time::interval(DIAL_AGAIN);
        dial_again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.take(event, &heard),
                Some((heard, verdict)) = verdicts.recv() => self.pass(&heard, verdict),
                frame = untold.recv() => match frame {
                    Some(frame) => self.tell(frame),
                    None => return,
                },
                Ok(()) = members.changed() => {
                    let members = members.borrow_and_update().clone();
                    self.set_members(members);
                    dial_again.reset_immediately();
                }
                _ = dial_again.tick() => self.look_up(&mut found),
                Some(Ok((peer, addresses))) = found.join_next() => self.dial(peer, addresses),
            }
        }
    }

    fn take(&mut self, event: SwarmEvent<BehaviourEvent>, heard: &mpsc::Sender<Heard>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source: by,
                message_id: id,
                message,
            })) => {
                let node = self.members.get(&by).map(|member| member.node);
                let frame = Bytes::from(message.data);
                let waits = node.is_some_and(|node| {
                    let id = id.clone();
                    heard.try_send(Heard { id, by, node, frame }).is_ok()
                });
                if !waits {
                    self.report(&id, &by, MessageAcceptance::Ignore);
                }
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                num_established,
                ..
            } if num_established.get() == 1 => {
                if let Some(member) = self.members.get(&peer_id) {
                    tracing::info!(peer = %member.node, "gossips with us");
                }
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                tracing::error!(
                    ?reason,
                    "gossip: no longer listening; the control connections go on"
                );
            }
            event => tracing::trace!(?event, "gossip"),
        }
    }

    fn pass(&mut self, heard: &Heard, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::PassOn => MessageAcceptance::Accept,
            Verdict::Keep => MessageAcceptance::Ignore,
            Verdict::Refuse => MessageAcceptance::Reject,
        };
        self.report(&heard.id, &heard.by, acceptance);
    }

    fn report(&mut self, id: &MessageId, by: &PeerId, acceptance: MessageAcceptance) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(id, by, acceptance);
    }

    fn tell(&mut self, frame: Bytes) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        match gossip.publish(self.topic.clone(), frame) {
            Ok(_) | Err(PublishError::Duplicate | PublishError::NoPeersSubscribedToTopic) => {}
            Err(error) => tracing::debug!(%error, "gossip: not told; it goes by the control connections"),
        }
    }

    fn set_members(&mut self, members: Vec<Member>) {
        let named = members
            .into_iter()
            .filter_map(|member| Some((peer_of(&member.key)?, member)));
        let before = std::mem::replace(&mut self.members, named.collect());
        let allowed = &mut self.swarm.behaviour_mut().allowed;
        for gone in before.keys().filter(|peer| !self.members.contains_key(peer)) {
            allowed.disallow_peer(*gone);
        }
        for peer in self.members.keys() {
            allowed.allow_peer(*peer);
        }
    }

    /// Looks up where some members are that are not connected.
    fn look_up(&mut self, found: &mut JoinSet<(PeerId, Vec<Multiaddr>)>) {
        let connected: BTreeSet<_> = self.swarm.connected_peers().copied().collect();
        let room = DIALLED
            .saturating_sub(connected.len())
            .min(DIALS.saturating_sub(found.len()));
        let apart = self.members.iter().filter(|(peer, _)| !connected.contains(peer));
        let apart: Vec<_> = apart.collect();
        let allow_private = self.allow_private;
        for (peer, member) in apart.iter().cycle().skip(self.turn).take(room.min(apart.len())) {
            let (peer, names) = (**peer, member.addresses.clone());
            found.spawn(async move {
                let mut addresses = Vec::new();
                for name in names {
                    addresses.extend(lookup(&name).await);
                }
                addresses.retain(|address| allow_private || is_public(address));
                (peer, addresses.into_iter().map(multiaddr).collect())
            });
        }
        self.turn = (self.turn + room) % apart.len().max(1);
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses);
        if let Err(error) = self.swarm.dial(dial.build()) {
            tracing::trace!(%error, "gossip: not dialled");
        }
    }
}

/// Has the desk judge what was heard, in its order.
async fn judge(desk: DeskHandle, mut heard: mpsc::Receiver<Heard>, judged: mpsc::Sender<(Heard, Verdict)>) {
    while let Some(heard) = heard.recv().await {
        let (reply, verdict) = oneshot::channel();
        let input = Input::Gossip {
            peer: *heard.node.as_bytes(),
            bytes: heard.frame.clone(),
            reply,
        };
        if desk.send(input).await.is_err() {
            return;
        }
        let verdict = verdict.await.unwrap_or(Verdict::Keep);
        if judged.send((heard, verdict)).await.is_err() {
            return;
        }
    }
}

/// gossipsub as GSP-2 has it: signed, nothing passed on before it is judged, and who passes on what is refused soon not heard.
fn gossip(keypair: &Keypair, topic: &IdentTopic) -> Result<gossipsub::Behaviour, String> {
    let config = gossipsub::ConfigBuilder::default()
        .validate_messages()
        .validation_mode(ValidationMode::Strict)
        .max_transmit_size(limits::GOSSIP_BYTES + AROUND)
        .message_id_fn(|message| MessageId::new(&basoche_protocol::crypto::sha256(&[&message.data])))
        .build()
        .map_err(|error| error.to_string())?;
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = gossipsub::Behaviour::new(signed, config)?;
    // Little is said here, so nobody is judged by how much it says: by what is refused alone.
    let topics = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.99,
        ..TopicScoreParams::default()
    };
    let scores = PeerScoreParams {
        topics: [(topic.hash(), topics)].into(),
        // One machine may have many members' nodes: who they are is known.
        ip_colocation_factor_weight: 0.0,
        ..PeerScoreParams::default()
    };
    gossip.with_peer_score(scores, PeerScoreThresholds::default())?;
    gossip.subscribe(topic).map_err(|error| error.to_string())?;
    Ok(gossip)
}

fn peer_of(key: &[u8; 32]) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(key).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

fn multiaddr(address: SocketAddr) -> Multiaddr {
    let host = match address.ip() {
        IpAddr::V4(ip) => Protocol::Ip4(ip),
        IpAddr::V6(ip) => Protocol::Ip6(ip),
    };
    Multiaddr::empty()
        .with(host)
        .with(Protocol::Udp(address.port()))
        .with(Protocol::QuicV1)
}
