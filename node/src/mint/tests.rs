//! The hosted mint and the connectors to it, together: every call, restarts, and what is refused.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cdk::{
    Amount, Error, MeltQuoteCreateResponse, MeltQuoteRequest, MeltQuoteResponse, MintQuoteRequest,
    dhke::construct_proofs,
    nuts::{
        CheckStateRequest, Id, Keys, MeltQuoteBolt11Request, MeltQuoteState, MeltRequest, MintQuoteBolt11Request,
        MintQuoteState, MintRequest, PreMint, PreMintSecrets, Proofs, ProofsMethods, RestoreRequest, SecretKey, State,
        SwapRequest,
    },
    secret::Secret,
};
use guilder_protocol::{
    identity::{AgentId, AgentKey},
    market::MintUrl,
    time::Timestamp,
};
use tokio::time::{advance, pause, resume};

use super::*;
use crate::runtime::Limits;

mod bench;
mod quotes;
mod reach;
mod restart;
mod wire;

use wire::{DynConnector, over};

/// Invoices in it pay themselves at once.
const PLAY: &str = "play";
/// Invoices in it pay themselves after an hour, so that melts can pay them first.
const OWED: &str = "owed";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SEED: [u8; 64] = [42; 64];

fn config(input_fee_ppk: u64) -> MintConfig {
    let play = MintUnit { input_fee_ppk, ..MintUnit::default() };
    let unit = OWED.parse().unwrap();
    let owed = MintUnit { unit, pays_itself_after_secs: 3_600, ..play.clone() };
    MintConfig { units: vec![play, owed], ..MintConfig::default() }
}

async fn open(folder: &Path, runtime: &Runtime) -> HostedMint {
    HostedMint::open(folder, &config(0), &SEED, runtime).await.unwrap()
}

fn host() -> AgentId {
    AgentKey::from_seed(&[1; 32]).id()
}

fn direct(mint: &HostedMint) -> DynConnector {
    over(&MintUrl::of_peer(host()), Arc::new(mint.clone()))
}

fn bolt11() -> PaymentMethod {
    PaymentMethod::Known(KnownMethod::Bolt11)
}

/// What a wallet knows before it calls the mint: the keyset of a unit.
struct Purse {
    mint: DynConnector,
    unit: CurrencyUnit,
    id: Id,
    keys: Keys,
}

impl Purse {
    async fn new(mint: &DynConnector, unit: &str) -> Self {
        let unit = CurrencyUnit::custom(unit);
        let keysets = mint.get_mint_keysets().await.unwrap().keysets;
        let id = keysets.iter().find(|keyset| keyset.unit == unit && keyset.active).unwrap().id;
        let keys = mint.get_mint_keyset(id).await.unwrap().keys;
        Self { mint: Arc::clone(mint), unit, id, keys }
    }

    fn outputs(&self, amounts: &[u64]) -> PreMintSecrets {
        let mut outputs = PreMintSecrets::new(self.id);
        for &amount in amounts {
            let secret = Secret::generate();
            let (blinded, r) = cdk::dhke::blind_message(&secret.to_bytes(), None).unwrap();
            let amount = Amount::from(amount);
            let blinded_message = cdk::nuts::BlindedMessage::new(amount, self.id, blinded);
            outputs.secrets.push(PreMint { blinded_message, secret, r, amount, derivation_index: None });
        }
        outputs
    }

    fn proofs(&self, outputs: &PreMintSecrets, signatures: Vec<cdk::nuts::BlindSignature>) -> Proofs {
        let proofs = construct_proofs(signatures, outputs.rs(), outputs.secrets(), &self.keys).unwrap();
        for proof in &proofs {
            proof.verify_dleq(self.keys.amount_key(proof.amount).unwrap()).unwrap();
        }
        proofs
    }

    async fn invoice(&self, amount: u64) -> (String, cdk_common::Bolt11Invoice) {
        let request =
            MintQuoteBolt11Request { amount: amount.into(), unit: self.unit.clone(), description: None, pubkey: None };
        let quote = self.mint.post_mint_quote(MintQuoteRequest::Bolt11(request)).await.unwrap();
        (quote.quote().clone(), quote.request().parse().unwrap())
    }

