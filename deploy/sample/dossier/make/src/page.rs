//! Pages of French text as PDF/A-2u.
//!
//! The writer validates what it writes: a file that would break PDF/A-2u is refused, not
//! written. The layout is plain: one column, justified, from top to bottom.

use krilla::color::{luma, rgb};
use krilla::configure::{Archival, ConfigurationBuilder};
use krilla::geom::{PathBuilder, Point, Rect, Size, Transform};
use krilla::image::Image;
use krilla::metadata::{DateTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule, Paint};
use krilla::surface::Surface;
use krilla::{Document, SerializeSettings};

use crate::french::typeset;
use crate::typeface::{Fonts, Word};
use crate::{Outcome, facts};

// A4 and its margins, in points.
const PAGE_WIDTH: f32 = 595.28;
const PAGE_HEIGHT: f32 = 841.89;
const LEFT: f32 = 68.0;
const TOP: f32 = 62.0;
const BOTTOM: f32 = 772.0;
const FOOT: f32 = 802.0;
/// Width of the column of text, in points.
pub const COLUMN: f32 = PAGE_WIDTH - 2.0 * LEFT;

const BODY: f32 = 9.6;
const LEADING: f32 = 1.42;

/// Where a line stands in its column.
#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    /// From margin to margin.
    Justified,
    /// Along the left margin.
    Left,
    /// In the middle.
    Centre,
    /// Along the right margin.
    Right,
}

enum Mark {
    Word {
        x: f32,
        y: f32,
        size: f32,
        grey: u8,
        word: Word,
    },
    Bar {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        grey: u8,
    },
    Picture {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        image: Image,
    },
}

/// Where a block of text goes and how it looks.
#[derive(Clone, Copy)]
struct Block {
    left: f32,
    width: f32,
    size: f32,
    align: Align,
}

/// A document in the making.
pub struct Pages<'a> {
    fonts: &'a Fonts<'a>,
    pages: Vec<Vec<Mark>>,
    y: f32,
}

impl<'a> Pages<'a> {
    /// An empty document.
    pub fn new(fonts: &'a Fonts<'a>) -> Self {
        Self {
            fonts,
            pages: vec![Vec::new()],
            y: TOP,
        }
    }

    /// The court and its office on the left, two numbers on the right, at the top of the first page.
    pub fn letterhead(&mut self, office: &str, numbers: [&str; 2]) {
        let court = format!("**{}**", facts::COURT);
        for (left, right) in [court.as_str(), office].into_iter().zip(numbers) {
            let top = self.y;
            self.flow(left, block(0.0, COLUMN, BODY, Align::Left));
            self.y = top;
            self.flow(right, block(0.0, COLUMN, BODY, Align::Right));
        }
        self.y += 5.0;
        self.rule();
    }

    /// A title in the middle, with a line under it.
    pub fn title(&mut self, title: &str, under: &str) {
        self.y += 18.0;
        self.flow(&format!("**{title}**"), block(0.0, COLUMN, 15.0, Align::Centre));
        self.y += 2.0;
        self.flow(under, block(0.0, COLUMN, BODY, Align::Centre));
        self.y += 12.0;
    }

    /// A heading, kept with what follows it.
    pub fn heading(&mut self, text: &str) {
        self.y += 9.0;
        self.keep(70.0);
        self.flow(&format!("**{text}**"), block(0.0, COLUMN, 10.8, Align::Left));
        self.y += 3.0;
    }

    /// A paragraph; `**` around words makes them bold.
    pub fn paragraph(&mut self, text: &str) {
        self.flow(text, block(0.0, COLUMN, BODY, Align::Justified));
        self.y += 5.0;
    }

    /// A paragraph with its number or dash in the margin.
    pub fn item(&mut self, label: &str, text: &str) {
        const LABEL: f32 = 24.0;
        self.keep(2.0 * BODY * LEADING);
        let (page, top) = (self.pages.len(), self.y);
        self.flow(label, block(8.0, LABEL, BODY, Align::Left));
        if self.pages.len() == page {
            self.y = top;
        }
        self.flow(
            text,
            block(8.0 + LABEL, COLUMN - 8.0 - LABEL, BODY, Align::Justified),
        );
        self.y += 4.0;
    }

