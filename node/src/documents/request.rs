//! What a node asks another on the bulk lane. SYN-11, SYN-20.

use basoche_protocol::id::{Digest, DossierId};
use basoche_protocol::wire::{codec, limits};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Some leaves of a document of a dossier that both nodes are members of. SYN-11.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRequest {
    /// 1.
    pub v: u64,
    /// The dossier.
    pub dossier: DossierId,
    /// The document.
    pub root: Digest,
    /// The first leaf wanted.
    pub first_leaf: u64,
    /// How many, at most.
    pub leaves: u64,
    /// Whether all leaf hashes are wanted first.
    pub hashes: bool,
}

/// Small documents of a dossier that both nodes are members of, each of one leaf. SYN-20.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRequest {
    /// 1.
    pub v: u64,
    /// The dossier.
    pub dossier: DossierId,
    /// The documents, ascending.
    pub roots: Vec<Digest>,
}

/// A request of one kind or another: their shapes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Leaves of one document.
    Leaves(DocumentRequest),
    /// Many small documents.
    Batch(BatchRequest),
}

impl Request {
    /// The bytes of the request.
    pub fn encode(&self) -> Bytes {
        Bytes::from(match self {
            Self::Leaves(request) => codec::encode(request),
            Self::Batch(request) => codec::encode(request),
        })
    }

    /// Reads a request; `None` if it is malformed or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let leaves = codec::decode::<DocumentRequest>(bytes, 1024).ok();
        if let Some(request) = leaves {
            return (request.v == 1).then_some(Self::Leaves(request));
        }
        let request = codec::decode::<BatchRequest>(bytes, limits::DOCUMENTS_PER_REQUEST * 48).ok()?;
        let many = (1..=limits::DOCUMENTS_PER_REQUEST).contains(&request.roots.len());
        let ascending = request.roots.windows(2).all(|pair| pair[0] < pair[1]);
        (request.v == 1 && many && ascending).then_some(Self::Batch(request))
    }

    /// The dossier that it names.
    pub fn dossier(&self) -> DossierId {
        match self {
            Self::Leaves(request) => request.dossier,
            Self::Batch(request) => request.dossier,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use basoche_protocol::text::hex_decode;

    use super::*;

    fn batch(roots: Vec<Digest>) -> Request {
        let dossier = DossierId::new([1; 32]);
        Request::Batch(BatchRequest { v: 1, dossier, roots })
    }

    fn hex(text: &str) -> Vec<u8> {
        hex_decode(&text.replace(' ', "")).unwrap()
    }

    #[test]
    fn requests_are_these_bytes() {
        let leaves = Request::Leaves(DocumentRequest {
            v: 1,
            dossier: DossierId::new([1; 32]),
            root: Digest::new([2; 32]),
            first_leaf: 3,
            leaves: 4,
            hashes: true,
        });
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        // v, dossier, root, first leaf, leaves, hashes
        let bytes = hex(&format!("a6 00 01 01 5820 {one} 02 5820 {two} 03 03 04 04 05 f5"));
        assert_eq!(leaves.encode(), bytes);
        assert_eq!(Request::decode(&bytes), Some(leaves));
        let many = batch(vec![Digest::new([1; 32]), Digest::new([2; 32])]);
        // v, dossier, two roots
        let bytes = hex(&format!("a3 00 01 01 5820 {one} 02 82 5820 {one} 5820 {two}"));
        assert_eq!(many.encode(), bytes);
        assert_eq!(Request::decode(&bytes), Some(many));
    }

    #[test]
    fn a_request_out_of_its_bounds_is_none() {
        let roots = |count: usize| -> Vec<_> {
            let root = |number: usize| Digest::of(&[&number.to_be_bytes()]);
            let mut roots: Vec<_> = (0..count).map(root).collect();
            roots.sort_unstable();
            roots
        };
        let most = limits::DOCUMENTS_PER_REQUEST;
        assert!(Request::decode(&batch(roots(most)).encode()).is_some());
        assert!(batch(roots(most)).encode().len() <= crate::quic::MAX_REQUEST);
        let mut twice = roots(2);
        twice[1] = twice[0];
        let descending = roots(2).into_iter().rev().collect();
        for bad in [roots(0), roots(most + 1), twice, descending] {
            assert_eq!(Request::decode(&batch(bad).encode()), None);
        }
        let mut other = batch(roots(1)).encode().to_vec();
        other[2] = 2;
        assert_eq!(Request::decode(&other), None);
        assert_eq!(Request::decode(&other[..20]), None);
    }
}
