//! What two published crates, `signed_note` and `tlog_tiles`, say of the same bytes.

use basoche_protocol::text::{b64_encode, hex_encode};
use basoche_protocol::tree::{Tree, leaf_hash, verify_consistency, verify_inclusion};
use basoche_registry::log::{Checkpoint, Key, KeyKind, Note, TILE_WIDTH, Tile, bundle, new_tiles, unbundle};
use proptest::prelude::*;
use signed_note::{Signer as _, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{Error, HashReader};

use super::kit::{Holder, second, tree};

/// The signer of theirs that has the key of `holder`.
fn their_signer(holder: &Holder, seed: u8) -> StandardSigner {
    let vkey = holder.key.to_string();
    let id = vkey.split('+').nth(1).unwrap();
    let secret = b64_encode(&[&[1], &[seed; 32][..]].concat());
    StandardSigner::new(&format!("PRIVATE+KEY+{}+{id}+{secret}", holder.key.name())).unwrap()
}

/// Whether they believe that the log's key signed the note.
fn they_believe(bytes: &[u8], key: &Key) -> bool {
    let verifier = StandardVerifier::new(&key.to_string()).unwrap();
    let known = VerifierList::new(vec![Box::new(verifier)]);
    signed_note::Note::from_bytes(bytes).is_ok_and(|note| note.verify(&known).is_ok())
}

/// Whether we do, in a note of at most as many lines as we read.
fn we_believe(bytes: &[u8], key: &Key) -> bool {
    Note::parse(bytes).is_ok_and(|note| matches!(note.signed_by(key), Ok(Some(_))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn notes_are_signed_and_read_the_same(text in "[ -~éà\u{2014}\n]{0,60}", name in "[a-z./0-9]{1,20}", seed in 1_u8..9) {
        let holder = Holder::new(&name, KeyKind::Log, seed);
        let mut ours = Note::new(format!("{text}\n")).unwrap();
        holder.sign(&mut ours, second(0));
        let mut theirs = signed_note::Note::new(format!("{text}\n").as_bytes(), &[]).unwrap();
        let signer = their_signer(&holder, seed);
        let vkey = format!("{name}+{}+", hex_encode(&signer.key_id().to_be_bytes()));
        prop_assert!(holder.key.to_string().starts_with(&vkey));
        theirs.add_sigs(&[&signer]).unwrap();
        prop_assert_eq!(ours.encode().into_bytes(), theirs.to_bytes());
        prop_assert!(they_believe(ours.encode().as_bytes(), &holder.key));
        prop_assert!(we_believe(&theirs.to_bytes(), &holder.key));
    }

    /// One byte put in, left out or changed anywhere: both believe it or neither does.
    #[test]
    fn changed_notes_are_judged_the_same(place in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0_u8..3, lines in 0_usize..3) {
        let holder = Holder::new("log.example", KeyKind::Log, 5);
        let mut note = Note::new("log.example\n5\nx\n\ny\n".to_owned()).unwrap();
        for seed in 1..=lines as u8 {
            Holder::witness(seed).sign(&mut note, second(1));
        }
        holder.sign(&mut note, second(0));
        let mut bytes = note.encode().into_bytes();
        let place = place.index(bytes.len());
        match how {
            0 => bytes[place] = byte,
            1 => { bytes.remove(place); }
            _ => bytes.insert(place, byte),
        }
        prop_assert_eq!(we_believe(&bytes, &holder.key), they_believe(&bytes, &holder.key));
    }

    #[test]
    fn checkpoints_without_extensions_are_read_the_same(
        origin in "[a-z./-]{0,6}", size in "[0-9]{0,3}|[+ ]5", root in "[A-Za-z0-9+/]{42}[AQgw=]=|[a-z=]{0,4}", end in "\n{0,2}",
    ) {
        let text = format!("{origin}\n{size}\n{root}{end}");
        let theirs = tlog_tiles::Checkpoint::from_bytes(text.as_bytes());
        // Theirs does not know that only nothing has no leaves.
        let ours = Checkpoint::head_of(&text);
        let ours = ours.map(|head| (head.origin.clone(), head.size, *head.root.as_bytes()));
        if size != "0" {
            let theirs = theirs.map(|theirs| (theirs.origin().to_owned(), theirs.size(), theirs.hash().0));
            prop_assert_eq!(ours.ok(), theirs.ok());
        }
    }

    #[test]
    fn tiles_have_the_same_places_paths_and_hashes(old in 0_u64..2000, more in 0_u64..2000) {
        let new = old + more;
        let ours = new_tiles(old, new);
        let theirs = tlog_tiles::Tile::new_tiles(8, old, new);
        prop_assert_eq!(ours.len(), theirs.len());
        let tree = tree(new, u64::MAX);
        let reader = Reader(&tree);
        for (ours, theirs) in ours.iter().zip(theirs) {
            // Their path names the height, which C2SP fixes at 8.
            prop_assert_eq!(ours.path().replacen("tile/", "tile/8/", 1), theirs.path());
            prop_assert_eq!(Tile::parse(&ours.path()), Some(*ours));
            prop_assert_eq!(ours.hashes(&tree).unwrap().concat(), theirs.read_data(&reader).unwrap());
        }
    }

    #[test]
    fn roots_and_proofs_are_the_same(size in 1_u64..600, part in any::<prop::sample::Index>(), flip in 0_usize..400) {
        let tree = tree(size, u64::MAX);
        let reader = Reader(&tree);
        let (root, hash) = (tree.root(), tlog_tiles::Hash);
        prop_assert_eq!(tlog_tiles::tree_hash(size, &reader).unwrap().0, root);
        let index = part.index(size as usize) as u64;
        let leaf = tree.leaf(index).unwrap();
        let mut path = tree.inclusion_path(index, size).unwrap();
        prop_assert_eq!(tlog_tiles::prove_record(size, index, &reader).unwrap(), path.iter().copied().map(hash).collect::<Vec<_>>());
        let old = index + 1;
        let older = tree.root_at(old).unwrap();
        let mut growth = tree.consistency_path(old, size).unwrap();
        prop_assert_eq!(tlog_tiles::prove_tree(size, old, &reader).unwrap(), growth.iter().copied().map(hash).collect::<Vec<_>>());
        // As they are, and with one bit changed.
        for changed in [false, true] {
            if changed {
                [&mut path, &mut growth].into_iter().filter_map(|path| path.get_mut(flip / 32)).for_each(|hash| hash[flip % 32] ^= 1);
            }
            let [path_, growth_] = [&path, &growth].map(|path| path.iter().copied().map(hash).collect::<Vec<_>>());
            prop_assert_eq!(
                verify_inclusion(&leaf, index, size, &path, &root).is_ok(),
                tlog_tiles::check_record(&path_, size, hash(root), index, hash(leaf)).is_ok()
            );
            prop_assert_eq!(
                verify_consistency(old, size, &older, &root, &growth).is_ok(),
                tlog_tiles::check_tree(&growth_, size, hash(root), old, hash(older)).is_ok()
            );
        }
    }

    #[test]
    fn a_bundle_gives_its_entries_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20), cut in 1_usize..50) {
        let bytes = bundle(entries.iter().map(Vec::as_slice)).unwrap();
        prop_assert_eq!(unbundle(&bytes).unwrap(), entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        if cut < bytes.len() {
            // Whatever is left of a bundle is either whole entries or refused.
            let left = unbundle(&bytes[..bytes.len() - cut]);
            prop_assert!(left.is_err() || left.is_ok_and(|left| entries.iter().zip(left).all(|(a, b)| a == b)));
        }
    }
}

#[test]
fn a_bundle_has_bounds() {
    assert!(bundle(vec![&[0_u8; 65_535][..]; TILE_WIDTH as usize]).is_ok());
    assert!(bundle(vec![&[0_u8; 65_536][..]]).is_err());
    assert!(bundle(vec![&[][..]; TILE_WIDTH as usize + 1]).is_err());
    assert!(unbundle(&[0; 2 * (TILE_WIDTH as usize + 1)]).is_err());
    assert!(unbundle(&[0]).is_err());
}

#[test]
fn a_tile_has_one_path() {
    for (path, level, index, width) in [
        ("tile/0/000", 0, 0, 256),
        ("tile/0/x001/x234/067", 0, 1_234_067, 256),
        ("tile/63/x001/000.p/255", 63, 1000, 255),
    ] {
        let tile = Tile { level, index, width };
        assert_eq!((tile.path().as_str(), Tile::parse(path)), (path, Some(tile)));
    }
    for path in [
        "",
        "tile/0/0",
        "tile/0/1000",
        "tile/0/x000/000",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/64/000",
        "tile/00/000",
        "tile/0/001.p/01",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/0/-01",
        "tile/0/x001/x002",
    ] {
        assert_eq!(Tile::parse(path), None, "{path}");
    }
}

/// Our tree, read as theirs stores one.
struct Reader<'a>(&'a Tree);

impl HashReader for Reader<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, Error> {
        let read = |index: &u64| {
            let (level, n) = tlog_tiles::split_stored_hash_index(*index);
            let root = self.0.subtree_root(n << level..(n + 1) << level).unwrap();
            tlog_tiles::Hash(root)
        };
        Ok(indexes.iter().map(read).collect())
    }
}

#[test]
fn leaf_hashes_are_the_same() {
    assert_eq!(tlog_tiles::record_hash(b"entry").0, leaf_hash(b"entry"));
}
