//! How clients reach the handler: over streamable HTTP, and over bytes for those that speak through standard input and output.
//!
//! Both paths stand on the control API's listener, behind its guard: loopback, its `Host`, a bearer token.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rmcp::{
    serve_server,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService, async_rw::AsyncRwTransport,
        streamable_http_server::session::never::NeverSessionManager,
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{MAX_MCP_CALLS, MAX_MCP_MESSAGE, MAX_MCP_REQUESTS, MAX_MCP_SESSIONS, Mcp, Shown, pipe::Bounded};
use crate::api::{Api, caller::Caller, http::Failure, types::ApiError};

/// Streamable HTTP.
const HTTP_PATH: &str = "/mcp";
/// Where a connection becomes a session of JSON lines.
pub(crate) const SESSION_PATH: &str = "/v1/mcp/session";
/// What it is upgraded to.
pub(crate) const UPGRADE: &str = "guilder-mcp";

/// Pages that are of this machine may call; every other page is refused, whatever token it has.
const ORIGINS: [&str; 3] = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];

/// What all clients share.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    calls: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
}

impl Default for Face {
    fn default() -> Self {
        Self { calls: Arc::new(Semaphore::new(MAX_MCP_CALLS)), sessions: Arc::new(Semaphore::new(MAX_MCP_SESSIONS)) }
    }
}

impl Face {
    fn handler(&self, api: Api, caller: Caller, shown: Option<Shown>) -> Mcp {
        Mcp { api, caller, shown, calls: Arc::clone(&self.calls) }
    }
}

/// Both paths.
pub(crate) fn routes() -> Router<Api> {
    Router::new().route(HTTP_PATH, any(over_http)).route(SESSION_PATH, get(session))
}

async fn over_http(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(face): Extension<Face>,
    request: Request,
) -> Response {
    // Each request has shown its token.
    let handler = face.handler(api, caller, None);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_origins(ORIGINS)
        .enforce_origin_validation()
        .with_max_request_body_bytes(MAX_MCP_MESSAGE);
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
    service.handle(request).await.map(Body::new)
}

async fn session(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(face): Extension<Face>,
    mut request: Request,
) -> Response {
    let wanted = request.headers().get(header::UPGRADE).is_some_and(|to| to.as_bytes() == UPGRADE.as_bytes());
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>().filter(|_| wanted) else {
        let error = ApiError::misuse("this path is for `guilder mcp`", "MCP over HTTP is at /mcp");
        return Failure::from(error).into_response();
    };
    let Ok(place) = Arc::clone(&face.sessions).try_acquire_owned() else {
        let error = ApiError::misuse("too many MCP sessions are open", "close some of the clients that use this node");
        return Failure::from(ApiError { retryable: true, ..error }).into_response();
    };
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).filter(|_| caller.scope().is_some());
    let shown = bearer.map(|token| Shown(token.into()));
    let handler = face.handler(api.clone(), caller, shown);
    let serving = async move {
        match upgrade.await {
            Ok(connection) => serve(handler, connection, place).await,
            Err(error) => tracing::debug!(%error, "an MCP session did not begin"),
        }
    };
    api.node().runtime.spawn("api/mcp", serving).detach();
    let head = [(header::CONNECTION, "upgrade"), (header::UPGRADE, UPGRADE)];
    (StatusCode::SWITCHING_PROTOCOLS, head).into_response()
}

/// Answers until the other end closes, or its caller is revoked.
async fn serve(handler: Mcp, connection: Upgraded, _place: OwnedSemaphorePermit) {
    let (gate, caller) = (handler.api.node().gate.clone(), handler.caller.clone());
    let (read, write) = tokio::io::split(TokioIo::new(connection));
    let lines = AsyncRwTransport::new_server(read, write).with_max_line_length(MAX_MCP_MESSAGE);
    match serve_server(handler, Bounded::new(lines, MAX_MCP_REQUESTS)).await {
        Ok(running) => {
            let ends = running.cancellation_token();
            let waiting = running.waiting();
            tokio::pin!(waiting);
            tokio::select! {
                biased;
                () = gate.until_revoked(&caller) => {
                    // What it has asked is not answered any more.
                    ends.cancel();
                    let _ = waiting.await;
                }
                _ = &mut waiting => {}
            }
        }
        Err(error) => tracing::debug!(%error, "an MCP session ended before it began"),
    }
}
