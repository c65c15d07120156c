//! A bundle of a whole assessment: what it proves, to whom, and what other people's code makes of it.
#![allow(clippy::unwrap_used)]

mod bundle_world;

use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use basoche_node::bundle::{Report, Verdict, key_name, verify, verify_as};
use basoche_protocol::id::Digest;
use basoche_protocol::journal::Content;
use basoche_protocol::message::{Body, Contestation, Erasure, Extent, Finding, KeyWrap, Residual};
use basoche_registry::Anchors;
use bundle_world::{Who, World};

fn judge(bundle: &[u8], anchors: Option<&Anchors>) -> Report {
    verify(Cursor::new(bundle), anchors, &|_, _| {})
}

#[test]
fn a_whole_assessment_is_proved_to_who_believes_its_authorities() {
    let world = World::assessed("");
    let (bundle, exported) = world.export();

    let report = judge(&bundle, Some(&world.anchors));

    assert_eq!(report.exit_code(), 0, "{}", report.to_json());
    assert!(report.anchored());
    assert_eq!(report.complete_to().len(), 3);
    let count = |kind: &str| {
        let of_kind = report.claims().iter().filter(|claim| claim.id.starts_with(kind));
        of_kind.count() as u64
    };
    assert_eq!(exported.documents, 4);
    assert_eq!(count("document:"), exported.documents);
    assert_eq!(count("message:"), exported.messages);
    assert_eq!(count("head:"), 3);
    // Two other nodes for each message.
    assert_eq!(exported.receipts, 2 * exported.messages);
    let entries: u64 = report.complete_to().iter().map(|reach| reach.size).sum();
    assert_eq!(entries, exported.messages);
    let party = "opened by 08080808080808080808080808080808 at 2026-";
    let opened = report
        .claims()
        .iter()
        .filter(|claim| claim.reason.contains(party));
    assert_eq!(opened.count(), 2);
    // Two barriers: all signed the first, the experts' company did not sign the second.
    let quittances: Vec<_> = report
        .claims()
        .iter()
        .filter(|claim| claim.id.starts_with("quittance:"))
        .collect();
    assert_eq!(quittances.len(), 2);
    assert!(quittances.iter().all(|claim| claim.verdict == Verdict::Proved));
    assert!(
        quittances[0].reason.contains("3 of 3 nodes"),
        "{}",
        quittances[0].reason
    );
    let second = &quittances[1].reason;
    assert!(
        second.contains("2 of 3 nodes") && second.contains("not signed: its latest head"),
        "{second}"
    );
}

#[test]
fn without_anchors_nothing_is_proved_and_nothing_contradicted() {
    let (bundle, _) = World::assessed("").export();

    let report = judge(&bundle, None);

    assert_eq!((report.exit_code(), report.anchored()), (3, false));
    let doubted: Vec<_> = report
        .claims()
        .iter()
        .filter(|claim| claim.verdict != Verdict::Proved)
        .map(|claim| claim.code)
        .collect();
    assert_eq!(doubted, ["not-anchored"]);
}

#[test]
fn a_bundle_forged_from_scratch_under_other_authorities_is_not_proved() {
    let world = World::new("");
    for (suffix, code, exit) in [("", "other-root", 1), ("/2", "not-anchored", 3)] {
        let (forged, _) = World::assessed(suffix).export();

        let report = judge(&forged, Some(&world.anchors));

        assert_eq!((report.exit_code(), report.anchored()), (exit, false));
        for origin in ["justice", "barreaux", "experts"] {
            let about = format!("anchors:{origin}.example/annuaire{suffix}");
            let named = |claim: &&basoche_node::bundle::Claim| claim.id == about && claim.code == code;
            assert_eq!(report.claims().iter().filter(named).count(), 1, "{about}");
        }
    }
}

