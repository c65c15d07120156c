//! Who may make which entry: the authority's roots together or an officer, and who must have signed beside them. SPEC
//! §9.3, REG-3, REG-9, REG-12, REG-27.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basoche_protocol::envelope::Typ;
use basoche_protocol::id::{CertificateId, SubjectId};
use basoche_protocol::jose::VerifyingKey;

use crate::anchor::{Authority, Root};
use crate::entry::{Content, Entry, Kind};
use crate::held::Log;
use crate::inadmissible::Inadmissible;
use crate::known::{Known, Standing};
use crate::leaf::{Capacity, Leaf, agreement, consent, possession, request};
use crate::record::Holding;

/// Whose signature an entry bears.
pub(crate) enum Author<'a> {
    /// A root of the authority.
    Root(&'a Root),
    /// One of its officers: the certificate has an office.
    Officer(CertificateId, Holding),
}

/// Who has signed beside the author.
pub(crate) struct Cosigners {
    roots: BTreeSet<CertificateId>,
    /// Another officer than the author.
    second_officer: bool,
    /// With the key that the entry states.
    possession: bool,
    /// Who asks for it.
    holder: Option<(CertificateId, Holding)>,
    /// Of each other authority how many roots agree to the policy.
    others: BTreeMap<Arc<str>, usize>,
}

impl<'a> Author<'a> {
    /// Who the header of `leaf` says that it is, and the key that the signature must be of.
    pub(crate) fn find(
        known: &Known,
        log: &'a Log,
        leaf: &Leaf,
    ) -> Result<(Self, Arc<VerifyingKey>), Inadmissible> {
        let certificate = leaf.envelope().header().certificate;
        if let Some(root) = log.authority.root(&certificate) {
            return Ok((Self::Root(root), Arc::clone(&root.key)));
        }
        let held = held_in(known, log, &certificate);
        let found = held.and_then(|held| {
            held.office()?;
            let key = Arc::clone(held.key()?);
            Some((Self::Officer(certificate, held), key))
        });
        found.ok_or(Inadmissible::UnknownAuthor { certificate })
    }

    /// The author's key was in force when the entry was issued. An officer whose office is not published yet may enter the
    /// publication that does it: that one stands by its witnesses.
    pub(crate) fn check_in_force(&self, known: &Known, entry: &Entry) -> Result<(), Inadmissible> {
        let at = entry.issued_at;
        let publishes = entry.content.kind() == Kind::Publication;
        let in_force = match self {
            Self::Root(root) => root.covers(at),
            Self::Officer(_, held) => match known.standing(held, at) {
                Standing::Valid(_) => true,
                Standing::Undetermined(_) => publishes,
                Standing::Contested(..) | Standing::Invalid(_) => false,
            },
        };
        if in_force {
            return Ok(());
        }
        let certificate = self.certificate();
        Err(Inadmissible::NotInForce { certificate, at })
    }

    fn certificate(&self) -> CertificateId {
        match self {
            Self::Root(root) => root.certificate.id(),
            Self::Officer(certificate, ..) => *certificate,
        }
    }

