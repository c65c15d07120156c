//! A log as its authority publishes it: files in the layout of C2SP tlog-tiles, which any web server serves. SPEC §9.6,
//! LOG-7 and LOG-11.
//!
//! ```text
//! checkpoint                    the signed note, replaced by each that follows
//! tile/0/000, tile/0/000.p/7    hashes; partial tiles stay beside the fuller ones
//! tile/entries/000.p/7          leaves
//! certificate/<sha256>.der      what leaves name
//! ```

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use basoche_protocol::crypto::sha256;
use basoche_protocol::error::Error;
use basoche_protocol::id::CertificateId;
use basoche_protocol::text::hex_encode;
use basoche_protocol::tree::{Tree, leaf_hash};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_protocol::wire::limits;
use basoche_registry::log::{
    Checkpoint, Key, NOTE_BYTES, Note, TILE_WIDTH, Tile, bundle, new_tiles, unbundle,
};
use basoche_registry::{Content, Entry, EntryFile, Leaf};
use serde_bytes::ByteBuf;
use thiserror::Error;

use crate::files::write_atomic;

/// The file that is replaced.
pub const CHECKPOINT: &str = "checkpoint";
/// Bytes of a bundle: its entries, each after its length.
const BUNDLE_BYTES: u64 = TILE_WIDTH * (limits::LEAF_BYTES as u64 + 2);
/// Bytes of a tile.
const TILE_BYTES: u64 = TILE_WIDTH * 32;

/// What is wrong with a published log.
#[derive(Debug, Error)]
pub enum PublishedError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {what}", path.display())]
    Contents {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl PublishedError {
    /// The file that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } | Self::Contents { path, .. } => path,
        }
    }
}

fn contents(path: &Path, what: impl ToString) -> PublishedError {
    PublishedError::Contents {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

/// Writes the files that a log of `leaves` has and one of its first `old` leaves has not, all but the checkpoint. `tree`
/// is the tree over them.
pub fn write(dir: &Path, leaves: &[RegistryLeaf], tree: &Tree, old: u64) -> Result<(), PublishedError> {
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| write_atomic(&path, bytes, 0o644))
            .map_err(|source| PublishedError::File { path, source })
    };
    let new = leaves.iter().skip(usize::try_from(old).unwrap_or(usize::MAX));
    for leaf in new.filter(|leaf| !leaf.certificate.is_empty()) {
        put(
            &certificate_name(&CertificateId::new(sha256(&[&leaf.certificate]))),
            &leaf.certificate,
        )?;
    }
    for tile in new_tiles(old, tree.size()) {
        let other = || contents(dir, "the tree is not that of the leaves");
        let hashes = tile.hashes(tree).ok_or_else(other)?;
        put(&tile.path(), &hashes.concat())?;
        if tile.level == 0 {
            let first = (tile.index * TILE_WIDTH) as usize;
            let entries = leaves
                .get(first..first + usize::from(tile.width))
                .ok_or_else(other)?;
            let bytes =
                bundle(entries.iter().map(|leaf| &leaf.leaf[..])).map_err(|error| contents(dir, error))?;
            put(&tile.entries_path(), &bytes)?;
        }
    }
    Ok(())
}

fn certificate_name(certificate: &CertificateId) -> String {
    format!("certificate/{}.der", hex_encode(certificate.as_bytes()))
}

/// A log that was read from its files: signed by its authority, whole, and each leaf beside its certificate. Whether the
/// leaves are admissible is not looked at.
#[derive(Debug)]
pub struct Published {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Every leaf, in order.
    pub entries: Vec<EntryFile>,
}

/// The checkpoint in `dir`, signed by one of `keys`; `None` where there is none.
pub fn read_checkpoint(dir: &Path, keys: &[Key]) -> Result<Option<Checkpoint>, PublishedError> {
    let opened = read_note(dir)?.map(|note| Checkpoint::open(note, keys));
    opened
        .transpose()
        .map_err(|error| contents(&dir.join(CHECKPOINT), error))
}

