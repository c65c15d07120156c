//! Node processes with a dossier in progress: a court, bars, a company of experts, a lawyer at each.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use basoche_node::config::read_passphrase;
use basoche_node::control::{Answer, Client, Request};
use basoche_node::desk::{DossierView, Level, StatusView};
use basoche_node::wallet::Wallet;
use basoche_protocol::id::{Digest, DossierId, MessageId};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::judge::findings;
use super::load::{Acknowledged, CLIENTS, Documents, Record, Submitter};
use super::seed::Dice;

/// How long any awaited state may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often an awaited state is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// The same where a node hashes the whole dossier for the answer.
const RARE_LOOK: Duration = Duration::from_millis(200);

/// Authority, and the profession that it enrols.
const AUTHORITIES: [(&str, &str); 3] = [
    ("justice", "court"),
    ("barreaux", "bar"),
    ("experts", "expert-company"),
];

/// A node to be set up.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    /// One of [`AUTHORITIES`].
    pub(crate) authority: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it is dialled instead, if something stands in front of it.
    pub(crate) front: Option<SocketAddr>,
    /// The network namespace that it runs in.
    pub(crate) namespace: Option<String>,
}

/// A court, a bar and a company of experts, on this machine's own addresses.
pub(crate) fn three() -> Vec<Plan> {
    [("court", "justice"), ("bar", "barreaux"), ("company", "experts")]
        .map(|(name, authority)| Plan {
            name,
            authority,
            address: UdpSocket::bind("127.0.0.1:0")
                .and_then(|socket| socket.local_addr())
                .unwrap(),
            front: None,
            namespace: None,
        })
        .into()
}

/// Waits until `found` finds something, for dossiers to compare; nothing if it does not in `patience`.
pub(crate) fn within<T>(patience: Duration, found: impl FnMut() -> Option<T>) -> Option<T> {
    look(patience, RARE_LOOK, found)
}

fn look<T>(patience: Duration, every: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = found();
        if found.is_some() || started.elapsed() >= patience {
            return found;
        }
        sleep(every);
    }
}

/// Waits until `found` finds something.
pub(crate) fn until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    look(PATIENCE, LOOK, found).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// A node process.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    /// Its id in the registry.
    pub(crate) id: String,
    root: PathBuf,
    program: PathBuf,
    fault: &'static str,
    namespace: Option<String>,
    /// The other nodes of the federation.
    peers: usize,
    child: Option<Child>,
}

impl Node {
    /// One that is set up in `root` under its name, among so many others.
    pub(crate) fn at(root: &Path, program: &Path, name: &'static str, peers: usize) -> Self {
        Self {
            name,
            id: String::new(),
            root: root.to_owned(),
            program: program.to_owned(),
            fault: "",
            namespace: None,
            peers,
            child: None,
        }
    }

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
        let mut command = match &self.namespace {
            None => Command::new(&self.program),
            Some(namespace) => {
                // It becomes the program: the child is the node itself.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.program);
                command
            }
        };
        let child = command
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
            (peers.len() == self.peers && peers.iter().all(|peer| peer.connected)).then_some(())
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
    pub(crate) nodes: Vec<Node>,
    /// One lawyer for each node.
    pub(crate) lawyers: Vec<Wallet>,
    pub(crate) dossier: DossierId,
}

impl Stage {
    /// Sets three nodes up in `root`, which stays while they live, and carries a dossier until dires are possible.
    pub(crate) fn set(root: &Path, program: &Path) -> Self {
        Self::of(root, program, &three())
    }

    /// The same with these nodes; one of each authority is among them.
    pub(crate) fn of(root: &Path, program: &Path, plans: &[Plan]) -> Self {
        Self::with(root, program, plans, false)
    }

    /// The same; the lawyers have certificates of an authority of their own (`ca.pem`, `ca.der` in `root`), that the bars believe.
    pub(crate) fn certified(root: &Path, program: &Path, plans: &[Plan]) -> Self {
        Self::with(root, program, plans, true)
    }