#[test]
fn what_is_no_bundle_is_malformed() {
    let photo = std::fs::read(checkout().join("deploy/sample/dossier/photo-fissure.jpg")).unwrap();
    let mut other = Cursor::new(Vec::new());
    let mut writer = basoche_node::zip::Writer::new(&mut other).unwrap();
    writer.add("letter.txt", b"Bonjour").unwrap();
    writer.finish().unwrap();
    for bytes in [&[][..], b"PK", &photo, other.get_ref()] {
        assert_eq!(judge(bytes, None).exit_code(), 65);
    }
}

/// The claims that are not proved, as (id, code).
fn doubts(report: &Report) -> Vec<(String, &'static str)> {
    let doubted = report
        .claims()
        .iter()
        .filter(|claim| claim.verdict != Verdict::Proved);
    doubted.map(|claim| (claim.id.clone(), claim.code)).collect()
}

#[test]
fn a_document_that_the_exporting_node_lacks_leaves_the_rest_proved() {
    let mut world = World::assessed("");
    let (root, _) = world.documents.pop_first().unwrap();

    let report = judge(&world.export().0, Some(&world.anchors));

    assert_eq!(doubts(&report), [(format!("document:{root}"), "document-absent")]);
    assert_eq!(report.exit_code(), 3);
}

#[test]
fn a_message_that_the_exporting_node_cannot_open_is_undetermined() {
    let mut world = World::assessed("");
    let (id, _) = world.act_of(Who::Judge);
    world.withheld = Some(id);

    let report = judge(&world.export().0, Some(&world.anchors));

    assert_eq!(doubts(&report), [(format!("message:{id}"), "message-absent")]);
    assert_eq!(report.exit_code(), 3);
}

/// Claims as (id, code), for the ids that begin with one of these.
fn told(report: &Report, kinds: &[&str]) -> Vec<(String, &'static str)> {
    let claims = report.claims().iter();
    let claims = claims.filter(|claim| kinds.iter().any(|kind| claim.id.starts_with(kind)));
    claims.map(|claim| (claim.id.clone(), claim.code)).collect()
}

#[test]
fn what_is_erased_leaves_a_tombstone_and_the_rest_proved() {
    let mut world = World::assessed("");
    let replica = world.replica();
    let exhibit = replica
        .state()
        .documents()
        .find(|one| one.reference.name == "vide.txt")
        .unwrap();
    let (target, root) = (exhibit.deposit, exhibit.reference.root);
    let dire = *replica.state().dires().keys().next().unwrap();
    for target in [target, dire] {
        let replica = world.replica();
        let (branch, seq) = replica.position(&target).unwrap();
        let record = replica.chains().record(&branch, seq).unwrap();
        let Content::Authentic(message, _) = &record.content else {
            panic!("it is not there");
        };
        let order = Erasure {
            ext: None,
            target,
            extent: Extent::Message,
            residual: Residual::of(message),
            reason: "Secret médical.".into(),
        };
        world.act(Who::Clerk, Body::Erasure(order));
    }

    let (bundle, exported) = world.export();

    assert_eq!(exported.documents, 3);
    let report = judge(&bundle, Some(&world.anchors));
    assert_eq!(report.exit_code(), 0, "{}", report.to_json());
    let gone = told(&report, &["erased:"]);
    assert_eq!(gone.len(), 2);
    assert!(gone.contains(&(format!("erased:{target}"), "ok")));
    assert!(told(&report, &[&format!("document:{root}")]).is_empty());
    let said = report
        .claims()
        .iter()
        .find(|claim| claim.id == format!("message:{dire}"));
    assert!(
        said.unwrap().reason.starts_with("dire, erased by order "),
        "{said:?}"
    );
    let text = "La fissure est antérieure.".as_bytes();
    assert!(!bundle.windows(text.len()).any(|window| window == text));
    // A tombstone that says something else is found.
    let author = Who::Lawyer.subject().to_hex().into_bytes();
    let member = format!("erased/{dire}.json");
    let mut changed = bundle.clone();
    let start = bundle
        .windows(member.len())
        .position(|window| window == member.as_bytes())
        .unwrap();
    let at = bundle[start..]
        .windows(author.len())
        .position(|window| window == author)
        .unwrap();
    changed[start + at] ^= 1;
    let report = judge(&changed, Some(&world.anchors));
    let id = format!("erased:{dire}");
    assert!(
        report
            .claims()
            .iter()
            .any(|claim| claim.id == id && claim.verdict == Verdict::Contradicted)
    );
}

