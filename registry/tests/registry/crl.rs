//! What a revocation list says beside a log: attack 30, a card that its certificate authority has withdrawn and the log has not.

use basoche_protocol::id::CertificateId;
use basoche_protocol::role::Role;
use basoche_protocol::time::{Instant, Span};
use basoche_registry::crl::{CRL_BYTES, Listed};
use basoche_registry::entry::{CertificateAuthority, Enrolment, Reason, Suspension};
use basoche_registry::{Content, Crl, CrlError};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::kit::{BAR, COURT, Federation, Key, day, enrolment, revocation};

const CA: u8 = 90;
/// 2026-06-10 and 2026-06-20.
const MADE: u64 = 9;
const NEXT: u64 = 19;

fn list(entries: &[(&Key, Option<RevocationReason>, Option<u8>)]) -> CertificateRevocationListParams {
    let revoked = entries.iter().map(|(key, reason, since)| RevokedCertParams {
        serial_number: SerialNumber::from(key.certificate.serial()),
        revocation_time: date_time_ymd(2026, 6, 8),
        reason_code: *reason,
        invalidity_date: since.map(|day| date_time_ymd(2026, 6, day)),
    });
    CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 6, 10),
        next_update: date_time_ymd(2026, 6, 20),
        crl_number: SerialNumber::from(7),
        issuing_distribution_point: Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint {
                uris: vec!["http://ca.example/list.crl".into()],
            },
            scope: Some(CrlScope::UserCertsOnly),
        }),
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

fn lawyer(key: &Key, ca: Option<&Key>) -> Enrolment {
    Enrolment {
        issuer: ca.map(|ca| ca.certificate.id()),
        ..enrolment(key, Role::Lawyer, 22)
    }
}

/// The kit's federation, in which the bar believes a certificate authority and has enrolled four persons with its certificates
/// and one with its own: keys 50 to 54.
fn federation() -> (Federation, [Key; 5]) {
    let mut federation = Federation::founded();
    let ca = Key::ca(CA);
    let believed = CertificateAuthority {
        key: ca.record(),
        until: day(1000),
    };
    federation.add(BAR, Some(CA), believed, ca.der()).unwrap();
    let keys = [50, 51, 52, 53].map(|seed| Key::of_ca(seed, CA));
    for (key, n) in keys.iter().zip(50..) {
        federation
            .add(BAR, Some(n), lawyer(key, Some(&ca)), key.der())
            .unwrap();
    }
    let own = Key::new(54);
    federation
        .add(BAR, Some(54), lawyer(&own, None), own.der())
        .unwrap();
    let [a, b, c, d] = keys;
    (federation, [a, b, c, d, own])
}

fn read(federation: &Federation, der: &[u8], at: Instant) -> Result<Crl, CrlError> {
    Crl::read(der, &federation.replica, BAR, at)
}

#[test]
fn what_the_log_lacks_is_found_and_what_it_needs_not_is_counted() {
    let (mut federation, [stolen, left, known, held, own]) = federation();
    federation
        .add(BAR, Some(52), revocation(&known, None), &[])
        .unwrap();
    let stranger = Key::of_ca(60, CA);
    let der = Key::crl(
        CA,
        list(&[
            (&stolen, Some(RevocationReason::KeyCompromise), Some(3)),
            (&left, Some(RevocationReason::PrivilegeWithdrawn), None),
            (&known, None, None),
            (&held, Some(RevocationReason::CertificateHold), None),
            (&stranger, Some(RevocationReason::Superseded), None),
            // A serial number of another authority's certificate is another certificate's.
            (&own, None, None),
        ]),
    );
    let crl = read(&federation, &der, day(MADE)).unwrap();
    assert_eq!(
        (crl.issuer, crl.len(), crl.is_empty()),
        (Key::ca(CA).certificate.id(), 6, false)
    );
    assert_eq!((crl.this_update, crl.next_update), (day(MADE), Some(day(NEXT))));
    assert!(!crl.is_stale(day(NEXT)) && crl.is_stale(day(NEXT) + Span::from_ms(1)));
    let found = crl.beside(&federation.replica);
    let mut said: Vec<_> = found
        .missing
        .iter()
        .map(|one| (one.certificate, one.listed))
        .collect();
    let listed = |since, reason| Listed { since, reason };
    let mut expected: Vec<(CertificateId, Listed)> = vec![
        (
            stolen.certificate.id(),
            listed(day(2), Some(Reason::KeyCompromise)),
        ),
        (left.certificate.id(), listed(day(7), Some(Reason::RoleEnded))),
        (held.certificate.id(), listed(day(7), None)),
    ];
    expected.sort_by_key(|(certificate, _)| *certificate);
    said.sort_by_key(|(certificate, _)| *certificate);
    assert_eq!(said, expected);
    assert_eq!((found.agreed, found.strangers), (1, 2));
    assert_eq!(found.unlisted, []);

    // What is entered is found no more; who is on hold is suspended.
    for missing in &found.missing {
        let content: Content = match missing.revocation(day(MADE)) {
            Some(revocation) => revocation.into(),
            None => Suspension { decision: None }.into(),
        };
        let mut entry = federation.next(BAR, None, content);
        entry.subject = Some(missing.subject);
        entry.prev = federation.replica.last_entry(&missing.subject);
        (entry.issued_at, entry.effective_at) = (day(MADE), day(MADE));
        assert_eq!(federation.enter(BAR, &entry, &[]), Ok(true));
    }
    let again = crl.beside(&federation.replica);
    assert_eq!((again.missing.len(), again.agreed, again.strangers), (0, 4, 2));
    // What the log withdrew by itself shows too.
    let empty = Key::crl(CA, list(&[]));
    let crl = read(&federation, &empty, day(MADE)).unwrap();
    let found = crl.beside(&federation.replica);
    assert_eq!((found.missing.len(), found.unlisted.len()), (0, 3));
}

