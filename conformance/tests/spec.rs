//! `SPEC.md` held to the code: tables, sections, requirement ids, examples, CDDL.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use basoche_conformance::checkout;
use basoche_conformance::twin::payload_of;
use basoche_conformance::vector::{What, read_all};
use basoche_protocol::dossier::{Fact, State};
use basoche_protocol::envelope::Envelope;
use basoche_protocol::message::{Message, MessageType};
use basoche_protocol::refusal::{Code, Retry};
use basoche_protocol::text::hex_decode;
use basoche_protocol::time::Instant;
use basoche_protocol::wire::{codec, limits};
use cddl_cat::validate_cbor_bytes;

fn spec() -> String {
    fs::read_to_string(checkout().join("SPEC.md")).unwrap()
}

/// Sections by number, `Annex A` included, each with its own text only.
fn sections(spec: &str) -> BTreeMap<&str, String> {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = "";
    for line in spec.lines() {
        let title = line.strip_prefix("## ").or_else(|| line.strip_prefix("### "));
        if let Some(title) = title {
            let end = if title.starts_with("Annex") {
                7
            } else {
                title.find(' ').unwrap()
            };
            current = &title[..end];
        }
        let text = sections.entry(current).or_default();
        text.push_str(line);
        text.push('\n');
    }
    sections
}

fn rows(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| line.starts_with("| ")).collect()
}

