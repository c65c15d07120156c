//! A name server of Debian (BIND) with signed zones below a root of its own, on a high port of loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the zone `NAME.test` is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signed {
    Well,
    /// Until 2025.
    Expired,
    /// With an address that was changed afterwards.
    Forged,
    /// Whose signatures are gone though its parent says that there are some.
    Stripped,
    Not,
}

const ZONES: [(&str, Signed); 5] = [
    ("good", Signed::Well),
    ("expired", Signed::Expired),
    ("forged", Signed::Forged),
    ("stripped", Signed::Stripped),
    ("plain", Signed::Not),
];

/// The server; it ends with this.
pub(crate) struct Zones {
    pub(crate) server: SocketAddr,
    /// `DNSKEY` lines of the root.
    pub(crate) anchor: PathBuf,
    /// The same of another root.
    pub(crate) other_anchor: PathBuf,
    child: Child,
    _keep: tempfile::TempDir,
}

impl Drop for Zones {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Zones {
    /// Serves `records` in each of the zones.
    pub(crate) fn serve(records: &str) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path();
        for part in ["keys", "zones", "ds", "run"] {
            fs::create_dir(dir.join(part)).unwrap();
        }
        let mut root = String::from(
            "$ORIGIN .\n$TTL 300\n@ SOA ns.good.test. h.good.test. 1 3600 600 86400 60\n@ NS ns.good.test.\n\
             ns.good.test. A 127.0.0.1\n",
        );
        for (zone, signed) in ZONES {
            let glue = if zone == "good" { "ns A 127.0.0.1\n" } else { "" };
            let text = format!(
                "$ORIGIN {zone}.test.\n$TTL 300\n@ SOA ns.good.test. h.good.test. 1 3600 600 86400 60\n@ NS ns.good.test.\n\
                 {glue}{records}"
            );
            fs::write(dir.join("zones").join(zone), text).unwrap();
            root.push_str(&format!("{zone}.test. NS ns.good.test.\n"));
            if signed == Signed::Not {
                fs::copy(dir.join("zones").join(zone), served(dir, zone)).unwrap();
                continue;
            }
            keys(dir, &format!("{zone}.test"));
            let past = ["-P", "-s", "20250101000000", "-e", "20250201000000"];
            let dates = if signed == Signed::Expired { &past[..] } else { &[] };
            sign(dir, zone, &format!("{zone}.test"), dates);
            match signed {
                Signed::Forged => {
                    let text = fs::read_to_string(served(dir, zone)).unwrap();
                    assert!(text.contains("192.0.2.9"));
                    fs::write(served(dir, zone), text.replace("192.0.2.9", "192.0.2.99")).unwrap();
                }
                Signed::Stripped => {
                    fs::copy(dir.join("zones").join(zone), served(dir, zone)).unwrap();
                }
                _ => {}
            }
            let ds = fs::read_to_string(dir.join(format!("ds/dsset-{zone}.test."))).unwrap();
            root.push_str(&ds);
        }
        fs::write(dir.join("zones/root"), root).unwrap();
        let anchor = dir.join("anchor");
        fs::write(&anchor, keys(dir, ".")).unwrap();
        sign(dir, "root", ".", &[]);
        let other_anchor = dir.join("other-anchor");
        fs::write(&other_anchor, keys(dir, ".")).unwrap();

        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut conf = format!(
            "options {{ directory \"{run}\"; pid-file none; session-keyfile none; lock-file none;\n\
             listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no;\n\
             notify no; allow-transfer {{ none; }}; empty-zones-enable no; }};\ncontrols {{ }};\n\
             zone \".\" {{ type primary; file \"{root}\"; }};\n",
            run = dir.join("run").display(),
            root = served(dir, "root").display()
        );
        for (zone, _) in ZONES {
            let file = served(dir, zone);
            conf.push_str(&format!(
                "zone \"{zone}.test\" {{ type primary; file \"{}\"; }};\n",
                file.display()
            ));
        }
        fs::write(dir.join("named.conf"), conf).unwrap();
        let child = tool("named")
            .args(["-g", "-c"])
            .arg(dir.join("named.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("named.log")).unwrap())
            .spawn()
            .expect("named is missing: run deploy/setup.sh, or apt-get install bind9 bind9-utils");
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut zones = Self {
            server,
            anchor,
            other_anchor,
            child,
            _keep: keep,
        };
        zones.until_it_answers();
        zones
    }

    fn until_it_answers(&mut self) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // One question: the root's SOA.
        let question = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            socket.send_to(&question, self.server).unwrap();
            if socket.recv(&mut [0; 1500]).is_ok() {
                return;
            }
            if let Some(ended) = self.child.try_wait().unwrap() {
                let log = fs::read_to_string(self._keep.path().join("named.log"));
                panic!("named has ended, {ended}: {}", log.unwrap_or_default());
            }
        }
        panic!("named does not answer");
    }
}

/// A program of Debian's packages, which are not always on the path of a user.
fn tool(name: &str) -> Command {
    let found = ["/usr/sbin", "/usr/bin"].map(|dir| Path::new(dir).join(name));
    let found = found.into_iter().find(|path| path.exists());
    Command::new(found.unwrap_or_else(|| name.into()))
}

fn served(dir: &Path, zone: &str) -> PathBuf {
    dir.join("zones").join(format!("{zone}.signed"))
}

/// Makes the keys of a zone; gives the line of the one that is anchored.
fn keys(dir: &Path, zone: &str) -> String {
    let make = |flags: &[&str]| {
        let made = tool("dnssec-keygen")
            .args(["-q", "-K", "keys", "-a", "ECDSAP256SHA256"])
            .args(flags)
            .arg(zone)
            .current_dir(dir)
            .output()
            .expect("dnssec-keygen is missing: run deploy/setup.sh, or apt-get install bind9-utils");
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    let signs_keys = make(&["-f", "KSK"]);
    make(&[]);
    let file = dir.join("keys").join(format!("{signs_keys}.key"));
    let lines = fs::read_to_string(file).unwrap();
    lines.lines().filter(|line| !line.starts_with(';')).collect()
}

fn sign(dir: &Path, zone: &str, name: &str, more: &[&str]) {
    let signed = tool("dnssec-signzone")
        .args(["-q", "-S", "-K", "keys", "-d", "ds", "-o", name])
        .args(more)
        .arg("-f")
        .arg(served(dir, zone))
        .arg(dir.join("zones").join(zone))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(signed.status.success(), "{signed:?}");
}
