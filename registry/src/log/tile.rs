//! Tiles and entry bundles (C2SP tlog-tiles): the files in which a log is served. SPEC §9.6, LOG-7.
//!
//! A tile holds up to 256 hashes of one level of the tree, eight levels apart from the next; a bundle holds the
//! leaves below one tile of the lowest level.

use std::fmt;

use basoche_protocol::tree::{Hash, Tree};
use thiserror::Error;

/// Hashes of a full tile, entries of a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// Levels of the tree that a tile spans.
const TILE_HEIGHT: u32 = 8;
/// Bytes of an entry: its length takes two.
const ENTRY_BYTES: usize = u16::MAX as usize;

/// Where a tile stands, and how full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// 0 for leaf hashes; each level above holds the roots of the full tiles below.
    pub level: u8,
    /// Its place in the level, from 0.
    pub index: u64,
    /// Hashes, from 1 to [`TILE_WIDTH`].
    pub width: u16,
}

impl Tile {
    /// The path of its hashes below the log's own, `tile/0/x001/234.p/5`.
    pub fn path(&self) -> String {
        format!("tile/{}/{self}", self.level)
    }

    /// The path of the entries under a tile of level 0, `tile/entries/000`.
    pub fn entries_path(&self) -> String {
        format!("tile/entries/{self}")
    }

    /// Reads what [`Self::path`] writes, and nothing else.
    pub fn parse(path: &str) -> Option<Self> {
        let (level, mut rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level: u8 = level.parse().ok().filter(|level| *level < 64)?;
        let mut width = TILE_WIDTH as u16;
        if let Some((index, partial)) = rest.split_once(".p/") {
            width = partial.parse().ok().filter(|width| (1..256).contains(width))?;
            rest = index;
        }
        let mut index = 0_u64;
        for part in rest.split('/') {
            let digits: u64 = part.strip_prefix('x').unwrap_or(part).parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        // One tile has one path.
        Some(Self { level, index, width }).filter(|tile| tile.path() == path)
    }

    /// Its hashes, from a tree that has them.
    pub fn hashes(&self, tree: &Tree) -> Option<Vec<Hash>> {
        let span = 1_u64.checked_shl(TILE_HEIGHT * u32::from(self.level))?;
        let first = self.index.checked_mul(TILE_WIDTH)?;
        let of = |place: u64| {
            let start = (first + place).checked_mul(span)?;
            tree.subtree_root(start..start.checked_add(span)?)
        };
        (0..u64::from(self.width)).map(of).collect()
    }
}

impl fmt::Display for Tile {
    /// The index in groups of three digits, `x001/x234/067`, and the width of a partial tile.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut groups, mut rest) = (vec![self.index % 1000], self.index / 1000);
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups[1..].iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if u64::from(self.width) < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The tiles that a tree of `new` leaves has and one of `old` has not, level by level: what a log writes before it signs
/// a checkpoint of that size.
pub fn new_tiles(old: u64, new: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let (mut level, mut old, mut new) = (0, old, new);
    while new > 0 {
        // `old` and `new` count the hashes of this level.
        let first = old / TILE_WIDTH;
        for index in first..new.div_ceil(TILE_WIDTH) {
            let width = (new - index * TILE_WIDTH).min(TILE_WIDTH) as u16;
            if index * TILE_WIDTH + u64::from(width) > old {
                tiles.push(Tile { level, index, width });
            }
        }
        (level, old, new) = (level + 1, old / TILE_WIDTH, new / TILE_WIDTH);
    }
    tiles
}

/// Bytes that are no bundle, or entries that fit in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// Of more than [`TILE_WIDTH`] entries.
    #[error("a bundle has at most {TILE_WIDTH} entries")]
    TooMany,
    /// An entry of more than 65 535 bytes.
    #[error("an entry of a bundle has at most {ENTRY_BYTES} bytes")]
    TooLong,
    /// It ends within an entry.
    #[error("the bundle ends within an entry")]
    Truncated,
}

/// The entries one after the other, each after its length in two bytes.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    for (place, entry) in (0..).zip(entries) {
        if place == TILE_WIDTH {
            return Err(BundleError::TooMany);
        }
        let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLong)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle.
pub fn unbundle(bytes: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let (mut entries, mut rest) = (Vec::new(), bytes);
    while let [high, low, after @ ..] = rest {
        if entries.len() as u64 == TILE_WIDTH {
            return Err(BundleError::TooMany);
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (entry, after) = after.split_at_checked(length).ok_or(BundleError::Truncated)?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(BundleError::Truncated)
    }
}
