//! The mint's HTTP interface: cdk-axum's paths with what they lack for money.
//!
//! A layer around cdk-axum's router, so it holds for every way to the mint:
//!
//! - A request runs in a task of the node. cdk's axum handlers are dropped when a client hangs up, and a swap dropped
//!   between its transactions leaves its proofs pending until the mint's next start.
//! - A swap, mint or melt that the mint refuses is looked up: if it was done before, its answer is given again.
//!   A repeated swap has all its inputs spent and all its outputs signed; a repeated mint has all its outputs signed;
//!   a repeated melt has its quote paid and its inputs spent.
//! - A melt settled inside this mint gets the invoice's preimage, which cdk leaves out.
//! - Requests that may change the books are at work one at a time. SQLite has one writer, and cdk waits for its turn in a
//!   blocking call on a worker thread of tokio: enough of those, and the writer that they wait for has no thread left.
//! - After a swap that failed, cdk's sagas are put right at once, not at the next start, so that a full disk or a busy
//!   file can't leave proofs pending.
//! - A hash lock's witness without a preimage is read as the NUTs have it ([`witness`]).
//! - Only so many requests are at work at once, only so many wait, and none is longer than a frame. Only so many quotes
//!   stand unpaid ([`super::quotes`]).
//!
//! Notifications over WebSocket (NUT-17) are switched off: cdk bounds neither the connections nor what they ask to be
//! told, which every change of the books would have to be compared with. Wallets poll instead.
//!
//! cdk-axum's reply cache is switched off: it would answer for a minute what this layer answers for ever.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use cdk::{
    mint::Mint,
    nuts::{
        BatchMintRequest, BlindSignature, BlindedMessage, CheckStateRequest, CheckStateResponse,
        MeltQuoteBolt11Response, MeltQuoteState, MeltRequest, MintRequest, MintResponse, Proofs, ProofsMethods,
        RestoreRequest, SpendingConditionVerification as _, State as ProofState, SwapRequest, SwapResponse,
    },
};
use cdk_axum::cache::{HttpCache, HttpCacheKey, HttpCacheStorage};
use cdk_common::{Bolt11Invoice, MeltQuoteResponse, QuoteId};
use guilder_protocol::limits::MAX_MINT_FRAME;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};

use super::{
    MintError,
    limits::{MAX_QUOTE_REQUEST, MAX_READING, MAX_WAITING},
    play::PlayKey,
    quotes::Quotes,
    used::Suspension,
    witness,
};
use crate::runtime::Runtime;

/// The router that every request goes through.
pub(super) async fn router(
    mint: Arc<Mint>,
    key: PlayKey,
    runtime: Runtime,
    suspension: Arc<Suspension>,
    quotes: Arc<Quotes>,
    changing: Arc<Semaphore>,
) -> Result<Router, MintError> {
    let cache = HttpCache::new(Duration::ZERO, Duration::ZERO, Some(Box::new(NoCache)));
    let methods = vec!["bolt11".to_owned()];
    let paths = cdk_axum::create_mint_router_with_custom_cache(Arc::clone(&mint), cache, methods, false).await;
    let paths = paths.map_err(|error| MintError::Router(error.to_string()))?;
    let requests = Arc::new(Requests {
        mint,
        key,
        runtime,
        suspension,
        quotes,
        waiting: Semaphore::new(MAX_WAITING),
        reading: Semaphore::new(MAX_READING),
        changing,
    });
    Ok(paths.layer(from_fn_with_state(requests, take)))
}

/// Where cdk's router takes WebSockets.
const WEBSOCKET: &str = "/v1/ws";

struct Requests {
    mint: Arc<Mint>,
    key: PlayKey,
    runtime: Runtime,
    suspension: Arc<Suspension>,
    quotes: Arc<Quotes>,
    waiting: Semaphore,
    reading: Semaphore,
    /// One permit.
    changing: Arc<Semaphore>,
}

/// Takes a request in whole, then hands it to a task that nobody but the node can stop.
async fn take(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == WEBSOCKET {
        return refusal(StatusCode::NOT_FOUND, "this mint has no notifications");
    }
    let Ok(body) = to_bytes(body, MAX_MINT_FRAME).await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long");
    };
    let (tell, told) = oneshot::channel();
    let runtime = requests.runtime.clone();
    let work = async move {
        // The caller may have gone; the work is done all the same.
        let _ = tell.send(work(&requests, parts, body, next).await);
    };
    runtime.spawn("mint request", work).detach();
    told.await.unwrap_or_else(|_| refusal(StatusCode::SERVICE_UNAVAILABLE, "the mint is stopping"))
}

