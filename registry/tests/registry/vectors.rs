//! The encodings, fixed by their bytes. SPEC §9.2 and §9.5.

use basoche_protocol::engine::Registry;
use basoche_protocol::envelope::Typ;
use basoche_protocol::error::MalformedKind;
use basoche_protocol::id::{CertificateId, Digest, MessageId, Salt, SubjectId};
use basoche_protocol::jose::Algorithm;
use basoche_protocol::role::{Assurance, OrganisationKind, Role};
use basoche_protocol::text::{hex_decode, hex_encode};
use basoche_protocol::time::{Instant, Span};
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_registry::entry::{
    Attribute, CertificateAuthority, Competence, Continuation, Delegated, Delegation, Endpoint, Enrolment,
    Genesis, Gossip, IdentityProof, KeyRecord, Lifting, Node, Officer, Organisation, PolicyChange,
    Publication, Reason, Reassociation, Renewal, Retirement, Revocation, Roots, StateRoot, Suspension, Veto,
};
use basoche_registry::leaf::{Capacity, CoSignature, agreement, possession, request};
use basoche_registry::{Anchors, Authority, Content, Entry, EntryFile, Leaf, Replica, leaf, log};
use serde_bytes::ByteBuf;

use crate::kit::{self, Key, day};
use crate::log::kit::Holder;

/// A self-signed certificate of the key whose secret scalar is `02` thirty-two times.
const ROOT: &str = concat!(
    "308201403081e8a00302010202147e00ab0f341901f863a49160cf554588d6928282300a06082a8648ce3d0403023021311f301d06035504",
    "030c16726367656e2073656c66207369676e65642063657274301e170d3235303130313030303030305a170d333530313031303030303030",
    "5a3021311f301d06035504030c16726367656e2073656c66207369676e656420636572743059301306072a8648ce3d020106082a8648ce3d",
    "03010703420004550f471003f3df97c3df506ac797f6721fb1a1fb7b8f6f83d224498a65c88e24136093d7012e509a73715cbd0b00a3cc0f",
    "f4b5c01b3ffa196ab1fb327036b8e6300a06082a8648ce3d040302034700304402202b2fdfd7487e8abfbcb3328977d187f0c8872a6001fe",
    "c185cb95410e8d9909f2022062bb523051b4ffd826d8a592a14c89b42df1a91af5def5aa3d35d8a3e76a29a6",
);

/// DER SubjectPublicKeyInfo of a point on P-256.
const ENCRYPTION_SPKI: &str = concat!(
    "3059301306072a8648ce3d020106082a8648ce3d030107034200046ff03b949241ce1dadd43519e6960e0a85b41a69a05c328103aa2bce15",
    "94ca163c4f753a55bf01dc53f6c0b0c7eee78b40c6ff7d25a96e2282b989cef71c144a",
);

/// The verifier key of a log whose public key is `07` thirty-two times.
const LOG: &str = "log.example+0463ec37+AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

fn entry(index: u64, prev: Option<u64>, content: impl Into<Content>) -> Entry {
    let content = content.into();
    Entry {
        origin: "a.example".to_owned(),
        index,
        subject: (index > 0).then_some(SubjectId::new([0x11; 16])),
        prev,
        issued_at: day(0),
        effective_at: day(0) + Span::from_ms(1),
        salt: Salt::new([0x22; 16]),
        content,
    }
}

fn record() -> KeyRecord {
    KeyRecord {
        certificate: CertificateId::new([0x33; 32]),
        spki_sha256: Digest::new([0x44; 32]),
        algorithm: Algorithm::Es256,
    }
}

/// The entry encodes to these fragments of hexadecimal, and back.
fn assert_bytes(entry: &Entry, fragments: &[&str]) {
    let hex = fragments.concat();
    assert_eq!(hex_encode(&entry.encode()), hex);
    assert_eq!(Entry::decode(&hex_decode(&hex).unwrap()).as_ref(), Ok(entry));
}

