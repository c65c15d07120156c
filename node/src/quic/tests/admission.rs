//! Who is let in, and which connection is kept.

use super::*;

#[tokio::test]
async fn an_unknown_key_is_refused_by_either_side() {
    let (a, b) = Seed::ordered();
    let (everyone, only_a, only_b) = (Registry::of(&[&a, &b]), Registry::of(&[&a]), Registry::of(&[&b]));
    let knows_both = b.start(&everyone);
    let error = a
        .start(&only_a)
        .dial(&knows_both, Lane::Control)
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::UnknownPeer), "{error}");

    let mut knows_itself = b.start(&only_b);
    let error = a
        .start(&everyone)
        .dial(&knows_itself, Lane::Control)
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::UnknownThere), "{error}");
    assert!(
        knows_itself.events.try_recv().is_err(),
        "a refused handshake is no event"
    );
}

#[tokio::test]
async fn a_peer_that_is_not_the_one_wanted_is_refused() {
    let (a, b) = pair();
    let error = a
        .endpoint
        .connect([9; 16], &[b.address], Lane::Control)
        .await
        .unwrap_err();
    assert!(
        matches!(error, TransportError::WrongPeer(found) if found == b.id),
        "{error}"
    );
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let node = b.start(&registry);
    let raw = a.raw(&registry, &node, b"basoche/2").await;
    let Err(quinn::ConnectionError::ConnectionClosed(close)) = raw.connection else {
        panic!("{:?}", raw.connection);
    };
    assert_eq!(u64::from(close.error_code), 0x100 + 120); // no_application_protocol
}

#[tokio::test]
async fn nobody_answering_is_said() {
    let a = Seed::new(1);
    let options = Options {
        deadline: Duration::from_millis(200),
        ..options()
    };
    let node = a.node(&Registry::of(&[&a]), options, 1);
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let error = node
        .endpoint
        .connect([2; 16], &[address], Lane::Control)
        .await
        .unwrap_err();
    assert!(
        matches!(error, TransportError::Unreachable(at) if at == address),
        "{error}"
    );
}

#[tokio::test]
async fn a_revoked_peer_is_closed_within_a_second_and_does_not_come_back() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let (mut court, mut bar) = (a.start(&registry), b.start(&registry));
    connect(&mut bar, &mut court, Lane::Control).await;
    connect(&mut bar, &mut court, Lane::Bulk).await;

    let begun = Instant::now();
    registry.revoke(bar.id);
    court
        .endpoint
        .close_peer(bar.id, CloseCode::Revoked, "by decision");
    for _ in 0..2 {
        let reason = bar.closed().await.1;
        assert_eq!(
            reason,
            CloseReason::Peer {
                code: CloseCode::Revoked as u64,
                text: "by decision".into()
            }
        );
        assert_eq!(court.closed().await.1, CloseReason::Here(CloseCode::Revoked));
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let error = bar.dial(&court, Lane::Control).await.unwrap_err();
    assert!(matches!(error, TransportError::UnknownThere), "{error}");
}

/// Knows one node, for the first two questions: those of the TLS handshake and of what follows it.
struct Fickle(NodeId, AtomicUsize);

impl PeerDirectory for Fickle {
    fn node_of_key(&self, _: &[u8; 32]) -> Option<NodeId> {
        (self.1.fetch_add(1, Ordering::Relaxed) < 2).then_some(self.0)
    }
}

