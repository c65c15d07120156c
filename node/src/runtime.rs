//! A node's life: set-up, start, stop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use basoche_protocol::engine::Engine;
use basoche_protocol::id::{DossierId, Incarnation};
use basoche_protocol::time::{Instant, Span};
use basoche_registry::{Anchors, Replica};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::backup::{self, BackupError, Copied, Original};
use crate::blob::{BlobError, BlobStore, FileBlobs};
use crate::config::{Config, ConfigError};
use crate::control;
use crate::desk::{Checkpoints, Desk, DeskHandle, Input, Outbox, Parts};
use crate::discovery::Discovery;
use crate::disk::Space;
use crate::documents::TakenIn;
use crate::effects::{now, random};
use crate::gossip;
use crate::keys::{KeysError, NodeKeys, NodeRequest};
use crate::mailbox::{Keep, Mailboxes};
use crate::network::{Network, Phonebook, Serving};
use crate::operator::{Alarm, ListenError, Listener, Monitor, Pages, watch_disk, watch_queue};
use crate::quic::{CloseCode, Endpoint, Options, TransportError};
use crate::rows::{Begun, NodeEngine, RegistryError, Rows, RowsError, SnapshotError};
use crate::store::{Store, StoreError};
use crate::vault::{self, SealedStore, VaultError};
use crate::witness_key::WitnessKey;

/// How often time passes at the desk.
const TICK: Duration = Duration::from_millis(250);
/// How long a start reads back dossiers that no summary stands for; the others come back once the node runs.
const READ_BEFORE_READY: Duration = Duration::from_secs(1);
/// Events of the transport that may wait for the desk.
const EVENTS: usize = 256;
/// A clock before this is wrong: 2026-01-01.
const EARLIEST: Instant = Instant::from_seconds(1_767_225_600);
/// How far the clock may lie behind what this node has already signed.
const CLOCK_BEHIND: Span = Span::from_seconds(300);

/// A node cannot be set up, or cannot go on.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory is not there.
    #[error("data directory {path} does not exist: run `basoche node init --config FILE` first, or mount it")]
    NoData {
        /// Which.
        path: PathBuf,
    },
    /// A directory or file cannot be made.
    #[error("{path}: {source}")]
    Files {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The anchors cannot be used.
    #[error("trust anchors {path}: {what}")]
    Anchors {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The storage key cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The node's keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store cannot be opened, or has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store cannot be read back.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The registry cannot begin with a snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The documents cannot be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// A copy cannot be put back.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The transport cannot be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The operator's pages cannot be served.
    #[error(transparent)]
    Operator(#[from] ListenError),
    /// The clock is wrong.
    #[error(
        "the clock says {now}, which is before {bound}: set it (timedatectl set-ntp true), then start again"
    )]
    Clock {
        /// What it says.
        now: Instant,
        /// What it cannot be before.
        bound: Instant,
    },
    /// The trust anchor of discovery cannot be used.
    #[error("dns.trust_anchor: {0}")]
    Dns(String),
    /// The node cannot gossip.
    #[error("gossip: {0}")]
    Gossip(String),
    /// A thread or the runtime failed.
    #[error("internal: {0}")]
    Internal(String),
}

/// Makes a node: data directory, storage key, keys, empty store. Gives what an authority needs to enrol it.
pub fn init(path: &Path, origin: &str) -> Result<NodeRequest, NodeError> {
    keep_private();
    let config = Config::read(path)?;
    let passphrase = config.passphrase(path)?;
    let files = |path: PathBuf| move |source| NodeError::Files { path, source };
    std::fs::create_dir_all(&config.data).map_err(files(config.data.clone()))?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&config.data, std::fs::Permissions::from_mode(0o700))
        .map_err(files(config.data.clone()))?;
    let storage = vault::create(&config.data, &passphrase)?;
    create_store(&config.data.join("store"))?;
    FileBlobs::open(&config.data.join("blobs"))?;
    let keys = NodeKeys::create(&config.data, &storage)?;
    Ok(keys.request(origin, &config)?)
}

/// What the authority of that log needs to enrol the node, once more. Only the vault and the keys are read.
pub fn request(path: &Path, origin: &str) -> Result<NodeRequest, NodeError> {
    let (config, keys) = keys(path)?;
    Ok(keys.request(origin, &config)?)
}

/// The node's configuration and its keys, whether it runs or not.
pub(crate) fn keys(path: &Path) -> Result<(Config, NodeKeys), NodeError> {
    let config = Config::read(path)?;
    if !config.data.is_dir() {
        return Err(NodeError::NoData { path: config.data });
    }
    let storage = vault::open(&config.data, &config.passphrase(path)?)?;
    let keys = NodeKeys::open(&config.data, &storage)?;
    Ok((config, keys))
}

