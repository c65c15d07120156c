//! Looks at what does not report itself: the disk, and the desk's queue.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Alarm, Monitor};
use crate::desk::DeskHandle;
use crate::disk::Space;

/// How often the disk is looked at.
const DISK: Duration = Duration::from_secs(2);
/// How often the queue is looked at.
const QUEUE: Duration = Duration::from_millis(500);

/// Looks at the desk's queue for as long as the node lives.
pub async fn watch_queue(desk: DeskHandle) {
    loop {
        let (waiting, limit) = desk.queue();
        desk.monitor().vitals.queue(waiting >= limit);
        sleep(QUEUE).await;
    }
}

/// Looks at the disk that holds `data` for as long as the node lives, one look at a time: a disk may hang.
pub async fn watch_disk(data: PathBuf, monitor: Arc<Monitor>) {
    let mut crossing = Crossing::default();
    let data: Arc<Path> = Arc::from(data);
    loop {
        let looked = Arc::clone(&data);
        let space = tokio::task::spawn_blocking(move || Space::of(&looked)).await;
        let space = space.ok().and_then(Result::ok);
        monitor.vitals.disk(space);
        if let Some(space) = space {
            let low_bytes = space.low_bytes(monitor.vitals.disk_low_percent());
            if crossing.is_new(space.free_bytes, low_bytes) {
                let about = format_args!("{} bytes are free, of {}", space.free_bytes, space.size_bytes);
                Alarm::DiskLow.raise(&monitor.meters, about);
            }
        }
        sleep(DISK).await;
    }
}

/// Tells when the free space goes below its bound; again only after a tenth more than the bound was free.
#[derive(Default)]
struct Crossing {
    low: bool,
}

impl Crossing {
    fn is_new(&mut self, free: u64, bound: u64) -> bool {
        let was_low = self.low;
        self.low = free < if was_low { bound + bound / 10 } else { bound };
        self.low && !was_low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_alarm_is_raised_once_a_crossing_and_not_at_each_trembling() {
        let mut crossing = Crossing::default();
        let seen = [100, 99, 50, 100, 109, 99, 110, 100, 99, 99].map(|free| crossing.is_new(free, 100));
        let raised: Vec<_> = (0..seen.len()).filter(|look| seen[*look]).collect();
        assert_eq!(raised, [1, 8]);
    }
}
