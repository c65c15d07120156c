//! The bytes of an archive that are not data: APPNOTE 4.3.7 (local header), 4.3.12 (central header), 4.3.14 to
//! 4.3.16 (end records), 4.5.3 (Zip64 field). Numbers are little-endian.

use super::Member;

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;

pub(super) const LOCAL_BYTES: usize = 30;
pub(super) const CENTRAL_BYTES: usize = 46;
pub(super) const END_BYTES: usize = 22;
pub(super) const END64_BYTES: usize = 56 + 20;
/// The Zip64 field of a local header, and the longest one of a central header.
pub(super) const LOCAL_EXTRA_BYTES: usize = 20;
pub(super) const CENTRAL_EXTRA_BYTES: usize = 28;

/// Names are UTF-8 (bit 11).
const FLAGS: u16 = 0x0800;
/// 1980-01-01, the first day that the format knows.
const DATE: u16 = 0x0021;
/// Made by version 4.5 on Unix, which the permissions need.
const MADE_BY: u16 = 0x032d;
/// A regular file, rw-r--r--.
const ATTRIBUTES: u32 = 0o100_644 << 16;

/// From which values on a field is said in Zip64. Anything but [`STANDARD`] is for tests.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// For sizes and offsets.
    pub(super) large: u64,
    /// For the number of members.
    pub(super) many: u64,
}

pub(super) const STANDARD: Layout = Layout {
    large: u32::MAX as u64,
    many: u16::MAX as u64,
};

/// A field of 32 bits, or the mark that says: see the Zip64 field.
fn field32(layout: Layout, value: u64) -> u32 {
    if value >= layout.large {
        u32::MAX
    } else {
        value as u32
    }
}

pub(super) fn local_header(layout: Layout, member: &Member) -> Vec<u8> {
    let mut extra = Vec::new();
    if member.size >= layout.large {
        extra.extend([1, 0, 16, 0]);
        extra.extend(member.size.to_le_bytes());
        extra.extend(member.size.to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(LOCAL_BYTES + member.name.len() + extra.len());
    bytes.extend(LOCAL.to_le_bytes());
    bytes.extend(common_fields(layout, member, &extra));
    bytes.extend(member.name.as_bytes());
    bytes.extend(extra);
    bytes
}

pub(super) fn central_header(layout: Layout, member: &Member) -> Vec<u8> {
    let header_offset = member.offset - local_header(layout, member).len() as u64;
    let mut extra = Vec::new();
    if member.size >= layout.large {
        extra.extend(member.size.to_le_bytes());
        extra.extend(member.size.to_le_bytes());
    }
    if header_offset >= layout.large {
        extra.extend(header_offset.to_le_bytes());
    }
    if !extra.is_empty() {
        let length = extra.len() as u8;
        extra.splice(0..0, [1, 0, length, 0]);
    }
    let mut bytes = Vec::with_capacity(CENTRAL_BYTES + member.name.len() + extra.len());
    bytes.extend(CENTRAL.to_le_bytes());
    bytes.extend(MADE_BY.to_le_bytes());
    bytes.extend(common_fields(layout, member, &extra));
    bytes.extend([0; 6]); // no comment, disk 0, no internal attributes
    bytes.extend(ATTRIBUTES.to_le_bytes());
    bytes.extend(field32(layout, header_offset).to_le_bytes());
    bytes.extend(member.name.as_bytes());
    bytes.extend(extra);
    bytes
}

/// What local and central headers have in common: version needed to length of the extra field.
fn common_fields(layout: Layout, member: &Member, extra: &[u8]) -> Vec<u8> {
    let version: u16 = if extra.is_empty() { 20 } else { 45 };
    let mut bytes = Vec::with_capacity(26);
    for field in [version, FLAGS, 0, 0, DATE] {
        bytes.extend(field.to_le_bytes());
    }
    for field in [
        member.crc,
        field32(layout, member.size),
        field32(layout, member.size),
    ] {
        bytes.extend(field.to_le_bytes());
    }
    // The name was checked, or read with the length it has: at most 200 bytes.
    for field in [member.name.len(), extra.len()] {
        bytes.extend((field as u16).to_le_bytes());
    }
    bytes
}

pub(super) fn end_records(layout: Layout, count: u64, offset: u64, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if count >= layout.many || offset >= layout.large || size >= layout.large {
        bytes.extend(END64.to_le_bytes());
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend(MADE_BY.to_le_bytes());
        bytes.extend(45_u16.to_le_bytes());
        bytes.extend([0; 8]);
        for field in [count, count, size, offset] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(LOCATOR64.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend((offset + size).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
    }
    let count = if count >= layout.many {
        u16::MAX
    } else {
        count as u16
    };
    bytes.extend(END.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(field32(layout, size).to_le_bytes());
    bytes.extend(field32(layout, offset).to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
