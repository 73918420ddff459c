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
    extract::{JsonBody, Query},
    lines,
};
use crate::api::{
    Api,
    types::{AddMint, Balance, Fund, MintView, Receive, Received, Restore, Restored, Send, Token},
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/wallet", get(balances))
        .route("/v1/wallet/fund", post(fund))
        .route("/v1/wallet/send", post(send))
        .route("/v1/wallet/receive", post(receive))
        .route("/v1/wallet/restore", post(restore))
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
