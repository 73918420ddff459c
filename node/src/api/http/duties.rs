//! Duties, their runs, hooks, and endpoints.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, By,
    extract::{JsonBody, Path, Query},
};
use crate::{
    api::{
        Api,
        types::{DutyFile, EndpointRequest, HookRequest, HookRotation, RunListing, RunWait},
    },
    duty::{DutyView, Hook, RunView},
    notify::{Endpoint, Tried},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(duties, add))
        .routes(routes!(check))
        .routes(routes!(duty, remove))
        .routes(routes!(run_now))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(runs))
        .routes(routes!(run, cancel))
        .routes(routes!(hooks, add_hook))
        .routes(routes!(remove_hook))
        .routes(routes!(rotate_hook))
        .routes(routes!(endpoints, add_endpoint))
        .routes(routes!(endpoint, remove_endpoint))
        .routes(routes!(rotate_endpoint))
        .routes(routes!(resume_endpoint))
        .routes(routes!(test_endpoint))
}

/// All duties: when each ran, when it runs next, and why it didn't.
#[utoipa::path(get, path = "/v1/duties", responses((status = 200, body = Vec<DutyView>)))]
async fn duties(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<DutyView>> {
    Ok(Json(api.duties(&caller)?))
}

/// Add a duty, or replace the file of the one of its name.
#[utoipa::path(post, path = "/v1/duties", request_body = DutyFile, responses((status = 200, body = DutyView)))]
async fn add(State(api): State<Api>, Extension(caller): By, JsonBody(file): JsonBody<DutyFile>) -> Answer<DutyView> {
    Ok(Json(api.add_duty(&caller, file).await?))
}

/// Read a duty's file, and say what it is or what is wrong with it.
#[utoipa::path(post, path = "/v1/duties/check", request_body = DutyFile, responses((status = 200, body = DutyView)))]
async fn check(State(api): State<Api>, Extension(caller): By, JsonBody(file): JsonBody<DutyFile>) -> Answer<DutyView> {
    Ok(Json(api.check_duty(&caller, &file)?))
}

/// One duty, with its latest outcomes and its file.
#[utoipa::path(
    get,
    path = "/v1/duties/{name}",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = DutyView))
)]
async fn duty(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<DutyView> {
    Ok(Json(api.duty(&caller, &name)?))
}

/// Remove a duty. A run that goes on goes on.
#[utoipa::path(
    delete,
    path = "/v1/duties/{name}",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = ()))
)]
async fn remove(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(api.remove_duty(&caller, &name).await?))
}

/// Have a duty run now. It answers at once; `GET /v1/runs/{id}?wait=true` waits a while.
#[utoipa::path(
    post,
    path = "/v1/duties/{name}/run",
    params(("name" = String, Path, description = "Its name.")),
    request_body = RunInput,
    responses((status = 200, body = RunView))
)]
async fn run_now(
    State(api): State<Api>,
    Extension(caller): By,
    Path(name): Path<String>,
    JsonBody(input): JsonBody<RunInput>,
) -> Answer<RunView> {
    Ok(Json(api.run_duty(&caller, &name, input.input).await?))
}

/// What a run is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunInput {
    /// What `trigger` is in its templates.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    input: Option<Value>,
}

/// Pause a duty: what comes due until it is resumed is skipped.
#[utoipa::path(
    post,
    path = "/v1/duties/{name}/pause",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = DutyView))
)]
async fn pause(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<DutyView> {
    Ok(Json(api.pause_duty(&caller, &name).await?))
}

/// Let a paused duty go on.
#[utoipa::path(
    post,
    path = "/v1/duties/{name}/resume",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = DutyView))
)]
async fn resume(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<DutyView> {
    Ok(Json(api.resume_duty(&caller, &name).await?))
}

/// The latest runs.
#[utoipa::path(get, path = "/v1/runs", params(RunListing), responses((status = 200, body = Vec<RunView>)))]
async fn runs(
    State(api): State<Api>,
    Extension(caller): By,
    Query(listing): Query<RunListing>,
) -> Answer<Vec<RunView>> {
    Ok(Json(api.runs(&caller, &listing)?))
}

/// One run.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}",
    params(("id" = String, Path, description = "Its ID, or the last letters of it."), RunWait),
    responses((status = 200, body = RunView))
)]
async fn run(
    State(api): State<Api>,
    Extension(caller): By,
    Path(id): Path<String>,
    Query(wait): Query<RunWait>,
) -> Answer<RunView> {
    Ok(Json(api.run(&caller, &id, wait.wait).await?))
}