#[test]
fn what_was_signed_since_the_withdrawal_is_contested_and_nothing_before() {
    let (mut federation, [stolen, ..]) = federation();
    let der = Key::crl(
        CA,
        list(&[(&stolen, Some(RevocationReason::KeyCompromise), Some(3))]),
    );
    let crl = read(&federation, &der, day(MADE)).unwrap();
    let missing = crl.beside(&federation.replica).missing.remove(0);
    let content = missing.revocation(day(MADE)).unwrap();
    assert_eq!(content.invalid_since, Some(day(2)));
    // A date that is not past says nothing.
    assert_eq!(missing.revocation(day(1)).unwrap().invalid_since, None);
    federation.add_on((MADE, MADE), 50, content, &[]);
    let worth = |n| crate::status::letter(&federation.replica, &stolen.certificate.id(), day(n));
    assert_eq!([1, 2, 8, 9].map(worth), ['V', 'C', 'C', 'I']);
}

#[test]
fn nothing_is_learnt_from_a_list_that_is_not_whole_or_not_signed_by_who_is_stated() {
    let (federation, [stolen, ..]) = federation();
    let made = || list(&[(&stolen, None, None)]);
    let good = Key::crl(CA, made());
    assert!(read(&federation, &good, day(MADE)).is_ok());
    let unknown = |origin: &str| {
        Err(CrlError::Unknown {
            origin: origin.to_owned(),
        })
    };
    // Another authority's, one that this log does not state, one whose bytes were changed.
    assert_eq!(read(&federation, &Key::crl(91, made()), day(MADE)), unknown(BAR));
    assert_eq!(
        Crl::read(&good, &federation.replica, COURT, day(MADE)),
        unknown(COURT)
    );
    let mut changed = good.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(read(&federation, &changed, day(MADE)), unknown(BAR));
    let mut cut = good.clone();
    cut.truncate(cut.len() - 8);
    assert_eq!(read(&federation, &cut, day(MADE)), Err(CrlError::NotDer));

    let this_update = day(MADE);
    let now = this_update - Span::from_ms(1);
    assert_eq!(
        read(&federation, &good, now),
        Err(CrlError::Future { this_update, now })
    );
    // onlyContainsUserCerts becomes indirectCRL; the number of the list becomes that of the whole list to which this is a delta.
    for (from, to) in [
        (&[0x81, 1, 0xff][..], &[0x84, 1, 0xff][..]),
        (&[0x06, 3, 0x55, 0x1d, 20], &[0x06, 3, 0x55, 0x1d, 27]),
    ] {
        let mut other = good.clone();
        let place = other.windows(from.len()).position(|part| part == from).unwrap();
        other[place..place + from.len()].copy_from_slice(to);
        assert_eq!(
            read(&federation, &other, day(MADE)),
            Err(CrlError::Critical),
            "{to:?}"
        );
    }
    let trailing = [&good[..], &[0]].concat();
    let cases: [(&[u8], CrlError); 5] = [
        (&[], CrlError::NotDer),
        (b"-----BEGIN CERTIFICATE-----", CrlError::NotDer),
        (stolen.der(), CrlError::NotDer),
        (&trailing, CrlError::NotDer),
        (&vec![0; CRL_BYTES + 1], CrlError::TooLarge),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read(&federation, bytes, day(MADE)), Err(expected));
    }
}
