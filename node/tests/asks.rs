//! What a node answers on the bulk lane to a member that asks for what is not its own. SYN-11, SYN-20, SYN-21.
//!
//! A real node, and in place of another one a client with that one's keys that asks as it likes. To it an absent dossier,
//! one of which it is no member and a document that is not on file look the same.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;

use basoche_node::config::Config;
use basoche_node::documents::{BatchRequest, DocumentRequest, Request};
use basoche_node::keys::NodeKeys;
use basoche_node::quic::{BulkError, CloseCode, Endpoint, Lane, NodeId, Options, PeerDirectory};
use basoche_node::vault;
use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::role::Role;
use basoche_protocol::text::hex_decode;
use bytes::Bytes;
use serde_json::Value;
use support::nodes::{Node, Stage, show, until};
use support::{Place, ordinary};
use tokio::sync::mpsc;

/// Whoever answers is the court's node: only it is dialled.
struct OnlyCourt(NodeId);

impl PeerDirectory for OnlyCourt {
    fn node_of_key(&self, _: &[u8; 32]) -> Option<NodeId> {
        Some(self.0)
    }
}

/// The bar's node, as somebody runs it who asks what they like.
struct Asker {
    endpoint: Endpoint,
    court: NodeId,
}

impl Asker {
    async fn connect(place: &Place, stage: &Stage) -> Self {
        let path = place.path().join("bar/node.toml");
        let config = Config::read(&path).unwrap();
        let storage = vault::open(&config.data, &config.passphrase(&path).unwrap()).unwrap();
        let keys = NodeKeys::open(&config.data, &storage).unwrap();
        let court = NodeId::try_from(hex_decode(&stage.nodes[0].id).unwrap()).unwrap();
        let address = Config::read(&place.path().join("court/node.toml"))
            .unwrap()
            .listen;
        let (events, mut taken) = mpsc::channel(16);
        tokio::spawn(async move { while taken.recv().await.is_some() {} });
        let directory = Arc::new(OnlyCourt(court));
        let endpoint = Endpoint::bind(
            Options::default(),
            &keys.identity(),
            &keys.secrets(),
            directory,
            events,
        )
        .unwrap();
        endpoint.connect(court, &[address], Lane::Bulk).await.unwrap();
        Self { endpoint, court }
    }

