//! `/livez`, `/readyz` and `/metrics` over HTTP/1. The owner of `hyper`.
//!
//! One request a connection, then it is closed. Whoever is slow, sends too much or sends no HTTP loses the connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Condition, Sample};
use crate::config::Operator;
use crate::desk::DeskHandle;
use crate::quic::Stats;

/// Connections served at once; more wait in the system's queue.
const CONNECTIONS: usize = 16;
/// Bytes of a request line and its headers.
const HEAD_BYTES: usize = 8 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// Time for the head of a request to arrive.
const HEAD: Duration = Duration::from_secs(5);
/// Time for a whole exchange.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Pause after the system refused to hand out a connection: it is out of files.
const REFUSED: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The pages cannot be served.
#[derive(Debug, Error)]
#[error("cannot listen on tcp {address}: {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// The bound address of the pages.
pub struct Listener(TcpListener);

impl Listener {
    /// Binds the configured address.
    ///
    /// # Errors
    /// [`ListenError`], with the system's reason.
    pub async fn bind(config: &Operator) -> Result<Self, ListenError> {
        let address = config.listen;
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| ListenError { address, source })?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "whoever reaches this address reads how the node is: keep it to your own network");
        }
        Ok(Self(listener))
    }

    /// The address, with the port that the system chose if none was given.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves the pages for as long as the node lives.
    pub async fn serve(self, pages: Pages) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    let pages = pages.clone();
                    tokio::spawn(async move {
                        pages.converse(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "no connection could be taken for the operator's pages");
                    sleep(REFUSED).await;
                }
            }
        }
    }
}

/// The pages, and what they show.
#[derive(Clone)]
pub struct Pages {
    /// Its monitor and its queue; nothing is ever asked of it.
    pub desk: DeskHandle,
    /// Counters of the transport.
    pub transport: Arc<dyn Fn() -> Stats + Send + Sync>,
}

type Page = (StatusCode, &'static str, String);

impl Pages {
    async fn converse(&self, stream: TcpStream) {
        let answer = |request: Request<Incoming>| {
            let response = self.answer(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(response) }
        };
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .keep_alive(false)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        match timeout(EXCHANGE, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection to the operator's pages failed"),
            Err(_) => tracing::debug!("a connection to the operator's pages was too slow"),
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<String> {
        let allowed = matches!(*method, Method::GET | Method::HEAD);
        let (status, content_type, text) = match path {
            "/livez" | "/readyz" | "/metrics" if !allowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "only GET and HEAD\n".to_owned(),
            ),
            "/livez" => self.live(),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            _ => (
                StatusCode::NOT_FOUND,
                TEXT,
                "there are /livez, /readyz and /metrics\n".to_owned(),
            ),
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    fn live(&self) -> Page {
        match self.desk.monitor().vitals.alive() {
            true => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            false => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                format!("{}\n", Condition::DeskSilent),
            ),
        }
    }

    /// 503 with the reasons, or 200 with `ok` and the notes.
    fn ready(&self) -> Page {
        let sample = self.sample();
        let (reasons, notes): (Vec<_>, Vec<_>) =
            sample.conditions.into_iter().partition(|one| one.is_reason());
        let lines = |conditions: Vec<Condition>| -> String {
            conditions.iter().map(|one| format!("{one}\n")).collect()
        };
        if reasons.is_empty() {
            (StatusCode::OK, TEXT, format!("ok\n{}", lines(notes)))
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, TEXT, lines(reasons))
        }
    }

    fn metrics(&self) -> Page {
        match self.desk.monitor().meters.render(&self.sample()) {
            Ok(text) => (StatusCode::OK, OPEN_METRICS, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        }
    }

    fn sample(&self) -> Sample {
        let vitals = &self.desk.monitor().vitals;
        let (queued, queue_limit) = self.desk.queue();
        let published = vitals.published();
        Sample {
            conditions: vitals.conditions(published.map(|published| published.standing)),
            queued: queued as u64,
            queue_limit: queue_limit as u64,
            silence: vitals.silence(),
            transport: (self.transport)(),
            space: vitals.space(),
            published,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::operator::{Enrolment, Monitor, Published, Standing};

    fn pages() -> Pages {
        let (desk, _) = DeskHandle::new(8, Arc::new(Monitor::new(5)));
        let transport = || Stats {
            connections: 3,
            receive_errors: 0,
            retries: 0,
            refused: 0,
            failed: 4,
        };
        Pages {
            desk,
            transport: Arc::new(transport),
        }
    }

    /// A desk that has just come round, in a node with this standing.
    fn published(enrolment: Enrolment, peers: usize) -> Pages {
        let pages = pages();
        let vitals = &pages.desk.monitor().vitals;
        vitals.publish(Published {
            standing: Standing {
                enrolment,
                peers,
                connected: 0,
                registry: None,
            },
            commits: 7,
            dossiers: 1,
            entries: 2,
            pending: 0,
            documents: 0,
            document_bytes: 0,
            wanted: 0,
        });
        vitals.round();
        pages
    }

    fn get(pages: &Pages, path: &str) -> (u16, String) {
        let response = pages.answer(&Method::GET, path);
        (response.status().as_u16(), response.into_body())
    }

    #[test]
    fn a_silent_desk_is_not_ready_and_what_needs_no_desk_is_still_shown() {
        let pages = pages();
        let (status, text) = get(&pages, "/readyz");
        assert!(
            status == 503 && text.starts_with("desk-silent: "),
            "{status} {text}"
        );
        // A restart would not help yet.
        assert_eq!(get(&pages, "/livez"), (200, "ok\n".into()));
        let (status, text) = get(&pages, "/metrics");
        assert_eq!(status, 200);
        for line in [
            "basoche_ready 0\n",
            "basoche_condition{code=\"desk-silent\"} 1\n",
            "basoche_connections 3\n",
            "basoche_handshakes_failed_total 4\n",
            "basoche_desk_queue_limit 8\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("basoche_dossiers"), "{text}");
        let (_, text) = get(&published(Enrolment::Valid, 0), "/metrics");
        assert!(text.contains("basoche_dossiers 1\n") && text.contains("basoche_store_commits_total 7\n"));
    }

    #[test]
    fn a_note_leaves_the_node_ready_and_a_reason_does_not() {
        assert_eq!(
            get(&published(Enrolment::Valid, 0), "/readyz"),
            (200, "ok\n".into())
        );
        let (status, text) = get(&published(Enrolment::Valid, 2), "/readyz");
        assert!(
            status == 200 && text.starts_with("ok\nno-peer: "),
            "{status} {text}"
        );
        let pages = published(Enrolment::Missing, 2);
        pages.desk.monitor().vitals.stop();
        let (status, text) = get(&pages, "/readyz");
        let codes: Vec<_> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!((status, codes), (503, vec!["not-enrolled", "stopping"]));
        assert_eq!(get(&pages, "/livez"), (200, "ok\n".into()));
    }

    #[test]
    fn other_methods_and_other_pages_are_refused_with_a_word() {
        let pages = published(Enrolment::Valid, 0);
        let refused = pages.answer(&Method::POST, "/metrics");
        assert_eq!(
            (refused.status(), &refused.headers()[ALLOW]),
            (
                StatusCode::METHOD_NOT_ALLOWED,
                &"GET, HEAD".parse::<HeaderValue>().unwrap()
            )
        );
        for path in ["/", "/metrics/", "/metricsx", "//livez", "*"] {
            let (status, text) = get(&pages, path);
            assert!(
                status == 404 && text.contains("/readyz"),
                "{path}: {status} {text}"
            );
        }
    }
}
