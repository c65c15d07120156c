//! Personal documents: sealed and opened here, at the person's, so that a node sees neither key nor plaintext.
//!
//! Whose key is whose comes from the node's registry.

use std::fmt::Write as _;
use std::path::Path;

use basoche_protocol::document::{self, DocumentError, DocumentKey, ciphertext_len};
use basoche_protocol::id::{Digest, MessageId, Salt, SubjectId};
use basoche_protocol::message::{Access, Body, DocumentRef, KeyGrant, KeyWrap};
use basoche_protocol::role::{Class, Role};
use basoche_protocol::text::b64url_decode;
use serde::Serialize;

use super::act::{Act, Lodging, show, subjects, unexpected};
use super::document::save;
use super::fault::exit;
use super::{Fault, Output};
use crate::control::{Answer, GivenView, Request};
use crate::desk::{DossierView, ParticipantView};
use crate::documents::personal::{Sealing, Unsealing};
use crate::effects::random;

/// What makes somebody a recipient who cannot be one yet.
const ENROL: &str = "Have them enrolled with an encryption key: `basoche wallet show WALLET --request FILE` writes the \
                     request again, `basoche authority person` enrols them, `basoche annuaire import` brings it here; \
                     then hand the key on with `basoche document grant`.";

/// The key to which documents are wrapped, or why there is none.
fn encryption_key(spki: Option<&str>, none: Option<String>) -> Result<Vec<u8>, String> {
    let spki = spki.and_then(b64url_decode);
    spki.ok_or_else(|| none.unwrap_or_else(|| "its encryption key cannot be read".into()))
}

/// A person for whom a document's key can be wrapped.
struct Recipient {
    subject: SubjectId,
    spki: Vec<u8>,
}

/// Somebody of the roster for whom it cannot be wrapped.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WithoutKey {
    subject: SubjectId,
    role: Role,
    reason: String,
}

/// Who will be able to open a personal document, and who not.
pub(super) struct Readers {
    recipients: Vec<Recipient>,
    pub(super) without_key: Vec<WithoutKey>,
}

impl Readers {
    /// Everybody of the roster, or those of `to` and the person who acts. Whoever was named and cannot be a recipient
    /// is an error; of the others it is told.
    pub(super) fn choose(act: &Act, to: &[SubjectId]) -> Result<Self, Fault> {
        let wanted = |one: &SubjectId| to.is_empty() || to.contains(one) || *one == act.wallet.subject;
        Self::among(act, to, wanted)
    }

    /// Those of `to` and nobody else.
    pub(super) fn named(act: &Act, to: &[SubjectId]) -> Result<Self, Fault> {
        Self::among(act, to, |one| to.contains(one))
    }

    fn among(act: &Act, to: &[SubjectId], wanted: impl Fn(&SubjectId) -> bool) -> Result<Self, Fault> {
        let view = show(&act.client, act.dossier)?;
        let stranger = to.iter().find(|one| role_of(&view, one).is_none());
        if let Some(stranger) = stranger {
            let what = format!("{stranger} is not in the roster of this dossier");
            return Err(Fault::new(exit::REFUSED, "not-participant", what, "--to")
                .action("Have the expert add them: `basoche dossier add`."));
        }
        let known = subjects(&act.client, view.participants.iter().map(|one| one.subject))?;
        let key_of = |one: &ParticipantView| {
            let mut inside = view.parties.iter();
            if let Some(inside) = inside.find(|party| party.subject == one.subject) {
                return encryption_key(
                    inside.encryption_spki.as_deref(),
                    inside.no_encryption_key.clone(),
                );
            }
            let found = known.iter().find(|known| known.subject == one.subject);
            let Some(found) = found else {
                return Err("not in this node's registry".to_owned());
            };
            encryption_key(found.encryption_spki.as_deref(), found.no_encryption_key.clone())
        };
        let (mut recipients, mut without_key) = (Vec::new(), Vec::new());
        for one in view.participants.iter().filter(|one| wanted(&one.subject)) {
            let subject = one.subject;
            match key_of(one) {
                Ok(spki) => recipients.push(Recipient { subject, spki }),
                Err(reason) if to.contains(&subject) => {
                    let what = format!("{} {subject} cannot be a recipient: {reason}", one.role);
                    return Err(Fault::new(exit::REFUSED, "no-encryption-key", what, "--to").action(ENROL));
                }
                Err(reason) => without_key.push(WithoutKey {
                    subject,
                    role: one.role,
                    reason,
                }),
            }
        }
        if recipients.is_empty() {
            let what = "nobody of the roster has an encryption key: nobody could open it";
            return Err(Fault::new(exit::REFUSED, "no-encryption-key", what, "registry").action(ENROL));
        }
        recipients.sort_unstable_by_key(|one| one.subject);
        Ok(Self {
            recipients,
            without_key,
        })
    }

