//! `basoche authority …`: an authority's log, kept offline in a directory. SPEC §9.5.
//!
//! ```text
//! DIR/authority.wallet   the root key, sealed under its passphrase
//! DIR/authority.json     the public part, for the anchors
//! DIR/entries/00000000.entry …   the log, one file for each entry: what nodes import
//! DIR/anchors.json       once there is another policy or log key: whose roots have agreed to it
//! DIR/log.key            the key of its checkpoints, sealed; DIR/log-1.key … those that have followed it
//! DIR/given-up-1 …       entries that were given up where it went on under another log key
//! ```

mod attribute;
mod continuation;
mod crl;
mod delegate;
pub(super) mod files;
mod found;
mod office;
mod policy;
pub(super) mod publish;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::id::{CertificateId, Digest, SubjectId};
use basoche_protocol::jose::Algorithm;
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::text::b64url_decode;
use basoche_protocol::time::Span;
use basoche_registry::entry::{
    CertificateAuthority, Enrolment, Gossip, IdentityProof, Kind, Lifting, Node, Officer, Organisation,
    Publication, Reason, Reassociation, Retirement, Revocation, Suspension,
};
use basoche_registry::leaf::{Capacity, CoSignature};
use basoche_registry::{Content, Entry};
use clap::{Args, Subcommand};
use serde_json::json;

use self::files::{Applicant, bad_request, check_version, envelopes, read_certificate, read_json, record};
use self::office::{Draft, Ledger, Office, Statement};
use super::fault::exit;
use super::person::PassphraseArgs;
use super::values::{certificate_id, reason, subject};
use super::{Fault, Output, when};
use crate::effects::now;
use crate::effects::random;
use crate::keys::{GossipRequest, NodeRequest};
use crate::wallet::HolderRequest;

const WALLET: &str = "authority.wallet";
const PUBLIC: &str = "authority.json";
const ENTRIES: &str = "entries";
const LOG_KEY: &str = "log.key";
/// The federation's anchors, once a policy was entered to which its other authorities agree.
const ANCHORS: &str = "anchors.json";

