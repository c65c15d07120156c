//! The canonical subset. SPEC §4.2.

use basoche_conformance::vector::{Stage, What};
use basoche_protocol::text::hex_decode;

use super::Cases;

pub(super) fn scanner(cases: &mut Cases) {
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
        cases.accept(
            &format!("canon/{name}"),
            "the canonical subset (4.2)",
            What::Cbor,
            Stage::Decode,
            &bytes,
        );
    }
    let refused = [
        ("nothing", "", "truncated", "no item (ENC-1)"),
        ("long_zero", "1800", "not-canonical", "0 in two bytes (ENC-2)"),
        ("long_23", "1817", "not-canonical", "23 in two bytes (ENC-2)"),
        (
            "long_255",
            "1900ff",
            "not-canonical",
            "255 in three bytes (ENC-2)",
        ),
        (
            "long_65535",
            "1a0000ffff",
            "not-canonical",
            "65 535 in five bytes (ENC-2)",
        ),
        (
            "long_32_bits",
            "1b00000000ffffffff",
            "not-canonical",
            "2^32-1 in nine bytes (ENC-2)",
        ),
        (
            "long_length",
            "5800",
            "not-canonical",
            "length 0 in two bytes (ENC-2)",
        ),
        ("reserved", "1c", "not-canonical", "a reserved head"),
        (
            "indefinite_bytes",
            "5f4101ff",
            "not-canonical",
            "indefinite bytes (ENC-2)",
        ),
        (
            "indefinite_text",
            "7f6161ff",
            "not-canonical",
            "indefinite text (ENC-2)",
        ),
        (
            "indefinite_array",
            "9f01ff",
            "not-canonical",
            "an indefinite array (ENC-2)",
        ),
        (
            "indefinite_map",
            "bf0001ff",
            "not-canonical",
            "an indefinite map (ENC-2)",
        ),
        (
            "keys_descending",
            "a201000000",
            "not-canonical",
            "keys 1, 0 (ENC-3)",
        ),
        ("key_twice", "a200010002", "not-canonical", "key 0 twice (ENC-3)"),
        ("text_key", "a1616101", "not-canonical", "a text key (ENC-3)"),
        ("bytes_key", "a1410101", "not-canonical", "a bytes key (ENC-3)"),
        ("negative", "20", "not-canonical", "-1 (ENC-4)"),
        ("tag", "c000", "not-canonical", "a tag (ENC-4)"),
        (
            "bignum",
            "c249010000000000000000",
            "not-canonical",
            "a bignum (ENC-4)",
        ),
        ("null", "f6", "not-canonical", "null (ENC-4)"),
        ("undefined", "f7", "not-canonical", "undefined (ENC-4)"),
        ("simple", "f0", "not-canonical", "a simple value (ENC-4)"),
        (
            "long_simple",
            "f8ff",
            "not-canonical",
            "a long simple value (ENC-4)",
        ),
        ("long_true", "f815", "not-canonical", "true in two bytes (ENC-4)"),
        ("half", "f97e00", "not-canonical", "a half float (ENC-4)"),
        ("single", "fa7fc00000", "not-canonical", "a single float (ENC-4)"),
        (
            "double",
            "fb7ff8000000000000",
            "not-canonical",
            "a double float (ENC-4)",
        ),
        ("break", "ff", "not-canonical", "a break alone"),
        (
            "not_utf8",
            "61ff",
            "not-canonical",
            "text that is not UTF-8 (ENC-5)",
        ),
        (
            "overlong_utf8",
            "62c080",
            "not-canonical",
            "overlong UTF-8 (ENC-5)",
        ),
        (
            "surrogate",
            "63eda080",
            "not-canonical",
            "a surrogate in UTF-8 (ENC-5)",
        ),
        ("two_items", "0000", "trailing-bytes", "two items (ENC-1)"),
        ("short_bytes", "4201", "truncated", "one byte of two (ENC-1)"),
        ("short_array", "8201", "truncated", "one item of two (ENC-1)"),
        (
            "short_map",
            "a100",
            "truncated",
            "a key without its value (ENC-1)",
        ),
        (
            "huge_array",
            "9b7fffffffffffffff",
            "truncated",
            "2^63-1 items in nine bytes (ENC-1)",
        ),
        (
            "huge_map",
            "bbffffffffffffffff",
            "truncated",
            "2^64-1 pairs in nine bytes (ENC-1)",
        ),
        (
            "huge_bytes",
            "5bffffffffffffffff",
            "truncated",
            "2^64-1 bytes in nine (ENC-1)",
        ),
        ("short_head", "19", "truncated", "a head that ends early (ENC-1)"),
    ];
    for (name, hex, code, comment) in refused {
        let bytes = hex_decode(hex).unwrap();
        cases.refuse(
            &format!("canon/{name}"),
            comment,
            What::Cbor,
            Stage::Decode,
            code,
            &bytes,
        );
    }
    let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
    cases.accept(
        "canon/depth_16",
        "16 arrays (ENC-6)",
        What::Cbor,
        Stage::Decode,
        &nested(16),
    );
    cases.refuse(
        "canon/depth_17",
        "17 arrays (ENC-6)",
        What::Cbor,
        Stage::Decode,
        "too-deep",
        &nested(17),
    );
}
