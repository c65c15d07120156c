//! From a first datagram, or a dial, to an established connection.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use quinn::ConnectionError;
use rustls::pki_types::CertificateDer;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    CloseCode, CloseReason, ConnectionId, Lane, NodeId, TransportError,
    connection::{Broken, Hello, close_reason, serve},
    endpoint::{OnDrop, Shared},
    limits::{MAX_HANDSHAKES, NEXT_ADDRESS},
    tls,
};

/// TLS alerts as QUIC error codes: CRYPTO_ERROR 0x0100 to 0x01ff (RFC 9000 §20.1).
const ACCESS_DENIED: u64 = 0x100 + 49;
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// Accepts until the endpoint closes.
pub(super) async fn accept_all(shared: Arc<Shared>) {
    while let Some(incoming) = shared.quinn.accept().await {
        let under_way = shared.handshakes.load(Ordering::Relaxed);
        if under_way >= shared.options.retry_above && !incoming.remote_address_validated() {
            shared.retries.fetch_add(1, Ordering::Relaxed);
            // Cannot fail: an unvalidated address may always be sent a Retry.
            let _ = incoming.retry();
        } else if under_way >= MAX_HANDSHAKES {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            incoming.ignore();
        } else {
            // Counted before the task runs, so that a burst is counted whole; `shake_hands` counts it off.
            shared.handshakes.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(accept(Arc::clone(&shared), incoming));
        }
    }
}

/// Takes one incoming connection from its first datagram to its end.
async fn accept(shared: Arc<Shared>, incoming: quinn::Incoming) {
    let _serving = shared.serving();
    let Some(connection) = shake_hands(&shared, incoming).await else {
        return;
    };
    let Some((key, peer)) = identify(&shared, &connection) else {
        shared.failed.fetch_add(1, Ordering::Relaxed);
        return connection.close(CloseCode::UnknownPeer.into(), b"");
    };
    let Some(_slot) = shared.slot(peer) else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return connection.close(CloseCode::Busy.into(), b"");
    };
    // Called while the streams live: dropped before the connection is closed, they would look like an end.
    let refuse = |broken: Broken| match broken {
        Broken::Rule(code, text) => connection.close(code.into(), text.as_bytes()),
        Broken::Lost(error) => tracing::debug!(%error, "connection lost before its hello"),
        Broken::Here => connection.close(CloseCode::Restarting.into(), b""),
    };
    let streams = async { connection.accept_bi().await.map_err(Broken::Lost) };
    let (mut send, mut recv) = match unless_closing(&shared, streams).await {
        Ok(streams) => streams,
        Err(broken) => return refuse(broken),
    };
    let hello = match unless_closing(&shared, Hello::read(&mut recv)).await {
        Ok(hello) => hello,
        Err(broken) => return refuse(broken),
    };
    let link = match shared.register(peer, key, hello, false, &connection) {
        Ok(link) => link,
        Err(code) => return refuse(Broken::Rule(code, "")),
    };
    let answer = Hello {
        instance: shared.instance,
        ..hello
    }
    .encode();
    match unless_closing(&shared, async { Ok(send.write_all(&answer).await?) }).await {
        Ok(()) => serve(&shared, &link, send, recv).await,
        Err(_) => {
            link.close(CloseCode::TooSlow, "hello not taken");
            shared.remove(&link);
        }
    }
}

/// Ends early, as [`Broken`], what takes longer than the deadline or than the endpoint lives.
async fn unless_closing<T>(
    shared: &Shared,
    future: impl Future<Output = Result<T, Broken>>,
) -> Result<T, Broken> {
    tokio::select! {
        done = timeout(shared.options.deadline, future) => {
            done.unwrap_or(Err(Broken::Rule(CloseCode::TooSlow, "no hello")))
        }
        _ = shared.closing() => Err(Broken::Here),
    }
}

async fn shake_hands(shared: &Shared, incoming: quinn::Incoming) -> Option<quinn::Connection> {
    let _under_way = OnDrop(|| {
        shared.handshakes.fetch_sub(1, Ordering::Relaxed);
    });
    let remote = incoming.remote_address();
    // A Retry shows heavy load, under which packets are lost and repeated.
    let factor = if incoming.remote_address_validated() { 3 } else { 1 };
    let shaken = tokio::select! {
        shaken = timeout(shared.options.deadline * factor, incoming.into_future()) => shaken,
        _ = shared.closing() => return None,
    };
    match shaken {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            shared.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%remote, reason = %close_reason(error, None), "handshake refused");
            None
        }
        Err(_) => {
            shared.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%remote, "handshake too slow");
            None
        }
    }
}

/// The peer's key, and the node it belongs to now.
fn identify(shared: &Shared, connection: &quinn::Connection) -> Option<([u8; 32], NodeId)> {
    let chain = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    let key = tls::spki_sha256(chain.first()?).ok()?;
    Some((key, shared.directory.node_of_key(&key)?))
}