/// Keep the log of an authority: a court's, a bar's or a company of experts'.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an authority: its root key, its public part, the first entry of its log.
    Init {
        #[command(flatten)]
        office: OfficeArgs,
        /// The name of its log: lower-case letters, digits, '-', '.' and '/'.
        #[arg(long)]
        origin: String,
        /// The one profession that it enrols: court, bar or expert-company.
        #[arg(long, value_parser = profession)]
        profession: OrganisationKind,
        /// It exists for trials and demonstrations, and is marked wherever it shows.
        #[arg(long)]
        test: bool,
        /// What `basoche wallet create` wrote for each further root: other custodians' keys.
        #[arg(long, value_name = "FILE")]
        further_root: Vec<PathBuf>,
        /// How many roots must sign together.
        #[arg(long, default_value_t = 1, value_name = "NUMBER")]
        threshold: usize,
        /// The federation's policy (C2SP tlog-policy): whose witnesses must have seen what it grants. Nobody, if not given.
        ///
        /// The log key is then made at once.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Write the anchor file of these authorities.
    Anchors {
        /// Where to write it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The authorities' directories.
        #[arg(required = true, value_name = "DIR")]
        dirs: Vec<PathBuf>,
    },
    /// State an organisation of the authority's profession.
    Organisation {
        #[command(flatten)]
        office: OfficeArgs,
        /// Its name.
        #[arg(long)]
        name: String,
        /// SIREN number or court code.
        #[arg(long)]
        identifier: String,
        /// What `basoche wallet create` wrote for the key that speaks for it; none if not given. The organisation gets the wallet's
        /// subject id.
        #[arg(long, value_name = "FILE")]
        admin: Option<PathBuf>,
    },
    /// Enrol an organisation's node, from what `basoche node init` wrote.
    Node {
        #[command(flatten)]
        office: OfficeArgs,
        /// The organisation that runs it.
        #[arg(long, value_name = "SUBJECT", value_parser = subject)]
        organisation: SubjectId,
        /// The node's request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
    },
    /// Enrol a person, from what `basoche wallet create` wrote.
    Person {
        #[command(flatten)]
        office: OfficeArgs,
        /// The person's request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// A role that the person may act in: judge, clerk, expert, lawyer or party.
        #[arg(long, required = true, num_args = 1.., value_name = "ROLE", value_parser = role)]
        role: Vec<Role>,
        /// The node that serves the person, of whichever authority.
        #[arg(long, value_name = "SUBJECT", value_parser = subject)]
        node: SubjectId,
        /// How the key is protected: software, hardware or hosted.
        #[arg(long, default_value = "software", value_parser = assurance)]
        assurance: Assurance,
    },
    /// Put an officer in office: a key that enrols in the authority's name (*autorité d'enregistrement*).
    Officer {
        #[command(flatten)]
        office: OfficeArgs,
        /// What `basoche wallet create` wrote for the officer.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// How many certificates the officer may withdraw within an hour by itself.
        #[arg(long, default_value_t = 10, value_name = "NUMBER")]
        revocations_per_hour: u64,
        /// When the office ends, RFC 3339.
        #[arg(long, value_name = "INSTANT")]
        until: String,
    },
    /// Enter what a holder asks for: a renewal (case 2-A), a revocation, a veto; `basoche wallet` writes such requests.
    Accept {
        #[command(flatten)]
        office: OfficeArgs,
        /// The holder's request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
    },
    /// Give a person who has lost the key another one (case 2-B): takes a second officer and 72 hours.
    Reassociate {
        #[command(flatten)]
        office: OfficeArgs,
        /// What `basoche wallet create --subject` wrote.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// How the new key is protected: software, hardware or hosted.
        #[arg(long, default_value = "software", value_parser = assurance)]
        assurance: Assurance,
        /// How the officers made sure of who asks: in-person, remote or organisation.
        #[arg(long, value_parser = identity)]
        identity: IdentityProof,
        /// From when, RFC 3339; 72 hours from now if not given.
        #[arg(long, value_name = "INSTANT")]
        effective_at: Option<String>,
    },
    /// Suspend a person, a node or an officer until it is lifted (*suspension, omission*).
    Suspend {
        #[command(flatten)]
        office: OfficeArgs,
        #[command(flatten)]
        decision: DecisionArgs,
    },
    /// Lift a suspension.
    Lift {
        #[command(flatten)]
        office: OfficeArgs,
        #[command(flatten)]
        decision: DecisionArgs,
    },
    /// Grant a person a role or a competence beyond the enrolment, or withdraw it.
    Attribute {
        #[command(flatten)]
        office: OfficeArgs,
        #[command(flatten)]
        what: attribute::AttributeArgs,
    },
    /// Let an expert enrol the keys of parties inside of one dossier (*délégation d'enrôlement*), prolong or withdraw that.
    Delegate {
        #[command(flatten)]
        office: OfficeArgs,
        #[command(flatten)]
        what: delegate::DelegateArgs,
    },
    /// Believe a certificate authority (*autorité de certification*): persons' keys may have its certificates.
    CertificateAuthority {
        #[command(flatten)]
        office: OfficeArgs,
        /// Its certificate, DER or PEM.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// The algorithm of its key: ES256, ES384 or RS256.
        #[arg(long, value_parser = algorithm)]
        algorithm: Algorithm,
        /// Until when it is believed, RFC 3339.
        #[arg(long, value_name = "INSTANT")]
        until: String,
    },
    /// Believe a certificate authority no longer: all that it certified ends.
    Retire {
        #[command(flatten)]
        office: OfficeArgs,
        /// Which: SHA-256 of its certificate, in hexadecimal.
        #[arg(long, value_name = "HEX", value_parser = certificate_id)]
        certificate: CertificateId,
        /// Acts from here on become contested. RFC 3339.
        #[arg(long, value_name = "INSTANT")]
        invalid_since: Option<String>,
    },
    /// Compare the revocation list (CRL) of a certificate authority with the log, and enter what the log lacks of it.
    ///
    /// Exit codes: 0 the log lacks nothing, 1 certificates withdrawn there are in force here, 3 the list is out of date.
    Crl {
        #[command(flatten)]
        office: OfficeArgs,
        #[command(flatten)]
        what: crl::CrlArgs,
    },
    /// Sign, as second officer or as a further root, the draft that another has written with --draft.
    Cosign {
        #[command(flatten)]
        office: OfficeArgs,
        /// As what: second-officer or root.
        #[arg(long, value_parser = capacity)]
        capacity: Capacity,
    },
    /// Enter a draft that all who must have signed.
    Enter {
        #[command(flatten)]
        office: OfficeArgs,
    },
    /// Make the key that signs the checkpoints of the log. Anchors made afterwards carry it.
    LogKey {
        #[command(flatten)]
        office: OfficeArgs,
    },
    /// Write the log as files that any web server serves (C2SP tlog-tiles), and sign its checkpoint.
    Publish {
        #[command(flatten)]
        office: OfficeArgs,
        /// Where; the same directory each time.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Enter what the witnesses have seen: what stands before it counts from then on.
    Publication {
        #[command(flatten)]
        office: OfficeArgs,
        /// The checkpoint with the witnesses' lines, as `basoche annuaire cosign` leaves it.
        #[arg(long, value_name = "FILE")]
        checkpoint: PathBuf,
    },
    /// Enter what the log has come to: its root, which every node computes itself. New nodes begin with the state as of then.
    StateRoot {
        #[command(flatten)]
        office: OfficeArgs,
    },
    /// Agree, as a root, to another policy than the anchors': other witnesses, or another quorum.
    ///
    /// Takes the roots of more than half of all authorities; each log enters it (`authority policy`).
    Agree {
        #[command(flatten)]
        office: OfficeArgs,
        #[command(flatten)]
        what: policy::PolicyArgs,
        /// Where to write the agreement, for the other authorities.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Enter a policy to which most authorities agree: what is granted from then on counts once its witnesses have seen it.
    Policy {
        #[command(flatten)]
        office: OfficeArgs,
        #[command(flatten)]
        what: policy::PolicyArgs,
        /// What the roots of other authorities wrote with `agree`.
        #[arg(long, value_name = "FILE")]
        agreed: Vec<PathBuf>,
    },
    /// Prepare that the log goes on under another key: its key has signed two histories, or is in other hands, or lost.
    ///
    /// Makes that key, and writes what the roots of other authorities agree to (`consent`). Nothing has changed yet.
    Continuation {
        #[command(flatten)]
        office: OfficeArgs,
        #[command(flatten)]
        what: continuation::ContinuationArgs,
        /// Where to write the proposal, for the other authorities.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Agree, as a root, that the log of another authority goes on under another key.
    ///
    /// Takes the roots of more than half of all authorities, that one's own among them.
    Consent {
        #[command(flatten)]
        office: OfficeArgs,
        /// The federation's anchor file.
        #[arg(long, value_name = "FILE")]
        anchors: PathBuf,
        /// What the other authority wrote with `continuation`.
        #[arg(long, value_name = "FILE")]
        proposal: PathBuf,
        /// Where to write the consent, for that authority.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Have the log go on under another key, as most authorities agree: what stands beyond is set aside.
    ///
    /// Says what the entries that are given up had withdrawn: enter that anew.
    Continue {
        #[command(flatten)]
        office: OfficeArgs,
        /// The federation's anchor file.
        #[arg(long, value_name = "FILE")]
        anchors: PathBuf,
        /// What `continuation` wrote.
        #[arg(long, value_name = "FILE")]
        proposal: PathBuf,
        /// What the roots of other authorities wrote with `consent`.
        #[arg(long, value_name = "FILE")]
        consent: Vec<PathBuf>,
        /// Entries of other histories, as nodes have put them away: what they withdrew is listed too.
        #[arg(long, value_name = "PATH")]
        given_up: Vec<PathBuf>,
    },
    /// Withdraw a certificate, for good.
    Revoke {
        #[command(flatten)]
        office: OfficeArgs,
        /// Which: SHA-256 of it, in hexadecimal.
        #[arg(long, value_name = "HEX", value_parser = certificate_id)]
        certificate: CertificateId,
        /// Why: key-compromise, superseded, cessation or role-ended.
        #[arg(long, value_parser = reason)]
        reason: Reason,
        /// From when, RFC 3339, not earlier than now; now if not given.
        #[arg(long, value_name = "INSTANT")]
        effective_at: Option<String>,
        /// Acts from here on become contested: the key may have been in other hands. RFC 3339.
        #[arg(long, value_name = "INSTANT")]
        invalid_since: Option<String>,
    },
}

/// Which authority, and who acts for it.
#[derive(Args)]
pub(super) struct OfficeArgs {
    /// The authority's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The wallet of the officer or root who signs; the root in the directory if not given.
    #[arg(long = "as", value_name = "WALLET")]
    officer: Option<PathBuf>,
    /// A draft: what is written to it is signed by others too (`cosign`), then made the entry (`enter`).
    #[arg(long, value_name = "FILE")]
    draft: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Who, and by which decision.
#[derive(Args)]
pub(super) struct DecisionArgs {
    /// Whom.
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    subject: SubjectId,
    /// SHA-256 of the decision, in hexadecimal.
    #[arg(long, value_name = "HEX", value_parser = digest)]
    decision: Option<Digest>,
    /// From when, RFC 3339, not earlier than now; now if not given.
    #[arg(long, value_name = "INSTANT")]
    effective_at: Option<String>,
}

fn profession(text: &str) -> Result<OrganisationKind, &'static str> {
    OrganisationKind::from_name(text).ok_or("court, bar or expert-company")
}

fn role(text: &str) -> Result<Role, &'static str> {
    let role = Role::from_name(text).filter(|role| *role != Role::Node);
    role.ok_or("judge, clerk, expert, lawyer or party")
}

fn assurance(text: &str) -> Result<Assurance, &'static str> {
    let assurance = Assurance::from_name(text).filter(|assurance| *assurance != Assurance::Seal);
    assurance.ok_or("software, hardware or hosted")
}

fn digest(text: &str) -> Result<Digest, &'static str> {
    Digest::from_hex(text).ok_or("a SHA-256 is 64 lower-case hexadecimal digits")
}

fn identity(text: &str) -> Result<IdentityProof, &'static str> {
    IdentityProof::from_name(text).ok_or("in-person, remote or organisation")
}

