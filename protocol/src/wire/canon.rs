//! The scanner that stands before every decoder. SPEC §4.2.
//!
//! One value has one byte string: definite lengths, shortest heads, maps with strictly ascending unsigned keys, no
//! floats, no tags, no null, bounded depth, one item and nothing after it. The scanner allocates nothing and reads
//! each byte once; what it accepts, any decoder reads in the same way.

use super::limits;
use crate::error::{Malformed, MalformedKind as Kind};

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;

/// One open array or map.
#[derive(Clone, Copy)]
struct Level {
    /// Items still to come; a map's keys and values count one each.
    left: u64,
    /// For a map, the key it must exceed: `None` before the first one.
    keys: Option<Option<u64>>,
}

/// Accepts `bytes` if they are one canonical value of at most `max` bytes. ENC-1 to ENC-8.
pub fn check(bytes: &[u8], max: usize) -> Result<(), Malformed> {
    if bytes.len() > max {
        return Err(Malformed::at(max, Kind::TooLarge));
    }
    let end = item(bytes, 0)?;
    if end != bytes.len() {
        return Err(Malformed::at(end, Kind::TrailingBytes));
    }
    Ok(())
}

/// Scans the value that starts at `start` and gives the offset after it.
fn item(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut levels = [Level { left: 1, keys: None }; limits::DEPTH + 1];
    let mut depth = 0;
    let mut at = start;
    let mut items = 0;
    loop {
        while levels[depth].left == 0 {
            if depth == 0 {
                return Ok(at);
            }
            depth -= 1;
        }
        items += 1;
        if items > limits::ITEMS {
            return Err(Malformed::at(at, Kind::TooLarge));
        }
        let head = Head::read(bytes, at)?;
        let level = &mut levels[depth];
        level.left -= 1;
        // A map's odd remainder means that a key was just read, an even one a value.
        if let Some(last) = &mut level.keys
            && level.left % 2 == 1
        {
            if head.major != UNSIGNED || last.is_some_and(|last| head.value <= last) {
                return Err(Malformed::at(at, Kind::NotCanonical));
            }
            *last = Some(head.value);
        }
        let body = head.end;
        at = match head.major {
            UNSIGNED => body,
            BYTES | TEXT => {
                let length = usize::try_from(head.value).unwrap_or(usize::MAX);
                let end = body.checked_add(length).filter(|end| *end <= bytes.len());
                let end = end.ok_or_else(|| Malformed::at(at, Kind::Truncated))?;
                if head.major == TEXT && std::str::from_utf8(&bytes[body..end]).is_err() {
                    return Err(Malformed::at(body, Kind::NotCanonical));
                }
                end
            }
            ARRAY | MAP => {
                let left = if head.major == MAP {
                    head.value.checked_mul(2)
                } else {
                    Some(head.value)
                };
                // Each item takes a byte at least: a count beyond what is left is a lie.
                let left = left.filter(|left| *left <= (bytes.len() - body) as u64);
                let left = left.ok_or_else(|| Malformed::at(at, Kind::Truncated))?;
                if depth == limits::DEPTH {
                    return Err(Malformed::at(at, Kind::TooDeep));
                }
                depth += 1;
                levels[depth] = Level {
                    left,
                    keys: (head.major == MAP).then_some(None),
                };
                body
            }
            // ENC-4: of the simple values only false and true; absence is an absent key, never null.
            SIMPLE if matches!(bytes[at], 0xf4 | 0xf5) => body,
            // Negative integers and tags are not in the closed list.
            _ => return Err(Malformed::at(at, Kind::NotCanonical)),
        };
    }
}

/// The head of an item: major type and argument. RFC 8949 §3.
pub(crate) struct Head {
    pub(crate) major: u8,
    pub(crate) value: u64,
    /// Offset after the head.
    pub(crate) end: usize,
}

