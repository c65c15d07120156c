//! Reading an archive, and nothing but an archive of our own making.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crc32fast::Hasher;

use super::layout::{
    CENTRAL, CENTRAL_BYTES, CENTRAL_EXTRA_BYTES, END, END_BYTES, END64_BYTES, LOCAL, LOCAL_BYTES,
    LOCAL_EXTRA_BYTES, Layout, STANDARD, central_header, end_records, local_header, u16_at, u32_at, u64_at,
};
use super::{MAX_MEMBERS, MAX_NAME_BYTES, Member, Names, ZipError, check_name, structure};

/// A complete archive, or what is whole of a truncated one.
pub struct Archive<R> {
    file: R,
    members: Vec<Member>,
    names: Names,
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the directory, and accepts it only if every byte outside the members' data is as
    /// [`Writer`](super::Writer) writes it. The data themselves are checked as they are read.
    ///
    /// # Errors
    /// [`ZipError::Structure`] with the member and the offset; [`ZipError::TooManyMembers`].
    pub fn open(file: R) -> Result<Self, ZipError> {
        Self::open_with_layout(file, STANDARD)
    }

    pub(super) fn open_with_layout(mut file: R, layout: Layout) -> Result<Self, ZipError> {
        let (count, directory) = read_end(&mut file, layout)?;
        let mut archive = Self {
            file,
            members: Vec::new(),
            names: Names::default(),
        };
        archive.read_directory(layout, count, directory)?;
        for member in &archive.members {
            let expected = local_header(layout, member);
            let start = member.offset - expected.len() as u64;
            let found = read_at(&mut archive.file, start, expected.len())?;
            compare(
                &found,
                &expected,
                Some(&member.name),
                start,
                "its local header differs from the directory",
            )?;
        }
        Ok(archive)
    }

    /// The complete members at the start of a file that was cut short, or of any other: it walks from local
    /// header to local header, checks the data, and stops at the first thing that is not a whole, right member.
    ///
    /// # Errors
    /// Only those of the operating system.
    pub fn salvage(mut file: R) -> Result<Self, ZipError> {
        file.seek(SeekFrom::Start(0))?;
        let mut input = BufReader::with_capacity(1 << 16, file);
        let (mut members, mut names, mut position) = (Vec::new(), Names::default(), 0);
        while members.len() < MAX_MEMBERS {
            let Some(member) = salvage_member(&mut input, position)? else {
                break;
            };
            if names.add(&member.name, members.len()).is_err() {
                break;
            }
            position = member.offset + member.size;
            members.push(member);
        }
        Ok(Self {
            file: input.into_inner(),
            members,
            names,
        })
    }

    /// All members, in the order of the archive.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of this name.
    pub fn find(&self, name: &str) -> Option<&Member> {
        self.names
            .find(name)
            .map(|index| &self.members[index])
            .filter(|member| member.name == name)
    }

