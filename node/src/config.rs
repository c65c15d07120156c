//! The configuration of a node: one TOML file, unknown keys refused. The only owner of `figment`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use basoche_protocol::engine::{Allowance, Quotas};
use basoche_protocol::id::SubjectId;
use basoche_protocol::mailbox;
use figment::Figment;
use figment::providers::{Format, Toml};
use secrecy::SecretString;
use serde::Deserialize;
use thiserror::Error;

/// Where a systemd unit puts the passphrase (`LoadCredential=passphrase:…`).
const CREDENTIAL: &str = "passphrase";
/// The longest passphrase file that is read, in bytes.
const PASSPHRASE_BYTES: u64 = 4096;

/// The configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read, or says something that it may not.
    #[error("configuration {path}: {what}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with the key where there is one.
        what: String,
    },
    /// No passphrase.
    #[error(
        "no passphrase: set passphrase_file in {path}, or start under systemd with LoadCredential=passphrase"
    )]
    NoPassphrase {
        /// The configuration.
        path: PathBuf,
    },
    /// The passphrase file cannot be used.
    #[error("passphrase file {path}: {what}")]
    Passphrase {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// What `node.toml` says. Relative paths are relative to the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The data directory: store, documents, keys, control socket. One node, one directory.
    pub data: PathBuf,
    /// The UDP address to listen on.
    pub listen: SocketAddr,
    /// The addresses under which peers reach this node, `host:port`; what `node init` writes into its request.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The trust anchors of the registry.
    pub anchors: PathBuf,
    /// A file whose first line is the passphrase of the storage key.
    pub passphrase_file: Option<PathBuf>,
    /// Whether peers may have loopback and private addresses. Off, except in trials and closed networks.
    #[serde(default)]
    pub allow_private_addresses: bool,
    /// Bounds that an operator may lower or raise.
    #[serde(default)]
    pub limits: Limits,
    /// What this node keeps for others, and where it leaves and collects parcels itself.
    #[serde(default)]
    pub mailbox: Mailbox,
    /// Where to ask for nodes whose addresses in the registry are out of date. Nowhere without this.
    pub dns: Option<Dns>,
    /// Where this node gossips. Nowhere without this.
    pub gossip: Option<Gossip>,
    /// Pages that show how the node is. None are served without this.
    pub operator: Option<Operator>,
    /// Log filter, as `tracing` reads it: `info`, `basoche_node=debug`.
    #[serde(default = "default_log")]
    pub log: String,
}

fn default_log() -> String {
    "info".into()
}

/// Discovery by DNS, whose answers DNSSEC proves. DNS-1.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The name server that is asked: one of the node's own network that passes signatures on.
    pub server: SocketAddr,
    /// A file with `DNSKEY` lines of the root zone that is believed; that of the Internet if not given.
    pub trust_anchor: Option<PathBuf>,
}

/// Entries and checkpoints of the registry, passed on from node to node at a port of their own. GSP-1.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gossip {
    /// The UDP address to listen on.
    pub listen: SocketAddr,
    /// The port under which peers reach it, at the hosts of `addresses`; that of `listen` if not given.
    pub port: Option<u16>,
}

/// Where `/livez`, `/readyz` and `/metrics` are served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The TCP address to listen on.
    pub listen: SocketAddr,
    /// Whether it may be another than a loopback address: whoever reaches it reads the pages.
    #[serde(default)]
    pub allow_remote: bool,
}

/// Mailboxes: this node as one, and those that it uses.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mailbox {
    /// Whether this node keeps parcels for nodes that are away.
    pub serve: bool,
    /// Bytes of parcels that it keeps; a fourth of them of one depositor, an eighth under one tag.
    pub quota: u64,
    /// Parcels that it keeps, with the same shares.
    pub parcels: u64,
    /// Seconds that a parcel is kept: at most here, and as this node asks elsewhere.
    pub ttl: u64,
    /// The nodes at which this one leaves and collects parcels.
    #[serde(rename = "use")]
    pub mailboxes: Vec<SubjectId>,
    /// Seconds that a member is away before something is left for it.
    pub after: u64,
    /// Seconds between two looks at what is to be left and collected.
    pub every: u64,
    /// The largest document that is left, in bytes.
    pub document_bytes: u64,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            serve: false,
            quota: 1 << 30,
            parcels: 100_000,
            ttl: mailbox::KEEP.ms() / 1000,
            mailboxes: Vec::new(),
            after: 300,
            every: 60,
            document_bytes: 64 << 20,
        }
    }
}

