//! The photograph of a crack, painted by arithmetic: a plastered wall in low light, a
//! crack with one branch, a damp stain and a ruler.
//!
//! Only operations that IEEE 754 defines to the last bit are used, so every machine paints
//! the same pixels.

use jpeg_encoder::{ColorType, Encoder, PixelDensity, SamplingFactor};

use crate::Outcome;

const WIDTH: usize = 1600;
const HEIGHT: usize = 1200;

/// An RGB image in memory.
pub struct Photo {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Photo {
    /// Paints the wall.
    pub fn render() -> Self {
        let mut rgb = Vec::with_capacity(WIDTH * HEIGHT * 3);
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                rgb.extend(pixel(x, y).map(to_byte));
            }
        }
        Self {
            width: WIDTH,
            height: HEIGHT,
            rgb,
        }
    }

    /// The same picture at half the width and height.
    pub fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let at = |x: usize, y: usize, channel: usize| u32::from(self.rgb[(y * self.width + x) * 3 + channel]);
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width {
                for c in 0..3 {
                    let (x, y) = (2 * x, 2 * y);
                    let sum = at(x, y, c) + at(x + 1, y, c) + at(x, y + 1, c) + at(x + 1, y + 1, c);
                    rgb.push((sum / 4) as u8);
                }
            }
        }
        Self { width, height, rgb }
    }

    /// The picture as a JPEG file of 200 dots per inch with its Exif description.
    pub fn jpeg(&self, quality: u8) -> Outcome<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, quality);
        encoder.set_density(PixelDensity::dpi(200));
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.set_optimized_huffman_tables(true);
        encoder.add_exif_metadata(&exif())?;
        encoder.encode(&self.rgb, self.width as u16, self.height as u16, ColorType::Rgb)?;
        Ok(bytes)
    }
}

/// Exif of the picture: a little-endian TIFF directory of three texts.
fn exif() -> Vec<u8> {
    /// ImageDescription, Software, DateTime; ascending, as TIFF 6.0 asks.
    const TEXTS: [(u16, &[u8]); 3] = [
        (
            0x010e,
            b"Image de synthese : fissure F1 d'un mur, dossier d'exemple\0",
        ),
        (0x0131, b"sample-dossier\0"),
        (0x0132, b"2026:03:12 10:42:00\0"),
    ];
    const DIRECTORY: usize = 8;
    let mut texts_at = DIRECTORY + 2 + TEXTS.len() * 12 + 4;
    let mut tiff = b"II\x2a\0\x08\0\0\0".to_vec();
    tiff.extend((TEXTS.len() as u16).to_le_bytes());
    for (tag, text) in TEXTS {
        tiff.extend(tag.to_le_bytes());
        tiff.extend(2_u16.to_le_bytes()); // type ASCII
        tiff.extend((text.len() as u32).to_le_bytes());
        tiff.extend((texts_at as u32).to_le_bytes());
        texts_at += text.len();
    }
    tiff.extend(0_u32.to_le_bytes()); // no further directory
    TEXTS.iter().for_each(|(_, text)| tiff.extend(*text));
    tiff
}

/// Colour of one pixel, each channel from 0 to 1.
fn pixel(column: usize, row: usize) -> [f32; 3] {
    let (x, y) = (column as f32, row as f32);
    // The plaster: trowel marks and grain as a height field, lit from the upper left.
    let slope = relief(x + 1.5, y + 1.5) - relief(x - 1.5, y - 1.5);
    let mottle = fractal(x / 310.0, y / 260.0, 4, 11) - 0.5;
    let mut light = 0.80 - 0.055 * slope + 0.10 * mottle;

    let crack = crack(x, y);
    // A chipped lip that catches the light on one side of the crack, then the dark of the crack.
    light += 0.10 * crack.lip;
    light *= 1.0 - 0.30 * crack.shade;
    light *= 1.0 - 0.82 * crack.depth;

    // The damp stain: darker, browner, with a tide mark.
    let reach = distance(x, y, 1270.0, 1010.0) / 470.0 + 0.55 * (fractal(x / 150.0, y / 150.0, 4, 23) - 0.5);
    let damp = 1.0 - smooth(0.55, 0.95, reach);
    let tide = smooth(0.70, 0.80, reach) * (1.0 - smooth(0.80, 0.90, reach));
    let mut colour = [light * 0.985, light * 0.945, light * 0.865];
    for (channel, absorbed) in colour.iter_mut().zip([0.16, 0.22, 0.31]) {
        *channel *= 1.0 - absorbed * damp - 0.45 * absorbed * tide;
    }

    if let Some(ruler) = ruler(x, y) {
        colour = ruler;
    }
    // Light of a window on the left, falling off; corners of the lens; noise of the sensor.
    let lit = 1.10 - 0.34 * smooth(0.0, 1750.0, x + 0.35 * y);
    let corner = distance(x, y, 800.0, 600.0) / 1000.0;
    let exposure = lit * (1.0 - 0.20 * corner * corner);
    let noise = |channel: u32| 0.022 * (lattice(column as i32, row as i32, 90 + channel) - 0.5);
    let grey = 0.030 * (lattice(column as i32, row as i32, 77) - 0.5);
    [0, 1, 2].map(|channel| colour[channel as usize] * exposure + grey + noise(channel))
}

/// Height of the plaster at a point.
fn relief(x: f32, y: f32) -> f32 {
    let trowel = fractal((x + 0.6 * y) / 95.0, (y - 0.6 * x) / 30.0, 3, 3);
    let sand = fractal(x / 5.0, y / 5.0, 2, 5);
    let pit = smooth(0.60, 0.85, fractal(x / 17.0, y / 17.0, 2, 7));
    4.5 * trowel + 1.7 * sand - 1.6 * pit
}

