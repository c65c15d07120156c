//! The message types: how each is written, and which of its values can be spoilt how.

use basoche_protocol::crypto::sha256;
use basoche_protocol::document::{DocumentKey, key_commitment, plaintext_commitment};
use basoche_protocol::envelope::EpochKey;
use basoche_protocol::id::{DossierId, KeySalt};
use basoche_protocol::message::DocumentRef;
use p256::pkcs8::EncodePublicKey;

use super::cbor::Value::{self, A, B, Bool, M, T, U};
use super::cbor::{bytes, text};
use super::messages::{Context, Kind, payload};
use super::world::{
    BAR_NODE, CLERK, COURT_NODE, DELEGATION_SALT, EPOCH_KEY, EXPERT, EXPERT_NODE, ISSUED_AT, JUDGE, LAWYER,
    LITIGANT_CERTIFICATE, PARTY, Person, apv, encryption_key, header, id, litigant_id, person_apv,
    possession, wrap_of,
};

const DAY_MS: u64 = 86_400_000;
const NOW_MS: u64 = ISSUED_AT * 1000;

fn ext() -> Value {
    B(M(vec![(0, "", text("kept, never interpreted"))]).encode())
}

/// The document of every message: its root is no real tree, its key and commitments are real.
pub(crate) fn document(dossier: &[u8; 32]) -> Value {
    let key = DocumentKey::new([0x31; 32]);
    let salt = [0x33; 32];
    let wrapped = DocumentRef::wrap_key(
        &key,
        &EpochKey::new(EPOCH_KEY),
        &DossierId::new(*dossier),
        &KeySalt::new(salt),
    );
    let plaintext = plaintext_commitment(&[0x32; 16], &sha256(&[b"plaintext"]));
    M(vec![
        (0, "root", bytes(&root())),
        (1, "bytes", U(9)),
        (2, "media_type", text("application/pdf")),
        (3, "name", text("order.pdf")),
        (4, "key_commitment", bytes(&key_commitment(&key))),
        (5, "plaintext_commitment", bytes(&plaintext)),
        (6, "plaintext_salt", bytes(&[0x32; 16])),
        (7, "wrap_salt", bytes(&salt)),
        (8, "wrapped_key", bytes(&wrapped)),
    ])
}

fn root() -> [u8; 32] {
    sha256(&[b"root"])
}

/// The founding act with which the dossier of all vectors begins, and what follows from it.
pub(crate) fn context() -> Context {
    let header_of = |person: &Person| header(person, "basoche-message");
    let founding = payload(1, &JUDGE, None, &[], designation()).encode();
    let dossier = id(&header_of(&JUDGE), &founding);
    let exhibit = payload(6, &LAWYER, Some(dossier), &[], exhibit(&dossier)).encode();
    Context {
        dossier,
        deposit: id(&header_of(&LAWYER), &exhibit),
    }
}

fn designation() -> Value {
    M(vec![
        (1, "rules", U(1)),
        (2, "case_number", text("26/01234")),
        (3, "decided_at", U(NOW_MS)),
        (4, "heads", A(vec![text("Describe the disorders.")])),
        (5, "judge", bytes(&JUDGE.id())),
        (6, "clerk", bytes(&CLERK.id())),
        (7, "expert", bytes(&EXPERT.id())),
        (8, "court_node", bytes(&COURT_NODE.id())),
        (9, "expert_node", bytes(&EXPERT_NODE.id())),
        (10, "report_due", U(NOW_MS + 180 * DAY_MS)),
        (11, "provision", U(300_000)),
        (12, "provision_due", U(NOW_MS + 30 * DAY_MS)),
        (13, "payers", A(vec![])),
    ])
}

fn exhibit(dossier: &[u8; 32]) -> Value {
    M(vec![
        (1, "number", U(1)),
        (2, "title", text("Photograph of the crack")),
        (3, "document", document(dossier)),
    ])
}

fn spoilt_document(dossier: &[u8; 32], key: u64, value: Value) -> Value {
    document(dossier).with(key, value)
}

