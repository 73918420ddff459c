//! Hiring, and the tasks that come of it.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::StreamExt as _;
use guilder_protocol::market::{MintUrl, ServiceName, Unit};
use serde::Deserialize;

use super::{Answer, Failure, Limit, lines};
use crate::api::{
    Api,
    types::{ApiError, Hire, TaskView},
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/tasks", get(list).post(hire))
        .route("/v1/tasks/{id}", get(show).delete(cancel))
        .route("/v1/tasks/{id}/output", get(output))
        .route("/v1/tasks/{id}/audit", get(audit))
}

/// [`Hire`] as a query has it: all text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HireQuery {
    service: ServiceName,
    max_price: Option<u64>,
    unit: Option<Unit>,
    deadline_secs: Option<u64>,
    seller: Option<String>,
    mint: Option<MintUrl>,
    /// Whether only the first and the last line are wanted.
    #[serde(default)]
    quiet: bool,
}

async fn hire(State(api): State<Api>, Query(query): Query<HireQuery>, body: Body) -> Result<Response, Failure> {
    let HireQuery { service, max_price, unit, deadline_secs, seller, mint, quiet } = query;
    let hire = Hire { service, max_price, unit, deadline_secs: deadline_secs.unwrap_or(60), seller, mint };
    let pieces = body
        .into_data_stream()
        .map(|piece| piece.map_err(|error| ApiError::misuse(format!("the input broke off: {error}"), "send it whole")));
    let input = api.take_input(pieces).await?;
    Ok(lines(api.hire(hire, input, quiet).await?))
}

async fn list(State(api): State<Api>, Query(Limit { limit }): Query<Limit>) -> Answer<Vec<TaskView>> {
    Ok(Json(api.tasks(limit.unwrap_or(20))?))
}

async fn show(State(api): State<Api>, Path(id): Path<String>) -> Answer<TaskView> {
    Ok(Json(api.task(&id)?))
}

async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Answer<TaskView> {
    Ok(Json(api.cancel(&id).await?))
}

async fn output(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Failure> {
    let (size, pieces) = api.output(&id).await?;
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn audit(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Failure> {
    let bundle = api.audit(&id)?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.ipld.car")], bundle).into_response())
}
