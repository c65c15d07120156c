//! Entries, heads and frames. SPEC §8.1, §8.2, §10.2.

use basoche_conformance::vector::{Stage, What};
use basoche_protocol::crypto::sha256;

use super::{Cases, NOW_MS, acceptance, acceptance_id};
use crate::cbor::Value::{self, A, M, U};
use crate::cbor::{bytes, text};
use crate::messages::Context;
use crate::world::{
    BAR_NODE, COURT_NODE, EXPERT, EXPERT_NODE, JUDGE, Person, apv, envelope, envelope_of, header, sealed,
    signature, wrap,
};

fn chain(node: &Person) -> Value {
    M(vec![
        (0, "node", bytes(&node.id())),
        (1, "incarnation", bytes(&[node.subject | 0x80; 16])),
    ])
}

fn citation(node: &Person) -> Value {
    M(vec![
        (0, "chain", chain(node)),
        (1, "seq", U(4)),
        (2, "leaf", bytes(&sha256(&[b"leaf"]))),
    ])
}

/// The same position in two histories of a chain, ascending by leaf hash. JRN-13.
fn both_histories(value: &Value, key: u64) -> Vec<Value> {
    let leaf = |byte| value.clone().with(key, bytes(&[byte; 32]));
    vec![leaf(0x0a), leaf(0x0b)]
}

fn epoch_wrap(context: &Context) -> Value {
    let jwe = wrap(&apv(&context.dossier, 0, &EXPERT_NODE.id()), "");
    M(vec![
        (0, "epoch", U(0)),
        (1, "recipient", bytes(&EXPERT_NODE.id())),
        (2, "jwe", text(&jwe)),
    ])
}

/// The first entry of the court's chain: the example of SPEC §8.1.
pub(crate) fn entry(context: &Context) -> Value {
    let inner = envelope(&EXPERT, &acceptance(context));
    let id = acceptance_id(context);
    M(vec![
        (0, "dossier", bytes(&context.dossier)),
        (1, "chain", chain(&COURT_NODE)),
        (2, "seq", U(0)),
        (4, "deps", A(vec![])),
        (5, "recorded_at", U(NOW_MS)),
        (6, "message", bytes(&id)),
        (7, "envelope_digest", bytes(&sha256(&[&inner]))),
        (
            8,
            "sealed_digest",
            bytes(&sha256(&[&sealed(&context.dossier, &id, &inner).encode()])),
        ),
        (9, "wraps", A(vec![])),
    ])
}

fn row(node: &Person, size: u64) -> Value {
    M(vec![
        (0, "chain", chain(node)),
        (1, "size", U(size)),
        (2, "leaf", bytes(&sha256(&[b"leaf"]))),
        (3, "root", bytes(&sha256(&[b"root"]))),
    ])
}

fn registry(origin: &str) -> Value {
    M(vec![
        (0, "origin", text(origin)),
        (1, "size", U(7)),
        (2, "root", bytes(&sha256(&[b"log"]))),
    ])
}

/// The head that covers it: the example of SPEC §8.2.
pub(crate) fn head(context: &Context) -> Value {
    M(vec![
        (0, "v", U(1)),
        (1, "head_no", U(0)),
        (2, "dossier", bytes(&context.dossier)),
        (3, "node", bytes(&COURT_NODE.id())),
        (4, "incarnation", bytes(&[COURT_NODE.subject | 0x80; 16])),
        (5, "rows", A(vec![row(&COURT_NODE, 1)])),
        (6, "registries", A(vec![])),
        (7, "time", U(NOW_MS)),
    ])
}

fn signed_head(signer: &Person, payload: &[u8]) -> Vec<u8> {
    let header = header(signer, "basoche-head");
    envelope_of(&header, payload, &signature(signer, &header, payload))
}

