//! Calls that may be repeated, and answers that may be believed.
//!
//! A swap, a mint and a melt change the mint's books, and their reply can get lost after it did. So each is posted
//! until it is known what became of it, and known from the mint itself:
//!
//! ```text
//! post ── reply ──────────────────────────────► checked ► done
//!   │ refusal, or none: ask what the mint has signed (NUT-09), or what became of the quote (NUT-05)
//!   ├─ all of it ─────────────────────────────► done: the first reply was lost
//!   ├─ nothing, and the post was lost ────────► post again, a few times, then the caller hears of it
//!   ├─ nothing, and the mint refused ─────────► refused; `TokenAlreadySpent`: somebody else spent the proofs
//!   └─ no answer to that either ──────────────► not known; the caller posts the identical request later
//! ```
//!
//! An error that leaves it open whether the mint acted is never one of those for which cdk's
//! `Error::is_definitive_failure` holds, so cdk's wallets keep the proofs pending too.
//!
//! Each call is bounded in time. Checked are the things that a caller would otherwise take on trust: signatures have
//! the asked amounts and keysets (their DLEQ proofs are the wallet's to check), states are those asked for, restored
//! outputs are ours, a keyset's id follows from its keys (NUT-02).

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use async_trait::async_trait;
use cdk::{
    Error, MeltQuoteCreateResponse, MeltQuoteRequest, MeltQuoteResponse, MintQuoteRequest, MintQuoteResponse,
    nuts::{
        BatchCheckMintQuoteRequest, BatchMintRequest, BlindSignature, BlindedMessage, CheckStateRequest,
        CheckStateResponse, Id, KeySet, KeysetResponse, MeltQuoteState, MeltRequest, MintInfo, MintRequest,
        MintResponse, PaymentMethod, ProofsMethods, RestoreRequest, RestoreResponse, State, SwapRequest, SwapResponse,
    },
    wallet::{AuthWallet, LnurlPayInvoiceResponse, LnurlPayResponse, MintConnector},
};
use tokio::time::{sleep, timeout};

use super::{
    DynConnector,
    limits::{ATTEMPTS, CALL_TIMEOUT, MELT_TIMEOUT, RETRY_DELAY},
};

/// A connector around another that repeats safely and checks answers. Every connector of a node is one.
#[derive(Debug)]
pub struct Steady {
    inner: DynConnector,
}

impl Steady {
    /// Steadies `inner`.
    pub fn new(inner: DynConnector) -> Self {
        Self { inner }
    }

    /// Posts until the mint has signed all of `outputs` or says why not.
    async fn signed<F>(&self, outputs: &[BlindedMessage], post: impl Fn() -> F) -> Result<Vec<BlindSignature>, Error>
    where
        F: Future<Output = Result<Vec<BlindSignature>, Error>> + Send,
    {
        let mut attempt = 1;
        loop {
            let error = match within(CALL_TIMEOUT, post()).await {
                Ok(signatures) if answer(outputs, &signatures) => return Ok(signatures),
                Ok(_) => Error::InvalidMintResponse("signatures for other outputs than those sent".into()),
                Err(error) => error,
            };
            match self.restored(outputs).await {
                Ok(Some(signatures)) => return Ok(signatures),
                Ok(None) if is_open(&error) && attempt < ATTEMPTS => {}
                Ok(None) => return Err(error),
                Err(_) if is_open(&error) && attempt < ATTEMPTS => {}
                Err(_) if is_open(&error) => return Err(error),
                Err(unknown) => return Err(open(unknown)),
            }
            pause(attempt).await;
            attempt += 1;
        }
    }

    /// The signatures of all of `outputs`, if the mint has given every one of them before.
    async fn restored(&self, outputs: &[BlindedMessage]) -> Result<Option<Vec<BlindSignature>>, Error> {
        let response = self.post_restore(RestoreRequest { outputs: outputs.to_vec() }).await?;
        let mut signed: BTreeMap<_, _> =
            response.outputs.iter().map(|output| output.blinded_secret.to_bytes()).zip(response.signatures).collect();
        let signatures: Option<Vec<_>> =
            outputs.iter().map(|output| signed.remove(&output.blinded_secret.to_bytes())).collect();
        Ok(signatures.filter(|signatures| answer(outputs, signatures)))
    }