/// How the crack shows at a point; each from 0 to 1.
struct Crack {
    depth: f32,
    shade: f32,
    lip: f32,
}

fn crack(x: f32, y: f32) -> Crack {
    // The main crack runs down from the ceiling; a branch leaves it to the right.
    let spine = |y: f32| {
        640.0
            + 0.10 * y
            + 250.0 * (fractal(3.7, y / 420.0, 2, 31) - 0.5)
            + 60.0 * (fractal(9.1, y / 70.0, 3, 37) - 0.5)
            + 12.0 * (fractal(1.3, y / 9.0, 2, 39) - 0.5)
    };
    let main_width = 5.2 * (1.0 - smooth(780.0, 1130.0, y)) * (0.45 + fractal(5.5, y / 48.0, 3, 41));
    let fork = spine(470.0);
    let branch = |x: f32| {
        470.0
            + 0.42 * (x - fork)
            + 110.0 * (fractal(x / 190.0, 2.2, 3, 43) - fractal(fork / 190.0, 2.2, 3, 43))
            + 14.0 * (fractal(x / 12.0, 6.2, 2, 45) - 0.5)
    };
    let along = smooth(fork - 2.0, fork + 6.0, x) * (1.0 - smooth(fork + 160.0, fork + 430.0, x));
    let branch_width = 2.6 * along * (0.45 + fractal(x / 40.0, 8.8, 3, 47));

    // Distance to a curve: the distance along one axis, shortened by the slope of the curve.
    let main_slope = (spine(y + 9.0) - spine(y - 9.0)) / 18.0;
    let main = (x - spine(y)) / (1.0 + main_slope * main_slope).sqrt();
    let branch_slope = (branch(x + 9.0) - branch(x - 9.0)) / 18.0;
    let side = (y - branch(x)) / (1.0 + branch_slope * branch_slope).sqrt();

    let mut seen = Crack {
        depth: 0.0,
        shade: 0.0,
        lip: 0.0,
    };
    for (signed, width) in [(main, main_width), (side, branch_width)] {
        if width < 0.15 {
            continue;
        }
        let away = signed.abs();
        let present = smooth(0.15, 1.2, width);
        seen.depth = seen
            .depth
            .max(present * (1.0 - smooth(0.55 * width, width + 1.1, away)));
        seen.shade = seen
            .shade
            .max(present * (1.0 - smooth(width, 2.0 * width + 4.0, away)));
        let lip = smooth(width, width + 2.0, signed) * (1.0 - smooth(width + 2.0, width + 7.0, signed));
        seen.lip = seen.lip.max(present * lip * fractal(x / 26.0, y / 26.0, 2, 53));
    }
    seen
}

/// Colour of the paper ruler, in millimetres, laid across the crack; `None` beside it.
fn ruler(x: f32, y: f32) -> Option<[f32; 3]> {
    const PIXELS_PER_MM: f32 = 11.0;
    // Laid by hand: turned by a slope of one in thirty.
    let (along, across) = (x - 470.0 + (y - 820.0) / 30.0, y - 820.0 - (x - 470.0) / 30.0);
    if !(0.0..=495.0).contains(&along) || !(0.0..=74.0).contains(&across) {
        let shadow = (0.0..=501.0).contains(&along) && (0.0..=79.0).contains(&across);
        return shadow.then_some([0.44, 0.42, 0.39]);
    }
    let position = (along - 22.0) / PIXELS_PER_MM;
    let nearest = (position + 0.5).floor();
    let length = match nearest as i32 {
        n if !(0..=41).contains(&n) => 0.0,
        n if n % 10 == 0 => 40.0,
        n if n % 5 == 0 => 30.0,
        _ => 20.0,
    };
    let ink = (1.0 - smooth(0.9, 1.9, (position - nearest).abs() * PIXELS_PER_MM))
        * (1.0 - smooth(length - 0.5, length + 0.5, across));
    let paper = 0.93 + 0.02 * (fractal(x / 30.0, y / 30.0, 2, 61) - 0.5);
    Some([paper, paper, paper * 0.985].map(|channel| channel * (1.0 - 0.86 * ink)))
}

/// Sum of `octaves` of smooth noise, from 0 to 1.
fn fractal(x: f32, y: f32, octaves: u32, seed: u32) -> f32 {
    let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
    for octave in 0..octaves {
        sum += weight * value(x * scale, y * scale, seed + octave * 101);
        total += weight;
        weight *= 0.5;
        scale *= 2.0;
    }
    sum / total
}

/// Noise interpolated between the points of a lattice, from 0 to 1.
fn value(x: f32, y: f32, seed: u32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (u, v) = (smooth(0.0, 1.0, x - left), smooth(0.0, 1.0, y - top));
    let (i, j) = (left as i32, top as i32);
    let upper = mix(lattice(i, j, seed), lattice(i + 1, j, seed), u);
    let lower = mix(lattice(i, j + 1, seed), lattice(i + 1, j + 1, seed), u);
    mix(upper, lower, v)
}

/// One number from 0 to 1 for each point of a lattice, always the same.
fn lattice(i: i32, j: i32, seed: u32) -> f32 {
    let mut h = (i as u32).wrapping_mul(0x9E37_79B1)
        ^ (j as u32).wrapping_mul(0x85EB_CA77)
        ^ seed.wrapping_mul(0xC2B2_AE3D);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    h ^= h >> 15;
    (h >> 8) as f32 / 16_777_215.0
}

fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

fn smooth(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn distance(x: f32, y: f32, centre_x: f32, centre_y: f32) -> f32 {
    let (dx, dy) = (x - centre_x, y - centre_y);
    (dx * dx + dy * dy).sqrt()
}

fn to_byte(channel: f32) -> u8 {
    (channel.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}
