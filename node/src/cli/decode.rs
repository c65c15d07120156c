//! `basoche decode`: how far an envelope gets, and what it says. The stages are those of SPEC §5.3.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::envelope::{Envelope, verify};
use basoche_protocol::error::{Error, Malformed, MalformedKind};
use basoche_protocol::message::Message;
use basoche_protocol::text::hex_decode;
use basoche_protocol::wire::{canon, limits};
use basoche_registry::Replica;
use clap::Args;
use serde_json::{Value, json};

use super::fault::exit;
use super::{Fault, Output, annuaire, when};
use crate::effects::now;

/// Bytes of input: an envelope in hexadecimal and a line's end.
const INPUT_BYTES: usize = 2 * limits::ENVELOPE_BYTES + 2;

/// Read an envelope and say what it holds, or why it is refused.
#[derive(Args)]
pub(super) struct Command {
    /// The input is hexadecimal.
    #[arg(long)]
    hex: bool,
    /// Verify the signature too, under these anchors.
    #[arg(long, value_name = "FILE", requires = "entries")]
    anchors: Option<PathBuf>,
    /// The authorities' entries: a directory of them, or an authority's; may be given several times.
    #[arg(long, value_name = "DIR", requires = "anchors")]
    entries: Vec<PathBuf>,
    /// The instant at which it was recorded, RFC 3339: the registry is asked as of then. Now if not given.
    #[arg(long, value_name = "INSTANT", requires = "anchors")]
    at: Option<String>,
    /// The envelope: its CBOR bytes, or a compact JWS; `-` reads stdin.
    file: PathBuf,
}

/// What was found.
#[derive(Default)]
struct Report {
    /// The last stage passed.
    stage: Stage,
    /// Why the next one was not.
    error: Option<Error>,
    envelope: Option<Envelope>,
    message: Option<Message>,
    /// Where the header, the payload and the signature are in the input: offset and length.
    parts: Option<[(usize, usize); 3]>,
}

#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Bytes,
    Canonical,
    Envelope,
    Header,
    Body,
    Verified,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Canonical => "canonical",
            Self::Envelope => "envelope",
            Self::Header => "header",
            Self::Body => "body",
            Self::Verified => "verified",
        }
    }
}