    /// What became of the melt in `request`, whose post was refused or lost.
    async fn melted(&self, method: &PaymentMethod, request: &MeltRequest<String>) -> Result<Fate, Error> {
        let status = self.get_melt_quote_status(method.clone(), request.quote_id()).await?;
        match status.state() {
            MeltQuoteState::Paid => {}
            MeltQuoteState::Pending | MeltQuoteState::Unknown => return Err(Error::PendingQuote),
            MeltQuoteState::Unpaid | MeltQuoteState::Failed => return Ok(Fate::Unpaid),
        }
        // Paid with these proofs? A former request may have settled the quote with others.
        let ys = request.inputs().ys()?;
        let states = self.post_check_state(CheckStateRequest { ys }).await?.states;
        if states.iter().all(|proof| proof.state == State::Spent) {
            Ok(Fate::Paid(Box::new(status)))
        } else if states.iter().all(|proof| proof.state == State::Unspent) {
            Ok(Fate::PaidOtherwise)
        } else {
            Err(Error::PendingQuote)
        }
    }
}

/// Where a melt stands, by the mint's own books.
enum Fate {
    /// The quote is paid and the proofs are spent.
    Paid(Box<MeltQuoteResponse<String>>),
    /// The quote is paid, and the proofs aren't spent.
    PaidOtherwise,
    /// Nothing was paid.
    Unpaid,
}

/// Runs a call within `limit`.
async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
    timeout(limit, call).await.unwrap_or(Err(Error::Timeout))
}