    /// The data of a member. The checksum is checked where they end: only a reader that has answered `Ok(0)`
    /// has given right data; else it fails with [`io::ErrorKind::InvalidData`], around a [`ZipError::Checksum`].
    pub fn reader(&mut self, name: &str) -> Result<MemberReader<'_, R>, ZipError> {
        let Some(Member {
            size, crc, offset, ..
        }) = self.find(name).cloned()
        else {
            return Err(ZipError::Absent { name: name.into() });
        };
        self.file.seek(SeekFrom::Start(offset))?;
        let file = &mut self.file;
        Ok(MemberReader {
            file,
            name: name.into(),
            remaining: size,
            expected: crc,
            crc: Hasher::new(),
        })
    }

    /// The data of a member of at most `limit` bytes, checked.
    pub fn read(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, ZipError> {
        let mut reader = self.reader(name)?;
        if reader.remaining > limit {
            return Err(ZipError::TooLarge {
                member: name.into(),
                size: reader.remaining,
                limit,
            });
        }
        let mut data = Vec::with_capacity(reader.remaining as usize);
        match reader.read_to_end(&mut data) {
            Ok(_) => Ok(data),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ZipError::Checksum { member: name.into() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads `count` central headers from `directory` and checks that the members fill what is before it.
    fn read_directory(&mut self, layout: Layout, count: u64, directory: Directory) -> Result<(), ZipError> {
        self.file.seek(SeekFrom::Start(directory.offset))?;
        let mut input = BufReader::with_capacity(1 << 16, (&mut self.file).take(directory.size));
        let (mut at, mut position) = (directory.offset, 0_u64);
        for index in 0..count as usize {
            let (mut member, bytes) = read_central(&mut input, at)?;
            let name = member.name.clone();
            let refuse = |what| structure(Some(&name), at, what);
            // In u128 no sum of sizes overflows.
            let header_bytes = local_header(layout, &member).len() as u128;
            if u128::from(position) + header_bytes + u128::from(member.size) > u128::from(directory.offset) {
                return Err(refuse("the member reaches beyond the data"));
            }
            member.offset = position + header_bytes as u64;
            compare(
                &bytes,
                &central_header(layout, &member),
                Some(&name),
                at,
                "not the header the writer makes",
            )?;
            check_name(&name)
                .and_then(|()| self.names.add(&name, index))
                .map_err(refuse)?;
            position = member.offset + member.size;
            at += bytes.len() as u64;
            self.members.push(member);
        }
        if position != directory.offset {
            return Err(structure(None, position, "bytes that belong to no member"));
        }
        if at != directory.offset + directory.size {
            return Err(structure(
                None,
                at,
                "bytes in the directory that belong to no member",
            ));
        }
        Ok(())
    }
}

/// Reads the data of one member and checks them at the end; see [`Archive::reader`].
pub struct MemberReader<'a, R> {
    file: &'a mut R,
    name: String,
    remaining: u64,
    expected: u32,
    crc: Hasher,
}

impl<R: Read> Read for MemberReader<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.remaining == 0 {
            if self.crc.clone().finalize() != self.expected {
                let error = ZipError::Checksum {
                    member: self.name.clone(),
                };
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            return Ok(0);
        }
        let wanted = buf
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buf[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.crc.update(&buf[..read]);
        self.remaining -= read as u64;
        Ok(read)
    }
}

/// Where the central headers are.
struct Directory {
    offset: u64,
    size: u64,
}

/// Reads the end records and checks that they are the last bytes, and right but for the numbers in them.
fn read_end(file: &mut (impl Read + Seek), layout: Layout) -> Result<(u64, Directory), ZipError> {
    let length = file.seek(SeekFrom::End(0))?;
    let Some(start) = length.checked_sub(END_BYTES as u64) else {
        return Err(structure(None, length, "too short for an archive"));
    };
    let end = read_at(file, start, END_BYTES)?;
    if u32_at(&end, 0) != Some(END) {
        return Err(structure(
            None,
            start,
            "no end record: cut short, or with bytes appended",
        ));
    }
    let short = u16_at(&end, 10).zip(u32_at(&end, 12)).zip(u32_at(&end, 16));
    let Some(((count, size), offset)) = short else {
        return Err(structure(None, start, "no end record"));
    };
    let mut numbers = (u64::from(count), u64::from(size), u64::from(offset));
    if count == u16::MAX || size == u32::MAX || offset == u32::MAX {
        let found = start
            .checked_sub(END64_BYTES as u64)
            .map(|at| read_at(file, at, END64_BYTES))
            .transpose()?;
        let found = found.unwrap_or_default();
        let long = u64_at(&found, 32).zip(u64_at(&found, 40)).zip(u64_at(&found, 48));
        let Some(((count, size), offset)) = long else {
            return Err(structure(None, start, "no Zip64 end record"));
        };
        numbers = (count, size, offset);
    }
    let (count, size, offset) = numbers;
    let Some(start) = offset.checked_add(size) else {
        return Err(structure(None, start, "a directory larger than any file"));
    };
    let expected = end_records(layout, count, offset, size);
    if start.checked_add(expected.len() as u64) != Some(length) {
        return Err(structure(
            None,
            start,
            "the directory does not end where the end record begins",
        ));
    }
    let found = read_at(file, start, expected.len())?;
    compare(
        &found,
        &expected,
        None,
        start,
        "not the end record that the writer makes",
    )?;
    if count > MAX_MEMBERS as u64 {
        return Err(ZipError::TooManyMembers);
    }
    Ok((count, Directory { offset, size }))
}

/// Reads the central header at `at`: the member it states (but for its place), and its bytes, to be compared.
fn read_central(input: &mut impl Read, at: u64) -> Result<(Member, Vec<u8>), ZipError> {
    let end_of_input = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => structure(None, at, "the directory ends within a header"),
        _ => error.into(),
    };
    let mut bytes = vec![0; CENTRAL_BYTES];
    input.read_exact(&mut bytes).map_err(end_of_input)?;
    let member =
        read_variable(input, &mut bytes, CENTRAL, 16, 28, CENTRAL_EXTRA_BYTES).map_err(end_of_input)?;
    Ok((
        member.ok_or_else(|| structure(None, at, "not a header of the directory"))?,
        bytes,
    ))
}

/// The member whose local header is at `position` and whose data are whole and right.
fn salvage_member(input: &mut impl Read, position: u64) -> Result<Option<Member>, ZipError> {
    let mut bytes = vec![0; LOCAL_BYTES];
    let header = input
        .read_exact(&mut bytes)
        .and_then(|()| read_variable(input, &mut bytes, LOCAL, 14, 26, LOCAL_EXTRA_BYTES));
    let Some(mut member) = end_is_none(header)?.flatten() else {
        return Ok(None);
    };
    let Some(offset) = position.checked_add(bytes.len() as u64) else {
        return Ok(None);
    };
    member.offset = offset;
    let whole = offset.checked_add(member.size).is_some();
    if !whole || bytes != local_header(STANDARD, &member) || check_name(&member.name).is_err() {
        return Ok(None);
    }
    let (mut crc, mut remaining) = (Hasher::new(), member.size);
    let mut data = vec![0; 1 << 16];
    while remaining > 0 {
        let part = &mut data[..remaining.min(1 << 16) as usize];
        if end_is_none(input.read_exact(part))?.is_none() {
            return Ok(None);
        }
        crc.update(part);
        remaining -= part.len() as u64;
    }
    Ok(Some(member).filter(|member| member.crc == crc.finalize()))
}

/// Reads name and extra field after the fixed part in `bytes`, where the checksum is at `crc_at` and the two
/// lengths at `lengths_at`. `None` for a wrong signature or lengths that the writer never makes.
fn read_variable(
    input: &mut impl Read,
    bytes: &mut Vec<u8>,
    signature: u32,
    crc_at: usize,
    lengths_at: usize,
    most_extra: usize,
) -> io::Result<Option<Member>> {
    let fixed = bytes.len();
    let name_bytes = usize::from(u16_at(bytes, lengths_at).unwrap_or_default());
    let extra_bytes = usize::from(u16_at(bytes, lengths_at + 2).unwrap_or_default());
    if u32_at(bytes, 0) != Some(signature) || name_bytes > MAX_NAME_BYTES || extra_bytes > most_extra {
        return Ok(None);
    }
    bytes.resize(fixed + name_bytes + extra_bytes, 0);
    input.read_exact(&mut bytes[fixed..])?;
    let Ok(name) = std::str::from_utf8(&bytes[fixed..fixed + name_bytes]) else {
        return Ok(None);
    };
    let short = u32_at(bytes, crc_at + 8).unwrap_or_default();
    let long = u64_at(bytes, fixed + name_bytes + 4).filter(|_| short == u32::MAX);
    let size = long.unwrap_or_else(|| u64::from(short));
    let crc = u32_at(bytes, crc_at).unwrap_or_default();
    Ok(Some(Member {
        name: name.into(),
        size,
        crc,
        offset: 0,
    }))
}

fn end_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        other => other.map(Some),
    }
}

fn read_at(file: &mut (impl Read + Seek), offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut found = vec![0; bytes];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut found)?;
    Ok(found)
}

fn compare(
    found: &[u8],
    expected: &[u8],
    member: Option<&str>,
    start: u64,
    what: &'static str,
) -> Result<(), ZipError> {
    if found == expected {
        return Ok(());
    }
    let same = found
        .iter()
        .zip(expected)
        .take_while(|(found, expected)| found == expected)
        .count();
    Err(structure(member, start + same as u64, what))
}
