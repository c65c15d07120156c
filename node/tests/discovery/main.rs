//! Discovery by DNS with a real name server and signed zones: what is proved is used, nothing else is, and who answers must show the
//! key of the registry all the same. DNS-1 to DNS-3.
#![allow(clippy::unwrap_used)]

#[path = "../office/mod.rs"]
mod office;
mod zones;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use basoche_node::discovery::{Complaint, Discovery, Found, Wanted};
use basoche_node::operator::{Alarm, Monitor};
use basoche_protocol::id::{Digest, SubjectId};

use office::Office;
use zones::Zones;

const NODE: SubjectId = SubjectId::new([0xab; 16]);
const TLS: Digest = Digest::new([0xcd; 32]);

/// In every zone; `NODE` and `TLS` stand for what the registry says.
const RECORDS: &str = r#"
gateway A 192.0.2.1
gateway AAAA 2001:db8::1
second A 192.0.2.2
_basoche.node SVCB 2 second port=7444
_basoche.node SVCB 1 gateway alpn="basoche/1" port=7443 key65280="NODE" key65281="TLS"
_basoche._udp.node SRV 0 0 1 nowhere
_basoche._udp.served SRV 20 0 7446 second
_basoche._udp.served SRV 10 5 7445 gateway
_basoche._udp.closed SRV 0 0 0 .
closed A 192.0.2.3
bare A 192.0.2.9
alias CNAME bare
_basoche.other SVCB 1 gateway key65280="00000000000000000000000000000000"
_basoche.rekeyed SVCB 1 gateway key65280="NODE" key65281="00"
_basoche.strange SVCB 1 gateway mandatory=key65000 key65000="x"
strange A 192.0.2.4
_basoche.web SVCB 1 gateway alpn="h2"
web A 192.0.2.5
_basoche.abroad SVCB 1 bare.plain.test.
"#;

fn records() -> String {
    let node = basoche_protocol::text::hex_encode(NODE.as_bytes());
    RECORDS.replace("NODE", &node).replace("TLS", &TLS.to_string())
}

fn wanted(addresses: &[&str]) -> Wanted {
    Wanted {
        node: NODE,
        tls_spki_sha256: TLS,
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
    }
}

fn discovery(server: SocketAddr, anchor: &Path) -> (Discovery, Arc<Monitor>) {
    let monitor = Arc::new(Monitor::new(5));
    let discovery = Discovery::new(server, Some(anchor), Arc::clone(&monitor)).unwrap();
    (discovery, monitor)
}

fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// An answer that is used, or the words of the complaint about one that is not.
fn words(found: Found) -> Result<Vec<SocketAddr>, String> {
    match found.complaint {
        None => Ok(found.addresses),
        Some(Complaint::Unproved(what)) => Err(format!("unproved: {what}")),
        Some(Complaint::Contradicts(what)) => Err(format!("contradicts: {what}")),
    }
}

#[tokio::test]
async fn what_is_proved_is_found_and_nothing_else_is_used() {
    let zones = Zones::serve(&records());
    let (discovery, _) = discovery(zones.server, &zones.anchor);
    let bare = "192.0.2.9:4433";
    let good: [(&str, &[&str]); 9] = [
        (
            "node.good.test:4433",
            &["[2001:db8::1]:7443", "192.0.2.1:7443", "192.0.2.2:7444"],
        ),
        (
            "served.good.test:4433",
            &["[2001:db8::1]:7445", "192.0.2.1:7445", "192.0.2.2:7446"],
        ),
        ("bare.good.test:4433", &[bare]),
        ("alias.good.test:4433", &[bare]),
        ("closed.good.test:4433", &["192.0.2.3:4433"]),
        // What a record demands beyond what is known, or for another protocol, is as if it were not there.
        ("strange.good.test:4433", &["192.0.2.4:4433"]),
        ("web.good.test:4433", &["192.0.2.5:4433"]),
        ("nobody.good.test:4433", &[]),
        // An address has no name to ask for.
        ("192.0.2.77:4433", &[]),
    ];
    for (address, expected) in good {
        let found = words(discovery.ask(&wanted(&[address])).await);
        assert_eq!(found, Ok(sockets(expected)), "{address}");
    }
    let bad = [
        (
            "bare.plain.test:4433",
            "unproved: _basoche.bare.plain.test SVCB: ",
        ),
        ("node.plain.test:4433", "not signed"),
        ("node.expired.test:4433", "the signatures do not hold"),
        ("bare.forged.test:4433", "bare.forged.test A: "),
        ("node.stripped.test:4433", "unproved: "),
        // A signed record that leads to where nothing is signed.
        ("abroad.good.test:4433", "bare.plain.test"),
        (
            "other.good.test:4433",
            "contradicts: _basoche.other.good.test SVCB: the node's id",
        ),
        (
            "rekeyed.good.test:4433",
            "its TLS key is not the one in the registry",
        ),
    ];
    for (address, expected) in bad {
        let found = discovery.ask(&wanted(&[address])).await;
        assert_eq!(found.addresses, [], "{address}");
        let said = words(found).unwrap_err();
        assert!(said.contains(expected), "{address}: {said}");
    }
    // What is wrong with one host takes nothing from another.
    let both = discovery
        .ask(&wanted(&["bare.plain.test:1", "bare.good.test:4433"]))
        .await;
    assert_eq!(both.addresses, sockets(&[bare]));
    assert!(both.complaint.is_some());
}