/// Every message type.
pub(crate) fn kinds(context: &Context) -> Vec<Kind> {
    let Context { dossier, deposit } = context;
    let document = || document(dossier);
    let long = |length: usize| T("a".repeat(length));
    let statement = |more: Vec<(u64, &'static str, Value)>| {
        let mut fields = vec![(1, "deposit", bytes(deposit)), (2, "root", bytes(&root()))];
        fields.extend(more);
        M(fields)
    };
    let participant = |person: &Person, represents: Option<&Person>| {
        let mut fields = vec![
            (0, "subject", bytes(&person.id())),
            (1, "role", U(person.role)),
            (2, "node", bytes(&[person.node; 16])),
        ];
        fields.extend(represents.map(|party| (3, "represents", bytes(&party.id()))));
        M(fields)
    };
    let kind = |code, name, signer, stranger, minimal: Value, more: Vec<(u64, Value)>, required, ranges| {
        let full = more
            .into_iter()
            .fold(minimal.clone(), |full, (key, value)| full.with(key, value))
            .with(0, ext());
        Kind {
            code,
            name,
            signer,
            stranger,
            minimal,
            full,
            required,
            ranges,
            further: Vec::new(),
        }
    };
    let over = U(1_000_000_000_001);
    let mut kinds = vec![
        kind(
            1,
            "designation",
            JUDGE,
            Some(EXPERT),
            designation(),
            vec![(13, A(vec![bytes(&PARTY.id())]))],
            (2, U(7)),
            vec![
                ("no_heads", 4, A(vec![])),
                ("provision_zero", 11, U(0)),
                ("provision_over", 11, over.clone()),
                ("case_number_empty", 2, text("")),
                ("case_number_control", 2, text("26\n")),
                ("case_number_long", 2, long(257)),
                ("expert_is_judge", 7, bytes(&JUDGE.id())),
            ],
        ),
        kind(
            2,
            "acceptance",
            EXPERT,
            Some(LAWYER),
            M(vec![(1, "independent", Bool(true))]),
            vec![],
            (1, U(1)),
            vec![("not_independent", 1, Bool(false))],
        ),
        kind(
            3,
            "decline",
            EXPERT,
            Some(JUDGE),
            M(vec![(1, "reason", text("I know one of the parties."))]),
            vec![],
            (1, U(1)),
            vec![
                ("reason_empty", 1, text("")),
                ("reason_control", 1, text("a\u{7}")),
            ],
        ),
        kind(
            4,
            "roster-change",
            EXPERT,
            Some(CLERK),
            M(vec![
                (1, "add", A(vec![participant(&PARTY, None)])),
                (2, "remove", A(vec![])),
            ]),
            vec![
                (
                    1,
                    A(vec![
                        participant(&LAWYER, Some(&PARTY)),
                        participant(&PARTY, None),
                    ]),
                ),
                (2, A(vec![bytes(&[0x18; 16])])),
            ],
            (1, U(1)),
            vec![
                ("nobody", 1, A(vec![])),
                ("judge_added", 1, A(vec![participant(&JUDGE, None)])),
                ("party_represents", 1, A(vec![participant(&PARTY, Some(&LAWYER))])),
                ("twice", 2, A(vec![bytes(&PARTY.id())])),
            ],
        ),
        kind(
            5,
            "provision-paid",
            CLERK,
            Some(PARTY),
            M(vec![(1, "amount", U(300_000)), (2, "paid_at", U(NOW_MS))]),
            vec![(3, bytes(&PARTY.id()))],
            (2, text("x")),
            vec![("amount_zero", 1, U(0)), ("amount_over", 1, over.clone())],
        ),
        kind(
            6,
            "exhibit-deposit",
            LAWYER,
            Some(COURT_NODE),
            exhibit(dossier),
            vec![],
            (3, U(1)),
            vec![
                (
                    "name_with_path",
                    3,
                    spoilt_document(dossier, 3, text("../order.pdf")),
                ),
                ("name_dots", 3, spoilt_document(dossier, 3, text(".."))),
                ("name_backslash", 3, spoilt_document(dossier, 3, text("a\\b"))),
                (
                    "media_type",
                    3,
                    spoilt_document(dossier, 2, text("application/pdf; a=b")),
                ),
                ("document_over", 3, spoilt_document(dossier, 1, U((1 << 40) + 1))),
                (
                    "wrapped_key_short",
                    3,
                    spoilt_document(dossier, 8, bytes(&[0; 47])),
                ),
                ("title_empty", 2, text("")),
            ],
        ),
        kind(
            7,
            "dire",
            LAWYER,
            Some(EXPERT),
            M(vec![
                (1, "number", U(1)),
                (2, "text", text("The crack is older than the works.")),
                (3, "recapitulative", Bool(false)),
            ]),
            vec![
                (2, text("First,\n\tthe crack.")),
                (3, Bool(true)),
                (4, document()),
            ],
            (2, U(1)),
            vec![("text_empty", 2, text(""))],
        ),
        kind(
            8,
            "pre-report",
            EXPERT,
            Some(JUDGE),
            M(vec![
                (1, "document", document()),
                (2, "dires_due", U(NOW_MS + 30 * DAY_MS)),
            ]),
            vec![(3, frontier())],
            (2, text("x")),
            vec![
                ("name_with_path", 1, spoilt_document(dossier, 3, text("a/b"))),
                ("closes_nothing", 3, A(vec![])),
            ],
        ),
        kind(
            9,
            "report",
            EXPERT,
            Some(CLERK),
            M(vec![(1, "document", document()), (2, "answers", A(vec![]))]),
            vec![(2, A(vec![answer(1), answer(2)])), (3, frontier())],
            (2, U(1)),
            vec![
                ("answers_descending", 2, A(vec![answer(2), answer(1)])),
                ("answers_twice", 2, A(vec![answer(1), answer(1)])),
                ("closes_descending", 3, A(vec![row(0xb2), row(0xb1)])),
            ],
        ),
        kind(
            10,
            "fee-claim",
            EXPERT,
            Some(LAWYER),
            M(vec![(1, "amount", U(280_000))]),
            vec![(2, document())],
            (1, text("x")),
            vec![("amount_zero", 1, U(0)), ("amount_over", 1, over.clone())],
        ),
        kind(
            11,
            "fee-order",
            JUDGE,
            Some(CLERK),
            M(vec![(1, "amount", U(280_000))]),
            vec![(2, document())],
            (1, text("x")),
            vec![("amount_zero", 1, U(0)), ("amount_over", 1, over)],
        ),
        kind(
            12,
            "close-dossier",
            CLERK,
            Some(EXPERT),
            M(vec![]),
            vec![(1, frontier())],
            (0, text("x")),
            vec![("closes_empty_chain", 1, A(vec![row(0xb1).with(1, U(0))]))],
        ),
        kind(
            13,
            "fork-settled",
            JUDGE,
            Some(EXPERT),
            M(vec![
                (1, "keep", citation()),
                (2, "reason", text("The node was restored twice.")),
            ]),
            vec![],
            (1, bytes(&[0; 32])),
            vec![("reason_empty", 2, text(""))],
        ),
        kind(
            14,
            "erasure",
            CLERK,
            Some(EXPERT),
            erasure(vec![]),
            vec![(2, U(2))],
            (1, U(1)),
            vec![
                ("reason_empty", 4, text("")),
                ("of_another_act", 3, residual(9, &[])),
                ("document_too_large", 3, residual(6, &[(1 << 40) + 1])),
            ],
        ),
        kind(
            15,
            "legal-hold",
            JUDGE,
            Some(EXPERT),
            M(vec![(3, "reason", text("An appeal is pending."))]),
            vec![(1, bytes(&[0x0d; 32]))],
            (3, U(1)),
            vec![("reason_empty", 3, text(""))],
        ),
        kind(
            16,
            "barrier",
            EXPERT,
            Some(LAWYER),
            M(vec![
                (1, "frontier", A(vec![row(0xb1)])),
                (2, "documents", A(vec![])),
                (3, "members", A(vec![bytes(&BAR_NODE.id())])),
                (4, "due", U(NOW_MS + 7 * DAY_MS)),
            ]),
            vec![
                (1, frontier()),
                (2, A(vec![bytes(&[0x01; 32]), bytes(&[0x02; 32])])),
                (3, A(vec![bytes(&COURT_NODE.id()), bytes(&BAR_NODE.id())])),
            ],
            (4, text("x")),
            vec![
                ("frontier_empty", 1, A(vec![])),
                ("frontier_descending", 1, A(vec![row(0xb2), row(0xb1)])),
                (
                    "documents_descending",
                    2,
                    A(vec![bytes(&[0x02; 32]), bytes(&[0x01; 32])]),
                ),
                ("nobody", 3, A(vec![])),
                (
                    "member_twice",
                    3,
                    A(vec![bytes(&BAR_NODE.id()), bytes(&BAR_NODE.id())]),
                ),
            ],
        ),
        kind(
            17,
            "hand-over",
            JUDGE,
            Some(LAWYER),
            M(vec![
                (1, "person", bytes(&JUDGE.id())),
                (2, "from", bytes(&COURT_NODE.id())),
                (3, "to", bytes(&BAR_NODE.id())),
            ]),
            vec![(4, bytes(deposit))],
            (3, U(1)),
            vec![("nowhere", 3, bytes(&COURT_NODE.id()))],
        ),
        kind(
            18,
            "party-enrolment",
            EXPERT,
            Some(LAWYER),
            M(vec![
                (1, "subject", bytes(&litigant_id(dossier))),
                (2, "name", text("The claimant")),
                (3, "node", bytes(&BAR_NODE.id())),
                (4, "certificate", bytes(LITIGANT_CERTIFICATE)),
                (5, "algorithm", U(1)),
                (6, "assurance", U(2)),
                (7, "delegation_salt", bytes(&DELEGATION_SALT)),
                (8, "possession", bytes(&possession(dossier, 1))),
            ]),
            vec![(9, bytes(&encryption_spki()))],
            (2, U(1)),
            vec![
                ("name_empty", 2, text("")),
                ("certificate_empty", 4, bytes(&[])),
                ("assurance_of_a_seal", 6, U(4)),
                ("possession_no_envelope", 8, bytes(&[0x80])),
                ("possession_of_a_holder", 8, bytes(&possession(dossier, 4))),
                ("encryption_no_point", 9, bytes(&[4; 91])),
            ],
        ),
        kind(
            19,
            "key-revocation",
            PARTY,
            Some(LAWYER),
            M(vec![
                (1, "enrolment", bytes(deposit)),
                (3, "reason", text("The card was stolen.")),
            ]),
            vec![(2, U(NOW_MS))],
            (1, bytes(&[0; 31])),
            vec![("reason_empty", 3, text(""))],
        ),
        kind(
            32,
            "held",
            BAR_NODE,
            Some(LAWYER),
            statement(vec![]),
            vec![(3, A(vec![stated(0xfe), stated(0xff)]))],
            (2, bytes(&[0; 31])),
            vec![
                ("more_descending", 3, A(vec![stated(0xff), stated(0xfe)])),
                ("more_twice", 3, A(vec![stated(0xfe), stated(0xfe)])),
                ("more_before_the_first", 3, A(vec![stated(0)])),
            ],
        ),
        kind(
            33,
            "made-available",
            BAR_NODE,
            Some(LAWYER),
            statement(vec![(3, "addressees", A(vec![bytes(&LAWYER.id())]))]),
            vec![
                (3, A(vec![bytes(&LAWYER.id()), bytes(&PARTY.id())])),
                (4, A(vec![stated(0xfe), stated(0xff)])),
            ],
            (3, U(1)),
            vec![
                ("more_descending", 4, A(vec![stated(0xff), stated(0xfe)])),
                ("nobody", 3, A(vec![])),
                ("descending", 3, A(vec![bytes(&PARTY.id()), bytes(&LAWYER.id())])),
            ],
        ),
        kind(
            34,
            "opening",
            PARTY,
            None,
            statement(vec![(3, "reader", bytes(&PARTY.id()))]),
            vec![],
            (3, bytes(&[0; 15])),
            vec![],
        ),
        kind(
            35,
            "contestation",
            BAR_NODE,
            Some(LAWYER),
            statement(vec![(3, "finding", U(3))]),
            vec![(3, U(2)), (4, U(7))],
            (3, text("x")),
            vec![
                ("segment_not_named", 3, U(2)),
                ("wrap_key_not_given", 3, U(1)),
                ("segment_of_a_length", 4, U(0)),
                ("wrap_key_of_a_plaintext", 5, bytes(&[0; 32])),
            ],
        ),
        kind(
            36,
            "barrier-held",
            BAR_NODE,
            Some(LAWYER),
            M(vec![(1, "barrier", bytes(deposit))]),
            vec![],
            (1, bytes(&[0; 31])),
            vec![],
        ),
        kind(
            37,
            "gap",
            COURT_NODE,
            Some(CLERK),
            M(vec![
                (1, "chain", citation().field(0).clone()),
                (2, "held", U(0)),
                (3, "named", U(4)),
                (4, "leaf", bytes(&[0x1f; 32])),
                (5, "named_by", bytes(&BAR_NODE.id())),
            ]),
            vec![(2, U(3))],
            (4, U(1)),
            vec![("nothing_missing", 2, U(4))],
        ),
        kind(
            38,
            "key-grant",
            PARTY,
            Some(BAR_NODE),
            statement(vec![(3, "wraps", A(vec![person_wrap(dossier, &JUDGE)]))]),
            vec![(3, wraps(dossier, &[&EXPERT, &JUDGE]))],
            (3, U(1)),
            lies(dossier)
                .into_iter()
                .map(|(name, wraps)| (name, 3, wraps))
                .collect(),
        ),
    ];
    if let Some(exhibits) = kinds.iter_mut().find(|kind| kind.code == 6) {
        exhibits.further = personal_exhibits(dossier);
    }
    kinds
}