    pub(super) fn subjects(&self) -> Vec<SubjectId> {
        self.recipients.iter().map(|one| one.subject).collect()
    }

    /// Says who will be able to open the document, and who not and why.
    pub(super) fn tell(&self, output: &Output) {
        let count = self.recipients.len();
        output.note(&format!(
            "personal: {count} persons can open it, and no operator of a node"
        ));
        for WithoutKey {
            subject,
            role,
            reason,
        } in &self.without_key
        {
            output.note(&format!(
                "warning: {role} {subject} cannot open it: {reason}. {ENROL}"
            ));
        }
    }

    fn wraps(&self, act: &Act, root: &Digest, key: &DocumentKey) -> Result<Vec<KeyWrap>, Fault> {
        let wrap = |one: &Recipient| {
            KeyWrap::new(key, &act.dossier, root, one.subject, &one.spki).map_err(|error| {
                let what = format!("the encryption key of {} is unusable: {error}", one.subject);
                Fault::new(exit::REFUSED, "wrap", what, "registry").action(ENROL)
            })
        };
        self.recipients.iter().map(wrap).collect()
    }
}

fn role_of(view: &DossierView, person: &SubjectId) -> Option<Role> {
    let found = view.participants.iter().find(|one| one.subject == *person);
    found.map(|one| one.role)
}

/// Says who can read what is lodged for member nodes although it is health data.
pub(super) fn tell_members(act: &Act, output: &Output) -> Result<(), Fault> {
    let view = show(&act.client, act.dossier)?;
    let mut organisations: Vec<_> = view.participants.iter().map(|one| &*one.organisation).collect();
    organisations.sort_unstable();
    organisations.dedup();
    let mut text =
        String::from("health data lodged for class member can be read by the operators of the nodes of");
    for (organisation, mark) in organisations
        .iter()
        .zip([" "].into_iter().chain(std::iter::repeat(", ")))
    {
        // Writing to a string does not fail.
        let _ = write!(text, "{mark}{organisation}");
    }
    let _ = write!(
        text,
        ", and by the {} persons of the roster; `--class personal` is for these only",
        view.participants.len()
    );
    output.note(&text);
    Ok(())
}

/// Encrypts for `readers` what somebody is about to lodge, and hands the node its ciphertext.
pub(super) fn seal(
    act: &Act,
    lodging: Lodging,
    readers: &Readers,
    output: &Output,
) -> Result<DocumentRef, Fault> {
    let Lodging {
        source,
        name,
        media_type,
        bytes,
    } = lodging;
    let key = DocumentKey::new(random());
    let bar = output.bytes(&name, bytes);
    let too_large = |error: DocumentError| Fault::usage(format!("{name}: {error}"));
    let mut sealing = Sealing::new(bar.wrap_read(source), bytes, &key).map_err(too_large)?;
    let request = Request::Keep {
        dossier: act.dossier,
        bytes: ciphertext_len(bytes),
    };
    let answer = act.client.upload(&request, &mut sealing, ciphertext_len(bytes));
    bar.finish_and_clear();
    let Answer::Kept { root } = answer? else {
        return Err(unexpected());
    };
    let sealed = sealing.finish().filter(|sealed| sealed.root == *root.as_bytes());
    let sealed = sealed.ok_or_else(|| {
        let what = format!("the node keeps {root}, which is not what was sent");
        Fault::new(exit::REFUSED, "other-document", what, "node")
            .action("Try again; if it stays so, ask the operator.")
    })?;
    let plaintext_salt = Salt::new(random());
    let commitment = document::plaintext_commitment(plaintext_salt.as_bytes(), &sealed.plaintext_sha256);
    Ok(DocumentRef {
        root,
        bytes,
        media_type: media_type.to_owned(),
        name,
        key_commitment: Digest::new(document::key_commitment(&key)),
        plaintext_commitment: Digest::new(commitment),
        plaintext_salt,
        access: Access::Persons(readers.wraps(act, &root, &key)?),
    })
}

