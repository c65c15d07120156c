//! Text forms of bytes: base64url without padding (RFC 4648 §5, as RFC 7515 §2 uses it) and
//! lower-case hexadecimal (RFC 4648 §8).
//!
//! Both decoders are strict: one value has one text, so a signed text cannot be rewritten without notice.

const B64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// What the reverse tables hold for a character outside the alphabet.
const OUTSIDE: u8 = 0xff;
const B64URL_VALUE: [u8; 256] = reversed(B64URL);
const HEX_VALUE: [u8; 256] = reversed(HEX);

/// Writes `bytes` in base64url without padding.
#[must_use]
pub fn b64url_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((bytes.len() * 4).div_ceil(3));
    for group in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(word);
        for place in 0..=group.len() {
            text.push(char::from(B64URL[(bits >> (18 - 6 * place)) as usize & 0x3f]));
        }
    }
    text
}

/// Reads base64url without padding. Refuses padding, white space, any character outside the alphabet, and
/// trailing bits that are not zero.
#[must_use]
pub fn b64url_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for (place, &character) in group.iter().enumerate() {
            let value = B64URL_VALUE[usize::from(character)];
            if value == OUTSIDE {
                return None;
            }
            bits |= u32::from(value) << (18 - 6 * place);
        }
        let [_, word @ ..] = bits.to_be_bytes();
        let (kept, rest) = word.split_at(group.len() - 1);
        // A lone character carries six bits: no byte at all.
        if kept.is_empty() || rest.iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend_from_slice(kept);
    }
    Some(bytes)
}

/// Writes `bytes` in lower-case hexadecimal.
#[must_use]
pub fn hex_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 0x0f)]));
    }
    text
}

/// Reads lower-case hexadecimal. Refuses capitals, an odd number of characters and everything else.
#[must_use]
pub fn hex_decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(
            |pair| match pair.map(|character| HEX_VALUE[usize::from(character)]) {
                [OUTSIDE, _] | [_, OUTSIDE] => None,
                [high, low] => Some(high << 4 | low),
            },
        )
        .collect()
}

/// The table that gives each character's place in `alphabet`.
const fn reversed(alphabet: &[u8]) -> [u8; 256] {
    let mut values = [OUTSIDE; 256];
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values
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
