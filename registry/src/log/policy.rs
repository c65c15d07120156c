//! Trust policies (C2SP tlog-policy): which witnesses must have seen a checkpoint before what it adds counts. SPEC
//! §9.6, LOG-6.
//!
//! ```text
//! witness court-a <vkey>
//! witness court-b <vkey>
//! group courts any court-a court-b
//! quorum courts
//! ```

use std::collections::{BTreeMap, BTreeSet};

use basoche_protocol::id::Digest;
use thiserror::Error;

use super::note::{Key, KeyKind};

/// Bytes of a policy.
const POLICY_BYTES: usize = 64 * 1024;
/// Logs, witnesses and groups, of each: what C2SP recommends that everybody takes.
const NAMES: usize = 32;

/// A policy that cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("policy, line {line}: {fault}")]
pub struct PolicyError {
    /// From 1; 0 where it is about the whole.
    pub line: usize,
    /// What is wrong.
    pub fault: PolicyFault,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyFault {
    /// Larger than 64 KiB, or more than 32 logs, witnesses or groups.
    #[error("it is larger than {POLICY_BYTES} bytes, or has more than {NAMES} logs, witnesses or groups")]
    TooLarge,
    /// Not UTF-8, or a control character.
    #[error("it is not UTF-8 without control characters")]
    NotText,
    /// Not a line of a policy.
    #[error(
        "it is none of: log VKEY [URL] · witness NAME VKEY [URL] · group NAME any|all|K NAME… · quorum NAME|none"
    )]
    Line,
    /// Not a verifier key of the kind that the line wants.
    #[error("{vkey} is not a verifier key of that kind")]
    Key {
        /// As written.
        vkey: String,
    },
    /// The public key stands in another line already, under whatever name.
    #[error("the key of {name} stands in another line")]
    DuplicateKey {
        /// The name of its key.
        name: String,
    },
    /// The name is defined already, or is `none`.
    #[error("the name {name} is taken")]
    NameTaken {
        /// Which.
        name: String,
    },
    /// The name is not defined on a line before.
    #[error("no line before defines {name}")]
    UnknownName {
        /// Which.
        name: String,
    },
    /// The name is a member of a group already.
    #[error("{name} is a member of a group already")]
    MemberTwice {
        /// Which.
        name: String,
    },
    /// The threshold is not from 1 to the number of members.
    #[error("{threshold} is not any, all, or from 1 to the number of members")]
    Threshold {
        /// As written.
        threshold: String,
    },
    /// There is no quorum line, or more than one.
    #[error("a policy has one quorum line")]
    Quorum,
}

/// Whose cosignatures are enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    text: String,
    logs: Vec<Key>,
    /// Witnesses and groups in the order of their lines: a group's members stand before it.
    members: Vec<Member>,
    /// The name of each, in the same order.
    names: Vec<String>,
    /// Index of the member whose agreement is the quorum; `None` for `quorum none`.
    quorum: Option<usize>,
}

/// How far those who have seen a checkpoint are enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// They are the quorum.
    Quorum,
    /// They are, without these members of the quorum, who have been silent for long.
    Without(Vec<String>),
    /// They are too few.
    TooFew,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    Witness(Key),
    Group { threshold: usize, of: Vec<usize> },
}

impl Policy {
    /// Reads a policy.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let whole = |fault| PolicyError { line: 0, fault };
        if bytes.len() > POLICY_BYTES {
            return Err(whole(PolicyFault::TooLarge));
        }
        let text = str::from_utf8(bytes).map_err(|_| whole(PolicyFault::NotText))?;
        let mut reader = Reader::default();
        for (place, line) in text.split('\n').enumerate() {
            let line_fault = |fault| PolicyError {
                line: place + 1,
                fault,
            };
            if line
                .bytes()
                .any(|byte| byte < 0x20 && byte != b'\t' || byte == 0x7f)
            {
                return Err(line_fault(PolicyFault::NotText));
            }
            let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            reader.take(&words).map_err(line_fault)?;
        }
        let quorum = reader.quorum.ok_or_else(|| whole(PolicyFault::Quorum))?;
        let names = reader.in_order();
        Ok(Self {
            text: text.to_owned(),
            names,
            logs: reader.logs,
            members: reader.members,
            quorum,
        })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text: what a genesis states. REG-21.
    pub fn digest(&self) -> Digest {
        Digest::of(&[self.text.as_bytes()])
    }

    /// The logs that it is about.
    pub fn logs(&self) -> &[Key] {
        &self.logs
    }

    /// The keys of the witnesses.
    pub fn witnesses(&self) -> impl Iterator<Item = &Key> {
        self.members.iter().filter_map(|member| match member {
            Member::Witness(key) => Some(key),
            Member::Group { .. } => None,
        })
    }

    /// Whether anybody's agreement is asked for: not under `quorum none`.
    pub fn asks(&self) -> bool {
        self.quorum.is_some()
    }

