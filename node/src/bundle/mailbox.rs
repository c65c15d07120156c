//! What was left at mailboxes: a receipt, and the parcel that it is for with the key to that parcel alone. MBX-7.
//!
//! The receipt is the mailbox's signed word; the parcel, opened, shows which run of the journal it was for whom. That the
//! addressee got it is said by heads only, never here.

use std::io::{Read, Seek};

use basoche_protocol::crypto::sha256;
use basoche_protocol::error::{Error, Malformed, Untrusted};
use basoche_protocol::id::Digest;
use basoche_protocol::journal::Entry;
use basoche_protocol::mailbox::{Content, Parcel, SignedReceipt};
use basoche_protocol::wire::frame::Frame;
use basoche_protocol::wire::{codec, limits};
use basoche_registry::Replica as Registry;
use serde_bytes::ByteBuf;

use super::journal::Journal;
use super::members::Members;
use super::report::Claims;

/// Bytes of a member.
const DEPOSIT_BYTES: usize = limits::PARCEL_BYTES + limits::ENVELOPE_BYTES + 64;

/// A parcel that a mailbox took, as evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// The mailbox's receipt, as signed.
    pub receipt: Vec<u8>,
    /// The key of the parcel alone.
    pub key: [u8; 32],
    /// The parcel.
    pub parcel: Vec<u8>,
}

/// `[receipt, key, parcel]`, canonical CBOR.
type Parts = (ByteBuf, ByteBuf, ByteBuf);

impl Deposit {
    /// The member's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let [receipt, key, parcel] = [&self.receipt, &self.key[..], &self.parcel].map(ByteBuf::from);
        codec::encode(&(receipt, key, parcel))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (receipt, key, parcel): Parts = codec::decode(bytes, DEPOSIT_BYTES)?;
        Ok(Self {
            receipt: receipt.into_vec(),
            key: <[u8; 32]>::try_from(key.as_slice()).map_err(|_| Malformed::bad_value())?,
            parcel: parcel.into_vec(),
        })
    }
}

/// The member of a deposit, by its bytes.
pub fn deposit_name(bytes: &[u8]) -> String {
    format!("mailbox/{}.kept", Digest::new(sha256(&[bytes])))
}

/// Checks every deposit against the registry and the journal.
pub(super) fn check<R: Read + Seek>(
    members: &mut Members<'_, R>,
    registry: &Registry,
    journal: &Journal,
    claims: &mut Claims,
) {
    let names = members.names().filter(|name| name.starts_with("mailbox/"));
    for name in names.map(str::to_owned).collect::<Vec<_>>() {
        let before = claims.failures();
        let Some(bytes) = members.read(&name, DEPOSIT_BYTES, "mailbox", claims) else {
            continue;
        };
        if name != deposit_name(&bytes) {
            claims.contradicted("mailbox", "digest", &name, "not the member that its name says");
        }
        match read(&bytes, registry, journal) {
            Ok(Found { says, on_file: true }) if claims.failures() == before => {
                claims.proved("mailbox", Some(&name), says);
            }
            Ok(Found { on_file: true, .. }) => {}
            Ok(Found { says, .. }) if members.is_whole() => {
                let what = format!("{says}; the journal has other entries");
                claims.contradicted("mailbox", "unknown-reference", &name, what);
            }
            Ok(Found { says, .. }) => claims.undetermined("mailbox", "truncated", Some(&name), says),
            Err(error @ Error::Untrusted(Untrusted::UnknownSigner { .. })) => {
                claims.undetermined("mailbox", error.code().name(), Some(&name), error.to_string());
            }
            Err(error) => claims.contradicted("mailbox", error.code().name(), &name, error.to_string()),
        }
    }
}

/// What a deposit says, and whether the journal has the entries that it holds.
struct Found {
    says: String,
    on_file: bool,
}

fn read(bytes: &[u8], registry: &Registry, journal: &Journal) -> Result<Found, Error> {
    let deposit = Deposit::decode(bytes)?;
    let signed = SignedReceipt::verify(&deposit.receipt, registry)?;
    let receipt = signed.receipt();
    let digest = Digest::of(&[&deposit.parcel]);
    if digest != receipt.parcel || deposit.parcel.len() as u64 != receipt.size {
        return Err(Untrusted::NotOpenable { digest }.into());
    }
    let (addressee, content) = Parcel::decode(&deposit.parcel)?.open_with(&deposit.key, &receipt.tag)?;
    let run = match content {
        Content::Run(frame) => match Frame::decode(&frame)? {
            Frame::Run(run) if run.dossier == journal.replica.dossier() => run,
            _ => return Err(Malformed::bad_value().into()),
        },
        Content::Leaves(_) => return Err(Malformed::bad_value().into()),
    };
    let entries = run.items.iter().map(|item| Entry::decode(&item.entry));
    let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Err(Malformed::bad_value().into());
    };
    let says = format!(
        "node {} left entries {} to {} of chain {:?} for node {addressee} at mailbox {}, which took them at {} to keep \
         them until {}; that they were received is said by heads only",
        receipt.depositor,
        first.seq,
        last.seq,
        run.chain,
        receipt.mailbox,
        receipt.accepted_at,
        receipt.kept_until
    );
    let on_file = entries
        .iter()
        .all(|entry| journal.names.contains_key(&entry.leaf()));
    Ok(Found { says, on_file })
}
