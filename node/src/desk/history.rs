//! A history of a log that gives way to the one that goes on: put away, then the registry is made anew. SPEC §9.3, REG-31.

use std::path::PathBuf;
use std::sync::Arc;

use basoche_protocol::engine::Registry;
use basoche_registry::EntryFile;

use super::Desk;
use crate::files::{sync_dir, write_atomic};
use crate::operator::Alarm;
use crate::quic::CloseCode;
use crate::rows::{RegistryError, RowsError};
use crate::store::StoreError;

/// Where entries go that have given way, beside the high-water hint: one directory for each log and time.
const PUT_AWAY: &str = "put-away";
/// Bytes of leaves that are read at once.
const BYTES_AT_ONCE: usize = 8 << 20;

impl Desk {
    /// Puts away what has to give way of one log, admits the rest anew, and meets every peer anew: they take this node to hold
    /// more than it does. Takes as long as a start after other anchors. False if there is nothing to do.
    pub(super) fn give_way(&mut self) -> Result<bool, StoreError> {
        let Some(origin) = self.other_histories.pop_first() else {
            return Ok(false);
        };
        let registry = self.engine.registry();
        if registry.unjudged(&origin).is_some() {
            let about = format_args!(
                "log {origin}: this node began with a snapshot and has not judged the entries of before; make it anew"
            );
            Alarm::LogSetBack.raise(&self.monitor.meters, about);
            return Ok(true);
        }
        let (size, _) = registry.published(&origin).unwrap_or((0, &[]));
        let anchors = registry.anchors().clone();
        let (dir, held) = self.put_away(&origin, size)?;
        self.rows.set_back(&origin, size)?;
        let registry = self.rows.registry(anchors).map_err(|error| match error {
            RegistryError::Rows(RowsError::Store(error)) => error,
            other => StoreError::damaged(other.to_string()),
        })?;
        self.engine.replace_registry(Arc::new(registry));
        let about = format_args!(
            "log {origin}: {} entries from {size} on are in {}",
            held - size,
            dir.display()
        );
        Alarm::LogSetBack.raise(&self.monitor.meters, about);
        for peer in self.engine.peers().collect::<Vec<_>>() {
            self.outside.dismiss(peer, CloseCode::Restarting);
        }
        Ok(true)
    }

    /// Writes the entries from `from` on as files, for the authority: what they took away it enters anew. Gives the directory,
    /// and how many entries of the log were held.
    fn put_away(&self, origin: &str, from: u64) -> Result<(PathBuf, u64), StoreError> {
        let registry = self.engine.registry();
        let held = registry.tree(origin).map_or(from, |tree| tree.size());
        let name = format!("{}-{from}-{held}", origin.replace('/', "_"));
        let place = self.hint.with_file_name(PUT_AWAY);
        // What was put away before is not replaced.
        let again = (2_u32..).map(|number| format!("{name}.{number}"));
        let mut dirs = std::iter::once(name.clone())
            .chain(again)
            .map(|name| place.join(name));
        let dir = dirs.find(|dir| !dir.exists()).unwrap_or(place);
        let failed = |error: std::io::Error| StoreError::Io {
            what: format!("{}: {error}", dir.display()),
        };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let mut next = from;
        while next < held {
            let leaves = registry.leaves(origin, next, BYTES_AT_ONCE);
            if leaves.is_empty() {
                return Err(StoreError::damaged(format!("entry {next} of {origin}")));
            }
            for leaf in leaves {
                let file = EntryFile {
                    origin: origin.to_owned(),
                    index: next,
                    leaf,
                };
                let path = dir.join(format!("{next:08}.entry"));
                write_atomic(&path, &file.encode(), 0o600).map_err(failed)?;
                next += 1;
            }
        }
        sync_dir(&dir).map_err(failed)?;
        Ok((dir, held))
    }
}
