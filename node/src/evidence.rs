//! What a node exports of a dossier: the source of an evidence bundle, from one moment of its store.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use basoche_protocol::document::DocumentKey;
use basoche_protocol::dossier::DocumentFact;
use basoche_protocol::envelope::{Envelope, EpochKey};
use basoche_protocol::id::{DossierId, SubjectId};
use basoche_protocol::jose::SoftwareKey;
use basoche_protocol::journal::Entry;
use basoche_protocol::mailbox::{Address, Content, Parcel, Receipt};
use basoche_protocol::wire::frame::{Frame, RegistryLeaf};
use basoche_registry::Anchors;

use crate::blob::{BlobReader, BlobStore};
use crate::bundle::{self, BundleError, Ciphertext, Deposit, ExportReport, Items, Run, Source};
use crate::desk::Desk;
use crate::documents::{TransferError, give_out, send};
use crate::effects::now;
use crate::files::unique_name;
use crate::rows::{Left, Rows, What};

/// Everything of one dossier that a bundle needs, taken at the desk.
pub struct Snapshot {
    dossier: DossierId,
    node: SubjectId,
    anchors: Anchors,
    leaves: Vec<(String, u64, RegistryLeaf)>,
    heads: Vec<Vec<u8>>,
    runs: u64,
    keys: Vec<(u64, EpochKey)>,
    left: Vec<Left>,
    rows: Rows,
    blobs: Arc<dyn BlobStore>,
    seal: SoftwareKey,
}

impl Desk {
    /// A log that began with a snapshot, and how many entries of before are still to come: no bundle is whole before.
    pub fn lacks_entries(&self) -> Option<(String, u64)> {
        let registry = self.engine().registry();
        let lacking = |(origin, _): (String, u64)| {
            let entries = registry.unjudged(&origin).filter(|entries| *entries > 0)?;
            Some((origin, entries))
        };
        registry.sizes().find_map(lacking)
    }

    /// One dossier as the store holds it now; `None` if there is no such dossier.
    pub fn snapshot(&self, dossier: &DossierId) -> Option<io::Result<Snapshot>> {
        let replica = self.engine().dossier(dossier)?;
        let keys = replica.keys().map(|(epoch, key)| (epoch, key.clone())).collect();
        Some(self.snapshot_of(*dossier, keys))
    }

    fn snapshot_of(&self, dossier: DossierId, keys: Vec<(u64, EpochKey)>) -> io::Result<Snapshot> {
        // Heads and runs are read from the store, where they stand in the same commits: no head is ahead of its runs.
        let rows = self.rows().clone();
        Ok(Snapshot {
            dossier,
            node: self.engine().node(),
            anchors: self.engine().registry().anchors().clone(),
            leaves: rows.leaves().map_err(io::Error::other)?,
            heads: rows.heads(dossier).map_err(io::Error::other)?,
            runs: rows.run_count(dossier).map_err(io::Error::other)?,
            keys,
            left: self.outbox().of_dossier(&dossier).cloned().collect(),
            rows,
            blobs: self.blobs(),
            seal: self.seal().map_err(io::Error::other)?,
        })
    }
}

impl Snapshot {
    /// Writes the bundle into a nameless file in `scratch`, rewound.
    pub fn export(&self, scratch: &Path) -> Result<(File, ExportReport), BundleError> {
        let staged = scratch.join(unique_name("export-")?);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&staged)?;
        std::fs::remove_file(&staged)?;
        let report = bundle::export(self, &mut file, &self.seal, self.node, now(), &|_, _| {})?;
        file.rewind()?;
        Ok((file, report))
    }
}

impl Snapshot {
    /// What a mailbox took, sealed again: the same content under the same tag is the same parcel. A document's leaves
    /// are left out, they are in the bundle in clear; a run with a message that is erased since is another parcel.
    fn deposit(&self, left: &Left) -> io::Result<Option<Deposit>> {
        let first = self.keys.iter().find(|(epoch, _)| *epoch == 0);
        let (What::Run(run), Some((_, key))) = (left.what, first) else {
            return Ok(None);
        };
        let found = self
            .rows
            .run(self.dossier, run.run, run.from)
            .map_err(io::Error::other)?;
        let signed = Envelope::decode(&left.receipt).map_err(io::Error::other)?;
        let receipt = Receipt::decode(signed.payload()).map_err(io::Error::other)?;
        let address = Address {
            dossier: self.dossier,
            addressee: left.addressee,
            key: key.clone(),
        };
        let sealed = found.map(|run| {
            let content = Content::Run(Frame::Run(run).encode());
            Parcel::seal(&address, &receipt.tag, &content)
        });
        Ok(sealed
            .filter(|parcel| parcel.digest() == receipt.parcel)
            .map(|parcel| Deposit {
                receipt: left.receipt.clone(),
                key: *parcel.own_key(&address),
                parcel: parcel.encode(),
            }))
    }
}

