//! Requests and their raw replies.

use aws_lc_rs::digest;

use super::*;

/// Serves requests until the connection closes: the reply is as many blocks as the request says.
async fn serve_bulk(mut node: Node) -> CloseReason {
    loop {
        match node.next().await {
            Event::BulkRequest {
                request, mut reply, ..
            } => {
                let block = Bytes::from(block());
                for _ in 0..request[0] {
                    reply.write_chunk(block.clone()).await.unwrap();
                }
                reply.finish().unwrap();
            }
            Event::Closed { reason, .. } => return reason,
            _ => {}
        }
    }
}

fn block() -> Vec<u8> {
    (0..1_u32 << 18).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn a_bulk_reply_of_64_mib_arrives_whole() {
    const BLOCKS: u8 = 64;
    let size = usize::from(BLOCKS) << 20;
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let (sender, address) = std::sync::mpsc::channel();
    let (b, its_registry) = (b, Arc::clone(&registry));
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let node = b.node(&its_registry, Options::default(), 64);
            sender.send((node.id, node.address)).unwrap();
            serve_bulk(node).await
        })
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let a = a.node(&registry, Options::default(), 64);
        let (peer, address) = address.recv().unwrap();
        a.endpoint.connect(peer, &[address], Lane::Bulk).await.unwrap();
        let expected = digest::digest(&digest::SHA256, &block().repeat(BLOCKS.into()));
        for (name, chunks) in [("read_chunk", true), ("read", false)] {
            let begun = Instant::now();
            let mut stream = a.endpoint.fetch(peer, Bytes::from(vec![BLOCKS])).await.unwrap();
            let (mut count, mut hash) = (0, digest::Context::new(&digest::SHA256));
            if chunks {
                while let Some(chunk) = stream.read_chunk().await.unwrap() {
                    count += chunk.len();
                    hash.update(&chunk);
                }
            } else {
                let mut buffer = vec![0; 256 * 1024];
                while let read @ 1.. = stream.read(&mut buffer).await.unwrap() {
                    count += read;
                    hash.update(&buffer[..read]);
                }
            }
            let rate = size as f64 / begun.elapsed().as_secs_f64() / 1e6;
            println!("{name}: 64 MiB, hashed, at {rate:.0} MB/s");
            assert_eq!(count, size);
            assert_eq!(hash.finish().as_ref(), expected.as_ref());
        }
        a.endpoint.close(CloseCode::Normal).await;
    });
    let reason = server.join().unwrap();
    assert_eq!(
        reason,
        CloseReason::Peer {
            code: 0,
            text: String::new()
        }
    );
}

#[tokio::test]
async fn either_side_of_a_bulk_connection_may_ask() {
    let (mut a, mut b) = pair();
    let missing = a.endpoint.fetch(b.id, Bytes::new()).await.unwrap_err();
    assert!(matches!(missing, TransportError::NotConnected), "{missing}");
    let (at_a, at_b) = connect(&mut a, &mut b, Lane::Bulk).await;
    assert_eq!(
        a.endpoint.send_frame(at_a, Bytes::from_static(b"frame")),
        Err(SendError::Closed)
    );
    let (mut asks, mut answers) = (a, b);
    for conn in [at_b, at_a] {
        let mut stream = asks
            .endpoint
            .fetch(answers.id, Bytes::from_static(b"question"))
            .await
            .unwrap();
        let Event::BulkRequest {
            peer,
            conn: on,
            request,
            mut reply,
        } = answers.next().await
        else {
            panic!()
        };
        assert_eq!(
            (peer, on, request.as_ref()),
            (asks.id, conn, b"question".as_slice())
        );
        reply.write_chunk(Bytes::from_static(b"answer")).await.unwrap();
        reply.finish().unwrap();
        assert_eq!(stream.read_chunk().await.unwrap().unwrap(), "answer");
        assert_eq!(stream.read_chunk().await.unwrap(), None);
        std::mem::swap(&mut asks, &mut answers);
    }
}