    fn issue(&self, quote: &str, amounts: &[u64]) -> (PreMintSecrets, MintRequest<String>) {
        let outputs = self.outputs(amounts);
        let request = MintRequest { quote: quote.into(), outputs: outputs.blinded_messages(), signature: None };
        (outputs, request)
    }

    async fn fund(&self, amounts: &[u64]) -> Proofs {
        let (quote, _) = self.invoice(amounts.iter().sum()).await;
        if self.unit == CurrencyUnit::custom(OWED) {
            an_hour_passes().await;
        }
        let (outputs, request) = self.issue(&quote, amounts);
        let signatures = self.mint.post_mint(&bolt11(), request).await.unwrap().signatures;
        self.proofs(&outputs, signatures)
    }

    async fn melt_quote(&self, invoice: &cdk_common::Bolt11Invoice) -> Result<String, Error> {
        let request = MeltQuoteBolt11Request { request: invoice.clone(), unit: self.unit.clone(), options: None };
        match self.mint.post_melt_quote(MeltQuoteRequest::Bolt11(request)).await? {
            MeltQuoteCreateResponse::Bolt11(quote) => Ok(quote.quote),
            other => panic!("{other:?}"),
        }
    }

    async fn states(&self, proofs: &Proofs) -> Vec<State> {
        let request = CheckStateRequest { ys: proofs.ys().unwrap() };
        self.mint.post_check_state(request).await.unwrap().states.iter().map(|proof| proof.state).collect()
    }
}

async fn an_hour_passes() {
    pause();
    advance(Duration::from_secs(3_600)).await;
    resume();
}

fn swap(inputs: &Proofs, outputs: &PreMintSecrets) -> SwapRequest {
    SwapRequest::new(inputs.clone(), outputs.blinded_messages())
}

fn paid(response: &MeltQuoteResponse<String>) -> [u8; 32] {
    let MeltQuoteResponse::Bolt11(response) = response else { panic!("{response:?}") };
    assert_eq!(response.state, MeltQuoteState::Paid);
    hex::decode(response.payment_preimage.as_ref().unwrap()).unwrap().try_into().unwrap()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use cdk_common::bitcoin::hashes::{Hash, sha256};
    sha256::Hash::hash(bytes).to_byte_array()
}

#[tokio::test]
async fn the_mint_announces_what_locks_need() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let info = direct(&mint).get_mint_info().await.unwrap();
    assert_eq!(info.name.as_deref(), Some("Guilder mint"));
    let nuts = info.nuts;
    let announced = [nuts.nut07, nuts.nut08, nuts.nut09, nuts.nut10, nuts.nut11, nuts.nut12, nuts.nut14, nuts.nut20];
    assert!(announced.iter().all(|nut| nut.supported), "{announced:?}");
    assert_eq!(info.max_array_length, Some(limits::MAX_INPUTS as u64));
    assert!(!nuts.nut04.disabled && !nuts.nut05.disabled);
}

#[tokio::test]
async fn every_call_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(&folder.path().join("made/when/needed"), &Runtime::anchored(NOW)).await;
    every_call(&direct(&mint)).await;
    let totals = mint.totals().await.unwrap();
    let play = Totals { unit: PLAY.into(), issued: 14, redeemed: 7 };
    let owed = Totals { unit: OWED.into(), issued: 16 + 12, redeemed: 16 };
    assert_eq!(totals, [owed, play]);
}

