//! What is stored of a subject, of its certificates and of certificate authorities, and how entries change it. SPEC §9.4.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::{Algorithm, VerifyingKey};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::time::{Instant, Span};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::certificate::Certificate;
use crate::entry::{Content, Delegation, Entry, Kind, Officer, Reason};

/// An organisation, a node, a person, an officer or a certificate authority. Fields are positions in the
/// store and in the log's state (SPEC §9.7): append only, and absent where no new kind of entry brings them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) id: SubjectId,
    pub(crate) origin: Arc<str>,
    /// The kind of the entry that began it.
    pub(crate) kind: Kind,
    /// How many entries are about it.
    pub(crate) entries: u64,
    /// Index of the last one, of whatever kind.
    pub(crate) last: u64,
    /// The entries that state what it is: of its own kind, and for a person renewals and re-associations that were not
    /// vetoed; never empty.
    pub(crate) stated: Vec<Stated>,
    /// The endpoints of a node.
    pub(crate) endpoints: Vec<Stated>,
    pub(crate) certificates: Vec<Held>,
    pub(crate) suspensions: Vec<Suspended>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attributes: Vec<Attributed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) delegations: Vec<Entrusted>,
    /// SHA-256 of every SubjectPublicKeyInfo that entries gave it, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<Digest>,
}

/// What an expert was let to do inside of a dossier, or no longer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Entrusted {
    pub(crate) by: Stated,
    pub(crate) says: Delegation,
}

/// Roles granted or withdrawn by an entry, which may also say so of competences.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attributed {
    pub(crate) by: Stated,
    pub(crate) granted: bool,
    pub(crate) roles: Vec<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Instant>,
}

/// An entry, by its index, and when what it says takes effect.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Stated {
    pub(crate) index: u64,
    pub(crate) effective_at: Instant,
}

/// From when on a subject is suspended, and the entry that lifts it; the last may have none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Suspended {
    pub(crate) from: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lifted: Option<Stated>,
}

/// A certificate and what happened to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) id: CertificateId,
    /// The entry that brought it.
    pub(crate) index: u64,
    pub(crate) not_before: Instant,
    pub(crate) not_after: Instant,
    pub(crate) algorithm: Algorithm,
    pub(crate) spki: ByteBuf,
    /// In the order of the log; the last one in effect counts.
    pub(crate) grants: Vec<Grant>,
    pub(crate) ends: Vec<End>,
    /// The certificate authority that issued it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<CertificateId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) office: Option<Office>,
    /// The key, once somebody has needed it.
    #[serde(skip)]
    pub(crate) key: OnceLock<Option<Arc<VerifyingKey>>>,
}

/// A certificate, with the subject whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    pub(crate) subject: Arc<Subject>,
    pub(crate) place: usize,
}

/// What a certificate may be used for, from an entry on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// The entry that says so.
    pub(crate) by: Stated,
    pub(crate) node: SubjectId,
    pub(crate) roles: Vec<Role>,
    pub(crate) assurance: Assurance,
}

/// What ends a certificate: a revocation, or another key in its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) by: Stated,
    pub(crate) why: Ending,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) invalid_since: Option<Instant>,
}

/// Why a certificate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub(crate) enum Ending {
    Revoked(Reason),
    Renewed,
    Reassociated,
}

impl Ending {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Revoked(reason) => reason.revoked(),
            Self::Renewed => "its holder has renewed it",
            Self::Reassociated => "its holder has been given another key",
        }
    }
}

impl From<Ending> for u16 {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Renewed => 0x100,
            Ending::Reassociated => 0x101,
            Ending::Revoked(reason) => reason.number(),
        }
    }
}

impl TryFrom<u16> for Ending {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        match number {
            0x100 => Ok(Self::Renewed),
            0x101 => Ok(Self::Reassociated),
            reason => Reason::try_from(reason).map(Self::Revoked),
        }
    }
}

