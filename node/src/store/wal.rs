//! A reading of RocksDB's write-ahead logs that tells a torn end from damage.
//!
//! RocksDB's recovery mode "tolerate corrupted tail records" silently drops an incomplete last record, as it
//! should, but also what merely looks like one: a flipped bit in a length field of the last block drops every
//! record behind it, acknowledged or not, a header of zeros drops the rest of its block, and a record type of
//! the recycled kind drops the log or hangs the reader. And it refuses a last record that is as long as it should be
//! but has holes, which is how a file system leaves one that was being synced when the power went. This module looks
//! at the record headers first and finds these cases. Of checksums it looks at those of the last record only:
//! RocksDB checks the others, and refuses.
//!
//! Format (RocksDB wiki, "Write Ahead Log File Format"): blocks of 32 768 bytes; a record is the masked
//! CRC-32C of type and data (4 bytes), the length of the data (2), the type (1), the data, all little-endian.
//! A record never crosses a block: it is split into first, middle and last fragments. Fewer than 7 bytes at
//! the end of a block are zeros.

use std::io::{self, Read, Seek, SeekFrom};

const BLOCK: usize = 32_768;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// So many zeros at the end of a record, and no fewer, are a sector that was not written.
const HOLE: usize = 16;
const HEADER: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// How a log ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With a complete record, or it is empty.
    Whole,
    /// With a record that is incomplete or has holes, and behind which no other one follows.
    Torn {
        /// Where the incomplete record starts.
        offset: u64,
        /// How many bytes of it there are.
        bytes: u64,
    },
    /// There is something that no writer leaves.
    Damaged {
        /// Where.
        offset: u64,
    },
}

/// Reads a log from its start.
pub(super) fn inspect(mut log: impl Read + Seek) -> io::Result<Tail> {
    let mut block = vec![0; BLOCK];
    let mut start = 0;
    let mut last = None; // where the last record starts
    let mut fragmented = None; // the same, while it is still open
    let mut suspect = None; // where the first incomplete record starts
    loop {
        let filled = fill(&mut log, &mut block)?;
        let bytes = &block[..filled];
        if let Some(offset) = suspect {
            if goes_on_after(bytes) {
                return Ok(Tail::Damaged { offset });
            }
        } else {
            match walk(bytes, start, &mut last, &mut fragmented) {
                Walk::End => {}
                Walk::Damaged(at) => {
                    return Ok(Tail::Damaged {
                        offset: start + at as u64,
                    });
                }
                Walk::Incomplete(at) => {
                    let offset = start + at as u64;
                    if (at + 1..filled).any(|later| is_record(&bytes[later..])) {
                        return Ok(Tail::Damaged { offset });
                    }
                    suspect = Some(fragmented.unwrap_or(offset));
                }
            }
        }
        start += filled as u64;
        if filled < BLOCK {
            break;
        }
    }
    let torn = match (suspect.or(fragmented), last) {
        (None, Some(last)) => {
            log.seek(SeekFrom::Start(last))?;
            let mut record = Vec::new();
            log.read_to_end(&mut record)?;
            has_holes(&record, last).then_some(last)
        }
        (torn, _) => torn,
    };
    let Some(offset) = torn else {
        return Ok(Tail::Whole);
    };
    // The end may be taken for torn because a length before it is wrong.
    log.rewind()?;
    let mut before = Vec::new();
    log.take(offset).read_to_end(&mut before)?;
    Ok(match unsound(&before, 0) {
        Some(at) => Tail::Damaged { offset: at as u64 },
        None => Tail::Torn {
            offset,
            bytes: start - offset,
        },
    })
}

/// Whether a block behind an incomplete record holds a later one: then that record was not the end. Each block starts
/// with a fragment, which may be the incomplete record's own.
fn goes_on_after(block: &[u8]) -> bool {
    match header(block) {
        Some((_, length, kind)) if is_record(block) => match kind {
            MIDDLE => false,
            LAST => (HEADER + length..block.len()).any(|later| is_record(&block[later..])),
            _ => true,
        },
        _ => false,
    }
}

/// Whether a record, the bytes of a log from `start` to its end, is not what was written and has a sector of zeros:
/// what is not on the disk reads as zeros, while a disk that goes bad does not make them.
fn has_holes(record: &[u8], start: u64) -> bool {
    if unsound(record, start).is_none() {
        return false;
    }
    let mut at = 0;
    while at < record.len() {
        let end = (at + left_of(SECTOR, start, at)).min(record.len());
        let sector = &record[at..end];
        if sector.len() >= HOLE && sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        at = end;
    }
    false
}

