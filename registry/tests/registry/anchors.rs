//! The anchor file and its errors.

use basoche_protocol::crypto::Ed25519Key;
use basoche_protocol::role::OrganisationKind;
use basoche_protocol::text::b64url_encode;
use basoche_registry::log::{Key as LogKey, KeyKind};
use basoche_registry::{AnchorError, Anchors, Authority, CertificateError};

use crate::kit::{BAR, COMPANY, COURT, Key, anchors, authority, root};

fn file(rows: &str) -> String {
    format!(r#"{{"v":1,"authorities":[{rows}]}}"#)
}

fn row(origin: &str, certificate: &[u8]) -> String {
    let certificate = b64url_encode(certificate);
    format!(r#"{{"origin":"{origin}","profession":"bar","certificate":"{certificate}","test":true}}"#)
}

fn error(json: &str) -> AnchorError {
    Anchors::parse(json.as_bytes()).unwrap_err()
}

#[test]
fn the_file_is_read_and_written() {
    let json = anchors().to_json();
    let read = Anchors::parse(json.as_bytes()).unwrap();
    assert_eq!(read.to_json(), json);
    let origins: Vec<_> = read.authorities().iter().map(Authority::origin).collect();
    assert_eq!(origins, [BAR, COMPANY, COURT]);
    let court = read.authority(COURT).unwrap();
    assert_eq!(court.profession(), OrganisationKind::Court);
    assert_eq!(court.roots()[0].certificate.der(), root(COURT).der());
    assert!(court.is_test() && read.authority("else.example").is_none());

    let read = Anchors::parse(file(&row(BAR, root(BAR).der())).as_bytes()).unwrap();
    assert_eq!(read.authorities()[0].profession(), OrganisationKind::Bar);
}

#[test]
fn anything_else_in_the_file_is_refused_with_its_place() {
    let good = file(&row(BAR, root(BAR).der()));
    for (from, to) in [
        ("\"v\":1", "\"v\":1,\"w\":1"),
        ("\"test\":true", "\"test\":true,\"note\":\"\""),
        ("\"test\":true", "\"test\":true,\"test\":true"),
        (",\"test\":true", ""),
        ("true", "1"),
        ("\"bar\"", "\"notary\""),
        ("\"bar\"", "2"),
        ("]}", "]} x"),
        ("\"v\":1", "\"v\":-1"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(matches!(error(&bad), AnchorError::Json { line: 1, .. }), "{bad}");
    }
    assert!(Anchors::parse(&[0xff]).is_err());
    assert_eq!(
        error(&good.replacen("\"v\":1", "\"v\":2", 1)),
        AnchorError::Version(2)
    );
    assert_eq!(error(&" ".repeat(256 * 1024 + 1)), AnchorError::TooLarge);
}

#[test]
fn authorities_are_counted_and_named() {
    assert_eq!(error(&file("")), AnchorError::Count(0));
    let rows: Vec<_> = (0..17)
        .map(|n| row(&format!("log-{n}.example"), root(BAR).der()))
        .collect();
    assert_eq!(error(&file(&rows.join(","))), AnchorError::Count(17));
    let twice = [row(BAR, root(BAR).der()), row(BAR, root(COURT).der())].join(",");
    let origin = BAR.to_owned();
    assert_eq!(error(&file(&twice)), AnchorError::DuplicateOrigin { origin });
    for origin in ["", "Bars.example", "bars example", "bar\u{e9}", &"a".repeat(129)] {
        let expected = AnchorError::Origin {
            origin: origin.to_owned(),
        };
        assert_eq!(error(&file(&row(origin, root(BAR).der()))), expected);
    }
}

#[test]
fn a_root_is_a_self_signed_es256_certificate() {
    let origin = || BAR.to_owned();
    let bad = |der: &[u8]| Authority::new(BAR, OrganisationKind::Bar, der, true).unwrap_err();
    let not_der = AnchorError::Certificate {
        origin: origin(),
        error: CertificateError::NotDer,
    };
    assert_eq!(bad(b"no certificate"), not_der);
    assert_eq!(
        bad(Key::issued_by(50, 60).der()),
        AnchorError::NotARoot { origin: origin() }
    );

    // The last byte belongs to the signature.
    let mut forged = root(BAR).der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(bad(&forged), AnchorError::NotARoot { origin: origin() });

    let padded = file(&row(BAR, root(BAR).der())).replacen("\",\"test\"", "=\",\"test\"", 1);
    assert_eq!(error(&padded), AnchorError::Base64 { origin: origin() });
    assert_eq!(authority(BAR).roots()[0].key.spki(), root(BAR).certificate.spki());
}

#[test]
fn the_key_of_a_log_is_of_that_log() {
    let key = |name: &str, kind| LogKey::new(name, kind, Ed25519Key::new(&[1; 32]).public()).unwrap();
    let wrong = AnchorError::LogKey {
        origin: BAR.to_owned(),
    };
    let with = authority(BAR).with_log_key(key(BAR, KeyKind::Log)).unwrap();
    let anchors = Anchors::new(vec![with, authority(COURT)]).unwrap();
    let json = anchors.to_json();
    let read = Anchors::parse(json.as_bytes()).unwrap();
    assert_eq!(read.to_json(), json);
    assert_eq!(
        read.authority(BAR).unwrap().log_key(),
        Some(&key(BAR, KeyKind::Log))
    );
    assert_eq!(read.authority(COURT).unwrap().log_key(), None);
    for (name, kind) in [(COURT, KeyKind::Log), (BAR, KeyKind::Cosigner)] {
        let refused = authority(BAR).with_log_key(key(name, kind));
        assert_eq!(refused.err(), Some(wrong.clone()));
        let other = json.replace(&key(BAR, KeyKind::Log).to_string(), &key(name, kind).to_string());
        assert_eq!(Anchors::parse(other.as_bytes()).err(), Some(wrong.clone()));
    }
    let spoilt = json.replace("+", "-");
    assert_eq!(Anchors::parse(spoilt.as_bytes()).err(), Some(wrong));
}