/// Runs a call that changes nothing, a second time if the first got lost.
async fn asked<T, F>(call: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>> + Send,
{
    match within(CALL_TIMEOUT, call()).await {
        Err(Error::HttpError(None | Some(500..), _)) => {
            pause(1).await;
            within(CALL_TIMEOUT, call()).await
        }
        settled => settled,
    }
}

async fn pause(attempt: u32) {
    sleep(RETRY_DELAY.saturating_mul(1 << attempt.min(8))).await;
}

/// Whether the mint may have acted although it said this, or said nothing.
fn is_open(error: &Error) -> bool {
    !error.is_definitive_failure() && !matches!(error, Error::TokenAlreadySpent | Error::BlindedMessageAlreadySigned)
}

/// `error` in a form that nobody mistakes for the mint's refusal of the request before it.
fn open(error: Error) -> Error {
    if is_open(&error) { error } else { Error::HttpError(None, format!("not known what became of it: {error}")) }
}

/// Whether `signatures` are what was asked for, output by output.
fn answer(outputs: &[BlindedMessage], signatures: &[BlindSignature]) -> bool {
    outputs.len() == signatures.len()
        && outputs
            .iter()
            .zip(signatures)
            .all(|(output, signature)| output.amount == signature.amount && output.keyset_id == signature.keyset_id)
}

fn own_id(keyset: KeySet) -> Result<KeySet, Error> {
    let proven = keyset.verify_id().map(|()| keyset);
    proven.map_err(|error| Error::InvalidMintResponse(format!("a keyset whose id its keys don't give: {error}")))
}

#[async_trait]
impl MintConnector for Steady {
    async fn fetch_lnurl_pay_request(&self, url: &str) -> Result<LnurlPayResponse, Error> {
        within(CALL_TIMEOUT, self.inner.fetch_lnurl_pay_request(url)).await
    }

    async fn fetch_lnurl_invoice(&self, url: &str) -> Result<LnurlPayInvoiceResponse, Error> {
        within(CALL_TIMEOUT, self.inner.fetch_lnurl_invoice(url)).await
    }

    async fn get_mint_keys(&self) -> Result<Vec<KeySet>, Error> {
        asked(|| self.inner.get_mint_keys()).await?.into_iter().map(own_id).collect()
    }

    async fn get_mint_keyset(&self, id: Id) -> Result<KeySet, Error> {
        let keyset = own_id(asked(|| self.inner.get_mint_keyset(id)).await?)?;
        if keyset.id != id {
            return Err(Error::InvalidMintResponse("another keyset than the one asked for".into()));
        }
        Ok(keyset)
    }

    async fn get_mint_keysets(&self) -> Result<KeysetResponse, Error> {
        asked(|| self.inner.get_mint_keysets()).await
    }

    async fn post_mint_quote(&self, request: MintQuoteRequest) -> Result<MintQuoteResponse<String>, Error> {
        asked(|| self.inner.post_mint_quote(request.clone())).await
    }

    async fn post_mint(&self, method: &PaymentMethod, request: MintRequest<String>) -> Result<MintResponse, Error> {
        let post = || async { Ok(self.inner.post_mint(method, request.clone()).await?.signatures) };
        Ok(MintResponse { signatures: self.signed(&request.outputs, post).await? })
    }

    async fn post_batch_check_mint_quote_status(
        &self,
        method: &PaymentMethod,
        request: BatchCheckMintQuoteRequest<String>,
    ) -> Result<Vec<MintQuoteResponse<String>>, Error> {
        asked(|| self.inner.post_batch_check_mint_quote_status(method, request.clone())).await
    }

    async fn post_batch_mint(
        &self,
        method: &PaymentMethod,
        request: BatchMintRequest<String>,
    ) -> Result<MintResponse, Error> {
        let post = || async { Ok(self.inner.post_batch_mint(method, request.clone()).await?.signatures) };
        Ok(MintResponse { signatures: self.signed(&request.outputs, post).await? })
    }

    async fn post_melt_quote(&self, request: MeltQuoteRequest) -> Result<MeltQuoteCreateResponse<String>, Error> {
        asked(|| self.inner.post_melt_quote(request.clone())).await
    }

    async fn get_mint_quote_status(
        &self,
        method: PaymentMethod,
        quote: &str,
    ) -> Result<MintQuoteResponse<String>, Error> {
        asked(|| self.inner.get_mint_quote_status(method.clone(), quote)).await
    }

    async fn get_melt_quote_status(
        &self,
        method: PaymentMethod,
        quote: &str,
    ) -> Result<MeltQuoteResponse<String>, Error> {
        asked(|| self.inner.get_melt_quote_status(method.clone(), quote)).await
    }

    async fn post_melt(
        &self,
        method: &PaymentMethod,
        request: MeltRequest<String>,
    ) -> Result<MeltQuoteResponse<String>, Error> {
        let mut attempt = 1;
        loop {
            let error = match within(MELT_TIMEOUT, self.inner.post_melt(method, request.clone())).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            match self.melted(method, &request).await.map_err(open)? {
                Fate::Paid(response) => return Ok(*response),
                Fate::Unpaid if is_open(&error) && attempt < ATTEMPTS => pause(attempt).await,
                Fate::PaidOtherwise if is_open(&error) => return Err(Error::PaidQuote),
                Fate::Unpaid | Fate::PaidOtherwise => return Err(error),
            }
            attempt += 1;
        }
    }

    async fn post_swap(&self, request: SwapRequest) -> Result<SwapResponse, Error> {
        let post = || async { Ok(self.inner.post_swap(request.clone()).await?.signatures) };
        Ok(SwapResponse::new(self.signed(request.outputs(), post).await?))
    }

    async fn get_mint_info(&self) -> Result<MintInfo, Error> {
        asked(|| self.inner.get_mint_info()).await
    }

    async fn post_check_state(&self, request: CheckStateRequest) -> Result<CheckStateResponse, Error> {
        let response = asked(|| self.inner.post_check_state(request.clone())).await?;
        if !response.states.iter().map(|proof| proof.y).eq(request.ys.iter().copied()) {
            return Err(Error::InvalidMintResponse("states of other proofs than those asked for".into()));
        }
        Ok(response)
    }

    async fn post_restore(&self, request: RestoreRequest) -> Result<RestoreResponse, Error> {
        let response = asked(|| self.inner.post_restore(request.clone())).await?;
        let ours: BTreeSet<_> = request.outputs.iter().map(|output| output.blinded_secret.to_bytes()).collect();
        let asked_for = |output: &BlindedMessage| ours.contains(&output.blinded_secret.to_bytes());
        if response.outputs.len() != response.signatures.len() || !response.outputs.iter().all(asked_for) {
            return Err(Error::InvalidMintResponse("restored outputs that nobody asked for".into()));
        }
        Ok(response)
    }

    async fn get_auth_wallet(&self) -> Option<AuthWallet> {
        self.inner.get_auth_wallet().await
    }

    async fn set_auth_wallet(&self, wallet: Option<AuthWallet>) {
        self.inner.set_auth_wallet(wallet).await;
    }
}
