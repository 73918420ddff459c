//! Memories and their domains.

use axum::{Extension, Json, extract::State, response::Response};
use futures::stream;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, By, Failure, NDJSON,
    extract::{JsonBody, Path, Query},
    lines,
};
use crate::api::{
    Api,
    memory::types::{
        BriefView, DomainRequest, DomainView, DreamRequest, DreamView, ForgetRequest, ForgottenView, ImportRequest,
        ImportedView, LineageStep, MemoryView, RecallQuery, RememberRequest, RememberedView,
    },
    types::Line,
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(recall, remember))
        .routes(routes!(show))
        .routes(routes!(lineage))
        .routes(routes!(history))
        .routes(routes!(forget))
        .routes(routes!(export))
        .routes(routes!(import))
        .routes(routes!(domains, set_domain))
        .routes(routes!(brief))
        .routes(routes!(dream))
}

/// The memories that answer a question best, the best first.
#[utoipa::path(get, path = "/v1/memories", params(RecallQuery), responses((status = 200, body = Vec<MemoryView>)))]
async fn recall(
    State(api): State<Api>,
    Extension(caller): By,
    Query(query): Query<RecallQuery>,
) -> Answer<Vec<MemoryView>> {
    Ok(Json(api.recall(&caller, query).await?))
}

/// Remember something.
#[utoipa::path(post, path = "/v1/memories", request_body = RememberRequest, responses((status = 200, body = RememberedView)))]
async fn remember(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<RememberRequest>,
) -> Answer<RememberedView> {
    Ok(Json(api.remember(&caller, request).await?))
}

/// A memory.
#[utoipa::path(get, path = "/v1/memories/{id}", params(("id" = String, Path, description = "Its ID, or the last letters of it.")), responses((status = 200, body = MemoryView)))]
async fn show(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<MemoryView> {
    Ok(Json(api.memory(&caller, &id).await?))
}

/// What a memory was made of, down to the receipts: itself first, each step below the one that names it.
#[utoipa::path(get, path = "/v1/memories/{id}/lineage", params(("id" = String, Path, description = "Its ID, or the last letters of it.")), responses((status = 200, body = Vec<LineageStep>)))]
async fn lineage(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<Vec<LineageStep>> {
    Ok(Json(api.lineage(&caller, &id).await?))
}

/// What was held instead of a memory, before and after, in the order in which it was true.
#[utoipa::path(get, path = "/v1/memories/{id}/history", params(("id" = String, Path, description = "Its ID, or the last letters of it.")), responses((status = 200, body = Vec<MemoryView>)))]
async fn history(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<Vec<MemoryView>> {
    Ok(Json(api.memory_history(&caller, &id).await?))
}

/// Forget, so that nothing of it is left in the memory's file.
#[utoipa::path(post, path = "/v1/memory/forget", request_body = ForgetRequest, responses((status = 200, body = ForgottenView)))]
async fn forget(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<ForgetRequest>,
) -> Answer<ForgottenView> {
    Ok(Json(api.forget(&caller, request).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Domains {
    /// Domains, with commas between [default: all that the caller may read].
    domain: Option<String>,
}

/// All of domains, at most 10,000 memories, a line each.
#[utoipa::path(get,
    path = "/v1/memory/export",
    params(Domains),
    responses((status = 200, content_type = NDJSON, body = Line<MemoryView>))
)]
async fn export(
    State(api): State<Api>,
    Extension(caller): By,
    Query(Domains { domain }): Query<Domains>,
) -> Result<Response, Failure> {
    let all = api.export_memory(&caller, domain.as_deref()).await?;
    Ok(lines(stream::iter(all.into_iter().map(Ok))))
}

/// Take in what was exported.
#[utoipa::path(post, path = "/v1/memory/import", request_body = ImportRequest, responses((status = 200, body = Vec<ImportedView>)))]
async fn import(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<ImportRequest>,
) -> Answer<Vec<ImportedView>> {
    Ok(Json(api.import_memory(&caller, request).await?))
}

/// The domains that the caller may read.
#[utoipa::path(get, path = "/v1/memory/domains", responses((status = 200, body = Vec<DomainView>)))]
async fn domains(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<DomainView>> {
    Ok(Json(api.memory_domains(&caller).await?))
}

/// Make a domain, or say who may read and write it, and whether it is private.
#[utoipa::path(post, path = "/v1/memory/domains", request_body = DomainRequest, responses((status = 200, body = DomainView)))]
async fn set_domain(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<DomainRequest>,
) -> Answer<DomainView> {
    Ok(Json(api.set_memory_domain(&caller, request).await?))
}

/// Go through what was remembered and what happened since the last time, and make fewer and plainer memories of it.
#[utoipa::path(post, path = "/v1/memory/dream", request_body = DreamRequest, responses((status = 200, body = DreamView)))]
async fn dream(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(request): JsonBody<DreamRequest>,
) -> Answer<DreamView> {
    Ok(Json(api.dream(&caller, request).await?))
}

/// What an agent reads of a domain before it begins.
#[utoipa::path(get, path = "/v1/memory/domains/{name}/brief", params(("name" = String, Path, description = "The domain's name.")), responses((status = 200, body = BriefView)))]
async fn brief(State(api): State<Api>, Extension(caller): By, Path(name): Path<String>) -> Answer<BriefView> {
    Ok(Json(api.brief(&caller, &name).await?))
}
