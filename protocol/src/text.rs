//! Text forms of bytes: base64url without padding (RFC 4648 §5, as RFC 7515 §2 uses it), base64 with padding (RFC 4648
//! §4, as signed notes use it) and lower-case hexadecimal (RFC 4648 §8).
//!
//! All decoders are strict: one value has one text, so a signed text cannot be rewritten without notice.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};

/// Writes `bytes` in base64url without padding.
#[must_use]
pub fn b64url_encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Reads base64url without padding. Refuses padding, white space, any character outside the alphabet, and
/// trailing bits that are not zero.
#[must_use]
pub fn b64url_decode(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

/// Writes `bytes` in base64 with padding.
#[must_use]
pub fn b64_encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Reads base64 with padding. Refuses missing padding, white space, any character outside the alphabet, and trailing
/// bits that are not zero.
#[must_use]
pub fn b64_decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).ok()
}

/// Writes `bytes` in lower-case hexadecimal.
#[must_use]
pub fn hex_encode(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Reads lower-case hexadecimal. Refuses capitals, an odd number of characters and everything else.
#[must_use]
pub fn hex_decode(text: &str) -> Option<Vec<u8>> {
    HEXLOWER.decode(text.as_bytes()).ok()
}

/// Whether `text` is a media type of RFC 6838 §4.2: a type and a subtype, without parameters.
pub fn check_media_type(text: &str) -> bool {
    let restricted = |name: &str| {
        (1..=127).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    text.split_once('/')
        .is_some_and(|(kind, subtype)| restricted(kind) && restricted(subtype))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 4648 §10, without padding, and one value that uses `-` and `_`.
    const B64URL_VECTORS: [(&[u8], &str); 8] = [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
        (&[0xfb, 0xff, 0xbf], "-_-_"),
    ];

    #[test]
    fn base64url_follows_rfc_4648() {
        for (bytes, text) in B64URL_VECTORS {
            assert_eq!(b64url_encode(bytes), text);
            assert_eq!(b64url_decode(text).unwrap(), bytes);
        }
    }

    #[test]
    fn base64url_has_one_text_per_value() {
        for text in [
            "Zg==", "Zm8=", "Zm9v=", "=", // padding
            "Z", "Zm9vY", // a lone character
            "Zh", "Zn", "Zm9", "Zm_", // trailing bits that are not zero
            "+/+/", "Zm9v\n", " Zm9v", "Zm 9v", "Zm9é", "Zm\09", // outside the alphabet
        ] {
            assert_eq!(b64url_decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn hexadecimal_follows_rfc_4648_in_lower_case() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "66"),
            (b"foobar", "666f6f626172"),
            (&[0, 0xaf], "00af"),
        ] {
            assert_eq!(hex_encode(bytes), text);
            assert_eq!(hex_decode(text).unwrap(), bytes);
        }
        for text in ["6", "666", "AF", "aF", "0x", "g0", "0g", " 6", "é"] {
            assert_eq!(hex_decode(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(&b64url_decode(&b64url_encode(&bytes)).unwrap(), &bytes);
            prop_assert_eq!(hex_decode(&hex_encode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_refused_or_written_the_same_again(
            base in "[A-Za-z0-9_=+/-]{0,12}", hex in "[0-9a-fA-F]{0,8}",
        ) {
            if let Some(bytes) = b64url_decode(&base) {
                prop_assert_eq!(b64url_encode(&bytes), base);
            }
            if let Some(bytes) = hex_decode(&hex) {
                prop_assert_eq!(hex_encode(&bytes), hex);
            }
        }
    }
}
