//! Evidence bundles: all that is needed to check one dossier offline, in one stored ZIP. SPEC §12.
//!
//! ```text
//! README.txt                                what this is, in French and English
//! registry/anchors.json                     the authorities that the exporting node believes
//! registry/<origin>/<index>.leaf            their logs, leaf by leaf
//! registry/certificates/<x5t#S256>.der      the certificates that the leaves enrol
//! journal/<index>.run                       [chain, [entry …], head]: every chain, in a causal order
//! heads/<node>.head                         each node's latest head: its receipt for all that it covers
//! messages/<message id>.jws                 every message, opened: a compact JWS
//! mailbox/<SHA-256>.kept                    [receipt, key, parcel]: what a mailbox took for a node that was away
//! erased/<message id>.json                  what stays of an erased message
//! documents/<root>/key, /<file name>        a document's key and its plaintext
//! quittances/<barrier>.json                  who signed that they hold what a barrier names
//! documents/<root>/ciphertext               of a personal document: no node has its key
//! documents/<root>/ciphertext               of a contested one, with its key if there is one
//! summary.json                              the timeline, for people and tools
//! SHA256SUMS                                the digest of every member above
//! manifest.jws                              the exporting node's signature over SHA256SUMS
//! ```
//! In this order, so that the beginning of a truncated file is still evidence. [`export`] writes it from a
//! [`Source`]; [`verify`] believes nothing in it: every claim is derived again, from authorities that the user
//! names. The manifest says who exported and finds accidents; what counts against a lying exporter is the rest.

mod contested;
mod export;
mod journal;
mod layout;
mod mailbox;
mod members;
mod readme;
mod registry;
mod report;
mod timeline;
mod verify;

pub use export::{ExportReport, export};
pub use layout::{
    ciphertext_name, document_name, head_name, key_name, leaf_name, message_name, quittance_name, run_name,
};
pub use mailbox::{Deposit, deposit_name};
pub use report::{Claim, Reach, Report, Verdict};
pub use verify::{Opener, verify, verify_as};

use std::io::{self, Read};

use basoche_protocol::document::DocumentKey;
use basoche_protocol::dossier::DocumentFact;
use basoche_protocol::envelope::Envelope;
use basoche_protocol::error::Error;
use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::jose::KeyError;
use basoche_protocol::journal::{ChainId, Entry};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::{Anchors, Inadmissible};

use crate::zip::ZipError;

/// A run of one chain's entries, closed by the head that covers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The chain.
    pub chain: ChainId,
    /// Canonical bytes of each entry.
    pub entries: Vec<Vec<u8>>,
    /// The head, as signed.
    pub head: Vec<u8>,
}

/// An iterator over what a [`Source`] holds.
pub type Items<'a, T> = Box<dyn Iterator<Item = io::Result<T>> + 'a>;

/// Where an export takes the evidence of one dossier from. Every method answers from one and the same moment of
/// the store, as often as it is called.
pub trait Source {
    /// The dossier.
    fn dossier(&self) -> DossierId;

    /// The authorities that this node believes.
    fn anchors(&self) -> Anchors;

    /// Every leaf of every log as `(origin, index, leaf)`, ascending.
    fn leaves(&self) -> Items<'_, (String, u64, RegistryLeaf)>;

    /// Every run of the dossier, in the order in which it was applied.
    fn runs(&self) -> Items<'_, Run>;

    /// The latest head of each node, as signed.
    fn heads(&self) -> Items<'_, Vec<u8>>;

    /// The message that `entry` records, opened; `None` where this node has no key to it.
    fn envelope(&self, entry: &Entry) -> io::Result<Option<Envelope>>;

    /// What mailboxes took of the journal's runs, with their receipts.
    fn deposits(&self) -> Items<'_, Deposit>;

    /// The key and the plaintext of a document, exactly `reference.bytes` long; `None` where they are not here.
    fn document(&self, document: &DocumentFact) -> io::Result<Option<(DocumentKey, Box<dyn Read>)>>;

    /// The ciphertext of a personal document, which the node cannot open; `None` where it is not here.
    fn ciphertext(&self, document: &DocumentFact) -> io::Result<Option<Box<dyn Read>>>;

    /// The ciphertext of a document that is not what its message commits to, and the key committed to, if it is here.
    fn contested(&self, document: &DocumentFact) -> io::Result<Option<Ciphertext>>;
}

/// A document as it is held.
pub struct Ciphertext {
    /// The key that its message commits to.
    pub key: Option<DocumentKey>,
    /// How many bytes follow.
    pub bytes: u64,
    /// The ciphertext.
    pub ciphertext: Box<dyn Read>,
}

/// Why a bundle was not written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] ZipError),
    /// The source cannot be read.
    #[error("reading what is to be exported: {0}")]
    Source(#[from] io::Error),
    /// The registry of this node does not hold together.
    #[error("entry {index} of registry {origin}: {error}")]
    Registry {
        /// The log.
        origin: String,
        /// The leaf.
        index: u64,
        /// What is wrong.
        error: Box<Inadmissible>,
    },
    /// The journal of this node does not hold together.
    #[error("{member}: {error}")]
    Journal {
        /// What it would have become in the bundle.
        member: String,
        /// What is wrong.
        error: Box<Error>,
    },
    /// A run does not follow those before it, or adds nothing to them.
    #[error("{member} does not follow the runs before it")]
    Order {
        /// What it would have become in the bundle.
        member: String,
    },
    /// A document's key is not the one that its message commits to.
    #[error("the key of document {root} is not the one committed to")]
    Key {
        /// The document.
        root: Digest,
    },
    /// The seal key failed.
    #[error("signing the manifest: {0}")]
    Signature(#[from] KeyError),
}