const SUBJECT: &str = "5011111111111111111111111111111111";
const SALT: &str = "5022222222222222222222222222222222";
const ISSUED_AT: &str = "1b0000019e807aec00";
const EFFECTIVE_AT: &str = "1b0000019e807aec01";
const ORIGIN: &str = "69612e6578616d706c65"; // "a.example"

/// `[x5t#S256, SPKI SHA-256, algorithm]` as a map of three.
fn record_hex() -> String {
    let certificate = format!("005820{}", "33".repeat(32)); // 0 certificate
    let spki = format!("015820{}", "44".repeat(32)); // 1 spki_sha256
    ["a3", &certificate, &spki, "0201"].concat() // 2 algorithm: ES256
}

#[test]
fn genesis() {
    let genesis = Genesis {
        profession: OrganisationKind::Bar,
        test: true,
        roots: None,
        policy: None,
    };
    assert_bytes(
        &entry(0, None, genesis),
        &[
            "a8",   // map of eight
            "0001", // 0 v
            "01",
            ORIGIN, // 1 origin
            "0200", // 2 index
            "0300", // 3 kind: genesis; no subject (4), no prev (5)
            "06",
            ISSUED_AT, // 6 issued_at
            "07",
            EFFECTIVE_AT, // 7 effective_at
            "08",
            SALT,   // 8 salt
            "0945", // 9 content, five bytes
            "a2",   // map of two
            "0002", // 0 profession: bar
            "01f5", // 1 test
        ],
    );
}

#[test]
fn organisation() {
    let organisation = Organisation {
        kind: OrganisationKind::Bar,
        identifier: "123".to_owned(),
        name: "Bar".to_owned(),
        admin: None,
    };
    assert_bytes(
        &entry(1, None, organisation),
        &[
            "a9",
            "0001",
            "01",
            ORIGIN,
            "0201",
            "0301", // 3 kind: organisation
            "04",
            SUBJECT, // 4 subject; no prev (5)
            "06",
            ISSUED_AT,
            "07",
            EFFECTIVE_AT,
            "08",
            SALT,
            "094d",       // thirteen bytes
            "a3",         // map of three
            "0002",       // 0 kind: bar
            "0163313233", // 1 identifier
            "0263426172", // 2 name
        ],
    );
}

#[test]
fn node() {
    let node = Node {
        organisation: SubjectId::new([0x55; 16]),
        seal: record(),
        encryption_spki: hex_decode(ENCRYPTION_SPKI).unwrap(),
        tls_spki_sha256: Digest::new([0x66; 32]),
        addresses: vec!["[::1]:1".to_owned()],
        gossip: None,
    };
    assert_bytes(
        &entry(2, None, node),
        &[
            "a9",
            "0001",
            "01",
            ORIGIN,
            "0202",
            "0302", // 3 kind: node
            "04",
            SUBJECT,
            "06",
            ISSUED_AT,
            "07",
            EFFECTIVE_AT,
            "08",
            SALT,
            "0958e8", // 232 bytes
            "a5",     // map of five
            "0050",
            "55555555555555555555555555555555", // 0 organisation
            "01",
            &record_hex(), // 1 seal
            "02585b",
            ENCRYPTION_SPKI, // 2 encryption_spki
            "035820",
            &"66".repeat(32),       // 3 tls_spki_sha256
            "0481675b3a3a315d3a31", // 4 addresses: one
        ],
    );
}

