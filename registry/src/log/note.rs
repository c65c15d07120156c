//! Signed notes (C2SP signed-note): a text, and lines of who signs it. SPEC §9.6, LOG-1 to LOG-3.
//!
//! Two kinds of key sign: a log's (Ed25519, type 1) the text itself, a cosigner's (timestamped Ed25519, type 4) the
//! text and the instant. Lines of other types and of keys unknown to the reader are kept and mean nothing.

use std::fmt;

use basoche_protocol::crypto::{ed25519_verifies, sha256};
use basoche_protocol::text::{b64_decode, b64_encode, hex_encode};
use basoche_protocol::time::Instant;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of a note.
pub const NOTE_BYTES: usize = 64 * 1024;
/// Signature lines of a note: what C2SP demands of every verifier, and no more.
pub const SIGNATURES: usize = 16;
/// Bytes of a key's name.
pub const KEY_NAME_BYTES: usize = 256;

/// What begins a signature line: em dash, space.
const DASH: &str = "\u{2014} ";
const ID_BYTES: usize = 4;
const TIME_BYTES: usize = 8;
const ED25519_BYTES: usize = 64;

/// Bytes that are no note, or a note that is not what it says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// Larger than [`NOTE_BYTES`].
    #[error("the note is larger than {NOTE_BYTES} bytes")]
    TooLarge,
    /// Not UTF-8, or with a control character other than the end of a line.
    #[error("the note is not UTF-8 without control characters")]
    NotText,
    /// The text is empty or does not end a line, or no empty line stands before the signatures.
    #[error("the note has no text, an empty line and then its signatures")]
    Shape,
    /// More than [`SIGNATURES`].
    #[error("the note has more than {SIGNATURES} signatures")]
    TooManySignatures,
    /// Signature line `number`, from 1, is not one.
    #[error("signature line {number} is not an em dash, a name and base64 of at least five bytes")]
    Line {
        /// Which.
        number: usize,
    },
    /// A key that the reader knows did not make the signature that bears its name and id.
    #[error("the signature of {name} does not verify")]
    BadSignature {
        /// The key's name.
        name: String,
    },
    /// None of the keys that the reader demands has signed.
    #[error("{name} has not signed the note")]
    NotSigned {
        /// The key's name.
        name: String,
    },
}

/// A text and the lines of who signs it: well formed, and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One line: name and id of a key, and what it signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: [u8; ID_BYTES],
    bytes: Vec<u8>,
}

impl Note {
    /// The unsigned note of `text`, which must end with a line feed.
    pub fn new(text: String) -> Result<Self, NoteError> {
        if text.len() > NOTE_BYTES {
            return Err(NoteError::TooLarge);
        }
        if !is_plain(&text) {
            return Err(NoteError::NotText);
        }
        if !text.ends_with('\n') {
            return Err(NoteError::Shape);
        }
        let signatures = Vec::new();
        Ok(Self { text, signatures })
    }

    /// Reads a note. The lines after the last empty one are its signatures, one at least.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES {
            return Err(NoteError::TooLarge);
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        let cut = note.rfind("\n\n").ok_or(NoteError::Shape)? + 1;
        let (text, lines) = (&note[..cut], &note[cut + 1..]);
        let mut read = Self::new(text.to_owned())?;
        if lines.is_empty() || !is_plain(lines) {
            return Err(NoteError::Shape);
        }
        for (place, line) in lines.split_inclusive('\n').enumerate() {
            if place == SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            let signature = NoteSignature::parse(line).ok_or(NoteError::Line { number: place + 1 })?;
            read.signatures.push(signature);
        }
        Ok(read)
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn encode(&self) -> String {
        let lines: String = self.signatures.iter().map(NoteSignature::encode).collect();
        format!("{}\n{lines}", self.text)
    }

    /// The text, with its last line feed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a line, in place of one of the same name and id.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        let same = |other: &&mut NoteSignature| other.name == signature.name && other.id == signature.id;
        if let Some(place) = self.signatures.iter_mut().find(same) {
            *place = signature;
            return Ok(());
        }
        if self.signatures.len() == SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Whether `key` has signed, and when if it is a cosigner's. A line that bears its name and id and is not its
    /// signature spoils the note. Of several lines of one key all must hold, and the first counts.
    pub fn signed_by(&self, key: &Key) -> Result<Option<Instant>, NoteError> {
        let bad = || NoteError::BadSignature {
            name: key.name.clone(),
        };
        let mut found = None;
        for line in self.signatures.iter().filter(|line| key.is_of(line)) {
            let at = key.check(&self.text, &line.bytes).ok_or_else(bad)?;
            found.get_or_insert(at);
        }
        Ok(found)
    }

    /// The first line that bears the name and id of `key`, whether it verifies or not.
    pub(super) fn line_of(&self, key: &Key) -> Option<&NoteSignature> {
        self.signatures.iter().find(|line| key.is_of(line))
    }
}

