//! Envelopes and payloads that are not what they should be. SPEC §5.1.

use basoche_conformance::vector::{Stage, What};

use super::{Cases, acceptance, payload_value};
use crate::cbor::Value::{self, A, M, U};
use crate::cbor::{bytes, text};
use crate::messages::Context;
use crate::world::{EXPERT, envelope, envelope_of, header, signature};

pub(super) fn envelopes(context: &Context, cases: &mut Cases) {
    let payload = acceptance(context);
    let good = envelope(&EXPERT, &payload);
    let header = header(&EXPERT, "basoche-message");
    let signature = signature(&EXPERT, &header, &payload);
    let parts = [bytes(header.as_bytes()), bytes(&payload), bytes(&signature)];
    let mut refuse = |name: &str, comment: &str, code: &str, bytes: &[u8]| {
        cases.refuse(
            &format!("envelope/{name}"),
            comment,
            What::Envelope,
            Stage::Decode,
            code,
            bytes,
        );
    };
    refuse(
        "truncated",
        "the last byte is missing (ENC-1)",
        "truncated",
        &good[..good.len() - 1],
    );
    refuse(
        "trailing",
        "a byte follows (ENC-1)",
        "trailing-bytes",
        &[&good[..], &[0]].concat(),
    );
    refuse("empty", "no bytes (ENC-1)", "truncated", &[]);
    let four = [&parts[..], &[M(vec![(0, "alg", text("ES256"))])]].concat();
    let comment = "a fourth element, an unprotected header (ENV-1; josekit defect C)";
    refuse("unprotected_header", comment, "wrong-shape", &A(four).encode());
    refuse(
        "two_parts",
        "no signature element (ENV-1)",
        "wrong-shape",
        &A(parts[..2].to_vec()).encode(),
    );
    let texts = A(vec![text(&header), parts[1].clone(), parts[2].clone()]);
    refuse(
        "header_as_text",
        "the header is a text string (ENV-1)",
        "wrong-shape",
        &texts.encode(),
    );
    let map = M(vec![
        (0, "", parts[0].clone()),
        (1, "", parts[1].clone()),
        (2, "", parts[2].clone()),
    ]);
    refuse(
        "map",
        "a map in place of the array (ENV-1)",
        "wrong-shape",
        &map.encode(),
    );
    let indefinite = [&[0x9f], &good[1..], &[0xff]].concat();
    refuse(
        "indefinite",
        "an array of indefinite length (ENC-2)",
        "not-canonical",
        &indefinite,
    );
    let unsigned = envelope_of(&header, &payload, &[]);
    refuse(
        "no_signature",
        "an empty signature (ENV-10)",
        "too-large",
        &unsigned,
    );
    let long = envelope_of(&header, &payload, &[1; 513]);
    refuse(
        "signature_long",
        "a signature of 513 bytes (ENV-10)",
        "too-large",
        &long,
    );
    let padded = envelope_of(
        &format!("{header}{}", " ".repeat(257 - header.len())),
        &payload,
        &signature,
    );
    refuse(
        "header_long",
        "a header of 257 bytes (ENV-10)",
        "too-large",
        &padded,
    );

    let mut refuse = |name: &str, comment: &str, code: &str, payload: &[u8]| {
        let bytes = envelope(&EXPERT, payload);
        cases.refuse(
            &format!("envelope/{name}"),
            comment,
            What::Envelope,
            Stage::Payload,
            code,
            &bytes,
        );
    };
    let whole = payload_value(context);
    refuse(
        "version",
        "payload version 2 (5.1)",
        "version",
        &whole.clone().with(0, U(2)).encode(),
    );
    refuse(
        "unknown_type",
        "type 31 (5.1)",
        "unknown-type",
        &whole.clone().with(1, U(31)).encode(),
    );
    refuse(
        "huge_type",
        "type 65 538, which is 2 in 16 bits",
        "unknown-type",
        &whole.clone().with(1, U(65_538)).encode(),
    );
    refuse(
        "unknown_role",
        "role 7 (ENC-9)",
        "wrong-shape",
        &whole.clone().with(4, U(7)).encode(),
    );
    refuse(
        "unknown_assurance",
        "assurance 0 (ENC-9)",
        "wrong-shape",
        &whole.clone().with(5, U(0)).encode(),
    );
    refuse(
        "unknown_class",
        "class 2 (ENC-9)",
        "wrong-shape",
        &whole.clone().with(6, U(2)).encode(),
    );
    refuse(
        "unknown_key",
        "payload key 10 (ENC-10)",
        "wrong-shape",
        &whole.clone().with(10, U(0)).encode(),
    );
    refuse(
        "no_salt",
        "no salt (ENV-3)",
        "wrong-shape",
        &whole.clone().without(8).encode(),
    );
    refuse(
        "short_salt",
        "a salt of 15 bytes (4.4)",
        "wrong-shape",
        &whole.clone().with(8, bytes(&[0; 15])).encode(),
    );
    let twice = A(vec![bytes(&[1; 32]), bytes(&[1; 32])]);
    refuse(
        "refs_twice",
        "one reference twice (ENV-11)",
        "bad-value",
        &whole.clone().with(7, twice).encode(),
    );
    let many = (0..257_u16).map(|n| bytes(&[&n.to_be_bytes()[..], &[0; 30]].concat()));
    refuse(
        "refs_many",
        "257 references (ENV-11)",
        "bad-value",
        &whole.clone().with(7, A(many.collect())).encode(),
    );
    let array = A((0..10).map(U).collect());
    refuse(
        "payload_array",
        "an array in place of the payload",
        "wrong-shape",
        &array.encode(),
    );
    let body_array = whole.with(9, A(vec![Value::Raw(vec![0x40]), Value::Bool(true)]));
    refuse(
        "body_array",
        "an array in place of the body (ENC-10)",
        "wrong-shape",
        &body_array.encode(),
    );
}
