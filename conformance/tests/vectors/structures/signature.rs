//! Claimed time, certificate, signature, author and role; and the compact form. SPEC §5.1, §5.3.

use basoche_conformance::vector::{Stage, What};
use basoche_protocol::text::b64url_encode;

use super::{Cases, acceptance, payload_value};
use crate::cbor::Value::{self, M, U};
use crate::cbor::{bytes, text};
use crate::messages::{Context, payload};
use crate::world::{
    EXPERT, ISSUED_AT, JUDGE, LAWYER, Person, REVOKED, UNKNOWN, envelope, envelope_of, header, signature,
    signing_input,
};

pub(super) fn signatures(context: &Context, cases: &mut Cases) {
    let payload = acceptance(context);
    let mut refuse = |name: &str, comment: &str, code: &str, bytes: &[u8]| {
        let name = format!("envelope/{name}");
        cases.refuse(&name, comment, What::Envelope, Stage::Signature, code, bytes);
    };
    let good = header(&EXPERT, "basoche-message");
    let valid = signature(&EXPERT, &good, &payload);
    let mut flipped = valid.clone();
    flipped[10] ^= 1;
    refuse(
        "signature_flipped",
        "one bit of the signature",
        "bad-signature",
        &envelope_of(&good, &payload, &flipped),
    );
    let other = payload_value(context).with(8, bytes(&[0x5f; 16])).encode();
    refuse(
        "payload_changed",
        "another salt under the same signature",
        "bad-signature",
        &envelope_of(&good, &other, &valid),
    );
    let zero = envelope_of(&good, &payload, &[0; 64]);
    refuse("signature_zero", "R and S zero", "bad-signature", &zero);
    let ones = envelope_of(&good, &payload, &[0xff; 64]);
    refuse(
        "signature_ones",
        "R and S beyond the order",
        "bad-signature",
        &ones,
    );
    let der = p256::ecdsa::Signature::from_slice(&valid).unwrap().to_der();
    let der = envelope_of(&good, &payload, der.as_bytes());
    refuse(
        "signature_der",
        "DER in place of raw R and S (ENV-14)",
        "bad-signature",
        &der,
    );
    let long = [&valid[..], &[0]].concat();
    refuse(
        "signature_longer",
        "a byte after S",
        "bad-signature",
        &envelope_of(&good, &payload, &long),
    );
    let by_other = signature(&LAWYER, &good, &payload);
    refuse(
        "other_key",
        "signed by a key that is not the certificate's",
        "bad-signature",
        &envelope_of(&good, &payload, &by_other),
    );
    let es384 = good.replace("ES256", "ES384");
    let swapped = envelope_of(&es384, &payload, &signature(&EXPERT, &es384, &payload));
    refuse(
        "alg_swapped",
        "an algorithm that is not the key's (ENV-14)",
        "bad-signature",
        &swapped,
    );
    for typ in [
        "basoche-head",
        "basoche-registry",
        "basoche-cosignature",
        "basoche-bundle",
        "basoche-refusal",
    ] {
        let header = header(&EXPERT, typ);
        let bytes = envelope_of(&header, &payload, &signature(&EXPERT, &header, &payload));
        refuse(
            &format!("typ_{}", &typ[8..]),
            "signed as another kind of structure (ENV-6)",
            "wrong-typ",
            &bytes,
        );
    }
    let ahead = good.replace(&ISSUED_AT.to_string(), &(ISSUED_AT + 361).to_string());
    let bytes = envelope_of(&ahead, &payload, &signature(&EXPERT, &ahead, &payload));
    refuse(
        "claimed_ahead",
        "signed 301 s after the receipt (ENV-13)",
        "claimed-ahead",
        &bytes,
    );

    let dire = |author: &Person| {
        let body = M(vec![
            (1, "number", U(1)),
            (2, "text", text("The crack is older than the works.")),
            (3, "recapitulative", Value::Bool(false)),
        ]);
        payload_of(context, author, body)
    };
    refuse(
        "unknown_signer",
        "a certificate outside the registry",
        "unknown-signer",
        &envelope(&UNKNOWN, &dire(&UNKNOWN)),
    );
    refuse(
        "signer_invalid",
        "a revoked certificate",
        "signer-invalid",
        &envelope(&REVOKED, &dire(&REVOKED)),
    );
    let comment = "the payload names another author (ENV-17)";
    refuse(
        "author_mismatch",
        comment,
        "author-mismatch",
        &envelope(
            &LAWYER,
            &dire(&Person {
                subject: 0x15,
                ..LAWYER
            }),
        ),
    );
    let comment = "a role that the registry does not attest (ENV-17)";
    refuse(
        "role_not_held",
        comment,
        "role-not-held",
        &envelope(&LAWYER, &dire(&Person { role: 5, ..LAWYER })),
    );

    let raw = p256::ecdsa::Signature::from_slice(&valid).unwrap();
    let other = p256::ecdsa::Signature::from_scalars(raw.r(), -raw.s()).unwrap();
    let bytes = envelope_of(&good, &payload, &other.to_vec());
    let comment = "(R, -S) verifies as (R, S) does: the same message, the same id (12.3)";
    cases.accept(
        "envelope/other_s",
        comment,
        What::Envelope,
        Stage::Signature,
        &bytes,
    );
    let edge = good.replace(&ISSUED_AT.to_string(), &(ISSUED_AT + 360).to_string());
    let bytes = envelope_of(&edge, &payload, &signature(&EXPERT, &edge, &payload));
    let comment = "signed 300 s after the receipt: the last second that is accepted (ENV-13)";
    cases.accept(
        "envelope/claimed_at_the_edge",
        comment,
        What::Envelope,
        Stage::Signature,
        &bytes,
    );
    let rules = designation_with_rules(2);
    let comment = "rules that are not known (DOS-1)";
    cases.refuse(
        "envelope/rules",
        comment,
        What::Envelope,
        Stage::Decide,
        "rules",
        &envelope(&JUDGE, &rules),
    );
}