fn encryption_spki() -> Vec<u8> {
    let spki = encryption_key().verifying_key().to_public_key_der();
    spki.unwrap().into_vec()
}

/// A wrap of the document's key for a person. All have the same encryption key here, and each its own context.
fn person_wrap(dossier: &[u8; 32], recipient: &Person) -> Value {
    bound_wrap(recipient, &person_apv(dossier, &root(), &recipient.id()))
}

fn bound_wrap(recipient: &Person, apv: &str) -> Value {
    M(vec![
        (0, "recipient", bytes(&recipient.id())),
        (1, "jwe", text(&wrap_of(&[0x31; 32], apv, ""))),
    ])
}

/// Wraps for these persons, ascending.
fn wraps(dossier: &[u8; 32], recipients: &[&Person]) -> Value {
    let mut recipients = recipients.to_vec();
    recipients.sort_by_key(|one| one.id());
    A(recipients.iter().map(|one| person_wrap(dossier, one)).collect())
}

/// Lies about wraps, all visible without any key. KEY-10, DOC-20.
fn lies(dossier: &[u8; 32]) -> Vec<(&'static str, Value)> {
    let one = |recipient: &Person| person_wrap(dossier, recipient);
    let (first, second) = if JUDGE.id() < EXPERT.id() {
        (JUDGE, EXPERT)
    } else {
        (EXPERT, JUDGE)
    };
    let bound = |apv: String| A(vec![bound_wrap(&JUDGE, &apv)]);
    let short = M(vec![
        (0, "recipient", bytes(&JUDGE.id())),
        (1, "jwe", text("e30.AA.AA.AA.AA")),
    ]);
    vec![
        ("wraps_for_nobody", A(vec![])),
        ("wraps_descending", A(vec![one(&second), one(&first)])),
        ("wraps_twice", A(vec![one(&JUDGE), one(&JUDGE)])),
        (
            "wrap_other_dossier",
            bound(person_apv(&[0; 32], &root(), &JUDGE.id())),
        ),
        (
            "wrap_other_root",
            bound(person_apv(dossier, &[0; 32], &JUDGE.id())),
        ),
        (
            "wrap_other_recipient",
            bound(person_apv(dossier, &root(), &CLERK.id())),
        ),
        ("wrap_of_an_epoch_key", bound(apv(dossier, 0, &JUDGE.id()))),
        ("wrap_malformed", A(vec![short])),
    ]
}

