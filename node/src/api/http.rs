//! The control API over loopback HTTP: JSON in and out, streams as one JSON value a line (NDJSON): `{"item": …}`, or
//! `{"error": …}` as the last.
//!
//! Paths, terms and answers stand in docs/openapi.json, which is made of the handlers here ([`description`]). Each is described
//! where it is written: [`routes`] takes none without.
//!
//! Beside them stand MCP's two paths ([`mcp`]), which that protocol describes.
//!
//! No logic lives here, and no defaults: every handler reads its arguments, calls [`Api`] on behalf of whom the guard
//! admitted, and writes what it says. An error is an [`ApiError`] with a status by its code. Bounded: JSON bodies by
//! [`MAX_BODY`], an input by the protocol's largest content.

mod description;
mod duties;
mod extract;
mod gate;
mod grants;
mod guard;
mod memory;
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
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use guilder_protocol::market::ServiceName;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    description::Description,
    extract::{JsonBody, Path, Query},
    guard::Guard,
};
use super::{
    Api,
    access::{Hello, Proof},
    caller::Caller,
    mcp,
    types::{
        Alias, ApiError, Dial, Earnings, EarningsQuery, ErrorCode, FindTerms, Found, Identity, InvitationView, Invite,
        Line, NodeEvent, Peer, ServiceView, Snapshot, Status, SwarmView,
    },
};
use crate::{catalogue::query::Pattern, executor::Definition, http_server};

/// Most of a JSON body: a service with two schemas, or a token of many proofs.
const MAX_BODY: usize = 1024 * 1024;

/// A stream, one JSON value a line.
const NDJSON: &str = "application/x-ndjson";

/// Answers requests on `listener` until `closing` is set; those under way end first. Dropped, it gives them up.
pub(crate) async fn serve(api: Api, listener: TcpListener, token: &str, closing: watch::Receiver<bool>) {
    let Ok(address) = listener.local_addr() else { return };
    api.node().trade.task_keys().serve_at(address);
    // Whoever has no token may ask who answers here, and is told; that keeps no place.
    let has_token: http_server::Counts = |request| request.headers().contains_key(header::AUTHORIZATION);
    http_server::serve(listener, router(api, address, token), has_token, closing).await;
}

fn router(api: Api, address: SocketAddr, token: &str) -> Router {
    let guard = Guard::new(address, token, api.node().trade.task_keys().clone(), api.node().gate.clone());
    let (router, collected) = routes().split_for_parts();
    router
        .merge(mcp::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(no_such_method)
        .layer(Extension(Description::of(&collected)))
        .layer(Extension(mcp::Face::default()))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(guard, guard::admit))
        .with_state(api)
}

/// Every path, with its description.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(hello))
        .routes(routes!(description::description))
        .routes(routes!(status))
        .routes(routes!(id))
        .routes(routes!(peers, dial))
        .routes(routes!(swarm))
        .routes(routes!(invitation))
        .routes(routes!(services, add_service))
        .routes(routes!(remove_service))
        .routes(routes!(find))
        .routes(routes!(earnings))
        .routes(routes!(aliases))
        .routes(routes!(events))
        .routes(routes!(snapshot))
        .routes(routes!(stop))
        .merge(tasks::routes())
        .merge(wallet::routes())
        .merge(grants::routes())
        .merge(gate::routes())
        .merge(duties::routes())
        .merge(memory::routes())
}

/// Whoever the guard admitted.
type By = Extension<Caller>;

/// Proof that the server knows the token; the one request without it.
#[utoipa::path(get, path = "/v1/hello", params(Hello), responses((status = 200, body = Proof)), security(()))]
async fn hello(Extension(guard): Extension<Guard>, Query(hello): Query<Hello>) -> Answer<Proof> {
    Ok(Json(guard.prove(&hello)?))
}

/// How the node does.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
async fn status(State(api): State<Api>, Extension(caller): By) -> Answer<Status> {
    Ok(Json(api.status(&caller).await?))
}

/// Who it is.
#[utoipa::path(get, path = "/v1/id", responses((status = 200, body = Identity)))]
async fn id(State(api): State<Api>, Extension(caller): By) -> Answer<Identity> {
    Ok(Json(api.id(&caller)?))
}

