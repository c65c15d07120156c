//! Parcels, receipts and requests of mailboxes, by hand. SPEC §10.7.

use basoche_conformance::fixture::RECEIVED_AT;
use basoche_conformance::vector::{Stage, What};
use basoche_protocol::crypto::{AeadKey, hkdf_sha256, hmac_sha256, sha256};

use super::{Cases, NOW_MS};
use crate::cbor::Value::{self, A, M, U};
use crate::cbor::bytes;
use crate::messages::Context;
use crate::world::{
    BAR_NODE, COURT_NODE, EPOCH_KEY, EXPERT, EXPERT_NODE, Person, REVOKED, envelope_of, header, signature,
};

/// A week in milliseconds.
const PERIOD_MS: u64 = 604_800_000;

/// Keys for the expert's node. MBX-1, MBX-2.
fn derived(context: &Context, label: &str, salt: &[u8]) -> [u8; 32] {
    let info: [&[u8]; 3] = [label.as_bytes(), &context.dossier, &EXPERT_NODE.id()];
    hkdf_sha256(&EPOCH_KEY, salt, &info)
}

fn tag(context: &Context, at_ms: u64) -> [u8; 32] {
    let key = derived(context, "basoche/mailbox-tag/1", &[]);
    hmac_sha256(&key, &[&(at_ms / PERIOD_MS).to_be_bytes()])
}

/// `content`, marked and padded to `length`.
fn padded(content: &Value, length: usize) -> Vec<u8> {
    let mut plain = content.encode();
    plain.push(0x80);
    plain.resize(length, 0);
    plain
}

/// A parcel of these padded bytes, left at this instant.
fn parcel(context: &Context, plain: &[u8], at_ms: u64) -> Value {
    let tag = tag(context, at_ms);
    let salt = hmac_sha256(&derived(context, "basoche/mailbox-salt/1", &[]), &[&tag, plain]);
    let key = derived(context, "basoche/mailbox-parcel/1", &salt);
    let mut ciphertext = plain.to_vec();
    AeadKey::new(&key).seal_in_place([0; 12], &tag, &mut ciphertext);
    A(vec![U(1), bytes(&salt), bytes(&ciphertext)])
}

pub(super) fn parcels(context: &Context, cases: &mut Cases) {
    let now = RECEIVED_AT.ms();
    let content =
        |kind, addressee: &Person, inner: &[u8]| A(vec![U(kind), bytes(&addressee.id()), bytes(inner)]);
    let run = content(1, &EXPERT_NODE, &[0x2a; 100]);
    let leaves = M(vec![
        (0, "root", bytes(&[1; 32])),
        (1, "first", U(0)),
        (2, "hashes", bytes(&[1; 32])),
        (3, "ciphertext", bytes(&[9; 4000])),
    ]);
    let long = content(2, &EXPERT_NODE, &leaves.encode());
    let mut accept = |name: &str, comment: &str, plain: &[u8]| {
        let bytes = parcel(context, plain, now).encode();
        cases.accept(
            &format!("parcel/{name}"),
            comment,
            What::Parcel,
            Stage::Open,
            &bytes,
        );
    };
    accept("run", "what it holds is looked at later", &padded(&run, 4096));
    accept(
        "leaves",
        "the class after the smallest (MBX-2)",
        &padded(&long, 4352),
    );

    let good = parcel(context, &padded(&run, 4096), now);
    let part = |place: usize, value: Value| match good.clone() {
        A(mut parts) => {
            parts[place] = value;
            A(parts).encode()
        }
        _ => unreachable!(),
    };
    let mut flipped = good.encode();
    *flipped.last_mut().unwrap() ^= 1;
    let sealed = |plain: &[u8]| parcel(context, plain, now).encode();
    let mut refuse = |name: &str, comment: &str, stage, code: &str, bytes: &[u8]| {
        cases.refuse(
            &format!("parcel/{name}"),
            comment,
            What::Parcel,
            stage,
            code,
            bytes,
        );
    };
    let open = Stage::Open;
    refuse(
        "tag_flipped",
        "one bit of the AEAD tag (MBX-2)",
        open,
        "not-openable",
        &flipped,
    );
    refuse(
        "salt_changed",
        "another salt (MBX-2)",
        open,
        "not-openable",
        &part(1, bytes(&[0; 32])),
    );
    refuse(
        "other_period",
        "left a week before, under another tag (MBX-1)",
        open,
        "not-openable",
        &parcel(context, &padded(&run, 4096), now - PERIOD_MS).encode(),
    );
    refuse(
        "other_addressee",
        "it opens and is for another node (MBX-2)",
        open,
        "bad-value",
        &sealed(&padded(&content(1, &BAR_NODE, &[]), 4096)),
    );
    refuse(
        "padding_long",
        "another length than MBX-2 gives",
        open,
        "bad-value",
        &sealed(&padded(&run, 4352)),
    );
    refuse(
        "padding_unmarked",
        "zeros without a mark (MBX-2)",
        open,
        "bad-value",
        &sealed(&[0; 4096]),
    );
    refuse(
        "kind",
        "an unknown kind (ENC-9)",
        open,
        "wrong-shape",
        &sealed(&padded(&content(3, &EXPERT_NODE, &[]), 4096)),
    );
    refuse(
        "short",
        "shorter than the smallest class",
        Stage::Decode,
        "bad-value",
        &part(2, bytes(&[0; 4111])),
    );
    refuse("version", "version 2", Stage::Decode, "version", &part(0, U(2)));
    refuse(
        "wrong_type",
        "the salt is a number",
        Stage::Decode,
        "wrong-shape",
        &part(1, U(0)),
    );
}