/// A personal document that this person can open.
pub(super) struct Readable {
    pub(super) reference: DocumentRef,
    key: DocumentKey,
}

impl Readable {
    /// Unwraps the key with the wallet, before anything is signed: who cannot read opens nothing.
    pub(super) fn find(act: &Act, deposit: MessageId, root: Option<Digest>) -> Result<Self, Fault> {
        let request = Request::Document {
            dossier: act.dossier,
            deposit,
            root,
            reader: act.wallet.subject,
        };
        let Answer::Document { reference, wraps } = act.client.ask(&request)? else {
            return Err(unexpected());
        };
        if reference.class() == Class::Member {
            let what = format!(
                "{} is for member nodes: it has no wraps for persons",
                reference.name
            );
            return Err(Fault::new(exit::REFUSED, "not-personal", what, "--deposit")
                .action("Nothing to do: every member node gives it out to those whom it serves."));
        }
        let key = open_key(act, &reference, &wraps)?;
        Ok(Self {
            reference: *reference,
            key,
        })
    }

    /// Asks the node for the ciphertext with `request`, and writes the plaintext to `out`: whole, and what the message
    /// commits to, or not at all.
    pub(super) fn save(
        &self,
        act: &Act,
        request: &Request,
        out: &Path,
        output: &Output,
    ) -> Result<u64, Fault> {
        let reference = &self.reference;
        save(out, |file| {
            let bar = output.bytes(&reference.name, reference.bytes);
            let unsealing = Unsealing::new(bar.wrap_write(file), reference.bytes, &self.key);
            let mut unsealing = unsealing.map_err(|error| other_document(reference, &error))?;
            let done = act.client.download(request, &mut unsealing);
            bar.finish_and_clear();
            match (unsealing.failed(), done) {
                (Some(error), _) => return Err(other_document(reference, &error)),
                (None, Err(error)) => return Err(error.into()),
                (None, Ok(_)) => {}
            }
            let sha256 = unsealing
                .finish()
                .map_err(|error| other_document(reference, &error))?;
            if !reference.is_plaintext(&sha256) {
                let what = "its content is not the one that the message commits to";
                return Err(other_document(reference, &what));
            }
            Ok(reference.bytes)
        })
    }

    /// Hands the key on to `readers`.
    pub(super) fn grant(&self, act: &Act, deposit: MessageId, readers: &Readers) -> Result<Body, Fault> {
        let root = self.reference.root;
        Ok(Body::KeyGrant(KeyGrant {
            ext: None,
            deposit,
            root,
            wraps: readers.wraps(act, &root, &self.key)?,
        }))
    }
}

/// The first key that is the one committed to; else who gave which other one.
fn open_key(act: &Act, reference: &DocumentRef, wraps: &[GivenView]) -> Result<DocumentKey, Fault> {
    if wraps.is_empty() {
        let what = format!("{}: you are not among its recipients", reference.name);
        return Err(Fault::new(exit::REFUSED, "no-key", what, "wallet")
            .action("Ask one of its recipients to hand you the key: `basoche document grant`."));
    }
    let mut false_ones = Vec::new();
    for GivenView { message, author, jwe } in wraps {
        let wrap = KeyWrap {
            recipient: act.wallet.subject,
            jwe: jwe.clone(),
        };
        match act.wallet.open_key(&wrap, &act.dossier, &reference.root) {
            Ok(key) if reference.is_key(&key) => return Ok(key),
            Ok(_) => false_ones.push(format!(
                "{author} gave you another key than the one committed to (message {message})"
            )),
            Err(_) => false_ones.push(format!(
                "what {author} gave you does not open with this wallet (message {message})"
            )),
        }
    }
    let what = format!("{}: {}", reference.name, false_ones.join("; "));
    Err(Fault::new(exit::REFUSED, "other-key", what, "document").action(
        "Use the wallet that you had then, or ask another recipient to hand you the key: `basoche document grant`.",
    ))
}

/// What was sent is not the document that its message commits to. Nothing of it is handed out.
fn other_document(reference: &DocumentRef, why: &impl ToString) -> Fault {
    let what = format!("{}: {}; nothing was written", reference.name, why.to_string());
    Fault::new(exit::REFUSED, "other-document", what, "document")
        .action("Ask its depositor: everybody can compare what it commits to with what they were given.")
}
