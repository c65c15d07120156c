//! Counters and histograms that the node's parts move while they work. The owner of `prometheus-client`.
//!
//! A label is a pair of strings from the program's own text: what comes from outside cannot become one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use basoche_protocol::refusal::Code;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{Alarm, Condition, Sample};

/// The prefix of every name.
const PREFIX: &str = "basoche";

/// Counters by one label.
type Counts<const LABELS: usize = 1> = Family<[(&'static str, &'static str); LABELS], Counter>;

/// What became of a user's submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is deposited.
    Accepted,
    /// It was refused.
    Refused,
    /// The queue had no room in time.
    Busy,
    /// Something else kept it out: its key is taken, a key could not be wrapped, the store could not be read.
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Accepted, Self::Refused, Self::Busy, Self::Failed];

    const fn label(self) -> [(&'static str, &'static str); 1] {
        let name = match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Failed => "failed",
        };
        [("outcome", name)]
    }
}

/// In whose conversation something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// A user's: we refused a submission.
    User,
    /// A peer's: one of the two refused a frame of the other.
    Peer,
}

impl With {
    const ALL: [Self; 2] = [Self::User, Self::Peer];

    const fn label(self, code: Code) -> [(&'static str, &'static str); 2] {
        let name = match self {
            Self::User => "user",
            Self::Peer => "peer",
        };
        [("with", name), ("code", code.name())]
    }
}

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a peer.
    In,
    /// To a peer.
    Out,
}

impl Direction {
    const fn label(self) -> [(&'static str, &'static str); 1] {
        let name = match self {
            Self::In => "in",
            Self::Out => "out",
        };
        [("direction", name)]
    }
}

/// What became of a parcel at a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Post {
    /// It was taken.
    Kept,
    /// There was no room for it.
    Refused,
    /// Its addressee has it.
    Collected,
    /// Nobody came for it in time.
    Expired,
}

impl Post {
    const ALL: [Self; 4] = [Self::Kept, Self::Refused, Self::Collected, Self::Expired];

    const fn label(self) -> [(&'static str, &'static str); 1] {
        let name = match self {
            Self::Kept => "kept",
            Self::Refused => "refused",
            Self::Collected => "collected",
            Self::Expired => "expired",
        };
        [("outcome", name)]
    }
}

/// The counters and histograms of one process.
pub struct Meters {
    registry: Registry,
    commits: Histogram,
    turns: Histogram,
    submissions: Counts,
    refusals: Counts<2>,
    alarms: Counts,
    frames: Counts,
    frame_bytes: Counts,
    fetched: Counter,
    fetched_bytes: Counter,
    fetches_failed: Counter,
    control_connections: Gauge,
    parcels: Counts,
    parcels_kept: Gauge,
    parcel_bytes_kept: Gauge,
}

impl Default for Meters {
    fn default() -> Self {
        // 0.1 ms to 3.3 s: a sync takes 0.2 ms on an idle disk and 4 ms on a busy one.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        let mut meters = Self {
            registry: Registry::with_prefix(PREFIX),
            commits: seconds(),
            turns: seconds(),
            submissions: Counts::default(),
            refusals: Counts::default(),
            alarms: Counts::default(),
            frames: Counts::default(),
            frame_bytes: Counts::default(),
            fetched: Counter::default(),
            fetched_bytes: Counter::default(),
            fetches_failed: Counter::default(),
            control_connections: Gauge::default(),
            parcels: Counts::default(),
            parcels_kept: Gauge::default(),
            parcel_bytes_kept: Gauge::default(),
        };
        meters.register();
        meters.begin();
        meters
    }
}