/// Mint, swap, check, restore, melt, through whatever connector.
async fn every_call(mint: &DynConnector) {
    assert_eq!(mint.get_mint_keys().await.unwrap().len(), 2);
    let purse = Purse::new(mint, PLAY).await;
    let proofs = purse.fund(&[1, 2, 4]).await;
    let outputs = purse.outputs(&[1, 1, 1, 4]);
    let signatures = mint.post_swap(swap(&proofs, &outputs)).await.unwrap().signatures;
    let swapped = purse.proofs(&outputs, signatures.clone());
    assert_eq!(purse.states(&proofs).await, [State::Spent; 3]);
    assert_eq!(purse.states(&swapped).await, [State::Unspent; 4]);
    let restored = mint.post_restore(RestoreRequest { outputs: outputs.blinded_messages() }).await.unwrap();
    assert_eq!(restored.signatures, signatures);

    let purse = Purse::new(mint, OWED).await;
    let proofs = purse.fund(&[16]).await;
    let (owed, invoice) = purse.invoice(4).await;
    let quote = purse.melt_quote(&invoice).await.unwrap();
    let change = purse.outputs(&[0, 0, 0, 0]);
    let request = MeltRequest::new(quote.clone(), proofs.clone(), Some(change.blinded_messages()));
    let melted = mint.post_melt(&bolt11(), request).await.unwrap();
    assert_eq!(sha256(&paid(&melted)), *<_ as AsRef<[u8; 32]>>::as_ref(invoice.payment_hash()));
    let given: u64 = melted.change().unwrap().iter().map(|change| change.amount.to_u64()).sum();
    assert_eq!(given, 12);
    let again = mint.get_melt_quote_status(bolt11(), &quote).await.unwrap();
    assert_eq!(paid(&again), paid(&melted));
    let status = mint.get_mint_quote_status(bolt11(), &owed).await.unwrap();
    assert_eq!(status.state(), Some(MintQuoteState::Paid));
    assert_eq!(purse.states(&proofs).await, [State::Spent]);
}

/// Were two at work at once, the first could hold SQLite's write lock without a thread to go on with, while others wait
/// for it in blocking calls, ten seconds long, on every thread that there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_at_once_do_not_lock_each_other_out() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let proofs = purse.fund(&[1; 240]).await;
    let part = |part: &[cdk::nuts::Proof]| swap(&part.to_vec(), &purse.outputs(&vec![1; part.len()]));
    let swaps: Vec<_> = proofs.chunks(30).map(part).collect();
    let swaps = swaps.into_iter().map(|request| {
        let mint = mint.clone();
        let request =
            Request { method: Method::Post, path: "/v1/swap".into(), body: serde_json::to_vec(&request).unwrap() };
        tokio::spawn(async move { mint.answer(request).await.unwrap().status })
    });
    let ended = futures::future::join_all(swaps.collect::<Vec<_>>()).await;
    assert!(ended.into_iter().all(|status| status.unwrap() == 200));
}

#[tokio::test]
async fn fees_are_kept_and_quotes_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::anchored(NOW);
    let mint = HostedMint::open(folder.path(), &config(500), &SEED, &runtime).await.unwrap();
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let proofs = purse.fund(&[4, 4, 4]).await;
    let error = purse.mint.post_swap(swap(&proofs, &purse.outputs(&[4, 8]))).await.unwrap_err();
    assert!(matches!(error, Error::TransactionUnbalanced(..)), "{error}");
    purse.mint.post_swap(swap(&proofs, &purse.outputs(&[2, 8]))).await.unwrap();

    let amount = Amount::from(MintUnit::default().max_amount + 1);
    let request = MintQuoteBolt11Request { amount, unit: purse.unit.clone(), description: None, pubkey: None };
    let error = purse.mint.post_mint_quote(MintQuoteRequest::Bolt11(request)).await.unwrap_err();
    assert!(matches!(error, Error::AmountOutofLimitRange(..)), "{error}");
}

#[tokio::test]
async fn money_spent_by_another_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let proofs = purse.fund(&[8]).await;
    purse.mint.post_swap(swap(&proofs, &purse.outputs(&[8]))).await.unwrap();
    let error = purse.mint.post_swap(swap(&proofs, &purse.outputs(&[8]))).await.unwrap_err();
    assert!(matches!(error, Error::TokenAlreadySpent), "{error}");
}

#[test]
fn a_config_without_a_mint_in_it_is_refused() {
    let twice = MintConfig { units: vec![MintUnit::default(); 2], ..MintConfig::default() };
    let none = MintConfig { units: Vec::new(), ..MintConfig::default() };
    let zero = MintConfig { units: vec![MintUnit { min_amount: 0, ..MintUnit::default() }], ..none.clone() };
    for bad in [twice, none, zero] {
        assert_eq!(bad.check().unwrap_err().fault(), Fault::Ours);
    }
    assert!(MintConfig::default().check().is_ok());
}