/// Makes the key with which the node cosigns checkpoints from its next start on; gives the public half, for the policy.
pub fn make_witness(path: &Path, name: &str) -> Result<basoche_registry::log::Key, NodeError> {
    let config = Config::read(path)?;
    if !config.data.is_dir() {
        return Err(NodeError::NoData { path: config.data });
    }
    let storage = vault::open(&config.data, &config.passphrase(path)?)?;
    Ok(WitnessKey::create(&config.data, &storage, name)?.key)
}

/// Puts a copy back where the configuration has the data directory, which must not hold anything.
pub fn restore(path: &Path, from: &Path) -> Result<Copied, NodeError> {
    keep_private();
    let config = Config::read(path)?;
    Ok(backup::put_back(
        from,
        &config.data,
        &config.passphrase(path)?,
        open_store,
    )?)
}

/// Has the registry of a node that holds no entry, and does not run, begin with a snapshot. Gives how far each log goes.
pub fn begin_registry(path: &Path, from: &mut dyn std::io::Read) -> Result<Vec<Begun>, NodeError> {
    keep_private();
    let config = Config::read(path)?;
    if !config.data.is_dir() {
        return Err(NodeError::NoData { path: config.data });
    }
    let storage = vault::open(&config.data, &config.passphrase(path)?)?;
    let store = open_store(&config.data.join("store"))?;
    let rows = Rows::new(SealedStore::new(store, storage));
    Ok(rows.begin_registry(&anchors(&config)?, from)?)
}

/// Nothing that the node writes is for other users of the machine.
pub(crate) fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

#[cfg(feature = "rocksdb")]
pub(crate) fn create_store(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(crate::store::RocksStore::create(path)?))
}

#[cfg(feature = "rocksdb")]
fn open_store(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(crate::store::RocksStore::open(path)?))
}

/// Locks a damaged store for as long as the file lives; with it what can still be read of the store, if anything.
#[cfg(feature = "rocksdb")]
pub(crate) fn salvage_store(path: &Path) -> Result<(File, Option<Arc<dyn Store>>), StoreError> {
    let (lock, store) = crate::store::RocksStore::salvage(path)?;
    Ok((lock, store.map(|store| Arc::new(store) as _)))
}

#[cfg(not(feature = "rocksdb"))]
pub(crate) fn create_store(_path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Err(no_store())
}

#[cfg(not(feature = "rocksdb"))]
fn open_store(_path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Err(no_store())
}

#[cfg(not(feature = "rocksdb"))]
pub(crate) fn salvage_store(_path: &Path) -> Result<(File, Option<Arc<dyn Store>>), StoreError> {
    Err(no_store())
}

#[cfg(not(feature = "rocksdb"))]
fn no_store() -> StoreError {
    StoreError::Io {
        what: "this build has no durable store (feature rocksdb)".into(),
    }
}

/// Everything of a node that its files hold, opened.
pub(crate) struct Opened {
    pub(crate) config: Config,
    keys: NodeKeys,
    original: Original,
    pub(crate) rows: Rows,
    pub(crate) blobs: FileBlobs,
    pub(crate) engine: NodeEngine,
    /// The key with which this node cosigns checkpoints, if it is a witness.
    witness: Option<WitnessKey>,
    commits: u64,
    /// The dossier that has been read back in part, and the next of its runs.
    reading: Option<(DossierId, u64)>,
}

/// Opens and reads back what a node holds: every row, signature and chain is verified.
pub(crate) fn open(path: &Path) -> Result<Opened, NodeError> {
    let mut opened = open_store_of(path, Rows::registry_verified)?;
    opened.rows.restore(&mut opened.engine)?;
    let signed = opened.engine.last_signed().map(|(at, _)| at);
    check_clock(signed)?;
    Ok(opened)
}

/// Opens what a node holds, to run: of a dossier at rest its summary, the others as far as they come back in time.
fn open_to_run(path: &Path) -> Result<Opened, NodeError> {
    let mut opened = open_store_of(path, Rows::registry)?;
    let (rows, engine) = (&opened.rows, &mut opened.engine);
    check_clock(rows.restore_summaries(engine)?)?;
    let until = std::time::Instant::now() + READ_BEFORE_READY;
    while opened.reading.is_none()
        && std::time::Instant::now() < until
        && let Some(dossier) = engine.poll_wake()
    {
        match rows.restore_dossier(engine, dossier, 0, until)? {
            Some(next) => opened.reading = Some((dossier, next)),
            None => engine.handle_awake(dossier, now()),
        }
    }
    Ok(opened)
}

