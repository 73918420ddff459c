//! The control API over loopback HTTP: JSON in and out, streams as one JSON value a line (NDJSON).
//!
//! | request | what |
//! |---|---|
//! | `GET /v1/status`, `/v1/id` | how the node does, who it is |
//! | `GET /v1/peers`, `POST /v1/peers` | connected peers; connect to one |
//! | `GET /v1/services`, `POST /v1/services`, `DELETE /v1/services/NAME` | what is on sale here |
//! | `GET /v1/find/NAME?limit=` | who sells it; a line each |
//! | `POST /v1/tasks?service=…` (body: input) | hire; a line `{"task"}`, a line an event, a line `{"ended"}` |
//! | `GET /v1/tasks?limit=`, `GET /v1/tasks/ID`, `DELETE /v1/tasks/ID` | tasks; one; call it off |
//! | `GET /v1/tasks/ID/output`, `/v1/tasks/ID/audit` | bytes: the output, the audit bundle |
//! | `GET /v1/wallet`, `POST /v1/wallet/fund`, `/send`, `/receive`, `/restore` | money |
//! | `GET /v1/mints`, `POST /v1/mints`, `DELETE /v1/mints?url=` | whose ecash is accepted |
//! | `GET /v1/events` | everything that happens from now on; a line an event |
//! | `POST /v1/stop` | stop the daemon |
//!
//! No logic lives here: every handler reads its arguments, calls [`Api`] and writes what it says. An error is
//! `{"message", "fault", "hint"}` with a status by its fault. Bounded: JSON bodies by [`MAX_BODY`], an input by the
//! protocol's largest content.

mod guard;
mod tasks;
mod wallet;

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
    serve::ListenerExt as _,
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use guilder_protocol::{fault::Fault, market::ServiceName};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use self::guard::Guard;
use super::{
    Api,
    types::{ApiError, Dial, Identity, Peer, ServiceView, Status},
};
use crate::executor::Definition;

/// Most of a JSON body: a service with two schemas, or a token of many proofs.
const MAX_BODY: usize = 1024 * 1024;

/// Answers requests on `listener` until `stop` resolves; those under way are given up then.
pub(crate) async fn serve(api: Api, listener: TcpListener, token: &str, stop: impl Future<Output = ()>) {
    let Ok(address) = listener.local_addr() else { return };
    // A hire's steps are small and come one by one: held back for fuller packets, each would wait for an acknowledgement
    // that the client delays by 40 ms.
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    let serving = axum::serve(listener, router(api, address, token)).into_future();
    tokio::select! {
        biased;
        () = stop => {}
        ended = serving => if let Err(error) = ended {
            tracing::error!(%error, "the control API ended");
        }
    }
}

fn router(api: Api, address: SocketAddr, token: &str) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/id", get(id))
        .route("/v1/peers", get(peers).post(dial))
        .route("/v1/services", get(services).post(add_service))
        .route("/v1/services/{name}", delete(remove_service))
        .route("/v1/find/{name}", get(find))
        .route("/v1/events", get(events))
        .route("/v1/stop", post(stop))
        .merge(tasks::routes())
        .merge(wallet::routes())
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Guard::new(address, token), guard::admit))
        .with_state(api)
}

async fn status(State(api): State<Api>) -> Answer<Status> {
    api.status().await.map(Json).map_err(Failure)
}

async fn id(State(api): State<Api>) -> Json<Identity> {
    Json(api.id())
}

async fn peers(State(api): State<Api>) -> Json<Vec<Peer>> {
    Json(api.peers().await)
}

async fn dial(State(api): State<Api>, Json(dial): Json<Dial>) -> Answer<()> {
    api.dial(&dial.address).await.map(Json).map_err(Failure)
}

async fn services(State(api): State<Api>) -> Json<Vec<ServiceView>> {
    Json(api.services())
}

async fn add_service(State(api): State<Api>, Json(definition): Json<Definition>) -> Answer<ServiceView> {
    api.add_service(definition).await.map(Json).map_err(Failure)
}

async fn remove_service(State(api): State<Api>, Path(name): Path<ServiceName>) -> Answer<()> {
    api.remove_service(&name).await.map(Json).map_err(Failure)
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

async fn find(State(api): State<Api>, Path(name): Path<ServiceName>, Query(Limit { limit }): Query<Limit>) -> Response {
    lines(api.find(&name, limit.unwrap_or(20)).map(Ok))
}

async fn events(State(api): State<Api>) -> Response {
    lines(api.events().map(Ok))
}

async fn stop(State(api): State<Api>) -> Json<()> {
    api.stop();
    Json(())
}

async fn unknown() -> Failure {
    ApiError::missing("the API has no such path", "daemon and client may be of different versions").into()
}

type Answer<T> = Result<Json<T>, Failure>;

/// An error on its way out.
#[derive(Debug)]
struct Failure(ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.fault {
            _ if self.0.missing => StatusCode::NOT_FOUND,
            Fault::Ours => StatusCode::BAD_REQUEST,
            Fault::Incompatible => StatusCode::CONFLICT,
            Fault::Peer | Fault::Mint => StatusCode::BAD_GATEWAY,
            Fault::Environment => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

/// A stream as one JSON value a line. An error becomes the last line, `{"error": …}`.
fn lines<T: Serialize + 'static>(values: impl Stream<Item = Result<T, ApiError>> + Send + 'static) -> Response {
    #[derive(Serialize)]
    struct Failed {
        error: ApiError,
    }
    let body = values.map(|value| {
        let line = match value {
            Ok(value) => serde_json::to_vec(&value),
            Err(error) => serde_json::to_vec(&Failed { error }),
        };
        let mut line = line.unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}