#[tokio::test]
async fn a_reply_given_up_never_looks_complete() {
    let (mut a, mut b) = pair();
    connect(&mut a, &mut b, Lane::Bulk).await;
    for (code, explicit) in [(CloseCode::Aborted, false), (CloseCode::Busy, true)] {
        let mut stream = a.endpoint.fetch(b.id, Bytes::new()).await.unwrap();
        let Event::BulkRequest { mut reply, .. } = b.next().await else {
            panic!()
        };
        reply.write_chunk(Bytes::from_static(b"half")).await.unwrap();
        if explicit {
            reply.reset(code);
        } else {
            drop(reply);
        }
        let mut end = stream.read_chunk().await;
        if end == Ok(Some(Bytes::from_static(b"half"))) {
            end = stream.read_chunk().await;
        }
        assert_eq!(end, Err(BulkError::Reset(code as u64)));
    }
    // And a reader that stops is told to the writer.
    let stream = a.endpoint.fetch(b.id, Bytes::new()).await.unwrap();
    let Event::BulkRequest { mut reply, .. } = b.next().await else {
        panic!()
    };
    stream.stop(CloseCode::Normal);
    let block = Bytes::from(block());
    let error = loop {
        if let Err(error) = reply.write_chunk(block.clone()).await {
            break error;
        }
    };
    assert_eq!(error, BulkError::Reset(CloseCode::Normal as u64));
}

#[tokio::test]
async fn a_reply_that_nobody_reads_or_writes_stalls_out() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let brief = Options {
        stall: Duration::from_millis(200),
        ..options()
    };
    let (mut a, mut b) = (a.node(&registry, brief.clone(), 8), b.node(&registry, brief, 8));
    connect(&mut a, &mut b, Lane::Bulk).await;
    let mut stream = a.endpoint.fetch(b.id, Bytes::new()).await.unwrap();
    let Event::BulkRequest { mut reply, .. } = b.next().await else {
        panic!()
    };
    assert_eq!(stream.read_chunk().await, Err(BulkError::Stalled));
    let block = Bytes::from(block());
    let mut written = 0;
    let error = loop {
        match reply.write_chunk(block.clone()).await {
            Ok(()) => written += block.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(error, BulkError::Stalled);
    assert!(written <= 48 << 20, "{written} bytes held");
}

#[tokio::test]
async fn a_bad_request_is_reset_alone_and_a_hundred_close_the_connection() {
    let (a, b) = Seed::ordered();
    let registry = Registry::of(&[&a, &b]);
    let mut node = b.node(&registry, options(), 8);
    let raw = a.raw(&registry, &node, ALPN).await;
    let _hello = raw.hello(1).await;
    let conn = node.connected().await;
    let over = (MAX_REQUEST as u32 + 1).to_be_bytes().to_vec();
    let bad = [
        (b"\0\0\0\x05four".to_vec(), CloseCode::Protocol),
        (
            [over, vec![0; MAX_REQUEST + 1]].concat(),
            CloseCode::FrameTooLarge,
        ),
    ];
    for (request, code) in bad {
        let (mut send, mut recv) = raw.connection().open_bi().await.unwrap();
        // The peer may stop the stream before it is written.
        let _ = send.write_all(&request).await;
        let _ = send.finish();
        let reset = recv.read_to_end(1).await;
        let expected = quinn::ReadToEndError::Read(quinn::ReadError::Reset(code.into()));
        assert_eq!(reset, Err(expected));
    }
    let (mut send, _recv) = raw.connection().open_bi().await.unwrap();
    send.write_all(b"\0\0\0\x02ok").await.unwrap();
    send.finish().unwrap();
    assert!(matches!(node.next().await, Event::BulkRequest { request, .. } if request == "ok"));

    let flood = async {
        while let Ok((mut send, _recv)) = raw.connection().open_bi().await {
            let _ = send.write_all(b"\0").await;
            let _ = send.reset(0_u32.into());
        }
    };
    timeout(PATIENCE, flood).await.unwrap();
    assert_eq!(raw.closed_with().await, CloseCode::Protocol);
    assert_eq!(
        node.closed().await,
        (conn, CloseReason::Here(CloseCode::Protocol))
    );
    let request = Bytes::from(vec![0; MAX_REQUEST + 1]);
    let mut a = a.start(&registry);
    a.dial(&node, Lane::Bulk).await.unwrap();
    a.connected().await;
    let error = a.endpoint.fetch(node.id, request).await.unwrap_err();
    assert!(matches!(error, TransportError::RequestTooLarge(_)), "{error}");
}