/// Negative control: under another root nothing of it is proved.
#[tokio::test]
async fn another_root_proves_nothing() {
    let zones = Zones::serve(&records());
    let (discovery, _) = discovery(zones.server, &zones.other_anchor);
    for address in ["node.good.test:1", "bare.good.test:1", "nobody.good.test:1"] {
        let found = discovery.ask(&wanted(&[address])).await;
        assert_eq!(found.addresses, [], "{address}");
        assert!(
            matches!(found.complaint, Some(Complaint::Unproved(_))),
            "{found:?}"
        );
    }
}

/// Somebody on the way denies that there is a `SVCB` record, with the `SOA` of an unsigned zone: it is not believed, and the
/// next question is not asked instead.
#[tokio::test]
async fn a_forged_denial_leads_nowhere() {
    let zones = Zones::serve(&records());
    let liar = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = liar.local_addr().unwrap();
    let server = zones.server;
    thread::spawn(move || {
        let onward = UdpSocket::bind("127.0.0.1:0").unwrap();
        onward.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut bytes = [0; 4096];
        while let Ok((length, who)) = liar.recv_from(&mut bytes) {
            let answer = match denial(&bytes[..length]) {
                Some(denial) => denial,
                None => {
                    onward.send_to(&bytes[..length], server).unwrap();
                    let mut answer = [0; 4096];
                    let Ok(length) = onward.recv(&mut answer) else {
                        continue;
                    };
                    answer[..length].to_vec()
                }
            };
            let _ = liar.send_to(&answer, who);
        }
    });
    let (discovery, monitor) = discovery(address, &zones.anchor);
    let asked = wanted(&["node.good.test:4433"]);
    let found = discovery.ask(&asked).await;
    assert_eq!(found.addresses, []);
    let said = words(found).unwrap_err();
    assert!(
        said.starts_with("unproved: _basoche.node.good.test SVCB: "),
        "{said}"
    );
    // Others' questions go through, so it is the denial that was not believed.
    let other = discovery.ask(&wanted(&["bare.good.test:4433"])).await;
    assert_eq!(other.addresses, sockets(&["192.0.2.9:4433"]));
    // The alarm is raised once, as long as the same is wrong.
    for _ in 0..3 {
        assert_eq!(discovery.find(&asked).await, []);
    }
    assert_eq!(monitor.meters.alarms(Alarm::DnsUnproved), 1);
}

/// The denial of every `SVCB` question of the name that starts with `node`: no such name, with the `SOA` of an unsigned zone.
fn denial(question: &[u8]) -> Option<Vec<u8>> {
    let name_ends = 12 + question[12..].iter().position(|byte| *byte == 0)? + 1;
    let name = question[12..name_ends].to_ascii_lowercase();
    let asks = name.windows(5).any(|part| part == b"\x04node");
    if !asks || question[name_ends..name_ends + 2] != [0, 64] {
        return None;
    }
    let mut answer = question[..2].to_vec();
    answer.extend([0x85, 0x83, 0, 1, 0, 0, 0, 1, 0, 0]);
    answer.extend(&question[12..name_ends + 4]);
    answer.extend(b"\x05plain\x04test\x00\x00\x06\x00\x01\x00\x00\x00\x3c");
    let soa = b"\x02ns\x00\x01h\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x3c";
    answer.extend([0, soa.len() as u8]);
    answer.extend(soa);
    Some(answer)
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_up_nobody_for_long() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let zones = Zones::serve(&records());
    let (discovery, monitor) = discovery(silent.local_addr().unwrap(), &zones.anchor);
    let begun = Instant::now();
    assert_eq!(discovery.find(&wanted(&["node.good.test:4433"])).await, []);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // The next one asks nothing for a while.
    let begun = Instant::now();
    assert_eq!(discovery.find(&wanted(&["node.good.test:4433"])).await, []);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(monitor.meters.alarms(Alarm::DnsUnproved), 1);
}