/// Exhibits for persons: one that is right, and lies.
fn personal_exhibits(dossier: &[u8; 32]) -> Vec<(&'static str, &'static str, Option<&'static str>, Value)> {
    let personal = |wraps: Value| document(dossier).without(7).without(8).with(9, wraps);
    let body = |document: Value| exhibit(dossier).with(3, document);
    let good = wraps(dossier, &[&JUDGE, &EXPERT, &LAWYER]);
    let mut cases = vec![
        (
            "personal",
            "a document for three persons and no node (DOC-20)",
            None,
            body(personal(good.clone())),
        ),
        (
            "key_and_wraps",
            "a key for member nodes and wraps for persons (DOC-1)",
            Some("wrong-shape"),
            body(document(dossier).with(9, good.clone())),
        ),
        (
            "neither_key_nor_wraps",
            "nobody is given the key (DOC-1)",
            Some("wrong-shape"),
            body(document(dossier).without(7).without(8)),
        ),
        (
            "salt_and_wraps",
            "a wrap salt beside wraps for persons (DOC-1)",
            Some("wrong-shape"),
            body(document(dossier).without(8).with(9, good)),
        ),
    ];
    let lie = |(name, wraps): (&'static str, Value)| {
        (
            name,
            "a lie about the wraps (KEY-10, DOC-20)",
            Some("bad-value"),
            body(personal(wraps)),
        )
    };
    cases.extend(lies(dossier).into_iter().map(lie));
    cases
}

