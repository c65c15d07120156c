//! Seals and key wraps. SPEC §5.4, §5.5.

use basoche_conformance::vector::{Stage, What};
use basoche_protocol::text::b64url_encode;

use super::{Cases, acceptance, acceptance_id, payload_value};
use crate::cbor::Value::{self, A, U};
use crate::cbor::bytes;
use crate::messages::Context;
use crate::world::{BAR_NODE, EXPERT, EXPERT_NODE, apv, envelope, sealed, wrap};

pub(super) fn seals(context: &Context, cases: &mut Cases) {
    let (dossier, id) = (&context.dossier, &acceptance_id(context));
    let inner = envelope(&EXPERT, &acceptance(context));
    let good = sealed(dossier, id, &inner);
    cases.accept(
        "sealed/acceptance",
        "opens under its epoch key",
        What::Sealed,
        Stage::Open,
        &good.encode(),
    );
    let part = |place: usize, value: Value| match good.clone() {
        A(mut parts) => {
            parts[place] = value;
            A(parts).encode()
        }
        _ => unreachable!(),
    };
    let mut flipped = good.encode();
    *flipped.last_mut().unwrap() ^= 1;
    let mut refuse = |name: &str, comment: &str, stage, code: &str, bytes: &[u8]| {
        cases.refuse(
            &format!("sealed/{name}"),
            comment,
            What::Sealed,
            stage,
            code,
            bytes,
        );
    };
    refuse(
        "tag_flipped",
        "one bit of the tag (ENV-9)",
        Stage::Open,
        "not-openable",
        &flipped,
    );
    refuse(
        "epoch_changed",
        "the epoch is authenticated (ENV-9)",
        Stage::Open,
        "not-openable",
        &part(0, U(1)),
    );
    refuse(
        "class_changed",
        "the class is authenticated (ENV-9)",
        Stage::Open,
        "not-openable",
        &part(1, U(1)),
    );
    refuse(
        "salt_changed",
        "another salt (ENV-9)",
        Stage::Open,
        "not-openable",
        &part(2, bytes(&[0; 32])),
    );
    refuse(
        "no_tag",
        "fewer bytes than a tag",
        Stage::Open,
        "not-openable",
        &part(3, bytes(&[0; 15])),
    );
    let other = sealed(&[0; 32], id, &inner).encode();
    refuse(
        "other_dossier",
        "sealed for another dossier (ENV-9)",
        Stage::Open,
        "not-openable",
        &other,
    );
    let other = sealed(
        dossier,
        id,
        &envelope(&EXPERT, &payload_value(context).with(8, bytes(&[0; 16])).encode()),
    );
    refuse(
        "other_message",
        "another message under the announced id (ENV-8)",
        Stage::Open,
        "id-mismatch",
        &other.encode(),
    );
    let rubbish = sealed(dossier, id, b"\x80");
    refuse(
        "no_envelope",
        "an empty array under the seal",
        Stage::Open,
        "wrong-shape",
        &rubbish.encode(),
    );
    refuse(
        "short_salt",
        "a salt of 31 bytes",
        Stage::Decode,
        "wrong-shape",
        &part(2, bytes(&[0; 31])),
    );
    refuse(
        "unknown_class",
        "class 2 (ENC-9)",
        Stage::Decode,
        "wrong-shape",
        &part(1, U(2)),
    );
    let five = match good.clone() {
        A(parts) => A([&parts[..], &[U(0)]].concat()).encode(),
        _ => unreachable!(),
    };
    refuse(
        "five_parts",
        "a fifth element",
        Stage::Decode,
        "wrong-shape",
        &five,
    );
}

pub(super) fn wraps(context: &Context, cases: &mut Cases) {
    let party = apv(&context.dossier, 0, &EXPERT_NODE.id());
    let good = wrap(&party, "");
    let comment = "written without a JOSE library; opens to the epoch key (KEY-3)";
    cases.accept(
        "wrap/epoch_key",
        comment,
        What::Wrap,
        Stage::Wrap,
        good.as_bytes(),
    );
    let forge = |place: usize, with: &[u8]| {
        let with = b64url_encode(with);
        let mut parts: Vec<_> = good.split('.').collect();
        parts[place] = &with;
        parts.join(".")
    };
    let parts: Vec<_> = good.split('.').collect();
    let tag = basoche_protocol::text::b64url_decode(parts[4]).unwrap();
    let header = String::from_utf8(basoche_protocol::text::b64url_decode(parts[0]).unwrap()).unwrap();
    let with_header = |from: &str, to: &str| {
        let forged = header.replacen(from, to, 1);
        assert_ne!(forged, header);
        forge(0, forged.as_bytes())
    };
    let attacks = [
        (
            "tag_of_1",
            "a tag cut to 1 byte (josekit defect D)",
            forge(4, &tag[..1]),
        ),
        (
            "tag_of_12",
            "a tag cut to 12 bytes (josekit defect D)",
            forge(4, &tag[..12]),
        ),
        ("tag_empty", "no tag (josekit defect D)", forge(4, &[])),
        (
            "key_of_7",
            "an encrypted key of 7 bytes, on which josekit panics (defect F)",
            forge(1, &[0; 7]),
        ),
        ("key_empty", "no encrypted key (josekit defect F)", forge(1, &[])),
        (
            "crit",
            "crit, which josekit ignores (defect G)",
            wrap(&party, r#""crit":["x"],"x":1,"#),
        ),
        (
            "zip",
            "zip, which josekit inflates without bound (defect H)",
            wrap(&party, r#""zip":"DEF","#),
        ),
        ("apu", "apu (josekit defect I)", wrap(&party, r#""apu":"AA","#)),
        ("alg_twice", "alg twice", wrap(&party, r#""alg":"ECDH-ES","#)),
        ("kid", "a member that is not ours", wrap(&party, r#""kid":"k","#)),
        (
            "direct",
            "direct key agreement",
            with_header("ECDH-ES+A256KW", "ECDH-ES"),
        ),
        (
            "cbc",
            "CBC and HMAC (josekit defect E)",
            with_header("A256GCM", "A256CBC-HS512"),
        ),
        (
            "epk_off_curve",
            "an ephemeral key that is not on the curve",
            off_curve(&header, &forge),
        ),
        ("epk_p384", "another curve", with_header("P-256", "P-384")),
        (
            "other_dossier",
            "wrapped for another dossier",
            wrap(&apv(&[0; 32], 0, &EXPERT_NODE.id()), ""),
        ),
        (
            "other_epoch",
            "wrapped for another epoch",
            wrap(&apv(&context.dossier, 1, &EXPERT_NODE.id()), ""),
        ),
        (
            "other_recipient",
            "wrapped for another node",
            wrap(&apv(&context.dossier, 0, &BAR_NODE.id()), ""),
        ),
        ("nonce_of_8", "a nonce of 8 bytes", forge(2, &[0; 8])),
        ("six_parts", "a sixth part", format!("{good}.AA")),
        ("padding", "base64url with padding", format!("{good}==")),
    ];
    for (name, comment, wrap) in attacks {
        let comment = format!("{comment} (KEY-4)");
        cases.refuse(
            &format!("wrap/{name}"),
            &comment,
            What::Wrap,
            Stage::Wrap,
            "not-openable",
            wrap.as_bytes(),
        );
    }
}

fn off_curve(header: &str, forge: &dyn Fn(usize, &[u8]) -> String) -> String {
    let start = header.find(r#""y":""#).unwrap() + 5;
    let forged = format!(
        "{}{}{}",
        &header[..start],
        b64url_encode(&[1; 32]),
        &header[start + 43..]
    );
    forge(0, forged.as_bytes())
}
