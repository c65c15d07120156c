//! The sample dossier: real files, carried in the program.

use std::io::{self, Read, Write};
use std::path::Path;

use basoche_protocol::crypto::Sha256;

/// Bytes of the file made at run time: 256 MB.
const LARGE: u64 = 256_000_000;

/// Name and content of each file.
const FILES: [(&str, &[u8]); 8] = [
    (
        "ordonnance.pdf",
        include_bytes!("../../../deploy/sample/dossier/ordonnance.pdf"),
    ),
    (
        "pre-rapport.pdf",
        include_bytes!("../../../deploy/sample/dossier/pre-rapport.pdf"),
    ),
    (
        "rapport.pdf",
        include_bytes!("../../../deploy/sample/dossier/rapport.pdf"),
    ),
    (
        "photo-fissure.jpg",
        include_bytes!("../../../deploy/sample/dossier/photo-fissure.jpg"),
    ),
    (
        "releve-mesures.xlsx",
        include_bytes!("../../../deploy/sample/dossier/releve-mesures.xlsx"),
    ),
    (
        "dire-n1.docx",
        include_bytes!("../../../deploy/sample/dossier/dire-n1.docx"),
    ),
    (
        "note-honoraires.csv",
        include_bytes!("../../../deploy/sample/dossier/note-honoraires.csv"),
    ),
    (
        "bordereau.txt",
        include_bytes!("../../../deploy/sample/dossier/bordereau.txt"),
    ),
];

/// What only the persons of the dossier may read.
pub(super) const CERTIFICATE: (&str, &str) = (
    "certificat-medical.txt",
    "CERTIFICAT MÉDICAL (document d'essai, sans valeur)\n\n\
     Je constate une gêne respiratoire que le patient rapporte à l'humidité du logement.\n",
);

/// Writes the sample dossier, and the large file, into `directory`.
pub(super) fn write(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (name, content) in FILES {
        std::fs::write(directory.join(name), content)?;
    }
    let (name, content) = CERTIFICATE;
    std::fs::write(directory.join(name), content)?;
    let mut large = io::BufWriter::with_capacity(
        1 << 20,
        std::fs::File::create(directory.join("releves-bruts.bin"))?,
    );
    // Readings nobody could compress: a plain xorshift, since only their size matters.
    let (mut word, mut left) = (0x9e37_79b9_7f4a_7c15_u64, LARGE);
    while left > 0 {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        let bytes = word.to_le_bytes();
        let length = bytes.len().min(usize::try_from(left).unwrap_or(bytes.len()));
        large.write_all(&bytes[..length])?;
        left -= length as u64;
    }
    large.flush()
}

/// SHA-256 of a file.
pub(super) fn sha256(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hash, mut buffer) = (std::fs::File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finish()),
            length => hash.update(&buffer[..length]),
        }
    }
}