/// Nothing below U+0020 but the line feed.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x20 || byte == b'\n')
}

impl NoteSignature {
    /// Whose key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a line, line feed included.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(DASH)?.strip_suffix('\n')?.split_once(' ')?;
        let mut id = b64_decode(base64)?;
        if !is_key_name(name) || id.len() <= ID_BYTES {
            return None;
        }
        let bytes = id.split_off(ID_BYTES);
        Some(Self {
            name: name.to_owned(),
            id: id.try_into().ok()?,
            bytes,
        })
    }

    /// The line.
    pub fn encode(&self) -> String {
        let base64 = b64_encode(&[&self.id, &self.bytes[..]].concat());
        format!("{DASH}{} {base64}\n", self.name)
    }
}

/// What a key signs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// A log's: the text itself. C2SP signed-note, type 1.
    Log,
    /// A cosigner's: the text, and the instant at which it saw nothing larger. C2SP tlog-cosignature, type 4.
    Cosigner,
}

impl KeyKind {
    /// The signature type.
    const fn number(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Cosigner => 4,
        }
    }
}

/// A verifier key: the name, the kind and the Ed25519 public key of somebody who signs notes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key {
    name: String,
    kind: KeyKind,
    public: [u8; 32],
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(vkey: String) -> Result<Self, Self::Error> {
        Self::parse(&vkey).ok_or("not a C2SP verifier key")
    }
}

impl Key {
    /// The key of that name; `None` if it cannot be a name: empty, too long, with a space or a `+`.
    pub fn new(name: &str, kind: KeyKind, public: [u8; 32]) -> Option<Self> {
        is_key_name(name).then(|| Self {
            name: name.to_owned(),
            kind,
            public,
        })
    }

    /// Reads a `vkey`: name, id and key, joined by `+`. `None` for any other text, another type, a wrong id.
    pub fn parse(vkey: &str) -> Option<Self> {
        let (name, rest) = vkey.split_once('+')?;
        let (id, base64) = rest.split_once('+')?;
        let decoded = b64_decode(base64)?;
        let (number, public) = decoded.split_first()?;
        let kinds = [KeyKind::Log, KeyKind::Cosigner];
        let kind = kinds.into_iter().find(|kind| kind.number() == *number)?;
        let key = Self::new(name, kind, public.try_into().ok()?)?;
        (hex_encode(&key.id()) == id).then_some(key)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The Ed25519 public key, RFC 8032 §5.1.5.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The first bytes of a hash of name, type and key: what tells its lines from others.
    fn id(&self) -> [u8; ID_BYTES] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[self.kind.number()], &self.public]);
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The bytes that it signs to sign `text`. A cosigner says at which instant, to the second; a log does not.
    pub fn message(&self, text: &str, at: Instant) -> Vec<u8> {
        match self.kind {
            KeyKind::Log => text.as_bytes().to_vec(),
            KeyKind::Cosigner => format!("cosignature/v1\ntime {}\n{text}", at.seconds()).into_bytes(),
        }
    }

    /// The line for a signature over [`Self::message`] of the same instant.
    pub fn line(&self, signature: &[u8; ED25519_BYTES], at: Instant) -> NoteSignature {
        let bytes = match self.kind {
            KeyKind::Log => signature.to_vec(),
            KeyKind::Cosigner => [&at.seconds().to_be_bytes(), &signature[..]].concat(),
        };
        NoteSignature {
            name: self.name.clone(),
            id: self.id(),
            bytes,
        }
    }

    fn is_of(&self, line: &NoteSignature) -> bool {
        self.name == line.name && self.id() == line.id
    }

    /// The instant of a signature over `text` that holds; for a log's that is nothing, and zero.
    fn check(&self, text: &str, bytes: &[u8]) -> Option<Instant> {
        let (at, signature) = match self.kind {
            KeyKind::Log => (Instant::default(), bytes),
            KeyKind::Cosigner => {
                let (time, signature) = bytes.split_at_checked(TIME_BYTES)?;
                let seconds = u64::from_be_bytes(time.try_into().ok()?);
                // Seconds that milliseconds cannot count are of no clock.
                let at = Instant::from_seconds(seconds);
                (Some(at).filter(|at| at.seconds() == seconds)?, signature)
            }
        };
        let signature = signature.try_into().ok()?;
        ed25519_verifies(&self.public, &self.message(text, at), signature).then_some(at)
    }
}

impl fmt::Display for Key {
    /// The `vkey`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.kind.number()], &self.public[..]].concat();
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex_encode(&self.id()),
            b64_encode(&typed)
        )
    }
}

fn is_key_name(name: &str) -> bool {
    (1..=KEY_NAME_BYTES).contains(&name.len())
        && is_plain(name)
        && !name.chars().any(|c| c == '+' || c.is_whitespace())
}