impl Source for Snapshot {
    fn dossier(&self) -> DossierId {
        self.dossier
    }

    fn anchors(&self) -> Anchors {
        self.anchors.clone()
    }

    fn leaves(&self) -> Items<'_, (String, u64, RegistryLeaf)> {
        let mut leaves = self.leaves.clone();
        leaves.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        Box::new(leaves.into_iter().map(Ok))
    }

    fn runs(&self) -> Items<'_, Run> {
        Box::new((0..self.runs).map(|index| {
            let run = self.rows.run(self.dossier, index, 0).map_err(io::Error::other)?;
            let run = run.ok_or_else(|| io::Error::other("a run is missing"))?;
            Ok(Run {
                chain: run.chain,
                entries: run.items.into_iter().map(|item| item.entry.into_vec()).collect(),
                head: run.head.into_vec(),
            })
        }))
    }

    fn heads(&self) -> Items<'_, Vec<u8>> {
        Box::new(self.heads.iter().cloned().map(Ok))
    }

    fn envelope(&self, entry: &Entry) -> io::Result<Option<Envelope>> {
        let sealed = self.rows.sealed(entry).map_err(io::Error::other)?;
        let Some(sealed) = sealed else { return Ok(None) };
        let key = self.keys.iter().find(|(epoch, _)| *epoch == sealed.key_epoch());
        Ok(key.and_then(|(_, key)| sealed.open(&self.dossier, entry.message, key).ok()))
    }

    fn deposits(&self) -> Items<'_, Deposit> {
        Box::new(self.left.iter().filter_map(|left| self.deposit(left).transpose()))
    }

    fn document(&self, document: &DocumentFact) -> io::Result<Option<(DocumentKey, Box<dyn Read>)>> {
        let reference = &document.reference;
        if !self
            .blobs
            .contains(reference.root.as_bytes())
            .map_err(io::Error::other)?
        {
            return Ok(None);
        }
        let key = self
            .keys
            .iter()
            .find_map(|(_, key)| reference.open_key(key, &self.dossier));
        let Some(key) = key else { return Ok(None) };
        let (blobs, wanted, opener) = (Arc::clone(&self.blobs), reference.clone(), key.clone());
        let plaintext = Piped::start("decrypt", move |sink| {
            give_out(blobs.as_ref(), &wanted, &opener, sink)
        })?;
        Ok(Some((key, Box::new(plaintext))))
    }

    fn ciphertext(&self, document: &DocumentFact) -> io::Result<Option<Box<dyn Read>>> {
        let root = document.reference.root;
        if !self.blobs.contains(root.as_bytes()).map_err(io::Error::other)? {
            return Ok(None);
        }
        let blobs = Arc::clone(&self.blobs);
        let ciphertext = Piped::start("ciphertext", move |sink| send(blobs.as_ref(), &root, sink))?;
        Ok(Some(Box::new(ciphertext)))
    }

    fn contested(&self, document: &DocumentFact) -> io::Result<Option<Ciphertext>> {
        let reference = &document.reference;
        let blob = self
            .blobs
            .open(reference.root.as_bytes())
            .map_err(io::Error::other)?;
        let Some(blob) = blob else { return Ok(None) };
        let mut keys = self.keys.iter();
        Ok(Some(Ciphertext {
            key: keys.find_map(|(_, key)| reference.open_key(key, &self.dossier)),
            bytes: blob.len(),
            ciphertext: Box::new(Held { blob, offset: 0 }),
        }))
    }
}

/// A document's ciphertext as a stream.
struct Held {
    blob: Box<dyn BlobReader>,
    offset: u64,
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.len() - self.offset;
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.blob
            .read_at(self.offset, &mut buffer[..length])
            .map_err(io::Error::other)?;
        self.offset += length as u64;
        Ok(length)
    }
}

/// A document as a stream: a thread writes it into a pipe.
struct Piped {
    pipe: io::PipeReader,
    worker: Option<std::thread::JoinHandle<io::Result<()>>>,
}

impl Piped {
    fn start(
        name: &str,
        write: impl FnOnce(&mut io::PipeWriter) -> Result<(), TransferError> + Send + 'static,
    ) -> io::Result<Self> {
        let (pipe, mut sink) = io::pipe()?;
        let worker = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || write(&mut sink).map_err(io::Error::other))?;
        Ok(Self {
            pipe,
            worker: Some(worker),
        })
    }
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.read(buffer)?;
        // At the end, what went wrong in the thread is said here.
        if read == 0
            && !buffer.is_empty()
            && let Some(worker) = self.worker.take()
        {
            worker
                .join()
                .map_err(|_| io::Error::other("the thread that gives a document out failed"))??;
        }
        Ok(read)
    }
}