async fn work(requests: &Requests, parts: Parts, body: Bytes, next: Next) -> Response {
    let Ok(_waiting) = requests.waiting.try_acquire() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait");
    };
    let path = parts.uri.path().to_owned();
    let post = parts.method == Method::POST;
    if let Some(reason) = requests.suspension.reason().filter(|_| spends(post, &path)) {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
    }
    if post && path == "/v1/checkstate" && asks_for_nothing(&body) {
        return json(&CheckStateResponse { states: Vec::new() });
    }
    if asks_for_quote(post, &path) {
        if body.len() > MAX_QUOTE_REQUEST {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long for a quote");
        }
        if !requests.quotes.take_room() {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many quotes wait to be paid; try again later");
        }
    }
    let body = if spends(post, &path) { witness::with_preimages(body) } else { body };
    let places = if may_change(post, &path) { &requests.changing } else { &requests.reading };
    let Ok(_place) = places.acquire().await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "the mint is stopping");
    };
    let response = next.run(Request::from_parts(parts, Body::from(body.clone()))).await;
    let response = with_code(response, || post && breaks_its_lock(&path, &body)).await;
    let done = response.status().is_success();
    match path.strip_prefix("/v1/") {
        Some("swap") if post && !done => {
            requests.undo_half_done_swaps().await;
            requests.repeated_swap(&body).await.unwrap_or(response)
        }
        Some("mint/bolt11" | "mint/bolt11/batch") if post && !done => {
            requests.repeated_mint(&body).await.unwrap_or(response)
        }
        Some("melt/bolt11") if post && !done => requests.repeated_melt(&body).await.unwrap_or(response),
        Some("melt/bolt11") if done => requests.with_preimage(response).await,
        Some(path) if path.starts_with("melt/quote/bolt11/") && done => requests.with_preimage(response).await,
        _ => response,
    }
}

/// Whether a request spends coins.
fn spends(post: bool, path: &str) -> bool {
    post && matches!(path, "/v1/swap" | "/v1/melt/bolt11")
}

/// Whether a request asks for a quote, which becomes a row of the books.
pub(super) fn asks_for_quote(post: bool, path: &str) -> bool {
    post && ["/v1/mint/quote/", "/v1/melt/quote/"].iter().any(|quotes| path.starts_with(quotes))
}

/// Whether an input of a swap or melt isn't unlocked as its secret wants (NUT-10).
fn breaks_its_lock(path: &str, body: &Bytes) -> bool {
    match path {
        "/v1/swap" => serde_json::from_slice::<SwapRequest>(body)
            .is_ok_and(|request| request.verify_spending_conditions().is_err()),
        "/v1/melt/bolt11" => serde_json::from_slice::<MeltRequest<QuoteId>>(body)
            .is_ok_and(|request| request.verify_spending_conditions().is_err()),
        _ => false,
    }
}

fn asks_for_nothing(body: &Bytes) -> bool {
    serde_json::from_slice::<CheckStateRequest>(body).is_ok_and(|request| request.ys.is_empty())
}

/// What is no request of the API gets this code, so that a client doesn't repeat it for ever. It lies where NUT error codes
/// do, and means none of them.
const NO_REQUEST: u32 = 10_000;
/// Failures of the mint's own, as cdk has it: no judgement on the request.
const FAILED: u32 = 50_000;
/// The witness is missing or doesn't unlock the proof. Of an HTLC without its preimage cdk says [`FAILED`].
const WITNESS: u32 = 20_008;
/// The quote isn't known, or no longer. cdk says [`FAILED`].
const UNKNOWN_QUOTE: u32 = 20_007;
/// What of an error's text is passed on, in bytes.
const MAX_DETAIL: usize = 400;

/// An error as the NUTs have it, `{code, detail}`, whatever part of the router it comes from.
async fn with_code(response: Response, breaks_its_lock: impl FnOnce() -> bool) -> Response {
    if response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_MINT_FRAME).await.unwrap_or_default();
    let mut told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if told["code"] == FAILED && told["detail"].is_string() {
        let unknown = told["detail"] == cdk::Error::UnknownQuote.to_string();
        if let Some(code) = unknown.then_some(UNKNOWN_QUOTE).or_else(|| breaks_its_lock().then_some(WITNESS)) {
            told["code"] = code.into();
            return (StatusCode::BAD_REQUEST, axum::Json(told)).into_response();
        }
    }
    if told["code"].is_u64() && told["detail"].is_string() {
        return Response::from_parts(parts, Body::from(body));
    }
    let code = if parts.status.is_client_error() { NO_REQUEST } else { FAILED };
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_DETAIL)]).into_owned();
    let detail = if text.is_empty() { parts.status.to_string() } else { text };
    (parts.status, axum::Json(serde_json::json!({ "code": code, "detail": detail }))).into_response()
}

