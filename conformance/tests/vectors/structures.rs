//! Cases of everything that is not a message: envelopes, seals, wraps, the scanner, the journal and frames.

use basoche_conformance::vector::{Named, Stage, Vector, What};
use basoche_protocol::crypto::sha256;
use basoche_protocol::text::{b64url_encode, hex_decode};

use super::cbor::Value::{self, A, M, U};
use super::cbor::{bytes, text};
use super::messages::{Context, payload};
use super::world::{
    BAR_NODE, COURT_NODE, EXPERT, EXPERT_NODE, ISSUED_AT, JUDGE, LAWYER, Person, REVOKED, UNKNOWN, apv, envelope,
    envelope_of, header, id, sealed, signature, signing_input, wrap,
};

const NOW_MS: u64 = ISSUED_AT * 1000;

struct Cases(Vec<Named>);

impl Cases {
    fn accept(&mut self, name: &str, comment: &str, what: What, stage: Stage, bytes: &[u8]) {
        self.add(name, "accept", Vector::new(what, comment, stage, None, bytes));
    }

    fn refuse(&mut self, name: &str, comment: &str, what: What, stage: Stage, code: &str, bytes: &[u8]) {
        self.add(name, "refuse", Vector::new(what, comment, stage, Some(code), bytes));
    }

    fn add(&mut self, name: &str, outcome: &str, vector: Vector) {
        let (group, case) = name.split_once('/').unwrap();
        self.0.push((format!("{group}/{outcome}_{case}"), vector));
    }
}

/// The acceptance that envelope and seal cases carry.
pub(crate) fn acceptance(context: &Context) -> Vec<u8> {
    let body = M(vec![(1, "independent", Value::Bool(true))]);
    payload(2, &EXPERT, Some(context.dossier), &[], body).encode()
}

/// Its id.
pub(crate) fn acceptance_id(context: &Context) -> [u8; 32] {
    id(&header(&EXPERT, "basoche-message"), &acceptance(context))
}

/// Every case.
pub(crate) fn cases(context: &Context) -> Vec<Named> {
    let mut cases = Cases(Vec::new());
    envelopes(context, &mut cases);
    headers(context, &mut cases);
    signatures(context, &mut cases);
    jws(context, &mut cases);
    seals(context, &mut cases);
    wraps(context, &mut cases);
    scanner(&mut cases);
    journal(context, &mut cases);
    frames(context, &mut cases);
    cases.0
}