    /// A table; columns are given by width in points and alignment, the first row is the head.
    pub fn table<Cell: AsRef<str>>(&mut self, columns: &[(f32, Align)], rows: &[Vec<Cell>]) {
        const PAD: f32 = 4.0;
        let total: f32 = columns.iter().map(|(width, _)| width).sum();
        self.y += 2.0;
        for (index, row) in rows.iter().enumerate() {
            let cells: Vec<(String, Block)> = row
                .iter()
                .zip(columns)
                .scan(0.0, |left, (cell, (width, align))| {
                    let place = block(*left + PAD, width - 2.0 * PAD, BODY - 0.8, *align);
                    *left += width;
                    let cell = cell.as_ref();
                    Some((
                        if index == 0 {
                            format!("**{cell}**")
                        } else {
                            cell.to_owned()
                        },
                        place,
                    ))
                })
                .collect();
            let heights = cells
                .iter()
                .map(|(text, place)| self.lines(text, *place).len() as f32 * place.size * LEADING);
            let height = heights.fold(0.0, f32::max) + PAD;
            self.keep(if index == 0 { 2.5 * height } else { height });
            let top = self.y;
            if index == 0 {
                self.bar(LEFT, top, total, height, 232);
                self.bar(LEFT, top, total, 0.7, 90);
            }
            for (text, place) in cells {
                self.y = top + PAD / 2.0;
                self.flow(&text, place);
            }
            self.y = top + height;
            self.bar(
                LEFT,
                self.y,
                total,
                if index == 0 || index + 1 == rows.len() {
                    0.7
                } else {
                    0.3
                },
                90,
            );
        }
        self.y += 9.0;
    }

    /// A picture in the middle with its caption.
    pub fn picture(&mut self, jpeg: Vec<u8>, width: f32, caption: &str) -> Outcome<()> {
        let image = Image::from_jpeg(jpeg.into(), false)?;
        let (pixels_wide, pixels_high) = image.size();
        let height = width * pixels_high as f32 / pixels_wide as f32;
        self.keep(height + 40.0);
        self.y += 4.0;
        self.mark(Mark::Picture {
            x: LEFT + (COLUMN - width) / 2.0,
            y: self.y,
            width,
            height,
            image,
        });
        self.y += height + 4.0;
        self.flow(caption, block(0.0, COLUMN, BODY - 1.2, Align::Centre));
        self.y += 7.0;
        Ok(())
    }

    /// Signatures side by side, each a place and date line or a role.
    pub fn signatures(&mut self, intro: &str, roles: &[&str]) {
        self.keep(86.0);
        self.y += 10.0;
        self.flow(intro, block(0.0, COLUMN, BODY, Align::Left));
        self.y += 12.0;
        let (top, share) = (self.y, COLUMN / roles.len() as f32);
        for (index, role) in roles.iter().enumerate() {
            self.y = top;
            self.flow(
                &format!("**{role}**"),
                block(index as f32 * share, share, BODY, Align::Centre),
            );
        }
        self.y += 30.0;
    }

    /// A thin line across the column.
    pub fn rule(&mut self) {
        self.bar(LEFT, self.y, COLUMN, 0.6, 90);
        self.y += 4.0;
    }

    /// Writes the file, or says which clauses of PDF/A-2u it would break.
    pub fn finish(self, title: &str, author: &str, (year, month, day): (u16, u8, u8)) -> Outcome<Vec<u8>> {
        let configuration = ConfigurationBuilder::new()
            .with_archival_validator(Archival::A2_U)
            .finish()
            .map_err(|error| format!("{error:?}"))?;
        let mut document = Document::new_with(SerializeSettings {
            configuration,
            ..SerializeSettings::default()
        });
        let date = DateTime::new(year)
            .month(month)
            .day(day)
            .hour(9)
            .minute(0)
            .second(0);
        document.set_metadata(
            Metadata::new()
                .title(typeset(title))
                .authors(vec![typeset(author)])
                .description(typeset(facts::NOTICE))
                .language("fr-FR".to_owned())
                .creator("sample-dossier".to_owned())
                .document_id(format!("basoche-sample-{title}"))
                .creation_date(date.utc_offset_hour(0).utc_offset_minute(0)),
        );
        let count = self.pages.len();
        let fonts = self.fonts;
        for (index, marks) in self.pages.into_iter().enumerate() {
            let mut foot = Self::new(fonts);
            foot.y = FOOT;
            let place = block(0.0, COLUMN, 7.4, Align::Left);
            foot.flow(&format!("{} · {} · {title}", facts::NOTICE, facts::CASE), place);
            foot.y = FOOT;
            foot.flow(
                &format!("{} / {count}", index + 1),
                Block {
                    align: Align::Right,
                    ..place
                },
            );
            let settings = PageSettings::from_wh(PAGE_WIDTH, PAGE_HEIGHT).ok_or("page size")?;
            let mut page = document.start_page_with(settings);
            let mut surface = page.surface();
            for mark in marks.into_iter().chain(foot.pages.into_iter().flatten()) {
                draw(&mut surface, fonts, mark)?;
            }
            surface.finish();
            page.finish();
        }
        Ok(document.finish().map_err(|error| format!("{title}: {error:?}"))?)
    }