#[test]
fn enrolment() {
    let mut enrolment = Enrolment {
        key: record(),
        roles: vec![Role::Lawyer, Role::Party],
        node: SubjectId::new([0x55; 16]),
        assurance: Assurance::Software,
        commitment: None,
        encryption_spki: None,
        issuer: None,
    };
    let tail = [
        "0182",
        "04",
        "05",
        "0250",
        "55555555555555555555555555555555",
        "0302",
    ];
    assert_bytes(
        &entry(3, Some(2), enrolment.clone()),
        &[
            "aa",
            "0001",
            "01",
            ORIGIN,
            "0203",
            "0303", // 3 kind: enrolment
            "04",
            SUBJECT,
            "0502", // 5 prev
            "06",
            ISSUED_AT,
            "07",
            EFFECTIVE_AT,
            "08",
            SALT,
            "095863", // 99 bytes
            "a4",     // map of four
            "00",
            &record_hex(),  // 0 key
            &tail.concat(), // 1 roles: lawyer, party; 2 node; 3 assurance: software
        ],
    );
    let mut reader = enrolment.clone();
    reader.encryption_spki = Some(hex_decode(ENCRYPTION_SPKI).unwrap().into());
    assert_bytes(
        &entry(3, Some(2), reader),
        &[
            "aa",
            "0001",
            "01",
            ORIGIN,
            "0203",
            "0303",
            "04",
            SUBJECT,
            "0502",
            "06",
            ISSUED_AT,
            "07",
            EFFECTIVE_AT,
            "08",
            SALT,
            "0958c1", // 193 bytes
            "a5",     // map of five; no commitment (4)
            "00",
            &record_hex(),
            &tail.concat(),
            "05585b",
            ENCRYPTION_SPKI, // 5 encryption_spki
        ],
    );
    enrolment.commitment = Some(Digest::new([0x77; 32]));
    assert_bytes(
        &entry(3, Some(2), enrolment),
        &[
            "aa",
            "0001",
            "01",
            ORIGIN,
            "0203",
            "0303",
            "04",
            SUBJECT,
            "0502",
            "06",
            ISSUED_AT,
            "07",
            EFFECTIVE_AT,
            "08",
            SALT,
            "095886", // 134 bytes
            "a5",     // map of five
            "00",
            &record_hex(),
            &tail.concat(),
            "045820",
            &"77".repeat(32), // 4 commitment
        ],
    );
}

#[test]
fn revocation() {
    let revocation = Revocation {
        certificate: CertificateId::new([0x33; 32]),
        invalid_since: Some(day(0)),
        reason: Reason::RoleEnded,
    };
    assert_bytes(
        &entry(4, Some(3), revocation),
        &[
            "aa",
            "0001",
            "01",
            ORIGIN,
            "0204",
            "0304", // 3 kind: revocation
            "04",
            SUBJECT,
            "0503",
            "06",
            ISSUED_AT,
            "07",
            EFFECTIVE_AT,
            "08",
            SALT,
            "095830", // 48 bytes
            "a3",     // map of three
            "005820",
            &"33".repeat(32), // 0 certificate
            "01",
            ISSUED_AT, // 1 invalid_since
            "0204",    // 2 reason: role-ended
        ],
    );
}