fn envelopes(context: &Context, cases: &mut Cases) {
    let payload = acceptance(context);
    let good = envelope(&EXPERT, &payload);
    let header = header(&EXPERT, "basoche-message");
    let signature = signature(&EXPERT, &header, &payload);
    let parts = [bytes(header.as_bytes()), bytes(&payload), bytes(&signature)];
    let mut refuse = |name: &str, comment: &str, code: &str, bytes: &[u8]| {
        cases.refuse(&format!("envelope/{name}"), comment, What::Envelope, Stage::Decode, code, bytes);
    };
    refuse("truncated", "the last byte is missing (ENC-1)", "truncated", &good[..good.len() - 1]);
    refuse("trailing", "a byte follows (ENC-1)", "trailing-bytes", &[&good[..], &[0]].concat());
    refuse("empty", "no bytes (ENC-1)", "truncated", &[]);
    let four = [&parts[..], &[M(vec![(0, "alg", text("ES256"))])]].concat();
    let comment = "a fourth element, an unprotected header (ENV-1; josekit defect C)";
    refuse("unprotected_header", comment, "wrong-shape", &A(four).encode());
    refuse("two_parts", "no signature element (ENV-1)", "wrong-shape", &A(parts[..2].to_vec()).encode());
    let texts = A(vec![text(&header), parts[1].clone(), parts[2].clone()]);
    refuse("header_as_text", "the header is a text string (ENV-1)", "wrong-shape", &texts.encode());
    let map = M(vec![(0, "", parts[0].clone()), (1, "", parts[1].clone()), (2, "", parts[2].clone())]);
    refuse("map", "a map in place of the array (ENV-1)", "wrong-shape", &map.encode());
    let indefinite = [&[0x9f], &good[1..], &[0xff]].concat();
    refuse("indefinite", "an array of indefinite length (ENC-2)", "not-canonical", &indefinite);
    let unsigned = envelope_of(&header, &payload, &[]);
    refuse("no_signature", "an empty signature (ENV-10)", "too-large", &unsigned);
    let long = envelope_of(&header, &payload, &[1; 513]);
    refuse("signature_long", "a signature of 513 bytes (ENV-10)", "too-large", &long);
    let padded = envelope_of(&format!("{header}{}", " ".repeat(257 - header.len())), &payload, &signature);
    refuse("header_long", "a header of 257 bytes (ENV-10)", "too-large", &padded);

    let mut refuse = |name: &str, comment: &str, code: &str, payload: &[u8]| {
        let bytes = envelope(&EXPERT, payload);
        cases.refuse(&format!("envelope/{name}"), comment, What::Envelope, Stage::Payload, code, &bytes);
    };
    let whole = payload_value(context);
    refuse("version", "payload version 2 (5.1)", "version", &whole.clone().with(0, U(2)).encode());
    refuse("unknown_type", "type 13 (5.1)", "unknown-type", &whole.clone().with(1, U(13)).encode());
    refuse("huge_type", "type 65 538, which is 2 in 16 bits", "unknown-type", &whole.clone().with(1, U(65_538)).encode());
    refuse("unknown_role", "role 7 (ENC-9)", "wrong-shape", &whole.clone().with(4, U(7)).encode());
    refuse("unknown_assurance", "assurance 0 (ENC-9)", "wrong-shape", &whole.clone().with(5, U(0)).encode());
    refuse("unknown_class", "class 2 (ENC-9)", "wrong-shape", &whole.clone().with(6, U(2)).encode());
    refuse("unknown_key", "payload key 10 (ENC-10)", "wrong-shape", &whole.clone().with(10, U(0)).encode());
    refuse("no_salt", "no salt (ENV-3)", "wrong-shape", &whole.clone().without(8).encode());
    refuse("short_salt", "a salt of 15 bytes (4.4)", "wrong-shape", &whole.clone().with(8, bytes(&[0; 15])).encode());
    let twice = A(vec![bytes(&[1; 32]), bytes(&[1; 32])]);
    refuse("refs_twice", "one reference twice (ENV-11)", "bad-value", &whole.clone().with(7, twice).encode());
    let many = (0..257_u16).map(|n| bytes(&[&n.to_be_bytes()[..], &[0; 30]].concat()));
    refuse("refs_many", "257 references (ENV-11)", "bad-value", &whole.clone().with(7, A(many.collect())).encode());
    let array = A((0..10).map(U).collect());
    refuse("payload_array", "an array in place of the payload", "wrong-shape", &array.encode());
    let body_array = whole.with(9, A(vec![Value::Raw(vec![0x40]), Value::Bool(true)]));
    refuse("body_array", "an array in place of the body (ENC-10)", "wrong-shape", &body_array.encode());
}

fn payload_value(context: &Context) -> Value {
    let body = M(vec![(1, "independent", Value::Bool(true))]);
    payload(2, &EXPERT, Some(context.dossier), &[], body)
}

