//! Reading members, each held to its digest, and none forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek};

use basoche_protocol::crypto::{Sha256, sha256};

use super::layout::{self, MANIFEST, SUMS, Sums};
use super::report::Claims;
use crate::zip::{Archive, ZipError};

/// The archive under verification.
pub(super) struct Members<'a, R> {
    archive: Archive<R>,
    /// Whether the archive is complete: then what is not there was left out.
    whole: bool,
    /// What `SHA256SUMS` says; empty where it is missing or malformed.
    sums: BTreeMap<String, [u8; 32]>,
    visited: BTreeSet<String>,
    progress: &'a dyn Fn(u64, u64),
    done: u64,
    total: u64,
}

impl<'a, R: Read + Seek> Members<'a, R> {
    pub(super) fn new(archive: Archive<R>, whole: bool, progress: &'a dyn Fn(u64, u64)) -> Self {
        let total = archive.members().iter().map(|member| member.size).sum();
        Self {
            archive,
            whole,
            sums: BTreeMap::new(),
            visited: BTreeSet::new(),
            progress,
            done: 0,
            total,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.archive.find(name).is_some()
    }

    /// Bytes of a member.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        let member = self.archive.members().iter().find(|member| member.name == name);
        member.map(|member| member.size)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.archive.members().iter().map(|member| member.name.as_str())
    }

    /// Reads `SHA256SUMS` and holds the list of members to it. The bytes, for the manifest.
    pub(super) fn read_sums(&mut self, claims: &mut Claims) -> Option<Vec<u8>> {
        let bytes = self.read(SUMS, layout::LIST_BYTES, "manifest", claims)?;
        let Some(sums) = layout::read_sums_file(&bytes) else {
            claims.contradicted("manifest", "malformed", SUMS, "not a list of digests and names");
            return Some(bytes);
        };
        self.compare_names(&sums, claims);
        self.sums = sums.into_iter().collect();
        Some(bytes)
    }

    /// The members but the last two are the listed ones, in their order.
    fn compare_names(&self, sums: &Sums, claims: &mut Claims) {
        let before = claims.failures();
        let listed: BTreeSet<_> = sums.iter().map(|(name, _)| name.as_str()).collect();
        let present: Vec<_> = self
            .names()
            .filter(|name| !matches!(*name, SUMS | MANIFEST))
            .collect();
        let found: BTreeSet<_> = present.iter().copied().collect();
        for name in listed.difference(&found) {
            claims.contradicted(
                "member",
                "missing",
                name,
                "listed in SHA256SUMS, not in the archive",
            );
        }
        for name in found.difference(&listed) {
            claims.contradicted(
                "member",
                "unexpected",
                name,
                "in the archive, not listed in SHA256SUMS",
            );
        }
        let order = sums.iter().map(|(name, _)| name.as_str());
        if claims.failures() == before
            && let Some((moved, _)) = present.iter().zip(order).find(|(found, listed)| *found != listed)
        {
            claims.contradicted(
                "member",
                "order",
                moved,
                "not at the place that SHA256SUMS gives it",
            );
        }
        let last: Vec<_> = self.names().collect();
        if !last.ends_with(&[SUMS, MANIFEST]) {
            let what = "the archive does not end with SHA256SUMS and manifest.jws";
            claims.contradicted("member", "order", SUMS, what);
        }
    }

    /// A member of at most `limit` bytes, held to its digest. Whatever is wrong becomes a claim about `id`; a
    /// member of a wrong digest is given all the same, so that the report says what it changes.
    pub(super) fn read(
        &mut self,
        name: &str,
        limit: usize,
        id: &str,
        claims: &mut Claims,
    ) -> Option<Vec<u8>> {
        match self.archive.read(name, limit as u64) {
            Ok(bytes) => {
                self.check(name, bytes.len() as u64, &sha256(&[&bytes]), id, claims);
                Some(bytes)
            }
            Err(error) => {
                self.fail(name, error, id, claims);
                None
            }
        }
    }

    /// Reads a member of any size piece by piece: SHA-256 of all of it. `each` may stop looking, not reading.
    pub(super) fn stream(
        &mut self,
        name: &str,
        id: &str,
        claims: &mut Claims,
        each: &mut dyn FnMut(&[u8]),
    ) -> bool {
        let read = self.archive.reader(name).and_then(|mut reader| {
            let (mut hash, mut size) = (Sha256::new(), 0);
            let mut piece = vec![0; 1 << 18];
            loop {
                match reader.read(&mut piece) {
                    Ok(0) => return Ok((hash.finish(), size)),
                    Ok(read) => {
                        hash.update(&piece[..read]);
                        each(&piece[..read]);
                        size += read as u64;
                        (self.progress)(self.done + size, self.total);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        return Err(ZipError::Checksum { member: name.into() });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        });
        match read {
            Ok((digest, size)) => {
                self.check(name, size, &digest, id, claims);
                true
            }
            Err(error) => {
                self.fail(name, error, id, claims);
                false
            }
        }
    }

    /// Members that nothing in the evidence calls for; each is held to its digest all the same. Where the evidence
    /// does not hold together they may belong to what is missing, and are left at that.
    pub(super) fn finish(mut self, claims: &mut Claims) {
        let called_for = claims.hold_together();
        let rest: Vec<_> = self
            .names()
            .filter(|name| !self.visited.contains(*name))
            .map(str::to_owned)
            .collect();
        for name in rest {
            self.stream(&name, "member", claims, &mut |_| {});
            if called_for {
                let what = "nothing in the evidence calls for this member";
                claims.contradicted("member", "unexpected", &name, what);
            }
        }
    }

    fn check(&mut self, name: &str, size: u64, digest: &[u8; 32], id: &str, claims: &mut Claims) {
        // A member that the evidence names twice is one member.
        if self.visited.insert(name.to_owned()) {
            self.done += size;
            (self.progress)(self.done, self.total);
            if self.sums.get(name).is_some_and(|listed| listed != digest) {
                let what = "its bytes are not those that SHA256SUMS lists";
                claims.contradicted(id, "digest", name, what);
            }
        }
    }

    fn fail(&mut self, name: &str, error: ZipError, id: &str, claims: &mut Claims) {
        self.visited.insert(name.to_owned());
        let reason = error.to_string();
        match error {
            ZipError::Absent { .. } if self.whole => claims.contradicted(id, "missing", name, reason),
            ZipError::Absent { .. } => {
                claims.undetermined(id, "truncated", Some(name), "cut off with the end of the file");
            }
            ZipError::Checksum { .. } => claims.contradicted(id, "checksum", name, reason),
            ZipError::TooLarge { .. } => claims.contradicted(id, "too-large", name, reason),
            ZipError::Io(_) => claims.undetermined(id, "unreadable", Some(name), reason),
            ZipError::Structure { .. }
            | ZipError::Name { .. }
            | ZipError::Size { .. }
            | ZipError::TooManyMembers
            | ZipError::Unfinished => claims.contradicted(id, "structure", name, reason),
        }
    }
}
