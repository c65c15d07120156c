//! `basoche authority continuation`, `consent` and `continue`: the log goes on under another key. SPEC §9.3, REG-30.
//!
//! ```text
//! continuation ──▶ proposal ──consent, by the other authorities──▶ consents ──continue──▶ entry
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::engine::Registry;
use basoche_protocol::id::Digest;
use basoche_protocol::text::{b64url_decode, b64url_encode};
use basoche_registry::entry::{Continuation, Kind};
use basoche_registry::leaf::{Capacity, CoSignature, consent as target_of};
use basoche_registry::log::{Equivocation, Key};
use basoche_registry::{Anchors, Content, Entry, Leaf};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::json;

use super::files::{bad_request, check_version, envelopes, read_json};
use super::office::{Ledger, Office, Statement};
use super::publish::key_file;
use super::{ANCHORS, ENTRIES, OfficeArgs};
use crate::cli::{Fault, Output, annuaire, ask};
use crate::effects::now;
use crate::files::{sync_dir, write_atomic};
use crate::log_key::LogKey;

/// How a log is to go on.
#[derive(Args)]
pub(in crate::cli) struct ContinuationArgs {
    /// The federation's anchor file.
    #[arg(long, value_name = "FILE")]
    anchors: PathBuf,
    /// How many entries stay: those that every history of the log has in common. All up to the last publication, if not given.
    #[arg(long, value_name = "NUMBER")]
    at: Option<u64>,
    /// The proof that the key in force has signed two histories (`basoche annuaire fork-proof`): who holds another one gives way.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

/// What other authorities agree to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    v: u64,
    origin: String,
    /// Entries that stay: the index of the continuation.
    at: u64,
    number: u64,
    log: String,
    root: Digest,
    /// Base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

/// What `consent` writes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Consented {
    v: u64,
    /// The log whose root agrees.
    origin: String,
    to: Proposal,
    /// The signature, base64url.
    cosignature: String,
}

impl Proposal {
    fn read(path: &Path) -> Result<(Self, Continuation), Fault> {
        let proposal: Self = read_json(path, "how a log is to go on")?;
        check_version(proposal.v, path)?;
        let log = Key::parse(&proposal.log).ok_or_else(|| bad_request(path, "it names no log key"))?;
        let proof = proposal.proof.as_ref().map(|text| b64url_decode(text));
        let proof = match proof {
            Some(None) => return Err(bad_request(path, "the proof is not base64url")),
            Some(Some(bytes)) => Some(ByteBuf::from(bytes)),
            None => None,
        };
        let (number, root) = (proposal.number, proposal.root);
        let next = Continuation {
            number,
            log,
            root,
            proof,
        };
        // Its ranges are those of the entry.
        let content = Content::from(next.clone());
        Content::decode(Kind::Continuation, &content.encode()).map_err(|error| bad_request(path, error))?;
        Ok((proposal, next))
    }
}

/// SHA-256 of the anchors' policy, to which consents are bound.
fn anchored(anchors: &Anchors, path: &Path) -> Result<Digest, Fault> {
    let policy = anchors.policy().map(|policy| policy.digest());
    policy.ok_or_else(|| {
        let what =
            "these anchors have no policy that asks for witnesses: their logs do not go on under another key";
        bad_request(path, what)
    })
}

/// The log's key in force.
fn key_in_force(ledger: &Ledger) -> Result<Key, Fault> {
    let keys = ledger.log.replica().log_keys().into_iter();
    let mut keys = keys.filter(|key| key.name() == ledger.log.origin());
    let missing = || bad_request(&ledger.dir, "this authority has no log key");
    keys.next().ok_or_else(missing)
}

