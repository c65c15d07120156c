//! Evidence bundles: ZIP archives (PKWARE APPNOTE 6.3.10) of one strict shape, stored and never compressed.
//!
//! ```text
//! ( local header ‖ data )*  ‖  central header*  ‖  [ Zip64 end record ‖ Zip64 locator ]  ‖  end record
//! ```
//!
//! Every byte outside the data is a function of names, sizes, checksums and order: no dates (1980-01-01), no
//! comments, no data descriptors, Zip64 where a field overflows and nowhere else. [`Archive::open`] writes these
//! bytes anew and compares, so that nothing can be appended, prepended, hidden between members or said twice
//! with a difference. Any ZIP program opens such an archive; a reader of ours opens no other.
//!
//! The CRC-32 of a member finds accidents. Proof against intent is the business of the bundle's digests.

mod archive;
mod layout;
mod writer;

pub use archive::{Archive, MemberReader};
pub use writer::{MemberWriter, Writer};

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;

/// The most members of an archive.
pub const MAX_MEMBERS: usize = 1_000_000;

/// The most bytes of a member's name.
pub const MAX_NAME_BYTES: usize = 200;

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path: ASCII letters, digits and `._-`, in parts divided by `/`.
    pub name: String,
    /// The bytes of its data.
    pub size: u64,
    /// The CRC-32 of its data.
    pub crc: u32,
    /// Where its data begin in the archive.
    pub offset: u64,
}

/// Why an archive cannot be written or is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// A byte that the writer would not have written.
    #[error("{}byte {offset} of the archive: {what}", member_prefix(member))]
    Structure {
        /// The member it belongs to, where it belongs to one.
        member: Option<String>,
        /// Where the difference is.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The data of a member are not those whose checksum the archive states.
    #[error("member {member}: the data do not match their checksum")]
    Checksum {
        /// The member.
        member: String,
    },
    /// A name that an archive cannot hold (again).
    #[error("member name {name:?}: {what}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A member was given more or fewer bytes than announced.
    #[error("member {member}: {given} bytes given, {announced} announced")]
    Size {
        /// The member.
        member: String,
        /// The size given to [`Writer::member`].
        announced: u64,
        /// The bytes written.
        given: u64,
    },
    /// More than [`MAX_MEMBERS`].
    #[error("the archive has more than {MAX_MEMBERS} members")]
    TooManyMembers,
    /// A member was begun and not finished: the archive cannot be completed.
    #[error("a member of the archive was begun and not finished")]
    Unfinished,
    /// There is no such member.
    #[error("the archive has no member {name}")]
    Absent {
        /// The name asked for.
        name: String,
    },
    /// A member is larger than the caller wants in memory.
    #[error("member {member}: {size} bytes exceed the limit of {limit}")]
    TooLarge {
        /// The member.
        member: String,
        /// Its size.
        size: u64,
        /// The caller's limit.
        limit: u64,
    },
    /// The operating system refused.
    #[error("reading or writing the archive: {0}")]
    Io(#[from] io::Error),
}

fn member_prefix(member: &Option<String>) -> String {
    member
        .as_ref()
        .map(|name| format!("member {name}, "))
        .unwrap_or_default()
}

fn structure(member: Option<&str>, offset: u64, what: &'static str) -> ZipError {
    ZipError::Structure {
        member: member.map(str::to_owned),
        offset,
        what,
    }
}

/// The names of an archive. They are unique without regard to case, so that it unpacks on every system.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn add(&mut self, name: &str, index: usize) -> Result<(), &'static str> {
        match self.0.entry(name.to_ascii_lowercase()) {
            Entry::Vacant(vacant) => {
                vacant.insert(index);
                Ok(())
            }
            // The first one keeps its place: what is salvaged before a second one is still found.
            Entry::Occupied(_) => Err("a second member of this name"),
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.get(&name.to_ascii_lowercase()).copied()
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err("not 1 to 200 bytes long");
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
    {
        return Err("not of ASCII letters, digits, dot, underscore, hyphen and slash");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("not a relative path of named parts");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
