//! `basoche dossier …`: one verb per act of the procedure.

use std::path::PathBuf;
use std::process::ExitCode;

use basoche_protocol::amount::EuroCents;
use basoche_protocol::dossier::RULES;
use basoche_protocol::id::{Digest, MessageId, SubjectId};
use basoche_protocol::message::{
    Acceptance, Answer, Body, CloseDossier, Decline, Designation, Dire, Extent, FeeClaim, FeeOrder,
    ForkSettled, HandOver, Participant, PreReport, ProvisionPaid, Report, RosterChange,
};
use basoche_protocol::role::Role;
use basoche_protocol::time::Instant;
use clap::{Args, Subcommand};

use super::act::{
    ActArgs, WaitArgs, dossier_id, found, instant, message_id, show, subject, subject_id, subjects,
};
use super::barrier;
use super::parties::{self, EnrolArgs, RevokeArgs};
use super::person::{PersonArgs, sign};
use super::proof::ProofArgs;
use super::{Fault, NodeArgs, Output, erasure, proof};
use crate::desk::{DossierView, Level};
use crate::effects::now;

/// Carry an assessment: designation, acceptance, roster, provision, dires, reports, fees.
#[derive(Subcommand)]
pub(super) enum Command {
    /// The judge or the clerk designates the expert: founds the dossier (CPC art. 264-265).
    Designate(Box<Designate>),
    /// The expert accepts the mission, and declares that nothing stands against it (CPC art. 267).
    Accept {
        #[command(flatten)]
        act: ActArgs,
    },
    /// The expert declines the mission.
    Decline {
        #[command(flatten)]
        act: ActArgs,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// The expert adds parties and lawyers.
    Add {
        #[command(flatten)]
        act: ActArgs,
        /// A party.
        #[arg(long, value_parser = subject_id, value_name = "SUBJECT")]
        party: Vec<SubjectId>,
        /// A lawyer, with the party represented if there is one.
        #[arg(long, value_parser = lawyer, value_name = "SUBJECT[=PARTY]")]
        lawyer: Vec<(SubjectId, Option<SubjectId>)>,
    },
    /// The expert enrols the key of a party whom no registry knows, by delegation, and adds the party.
    Enrol {
        #[command(flatten)]
        what: EnrolArgs,
    },
    /// The party, the expert or the court withdraws a key that was enrolled in this dossier, for good.
    RevokeKey {
        #[command(flatten)]
        what: RevokeArgs,
    },
    /// The expert removes parties and lawyers; a node that then serves nobody of the dossier gets no later key.
    Remove {
        #[command(flatten)]
        act: ActArgs,
        /// Somebody whom the expert had added.
        #[arg(long, required = true, value_parser = subject_id, value_name = "SUBJECT")]
        participant: Vec<SubjectId>,
    },
    /// The clerk gives notice that the provision is paid in (CPC art. 267, 269).
    ProvisionPaid {
        #[command(flatten)]
        act: ActArgs,
        /// Euros, with cents if any: 3000 or 3000.50.
        #[arg(long, value_parser = euros)]
        amount: EuroCents,
        /// The value date, RFC 3339; now by default.
        #[arg(long, value_parser = instant)]
        paid_at: Option<Instant>,
        /// Who paid.
        #[arg(long, value_parser = subject_id)]
        payer: Option<SubjectId>,
    },
    /// A party or lawyer makes written observations (CPC art. 276).
    Dire {
        #[command(flatten)]
        act: ActArgs,
        /// Its number among the author's dires.
        #[arg(long, default_value_t = 1)]
        number: u64,
        /// The observations, or their summary when a file carries them.
        #[arg(long)]
        text: String,
        /// Whether it recalls all earlier ones.
        #[arg(long)]
        recapitulative: bool,
        /// The dire as a file.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// The expert sends the pre-report, and says until when dires are due.
    PreReport {
        #[command(flatten)]
        act: ActArgs,
        /// The last instant at which a dire is in time, RFC 3339.
        #[arg(long, value_parser = instant)]
        dires_due: Instant,
        /// The pre-report.
        file: PathBuf,
    },
    /// The expert files the report, with an answer to each dire (CPC art. 276, 282).
    Report {
        #[command(flatten)]
        act: ActArgs,
        /// The answer to a dire; one for each.
        #[arg(long, value_parser = answer, value_name = "DIRE=TEXT")]
        answer: Vec<(MessageId, String)>,
        /// The report.
        file: PathBuf,
    },
    /// The expert claims fees (CPC art. 282).
    FeeClaim {
        #[command(flatten)]
        act: ActArgs,
        /// Euros.
        #[arg(long, value_parser = euros)]
        amount: EuroCents,
        /// The statement of fees.
        file: Option<PathBuf>,
    },
    /// The judge fixes the fees (CPC art. 284).
    FeeOrder {
        #[command(flatten)]
        act: ActArgs,
        /// Euros.
        #[arg(long, value_parser = euros)]
        amount: EuroCents,
        /// The order as a file.
        file: Option<PathBuf>,
    },
    /// The clerk or the judge closes the dossier.
    Close {
        #[command(flatten)]
        act: ActArgs,
    },
    /// The judge or the clerk says which history counts of a chain whose node signed several (CPC art. 167).
    SettleFork {
        #[command(flatten)]
        act: ActArgs,
        /// The last entry of the history that counts, as `dossier show` names it.
        #[arg(long, value_parser = digest, value_name = "HEX")]
        keep: Digest,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// A person moves to another node: the court's, by the judge or the clerk; anybody else, by the expert.
    HandOver {
        #[command(flatten)]
        act: ActArgs,
        /// Who moves. The judge and the clerk move together.
        #[arg(long, value_parser = subject_id, value_name = "SUBJECT")]
        person: SubjectId,
        /// The node that serves them from here on.
        #[arg(long, value_parser = subject_id, value_name = "NODE")]
        to: SubjectId,
    },
    /// The expert, the judge or the clerk has every node sign what it holds now (quittance de contradictoire, CPC art. 16).
    Barrier {
        #[command(flatten)]
        act: ActArgs,
        /// Until when an answer is expected, RFC 3339; in 7 days by default. Nothing waits for it.
        #[arg(long, value_parser = instant)]
        due: Option<Instant>,
    },
    /// Show who signed that they hold what a barrier names, and how far the others had come.
    Quittance {
        #[command(flatten)]
        node: NodeArgs,
        /// The dossier.
        #[arg(long, value_parser = dossier_id)]
        dossier: basoche_protocol::id::DossierId,
        /// The barrier's message; all barriers by default.
        #[arg(value_parser = message_id, value_name = "BARRIER")]
        barrier: Option<MessageId>,
    },
    /// Have the other members prove that they hold a message: each one's own signed head, and the path that leads to it.
    Proof {
        #[command(flatten)]
        proof: ProofArgs,
    },
    /// The judge or the clerk has an exhibit or a dire erased, with its documents (GDPR art. 17).
    Erase {
        #[command(flatten)]
        act: ActArgs,
        /// The exhibit or the dire.
        #[arg(long, value_parser = message_id, value_name = "ID")]
        message: MessageId,
        /// Erase the bytes of its documents, and keep the message.
        #[arg(long)]
        documents_only: bool,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// The judge or the clerk orders that nothing is erased of a message, or of the dossier.
    Hold {
        #[command(flatten)]
        act: ActArgs,
        /// What is held; the whole dossier by default.
        #[arg(long, value_parser = message_id, value_name = "ID")]
        message: Option<MessageId>,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// The judge or the clerk lifts a hold.
    Release {
        #[command(flatten)]
        act: ActArgs,
        /// The hold, as `dossier show` names it.
        #[arg(long, value_parser = message_id, value_name = "ID")]
        hold: MessageId,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Show a dossier: phase, roster, messages, documents with their three dates, and why any of it is late.
    Show {
        #[command(flatten)]
        node: NodeArgs,
        /// The dossier.
        #[arg(long, value_parser = dossier_id)]
        dossier: basoche_protocol::id::DossierId,
    },
}

/// The order's content.
#[derive(Args)]
pub(super) struct Designate {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    person: PersonArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// The court's case number (numéro RG).
    #[arg(long)]
    case_number: String,
    /// A head of mission; give one for each.
    #[arg(long, required = true)]
    head: Vec<String>,
    /// The supervising judge.
    #[arg(long, value_parser = subject_id)]
    judge: SubjectId,
    /// The clerk in charge.
    #[arg(long, value_parser = subject_id)]
    clerk: SubjectId,
    /// The expert.
    #[arg(long, value_parser = subject_id)]
    expert: SubjectId,
    /// The provision, in euros.
    #[arg(long, value_parser = euros)]
    provision: EuroCents,
    /// When the provision is to be paid in, RFC 3339.
    #[arg(long, value_parser = instant)]
    provision_due: Instant,
    /// When the report is due, RFC 3339.
    #[arg(long, value_parser = instant)]
    report_due: Instant,
    /// Who is to pay the provision.
    #[arg(long, value_parser = subject_id)]
    payer: Vec<SubjectId>,
}

pub(super) fn run(command: Command, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Designate(order) => designate(*order, output),
        Command::Accept { act } => act.open()?.run(output, |_| {
            Ok(Body::Acceptance(Acceptance {
                ext: None,
                independent: true,
            }))
        }),
        Command::Decline { act, reason } => act
            .open()?
            .run(output, |_| Ok(Body::Decline(Decline { ext: None, reason }))),
        Command::Add { act, party, lawyer } => act.open()?.run(output, |act| {
            let named = lawyer.iter().map(|(one, _)| *one).chain(party.iter().copied());
            let known = subjects(&act.client, named)?;
            let party = party.into_iter().map(|one| (one, Role::Party, None));
            let lawyer = lawyer
                .into_iter()
                .map(|(one, represents)| (one, Role::Lawyer, represents));
            let add = party.chain(lawyer).map(|(one, role, represents)| {
                Ok(Participant {
                    subject: one,
                    role,
                    node: subject(&known, one)?.node,
                    represents,
                })
            });
            Ok(Body::RosterChange(RosterChange {
                ext: None,
                add: add.collect::<Result<_, Fault>>()?,
                remove: vec![],
            }))
        }),
        Command::Enrol { what } => parties::enrol(&what, output),
        Command::RevokeKey { what } => parties::revoke(what, output),
        Command::Remove { act, participant } => act.open()?.run(output, |_| {
            Ok(Body::RosterChange(RosterChange {
                ext: None,
                add: vec![],
                remove: participant,
            }))
        }),
        Command::ProvisionPaid {
            act,
            amount,
            paid_at,
            payer,
        } => act.open()?.run(output, |_| {
            let paid_at = paid_at.unwrap_or_else(now);
            Ok(Body::ProvisionPaid(ProvisionPaid {
                ext: None,
                amount,
                paid_at,
                payer,
            }))
        }),
        Command::Dire {
            act,
            number,
            text,
            recapitulative,
            file,
        } => act.open()?.run(output, |act| {
            let document = file.map(|file| act.ingest(&file, output)).transpose()?;
            Ok(Body::Dire(Dire {
                ext: None,
                number,
                text,
                recapitulative,
                document,
            }))
        }),
        Command::PreReport { act, dires_due, file } => act.open()?.run_milestone(output, |act| {
            let document = act.ingest(&file, output)?;
            Ok(Body::PreReport(PreReport {
                ext: None,
                document,
                dires_due,
                closes: Some(act.frontier()?.rows),
            }))
        }),
        Command::Report { act, answer, file } => act.open()?.run_milestone(output, |act| {
            let mut answers: Vec<_> = answer
                .into_iter()
                .map(|(dire, text)| Answer { dire, text })
                .collect();
            answers.sort_by_key(|answer| answer.dire);
            let document = act.ingest(&file, output)?;
            Ok(Body::Report(Report {
                ext: None,
                document,
                answers,
                closes: Some(act.frontier()?.rows),
            }))
        }),
        Command::FeeClaim { act, amount, file } => act.open()?.run(output, |act| {
            let document = file.map(|file| act.ingest(&file, output)).transpose()?;
            Ok(Body::FeeClaim(FeeClaim {
                ext: None,
                amount,
                document,
            }))
        }),
        Command::FeeOrder { act, amount, file } => act.open()?.run(output, |act| {
            let order = file.map(|file| act.ingest(&file, output)).transpose()?;
            Ok(Body::FeeOrder(FeeOrder {
                ext: None,
                amount,
                order,
            }))
        }),
        Command::Close { act } => act.open()?.run(output, |act| {
            Ok(Body::CloseDossier(CloseDossier {
                ext: None,
                closes: Some(act.frontier()?.rows),
            }))
        }),
        Command::SettleFork { act, keep, reason } => act.open()?.run(output, |act| {
            let view = show(&act.client, act.dossier)?;
            let mut histories = view.forks.iter().flat_map(|fork| &fork.histories);
            let keep = histories.find(|last| last.leaf == keep).copied();
            let keep = keep.ok_or_else(|| {
                let what = "no history of a forked chain ends in that entry: `basoche dossier show` lists those that do";
                Fault::usage(what)
            })?;
            Ok(Body::ForkSettled(ForkSettled {
                ext: None,
                keep,
                reason,
            }))
        }),
        Command::HandOver { act, person, to } => act.open()?.run(output, |act| {
            let view = show(&act.client, act.dossier)?;
            let mut roster = view.participants.into_iter();
            let member = roster.find(|one| one.subject == person);
            let member = member.ok_or_else(|| Fault::usage(format!("{person} is not in the roster")))?;
            Ok(Body::HandOver(HandOver {
                ext: None,
                person,
                from: member.node,
                to,
                previous: member.hand_over,
            }))
        }),
        Command::Barrier { act, due } => {
            let due = due.unwrap_or_else(barrier::in_seven_days);
            act.open()?.run(output, |act| act.barrier(due))
        }
        Command::Quittance {
            node,
            dossier,
            barrier,
        } => barrier::show(&node.client()?, dossier, barrier, output),
        Command::Proof { proof } => proof::ask(&proof, output),
        Command::Erase {
            act,
            message,
            documents_only,
            reason,
        } => act.open()?.run(output, |act| {
            let extent = if documents_only {
                Extent::Documents
            } else {
                Extent::Message
            };
            erasure::erase(&show(&act.client, act.dossier)?, message, extent, reason)
        }),
        Command::Hold { act, message, reason } => act
            .open()?
            .run(output, |_| Ok(erasure::hold(message, None, reason))),
        Command::Release { act, hold, reason } => act
            .open()?
            .run(output, |_| Ok(erasure::hold(None, Some(hold), reason))),
        Command::Show { node, dossier } => {
            let view = show(&node.client()?, dossier)?;
            output.answer(&view, || describe(&view));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn designate(order: Designate, output: &Output) -> Result<ExitCode, Fault> {
    let (client, wallet) = (order.node.client()?, order.person.open()?);
    let known = subjects(&client, [order.judge, order.expert])?;
    let role = if wallet.subject == order.clerk {
        Role::Clerk
    } else {
        Role::Judge
    };
    let body = Body::Designation(Designation {
        ext: None,
        rules: RULES,
        case_number: order.case_number,
        decided_at: now(),
        heads: order.head,
        judge: order.judge,
        clerk: order.clerk,
        expert: order.expert,
        court_node: subject(&known, order.judge)?.node,
        expert_node: subject(&known, order.expert)?.node,
        report_due: order.report_due,
        provision: order.provision,
        provision_due: order.provision_due,
        payers: order.payer,
    });
    let (envelope, _) = sign(&wallet, role, None, body)?;
    found(&client, envelope, &order.wait, output)
}

/// A dossier in words.
fn describe(view: &DossierView) -> String {
    let mut lines = vec![format!(
        "dossier {} (RG {}): {}",
        view.dossier, view.case_number, view.phase
    )];
    let role = |one: &SubjectId| {
        let found = view
            .participants
            .iter()
            .find(|participant| participant.subject == *one);
        found.map_or("node", |participant| participant.role.name())
    };
    for one in &view.participants {
        lines.push(format!(
            "  {:<8} {} at {}",
            one.role.name(),
            one.subject,
            one.organisation
        ));
    }
    for one in &view.parties {
        lines.push(format!(
            "  party    {} is {}, by the key of message {}: {}",
            one.subject, one.name, one.enrolment, one.status
        ));
    }
    for message in &view.messages {
        let kind = message.message_type.as_deref().unwrap_or("sealed");
        let author = message.author.as_ref().map_or("?", role);
        let level = match message.level {
            Level::Deposited => "deposited",
            Level::Transmitted => "transmitted",
            Level::Received => "received by all",
        };
        let effect = if message.verdict == "effective" {
            String::new()
        } else {
            format!(", {}", message.verdict)
        };
        lines.push(format!(
            "{}  {kind:<16} by the {author}: {level}{effect}",
            message.recorded_at
        ));
        lines.extend(message.after.map(|act| format!("  after the frontier of {act}")));
        lines.extend(message.waits.iter().map(|wait| format!("  {wait}")));
    }
    for fork in &view.forks {
        lines.push(format!(
            "node {} signed {} histories of its chain, which part at entry {}",
            fork.node,
            fork.histories.len(),
            fork.parted_at
        ));
        for last in &fork.histories {
            let kept = if fork.kept == Some(*last) {
                "  counts, by order of the court"
            } else {
                ""
            };
            lines.push(format!(
                "  {} entries, the last {}{kept}",
                last.seq + 1,
                last.leaf
            ));
        }
    }
    lines.extend(erasure::describe(view));
    for document in &view.documents {
        lines.push(format!("{} ({} bytes)", document.name, document.bytes));
        lines.push(format!("  deposited {}", document.deposited_at));
        lines.extend(document.contested.iter().map(|one| {
            let segment = one.segment.map(|number| format!(" {number}")).unwrap_or_default();
            format!("  CONTESTED by node {}: {}{segment}", one.node, one.finding)
        }));
        for one in &document.addressees {
            let available = one.available_at.as_deref().unwrap_or("not yet");
            let opened = one.opened_at.as_deref().unwrap_or("no record");
            lines.push(format!(
                "  {:<8} available {available}  opened {opened}",
                one.role.name()
            ));
            lines.extend(one.waits.iter().map(|wait| format!("           {wait}")));
        }
    }
    lines.extend(view.gaps.iter().map(|gap| {
        let now = if gap.closed { "closed since" } else { "open" };
        format!(
            "gap at node {}: {} of {} entries of node {}, as the head of {} names them, stated {}: {now}",
            gap.node, gap.held, gap.named, gap.of, gap.named_by, gap.recorded_at
        )
    }));
    lines.extend(view.quittances.iter().map(ToString::to_string));
    lines.join("\n")
}

/// `3000` or `3000.50`.
fn euros(text: &str) -> Result<EuroCents, String> {
    let wrong = || "an amount is euros, with two digits of cents if any: 3000 or 3000.50".to_owned();
    let (whole, cents) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(cents) || cents.len() != 2 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let cents: u64 = cents.parse().map_err(|_| wrong())?;
    whole
        .checked_mul(100)
        .and_then(|whole| whole.checked_add(cents))
        .and_then(EuroCents::new)
        .ok_or_else(wrong)
}

fn lawyer(text: &str) -> Result<(SubjectId, Option<SubjectId>), String> {
    match text.split_once('=') {
        Some((lawyer, party)) => Ok((subject_id(lawyer)?, Some(subject_id(party)?))),
        None => Ok((subject_id(text)?, None)),
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::from_hex(text)
        .ok_or_else(|| "64 lower-case hexadecimal digits, as `dossier show` prints them".into())
}

fn answer(text: &str) -> Result<(MessageId, String), String> {
    let (dire, answer) = text
        .split_once('=')
        .ok_or("give DIRE=TEXT, where DIRE is the dire's message id")?;
    Ok((message_id(dire)?, answer.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(euros("3000").unwrap().cents(), 300_000);
        assert_eq!(euros("3000.05").unwrap().cents(), 300_005);
        for wrong in [
            "",
            "3000.5",
            "3,000",
            "-1",
            "1e3",
            ".50",
            "10000000001",
            "99999999999999999999",
        ] {
            assert!(euros(wrong).is_err(), "{wrong}");
        }
    }
}
