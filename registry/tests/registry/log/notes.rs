//! Notes and checkpoints, LOG-1 to LOG-5.

use basoche_protocol::crypto::Ed25519Key;
use basoche_registry::log::{
    Checkpoint, CheckpointError, Key, KeyKind, Merged, NOTE_BYTES, Note, NoteError, NoteSignature,
    SIGNATURES, Seen,
};

use super::kit::{Holder, ORIGIN, checkpoint, note, second, tree};

/// The example of C2SP signed-note.
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
/// The example of C2SP tlog-cosignature, whose keys are not published.
const COSIGNED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    \u{2014} example.com/behind-the-sofa \
    Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    \u{2014} witness.example.com/w1 \
    jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

#[test]
fn the_published_examples_are_read_and_written_the_same() {
    let key = Key::parse(VKEY).unwrap();
    assert_eq!(key.to_string(), VKEY);
    assert_eq!((key.name(), key.kind()), ("example.com/foo", KeyKind::Log));
    let note = Note::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(note.encode(), EXAMPLE);
    assert!(note.signed_by(&key).unwrap().is_some());

    let note = Note::parse(COSIGNED.as_bytes()).unwrap();
    assert_eq!(note.encode(), COSIGNED);
    let head = Checkpoint::head_of(note.text()).unwrap();
    assert_eq!(
        (head.origin.as_str(), head.size),
        ("example.com/behind-the-sofa", 20_852_163)
    );
    assert_eq!(Checkpoint::text(&head), note.text());
}

#[test]
fn names_of_others_may_have_what_c2sp_does_not_forbid() {
    let note = format!("{EXAMPLE}\u{2014} x\u{7f}\u{85f} Uw2QOkn8\n");
    let note = Note::parse(note.as_bytes()).unwrap();
    assert!(note.signed_by(&Key::parse(VKEY).unwrap()).unwrap().is_some());
}

#[test]
fn a_note_is_read_strictly() {
    let line = "\u{2014} example.com/foo Uw2QOkn8\n";
    let many = format!("a\n\n{}", line.repeat(SIGNATURES + 1));
    let long = format!("{}\n\n{line}", "a".repeat(NOTE_BYTES));
    let cases: [(&[u8], NoteError); 15] = [
        (b"", NoteError::Shape),
        (b"a\n", NoteError::Shape),
        (b"a\n\n", NoteError::Shape),
        (b"\xff\n\n", NoteError::NotText),
        (b"a\r\n\n\xe2\x80\x94 x Uw2QOkn8\n", NoteError::NotText),
        (b"a\n\n- x Uw2QOkn8\n", NoteError::Line { number: 1 }),
        (b"a\n\n\xe2\x80\x94 x Uw2QOkn8", NoteError::Line { number: 1 }),
        (b"a\n\n\xe2\x80\x94 x Uw2QOg==\n", NoteError::Line { number: 1 }), // four bytes: an id and nothing
        (b"a\n\n\xe2\x80\x94 x Uw2QOkn\n", NoteError::Line { number: 1 }),
        (b"a\n\n\xe2\x80\x94 x  Uw2QOkn8\n", NoteError::Line { number: 1 }),
        (b"a\n\n\xe2\x80\x94 x+y Uw2QOkn8\n", NoteError::Line { number: 1 }),
        (b"a\n\n\xe2\x80\x94  Uw2QOkn8\n", NoteError::Line { number: 1 }),
        (
            b"a\n\n\xe2\x80\x94 x Uw2QOkn8\nb\n",
            NoteError::Line { number: 2 },
        ),
        (many.as_bytes(), NoteError::TooManySignatures),
        (long.as_bytes(), NoteError::TooLarge),
    ];
    for (bytes, error) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        assert_eq!(Note::parse(bytes), Err(error), "{shown:?}");
    }
    // The text goes to the last empty line.
    let note = Note::parse(format!("a\n\nb\n\n{line}").as_bytes()).unwrap();
    assert_eq!((note.text(), note.signatures().len()), ("a\n\nb\n", 1));
}

#[test]
fn a_verifier_key_has_one_text() {
    for text in [
        "",
        "example.com/foo",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", // an id of another name
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U0=",
        "example.com/foo+530d903a+BekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", // another type
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k ",
    ] {
        assert_eq!(Key::parse(text), None, "{text}");
    }
    assert_eq!(Key::new("a b", KeyKind::Log, [0; 32]), None);
    assert_eq!(Key::new("a\u{3000}b", KeyKind::Log, [0; 32]), None);
    assert_eq!(Key::new(&"a".repeat(257), KeyKind::Log, [0; 32]), None);
}