fn open_store_of(
    path: &Path,
    registry: fn(&Rows, Anchors) -> Result<Replica, RegistryError>,
) -> Result<Opened, NodeError> {
    let config = Config::read(path)?;
    if !config.data.is_dir() {
        return Err(NodeError::NoData { path: config.data });
    }
    check_clock(None)?;
    let storage = vault::open(&config.data, &config.passphrase(path)?)?;
    let keys = NodeKeys::open(&config.data, &storage)?;
    let witness = WitnessKey::open(&config.data, &storage)?;
    let store = open_store(&config.data.join("store"))?;
    let original = Original::new(config.data.clone(), &keys, storage.clone(), Arc::clone(&store))?;
    let rows = Rows::new(SealedStore::new(store, storage));
    let blobs = FileBlobs::open(&config.data.join("blobs"))?;
    let fresh = Incarnation::new(random());
    let registry = registry(&rows, anchors(&config)?).map_err(|error| match error {
        RegistryError::Rows(error) => error.into(),
        error => unfit(&config, error),
    })?;
    let mut engine = Engine::new(keys.node(), fresh, crate::VERSION, Arc::new(registry));
    engine.set_quotas(config.limits.quotas());
    let commits = rows.counter()?;
    Ok(Opened {
        config,
        keys,
        original,
        rows,
        blobs,
        engine,
        witness,
        commits,
        reading: None,
    })
}

/// Refuses a clock that is impossible, or behind what this node has signed.
fn check_clock(signed: Option<Instant>) -> Result<(), NodeError> {
    let at = now();
    let bound = signed.map_or(EARLIEST, |latest| EARLIEST.max(latest - CLOCK_BEHIND));
    match at < bound {
        true => Err(NodeError::Clock { now: at, bound }),
        false => Ok(()),
    }
}

/// A registry under the node's anchors, without any entry.
pub(crate) fn empty_registry(config: &Config) -> Result<Replica, NodeError> {
    Ok(Replica::new(anchors(config)?))
}

fn anchors(config: &Config) -> Result<Anchors, NodeError> {
    let anchors = std::fs::read(&config.anchors).map_err(|error| unfit(config, error))?;
    Anchors::parse(&anchors).map_err(|error| unfit(config, error))
}

fn unfit(config: &Config, what: impl ToString) -> NodeError {
    NodeError::Anchors {
        path: config.anchors.clone(),
        what: what.to_string(),
    }
}

/// Runs a node until SIGTERM or SIGINT, or until its store fails. `ready` is called once it accepts work.
pub fn run(path: &Path, ready: impl FnOnce(&str)) -> Result<(), NodeError> {
    keep_private();
    let opened = open_to_run(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| NodeError::Internal(error.to_string()))?;
    runtime.block_on(live(opened, ready))
}