/// Shakes hands with `peer` at the first of these addresses that answers (RFC 8305 §5).
async fn reach(
    shared: &Arc<Shared>,
    peer: NodeId,
    addresses: &[SocketAddr],
) -> Result<(quinn::Connection, SocketAddr), TransportError> {
    let mut last = TransportError::NotConnected;
    let mut rest = addresses.iter();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = rest.next() {
            attempts.spawn(knock(Arc::clone(shared), peer, *address));
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(reached))) => return Ok(reached),
                Some(Ok(Err(error))) => last = error,
                // A panic, which the runtime has reported.
                Some(Err(_)) => {}
                None => return Err(last),
            },
            () = sleep(NEXT_ADDRESS), if rest.len() > 0 => {}
        }
    }
}

/// Shakes hands at one address.
async fn knock(
    shared: Arc<Shared>,
    peer: NodeId,
    address: SocketAddr,
) -> Result<(quinn::Connection, SocketAddr), TransportError> {
    let (crypto, doorkeeper) = shared.dialler.towards(peer)?;
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(Arc::clone(&shared.dialled));
    config.token_store(Arc::new(quinn::NoneTokenStore));
    let connecting = shared
        .quinn
        .connect_with(config, address, tls::SERVER_NAME)
        .map_err(|error| TransportError::Address {
            address,
            reason: error.to_string(),
        })?;
    match timeout(shared.options.deadline, connecting).await {
        Ok(Ok(connection)) => Ok((connection, address)),
        Ok(Err(error)) => Err(match doorkeeper.refusal() {
            Some(tls::Refusal::Unknown) => TransportError::UnknownPeer,
            Some(tls::Refusal::Other(node)) => TransportError::WrongPeer(node),
            None => dial_error(error, address),
        }),
        Err(_) => Err(TransportError::Unreachable(address)),
    }
}

pub(super) async fn dial(
    shared: &Arc<Shared>,
    peer: NodeId,
    addresses: &[SocketAddr],
    lane: Lane,
) -> Result<ConnectionId, TransportError> {
    let deadline = shared.options.deadline;
    let (connection, address) = reach(shared, peer, addresses).await?;

    // The acceptor checks this side's certificate only after the handshake is done here: its refusal comes now.
    let (mut send, mut recv) = match timeout(deadline, connection.open_bi()).await {
        Ok(streams) => streams.map_err(|error| dial_error(error, address))?,
        Err(_) => return Err(refused_here(CloseCode::TooSlow)),
    };
    let opened = timeout(deadline, async {
        send.write_all(
            &Hello {
                lane,
                instance: shared.instance,
            }
            .encode(),
        )
        .await?;
        let answer = Hello::read(&mut recv).await?;
        if answer.lane != lane {
            return Err(Broken::Rule(CloseCode::Protocol, "another lane in the answer"));
        }
        let found = identify(shared, &connection).filter(|(_, found)| *found == peer);
        let (key, _) = found.ok_or(Broken::Rule(CloseCode::UnknownPeer, ""))?;
        let link = shared.register(peer, key, answer, true, &connection);
        link.map_err(|code| Broken::Rule(code, ""))
    });
    let link = match opened
        .await
        .unwrap_or(Err(Broken::Rule(CloseCode::TooSlow, "no hello")))
    {
        Ok(link) => link,
        Err(Broken::Rule(code, text)) => {
            connection.close(code.into(), text.as_bytes());
            return Err(refused_here(code));
        }
        Err(Broken::Lost(error)) => return Err(dial_error(error, address)),
        Err(Broken::Here) => return Err(TransportError::Closing),
    };
    let id = link.id;
    let shared = Arc::clone(shared);
    let serving = shared.serving();
    tokio::spawn(async move {
        let _serving = serving;
        serve(&shared, &link, send, recv).await;
    });
    Ok(id)
}

fn refused_here(code: CloseCode) -> TransportError {
    match code {
        CloseCode::Duplicate => TransportError::Duplicate,
        CloseCode::UnknownPeer => TransportError::UnknownPeer,
        code => TransportError::Closed(CloseReason::Here(code)),
    }
}

fn dial_error(error: ConnectionError, address: SocketAddr) -> TransportError {
    match &error {
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == ACCESS_DENIED => {
            TransportError::UnknownThere
        }
        ConnectionError::ConnectionClosed(close)
            if u64::from(close.error_code) == NO_APPLICATION_PROTOCOL =>
        {
            TransportError::Incompatible
        }
        ConnectionError::ApplicationClosed(close) => {
            match CloseCode::from_number(close.error_code.into_inner()) {
                Some(CloseCode::Duplicate) => TransportError::Duplicate,
                Some(CloseCode::UnknownPeer | CloseCode::Revoked) => TransportError::UnknownThere,
                _ => TransportError::Closed(close_reason(error, None)),
            }
        }
        ConnectionError::TimedOut => TransportError::Unreachable(address),
        ConnectionError::LocallyClosed => TransportError::Closing,
        _ => TransportError::Closed(close_reason(error, None)),
    }
}
