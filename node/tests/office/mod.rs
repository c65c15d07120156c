//! A court's node as its operator has it: two authorities, a configuration, wallets, one real process.
#![allow(dead_code)] // Each test program uses its part.

pub(crate) mod disk;
pub(crate) mod post;
pub(crate) mod search;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// How long anything that is awaited may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer of the program.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) exit: i32,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let json = serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self {
            exit: output.status.code().unwrap_or(-1),
            json,
            stderr,
        }
    }

    /// An error with this exit code and code, whose message names `what` and which says what to do by `action`.
    pub(crate) fn fails(&self, exit: i32, code: &str, what: &str, action: &str) {
        let error = &self.json["error"];
        assert_eq!(
            (self.exit, error["code"].as_str()),
            (exit, Some(code)),
            "{self:?}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(what), "{what:?} is not named: {self:?}");
        let advice = format!("{message} {}", error["action"].as_str().unwrap());
        assert!(advice.contains(action), "{action:?} is not said: {self:?}");
        assert!(
            ["never", "after-change", "later"].contains(&error["retry"].as_str().unwrap()),
            "{self:?}"
        );
    }

    /// The answer of a command that must succeed.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.exit, 0, "{self:?}");
        self.json
    }
}

/// A directory with everything that a court needs.
pub(crate) struct Office {
    pub(crate) root: PathBuf,
    pub(crate) address: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) nodes: Vec<String>,
    /// What the commands said on stderr.
    pub(crate) told: Mutex<String>,
    _keep: tempfile::TempDir,
}

/// Node or person, authority.
const AUTHORITIES: [(&str, &str); 2] = [("justice", "court"), ("experts", "expert-company")];