    /// The author, with those beside it, may make this entry. Gives the officer who answers for a revocation alone, to
    /// count it. REG-12.
    pub(crate) fn check_right(
        &self,
        known: &Known,
        log: &Log,
        entry: &Entry,
        beside: &Cosigners,
    ) -> Result<Option<CertificateId>, Inadmissible> {
        let (certificate, at, kind) = (self.certificate(), entry.issued_at, entry.content.kind());
        let needs = |what| {
            Err(Inadmissible::NotEntitled {
                certificate,
                at,
                kind,
                what,
            })
        };
        let by_roots = match self {
            Self::Root(_) if matches!(kind, Kind::Publication | Kind::StateRoot) => true,
            Self::Root(_) => {
                let needed = log.authority.threshold();
                let signed = 1 + beside.roots.len();
                if signed < needed {
                    return Err(Inadmissible::TooFewRoots {
                        certificate,
                        at,
                        signed,
                        needed,
                    });
                }
                true
            }
            Self::Officer(..) => false,
        };
        let asks = |allowed: &dyn Fn(&CertificateId, &Holding) -> bool| {
            let holder = beside.holder.as_ref();
            holder.is_some_and(|(id, held)| allowed(id, held))
        };
        let is_own = |_: &CertificateId, held: &Holding| Some(held.subject.id) == entry.subject;
        let is_own_or_organisation =
            |id: &CertificateId, held: &Holding| is_own(id, held) || speaks_for(known, log, held, entry);
        match &entry.content {
            Content::Genesis(_)
            | Content::Officer(_)
            | Content::CertificateAuthority(_)
            | Content::Retirement(_) => {
                if !by_roots {
                    return needs("the roots of the authority");
                }
            }
            // One officer alone takes nobody's place: not by stating other keys of who is known.
            Content::Enrolment(_) => {
                if !by_roots && brings_another_key(known, entry) {
                    return needs(
                        "the roots of the authority, for another key: it is renewed or re-associated",
                    );
                }
            }
            Content::Organisation(_) | Content::Node(_) => {
                let agreed = by_roots || beside.second_officer || asks(&is_own_or_organisation);
                if !agreed && brings_another_key(known, entry) {
                    return needs("a second officer, or who holds the key, for another key");
                }
            }
            Content::Suspension(_) | Content::Lifting(_) | Content::Attribute(_) | Content::Delegation(_) => {
            }
            Content::PolicyChange(_) | Content::Continuation(_) => {
                if !by_roots || !beside.are_most_of(known) {
                    return needs("the roots of most authorities");
                }
            }
            // One root is enough, and any officer: what is published is what the witnesses have seen, and the state is what
            // every replica finds.
            Content::Publication(_) | Content::StateRoot(_) => {}
            Content::Renewal(renewal) => {
                if !asks(&|id, _| *id == renewal.replaces) {
                    return needs("the signature of the key that it follows");
                }
            }
            Content::Endpoint(_) => {
                if !asks(&is_own) {
                    return needs("the signature of the node's seal");
                }
            }
            Content::Reassociation(_) => {
                if !by_roots && !beside.second_officer {
                    return needs("a second officer");
                }
            }
            Content::Veto(_) => {
                if !by_roots && !asks(&is_own_or_organisation) {
                    return needs("a key of the subject, its organisation or the roots of the authority");
                }
            }
            Content::Revocation(revocation) => {
                let Self::Officer(_, officer) = self else {
                    return Ok(None);
                };
                if beside.second_officer || asks(&is_own_or_organisation) {
                    return Ok(None);
                }
                let of = known.certificate(&revocation.certificate);
                if of.is_some_and(|held| matches!(held.subject.kind, Kind::Node | Kind::Officer)) {
                    return needs("a second officer, for the certificate of a node or officer");
                }
                if !officer.office().is_some_and(|office| office.may_revoke(at)) {
                    return needs("a second officer: the first has withdrawn as many as it may in an hour");
                }
                return Ok(Some(certificate));
            }
        }
        if !beside.possession && states_a_new_key(known, &entry.content) {
            return needs("the possession of the new key");
        }
        Ok(None)
    }
}

/// Whether somebody who is known is given a key that was not theirs.
fn brings_another_key(known: &Known, entry: &Entry) -> bool {
    let is_new = |spki| known.holder(&spki).is_none();
    entry.prev.is_some() && entry.content.spkis().into_iter().any(is_new)
}

/// Whether a signature key is stated that nobody had before. That of a certificate authority is shown by what it issues.
fn states_a_new_key(known: &Known, content: &Content) -> bool {
    let key = content
        .key()
        .filter(|_| content.kind() != Kind::CertificateAuthority);
    key.is_some_and(|key| known.holder(&key.spki_sha256).is_none())
}

fn held_in(known: &Known, log: &Log, certificate: &CertificateId) -> Option<Holding> {
    let held = known.certificate(certificate)?;
    (*held.subject.origin == *log.authority.origin()).then_some(held)
}

/// Whether the key of `held` is that of the organisation that runs the subject's node: the node itself, or a person's home.
fn speaks_for(known: &Known, log: &Log, held: &Holding, entry: &Entry) -> bool {
    let stated = |subject: SubjectId| {
        let subject = known.subject(&subject)?;
        let entries = subject.stated.iter().rev();
        let mut entries = entries.filter_map(|stated| log.entry(stated.index));
        entries.find_map(|entry| match &entry.content {
            Content::Enrolment(enrolment) => Some((enrolment.node, false)),
            Content::Node(node) => Some((node.organisation, true)),
            _ => None,
        })
    };
    let organisation = match entry.subject.and_then(stated) {
        Some((node, false)) => stated(node).filter(|(_, is_organisation)| *is_organisation),
        direct => direct,
    };
    organisation.is_some_and(|(organisation, _)| organisation == held.subject.id)
}