/// What the key of an officer may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Office {
    pub(crate) until: Instant,
    pub(crate) revocations_per_hour: u64,
    /// When it withdrew certificates by itself within the hour before the last one, no more than its quota.
    pub(crate) revoked: VecDeque<Instant>,
}

/// A certificate authority that a log states.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) certificate: Certificate,
    pub(crate) key: Arc<VerifyingKey>,
    pub(crate) stated: IssuerRecord,
}

/// What is stored of a certificate authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IssuerRecord {
    pub(crate) origin: Arc<str>,
    pub(crate) subject: SubjectId,
    pub(crate) certificate: ByteBuf,
    pub(crate) algorithm: Algorithm,
    /// The entry that states it.
    pub(crate) by: Stated,
    pub(crate) until: Instant,
    /// From when on it is not believed, and since when that is doubted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retired: Option<(Instant, Option<Instant>)>,
}

impl Office {
    pub(crate) fn new(officer: &Officer) -> Self {
        Self {
            until: officer.until,
            revocations_per_hour: officer.revocations_per_hour,
            revoked: VecDeque::new(),
        }
    }

    /// Whether it may withdraw one more certificate by itself at `at`.
    pub(crate) fn may_revoke(&self, at: Instant) -> bool {
        let lately = self.revoked.iter().filter(|when| at.since(**when) < HOUR);
        (lately.count() as u64) < self.revocations_per_hour.min(REVOCATIONS_PER_HOUR)
    }

    pub(crate) fn has_revoked(&mut self, at: Instant) {
        self.revoked.retain(|when| at.since(*when) < HOUR);
        self.revoked.push_back(at);
    }
}

pub(crate) const HOUR: Span = Span::from_seconds(3600);
/// Certificates that an officer may withdraw by itself within an hour, whatever its entry says. REG-13.
pub(crate) const REVOCATIONS_PER_HOUR: u64 = 4096;

