//! HTTP/1.1 as both listeners of a node serve it, the control API and the hosted mint: with bounds on what a caller may hold
//! before it has said anything.
//!
//! ```text
//!   accepted ─▶ place, the oldest that was never answered well gives way ─▶ request's head in 5 s ─▶ router
//! ```
//!
//! **Bounded**: connections, overall; the time until a request's head is there, on new and on kept connections alike; the
//! head's size. A newcomer is never turned away because of others that fell silent.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
    time::sleep,
};
use tower_service::Service as _;

use crate::sync::lock;

/// Connections of one listener at once. Each costs a descriptor and, with a request in it, some 16 KiB.
pub(crate) const MAX_CONNECTIONS: usize = 256;

/// How long a connection may take to send a request's head, its first and every other: callers send it at once.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// The longest head, in bytes; hyper needs 8 KiB at least.
const MAX_HEAD: usize = 16 * 1024;

/// Pause after the system wouldn't give us a connection: it is out of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Whether a request's good answer says something for who made it.
pub(crate) type Counts = fn(&Request<Incoming>) -> bool;

/// Answers requests on `listener` until `closing` is set or gone; requests under way end first. Dropped, it gives them up.
/// A connection whose last request `counts` and was answered well gives way to no newcomer.
pub(crate) async fn serve(listener: TcpListener, router: Router, counts: Counts, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Places::default());
    let told = closing.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = is_set(&mut closing) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Answers are small and come one by one: held back for fuller packets, each would wait for an
                    // acknowledgement that the client delays by 40 ms.
                    let _ = stream.set_nodelay(true);
                    if let Some(place) = places.take() {
                        connections.spawn(connection(stream, router.clone(), counts, place, told.clone()));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "an HTTP connection could not be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until the flag is set, or nobody is left who could.
async fn is_set(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

/// Answers the requests of one connection.
async fn connection(
    stream: TcpStream,
    router: Router,
    counts: Counts,
    mut place: Place,
    mut closing: watch::Receiver<bool>,
) {
    let welcome = Arc::clone(&place.welcome);
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut router, welcome) = (router.clone(), Arc::clone(&welcome));
        async move {
            let counted = counts(&request);
            let response = router.call(request.map(Body::new)).await;
            if let Ok(response) = &response {
                let turned_away = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                // What anybody can cause, a path that isn't there above all, earns no place, and costs none.
                let has_earned = response.status().is_success() || welcome.load(Ordering::Relaxed);
                welcome.store(counted && has_earned && !turned_away, Ordering::Relaxed);
            }
            response
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        // What a connection becomes is its handler's, with bounds of its own; the place here is free then.
        .with_upgrades();
    tokio::pin!(serving);
    let mut is_closing = false;
    loop {
        tokio::select! {
            biased;
            _ = &mut place.evicted => return,
            () = is_set(&mut closing), if !is_closing => {
                is_closing = true;
                serving.as_mut().graceful_shutdown();
            }
            ended = &mut serving => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an HTTP connection ended");
                }
                return;
            }
        }
    }
}

/// The connections that there are, oldest first.
#[derive(Debug, Default)]
struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    all: BTreeMap<u64, (Arc<AtomicBool>, oneshot::Sender<()>)>,
}

/// A connection's place, free again when it is dropped.
#[derive(Debug)]
struct Place {
    id: u64,
    places: Arc<Places>,
    /// Whether the last request was answered, and not turned away.
    welcome: Arc<AtomicBool>,
    evicted: oneshot::Receiver<()>,
}

impl Places {
    /// A place for a new connection. Where all are taken, the oldest that wasn't answered well gives way; if there is none,
    /// the new one isn't taken.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = lock(&self.0);
        if taken.all.len() >= MAX_CONNECTIONS {
            let oldest = taken.all.iter().find(|(_, (welcome, _))| !welcome.load(Ordering::Relaxed));
            let oldest = oldest.map(|(id, _)| *id)?;
            // Dropping the sender ends the connection.
            taken.all.remove(&oldest);
        }
        taken.last += 1;
        let (id, welcome) = (taken.last, Arc::new(AtomicBool::new(false)));
        let (evict, evicted) = oneshot::channel();
        taken.all.insert(id, (Arc::clone(&welcome), evict));
        Some(Place { id, places: Arc::clone(self), welcome, evicted })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places.0).all.remove(&self.id);
    }
}

/// Allows this process as many descriptors as the system does: the usual soft limit of 1,024 is less than what the bounds of
/// all rooms add up to.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MAX_DESCRIPTORS, |maximum| maximum.min(MAX_DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(error = %io::Error::from(error), "the limit of descriptors can't be raised");
        }
    }
}

/// Descriptors that a node asks for: its bounds need some 2,000.
const MAX_DESCRIPTORS: u64 = 16_384;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn server() -> (watch::Sender<bool>, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/secret", get(|| async { StatusCode::UNAUTHORIZED }));
        let (stop, closing) = watch::channel(false);
        tokio::spawn(serve(listener, router, |_| true, closing));
        (stop, address)
    }

    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn given_more_silent_connections_than_places_a_new_one_is_answered_and_a_good_one_stays() {
        let (_server, address) = server().await;
        let mut good = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut good, "/").await.contains("200 OK"));
        let mut refused = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut refused, "/secret").await.contains("401"));
        let mut lost = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut lost, "/nowhere").await.contains("404"));
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS + 20 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HT").await.unwrap();
            silent.push(stream);
        }
        // So that its patience with kept connections begins anew.
        assert!(ask(&mut good, "/").await.contains("hello"));
        let mut new = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut new, "/").await.contains("hello"));
        assert!(ask(&mut good, "/").await.contains("hello"), "one that was answered doesn't give way");
        assert_eq!(refused.read(&mut [0; 8]).await.unwrap_or(0), 0, "one that was turned away does");
        assert_eq!(lost.read(&mut [0; 8]).await.unwrap_or(0), 0, "and one that asked for what isn't there");
        assert_eq!(silent[0].read(&mut [0; 8]).await.unwrap_or(0), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn given_half_a_request_its_connection_is_closed() {
        let (_server, address) = server().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        let began = Instant::now();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(6 * HEAD_PATIENCE, stream.read_to_end(&mut rest)).await.expect("in time");
        assert!(began.elapsed() >= HEAD_PATIENCE / 2, "not at once either");
    }
}