/// Whether a request may write to the books. To look at a quote does: a payment found then is booked.
fn may_change(post: bool, path: &str) -> bool {
    if post { !matches!(path, "/v1/checkstate" | "/v1/restore") } else { path.contains("/quote/") }
}

impl Requests {
    /// Call it from the one request that may change the books: what is half done then, nobody is doing.
    async fn undo_half_done_swaps(&self) {
        if let Err(error) = self.mint.recover_from_incomplete_sagas().await {
            tracing::warn!(%error, "a failed swap is not undone yet; the next one or a restart will");
        }
    }

    async fn repeated_swap(&self, body: &[u8]) -> Option<Response> {
        let request: SwapRequest = serde_json::from_slice(body).ok()?;
        let signatures = self.signed(request.outputs()).await?;
        self.spent(request.inputs()).await.then(|| json(&SwapResponse::new(signatures)))
    }

    async fn repeated_mint(&self, body: &[u8]) -> Option<Response> {
        let single = serde_json::from_slice::<MintRequest<String>>(body).map(|request| request.outputs);
        let outputs =
            single.or_else(|_| serde_json::from_slice::<BatchMintRequest<String>>(body).map(|request| request.outputs));
        let signatures = self.signed(&outputs.ok()?).await?;
        Some(json(&MintResponse { signatures }))
    }

    async fn repeated_melt(&self, body: &[u8]) -> Option<Response> {
        let request: MeltRequest<QuoteId> = serde_json::from_slice(body).ok()?;
        let MeltQuoteResponse::Bolt11(status) = self.mint.check_melt_quote(request.quote_id()).await.ok()? else {
            return None;
        };
        let done = status.state == MeltQuoteState::Paid && self.spent(request.inputs()).await;
        done.then(|| json(&self.prove_payment(status)))
    }

    /// The signatures of all of `outputs`, if the mint gave every one of them, for these amounts.
    async fn signed(&self, outputs: &[BlindedMessage]) -> Option<Vec<BlindSignature>> {
        let restored = self.mint.restore(RestoreRequest { outputs: outputs.to_vec() }).await.ok()?;
        let same = |(output, signature): (&BlindedMessage, &BlindSignature)| {
            output.amount == signature.amount && output.keyset_id == signature.keyset_id
        };
        let all = !outputs.is_empty() && restored.signatures.len() == outputs.len();
        (all && outputs.iter().zip(&restored.signatures).all(same)).then_some(restored.signatures)
    }

    async fn spent(&self, inputs: &Proofs) -> bool {
        let Ok(ys) = inputs.ys() else { return false };
        let states = self.mint.check_state(&CheckStateRequest { ys }).await;
        states.is_ok_and(|states| states.states.iter().all(|proof| proof.state == ProofState::Spent))
    }

    async fn with_preimage(&self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, MAX_MINT_FRAME).await else {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the reply is too long");
        };
        match serde_json::from_slice::<MeltQuoteBolt11Response<QuoteId>>(&body) {
            Ok(status) if status.state == MeltQuoteState::Paid && status.payment_preimage.is_none() => {
                json(&self.prove_payment(status))
            }
            _ => Response::from_parts(parts, Body::from(body)),
        }
    }

    fn prove_payment(&self, mut status: MeltQuoteBolt11Response<QuoteId>) -> MeltQuoteBolt11Response<QuoteId> {
        let invoice = status.request.as_ref().and_then(|request| request.parse::<Bolt11Invoice>().ok());
        if let (None, Some(unit), Some(invoice)) = (&status.payment_preimage, &status.unit, invoice) {
            status.payment_preimage = self.key.preimage(unit, &invoice).map(hex::encode);
        }
        status
    }
}

fn json(answer: &impl Serialize) -> Response {
    axum::Json(answer).into_response()
}

fn refusal(status: StatusCode, detail: &'static str) -> Response {
    (status, axum::Json(serde_json::json!({ "code": FAILED, "detail": detail }))).into_response()
}

/// Remembers nothing.
struct NoCache;

#[async_trait]
impl HttpCacheStorage for NoCache {
    fn set_expiration_times(&mut self, _: Duration, _: Duration) {}

    async fn get(&self, _: &HttpCacheKey) -> Option<Vec<u8>> {
        None
    }

    async fn set(&self, _: HttpCacheKey, _: Vec<u8>) {}
}