pub(super) fn journal(context: &Context, cases: &mut Cases) {
    let first = entry(context);
    let leaf = bytes(&sha256(&[b"leaf"]));
    cases.accept(
        "entry/first",
        "position 0, no option",
        What::Entry,
        Stage::Decode,
        &first.encode(),
    );
    let second = first.clone().with(2, U(1)).with(3, leaf.clone());
    let full = second
        .clone()
        .with(4, A(vec![citation(&EXPERT_NODE), citation(&BAR_NODE)]));
    let full = full.with(9, A(vec![epoch_wrap(context)]));
    cases.accept(
        "entry/later",
        "with citations and a wrap",
        What::Entry,
        Stage::Decode,
        &full.encode(),
    );
    let forked = both_histories(&citation(&BAR_NODE), 2);
    cases.accept(
        "entry/two_histories",
        "citations of two histories of a forked chain (JRN-13)",
        What::Entry,
        Stage::Decode,
        &first.clone().with(4, A(forked.clone())).encode(),
    );
    let adopting = first.clone().with(10, citation(&COURT_NODE));
    cases.accept(
        "entry/adopts",
        "the first of a later incarnation",
        What::Entry,
        Stage::Decode,
        &adopting.encode(),
    );
    let mut refuse = |name: &str, comment: &str, code: &str, value: &Value| {
        cases.refuse(
            &format!("entry/{name}"),
            comment,
            What::Entry,
            Stage::Decode,
            code,
            &value.encode(),
        );
    };
    refuse(
        "prev_at_zero",
        "a first entry with prev (JRN-2)",
        "bad-value",
        &first.clone().with(3, leaf),
    );
    refuse(
        "no_prev",
        "a later entry without prev (JRN-2)",
        "bad-value",
        &first.clone().with(2, U(1)),
    );
    let descending = A(vec![citation(&BAR_NODE), citation(&EXPERT_NODE)]);
    refuse(
        "deps_descending",
        "citations not ascending (JRN-3)",
        "bad-value",
        &first.clone().with(4, descending),
    );
    let turned: Vec<_> = forked.iter().rev().cloned().collect();
    refuse(
        "histories_descending",
        "two histories of a chain, not ascending by leaf hash (JRN-3)",
        "bad-value",
        &first.clone().with(4, A(turned)),
    );
    refuse(
        "history_twice",
        "one history cited twice (JRN-3)",
        "bad-value",
        &first
            .clone()
            .with(4, A(vec![forked[0].clone(), forked[0].clone()])),
    );
    let own = A(vec![citation(&COURT_NODE)]);
    refuse(
        "deps_own",
        "a citation of the own chain (JRN-3)",
        "bad-value",
        &first.clone().with(4, own),
    );
    refuse(
        "adopts_later",
        "adopts after position 0 (JRN-6)",
        "bad-value",
        &second.with(10, citation(&BAR_NODE)),
    );
    let many = A((0..97)
        .map(|_| M(vec![(0, "", U(0)), (1, "", bytes(&[0; 16])), (2, "", text("x"))]))
        .collect());
    refuse(
        "wraps_many",
        "97 wraps (JRN-9)",
        "bad-value",
        &first.clone().with(9, many),
    );
    refuse(
        "missing_field",
        "no message (ENC-10)",
        "wrong-shape",
        &first.clone().without(6),
    );
    refuse(
        "unknown_key",
        "key 11 (ENC-10)",
        "wrong-shape",
        &first.with(11, U(0)),
    );

    let good = head(context);
    let accepted = signed_head(&COURT_NODE, &good.encode());
    cases.accept("head/first", "one row", What::Head, Stage::Signature, &accepted);
    let full = good.clone().with(
        5,
        A(vec![
            row(&COURT_NODE, 1),
            row(&EXPERT_NODE, 3),
            row(&BAR_NODE, u64::MAX),
        ]),
    );
    let full = full.with(6, A(vec![registry("a.example"), registry("b.example")]));
    let comment = "three rows and two registries";
    cases.accept(
        "head/full",
        comment,
        What::Head,
        Stage::Signature,
        &signed_head(&COURT_NODE, &full.encode()),
    );
    let forked = [vec![row(&COURT_NODE, 1)], both_histories(&row(&BAR_NODE, 5), 2)].concat();
    cases.accept(
        "head/two_histories",
        "rows of two histories of a forked chain (JRN-13)",
        What::Head,
        Stage::Signature,
        &signed_head(&COURT_NODE, &good.clone().with(5, A(forked)).encode()),
    );
    let mut refuse = |name: &str, comment: &str, stage, code: &str, signer: &Person, value: &Value| {
        let bytes = signed_head(signer, &value.encode());
        cases.refuse(&format!("head/{name}"), comment, What::Head, stage, code, &bytes);
    };
    let node = &COURT_NODE;
    refuse(
        "version",
        "version 2",
        Stage::Payload,
        "version",
        node,
        &good.clone().with(0, U(2)),
    );
    let rows = A(vec![row(&EXPERT_NODE, 1), row(&COURT_NODE, 1)]);
    refuse(
        "rows_descending",
        "rows not ascending (JRN-4)",
        Stage::Payload,
        "bad-value",
        node,
        &good.clone().with(5, rows),
    );
    let own = both_histories(&row(&COURT_NODE, 1), 2);
    refuse(
        "two_histories_own",
        "two histories of the signer's own chain (JRN-4)",
        Stage::Payload,
        "bad-value",
        node,
        &good.clone().with(5, A(own)),
    );
    let empty = A(vec![row(&COURT_NODE, 0)]);
    refuse(
        "row_empty",
        "a row of no entries (JRN-4)",
        Stage::Payload,
        "bad-value",
        node,
        &good.clone().with(5, empty),
    );
    let twice = A(vec![registry("a.example"), registry("a.example")]);
    refuse(
        "registry_twice",
        "one log twice (REG-5)",
        Stage::Payload,
        "bad-value",
        node,
        &good.clone().with(6, twice),
    );
    let many = A((10..27).map(|n| registry(&format!("{n}.example"))).collect());
    refuse(
        "registries_many",
        "17 logs (REG-5)",
        Stage::Payload,
        "bad-value",
        node,
        &good.clone().with(6, many),
    );
    refuse(
        "unknown_key",
        "key 8 (ENC-10)",
        Stage::Payload,
        "wrong-shape",
        node,
        &good.clone().with(8, U(0)),
    );
    refuse(
        "missing_field",
        "no time (ENC-10)",
        Stage::Payload,
        "wrong-shape",
        node,
        &good.clone().without(7),
    );
    let comment = "signed by another node (JRN-4)";
    refuse(
        "other_node",
        comment,
        Stage::Signature,
        "author-mismatch",
        &BAR_NODE,
        &good,
    );
    let person = good.clone().with(3, bytes(&JUDGE.id()));
    refuse(
        "no_node",
        "signed by a person in her own name (JRN-4)",
        Stage::Signature,
        "role-not-held",
        &JUDGE,
        &person,
    );
    let as_message = envelope(&COURT_NODE, &good.encode());
    let comment = "signed as a message (ENV-6)";
    cases.refuse(
        "head/typ_message",
        comment,
        What::Head,
        Stage::Signature,
        "wrong-typ",
        &as_message,
    );
}

