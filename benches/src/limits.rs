//! What the machine can do: disk, hash, cipher. One thread each, nothing of ours.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};

use crate::Outcome;

/// Bytes handled at a time.
const PIECE: usize = 1 << 20;
/// Bytes sealed at a time, as in a document.
const SEGMENT: usize = 65_536;

fn random_piece() -> Outcome<Vec<u8>> {
    let mut piece = vec![0; PIECE];
    rand::fill(&mut piece).map_err(|_| "no randomness")?;
    Ok(piece)
}

/// The lengths of the pieces of `bytes` bytes.
pub(crate) fn pieces(bytes: u64) -> impl Iterator<Item = usize> {
    let whole = bytes / PIECE as u64;
    // Truncation: the remainder is less than a piece.
    let rest = (bytes % PIECE as u64) as usize;
    (0..whole)
        .map(|_| PIECE)
        .chain(Some(rest).filter(|rest| *rest > 0))
}

/// Writes a file that nothing could compress.
pub(crate) fn write_random(path: &Path, bytes: u64) -> Outcome<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut piece = vec![0; PIECE];
    for length in pieces(bytes) {
        rand::fill(&mut piece).map_err(|_| "no randomness")?;
        file.write_all(&piece[..length])?;
    }
    file.into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .sync_all()?;
    Ok(())
}

/// Through the page cache, to a new file, until fdatasync returns.
pub(crate) fn buffered_write(place: &Path, bytes: u64) -> Outcome<Duration> {
    let path = place.join("disk.bin");
    let piece = random_piece()?;
    let started = Instant::now();
    let mut file = File::create(&path)?;
    for length in pieces(bytes) {
        file.write_all(&piece[..length])?;
    }
    file.sync_data()?;
    let took = started.elapsed();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(took)
}

/// Past the page cache, by `dd`, until fdatasync returns.
pub(crate) fn direct_write(place: &Path, source: &Path) -> Outcome<Duration> {
    let path = place.join("direct.bin");
    let started = Instant::now();
    let done = Command::new("dd")
        .arg(format!("if={}", source.display()))
        .arg(format!("of={}", path.display()))
        .args(["bs=4M", "oflag=direct", "conv=fdatasync", "status=none"])
        .stdin(Stdio::null())
        .output();
    let took = started.elapsed();
    // It may not have been made.
    let _ = std::fs::remove_file(path);
    let done = done.map_err(|error| format!("dd: {error}"))?;
    if done.status.success() {
        Ok(took)
    } else {
        Err(format!("dd: {}", String::from_utf8_lossy(&done.stderr).trim()).into())
    }
}

/// Hashes as many bytes, from memory.
pub(crate) fn sha256(bytes: u64) -> Outcome<Duration> {
    let piece = random_piece()?;
    let started = Instant::now();
    let mut hash = digest::Context::new(&digest::SHA256);
    for length in pieces(bytes) {
        hash.update(&piece[..length]);
    }
    std::hint::black_box(hash.finish());
    Ok(started.elapsed())
}

/// Seals as many bytes in place, segment by segment.
pub(crate) fn aes256_gcm(bytes: u64) -> Outcome<Duration> {
    let failed = |_| "AES-256-GCM failed";
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(failed)?);
    let mut segment = random_piece()?;
    segment.truncate(SEGMENT);
    let started = Instant::now();
    for number in 0..bytes.div_ceil(SEGMENT as u64) {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut segment);
        let _ = std::hint::black_box(tag.map_err(failed)?);
    }
    Ok(started.elapsed())
}

/// How long all cores together take to do something so many times, which must hold each time.
pub(crate) fn on_all_cores(times: u64, holds: impl Fn() -> bool + Sync) -> Outcome<Duration> {
    let cores = std::thread::available_parallelism()?.get() as u64;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let lane = || (0..times / cores).all(|_| holds());
        let lanes: Vec<_> = (0..cores).map(|_| scope.spawn(lane)).collect();
        let good = lanes.into_iter().all(|lane| lane.join().unwrap_or(false));
        good.then_some(()).ok_or("a signature does not verify")
    })?;
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up() {
        for bytes in [1, PIECE as u64, PIECE as u64 + 1, 3 * PIECE as u64 - 1] {
            assert_eq!(pieces(bytes).map(|length| length as u64).sum::<u64>(), bytes);
        }
    }
}
