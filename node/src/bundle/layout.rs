//! Names and formats of a bundle's members.

use basoche_protocol::error::Malformed;
use basoche_protocol::id::{CertificateId, Digest, DossierId, MessageId, SubjectId};
use basoche_protocol::journal::ChainId;
use basoche_protocol::text::{hex_decode, hex_encode};
use basoche_protocol::time::Instant;
use basoche_protocol::wire::{codec, limits};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use super::Run;

pub(super) const README: &str = "README.txt";
pub(super) const ANCHORS: &str = "registry/anchors.json";
pub(super) const SUMMARY: &str = "summary.json";
pub(super) const QUITTANCES: &str = "quittances/";
pub(super) const SUMS: &str = "SHA256SUMS";
pub(super) const MANIFEST: &str = "manifest.jws";

/// Bytes of a run: as many entries as a head may leave unsealed, each as long as it may be.
pub(super) const RUN_BYTES: usize =
    limits::UNSEALED_ENTRIES as usize * (limits::ENTRY_BYTES + 5) + limits::ENVELOPE_BYTES + 128;
/// Bytes of a compact JWS: base64url of an envelope's parts.
pub(super) const JWS_BYTES: usize = limits::ENVELOPE_BYTES / 3 * 4 + 16;
/// Bytes of a quittance: a dossier has no more nodes than a few lines each can name.
pub(super) const QUITTANCE_BYTES: usize = 64 * 1024;
/// Bytes of a member that lists the others: a line for each of the most members.
pub(super) const LIST_BYTES: usize = crate::zip::MAX_MEMBERS * (crate::zip::MAX_NAME_BYTES + 67);
/// Bytes of a file name made from a document's.
const FILE_NAME_BYTES: usize = 100;

/// The member of a log's leaf.
pub fn leaf_name(origin: &str, index: u64) -> String {
    format!("registry/{origin}/{index:08}.leaf")
}

/// Log and index of a leaf's member.
pub(super) fn leaf_of(name: &str) -> Option<(&str, u64)> {
    let (origin, index) = name
        .strip_prefix("registry/")?
        .strip_suffix(".leaf")?
        .rsplit_once('/')?;
    let index = index.parse().ok()?;
    (leaf_name(origin, index) == name).then_some((origin, index))
}

/// The member of a certificate.
pub(super) fn certificate_name(certificate: &CertificateId) -> String {
    format!("registry/certificates/{certificate}.der")
}

/// The member of a run.
pub fn run_name(index: u64) -> String {
    format!("journal/{index:08}.run")
}

/// The member of a node's latest head.
pub fn head_name(node: &SubjectId) -> String {
    format!("heads/{node}.head")
}

/// The member of a message. The signature is no part of its id: should another entry record the same message
/// under another signature, its digest, `other`, tells the two apart.
pub fn message_name(message: &MessageId, other: Option<&Digest>) -> String {
    match other {
        None => format!("messages/{message}.jws"),
        Some(digest) => format!("messages/{message}.{digest}.jws"),
    }
}

/// The member of a barrier's quittance.
pub fn quittance_name(barrier: &MessageId) -> String {
    format!("{QUITTANCES}{barrier}.json")
}

/// The member of what stays of an erased message, or of one whose documents are erased.
pub(super) fn tombstone_name(message: &MessageId) -> String {
    format!("erased/{message}.json")
}

/// The member of a document's key.
pub fn key_name(root: &Digest) -> String {
    format!("documents/{root}/key")
}

/// The member of a document's ciphertext, where it is personal, and has no key beside it, or contested.
pub fn ciphertext_name(root: &Digest) -> String {
    format!("documents/{root}/ciphertext")
}

/// The member of a document's plaintext: its own file name, as far as the archive's alphabet has it.
pub fn document_name(root: &Digest, file_name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '_'
        }
    };
    let name: String = file_name.chars().map(plain).collect();
    let name = name.trim_start_matches('.');
    // The end of a name says what kind of file it is, and is kept.
    let name = &name[name.len().saturating_sub(FILE_NAME_BYTES)..];
    let name = name.trim_start_matches('.');
    if name.is_empty()
        || ["key", "ciphertext"]
            .iter()
            .any(|taken| name.eq_ignore_ascii_case(taken))
    {
        format!("documents/{root}/document-{name}")
    } else {
        format!("documents/{root}/{name}")
    }
}