impl Subject {
    pub(crate) fn new(id: SubjectId, origin: Arc<str>, kind: Kind) -> Self {
        Self {
            id,
            origin,
            kind,
            entries: 0,
            last: 0,
            stated: Vec::new(),
            endpoints: Vec::new(),
            certificates: Vec::new(),
            suspensions: Vec::new(),
            attributes: Vec::new(),
            delegations: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// The roles of an enrolment with `base`, and what attributes have made of them since, in effect or not.
    pub(crate) fn roles_stated(&self, base: &[Role]) -> Vec<Role> {
        let mut roles: BTreeSet<Role> = base.iter().copied().collect();
        for Attributed {
            granted,
            roles: named,
            ..
        } in &self.attributes
        {
            match granted {
                true => roles.extend(named),
                false => roles.retain(|role| !named.contains(role)),
            }
        }
        roles.into_iter().collect()
    }

    /// The certificate that was granted something last, and what.
    pub(crate) fn latest(&self) -> Option<(CertificateId, &Grant)> {
        let latest = |held: &Held| Some(held.grants.last()?.by.index);
        let held = self.certificates.iter().max_by_key(|held| latest(held))?;
        Some((held.id, held.grants.last()?))
    }

    /// When the re-association by entry `index` takes effect, if there is one that was not vetoed.
    pub(crate) fn reassociated_by(&self, index: u64) -> Option<Instant> {
        let ends = self.certificates.iter().flat_map(|held| &held.ends);
        let mut ends = ends.filter(|end| matches!(end.why, Ending::Reassociated));
        let end = ends.find(|end| end.by.index == index);
        end.map(|end| end.by.effective_at)
    }

    pub(crate) fn end(&mut self, certificate: &CertificateId, end: End) {
        let held = self.certificates.iter_mut().find(|held| held.id == *certificate);
        held.into_iter().for_each(|held| held.ends.push(end.clone()));
    }

    /// The certificate that `entry` brings is held, and means what the entry says from its effect on.
    pub(crate) fn grant(&mut self, entry: &Entry, certificate: &Certificate, key: &Arc<VerifyingKey>) {
        let latest = |held: &Held| {
            let grant = held.grants.last()?;
            Some((grant.node, grant.roles.clone(), grant.assurance))
        };
        let mut office = None;
        let granted = match &entry.content {
            Content::Node(_) => Some((self.id, vec![Role::Node], Assurance::Seal)),
            Content::Enrolment(enrolment) => {
                Some((enrolment.node, enrolment.roles.clone(), enrolment.assurance))
            }
            // What the person is does not change with the key.
            Content::Renewal(renewal) => {
                let old = self.certificates.iter().find(|held| held.id == renewal.replaces);
                old.and_then(latest)
            }
            Content::Reassociation(reassociation) => {
                let old = self.certificates.iter().rev().find_map(latest);
                old.map(|(node, roles, _)| (node, roles, reassociation.assurance))
            }
            // They sign entries of the registry and nothing else.
            Content::Organisation(_) => Some((self.id, Vec::new(), Assurance::Software)),
            Content::Officer(officer) => {
                office = Some(Office::new(officer));
                Some((self.id, Vec::new(), Assurance::Software))
            }
            _ => None,
        };
        let Some((node, roles, assurance)) = granted else {
            return;
        };
        let known = self
            .certificates
            .iter()
            .position(|held| held.id == certificate.id());
        let place = known.unwrap_or_else(|| {
            self.certificates.push(Held::new(entry.index, certificate, key));
            self.certificates.len() - 1
        });
        let held = &mut self.certificates[place];
        // Whose it is once, it stays: enrolling it again without an issuer frees it from no retirement.
        held.issuer = held.issuer.or_else(|| entry.content.issuer().copied());
        held.office = office;
        held.grants.push(Grant {
            by: entry.stated(),
            node,
            roles,
            assurance,
        });
    }
}

impl Grant {
    /// Whether both let the holder do the same.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        (self.node, self.assurance) == (other.node, other.assurance) && self.roles == other.roles
    }
}

impl End {
    pub(crate) const fn of(by: Stated, why: Ending) -> Self {
        Self {
            by,
            why,
            invalid_since: None,
        }
    }
}

impl Held {
    pub(crate) fn new(index: u64, certificate: &Certificate, key: &Arc<VerifyingKey>) -> Self {
        Self {
            id: certificate.id(),
            index,
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            algorithm: key.algorithm(),
            spki: ByteBuf::from(certificate.spki()),
            grants: Vec::new(),
            ends: Vec::new(),
            issuer: None,
            office: None,
            key: OnceLock::from(Some(Arc::clone(key))),
        }
    }

    /// Whether it was ever withdrawn: such a certificate is never enrolled again.
    pub(crate) fn is_revoked(&self) -> bool {
        self.ends.iter().any(|end| matches!(end.why, Ending::Revoked(_)))
    }

    /// The key, whatever it is worth.
    pub(crate) fn key(&self) -> Option<&Arc<VerifyingKey>> {
        let read = || {
            VerifyingKey::from_spki(self.algorithm, &self.spki)
                .ok()
                .map(Arc::new)
        };
        self.key.get_or_init(read).as_ref()
    }

    pub(crate) fn office(&self) -> Option<&Office> {
        self.office.as_ref()
    }
}

impl Deref for Holding {
    type Target = Held;

    fn deref(&self) -> &Held {
        // Unwrap safety: `Known::certificate` found it there, and nobody changes the subject.
        &self.subject.certificates[self.place]
    }
}

impl Issuer {
    pub(crate) fn read(stated: IssuerRecord) -> Option<Self> {
        let certificate = Certificate::from_der(&stated.certificate).ok()?;
        let key = VerifyingKey::from_spki(stated.algorithm, certificate.spki()).ok()?;
        Some(Self {
            certificate,
            key: Arc::new(key),
            stated,
        })
    }
}
