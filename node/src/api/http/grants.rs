//! Grants and revocations.

use axum::{
    Extension, Json, Router,
    extract::State,
    routing::{get, post},
};

use super::{Answer, By, extract::JsonBody};
use crate::api::{
    Api,
    types::{GrantRequest, GrantView, ImportGrant, Revoke, RevokedView},
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/grants", get(list).post(grant))
        .route("/v1/grants/import", post(import))
        .route("/v1/revocations", post(revoke))
}

async fn list(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<GrantView>> {
    Ok(Json(api.grants(&caller)?))
}

async fn grant(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<GrantRequest>,
) -> Answer<GrantView> {
    Ok(Json(api.grant(&caller, request).await?))
}

async fn import(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(import): JsonBody<ImportGrant>,
) -> Answer<GrantView> {
    Ok(Json(api.import_grant(&caller, &import.text).await?))
}

async fn revoke(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(revoke): JsonBody<Revoke>,
) -> Answer<RevokedView> {
    Ok(Json(api.revoke(&caller, &revoke.what).await?))
}
