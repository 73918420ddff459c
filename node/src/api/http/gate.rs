//! Callers, and what waits for the owner's word.

use axum::{Extension, Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, By,
    extract::{JsonBody, Path},
};
use crate::api::{
    Api,
    types::{AddedCaller, ApprovalView, CallerRequest, CallerView, Consent},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(callers, add_caller))
        .routes(routes!(revoke_caller))
        .routes(routes!(approvals))
        .routes(routes!(approval))
        .routes(routes!(grant_approval))
        .routes(routes!(refuse_approval))
}

/// Callers: programs and agents with a name, a token and a budget of their own.
#[utoipa::path(get, path = "/v1/callers", responses((status = 200, body = Vec<CallerView>)))]
async fn callers(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<CallerView>> {
    Ok(Json(api.callers(&caller)?))
}

/// Add a caller. Its token is written to a file in the home folder, and isn't in the answer.
#[utoipa::path(post, path = "/v1/callers", request_body = CallerRequest, responses((status = 200, body = AddedCaller)))]
async fn add_caller(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<CallerRequest>,
) -> Answer<AddedCaller> {
    Ok(Json(api.add_caller(&caller, request).await?))
}

/// Revoke a caller: its token opens nothing any more, and what it hired and isn't awarded is awarded no more.
#[utoipa::path(delete, path = "/v1/callers/{name}", params(("name" = String, Path, description = "Its name.")), responses((status = 200, body = ())))]
async fn revoke_caller(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(api.revoke_caller(&caller, &name).await?))
}

/// What waited for the owner's word within the last week, the newest first.
#[utoipa::path(get, path = "/v1/approvals", responses((status = 200, body = Vec<ApprovalView>)))]
async fn approvals(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<ApprovalView>> {
    Ok(Json(api.approvals(&caller)?))
}

/// One of it.
#[utoipa::path(get, path = "/v1/approvals/{id}", params(("id" = String, Path, description = "Its ID.")), responses((status = 200, body = ApprovalView)))]
async fn approval(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<ApprovalView> {
    Ok(Json(api.approval(&caller, &id)?))
}

/// Say yes, once. The owner alone can, and gives the passphrase where the home has one.
#[utoipa::path(
    post,
    path = "/v1/approvals/{id}/grant",
    params(("id" = String, Path, description = "Its ID.")),
    request_body = Consent,
    responses((status = 200, body = ApprovalView))
)]
async fn grant_approval(
    State(api): State<Api>,
    Extension(caller): By,
    Path(id): Path<String>,
    JsonBody(consent): JsonBody<Consent>,
) -> Answer<ApprovalView> {
    Ok(Json(api.grant_approval(&caller, &id, consent).await?))
}

/// Say no. The owner alone can.
#[utoipa::path(post, path = "/v1/approvals/{id}/refuse", params(("id" = String, Path, description = "Its ID.")), responses((status = 200, body = ApprovalView)))]
async fn refuse_approval(
    State(api): State<Api>,
    Extension(caller): By,
    Path(id): Path<String>,
) -> Answer<ApprovalView> {
    Ok(Json(api.refuse_approval(&caller, &id).await?))
}
