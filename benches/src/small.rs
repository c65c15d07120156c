//! Ten thousand small documents beside one of the same bytes, between the same two nodes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::Outcome;
use crate::federation::Pair;
use crate::limits::write_random;

/// Bytes of one small document.
pub(crate) const BYTES: u64 = 16 << 10;

/// How long each part took.
pub(crate) struct Carried {
    /// From the start of the command until every document is durable at its home node.
    pub(crate) deposit: Duration,
    /// From the start of the command until the other node has stored the last of them.
    pub(crate) arrival: Duration,
    /// Processor time of home and other node meanwhile.
    pub(crate) cpu_seconds: [f64; 2],
    /// The other node fetches all of them once more: from the first request to the last sync.
    pub(crate) again: Vec<Duration>,
    /// The same for the one large document.
    pub(crate) large_again: Vec<Duration>,
}

/// Lodges `count` small documents and one of the same bytes at the home node, and has the other node fetch each kind
/// again, by itself, so that nothing else is measured.
pub(crate) fn carry(pair: &mut Pair, place: &Path, count: u64, rounds: u16) -> Outcome<Carried> {
    let directory = place.join("small");
    fs::create_dir(&directory)?;
    for number in 0..count {
        write_random(&directory.join(format!("{number:06}.bin")), BYTES)?;
    }
    let large = place.join("as-large.bin");
    write_random(&large, count * BYTES)?;
    let (log, before) = (pair.log(1)?.len(), pair.cpu_seconds()?);
    let begun = Instant::now();
    pair.lodge(&directory)?;
    let deposit = begun.elapsed();
    pair.await_log(1, |text| (arrived(&text[log..]).documents >= count).then_some(()))?;
    let arrival = begun.elapsed();
    let after = pair.cpu_seconds()?;
    let log = pair.log(1)?.len();
    pair.lodge(&large)?;
    pair.await_log(1, |text| {
        text[log..].contains("a document has come").then_some(())
    })?;
    // Each segment of 64 KiB has a tag of 16 bytes: SPEC 6.16.
    let stored = count * BYTES + 16 * (count * BYTES).div_ceil(1 << 16);
    let (mut again, mut large_again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        large_again.push(fetch_again(pair, place, 1, |bytes| bytes == stored)?);
        again.push(fetch_again(pair, place, count, |bytes| bytes <= 1 << 16)?);
    }
    fs::remove_dir_all(&directory)?;
    fs::remove_file(&large)?;
    Ok(Carried {
        deposit,
        arrival,
        cpu_seconds: [after[0] - before[0], after[1] - before[1]],
        again,
        large_again,
    })
}

/// Takes the documents of some sizes away from the other node while it is stopped, and waits until it has `count` again.
///
/// Of a dossier at rest a node believes that its documents are where they were: one more wakes it. Nothing else is asked
/// of the node meanwhile.
fn fetch_again(
    pair: &mut Pair,
    place: &Path,
    count: u64,
    of_size: impl Fn(u64) -> bool,
) -> Outcome<Duration> {
    pair.restart(1, |data| {
        let blobs = data.join("blobs");
        if of_size(BYTES) {
            fs::remove_dir_all(blobs.join("packs"))?;
        }
        for entry in fs::read_dir(&blobs)? {
            let entry = entry?;
            if entry.file_name().len() != 2 {
                continue;
            }
            for file in fs::read_dir(entry.path())? {
                let path = file?.path();
                if path.extension().is_none() && of_size(path.metadata()?.len()) {
                    fs::remove_file(&path)?;
                    fs::remove_file(path.with_extension("tree"))?;
                }
            }
        }
        Ok(())
    })?;
    let one_more = place.join("one-more.bin");
    write_random(&one_more, BYTES)?;
    pair.lodge(&one_more)?;
    fs::remove_file(&one_more)?;
    let arrived = pair.await_log(1, |text| {
        let arrived = arrived(text);
        (arrived.documents > count).then_some(arrived)
    })?;
    Ok(Duration::from_secs_f64(arrived.last - arrived.first))
}

/// What a node's log says of documents that have come: how many, and from when to when, in seconds since 1970.
#[derive(Debug, PartialEq)]
struct Arrived {
    documents: u64,
    first: f64,
    last: f64,
}

fn arrived(log: &str) -> Arrived {
    let mut arrived = Arrived {
        documents: 0,
        first: f64::INFINITY,
        last: 0.0,
    };
    for line in log.lines() {
        let many = line.contains("documents have come");
        if !many && !line.contains("a document has come") {
            continue;
        }
        let field = |name: &str| -> Option<f64> {
            let value = line.split(&format!(" {name}=")).nth(1)?;
            value.split(' ').next()?.parse().ok()
        };
        let at = line
            .split_whitespace()
            .next()
            .and_then(|at| at.parse::<Timestamp>().ok());
        let (Some(at), Some(took)) = (at, field("seconds")) else {
            continue;
        };
        let end = at.as_duration().as_secs_f64();
        arrived.documents += if many {
            field("documents").unwrap_or_default() as u64
        } else {
            1
        };
        arrived.first = arrived.first.min(end - took);
        arrived.last = arrived.last.max(end);
    }
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_how_many_came_and_when() {
        let log = "1970-01-01T00:00:10.500000Z  INFO basoche_node::network::fetch: documents have come documents=64 bytes=9 seconds=0.5\n\
                   1970-01-01T00:00:11.000000Z  INFO x: something else documents=9 seconds=9\n\
                   1970-01-01T00:00:12.000000Z  INFO x: a document has come bytes=7 fetched=7 seconds=3\n";
        let expected = Arrived {
            documents: 65,
            first: 9.0,
            last: 12.0,
        };
        assert_eq!(arrived(log), expected);
    }
}
