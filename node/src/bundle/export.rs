//! Writing a bundle.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, Write};

use basoche_protocol::crypto::{Sha256, sha256};
use basoche_protocol::document::ciphertext_len;
use basoche_protocol::dossier::{OpenedItem, Received, Replica};
use basoche_protocol::envelope::{Envelope, Typ, Unsigned};
use basoche_protocol::error::Error;
use basoche_protocol::id::{CertificateId, Digest, DossierId, SubjectId};
use basoche_protocol::jose::Signer;
use basoche_protocol::journal::{Entry, SignedHead};
use basoche_protocol::role::Class;
use basoche_protocol::time::Instant;
use basoche_registry::Replica as Registry;

use super::journal::{self, MessageNames};
use super::layout::{self, ANCHORS, MANIFEST, Manifest, README, SUMMARY, SUMS, Sums};
use super::timeline::{self, Receipts};
use super::{
    BundleError, Ciphertext, Source, ciphertext_name, contested, deposit_name, document_name, head_name,
    key_name, leaf_name, quittance_name, readme, run_name,
};
use crate::quittance::QuittanceView;
use crate::zip::Writer;

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Members of the archive.
    pub members: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Messages, opened.
    pub messages: u64,
    /// Documents, decrypted.
    pub documents: u64,
    /// Personal documents, as ciphertext.
    pub personal: u64,
    /// Pairs of a message and a node, other than the one that recorded it, whose head covers it.
    pub receipts: u64,
}

/// Writes the bundle of a dossier to `out`, which must be empty, in constant memory for documents. `signer` holds
/// the seal key of `node`. `progress` is told document bytes done and in all.
///
/// The caller gives the file its name only after success, and makes it durable.
///
/// # Errors
/// Whatever of the registry or the journal would not be verified is found here, before it is sent to anybody.
pub fn export<W: Write + Seek>(
    source: &dyn Source,
    out: W,
    signer: &dyn Signer,
    node: SubjectId,
    now: Instant,
    progress: &dyn Fn(u64, u64),
) -> Result<ExportReport, BundleError> {
    let mut out = Out {
        writer: Writer::new(out)?,
        sums: Sums::new(),
        report: ExportReport::default(),
    };
    let anchors = source.anchors();
    out.add(
        README,
        readme::text(source.dossier(), node, now, &anchors).as_bytes(),
    )?;
    out.add(ANCHORS, anchors.to_json().as_bytes())?;
    let registry = write_registry(source, Registry::new(anchors), &mut out)?;
    let (replica, receipts) = write_journal(source, &registry, &mut out)?;
    write_messages(source, &mut out)?;
    for deposit in source.deposits() {
        let bytes = deposit?.encode();
        out.add(&deposit_name(&bytes), &bytes)?;
    }
    for tombstone in replica.state().tombstones() {
        out.add(
            &layout::tombstone_name(&tombstone.target),
            &timeline::tombstone(&tombstone),
        )?;
    }
    write_documents(source, &replica, &mut out, progress)?;
    for quittance in QuittanceView::all(&replica) {
        out.add(&quittance_name(&quittance.barrier), &quittance.to_member())?;
    }
    out.add(SUMMARY, &timeline::summary(&replica, &receipts, &registry))?;
    let covering = replica
        .records()
        .map(|(branch, seq, _)| receipts.of(&replica, &branch, seq).len() as u64);
    out.report.receipts = covering.sum();
    out.finish(source.dossier(), signer, node, now)
}

