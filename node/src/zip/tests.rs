#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use basoche_protocol::text::hex_encode;

use super::layout::{Layout, STANDARD};
use super::{Archive, MAX_NAME_BYTES, Member, Writer, ZipError};

/// Everything in Zip64.
const FORCED: Layout = Layout { large: 0, many: 0 };
/// Sizes and offsets from 60 bytes on, and three members, in Zip64.
const MIXED: Layout = Layout { large: 60, many: 3 };

const MEMBERS: [(&str, &[u8]); 3] = [
    ("MANIFEST.json", b"{\"v\":1}"),
    ("empty", b""),
    ("doc/a_b-1.bin", &[0x5a; 70]),
];

fn archive(layout: Layout) -> Vec<u8> {
    let mut writer = Writer::with_layout(Cursor::new(Vec::new()), layout).unwrap();
    for (name, data) in MEMBERS {
        writer.add(name, data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn open(bytes: &[u8]) -> Result<Archive<Cursor<&[u8]>>, ZipError> {
    Archive::open(Cursor::new(bytes))
}

fn refusal(bytes: &[u8]) -> ZipError {
    match open(bytes) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

/// What is wrong with an archive, read to its end.
fn read_all(bytes: &[u8], layout: Layout) -> Result<(), ZipError> {
    let mut archive = Archive::open_with_layout(Cursor::new(bytes), layout)?;
    let names: Vec<String> = archive
        .members()
        .iter()
        .map(|member| member.name.clone())
        .collect();
    names
        .iter()
        .try_for_each(|name| archive.read(name, 100).map(drop))
}

fn python(script: &str, path: &Path) -> String {
    let output = Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_bytes_of_an_archive_are_fixed() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    writer.add("a", b"hello").unwrap();
    let expected = [
        // local header: version 2.0, UTF-8, stored, 1980-01-01 00:00, CRC, sizes, 1 byte of name, no extra
        "504b0304 1400 0008 0000 0000 2100 86a61036 05000000 05000000 0100 0000 61",
        "68656c6c6f", // data
        // central header: made by 4.5 on Unix, as above, no comment, disk 0, attributes, offset 0
        "504b0102 2d03 1400 0008 0000 0000 2100 86a61036 05000000 05000000 0100 0000",
        "0000 0000 0000 0000a481 00000000 61",
        // end record: disks 0, 1 member, directory of 47 bytes at 36, no comment
        "504b0506 0000 0000 0100 0100 2f000000 24000000 0000",
    ];
    assert_eq!(
        hex_encode(writer.finish().unwrap().get_ref()),
        expected.concat().replace(' ', "")
    );
}

#[test]
fn what_is_written_is_read_back() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    let large: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    writer
        .add_from("large", large.len() as u64, &mut large.as_slice())
        .unwrap();
    let mut member = writer.member("parts", 6).unwrap();
    member.write_all(b"abc").unwrap();
    member.write_all(b"def").unwrap();
    member.finish().unwrap();
    writer.add("empty", b"").unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    let mut archive = open(&bytes).unwrap();
    assert_eq!(
        archive
            .members()
            .iter()
            .map(|m| m.name.as_str())
            .collect::<Vec<_>>(),
        ["large", "parts", "empty"]
    );
    let expected = Member {
        name: "parts".into(),
        size: 6,
        crc: crc32fast::hash(b"abcdef"),
        offset: 300_070,
    };
    assert_eq!(archive.find("parts"), Some(&expected));
    assert!(archive.read("large", 300_000).unwrap() == large);
    assert_eq!(archive.read("parts", 6).unwrap(), b"abcdef");
    assert_eq!(archive.read("empty", 0).unwrap(), b"");
    let mut part = [0; 2];
    archive.reader("parts").unwrap().read_exact(&mut part).unwrap();
    assert_eq!(&part, b"ab");
    assert!(matches!(
        archive.read("parts", 5),
        Err(ZipError::TooLarge {
            size: 6,
            limit: 5,
            ..
        })
    ));
    assert!(matches!(archive.read("PARTS", 6), Err(ZipError::Absent { .. })));
    let nothing = Writer::new(Cursor::new(Vec::new()))
        .unwrap()
        .finish()
        .unwrap()
        .into_inner();
    assert!(open(&nothing).unwrap().members().is_empty());
}

#[test]
fn python_finds_the_same_members_and_nothing_wrong() {
    const SCRIPT: &str = "import sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
print([(i.filename, z.read(i).hex(), i.date_time, i.compress_type, oct(i.external_attr >> 16)) for i in z.infolist()])";
    let tuple = |(name, data): (&str, &[u8])| {
        format!(
            "('{name}', '{}', (1980, 1, 1, 0, 0, 0), 0, '0o100644')",
            hex_encode(data)
        )
    };
    let expected = format!("[{}]\n", MEMBERS.map(tuple).join(", "));
    let dir = tempfile::tempdir().unwrap();
    for (number, layout) in [STANDARD, FORCED, MIXED].into_iter().enumerate() {
        let path = dir.path().join(format!("{number}.zip"));
        std::fs::write(&path, archive(layout)).unwrap();
        assert_eq!(python(SCRIPT, &path), expected, "layout {number}");
    }
}

/// A file in which zeros take no room on the disk.
struct Sparse(File);

impl Write for Sparse {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.iter().all(|byte| *byte == 0) {
            self.0.seek(SeekFrom::Current(data.len() as i64))?;
            return Ok(data.len());
        }
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn members_and_offsets_beyond_4_gib_are_read_by_us_and_by_python() {
    const SIZE: u64 = (1 << 32) + 1;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.zip");
    let mut writer = Writer::new(Sparse(File::create(&path).unwrap())).unwrap();
    let mut member = writer.member("large", SIZE).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..SIZE >> 20).for_each(|_| member.write_all(&zeros).unwrap());
    member.write_all(&[1]).unwrap();
    member.finish().unwrap();
    writer.add("after", b"small").unwrap();
    writer.finish().unwrap();
    let mut archive = Archive::open(File::open(&path).unwrap()).unwrap();
    assert_eq!(archive.find("large").unwrap().size, SIZE);
    assert_eq!(archive.read("after", 5).unwrap(), b"small");
    let found = python(
        "import sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
print([i.file_size for i in z.infolist()], z.getinfo('after').header_offset, z.read('after'))",
        &path,
    );
    assert_eq!(found, "[4294967297, 5] 4294967352 b'small'\n");
}

#[test]
fn every_changed_byte_is_found_and_that_of_a_member_names_it() {
    for layout in [STANDARD, FORCED, MIXED] {
        let good = archive(layout);
        read_all(&good, layout).unwrap();
        let members = Archive::open_with_layout(Cursor::new(&good), layout)
            .unwrap()
            .members()
            .to_vec();
        for offset in 0..good.len() {
            for bit in [0, 5, 7] {
                let mut changed = good.clone();
                changed[offset] ^= 1 << bit;
                let error = read_all(&changed, layout).unwrap_err();
                let data_of = |m: &&Member| (m.offset..m.offset + m.size).contains(&(offset as u64));
                match members.iter().find(data_of) {
                    Some(member) => {
                        assert!(
                            matches!(&error, ZipError::Checksum { member: name } if *name == member.name)
                        );
                    }
                    None => assert!(matches!(error, ZipError::Structure { .. }), "{offset}: {error:?}"),
                }
            }
        }
    }
}

#[test]
fn a_changed_local_header_names_member_and_offset() {
    let mut changed = archive(STANDARD);
    let header = open(&changed).unwrap().members()[2].offset as usize - 43;
    changed[header + 10] ^= 1; // the time
    let error = refusal(&changed).to_string();
    assert!(
        error.starts_with(&format!(
            "member doc/a_b-1.bin, byte {} of the archive",
            header + 10
        )),
        "{error}"
    );
}

#[test]
fn bytes_added_or_removed_anywhere_are_found() {
    let good = archive(STANDARD);
    for offset in 0..good.len() {
        let mut shorter = good.clone();
        shorter.remove(offset);
        assert!(read_all(&shorter, STANDARD).is_err(), "without byte {offset}");
        for byte in [0, 0x50] {
            let mut longer = good.clone();
            longer.insert(offset, byte);
            assert!(read_all(&longer, STANDARD).is_err(), "one more at {offset}");
        }
        assert!(open(&good[..offset]).is_err(), "cut at {offset}");
    }
    assert!(open(&[good.as_slice(), &[0]].concat()).is_err());
    assert!(open(&[good.as_slice(), &good].concat()).is_err());
    // A comment, correctly announced.
    let mut comment = [good.as_slice(), b"!"].concat();
    let at = good.len() - 2;
    comment[at] = 1;
    assert!(open(&comment).is_err());
}

#[test]
fn a_bundle_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for compression in ["ZIP_STORED", "ZIP_DEFLATED"] {
        let path = dir.path().join(compression);
        let script = format!(
            "import sys, zipfile
z = zipfile.ZipFile(sys.argv[1], 'w', zipfile.{compression})
z.writestr('a', 'hello')
z.close()"
        );
        python(&script, &path);
        assert!(matches!(
            refusal(&std::fs::read(&path).unwrap()),
            ZipError::Structure { .. }
        ));
    }
}

#[test]
fn members_may_be_neither_repeated_nor_lead_outside() {
    let forged = |written: [&str; 2], from: &str, to: &str| {
        let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
        written
            .into_iter()
            .for_each(|name| writer.add(name, b"data").unwrap());
        let bytes = writer.finish().unwrap().into_inner();
        let text: String = bytes.into_iter().map(char::from).collect();
        refusal(
            &text
                .replace(from, to)
                .chars()
                .map(|c| c as u8)
                .collect::<Vec<_>>(),
        )
    };
    for (written, from, to) in [
        (["head", "hand"], "hand", "head"),
        (["head", "hand"], "hand", "HEAD"),
        (["a", "xy/hand"], "xy/hand", "../hand"),
        (["a", "xhand"], "xhand", "/hand"),
        (["a", "hand"], "hand", "han\\"),
    ] {
        let error = forged(written, from, to);
        assert!(
            matches!(&error, ZipError::Structure { member: Some(name), .. } if name == to),
            "{error:?}"
        );
    }
}

#[test]
fn numbers_beyond_any_file_are_refused() {
    // A Zip64 end record whose offset and size overflow together, and two with too many members.
    for (count, size, offset) in [(1_u64, u64::MAX, 2_u64), (u64::MAX, 0, 0), (2_000_000, 0, 0)] {
        let mut bytes = super::layout::end_records(STANDARD, 70_000, 0, 0);
        bytes[24..32].copy_from_slice(&u64::to_le_bytes(count));
        bytes[32..40].copy_from_slice(&u64::to_le_bytes(count));
        bytes[40..48].copy_from_slice(&size.to_le_bytes());
        bytes[48..56].copy_from_slice(&offset.to_le_bytes());
        let error = refusal(&bytes);
        assert!(
            matches!(error, ZipError::Structure { .. } | ZipError::TooManyMembers),
            "{error:?}"
        );
    }
}

#[test]
fn a_truncated_archive_gives_its_complete_members() {
    let good = archive(STANDARD);
    let members = open(&good).unwrap().members().to_vec();
    for length in 0..=good.len() {
        let mut salvaged = Archive::salvage(Cursor::new(&good[..length])).unwrap();
        let complete = members
            .iter()
            .take_while(|m| m.offset + m.size <= length as u64)
            .count();
        assert_eq!(salvaged.members(), &members[..complete], "cut at {length}");
        for (name, data) in &MEMBERS[..complete] {
            assert_eq!(salvaged.read(name, 100).unwrap(), *data);
        }
    }
    let mut changed = good;
    changed[members[2].offset as usize] ^= 1;
    assert_eq!(
        Archive::salvage(Cursor::new(&changed)).unwrap().members(),
        &members[..2]
    );
}

#[test]
fn an_interrupted_writer_leaves_what_can_be_salvaged() {
    let mut out = Cursor::new(Vec::new());
    let mut writer = Writer::new(&mut out).unwrap();
    writer.add("whole", b"data").unwrap();
    let mut member = writer.member("begun", 10).unwrap();
    member.write_all(b"0123456789").unwrap();
    assert!(matches!(writer.add("next", b""), Err(ZipError::Unfinished)));
    assert!(matches!(writer.finish(), Err(ZipError::Unfinished)));
    let salvaged = Archive::salvage(out).unwrap();
    assert_eq!(salvaged.members().len(), 1);
    assert!(salvaged.find("whole").is_some());
}

#[test]
fn the_writer_refuses_names_sizes_and_outputs() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    for name in [
        "", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a b", "é", "a\\b", "c:", "a\0", &long,
    ] {
        assert!(
            matches!(writer.add(name, b""), Err(ZipError::Name { .. })),
            "{name:?}"
        );
    }
    writer.add(&long[1..], b"").unwrap();
    writer.add("...", b"").unwrap();
    writer.add("a/B", b"").unwrap();
    for again in ["a/B", "A/b"] {
        let error = writer.add(again, b"").unwrap_err();
        assert!(matches!(&error, ZipError::Name { name, .. } if name == again));
    }
    let mut over = writer.member("over", 2).unwrap();
    over.write_all(b"ab").unwrap();
    assert_eq!(over.write(b"c").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    over.finish().unwrap();
    let under = writer.member("under", 2).unwrap().finish();
    assert!(matches!(
        under,
        Err(ZipError::Size {
            announced: 2,
            given: 0,
            ..
        })
    ));
    assert!(matches!(Writer::new(Cursor::new(vec![1])), Err(ZipError::Io(_))));
}

#[test]
fn what_stands_before_a_second_member_of_a_name_is_salvaged() {
    let one = |name: &str, data: &[u8]| {
        let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
        writer.add(name, data).unwrap();
        // Local header, name and data, without the directory.
        let length = 30 + name.len() + data.len();
        writer.finish().unwrap().into_inner()[..length].to_vec()
    };
    let twice = [one("a", b"first"), one("b", b"other"), one("A", b"second")].concat();
    let mut salvaged = Archive::salvage(Cursor::new(twice)).unwrap();
    assert_eq!(salvaged.members().len(), 2);
    assert_eq!(salvaged.find("A"), None);
    assert_eq!(salvaged.read("a", 100).unwrap(), b"first");
}