/// Bounds with their defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests on the control socket at once.
    pub control_connections: usize,
    /// Document transfers from peers at once.
    pub transfers: usize,
    /// Bytes of documents that one peer is sent within a day.
    pub daily_bytes_per_peer: u64,
    /// Submissions and frames that wait for the desk.
    pub queue: usize,
    /// The largest document accepted, in bytes.
    pub document_bytes: u64,
    /// Seconds that a stopping node gives its work.
    pub drain_seconds: u64,
    /// Below this percentage free, the disk counts as nearly full: alarm and note.
    pub disk_low_percent: u8,
    /// New entries of one dossier that one peer may bring in a day; as many may come at once. The following likewise.
    pub dossier_entries_per_day: u64,
    /// Their bytes.
    pub dossier_bytes_per_day: u64,
    /// New entries of all dossiers that one peer may bring in a day.
    pub peer_entries_per_day: u64,
    /// Their bytes.
    pub peer_bytes_per_day: u64,
    /// Dossiers new to this node that one peer may bring in a day.
    pub peer_dossiers_per_day: u64,
    /// Dossiers that one person may found at this node in a day.
    pub person_dossiers_per_day: u64,
}

impl Limits {
    /// What peers may bring and persons may found. SPEC SYN-18.
    pub const fn quotas(&self) -> Quotas {
        Quotas {
            dossier_entries: Allowance::a_day(self.dossier_entries_per_day),
            dossier_bytes: Allowance::a_day(self.dossier_bytes_per_day),
            peer_entries: Allowance::a_day(self.peer_entries_per_day),
            peer_bytes: Allowance::a_day(self.peer_bytes_per_day),
            peer_dossiers: Allowance::a_day(self.peer_dossiers_per_day),
            person_dossiers: Allowance::a_day(self.person_dossiers_per_day),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let quotas = Quotas::default();
        Self {
            control_connections: 64,
            transfers: 4,
            daily_bytes_per_peer: 1 << 42,
            queue: 1024,
            document_bytes: 1 << 40,
            drain_seconds: 10,
            disk_low_percent: 5,
            dossier_entries_per_day: quotas.dossier_entries.per_day,
            dossier_bytes_per_day: quotas.dossier_bytes.per_day,
            peer_entries_per_day: quotas.peer_entries.per_day,
            peer_bytes_per_day: quotas.peer_bytes.per_day,
            peer_dossiers_per_day: quotas.peer_dossiers.per_day,
            person_dossiers_per_day: quotas.person_dossiers.per_day,
        }
    }
}

impl Config {
    /// The port under which peers reach where this node gossips, if it does.
    pub fn gossip_port(&self) -> Option<u16> {
        let gossip = self.gossip.as_ref()?;
        let port = gossip.port.unwrap_or_else(|| gossip.listen.port());
        (port != 0).then_some(port)
    }

    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fail = |what: String| ConfigError::File {
            path: path.to_owned(),
            what,
        };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let mut config: Self = Figment::from(Toml::string(&text)).extract().map_err(|error| {
            let messages: BTreeMap<_, _> = error
                .into_iter()
                .map(|one| (one.path.join("."), one.kind.to_string()))
                .collect();
            fail(
                messages
                    .into_iter()
                    .map(|(key, what)| format!("{key}: {what}"))
                    .collect::<Vec<_>>()
                    .join("; "),
            )
        })?;
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        config.data = base.join(&config.data);
        config.anchors = base.join(&config.anchors);
        config.passphrase_file = config.passphrase_file.map(|file| base.join(file));
        if let Some(dns) = &mut config.dns {
            dns.trust_anchor = dns.trust_anchor.take().map(|file| base.join(file));
        }
        if config.gossip.is_some() && config.gossip_port().is_none() {
            return Err(fail(
                "gossip.port: say under which port peers reach it, from 1".into(),
            ));
        }
        let bounds = &config.limits;
        if bounds.control_connections == 0 || bounds.transfers == 0 || bounds.queue == 0 {
            return Err(fail("limits: every bound must be at least 1".into()));
        }
        let daily = [
            ("dossier_entries_per_day", bounds.dossier_entries_per_day),
            ("dossier_bytes_per_day", bounds.dossier_bytes_per_day),
            ("peer_entries_per_day", bounds.peer_entries_per_day),
            ("peer_bytes_per_day", bounds.peer_bytes_per_day),
            ("peer_dossiers_per_day", bounds.peer_dossiers_per_day),
            ("person_dossiers_per_day", bounds.person_dossiers_per_day),
        ];
        if let Some((key, _)) = daily.iter().find(|(_, amount)| *amount == 0) {
            return Err(fail(format!("limits.{key}: it must be at least 1")));
        }
        let longest = mailbox::KEEP.ms() / 1000;
        if !(1..=longest).contains(&config.mailbox.ttl) {
            return Err(fail(format!("mailbox.ttl: it must be 1 to {longest} seconds")));
        }
        if config.mailbox.every == 0 || config.mailbox.parcels < 8 {
            return Err(fail(
                "mailbox: every must be at least 1, parcels at least 8".into(),
            ));
        }
        if bounds.disk_low_percent > 99 {
            return Err(fail("limits.disk_low_percent: it must be at most 99".into()));
        }
        if let Some(operator) = &config.operator
            && !operator.listen.ip().is_loopback()
            && !operator.allow_remote
        {
            let address = operator.listen;
            return Err(fail(format!(
                "operator.listen: {address} is no loopback address, and whoever reaches it reads how the node is; if \
                 that is meant, write allow_remote = true beside it"
            )));
        }
        Ok(config)
    }