/// Call a run off. What a seller has begun may have to be paid.
#[utoipa::path(
    delete,
    path = "/v1/runs/{id}",
    params(("id" = String, Path, description = "Its ID, or the last letters of it.")),
    responses((status = 200, body = RunView))
)]
async fn cancel(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<RunView> {
    Ok(Json(api.cancel_run(&caller, &id).await?))
}

/// All hooks.
#[utoipa::path(get, path = "/v1/hooks", responses((status = 200, body = Vec<Hook>)))]
async fn hooks(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<Hook>> {
    Ok(Json(api.hooks(&caller)?))
}

/// Add a hook. Its secret is in the answer, and nowhere else.
#[utoipa::path(post, path = "/v1/hooks", request_body = HookRequest, responses((status = 200, body = Hook)))]
async fn add_hook(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<HookRequest>,
) -> Answer<Hook> {
    Ok(Json(api.add_hook(&caller, &request).await?))
}

/// Remove a hook, with what is remembered of its deliveries.
#[utoipa::path(
    delete,
    path = "/v1/hooks/{name}",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = ()))
)]
async fn remove_hook(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(api.remove_hook(&caller, &name).await?))
}

/// Give a hook a new secret beside the one before, or end that one.
#[utoipa::path(
    post,
    path = "/v1/hooks/{name}/rotate",
    params(("name" = String, Path, description = "Its name.")),
    request_body = HookRotation,
    responses((status = 200, body = Hook))
)]
async fn rotate_hook(
    State(api): State<Api>,
    Extension(caller): By,
    Path(name): Path<String>,
    JsonBody(rotation): JsonBody<HookRotation>,
) -> Answer<Hook> {
    Ok(Json(api.rotate_hook(&caller, &name, rotation.done).await?))
}

/// All endpoints of webhooks.
#[utoipa::path(get, path = "/v1/endpoints", responses((status = 200, body = Vec<Endpoint>)))]
async fn endpoints(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<Endpoint>> {
    Ok(Json(api.endpoints(&caller)?))
}

/// Add an endpoint: it is told what happens from now on. Its secret is in the answer, and nowhere else.
#[utoipa::path(
    post,
    path = "/v1/endpoints",
    request_body = EndpointRequest,
    responses((status = 200, body = Endpoint))
)]
async fn add_endpoint(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<EndpointRequest>,
) -> Answer<Endpoint> {
    Ok(Json(api.add_endpoint(&caller, &request).await?))
}

/// One endpoint: what it was told, what waits, and what was given up.
#[utoipa::path(
    get,
    path = "/v1/endpoints/{name}",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = Endpoint))
)]
async fn endpoint(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<Endpoint> {
    Ok(Json(api.endpoint(&caller, &name)?))
}

/// Remove an endpoint.
#[utoipa::path(
    delete,
    path = "/v1/endpoints/{name}",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = ()))
)]
async fn remove_endpoint(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(api.remove_endpoint(&caller, &name).await?))
}

/// Give an endpoint a new secret, which signs beside the one before, or end that one.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{name}/rotate",
    params(("name" = String, Path, description = "Its name.")),
    request_body = HookRotation,
    responses((status = 200, body = Endpoint))
)]
async fn rotate_endpoint(
    State(api): State<Api>,
    Extension(caller): By,
    Path(name): Path<String>,
    JsonBody(rotation): JsonBody<HookRotation>,
) -> Answer<Endpoint> {
    Ok(Json(api.rotate_endpoint(&caller, &name, rotation.done).await?))
}

/// Let a paused endpoint be told again; what waits for it is tried at once.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{name}/resume",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = Endpoint))
)]
async fn resume_endpoint(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<Endpoint> {
    Ok(Json(api.resume_endpoint(&caller, &name).await?))
}

/// Post a webhook of the type `test` to an endpoint, once, and say what came of it.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{name}/test",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, body = Tried))
)]
async fn test_endpoint(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<Tried> {
    Ok(Json(api.test_endpoint(&caller, &name).await?))
}
