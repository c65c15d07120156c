//! Signatures that have been checked ahead of the leaf's turn.

use std::fmt;
use std::sync::Arc;

use basoche_protocol::crypto::sha256;
use basoche_protocol::envelope::{Envelope, Typ};
use basoche_protocol::error::Untrusted;
use basoche_protocol::jose::VerifyingKey;
use quick_cache::sync::Cache;

/// Signatures that are remembered: those of the leaves that one turn and the next may have.
const MARKS: usize = 65_536;

/// Digests of what has been found to hold: type, envelope and key. Clones share them.
#[derive(Clone)]
pub(crate) struct Marks(Arc<Cache<[u8; 32], ()>>);

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marks")
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self(Arc::new(Cache::new(MARKS)))
    }
}

impl Marks {
    /// Checks a signature and remembers it if it holds.
    pub(crate) fn check_ahead(&self, envelope: &Envelope, typ: Typ, key: &VerifyingKey) {
        if envelope.check(typ, key).is_ok() {
            self.0.insert(mark(envelope, typ, key), ());
        }
    }

    /// The same as [`Envelope::check`], once without checking where it was found to hold.
    pub(crate) fn check(&self, envelope: &Envelope, typ: Typ, key: &VerifyingKey) -> Result<(), Untrusted> {
        if !self.0.is_empty() && self.0.remove(&mark(envelope, typ, key)).is_some() {
            return Ok(());
        }
        envelope.check(typ, key)
    }
}

fn mark(envelope: &Envelope, typ: Typ, key: &VerifyingKey) -> [u8; 32] {
    let algorithm = key.algorithm().name();
    let parts = [
        typ.name().as_bytes(),
        algorithm.as_bytes(),
        key.spki(),
        &envelope.encode(),
    ];
    let lengths = parts.map(|part| (part.len() as u64).to_be_bytes());
    sha256(&[lengths.as_flattened(), parts[0], parts[1], parts[2], parts[3]])
}
