//! Three node processes with a dossier in progress: a court, a bar, a company of experts, a lawyer at each.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use basoche_node::config::read_passphrase;
use basoche_node::control::{Answer, Client, Request};
use basoche_node::desk::{DossierView, StatusView};
use basoche_node::wallet::Wallet;
use basoche_protocol::id::DossierId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long any awaited state may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often an awaited state is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Node, its authority, that authority's profession.
const NODES: [(&str, &str, &str); 3] = [
    ("court", "justice", "court"),
    ("bar", "barreaux", "bar"),
    ("company", "experts", "expert-company"),
];
/// Person, role, authority, node.
const PERSONS: [(&str, &str, &str, usize); 6] = [
    ("judge", "judge", "justice", 0),
    ("clerk", "clerk", "justice", 0),
    ("expert", "expert", "experts", 2),
    ("lawyer-0", "lawyer", "barreaux", 0),
    ("lawyer-1", "lawyer", "barreaux", 1),
    ("lawyer-2", "lawyer", "barreaux", 2),
];

/// Waits until `found` finds something.
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(LOOK);
    }
}

/// A node process.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    root: PathBuf,
    program: PathBuf,
    fault: &'static str,
    child: Option<Child>,
}

impl Node {
    /// The node's directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join(self.name)
    }

    /// Its control socket.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.home().join("data"))
    }

    /// From the next start on it is this program, under this fault.
    pub(crate) fn become_program(&mut self, program: &Path, fault: &'static str) {
        (self.program, self.fault) = (program.to_owned(), fault);
    }

    /// Starts it. It may not answer yet.
    pub(crate) fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let child = Command::new(&self.program)
            .args(["node", "run", "--config"])
            .arg(self.home().join("node.toml"))
            .env("BASOCHE_FAULT", self.fault)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Its status, once it answers; nothing if it ended instead.
    pub(crate) fn answer(&mut self) -> Option<StatusView> {
        let client = self.client();
        until("an answer of a node", || match client.ask(&Request::Status) {
            Ok(Answer::Status(status)) => Some(Some(*status)),
            Ok(_) => panic!("the status is something else"),
            Err(_) => self.ended().then_some(None),
        })
    }

    /// Waits until it answers.
    pub(crate) fn ready(&mut self) -> StatusView {
        let status = self.answer();
        status.unwrap_or_else(|| panic!("node {} ended; its log ends:\n{}", self.name, self.last_words()))
    }

    /// Waits until a version is agreed with every other node.
    pub(crate) fn connected(&mut self) {
        until("every peer connected", || {
            let peers = self.ready().peers;
            (peers.len() == 2 && peers.iter().all(|peer| peer.connected)).then_some(())
        });
    }

    fn ended(&mut self) -> bool {
        self.child
            .as_mut()
            .is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM: drains, and must end well.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let ended = self.child.take().unwrap().wait().unwrap();
        assert!(
            ended.success(),
            "node {}: {ended}; {}",
            self.name,
            self.last_words()
        );
    }

    /// SIGSTOP: it neither answers nor listens until [`Self::thaw`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    fn log_path(&self) -> PathBuf {
        self.home().join("node.log")
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // The test failed: no process of it may stay.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Everything in place.
pub(crate) struct Stage {
    pub(crate) nodes: [Node; 3],
    /// One lawyer for each node.
    pub(crate) lawyers: [Wallet; 3],
    pub(crate) dossier: DossierId,
}

impl Stage {
    /// Sets three nodes up in `root`, which stays while they live, and carries a dossier until dires are possible.
    pub(crate) fn set(root: &Path, program: &Path) -> Self {
        let runner = Runner { root, program };
        fs::write(root.join("passphrase"), "for trials only\n").unwrap();
        fs::create_dir_all(root.join("wallets")).unwrap();
        let directories = NODES.map(|(_, authority, _)| format!("authorities/{authority}"));
        for ((_, authority, profession), dir) in NODES.iter().zip(&directories) {
            runner.office(&[
                "authority",
                "init",
                "--test",
                "--dir",
                dir,
                "--profession",
                profession,
                "--origin",
                &format!("{authority}.example"),
            ]);
        }
        let mut anchors = vec!["authority", "anchors", "--out", "anchors.json"];
        anchors.extend(directories.iter().map(String::as_str));
        runner.ask(&anchors);
        let subjects = [0, 1, 2].map(|place| runner.node(NODES[place].0, &directories[place]));
        let persons = PERSONS
            .map(|(name, role, authority, node)| runner.person(name, role, authority, &subjects[node]));
        let mut nodes = NODES.map(|(name, ..)| Node {
            name,
            root: root.to_owned(),
            program: program.to_owned(),
            fault: "",
            child: None,
        });
        for node in &mut nodes {
            node.start();
            node.ready();
            let config = format!("{}/node.toml", node.name);
            let mut import = vec!["annuaire", "import", "--config", &config];
            import.extend(directories.iter().map(String::as_str));
            runner.ask(&import);
        }
        nodes.iter_mut().for_each(Node::connected);
        let dossier = runner.procedure(&persons);
        let passphrase = read_passphrase(&root.join("passphrase")).unwrap();
        let lawyers = [0, 1, 2]
            .map(|node| Wallet::open(&root.join(format!("wallets/lawyer-{node}")), &passphrase).unwrap());
        Self {
            nodes,
            lawyers,
            dossier,
        }
    }