/// The first fragment whose checksum is wrong, in the bytes of a log from `start` on.
fn unsound(bytes: &[u8], start: u64) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match header(&bytes[at..]) {
            Some((_, length, _)) if left_of(BLOCK, start, at) >= HEADER => {
                if !is_record(&bytes[at..]) {
                    return Some(at);
                }
                at += HEADER + length;
            }
            _ => at += left_of(BLOCK, start, at),
        }
    }
    None
}

/// Bytes from `start + at` to the end of its block, or sector.
fn left_of(unit: usize, start: u64, at: usize) -> usize {
    unit - (start as usize + at) % unit
}

enum Walk {
    End,
    Incomplete(usize),
    Damaged(usize),
}

/// Goes from header to header through one block.
fn walk(block: &[u8], start: u64, last: &mut Option<u64>, fragmented: &mut Option<u64>) -> Walk {
    let mut at = 0;
    while at < block.len() {
        let Some((_, length, kind)) = header(&block[at..]) else {
            // Too few bytes for a header: the filling of a whole block, or the end of the log.
            return if block.len() == BLOCK {
                Walk::End
            } else {
                Walk::Incomplete(at)
            };
        };
        if kind == 0 && length == 0 {
            return Walk::Incomplete(at);
        }
        if at + HEADER + length > block.len() {
            return if block.len() == BLOCK {
                Walk::Damaged(at)
            } else {
                Walk::Incomplete(at)
            };
        }
        let here = Some(start + at as u64);
        match kind {
            FIRST => (*last, *fragmented) = (here, here),
            FULL => (*last, *fragmented) = (here, None),
            LAST => *fragmented = None,
            MIDDLE => {}
            // Recycled logs, compression and the like are never switched on here.
            _ => return Walk::Damaged(at),
        }
        at += HEADER + length;
    }
    Walk::End
}

/// Checksum, length and type.
fn header(bytes: &[u8]) -> Option<(u32, usize, u8)> {
    let header = bytes.first_chunk::<HEADER>()?;
    let [a, b, c, d, low, high, kind] = *header;
    Some((
        u32::from_le_bytes([a, b, c, d]),
        usize::from(u16::from_le_bytes([low, high])),
        kind,
    ))
}

/// Whether `bytes` start with a record whose checksum is right.
fn is_record(bytes: &[u8]) -> bool {
    let Some((checksum, length, kind)) = header(bytes) else {
        return false;
    };
    (FULL..=LAST).contains(&kind)
        && bytes
            .get(HEADER - 1..HEADER + length)
            .is_some_and(|covered| masked_crc32c(covered) == checksum)
}

/// Fills `block` as far as the input reaches.
fn fill(input: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match input.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4), masked as RocksDB stores it. A table of 16 entries is enough:
/// it is only computed over the last record and, where that one is suspect, over what stands before and behind it.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(!0, |crc: u32, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = CRC32C[(crc & 15) as usize] ^ crc >> 4;
        CRC32C[(crc & 15) as usize] ^ crc >> 4
    });
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