fn algorithm(text: &str) -> Result<Algorithm, &'static str> {
    match text {
        "ES256" => Ok(Algorithm::Es256),
        "ES384" => Ok(Algorithm::Es384),
        "RS256" => Ok(Algorithm::Rs256),
        _ => Err("ES256, ES384 or RS256"),
    }
}

fn capacity(text: &str) -> Result<Capacity, &'static str> {
    match text {
        "second-officer" => Ok(Capacity::SecondOfficer),
        "root" => Ok(Capacity::Root),
        _ => Err("second-officer or root"),
    }
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    let instant = |text: Option<String>| text.as_deref().map(when::parse).transpose();
    match command {
        Command::Init {
            office,
            origin,
            profession,
            test,
            further_root,
            threshold,
            policy,
        } => {
            let roots = found::Roots {
                further: &further_root,
                threshold,
            };
            let policy = policy.as_deref().map(found::read_policy).transpose()?;
            found::init(&office, &origin, profession, test, &roots, policy, output)
        }
        Command::Anchors { out, dirs } => found::anchors(&out, &dirs, output),
        Command::Organisation {
            office: args,
            name,
            identifier,
            admin,
        } => {
            let office = Office::open(&args)?;
            let admin = admin
                .map(|path| Applicant::read(&path, &office.ledger))
                .transpose()?;
            let organisation = Organisation {
                kind: office.ledger.public.profession,
                identifier,
                name,
                admin: admin.as_ref().map(|admin| admin.key),
            };
            let statement = match admin {
                Some(admin) => admin.states(organisation),
                None => Statement::new(SubjectId::new(random()), organisation),
            };
            office.state(statement, output)
        }
        Command::Node {
            office: args,
            organisation,
            request: path,
        } => {
            let office = Office::open(&args)?;
            let request: NodeRequest = read_json(&path, "a node's enrolment request")?;
            check_version(request.v, &path)?;
            let seal = Applicant::of(&request.seal_certificate, request.node, &path, &office.ledger)?;
            let seal = seal.shown(std::slice::from_ref(&request.possession), &path)?;
            let unfit = || bad_request(&path, "encryption_spki is not base64url");
            let gossip = |asked: GossipRequest| {
                let key = b64url_decode(&asked.key).and_then(|key| key.try_into().ok());
                let key = key.ok_or_else(|| bad_request(&path, "gossip.key is not 32 bytes in base64url"))?;
                Ok::<_, Fault>(Gossip {
                    key,
                    port: asked.port,
                })
            };
            let node = Node {
                organisation,
                seal: seal.key,
                encryption_spki: b64url_decode(&request.encryption_spki).ok_or_else(unfit)?,
                tls_spki_sha256: request.tls_spki_sha256,
                addresses: request.addresses,
                gossip: request.gossip.map(gossip).transpose()?,
            };
            office.state(seal.states(node), output)
        }
        Command::Person {
            office: args,
            request: path,
            role: mut roles,
            node,
            assurance,
        } => {
            let office = Office::open(&args)?;
            let person = Applicant::read(&path, &office.ledger)?;
            roles.sort_unstable();
            roles.dedup();
            let enrolment = Enrolment {
                key: person.key,
                roles,
                node,
                assurance,
                commitment: None,
                encryption_spki: person.encryption_spki.clone(),
                issuer: person.issuer,
            };
            office.state(person.states(enrolment), output)
        }
        Command::Officer {
            office: args,
            request: path,
            revocations_per_hour,
            until,
        } => {
            let office = Office::open(&args)?;
            let person = Applicant::read(&path, &office.ledger)?;
            let officer = Officer {
                key: person.key,
                revocations_per_hour,
                until: when::parse(&until)?,
            };
            office.state(person.states(officer), output)
        }
        Command::Accept {
            office: args,
            request: path,
        } => {
            let office = Office::open(&args)?;
            let request: HolderRequest = read_json(&path, "a holder's request")?;
            check_version(request.v, &path)?;
            accept(office, request, &path, output)
        }
        Command::Reassociate {
            office: args,
            request: path,
            assurance,
            identity,
            effective_at,
        } => {
            let office = Office::open(&args)?;
            let person = Applicant::read(&path, &office.ledger)?;
            let reassociation = Reassociation {
                key: person.key,
                assurance,
                identity,
                encryption_spki: person.encryption_spki.clone(),
                issuer: person.issuer,
            };
            // A little more than the delay: the entry is issued after this instant was read.
            let soonest = now() + basoche_registry::entry::DELAY + Span::from_seconds(60);
            let effective_at = instant(effective_at)?.unwrap_or(soonest);
            office.state(person.states(reassociation).from(Some(effective_at)), output)
        }
        Command::Suspend { office, decision } => {
            let content = Suspension {
                decision: decision.decision,
            };
            decide(&office, &decision, content.into(), output)
        }
        Command::Lift { office, decision } => {
            let content = Lifting {
                decision: decision.decision,
            };
            decide(&office, &decision, content.into(), output)
        }
        Command::Attribute { office, what } => attribute::enter(&office, what, output),
        Command::Delegate { office, what } => delegate::enter(&office, what, output),
        Command::CertificateAuthority {
            office: args,
            certificate: path,
            algorithm,
            until,
        } => {
            let office = Office::open(&args)?;
            let certificate = read_certificate(&path)?;
            let authority = CertificateAuthority {
                key: record(&certificate, algorithm),
                until: when::parse(&until)?,
            };
            let statement = Statement::new(SubjectId::new(random()), authority);
            office.state(statement.beside(certificate.der().to_vec()), output)
        }
        Command::Retire {
            office: args,
            certificate,
            invalid_since,
        } => {
            let retirement = Retirement {
                certificate,
                invalid_since: instant(invalid_since)?,
            };
            let office = Office::open(&args)?;
            let subject = office.ledger.holder(&certificate)?;
            office.state(Statement::new(subject, retirement), output)
        }
        Command::Crl { office, what } => crl::compare(&office, &what, output),
        Command::Cosign {
            office: args,
            capacity,
        } => cosign(&args, capacity, output),
        Command::LogKey { office } => publish::make_key(&office, output),
        Command::Publish { office, out } => publish::publish(&office, &out, output),
        Command::Publication { office, checkpoint } => {
            let bytes = std::fs::read(&checkpoint).map_err(|error| Fault::unreadable(&checkpoint, &error))?;
            let checkpoint = String::from_utf8(bytes).map_err(|error| bad_request(&checkpoint, error))?;
            let statement = Statement::of_the_log(Publication { checkpoint });
            Office::open(&office)?.state(statement, output)
        }
        Command::StateRoot { office } => {
            let office = Office::open(&office)?;
            let root = office.ledger.log.state_root();
            office.state(Statement::of_the_log(root), output)
        }
        Command::Agree { office, what, out } => policy::agree(&office, &what, &out, output),
        Command::Continuation { office, what, out } => continuation::propose(&office, &what, &out, output),
        Command::Consent {
            office,
            anchors,
            proposal,
            out,
        } => continuation::consent(&office, &anchors, &proposal, &out, output),
        Command::Continue {
            office,
            anchors,
            proposal,
            consent,
            given_up,
        } => continuation::enter(&office, &anchors, &proposal, &consent, &given_up, output),
        Command::Policy { office, what, agreed } => policy::enter(&office, &what, &agreed, output),
        Command::Enter { office: args } => {
            let draft = Draft::read(draft_of(&args)?)?;
            Ledger::read(&args.dir)?.enter(draft)?.tell(output)
        }
        Command::Revoke {
            office: args,
            certificate,
            reason,
            effective_at,
            invalid_since,
        } => {
            let effective_at = instant(effective_at)?;
            let revocation = Revocation {
                certificate,
                invalid_since: instant(invalid_since)?,
                reason,
            };
            let office = Office::open(&args)?;
            let statement = Statement::new(office.ledger.holder(&certificate)?, revocation);
            office.state(statement.from(effective_at), output)
        }
    }
}

