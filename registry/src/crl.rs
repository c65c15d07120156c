//! Revocation lists of certificate authorities (RFC 5280 §5): what they say that the log does not. Between nodes the log alone
//! counts; a list is what an authority learns from. SPEC §9.4.

use std::collections::BTreeMap;

use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_protocol::jose::VerifyingKey;
use basoche_protocol::time::Instant;
use thiserror::Error;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::x509::ReasonCode;

use crate::certificate::Certificate;
use crate::entry::{Reason, Revocation};
use crate::replica::Replica;
use crate::x509::{Signed, instant, pem_or_der};

/// Bytes of a list, at most: some 400 000 certificates.
pub const CRL_BYTES: usize = 16 << 20;

/// A list that nothing is learnt from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CrlError {
    /// Larger than [`CRL_BYTES`].
    #[error("the revocation list is larger than {CRL_BYTES} bytes")]
    TooLarge,
    /// Not one list with nothing after it.
    #[error("not one certificate revocation list of RFC 5280")]
    NotDer,
    /// Its dates are no dates after 1970.
    #[error("the list's dates are not dates after 1970")]
    Dates,
    /// It says what only a whole list of one authority may say here.
    #[error(
        "the list has a critical extension that is not understood: a delta or an indirect list is not taken"
    )]
    Critical,
    /// No certificate authority that the log states has signed it.
    #[error("no certificate authority that {origin} states has signed the list")]
    Unknown {
        /// The log.
        origin: String,
    },
    /// It is from the future.
    #[error("the list was made at {this_update}, after {now}")]
    Future {
        /// When it says that it was made.
        this_update: Instant,
        /// What the time is.
        now: Instant,
    },
}

/// What a list says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Since when it is withdrawn.
    pub since: Instant,
    /// Why; `None` where it is only on hold.
    pub reason: Option<Reason>,
}

/// A list, read, of an authority that the log states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// The certificate authority whose it is.
    pub issuer: CertificateId,
    /// When it was made.
    pub this_update: Instant,
    /// When the next one is due at the latest.
    pub next_update: Option<Instant>,
    /// What it lists, by serial number.
    listed: BTreeMap<Vec<u8>, Listed>,
}

/// A certificate that is listed, and that the log has in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The certificate.
    pub certificate: CertificateId,
    /// Whose it is.
    pub subject: SubjectId,
    /// What the list says.
    pub listed: Listed,
}

impl Missing {
    /// The entry that the log lacks, if it is one that takes effect at `effective_at`; `None` for a certificate on hold, which
    /// a suspension answers. What was signed since the authority withdrew the certificate becomes contested.
    pub fn revocation(&self, effective_at: Instant) -> Option<Revocation> {
        Some(Revocation {
            certificate: self.certificate,
            invalid_since: Some(self.listed.since).filter(|since| *since < effective_at),
            reason: self.listed.reason?,
        })
    }
}

/// A list beside a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Listed, and in force in the log, ascending by certificate.
    pub missing: Vec<Missing>,
    /// Listed, and withdrawn in the log as well; on hold, and suspended.
    pub agreed: usize,
    /// Listed, and never enrolled.
    pub strangers: usize,
    /// Withdrawn in the log, and not listed, ascending.
    pub unlisted: Vec<CertificateId>,
}

impl Crl {
    /// Reads a list, DER or PEM, of at most [`CRL_BYTES`], that a certificate authority stated in the log `origin` has signed, at
    /// the instant `now`. One that is believed no more may still withdraw.
    pub fn read(bytes: &[u8], registry: &Replica, origin: &str, now: Instant) -> Result<Self, CrlError> {
        if bytes.len() > CRL_BYTES {
            return Err(CrlError::TooLarge);
        }
        let der = pem_or_der(bytes, "X509 CRL").ok_or(CrlError::NotDer)?;
        let Ok(([], read)) = CertificateRevocationList::from_der(&der) else {
            return Err(CrlError::NotDer);
        };
        if !is_whole(&read) {
            return Err(CrlError::Critical);
        }
        let signed = Signed {
            bytes: read.tbs_cert_list.as_ref(),
            algorithms: [&read.signature_algorithm, &read.tbs_cert_list.signature],
            signature: &read.signature_value,
        };
        let name = read.issuer().as_raw();
        let by = |(certificate, key): &(&Certificate, &VerifyingKey)| {
            certificate.subject_name() == name && certificate.may_revoke() && signed.is_by(key)
        };
        let issuer = registry.issuers(origin).find(by);
        let (issuer, _) = issuer.ok_or_else(|| CrlError::Unknown {
            origin: origin.to_owned(),
        })?;
        let this_update = instant(read.last_update()).ok_or(CrlError::Dates)?;
        if this_update > now {
            return Err(CrlError::Future { this_update, now });
        }
        let next_update = read
            .next_update()
            .map(|next| instant(next).ok_or(CrlError::Dates));
        let listed = read.iter_revoked_certificates();
        let listed = listed.map(|one| Ok((one.serial().to_bytes_be(), listed_as(one)?)));
        Ok(Self {
            issuer: issuer.id(),
            this_update,
            next_update: next_update.transpose()?,
            listed: listed.collect::<Result<_, _>>()?,
        })
    }

