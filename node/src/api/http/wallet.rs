//! Money and mints.

use axum::{
    Json, Router,
    extract::{Query, State},
    response::Response,
    routing::{get, post},
};
use guilder_protocol::market::MintUrl;
use serde::Deserialize;

use super::{Answer, Failure, lines};
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

async fn balances(State(api): State<Api>) -> Answer<Vec<Balance>> {
    Ok(Json(api.balances()?))
}

async fn fund(State(api): State<Api>, Json(fund): Json<Fund>) -> Result<Response, Failure> {
    Ok(lines(api.fund(fund).await?))
}

async fn send(State(api): State<Api>, Json(send): Json<Send>) -> Answer<Token> {
    Ok(Json(api.send(send).await?))
}

async fn receive(State(api): State<Api>, Json(receive): Json<Receive>) -> Answer<Received> {
    Ok(Json(api.receive(&receive.token).await?))
}

async fn restore(State(api): State<Api>, Json(restore): Json<Restore>) -> Answer<Restored> {
    Ok(Json(api.restore(restore).await?))
}

async fn mints(State(api): State<Api>) -> Json<Vec<MintView>> {
    Json(api.mints())
}

async fn add_mint(State(api): State<Api>, Json(add): Json<AddMint>) -> Answer<MintView> {
    Ok(Json(api.add_mint(&add.url).await?))
}

#[derive(Deserialize)]
struct Which {
    url: MintUrl,
}

async fn remove_mint(State(api): State<Api>, Query(Which { url }): Query<Which>) -> Answer<()> {
    Ok(Json(api.remove_mint(&url).await?))
}