    /// The dossier as each node shows it, once all show the same and every message has reached all of them.
    pub(crate) fn settled(&mut self) -> Vec<DossierView> {
        let dossier = self.dossier;
        let [court, bar, company] = &self.nodes;
        let clients = [court, bar, company].map(Node::client);
        until("three equal nodes", || {
            let hashes = clients
                .each_ref()
                .map(|client| match client.ask(&Request::Status).ok()? {
                    Answer::Status(status) => {
                        let one = status.dossiers.into_iter().find(|one| one.id == dossier)?;
                        (one.quarantined == 0).then_some((one.state_hash, one.entries))
                    }
                    _ => None,
                });
            if hashes[0].is_none() || hashes[0] != hashes[1] || hashes[0] != hashes[2] {
                return None;
            }
            let views: Option<Vec<_>> = clients.iter().map(|client| show(client, dossier)).collect();
            let views = views?;
            let everywhere = views.iter().all(|view| {
                let received = |level| matches!(level, basoche_node::desk::Level::Received);
                view.messages.iter().all(|message| received(message.level))
                    && view
                        .documents
                        .iter()
                        .all(|document| document.held.len() == clients.len())
            });
            everywhere.then_some(views)
        })
    }
}

/// The dossier as a node shows it.
pub(crate) fn show(client: &Client, dossier: DossierId) -> Option<DossierView> {
    match client.ask(&Request::Dossier { dossier }) {
        Ok(Answer::Dossier(view)) => Some(*view),
        _ => None,
    }
}

/// Runs the public commands.
struct Runner<'a> {
    root: &'a Path,
    program: &'a Path,
}

impl Runner<'_> {
    fn ask(&self, arguments: &[&str]) -> Value {
        let done = Command::new(self.program)
            .args(arguments)
            .arg("--json")
            .current_dir(self.root)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(
            done.status.success(),
            "{arguments:?}: {said}{}",
            String::from_utf8_lossy(&done.stderr)
        );
        serde_json::from_str(said.lines().last().unwrap_or("null")).unwrap()
    }

    fn office(&self, arguments: &[&str]) -> Value {
        self.ask(&[arguments, &["--passphrase-file", "passphrase"]].concat())
    }

    /// Sets a node up and has it enrolled; gives its id.
    fn node(&self, name: &str, dir: &str) -> String {
        fs::create_dir_all(self.root.join(name)).unwrap();
        let address = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .unwrap();
        let text = format!(
            "data = \"data\"\nlisten = \"{address}\"\naddresses = [\"{address}\"]\nanchors = \"../anchors.json\"\n\
             passphrase_file = \"../passphrase\"\nallow_private_addresses = true\n"
        );
        let (config, request) = (format!("{name}/node.toml"), format!("{name}/request.json"));
        fs::write(self.root.join(&config), text).unwrap();
        let made = self.ask(&["node", "init", "--config", &config, "--request", &request]);
        let organisation = self.office(&[
            "authority",
            "organisation",
            "--dir",
            dir,
            "--name",
            name,
            "--identifier",
            name,
        ]);
        let organisation = text_of(&organisation, "subject");
        self.office(&[
            "authority",
            "node",
            "--dir",
            dir,
            "--organisation",
            &organisation,
            "--request",
            &request,
        ]);
        text_of(&made, "node")
    }

    /// Makes a wallet and has its holder enrolled; gives the holder's id.
    fn person(&self, name: &str, role: &str, authority: &str, node: &str) -> String {
        let (wallet, request) = (format!("wallets/{name}"), format!("wallets/{name}.json"));
        let made = self.office(&[
            "wallet",
            "create",
            "--out",
            &wallet,
            "--label",
            name,
            "--request",
            &request,
        ]);
        let dir = format!("authorities/{authority}");
        self.office(&[
            "authority",
            "person",
            "--dir",
            &dir,
            "--request",
            &request,
            "--role",
            role,
            "--node",
            node,
        ]);
        text_of(&made, "subject")
    }

    /// From the designation to the operations: from here on dires and exhibits are possible.
    fn procedure(&self, persons: &[String; 6]) -> DossierId {
        let [judge, clerk, expert, lawyers @ ..] = persons;
        let founded = self.act(
            0,
            "judge",
            "designate",
            &[
                "--case-number",
                "26/00000",
                "--head",
                "Décrire les désordres",
                "--judge",
                judge,
                "--clerk",
                clerk,
                "--expert",
                expert,
                "--provision",
                "3000",
                "--provision-due",
                "2099-01-31T00:00:00Z",
                "--report-due",
                "2099-06-30T00:00:00Z",
            ],
        );
        let dossier = text_of(&founded, "dossier");
        self.act(2, "expert", "accept", &["--dossier", &dossier]);
        let lawyers: Vec<_> = lawyers
            .iter()
            .flat_map(|one| ["--lawyer", one.as_str()])
            .collect();
        self.act(
            2,
            "expert",
            "add",
            &[&["--dossier", &dossier], lawyers.as_slice()].concat(),
        );
        self.act(
            0,
            "clerk",
            "provision-paid",
            &["--dossier", &dossier, "--amount", "3000"],
        );
        DossierId::from_hex(&dossier).unwrap()
    }

    fn act(&self, node: usize, who: &str, verb: &str, rest: &[&str]) -> Value {
        let (config, wallet) = (format!("{}/node.toml", NODES[node].0), format!("wallets/{who}"));
        let line = [
            "dossier", verb, "--config", &config, "--as", &wallet, "--wait", "received",
        ];
        self.office(&[line.as_slice(), rest].concat())
    }
}

fn text_of(answer: &Value, field: &str) -> String {
    let text = answer[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {answer}"))
        .to_owned()
}