fn read_note(dir: &Path) -> Result<Option<Note>, PublishedError> {
    let path = dir.join(CHECKPOINT);
    let bytes = match read_file(&path, NOTE_BYTES as u64) {
        Err(PublishedError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        read => read?,
    };
    let note = Note::parse(&bytes).map_err(|error| contents(&path, error))?;
    Ok(Some(note))
}

/// Reads the log in `dir`. All bundles and tiles are held to the checkpoint, and that to `keys`, before any leaf is looked
/// at; where none of these has signed it, to the last key under which the log says that it goes on: whether that is so is the
/// business of whoever admits the entries. LOG-7, REG-30.
pub fn read(dir: &Path, keys: &[Key]) -> Result<Published, PublishedError> {
    let path = dir.join(CHECKPOINT);
    let note = read_note(dir)?.ok_or_else(|| contents(&path, "there is no checkpoint"))?;
    let head = Checkpoint::head_of(note.text()).map_err(|error| contents(&path, error))?;
    let opened = Checkpoint::open(note.clone(), keys).map_err(|error| contents(&path, error));
    let (mut tree, mut bundles) = (Tree::new(), Vec::new());
    for tile in new_tiles(0, head.size).into_iter().filter(|tile| tile.level == 0) {
        let (path, bytes) = read_bundle(dir, tile)?;
        let leaves = unbundle(&bytes).map_err(|error| contents(&path, error))?;
        let within = leaves.get(..usize::from(tile.width));
        let within =
            within.ok_or_else(|| contents(&path, "it has fewer entries than the checkpoint says"))?;
        within.iter().for_each(|leaf| tree.push(leaf_hash(leaf)));
        let within: Vec<Vec<u8>> = within.iter().map(|leaf| leaf.to_vec()).collect();
        bundles.push((path, within));
    }
    if tree.root() != *head.root.as_bytes() {
        return Err(contents(&path, "the entries are not those of the checkpoint"));
    }
    for tile in new_tiles(0, head.size) {
        let path = dir.join(tile.path());
        let expected = tile.hashes(&tree).unwrap_or_default().concat();
        if read_file(&path, TILE_BYTES)? != expected {
            return Err(contents(&path, "it has other hashes than the checkpoint says"));
        }
    }
    let leaves = bundles
        .iter()
        .flat_map(|(path, leaves)| leaves.iter().map(move |leaf| (path, leaf)));
    let entries = (0..).zip(leaves);
    let entries = entries.map(|(index, (path, leaf))| entry(dir, &head.origin, index, leaf, path));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    let checkpoint = opened.or_else(|unsigned| {
        let says = |file: &EntryFile| {
            let leaf = Leaf::decode(&file.leaf.leaf).ok()?;
            match Entry::decode(leaf.envelope().payload()).ok()?.content {
                Content::Continuation(next) => Some(next.log),
                _ => None,
            }
        };
        let last = entries.iter().rev().find_map(says);
        let opened = last.map(|key| Checkpoint::open(note, &[key]));
        opened.and_then(Result::ok).ok_or(unsigned)
    })?;
    Ok(Published { checkpoint, entries })
}

/// The bundle of `tile` and where it was. A log that has grown meanwhile may keep the full one alone.
fn read_bundle(dir: &Path, tile: Tile) -> Result<(PathBuf, Vec<u8>), PublishedError> {
    let full = Tile {
        width: TILE_WIDTH as u16,
        ..tile
    };
    let (partial, full) = (dir.join(tile.entries_path()), dir.join(full.entries_path()));
    match read_file(&partial, BUNDLE_BYTES) {
        Err(PublishedError::File { source, .. })
            if source.kind() == io::ErrorKind::NotFound && full.exists() =>
        {
            read_file(&full, BUNDLE_BYTES).map(|bytes| (full, bytes))
        }
        read => read.map(|bytes| (partial, bytes)),
    }
}

/// A leaf with the certificate that it names.
fn entry(
    dir: &Path,
    origin: &str,
    index: u64,
    leaf: &[u8],
    path: &Path,
) -> Result<EntryFile, PublishedError> {
    let named = |leaf: &[u8]| {
        let leaf = Leaf::decode(leaf)?;
        let content = Entry::decode(leaf.envelope().payload())?.content;
        Ok::<_, Error>(content.key().map(|key| key.certificate))
    };
    let named = named(leaf).map_err(|error| contents(path, format!("entry {index}: {error}")))?;
    let mut certificate = Vec::new();
    if let Some(named) = named {
        let path = dir.join(certificate_name(&named));
        certificate = read_file(&path, limits::CERTIFICATE_BYTES as u64)?;
        if sha256(&[&certificate]) != *named.as_bytes() {
            return Err(contents(&path, "it is not the certificate that its name states"));
        }
    }
    Ok(EntryFile {
        origin: origin.to_owned(),
        index,
        leaf: RegistryLeaf {
            leaf: ByteBuf::from(leaf),
            certificate: ByteBuf::from(certificate),
        },
    })
}

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, PublishedError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|source| PublishedError::File {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > limit {
        return Err(contents(path, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}
