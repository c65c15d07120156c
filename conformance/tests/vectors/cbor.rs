//! CBOR by hand: values with explicit keys, written without either codec, and their commented hexadecimal.

use basoche_protocol::text::hex_encode;

/// A value. Maps are written in the order given, so that wrong orders can be written too.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Unsigned integer.
    U(u64),
    /// Byte string.
    B(Vec<u8>),
    /// Text string.
    T(String),
    /// Array.
    A(Vec<Self>),
    /// Map: key, name of the field, value.
    M(Vec<(u64, &'static str, Self)>),
    /// `false` or `true`.
    Bool(bool),
    /// These bytes as they are.
    Raw(Vec<u8>),
}

/// A byte string.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    Value::B(bytes.to_vec())
}

/// A text string.
pub(crate) fn text(text: &str) -> Value {
    Value::T(text.to_owned())
}

impl Value {
    /// The bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::U(value) => head(0, *value),
            Self::B(bytes) => [head(2, bytes.len() as u64), bytes.clone()].concat(),
            Self::T(text) => [head(3, text.len() as u64), text.as_bytes().to_vec()].concat(),
            Self::A(items) => {
                let items = items.iter().flat_map(Self::encode);
                head(4, self.len()).into_iter().chain(items).collect()
            }
            Self::M(fields) => {
                let fields = fields
                    .iter()
                    .flat_map(|(key, _, value)| [head(0, *key), value.encode()].concat());
                head(5, self.len()).into_iter().chain(fields).collect()
            }
            Self::Bool(value) => vec![0xf4 | u8::from(*value)],
            Self::Raw(bytes) => bytes.clone(),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::A(items) => items.len() as u64,
            Self::M(fields) => fields.len() as u64,
            _ => 0,
        }
    }

    fn fields(&mut self) -> &mut Vec<(u64, &'static str, Self)> {
        match self {
            Self::M(fields) => fields,
            _ => panic!("not a map"),
        }
    }

    /// The field of this key.
    pub(crate) fn field(&mut self, key: u64) -> &mut Self {
        let found = self.fields().iter_mut().find(|(at, ..)| *at == key);
        &mut found.expect("no such field").2
    }

    /// The same map with this field changed, or put in its place.
    pub(crate) fn with(mut self, key: u64, value: Self) -> Self {
        let fields = self.fields();
        match fields.iter().position(|(at, ..)| *at >= key) {
            Some(place) if fields[place].0 == key => fields[place].2 = value,
            Some(place) => fields.insert(place, (key, "?", value)),
            None => fields.push((key, "?", value)),
        }
        self
    }

    /// The same map without this field.
    pub(crate) fn without(mut self, key: u64) -> Self {
        self.fields().retain(|(at, ..)| *at != key);
        self
    }

    /// Hexadecimal with a comment on each line, `name` for the whole.
    pub(crate) fn dump(&self, name: &str) -> String {
        let mut lines = Vec::new();
        self.lines(0, "", name, &mut lines);
        let mut text = String::new();
        for (hex, comment) in lines {
            text += format!("{hex:<24} # {comment}").trim_end();
            text.push('\n');
        }
        text
    }

    fn lines(&self, depth: usize, key: &str, name: &str, lines: &mut Vec<(String, String)>) {
        let start = format!("{}{key}", "  ".repeat(depth));
        match self {
            Self::M(fields) => {
                lines.push((
                    format!("{start}{}", hex_encode(&head(5, self.len()))),
                    name.to_owned(),
                ));
                for (key, name, value) in fields {
                    let key = format!("{} ", hex_encode(&head(0, *key)));
                    value.lines(depth + 1, &key, name, lines);
                }
            }
            Self::A(items) => {
                lines.push((
                    format!("{start}{}", hex_encode(&head(4, self.len()))),
                    name.to_owned(),
                ));
                items.iter().for_each(|item| item.lines(depth + 1, "", "", lines));
            }
            Self::T(text) => {
                let comment = if name.is_empty() {
                    format!("{text:?}")
                } else {
                    format!("{name}: {text:?}")
                };
                lines.push((format!("{start}{}", hex_encode(&self.encode())), comment));
            }
            Self::U(_) | Self::B(_) | Self::Bool(_) | Self::Raw(_) => {
                lines.push((format!("{start}{}", hex_encode(&self.encode())), name.to_owned()));
            }
        }
    }
}

fn head(major: u8, value: u64) -> Vec<u8> {
    let first = |low: u8| major << 5 | low;
    let tail = value.to_be_bytes();
    match value {
        0..=23 => vec![first(value as u8)],
        24..=0xff => [&[first(24)], &tail[7..]].concat(),
        0x100..=0xffff => [&[first(25)], &tail[6..]].concat(),
        0x1_0000..=0xffff_ffff => [&[first(26)], &tail[4..]].concat(),
        _ => [&[first(27)], &tail[..]].concat(),
    }
}
