//! `basoche dossier enrol` and `revoke-key`: parties' keys inside of a dossier. SPEC §6.26, §6.27.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::id::{DossierId, MessageId, Salt, SubjectId};
use basoche_protocol::jose::Algorithm;
use basoche_protocol::message::{Body, KeyRevocation, Participant, PartyEnrolment, RosterChange};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::text::b64url_decode;
use basoche_protocol::time::Instant;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::act::{Act, ActArgs, instant, message_id, show, subject_id};
use super::authority::files::{bad_request, check_version, read_json};
use super::{Fault, Output};
use crate::files::write_new;
use crate::wallet::PersonRequest;

/// What an expert needs in order to use a delegation: the log has a commitment to the dossier only. REG-26.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DelegationFile {
    /// 1.
    pub(super) v: u64,
    /// The expert.
    pub(super) delegate: SubjectId,
    /// The dossier.
    pub(super) dossier: DossierId,
    /// Opens the commitment.
    pub(super) salt: Salt,
}

impl DelegationFile {
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let file: Self = read_json(path, "a delegation")?;
        check_version(file.v, path)?;
        Ok(file)
    }

    /// Writes a new file, for its owner only.
    pub(super) fn write(&self, path: &Path) -> Result<(), Fault> {
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_new(path, &json, 0o600)
            .map_err(|error| Fault::unwritable(path, &error).action("Choose another name."))
    }
}

/// Whose key is enrolled, by which right.
#[derive(Args)]
pub(super) struct EnrolArgs {
    #[command(flatten)]
    act: ActArgs,
    /// What `basoche authority delegate` wrote.
    #[arg(long, value_name = "FILE")]
    delegation: PathBuf,
    /// What `basoche wallet create --dossier` wrote for the party.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// What the party is called in this dossier.
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// The node that serves the party.
    #[arg(long, value_parser = subject_id, value_name = "NODE")]
    at: SubjectId,
}

/// Which key is withdrawn.
#[derive(Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    act: ActArgs,
    /// The message that enrolled it, as `dossier show` names it.
    #[arg(long, value_parser = message_id, value_name = "ID")]
    enrolment: MessageId,
    /// Acts from here on become contested. RFC 3339.
    #[arg(long, value_parser = instant, value_name = "INSTANT")]
    invalid_since: Option<Instant>,
    /// Why.
    #[arg(long)]
    reason: String,
}

/// Enrols the key, and has the party take part unless it does.
pub(super) fn enrol(args: &EnrolArgs, output: &Output) -> Result<ExitCode, Fault> {
    let act = args.act.open()?;
    let enrolment = enrolment(args, &act)?;
    let party = enrolment.subject;
    let lodged = match act.earlier()? {
        Some(earlier) => earlier,
        None => act.submit(act.role()?, Body::PartyEnrolment(enrolment))?,
    };
    let known = show(&act.client, act.dossier)?.participants;
    if !known.iter().any(|one| one.subject == party) {
        let joining = Participant {
            subject: party,
            role: Role::Party,
            node: args.at,
            represents: None,
        };
        let body = Body::RosterChange(RosterChange {
            ext: None,
            add: vec![joining],
            remove: vec![],
        });
        act.also("join", act.role()?, || Ok(body))?;
    }
    act.tell(output, lodged)
}

fn enrolment(args: &EnrolArgs, act: &Act) -> Result<PartyEnrolment, Fault> {
    let delegation = DelegationFile::read(&args.delegation)?;
    if delegation.dossier != act.dossier {
        let what = format!("it is for dossier {}", delegation.dossier);
        return Err(
            bad_request(&args.delegation, what).action("Ask your authority for one for this dossier.")
        );
    }
    if delegation.delegate != act.wallet.subject {
        let what = format!(
            "it is for {}, and {} acts",
            delegation.delegate, act.wallet.subject
        );
        return Err(bad_request(&args.delegation, what));
    }
    let request: PersonRequest = read_json(&args.request, "a wallet's request")?;
    check_version(request.v, &args.request)?;
    let unfit = |what: &str| {
        let made = "Have the party make its key for this dossier: `basoche wallet create --dossier`.";
        bad_request(&args.request, what).action(made)
    };
    let bytes = |text: &String, what| b64url_decode(text).ok_or_else(|| unfit(what));
    let certificate = bytes(&request.certificate, "the certificate is not base64url")?;
    let shown = request.possession.as_ref();
    let shown =
        shown.ok_or_else(|| unfit("it does not prove that the party wants the key in this dossier"))?;
    let spki = request.encryption_spki.as_ref();
    let spki = spki.map(|spki| bytes(spki, "encryption_spki is not base64url"));
    Ok(PartyEnrolment {
        ext: None,
        subject: request.subject,
        name: args.name.clone(),
        node: args.at,
        certificate: ByteBuf::from(certificate),
        algorithm: Algorithm::Es256,
        assurance: Assurance::Software,
        delegation_salt: delegation.salt,
        possession: ByteBuf::from(bytes(shown, "the possession is not base64url")?),
        encryption_spki: spki.transpose()?.map(ByteBuf::from),
    })
}

/// Withdraws the key.
pub(super) fn revoke(args: RevokeArgs, output: &Output) -> Result<ExitCode, Fault> {
    args.act.open()?.run(output, |_| {
        Ok(Body::KeyRevocation(KeyRevocation {
            ext: None,
            enrolment: args.enrolment,
            invalid_since: args.invalid_since,
            reason: args.reason,
        }))
    })
}
