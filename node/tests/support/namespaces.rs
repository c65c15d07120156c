//! A network of our own: a bridge, and a network namespace for each node, whose packet filter loses or refuses what
//! comes in. It needs root; nothing of the machine's own network is touched.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use serde_json::Value;

use super::harness::set;

/// Port of every node.
const PORT: u16 = 7000;
/// What the names of our namespaces and bridges begin with; then comes the process that made them.
const NAMESPACE: &str = "basoche-";
const BRIDGE: &str = "bs";

/// Why this machine cannot have such a network, if so.
pub(crate) fn unavailable() -> Option<String> {
    let variable = "BASOCHE_NO_NETNS";
    set(variable)
        .or_else(|| (!geteuid().is_root()).then(|| "network namespaces need root".into()))
        .or_else(|| attempt("nft", &["--version"], "").err())
        .or_else(|| {
            let trial = format!("{NAMESPACE}{}-trial", std::process::id());
            attempt("ip", &["netns", "add", &trial], "").err().or_else(|| {
                ip(&["netns", "delete", &trial]);
                None
            })
        })
}

/// The network; it is removed when dropped.
pub(crate) struct Net {
    nodes: usize,
}

/// What has come to all nodes since the rules were last changed, and what of it was dropped: packets.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) seen: u64,
    pub(crate) dropped: u64,
}

impl Net {
    /// Makes a network for so many nodes, at most 9, and removes those that dead runs have left.
    pub(crate) fn make(nodes: usize) -> Self {
        assert!(nodes < 10, "a node's number is one digit");
        remove(|process| !is_alive(process));
        let net = Self { nodes };
        let bridge = bridge();
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["link", "set", &bridge, "up"]);
        for node in 0..nodes {
            let (namespace, port) = (net.namespace(node), format!("{bridge}-{node}"));
            let address = format!("{}/24", net.address(node).ip());
            ip(&["netns", "add", &namespace]);
            ip(&[
                "link", "add", &port, "mtu", "1500", "type", "veth", "peer", "name", "eth0", "mtu", "1500",
                "netns", &namespace,
            ]);
            ip(&["link", "set", &port, "master", &bridge, "up"]);
            let inside = |arguments: &[&str]| ip(&[&["-n", &namespace], arguments].concat());
            // Datagrams cross one by one: else a drop would take whole bursts, and the share that is lost mean less.
            inside(&["link", "set", "eth0", "gso_max_segs", "1"]);
            inside(&["address", "add", &address, "dev", "eth0"]);
            inside(&["link", "set", "lo", "up"]);
            inside(&["link", "set", "eth0", "up"]);
        }
        net.heal();
        net
    }

    /// The namespace of a node.
    pub(crate) fn namespace(&self, node: usize) -> String {
        format!("{NAMESPACE}{}-{node}", std::process::id())
    }

    /// Where a node listens.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        let host = u8::try_from(node + 1).unwrap();
        (Ipv4Addr::new(10, 77, 0, host), PORT).into()
    }

    /// Loses so many packets of a hundred, at random, on their way into each node.
    pub(crate) fn lose(&self, percent: usize) {
        let rule = format!("numgen random mod 100 < {percent}");
        (0..self.nodes).for_each(|node| self.filter(node, Some(&rule)));
    }

    /// Cuts these nodes off from all others.
    pub(crate) fn cut(&self, side: &[usize]) {
        for node in 0..self.nodes {
            let others = (0..self.nodes).filter(|other| side.contains(other) != side.contains(&node));
            let others: Vec<_> = others.map(|other| self.address(other).ip().to_string()).collect();
            self.filter(node, Some(&format!("ip saddr {{ {} }}", others.join(", "))));
        }
    }

    /// Lets everything pass.
    pub(crate) fn heal(&self) {
        (0..self.nodes).for_each(|node| self.filter(node, None));
    }

    /// Packets of all nodes since the last change.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { seen: 0, dropped: 0 };
        for node in 0..self.nodes {
            let answer = self.nft(node, &["-j", "list", "counters"], "");
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let counters = answer["nftables"].as_array().unwrap().iter();
            for counter in counters.filter_map(|item| item.get("counter")) {
                let packets = counter["packets"].as_u64().unwrap();
                match counter["name"].as_str() {
                    Some("seen") => counts.seen += packets,
                    Some("dropped") => counts.dropped += packets,
                    other => panic!("an unknown counter: {other:?}"),
                }
            }
        }
        counts
    }

    /// Drops what matches on its way into a node, instead of what was dropped before.
    fn filter(&self, node: usize, matches: Option<&str>) {
        let rule = matches.map(|matches| format!("iifname eth0 {matches} counter name dropped drop"));
        let rule = rule.unwrap_or_default();
        let rules = format!(
            "flush ruleset\n\
             table inet basoche {{\n\
             counter seen {{\n}}\n\
             counter dropped {{\n}}\n\
             chain input {{\n\
             type filter hook input priority 0\n\
             iifname eth0 counter name seen\n\
             {rule}\n\
             }}\n}}\n"
        );
        self.nft(node, &["-f", "-"], &rules);
    }

    fn nft(&self, node: usize, arguments: &[&str], input: &str) -> String {
        let namespace = self.namespace(node);
        let line = [&["netns", "exec", &namespace, "nft"], arguments].concat();
        attempt("ip", &line, input).unwrap_or_else(|complaint| panic!("{complaint}"))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        remove(|process| process == std::process::id());
    }
}