    /// Whether those who have seen a checkpoint are enough. `quorum none` asks for nobody.
    pub fn is_met<'a>(&self, seen_by: impl IntoIterator<Item = &'a Key>) -> bool {
        let agreed = self.agreed(seen_by);
        self.quorum.is_none_or(|place| agreed[place])
    }

    /// The same, where the members of the quorum's group (one for each profession, as a rule) all of whose witnesses are
    /// `silent` need not agree, as long as more than half of the members do.
    pub fn agreement<'a>(
        &self,
        seen_by: impl IntoIterator<Item = &'a Key>,
        silent: &dyn Fn(&Key) -> bool,
    ) -> Agreement {
        let agreed = self.agreed(seen_by);
        let Some(quorum) = self.quorum else {
            return Agreement::Quorum;
        };
        if agreed[quorum] {
            return Agreement::Quorum;
        }
        let Member::Group { threshold, of } = &self.members[quorum] else {
            return Agreement::TooFew;
        };
        let agree = of.iter().filter(|place| agreed[**place]).count();
        let away = of
            .iter()
            .filter(|place| !agreed[**place] && self.is_away(**place, silent));
        let away: Vec<_> = away.map(|place| self.names[*place].clone()).collect();
        if agree + away.len() >= *threshold && agree * 2 > of.len() {
            Agreement::Without(away)
        } else {
            Agreement::TooFew
        }
    }

    /// Whether every witness of a member is silent.
    fn is_away(&self, place: usize, silent: &dyn Fn(&Key) -> bool) -> bool {
        match &self.members[place] {
            Member::Witness(key) => silent(key),
            Member::Group { of, .. } => of.iter().all(|place| self.is_away(*place, silent)),
        }
    }

    /// Which members agree, in their order.
    fn agreed<'a>(&self, seen_by: impl IntoIterator<Item = &'a Key>) -> Vec<bool> {
        let seen: BTreeSet<&Key> = seen_by.into_iter().collect();
        let mut agreed = Vec::with_capacity(self.members.len());
        for member in &self.members {
            agreed.push(match member {
                Member::Witness(key) => seen.contains(key),
                Member::Group { threshold, of } => {
                    of.iter().filter(|place| agreed[**place]).count() >= *threshold
                }
            });
        }
        agreed
    }
}

/// What the lines so far have said.
#[derive(Default)]
struct Reader<'a> {
    logs: Vec<Key>,
    members: Vec<Member>,
    /// Place of each name among the members.
    names: BTreeMap<&'a str, usize>,
    /// Places that a group has taken.
    taken: BTreeSet<usize>,
    groups: usize,
    /// The quorum line; `Some(None)` is `none`.
    quorum: Option<Option<usize>>,
}

impl<'a> Reader<'a> {
    /// The names of the members, in their order.
    fn in_order(&self) -> Vec<String> {
        let mut names: Vec<_> = self.names.iter().map(|(name, place)| (*place, *name)).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name.to_owned()).collect()
    }

    fn take(&mut self, words: &[&'a str]) -> Result<(), PolicyFault> {
        match words {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", vkey] | ["log", vkey, _] => {
                let key = key(vkey, KeyKind::Log)?;
                if self.logs.iter().any(|log| log.public() == key.public()) {
                    let name = key.name().to_owned();
                    return Err(PolicyFault::DuplicateKey { name });
                }
                self.logs.push(key);
                bounded(self.logs.len())
            }
            ["witness", name, vkey] | ["witness", name, vkey, _] => {
                let key = key(vkey, KeyKind::Cosigner)?;
                let same = |member: &Member| matches!(member, Member::Witness(other) if other.public() == key.public());
                if self.members.iter().any(same) {
                    let name = key.name().to_owned();
                    return Err(PolicyFault::DuplicateKey { name });
                }
                self.define(name, Member::Witness(key))?;
                bounded(self.members.len() - self.groups)
            }
            ["group", name, threshold, of @ ..] if !of.is_empty() => {
                let of = of
                    .iter()
                    .map(|name| self.member(name))
                    .collect::<Result<Vec<_>, _>>()?;
                let known = match *threshold {
                    "any" => Some(1),
                    "all" => Some(of.len()),
                    number => number.parse().ok().filter(|k: &usize| k.to_string() == number),
                };
                let fits = known.filter(|k| (1..=of.len()).contains(k));
                let threshold = fits.ok_or_else(|| PolicyFault::Threshold {
                    threshold: (*threshold).to_owned(),
                })?;
                self.define(name, Member::Group { threshold, of })?;
                self.groups += 1;
                bounded(self.groups)
            }
            ["quorum", _] if self.quorum.is_some() => Err(PolicyFault::Quorum),
            ["quorum", "none"] => {
                self.quorum = Some(None);
                Ok(())
            }
            ["quorum", name] => {
                self.quorum = Some(Some(self.place(name)?));
                Ok(())
            }
            _ => Err(PolicyFault::Line),
        }
    }

    fn define(&mut self, name: &'a str, member: Member) -> Result<(), PolicyFault> {
        if name == "none" || self.names.contains_key(name) {
            let name = name.to_owned();
            return Err(PolicyFault::NameTaken { name });
        }
        self.names.insert(name, self.members.len());
        self.members.push(member);
        Ok(())
    }

    fn place(&self, name: &str) -> Result<usize, PolicyFault> {
        let unknown = || PolicyFault::UnknownName {
            name: name.to_owned(),
        };
        self.names.get(name).copied().ok_or_else(unknown)
    }

    /// The place of `name`, for a group: no other group may have it.
    fn member(&mut self, name: &str) -> Result<usize, PolicyFault> {
        let place = self.place(name)?;
        if !self.taken.insert(place) {
            return Err(PolicyFault::MemberTwice {
                name: name.to_owned(),
            });
        }
        Ok(place)
    }
}

fn key(vkey: &str, kind: KeyKind) -> Result<Key, PolicyFault> {
    let key = Key::parse(vkey).filter(|key| key.kind() == kind);
    key.ok_or_else(|| PolicyFault::Key {
        vkey: vkey.to_owned(),
    })
}

fn bounded(number: usize) -> Result<(), PolicyFault> {
    if number > NAMES {
        return Err(PolicyFault::TooLarge);
    }
    Ok(())
}
