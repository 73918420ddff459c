//! The control API over loopback HTTP: JSON in and out, streams as one JSON value a line (NDJSON): `{"item": …}`, or
//! `{"error": …}` as the last.
//!
//! | request | what |
//! |---|---|
//! | `GET /v1/hello?nonce=` | proof that the server knows the token; the one request without it (see [`access`](super::access)) |
//! | `GET /v1/openapi.json` | the description of all of this: docs/openapi.json, which tests hold against routes and answers |
//! | `GET /v1/status`, `/v1/id` | how the node does, who it is |
//! | `GET /v1/peers`, `POST /v1/peers` | connected peers; connect to one |
//! | `GET /v1/services`, `POST /v1/services`, `DELETE /v1/services/NAME` | what is on sale here |
//! | `GET /v1/find/NAME?limit=` | who sells it; a line each |
//! | `GET /v1/earnings?by=&since=` | what was earned by selling |
//! | `POST /v1/tasks?service=…` (body: input) | hire: the query is a [`Hire`](super::types::Hire), each line a [`HireEvent`](super::types::HireEvent) |
//! | `GET /v1/tasks?limit=&after=&state=…`, `GET /v1/tasks/ID`, `DELETE /v1/tasks/ID` | tasks; one; call it off |
//! | `POST /v1/tasks/ID/write-off` | count no more on the money locked for it, so that its key can be tried again |
//! | `GET /v1/tasks/ID/output`, `/v1/tasks/ID/audit` | bytes: the output, the audit bundle |
//! | `GET /v1/wallet`, `POST /v1/wallet/fund`, `/send`, `/receive`, `/restore`, `/pay`, `/reclaim`, `GET /v1/wallet/sent`, `/sent/ID`, `/pending`, `/history?from=&limit=` | money |
//! | `GET /v1/mints`, `POST /v1/mints`, `DELETE /v1/mints?url=` | whose ecash is accepted |
//! | `GET /v1/grants`, `POST /v1/grants`, `/v1/grants/import`, `POST /v1/revocations` | grants given and held; grant, take in, take back |
//! | `GET /v1/events` | everything that happens from now on; each line a [`NodeEvent`](super::types::NodeEvent) |
//! | `POST /v1/stop` | stop the daemon |
//!
//! No logic lives here, and no defaults: every handler reads its arguments, calls [`Api`] on behalf of whom the guard
//! admitted, and writes what it says. An error is an [`ApiError`] with a status by its code. Bounded: JSON bodies by
//! [`MAX_BODY`], an input by the protocol's largest content.

mod extract;
mod grants;
mod guard;
mod tasks;
mod wallet;

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use guilder_protocol::market::ServiceName;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch};

use self::{
    extract::{JsonBody, Path, Query},
    guard::Guard,
};
use super::{
    Api,
    access::{Hello, Proof},
    caller::Caller,
    types::{ApiError, Dial, Earnings, EarningsQuery, ErrorCode, Identity, Line, Peer, ServiceView, Status},
};
use crate::{executor::Definition, http_server};

/// Most of a JSON body: a service with two schemas, or a token of many proofs.
const MAX_BODY: usize = 1024 * 1024;

/// Answers requests on `listener` until `stop` resolves; those under way are given up then.
pub(crate) async fn serve(api: Api, listener: TcpListener, token: &str, stop: impl Future<Output = ()>) {
    let Ok(address) = listener.local_addr() else { return };
    api.node().trade.task_keys().serve_at(address);
    let (_open, closing) = watch::channel(false);
    // Whoever has no token may ask who answers here, and is told; that keeps no place.
    let has_token: http_server::Counts = |request| request.headers().contains_key(header::AUTHORIZATION);
    tokio::select! {
        biased;
        () = stop => {}
        () = http_server::serve(listener, router(api, address, token), has_token, closing) => {}
    }
}

