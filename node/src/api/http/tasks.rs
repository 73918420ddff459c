//! Hiring, and the tasks that come of it.

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures::StreamExt as _;

use super::{
    Answer, By, Failure,
    extract::{Path, Query},
    lines,
};
use crate::api::{
    Api,
    types::{ApiError, Hire, TaskListing, TaskView},
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/tasks", get(list).post(hire))
        .route("/v1/tasks/{id}", get(show).delete(cancel))
        .route("/v1/tasks/{id}/output", get(output))
        .route("/v1/tasks/{id}/audit", get(audit))
        .route("/v1/tasks/{id}/write-off", post(write_off))
}

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

async fn list(
    State(api): State<Api>,
    Extension(caller): By,
    Query(listing): Query<TaskListing>,
) -> Answer<Vec<TaskView>> {
    Ok(Json(api.tasks(&caller, &listing).await?))
}

async fn show(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<TaskView> {
    Ok(Json(api.task(&caller, &id)?))
}

async fn cancel(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<TaskView> {
    Ok(Json(api.cancel(&caller, &id).await?))
}

async fn write_off(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<TaskView> {
    Ok(Json(api.write_off(&caller, &id).await?))
}

async fn output(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Result<Response, Failure> {
    let (size, pieces) = api.output(&caller, &id).await?;
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn audit(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Result<Response, Failure> {
    let bundle = api.audit(&caller, &id)?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.ipld.car")], bundle).into_response())
}
