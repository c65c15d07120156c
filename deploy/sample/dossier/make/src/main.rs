//! Writes the sample dossier of the demo: one invented assessment, from the order that
//! designates the expert to his fee claim.
//!
//! `cargo run -- DIR` writes every file and their `SHA256SUMS` into `DIR`. Nothing depends
//! on the day, the machine or chance: two runs write the same bytes.

mod dire;
mod facts;
mod fees;
mod french;
mod measurements;
mod order;
mod page;
mod photo;
mod pre_report;
mod report;
mod typeface;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

/// What every part of the generator answers with.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let target = std::env::args_os().nth(1).ok_or("usage: sample-dossier DIR")?;
    let target = Path::new(&target);
    let font_bytes = typeface::FontBytes::installed()?;
    let fonts = font_bytes.fonts()?;
    let photo = photo::Photo::render();

    let files = [
        ("bordereau.txt", fees::exhibit_list().into_bytes()),
        ("dire-n1.docx", dire::write()?),
        ("note-honoraires.csv", fees::fee_claim().into_bytes()),
        ("ordonnance.pdf", order::write(&fonts)?),
        ("photo-fissure.jpg", photo.jpeg(QUALITY)?),
        ("pre-rapport.pdf", pre_report::write(&fonts)?),
        (
            "rapport.pdf",
            report::write(&fonts, photo.halved().jpeg(QUALITY_IN_REPORT)?)?,
        ),
        ("releve-mesures.xlsx", measurements::write()?),
    ];

    let mut sums = String::new();
    for (name, bytes) in &files {
        std::fs::write(target.join(name), bytes)?;
        for byte in Sha256::digest(bytes) {
            write!(sums, "{byte:02x}")?;
        }
        writeln!(sums, "  {name}")?;
        println!("{:>8} {name}", bytes.len());
    }
    std::fs::write(target.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// JPEG quality of the photograph as an exhibit, of 100.
const QUALITY: u8 = 88;
/// JPEG quality of the smaller copy printed in the report, of 100.
const QUALITY_IN_REPORT: u8 = 72;