/// The signature is that of RFC 6979, so the whole leaf and the root of its log are fixed.
#[test]
fn a_leaf_and_its_log() {
    let certificate = hex_decode(ROOT).unwrap();
    let root = Key::with_certificate(2, &certificate);
    let genesis = Genesis {
        profession: OrganisationKind::Bar,
        test: true,
        roots: None,
        policy: None,
    };
    let entry = entry(0, None, genesis);
    let protected = concat!(
        r#"{"alg":"ES256","cty":"cbor","iat":1780272000,"typ":"basoche-registry","#,
        r#""x5t#S256":"95bd8hM2iRVj494-wZk7tQuDrt_zbocMxEU8PDkUK5E"}"#
    );
    let hex = [
        "82",     // array of two
        "590105", // the envelope, 261 bytes
        "83",     // array of three
        "587f",   // protected header, 127 bytes
        &hex_encode(protected.as_bytes()),
        "583f", // payload, 63 bytes: the genesis, as above
        &hex_encode(&entry.encode()),
        "5840", // signature, R and S
        "93fcbdb41a0734813c96619f0d17f29ab03b1e0bd0e29b92b31cde52a6059eee",
        "6e91668eec8cc9aad2e2c1a93d7435cc11618708264d025a3a3ab596719d369a",
        "80", // no co-signature
    ]
    .concat();
    let leaf = Leaf::new(kit::sign(&entry, Typ::Registry, &root), vec![]).unwrap();
    assert_eq!(hex_encode(&leaf.encode()), hex);
    assert_eq!(Leaf::decode(&leaf.encode()), Ok(leaf.clone()));
    let hash = "2d0b7ba964e27403071b1ab1de0382c3e56f6179ebb4a412febc285da5bbfe80";
    assert_eq!(leaf::hash(&leaf.encode()).to_hex(), hash);

    let authority = Authority::new("a.example", OrganisationKind::Bar, &certificate, true).unwrap();
    let mut replica = Replica::new(Anchors::new(vec![authority]).unwrap());
    let leaf = RegistryLeaf {
        leaf: ByteBuf::from(leaf.encode()),
        certificate: ByteBuf::new(),
    };
    assert_eq!(replica.admit("a.example", 0, &leaf), Ok(true));
    // A tree of one leaf has the leaf's hash as its root.
    assert_eq!(replica.heads()[0].root.to_hex(), hash);
}

#[test]
fn a_cosignatures_statement() {
    let key = Key::new(1);
    for (capacity, number) in [(Capacity::Possession, "01"), (Capacity::SecondOfficer, "02")] {
        let unsigned = CoSignature::draft(&key, MessageId::new([0x33; 32]), capacity, day(0));
        let envelope = unsigned.sign(&key).unwrap();
        let target = "33".repeat(32);
        // Map of two: 0 target, 1 capacity.
        assert_eq!(
            hex_encode(envelope.payload()),
            format!("a2005820{target}01{number}")
        );
        assert_eq!(envelope.header().typ, Typ::CoSignature);
    }
}

#[test]
fn an_entry_file() {
    let file = EntryFile {
        origin: "a.example".to_owned(),
        index: 24,
        leaf: RegistryLeaf {
            leaf: ByteBuf::from([0xaa, 0xbb]),
            certificate: ByteBuf::from([0xcc]),
        },
    };
    let hex = [
        "85",                               // array of five
        "6f6261736f6368652d656e7472792f31", // "basoche-entry/1"
        ORIGIN,
        "1818",   // index
        "42aabb", // leaf
        "41cc",   // certificate
    ]
    .concat();
    assert_eq!(hex_encode(&file.encode()), hex);
    assert_eq!(EntryFile::decode(&file.encode()), Ok(file.clone()));

    let refused = |hex: &str| EntryFile::decode(&hex_decode(hex).unwrap()).unwrap_err().kind;
    assert_eq!(
        refused(&hex.replacen("2f31", "2f32", 1)),
        MalformedKind::UnknownType
    );
    assert_eq!(
        refused(&hex.replacen("1818", "1817", 1)),
        MalformedKind::NotCanonical
    );
    assert_eq!(refused(&format!("{hex}00")), MalformedKind::TrailingBytes);
    assert_eq!(refused(&hex[..hex.len() - 2]), MalformedKind::Truncated);
    assert_eq!(
        refused(&hex.replacen("85", "84", 1)),
        MalformedKind::TrailingBytes
    );
    let large = EntryFile {
        index: 0,
        leaf: RegistryLeaf {
            leaf: ByteBuf::from(vec![0; 25_000]),
            certificate: ByteBuf::new(),
        },
        ..file
    };
    assert_eq!(
        EntryFile::decode(&large.encode()).unwrap_err().kind,
        MalformedKind::TooLarge
    );
}

