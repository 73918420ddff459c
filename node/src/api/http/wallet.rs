//! Money and mints.

use axum::{
    Extension, Json, Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use guilder_protocol::market::MintUrl;
use serde::Deserialize;

use super::{
    Answer, By, Failure,
    extract::{JsonBody, Path, Query},
    lines,
};
use crate::{
    api::{
        Api,
        types::{
            AddMint, Balance, Fund, InvoicePaid, MintView, Pay, PendingView, Receive, Received, Reclaim, Restore,
            Restored, Send, SentView, Token,
        },
    },
    limits::MAX_HISTORY_PAGE,
    wallet::HistoryEntry,
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/wallet", get(balances))
        .route("/v1/wallet/fund", post(fund))
        .route("/v1/wallet/send", post(send))
        .route("/v1/wallet/receive", post(receive))
        .route("/v1/wallet/restore", post(restore))
        .route("/v1/wallet/sent", get(sent))
        .route("/v1/wallet/sent/{id}", get(sent_token))
        .route("/v1/wallet/reclaim", post(reclaim))
        .route("/v1/wallet/pending", get(pending))
        .route("/v1/wallet/history", get(history))
        .route("/v1/wallet/pay", post(pay))
        .route("/v1/mints", get(mints).post(add_mint).delete(remove_mint))
}

async fn balances(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<Balance>> {
    Ok(Json(api.balances(&caller)?))
}

async fn fund(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(fund): JsonBody<Fund>,
) -> Result<Response, Failure> {
    Ok(lines(api.fund(&caller, fund).await?))
}

async fn send(State(api): State<Api>, Extension(caller): By, JsonBody(send): JsonBody<Send>) -> Answer<Token> {
    Ok(Json(api.send(&caller, send).await?))
}

async fn receive(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(receive): JsonBody<Receive>,
) -> Answer<Received> {
    Ok(Json(api.receive(&caller, &receive.token).await?))
}

async fn restore(
    State(api): State<Api>,
    Extension(caller): By,
    JsonBody(restore): JsonBody<Restore>,
) -> Answer<Restored> {
    Ok(Json(api.restore(&caller, restore).await?))
}

async fn sent(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<SentView>> {
    Ok(Json(api.sent(&caller).await?))
}

async fn sent_token(State(api): State<Api>, Extension(caller): By, Path(id): Path<String>) -> Answer<Token> {
    Ok(Json(api.sent_token(&caller, &id)?))
}

async fn reclaim(State(api): State<Api>, Extension(caller): By, JsonBody(back): JsonBody<Reclaim>) -> Answer<Received> {
    Ok(Json(api.reclaim(&caller, &back.id).await?))
}

async fn pending(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<PendingView>> {
    Ok(Json(api.pending(&caller)?))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
}

async fn history(
    State(api): State<Api>,
    Extension(caller): By,
    Query(Page { from, limit }): Query<Page>,
) -> Answer<Vec<HistoryEntry>> {
    Ok(Json(api.history(&caller, from, limit.unwrap_or(MAX_HISTORY_PAGE).min(MAX_HISTORY_PAGE))?))
}

async fn pay(State(api): State<Api>, Extension(caller): By, JsonBody(pay): JsonBody<Pay>) -> Answer<InvoicePaid> {
    Ok(Json(api.pay(&caller, pay).await?))
}

async fn mints(State(api): State<Api>, Extension(caller): By) -> Answer<Vec<MintView>> {
    Ok(Json(api.mints(&caller)?))
}

async fn add_mint(State(api): State<Api>, Extension(caller): By, JsonBody(add): JsonBody<AddMint>) -> Answer<MintView> {
    Ok(Json(api.add_mint(&caller, &add.url).await?))
}

#[derive(Deserialize)]
struct Which {
    url: MintUrl,
}

async fn remove_mint(State(api): State<Api>, Extension(caller): By, Query(Which { url }): Query<Which>) -> Answer<()> {
    Ok(Json(api.remove_mint(&caller, &url).await?))
}
