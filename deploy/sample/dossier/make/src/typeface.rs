//! The installed fonts: words are shaped and measured here, once, for layout and drawing alike.

use krilla::text::{Font, GlyphId, KrillaGlyph};

use crate::Outcome;
use crate::french::typeset;

/// Where Debian's package `fonts-dejavu-core` puts the fonts.
const FONT_DIR: &str = "/usr/share/fonts/truetype/dejavu";

/// The font files in memory.
pub struct FontBytes {
    regular: Vec<u8>,
    bold: Vec<u8>,
}

impl FontBytes {
    /// Reads the installed fonts.
    pub fn installed() -> Outcome<Self> {
        let read = |name: &str| {
            let path = format!("{FONT_DIR}/{name}");
            std::fs::read(&path)
                .map_err(|error| format!("{path}: {error}; run apt-get install fonts-dejavu-core"))
        };
        Ok(Self {
            regular: read("DejaVuSerif.ttf")?,
            bold: read("DejaVuSerif-Bold.ttf")?,
        })
    }

    /// The fonts, ready to measure and to embed.
    pub fn fonts(&self) -> Outcome<Fonts<'_>> {
        Ok(Fonts {
            regular: Face::new(&self.regular)?,
            bold: Face::new(&self.bold)?,
        })
    }
}

/// The two faces that the documents use.
pub struct Fonts<'a> {
    regular: Face<'a>,
    bold: Face<'a>,
}

impl Fonts<'_> {
    /// The bold face or the regular one.
    pub fn face(&self, bold: bool) -> &Face<'_> {
        if bold { &self.bold } else { &self.regular }
    }

    /// The words of a text, shaped at `size` points; `**` around words makes them bold.
    pub fn words(&self, text: &str, size: f32) -> Vec<Word> {
        let text = typeset(text);
        let mut pieces: Vec<(String, bool)> = Vec::new();
        for (index, run) in text.split("**").enumerate() {
            for piece in run.split_inclusive(' ') {
                match pieces.last_mut() {
                    // The space after bold words belongs to the last of them.
                    Some((before, _)) if piece == " " => before.push(' '),
                    _ => pieces.push((piece.to_owned(), index % 2 == 1)),
                }
            }
        }
        let measure = |glyphs: &[KrillaGlyph]| glyphs.iter().map(|glyph| glyph.x_advance).sum::<f32>() * size;
        let word = |(text, bold): (String, bool)| {
            let face = self.face(bold);
            let glyphs = face.shape(&text);
            let ink_width = measure(&face.shape(text.trim_end_matches(' ')));
            Word {
                text,
                width: measure(&glyphs),
                glyphs,
                bold,
                ink_width,
            }
        };
        pieces.into_iter().map(word).collect()
    }
}

/// One face of the font.
pub struct Face<'a> {
    /// As it goes into the file.
    pub embedded: Font,
    shaper: rustybuzz::Face<'a>,
}

impl<'a> Face<'a> {
    fn new(bytes: &'a [u8]) -> Outcome<Self> {
        Ok(Self {
            embedded: Font::new(bytes.to_vec().into(), 0).ok_or("not a font")?,
            shaper: rustybuzz::Face::from_slice(bytes, 0).ok_or("not a font")?,
        })
    }

    /// The glyphs of a text written from left to right.
    fn shape(&self, text: &str) -> Vec<KrillaGlyph> {
        let mut buffer = rustybuzz::UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.set_direction(rustybuzz::Direction::LeftToRight);
        buffer.guess_segment_properties();
        let shaped = rustybuzz::shape(&self.shaper, &[], buffer);
        let infos = shaped.glyph_infos();
        let em = self.shaper.units_per_em() as f32;
        let placed = infos.iter().zip(shaped.glyph_positions()).enumerate();
        placed
            .map(|(index, (info, at))| {
                let end = infos[index..]
                    .iter()
                    .map(|later| later.cluster)
                    .find(|next| *next > info.cluster);
                KrillaGlyph::new(
                    GlyphId::new(info.glyph_id),
                    at.x_advance as f32 / em,
                    at.x_offset as f32 / em,
                    at.y_offset as f32 / em,
                    at.y_advance as f32 / em,
                    info.cluster as usize..end.map_or(text.len(), |end| end as usize),
                    None,
                )
            })
            .collect()
    }
}

/// A word with the space that follows it, shaped.
pub struct Word {
    /// The characters.
    pub text: String,
    /// Their glyphs.
    pub glyphs: Vec<KrillaGlyph>,
    /// Whether it is set in the bold face.
    pub bold: bool,
    /// Without the space, in points.
    pub ink_width: f32,
    /// With the space, in points.
    pub width: f32,
}
