//! What an operator sees over HTTP of real nodes: true, strict, silent about dossiers, and hard to disturb.
#![allow(clippy::unwrap_used)]

#[path = "../office/mod.rs"]
mod office;
mod openmetrics;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use office::disk::{SmallDisk, fill};
use office::{Node, Office};
use openmetrics::Sample;
use serde_json::Value;

/// How long anything that is awaited may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that the pages serve at once.
const CONNECTIONS: usize = 16;

/// An answer over HTTP.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

/// Sends bytes to the pages, and reads until the node closes. Nothing, if it closed without an answer.
fn send(address: &str, bytes: &[u8]) -> Option<Reply> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A node that has heard enough closes while we still write.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Reply {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

fn request(address: &str, method: &str, path: &str) -> Reply {
    send(
        address,
        format!("{method} {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes(),
    )
    .unwrap()
}

fn get(address: &str, path: &str) -> (u16, String) {
    let reply = request(address, "GET", path);
    (reply.status, reply.body)
}

/// The metrics, strictly read.
fn scrape(address: &str) -> Vec<Sample> {
    let reply = request(address, "GET", "/metrics");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(
        reply
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{}",
        reply.head
    );
    openmetrics::parse(&reply.body).unwrap_or_else(|error| panic!("{error}\n{}", reply.body))
}

/// The value of a series; nothing if it is not there.
fn find(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let is = |sample: &&Sample| {
        sample.name == name
            && sample.labels.len() == labels.len()
            && labels
                .iter()
                .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
    };
    samples.iter().find(is).map(|sample| sample.value)
}

fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    find(samples, name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}"))
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(50));
    }
}

fn free_tcp() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The lines of `node.toml` that have the pages served at an address.
fn operator(address: &str) -> String {
    format!("[operator]\nlisten = \"{address}\"\n")
}

/// An office whose court serves the pages, and where.
fn with_pages(more: &str) -> (Office, String) {
    let (office, pages) = (Office::bare(), free_tcp());
    office.configure("court", &office.address, &format!("{}{more}", operator(&pages)));
    (office, pages)
}

/// Stops a node; it must have gone on all the time.
fn stop(node: Node) -> String {
    let log = node.stop();
    assert!(!log.contains("panicked"), "{log}");
    log
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What of `secrets` stands in a page.
fn betrayed<'a>(page: &str, secrets: &'a [String]) -> Vec<&'a str> {
    let found = secrets.iter().filter(|secret| page.contains(secret.as_str()));
    found.map(String::as_str).collect()
}