/// Connected peers.
#[utoipa::path(get, path = "/v1/peers", responses((status = 200, body = Vec<Peer>)))]
async fn peers(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<Peer>> {
    Ok(Json(api.peers(&caller).await?))
}

/// Connect to a peer.
#[utoipa::path(post, path = "/v1/peers", request_body = Dial, responses((status = 200, body = ())))]
async fn dial(State(api): State<Api>, Extension(caller): By, JsonBody(dial): JsonBody<Dial>) -> Answer<()> {
    Ok(Json(api.dial(&caller, &dial.address).await?))
}

/// What this node knows of its swarm.
#[utoipa::path(get, path = "/v1/swarm", responses((status = 200, body = SwarmView)))]
async fn swarm(State(api): State<Api>, Extension(caller): By) -> Answer<SwarmView> {
    Ok(Json(api.swarm(&caller).await?))
}

/// What brings a new node into the swarm: peers to begin with, mints with the keys by which they sign.
#[utoipa::path(get, path = "/v1/invitation", params(Invite), responses((status = 200, body = InvitationView)))]
async fn invitation(
    State(api): State<Api>,
    Extension(caller): By,
    Query(invite): Query<Invite>,
) -> Answer<InvitationView> {
    Ok(Json(api.invitation(&caller, &invite).await?))
}

/// What is on sale here.
#[utoipa::path(get, path = "/v1/services", responses((status = 200, body = Vec<ServiceView>)))]
async fn services(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<ServiceView>> {
    Ok(Json(api.services(&caller)?))
}

/// Put a service on sale, in place of one with the same name.
#[utoipa::path(post, path = "/v1/services", request_body = Definition, responses((status = 200, body = ServiceView)))]
async fn add_service(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(definition): JsonBody<Definition>,
) -> Answer<ServiceView> {
    Ok(Json(api.add_service(&caller, definition).await?))
}

/// Take a service off sale.
#[utoipa::path(delete, path = "/v1/services/{name}", params(("name" = String, Path, description = "Its name.")), responses((status = 200, body = ())))]
async fn remove_service(State(api): State<Api>, Extension(caller): By, Path(name): Path<ServiceName>) -> Answer<()> {
    Ok(Json(api.remove_service(&caller, &name).await?))
}

/// Who sells a service, or those that a pattern matches, a line each: those known first, then others as they are found.
#[utoipa::path(get,
    path = "/v1/find/{name}",
    params(("name" = String, Path, description = "The service; or a pattern, in which `*` stands for any characters."), FindTerms),
    responses((status = 200, content_type = NDJSON, body = Line<Found>))
)]
async fn find(
    State(api): State<Api>,
    Extension(caller): By,
    Path(name): Path<Pattern>,
    Query(terms): Query<FindTerms>,
) -> Result<Response, Failure> {
    Ok(lines(api.find(&caller, &name, terms)?.map(Ok)))
}

/// What was earned by selling.
#[utoipa::path(get, path = "/v1/earnings", params(EarningsQuery), responses((status = 200, body = Vec<Earnings>)))]
async fn earnings(
    State(api): State<Api>,
    Extension(caller): By,
    Query(query): Query<EarningsQuery>,
) -> Answer<Vec<Earnings>> {
    Ok(Json(api.earnings(&caller, query).await?))
}

/// What the operator calls peers and mints.
#[utoipa::path(get, path = "/v1/aliases", responses((status = 200, body = Vec<Alias>)))]
async fn aliases(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<Alias>> {
    Ok(Json(api.aliases(&caller).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct After {
    /// First what is kept of what came after the event with this number; 0 for all that is kept.
    after: Option<u64>,
}

/// All that happens from now on, a line each; or first what came after an event.
#[utoipa::path(
    get,
    path = "/v1/events",
    params(After),
    responses((status = 200, content_type = NDJSON, body = Line<NodeEvent>))
)]
async fn events(
    State(api): State<Api>,
    Extension(caller): By,
    Query(After { after }): Query<After>,
) -> Result<Response, Failure> {
    Ok(match after {
        Some(heard) => lines(api.events_after(&caller, heard).await?),
        None => lines(api.events(&caller)?.map(Ok)),
    })
}

/// Copy the store and the hosted mint's books into a folder of the home, for a backup.
#[utoipa::path(post, path = "/v1/snapshot", responses((status = 200, body = Snapshot)))]
async fn snapshot(State(api): State<Api>, Extension(caller): By) -> Answer<Snapshot> {
    Ok(Json(api.snapshot(&caller).await?))
}

/// Stop the daemon.
#[utoipa::path(post, path = "/v1/stop", responses((status = 200, body = ())))]
async fn stop(State(api): State<Api>, Extension(caller): By) -> Answer<()> {
    Ok(Json(api.stop(&caller).await?))
}

async fn unknown() -> Failure {
    ApiError::missing("the API has no such path", "daemon and client may be of different versions").into()
}

async fn no_such_method() -> Failure {
    let told = ApiError::missing("the API does no such thing with this path", "the header Allow says what it does");
    ApiError { code: ErrorCode::MethodNotAllowed, ..told }.into()
}

type Answer<T> = Result<Json<T>, Failure>;

/// An error on its way out.
#[derive(Debug)]
pub(in crate::api) struct Failure(ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// What a stream ends with that can't go on.
fn last_line(error: ApiError) -> Bytes {
    written(&Line::<()>::Error(error))
}

fn written<T: Serialize>(line: &Line<T>) -> Bytes {
    let mut line = serde_json::to_vec(line).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// A stream as one [`Line`] a line. An error becomes the last.
fn lines<T: Serialize + 'static>(values: impl Stream<Item = Result<T, ApiError>> + Send + 'static) -> Response {
    let body = values.map(|value| {
        let line = match value {
            Ok(value) => Line::Item(value),
            Err(error) => Line::Error(error),
        };
        Ok::<_, Infallible>(written(&line))
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response()
}
