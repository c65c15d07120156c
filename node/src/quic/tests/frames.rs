//! Frames: order, size, back-pressure, the graceful end, and a socket that fails.

use super::{super::socket::tests::Failing, *};

#[tokio::test]
async fn frames_go_both_ways_in_order() {
    let (mut a, mut b) = pair();
    let (at_a, at_b) = connect(&mut a, &mut b, Lane::Control).await;
    for number in 0..1000_u32 {
        a.endpoint
            .send_frame(
                at_a,
                Bytes::from(number.to_be_bytes().repeat(1 + number as usize % 50)),
            )
            .unwrap();
    }
    for number in 0..1000_u32 {
        let frame = b.frame().await;
        assert_eq!(frame, number.to_be_bytes().repeat(1 + number as usize % 50));
        b.endpoint.send_frame(at_b, frame).unwrap();
    }
    for number in 0..1000_u32 {
        assert_eq!(a.frame().await[..4], number.to_be_bytes());
    }
    let seen = b.endpoint.connections();
    assert_eq!((seen.len(), seen[0].peer, seen[0].outbound), (1, a.id, false));
}

#[tokio::test]
async fn a_frame_of_the_largest_size_passes_and_one_byte_more_closes_the_connection() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let (mut node, mut b_node) = (a.start(&registry), b.start(&registry));
    let (at_a, _) = connect(&mut node, &mut b_node, Lane::Control).await;
    node.endpoint
        .send_frame(at_a, Bytes::from(vec![7; MAX_FRAME]))
        .unwrap();
    assert_eq!(b_node.frame().await, vec![7; MAX_FRAME]);
    let over = Bytes::from(vec![7; MAX_FRAME + 1]);
    assert_eq!(
        node.endpoint.send_frame(at_a, over),
        Err(SendError::Size(MAX_FRAME + 1))
    );

    for (length, code) in [
        (MAX_FRAME + 1, CloseCode::FrameTooLarge),
        (0, CloseCode::Protocol),
    ] {
        let raw = a.raw(&registry, &b_node, ALPN).await;
        let (mut send, _recv) = raw.hello(0).await;
        send.write_all(&(length as u32).to_be_bytes()).await.unwrap();
        assert_eq!(raw.closed_with().await, code);
    }
}