fn write_registry<W: Write + Seek>(
    source: &dyn Source,
    mut registry: Registry,
    out: &mut Out<W>,
) -> Result<Registry, BundleError> {
    let (mut certificates, mut seen) = (Vec::new(), BTreeSet::new());
    for item in source.leaves() {
        let (origin, index, leaf) = item?;
        if let Err(error) = registry.admit(&origin, index, &leaf) {
            let error = Box::new(error);
            return Err(BundleError::Registry { origin, index, error });
        }
        out.add(&leaf_name(&origin, index), &leaf.leaf)?;
        let certificate = CertificateId::new(sha256(&[&leaf.certificate]));
        if !leaf.certificate.is_empty() && seen.insert(certificate) {
            certificates.push((certificate, leaf.certificate));
        }
    }
    for (certificate, der) in certificates {
        out.add(&layout::certificate_name(&certificate), &der)?;
    }
    Ok(registry)
}

/// Runs and heads. The replica is built as a verifier will build it, so that the summary is the same.
fn write_journal<W: Write + Seek>(
    source: &dyn Source,
    registry: &Registry,
    out: &mut Out<W>,
) -> Result<(Replica, Receipts), BundleError> {
    let (mut replica, mut receipts) = (Replica::new(source.dossier()), Receipts::default());
    for (run, index) in source.runs().zip(0..) {
        let member = run_name(index);
        let bytes = run?.encode();
        let unsound = |error| BundleError::Journal {
            member: member.clone(),
            error: Box::new(error),
        };
        let (run, entries) = journal::decode(&bytes).map_err(unsound)?;
        let head = SignedHead::verify(&run.head, registry).map_err(unsound)?;
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            let envelope = opened(source, &entry)?;
            items.push(OpenedItem { entry, envelope });
        }
        match replica.receive_opened(&items, &head, registry).map_err(unsound)? {
            Received::Applied { .. } => {}
            Received::Known | Received::Early | Received::Elsewhere => {
                return Err(BundleError::Order { member });
            }
        }
        receipts.note(head.head());
        out.add(&member, &bytes)?;
    }
    for head in source.heads() {
        let bytes = head?;
        let unsound = |error: Error| BundleError::Journal {
            member: "heads".into(),
            error: Box::new(error),
        };
        let head = SignedHead::verify(&bytes, registry).map_err(unsound)?;
        receipts.note(head.head());
        replica.note_head(&head);
        out.add(&head_name(&head.head().node), &bytes)?;
    }
    Ok((replica, receipts))
}

/// The message that `entry` records. Where its writer recorded the digest of something else, nothing is.
fn opened(source: &dyn Source, entry: &Entry) -> io::Result<Option<Envelope>> {
    let recorded =
        |envelope: &Envelope| envelope.id() == entry.message && envelope.digest() == entry.envelope_digest;
    Ok(source.envelope(entry)?.filter(recorded))
}

fn write_messages<W: Write + Seek>(source: &dyn Source, out: &mut Out<W>) -> Result<(), BundleError> {
    let (mut names, mut written) = (MessageNames::default(), BTreeSet::new());
    for (run, index) in source.runs().zip(0..) {
        let unsound = |error| BundleError::Journal {
            member: run_name(index),
            error: Box::new(error),
        };
        let (_, entries) = journal::decode(&run?.encode()).map_err(unsound)?;
        for entry in entries {
            // Two nodes may have recorded the same bytes.
            let news = written.insert((entry.message, entry.envelope_digest));
            let name = names.name(&entry);
            if news && let Some(envelope) = opened(source, &entry)? {
                out.add(&name, envelope.to_jws().as_bytes())?;
                out.report.messages += 1;
            }
        }
    }
    Ok(())
}