    /// The whole reply, or the code with which it was reset.
    async fn ask(&self, request: Bytes) -> Result<Vec<u8>, u64> {
        let mut reply = self.endpoint.fetch(self.court, request).await.unwrap();
        let mut bytes = Vec::new();
        loop {
            match reply.read_chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(bytes),
                Err(BulkError::Reset(code)) => return Err(code),
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn leaves(&self, dossier: DossierId, root: Digest) -> Result<Vec<u8>, u64> {
        let request = Request::Leaves(DocumentRequest {
            v: 1,
            dossier,
            root,
            first_leaf: 0,
            leaves: u64::MAX,
            hashes: true,
        });
        self.ask(request.encode()).await
    }

    async fn batch(&self, dossier: DossierId, mut roots: Vec<Digest>) -> Result<Vec<u8>, u64> {
        roots.sort_unstable();
        let request = Request::Batch(BatchRequest { v: 1, dossier, roots });
        self.ask(request.encode()).await
    }
}

/// Runs a command of the court's people; its answer.
fn court(place: &Place, who: &str, arguments: &[&str]) -> Value {
    let wallet = format!("wallets/{who}");
    let done = Command::new(ordinary())
        .args(arguments)
        .args(["--json", "--config", "court/node.toml", "--as", &wallet])
        .args(["--passphrase-file", "passphrase"])
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// A dossier of the court and the company, of which the bar's node is no member.
fn another_dossier(place: &Place, stage: &Stage) -> DossierId {
    let view = show(&stage.nodes[0].client(), stage.dossier).unwrap();
    let who = |role: Role| {
        let one = view.participants.iter().find(|one| one.role == role);
        one.unwrap().subject.to_hex()
    };
    let [judge, clerk, expert] = [Role::Judge, Role::Clerk, Role::Expert].map(who);
    let order = [
        "dossier",
        "designate",
        "--case-number",
        "26/00001",
        "--head",
        "Mesurer",
        "--provision",
        "3000",
    ];
    let persons = ["--judge", &judge, "--clerk", &clerk, "--expert", &expert];
    let dates = [
        "--provision-due",
        "2099-01-31T00:00:00Z",
        "--report-due",
        "2099-06-30T00:00:00Z",
    ];
    let founded = court(place, "judge", &[&order[..], &persons, &dates].concat());
    DossierId::from_hex(founded["dossier"].as_str().unwrap()).unwrap()
}

/// The root of the one document of a dossier, once the court's clerk or lawyer has lodged it.
fn lodge(place: &Place, stage: &Stage, dossier: DossierId, who: &str) -> Digest {
    fs::write(place.path().join("note.txt"), format!("de {who}")).unwrap();
    court(
        place,
        who,
        &["document", "deposit", "--dossier", &dossier.to_hex(), "note.txt"],
    );
    until("the document on file", || {
        Some(show(&stage.nodes[0].client(), dossier)?.documents.first()?.root)
    })
}

#[test]
fn who_is_no_member_learns_nothing_and_a_member_gets_what_is_on_file_and_no_more() {
    let place = Place::new();
    let mut stage = Stage::set(place.path(), &ordinary());
    let own = lodge(&place, &stage, stage.dossier, "lawyer-0");
    let other_dossier = another_dossier(&place, &stage);
    let other = lodge(&place, &stage, other_dossier, "clerk");
    stage.nodes[1].stop();
    let (nobody, nothing) = (DossierId::new([7; 32]), Digest::new([9; 32]));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let asker = Asker::connect(&place, &stage).await;
        let not_given = Err(CloseCode::NotGiven as u64);
        // A member of the dossier, for a document of it: length, one leaf hash, the leaf.
        let whole = asker.leaves(stage.dossier, own).await.unwrap();
        let ciphertext = "de lawyer-0".len() + 16;
        assert_eq!(whole.len(), 12 + 32 + ciphertext);
        let mut expected = (ciphertext as u32).to_be_bytes().to_vec();
        expected.extend_from_slice(&whole[44..]);
        assert_eq!(asker.batch(stage.dossier, vec![own]).await.unwrap(), expected);
        // Another dossier's document under the name of its own one, and a document that there is not: alike.
        assert_eq!(asker.leaves(stage.dossier, other).await, not_given);
        assert_eq!(asker.leaves(stage.dossier, nothing).await, not_given);
        let mixed = asker
            .batch(stage.dossier, vec![own, other, nothing])
            .await
            .unwrap();
        assert_eq!(mixed.len(), expected.len() + 8);
        assert_eq!(asker.batch(stage.dossier, vec![other]).await, Ok(vec![0; 4]));
        assert_eq!(asker.batch(stage.dossier, vec![nothing]).await, Ok(vec![0; 4]));
        // A dossier of which it is no member, and one that there is not: alike, whatever is asked.
        for dossier in [other_dossier, nobody] {
            for root in [other, own, nothing] {
                assert_eq!(asker.leaves(dossier, root).await, not_given);
                assert_eq!(asker.batch(dossier, vec![root]).await, not_given);
            }
        }
        // What is no request at all.
        let twice = Request::Batch(BatchRequest {
            v: 1,
            dossier: stage.dossier,
            roots: vec![own, own],
        });
        for bad in [Bytes::from_static(b"\xa0"), twice.encode()] {
            assert_eq!(asker.ask(bad).await, Err(CloseCode::Protocol as u64));
        }
        // Everything at once: each is answered, or told that the node is busy; and the node goes on.
        let asked = (0..60).map(|_| asker.batch(stage.dossier, vec![own]));
        let mut answered = 0;
        for reply in futures_of(asked).await {
            match reply {
                Ok(bytes) => {
                    assert_eq!(bytes, expected);
                    answered += 1;
                }
                Err(code) => assert_eq!(code, CloseCode::Busy as u64),
            }
        }
        assert!(answered > 0);
        assert_eq!(asker.batch(stage.dossier, vec![own]).await.unwrap(), expected);
        asker.endpoint.close(CloseCode::Normal).await;
    });
    stage.nodes[1].start();
    stage.nodes.iter_mut().for_each(|node| {
        node.ready();
        Node::stop(node);
    });
}

/// Runs all of them at the same time.
async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut all = true;
        for (future, done) in &mut running {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}