/// Loss makes a frame pause, and malice makes it creep: the one passes, the other is closed.
#[tokio::test]
async fn a_frame_may_take_long_but_must_go_on() {
    const STALL: Duration = Duration::from_secs(1);
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let options = Options {
        frame_stall: STALL,
        ..options()
    };
    let mut node = b.node(&registry, options, 8);
    let good = a.raw(&registry, &node, ALPN).await;
    let (mut send, _recv) = good.hello(0).await;
    node.connected().await;
    let begun = Instant::now();
    send.write_all(&[0, 0]).await.unwrap();
    tokio::time::sleep(STALL / 3).await;
    send.write_all(&[0x20, 0]).await.unwrap();
    for _ in 0..8 {
        tokio::time::sleep(STALL / 3).await;
        send.write_all(&[7; 1024]).await.unwrap();
    }
    assert_eq!(node.frame().await, [7; 8192].as_slice());
    assert!(begun.elapsed() > STALL * 2);

    // Nothing more comes; or something does, so little that it would never end.
    for pause in [Duration::MAX, STALL / 50] {
        let slow = a.raw(&registry, &node, ALPN).await;
        let (mut send, _recv) = slow.hello(0).await;
        let begun = Instant::now();
        send.write_all(&[0, 0x10, 0, 0, 7]).await.unwrap();
        let creep = async {
            loop {
                tokio::time::sleep(pause).await;
                // An error: it is closed.
                let _ = send.write_all(&[7]).await;
            }
        };
        tokio::select! {
            code = slow.closed_with() => assert_eq!(code, CloseCode::TooSlow),
            () = creep => {}
        }
        assert!(begun.elapsed() < STALL * 5, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_fills_bounded_buffers_and_loses_nothing() {
    const FRAME: usize = 64 * 1024;
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let (mut a, mut b) = (a.start(&registry), b.node(&registry, options(), 2));
    let (at_a, _) = connect(&mut a, &mut b, Lane::Control).await;

    let mut sent = 0_u32;
    loop {
        let mut frame = vec![0; FRAME];
        frame[..4].copy_from_slice(&sent.to_be_bytes());
        match a.endpoint.send_frame(at_a, Bytes::from(frame)) {
            Ok(()) => sent += 1,
            // Room comes until every buffer on the way is full, and then no more.
            Err(SendError::Full) => match timeout(Duration::from_secs(1), a.events.recv()).await {
                Ok(Some(Event::Writable { conn, .. })) => assert_eq!(conn, at_a),
                Ok(other) => panic!("{other:?}"),
                Err(_) => break,
            },
            Err(error) => panic!("{error}"),
        }
    }
    let held = sent as usize * FRAME;
    // Queue, quinn's send window, the peer's receive window, its event channel and its reader.
    let bound = options().queue_bytes + 16 * 1024 * 1024 + 4 * FRAME;
    assert!(held <= bound, "{held} bytes in flight, bound {bound}");
    for number in 0..sent {
        assert_eq!(b.frame().await[..4], number.to_be_bytes());
    }
    assert!(matches!(a.next().await, Event::Writable { .. }));
    a.endpoint.send_frame(at_a, Bytes::from_static(b"on")).unwrap();
    assert_eq!(b.frame().await, "on");
}

#[tokio::test]
async fn closing_lets_every_queued_frame_arrive_first() {
    let (mut a, mut b) = pair();
    let (at_a, at_b) = connect(&mut a, &mut b, Lane::Control).await;
    for number in 0..2000_u32 {
        a.endpoint
            .send_frame(at_a, Bytes::from(number.to_be_bytes().repeat(300)))
            .unwrap();
    }
    let begun = Instant::now();
    let (_, ()) = tokio::join!(a.endpoint.close(CloseCode::Restarting), async {
        for number in 0..2000_u32 {
            assert_eq!(b.frame().await[..4], number.to_be_bytes());
        }
        let (conn, reason) = b.closed().await;
        let code = CloseCode::Restarting as u64;
        assert_eq!(
            (conn, reason),
            (
                at_b,
                CloseReason::Peer {
                    code,
                    text: String::new()
                }
            )
        );
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(
        a.endpoint.send_frame(at_a, Bytes::from_static(b"late")),
        Err(SendError::Closed)
    );
    let error = a.dial(&b, Lane::Control).await.unwrap_err();
    assert!(matches!(error, TransportError::Closing), "{error}");
}

#[tokio::test]
async fn an_endpoint_whose_socket_fails_goes_on_serving() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let kinds = &[
        ErrorKind::ConnectionRefused,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkDown,
    ];
    let failing = Failing::new(kinds, 100);
    let (sender, events) = mpsc::channel(8);
    let socket = Arc::clone(&failing) as _;
    let directory = Arc::clone(&registry) as _;
    let endpoint = Endpoint::over(socket, options(), &b.identity, &b.secrets, directory, sender).unwrap();
    let mut hit = Node {
        id: b.id,
        address: endpoint.local_addr().unwrap(),
        endpoint,
        events,
    };
    let mut a = a.start(&registry);

    let (at_a, _) = connect(&mut a, &mut hit, Lane::Control).await;
    failing.left.store(100, Ordering::Relaxed);
    a.endpoint
        .send_frame(at_a, Bytes::from_static(b"still here"))
        .unwrap();
    assert_eq!(hit.frame().await, "still here");
    let (errors, polls) = (
        hit.endpoint.stats().receive_errors,
        failing.polls.load(Ordering::Relaxed),
    );
    assert_eq!(errors, 200);
    assert!(polls < 1000, "{polls} polls");
}