/// What the kinds of entry say beyond the first five, field by field.
#[test]
fn the_further_statements() {
    let (at, digest) = (Instant::from_ms(0x1234), Digest::new([0x66; 32]));
    let certificate = CertificateId::new([0x77; 32]);
    let (record_hex, spki) = (record_hex(), vec![1, 2, 3]);
    let (sixes, sevens) = (
        format!("5820{}", "66".repeat(32)),
        format!("5820{}", "77".repeat(32)),
    );
    let policy = format!("witness w {}\nquorum w\n", Holder::witness(1).key);
    let policy_hex = format!("0178{:02x}{}", policy.len(), hex_encode(policy.as_bytes()));
    let log_hex = hex_encode(LOG.as_bytes());
    let cases: [(Content, u64, Vec<&str>); 23] = [
        (
            Officer {
                key: record(),
                revocations_per_hour: 3,
                until: at,
            }
            .into(),
            5,
            vec!["a3", "00", &record_hex, "0103", "02191234"],
        ),
        (Suspension { decision: None }.into(), 6, vec!["a0"]),
        (
            Suspension {
                decision: Some(digest),
            }
            .into(),
            6,
            vec!["a1", "00", &sixes],
        ),
        (
            Lifting {
                decision: Some(digest),
            }
            .into(),
            7,
            vec!["a1", "00", &sixes],
        ),
        (
            Renewal {
                key: record(),
                replaces: certificate,
                until: at,
                encryption_spki: Some(spki.clone().into()),
                issuer: Some(certificate),
            }
            .into(),
            8,
            vec![
                "a5",
                "00",
                &record_hex,
                "01",
                &sevens,
                "02191234",
                "0343010203",
                "04",
                &sevens,
            ],
        ),
        (
            Renewal {
                key: record(),
                replaces: certificate,
                until: at,
                encryption_spki: None,
                issuer: None,
            }
            .into(),
            8,
            vec!["a3", "00", &record_hex, "01", &sevens, "02191234"],
        ),
        (
            Reassociation {
                key: record(),
                assurance: Assurance::Hardware,
                identity: IdentityProof::Remote,
                encryption_spki: Some(spki.into()),
                issuer: Some(certificate),
            }
            .into(),
            9,
            vec![
                "a5",
                "00",
                &record_hex,
                "0101",
                "0202",
                "0343010203",
                "04",
                &sevens,
            ],
        ),
        (Veto { entry: 24 }.into(), 10, vec!["a1", "001818"]),
        (
            Endpoint {
                tls_spki_sha256: digest,
                addresses: vec!["a:1".to_owned()],
                until: at,
                gossip: None,
            }
            .into(),
            11,
            vec!["a3", "00", &sixes, "018163613a31", "02191234"],
        ),
        (
            Endpoint {
                tls_spki_sha256: digest,
                addresses: vec!["a:1".to_owned()],
                until: at,
                gossip: Some(Gossip {
                    key: [0x66; 32],
                    port: 4434,
                }),
            }
            .into(),
            11,
            vec![
                "a4",
                "00",
                &sixes,
                "018163613a31",
                "02191234",
                "03a200",
                &sixes,
                "01191152",
            ],
        ),
        (
            CertificateAuthority {
                key: record(),
                until: at,
            }
            .into(),
            12,
            vec!["a2", "00", &record_hex, "01191234"],
        ),
        (
            Attribute {
                granted: true,
                roles: vec![Role::Judge],
                competences: vec![Competence {
                    nomenclature: "n".to_owned(),
                    code: "c".to_owned(),
                }],
                until: Some(at),
            }
            .into(),
            15,
            vec![
                "a4", "00f5", "018101", "0281", "a2", "00616e", "016163", "03191234",
            ],
        ),
        (
            Attribute {
                granted: false,
                roles: vec![Role::Judge],
                competences: Vec::new(),
                until: None,
            }
            .into(),
            15,
            vec!["a2", "00f4", "018101"],
        ),
        (
            Delegation {
                dossier: digest,
                granted: Some(Delegated { keys: 9, until: at }),
            }
            .into(),
            16,
            vec!["a2", "00", &sixes, "01", "a2", "0009", "01191234"],
        ),
        (
            Delegation {
                dossier: digest,
                granted: None,
            }
            .into(),
            16,
            vec!["a1", "00", &sixes],
        ),
        (
            PolicyChange { number: 24, policy }.into(),
            17,
            vec!["a2", "001818", &policy_hex],
        ),
        (
            Continuation {
                number: 24,
                log: log::Key::parse(LOG).unwrap(),
                root: digest,
                proof: None,
            }
            .into(),
            19,
            vec!["a3", "001818", "017841", &log_hex, "02", &sixes],
        ),
        (StateRoot { root: digest }.into(), 18, vec!["a1", "00", &sixes]),
        (
            Publication {
                checkpoint: "a\n".to_owned(),
            }
            .into(),
            14,
            vec!["a1", "0062610a"],
        ),
        (
            Genesis {
                profession: OrganisationKind::Bar,
                test: false,
                roots: None,
                policy: Some(digest),
            }
            .into(),
            0,
            vec!["a3", "0002", "01f4", "03", &sixes],
        ),
        (
            Retirement {
                certificate,
                invalid_since: Some(at),
            }
            .into(),
            13,
            vec!["a2", "00", &sevens, "01191234"],
        ),
        (
            Genesis {
                profession: OrganisationKind::Bar,
                test: false,
                roots: Some(Roots {
                    threshold: 2,
                    certificates: vec![CertificateId::new([0x66; 32]), certificate],
                }),
                policy: None,
            }
            .into(),
            0,
            vec!["a3", "0002", "01f4", "02", "a2", "0002", "0182", &sixes, &sevens],
        ),
        (
            Organisation {
                kind: OrganisationKind::Bar,
                identifier: "1".to_owned(),
                name: "B".to_owned(),
                admin: Some(record()),
            }
            .into(),
            1,
            vec!["a4", "0002", "016131", "026142", "03", &record_hex],
        ),
    ];
    for (content, number, bytes) in cases {
        assert_eq!(content.kind().number(), number);
        assert_eq!(hex_encode(&content.encode()), bytes.concat(), "{content:?}");
    }
}