#[test]
fn the_pages_follow_a_node_from_enrolment_to_a_deposit_that_reaches_another() {
    let (mut office, pages) = with_pages("");
    let udp = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let company_pages = free_tcp();
    office.configure("company", &udp, &operator(&company_pages));
    office.furnish();
    let node = office.start();

    // Not enrolled: alive and not ready, and the command says the same.
    until("a first round", || {
        !get(&pages, "/readyz").1.starts_with("desk-silent: ")
    });
    assert_eq!(get(&pages, "/livez"), (200, "ok\n".into()));
    let (status, reasons) = get(&pages, "/readyz");
    let said = office.status();
    assert!(
        status == 503 && reasons.starts_with("not-enrolled: "),
        "{reasons}"
    );
    assert_eq!(said["ready"], false);
    assert_eq!(reasons.lines().collect::<Vec<_>>(), texts(&said["reasons"]));
    assert_eq!(
        value(&scrape(&pages), "basoche_condition", &[("code", "not-enrolled")]),
        1.0
    );

    // Enrolled, and alone: ready, with a note.
    office.import();
    until("ready", || get(&pages, "/readyz").0 == 200);
    let (_, notes) = get(&pages, "/readyz");
    let said = office.status();
    assert_eq!(said["ready"], true);
    assert_eq!(notes.lines().skip(1).collect::<Vec<_>>(), texts(&said["notes"]));
    assert!(notes.starts_with("ok\nno-peer: "), "{notes}");
    let before = scrape(&pages);
    assert_eq!(value(&before, "basoche_ready", &[]), 1.0);
    assert_eq!(value(&before, "basoche_peers_known", &[]), 1.0);
    assert_eq!(value(&before, "basoche_dossiers", &[]), 0.0);

    // A dossier, a document, a refusal, and another node that takes them.
    let dossier = office.designate("canari-26-48151");
    let file = office.root.join("canari-fichier.txt");
    fs::write(&file, "canari au fond du document".repeat(1000)).unwrap();
    let deposited = office.deposit(&dossier, "canari du titre", &file).ok();
    let early = office.secret(&[
        "document",
        "deposit",
        "--config",
        "court/node.toml",
        "--as",
        "wallets/expert",
        "--dossier",
        dossier.as_str().unwrap(),
        "--title",
        "canari du titre",
        file.to_str().unwrap(),
    ]);
    early.fails(77, "provision-unpaid", "provision", "provision");
    let company = office.start_node("company");
    office.import_to("company");
    until("a connection and no note", || {
        get(&pages, "/readyz") == (200, "ok\n".into())
    });
    until("the document at the other node", || {
        find(&scrape(&company_pages), "basoche_documents_held", &[]) == Some(1.0)
    });
    let there = scrape(&company_pages);
    assert_eq!(value(&there, "basoche_documents_fetched_total", &[]), 1.0);
    assert!(value(&there, "basoche_documents_fetched_bytes_total", &[]) >= 26_000.0);
    assert_eq!(value(&there, "basoche_dossiers", &[]), 1.0);
    assert_eq!(value(&there, "basoche_documents_wanted", &[]), 0.0);

    let after = scrape(&pages);
    let moved =
        |name: &str, labels: &[(&str, &str)]| value(&after, name, labels) - value(&before, name, labels);
    assert_eq!(
        moved("basoche_submissions_total", &[("outcome", "accepted")]),
        2.0
    );
    assert_eq!(moved("basoche_submissions_total", &[("outcome", "refused")]), 1.0);
    let refusal = [("with", "user"), ("code", "provision-unpaid")];
    assert_eq!(moved("basoche_refusals_total", &refusal), 1.0);
    assert_eq!(moved("basoche_dossiers", &[]), 1.0);
    assert_eq!(moved("basoche_documents_held", &[]), 1.0);
    assert_eq!(
        moved("basoche_documents_held_bytes", &[]),
        fs::metadata(&file).unwrap().len() as f64
    );
    assert_eq!(moved("basoche_peers_connected", &[]), 1.0);
    assert!(moved("basoche_entries", &[]) >= 2.0);
    for name in [
        "basoche_store_commits_total",
        "basoche_commit_duration_seconds_count",
        "basoche_turn_duration_seconds_count",
    ] {
        assert!(moved(name, &[]) >= 2.0, "{name}");
    }
    for direction in ["in", "out"] {
        assert!(moved("basoche_frames_total", &[("direction", direction)]) > 0.0);
        assert!(moved("basoche_frame_bytes_total", &[("direction", direction)]) > 0.0);
    }
    assert!(value(&after, "basoche_disk_free_bytes", &[]) > 0.0);

    // Nobody can be found in what is shown.
    let shown = office.show(&dossier);
    let mut secrets: Vec<String> = ["canari", "26-48151", "judge", "clerk", "expert", "example"]
        .map(String::from)
        .into();
    let messages = shown["messages"].as_array().unwrap().iter().map(|one| &one["id"]);
    let documents = shown["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["root"]);
    let ids = messages
        .chain(documents)
        .chain([&dossier, &deposited["document"]]);
    secrets.extend(ids.filter_map(Value::as_str).map(|id| id[..8].to_owned()));
    let subjects = office.subjects.iter().chain(&office.nodes);
    secrets.extend(subjects.map(|id| id[..8].to_owned()));
    secrets.extend([
        office.address.clone(),
        udp,
        office.root.to_str().unwrap().to_owned(),
    ]);
    assert!(secrets.len() >= 15, "{secrets:?}");
    for (address, path) in [&pages, &company_pages]
        .into_iter()
        .flat_map(|address| ["/livez", "/readyz", "/metrics"].map(|path| (address, path)))
    {
        let page = get(address, path).1;
        assert_eq!(betrayed(&page, &secrets), Vec::<&str>::new(), "{path}: {page}");
        // One that is planted is seen.
        for secret in &secrets {
            let planted = format!("{page}basoche_held{{dossier=\"{secret}\"}} 1\n");
            assert!(betrayed(&planted, &secrets).contains(&secret.as_str()));
        }
    }
    let known = [
        "version",
        "faults",
        "outcome",
        "with",
        "code",
        "kind",
        "direction",
        "le",
    ];
    for sample in after.iter().chain(&there) {
        assert!(
            sample.labels.keys().all(|label| known.contains(&label.as_str())),
            "{sample:?}"
        );
    }

    // The other one leaves: a note again, and still ready.
    stop(company);
    until("the note", || {
        get(&pages, "/readyz").1.starts_with("ok\nno-peer: ")
    });
    stop(node);
}

#[test]
fn an_address_that_is_taken_or_open_to_all_is_named_at_the_start() {
    let office = Office::furnished();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    office.configure("court", &office.address, &operator(&address));
    office.run().fails(78, "operator", &address, "Stop what listens");
    office.configure("court", &office.address, &operator("0.0.0.0:9464"));
    office
        .run()
        .fails(78, "configuration", "operator.listen", "allow_remote");
    // Written out, it is served, and said once.
    let pages = free_tcp().replace("127.0.0.1", "0.0.0.0");
    let open = format!("{}allow_remote = true\n", operator(&pages));
    office.configure("court", &office.address, &open);
    let node = office.start();
    assert_eq!(request(&pages, "GET", "/metrics").status, 200);
    let log = stop(node);
    assert_eq!(log.matches("whoever reaches this address").count(), 1, "{log}");
}

#[test]
fn garbage_gets_an_error_or_a_closed_connection_and_the_node_goes_on() {
    let (mut office, pages) = with_pages("");
    office.furnish();
    let node = office.start();
    let long = "x".repeat(64 * 1024);
    let cases: [(&[u8], Option<u16>); 8] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Some(400)),
        (&[0; 4096], Some(400)),
        (&[0xff; 4096], Some(400)),
        (b"GET\r\n\r\n", Some(400)),
        (b"GET /livez HTTP/9.9\r\n\r\n", Some(400)),
        (b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", Some(400)),
        (
            b"POST /livez HTTP/1.1\r\nContent-Length: 99999999\r\n\r\nabc",
            Some(405),
        ),
        // The preface of HTTP/2, which is not spoken here.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
    ];
    for (bytes, status) in cases {
        let reply = send(&pages, bytes).map(|reply| reply.status);
        assert_eq!(reply, status, "{:?}", String::from_utf8_lossy(bytes));
    }
    for oversized in [
        format!("GET /livez HTTP/1.1\r\nA: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)),
    ] {
        // Who still sends when the connection ends may lose the answer.
        let reply = send(&pages, oversized.as_bytes()).map(|reply| reply.status);
        assert!(reply.is_none_or(|status| status == 431), "{reply:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let reply = request(&pages, method, "/metrics");
        assert_eq!(reply.status, 405, "{reply:?}");
        assert!(reply.head.contains("allow: get, head"), "{reply:?}");
    }
    for path in ["/", "/metrics?x=1/..", "/METRICS", "/%6detrics", "/../livez"] {
        let expected = if path.starts_with("/metrics?") { 200 } else { 404 };
        assert_eq!(get(&pages, path).0, expected, "{path}");
    }
    let head = request(&pages, "HEAD", "/metrics");
    assert!(head.status == 200 && head.body.is_empty(), "{head:?}");
    // One request a connection: a second one is not answered.
    let two = send(
        &pages,
        b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /readyz HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .unwrap();
    assert!(
        two.head.contains("connection: close") && two.body == "ok\n",
        "{two:?}"
    );
    assert_eq!(get(&pages, "/livez").0, 200);
    stop(node);
}

#[test]
fn slow_clients_are_closed_and_two_hundred_at_once_are_served() {
    let (mut office, pages) = with_pages("");
    office.furnish();
    let node = office.start();
    // Every place is taken by somebody who never ends his request, or never begins it.
    let begun = Instant::now();
    let slow: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let mut stream = TcpStream::connect(&pages).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /livez HTTP/1.1\r\nA: ").unwrap();
            }
            stream
        })
        .collect();
    // The next one waits for a place, and gets it.
    assert_eq!(get(&pages, "/livez").0, 200);
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(3), "nobody was slow: {waited:?}");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // And the node has answered its users meanwhile.
    office.status();
    let statuses: Vec<_> = scope(|scope| {
        let asked: Vec<_> = (0..200)
            .map(|_| scope.spawn(|| get(&pages, "/metrics").0))
            .collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses, vec![200; 200]);
    assert_eq!(value(&scrape(&pages), "basoche_control_connections", &[]), 0.0);
    stop(node);
}

