//! Two nodes and one dossier, set up and driven through the public commands only.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use basoche_node::config::Config;
use basoche_node::control::{Answer, Client, Request};
use basoche_node::desk::StatusView;
use basoche_protocol::id::SubjectId;

use crate::Outcome;
use crate::journal::Workshop;

/// How long any awaited state may take.
const PATIENCE: Duration = Duration::from_secs(1200);
/// Node, organisation, authority, that authority's profession.
const NODES: [[&str; 4]; 2] = [
    ["court", "Tribunal judiciaire (essai)", "justice", "court"],
    [
        "company",
        "Compagnie d'experts (essai)",
        "experts",
        "expert-company",
    ],
];
/// Person, role, node.
const PERSONS: [(&str, usize); 3] = [("judge", 0), ("clerk", 0), ("expert", 1)];

/// Runs `basoche` in one directory.
struct Program {
    path: PathBuf,
    directory: PathBuf,
}

impl Program {
    /// Runs a command that must succeed; gives its answer.
    fn ask(&self, arguments: &[&str]) -> Outcome<Value> {
        let (succeeded, answer) = self.run(arguments)?;
        if succeeded {
            Ok(answer)
        } else {
            Err(format!("basoche {}: {answer}", arguments.join(" ")).into())
        }
    }

    /// Runs a command again and again until its answer is enough. A node that is not ready answers too.
    fn until<T>(
        &self,
        arguments: &[&str],
        pause: Duration,
        enough: impl Fn(&Value) -> Option<T>,
    ) -> Outcome<T> {
        let started = Instant::now();
        loop {
            let (_, answer) = self.run(arguments)?;
            if let Some(found) = enough(&answer) {
                return Ok(found);
            }
            if started.elapsed() > PATIENCE {
                let line = arguments.join(" ");
                return Err(format!("basoche {line}: not within {PATIENCE:?}: {answer}").into());
            }
            std::thread::sleep(pause);
        }
    }

    fn run(&self, arguments: &[&str]) -> Outcome<(bool, Value)> {
        let done = Command::new(&self.path)
            .args(arguments)
            .arg("--json")
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        let stdout = String::from_utf8_lossy(&done.stdout);
        let answer = stdout.lines().last().unwrap_or_default();
        Ok((
            done.status.success(),
            serde_json::from_str(answer).unwrap_or(Value::Null),
        ))
    }
}

fn text(value: &Value, key: &str) -> Outcome<String> {
    let text = value[key].as_str().map(str::to_owned);
    text.ok_or_else(|| format!("an answer has no {key}: {value}").into())
}

/// A court's and an expert company's node, on loopback, with a dossier that both are members of.
pub(crate) struct Pair {
    program: Program,
    nodes: [Child; 2],
    dossier: String,
    /// The nodes' ids.
    subjects: Vec<String>,
}

impl Pair {
    /// Makes authorities, nodes and persons, starts the nodes, and has the expert designated and accept.
    pub(crate) fn set_up(program: &Path, place: &Path) -> Outcome<Self> {
        let program = Program {
            path: program.to_owned(),
            directory: place.join("federation"),
        };
        let directory = &program.directory;
        fs::create_dir_all(directory.join("wallets"))?;
        // It guards keys that live as long as this run.
        fs::write(directory.join("passphrase"), "bench\n")?;
        const SECRET: [&str; 2] = ["--passphrase-file", "passphrase"];
        let ask = |line: &[&str]| program.ask(&[line, &SECRET].concat());
        for [_, _, authority, profession] in NODES {
            let (dir, origin) = (format!("authorities/{authority}"), format!("{authority}.example"));
            let start = ["authority", "init", "--dir", &dir, "--origin", &origin];
            ask(&[&start[..], &["--profession", profession, "--test"]].concat())?;
        }
        let authorities = NODES.map(|[_, _, authority, _]| format!("authorities/{authority}"));
        let [justice, experts] = authorities.each_ref().map(String::as_str);
        program.ask(&["authority", "anchors", "--out", "anchors.json", justice, experts])?;
        let mut subjects = Vec::new();
        for ([name, organisation, ..], dir) in NODES.into_iter().zip([justice, experts]) {
            subjects.push(enrol_node(&program, &ask, name, organisation, dir)?);
        }
        let mut persons = Vec::new();
        for (name, node) in PERSONS {
            let (wallet, request) = (format!("wallets/{name}"), format!("wallets/{name}.json"));
            let made = ask(&[
                "wallet",
                "create",
                "--authority",
                &format!("{}.example", NODES[node][2]),
                "--out",
                &wallet,
                "--label",
                name,
                "--request",
                &request,
            ])?;
            let dir = &authorities[node];
            let enrolled = ["authority", "person", "--dir", dir, "--request", &request];
            ask(&[&enrolled[..], &["--role", name, "--node", &subjects[node]]].concat())?;
            persons.push(text(&made, "subject")?);
        }
        let nodes = [start(&program, NODES[0][0])?, start(&program, NODES[1][0])?];
        let mut pair = Self {
            program,
            nodes,
            dossier: String::new(),
            subjects,
        };
        pair.connect(justice, experts)?;
        pair.dossier = pair.found(&persons)?;
        Ok(pair)
    }

