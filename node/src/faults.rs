//! Planted faults, for the harnesses' negative controls. Without the feature `faults` there are none.

use std::io;

use basoche_protocol::id::Digest;
use basoche_protocol::mailbox::Listing;
use bytes::Bytes;

/// Whether this build can plant faults at all.
pub const PRESENT: bool = cfg!(feature = "faults");

#[cfg(feature = "faults")]
fn planted(fault: &str) -> bool {
    std::env::var("BASOCHE_FAULT").is_ok_and(|planted| planted.split(',').any(|one| one == fault))
}

/// A mailbox that lies about a parcel: what it sends instead of what it keeps.
///
/// # Errors
/// Those of reading what it keeps.
pub fn forge_parcel(
    parcel: &Digest,
    read: impl Fn(&Digest) -> io::Result<Option<Vec<u8>>>,
) -> io::Result<Option<Vec<u8>>> {
    #[cfg(feature = "faults")]
    {
        use std::sync::Mutex;
        static EARLIER: Mutex<Option<Vec<u8>>> = Mutex::new(None);
        let kept = read(parcel)?;
        let earlier = EARLIER.lock().ok().and_then(|mut earlier| match &kept {
            Some(bytes) => earlier.replace(bytes.clone()),
            None => None,
        });
        let Some(bytes) = kept else {
            return Ok(forged().remove(parcel));
        };
        Ok(Some(match () {
            () if planted("mailbox-garbage") => vec![0xa5; bytes.len()],
            () if planted("mailbox-truncates") => bytes[..bytes.len() / 2].to_vec(),
            () if planted("mailbox-endless") => bytes.iter().copied().cycle().take(bytes.len() * 8).collect(),
            () if planted("mailbox-swaps") => earlier.unwrap_or_else(|| vec![0; bytes.len()]),
            () => bytes,
        }))
    }
    #[cfg(not(feature = "faults"))]
    read(parcel)
}

/// A mailbox that makes parcels up: it lists the digests of what it made of those that it keeps.
pub fn forge_listing(listing: &mut Listing, read: impl Fn(&Digest) -> Option<Vec<u8>>) {
    #[cfg(feature = "faults")]
    if planted("mailbox-forges") {
        for one in &mut listing.parcels {
            let Some(mut bytes) = read(&one.parcel) else {
                continue;
            };
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            one.parcel = Digest::of(&[&bytes]);
            forged().insert(one.parcel, bytes);
        }
    }
    #[cfg(not(feature = "faults"))]
    let _ = (listing, read);
}

/// What a mailbox made up.
#[cfg(feature = "faults")]
fn forged() -> std::sync::MutexGuard<'static, std::collections::BTreeMap<Digest, Vec<u8>>> {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};
    static FORGED: Mutex<BTreeMap<Digest, Vec<u8>>> = Mutex::new(BTreeMap::new());
    FORGED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a mailbox keeps, and lists again, what its addressee has taken.
pub fn mailbox_repeats() -> bool {
    #[cfg(feature = "faults")]
    return planted("mailbox-repeats");
    #[cfg(not(feature = "faults"))]
    false
}

/// Whether acknowledgements leave before the commit: the kill harness must notice.
pub fn acknowledge_before_commit() -> bool {
    #[cfg(feature = "faults")]
    {
        use std::sync::OnceLock;
        static CHOSEN: OnceLock<bool> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            std::env::var("BASOCHE_FAULT").is_ok_and(|fault| fault.contains("ack-before-commit"))
        })
    }
    #[cfg(not(feature = "faults"))]
    false
}

/// A member that proves nothing: each proof that it sends has a hash too many.
pub fn spoil_proof(frame: Bytes) -> Bytes {
    #[cfg(feature = "faults")]
    if planted("proof-lies") {
        use basoche_protocol::wire::frame::Frame;
        if let Ok(Frame::Proof(mut proof)) = Frame::decode(&frame) {
            proof.path.push(proof.about);
            return Bytes::from(Frame::Proof(proof).encode());
        }
    }
    frame
}

/// Ends the process at a step of a repair, as a power cut would: the next command must find nothing half done.
pub fn interrupt(step: &str) {
    #[cfg(feature = "faults")]
    if std::env::var("BASOCHE_FAULT").is_ok_and(|fault| fault.contains(step)) {
        std::process::abort();
    }
    #[cfg(not(feature = "faults"))]
    let _ = step;
}

/// Makes this node a slow source: waits as long as `bytes` take at the rate of `throttle=BYTES-PER-SECOND`.
pub async fn throttle(bytes: usize) {
    #[cfg(feature = "faults")]
    {
        let fault = std::env::var("BASOCHE_FAULT").unwrap_or_default();
        let rate = fault
            .split_once("throttle=")
            .and_then(|(_, rate)| rate.parse::<f64>().ok());
        if let Some(rate) = rate {
            tokio::time::sleep(std::time::Duration::from_secs_f64(bytes as f64 / rate)).await;
        }
    }
    #[cfg(not(feature = "faults"))]
    let _ = bytes;
}