fn receipt() -> Value {
    M(vec![
        (0, "v", U(1)),
        (1, "mailbox", bytes(&BAR_NODE.id())),
        (2, "depositor", bytes(&COURT_NODE.id())),
        (3, "tag", bytes(&[3; 32])),
        (4, "parcel", bytes(&sha256(&[b"a parcel"]))),
        (5, "size", U(4150)),
        (6, "accepted_at", U(NOW_MS)),
        (7, "kept_until", U(NOW_MS + 86_400_000)),
    ])
}

fn signed(signer: &Person, typ: &str, payload: &Value) -> Vec<u8> {
    let (header, payload) = (header(signer, typ), payload.encode());
    envelope_of(&header, &payload, &signature(signer, &header, &payload))
}

pub(super) fn receipts(cases: &mut Cases) {
    const TYP: &str = "basoche-mailbox-receipt";
    let good = receipt();
    let bytes_of = |value: &Value| signed(&BAR_NODE, TYP, value);
    cases.accept(
        "mailbox-receipt/plain",
        "kept for a day",
        What::Receipt,
        Stage::Signature,
        &bytes_of(&good),
    );
    let longest = good.clone().with(7, U(NOW_MS + 2_592_000_000));
    let comment = "kept for as long as may be (MBX-4)";
    cases.accept(
        "mailbox-receipt/longest",
        comment,
        What::Receipt,
        Stage::Signature,
        &bytes_of(&longest),
    );
    let mut refuse = |name: &str, comment: &str, stage, code: &str, bytes: &[u8]| {
        cases.refuse(
            &format!("mailbox-receipt/{name}"),
            comment,
            What::Receipt,
            stage,
            code,
            bytes,
        );
    };
    let mut payload = |name: &str, comment: &str, code: &str, value: Value| {
        refuse(name, comment, Stage::Payload, code, &bytes_of(&value));
    };
    payload("version", "version 2", "version", good.clone().with(0, U(2)));
    payload(
        "missing_field",
        "no kept_until",
        "wrong-shape",
        good.clone().without(7),
    );
    payload(
        "unknown_key",
        "key 8 (ENC-10)",
        "wrong-shape",
        good.clone().with(8, U(0)),
    );
    payload(
        "wrong_type",
        "the tag is a number",
        "wrong-shape",
        good.clone().with(3, U(0)),
    );
    payload(
        "over_at_once",
        "kept until it was taken (MBX-4)",
        "bad-value",
        good.clone().with(7, U(NOW_MS)),
    );
    payload(
        "too_long",
        "a millisecond more than may be (MBX-4)",
        "bad-value",
        good.clone().with(7, U(NOW_MS + 2_592_000_001)),
    );
    payload(
        "no_size",
        "a parcel of no bytes",
        "bad-value",
        good.clone().with(5, U(0)),
    );
    payload(
        "too_large",
        "a parcel over its limit",
        "bad-value",
        good.clone().with(5, U(4_194_305)),
    );
    let stage = Stage::Signature;
    refuse(
        "typ_head",
        "signed as a head (ENV-6)",
        stage,
        "wrong-typ",
        &signed(&BAR_NODE, "basoche-head", &good),
    );
    refuse(
        "other_node",
        "signed by another node than it names",
        stage,
        "author-mismatch",
        &signed(&COURT_NODE, TYP, &good),
    );
    let by_person = good.clone().with(1, bytes(&EXPERT.id()));
    refuse(
        "by_a_person",
        "a person is no mailbox",
        stage,
        "role-not-held",
        &signed(&EXPERT, TYP, &by_person),
    );
    let revoked = good.with(1, bytes(&REVOKED.id()));
    refuse(
        "revoked",
        "under a revoked certificate",
        stage,
        "signer-invalid",
        &signed(&REVOKED, TYP, &revoked),
    );
}