impl Meters {
    fn register(&mut self) {
        let faults = if crate::faults::PRESENT { "true" } else { "false" };
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("faults", faults)]);
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
        let all = &mut self.registry;
        all.register("build", "The program", build);
        all.register_with_unit(
            "start_time",
            "When this process started, since 1970",
            Unit::Seconds,
            ConstGauge::new(started),
        );
        all.register_with_unit(
            "commit_duration",
            "Time of one commit of the store, synced",
            Unit::Seconds,
            self.commits.clone(),
        );
        all.register_with_unit(
            "turn_duration",
            "Time of one turn of the desk that had work to do",
            Unit::Seconds,
            self.turns.clone(),
        );
        all.register(
            "submissions",
            "Messages lodged by users of this node, by what became of them",
            self.submissions.clone(),
        );
        all.register(
            "refusals",
            "Refusals by code of SPEC 11: of users' submissions, and of frames in either direction",
            self.refusals.clone(),
        );
        all.register("alarms", "Alarms raised, by kind", self.alarms.clone());
        all.register("frames", "Frames on control connections", self.frames.clone());
        all.register_with_unit(
            "frame",
            "Bytes of frames on control connections",
            Unit::Bytes,
            self.frame_bytes.clone(),
        );
        all.register(
            "documents_fetched",
            "Documents that came whole from other nodes",
            self.fetched.clone(),
        );
        all.register_with_unit(
            "documents_fetched",
            "Bytes of documents that came from other nodes",
            Unit::Bytes,
            self.fetched_bytes.clone(),
        );
        all.register(
            "document_fetches_failed",
            "Attempts at a document that brought it not whole; each is repeated",
            self.fetches_failed.clone(),
        );
        all.register(
            "control_connections",
            "Commands being served",
            self.control_connections.clone(),
        );
        all.register(
            "mailbox_parcels",
            "Parcels left at this mailbox, by what became of them",
            self.parcels.clone(),
        );
        all.register(
            "mailbox_parcels_kept",
            "Parcels kept now",
            self.parcels_kept.clone(),
        );
        all.register_with_unit(
            "mailbox_parcels_kept",
            "Bytes of parcels kept now",
            Unit::Bytes,
            self.parcel_bytes_kept.clone(),
        );
    }

    /// Every series is there from the start, at zero, so that its first move is seen as one.
    fn begin(&self) {
        for outcome in Outcome::ALL {
            let _ = self.submissions.get_or_create(&outcome.label());
        }
        for code in Code::ALL {
            for with in With::ALL {
                let _ = self.refusals.get_or_create(&with.label(*code));
            }
        }
        for alarm in Alarm::ALL {
            let _ = self.alarms.get_or_create(&[("kind", alarm.kind())]);
        }
        for post in Post::ALL {
            let _ = self.parcels.get_or_create(&post.label());
        }
        for direction in [Direction::In, Direction::Out] {
            let _ = self.frames.get_or_create(&direction.label());
            let _ = self.frame_bytes.get_or_create(&direction.label());
        }
    }

    /// The store has committed.
    pub fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// The desk has done a turn's work.
    pub fn turned(&self, took: Duration) {
        self.turns.observe(took.as_secs_f64());
    }

    /// A user's submission has been answered.
    pub fn submission(&self, outcome: Outcome) {
        self.submissions.get_or_create(&outcome.label()).inc();
    }

    /// Something was refused.
    pub fn refused(&self, with: With, code: Code) {
        self.refusals.get_or_create(&with.label(code)).inc();
    }

    /// What was refused so far, by the names of codes.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let count = |code: &Code| {
            With::ALL
                .iter()
                .map(|with| self.refusals.get_or_create(&with.label(*code)).get())
                .sum()
        };
        let counts = Code::ALL.iter().map(|code| (code.name().to_owned(), count(code)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn alarmed(&self, alarm: Alarm) {
        self.alarms.get_or_create(&[("kind", alarm.kind())]).inc();
    }

    /// How often an alarm was raised.
    #[must_use]
    pub fn alarms(&self, alarm: Alarm) -> u64 {
        self.alarms.get_or_create(&[("kind", alarm.kind())]).get()
    }

    /// A frame came, or was queued for a peer.
    pub fn frame(&self, direction: Direction, bytes: usize) {
        self.frames.get_or_create(&direction.label()).inc();
        self.frame_bytes
            .get_or_create(&direction.label())
            .inc_by(bytes as u64);
    }

    /// A document came whole, `bytes` of it in this attempt.
    pub fn fetched(&self, bytes: u64) {
        self.fetched.inc();
        self.fetched_bytes.inc_by(bytes);
    }

    /// An attempt at a document ended without it.
    pub fn fetch_failed(&self) {
        self.fetches_failed.inc();
    }

    /// Something became of a parcel.
    pub fn post(&self, what: Post) {
        self.parcels.get_or_create(&what.label()).inc();
    }

    /// So many parcels are kept now, of so many bytes.
    pub fn kept(&self, parcels: u64, bytes: u64) {
        self.parcels_kept.set(signed(parcels));
        self.parcel_bytes_kept.set(signed(bytes));
    }

    /// Counts a command as being served, until what is returned is dropped.
    pub fn control_connection(&self) -> impl Drop + use<> {
        let gauge = self.control_connections.clone();
        gauge.inc();
        OnDrop(gauge)
    }

    /// All of it and `sample`, as OpenMetrics text 1.0.
    ///
    /// # Errors
    /// None that writing into memory can have.
    pub fn render(&self, sample: &Sample) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &sampled(sample))?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

struct OnDrop(Gauge);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is looked up at the moment of a scrape. What is not known is left out rather than shown as it was.
fn sampled(sample: &Sample) -> Registry {
    let mut all = Registry::with_prefix(PREFIX);
    let holds = |one: Condition| i64::from(sample.conditions.contains(&one));
    let ready = !sample.conditions.iter().any(|one| one.is_reason());
    all.register(
        "ready",
        "1 while this node takes its users' acts",
        ConstGauge::new(i64::from(ready)),
    );
    let conditions = Family::<[(&'static str, &'static str); 1], Gauge>::default();
    for one in Condition::ALL {
        conditions.get_or_create(&[("code", one.code())]).set(holds(one));
    }
    all.register("condition", "1 while the condition holds, by code", conditions);
    gauge(
        &mut all,
        "desk_queue",
        "Inputs that wait for the desk",
        sample.queued,
    );
    gauge(
        &mut all,
        "desk_queue_limit",
        "Inputs that may wait for the desk",
        sample.queue_limit,
    );
    all.register_with_unit(
        "desk_silence",
        "Time since the desk last came round",
        Unit::Seconds,
        ConstGauge::new(sample.silence.as_secs_f64()),
    );
    gauge(
        &mut all,
        "connections",
        "QUIC connections",
        sample.transport.connections as u64,
    );
    for (name, help, count) in [
        (
            "handshakes_failed",
            "Handshakes of other nodes that did not become a connection",
            sample.transport.failed,
        ),
        (
            "handshakes_turned_away",
            "Handshakes ignored or refused because there were too many",
            sample.transport.refused,
        ),
        (
            "udp_receive_errors",
            "Errors of the UDP socket that were survived",
            sample.transport.receive_errors,
        ),
    ] {
        all.register(name, help, ConstCounter::new(count));
    }
    if let Some(space) = sample.space {
        bytes(
            &mut all,
            "disk_free",
            "Free on the disk of the data directory",
            space.free_bytes,
        );
        bytes(
            &mut all,
            "disk_size",
            "The disk of the data directory",
            space.size_bytes,
        );
    }
    if let Some(published) = &sample.published {
        all.register(
            "store_commits",
            "Commits of this store, earlier processes included",
            ConstCounter::new(published.commits),
        );
        for (name, help, value) in [
            (
                "peers_known",
                "Other nodes that the registry vouches for",
                published.standing.peers as u64,
            ),
            (
                "peers_connected",
                "Nodes with which a version is agreed now",
                published.standing.connected as u64,
            ),
            ("dossiers", "Dossiers held", published.dossiers),
            ("entries", "Journal entries held", published.entries),
            (
                "entries_pending",
                "Entries that wait for a key or a signer",
                published.pending,
            ),
            (
                "documents_held",
                "Documents on file that are held here, counted in each dossier",
                published.documents,
            ),
            (
                "documents_wanted",
                "Documents that are being fetched or wait for it",
                published.wanted,
            ),
        ] {
            gauge(&mut all, name, help, value);
        }
        bytes(
            &mut all,
            "documents_held",
            "Bytes of the documents on file that are held here",
            published.document_bytes,
        );
    }
    all
}

fn gauge(all: &mut Registry, name: &str, help: &str, value: u64) {
    all.register(name, help, ConstGauge::new(signed(value)));
}

fn bytes(all: &mut Registry, name: &str, help: &str, value: u64) {
    all.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(signed(value)));
}

