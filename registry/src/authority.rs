//! The authority's side: builds the next entry of its own log. SPEC §9.5.
//!
//! The signature is made by the caller, between [`AuthorityLog::draft`] and [`AuthorityLog::commit`].

use basoche_protocol::engine::Registry;
use basoche_protocol::envelope::{Envelope, Typ, Unsigned};
use basoche_protocol::id::{Salt, SubjectId};
use basoche_protocol::jose::Signer;
use basoche_protocol::journal::RegistryHead;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::frame::RegistryLeaf;
use serde_bytes::ByteBuf;

use crate::anchor::{Anchors, Authority};
use crate::entry::{Content, Entry, StateRoot};
use crate::inadmissible::Inadmissible;
use crate::leaf::Leaf;
use crate::replica::Replica;

/// The log of one authority, as it holds it itself: a replica that holds no other.
#[derive(Debug)]
pub struct AuthorityLog {
    origin: String,
    replica: Replica,
}

impl AuthorityLog {
    /// The empty log of `authority`; [`Self::replay`] its leaves in order.
    pub fn new(authority: Authority) -> Self {
        let origin = authority.origin().to_owned();
        let replica = Replica::new(Anchors::only(authority));
        Self { origin, replica }
    }

    /// The same, of an authority among others, whose roots may agree to a policy. REG-27. `None` if the anchors name no such log.
    pub fn among(anchors: Anchors, origin: &str) -> Option<Self> {
        anchors.authority(origin)?;
        let origin = origin.to_owned();
        let replica = Replica::new(anchors);
        Some(Self { origin, replica })
    }

    /// Takes in the next leaf of what it wrote before.
    pub fn replay(&mut self, leaf: &RegistryLeaf) -> Result<(), Inadmissible> {
        self.replica.admit(&self.origin, self.size(), leaf).map(|_| ())
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Leaves so far: the index of the next one.
    pub fn size(&self) -> u64 {
        self.head().size
    }

    /// How far the log goes.
    pub fn head(&self) -> RegistryHead {
        let mut heads = self.replica.heads().into_iter();
        // Unwrap safety: the replica has the log that it was made for.
        #[allow(clippy::expect_used)]
        heads.find(|head| head.origin == self.origin).expect("its log")
    }

    /// What the log has come to, for the entry that says so. REG-28.
    pub fn state_root(&self) -> StateRoot {
        let root = self.replica.state_root(&self.origin);
        #[allow(clippy::expect_used)]
        // Unwrap safety: the replica has the log that it was made for.
        let root = root.expect("its log");
        StateRoot { root }
    }

    /// The log as a replica holds it, for look-ups.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The next entry, to be signed by a root or an officer, who is `signer`. Its place and `prev` are filled in; whether it
    /// is admissible shows in [`Self::commit`]. `salt` must be fresh random bytes.
    pub fn draft(
        &self,
        signer: &dyn Signer,
        subject: Option<SubjectId>,
        content: impl Into<Content>,
        issued_at: Instant,
        effective_at: Instant,
        salt: Salt,
    ) -> Unsigned {
        let entry = Entry {
            origin: self.origin.clone(),
            index: self.size(),
            subject,
            prev: subject.and_then(|subject| self.replica.last_entry(&subject)),
            issued_at,
            effective_at,
            salt,
            content: content.into(),
        };
        Unsigned::new(Typ::Registry, signer, issued_at, entry.encode())
    }

    /// Whether the signed entry may come next, without admitting it.
    pub fn check(
        &self,
        envelope: &Envelope,
        cosignatures: &[Envelope],
        certificate: &[u8],
    ) -> Result<(), Inadmissible> {
        let leaf = beside(envelope.clone(), cosignatures.to_vec(), certificate)?;
        self.replica.check(&self.origin, &leaf)
    }

    /// Admits the signed entry to the log by the rules that every replica applies, and gives its index and leaf.
    /// `certificate` is the DER of what it enrols, empty if it enrols nothing.
    pub fn commit(
        &mut self,
        envelope: Envelope,
        cosignatures: Vec<Envelope>,
        certificate: &[u8],
    ) -> Result<(u64, RegistryLeaf), Inadmissible> {
        let leaf = beside(envelope, cosignatures, certificate)?;
        let index = self.size();
        self.replica.admit(&self.origin, index, &leaf)?;
        Ok((index, leaf))
    }
}

fn beside(
    envelope: Envelope,
    cosignatures: Vec<Envelope>,
    certificate: &[u8],
) -> Result<RegistryLeaf, Inadmissible> {
    Ok(RegistryLeaf {
        leaf: ByteBuf::from(Leaf::new(envelope, cosignatures)?.encode()),
        certificate: ByteBuf::from(certificate),
    })
}