#[test]
fn an_anchor_that_anchors_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("anchor");
    let key =
        "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";
    let monitor = || Arc::new(Monitor::new(5));
    for text in [
        "",
        "; nothing",
        "rubbish",
        &format!("example. 3600 IN DNSKEY {key}"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = Discovery::new(([127, 0, 0, 1], 53).into(), Some(&path), monitor());
        let error = refused.err().unwrap();
        assert!(error.contains("anchor"), "{text:?}: {error}");
    }
    fs::write(&path, format!(". 3600 IN DNSKEY {key}")).unwrap();
    assert!(Discovery::new(([127, 0, 0, 1], 53).into(), Some(&path), monitor()).is_ok());
    let absent = Discovery::new(([127, 0, 0, 1], 53).into(), Some(Path::new("absent")), monitor());
    assert!(absent.err().unwrap().contains("absent"));
}

/// Two real nodes. What the registry says of where they are is out of date for both; the DNS says where one of them is.
#[test]
fn a_node_that_has_moved_is_found_by_the_dns() {
    let port = |_| {
        UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let [court, company] = [0, 1].map(port);
    let zones = Zones::serve(&format!(
        "gateway A 127.0.0.1\nbare A 192.0.2.9\n_basoche.node SVCB 1 gateway alpn=\"basoche/1\" port={company}\n"
    ));
    let mut office = Office::bare();
    // Where the court says that it is there is nobody; where the company says so there is no such name.
    let configure = |office: &Office, name: &str, listen: u16, address: &str, more: &str| {
        let text = format!(
            "data = \"data\"\nlisten = \"127.0.0.1:{listen}\"\naddresses = [\"{address}\"]\nanchors = \"../anchors.json\"\n\
             passphrase_file = \"../passphrase\"\nallow_private_addresses = true\n{more}"
        );
        fs::write(office.root.join(name).join("node.toml"), text).unwrap();
    };
    configure(&office, "court", court, "127.0.0.1:9", "");
    configure(&office, "company", company, "node.good.test:9", "");
    office.furnish();
    let running = office.start_node("company");
    office.import_to("company");
    let until = time_in(Duration::from_secs(3));
    let ask = [
        "node",
        "endpoint",
        "--config",
        "company/node.toml",
        "--request",
        "endpoint.json",
        "--until",
        &until,
    ];
    office.ask(&ask).ok();
    let accept = [
        "authority",
        "accept",
        "--dir",
        "authorities/experts",
        "--request",
        "endpoint.json",
    ];
    office.secret(&accept).ok();
    office.import_to("company");

    let peers = |office: &Office| {
        let status = office
            .ask(&["node", "status", "--config", "court/node.toml"])
            .json;
        status["peers"].as_array().unwrap()[0]["connected"] == true
    };
    // Without a name server, and with one whose root is another, they do not find each other.
    let dns = |anchor: &Path| {
        format!(
            "[dns]\nserver = \"{}\"\ntrust_anchor = \"{}\"\n",
            zones.server,
            anchor.display()
        )
    };
    let unproved = "what the DNS says of a node is not proved";
    // The first one waits until the address is stale; then every attempt to reach the company's node asks, or has nowhere to ask.
    for (more, shows, times) in [
        (dns(&zones.other_anchor), unproved, 1),
        ("log = \"basoche_node=debug\"\n".to_owned(), "peer not reached", 3),
    ] {
        configure(&office, "court", court, "127.0.0.1:9", &more);
        let node = office.start();
        office.import();
        let begun = Instant::now();
        while node.logged(shows) < times {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", node.stop());
            thread::sleep(Duration::from_millis(100));
        }
        assert!(!peers(&office), "{more}");
        assert_eq!(node.stop().contains(unproved), shows == unproved);
    }
    configure(&office, "court", court, "127.0.0.1:9", &dns(&zones.anchor));
    let node = office.start();
    let begun = Instant::now();
    while !peers(&office) {
        assert!(begun.elapsed() < Duration::from_secs(30), "not found");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(!node.stop().contains("ALARM"));
    drop(running);
}

/// An instant from now, RFC 3339.
fn time_in(wait: Duration) -> String {
    let now = basoche_node::effects::now();
    (now + basoche_protocol::time::Span::from_ms(wait.as_millis() as u64)).to_string()
}
