//! The main line of an assessment: from the order to the closing.

use std::collections::BTreeSet;

use basoche_protocol::amount::EuroCents;
use basoche_protocol::dossier::RULES;
use basoche_protocol::id::{Digest, DossierId, MessageId};
use basoche_protocol::journal::HeadRow;
use basoche_protocol::message::{
    Acceptance, Answer, Barrier, BarrierHeld, Body, CloseDossier, Designation, Dire, ExhibitDeposit,
    FeeClaim, FeeOrder, Held, MadeAvailable, Opening, Participant, PreReport, ProvisionPaid, Report,
    RosterChange,
};
use basoche_protocol::time::Span;

use super::World;
use super::cast::Who;

impl World {
    /// The whole main line with four documents, two of them held, made available and opened.
    pub(crate) fn assessed(suffix: &str) -> Self {
        let mut world = Self::new(suffix);
        world.assess();
        world
    }

    /// The same, in a world that may be prepared.
    pub(crate) fn assess(&mut self) {
        let world = self;
        world.found();
        world.act(
            Who::Expert,
            Body::Acceptance(Acceptance {
                ext: None,
                independent: true,
            }),
        );
        let participant = |who: Who, represents| Participant {
            subject: who.subject(),
            role: who.role(),
            node: Who::Bar.subject(),
            represents,
        };
        let add = vec![
            participant(Who::Party, None),
            participant(Who::Lawyer, Some(Who::Party.subject())),
        ];
        world.act(
            Who::Expert,
            Body::RosterChange(RosterChange {
                ext: None,
                add,
                remove: vec![],
            }),
        );
        let amount = EuroCents::new(300_000).unwrap();
        let paid_at = world.now;
        world.act(
            Who::Clerk,
            Body::ProvisionPaid(ProvisionPaid {
                ext: None,
                amount,
                paid_at,
                payer: None,
            }),
        );
        let exhibits = [("pièce n°1.txt", b"Constat.".to_vec()), ("vide.txt", Vec::new())];
        for ((name, plaintext), number) in exhibits.into_iter().zip(1..) {
            let document = world.seal_document(name, plaintext);
            let title = "Pièce".into();
            let root = document.root;
            let deposit = world.act(
                Who::Lawyer,
                Body::ExhibitDeposit(ExhibitDeposit {
                    ext: None,
                    number,
                    title,
                    document,
                }),
            );
            if number == 1 {
                world.deliver(deposit, root);
            }
        }
        let document = world.seal_document("pre-rapport.txt", b"Provisoire.".repeat(9000));
        let dires_due = world.now + Span::from_seconds(30);
        let closes = Some(world.held_by_the_company());
        world.act(
            Who::Expert,
            Body::PreReport(PreReport {
                ext: None,
                document,
                dires_due,
                closes,
            }),
        );
        world.barrier(3);
        let text = "La fissure est antérieure.".into();
        let dire = world.act(
            Who::Lawyer,
            Body::Dire(Dire {
                ext: None,
                number: 1,
                text,
                recapitulative: true,
                document: None,
            }),
        );
        world.now = dires_due;
        let document = world.seal_document("key", b"Rapport.".repeat(300));
        let root = document.root;
        let answers = vec![Answer {
            dire,
            text: "Non.".into(),
        }];
        let closes = Some(world.held_by_the_company());
        let deposit = world.act(
            Who::Expert,
            Body::Report(Report {
                ext: None,
                document,
                answers,
                closes,
            }),
        );
        world.deliver(deposit, root);
        world.barrier(2);
        world.close(amount);
    }

    /// An order and one exhibit, for the judge only.
    pub(crate) fn with_personal(plaintext: &[u8]) -> (Self, Digest) {
        let mut world = Self::new("");
        world.found();
        let document = world.seal_personal("certificat.txt", plaintext, Who::Judge);
        let root = document.root;
        let exhibit = ExhibitDeposit {
            ext: None,
            number: 1,
            title: "Certificat".into(),
            document,
        };
        world.act(Who::Clerk, Body::ExhibitDeposit(exhibit));
        (world, root)
    }

    /// What the experts' company holds, for what is drafted there.
    fn held_by_the_company(&self) -> Vec<HeadRow> {
        let engine = &self.nodes[Who::Company.home()].engine;
        engine.dossier(&self.dossier).unwrap().frontier()
    }

    /// The expert has the nodes sign what the company's holds; the first so many do.
    fn barrier(&mut self, sign: usize) {
        let replica = self.nodes[Who::Company.home()]
            .engine
            .dossier(&self.dossier)
            .unwrap();
        let documents: BTreeSet<_> = replica
            .state()
            .documents()
            .map(|one| one.reference.root)
            .collect();
        let barrier = Body::Barrier(Barrier {
            ext: None,
            frontier: self.held_by_the_company(),
            documents: documents.into_iter().collect(),
            members: replica.state().nodes().into_iter().collect(),
            due: self.now + Span::from_seconds(604_800),
        });
        let barrier = self.act(Who::Expert, barrier);
        for node in Who::NODES.into_iter().take(sign) {
            self.act(node, Body::BarrierHeld(BarrierHeld { ext: None, barrier }));
        }
    }

    fn close(&mut self, amount: EuroCents) {
        let claim = FeeClaim {
            ext: None,
            amount,
            document: None,
        };
        self.act(Who::Expert, Body::FeeClaim(claim));
        let order = FeeOrder {
            ext: None,
            amount,
            order: None,
        };
        self.act(Who::Judge, Body::FeeOrder(order));
        self.act(
            Who::Clerk,
            Body::CloseDossier(CloseDossier {
                ext: None,
                closes: None,
            }),
        );
    }

    fn found(&mut self) {
        let day = Span::from_seconds(86_400);
        let designation = Designation {
            ext: None,
            rules: RULES,
            case_number: "26/00000".into(),
            decided_at: self.now,
            heads: vec!["Décrire les désordres".into()],
            judge: Who::Judge.subject(),
            clerk: Who::Clerk.subject(),
            expert: Who::Expert.subject(),
            court_node: Who::Court.subject(),
            expert_node: Who::Company.subject(),
            report_due: self.now + day,
            provision: EuroCents::new(300_000).unwrap(),
            provision_due: self.now + day,
            payers: vec![Who::Party.subject()],
        };
        let id = self.act(Who::Judge, Body::Designation(designation));
        self.dossier = DossierId::from(id);
    }

    /// Every node holds a document and makes it available to its persons; the party opens it.
    fn deliver(&mut self, deposit: MessageId, root: Digest) {
        for node in Who::NODES {
            self.act(
                node,
                Body::Held(Held {
                    ext: None,
                    deposit,
                    root,
                }),
            );
            let served = Who::PERSONS.into_iter().filter(|who| who.home() == node.home());
            let addressees = served.map(Who::subject).collect();
            self.act(
                node,
                Body::MadeAvailable(MadeAvailable {
                    ext: None,
                    deposit,
                    root,
                    addressees,
                }),
            );
        }
        let reader = Who::Party.subject();
        self.act(
            Who::Party,
            Body::Opening(Opening {
                ext: None,
                deposit,
                root,
                reader,
            }),
        );
    }
}
