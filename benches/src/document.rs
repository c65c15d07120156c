//! One document, from a client's command to its being available at the other node.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::Outcome;
use crate::federation::Pair;

/// How long each part took.
pub(crate) struct Carried {
    /// From the start of the client's command until it is told that the deposit is durable.
    pub(crate) ingest: Duration,
    /// From the instant at which the home node recorded the deposit until that of the other node's `Held`.
    pub(crate) transfer: Duration,
    /// From the start of the client's command until the other node's `MadeAvailable`.
    pub(crate) availability: Duration,
    /// Processor time of home and other node meanwhile.
    pub(crate) cpu_seconds: [f64; 2],
}

/// Lodges `file` at the home node and waits until the other node has made it available.
pub(crate) fn carry(pair: &mut Pair, file: &Path, bytes: u64) -> Outcome<Carried> {
    let before = pair.cpu_seconds()?;
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let started = Instant::now();
    let deposit = pair.deposit(file)?;
    let ingest = started.elapsed();
    let (deposited, held, available, stored) = pair.await_document(&deposit, |document| {
        let held = document["held"].as_object()?.values();
        // The home node holds it first: the later statement is the other node's.
        let both: Vec<Duration> = held.filter_map(|at| since_epoch(at.as_str()?)).collect();
        let held = (both.len() == 2).then(|| both.iter().max().copied())??;
        let addressees = document["addressees"].as_array()?;
        let expert = addressees.iter().find(|one| one["role"] == "expert")?;
        let available = since_epoch(expert["available_at"].as_str()?)?;
        let deposited = since_epoch(document["deposited_at"].as_str()?)?;
        Some((deposited, held, available, document["bytes"].as_u64()))
    })?;
    let after = pair.cpu_seconds()?;
    if stored != Some(bytes) {
        return Err(format!("{stored:?} bytes of {bytes} were lodged").into());
    }
    Ok(Carried {
        ingest,
        transfer: held.saturating_sub(deposited),
        availability: available.saturating_sub(begun),
        cpu_seconds: [after[0] - before[0], after[1] - before[1]],
    })
}

/// An instant of an answer.
fn since_epoch(text: &str) -> Option<Duration> {
    let at: Timestamp = text.parse().ok()?;
    Duration::try_from(at.as_duration()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_to_the_millisecond() {
        assert_eq!(
            since_epoch("1970-01-02T00:00:00.250Z"),
            Some(Duration::from_millis(86_400_250))
        );
        assert_eq!(since_epoch("yesterday"), None);
    }
}