pub(super) fn requests(cases: &mut Cases) {
    let digest = bytes(&[4; 32]);
    let offer = M(vec![
        (0, "tag", bytes(&[3; 32])),
        (1, "addressee", bytes(&EXPERT_NODE.id())),
        (2, "kind", U(1)),
        (3, "parcel", digest.clone()),
        (4, "size", U(4150)),
        (5, "keep", U(86_400_000)),
    ]);
    let request = |kind, content: &Value| A(vec![U(kind), bytes(&content.encode())]).encode();
    let mut accept = |name: &str, comment: &str, bytes: &[u8]| {
        cases.accept(
            &format!("mailbox-request/{name}"),
            comment,
            What::Request,
            Stage::Decode,
            bytes,
        );
    };
    accept("offer", "a run, for a day", &request(1, &offer));
    accept("fetch", "a parcel by its digest", &request(2, &digest));
    accept(
        "list",
        "from the beginning",
        &request(3, &M(vec![(0, "after", U(0))])),
    );
    accept(
        "taken",
        "two parcels",
        &request(4, &A(vec![digest.clone(), bytes(&[5; 32])])),
    );
    let mut refuse = |name: &str, comment: &str, code: &str, bytes: &[u8]| {
        cases.refuse(
            &format!("mailbox-request/{name}"),
            comment,
            What::Request,
            Stage::Decode,
            code,
            bytes,
        );
    };
    refuse(
        "missing_field",
        "no keep",
        "wrong-shape",
        &request(1, &offer.clone().without(5)),
    );
    refuse(
        "unknown_key",
        "key 6 (ENC-10)",
        "wrong-shape",
        &request(1, &offer.clone().with(6, U(0))),
    );
    refuse(
        "wrong_type",
        "a digest of 31 bytes",
        "wrong-shape",
        &request(2, &bytes(&[4; 31])),
    );
    refuse(
        "kind_of_parcel",
        "an unknown kind (ENC-9)",
        "wrong-shape",
        &request(1, &offer.clone().with(2, U(3))),
    );
    refuse(
        "size",
        "over the limit (MBX-2)",
        "bad-value",
        &request(1, &offer.clone().with(4, U(4_194_305))),
    );
    refuse(
        "keep",
        "longer than may be (MBX-3)",
        "bad-value",
        &request(1, &offer.with(5, U(2_592_000_001))),
    );
    refuse(
        "taken_many",
        "257 parcels (MBX-5)",
        "bad-value",
        &request(4, &A(vec![digest.clone(); 257])),
    );
    refuse(
        "kind",
        "an unknown kind of request",
        "unknown-type",
        &request(5, &digest),
    );
}