    fn connect(&mut self, justice: &str, experts: &str) -> Outcome<()> {
        let pause = Duration::from_millis(50);
        for [name, ..] in NODES {
            let config = format!("{name}/node.toml");
            let status = ["node", "status", "--config", &config];
            self.program
                .until(&status, pause, |status| status["node"].as_str().map(drop))?;
            self.program
                .ask(&["annuaire", "import", "--config", &config, justice, experts])?;
        }
        for [name, ..] in NODES {
            let config = format!("{name}/node.toml");
            let status = ["node", "status", "--config", &config];
            self.program.until(&status, pause, |status| {
                (status["peers"][0]["connected"] == true).then_some(())
            })?;
        }
        Ok(())
    }

    /// The expert is designated and accepts. Gives the dossier.
    fn found(&self, persons: &[String]) -> Outcome<String> {
        let [judge, clerk, expert] = persons else {
            return Err("three persons are needed".into());
        };
        let order = [
            "dossier",
            "designate",
            "--config",
            "court/node.toml",
            "--as",
            "wallets/judge",
            "--passphrase-file",
            "passphrase",
            "--case-number",
            "26/00000",
            "--head",
            "Mesurer",
            "--judge",
            judge,
            "--clerk",
            clerk,
            "--expert",
            expert,
            "--provision",
            "3000",
            "--provision-due",
            "2099-01-31T23:59:59+01:00",
            "--report-due",
            "2099-06-30T23:59:59+02:00",
            "--wait",
            "received",
        ];
        let dossier = text(&self.program.ask(&order)?, "dossier")?;
        let accept = [
            "dossier",
            "accept",
            "--config",
            "company/node.toml",
            "--as",
            "wallets/expert",
            "--passphrase-file",
            "passphrase",
            "--dossier",
            &dossier,
            "--wait",
            "received",
        ];
        self.program.ask(&accept)?;
        Ok(dossier)
    }

    /// The clerk lodges a file at the court's node; returns once it is durable there. Gives the message.
    pub(crate) fn deposit(&self, file: &Path) -> Outcome<String> {
        text(&self.lodge(file)?, "message")
    }

    /// The clerk lodges a file, or all that lie in a directory, at the court's node; returns once all are durable there. Gives
    /// the answer.
    pub(crate) fn lodge(&self, files: &Path) -> Outcome<Value> {
        let files = files.to_str().ok_or("the file's name is not UTF-8")?;
        self.program.ask(&[
            "document",
            "deposit",
            "--config",
            "court/node.toml",
            "--as",
            "wallets/clerk",
            "--passphrase-file",
            "passphrase",
            "--dossier",
            &self.dossier,
            "--wait",
            "deposited",
            files,
        ])
    }

    /// What a node has logged since its start.
    pub(crate) fn log(&self, node: usize) -> Outcome<String> {
        Ok(fs::read_to_string(
            self.program.directory.join(NODES[node][0]).join("node.log"),
        )?)
    }