#[test]
fn unknown_lines_mean_nothing_and_a_false_one_of_a_known_key_spoils_the_note() {
    let mut note = note(&tree(3, 9));
    let (witness, stranger) = (Holder::witness(1), Holder::witness(2));
    stranger.sign(&mut note, second(5));
    assert_eq!(note.signed_by(&witness.key), Ok(None));
    witness.sign(&mut note, second(7));
    assert_eq!(note.signed_by(&witness.key), Ok(Some(second(7))));

    // Another key under the same name: a stranger's, since its id differs.
    let namesake = Holder::new(witness.key.name(), KeyKind::Cosigner, 9);
    assert_eq!(note.signed_by(&namesake.key), Ok(None));
    // The same key in the other kind: another id.
    let otherwise = Key::new(witness.key.name(), KeyKind::Log, *witness.key.public()).unwrap();
    assert_eq!(note.signed_by(&otherwise), Ok(None));

    let mut spoiled = note.clone();
    let bytes = Ed25519Key::new(&[3; 32]).sign(b"something else");
    spoiled.add(witness.key.line(&bytes, second(7))).unwrap();
    assert_eq!(spoiled.signatures().len(), note.signatures().len());
    let error = NoteError::BadSignature {
        name: witness.key.name().to_owned(),
    };
    assert_eq!(spoiled.signed_by(&witness.key), Err(error));
    // The instant is signed: another one does not verify.
    let moved = witness.secret.sign(&witness.key.message(note.text(), second(7)));
    let mut later = note.clone();
    later.add(witness.key.line(&moved, second(8))).unwrap();
    assert!(later.signed_by(&witness.key).is_err());
}

#[test]
fn a_note_takes_no_more_lines_than_it_may_have() {
    let mut note = note(&tree(1, 9));
    for seed in 1..SIGNATURES as u8 {
        Holder::witness(seed).sign(&mut note, second(1));
    }
    let line = NoteSignature::parse("\u{2014} x Uw2QOkn8\n").unwrap();
    assert_eq!(note.add(line), Err(NoteError::TooManySignatures));
    Holder::witness(3).sign(&mut note, second(2)); // in place of its first
    assert_eq!(Note::parse(note.encode().as_bytes()), Ok(note));
}

#[test]
fn a_checkpoint_is_three_lines_signed_by_its_log() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let nothing = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    assert!(Checkpoint::head_of(&format!("a\n0\n{nothing}\n")).is_ok());
    for text in [
        String::new(),
        format!("a\n5\n{root}"),
        format!("a\n5\n{root}\nextension\n"),
        format!("\n5\n{root}\n"),
        format!("A b\n5\n{root}\n"),
        format!("a\n05\n{root}\n"),
        format!("a\n+5\n{root}\n"),
        format!("a\n18446744073709551616\n{root}\n"),
        "a\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2\n".to_owned(),
    ] {
        assert_eq!(Checkpoint::head_of(&text), Err(CheckpointError::Text), "{text:?}");
    }
    for (size, root) in [(0, root), (5, nothing), (1 << 63, root)] {
        let text = format!("a\n{size}\n{root}\n");
        assert_eq!(
            Checkpoint::head_of(&text),
            Err(CheckpointError::Impossible { size })
        );
    }
    // Signed by a key of another name, by a cosigner's, by nobody known: not by its log.
    let (log, other) = (Holder::log(ORIGIN), Holder::log("bars.example"));
    let open = |keys: &[Key]| Checkpoint::open(note(&tree(2, 9)), keys).map(|opened| opened.head().size);
    let cosigner = Key::new(ORIGIN, KeyKind::Cosigner, log.secret.public()).unwrap();
    let unsigned = NoteError::NotSigned {
        name: ORIGIN.to_owned(),
    };
    assert_eq!(open(&[other.key.clone(), log.key]), Ok(2));
    assert_eq!(open(&[other.key, cosigner]), Err(unsigned.into()));
}

#[test]
fn cosignatures_gather_from_several_copies() {
    let (one, two, liar) = (Holder::witness(1), Holder::witness(2), Holder::witness(3));
    let keys = [one.key.clone(), two.key.clone(), liar.key.clone()];
    let mut held = checkpoint(&tree(4, 9));
    let mut copy = held.note().clone();
    two.sign(&mut copy, second(2));
    one.sign(&mut copy, second(1));
    copy.add(liar.key.line(&[7; 64], second(3))).unwrap();
    assert_eq!(held.merge(&copy, &keys), Merged::Witnesses);
    assert_eq!(
        held.merge(&copy, &keys),
        Merged::Nothing,
        "nothing new the second time"
    );
    let another = note(&tree(5, 9));
    assert_eq!(held.merge(&another, &keys), Merged::Nothing, "another checkpoint");
    let seen = |by: &Holder, n| Seen {
        by: by.key.clone(),
        at: second(n),
    };
    assert_eq!(held.seen_by(&keys), Ok(vec![seen(&one, 1), seen(&two, 2)]));
}