/// A key file: 64 lower-case hexadecimal digits and a line feed.
pub(super) fn key_file(key: &[u8; 32]) -> Vec<u8> {
    let mut text = hex_encode(key);
    text.push('\n');
    text.into_bytes()
}

/// Reads a key file.
pub(super) fn read_key_file(bytes: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    hex_decode(text)?.try_into().ok()
}

/// `[chain, [entry …], head]`, canonical CBOR.
type RunParts = (ChainId, Vec<ByteBuf>, ByteBuf);

impl Run {
    /// The member's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let entries: Vec<_> = self.entries.iter().map(|entry| Bytes::new(entry)).collect();
        codec::encode(&(self.chain, entries, Bytes::new(&self.head)))
    }

    /// Reads a member's bytes. Entries and head are not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (chain, entries, head): RunParts = codec::decode(bytes, RUN_BYTES)?;
        Ok(Self {
            chain,
            entries: entries.into_iter().map(ByteBuf::into_vec).collect(),
            head: head.into_vec(),
        })
    }
}

/// What the exporting node signs. Keys are positions: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) v: u64,
    pub(super) dossier: DossierId,
    pub(super) node: SubjectId,
    pub(super) time: Instant,
    /// Lines of `SHA256SUMS`.
    pub(super) members: u64,
    /// SHA-256 of `SHA256SUMS`.
    pub(super) sums: Digest,
}

impl Manifest {
    pub(super) const VERSION: u64 = 1;

    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        codec::decode(bytes, limits::PAYLOAD_BYTES)
    }
}

/// Names and SHA-256 of members, in the order of the archive.
pub(super) type Sums = Vec<(String, [u8; 32])>;

/// The form that `sha256sum -c` reads.
pub(super) fn sums_file(sums: &Sums) -> Vec<u8> {
    let line = |(name, digest): &(String, [u8; 32])| format!("{}  {name}\n", hex_encode(digest));
    sums.iter().map(line).collect::<String>().into_bytes()
}

/// Reads what [`sums_file`] writes, and nothing else.
pub(super) fn read_sums_file(bytes: &[u8]) -> Option<Sums> {
    let text = std::str::from_utf8(bytes).ok()?;
    let line = |line: &str| {
        let (digest, name) = line.strip_suffix('\n')?.split_once("  ")?;
        Some((name.to_owned(), hex_decode(digest)?.try_into().ok()?))
    };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_keeps_its_name_as_far_as_the_archive_can_spell_it() {
        let root = Digest::new([0xab; 32]);
        let name = |file: &str| document_name(&root, file).rsplit_once('/').unwrap().1.to_owned();
        for (file, expected) in [
            ("rapport.pdf", "rapport.pdf"),
            ("pièce n°1.pdf", "pi_ce_n_1.pdf"),
            (".bashrc", "bashrc"),
            ("key", "document-key"),
            ("Key", "document-Key"),
            ("ciphertext", "document-ciphertext"),
            ("...", "document-"),
        ] {
            assert_eq!(name(file), expected);
        }
        let long = name(&format!("{}.pdf", "a".repeat(250)));
        assert!(long.len() == FILE_NAME_BYTES && long.ends_with(".pdf"));
    }

    #[test]
    fn a_leaf_has_one_name() {
        let name = leaf_name("justice.example/annuaire", 7);
        assert_eq!(name, "registry/justice.example/annuaire/00000007.leaf");
        assert_eq!(leaf_of(&name), Some(("justice.example/annuaire", 7)));
        for other in [
            "registry/justice/7.leaf",
            "registry/00000007.leaf",
            "journal/a/00000007.leaf",
            "registry/justice/+0000007.leaf",
        ] {
            assert_eq!(leaf_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_list_of_digests_has_one_form() {
        let sums = vec![("a".to_owned(), [1; 32]), ("b/c".to_owned(), [2; 32])];
        let file = sums_file(&sums);
        assert_eq!(read_sums_file(&file), Some(sums));
        let text = String::from_utf8(file).unwrap();
        for other in [
            text.trim_end().to_owned(),
            text.replace("  ", " *"),
            text.replacen("01", "0G", 1),
            format!("{text}\n"),
        ] {
            assert_eq!(read_sums_file(other.as_bytes()), None);
        }
    }

    #[test]
    fn a_key_file_has_one_form() {
        let file = key_file(&[0xaf; 32]);
        assert_eq!(read_key_file(&file), Some([0xaf; 32]));
        assert_eq!(read_key_file(&file[..64]), None);
        assert_eq!(read_key_file(&file.to_ascii_uppercase()), None);
    }
}