#[test]
fn a_contestation_is_examined_again_and_a_false_one_is_told_apart() {
    let mut world = World::new("");
    world.lies_about = Some("vide.txt");
    world.assess();
    let replica = world.replica();
    let documents = replica
        .state()
        .documents()
        .map(|one| (one.reference.name.clone(), one.deposit, one.reference.root));
    let documents: Vec<_> = documents.collect();
    let mut roots = Vec::new();
    for (name, who, finding, segment) in [
        ("vide.txt", Who::Bar, Finding::PlaintextCommitment, None),
        ("pièce n°1.txt", Who::Company, Finding::Segment, Some(0)),
    ] {
        let (_, deposit, root) = documents.iter().find(|one| one.0 == name).unwrap().clone();
        let said = Contestation {
            ext: None,
            deposit,
            root,
            finding,
            segment,
            wrap_key: None,
        };
        world.act(who, Body::Contestation(said));
        roots.push(root);
    }

    let report = judge(&world.export().0, Some(&world.anchors));

    assert_eq!(report.exit_code(), 0, "{}", report.to_json());
    let claims = told(&report, &["contestation:"]);
    let by = |root: &Digest, who: Who| format!("contestation:{root}:{}", who.subject());
    assert!(
        claims.contains(&(by(&roots[0], Who::Bar), "founded")),
        "{claims:?}"
    );
    assert!(
        claims.contains(&(by(&roots[1], Who::Company), "unfounded")),
        "{claims:?}"
    );
    let documents = told(&report, &["document:"]);
    assert!(
        documents.contains(&(format!("document:{}", roots[0]), "contested")),
        "{documents:?}"
    );
    assert!(
        documents.contains(&(format!("document:{}", roots[1]), "ok")),
        "{documents:?}"
    );
}

#[test]
fn the_acts_of_a_key_declared_compromised_since_before_them_are_contested() {
    let mut world = World::assessed("");
    world.declare_compromised(Who::Judge);
    let (order, designation) = world.act_of(Who::Judge);

    let report = judge(&world.export().0, Some(&world.anchors));

    let expected = [designation, order].map(|id| (format!("message:{id}"), "contested"));
    assert_eq!(doubts(&report), expected);
    assert_eq!(report.exit_code(), 3);
}

#[test]
fn who_signed_two_histories_is_proved_to_have_and_the_rest_stays_proved() {
    let mut world = World::assessed("");
    let end = world.fork();
    let about = |report: &Report| {
        let claim = report
            .claims()
            .iter()
            .find(|claim| claim.id.starts_with("fork:"))
            .unwrap();
        (claim.id.clone(), claim.verdict, claim.code, claim.reason.clone())
    };
    let id = format!("fork:{}", Who::Bar.subject());

    let report = judge(&world.export().0, Some(&world.anchors));
    assert_eq!(report.exit_code(), 0, "{}", report.to_json());
    let (found, verdict, code, reason) = about(&report);
    assert_eq!((found, verdict, code), (id, Verdict::Proved, "fork"));
    assert!(reason.contains("has not said which counts"), "{reason}");
    // Two histories of the bar's chain and one of each other.
    assert_eq!(report.complete_to().len(), 4);

    world.settle_fork(end);
    let report = judge(&world.export().0, Some(&world.anchors));
    assert_eq!(report.exit_code(), 0, "{}", report.to_json());
    let (_, verdict, _, reason) = about(&report);
    assert!(
        reason.contains(&format!("({})", end.leaf)) && verdict == Verdict::Proved,
        "{reason}"
    );
    // Negative control: without the fork there is no such claim.
    let report = judge(&World::assessed("").export().0, Some(&world.anchors));
    assert!(!report.claims().iter().any(|claim| claim.id.starts_with("fork:")));
}

