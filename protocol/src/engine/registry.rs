//! The port to the authorities' logs. SPEC §9.

use std::fmt;
use std::sync::Arc;

use crate::directory::Directory;
use crate::error::Error;
use crate::id::SubjectId;
use crate::journal::RegistryHead;
use crate::time::Instant;
use crate::wire::frame::RegistryLeaf;

/// A replica of every authority's log: the registry crate implements it. SPEC §9.
pub trait Registry: Directory {
    /// A leaf as far as it can be read and checked before its turn.
    type Read: fmt::Debug + Send;

    /// How far each log is held, ascending by origin.
    fn heads(&self) -> Vec<RegistryHead>;

    /// Leaves of a log from `from` on, as many as fit in `max_bytes`.
    fn leaves(&self, origin: &str, from: u64, max_bytes: usize) -> Vec<RegistryLeaf>;

    /// Checks and admits the leaf at `index`. Leaves come in order, but for those that are [lacking](Self::lacking). `read` is what
    /// [`Self::read`] gave of that leaf: whether it is there changes nothing but how long this takes.
    fn import(
        &mut self,
        origin: &str,
        index: u64,
        leaf: &RegistryLeaf,
        read: Option<Self::Read>,
    ) -> Result<Imported, Error>;

    /// A log that began with a snapshot, and the first of the leaves before it that are still to come. SNP-4.
    fn lacking(&self) -> Option<(String, u64)> {
        None
    }

    /// Where a log goes on under another key, ascending: whoever holds another history has to be told. REG-31.
    fn continuations(&self, _origin: &str) -> Vec<u64> {
        Vec::new()
    }

    /// DER SubjectPublicKeyInfo of the encryption key of `node`, as of `at`.
    fn encryption_key(&self, node: &SubjectId, at: Instant) -> Option<Vec<u8>>;

    /// Reads leaves that will be imported one after the other and checks their signatures, on any thread: what holds need not be
    /// checked again, what does not is judged in its turn. One for each leaf, `None` where there is nothing to say, or
    /// fewer. Decides nothing.
    fn read(&self, _origin: &str, _leaves: &[RegistryLeaf]) -> Vec<Option<Self::Read>> {
        Vec::new()
    }

    /// What is to be kept beside the leaves that were imported since this was last asked, in one commit with them. Nothing,
    /// where all is in memory.
    fn poll_rows(&mut self) -> Vec<RegistryRow> {
        Vec::new()
    }

    /// The leaves and rows of that commit are durable.
    fn settle(&mut self) {}
}

/// What a leaf was to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It was there.
    Known,
    /// It is the next one of its log.
    News,
    /// It stands before the snapshot with which the log began here: what it says was known.
    Filled,
    /// It is not of the history that is held, which gives way to it: the registry has to be made anew. REG-31.
    OtherHistory,
}

/// Something that a registry keeps beside its leaves. It means nothing to anybody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryRow {
    /// What kind of row it is.
    pub kind: u8,
    /// Whose it is.
    pub key: Vec<u8>,
    /// Its place among those of that kind and key.
    pub index: u64,
    /// What it says, in place of what it said before.
    pub value: Vec<u8>,
}

/// A registry that is shared: cloned in no time, and copied only if leaves come while somebody else has it.
impl<R: Registry + Clone> Registry for Arc<R> {
    type Read = R::Read;

    fn heads(&self) -> Vec<RegistryHead> {
        self.as_ref().heads()
    }

    fn leaves(&self, origin: &str, from: u64, max_bytes: usize) -> Vec<RegistryLeaf> {
        self.as_ref().leaves(origin, from, max_bytes)
    }

    fn import(
        &mut self,
        origin: &str,
        index: u64,
        leaf: &RegistryLeaf,
        read: Option<R::Read>,
    ) -> Result<Imported, Error> {
        Self::make_mut(self).import(origin, index, leaf, read)
    }

    fn lacking(&self) -> Option<(String, u64)> {
        self.as_ref().lacking()
    }

    fn continuations(&self, origin: &str) -> Vec<u64> {
        self.as_ref().continuations(origin)
    }

    fn encryption_key(&self, node: &SubjectId, at: Instant) -> Option<Vec<u8>> {
        self.as_ref().encryption_key(node, at)
    }

    fn read(&self, origin: &str, leaves: &[RegistryLeaf]) -> Vec<Option<R::Read>> {
        self.as_ref().read(origin, leaves)
    }

    fn poll_rows(&mut self) -> Vec<RegistryRow> {
        Self::make_mut(self).poll_rows()
    }

    fn settle(&mut self) {
        Self::make_mut(self).settle();
    }
}