#[test]
fn every_message_type_has_its_section_and_its_row_in_annex_a() {
    let spec = spec();
    let sections = sections(&spec);
    let expected = MessageType::ALL.iter().map(|message| {
        let senders: Vec<_> = message.senders().iter().map(|role| role.name()).collect();
        let (name, senders) = (format!("{message:?}"), senders.join(", "));
        let policy = format!("{:?}", message.timestamp_policy()).to_lowercase();
        let section = &sections[message.section()];
        assert!(
            section.starts_with(&format!("### {} {name}\n", message.section())),
            "{name}"
        );
        let line = format!(
            "Type {}, `{message}`. Senders: {senders}. Readers: {}. Timestamp: {policy}.",
            message.number(),
            message.readers()
        );
        assert!(section.contains(&line), "{line}");
        format!(
            "| {} | {name} | `{message}` | {senders} | {} | {policy} | {} |",
            message.number(),
            message.readers(),
            message.section()
        )
    });
    let expected: BTreeSet<_> = expected.collect();
    let found = rows(&sections["Annex A"]);
    let found = found.into_iter().filter(|row| !row.starts_with("| type"));
    assert_eq!(found.map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_refusal_table_is_the_codes() {
    let spec = spec();
    let sections = sections(&spec);
    let mut found = rows(&sections["11"])
        .into_iter()
        .filter(|row| !row.starts_with("| code"));
    for code in Code::ALL {
        let family = match code.number() / 100 {
            1 => "malformed",
            2 => "untrusted",
            3 => "refused",
            4 => "incompatible",
            _ => "node",
        };
        let retry = match code.retry() {
            Retry::Never => "never",
            Retry::AfterChange => "after-change",
            Retry::Later => "later",
        };
        let start = format!("| {} | `{code}` | {family} | {retry} | ", code.number());
        let row = found.next().unwrap_or_default();
        assert!(row.starts_with(&start), "{row} is not {start}");
    }
    assert_eq!(found.next(), None);
}

macro_rules! named {
    ($($name:ident)+) => { [$((stringify!($name), limits::$name as u64)),+] };
}

#[test]
fn the_limits_table_is_the_limits() {
    let values = named! {
        DEPTH ITEMS PAYLOAD_BYTES HEADER_BYTES SIGNATURE_BYTES ENVELOPE_BYTES SEALED_BYTES ENTRY_BYTES FRAME_BYTES
        GOSSIP_BYTES LEAF_BYTES SUBJECT_ENTRIES NOTE_BYTES CERTIFICATE_BYTES PARCEL_BYTES PARCELS_LISTED DOSSIER_NODES DOSSIER_PERSONS REFS ENTRIES_PER_FRAME INVENTORY_DIGESTS FRONTIER_ROWS REGISTRIES
        BARRIER_DOCUMENTS BRANCHES WRAPS WRAP_BYTES DEPS DOCUMENTS_PER_REQUEST LACKING SHORT_TEXT_BYTES LONG_TEXT_BYTES LIST_ITEMS CLAIM_AHEAD_MS UNSEALED_ENTRIES UNSEALED_MS
    };
    let source = fs::read_to_string(checkout().join("protocol/src/wire/limits.rs")).unwrap();
    let constants = source.lines().filter_map(|line| line.strip_prefix("pub const "));
    let constants: BTreeSet<_> = constants.map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(constants, values.iter().map(|(name, _)| *name).collect());
    let spec = spec();
    let sections = sections(&spec);
    let table = rows(&sections["4.6"]);
    assert_eq!(table.len(), values.len() + 1);
    for (name, value) in values {
        let start = format!("| `{name}` | {value} | ");
        assert!(table.iter().any(|row| row.starts_with(&start)), "{start}");
    }
}

/// `ENC-1` and its like in a text.
fn ids(text: &str) -> BTreeSet<String> {
    const SERIES: [&str; 21] = [
        "ENC", "ENV", "KEY", "DOC", "ERA", "CON", "DOS", "JRN", "ADM", "REG", "LOG", "DNS", "SYN", "MBX",
        "INV", "BAR", "GAP", "SEAT", "PTY", "SNP", "GSP",
    ];
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.split(|c| !word(c))
        .filter(|word| {
            let parts = word.split_once('-');
            parts.is_some_and(|(series, number)| {
                SERIES.contains(&series)
                    && !number.is_empty()
                    && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        })
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path, each: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            each(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_requirement_id_is_defined_once_and_listed() {
    let spec = spec();
    let mut defined = BTreeMap::new();
    for (number, text) in sections(&spec) {
        for line in text.lines() {
            if let Some((id, _)) = line.strip_prefix("**").and_then(|line| line.split_once(".**"))
                && ids(id).contains(id)
            {
                assert_eq!(
                    defined.insert(id.to_owned(), number),
                    None,
                    "{id} is defined twice"
                );
            }
        }
    }
    let annex = &sections(&spec)["Annex B"];
    let listed: BTreeSet<_> = rows(annex).into_iter().map(str::to_owned).collect();
    let mut expected: BTreeSet<_> = defined
        .iter()
        .map(|(id, section)| format!("| {id} | {section} |"))
        .collect();
    expected.insert("| id | section |".to_owned());
    assert_eq!(listed, expected);
    for id in ids(&spec) {
        assert!(
            defined.contains_key(&id),
            "SPEC.md names {id} and does not define it"
        );
    }
    for folder in [
        "protocol/src",
        "protocol/tests",
        "registry",
        "node",
        "conformance",
        "benches",
    ] {
        sources(&checkout().join(folder), &mut |path, text| {
            for id in ids(text) {
                assert!(defined.contains_key(&id), "{} cites {id}", path.display());
            }
        });
    }
}

#[test]
fn every_section_that_the_code_cites_exists() {
    let spec = spec();
    let sections = sections(&spec);
    for folder in ["protocol/src", "registry/src", "node/src"] {
        sources(&checkout().join(folder), &mut |path, text| {
            for cited in text.split("SPEC §").skip(1) {
                let end = cited
                    .find(|c: char| !c.is_ascii_digit() && c != '.')
                    .unwrap_or(cited.len());
                let number = cited[..end].trim_end_matches('.');
                assert!(
                    sections.contains_key(number),
                    "{} cites SPEC §{number}",
                    path.display()
                );
            }
        });
    }
}

#[test]
fn each_example_of_section_6_decodes_to_its_type() {
    let spec = spec();
    let sections = sections(&spec);
    for message_type in MessageType::ALL {
        let section = &sections[message_type.section()];
        let mark = format!("<!-- example {message_type} -->\n```hex\n");
        let (_, rest) = section.split_once(&mark).unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        let hex: String = block.lines().filter_map(|line| line.split('#').next()).collect();
        let hex: String = hex.split_whitespace().collect();
        let message = Message::decode(&hex_decode(&hex).unwrap()).unwrap();
        assert_eq!(message.message_type(), *message_type);
    }
}

fn blocks(text: &str) -> Vec<&str> {
    let parts = text.split("```cddl\n").skip(1);
    parts.map(|part| part.split_once("```").unwrap().0).collect()
}

fn cddl(spec: &str) -> String {
    let (_, annex) = spec.split_once("## Annex C ").unwrap();
    let [whole] = blocks(annex)[..] else {
        panic!("annex C is one block");
    };
    whole.to_owned()
}

#[test]
fn annex_c_holds_every_block_of_the_text() {
    let spec = spec();
    let whole = cddl(&spec);
    let (text, _) = spec.split_once("## Annex C ").unwrap();
    let found = blocks(text);
    assert!(found.len() > 20);
    for block in found {
        assert!(whole.contains(block), "{block}");
    }
}

/// What a vector's bytes are in CDDL: a rule, and the bytes it is for.
fn structures(name: &str, what: What, bytes: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let group = name.split('/').next().unwrap();
    let message = MessageType::from_name(group).is_some();
    match what {
        What::Envelope => {
            let rule = if message {
                format!("{group}-payload")
            } else {
                "payload".to_owned()
            };
            let payload = payload_of(&bytes).unwrap();
            vec![
                ("envelope".to_owned(), bytes),
                (rule, payload.clone()),
                ("payload".to_owned(), payload),
            ]
        }
        What::Head => {
            let payload = payload_of(&bytes).unwrap();
            vec![("envelope".to_owned(), bytes), ("head".to_owned(), payload)]
        }
        What::Receipt => {
            let payload = payload_of(&bytes).unwrap();
            let receipt = "mailbox-receipt".to_owned();
            vec![("envelope".to_owned(), bytes), (receipt, payload)]
        }
        What::Parcel => vec![("parcel".to_owned(), bytes)],
        What::Request => vec![("mailbox-request".to_owned(), bytes)],
        What::Sealed => vec![("sealed".to_owned(), bytes)],
        What::Entry => vec![("entry".to_owned(), bytes)],
        What::Frame => {
            let file = name.rsplit("accept_").next().unwrap();
            let variants = [
                "_without_head",
                "_without_message",
                "_lacking",
                "_busy",
                "_consistency",
            ];
            let kind = variants.iter().fold(file, |file, end| file.trim_end_matches(end));
            let kind = kind.replace('_', "-");
            vec![
                ("frame".to_owned(), bytes.clone()),
                (format!("{kind}-frame"), bytes),
            ]
        }
        What::Jws | What::Wrap | What::Cbor => vec![],
    }
}

#[test]
fn accepted_bytes_fit_the_cddl_and_spoilt_ones_do_not() {
    let spec = spec();
    let cddl = cddl(&spec);
    let (mut accepted, mut refused) = (0, 0);
    for (name, vector) in read_all(&checkout().join("conformance/vectors")).unwrap() {
        let bytes = vector.to_bytes().unwrap();
        if vector.code.is_none() {
            for (rule, bytes) in structures(&name, vector.what, bytes) {
                let fits = validate_cbor_bytes(&rule, &cddl, &bytes);
                assert!(fits.is_ok(), "{name} is no {rule}: {fits:?}");
                accepted += 1;
            }
            continue;
        }
        // Negative control: what is of another shape by construction fits no rule.
        let spoilt = [
            "refuse_missing_field",
            "refuse_unknown_key",
            "refuse_wrong_type",
            "refuse_ext_no_map",
        ];
        if let Some((group, file)) = name.split_once('/')
            && spoilt.contains(&file)
        {
            let (rule, bytes) = match vector.what {
                What::Envelope => ("payload".to_owned(), payload_of(&bytes).unwrap()),
                What::Head => ("head".to_owned(), payload_of(&bytes).unwrap()),
                What::Receipt => (group.to_owned(), payload_of(&bytes).unwrap()),
                _ => (group.to_owned(), bytes),
            };
            assert!(
                validate_cbor_bytes(&rule, &cddl, &bytes).is_err(),
                "{name} fits {rule}"
            );
            refused += 1;
        }
    }
    assert!(accepted > 90 && refused > 55, "{accepted} {refused}");
}

#[test]
fn the_state_of_a_dossier_fits_the_cddl() {
    let mut state = State::default();
    for (name, vector) in read_all(&checkout().join("conformance/vectors")).unwrap() {
        if name.ends_with("/accept_full") {
            let Ok(envelope) = Envelope::decode(&vector.to_bytes().unwrap()) else {
                continue;
            };
            if let Ok(message) = Message::decode(envelope.payload()) {
                state.apply(&Fact::new(envelope.id(), Instant::from_ms(1), &message));
            }
        }
    }
    assert_eq!(state.dires().len(), 1);
    let (spec, bytes) = (spec(), codec::encode(&state));
    validate_cbor_bytes("dossier-state", &cddl(&spec), &bytes).unwrap();
    assert_eq!(state.hash(), basoche_protocol::id::Digest::of(&[&bytes]));
    let spoilt = codec::encode(&(0_u64, 1_u64));
    assert!(validate_cbor_bytes("dossier-state", &cddl(&spec), &spoilt).is_err());
}