pub(super) fn run(command: &Command, output: &Output) -> Result<ExitCode, Fault> {
    let at = command.at.as_deref().map(when::parse).transpose()?;
    let replica = match &command.anchors {
        Some(anchors) => {
            let anchors = annuaire::anchors(anchors)?;
            Some(annuaire::admit(anchors, &annuaire::read(&command.entries)?)?)
        }
        None => None,
    };
    let mut report = Report::default();
    let input = read(&command.file)?;
    if let Err(error) = report.examine(&input, command.hex, replica.as_ref(), at.unwrap_or_else(now)) {
        report.error = Some(error);
    }
    output.answer(&report.json(), || report.text());
    Ok(match &report.error {
        None => ExitCode::SUCCESS,
        Some(Error::Malformed(_) | Error::Incompatible(_)) => ExitCode::from(exit::MALFORMED),
        Some(Error::Untrusted(_) | Error::Refused(_)) => ExitCode::from(exit::REFUSED),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let limit = INPUT_BYTES as u64 + 1;
    let done = if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        let opened = std::fs::File::open(file);
        opened.and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    done.map_err(|error| Fault::unreadable(file, &error))?;
    Ok(bytes)
}

const fn malformed(kind: MalformedKind) -> Malformed {
    Malformed { offset: 0, kind }
}

impl Report {
    /// Goes from stage to stage until one does not pass.
    fn examine(
        &mut self,
        input: &[u8],
        hex: bool,
        replica: Option<&Replica>,
        at: basoche_protocol::time::Instant,
    ) -> Result<(), Error> {
        if input.len() > INPUT_BYTES {
            return Err(malformed(MalformedKind::TooLarge).into());
        }
        let jws = if hex { None } else { compact_jws(input) };
        let bytes = match jws {
            Some(jws) => Envelope::from_jws(jws).map(|envelope| envelope.encode()),
            None if hex => {
                let text = std::str::from_utf8(input.trim_ascii_end()).ok();
                let bytes = text.and_then(|text| hex_decode(&text.to_ascii_lowercase()));
                bytes.ok_or(malformed(MalformedKind::WrongShape))
            }
            None => Ok(input.to_vec()),
        };
        let bytes = bytes.inspect_err(|error| self.stop_at(error))?;
        canon::check(&bytes, limits::ENVELOPE_BYTES)?;
        self.stage = Stage::Canonical;
        let envelope = Envelope::decode(&bytes).inspect_err(|error| self.stop_at(error))?;
        self.stage = Stage::Header;
        self.parts = Some(jws.map_or_else(|| parts_of_cbor(&envelope, bytes.len()), parts_of_jws));
        self.envelope = Some(envelope.clone());
        self.message = Some(Message::decode(envelope.payload())?);
        self.stage = Stage::Body;
        if let Some(replica) = replica {
            verify(envelope, replica, at)?;
            self.stage = Stage::Verified;
        }
        Ok(())
    }

    /// A bad header sits in an envelope that is otherwise whole.
    fn stop_at(&mut self, error: &Malformed) {
        if error.kind == MalformedKind::BadHeader {
            self.stage = Stage::Envelope;
        }
    }

    fn json(&self) -> Value {
        let offset = match &self.error {
            Some(Error::Malformed(malformed)) => Some(malformed.offset),
            _ => None,
        };
        let header = self.envelope.as_ref().map(Envelope::header).map(|header| {
            json!({
                "alg": header.algorithm, "iat": header.issued_at.to_string(), "typ": header.typ,
                "certificate": header.certificate,
            })
        });
        let message = self.message.as_ref().map(|message| {
            json!({
                "dossier": message.dossier, "author": message.author, "role": message.role,
                "assurance": message.assurance, "class": message.class, "refs": message.refs,
                "salt": message.salt, "body": message.body.to_json(),
            })
        });
        let parts = self.parts.map(|parts| {
            let [header, payload, signature] =
                parts.map(|(offset, bytes)| json!({ "offset": offset, "bytes": bytes }));
            json!({ "header": header, "payload": payload, "signature": signature })
        });
        json!({
            "v": 1,
            "stage": self.stage.name(),
            "code": self.error.as_ref().map(|error| error.code().name()),
            "reason": self.error.as_ref().map(ToString::to_string),
            "offset": offset,
            "id": self.envelope.as_ref().map(Envelope::id),
            "parts": parts,
            "header": header,
            "type": self.message.as_ref().map(Message::message_type),
            "message": message,
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("stage {}", self.stage.name())];
        if let Some(error) = &self.error {
            lines.push(format!("refused {}: {error}", error.code()));
        }
        if let (Some(envelope), Some([header, payload, signature])) = (&self.envelope, self.parts) {
            lines.push(format!("id {}", envelope.id()));
            let part = |name: &str, (offset, bytes)| format!("{name} at {offset}, {bytes} bytes");
            lines.push(part("header", header));
            lines.push(String::from_utf8_lossy(&envelope.header().encode()).into_owned());
            lines.push(format!("signed at {}", envelope.header().issued_at));
            lines.push(part("payload", payload));
            lines.push(part("signature", signature));
        }
        if let Some(message) = &self.message {
            lines.push(format!(
                "{} by {} {}",
                message.message_type(),
                message.role,
                message.author
            ));
            if let Some(dossier) = message.dossier {
                lines.push(format!("dossier {dossier}"));
            }
            lines.push(serde_json::to_string_pretty(&message.body.to_json()).unwrap_or_default());
        }
        lines.join("\n")
    }
}

/// The input as a compact JWS, if it is three parts of base64url characters. No canonical envelope looks like one.
fn compact_jws(input: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(input.trim_ascii_end()).ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (text.bytes().all(plain) && text.bytes().filter(|byte| *byte == b'.').count() == 2).then_some(text)
}

/// Offsets in the canonical bytes: an array head, then three byte strings.
fn parts_of_cbor(envelope: &Envelope, total: usize) -> [(usize, usize); 3] {
    let header = envelope.header().encode().len();
    let payload = envelope.payload().len();
    let header_at = 1 + head_bytes(header);
    let payload_at = header_at + header + head_bytes(payload);
    let rest = total - payload_at - payload;
    // The signature has from 1 to 512 bytes: its head takes 1, 2 or 3.
    let head = [1, 2, 3]
        .into_iter()
        .find(|head| head_bytes(rest.saturating_sub(*head)) == *head)
        .unwrap_or(3);
    [
        (header_at, header),
        (payload_at, payload),
        (total - rest + head, rest - head),
    ]
}

/// Bytes of the head of a CBOR byte string. RFC 8949 §3.
const fn head_bytes(length: usize) -> usize {
    match length {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        _ => 5,
    }
}

/// Offsets of the base64url texts.
fn parts_of_jws(jws: &str) -> [(usize, usize); 3] {
    let mut at = 0;
    let mut parts = jws.split('.').map(|part| {
        let place = (at, part.len());
        at += part.len() + 1;
        place
    });
    [(); 3].map(|()| parts.next().unwrap_or_default())
}