fn bridge() -> String {
    format!("{BRIDGE}{}", std::process::id())
}

/// Removes the namespaces and bridges, and ends the nodes in them, of those processes that `whose` names.
fn remove(whose: impl Fn(u32) -> bool) {
    // A failed test may be on its way out already: what cannot be removed is left to the next run.
    let names = |list: &[&str], field: &str| -> Vec<String> {
        let found = attempt("ip", list, "").unwrap_or_default();
        let found: Vec<Value> = serde_json::from_str(&found).unwrap_or_default();
        let names = found.iter().filter_map(|one| one[field].as_str());
        names.map(ToOwned::to_owned).collect()
    };
    let ours = |name: &str, start: &str| {
        let rest = name.strip_prefix(start).unwrap_or_default();
        rest.split('-')
            .next()
            .and_then(|number| number.parse().ok())
            .is_some_and(&whose)
    };
    for namespace in names(&["-j", "netns", "list"], "name") {
        if ours(&namespace, NAMESPACE) {
            let processes = attempt("ip", &["netns", "pids", &namespace], "").unwrap_or_default();
            for process in processes
                .lines()
                .filter_map(|line| line.parse().ok())
                .filter_map(Pid::from_raw)
            {
                let _ = kill_process(process, Signal::KILL);
            }
            let _ = attempt("ip", &["netns", "delete", &namespace], "");
        }
    }
    // A namespace takes its end of a pair with it, but not at once: the names would still be in use.
    for kind in ["veth", "bridge"] {
        for link in names(&["-j", "link", "show", "type", kind], "ifname") {
            if ours(&link, BRIDGE) {
                let _ = attempt("ip", &["link", "delete", &link], "");
            }
        }
    }
}

fn is_alive(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some_and(|process| test_kill_process(process).is_ok())
}

fn ip(arguments: &[&str]) {
    attempt("ip", arguments, "").unwrap_or_else(|complaint| panic!("{complaint}"));
}

/// Runs a command; gives what it printed, or what it complained of.
fn attempt(name: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let complain = |what: String| format!("{name} {}: {what}", arguments.join(" "));
    let child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| complain(error.to_string()))?;
    // One that does not read its input says in the end what it complains of.
    let _ = child
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(input.as_bytes()));
    let done = child
        .wait_with_output()
        .map_err(|error| complain(error.to_string()))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(complain(String::from_utf8_lossy(&done.stderr).trim().to_owned())),
    }
}
