//! Writing an archive.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crc32fast::Hasher;

use super::layout::{Layout, STANDARD, central_header, end_records, local_header};
use super::{MAX_MEMBERS, Member, Names, ZipError, check_name};

/// Writes an archive, member after member. What is written before [`finish`](Self::finish) is no archive yet,
/// but [`Archive::salvage`](super::Archive::salvage) finds the complete members of it.
pub struct Writer<W> {
    out: W,
    layout: Layout,
    members: Vec<Member>,
    names: Names,
    position: u64,
    unfinished: bool,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins an archive in `out`, which must be empty.
    pub fn new(out: W) -> Result<Self, ZipError> {
        Self::with_layout(out, STANDARD)
    }

    pub(super) fn with_layout(mut out: W, layout: Layout) -> Result<Self, ZipError> {
        if out.seek(SeekFrom::End(0))? != 0 {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the output is not empty").into());
        }
        let names = Names::default();
        Ok(Self {
            out,
            layout,
            members: Vec::new(),
            names,
            position: 0,
            unfinished: false,
        })
    }

    /// Begins a member of exactly `size` bytes, to be written to the result and then finished.
    ///
    /// # Errors
    /// [`ZipError::Name`], [`ZipError::TooManyMembers`], [`ZipError::Unfinished`].
    pub fn member(&mut self, name: &str, size: u64) -> Result<MemberWriter<'_, W>, ZipError> {
        self.begin(name, size, 0)?;
        Ok(MemberWriter {
            archive: self,
            crc: Hasher::new(),
            given: 0,
            announced: size,
        })
    }

    /// Adds a whole member.
    pub fn add(&mut self, name: &str, data: &[u8]) -> Result<(), ZipError> {
        self.begin(name, data.len() as u64, crc32fast::hash(data))?;
        self.out.write_all(data)?;
        self.position += data.len() as u64;
        self.unfinished = false;
        Ok(())
    }

    /// Adds a member of exactly `size` bytes from `data`, in constant memory.
    pub fn add_from(&mut self, name: &str, size: u64, data: &mut impl Read) -> Result<(), ZipError> {
        let mut member = self.member(name, size)?;
        io::copy(data, &mut member)?;
        member.finish()
    }

    /// Writes the directory and gives the output back, flushed but not synced.
    pub fn finish(mut self) -> Result<W, ZipError> {
        if self.unfinished {
            return Err(ZipError::Unfinished);
        }
        let start = self.position;
        for member in &self.members {
            let header = central_header(self.layout, member);
            self.out.write_all(&header)?;
            self.position += header.len() as u64;
        }
        let end = end_records(
            self.layout,
            self.members.len() as u64,
            start,
            self.position - start,
        );
        self.out.write_all(&end)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn begin(&mut self, name: &str, size: u64, crc: u32) -> Result<(), ZipError> {
        if self.unfinished {
            return Err(ZipError::Unfinished);
        }
        if self.members.len() == MAX_MEMBERS {
            return Err(ZipError::TooManyMembers);
        }
        let refuse = |what| ZipError::Name {
            name: name.into(),
            what,
        };
        check_name(name).map_err(refuse)?;
        self.names.add(name, self.members.len()).map_err(refuse)?;
        let mut member = Member {
            name: name.into(),
            size,
            crc,
            offset: 0,
        };
        let header = local_header(self.layout, &member);
        member.offset = self.position + header.len() as u64;
        self.unfinished = true;
        self.out.write_all(&header)?;
        self.position = member.offset;
        self.members.push(member);
        Ok(())
    }
}

/// Takes the data of one member. Unless it is finished, the archive cannot be.
pub struct MemberWriter<'a, W> {
    archive: &'a mut Writer<W>,
    crc: Hasher,
    given: u64,
    announced: u64,
}

impl<W: Write + Seek> MemberWriter<'_, W> {
    /// Ends the member and writes its checksum into its header.
    ///
    /// # Errors
    /// [`ZipError::Size`] if fewer bytes were written than announced.
    pub fn finish(self) -> Result<(), ZipError> {
        let Self {
            archive,
            crc,
            given,
            announced,
        } = self;
        // `begin` pushed the member that is being written.
        let Some(member) = archive.members.last_mut() else {
            return Err(ZipError::Unfinished);
        };
        if given != announced {
            return Err(ZipError::Size {
                member: member.name.clone(),
                announced,
                given,
            });
        }
        member.crc = crc.finalize();
        let header = local_header(archive.layout, member);
        archive
            .out
            .seek(SeekFrom::Start(member.offset - header.len() as u64))?;
        archive.out.write_all(&header)?;
        archive.out.seek(SeekFrom::Start(archive.position))?;
        archive.unfinished = false;
        Ok(())
    }
}

impl<W: Write> Write for MemberWriter<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() as u64 > self.announced - self.given {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a member is longer than announced",
            ));
        }
        let written = self.archive.out.write(data)?;
        self.crc.update(&data[..written]);
        self.given += written as u64;
        self.archive.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.archive.out.flush()
    }
}