fn write_documents<W: Write + Seek>(
    source: &dyn Source,
    replica: &Replica,
    out: &mut Out<W>,
    progress: &dyn Fn(u64, u64),
) -> Result<(), BundleError> {
    let mut seen = BTreeSet::new();
    let mut documents = timeline::documents(replica);
    documents.retain(|document| seen.insert(document.reference.root));
    let total = documents.iter().map(|document| document.reference.bytes).sum();
    let mut done = 0;
    let contested = contested::roots(replica);
    for document in documents {
        let reference = &document.reference;
        if contested.contains(&reference.root) {
            if let Some(held) = source.contested(document)? {
                write_contested(reference.root, held, out)?;
            }
            done += reference.bytes;
            continue;
        }
        if let Some((key, plaintext)) = source.document(document)? {
            if !reference.is_key(&key) {
                return Err(BundleError::Key { root: reference.root });
            }
            out.add(&key_name(&reference.root), &layout::key_file(key.as_bytes()))?;
            let mut plaintext = Hashing {
                inner: plaintext,
                hash: Sha256::new(),
                done,
                tell: &|done| progress(done, total),
            };
            let name = document_name(&reference.root, &reference.name);
            out.writer.add_from(&name, reference.bytes, &mut plaintext)?;
            out.list(name, reference.bytes, plaintext.hash.finish());
            out.report.documents += 1;
        } else if reference.class() == Class::Personal
            && let Some(ciphertext) = source.ciphertext(document)?
        {
            let bytes = ciphertext_len(reference.bytes);
            let mut ciphertext = Hashing {
                inner: ciphertext,
                hash: Sha256::new(),
                done,
                tell: &|done| progress(done.min(total), total),
            };
            let name = ciphertext_name(&reference.root);
            out.writer.add_from(&name, bytes, &mut ciphertext)?;
            out.list(name, bytes, ciphertext.hash.finish());
            out.report.personal += 1;
        }
        done += reference.bytes;
        progress(done, total);
    }
    Ok(())
}

/// A contested document as it is held: whoever checks the bundle examines it again.
fn write_contested<W: Write + Seek>(
    root: Digest,
    held: Ciphertext,
    out: &mut Out<W>,
) -> Result<(), BundleError> {
    if let Some(key) = held.key {
        out.add(&key_name(&root), &layout::key_file(key.as_bytes()))?;
    }
    let mut ciphertext = Hashing {
        inner: held.ciphertext,
        hash: Sha256::new(),
        done: 0,
        tell: &|_| {},
    };
    let name = ciphertext_name(&root);
    out.writer.add_from(&name, held.bytes, &mut ciphertext)?;
    out.list(name, held.bytes, ciphertext.hash.finish());
    out.report.documents += 1;
    Ok(())
}

/// The archive under way, and what its list of digests will say.
struct Out<W: Write + Seek> {
    writer: Writer<W>,
    sums: Sums,
    report: ExportReport,
}

impl<W: Write + Seek> Out<W> {
    fn add(&mut self, name: &str, data: &[u8]) -> Result<(), BundleError> {
        self.writer.add(name, data)?;
        self.list(name.to_owned(), data.len() as u64, sha256(&[data]));
        Ok(())
    }

    fn list(&mut self, name: String, bytes: u64, digest: [u8; 32]) {
        self.sums.push((name, digest));
        self.report.members += 1;
        self.report.bytes += bytes;
    }

    fn finish(
        mut self,
        dossier: DossierId,
        signer: &dyn Signer,
        node: SubjectId,
        time: Instant,
    ) -> Result<ExportReport, BundleError> {
        let members = self.sums.len() as u64;
        let sums = layout::sums_file(&self.sums);
        self.add(SUMS, &sums)?;
        let manifest = Manifest {
            v: Manifest::VERSION,
            dossier,
            node,
            time,
            members,
            sums: Digest::of(&[&sums]),
        };
        let unsigned = Unsigned::new(Typ::Bundle, signer, time, manifest.encode());
        self.add(MANIFEST, unsigned.sign(signer)?.to_jws().as_bytes())?;
        self.writer.finish()?;
        Ok(self.report)
    }
}

/// Hashes what is read through it.
struct Hashing<'a> {
    inner: Box<dyn Read>,
    hash: Sha256,
    done: u64,
    tell: &'a dyn Fn(u64),
}

impl Read for Hashing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.hash.update(&buf[..read]);
        self.done += read as u64;
        (self.tell)(self.done);
        Ok(read)
    }
}
