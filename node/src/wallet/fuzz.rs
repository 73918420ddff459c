//! See [`crate::fuzz`].

use std::{cell::OnceCell, str::FromStr, sync::Arc};

use async_trait::async_trait;
use cdk::nuts::{
    BatchMintRequest, BlindedMessage, CheckStateRequest, Id, MeltQuoteBolt11Request, MeltRequest,
    MintQuoteBolt11Request, MintRequest, PublicKey, RestoreRequest, SwapRequest,
};
use guilder_protocol::market::MintUrl;
use lightning_invoice::Bolt11Invoice;
use tokio::runtime::Runtime;

use super::{
    connector::{
        Exchange, ExchangeError, MintClient,
        frames::{Reply, Request},
    },
    ledger::read_token,
    records::{
        ACCEPTED, ACCOUNTS, AT_RISK, BATCHES, COINS, DUE, FAILED, FREED, HELD, HISTORY, MINTS, OPERATIONS, OUTCOMES,
        PURSE, QUOTES, REDEEMED_PROOFS, RETURNED, SENT, batch_id,
    },
    tables::amount_and_y,
};
use crate::fuzz::{choose, stored};

/// Records of this room.
pub fn records(data: &[u8]) {
    let Some((which, record)) = choose(data, 19) else { return };
    match which {
        0 => stored(MINTS, record),
        1 => stored(COINS, record),
        2 => stored(OPERATIONS, record),
        3 => stored(FAILED, record),
        4 => stored(FREED, record),
        5 => stored(QUOTES, record),
        6 => stored(BATCHES, record),
        7 => stored(PURSE, record),
        8 => stored(AT_RISK, record),
        9 => stored(RETURNED, record),
        10 => stored(REDEEMED_PROOFS, record),
        11 => stored(ACCEPTED, record),
        12 => stored(DUE, record),
        13 => stored(OUTCOMES, record),
        14 => stored(SENT, record),
        15 => stored(ACCOUNTS, record),
        16 => stored(HISTORY, record),
        17 => stored(HELD, record),
        _ => _ = (batch_id(record), amount_and_y(record)),
    }
}

/// Tokens, as somebody hands them over.
pub fn cashu_tokens(data: &[u8]) {
    let Ok(token) = read_token(&String::from_utf8_lossy(data)) else { return };
    let _ = (token.mint_url(), token.unit(), token.value(), token.memo().clone(), token.proofs(&[]));
    let again = read_token(&token.to_string());
    assert!(again.is_ok_and(|again| again == token), "a token is written so that it reads as the same");
}

/// Invoices, ours to pay and a mint's to be paid.
pub fn invoices(data: &[u8]) {
    let Some(invoice) = std::str::from_utf8(data).ok().and_then(|text| Bolt11Invoice::from_str(text).ok()) else {
        return;
    };
    let _ = (invoice.amount_milli_satoshis(), invoice.expires_at(), invoice.payment_hash());
    assert_eq!(Bolt11Invoice::from_str(&invoice.to_string()).ok(), Some(invoice));
}

/// A mint that says this to everything.
#[derive(Debug)]
struct Parrot(Reply);

#[async_trait]
impl Exchange for Parrot {
    async fn exchange(&self, _: Request) -> Result<Reply, ExchangeError> {
        Ok(Reply { status: self.0.status, body: self.0.body.clone() })
    }
}

/// Points of the curve, which are all that a client's calls need.
const POINTS: [&str; 2] = [
    "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
];

/// What a mint answers to each call of the wallet's. The first two bytes choose the call and the status.
pub fn mint_replies(data: &[u8]) {
    thread_local!(static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() });
    let Some((call, rest)) = choose(data, 11) else { return };
    let Some((status, body)) = choose(rest, 4) else { return };
    let Ok(url) = "https://mint.example".parse::<MintUrl>() else { return };
    let status = [200, 400, 404, 500][status];
    let client = MintClient::new(&url, Arc::new(Parrot(Reply { status, body: body.to_vec() })));
    RUNTIME.with(|runtime| {
        // Its clock runs ahead while it waits, so that a repeated call costs no time.
        let paused = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.get_or_init(|| paused().unwrap_or_else(|error| panic!("no runtime: {error}")));
        runtime.block_on(ask(&client, call));
    });
}

async fn ask(client: &MintClient, call: usize) {
    let ys: Vec<_> = POINTS.iter().filter_map(|point| PublicKey::from_str(point).ok()).collect();
    let Ok(id) = Id::from_str("009a1f293253e41e") else { return };
    let Ok(unit) = "sat".parse() else { return };
    let outputs: Vec<_> = ys.iter().map(|y| BlindedMessage::new(1_u64.into(), id, *y)).collect();
    match call {
        0 => _ = client.info().await.map(|info| info.supports("12")),
        1 => _ = client.keysets().await,
        2 => {
            if let Ok(keyset) = client.keyset(id).await {
                assert!(keyset.id == id && keyset.verify_id().is_ok());
            }
        }
        3 => _ = client.mint_quote(1, &unit).await.map(|quote| quote.expiry()),
        4 => _ = client.mint_quote_state("id").await.map(|quote| assert_eq!(quote.quote, "id")),
        5 => _ = client.melt_quote("lnbc1", &unit).await,
        6 => _ = client.melt_quote_state("id").await.map(|quote| assert_eq!(quote.quote, "id")),
        7 => {
            if let Ok(signatures) = client.swap(&[], &outputs).await {
                assert!(signatures.len() == 2 && signatures.iter().all(|signature| signature.keyset_id == id));
            }
        }
        8 => _ = client.melt("id", &[], &outputs).await,
        9 => _ = client.states(&ys).await.map(|states| assert_eq!(states.len(), ys.len())),
        _ => _ = client.signatures(&outputs).await.map(|signatures| assert_eq!(signatures.len(), outputs.len())),
    }
}

/// What wallets send to the hosted mint, as cdk reads it.
pub fn mint_requests(data: &[u8]) {
    let Some((which, body)) = choose(data, 7) else { return };
    match which {
        0 => _ = serde_json::from_slice::<SwapRequest>(body).map(|swap| swap.input_amount()),
        1 => {
            _ = serde_json::from_slice::<MintRequest<String>>(body);
            _ = serde_json::from_slice::<BatchMintRequest<String>>(body);
        }
        2 => _ = serde_json::from_slice::<MeltRequest<String>>(body),
        3 => _ = serde_json::from_slice::<CheckStateRequest>(body),
        4 => _ = serde_json::from_slice::<RestoreRequest>(body),
        5 => _ = serde_json::from_slice::<MintQuoteBolt11Request>(body),
        _ => _ = serde_json::from_slice::<MeltQuoteBolt11Request>(body),
    }
}