    /// Waits until a node's log says enough.
    pub(crate) fn await_log<T>(&self, node: usize, enough: impl Fn(&str) -> Option<T>) -> Outcome<T> {
        let started = Instant::now();
        loop {
            if let Some(found) = enough(&self.log(node)?) {
                return Ok(found);
            }
            if started.elapsed() > PATIENCE * 5 {
                return Err(format!("{}: its log does not say it", NODES[node][0]).into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Stops a node, changes its data directory, and starts it again.
    pub(crate) fn restart(&mut self, node: usize, change: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<()> {
        let name = NODES[node][0];
        let told = Command::new("kill")
            .arg(self.nodes[node].id().to_string())
            .status()?;
        let ended = self.nodes[node].wait()?;
        if !(told.success() && ended.success()) {
            return Err(format!("{name} ended with {ended}").into());
        }
        change(&self.program.directory.join(name).join("data"))?;
        self.nodes[node] = start(&self.program, name)?;
        Ok(())
    }

    /// Waits until the company's node shows `enough` of the document that `deposit` brought.
    pub(crate) fn await_document<T>(
        &self,
        deposit: &str,
        enough: impl Fn(&Value) -> Option<T>,
    ) -> Outcome<T> {
        let line = [
            "dossier",
            "show",
            "--config",
            "company/node.toml",
            "--dossier",
            &self.dossier,
        ];
        // Each question starts a process: seldom, so that it does not slow down what it asks about.
        self.program.until(&line, Duration::from_millis(500), |view| {
            let documents = view["documents"].as_array()?;
            let document = documents.iter().find(|one| one["deposit"] == deposit)?;
            enough(document)
        })
    }

    /// Sets the peaks of memory back to what is in use, so that opening the keys at the start does not hide what
    /// a document takes. Gives VmHWM of both nodes, in KiB.
    pub(crate) fn reset_peaks(&self) -> Outcome<[u64; 2]> {
        for node in &self.nodes {
            fs::write(format!("/proc/{}/clear_refs", node.id()), "5")?;
        }
        self.peaks()
    }

    /// VmHWM of both nodes, in KiB.
    pub(crate) fn peaks(&self) -> Outcome<[u64; 2]> {
        let peak = |node: &Child| {
            kib(
                &fs::read_to_string(format!("/proc/{}/status", node.id()))?,
                "VmHWM",
            )
        };
        Ok([peak(&self.nodes[0])?, peak(&self.nodes[1])?])
    }

    /// Processor time of both nodes so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Outcome<[f64; 2]> {
        let time = |node: &Child| cpu_seconds(&fs::read_to_string(format!("/proc/{}/stat", node.id()))?);
        Ok([time(&self.nodes[0])?, time(&self.nodes[1])?])
    }

    /// SIGTERM to both; they must end well.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        (0..2).try_for_each(|node| self.halt(node))
    }

    /// SIGTERM to one of them, which must end well.
    pub(crate) fn halt(&mut self, node: usize) -> Outcome<()> {
        let node = &mut self.nodes[node];
        let told = Command::new("kill").arg(node.id().to_string()).status()?;
        let ended = node.wait()?;
        if !(told.success() && ended.success()) {
            return Err(format!("a node ended with {ended}").into());
        }
        Ok(())
    }

    /// Starts a node that was halted; gives how long it took until it said that it is ready.
    pub(crate) fn start(&mut self, node: usize) -> Outcome<Duration> {
        let begun = Instant::now();
        self.nodes[node] = start(&self.program, NODES[node][0])?;
        let pause = Duration::from_millis(10);
        self.until_status(node, pause, |status| status.ready.then(|| begun.elapsed()))
    }

    /// Waits until a node's status is enough. It is asked on the node's socket, without a process of its own.
    pub(crate) fn until_status<T>(
        &self,
        node: usize,
        pause: Duration,
        enough: impl Fn(&StatusView) -> Option<T>,
    ) -> Outcome<T> {
        let config = Config::read(&self.config(node))?;
        let client = Client::new(&config.data);
        let started = Instant::now();
        loop {
            let answer = client.ask(&Request::Status);
            if let Ok(Answer::Status(status)) = &answer
                && let Some(found) = enough(status)
            {
                return Ok(found);
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("the node's status: not within {PATIENCE:?}: {answer:?}").into());
            }
            std::thread::sleep(pause);
        }
    }

    /// The configuration of a node.
    pub(crate) fn config(&self, node: usize) -> PathBuf {
        self.program.directory.join(NODES[node][0]).join("node.toml")
    }

    /// The anchors of both nodes.
    pub(crate) fn anchors(&self) -> PathBuf {
        self.program.directory.join("anchors.json")
    }

    /// What a node has in memory now, VmRSS, and has had at most, VmHWM, in KiB.
    pub(crate) fn memory(&self, node: usize) -> Outcome<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.nodes[node].id()))?;
        Ok((kib(&status, "VmRSS")?, kib(&status, "VmHWM")?))
    }

    /// The store of the court's node, which must not run.
    pub(crate) fn workshop(&self) -> Outcome<Workshop> {
        let directory = &self.program.directory;
        let expert_node = SubjectId::from_hex(&self.subjects[1]).ok_or("the node's id is not one")?;
        Workshop::open(&self.config(0), &directory.join("wallets"), expert_node)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // No process may stay; one that has ended already is no error.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn enrol_node(
    program: &Program,
    ask: &impl Fn(&[&str]) -> Outcome<Value>,
    name: &str,
    organisation: &str,
    dir: &str,
) -> Outcome<String> {
    let home = program.directory.join(name);
    fs::create_dir_all(&home)?;
    let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let content = format!(
        "data = \"data\"\nlisten = \"{address}\"\naddresses = [\"{address}\"]\nanchors = \"../anchors.json\"\n\
         passphrase_file = \"../passphrase\"\nallow_private_addresses = true\n"
    );
    fs::write(home.join("node.toml"), content)?;
    let (config, request) = (format!("{name}/node.toml"), format!("{name}/request.json"));
    let origin = format!("{}.example", dir.trim_start_matches("authorities/"));
    let init = ["node", "init", "--config", &config, "--authority", &origin];
    let made = program.ask(&[&init[..], &["--request", &request]].concat())?;
    let line = ["authority", "organisation", "--dir", dir, "--name", organisation];
    let registered = ask(&[&line[..], &["--identifier", name]].concat())?;
    let organisation = text(&registered, "subject")?;
    let line = ["authority", "node", "--dir", dir, "--organisation", &organisation];
    ask(&[&line[..], &["--request", &request]].concat())?;
    text(&made, "node")
}