/// What is signed beside an entry: `["basoche-possession/1", origin, subject, certificate]`, and `["basoche-request/1",
/// origin, subject, prev, kind, content]`, each hashed.
#[test]
fn what_holders_sign() {
    let (subject, certificate) = (SubjectId::new([0x55; 16]), CertificateId::new([0x77; 32]));
    let hashed = |parts: &[&str]| {
        let bytes = hex_decode(&parts.concat()).unwrap();
        MessageId::new(basoche_protocol::crypto::sha256(&[&bytes]))
    };
    let text = |head: &str, text: &str| [head, &hex_encode(text.as_bytes())].concat();
    let (bar, who) = (text("63", "bar"), format!("50{}", "55".repeat(16)));
    let shown = hashed(&[
        "84",
        &text("74", "basoche-possession/1"),
        &bar,
        &who,
        "5820",
        &"77".repeat(32),
    ]);
    assert_eq!(possession("bar", &subject, &certificate), shown);
    let veto = Veto { entry: 24 }.into();
    let asked = |prev: &str| {
        hashed(&[
            "86",
            &text("71", "basoche-request/1"),
            &bar,
            &who,
            prev,
            "0a",
            "44a1001818",
        ])
    };
    assert_eq!(request("bar", &subject, Some(3), &veto), asked("03"));
    assert_eq!(request("bar", &subject, None, &veto), asked("f6"));
    let change = PolicyChange {
        number: 24,
        policy: "a\n".to_owned(),
    };
    let agreed = hashed(&[
        "84",
        &text("70", "basoche-policy/1"),
        "5820",
        &"33".repeat(32),
        "1818",
        "62610a",
    ]);
    assert_eq!(agreement(&Digest::new([0x33; 32]), &change), agreed);
}
