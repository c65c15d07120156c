//! Buffers for bytes that pass through: aligned, so that disk and process can do without the kernel's copy, and
//! going round between who fills and who empties them, so that their number bounds the memory.

use bytes::Bytes;
use tokio::sync::mpsc;

/// What direct transfers to and from a disk are multiples of, in bytes.
pub const BLOCK: usize = 4096;

/// Bytes whose first lies on a [`BLOCK`] boundary.
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    capacity: usize,
    length: usize,
}

impl Aligned {
    /// An empty buffer for `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let memory = vec![0; capacity + BLOCK];
        // The vector never grows, so that its bytes stay where they are.
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self {
            memory,
            start,
            capacity,
            length: 0,
        }
    }

    /// Makes room for `bytes` more, at most what fits, and gives the room: its bytes count from now on.
    pub fn grow(&mut self, bytes: usize) -> &mut [u8] {
        let (from, length) = (self.length, (self.length + bytes).min(self.capacity));
        self.length = length;
        &mut self.memory[self.start + from..self.start + length]
    }

    /// Takes back the last bytes: only the first `length` count.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Appends what fits of `bytes`, and says how many those are.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let room = self.grow(bytes.len());
        room.copy_from_slice(&bytes[..room.len()]);
        room.len()
    }

    /// How many bytes count.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no byte counts.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.length == self.capacity
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

/// `count` buffers of `capacity` bytes that go round.
pub fn ring(count: usize, capacity: usize) -> (Fill, Drain) {
    let (full, filled) = mpsc::channel(count);
    let (empty, emptied) = mpsc::channel(count);
    for _ in 0..count {
        // There is room for all of them, now and later.
        let _ = empty.try_send(Aligned::new(capacity));
    }
    let fill = Fill {
        emptied,
        full,
        spare: Vec::with_capacity(count),
        count,
    };
    (fill, Drain { filled, empty })
}

/// The end of a ring that fills buffers.
pub struct Fill {
    emptied: mpsc::Receiver<Aligned>,
    full: mpsc::Sender<(u64, Aligned)>,
    /// Empty buffers at hand.
    spare: Vec<Aligned>,
    count: usize,
}

impl Fill {
    /// An empty buffer, once there is one; `None` when the other end has gone.
    pub async fn next(&mut self) -> Option<Aligned> {
        match self.spare.pop() {
            Some(buffer) => Some(buffer),
            None => self.emptied.recv().await,
        }
    }

    /// The same, on a thread that may block.
    pub fn wait(&mut self) -> Option<Aligned> {
        self.spare.pop().or_else(|| self.emptied.blocking_recv())
    }

    /// Passes a filled buffer on, whose bytes belong at `offset`; false when the other end has gone.
    pub fn pass(&self, offset: u64, buffer: Aligned) -> bool {
        self.full.try_send((offset, buffer)).is_ok()
    }

    /// Puts a buffer aside that was not filled.
    pub fn keep(&mut self, mut buffer: Aligned) {
        buffer.truncate(0);
        self.spare.push(buffer);
    }

    /// Waits until everything that was passed on is emptied; false when the other end has gone.
    pub async fn flush(&mut self) -> bool {
        while self.spare.len() < self.count {
            match self.emptied.recv().await {
                Some(buffer) => self.spare.push(buffer),
                None => return false,
            }
        }
        true
    }
}

/// The end of a ring that empties buffers.
pub struct Drain {
    filled: mpsc::Receiver<(u64, Aligned)>,
    empty: mpsc::Sender<Aligned>,
}

impl Drain {
    /// A filled buffer and where its bytes belong, once there is one; `None` when the other end has gone and all are
    /// emptied.
    pub async fn next(&mut self) -> Option<(u64, Aligned)> {
        self.filled.recv().await
    }

    /// The same, on a thread that may block.
    pub fn wait(&mut self) -> Option<(u64, Aligned)> {
        self.filled.blocking_recv()
    }

    /// Gives an emptied buffer back.
    pub fn give_back(&self, mut buffer: Aligned) {
        buffer.truncate(0);
        // Who fills may have gone.
        let _ = self.empty.try_send(buffer);
    }

    /// The bytes of a buffer, which goes back when the last reference to them does.
    pub fn lend(&self, buffer: Aligned) -> Bytes {
        Bytes::from_owner(Lent {
            buffer: Some(buffer),
            empty: self.empty.clone(),
        })
    }
}

struct Lent {
    buffer: Option<Aligned>,
    empty: mpsc::Sender<Aligned>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], AsRef::as_ref)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(mut buffer) = self.buffer.take() {
            buffer.truncate(0);
            let _ = self.empty.try_send(buffer);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_on_a_block_and_takes_what_fits() {
        for capacity in [1, 5, BLOCK, 3 * BLOCK + 1] {
            let mut buffer = Aligned::new(capacity);
            assert!(buffer.is_empty());
            let taken = buffer.append(&vec![7; capacity + 1]);
            assert_eq!((taken, buffer.is_full()), (capacity, true));
            assert_eq!(buffer.as_ref().as_ptr().align_offset(BLOCK), 0);
            assert_eq!(buffer.as_ref(), vec![7; capacity]);
            assert!(buffer.grow(1).is_empty());
            buffer.truncate(0);
            buffer.grow(1)[0] = 9;
            assert_eq!((buffer.as_ref(), buffer.len()), (&[9][..], 1));
        }
    }

    #[test]
    fn buffers_go_round_and_no_more_of_them_than_there_are() {
        let (mut fill, mut drain) = ring(2, 8);
        for round in 0..5_u8 {
            let (mut one, two) = (fill.wait().unwrap(), fill.wait().unwrap());
            assert!(fill.emptied.try_recv().is_err(), "a third buffer");
            assert!(one.is_empty() && two.is_empty());
            one.append(&[round]);
            assert!(fill.pass(7, one) && fill.pass(8, two));
            let (offset, full) = drain.wait().unwrap();
            let lent = drain.lend(full);
            let part = lent.slice(..1);
            drop(lent);
            assert!(fill.emptied.try_recv().is_err(), "a part is still read");
            assert_eq!((offset, part.as_ref()), (7, &[round][..]));
            drop(part);
            let (_, other) = drain.wait().unwrap();
            drain.give_back(other);
        }
        drop(drain);
        let left = fill.wait().unwrap();
        assert!(!fill.pass(0, left));
        assert!(fill.wait().is_some() && fill.wait().is_none());
    }

    #[tokio::test]
    async fn a_flush_waits_for_every_buffer() {
        let (mut fill, mut drain) = ring(3, 8);
        let buffer = fill.next().await.unwrap();
        fill.pass(0, buffer);
        let unused = fill.next().await.unwrap();
        fill.keep(unused);
        let emptier = tokio::task::spawn_blocking(move || {
            let (_, buffer) = drain.wait().unwrap();
            drain.give_back(buffer);
            drain
        });
        assert!(fill.flush().await);
        assert_eq!(fill.spare.len(), 3);
        drop(emptier.await.unwrap());
        let buffer = fill.next().await.unwrap();
        fill.pass(0, buffer);
        assert!(!fill.flush().await);
    }
}