async fn live(opened: Opened, ready: impl FnOnce(&str)) -> Result<(), NodeError> {
    let Opened {
        config,
        keys,
        original,
        rows,
        blobs,
        engine,
        witness,
        commits,
        reading,
    } = opened;
    let blobs: Arc<dyn BlobStore> = Arc::new(blobs);
    let hint = config.data.join("high-water");
    let monitor = Arc::new(Monitor::new(config.limits.disk_low_percent));
    monitor.vitals.disk(Space::of(&config.data).ok());
    let rolled_back = warn_if_rolled_back(&hint, commits, &monitor);
    let listener = match &config.operator {
        Some(operator) => Some(Listener::bind(operator).await?),
        None => None,
    };
    let (desk, inputs) = DeskHandle::new(config.limits.queue, Arc::clone(&monitor));
    let (events, incoming) = mpsc::channel(EVENTS);
    let phonebook = Arc::new(Phonebook::default());
    let options = Options {
        listen: config.listen,
        ..Options::default()
    };
    let directory = Arc::clone(&phonebook);
    let endpoint = Endpoint::bind(options, &keys.identity(), &keys.secrets(), directory, events)?;
    let listening = endpoint
        .local_addr()
        .map_or_else(|| config.listen.to_string(), |address| address.to_string());
    let keep = match config.mailbox.serve {
        true => {
            let (dir, settings) = (config.data.join("mailbox"), config.mailbox.clone());
            Some(Keep::open(rows.clone(), dir, settings, Arc::clone(&monitor))?)
        }
        false => None,
    };
    let mailboxes = Mailboxes::new(config.mailbox.clone(), keep, keys.seal()?);
    let (outbox, stored) = (Outbox::read(&rows)?, rows.clone());
    let discovery = config.dns.as_ref().map(|dns| {
        let monitor = Arc::clone(&monitor);
        Discovery::new(dns.server, dns.trust_anchor.as_deref(), monitor)
    });
    let discovery = discovery.transpose().map_err(NodeError::Dns)?;
    let gossip = config.gossip.as_ref().map(|settings| {
        let desk = desk.clone();
        gossip::start(
            settings,
            &keys.gossip_seed(),
            config.allow_private_addresses,
            desk,
        )
    });
    let gossip = gossip.transpose().map_err(NodeError::Gossip)?;
    let (network, outside, work) = Network::new(
        endpoint,
        phonebook,
        desk.clone(),
        Arc::clone(&blobs),
        keys.node(),
        config.allow_private_addresses,
        discovery,
        gossip,
        Serving::new(config.limits.transfers, config.limits.daily_bytes_per_peer),
        mailboxes,
    );
    let (seal, decryption) = (keys.seal()?, keys.encryption_key()?);
    let (node, shared) = (keys.node(), Arc::clone(&blobs));
    // A store that is older than it was has forgotten what was cosigned. LOG-13.
    let witness = witness.filter(|_| !rolled_back);
    let checkpoints = Checkpoints::open(engine.registry(), &rows, witness)?;
    let parts = Parts {
        engine,
        rows,
        blobs: shared,
        keys,
        seal,
        decryption,
        outside: Box::new(outside),
        monitor: Arc::clone(&monitor),
        hint,
        commits,
        outbox,
        reading,
        checkpoints,
    };
    let (ended, mut end) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("desk".into()).spawn(move || {
        let _ = ended.send(Desk::new(parts).run(inputs));
    });
    thread.map_err(|error| NodeError::Internal(error.to_string()))?;
    tokio::spawn(network.clone().carry(incoming));
    tokio::spawn(network.clone().dial());
    tokio::spawn(network.clone().fetch_all(work.wants));
    let taken = Arc::new(TakenIn::default());
    tokio::spawn(network.clone().examine_all(work.examinations, Arc::clone(&taken)));
    tokio::spawn(network.clone().sweep_mailbox());
    if !config.mailbox.mailboxes.is_empty() {
        tokio::spawn(network.clone().leave_parcels(stored));
        tokio::spawn(network.clone().collect_parcels());
    }
    tokio::spawn(tick(desk.clone()));
    tokio::spawn(watch_queue(desk.clone()));
    tokio::spawn(watch_disk(config.data.clone(), Arc::clone(&monitor)));
    if let Some(listener) = listener {
        let (desk, network) = (desk.clone(), network.clone());
        let transport = Arc::new(move || network.endpoint().stats());
        tokio::spawn(listener.serve(Pages { desk, transport }));
    }
    let limits = config.limits.clone();
    let (data, served) = (config.data.clone(), desk.clone());
    let failed = |source| NodeError::Files {
        path: config.data.join(control::SOCKET),
        source,
    };
    let socket = control::bind(&config.data).map_err(failed)?;
    let mut server =
        tokio::spawn(
            async move { control::serve(socket, &data, served, blobs, taken, original, &limits).await },
        );
    let fail = |error: std::io::Error| NodeError::Internal(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    tracing::info!(%node, %listening, version = crate::VERSION, "node runs");
    ready(&listening);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        ended = &mut end => return desk_ended(ended),
        served = &mut server => {
            let why = served.map_or_else(|error| error.to_string(), |done| done.err().map_or_else(String::new, |error| error.to_string()));
            return Err(failed(std::io::Error::other(why)));
        }
    }
    server.abort();
    monitor.vitals.stop();
    let drained = async {
        let _ = desk.send(Input::Stop).await;
        let ended = (&mut end).await;
        network.endpoint().close(CloseCode::Restarting).await;
        ended
    };
    let drained = tokio::time::timeout(Duration::from_secs(config.limits.drain_seconds), drained).await;
    let _ = std::fs::remove_file(config.data.join(control::SOCKET));
    match drained {
        Ok(ended) => desk_ended(ended),
        Err(_) => {
            tracing::warn!("not everything was sent in time; peers fetch it after the next start");
            Ok(())
        }
    }
}

fn desk_ended(
    ended: Result<Result<(), StoreError>, tokio::sync::oneshot::error::RecvError>,
) -> Result<(), NodeError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::error!(%error, "the store failed: stopping before anything more is acknowledged");
            Err(error.into())
        }
        Err(_) => Err(NodeError::Internal("the desk stopped unexpectedly".into())),
    }
}

async fn tick(desk: DeskHandle) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if desk.send(Input::Tick).await.is_err() {
            return;
        }
    }
}

/// How many commits there were, as the hint says.
pub(crate) fn noted_commits(hint: &Path) -> Option<u64> {
    std::fs::read_to_string(hint).ok()?.trim().parse().ok()
}

/// The hint lies outside the store: if it is ahead, the store was restored from a backup or rolled back. JRN-6.
fn warn_if_rolled_back(hint: &Path, commits: u64, monitor: &Monitor) -> bool {
    let rolled_back = noted_commits(hint).is_some_and(|noted| noted > commits);
    if rolled_back {
        let about = "was a backup restored? Its journal goes on under a new incarnation";
        Alarm::StoreOlder.raise(&monitor.meters, about);
    }
    rolled_back
}
