//! Numbers with names: how the wire carries enumerations. SPEC §4.3.

/// Defines an enumeration whose wire form is an explicit small integer and whose JSON form is a name. ENC-9.
///
/// A number that is not in the list is refused when it is decoded: enumerations are never extended silently.
macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$item_doc])* $item,)+ }

        impl $name {
            /// Every value, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$item,)+];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$item => $number,)+ }
            }

            /// The value of a number on the wire.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$item),)+ _ => None }
            }

            /// The name in JSON, on the command line and in logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$item => $text,)+ }
            }

            /// The value of a name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$item),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(self.name())
                } else {
                    serializer.serialize_u16(self.number())
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                if deserializer.is_human_readable() {
                    let name = <String as serde::Deserialize>::deserialize(deserializer)?;
                    Self::from_name(&name).ok_or_else(|| D::Error::custom(concat!("unknown ", stringify!($name))))
                } else {
                    let number = <u16 as serde::Deserialize>::deserialize(deserializer)?;
                    Self::from_number(number).ok_or_else(|| D::Error::custom(concat!("unknown ", stringify!($name))))
                }
            }
        }
    };
}

pub(crate) use numbers;
