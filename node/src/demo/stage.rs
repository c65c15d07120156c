//! Setting the stage: authorities, nodes, persons. Every step is a public command.

use std::net::UdpSocket;

use super::process::{Node, Runner};
use super::{DemoError, files, text};

/// Node, its organisation, its authority, that authority's profession.
const NODES: [(&str, &str, &str, &str); 3] = [
    ("court", "Tribunal judiciaire (essai)", "justice", "court"),
    ("bar", "Barreau (essai)", "barreaux", "bar"),
    (
        "company",
        "Compagnie d'experts (essai)",
        "experts",
        "expert-company",
    ),
];

/// Person, role, node.
const PERSONS: [(&str, &str, usize); 6] = [
    ("judge", "judge", 0),
    ("clerk", "clerk", 0),
    ("claimant-lawyer", "lawyer", 1),
    ("defendant-lawyer", "lawyer", 1),
    ("party", "party", 1),
    ("expert", "expert", 2),
];

/// Who acts: subject ids.
#[allow(missing_docs)]
pub(super) struct Cast {
    pub(super) judge: String,
    pub(super) clerk: String,
    pub(super) claimant_lawyer: String,
    pub(super) defendant_lawyer: String,
    pub(super) party: String,
    pub(super) expert: String,
}

/// Everything in place.
pub(super) struct Stage {
    pub(super) nodes: Vec<Node>,
    pub(super) cast: Cast,
    pub(super) anchors: String,
}

impl Stage {
    pub(super) fn set(runner: &Runner) -> Result<Self, DemoError> {
        let write = |name: &str, content: &str| {
            std::fs::write(runner.path(name), content).map_err(|error| DemoError::new(name, error))
        };
        let secret: [u8; 16] = crate::effects::random();
        write(
            "passphrase",
            &format!("{}\n", basoche_protocol::text::hex_encode(&secret)),
        )?;
        std::fs::create_dir_all(runner.path("wallets")).map_err(|error| DemoError::new("wallets", error))?;
        files::write(&runner.path("exhibits")).map_err(|error| DemoError::new("exhibits", error))?;
        runner.step("Trois autorités d'essai : Justice, barreaux, experts");
        for (_, _, authority, profession) in NODES {
            let (dir, origin) = (format!("authorities/{authority}"), format!("{authority}.example"));
            runner.ask(&[
                "authority",
                "init",
                "--dir",
                &dir,
                "--origin",
                &origin,
                "--profession",
                profession,
                "--test",
                "--passphrase-file",
                "passphrase",
            ])?;
        }
        let anchors = "anchors.json".to_owned();
        runner.ask(&[
            "authority",
            "anchors",
            "--out",
            &anchors,
            "authorities/justice",
            "authorities/barreaux",
            "authorities/experts",
        ])?;
        runner.step("Trois nœuds, chacun avec ses clés, inscrits par leur autorité");
        let mut subjects = Vec::new();
        for (name, organisation, authority, _) in NODES {
            std::fs::create_dir_all(runner.path(name)).map_err(|error| DemoError::new(name, error))?;
            let (address, gossip) = (free_address()?, free_address()?);
            let config = format!(
                "data = \"data\"\nlisten = \"{address}\"\naddresses = [\"{address}\"]\nanchors = \"../{anchors}\"\n\
                 passphrase_file = \"../passphrase\"\nallow_private_addresses = true\n\
                 [gossip]\nlisten = \"{gossip}\"\n"
            );
            write(&format!("{name}/node.toml"), &config)?;
            let (config, request) = (format!("{name}/node.toml"), format!("{name}/request.json"));
            let origin = format!("{authority}.example");
            let init = [
                "node",
                "init",
                "--config",
                &config,
                "--authority",
                &origin,
                "--request",
            ];
            let made = runner.ask(&[&init[..], &[&request]].concat())?;
            let dir = format!("authorities/{authority}");
            let registered = runner.ask(&[
                "authority",
                "organisation",
                "--dir",
                &dir,
                "--name",
                organisation,
                "--identifier",
                name,
                "--passphrase-file",
                "passphrase",
            ])?;
            runner.ask(&[
                "authority",
                "node",
                "--dir",
                &dir,
                "--organisation",
                &text(&registered, "subject")?,
                "--request",
                &request,
                "--passphrase-file",
                "passphrase",
            ])?;
            subjects.push(text(&made, "node")?);
        }
        runner.step("Six personnes, chacune avec sa clé, dans son portefeuille");
        let mut persons = Vec::new();
        for (name, role, node) in PERSONS {
            let (wallet, request) = (format!("wallets/{name}"), format!("wallets/{name}.json"));
            let authority = NODES[node].2;
            let made = runner.ask(&[
                "wallet",
                "create",
                "--authority",
                &format!("{authority}.example"),
                "--out",
                &wallet,
                "--label",
                name,
                "--request",
                &request,
                "--passphrase-file",
                "passphrase",
            ])?;
            let dir = format!("authorities/{authority}");
            runner.ask(&[
                "authority",
                "person",
                "--dir",
                &dir,
                "--request",
                &request,
                "--role",
                role,
                "--node",
                &subjects[node],
                "--passphrase-file",
                "passphrase",
            ])?;
            persons.push(text(&made, "subject")?);
        }
        runner.step("Les nœuds démarrent ; le premier importe l'annuaire, les autres le reçoivent de lui ou l'importent aussi");
        let mut nodes: Vec<_> = NODES.iter().map(|(name, ..)| Node::new(name)).collect();
        for (node, (name, ..)) in nodes.iter_mut().zip(NODES) {
            node.start(runner)?;
            let config = format!("{name}/node.toml");
            runner.ask(&[
                "annuaire",
                "import",
                "--config",
                &config,
                "authorities/justice",
                "authorities/barreaux",
                "authorities/experts",
            ])?;
        }
        for (name, ..) in NODES {
            let status = ["node", "status", "--config", &format!("{name}/node.toml")];
            runner.until(&status, "every peer connected", |status| {
                let peers = status["peers"].as_array();
                peers.is_some_and(|peers| {
                    peers.len() == 2 && peers.iter().all(|peer| peer["connected"] == true)
                })
            })?;
        }
        let mut persons = persons.into_iter();
        let mut next = || persons.next().unwrap_or_default();
        let (judge, clerk, claimant_lawyer, defendant_lawyer, party, expert) =
            (next(), next(), next(), next(), next(), next());
        let cast = Cast {
            judge,
            clerk,
            claimant_lawyer,
            defendant_lawyer,
            party,
            expert,
        };
        Ok(Self { nodes, cast, anchors })
    }
}

/// A UDP port of loopback that was free just now.
fn free_address() -> Result<String, DemoError> {
    let bound = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    bound
        .map(|address| address.to_string())
        .map_err(|error| DemoError::new("a free UDP port", error))
}