/// Shown by 4: other people's JOSE, ZIP and digest code.
#[test]
fn jwcrypto_verifies_every_message_under_the_certificate_beside_it() {
    let (bundle, exported) = World::assessed("").export();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bundle).unwrap();
    let python = checkout().join("target/venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run `make setup`",
        python.display()
    );

    let output = Command::new(&python)
        .arg(checkout().join("node/tests/bundle_jose.py"))
        .arg(file.path())
        .output()
        .unwrap();

    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let expected = format!("{} messages verified", exported.messages);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
}

/// The checkout, seen from where cargo runs the tests of this package.
fn checkout() -> &'static Path {
    Path::new("..")
}

#[test]
fn what_a_personal_document_says_is_proved_by_its_recipient_and_undisclosed_by_others() {
    let plaintext = b"Certificat d'essai".repeat(5000);
    let (world, root) = World::with_personal(&plaintext);
    let (bundle, exported) = world.export();
    assert_eq!((exported.documents, exported.personal), (0, 1));
    // Neither its plaintext nor its key is there.
    assert!(!bundle.windows(18).any(|bytes| bytes == b"Certificat d'essai"));
    assert!(!String::from_utf8_lossy(&bundle).contains(&key_name(&root)));
    let claim = |report: &Report, id: String| {
        let found = report.claims().iter().find(|claim| claim.id == id).cloned();
        found.map(|claim| (claim.verdict, claim.code))
    };
    let document = format!("document:{root}");
    let text = format!("plaintext:{root}");

    let report = judge(&bundle, Some(&world.anchors));
    assert_eq!(claim(&report, document), Some((Verdict::Proved, "ok")));
    assert_eq!(
        claim(&report, text.clone()),
        Some((Verdict::Undetermined, "not-disclosed"))
    );
    // Nothing is missing of what the bundle is to prove, and the report says what it does not prove.
    assert_eq!((report.exit_code(), report.undisclosed()), (0, 1));

    let opened_by = |bundle: &[u8], who: Who| {
        verify_as(
            Cursor::new(bundle),
            Some(&world.anchors),
            &|_, document, replica| {
                let given = replica.state().wraps(document, &Who::Judge.subject());
                let wrap = KeyWrap {
                    recipient: Who::Judge.subject(),
                    jwe: given[0].jwe.to_owned(),
                };
                world.open_key(who, &wrap, &document.reference.root)
            },
            &|_, _| {},
        )
    };
    let report = opened_by(&bundle, Who::Judge);
    assert_eq!(claim(&report, text.clone()), Some((Verdict::Proved, "ok")));
    assert_eq!((report.exit_code(), report.undisclosed()), (0, 0));
    // Whose wallet is not the recipient's shows nothing.
    let report = opened_by(&bundle, Who::Clerk);
    assert_eq!(
        claim(&report, text),
        Some((Verdict::Undetermined, "not-disclosed"))
    );

    // Other bytes in its place are contradicted, whoever looks.
    let ciphertext = &world.ciphertexts[&root];
    let at = bundle
        .windows(64)
        .position(|bytes| *bytes == ciphertext[..64])
        .unwrap();
    let mut forged = bundle;
    forged[at + 20] ^= 1;
    assert_eq!(judge(&forged, Some(&world.anchors)).exit_code(), 1);
    assert_eq!(opened_by(&forged, Who::Judge).exit_code(), 1);
}

#[test]
fn another_ciphertext_under_the_name_of_a_personal_document_is_contradicted_by_its_root_alone() {
    let (mut world, root) = World::with_personal(b"Certificat d'essai");
    world.ciphertexts.get_mut(&root).unwrap()[3] ^= 1;
    // The exporting node signs what it wrote: digests and checksums are those of the other bytes.
    let (bundle, _) = world.export();
    let report = judge(&bundle, Some(&world.anchors));
    let claims: Vec<_> = report
        .claims()
        .iter()
        .filter(|claim| claim.verdict == Verdict::Contradicted)
        .map(|claim| (claim.id.clone(), claim.code))
        .collect();
    assert_eq!(claims, [(format!("document:{root}"), "other-document")]);
}
