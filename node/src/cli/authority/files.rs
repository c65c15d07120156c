//! The files that an authority reads: requests of nodes and persons, certificates.

use std::path::Path;

use basoche_protocol::envelope::Envelope;
use basoche_protocol::jose::Algorithm;
use basoche_protocol::text::b64url_decode;
use basoche_registry::Certificate;
use basoche_registry::entry::KeyRecord;
use serde::de::DeserializeOwned;

use crate::cli::Fault;
use crate::cli::fault::exit;

/// Bytes of a request or of `authority.json`.
const JSON_BYTES: u64 = 64 * 1024;

/// The key of a request's certificate, which its holder signed with it, and the certificate's DER bytes.
pub(super) fn key(certificate: &str, path: &Path) -> Result<(KeyRecord, Vec<u8>), Fault> {
    let der =
        b64url_decode(certificate).ok_or_else(|| bad_request(path, "the certificate is not base64url"))?;
    let certificate = Certificate::from_der(&der).map_err(|error| bad_request(path, error))?;
    if certificate.self_signed_key().is_none() {
        let what = "the certificate is not self-signed under ES256, so possession of the key is not shown";
        return Err(bad_request(path, what));
    }
    Ok((record(&certificate, Algorithm::Es256), der))
}

/// What an entry says of the key of a certificate.
pub(super) fn record(certificate: &Certificate, algorithm: Algorithm) -> KeyRecord {
    KeyRecord {
        certificate: certificate.id(),
        spki_sha256: certificate.spki_sha256(),
        algorithm,
    }
}

/// The signed envelopes of a request, in base64url.
pub(super) fn envelopes(texts: &[String], path: &Path) -> Result<Vec<Envelope>, Fault> {
    let decode = |text: &String| {
        let bytes = b64url_decode(text).ok_or_else(|| bad_request(path, "a signature is not base64url"))?;
        Envelope::decode(&bytes).map_err(|error| bad_request(path, error))
    };
    texts.iter().map(decode).collect()
}

pub(in crate::cli) fn read_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, Fault> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    opened
        .and_then(|file| file.take(JSON_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| Fault::unreadable(path, &error))?;
    if bytes.len() as u64 > JSON_BYTES {
        return Err(bad_request(
            path,
            format!("larger than {JSON_BYTES} bytes: not {what}"),
        ));
    }
    serde_json::from_slice(&bytes).map_err(|error| bad_request(path, format!("not {what}: {error}")))
}

pub(in crate::cli) fn check_version(version: u64, path: &Path) -> Result<(), Fault> {
    if version == 1 {
        Ok(())
    } else {
        Err(bad_request(
            path,
            format!("version {version} is not known here; this program reads version 1"),
        ))
    }
}

pub(in crate::cli) fn bad_request(path: &Path, what: impl ToString) -> Fault {
    let message = format!("{}: {}", path.display(), what.to_string());
    Fault::new(exit::MALFORMED, "malformed", message, path.display())
        .action("Have the file written again by the program that it comes from.")
}