impl Cosigners {
    /// Whether, with the log's own, more than half of all authorities agree: each by as many roots as it takes.
    fn are_most_of(&self, known: &Known) -> bool {
        let agrees = |one: &&Authority| {
            let signed = self.others.get(one.origin()).copied().unwrap_or_default();
            signed >= one.threshold()
        };
        let others = known.authorities.iter().filter(agrees).count();
        2 * (1 + others) > known.authorities.len()
    }

    /// Every co-signature that is there holds. REG-9.
    pub(crate) fn check(
        known: &Known,
        log: &Log,
        entry: &Entry,
        leaf: &Leaf,
        enrolled: Option<(CertificateId, &Arc<VerifyingKey>)>,
    ) -> Result<Self, Inadmissible> {
        let mut found = Self {
            roots: BTreeSet::new(),
            second_officer: false,
            possession: false,
            holder: None,
            others: BTreeMap::new(),
        };
        let author = leaf.envelope().header().certificate;
        let mut seen = BTreeSet::from([(author, Capacity::SecondOfficer), (author, Capacity::Root)]);
        for (number, cosignature) in leaf.cosignatures().iter().enumerate() {
            let bad = |what| Inadmissible::CoSignature { number, what };
            let (certificate, capacity) = (
                cosignature.envelope().header().certificate,
                cosignature.capacity(),
            );
            if !seen.insert((certificate, capacity)) {
                return Err(bad("the same key has signed already"));
            }
            let subject = entry.subject.ok_or_else(|| bad("nobody is concerned"));
            let target = match capacity {
                Capacity::SecondOfficer | Capacity::Root => leaf.envelope().id(),
                Capacity::Possession => possession(&entry.origin, &subject?, &certificate),
                Capacity::Holder => request(&entry.origin, &subject?, entry.prev, &entry.content),
                Capacity::Authority => {
                    let anchored = log.authority.policy().map(|policy| policy.digest());
                    match (anchored, &entry.content) {
                        (Some(anchored), Content::PolicyChange(change)) => agreement(&anchored, change),
                        (Some(anchored), Content::Continuation(next)) => {
                            consent(&anchored, &entry.origin, entry.index, next)
                        }
                        _ => return Err(bad("nothing is agreed to here")),
                    }
                }
            };
            if cosignature.target() != target {
                return Err(bad(match capacity {
                    Capacity::Possession => "possession is shown for another log or another subject",
                    Capacity::Authority => "it agrees to something else",
                    _ => "it is about another entry",
                }));
            }
            let in_force = |held: &Holding| Some(known.signer_at(held, entry.issued_at)?.key);
            let key = match capacity {
                Capacity::Possession => {
                    found.possession = true;
                    let key = enrolled.filter(|(id, _)| *id == certificate);
                    let key = key.map(|(_, key)| Arc::clone(key));
                    key.ok_or_else(|| bad("possession is shown with the key that the entry states"))?
                }
                Capacity::SecondOfficer => {
                    found.second_officer = true;
                    let first = known.certificate(&author).map(|held| held.subject.id);
                    let held = held_in(known, log, &certificate);
                    let held = held.filter(|held| held.office().is_some() && Some(held.subject.id) != first);
                    let key = held.as_ref().and_then(in_force);
                    key.ok_or_else(|| bad("the second officer is not another one, in office in this log"))?
                }
                Capacity::Holder => {
                    let held = held_in(known, log, &certificate);
                    let key = held.as_ref().and_then(in_force);
                    found.holder = held.map(|held| (certificate, held));
                    key.ok_or_else(|| bad("who asks has no key in force in this log"))?
                }
                Capacity::Root => {
                    found.roots.insert(certificate);
                    let root = log.authority.root(&certificate);
                    let root = root.filter(|root| root.covers(entry.issued_at));
                    let root = root.ok_or_else(|| bad("it is not by a root of the authority in force"))?;
                    Arc::clone(&root.key)
                }
                Capacity::Authority => {
                    let others = known.authorities.iter();
                    let mut others = others.filter(|one| one.origin() != log.authority.origin());
                    let root = others.find_map(|one| Some((one, one.root(&certificate)?)));
                    let root = root.filter(|(_, root)| root.covers(entry.issued_at));
                    let (of, root) =
                        root.ok_or_else(|| bad("it is not by a root of another authority in force"))?;
                    *found.others.entry(of.shared_origin()).or_default() += 1;
                    Arc::clone(&root.key)
                }
            };
            let signature = cosignature.envelope().check(Typ::CoSignature, &key);
            signature.map_err(|_| bad("the signature does not verify"))?;
        }
        Ok(found)
    }
}