fn router(api: Api, address: SocketAddr, token: &str) -> Router {
    let guard = Guard::new(address, token, api.node().trade.task_keys().clone());
    Router::new()
        .route(guard::HELLO, get(hello))
        .route("/v1/openapi.json", get(description))
        .route("/v1/status", get(status))
        .route("/v1/id", get(id))
        .route("/v1/peers", get(peers).post(dial))
        .route("/v1/services", get(services).post(add_service))
        .route("/v1/services/{name}", delete(remove_service))
        .route("/v1/find/{name}", get(find))
        .route("/v1/earnings", get(earnings))
        .route("/v1/events", get(events))
        .route("/v1/stop", post(stop))
        .merge(tasks::routes())
        .merge(wallet::routes())
        .merge(grants::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(guard, guard::admit))
        .with_state(api)
}

/// Whoever the guard admitted.
type By = Extension<Caller>;

async fn hello(Extension(guard): Extension<Guard>, Query(hello): Query<Hello>) -> Answer<Proof> {
    Ok(Json(guard.prove(&hello)?))
}

async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../../../docs/openapi.json"))
}

async fn status(State(api): State<Api>, Extension(caller): By) -> Answer<Status> {
    Ok(Json(api.status(&caller).await?))
}

async fn id(State(api): State<Api>, Extension(caller): By) -> Answer<Identity> {
    Ok(Json(api.id(&caller)?))
}

async fn peers(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<Peer>> {
    Ok(Json(api.peers(&caller).await?))
}

async fn dial(State(api): State<Api>, Extension(caller): By, JsonBody(dial): JsonBody<Dial>) -> Answer<()> {
    Ok(Json(api.dial(&caller, &dial.address).await?))
}

async fn services(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<ServiceView>> {
    Ok(Json(api.services(&caller)?))
}

async fn add_service(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(definition): JsonBody<Definition>,
) -> Answer<ServiceView> {
    Ok(Json(api.add_service(&caller, definition).await?))
}

async fn remove_service(State(api): State<Api>, Extension(caller): By, Path(name): Path<ServiceName>) -> Answer<()> {
    Ok(Json(api.remove_service(&caller, &name).await?))
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

async fn find(
    State(api): State<Api>,
    Extension(caller): By,
    Path(name): Path<ServiceName>,
    Query(Limit { limit }): Query<Limit>,
) -> Result<Response, Failure> {
    Ok(lines(api.find(&caller, &name, limit)?.map(Ok)))
}

async fn earnings(
    State(api): State<Api>,
    Extension(caller): By,
    Query(query): Query<EarningsQuery>,
) -> Answer<Vec<Earnings>> {
    Ok(Json(api.earnings(&caller, query).await?))
}

async fn events(State(api): State<Api>, Extension(caller): By) -> Result<Response, Failure> {
    Ok(lines(api.events(&caller)?.map(Ok)))
}

async fn stop(State(api): State<Api>, Extension(caller): By) -> Answer<()> {
    Ok(Json(api.stop(&caller)?))
}

async fn unknown() -> Failure {
    ApiError::missing("the API has no such path", "daemon and client may be of different versions").into()
}

async fn no_such_method() -> Failure {
    ApiError::missing("the API does no such thing with this path", "daemon and client may be of different versions")
        .into()
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
        let status = match self.0.code {
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::NotAllowed => StatusCode::FORBIDDEN,
            ErrorCode::Invalid => StatusCode::BAD_REQUEST,
            ErrorCode::Conflict | ErrorCode::CannotTrade => StatusCode::CONFLICT,
            ErrorCode::PeerFailed | ErrorCode::MintFailed => StatusCode::BAD_GATEWAY,
            ErrorCode::EnvironmentFailed => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Bug | ErrorCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

/// A stream as one [`Line`] a line. An error becomes the last.
fn lines<T: Serialize + 'static>(values: impl Stream<Item = Result<T, ApiError>> + Send + 'static) -> Response {
    let body = values.map(|value| {
        let line = match value {
            Ok(value) => Line::Item(value),
            Err(error) => Line::Error(error),
        };
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}
