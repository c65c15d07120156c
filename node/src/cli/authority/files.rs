//! The files that an authority reads: requests of nodes and persons, certificates.

use std::path::Path;

use basoche_protocol::envelope::Envelope;
use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_protocol::jose::Algorithm;
use basoche_protocol::text::b64url_decode;
use basoche_registry::entry::KeyRecord;
use basoche_registry::{Certificate, Content};
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use super::office::{Ledger, Statement};
use crate::cli::Fault;
use crate::cli::fault::exit;
use crate::effects::now;
use crate::wallet::PersonRequest;

/// Bytes of a request or of `authority.json`.
const JSON_BYTES: u64 = 64 * 1024;

/// Who is to get a key in the log.
pub(super) struct Applicant {
    subject: SubjectId,
    pub(super) key: KeyRecord,
    pub(super) encryption_spki: Option<ByteBuf>,
    /// The certificate authority that issued the key's certificate.
    pub(super) issuer: Option<CertificateId>,
    certificate: Certificate,
    /// The log has the certificate already.
    known: bool,
    shown: Vec<Envelope>,
}

impl Applicant {
    /// The request of a person or officer: what `basoche wallet create` or `certify` wrote.
    pub(super) fn read(path: &Path, ledger: &Ledger) -> Result<Self, Fault> {
        let request = person(path)?;
        let unfit = || bad_request(path, "the encryption key is not base64url");
        let spki = request
            .encryption_spki
            .as_ref()
            .map(|spki| b64url_decode(spki).ok_or_else(unfit));
        let mut applicant = Self::of(&request.certificate, request.subject, path, ledger)?;
        applicant.encryption_spki = spki.transpose()?.map(ByteBuf::from);
        applicant.shown(request.possession.as_slice(), path)
    }

    /// The key of a certificate, base64url. If it is not self-signed, a certificate authority that the log believes has issued
    /// it.
    pub(super) fn of(
        certificate: &str,
        subject: SubjectId,
        path: &Path,
        ledger: &Ledger,
    ) -> Result<Self, Fault> {
        let der = b64url_decode(certificate);
        let der = der.ok_or_else(|| bad_request(path, "the certificate is not base64url"))?;
        let certificate = Certificate::from_der(&der).map_err(|error| bad_request(path, error))?;
        let origin = ledger.log.origin();
        let issuer = ledger.log.replica().issuer_of(origin, &certificate, now());
        if issuer.is_none() && certificate.self_signed_key().is_none() {
            let what = format!(
                "the certificate is not self-signed, and no certificate authority that {origin} believes has issued it \
                 (`basoche authority certificate-authority`)"
            );
            return Err(bad_request(path, what));
        }
        let id = certificate.id();
        Ok(Self {
            subject,
            known: ledger.log.replica().certificate_der(&id).is_some(),
            key: record(&certificate, Algorithm::Es256),
            encryption_spki: None,
            issuer,
            certificate,
            shown: Vec::new(),
        })
    }

    /// With the proof of possession of the request at `path`, of which there must be one unless the log has the key. REG-12.
    pub(super) fn shown(mut self, possession: &[String], path: &Path) -> Result<Self, Fault> {
        self.shown = envelopes(possession, path)?;
        if self.shown.is_empty() && !self.known {
            let what = "it does not prove that the key's holder wants it in a log";
            return Err(bad_request(path, what).action(
                "Have it made for this log: `basoche wallet create --authority ORIGIN`, or `wallet show --request FILE --authority \
                 ORIGIN` for a wallet that is there.",
            ));
        }
        Ok(self)
    }

    /// The statement that says `content` of the applicant's key.
    pub(super) fn states(self, content: impl Into<Content>) -> Statement {
        let statement = Statement::new(self.subject, content).beside(self.certificate.der().to_vec());
        statement.asked_by(self.shown)
    }
}

/// What a wallet's holder asks for.
pub(super) fn person(path: &Path) -> Result<PersonRequest, Fault> {
    let request: PersonRequest = read_json(path, "a person's enrolment request")?;
    check_version(request.v, path)?;
    Ok(request)
}

/// A certificate, DER or PEM.
pub(in crate::cli) fn read_certificate(path: &Path) -> Result<Certificate, Fault> {
    let bytes = std::fs::read(path).map_err(|error| Fault::unreadable(path, &error))?;
    Certificate::from_pem_or_der(&bytes).map_err(|error| bad_request(path, error))
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