fn headers(context: &Context, cases: &mut Cases) {
    let payload = acceptance(context);
    let good = header(&EXPERT, "basoche-message");
    let cty = r#""cty":"cbor","#;
    let iat = ISSUED_AT.to_string();
    let with = |member: &str| format!("{member}{cty}");
    let attacks = [
        ("alg_none", "alg none", "ES256".into(), "none".into()),
        ("alg_hs256", "a symmetric algorithm", "ES256".into(), "HS256".into()),
        ("alg_eddsa", "an algorithm outside the table (ENV-14)", "ES256".into(), "EdDSA".into()),
        ("alg_case", "an algorithm in small letters", "ES256".into(), "es256".into()),
        ("alg_twice", "alg twice", r#"{"alg""#.into(), r#"{"alg":"ES256","alg""#.into()),
        ("alg_missing", "no alg", r#""alg":"ES256","#.into(), String::new()),
        ("crit", "crit (josekit defects A and G)", cty.into(), with(r#""crit":["x"],"x":1,"#)),
        ("critical", "critical, which josekit reads for crit (defect A)", cty.into(), with(r#""critical":["x"],"#)),
        ("b64", "b64 false (josekit defect B)", cty.into(), with(r#""b64":false,"crit":["b64"],"#)),
        ("jwk", "an embedded key", cty.into(), with(r#""jwk":{},"#)),
        ("jku", "a key by address", cty.into(), with(r#""jku":"https://example.org","#)),
        ("x5u", "a certificate by address", cty.into(), with(r#""x5u":"https://example.org","#)),
        ("x5c", "an embedded certificate", cty.into(), with(r#""x5c":["AA"],"#)),
        ("kid", "kid (josekit defect K)", cty.into(), with(r#""kid":"k","#)),
        ("zip", "zip (josekit defect H)", cty.into(), with(r#""zip":"DEF","#)),
        ("sig_t", "sigT, which the profile forbids", cty.into(), with(r#""sigT":"2026-11-22T00:00:00Z","#)),
        ("no_cty", "no cty", cty.into(), String::new()),
        ("order", "another order of the members", r#"{"alg":"ES256","cty":"cbor","#.into(), r#"{"cty":"cbor","alg":"ES256","#.into()),
        ("white_space", "a space after a comma", ",".into(), ", ".into()),
        ("iat_zero", "iat with a leading zero", iat.clone(), format!("0{iat}")),
        ("iat_sign", "iat with a sign", iat.clone(), format!("+{iat}")),
        ("iat_fraction", "iat with a fraction", iat.clone(), format!("{iat}.0")),
        ("iat_text", "iat as a string", iat.clone(), format!("\"{iat}\"")),
        ("iat_huge", "iat of 2^40", iat.clone(), (1_u64 << 40).to_string()),
        ("typ", "a typ that is not ours", "basoche-message".into(), "JWT".into()),
        ("x5t_padding", "x5t#S256 with padding", "\"}".into(), "=\"}".into()),
        ("x5t_short", "x5t#S256 of 31 bytes", b64url_encode(&EXPERT.certificate()), b64url_encode(&[0; 31])),
        ("x5t_sha1", "x5t in place of x5t#S256", "x5t#S256".into(), "x5t".into()),
        ("escape", "a member's name with an escape", r#""alg""#.into(), r#""\u0061lg""#.into()),
    ];
    let mut refuse = |name: &str, comment: &str, header: &str| {
        let bytes = envelope_of(header, &payload, &signature(&EXPERT, header, &payload));
        let name = format!("envelope/header_{name}");
        cases.refuse(&name, &format!("{comment} (ENV-6)"), What::Envelope, Stage::Header, "bad-header", &bytes);
    };
    for (name, comment, from, to) in &attacks {
        let forged = good.replacen(from, to, 1);
        assert_ne!(forged, good, "{name}");
        refuse(name, comment, &forged);
    }
    // The last of 43 characters carries four bits; the other two must be zero.
    let certificate = b64url_encode(&EXPERT.certificate());
    let last = certificate.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let trailing = format!("{}{next}", &certificate[..42]);
    refuse("x5t_trailing_bits", "x5t#S256 with trailing bits", &good.replace(&certificate, &trailing));
}

fn signatures(context: &Context, cases: &mut Cases) {
    let payload = acceptance(context);
    let mut refuse = |name: &str, comment: &str, code: &str, bytes: &[u8]| {
        let name = format!("envelope/{name}");
        cases.refuse(&name, comment, What::Envelope, Stage::Signature, code, bytes);
    };
    let good = header(&EXPERT, "basoche-message");
    let valid = signature(&EXPERT, &good, &payload);
    let mut flipped = valid.clone();
    flipped[10] ^= 1;
    refuse("signature_flipped", "one bit of the signature", "bad-signature", &envelope_of(&good, &payload, &flipped));
    let other = payload_value(context).with(8, bytes(&[0x5f; 16])).encode();
    refuse("payload_changed", "another salt under the same signature", "bad-signature", &envelope_of(&good, &other, &valid));
    let zero = envelope_of(&good, &payload, &[0; 64]);
    refuse("signature_zero", "R and S zero", "bad-signature", &zero);
    let ones = envelope_of(&good, &payload, &[0xff; 64]);
    refuse("signature_ones", "R and S beyond the order", "bad-signature", &ones);
    let der = p256::ecdsa::Signature::from_slice(&valid).unwrap().to_der();
    let der = envelope_of(&good, &payload, der.as_bytes());
    refuse("signature_der", "DER in place of raw R and S (ENV-14)", "bad-signature", &der);
    let long = [&valid[..], &[0]].concat();
    refuse("signature_longer", "a byte after S", "bad-signature", &envelope_of(&good, &payload, &long));
    let by_other = signature(&LAWYER, &good, &payload);
    refuse("other_key", "signed by a key that is not the certificate's", "bad-signature", &envelope_of(&good, &payload, &by_other));
    let es384 = good.replace("ES256", "ES384");
    let swapped = envelope_of(&es384, &payload, &signature(&EXPERT, &es384, &payload));
    refuse("alg_swapped", "an algorithm that is not the key's (ENV-14)", "bad-signature", &swapped);
    for typ in ["basoche-head", "basoche-registry", "basoche-cosignature", "basoche-bundle", "basoche-refusal"] {
        let header = header(&EXPERT, typ);
        let bytes = envelope_of(&header, &payload, &signature(&EXPERT, &header, &payload));
        refuse(&format!("typ_{}", &typ[8..]), "signed as another kind of structure (ENV-6)", "wrong-typ", &bytes);
    }
    let ahead = good.replace(&ISSUED_AT.to_string(), &(ISSUED_AT + 361).to_string());
    let bytes = envelope_of(&ahead, &payload, &signature(&EXPERT, &ahead, &payload));
    refuse("claimed_ahead", "signed 301 s after the receipt (ENV-13)", "claimed-ahead", &bytes);

    let dire = |author: &Person| {
        let body = M(vec![
            (1, "number", U(1)),
            (2, "text", text("The crack is older than the works.")),
            (3, "recapitulative", Value::Bool(false)),
        ]);
        payload_of(context, author, body)
    };
    refuse("unknown_signer", "a certificate outside the registry", "unknown-signer", &envelope(&UNKNOWN, &dire(&UNKNOWN)));
    refuse("signer_invalid", "a revoked certificate", "signer-invalid", &envelope(&REVOKED, &dire(&REVOKED)));
    let comment = "the payload names another author (ENV-17)";
    refuse("author_mismatch", comment, "author-mismatch", &envelope(&LAWYER, &dire(&Person { subject: 0x15, ..LAWYER })));
    let comment = "a role that the registry does not attest (ENV-17)";
    refuse("role_not_held", comment, "role-not-held", &envelope(&LAWYER, &dire(&Person { role: 5, ..LAWYER })));

    let edge = good.replace(&ISSUED_AT.to_string(), &(ISSUED_AT + 360).to_string());
    let bytes = envelope_of(&edge, &payload, &signature(&EXPERT, &edge, &payload));
    let comment = "signed 300 s after the receipt: the last second that is accepted (ENV-13)";
    cases.accept("envelope/claimed_at_the_edge", comment, What::Envelope, Stage::Signature, &bytes);
    let rules = designation_with_rules(2);
    let comment = "rules that are not known (DOS-1)";
    cases.refuse("envelope/rules", comment, What::Envelope, Stage::Decide, "rules", &envelope(&JUDGE, &rules));
}

fn payload_of(context: &Context, author: &Person, body: Value) -> Vec<u8> {
    payload(7, author, Some(context.dossier), &[], body).encode()
}

fn designation_with_rules(rules: u64) -> Vec<u8> {
    let context = super::messages::context();
    let kinds = super::messages::kinds(&context);
    let mut payload = kinds[0].example(&context);
    *payload.field(9) = payload.field(9).clone().with(1, U(rules));
    payload.encode()
}

fn jws(context: &Context, cases: &mut Cases) {
    let payload = acceptance(context);
    let header = header(&EXPERT, "basoche-message");
    let signature = signature(&EXPERT, &header, &payload);
    let text = format!("{}.{}", signing_input(&header, &payload), b64url_encode(&signature));
    let comment = "the compact form of an accepted acceptance (ENV-2)";
    cases.accept("jws/acceptance", comment, What::Jws, Stage::Signature, text.as_bytes());
    let last = text.chars().last().unwrap();
    let trailing = if last == 'A' { 'B' } else { char::from(last as u8 + 1) };
    let attacks = [
        ("padding", "padding", format!("{text}==")),
        ("trailing_bits", "trailing bits that are not zero", format!("{}{trailing}", &text[..text.len() - 1])),
        ("line_end", "a line end", format!("{text}\n")),
        ("four_parts", "a fourth part", format!("{text}.AA")),
        ("two_parts", "no signature", signing_input(&header, &payload)),
        ("standard_alphabet", "a character of the standard alphabet", text.replacen("ey", "+y", 1)),
        ("lone_character", "a lone last character", format!("{text}AAA")),
    ];
    for (name, comment, text) in attacks {
        let comment = format!("{comment} (ENV-2)");
        cases.refuse(&format!("jws/{name}"), &comment, What::Jws, Stage::Decode, "wrong-shape", text.as_bytes());
    }
}

fn seals(context: &Context, cases: &mut Cases) {
    let (dossier, id) = (&context.dossier, &acceptance_id(context));
    let inner = envelope(&EXPERT, &acceptance(context));
    let good = sealed(dossier, id, &inner);
    cases.accept("sealed/acceptance", "opens under its epoch key", What::Sealed, Stage::Open, &good.encode());
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
        cases.refuse(&format!("sealed/{name}"), comment, What::Sealed, stage, code, bytes);
    };
    refuse("tag_flipped", "one bit of the tag (ENV-9)", Stage::Open, "not-openable", &flipped);
    refuse("epoch_changed", "the epoch is authenticated (ENV-9)", Stage::Open, "not-openable", &part(0, U(1)));
    refuse("class_changed", "the class is authenticated (ENV-9)", Stage::Open, "not-openable", &part(1, U(1)));
    refuse("salt_changed", "another salt (ENV-9)", Stage::Open, "not-openable", &part(2, bytes(&[0; 32])));
    refuse("no_tag", "fewer bytes than a tag", Stage::Open, "not-openable", &part(3, bytes(&[0; 15])));
    let other = sealed(&[0; 32], id, &inner).encode();
    refuse("other_dossier", "sealed for another dossier (ENV-9)", Stage::Open, "not-openable", &other);
    let other = sealed(dossier, id, &envelope(&EXPERT, &payload_value(context).with(8, bytes(&[0; 16])).encode()));
    refuse("other_message", "another message under the announced id (ENV-8)", Stage::Open, "id-mismatch", &other.encode());
    let rubbish = sealed(dossier, id, b"\x80");
    refuse("no_envelope", "an empty array under the seal", Stage::Open, "wrong-shape", &rubbish.encode());
    refuse("short_salt", "a salt of 31 bytes", Stage::Decode, "wrong-shape", &part(2, bytes(&[0; 31])));
    refuse("unknown_class", "class 2 (ENC-9)", Stage::Decode, "wrong-shape", &part(1, U(2)));
    let five = match good.clone() {
        A(parts) => A([&parts[..], &[U(0)]].concat()).encode(),
        _ => unreachable!(),
    };
    refuse("five_parts", "a fifth element", Stage::Decode, "wrong-shape", &five);
}

fn wraps(context: &Context, cases: &mut Cases) {
    let party = apv(&context.dossier, 0, &EXPERT_NODE.id());
    let good = wrap(&party, "");
    let comment = "written without a JOSE library; opens to the epoch key (KEY-3)";
    cases.accept("wrap/epoch_key", comment, What::Wrap, Stage::Wrap, good.as_bytes());
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
        ("tag_of_1", "a tag cut to 1 byte (josekit defect D)", forge(4, &tag[..1])),
        ("tag_of_12", "a tag cut to 12 bytes (josekit defect D)", forge(4, &tag[..12])),
        ("tag_empty", "no tag (josekit defect D)", forge(4, &[])),
        ("key_of_7", "an encrypted key of 7 bytes, on which josekit panics (defect F)", forge(1, &[0; 7])),
        ("key_empty", "no encrypted key (josekit defect F)", forge(1, &[])),
        ("crit", "crit, which josekit ignores (defect G)", wrap(&party, r#""crit":["x"],"x":1,"#)),
        ("zip", "zip, which josekit inflates without bound (defect H)", wrap(&party, r#""zip":"DEF","#)),
        ("apu", "apu (josekit defect I)", wrap(&party, r#""apu":"AA","#)),
        ("alg_twice", "alg twice", wrap(&party, r#""alg":"ECDH-ES","#)),
        ("kid", "a member that is not ours", wrap(&party, r#""kid":"k","#)),
        ("direct", "direct key agreement", with_header("ECDH-ES+A256KW", "ECDH-ES")),
        ("cbc", "CBC and HMAC (josekit defect E)", with_header("A256GCM", "A256CBC-HS512")),
        ("epk_off_curve", "an ephemeral key that is not on the curve", off_curve(&header, &forge)),
        ("epk_p384", "another curve", with_header("P-256", "P-384")),
        ("other_dossier", "wrapped for another dossier", wrap(&apv(&[0; 32], 0, &EXPERT_NODE.id()), "")),
        ("other_epoch", "wrapped for another epoch", wrap(&apv(&context.dossier, 1, &EXPERT_NODE.id()), "")),
        ("other_recipient", "wrapped for another node", wrap(&apv(&context.dossier, 0, &BAR_NODE.id()), "")),
        ("nonce_of_8", "a nonce of 8 bytes", forge(2, &[0; 8])),
        ("six_parts", "a sixth part", format!("{good}.AA")),
        ("padding", "base64url with padding", format!("{good}==")),
    ];
    for (name, comment, wrap) in attacks {
        let comment = format!("{comment} (KEY-4)");
        cases.refuse(&format!("wrap/{name}"), &comment, What::Wrap, Stage::Wrap, "not-openable", wrap.as_bytes());
    }
}

fn off_curve(header: &str, forge: &dyn Fn(usize, &[u8]) -> String) -> String {
    let start = header.find(r#""y":""#).unwrap() + 5;
    let forged = format!("{}{}{}", &header[..start], b64url_encode(&[1; 32]), &header[start + 43..]);
    forge(0, forged.as_bytes())
}

fn scanner(cases: &mut Cases) {
    let accepted = [
        ("zero", "00"),
        ("one_byte_head", "1818"),
        ("two_byte_head", "190100"),
        ("four_byte_head", "1a00010000"),
        ("eight_byte_head", "1b0000000100000000"),
        ("bytes", "43010203"),
        ("text", "63c3a974"),
        ("array", "83010203"),
        ("map", "a2000118ff02"),
        ("true", "f5"),
        ("nested", "a100a10080"),
    ];
    for (name, hex) in accepted {
        let bytes = hex_decode(hex).unwrap();
        cases.accept(&format!("canon/{name}"), "the canonical subset (4.2)", What::Cbor, Stage::Decode, &bytes);
    }
    let refused = [
        ("nothing", "", "truncated", "no item (ENC-1)"),
        ("long_zero", "1800", "not-canonical", "0 in two bytes (ENC-2)"),
        ("long_23", "1817", "not-canonical", "23 in two bytes (ENC-2)"),
        ("long_255", "1900ff", "not-canonical", "255 in three bytes (ENC-2)"),
        ("long_65535", "1a0000ffff", "not-canonical", "65 535 in five bytes (ENC-2)"),
        ("long_32_bits", "1b00000000ffffffff", "not-canonical", "2^32-1 in nine bytes (ENC-2)"),
        ("long_length", "5800", "not-canonical", "length 0 in two bytes (ENC-2)"),
        ("reserved", "1c", "not-canonical", "a reserved head"),
        ("indefinite_bytes", "5f4101ff", "not-canonical", "indefinite bytes (ENC-2)"),
        ("indefinite_text", "7f6161ff", "not-canonical", "indefinite text (ENC-2)"),
        ("indefinite_array", "9f01ff", "not-canonical", "an indefinite array (ENC-2)"),
        ("indefinite_map", "bf0001ff", "not-canonical", "an indefinite map (ENC-2)"),
        ("keys_descending", "a201000000", "not-canonical", "keys 1, 0 (ENC-3)"),
        ("key_twice", "a200010002", "not-canonical", "key 0 twice (ENC-3)"),
        ("text_key", "a1616101", "not-canonical", "a text key (ENC-3)"),
        ("bytes_key", "a1410101", "not-canonical", "a bytes key (ENC-3)"),
        ("negative", "20", "not-canonical", "-1 (ENC-4)"),
        ("tag", "c000", "not-canonical", "a tag (ENC-4)"),
        ("bignum", "c249010000000000000000", "not-canonical", "a bignum (ENC-4)"),
        ("null", "f6", "not-canonical", "null (ENC-4)"),
        ("undefined", "f7", "not-canonical", "undefined (ENC-4)"),
        ("simple", "f0", "not-canonical", "a simple value (ENC-4)"),
        ("long_simple", "f8ff", "not-canonical", "a long simple value (ENC-4)"),
        ("long_true", "f815", "not-canonical", "true in two bytes (ENC-4)"),
        ("half", "f97e00", "not-canonical", "a half float (ENC-4)"),
        ("single", "fa7fc00000", "not-canonical", "a single float (ENC-4)"),
        ("double", "fb7ff8000000000000", "not-canonical", "a double float (ENC-4)"),
        ("break", "ff", "not-canonical", "a break alone"),
        ("not_utf8", "61ff", "not-canonical", "text that is not UTF-8 (ENC-5)"),
        ("overlong_utf8", "62c080", "not-canonical", "overlong UTF-8 (ENC-5)"),
        ("surrogate", "63eda080", "not-canonical", "a surrogate in UTF-8 (ENC-5)"),
        ("two_items", "0000", "trailing-bytes", "two items (ENC-1)"),
        ("short_bytes", "4201", "truncated", "one byte of two (ENC-1)"),
        ("short_array", "8201", "truncated", "one item of two (ENC-1)"),
        ("short_map", "a100", "truncated", "a key without its value (ENC-1)"),
        ("huge_array", "9b7fffffffffffffff", "truncated", "2^63-1 items in nine bytes (ENC-1)"),
        ("huge_map", "bbffffffffffffffff", "truncated", "2^64-1 pairs in nine bytes (ENC-1)"),
        ("huge_bytes", "5bffffffffffffffff", "truncated", "2^64-1 bytes in nine (ENC-1)"),
        ("short_head", "19", "truncated", "a head that ends early (ENC-1)"),
    ];
    for (name, hex, code, comment) in refused {
        let bytes = hex_decode(hex).unwrap();
        cases.refuse(&format!("canon/{name}"), comment, What::Cbor, Stage::Decode, code, &bytes);
    }
    let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
    cases.accept("canon/depth_16", "16 arrays (ENC-6)", What::Cbor, Stage::Decode, &nested(16));
    cases.refuse("canon/depth_17", "17 arrays (ENC-6)", What::Cbor, Stage::Decode, "too-deep", &nested(17));
}

fn chain(node: &Person) -> Value {
    M(vec![(0, "node", bytes(&node.id())), (1, "incarnation", bytes(&[node.subject | 0x80; 16]))])
}

fn citation(node: &Person) -> Value {
    M(vec![(0, "chain", chain(node)), (1, "seq", U(4)), (2, "leaf", bytes(&sha256(&[b"leaf"])))])
}

fn epoch_wrap(context: &Context) -> Value {
    let jwe = wrap(&apv(&context.dossier, 0, &EXPERT_NODE.id()), "");
    M(vec![(0, "epoch", U(0)), (1, "recipient", bytes(&EXPERT_NODE.id())), (2, "jwe", text(&jwe))])
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
        (8, "sealed_digest", bytes(&sha256(&[&sealed(&context.dossier, &id, &inner).encode()]))),
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
    M(vec![(0, "origin", text(origin)), (1, "size", U(7)), (2, "root", bytes(&sha256(&[b"log"])))])
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

fn journal(context: &Context, cases: &mut Cases) {
    let first = entry(context);
    let leaf = bytes(&sha256(&[b"leaf"]));
    cases.accept("entry/first", "position 0, no option", What::Entry, Stage::Decode, &first.encode());
    let second = first.clone().with(2, U(1)).with(3, leaf.clone());
    let full = second.clone().with(4, A(vec![citation(&EXPERT_NODE), citation(&BAR_NODE)]));
    let full = full.with(9, A(vec![epoch_wrap(context)]));
    cases.accept("entry/later", "with citations and a wrap", What::Entry, Stage::Decode, &full.encode());
    let adopting = first.clone().with(10, citation(&COURT_NODE));
    cases.accept("entry/adopts", "the first of a later incarnation", What::Entry, Stage::Decode, &adopting.encode());
    let mut refuse = |name: &str, comment: &str, code: &str, value: &Value| {
        cases.refuse(&format!("entry/{name}"), comment, What::Entry, Stage::Decode, code, &value.encode());
    };
    refuse("prev_at_zero", "a first entry with prev (JRN-2)", "bad-value", &first.clone().with(3, leaf));
    refuse("no_prev", "a later entry without prev (JRN-2)", "bad-value", &first.clone().with(2, U(1)));
    let descending = A(vec![citation(&BAR_NODE), citation(&EXPERT_NODE)]);
    refuse("deps_descending", "citations not ascending (JRN-3)", "bad-value", &first.clone().with(4, descending));
    let own = A(vec![citation(&COURT_NODE)]);
    refuse("deps_own", "a citation of the own chain (JRN-3)", "bad-value", &first.clone().with(4, own));
    refuse("adopts_later", "adopts after position 0 (JRN-6)", "bad-value", &second.with(10, citation(&BAR_NODE)));
    let many = A((0..31).map(|_| M(vec![(0, "", U(0)), (1, "", bytes(&[0; 16])), (2, "", text("x"))])).collect());
    refuse("wraps_many", "31 wraps (JRN-9)", "bad-value", &first.clone().with(9, many));
    refuse("missing_field", "no message (ENC-10)", "wrong-shape", &first.clone().without(6));
    refuse("unknown_key", "key 11 (ENC-10)", "wrong-shape", &first.with(11, U(0)));

    let good = head(context);
    let accepted = signed_head(&COURT_NODE, &good.encode());
    cases.accept("head/first", "one row", What::Head, Stage::Signature, &accepted);
    let full = good.clone().with(5, A(vec![row(&COURT_NODE, 1), row(&EXPERT_NODE, 3), row(&BAR_NODE, u64::MAX)]));
    let full = full.with(6, A(vec![registry("a.example"), registry("b.example")]));
    let comment = "three rows and two registries";
    cases.accept("head/full", comment, What::Head, Stage::Signature, &signed_head(&COURT_NODE, &full.encode()));
    let mut refuse = |name: &str, comment: &str, stage, code: &str, signer: &Person, value: &Value| {
        let bytes = signed_head(signer, &value.encode());
        cases.refuse(&format!("head/{name}"), comment, What::Head, stage, code, &bytes);
    };
    let node = &COURT_NODE;
    refuse("version", "version 2", Stage::Payload, "version", node, &good.clone().with(0, U(2)));
    let rows = A(vec![row(&EXPERT_NODE, 1), row(&COURT_NODE, 1)]);
    refuse("rows_descending", "rows not ascending (JRN-4)", Stage::Payload, "bad-value", node, &good.clone().with(5, rows));
    let empty = A(vec![row(&COURT_NODE, 0)]);
    refuse("row_empty", "a row of no entries (JRN-4)", Stage::Payload, "bad-value", node, &good.clone().with(5, empty));
    let twice = A(vec![registry("a.example"), registry("a.example")]);
    refuse("registry_twice", "one log twice (REG-5)", Stage::Payload, "bad-value", node, &good.clone().with(6, twice));
    let many = A((10..27).map(|n| registry(&format!("{n}.example"))).collect());
    refuse("registries_many", "17 logs (REG-5)", Stage::Payload, "bad-value", node, &good.clone().with(6, many));
    refuse("unknown_key", "key 8 (ENC-10)", Stage::Payload, "wrong-shape", node, &good.clone().with(8, U(0)));
    refuse("missing_field", "no time (ENC-10)", Stage::Payload, "wrong-shape", node, &good.clone().without(7));
    let comment = "signed by another node (JRN-4)";
    refuse("other_node", comment, Stage::Signature, "author-mismatch", &BAR_NODE, &good);
    let person = good.clone().with(3, bytes(&JUDGE.id()));
    refuse("no_node", "signed by a person in her own name (JRN-4)", Stage::Signature, "role-not-held", &JUDGE, &person);
    let as_message = envelope(&COURT_NODE, &good.encode());
    let comment = "signed as a message (ENV-6)";
    cases.refuse("head/typ_message", comment, What::Head, Stage::Signature, "wrong-typ", &as_message);
}

fn frames(context: &Context, cases: &mut Cases) {
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
    let leaves = M(vec![(0, "origin", text("a.example")), (1, "from", U(7)), (2, "leaves", A(vec![leaf]))]);
    let frontier = M(vec![
        (0, "dossier", bytes(&context.dossier)),
        (1, "rows", A(vec![row(&COURT_NODE, 1)])),
        (2, "wraps", A(vec![epoch_wrap(context)])),
        (3, "head", bytes(&head)),
    ]);
    let inner = envelope(&EXPERT, &acceptance(context));
    let sealed = sealed(&context.dossier, &acceptance_id(context), &inner).encode();
    let item = M(vec![(0, "entry", bytes(&entry(context).encode())), (1, "sealed", bytes(&sealed))]);
    let run = M(vec![
        (0, "dossier", bytes(&context.dossier)),
        (1, "chain", chain(&COURT_NODE)),
        (2, "items", A(vec![item])),
        (3, "head", bytes(&head)),
    ]);
    let refusal = M(vec![(0, "code", U(105)), (1, "about", bytes(&[0; 32]))]);
    let contents = [
        (1, "hello", hello.encode()),
        (2, "registry_leaves", leaves.encode()),
        (3, "frontier", frontier.encode()),
        (3, "frontier_without_head", frontier.clone().without(3).encode()),
        (4, "run", run.encode()),
        (5, "head", bytes(&head).encode()),
        (6, "refusal", refusal.encode()),
    ];
    for (kind, name, content) in &contents {
        let comment = format!("kind {kind} (10.2)");
        cases.accept(&format!("frame/{name}"), &comment, What::Frame, Stage::Decode, &frame(*kind, content));
    }
    let mut refuse = |name: &str, comment: &str, code: &str, bytes: &[u8]| {
        cases.refuse(&format!("frame/{name}"), comment, What::Frame, Stage::Decode, code, bytes);
    };
    refuse("unknown_kind", "kind 7 (SYN-2)", "unknown-type", &frame(7, &contents[0].2));
    refuse("kind_zero", "kind 0 (SYN-2)", "unknown-type", &frame(0, &contents[0].2));
    refuse("other_content", "a hello's content as a run", "wrong-shape", &frame(4, &contents[0].2));
    refuse("content_trailing", "a byte after the content", "trailing-bytes", &frame(6, &[&contents[6].2[..], &[0]].concat()));
    refuse("content_not_canonical", "a content that is not canonical", "not-canonical", &frame(6, &[0xbf, 0xff]));
    refuse("three_parts", "a third element", "wrong-shape", &A(vec![U(6), bytes(&contents[6].2), U(0)]).encode());
    let unwrapped = A(vec![U(6), refusal.clone()]).encode();
    refuse("content_not_wrapped", "the content is no byte string", "wrong-shape", &unwrapped);
    let missing = frame(6, &refusal.without(1).encode());
    refuse("missing_field", "a refusal that names no frame", "wrong-shape", &missing);
}
