//! Where webhooks come in: a listener of its own, off unless the settings say where (`[hooks]` in config.toml), and never the control
//! API.
//!
//! ```text
//! POST /hooks/<name>   202 taken, or taken before; 401 not signed as it must be; 404 no such hook; 413 too large; 503 later
//! ```
//!
//! The answer comes once the delivery is on disk. Whoever isn't known may make the node read one body and compute two HMACs, and no
//! more: a body's length is said before it is read, all that are read together are bounded, and nothing is parsed before its signature
//! holds. What is answered says nothing of duties.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use guilder_protocol::fault::{AtFault as _, Fault};
use http_body_util::BodyExt as _;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::{
    duty::{
        Duties, Head, HookRefusal,
        limits::{HOOK_PATIENCE, MAX_HOOK_BODIES, MAX_HOOK_BODY},
    },
    http_server,
};

/// Answers on `listener` until dropped.
pub(crate) async fn serve(listener: TcpListener, duties: Duties) {
    let places = Arc::new(Semaphore::new(MAX_HOOK_BODIES / UNIT));
    let router = Router::new()
        .route("/hooks/{name}", post(take))
        .layer(DefaultBodyLimit::disable())
        .with_state(Hooks { duties, places });
    let (_open, closing) = watch::channel(false);
    // Whoever has shown a signature gives way to nobody.
    http_server::serve(listener, router, |_| true, closing).await;
}

/// Memory is given out in pieces of so many bytes. One for each connection comes to 16 MiB.
const UNIT: usize = 64 * 1024;

#[derive(Clone)]
struct Hooks {
    duties: Duties,
    /// What bodies may take up together.
    places: Arc<Semaphore>,
}

async fn take(State(hooks): State<Hooks>, Path(name): Path<String>, headers: HeaderMap, body: Body) -> Response {
    match hooks.take(&name, &headers, body).await {
        // That it came before is nobody's business: whoever repeats it is as well served.
        Ok(_) => StatusCode::ACCEPTED.into_response(),
        Err(refusal) => {
            tracing::debug!(hook = %name.escape_default(), %refusal, "a webhook isn't taken");
            (refusal.status(), refusal.to_string()).into_response()
        }
    }
}

/// Why a request isn't taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there is no such hook")]
    Unknown,
    #[error("the body is too large")]
    TooLarge,
    #[error("the body didn't come")]
    NoBody,
    #[error("too much comes in at once; try again")]
    Busy,
    #[error("it can't be stored now; try again")]
    Environment,
    #[error(transparent)]
    Hook(HookRefusal),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoBody => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Environment => StatusCode::SERVICE_UNAVAILABLE,
            Self::Hook(HookRefusal::Signature | HookRefusal::Stale) => StatusCode::UNAUTHORIZED,
            Self::Hook(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<HookRefusal> for Refusal {
    fn from(refusal: HookRefusal) -> Self {
        match refusal {
            HookRefusal::Unknown => Self::Unknown,
            refusal if refusal.fault() == Fault::Peer => Self::Hook(refusal),
            refusal => {
                // What is wrong here is for the log.
                tracing::error!(%refusal, "a webhook could not be stored");
                Self::Environment
            }
        }
    }
}

impl Hooks {
    async fn take(&self, name: &str, headers: &HeaderMap, body: Body) -> Result<bool, Refusal> {
        let kind = self.duties.hook_kind(name).map_err(|_| Refusal::Environment)?.ok_or(Refusal::Unknown)?;
        let [signature, delivery, event, timestamp] = kind.headers();
        let head = Head {
            signature: text(headers, signature),
            delivery: text(headers, delivery),
            event: text(headers, event),
            timestamp: text(headers, timestamp),
        };
        // Who shows no signature needn't send a body.
        if head.signature.is_none() {
            return Err(Refusal::Hook(HookRefusal::Signature));
        }
        let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let most = said.unwrap_or(MAX_HOOK_BODY);
        if most > MAX_HOOK_BODY {
            return Err(Refusal::TooLarge);
        }
        let read = tokio::time::timeout(HOOK_PATIENCE, self.read(body, most)).await;
        // What it takes up is given back once it is stored.
        let (body, _places) = read.map_err(|_| Refusal::NoBody)??;
        Ok(self.duties.receive(name, &head, body).await?)
    }
}

impl Hooks {
    /// A body of at most so many bytes. Memory is reserved as it comes, and not by what its length claims: who says much and sends
    /// little is in nobody's way, and the first piece of each is free, so that usual ones pass beside the largest.
    async fn read(&self, mut body: Body, most: usize) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), Refusal> {
        let (mut bytes, mut places) = (BytesMut::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::NoBody)?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > most {
                return Err(Refusal::TooLarge);
            }
            while bytes.len() + data.len() > (places.len() + 1) * UNIT {
                places.push(Arc::clone(&self.places).try_acquire_owned().map_err(|_| Refusal::Busy)?);
            }
            bytes.extend_from_slice(data);
        }
        Ok((bytes.freeze(), places))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    if name.is_empty() { None } else { headers.get(name)?.to_str().ok() }
}