    /// Whether its successor should have been there at `now`.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.next_update.is_some_and(|next| next < now)
    }

    /// How many certificates it lists.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether it lists nothing.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// What it says that the log of its authority does not, and the other way round.
    pub fn beside(&self, registry: &Replica) -> Difference {
        let mut difference = Difference::default();
        registry.issued_by(&self.issuer, |issued| {
            let Some(listed) = self.listed.get(&issued.serial) else {
                if issued.revoked {
                    difference.unlisted.push(issued.certificate);
                }
                return;
            };
            let answered = issued.revoked || (listed.reason.is_none() && issued.suspended);
            if answered {
                difference.agreed += 1;
            } else {
                difference.missing.push(Missing {
                    certificate: issued.certificate,
                    subject: issued.subject,
                    listed: *listed,
                });
            }
        });
        difference
            .missing
            .sort_unstable_by_key(|missing| missing.certificate);
        difference.unlisted.sort_unstable();
        let met = difference.agreed + difference.missing.len();
        difference.strangers = self.listed.len().saturating_sub(met);
        difference
    }
}

/// A certificate of a certificate authority, as a log has it.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateId,
    pub(crate) subject: SubjectId,
    pub(crate) serial: Vec<u8>,
    /// A revocation of it is in the log, in effect or not.
    pub(crate) revoked: bool,
    /// Its holder is suspended, and that is not lifted.
    pub(crate) suspended: bool,
}

/// Whether the list is one authority's own, and not only what has changed: the one critical extension that is understood is
/// the distribution point, of a list that is not indirect.
fn is_whole(list: &CertificateRevocationList<'_>) -> bool {
    let understood = list.extensions().iter().all(|extension| {
        let point = match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(point) => Some(!point.indirect_crl),
            _ => None,
        };
        match point {
            Some(direct) => direct,
            None => {
                let partial = [
                    OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
                    OID_X509_EXT_DELTA_CRL_INDICATOR,
                ];
                !extension.critical && !partial.contains(&extension.oid)
            }
        }
    });
    let mut entries = list.iter_revoked_certificates();
    understood
        && entries.all(|entry| {
            let mut extensions = entry.extensions().iter();
            extensions.all(|extension| {
                let known = matches!(
                    extension.parsed_extension(),
                    ParsedExtension::ReasonCode(_) | ParsedExtension::InvalidityDate(_)
                );
                known || !extension.critical
            })
        })
}

fn listed_as(entry: &RevokedCertificate<'_>) -> Result<Listed, CrlError> {
    let withdrawn = instant(entry.revocation_date).ok_or(CrlError::Dates)?;
    let since = entry.invalidity_date().and_then(|(_, date)| instant(date));
    let reason = match entry.reason_code().map(|(_, code)| code) {
        Some(ReasonCode::CertificateHold) => None,
        Some(ReasonCode::KeyCompromise | ReasonCode::CACompromise | ReasonCode::AACompromise) => {
            Some(Reason::KeyCompromise)
        }
        Some(ReasonCode::Superseded) => Some(Reason::Superseded),
        Some(ReasonCode::AffiliationChanged | ReasonCode::PrivilegeWithdrawn) => Some(Reason::RoleEnded),
        _ => Some(Reason::Cessation),
    };
    Ok(Listed {
        since: since.map_or(withdrawn, |since| since.min(withdrawn)),
        reason,
    })
}
