//! rsync over ssh, to a private sshd on loopback: own port, own host key, own configuration, gone afterwards.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

const SSHD: &str = "/usr/sbin/sshd";
/// Where sshd, as root, insists on a directory (Debian); a system without a running sshd may lack it.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";
const PATIENCE: Duration = Duration::from_secs(10);

/// The private sshd.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
    port: u16,
    made_directory: bool,
}

impl Server {
    /// Starts sshd in `place`.
    pub(crate) fn start(place: &Path) -> Outcome<Self> {
        if !Path::new(SSHD).exists() {
            return Err(format!("{SSHD} is missing: install openssh-server").into());
        }
        let directory = place.join("ssh");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir(&directory)?;
        for name in ["host", "user"] {
            let file = directory.join(name);
            let line = ["-q", "-t", "ed25519", "-N", "", "-f"];
            let made = Command::new("ssh-keygen").args(line).arg(&file).status()?;
            if !made.success() {
                return Err(format!("ssh-keygen: {made}").into());
            }
        }
        fs::copy(directory.join("user.pub"), directory.join("authorized"))?;
        // Only root needs it, and only root can make it.
        let made_directory = fs::create_dir(PRIVILEGE_SEPARATION).is_ok();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let at = |name: &str| directory.join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n",
            at("host"),
            at("authorized"),
        );
        fs::write(directory.join("config"), config)?;
        let log = fs::File::create(directory.join("log"))?;
        let process = Command::new(SSHD)
            .args(["-D", "-e", "-f", &at("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut server = Self {
            process,
            directory,
            port,
            made_directory,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> Outcome<()> {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if self.process.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.directory.join("log"))?;
                return Err(format!("sshd does not answer: {}", log.trim()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Copies a file whole, to a new one; `durable`: until fsync has returned.
    pub(crate) fn carry(&self, source: &Path, durable: bool) -> Outcome<Duration> {
        let target = self.directory.join("received.bin");
        let key = self.directory.join("user");
        let shell = format!(
            "ssh -F none -p {} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR -o BatchMode=yes",
            self.port,
            key.display(),
        );
        let started = Instant::now();
        let done = Command::new("rsync")
            .args(["--whole-file", "-e", &shell])
            .args(durable.then_some("--fsync"))
            .arg(source)
            .arg(format!("127.0.0.1:{}", target.display()))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("rsync: {error}"))?;
        let took = started.elapsed();
        let same = fs::metadata(source)?.len() == fs::metadata(&target).map_or(0, |found| found.len());
        // So that no later measurement pays for writing it back.
        let _ = Command::new("sync").arg(&target).status();
        let _ = fs::remove_file(&target);
        if done.status.success() && same {
            Ok(took)
        } else {
            Err(format!("rsync: {}", String::from_utf8_lossy(&done.stderr).trim()).into())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An sshd that has ended already is no error.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.made_directory {
            let _ = fs::remove_dir(PRIVILEGE_SEPARATION);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_crosses_whole_where_there_is_an_sshd() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("source");
        fs::write(&source, [7; 100_000]).unwrap();
        match Server::start(place.path()) {
            Ok(server) => assert!(!server.carry(&source, false).unwrap().is_zero()),
            Err(error) => assert!(!Path::new(SSHD).exists(), "{error}"),
        }
    }
}