    /// The passphrase of the storage key: the configured file, else the systemd credential.
    pub fn passphrase(&self, path: &Path) -> Result<SecretString, ConfigError> {
        let credential = || {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
            Some(Path::new(&directory).join(CREDENTIAL))
        };
        match self.passphrase_file.clone().or_else(credential) {
            Some(file) => read_passphrase(&file),
            None => Err(ConfigError::NoPassphrase {
                path: path.to_owned(),
            }),
        }
    }
}

/// The first line of a passphrase file.
pub fn read_passphrase(file: &Path) -> Result<SecretString, ConfigError> {
    use std::io::Read;
    let fail = |what: String| ConfigError::Passphrase {
        path: file.to_owned(),
        what,
    };
    let mut text = zeroize::Zeroizing::new(String::new());
    let opened = std::fs::File::open(file).map_err(|error| fail(error.to_string()))?;
    opened
        .take(PASSPHRASE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| fail(error.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line.to_owned())),
        _ => Err(fail("it is empty; its first line is the passphrase".into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path).map_err(|error| error.to_string())
    }

    const GOOD: &str = "data = \"data\"\nlisten = \"127.0.0.1:0\"\nanchors = \"anchors.json\"\n";

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let config = read(GOOD).unwrap();
        assert!(config.data.is_absolute() && config.data.ends_with("data"));
        assert!(!config.allow_private_addresses);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = read(&format!("{GOOD}lisen = 1\n")).unwrap_err();
        assert!(error.contains("lisen"), "{error}");
        let error = read(&format!("{GOOD}[limits]\nqueues = 1\n")).unwrap_err();
        assert!(error.contains("queues"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let error = read(&GOOD.replace("127.0.0.1:0", "here")).unwrap_err();
        assert!(error.contains("listen"), "{error}");
        let error = read(&format!("{GOOD}[limits]\nqueue = 0\n")).unwrap_err();
        assert!(error.contains("limits"), "{error}");
    }

    #[test]
    fn quotas_have_defaults_and_are_never_nothing() {
        assert_eq!(read(GOOD).unwrap().limits.quotas(), Quotas::default());
        let config = read(&format!("{GOOD}[limits]\npeer_entries_per_day = 7\n")).unwrap();
        assert_eq!(config.limits.quotas().peer_entries, Allowance::a_day(7));
        let error = read(&format!("{GOOD}[limits]\npeer_bytes_per_day = 0\n")).unwrap_err();
        assert!(error.contains("limits.peer_bytes_per_day"), "{error}");
    }

    #[test]
    fn pages_beyond_the_machine_need_a_second_word() {
        assert!(read(GOOD).unwrap().operator.is_none());
        let pages = |lines: &str| read(&format!("{GOOD}[operator]\n{lines}\n"));
        for local in ["127.0.0.1:9464", "[::1]:9464"] {
            assert!(pages(&format!("listen = \"{local}\"")).is_ok(), "{local}");
        }
        for remote in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"] {
            let error = pages(&format!("listen = \"{remote}\"")).unwrap_err();
            assert!(
                error.contains("operator.listen") && error.contains("allow_remote"),
                "{error}"
            );
            assert!(pages(&format!("listen = \"{remote}\"\nallow_remote = true")).is_ok());
        }
        for (bad, named) in [
            ("listen = \"x\"", "listen"),
            ("", "listen"),
            ("listn = 1", "listn"),
        ] {
            let error = pages(bad).unwrap_err();
            assert!(error.contains(named), "{bad}: {error}");
        }
        let error = read(&format!("{GOOD}[limits]\ndisk_low_percent = 100\n")).unwrap_err();
        assert!(error.contains("limits.disk_low_percent"), "{error}");
    }

    #[test]
    fn an_empty_passphrase_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passphrase");
        std::fs::write(&file, "\nsecond line").unwrap();
        assert!(
            read_passphrase(&file)
                .unwrap_err()
                .to_string()
                .contains("first line")
        );
    }

    #[test]
    fn every_sample_configuration_parses() {
        for name in ["court", "bar", "expert_company"] {
            let path = PathBuf::from(format!("../deploy/sample/{name}.toml"));
            Config::read(&path).unwrap();
        }
    }
}