fn start(program: &Program, name: &str) -> Outcome<Child> {
    let log = File::create(program.directory.join(name).join("node.log"))?;
    let node = Command::new(&program.path)
        .args(["node", "run", "--config", &format!("{name}/node.toml")])
        .current_dir(&program.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(node)
}

/// A value of `/proc/PID/status`, in KiB.
fn kib(status: &str, name: &str) -> Outcome<u64> {
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
    let line = lines.find_map(|line| line.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("/proc has no {name}").into())
}

/// utime and stime of `/proc/PID/stat`, in seconds. Linux counts them in hundredths (USER_HZ).
fn cpu_seconds(stat: &str) -> Outcome<f64> {
    // The program's name, in brackets, may contain spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    match ticks[..] {
        [user, system] => Ok((user + system) / 100.0),
        _ => Err("/proc has no processor time".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_memory_is_read() {
        assert_eq!(
            kib("Name:\tx\nVmHWM:\t   10240 kB\nVmRSS:\t 1 kB\n", "VmHWM").unwrap(),
            10_240
        );
        assert!(kib("Name:\tx\n", "VmHWM").is_err());
    }

    #[test]
    fn the_processor_time_is_read_after_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert!((cpu_seconds(stat).unwrap() - 3.0).abs() < 1e-9);
        assert!(cpu_seconds("7 (x) S 1").is_err());
    }
}