#[tokio::test]
async fn a_peer_revoked_between_handshake_and_hello_is_refused() {
    let (a, b) = Seed::ordered();
    let (sender, mut events) = mpsc::channel(8);
    let fickle = Arc::new(Fickle(a.id, AtomicUsize::new(0)));
    let endpoint = Endpoint::bind(options(), &b.identity, &b.secrets, fickle, sender).unwrap();
    let dialler = a.start(&Registry::of(&[&a, &b]));
    let address = endpoint.local_addr().unwrap();
    let error = dialler
        .endpoint
        .connect(b.id, &[address], Lane::Control)
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::UnknownThere), "{error}");
    assert!(events.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_connections_dialled_from_both_sides_at_once_both_keep_the_same_one() {
    for _ in 0..10 {
        let (mut a, mut b) = pair();
        let (from_a, from_b) = tokio::join!(a.dial(&b, Lane::Control), b.dial(&a, Lane::Control));
        from_a.expect("the smaller key's connection is always kept");
        assert!(
            matches!(from_b, Ok(_) | Err(TransportError::Duplicate)),
            "{from_b:?}"
        );
        // A frame each way travels on what each side keeps; both learn of the loser's end before or after.
        let at_a = loop {
            if let Event::Connected {
                conn, outbound: true, ..
            } = a.next().await
            {
                break conn;
            }
        };
        let at_b = loop {
            if let Event::Connected {
                conn,
                outbound: false,
                ..
            } = b.next().await
            {
                break conn;
            }
        };
        a.endpoint.send_frame(at_a, Bytes::from_static(b"ping")).unwrap();
        b.endpoint.send_frame(at_b, Bytes::from_static(b"pong")).unwrap();
        for (node, expected, kept) in [(&mut b, "ping", at_b), (&mut a, "pong", at_a)] {
            loop {
                match node.next().await {
                    Event::Frame { bytes, conn, .. } => {
                        assert_eq!((bytes.as_ref(), conn), (expected.as_bytes(), kept));
                        break;
                    }
                    Event::Closed { conn, .. } | Event::Connected { conn, .. } => assert_ne!(conn, kept),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_second_dial_of_the_same_lane_waits_for_no_one() {
    let (a, b) = pair();
    let (first, second) = tokio::join!(a.dial(&b, Lane::Control), a.dial(&b, Lane::Control));
    first.unwrap();
    assert!(
        matches!(second, Err(TransportError::AlreadyDialling)),
        "{second:?}"
    );
    // Later, a new connection in the same direction replaces the old one.
    let again = a.dial(&b, Lane::Control).await.unwrap();
    let kept: Vec<_> = a
        .endpoint
        .connections()
        .iter()
        .map(|info| info.conn)
        .filter(|c| *c == again)
        .collect();
    assert_eq!(kept, [again]);
}

#[tokio::test]
async fn a_peer_that_has_lost_a_settled_connection_may_dial_another() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let settled = Duration::from_millis(500);
    let options = || Options { settled, ..options() };
    let (a, b) = (a.node(&registry, options(), 64), b.node(&registry, options(), 64));
    let begun = Instant::now();
    let first = a.dial(&b, Lane::Control).await.unwrap();
    // As if dialled at once: the connection of the smaller key stays.
    let refused = b.dial(&a, Lane::Control).await;
    assert!(
        begun.elapsed() >= settled || matches!(refused, Err(TransportError::Duplicate)),
        "{refused:?}"
    );
    tokio::time::sleep(settled).await;
    b.dial(&a, Lane::Control).await.unwrap();
    let at_a = a.endpoint.connections();
    assert!(
        at_a.iter().any(|info| !info.outbound && info.conn != first),
        "{at_a:?}"
    );
}

#[tokio::test]
async fn of_several_addresses_the_first_that_answers_is_taken() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let (a, b) = (a.start(&registry), b.start(&registry));
    let silent = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let other = a.address;
    let begun = Instant::now();
    // One that cannot be dialled, one where nobody answers, one where another node does.
    let addresses = ["[2001::1]:1".parse().unwrap(), silent, other, b.address];
    a.endpoint.connect(b.id, &addresses, Lane::Control).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(a.endpoint.connections()[0].remote, b.address);
    let nowhere = a.endpoint.connect(b.id, &[], Lane::Bulk).await;
    assert!(
        matches!(nowhere, Err(TransportError::NotConnected)),
        "{nowhere:?}"
    );
}

#[tokio::test]
async fn a_connection_that_was_replaced_before_it_was_announced_is_never_told_of() {
    let (a, b, c) = (Seed::new(1), Seed::new(2), Seed::new(3));
    let registry = Registry::of(&[&a, &b, &c]);
    let (a, mut b, c) = (
        a.start(&registry),
        b.node(&registry, options(), 1),
        c.start(&registry),
    );
    // The one place for events is taken: what comes next waits to be announced.
    c.dial(&b, Lane::Control).await.unwrap();
    a.dial(&b, Lane::Control).await.unwrap();
    a.dial(&b, Lane::Control).await.unwrap();
    let kept = |b: &Node| {
        let mut connections = b.endpoint.connections();
        connections.retain(|info| info.peer == a.id);
        connections.iter().map(|info| info.conn).max()
    };
    let second = kept(&b).unwrap();
    assert!(matches!(b.next().await, Event::Connected { peer, .. } if peer == c.id));
    assert_eq!(b.connected().await, second);
    a.endpoint.close(CloseCode::Normal).await;
    assert_eq!(b.closed().await.0, second);
}

#[tokio::test]
async fn who_says_no_hello_or_a_wrong_one_is_closed() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let mut node = b.node(
        &registry,
        Options {
            deadline: Duration::from_millis(300),
            ..options()
        },
        8,
    );
    let silent = a.raw(&registry, &node, ALPN).await;
    assert_eq!(silent.closed_with().await, CloseCode::TooSlow);
    let wrong = a.raw(&registry, &node, ALPN).await;
    let (mut send, _recv) = wrong.connection().open_bi().await.unwrap();
    send.write_all(&[2; 9]).await.unwrap();
    assert_eq!(wrong.closed_with().await, CloseCode::Protocol);
    assert!(node.events.try_recv().is_err());
}

#[tokio::test]
async fn a_peer_may_dial_four_times_and_all_together_no_more_than_the_limit() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let node = b.start(&registry);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(a.raw(&registry, &node, ALPN).await);
    }
    assert_eq!(
        a.raw(&registry, &node, ALPN).await.closed_with().await,
        CloseCode::Busy
    );
    assert_eq!(node.endpoint.stats().refused, 1);

    let full = b.node(
        &registry,
        Options {
            max_connections: 1,
            ..options()
        },
        8,
    );
    let mut a = a.start(&registry);
    a.dial(&full, Lane::Control).await.unwrap();
    a.connected().await;
    let error = a.dial(&full, Lane::Bulk).await.unwrap_err();
    let busy = CloseCode::Busy as u64;
    assert!(
        matches!(error, TransportError::Closed(CloseReason::Peer { code, .. }) if code == busy),
        "{error}"
    );
}

#[tokio::test]
async fn under_load_an_address_is_proved_by_a_retry_first() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let mut loaded = b.node(
        &registry,
        Options {
            retry_above: 0,
            ..options()
        },
        8,
    );
    let mut a = a.start(&registry);
    connect(&mut a, &mut loaded, Lane::Control).await;
    assert!(loaded.endpoint.stats().retries >= 1);
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let (a, _) = Seed::ordered();
    let registry = Registry::of(&[&a]);
    let first = a.start(&registry);
    let (sender, _events) = mpsc::channel(1);
    let listen = Options {
        listen: first.address,
        ..options()
    };
    let second = Endpoint::bind(listen, &a.identity, &a.secrets, registry, sender);
    let Err(TransportError::Bind { address, source }) = second else {
        panic!("bound twice")
    };
    assert_eq!((address, source.kind()), (first.address, ErrorKind::AddrInUse));
}
