//! Grants and revocations.

use axum::{Extension, Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Answer, By, extract::JsonBody};
use crate::api::{
    Api,
    types::{GrantRequest, GrantView, ImportGrant, Revoke, RevokedView},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list, grant)).routes(routes!(import)).routes(routes!(revoke))
}

/// Grants given and held, those that open tasks carry included, the newest first.
#[utoipa::path(get, path = "/v1/grants", responses((status = 200, body = Vec<GrantView>)))]
async fn list(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<GrantView>> {
    Ok(Json(api.grants(&caller)?))
}

/// Let another agent buy in this agent's name.
#[utoipa::path(post, path = "/v1/grants", request_body = GrantRequest, responses((status = 200, body = GrantView)))]
async fn grant(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<GrantRequest>,
) -> Answer<GrantView> {
    Ok(Json(api.grant(&caller, request).await?))
}

/// Take in a grant that was made to this agent.
#[utoipa::path(post, path = "/v1/grants/import", request_body = ImportGrant, responses((status = 200, body = GrantView)))]
async fn import(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(import): JsonBody<ImportGrant>,
) -> Answer<GrantView> {
    Ok(Json(api.import_grant(&caller, &import.text).await?))
}

/// Take a delegation back.
#[utoipa::path(post, path = "/v1/revocations", request_body = Revoke, responses((status = 200, body = RevokedView)))]
async fn revoke(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(revoke): JsonBody<Revoke>,
) -> Answer<RevokedView> {
    Ok(Json(api.revoke(&caller, &revoke.what).await?))
}