const CRC32C: [u32; 16] = {
    let mut table = [0; 16];
    let mut index = 0;
    while index < 16 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// What [`super::inspect`] says of a log.
    fn inspect(log: &[u8]) -> io::Result<Tail> {
        super::inspect(Cursor::new(log))
    }

    /// A log as RocksDB's writer makes it, of records with these lengths.
    fn log(lengths: &[usize]) -> Vec<u8> {
        let mut log = Vec::new();
        for (seed, &length) in lengths.iter().enumerate() {
            let data: Vec<u8> = (0..length).map(|i| (i * 31 + seed * 7 + 1) as u8).collect();
            let mut rest = data.as_slice();
            let mut kind = (FULL, FIRST);
            loop {
                let room = BLOCK - log.len() % BLOCK;
                if room < HEADER {
                    log.resize(log.len() + room, 0);
                    continue;
                }
                let (fragment, after) = rest.split_at(rest.len().min(room - HEADER));
                let kind_now = if after.is_empty() { kind.0 } else { kind.1 };
                let covered = [&[kind_now], fragment].concat();
                log.extend(masked_crc32c(&covered).to_le_bytes());
                log.extend((fragment.len() as u16).to_le_bytes());
                log.extend(covered);
                (rest, kind) = (after, (LAST, MIDDLE));
                if after.is_empty() {
                    break;
                }
            }
        }
        log
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720 B.4: 32 bytes of zeros give aa 36 91 8a, low byte first.
        let crc = masked_crc32c(&[0; 32]).wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(crc, 0x8a91_36aa);
    }

    #[test]
    fn whole_logs_are_whole_at_every_alignment() {
        for lengths in [
            &[][..],
            &[0],
            &[10, 20],
            &[BLOCK - HEADER],
            &[BLOCK - 13, 5],
            &[100_000, 3],
        ] {
            assert_eq!(inspect(&log(lengths)).unwrap(), Tail::Whole, "{lengths:?}");
        }
    }

    #[test]
    fn a_cut_anywhere_in_the_last_record_is_a_torn_end() {
        let before = log(&[10, 20]).len();
        let whole = log(&[10, 20, 80_000]);
        for end in
            (before + 1..before + 40).chain([BLOCK, BLOCK + 3, 2 * BLOCK, 2 * BLOCK + 9, whole.len() - 1])
        {
            let torn = Tail::Torn {
                offset: before as u64,
                bytes: (end - before) as u64,
            };
            assert_eq!(inspect(&whole[..end]).unwrap(), torn, "cut at {end}");
        }
        assert_eq!(inspect(&whole[..before]).unwrap(), Tail::Whole);
    }

    #[test]
    fn zeros_behind_the_last_record_are_a_torn_end() {
        let mut zeros = log(&[10, 20]);
        let offset = zeros.len() as u64;
        zeros.resize(zeros.len() + 3 * BLOCK, 0);
        assert_eq!(
            inspect(&zeros).unwrap(),
            Tail::Torn {
                offset,
                bytes: 3 * BLOCK as u64
            }
        );
    }

    #[test]
    fn what_looks_torn_but_has_a_good_record_behind_it_is_damage() {
        // The length of the second of three records, made longer than the log.
        let second = log(&[10]).len();
        let mut longer = log(&[10, 20, 30]);
        longer[second + 5] ^= 0x40;
        assert_eq!(
            inspect(&longer).unwrap(),
            Tail::Damaged {
                offset: second as u64
            }
        );
        // Its header, zeroed, within the block and across blocks.
        for lengths in [[10, 20, 30], [10, 40_000, 30], [10, BLOCK - 2 * HEADER - 10, 30]] {
            let mut zeroed = log(&lengths);
            zeroed[second..second + HEADER].fill(0);
            assert_eq!(
                inspect(&zeroed).unwrap(),
                Tail::Damaged {
                    offset: second as u64
                }
            );
        }
    }

    #[test]
    fn a_last_record_with_sectors_that_were_not_written_is_a_torn_end() {
        let before = log(&[10, 20]).len();
        let whole = log(&[10, 20, 100_000]);
        let torn = Tail::Torn {
            offset: before as u64,
            bytes: (whole.len() - before) as u64,
        };
        let page = 4096;
        for first in 1..whole.len().div_ceil(page) {
            // One page, and every one from there on: with headers of its fragments in them or not.
            for end in [first + 1, usize::MAX / page] {
                let mut holed = whole.clone();
                let end = (end * page).min(holed.len());
                holed[first * page..end].fill(0);
                assert_eq!(inspect(&holed).unwrap(), torn, "{first} to {end}");
                // What has a record behind it was acknowledged once; RocksDB refuses it if we do not.
                holed.extend(&log(&[30])[..]);
                if holed.len() % BLOCK > 30 + HEADER {
                    assert_ne!(inspect(&holed).unwrap(), torn, "{first} to {end}");
                }
            }
        }
    }

    #[test]
    fn a_last_record_with_wrong_bits_is_no_torn_end() {
        let before = log(&[10, 20]).len();
        let whole = log(&[10, 20, 5000]);
        for at in (before + HEADER..whole.len()).step_by(97) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(
                inspect(&flipped).unwrap(),
                Tail::Whole,
                "{at}: RocksDB refuses it"
            );
        }
    }

    #[test]
    fn record_types_that_are_never_written_are_damage() {
        for kind in [5, 8, 9, 10, 11, 130, 131, 255] {
            let mut other = log(&[10, 20]);
            let second = log(&[10]).len();
            other[second + 6] = kind;
            assert_eq!(
                inspect(&other).unwrap(),
                Tail::Damaged {
                    offset: second as u64
                },
                "{kind}"
            );
        }
    }
}