impl Head {
    /// Reads the shortest head at `at`; refuses longer ones and indefinite lengths.
    pub(crate) fn read(bytes: &[u8], at: usize) -> Result<Self, Malformed> {
        let first = *bytes.get(at).ok_or_else(|| Malformed::at(at, Kind::Truncated))?;
        let (major, low) = (first >> 5, first & 0x1f);
        let (length, smallest) = match low {
            0..=23 => {
                return Ok(Self {
                    major,
                    value: u64::from(low),
                    end: at + 1,
                });
            }
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return Err(Malformed::at(at, Kind::NotCanonical)),
        };
        let end = at + 1 + length;
        let argument = bytes
            .get(at + 1..end)
            .ok_or_else(|| Malformed::at(at, Kind::Truncated))?;
        let value = argument
            .iter()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        // Floats share these heads, and would slip through as long simple values.
        if value < smallest || major == SIMPLE {
            return Err(Malformed::at(at, Kind::NotCanonical));
        }
        Ok(Self { major, value, end })
    }
}

/// Splits a canonical array of exactly `N` byte strings, without copying. SPEC §5.1.
pub fn byte_strings<const N: usize>(bytes: &[u8]) -> Result<[&[u8]; N], Malformed> {
    let mut at = array(bytes, N as u64)?;
    let mut parts = [&bytes[..0]; N];
    for part in &mut parts {
        (*part, at) = byte_string(bytes, at)?;
    }
    ends(bytes, at)?;
    Ok(parts)
}

/// Splits a canonical array of a number and a byte string, without copying. SPEC §10.2.
pub(crate) fn numbered(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let at = array(bytes, 2)?;
    let number = Head::read(bytes, at)?;
    if number.major != UNSIGNED {
        return Err(Malformed::at(at, Kind::WrongShape));
    }
    let (content, at) = byte_string(bytes, number.end)?;
    ends(bytes, at)?;
    Ok((number.value, content))
}

/// What [`numbered`] splits. `number` is below 24.
pub(crate) fn encode_numbered(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 7);
    bytes.extend([0x82, number]);
    push_bytes(&mut bytes, content);
    bytes
}

/// The head of an array of `items`; gives the offset after it.
fn array(bytes: &[u8], items: u64) -> Result<usize, Malformed> {
    let head = Head::read(bytes, 0)?;
    if head.major != ARRAY || head.value != items {
        return Err(Malformed::at(0, Kind::WrongShape));
    }
    Ok(head.end)
}

/// The byte string at `at`, and the offset after it.
fn byte_string(bytes: &[u8], at: usize) -> Result<(&[u8], usize), Malformed> {
    let head = Head::read(bytes, at)?;
    if head.major != BYTES {
        return Err(Malformed::at(at, Kind::WrongShape));
    }
    let length = usize::try_from(head.value).unwrap_or(usize::MAX);
    let end = head.end.checked_add(length).filter(|end| *end <= bytes.len());
    let end = end.ok_or_else(|| Malformed::at(at, Kind::Truncated))?;
    Ok((&bytes[head.end..end], end))
}

fn ends(bytes: &[u8], at: usize) -> Result<(), Malformed> {
    if at != bytes.len() {
        return Err(Malformed::at(at, Kind::TrailingBytes));
    }
    Ok(())
}

