//! Two members of a dossier, and a third node that is no member and serves as their mailbox.

use std::net::{TcpListener, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Node, Office};

/// How long anything that is awaited may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(200));
    }
}

/// Court, company and mailbox, enrolled; nothing runs.
pub(crate) struct Post {
    pub(crate) office: Office,
    udp: [String; 3],
    pub(crate) pages: String,
    pub(crate) mailbox: String,
}

const NAMES: [&str; 3] = ["court", "company", "mailbox"];

impl Post {
    pub(crate) fn new(mailbox_settings: &str) -> Self {
        let udp = [(); 3].map(|()| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap().to_string()
        });
        let pages = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let mut office = Office::bare();
        for (name, address) in NAMES.iter().zip(&udp) {
            office.configure(name, address, "");
        }
        office.furnish();
        let (config, request) = ("mailbox/node.toml", "mailbox/request.json");
        let made = office
            .ask(&[
                "node",
                "init",
                "--config",
                config,
                "--request",
                request,
                "--authority",
                "justice.example",
            ])
            .ok();
        let justice = "authorities/justice";
        let about = ["--dir", justice, "--name", "mailbox", "--identifier", "mailbox"];
        let organisation = office
            .secret(&[&["authority", "organisation"], about.as_slice()].concat())
            .ok();
        let organisation = organisation["subject"].as_str().unwrap();
        let about = [
            "--dir",
            justice,
            "--organisation",
            organisation,
            "--request",
            request,
        ];
        office
            .secret(&[&["authority", "node"], about.as_slice()].concat())
            .ok();
        let mailbox = made["node"].as_str().unwrap().to_owned();
        let post = Self {
            office,
            udp,
            pages,
            mailbox,
        };
        post.configure_mailbox(mailbox_settings);
        for number in 0..2 {
            post.configure_member(number, "");
        }
        post
    }

    /// The court (0) or the company (1), with more lines at the end of its configuration.
    pub(crate) fn configure_member(&self, number: usize, more: &str) {
        let mailbox = &self.mailbox;
        let log = "log = \"basoche_node=debug,info\"\n";
        let more = format!("{log}[mailbox]\nuse = [\"{mailbox}\"]\nafter = 1\nevery = 1\n{more}");
        self.office.configure(NAMES[number], &self.udp[number], &more);
    }

    pub(crate) fn configure_mailbox(&self, settings: &str) {
        let more = format!(
            "log = \"basoche_node=trace,info\"\n[mailbox]\nserve = true\n{settings}\n[operator]\nlisten = \"{}\"\n",
            self.pages
        );
        self.office.configure("mailbox", &self.udp[2], &more);
    }

    pub(crate) fn start(&self) -> [Node; 3] {
        let nodes = NAMES.map(|name| self.office.start_node(name));
        for name in NAMES {
            self.office.import_to(name);
        }
        nodes
    }

    /// A dossier that both members hold, each with a head of the other's.
    pub(crate) fn dossier(&self, case_number: &str) -> Value {
        let dossier = self.office.designate(case_number);
        until("the dossier at the company", || {
            self.office.show_at("company", &dossier).exit == 0
        });
        let everybody = ["--wait", "received"];
        self.office
            .act("company", "expert", ["dossier", "accept"], &dossier, &everybody)
            .ok();
        dossier
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        let config = format!("{name}/node.toml");
        self.office.ask(&["node", "status", "--config", &config]).json
    }

    pub(crate) fn state_hash(&self, name: &str) -> Value {
        self.status(name)["dossiers"][0]["state_hash"].clone()
    }

    /// Parcels that the mailbox keeps now, by its status.
    pub(crate) fn kept(&self) -> u64 {
        self.status("mailbox")["mailbox"]["parcels"]
            .as_u64()
            .unwrap_or(u64::MAX)
    }

    pub(crate) fn metrics(&self) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.pages).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}:\n{metrics}"))
            .parse()
            .unwrap()
    }

    /// For each message that waits for a node that is not connected: how often it was left.
    pub(crate) fn left(&self, dossier: &Value) -> Vec<usize> {
        let shown = self.office.show(dossier);
        let messages = shown["messages"].as_array().unwrap();
        let waits = messages
            .iter()
            .flat_map(|one| one["waits"].as_array().cloned().unwrap_or_default());
        let away = waits.filter(|wait| wait["code"] == "unreachable");
        away.map(|wait| wait["left"].as_array().map_or(0, Vec::len))
            .collect()
    }

    pub(crate) fn messages(&self, name: &str, dossier: &Value) -> Vec<(String, String)> {
        let shown = self.office.show_at(name, dossier).json;
        let messages = shown["messages"].as_array().cloned().unwrap_or_default();
        let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
        messages
            .iter()
            .map(|one| (text(one, "id"), text(one, "level")))
            .collect()
    }
}