impl Office {
    /// A configuration, a passphrase and anchors: all that `node init` needs, and no data.
    pub(crate) fn bare() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = keep.path().to_owned();
        let address = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        fs::write(root.join("passphrase"), "a passphrase of the tests\n").unwrap();
        let office = Self {
            root,
            address,
            subjects: vec![],
            nodes: vec![],
            told: Mutex::default(),
            _keep: keep,
        };
        for (authority, profession) in AUTHORITIES {
            let (dir, origin) = (format!("authorities/{authority}"), format!("{authority}.example"));
            office
                .secret(&[
                    "authority",
                    "init",
                    "--dir",
                    &dir,
                    "--origin",
                    &origin,
                    "--profession",
                    profession,
                    "--test",
                ])
                .ok();
        }
        office
            .ask(&[
                "authority",
                "anchors",
                "--out",
                "anchors.json",
                "authorities/justice",
                "authorities/experts",
            ])
            .ok();
        office.configure("court", &office.address, "");
        office.configure("company", "127.0.0.1:9", "");
        office
    }

    /// Writes `<name>/node.toml`, with more lines at its end.
    pub(crate) fn configure(&self, name: &str, address: &str, more: &str) {
        fs::create_dir_all(self.root.join(name)).unwrap();
        let text = format!(
            "data = \"data\"\nlisten = \"{address}\"\naddresses = [\"{address}\"]\nanchors = \"../anchors.json\"\n\
             passphrase_file = \"../passphrase\"\nallow_private_addresses = true\n{more}"
        );
        fs::write(self.root.join(name).join("node.toml"), text).unwrap();
    }

    /// The same, with both nodes set up and enrolled, and a judge, a clerk and an expert with their wallets.
    pub(crate) fn furnished() -> Self {
        let mut office = Self::bare();
        office.furnish();
        office
    }

    /// Sets up what [`Self::furnished`] has; the data directories may exist, empty.
    pub(crate) fn furnish(&mut self) {
        for (name, (authority, _)) in ["court", "company"].into_iter().zip(AUTHORITIES) {
            let (config, request) = (format!("{name}/node.toml"), format!("{name}/request.json"));
            let made = self
                .ask(&[
                    "node",
                    "init",
                    "--config",
                    &config,
                    "--request",
                    &request,
                    "--authority",
                    &format!("{authority}.example"),
                ])
                .ok();
            let dir = format!("authorities/{authority}");
            let organisation = self
                .secret(&[
                    "authority",
                    "organisation",
                    "--dir",
                    &dir,
                    "--name",
                    name,
                    "--identifier",
                    name,
                ])
                .ok();
            let organisation = organisation["subject"].as_str().unwrap();
            self.secret(&[
                "authority",
                "node",
                "--dir",
                &dir,
                "--organisation",
                organisation,
                "--request",
                &request,
            ])
            .ok();
            self.nodes.push(made["node"].as_str().unwrap().to_owned());
        }
        fs::create_dir_all(self.root.join("wallets")).unwrap();
        for (name, node) in [("judge", 0), ("clerk", 0), ("expert", 1)] {
            let subject = self.enrol(name, name, AUTHORITIES[node].0, node);
            self.subjects.push(subject);
        }
    }

    /// A third authority, whose entries [`Self::import_to`] brings from now on: nodes that start later believe it.
    pub(crate) fn found_bar(&self) {
        let bar = "authorities/barreaux";
        let arguments = [
            "--dir",
            bar,
            "--origin",
            "barreaux.example",
            "--profession",
            "bar",
        ];
        self.secret(&[&["authority", "init", "--test"], arguments.as_slice()].concat())
            .ok();
        fs::remove_file(self.root.join("anchors.json")).unwrap();
        let anchors = ["authority", "anchors", "--out", "anchors.json"];
        self.ask(
            &[
                anchors.as_slice(),
                &["authorities/justice", "authorities/experts", bar],
            ]
            .concat(),
        )
        .ok();
    }

    /// Makes a wallet and has its holder enrolled, served by the node of this number; gives the holder's id.
    pub(crate) fn enrol(&self, name: &str, role: &str, authority: &str, node: usize) -> String {
        let (wallet, request) = (format!("wallets/{name}"), format!("wallets/{name}.json"));
        let made = self
            .secret(&[
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
            ])
            .ok();
        let dir = format!("authorities/{authority}");
        let node = self.nodes[node].clone();
        self.secret(&[
            "authority",
            "person",
            "--dir",
            &dir,
            "--request",
            &request,
            "--role",
            role,
            "--node",
            &node,
        ])
        .ok();
        made["subject"].as_str().unwrap().to_owned()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("court/data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_basoche"));
        command
            .args(arguments)
            .arg("--json")
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command.env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    /// Runs a command to its end.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Said {
        let said = Said::of(&self.command(arguments).output().unwrap());
        self.told.lock().unwrap().push_str(&said.stderr);
        said
    }

    /// The same, with the passphrase file.
    pub(crate) fn secret(&self, arguments: &[&str]) -> Said {
        self.ask(&[arguments, &["--passphrase-file", "passphrase"]].concat())
    }

    /// `node run`, which must end by itself.
    pub(crate) fn run(&self) -> Said {
        self.run_with(&[])
    }

    /// The same in such an environment.
    pub(crate) fn run_with(&self, environment: &[(&str, &str)]) -> Said {
        // A node that runs although it should not is stopped, and fails the test by its exit code.
        let program = env!("CARGO_BIN_EXE_basoche");
        let mut command = Command::new("timeout");
        command.args([
            "60",
            program,
            "node",
            "run",
            "--config",
            "court/node.toml",
            "--json",
        ]);
        command.current_dir(&self.root).stdin(Stdio::null());
        command.envs(environment.iter().copied());
        command.env_remove("CREDENTIALS_DIRECTORY");
        Said::of(&command.output().unwrap())
    }

    /// The same, with the clock set to `when`.
    pub(crate) fn run_at(&self, when: &str) -> Said {
        let mut command = Command::new("faketime");
        command.args([
            when,
            env!("CARGO_BIN_EXE_basoche"),
            "node",
            "run",
            "--config",
            "court/node.toml",
            "--json",
        ]);
        command
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let output = command
            .output()
            .expect("faketime is missing: run deploy/setup.sh, or apt-get install faketime");
        Said::of(&output)
    }

    /// Starts the court's node, and waits until it is ready.
    pub(crate) fn start(&self) -> Node {
        self.start_node("court")
    }

    /// The same of either node.
    pub(crate) fn start_node(&self, name: &str) -> Node {
        let config = format!("{name}/node.toml");
        let mut child = self
            .command(&["node", "run", "--config", &config])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (ready, is_ready) = mpsc::channel();
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        let logger = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains("ready on udp") {
                    let _ = ready.send(());
                }
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let node = Node {
            child,
            log,
            logger: Some(logger),
        };
        match is_ready.recv_timeout(PATIENCE) {
            Ok(()) => node,
            Err(_) => panic!("the node does not start: {:?}", node.end()),
        }
    }

    /// Imports both authorities' entries into the running node.
    pub(crate) fn import(&self) {
        self.import_to("court");
    }

    /// The same into either node.
    pub(crate) fn import_to(&self, name: &str) {
        let config = format!("{name}/node.toml");
        let mut arguments = vec!["annuaire", "import", "--config", &config];
        arguments.extend(["authorities/justice", "authorities/experts"]);
        let bar = "authorities/barreaux";
        arguments.extend(self.root.join(bar).exists().then_some(bar));
        self.ask(&arguments).ok();
    }

    /// An act of a person at the node of this name.
    pub(crate) fn act(&self, node: &str, who: &str, verb: [&str; 2], dossier: &Value, rest: &[&str]) -> Said {
        let (config, wallet) = (format!("{node}/node.toml"), format!("wallets/{who}"));
        let dossier = dossier.as_str().unwrap();
        let common = ["--config", &config, "--as", &wallet, "--dossier", dossier];
        self.secret(&[verb.as_slice(), &common, rest].concat())
    }

    /// The same, with something on standard input.
    pub(crate) fn act_with(
        &self,
        stdin: &str,
        node: &str,
        who: &str,
        verb: [&str; 2],
        dossier: &Value,
        rest: &[&str],
    ) -> Said {
        let (config, wallet) = (format!("{node}/node.toml"), format!("wallets/{who}"));
        let common = [
            "--config",
            &config,
            "--as",
            &wallet,
            "--dossier",
            dossier.as_str().unwrap(),
        ];
        let secret = ["--passphrase-file", "passphrase"];
        let mut command = self.command(&[verb.as_slice(), &common, &secret, rest].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = command.spawn().unwrap();
        let mut pipe = running.stdin.take().unwrap();
        pipe.write_all(stdin.as_bytes()).unwrap();
        drop(pipe);
        Said::of(&running.wait_with_output().unwrap())
    }

    /// The judge designates the expert; gives the dossier.
    pub(crate) fn designate(&self, case_number: &str) -> Value {
        self.designate_for(case_number, &format!("Décrire les désordres ({case_number})"))
    }

    /// The same, with this head of mission.
    pub(crate) fn designate_for(&self, case_number: &str, head: &str) -> Value {
        let [judge, clerk, expert] = [0, 1, 2].map(|index| self.subjects[index].as_str());
        let designated = self.secret(&[
            "dossier",
            "designate",
            "--config",
            "court/node.toml",
            "--as",
            "wallets/judge",
            "--case-number",
            case_number,
            "--head",
            head,
            "--judge",
            judge,
            "--clerk",
            clerk,
            "--expert",
            expert,
            "--provision",
            "3000",
            "--provision-due",
            "2027-01-31T23:59:59+01:00",
            "--report-due",
            "2027-06-30T23:59:59+02:00",
        ]);
        designated.ok()["dossier"].clone()
    }

    /// The clerk lodges a file.
    pub(crate) fn deposit(&self, dossier: &Value, title: &str, file: &Path) -> Said {
        self.secret(&[
            "document",
            "deposit",
            "--config",
            "court/node.toml",
            "--as",
            "wallets/clerk",
            "--dossier",
            dossier.as_str().unwrap(),
            "--title",
            title,
            file.to_str().unwrap(),
        ])
    }

    /// The clerk notes a payment of one euro, the `number`th.
    pub(crate) fn pay(&self, dossier: &Value, number: usize) -> Said {
        self.secret(&[
            "dossier",
            "provision-paid",
            "--config",
            "court/node.toml",
            "--as",
            "wallets/clerk",
            "--dossier",
            dossier.as_str().unwrap(),
            "--amount",
            "1",
            "--id",
            &format!("payment-{number}"),
        ])
    }

    /// What the court's node says of a dossier.
    pub(crate) fn show(&self, dossier: &Value) -> Value {
        self.show_at("court", dossier).ok()
    }

    /// The same of either node, which may not know it.
    pub(crate) fn show_at(&self, node: &str, dossier: &Value) -> Said {
        let (config, dossier) = (format!("{node}/node.toml"), dossier.as_str().unwrap());
        self.ask(&["dossier", "show", "--config", &config, "--dossier", dossier])
    }

    /// How the node is; its exit code tells whether it is ready, which it is not without peers.
    pub(crate) fn status(&self) -> Value {
        let said = self.ask(&["node", "status", "--config", "court/node.toml"]);
        assert!(said.json["node"].is_string(), "{said:?}");
        said.json
    }
}