fn decide(
    args: &OfficeArgs,
    decision: &DecisionArgs,
    content: Content,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let effective_at = decision.effective_at.as_deref().map(when::parse).transpose()?;
    let statement = Statement::new(decision.subject, content).from(effective_at);
    Office::open(args)?.state(statement, output)
}

/// Enters what a holder asks for, as it was asked.
fn accept(office: Office, request: HolderRequest, path: &Path, output: &Output) -> Result<ExitCode, Fault> {
    if request.origin != office.ledger.public.origin {
        let what = format!(
            "it is for {}, this is {}",
            request.origin, office.ledger.public.origin
        );
        return Err(bad_request(path, what));
    }
    let unfit = || bad_request(path, "what it asks for cannot be read");
    let kind = Kind::from_number(request.kind).ok_or_else(unfit)?;
    let content = b64url_decode(&request.content).ok_or_else(unfit)?;
    let content = Content::decode(kind, &content).map_err(|error| bad_request(path, error))?;
    if office.ledger.last(&request.subject) != request.prev {
        let message = format!(
            "{}: the log has gone on about {} since this was asked",
            path.display(),
            request.subject
        );
        return Err(
            Fault::new(exit::REFUSED, "stale-request", message, path.display())
                .action("Have the holder ask again."),
        );
    }
    let certificate = b64url_decode(&request.certificate).ok_or_else(unfit)?;
    let cosignatures = envelopes(&request.cosignatures, path)?;
    let statement = Statement::new(request.subject, content).beside(certificate);
    office.state(statement.asked_by(cosignatures), output)
}