/// The order that erases an exhibit with its document.
fn erasure(more: Vec<(u64, &'static str, Value)>) -> Value {
    let mut fields = vec![
        (1, "target", bytes(&[0x0d; 32])),
        (2, "extent", U(1)),
        (3, "residual", residual(6, &[9])),
        (
            4,
            "reason",
            text("It shows the health of somebody who takes no part."),
        ),
    ];
    fields.extend(more);
    M(fields)
}

/// What stays of an act of the party that brought documents of these sizes.
pub(crate) fn residual(act: u64, documents: &[u64]) -> Value {
    let document = |size: &u64| M(vec![(0, "root", bytes(&[0x2d; 32])), (1, "bytes", U(*size))]);
    M(vec![
        (0, "act", U(act)),
        (1, "author", bytes(&PARTY.id())),
        (2, "documents", A(documents.iter().map(document).collect())),
    ])
}

/// Another document that a statement names.
fn stated(deposit: u8) -> Value {
    M(vec![
        (0, "deposit", bytes(&[deposit; 32])),
        (1, "root", bytes(&root())),
    ])
}

/// The fourth entry of a chain of the bar's node.
fn citation() -> Value {
    let chain = M(vec![
        (0, "node", bytes(&BAR_NODE.id())),
        (1, "incarnation", bytes(&[0xb1; 16])),
    ]);
    M(vec![
        (0, "chain", chain),
        (1, "seq", U(3)),
        (2, "leaf", bytes(&[0x1f; 32])),
    ])
}

/// The first four entries of a chain of the bar's node.
fn row(incarnation: u8) -> Value {
    let chain = M(vec![
        (0, "node", bytes(&BAR_NODE.id())),
        (1, "incarnation", bytes(&[incarnation; 16])),
    ]);
    M(vec![
        (0, "chain", chain),
        (1, "size", U(4)),
        (2, "leaf", bytes(&[0x1f; 32])),
        (3, "root", bytes(&[0x2f; 32])),
    ])
}

fn frontier() -> Value {
    A(vec![row(0xb1), row(0xb2)])
}

fn answer(dire: u8) -> Value {
    M(vec![
        (0, "dire", bytes(&[dire; 32])),
        (1, "text", text("Answered in part 4 of the report.")),
    ])
}