/// A running node.
pub(crate) struct Node {
    child: Child,
    log: Arc<Mutex<String>>,
    logger: Option<JoinHandle<()>>,
}

impl Node {
    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// How often its log has said something so far.
    pub(crate) fn logged(&self, what: &str) -> usize {
        self.log.lock().unwrap().matches(what).count()
    }

    /// SIGTERM: drains and ends; gives the whole log.
    pub(crate) fn stop(self) -> String {
        self.signal("-TERM");
        let said = self.end();
        assert_eq!(said.exit, 0, "{said:?}");
        said.stderr
    }

    /// SIGKILL: nothing is flushed, nobody is told; gives the whole log.
    pub(crate) fn kill(self) -> String {
        self.signal("-KILL");
        self.end().stderr
    }

    /// SIGSTOP: it neither answers nor listens, and its peers do not know.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn end(mut self) -> Said {
        let mut stdout = String::new();
        std::io::Read::read_to_string(&mut self.child.stdout.take().unwrap(), &mut stdout).unwrap();
        let status = self.child.wait().unwrap();
        self.logger.take().unwrap().join().unwrap();
        let stderr = std::mem::take(&mut *self.log.lock().unwrap());
        let json = serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap_or_default();
        Said {
            exit: status.code().unwrap_or(-1),
            json,
            stderr,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A failed test leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
