//! Values to canonical CBOR and back: the only owner of `serde_cbor`. SPEC §4.3.
//!
//! A structure is a map whose keys are the positions of its fields, so fields are only ever appended. Decoding goes
//! through the scanner first, then re-encodes the value and compares: arrays for structures, null for absent and
//! unknown keys are all refused, and what was signed is what we understood. ENC-10.

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

use super::canon;
use crate::error::{Malformed, MalformedKind as Kind};

/// What most values need less than: an encoding grows a few bytes at a time.
const ROOM: usize = 512;

/// The one encoding of `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_in(value, ROOM)
}

/// The same, where it is known how many bytes it should have.
pub fn encode_in<T: Serialize>(value: &T, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(room);
    let mut encoder = serde_cbor::ser::Serializer::new(&mut bytes).packed_format();
    // Unwrap safety: writing to memory cannot fail, and no type of this crate refuses to be serialised.
    #[allow(clippy::expect_used)]
    value.serialize(&mut encoder).expect("encoding to memory");
    bytes
}

/// Decodes `bytes`, of at most `max` bytes, refusing all that [`encode`] would not have written.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, Malformed> {
    canon::check(bytes, max)?;
    let value: T = read(bytes)?;
    if encode_in(&value, bytes.len()) != bytes {
        return Err(Malformed::at(0, Kind::WrongShape));
    }
    Ok(value)
}

/// Decodes some fields of a value that [`canon::check`] has accepted; the caller decodes it whole afterwards.
pub(crate) fn peek<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    read(bytes)
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    let mut decoder = serde_cbor::de::Deserializer::from_slice(bytes)
        .disable_named_format()
        .disable_standard_enums()
        .disable_legacy_enums();
    T::deserialize(&mut decoder).map_err(|error| {
        let at = usize::try_from(error.offset())
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        Malformed::at(at, Kind::WrongShape)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde::Deserialize as Derive;

    use super::*;
    use crate::id::Salt;
    use crate::text::hex_decode;

    #[derive(Debug, PartialEq, Serialize, Derive)]
    struct Sample {
        number: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        salt: Salt,
    }

    fn decode_hex(hex: &str) -> Result<Sample, Kind> {
        decode(&hex_decode(hex).unwrap(), 100).map_err(|error| error.kind)
    }

    #[test]
    fn fields_are_keys_by_position_and_an_absent_one_keeps_its_number() {
        let sample = Sample {
            number: 7,
            text: None,
            salt: Salt::new([1; 16]),
        };
        let hex = concat!(
            "a2", // map of two
            "00",
            "07", // 0 number
            "02",
            "50",
            "01010101010101010101010101010101" // 2 salt
        );
        assert_eq!(encode(&sample), hex_decode(hex).unwrap());
        assert_eq!(decode_hex(hex), Ok(sample));
    }

    #[test]
    fn other_shapes_of_the_same_value_are_refused() {
        let salt = "5001010101010101010101010101010101";
        for hex in [
            format!("830761 61{salt}").replace(' ', ""), // an array for the structure
            format!("a4000701616102{salt}0300"),         // an unknown key
            format!("a3 00 07 01 80 02 {salt}").replace(' ', ""), // an empty array for absent
            format!("a1 02 {salt}").replace(' ', ""),    // a missing field
            "a2000702410 1".replace(' ', ""),            // a salt of one byte
            format!("a2 666e756d62657207 02{salt}").replace(' ', ""), // a name for a key
        ] {
            assert!(decode_hex(&hex).is_err(), "{hex}");
        }
    }
}
