//! Header attacks: the ways in which JOSE libraries have been led astray. SPEC §5.2.

use basoche_conformance::vector::{Stage, What};
use basoche_protocol::text::b64url_encode;

use super::{Cases, acceptance};
use crate::messages::Context;
use crate::world::{EXPERT, ISSUED_AT, envelope_of, header, signature};

pub(super) fn headers(context: &Context, cases: &mut Cases) {
    let payload = acceptance(context);
    let good = header(&EXPERT, "basoche-message");
    let cty = r#""cty":"cbor","#;
    let iat = ISSUED_AT.to_string();
    let with = |member: &str| format!("{member}{cty}");
    let attacks = [
        ("alg_none", "alg none", "ES256".into(), "none".into()),
        (
            "alg_hs256",
            "a symmetric algorithm",
            "ES256".into(),
            "HS256".into(),
        ),
        (
            "alg_eddsa",
            "an algorithm outside the table (ENV-14)",
            "ES256".into(),
            "EdDSA".into(),
        ),
        (
            "alg_case",
            "an algorithm in small letters",
            "ES256".into(),
            "es256".into(),
        ),
        (
            "alg_twice",
            "alg twice",
            r#"{"alg""#.into(),
            r#"{"alg":"ES256","alg""#.into(),
        ),
        ("alg_missing", "no alg", r#""alg":"ES256","#.into(), String::new()),
        (
            "crit",
            "crit (josekit defects A and G)",
            cty.into(),
            with(r#""crit":["x"],"x":1,"#),
        ),
        (
            "critical",
            "critical, which josekit reads for crit (defect A)",
            cty.into(),
            with(r#""critical":["x"],"#),
        ),
        (
            "b64",
            "b64 false (josekit defect B)",
            cty.into(),
            with(r#""b64":false,"crit":["b64"],"#),
        ),
        ("jwk", "an embedded key", cty.into(), with(r#""jwk":{},"#)),
        (
            "jku",
            "a key by address",
            cty.into(),
            with(r#""jku":"https://example.org","#),
        ),
        (
            "x5u",
            "a certificate by address",
            cty.into(),
            with(r#""x5u":"https://example.org","#),
        ),
        (
            "x5c",
            "an embedded certificate",
            cty.into(),
            with(r#""x5c":["AA"],"#),
        ),
        ("kid", "kid (josekit defect K)", cty.into(), with(r#""kid":"k","#)),
        (
            "zip",
            "zip (josekit defect H)",
            cty.into(),
            with(r#""zip":"DEF","#),
        ),
        (
            "sig_t",
            "sigT, which the profile forbids",
            cty.into(),
            with(r#""sigT":"2026-11-22T00:00:00Z","#),
        ),
        ("no_cty", "no cty", cty.into(), String::new()),
        (
            "order",
            "another order of the members",
            r#"{"alg":"ES256","cty":"cbor","#.into(),
            r#"{"cty":"cbor","alg":"ES256","#.into(),
        ),
        ("white_space", "a space after a comma", ",".into(), ", ".into()),
        (
            "iat_zero",
            "iat with a leading zero",
            iat.clone(),
            format!("0{iat}"),
        ),
        ("iat_sign", "iat with a sign", iat.clone(), format!("+{iat}")),
        (
            "iat_fraction",
            "iat with a fraction",
            iat.clone(),
            format!("{iat}.0"),
        ),
        ("iat_text", "iat as a string", iat.clone(), format!("\"{iat}\"")),
        ("iat_huge", "iat of 2^40", iat, (1_u64 << 40).to_string()),
        (
            "typ",
            "a typ that is not ours",
            "basoche-message".into(),
            "JWT".into(),
        ),
        (
            "x5t_padding",
            "x5t#S256 with padding",
            "\"}".into(),
            "=\"}".into(),
        ),
        (
            "x5t_short",
            "x5t#S256 of 31 bytes",
            b64url_encode(&EXPERT.certificate()),
            b64url_encode(&[0; 31]),
        ),
        (
            "x5t_sha1",
            "x5t in place of x5t#S256",
            "x5t#S256".into(),
            "x5t".into(),
        ),
        (
            "escape",
            "a member's name with an escape",
            r#""alg""#.into(),
            r#""\u0061lg""#.into(),
        ),
    ];
    let mut refuse = |name: &str, comment: &str, header: &str| {
        let bytes = envelope_of(header, &payload, &signature(&EXPERT, header, &payload));
        let name = format!("envelope/header_{name}");
        cases.refuse(
            &name,
            &format!("{comment} (ENV-6)"),
            What::Envelope,
            Stage::Header,
            "bad-header",
            &bytes,
        );
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
    refuse(
        "x5t_trailing_bits",
        "x5t#S256 with trailing bits",
        &good.replace(&certificate, &trailing),
    );
}
