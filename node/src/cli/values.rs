//! What stands in several commands, as clap reads it.

use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_registry::entry::Reason;

/// Why a certificate is withdrawn, by name.
pub(super) fn reason(text: &str) -> Result<Reason, &'static str> {
    Reason::from_name(text).ok_or("key-compromise, superseded, cessation or role-ended")
}

/// Somebody in the registry, by id.
pub(super) fn subject(text: &str) -> Result<SubjectId, &'static str> {
    SubjectId::from_hex(text).ok_or("a subject is 32 lower-case hexadecimal digits")
}

/// A certificate, by its SHA-256.
pub(super) fn certificate_id(text: &str) -> Result<CertificateId, &'static str> {
    CertificateId::from_hex(text).ok_or("a certificate's SHA-256 is 64 lower-case hexadecimal digits")
}