    /// Starts a new page unless `height` points are left on this one.
    fn keep(&mut self, height: f32) {
        if self.y + height > BOTTOM && self.y < FOOT {
            self.pages.push(Vec::new());
            self.y = TOP;
        }
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    fn bar(&mut self, x: f32, y: f32, width: f32, height: f32, grey: u8) {
        self.mark(Mark::Bar {
            x,
            y,
            width,
            height,
            grey,
        });
    }

    /// Sets a text in lines and moves down below it.
    fn flow(&mut self, text: &str, place: Block) {
        let lines = self.lines(text, place);
        let count = lines.len();
        let pitch = place.size * LEADING;
        let grey = if place.size < 8.0 { 96 } else { 0 };
        for (index, words) in lines.into_iter().enumerate() {
            // No first line alone at the foot of a page, no last line alone at the head of the next.
            let together = if count > 1 && (index == 0 || index + 2 == count) {
                2.0
            } else {
                1.0
            };
            self.keep(together * pitch);
            let natural = line_width(&words);
            let slack = place.width - natural;
            let gaps = words.len().saturating_sub(1);
            let (indent, stretch) = match place.align {
                Align::Justified if index + 1 < count && gaps > 0 => (0.0, slack / gaps as f32),
                Align::Justified | Align::Left => (0.0, 0.0),
                Align::Centre => (slack / 2.0, 0.0),
                Align::Right => (slack, 0.0),
            };
            let mut x = LEFT + place.left + indent;
            let y = self.y + place.size;
            for word in words {
                let width = word.width;
                self.mark(Mark::Word {
                    x,
                    y,
                    size: place.size,
                    grey,
                    word,
                });
                x += width + stretch;
            }
            self.y += pitch;
        }
    }

    fn lines(&self, text: &str, place: Block) -> Vec<Vec<Word>> {
        let mut lines = vec![Vec::new()];
        let mut filled = 0.0;
        for word in self.fonts.words(text, place.size) {
            if filled + word.ink_width > place.width && filled > 0.0 {
                lines.push(Vec::new());
                filled = 0.0;
            }
            filled += word.width;
            if let Some(line) = lines.last_mut() {
                line.push(word);
            }
        }
        lines
    }
}

fn block(left: f32, width: f32, size: f32, align: Align) -> Block {
    Block {
        left,
        width,
        size,
        align,
    }
}

fn line_width(words: &[Word]) -> f32 {
    let spaced: f32 = words.iter().map(|word| word.width).sum();
    words
        .last()
        .map_or(0.0, |last| spaced - last.width + last.ink_width)
}

fn draw(surface: &mut Surface<'_>, fonts: &Fonts<'_>, mark: Mark) -> Outcome<()> {
    match mark {
        Mark::Word {
            x,
            y,
            size,
            grey,
            word,
        } => {
            let face = fonts.face(word.bold);
            surface.set_fill(Some(fill(luma::Color::new(grey))));
            surface.draw_glyphs(
                Point::from_xy(x, y),
                &word.glyphs,
                face.embedded.clone(),
                &word.text,
                size,
                false,
            );
        }
        Mark::Bar {
            x,
            y,
            width,
            height,
            grey,
        } => {
            let mut path = PathBuilder::new();
            path.push_rect(Rect::from_xywh(x, y, width, height).ok_or("rectangle")?);
            surface.set_fill(Some(fill(rgb::Color::new(grey, grey, grey))));
            surface.draw_path(&path.finish().ok_or("path")?);
        }
        Mark::Picture {
            x,
            y,
            width,
            height,
            image,
        } => {
            surface.push_transform(&Transform::from_translate(x, y));
            surface.draw_image(image, Size::from_wh(width, height).ok_or("image size")?);
            surface.pop();
        }
    }
    Ok(())
}

fn fill(colour: impl Into<Paint>) -> Fill {
    Fill {
        paint: colour.into(),
        opacity: NormalizedF32::ONE,
        rule: FillRule::default(),
    }
}