fn payload_of(context: &Context, author: &Person, body: Value) -> Vec<u8> {
    payload(7, author, Some(context.dossier), &[], body).encode()
}

fn designation_with_rules(rules: u64) -> Vec<u8> {
    let context = crate::kinds::context();
    let kinds = crate::kinds::kinds(&context);
    let mut payload = kinds[0].example(&context);
    *payload.field(9) = payload.field(9).clone().with(1, U(rules));
    payload.encode()
}

pub(super) fn jws(context: &Context, cases: &mut Cases) {
    let payload = acceptance(context);
    let header = header(&EXPERT, "basoche-message");
    let signature = signature(&EXPERT, &header, &payload);
    let text = format!(
        "{}.{}",
        signing_input(&header, &payload),
        b64url_encode(&signature)
    );
    let comment = "the compact form of an accepted acceptance (ENV-2)";
    cases.accept(
        "jws/acceptance",
        comment,
        What::Jws,
        Stage::Signature,
        text.as_bytes(),
    );
    let last = text.chars().last().unwrap();
    let trailing = if last == 'A' {
        'B'
    } else {
        char::from(last as u8 + 1)
    };
    let attacks = [
        ("padding", "padding", format!("{text}==")),
        (
            "trailing_bits",
            "trailing bits that are not zero",
            format!("{}{trailing}", &text[..text.len() - 1]),
        ),
        ("line_end", "a line end", format!("{text}\n")),
        ("four_parts", "a fourth part", format!("{text}.AA")),
        ("two_parts", "no signature", signing_input(&header, &payload)),
        (
            "standard_alphabet",
            "a character of the standard alphabet",
            text.replacen("ey", "+y", 1),
        ),
        ("lone_character", "a lone last character", format!("{text}AAA")),
    ];
    for (name, comment, text) in attacks {
        let comment = format!("{comment} (ENV-2)");
        cases.refuse(
            &format!("jws/{name}"),
            &comment,
            What::Jws,
            Stage::Decode,
            "wrong-shape",
            text.as_bytes(),
        );
    }
}
