//! Hiring, and the tasks that come of it.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, By, Failure, NDJSON,
    extract::{Path, Query},
    lines,
};
use crate::api::{
    Api,
    types::{ApiError, Hire, HireEvent, Line, TaskListing, TaskView},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list, hire))
        .routes(routes!(show, cancel))
        .routes(routes!(output))
        .routes(routes!(audit))
        .routes(routes!(write_off))
}

/// Hire: the body is the input, and the answer tells a line each what happens until it is over.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    params(Hire),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The input; none is an empty one."),
    responses((status = 200, content_type = NDJSON, body = Line<HireEvent>))
)]
async fn hire(
    State(api): State<Api>,
    Extension(caller): By,
    Query(hire): Query<Hire>,
    body: Body,
) -> Result<Response, Failure> {
    let pieces = body
        .into_data_stream()
        .map(|piece| piece.map_err(|error| ApiError::misuse(format!("the input broke off: {error}"), "send it whole")));
    let input = api.take_input(&caller, pieces).await?;
    Ok(lines(api.hire(&caller, hire, input).await?))
}

/// Tasks, the newest first.
#[utoipa::path(get, path = "/v1/tasks", params(TaskListing), responses((status = 200, body = Vec<TaskView>)))]
async fn list(
    State(api): State<Api>,
    Extension(caller): By,
    Query(listing): Query<TaskListing>,
) -> Answer<Vec<TaskView>> {
    Ok(Json(api.tasks(&caller, &listing).await?))
}

/// One task.
#[utoipa::path(get, path = "/v1/tasks/{id}", params(("id" = String, Path, description = "Its ID, or the last letters of it.")), responses((status = 200, body = TaskView)))]
async fn show(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<TaskView> {
    Ok(Json(api.task(&caller, &id).await?))
}

/// Call a task off.
#[utoipa::path(delete, path = "/v1/tasks/{id}", params(("id" = String, Path, description = "Its ID, or the last letters of it.")), responses((status = 200, body = TaskView)))]
async fn cancel(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<TaskView> {
    Ok(Json(api.cancel(&caller, &id).await?))
}

/// Count no more on the money that is locked for a task, so that its key can be tried again.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/write-off",
    params(("id" = String, Path, description = "Its ID, or the last letters of it.")),
    responses((status = 200, body = TaskView))
)]
async fn write_off(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<TaskView> {
    Ok(Json(api.write_off(&caller, &id).await?))
}

/// What a task has delivered.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/output",
    params(("id" = String, Path, description = "Its ID, or the last letters of it.")),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>))
)]
async fn output(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Result<Response, Failure> {
    let (size, pieces) = api.output(&caller, &id).await?;
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// All that was signed about a task, as a CAR file.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/audit",
    params(("id" = String, Path, description = "Its ID, or the last letters of it.")),
    responses((status = 200, content_type = "application/vnd.ipld.car", body = Vec<u8>))
)]
async fn audit(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Result<Response, Failure> {
    let bundle = api.audit(&caller, &id).await?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.ipld.car")], bundle).into_response())
}