fn draft_of(args: &OfficeArgs) -> Result<&Path, Fault> {
    args.draft
        .as_deref()
        .ok_or_else(|| Fault::usage("which draft? Give --draft FILE."))
}

/// Adds the signature of a second officer or of a further root to a draft.
fn cosign(args: &OfficeArgs, capacity: Capacity, output: &Output) -> Result<ExitCode, Fault> {
    let path = draft_of(args)?;
    let office = Office::open(args)?;
    let mut draft = Draft::read(path)?;
    // Nobody signs what this log would not take, nor without being told what it says.
    office.ledger.check(&draft)?;
    let said = Entry::decode(draft.envelope.payload()).map_err(|error| bad_request(path, error))?;
    let unsigned = CoSignature::draft(&office.wallet, draft.envelope.id(), capacity, now());
    draft
        .cosignatures
        .push(unsigned.sign(&office.wallet).map_err(Fault::signer)?);
    draft.write(path)?;
    let kind = said.content.kind().name();
    let answer = json!({
        "v": 1, "draft": path, "cosignatures": draft.cosignatures.len(), "kind": kind, "subject": said.subject,
        "effective_at": said.effective_at.to_string(),
    });
    let whom = said
        .subject
        .map_or_else(String::new, |subject| format!(" of {subject}"));
    output.answer(&answer, || {
        format!(
            "Signed: {kind}{whom}, in effect from {}. `basoche authority enter --draft {}` makes it the entry.",
            said.effective_at,
            path.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}