/// A gauge may go below zero, so it counts one bit less.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lines(meters: &Meters) -> String {
        let mut text = String::new();
        encode_registry(&mut text, &meters.registry).unwrap();
        text
    }

    #[test]
    fn what_is_counted_is_shown_under_its_label_and_every_series_is_there_from_the_start() {
        let meters = Meters::default();
        for line in [
            "basoche_submissions_total{outcome=\"busy\"} 0\n",
            "basoche_refusals_total{with=\"peer\",code=\"bad-signature\"} 0\n",
            "basoche_alarms_total{kind=\"disk-low\"} 0\n",
            "basoche_frame_bytes_total{direction=\"out\"} 0\n",
            "basoche_commit_duration_seconds_count 0\n",
        ] {
            assert!(lines(&meters).contains(line), "{line}");
        }
        meters.submission(Outcome::Busy);
        meters.refused(With::Peer, Code::BadSignature);
        meters.frame(Direction::Out, 100);
        meters.frame(Direction::Out, 20);
        meters.committed(Duration::from_micros(150));
        meters.fetched(1000);
        let command = meters.control_connection();
        for line in [
            "basoche_submissions_total{outcome=\"busy\"} 1\n",
            "basoche_refusals_total{with=\"peer\",code=\"bad-signature\"} 1\n",
            "basoche_frames_total{direction=\"out\"} 2\n",
            "basoche_frame_bytes_total{direction=\"out\"} 120\n",
            "basoche_commit_duration_seconds_bucket{le=\"0.0001\"} 0\n",
            "basoche_commit_duration_seconds_bucket{le=\"0.0002\"} 1\n",
            "basoche_documents_fetched_total 1\n",
            "basoche_documents_fetched_bytes_total 1000\n",
            "basoche_control_connections 1\n",
        ] {
            assert!(lines(&meters).contains(line), "{line}{}", lines(&meters));
        }
        drop(command);
        assert!(lines(&meters).contains("basoche_control_connections 0\n"));
    }

    #[test]
    fn refusals_of_users_and_of_peers_are_one_count_of_the_status() {
        let meters = Meters::default();
        assert!(meters.refusals().is_empty());
        meters.refused(With::User, Code::WrongPhase);
        meters.refused(With::Peer, Code::WrongPhase);
        assert_eq!(meters.refusals(), BTreeMap::from([("wrong-phase".to_owned(), 2)]));
    }
}
