//! Canaries, and the search for them in whatever form they might have been written.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use basoche_protocol::text::{b64url_encode, hex_encode};

use super::PATIENCE;

/// Standard base64, which differs from base64url in two digits.
pub(crate) fn base64(bytes: &[u8]) -> String {
    b64url_encode(bytes).replace('-', "+").replace('_', "/")
}

/// A canary in each form in which it might be written.
pub(crate) fn forms(canary: &str) -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| canary.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let hex = hex_encode(canary.as_bytes());
    let mut forms = vec![
        ("clear", canary.as_bytes().to_vec()),
        ("UTF-16LE", utf16(u16::to_le_bytes)),
        ("UTF-16BE", utf16(u16::to_be_bytes)),
        ("hexadecimal", hex.to_uppercase().into_bytes()),
        ("hexadecimal", hex.into_bytes()),
    ];
    // In base64 it depends on how many bytes precede it, and on its neighbours at both ends.
    for before in 0..3 {
        let padded = [&vec![0; before], canary.as_bytes()].concat();
        let first = (before * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        for encoded in [b64url_encode(&padded), base64(&padded)] {
            forms.push(("base64", encoded.as_bytes()[first..last].to_vec()));
        }
    }
    forms
}

/// A page of memory that nobody has written to.
const EMPTY: [u8; 4096] = [0; 4096];

/// Looks for many byte strings at once.
pub(crate) struct Search {
    /// What is looked for: which text, in which form.
    wanted: Vec<(String, Vec<u8>)>,
    /// Those that begin with these two bytes.
    by_head: Vec<Vec<usize>>,
}

impl Search {
    /// Looks for these canaries, each with the name of what it stands in.
    pub(crate) fn new(canaries: &[(&str, &str)]) -> Self {
        let mut wanted = Vec::new();
        for (text, canary) in canaries {
            let named = forms(canary).into_iter();
            wanted.extend(named.map(|(form, bytes)| (format!("{text}, {form}"), bytes)));
        }
        let mut by_head = vec![Vec::new(); 1 << 16];
        for (number, (_, bytes)) in wanted.iter().enumerate() {
            by_head[usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))].push(number);
        }
        Self { wanted, by_head }
    }

    /// What is found in these bytes, each once.
    pub(crate) fn found(&self, bytes: &[u8]) -> Vec<&str> {
        let (mut found, mut at) = (Vec::new(), 0);
        while at + 1 < bytes.len() {
            // Much of a memory image is empty. What begins with a zero may begin with the last one.
            if at % EMPTY.len() == 0 && bytes[at..].starts_with(&EMPTY) {
                at += EMPTY.len() - 1;
                continue;
            }
            for number in &self.by_head[usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])] {
                let (what, wanted) = &self.wanted[*number];
                if bytes[at..].starts_with(wanted) && !found.contains(&what.as_str()) {
                    found.push(what.as_str());
                }
            }
            at += 1;
        }
        found
    }

    /// Nothing is found in any file under a directory; how many there are.
    pub(crate) fn clean(&self, dir: &Path) -> usize {
        let files = files(dir);
        for file in &files {
            // A file that the running node has removed meanwhile holds nothing.
            let bytes = fs::read(file).unwrap_or_default();
            assert_eq!(self.found(&bytes), Vec::<&str>::new(), "{}", file.display());
        }
        files.len()
    }
}

/// Every file under a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// A page of the operator's, whole.
pub(crate) fn page(address: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 "), "{path}");
    answer
}
