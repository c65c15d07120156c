//! What the bytes of a leaf say by themselves, and what stands beside it: work that may be done before the leaf's turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use basoche_protocol::error::{Error, Malformed};
use basoche_protocol::id::{CertificateId, Digest};
use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::wire::frame::RegistryLeaf;

use crate::certificate::{Certificate, CertificateError};
use crate::entry::Entry;
use crate::held::Log;
use crate::known::Known;
use crate::leaf::{self, Leaf};

/// A leaf, read and not yet believed. Which signatures of it were found to hold, and under which keys, is marked in its
/// envelopes; what cannot be read is told when the leaf is judged, in the order of the rules.
#[derive(Clone, Debug)]
pub struct ReadLeaf {
    pub(crate) hash: Digest,
    pub(crate) leaf: Leaf,
    pub(crate) entry: Result<Entry, Error>,
    /// The certificate beside it, if there is one.
    pub(crate) certificate: Option<Result<Certificate, CertificateError>>,
    /// The key in that, for the algorithm that the entry states.
    pub(crate) key: Option<Arc<VerifyingKey>>,
}

impl ReadLeaf {
    /// Reads a leaf; an error if it is none.
    pub(crate) fn of(next: &RegistryLeaf) -> Result<Self, Malformed> {
        let leaf = Leaf::decode(&next.leaf)?;
        let entry = Entry::decode(leaf.envelope().payload());
        let certificate = (!next.certificate.is_empty()).then(|| Certificate::from_der(&next.certificate));
        let key = match (&entry, &certificate) {
            (Ok(entry), Some(Ok(certificate))) => entry.content.key().and_then(|record| {
                let key = VerifyingKey::from_spki(record.algorithm, certificate.spki());
                key.ok().map(Arc::new)
            }),
            _ => None,
        };
        Ok(Self {
            hash: leaf::hash(&next.leaf),
            leaf,
            entry,
            certificate,
            key,
        })
    }
}

/// Reads leaves that will come one after the other in `log`, and checks their signatures as far as the keys are known, or
/// stated by one of them. `None` of one that is no leaf.
pub(crate) fn read_ahead(known: &Known, log: &Log, leaves: &[RegistryLeaf]) -> Vec<Option<ReadLeaf>> {
    let mut stated = BTreeMap::new();
    let read = |next| {
        let mut read = ReadLeaf::of(next).ok()?;
        if let (Some(Ok(certificate)), Some(key)) = (&read.certificate, &read.key) {
            stated.insert(certificate.id(), Arc::clone(key));
        }
        let key = |certificate: &CertificateId| {
            let root = log.authority.root(certificate).map(|root| &root.key);
            let key = root.or_else(|| stated.get(certificate)).cloned();
            key.or_else(|| known.certificate(certificate)?.key().cloned())
        };
        read.leaf.check_ahead(key);
        Some(read)
    };
    leaves.iter().map(read).collect()
}