    fn with(root: &Path, program: &Path, plans: &[Plan], certified: bool) -> Self {
        let runner = Runner {
            root,
            program,
            plans,
            certified,
        };
        fs::write(root.join("passphrase"), "for trials only\n").unwrap();
        fs::create_dir_all(root.join("wallets")).unwrap();
        let directories = AUTHORITIES.map(|(authority, _)| directory(authority));
        for ((authority, profession), dir) in AUTHORITIES.iter().zip(&directories) {
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
        if certified {
            runner.certify_bars();
        }
        let subjects: Vec<_> = plans.iter().map(|plan| runner.node(plan)).collect();
        let persons = runner.persons(&subjects);
        let new = |(plan, id): (&Plan, &String)| {
            let mut node = Node::at(root, program, plan.name, plans.len() - 1);
            (node.id, node.namespace) = (id.clone(), plan.namespace.clone());
            node
        };
        let mut nodes: Vec<_> = plans.iter().zip(&subjects).map(new).collect();
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
        let open = |node| Wallet::open(&root.join(format!("wallets/lawyer-{node}")), &passphrase).unwrap();
        Self {
            lawyers: (0..nodes.len()).map(open).collect(),
            nodes,
            dossier,
        }
    }

    /// The lawyers at these nodes make so many deposits each, all at once; what was acknowledged.
    pub(crate) fn deposit(
        &self,
        record: &Record,
        seed: u64,
        nodes: &[usize],
        each: usize,
        documents: Documents,
    ) -> Vec<Acknowledged> {
        let before = record.acknowledged().len();
        scope(|scope| {
            for (node, client) in nodes
                .iter()
                .flat_map(|node| (0..CLIENTS).map(|client| (*node, client)))
            {
                let submitter = Submitter {
                    name: format!("{node}.{before}.{client}"),
                    node,
                    home: self.nodes[node].client(),
                    wallet: &self.lawyers[node],
                    dossier: self.dossier,
                    record,
                    documents,
                    dice: Dice::new(seed, (before + node * CLIENTS + client + 1) as u64),
                };
                // The first clients take what does not divide.
                let share = (each + CLIENTS - 1 - client) / CLIENTS;
                scope.spawn(move || submitter.submit(share as u64));
            }
        });
        let acknowledged = record.acknowledged().split_off(before);
        assert_eq!(acknowledged.len(), nodes.len() * each);
        acknowledged
    }

    /// What each node shows of the dossier now: the hash of its state and how many entries it has. Nothing from a node
    /// that does not answer, lacks the dossier or has entries that wait.
    pub(crate) fn shown(&self) -> Vec<Option<(Digest, usize)>> {
        let shown = |node: &Node| match node.client().ask(&Request::Status).ok()? {
            Answer::Status(status) => {
                let one = status.dossiers.into_iter().find(|one| one.id == self.dossier)?;
                (one.quarantined == 0).then_some((one.state_hash, one.entries))
            }
            _ => None,
        };
        self.nodes.iter().map(shown).collect()
    }

    /// Runs the program where everything is set up; its exit code and what it says.
    pub(crate) fn ran(&self, arguments: &[&str]) -> (i32, String) {
        let one = &self.nodes[0];
        let mut program = Command::new(&one.program);
        program.args(arguments).current_dir(&one.root);
        let done = program.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.code().unwrap_or(-1), said)
    }

    /// Exit code and answer of a command about the dossier, as somebody at a node.
    pub(crate) fn tell(&self, command: [&str; 2], node: &str, who: &str, rest: &[&str]) -> (i32, Value) {
        let (config, wallet) = (format!("{node}/node.toml"), format!("wallets/{who}"));
        let dossier = self.dossier.to_hex();
        let person = ["--json", "--config", &config, "--as", &wallet];
        let where_to = ["--passphrase-file", "passphrase", "--dossier", &dossier];
        let (exit, said) = self.ran(&[&command[..], &person, &where_to, rest].concat());
        let answer = serde_json::from_str(said.lines().last().unwrap_or("null"));
        (exit, answer.unwrap_or_default())
    }