#[test]
fn a_desk_that_hangs_is_told_and_the_pages_go_on() {
    let (mut office, pages) = with_pages("");
    office.furnish();
    let node = office.start();
    office.import();
    let dossier = office.designate("26/00000");
    until("ready", || get(&pages, "/readyz").0 == 200);
    assert!(find(&scrape(&pages), "basoche_dossiers", &[]).is_some());
    // A disk that hangs: the desk notes its commits in a file, and writing this one waits for a reader.
    let hint = office.data().join("high-water");
    fs::remove_file(&hint).unwrap();
    let made = Command::new("mkfifo").arg(&hint).status().unwrap();
    assert!(made.success());
    office.pay(&dossier, 1).ok();
    until("silence", || get(&pages, "/readyz").0 == 503);
    let (status, text) = get(&pages, "/readyz");
    assert!(status == 503 && text.starts_with("desk-silent: "), "{text}");
    // A disk may be slow for an instant: the node is not to be restarted yet.
    assert_eq!(get(&pages, "/livez").0, 200);
    let begun = Instant::now();
    let samples = scrape(&pages);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(find(&samples, "basoche_dossiers", &[]), None);
    assert_eq!(
        value(&samples, "basoche_condition", &[("code", "desk-silent")]),
        1.0
    );
    assert!(value(&samples, "basoche_desk_silence_seconds", &[]) >= 2.0);
    assert!(value(&samples, "basoche_commit_duration_seconds_count", &[]) > 0.0);
    until("death", || get(&pages, "/livez").0 == 503);
    let silence = value(&scrape(&pages), "basoche_desk_silence_seconds", &[]);
    assert!(silence >= 15.0, "{silence}");
    assert!(get(&pages, "/livez").1.starts_with("desk-silent: "));
    // It answers again.
    fs::read(&hint).unwrap();
    fs::remove_file(&hint).unwrap();
    until("an answer", || get(&pages, "/readyz").0 == 200);
    assert_eq!(get(&pages, "/livez").0, 200);
    stop(node);
}