/// Appends a canonical CBOR byte string.
pub(crate) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match u32::try_from(bytes.len()) {
        Ok(length @ 0..=23) => out.push(0x40 | length as u8),
        Ok(length @ 24..=0xff) => out.extend([0x58, length as u8]),
        Ok(length @ 0x100..=0xffff) => {
            out.push(0x59);
            out.extend((length as u16).to_be_bytes());
        }
        Ok(length) => {
            out.push(0x5a);
            out.extend(length.to_be_bytes());
        }
        // Every caller is bounded by `limits`, far below four gigabytes.
        Err(_) => unreachable!("byte string over 4 GiB"),
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::hex_decode;

    fn kind(hex: &str) -> Option<Kind> {
        check(&hex_decode(hex).unwrap(), 1 << 20)
            .err()
            .map(|error| error.kind)
    }

    #[test]
    fn the_canonical_subset_is_accepted() {
        for hex in [
            "00",
            "17",
            "1818",
            "190100",
            "1a00010000",
            "1b0000000100000000",
            "40",
            "4101",
            "6161",
            "80",
        ] {
            assert_eq!(kind(hex), None, "{hex}");
        }
        for hex in [
            "a0",
            "a10001",
            "a2000118ff02",
            "83010203",
            "f4",
            "f5",
            "a100a10080",
        ] {
            assert_eq!(kind(hex), None, "{hex}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_cause() {
        let cases = [
            ("", Kind::Truncated),
            ("1800", Kind::NotCanonical),       // longer than the shortest head
            ("1817", Kind::NotCanonical),       // 23 in two bytes
            ("1900ff", Kind::NotCanonical),     // 255 in three bytes
            ("1a0000ffff", Kind::NotCanonical), // 65 535 in five
            ("1b00000000ffffffff", Kind::NotCanonical), // 2^32-1 in nine
            ("5800", Kind::NotCanonical),       // length 0 in two bytes
            ("1c", Kind::NotCanonical),         // reserved
            ("5f4101ff", Kind::NotCanonical),   // indefinite bytes
            ("9f01ff", Kind::NotCanonical),     // indefinite array
            ("bf0001ff", Kind::NotCanonical),   // indefinite map
            ("a201000000", Kind::NotCanonical), // keys descending
            ("a200010002", Kind::NotCanonical), // key twice
            ("a1616101", Kind::NotCanonical),   // text key
            ("a1410101", Kind::NotCanonical),   // bytes key
            ("20", Kind::NotCanonical),         // negative
            ("c000", Kind::NotCanonical),       // tag
            ("f6", Kind::NotCanonical),         // null
            ("f7", Kind::NotCanonical),         // undefined
            ("f0", Kind::NotCanonical),         // unassigned simple value
            ("f8ff", Kind::NotCanonical),       // long simple value
            ("f97e00", Kind::NotCanonical),     // half float
            ("fa7fc00000", Kind::NotCanonical), // single float
            ("fb7ff8000000000000", Kind::NotCanonical), // double float
            ("61ff", Kind::NotCanonical),       // not UTF-8
            ("0000", Kind::TrailingBytes),
            ("4201", Kind::Truncated),
            ("8201", Kind::Truncated),
            ("a100", Kind::Truncated),
            ("9b7fffffffffffffff", Kind::Truncated), // an array of 2^63-1 items in nine bytes
            ("bbffffffffffffffff", Kind::Truncated),
            ("5bffffffffffffffff", Kind::Truncated),
            ("19", Kind::Truncated),
        ];
        for (hex, expected) in cases {
            assert_eq!(kind(hex), Some(expected), "{hex}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
        assert!(check(&nested(limits::DEPTH), 1 << 20).is_ok());
        assert_eq!(
            check(&nested(limits::DEPTH + 1), 1 << 20).unwrap_err().kind,
            Kind::TooDeep
        );
        assert_eq!(
            check(&vec![0x81; 200_000], 1 << 20).unwrap_err().kind,
            Kind::TooDeep
        );
    }

    #[test]
    fn size_and_item_count_are_bounded() {
        assert_eq!(check(&[0x40; 9], 8).unwrap_err().kind, Kind::TooLarge);
        let mut many = vec![0x9a, 0x00, 0x01, 0x00, 0x00];
        many.resize(5 + limits::ITEMS, 0x00);
        assert_eq!(check(&many, 1 << 20).unwrap_err().kind, Kind::TooLarge);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = check(&bytes, 1 << 20);
            let _ = byte_strings::<3>(&bytes);
        }
    }
}