    /// The same of an act that is taken; its message.
    pub(crate) fn does(&self, command: [&str; 2], node: &str, who: &str, rest: &[&str]) -> MessageId {
        let (exit, answer) = self.tell(command, node, who, rest);
        assert_eq!(exit, 0, "{command:?} {rest:?}: {answer}");
        MessageId::from_hex(answer["message"].as_str().unwrap()).unwrap()
    }

    /// The dossier as each node shows it; nothing if one does not.
    pub(crate) fn views(&self) -> Option<Vec<DossierView>> {
        let views = self.nodes.iter().map(|node| show(&node.client(), self.dossier));
        views.collect()
    }

    /// The dossier as each node shows it, once all show the same and every message and document has reached all of
    /// them.
    pub(crate) fn settled(&self) -> Vec<DossierView> {
        self.settled_within(PATIENCE)
    }

    /// The same, when more patience is needed.
    pub(crate) fn settled_within(&self, patience: Duration) -> Vec<DossierView> {
        let settled = within(patience, || {
            let shown = self.shown();
            if shown[0].is_none() || shown.iter().any(|one| *one != shown[0]) {
                return None;
            }
            let views = self.views()?;
            let everywhere = views.iter().all(|view| {
                let received = |level| matches!(level, Level::Received);
                view.messages.iter().all(|message| received(message.level))
                    && view
                        .documents
                        .iter()
                        .all(|document| document.held.len() == self.nodes.len())
            });
            everywhere.then_some(views)
        });
        settled.unwrap_or_else(|| panic!("not all equal within {patience:?}: {:?}", self.shown()))
    }

    /// What is wrong with what the nodes show, if every key that was given to a client is acknowledged.
    pub(crate) fn findings(&self, acknowledged: &[Acknowledged], views: &[DossierView]) -> Vec<String> {
        let named: Vec<_> = self.nodes.iter().map(|node| node.name).zip(views).collect();
        let lawyers: Vec<_> = self.lawyers.iter().collect();
        findings(acknowledged, &named, &lawyers, true)
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
    plans: &'a [Plan],
    certified: bool,
}

/// The persons of the dossier, by id.
struct Persons {
    judge: String,
    clerk: String,
    expert: String,
    /// One for each node.
    lawyers: Vec<String>,
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

    /// The first node of an authority.
    fn seat(&self, authority: &str) -> usize {
        let place = self.plans.iter().position(|plan| plan.authority == authority);
        place.unwrap_or_else(|| panic!("no node of {authority}"))
    }