/// Makes the next log key, and writes what the other authorities are to agree to.
pub(super) fn propose(
    args: &OfficeArgs,
    what: &ContinuationArgs,
    out: &Path,
    output: &Output,
) -> Result<ExitCode, Fault> {
    ask::check_free(out)?;
    let anchors = annuaire::anchors(&what.anchors)?;
    anchored(&anchors, &what.anchors)?;
    let ledger = Ledger::read(&args.dir)?.among(&anchors)?;
    let replica = ledger.log.replica();
    let origin = ledger.log.origin().to_owned();
    let at = what.at.unwrap_or_else(|| {
        let publications = replica.entries(&origin);
        let publications = publications.filter(|entry| entry.content.kind() == Kind::Publication);
        publications.last().map_or(1, |entry| entry.index + 1)
    });
    let published = replica.published(&origin).map_or(0, |(size, _)| size);
    let root = replica.tree(&origin).and_then(|tree| tree.root_at(at));
    let root = root.filter(|_| at >= published.max(1)).ok_or_else(|| {
        let size = ledger.log.size();
        Fault::usage(format!(
            "--at {at}: of the {size} entries of {origin} {published} are published; at least those stay"
        ))
    })?;
    let proof = match &what.proof {
        None => None,
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|error| Fault::unreadable(path, &error))?;
            let proof = Equivocation::decode(&bytes).map_err(|error| bad_request(path, error))?;
            let proved = proof.verify(std::slice::from_ref(&key_in_force(&ledger)?));
            proved.map_err(|error| bad_request(path, error))?;
            Some(b64url_encode(&bytes))
        }
    };
    let number = replica.continuations(&origin).len() as u64 + 1;
    let path = args.dir.join(key_file(number));
    let passphrase = args.passphrase.read()?;
    // One that was made for a proposal before this one is of nobody's use but this one's.
    let key = match path.exists() {
        true => LogKey::open(&path, &passphrase)?.key,
        false => LogKey::create(&path, &origin, &passphrase)?,
    };
    let proposal = Proposal {
        v: 1,
        origin,
        at,
        number,
        log: key.to_string(),
        root: Digest::new(root),
        proof,
    };
    ask::write_json(out, &proposal)?;
    output.answer(
        &json!({ "v": 1, "origin": proposal.origin, "at": at, "number": number, "log": proposal.log, "proposal": out }),
        || {
            format!(
                "{} entries of {} are to stay, then it goes on under log key {number}. Hand {} to the other authorities, for \
                 `basoche authority consent`; nothing has changed yet.",
                at,
                proposal.origin,
                out.display()
            )
        },
    );
    Ok(ExitCode::SUCCESS)
}

/// Signs, as a root of another authority, that it agrees.
pub(super) fn consent(
    args: &OfficeArgs,
    anchors_file: &Path,
    proposal_file: &Path,
    out: &Path,
    output: &Output,
) -> Result<ExitCode, Fault> {
    ask::check_free(out)?;
    let anchors = annuaire::anchors(anchors_file)?;
    let anchored = anchored(&anchors, anchors_file)?;
    let (proposal, next) = Proposal::read(proposal_file)?;
    let office = Office::open(args)?;
    let own = office.ledger.log.origin();
    let Some(authority) = anchors
        .authority(&proposal.origin)
        .filter(|_| proposal.origin != own)
    else {
        let what = format!("{} is no other authority of these anchors", proposal.origin);
        return Err(bad_request(proposal_file, what));
    };
    // Later keys stand in the log itself, which is not at hand here: its nodes hold the proof to them.
    if let (1, Some(proof), Some(key)) = (next.number, next.equivocation(), authority.log_key()) {
        let proved = proof.verify(std::slice::from_ref(key));
        proved.map_err(|error| bad_request(proposal_file, error))?;
    }
    let target = target_of(&anchored, &proposal.origin, proposal.at, &next);
    let unsigned = CoSignature::draft(&office.wallet, target, Capacity::Authority, now());
    let signed = unsigned.sign(&office.wallet).map_err(Fault::signer)?;
    let consented = Consented {
        v: 1,
        origin: own.to_owned(),
        to: proposal,
        cosignature: b64url_encode(&signed.encode()),
    };
    ask::write_json(out, &consented)?;
    let Consented { origin, to, .. } = consented;
    let proved = if to.proof.is_some() {
        "its key has signed two histories, as is proved"
    } else {
        "its key is given up; nobody's entries give way"
    };
    output.answer(
        &json!({ "v": 1, "origin": origin, "of": to.origin, "at": to.at, "number": to.number, "consent": out }),
        || {
            format!(
                "{origin} agrees that {} goes on after {} entries under log key {}: {proved}. Hand {} back to that authority, for \
                 `basoche authority continue --consent`.",
                to.origin,
                to.at,
                to.number,
                out.display()
            )
        },
    );
    Ok(ExitCode::SUCCESS)
}