#[test]
fn a_disk_that_fills_is_a_note_then_a_reason_and_one_alarm_each_time() {
    let (mut office, pages) = with_pages("[limits]\ndisk_low_percent = 50\n");
    let _disk = SmallDisk::mount(&office.data());
    office.furnish();
    let node = office.start();
    office.import();
    until("ready", || get(&pages, "/readyz").0 == 200);
    let low = || value(&scrape(&pages), "basoche_alarms_total", &[("kind", "disk-low")]);
    assert!(!get(&pages, "/readyz").1.contains("disk-low"));
    assert_eq!(low(), 0.0);
    // Less than half is free, and documents still fit.
    let ballast = office.data().join("ballast");
    let grow = |bytes: usize| fs::write(&ballast, vec![0; bytes]).unwrap();
    grow(150 << 20);
    until("the note", || get(&pages, "/readyz").1.contains("\ndisk-low: "));
    assert_eq!(get(&pages, "/readyz").0, 200);
    assert!(
        texts(&office.status()["notes"])
            .iter()
            .any(|note| note.starts_with("disk-low: "))
    );
    assert_eq!(low(), 1.0);
    // Nothing is free.
    fill(&office.data().join("more"));
    until("the reason", || get(&pages, "/readyz").0 == 503);
    assert!(get(&pages, "/readyz").1.starts_with("disk-full: "));
    let said = office.ask(&["node", "status", "--config", "court/node.toml"]);
    assert_eq!((said.exit, &said.json["ready"]), (75, &Value::Bool(false)));
    assert_eq!(low(), 1.0, "one crossing, one alarm");
    // Room again, and gone again: that is another one.
    fs::remove_file(office.data().join("more")).unwrap();
    fs::remove_file(&ballast).unwrap();
    until("room", || {
        let (status, text) = get(&pages, "/readyz");
        status == 200 && !text.contains("disk-low")
    });
    // The disk is looked at every two seconds.
    sleep(Duration::from_secs(3));
    grow(150 << 20);
    until("the second alarm", || low() == 2.0);
    fs::remove_file(&ballast).unwrap();
    let log = stop(node);
    assert_eq!(log.matches("ALARM: the disk is nearly full").count(), 2, "{log}");
}