pub(super) fn frames(context: &Context, cases: &mut Cases) {
    let frame = |kind: u64, content: &[u8]| A(vec![U(kind), bytes(content)]).encode();
    let head = signed_head(&COURT_NODE, &head(context).encode());
    let hello = M(vec![
        (0, "versions", A(vec![U(1)])),
        (1, "features", A(vec![])),
        (2, "node", bytes(&COURT_NODE.id())),
        (3, "incarnation", bytes(&[0xa1; 16])),
        (4, "registries", A(vec![registry("a.example")])),
        (5, "time", U(NOW_MS)),
        (6, "software", text("vectors 1")),
    ]);
    let leaf = A(vec![bytes(&head), A(vec![])]).encode();
    let leaf = M(vec![(0, "leaf", bytes(&leaf)), (1, "certificate", bytes(&[]))]);
    let leaves = M(vec![
        (0, "origin", text("a.example")),
        (1, "from", U(7)),
        (2, "leaves", A(vec![leaf])),
    ]);
    let frontier = M(vec![
        (0, "dossier", bytes(&context.dossier)),
        (1, "rows", A(vec![row(&COURT_NODE, 1)])),
        (2, "wraps", A(vec![epoch_wrap(context)])),
        (3, "head", bytes(&head)),
        (5, "yours", bytes(&head)),
    ]);
    let cited = M(vec![
        (0, "chain", chain(&COURT_NODE)),
        (1, "seq", U(0)),
        (2, "leaf", bytes(&[0x1f; 32])),
    ]);
    let lacking = frontier.clone().with(4, A(vec![cited]));
    let inner = envelope(&EXPERT, &acceptance(context));
    let sealed = sealed(&context.dossier, &acceptance_id(context), &inner).encode();
    let item = M(vec![
        (0, "entry", bytes(&entry(context).encode())),
        (1, "sealed", bytes(&sealed)),
    ]);
    let erased = A(vec![item.clone().without(1)]);
    let run = M(vec![
        (0, "dossier", bytes(&context.dossier)),
        (1, "chain", chain(&COURT_NODE)),
        (2, "items", A(vec![item])),
        (3, "head", bytes(&head)),
    ]);
    let refusal = M(vec![(0, "code", U(105)), (1, "about", bytes(&[0; 32]))]);
    let busy = M(vec![
        (0, "code", U(500)),
        (1, "about", bytes(&[0; 32])),
        (2, "retry_after", U(5000)),
        (3, "dossier", bytes(&context.dossier)),
    ]);
    let digest = M(vec![
        (0, "dossier", bytes(&context.dossier)),
        (1, "digest", bytes(&[0xd1; 32])),
    ]);
    let inventory = M(vec![
        (0, "from", U(3)),
        (1, "to", U(4)),
        (2, "acknowledged", U(2)),
        (3, "digests", A(vec![digest])),
    ]);
    let request = M(vec![
        (0, "dossier", bytes(&context.dossier)),
        (1, "row", row(&COURT_NODE, 3)),
        (2, "position", U(1)),
    ]);
    let path = || A(vec![bytes(&[0xb1; 32]), bytes(&[0xb2; 32])]);
    let proof = M(vec![
        (0, "about", bytes(&[0xab; 32])),
        (1, "head", bytes(&head)),
        (2, "path", path()),
        (3, "leaf", bytes(&[0x1f; 32])),
    ]);
    let equivocation = M(vec![
        (0, "smaller", text("a.example\n1\n")),
        (1, "larger", text("a.example\n2\n")),
        (2, "begins", bytes(&[0xbe; 32])),
        (3, "path", path()),
    ]);
    let leaves_wanted = M(vec![(0, "origin", text("a.example")), (1, "from", U(7))]);
    let contents = [
        (1, "hello", hello.encode()),
        (2, "registry_leaves", leaves.encode()),
        (3, "frontier", frontier.encode()),
        (
            3,
            "frontier_without_head",
            frontier.without(3).without(5).encode(),
        ),
        (4, "run", run.encode()),
        (5, "head", bytes(&head).encode()),
        (6, "refusal", refusal.encode()),
        (7, "inventory", inventory.encode()),
        (6, "refusal_busy", busy.encode()),
        (3, "frontier_lacking", lacking.encode()),
        (4, "run_without_message", run.with(2, erased).encode()),
        (8, "proof_request", request.encode()),
        (
            8,
            "proof_request_consistency",
            request.clone().without(2).encode(),
        ),
        (9, "proof", proof.encode()),
        (10, "checkpoint", bytes(b"a.example\n0\n").encode()),
        (11, "equivocation", bytes(&equivocation.encode()).encode()),
        (9, "proof_consistency", proof.clone().without(3).encode()),
        (12, "registry_request", leaves_wanted.encode()),
    ];
    for (kind, name, content) in &contents {
        let comment = format!("kind {kind} (10.2)");
        cases.accept(
            &format!("frame/{name}"),
            &comment,
            What::Frame,
            Stage::Decode,
            &frame(*kind, content),
        );
    }
    let mut refuse = |name: &str, comment: &str, code: &str, bytes: &[u8]| {
        cases.refuse(
            &format!("frame/{name}"),
            comment,
            What::Frame,
            Stage::Decode,
            code,
            bytes,
        );
    };
    refuse(
        "unknown_kind",
        "kind 63 (SYN-2)",
        "unknown-type",
        &frame(63, &contents[0].2),
    );
    refuse(
        "kind_zero",
        "kind 0 (SYN-2)",
        "unknown-type",
        &frame(0, &contents[0].2),
    );
    refuse(
        "other_content",
        "a hello's content as a run",
        "wrong-shape",
        &frame(4, &contents[0].2),
    );
    refuse(
        "content_trailing",
        "a byte after the content",
        "trailing-bytes",
        &frame(6, &[&contents[6].2[..], &[0]].concat()),
    );
    refuse(
        "content_not_canonical",
        "a content that is not canonical",
        "not-canonical",
        &frame(6, &[0xbf, 0xff]),
    );
    refuse(
        "three_parts",
        "a third element",
        "wrong-shape",
        &A(vec![U(6), bytes(&contents[6].2), U(0)]).encode(),
    );
    let unwrapped = A(vec![U(6), refusal.clone()]).encode();
    refuse(
        "content_not_wrapped",
        "the content is no byte string",
        "wrong-shape",
        &unwrapped,
    );
    refuse(
        "registry_request_no_index",
        "a request for leaves that names no index (SNP-4)",
        "wrong-shape",
        &frame(12, &leaves_wanted.without(1).encode()),
    );
    let nameless = frame(8, &request.clone().without(1).encode());
    let comment = "a request for a proof that names no row (SYN-22)";
    refuse("proof_request_no_row", comment, "wrong-shape", &nameless);
    let height = request.clone().with(1, U(3));
    let comment = "a request for a proof that names a height alone (SYN-22)";
    refuse(
        "proof_request_height",
        comment,
        "wrong-shape",
        &frame(8, &height.encode()),
    );
    let more = frame(8, &request.with(3, U(1)).encode());
    let comment = "a request for a proof with a key 3 (ENC-10)";
    refuse("proof_request_key", comment, "wrong-shape", &more);
    let headless = frame(9, &proof.clone().without(1).encode());
    refuse(
        "proof_no_head",
        "a proof without a head (SYN-22)",
        "wrong-shape",
        &headless,
    );
    let short = A(vec![bytes(&[0xb1; 31])]);
    let comment = "a path with a hash of 31 bytes (SYN-22)";
    refuse(
        "proof_short_hash",
        comment,
        "wrong-shape",
        &frame(9, &proof.clone().with(2, short).encode()),
    );
    let number = frame(9, &proof.with(3, U(0)).encode());
    let comment = "a proof with a number for the leaf (SYN-22)";
    refuse("proof_leaf_number", comment, "wrong-shape", &number);
    let missing = frame(6, &refusal.without(1).encode());
    refuse(
        "missing_field",
        "a refusal that names no frame",
        "wrong-shape",
        &missing,
    );
}
