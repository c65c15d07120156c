//! The command line's end of the control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Answer, Failure, LINE_BYTES, Request, SOCKET};

/// The node could not be asked, or said no.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No node listens there.
    #[error("no node answers at {path}: {source}; is `basoche node run` running on this data directory?")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("the node broke off: {0}")]
    Broken(String),
    /// The node says no.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// A local file could not be read or written.
    #[error("{0}")]
    Local(std::io::Error),
}

/// A node's control socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The node whose data directory is `data`.
    pub fn new(data: &Path) -> Self {
        Self {
            path: data.join(SOCKET),
        }
    }

    fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.path).map_err(|source| ClientError::Unreachable {
            path: self.path.clone(),
            source,
        })
    }

    fn send(&self, request: &Request) -> Result<UnixStream, ClientError> {
        let mut stream = self.connect()?;
        let mut line = serde_json::to_vec(request).map_err(|error| ClientError::Broken(error.to_string()))?;
        line.push(b'\n');
        stream.write_all(&line).map_err(broken)?;
        Ok(stream)
    }

    /// Asks, and takes the answer.
    pub fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        let mut reader = BufReader::new(self.send(request)?);
        read_answer(&mut reader)
    }

    /// Asks, sends `bytes` raw bytes, and takes the answer.
    pub fn upload(
        &self,
        request: &Request,
        source: &mut dyn Read,
        bytes: u64,
    ) -> Result<Answer, ClientError> {
        let stream = self.send(request)?;
        // The node waits for what is missing of a source that ends early: it is told by the end of the connection.
        if let Err(CopyError::Source(error)) = copy(source, &mut &stream, bytes) {
            return Err(ClientError::Local(error));
        }
        // A node that refuses answers before it has read everything: its answer says more than a broken pipe.
        read_answer(&mut BufReader::new(stream))
    }

    /// Asks, and writes the raw bytes of the answer to `out`.
    pub fn download(&self, request: &Request, out: &mut dyn Write) -> Result<u64, ClientError> {
        let mut reader = BufReader::with_capacity(1 << 20, self.send(request)?);
        let Answer::Bytes { bytes } = read_answer(&mut reader)? else {
            return Err(ClientError::Broken("it answered something else".into()));
        };
        match copy(&mut reader, out, bytes) {
            Ok(()) => Ok(bytes),
            Err(CopyError::Source(error)) => Err(broken(error)),
            Err(CopyError::Sink(error)) => Err(ClientError::Local(error)),
        }
    }
}

enum CopyError {
    Source(std::io::Error),
    Sink(std::io::Error),
}

/// Copies exactly `bytes` bytes.
fn copy(source: &mut dyn Read, sink: &mut dyn Write, bytes: u64) -> Result<(), CopyError> {
    let mut buffer = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = source.read(&mut buffer[..length]).map_err(CopyError::Source)?;
        if read == 0 {
            return Err(CopyError::Source(std::io::ErrorKind::UnexpectedEof.into()));
        }
        sink.write_all(&buffer[..read]).map_err(CopyError::Sink)?;
        left -= read as u64;
    }
    sink.flush().map_err(CopyError::Sink)
}

fn broken(error: std::io::Error) -> ClientError {
    ClientError::Broken(error.to_string())
}

fn read_answer(reader: &mut dyn BufRead) -> Result<Answer, ClientError> {
    let mut line = Vec::new();
    reader
        .take(LINE_BYTES as u64 * 4)
        .read_until(b'\n', &mut line)
        .map_err(broken)?;
    if line.last() != Some(&b'\n') {
        return Err(ClientError::Broken(
            "its answer is cut short; was it stopped?".into(),
        ));
    }
    match serde_json::from_slice(&line).map_err(|error| ClientError::Broken(error.to_string()))? {
        Answer::Failed(failure) => Err(ClientError::Failed(failure)),
        answer => Ok(answer),
    }
}