/// Sets aside what is given up, and enters the continuation.
pub(super) fn enter(
    args: &OfficeArgs,
    anchors_file: &Path,
    proposal_file: &Path,
    consents: &[PathBuf],
    given_up: &[PathBuf],
    output: &Output,
) -> Result<ExitCode, Fault> {
    let anchors = annuaire::anchors(anchors_file)?;
    anchored(&anchors, anchors_file)?;
    let (proposal, next) = Proposal::read(proposal_file)?;
    let mut cosignatures = Vec::new();
    for path in consents {
        let file: Consented = read_json(path, "an authority's consent")?;
        check_version(file.v, path)?;
        if file.to != proposal {
            return Err(bad_request(
                path,
                format!("{} agrees to something else", file.origin),
            ));
        }
        cosignatures.extend(envelopes(&[file.cosignature], path)?);
    }
    let others = annuaire::read(given_up)?;
    let mut office = Office::open(args)?;
    if proposal.origin != office.ledger.log.origin() {
        return Err(bad_request(
            proposal_file,
            format!("it is about {}", proposal.origin),
        ));
    }
    let all = office.ledger.log.size();
    let kept = usize::try_from(proposal.at).unwrap_or(usize::MAX);
    let cut = office
        .ledger
        .leaves
        .split_off(kept.min(office.ledger.leaves.len()));
    office.ledger = office.ledger.among(&anchors)?;
    let draft = office.sign(Statement::of_the_log(next).asked_by(cosignatures))?;
    office.check(&draft)?;
    let path = args.dir.join(ANCHORS);
    write_atomic(&path, anchors.to_json().as_bytes(), 0o644)
        .map_err(|error| Fault::unwritable(&path, &error))?;
    let aside = set_aside(&args.dir, &proposal, all)?;
    let cut = cut.iter().map(|leaf| &leaf.leaf);
    let elsewhere = others
        .iter()
        .filter(|found| found.file.origin == proposal.origin && found.file.index >= proposal.at);
    let elsewhere = elsewhere.map(|found| &found.file.leaf.leaf);
    let withdrawn = withdrawals(cut.chain(elsewhere).map(|leaf| leaf.as_slice()));
    let done = office.put(draft, output)?;
    for line in &withdrawn {
        output.note(&format!("given up with its entry: {line}"));
    }
    if let Some(aside) = aside {
        output.note(&format!(
            "{} entries are set aside in {}: have those enter again what they granted that still is to be",
            all - proposal.at,
            aside.display()
        ));
    }
    Ok(done)
}

/// Moves the files of the entries that are given up.
fn set_aside(dir: &Path, proposal: &Proposal, all: u64) -> Result<Option<PathBuf>, Fault> {
    if all <= proposal.at {
        return Ok(None);
    }
    let entries = dir.join(ENTRIES);
    let aside = dir.join(format!("given-up-{}", proposal.number));
    let unwritable = |error: std::io::Error| Fault::unwritable(&aside, &error);
    std::fs::create_dir_all(&aside).map_err(unwritable)?;
    // The last first: a log that lacks its end is a log.
    for index in (proposal.at..all).rev() {
        let name = annuaire::file_name(index);
        std::fs::rename(entries.join(&name), aside.join(&name)).map_err(unwritable)?;
    }
    sync_dir(&aside)
        .and_then(|()| sync_dir(&entries))
        .map_err(unwritable)?;
    Ok(Some(aside))
}

/// What entries took away, in words: each once.
fn withdrawals<'a>(leaves: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for leaf in leaves {
        let entry = Leaf::decode(leaf)
            .ok()
            .and_then(|leaf| Entry::decode(leaf.envelope().payload()).ok());
        let Some(entry) = entry else { continue };
        let since = entry.effective_at;
        let line = match &entry.content {
            Content::Revocation(says) => format!(
                "the revocation of certificate {}: basoche authority revoke --certificate {} --reason {} --invalid-since {since}",
                says.certificate,
                says.certificate,
                says.reason.name()
            ),
            Content::Retirement(says) => format!(
                "the retirement of certificate authority {}: basoche authority retire --certificate {} --invalid-since {since}",
                says.certificate, says.certificate
            ),
            Content::Suspension(_) => match entry.subject {
                Some(subject) => {
                    format!("a suspension, from {since}: basoche authority suspend --subject {subject}")
                }
                None => continue,
            },
            _ => continue,
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}
