//! Money and mints.

use axum::{Extension, Json, extract::State, response::Response};
use guilder_protocol::market::MintUrl;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, By, Failure, NDJSON,
    extract::{JsonBody, Path, Query},
    lines,
};
use crate::{
    api::{
        Api,
        types::{
            AddMint, Balance, Fund, Funding, HistoryEntry, InvoicePaid, Line, MintCheck, MintView, Pay, PendingView,
            Receive, Received, Reclaim, Restore, Restored, Send, SentView, Token,
        },
    },
    limits::MAX_HISTORY_PAGE,
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(balances))
        .routes(routes!(fund))
        .routes(routes!(send))
        .routes(routes!(receive))
        .routes(routes!(restore))
        .routes(routes!(sent))
        .routes(routes!(sent_token))
        .routes(routes!(reclaim))
        .routes(routes!(pending))
        .routes(routes!(history))
        .routes(routes!(pay))
        .routes(routes!(mints, add_mint, remove_mint))
        .routes(routes!(check_mints))
}

/// What the wallet holds.
#[utoipa::path(get, path = "/v1/wallet", responses((status = 200, body = Vec<Balance>)))]
async fn balances(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<Balance>> {
    Ok(Json(api.balances(&caller)?))
}

/// Ask a mint for a quote, and wait for its payment.
#[utoipa::path(
    post,
    path = "/v1/wallet/fund",
    request_body = Fund,
    responses((status = 200, content_type = NDJSON, body = Line<Funding>))
)]
async fn fund(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(fund): JsonBody<Fund>,
) -> Result<Response, Failure> {
    Ok(lines(api.fund(&caller, fund).await?))
}

/// Make a token.
#[utoipa::path(post, path = "/v1/wallet/send", request_body = Send, responses((status = 200, body = Token)))]
async fn send(State(api): State<Api>, Extension(caller): By, JsonBody(send): JsonBody<Send>) -> Answer<Token> {
    Ok(Json(api.send(&caller, send).await?))
}

/// Take a token in.
#[utoipa::path(post, path = "/v1/wallet/receive", request_body = Receive, responses((status = 200, body = Received)))]
async fn receive(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(receive): JsonBody<Receive>,
) -> Answer<Received> {
    Ok(Json(api.receive(&caller, &receive.token).await?))
}

/// Look for coins that the phrase once made.
#[utoipa::path(post, path = "/v1/wallet/restore", request_body = Restore, responses((status = 200, body = Restored)))]
async fn restore(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(restore): JsonBody<Restore>,
) -> Answer<Restored> {
    Ok(Json(api.restore(&caller, restore).await?))
}

/// The tokens that were sent.
#[utoipa::path(get, path = "/v1/wallet/sent", responses((status = 200, body = Vec<SentView>)))]
async fn sent(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<SentView>> {
    Ok(Json(api.sent(&caller).await?))
}

/// The text of a token that was sent.
#[utoipa::path(
    get,
    path = "/v1/wallet/sent/{id}",
    params(("id" = String, Path, description = "The beginning of its ID.")),
    responses((status = 200, body = Token))
)]
async fn sent_token(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<Token> {
    Ok(Json(api.sent_token(&caller, &id).await?))
}

/// Take a token back that nobody has spent.
#[utoipa::path(post, path = "/v1/wallet/reclaim", request_body = Reclaim, responses((status = 200, body = Received)))]
async fn reclaim(State(api): State<Api>, Extension(caller): By, JsonBody(back): JsonBody<Reclaim>) -> Answer<Received> {
    Ok(Json(api.reclaim(&caller, &back.id).await?))
}

/// What is under way, what holds it up, what ends it.
#[utoipa::path(get, path = "/v1/wallet/pending", responses((status = 200, body = Vec<PendingView>)))]
async fn pending(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<PendingView>> {
    Ok(Json(api.pending(&caller)?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// From this number on [default: 0].
    #[serde(default)]
    from: u64,
    /// At most so many.
    limit: Option<usize>,
}

/// Every change of the balance, the oldest first.
#[utoipa::path(get, path = "/v1/wallet/history", params(Page), responses((status = 200, body = Vec<HistoryEntry>)))]
async fn history(
    State(api): State<Api>,
    Extension(caller): By,
    Query(Page { from, limit }): Query<Page>,
) -> Answer<Vec<HistoryEntry>> {
    Ok(Json(api.history(&caller, from, limit.unwrap_or(MAX_HISTORY_PAGE).min(MAX_HISTORY_PAGE))?))
}

/// Pay a Lightning invoice.
#[utoipa::path(post, path = "/v1/wallet/pay", request_body = Pay, responses((status = 200, body = InvoicePaid)))]
async fn pay(State(api): State<Api>, Extension(caller): By, JsonBody(pay): JsonBody<Pay>) -> Answer<InvoicePaid> {
    Ok(Json(api.pay(&caller, pay).await?))
}

/// Whose ecash is accepted.
#[utoipa::path(get, path = "/v1/mints", responses((status = 200, body = Vec<MintView>)))]
async fn mints(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<MintView>> {
    Ok(Json(api.mints(&caller)?))
}

/// How each of them does, asked now.
#[utoipa::path(get, path = "/v1/mints/check", responses((status = 200, body = Vec<MintCheck>)))]
async fn check_mints(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<MintCheck>> {
    Ok(Json(api.check_mints(&caller).await?))
}

/// Accept a mint's ecash.
#[utoipa::path(post, path = "/v1/mints", request_body = AddMint, responses((status = 200, body = MintView)))]
async fn add_mint(State(api): State<Api>, Extension(caller): By, JsonBody(add): JsonBody<AddMint>) -> Answer<MintView> {
    Ok(Json(api.add_mint(&caller, &add.url).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Its URL.
    #[param(value_type = String)]
    url: MintUrl,
}

/// Accept a mint's ecash no more.
#[utoipa::path(delete, path = "/v1/mints", params(Which), responses((status = 200, body = ())))]
async fn remove_mint(State(api): State<Api>, Extension(caller): By, Query(Which { url }): Query<Which>) -> Answer<()> {
    Ok(Json(api.remove_mint(&caller, &url).await?))
}