    /// Sets a node up and has it enrolled; gives its id.
    fn node(&self, plan: &Plan) -> String {
        let Plan { name, address, .. } = plan;
        let dialled = plan.front.unwrap_or(*address);
        let dir = &directory(plan.authority);
        fs::create_dir_all(self.root.join(name)).unwrap();
        let text = format!(
            "data = \"data\"\nlisten = \"{address}\"\naddresses = [\"{dialled}\"]\nanchors = \"../anchors.json\"\n\
             passphrase_file = \"../passphrase\"\nallow_private_addresses = true\n"
        );
        let (config, request) = (format!("{name}/node.toml"), format!("{name}/request.json"));
        fs::write(self.root.join(&config), text).unwrap();
        let init = [
            "node",
            "init",
            "--config",
            &config,
            "--request",
            &request,
            "--authority",
        ];
        let made = self.ask(&[&init[..], &[&format!("{}.example", plan.authority)]].concat());
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

    /// Makes everybody's wallet; `nodes` are the nodes' ids.
    fn persons(&self, nodes: &[String]) -> Persons {
        let (court, company) = (&nodes[self.seat("justice")], &nodes[self.seat("experts")]);
        let lawyer = |(place, node): (usize, &String)| {
            self.person(&format!("lawyer-{place}"), "lawyer", "barreaux", node)
        };
        Persons {
            judge: self.person("judge", "judge", "justice", court),
            clerk: self.person("clerk", "clerk", "justice", court),
            expert: self.person("expert", "expert", "experts", company),
            lawyers: nodes.iter().enumerate().map(lawyer).collect(),
        }
    }

    /// Makes a wallet and has its holder enrolled; gives the holder's id.
    fn person(&self, name: &str, role: &str, authority: &str, node: &str) -> String {
        let certified = self.certified && role == "lawyer";
        let (wallet, request) = match certified {
            true => (
                format!("wallets/{name}.plain"),
                format!("wallets/{name}.plain.json"),
            ),
            false => (format!("wallets/{name}"), format!("wallets/{name}.json")),
        };
        let origin = format!("{authority}.example");
        let made = self.office(&[
            "wallet",
            "create",
            "--authority",
            &origin,
            "--out",
            &wallet,
            "--label",
            name,
            "--request",
            &request,
        ]);
        let request = match certified {
            true => self.certify(name, &wallet, &origin),
            false => request,
        };
        let dir = directory(authority);
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

    /// Makes a certificate authority, which the bars believe.
    fn certify_bars(&self) {
        self.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "3650",
            "-subj",
            "/CN=CA (essai)",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]);
        self.openssl(&["x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der"]);
        fs::write(
            self.root.join("ca.ext"),
            "keyUsage=critical,digitalSignature,nonRepudiation\n",
        )
        .unwrap();
        let bars = directory("barreaux");
        let believe = ["authority", "certificate-authority", "--dir", &bars];
        let which = ["--certificate", "ca.pem", "--algorithm", "ES256"];
        let until = ["--until", "2035-01-01T00:00:00Z"];
        self.office(&[&believe[..], &which, &until].concat());
    }

    /// Has that authority certify a wallet's key; gives the request of the wallet with the certificate.
    fn certify(&self, name: &str, plain: &str, origin: &str) -> String {
        let [csr, pem, request] = ["csr", "pem", "json"].map(|kind| format!("wallets/{name}.{kind}"));
        self.office(&["wallet", "certificate-request", "--as", plain, "--out", &csr]);
        let sign = ["x509", "-req", "-inform", "DER", "-in", &csr, "-out", &pem];
        let by = [
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "ca.ext",
        ];
        self.openssl(&[&sign[..], &by, &["-days", "365"]].concat());
        let take = ["wallet", "certify", "--as", plain, "--certificate", &pem];
        let out = format!("wallets/{name}");
        let whole = ["--out", &out, "--request", &request, "--authority", origin];
        self.office(&[&take[..], &whole].concat());
        request
    }

    fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl")
            .args(arguments)
            .current_dir(self.root)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// From the designation to the operations: from here on dires and exhibits are possible.
    fn procedure(&self, persons: &Persons) -> DossierId {
        let Persons {
            judge,
            clerk,
            expert,
            lawyers,
        } = persons;
        let (court, company) = (self.seat("justice"), self.seat("experts"));
        let founded = self.act(
            court,
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
        self.act(company, "expert", "accept", &["--dossier", &dossier]);
        let lawyers: Vec<_> = lawyers
            .iter()
            .flat_map(|one| ["--lawyer", one.as_str()])
            .collect();
        self.act(
            company,
            "expert",
            "add",
            &[&["--dossier", &dossier], lawyers.as_slice()].concat(),
        );
        self.act(
            court,
            "clerk",
            "provision-paid",
            &["--dossier", &dossier, "--amount", "3000"],
        );
        DossierId::from_hex(&dossier).unwrap()
    }

    fn act(&self, node: usize, who: &str, verb: &str, rest: &[&str]) -> Value {
        let config = format!("{}/node.toml", self.plans[node].name);
        let wallet = format!("wallets/{who}");
        let line = [
            "dossier", verb, "--config", &config, "--as", &wallet, "--wait", "received",
        ];
        self.office(&[line.as_slice(), rest].concat())
    }
}

/// Where an authority keeps its log and keys.
fn directory(authority: &str) -> String {
    format!("authorities/{authority}")
}

fn text_of(answer: &Value, field: &str) -> String {
    let text = answer[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {answer}"))
        .to_owned()
}
