#![allow(clippy::unwrap_used)]

use cashu::{Amount, Id, MintRequest, PreMintSecrets, Proof, Proofs, SwapRequest, dhke::construct_proofs};
use guilder::wallet::connector::frames::{Method, Request};
use serde::Serialize;
use serde_json::Value;

use super::*;

fn on_a_paused_clock<F: Future>(work: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { work().await })
}

fn mint(fee_ppk: u64) -> ModelMint {
    ModelMint::new(1, "https://mint0.sim".parse().unwrap(), HostId(0), fee_ppk, Default::default())
}

fn call(mint: &ModelMint, path: &str, body: &impl Serialize) -> (u16, Value) {
    let request = Request { method: Method::Post, path: path.into(), body: serde_json::to_vec(body).unwrap() };
    let (_, reply) = mint.act(&request);
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn keys(mint: &ModelMint) -> (Id, cashu::Keys) {
    let keyset = mint.look(|books| books.keysets(|_, active| active)).remove(0);
    assert!(keyset.verify_id().is_ok());
    (keyset.id, keyset.keys)
}

fn outputs(mint: &ModelMint, amount: u64) -> PreMintSecrets {
    let (id, keys) = keys(mint);
    let amounts = keys.iter().map(|(amount, _)| amount.to_u64()).collect::<Vec<_>>();
    PreMintSecrets::random(id, Amount::from(amount), &Default::default(), &(0, amounts).into()).unwrap()
}

fn unblind(mint: &ModelMint, premints: &PreMintSecrets, body: &Value) -> Proofs {
    let signatures = serde_json::from_value(body["signatures"].clone()).unwrap();
    construct_proofs(signatures, premints.rs(), premints.secrets(), &keys(mint).1).unwrap()
}

fn funded(mint: &ModelMint, amount: u64) -> Proofs {
    let (status, quote) = call(mint, "/v1/mint/quote/bolt11", &serde_json::json!({ "amount": amount, "unit": "sat" }));
    assert_eq!((status, quote["state"].as_str()), (200, Some("PAID")));
    let premints = outputs(mint, amount);
    let request = MintRequest {
        quote: quote["quote"].as_str().unwrap().to_owned(),
        outputs: premints.blinded_messages(),
        signature: None,
    };
    let (status, body) = call(mint, "/v1/mint/bolt11", &request);
    assert_eq!(status, 200, "{body}");
    assert_eq!(call(mint, "/v1/mint/bolt11", &request).0, 400, "a quote is issued once");
    unblind(mint, &premints, &body)
}

fn swap(mint: &ModelMint, inputs: &[Proof], premints: &PreMintSecrets) -> (u16, Value) {
    call(mint, "/v1/swap", &SwapRequest::new(inputs.to_vec(), premints.blinded_messages()))
}

#[test]
fn coins_are_issued_swapped_once_and_accounted_for() {
    on_a_paused_clock(|| async {
        let mint = mint(100);
        let proofs = funded(&mint, 100);
        for proof in &proofs {
            proof.verify_dleq(keys(&mint).1.amount_key(proof.amount).unwrap()).unwrap();
        }
        let fee = (proofs.len() as u64 * 100).div_ceil(1_000);
        let premints = outputs(&mint, 100 - fee);
        let (status, body) = swap(&mint, &proofs, &premints);
        assert_eq!(status, 200, "{body}");
        let again = swap(&mint, &proofs, &outputs(&mint, 100 - fee));
        assert_eq!((again.0, again.1["code"].as_u64()), (400, Some(11_001)));
        assert_eq!(unblind(&mint, &premints, &body).len(), premints.len());
        let totals = mint.totals();
        assert_eq!((totals.funded, totals.outstanding(), totals.fees), (100, i128::from(100 - fee), fee));
        assert!(totals.balances());
    });
}

#[test]
fn what_is_wrong_is_refused() {
    on_a_paused_clock(|| async {
        let mint = mint(0);
        let proofs = funded(&mint, 64);
        let refused = |proofs: &[Proof], amount, code: u64| {
            let (status, body) = swap(&mint, proofs, &outputs(&mint, amount));
            assert_eq!((status, body["code"].as_u64()), (400, Some(code)), "{body}");
        };
        refused(&proofs, 65, 11_005);
        refused(&proofs, 63, 11_005);
        refused(&[proofs.clone(), proofs.clone()].concat(), 128, 11_007);
        let mut forged = proofs.clone();
        forged[0].secret = cashu::secret::Secret::generate();
        refused(&forged, 64, 10_001);
        let mut raised = proofs.clone();
        raised[0].amount = Amount::from(raised[0].amount.to_u64() * 2);
        refused(&raised, 64, 10_001);
        assert!(mint.totals().balances() && mint.totals().spent == 0);
    });
}

#[test]
fn old_coins_are_taken_after_a_rotation_and_old_keys_sign_no_more() {
    on_a_paused_clock(|| async {
        let mint = mint(0);
        let proofs = funded(&mint, 64);
        let stale = outputs(&mint, 64);
        mint.rotate();
        assert_eq!(swap(&mint, &proofs, &stale).1["code"].as_u64(), Some(12_002));
        assert_eq!(swap(&mint, &proofs, &outputs(&mint, 64)).0, 200);
    });
}

#[test]
fn a_mint_that_denies_has_acted() {
    on_a_paused_clock(|| async {
        let mint = mint(0);
        let proofs = funded(&mint, 64);
        mint.set_condition(Condition { lie: Some(Lie::Denies), ..Condition::default() });
        let premints = outputs(&mint, 64);
        assert_eq!(swap(&mint, &proofs, &premints).1["code"].as_u64(), Some(11_001));
        let restore = serde_json::json!({ "outputs": premints.blinded_messages() });
        assert_eq!(call(&mint, "/v1/restore", &restore).1["outputs"], serde_json::json!([]));
        mint.set_condition(Condition::default());
        assert_eq!(call(&mint, "/v1/restore", &restore).1["outputs"].as_array().unwrap().len(), premints.len());
    });
}

#[test]
fn a_signature_by_another_key_fails_its_proof() {
    on_a_paused_clock(|| async {
        let mint = mint(0);
        let proofs = funded(&mint, 64);
        mint.set_condition(Condition { lie: Some(Lie::WrongKey), ..Condition::default() });
        let premints = outputs(&mint, 64);
        let (status, body) = swap(&mint, &proofs, &premints);
        assert_eq!(status, 200);
        let signatures: Vec<cashu::BlindSignature> = serde_json::from_value(body["signatures"].clone()).unwrap();
        let output = premints.blinded_messages().remove(0);
        let key = keys(&mint).1.amount_key(output.amount).unwrap();
        assert!(signatures[0].verify_dleq(key, output.blinded_secret).is_err());
    });
}

#[test]
fn a_mint_that_prints_money_is_seen_in_its_books() {
    on_a_paused_clock(|| async {
        let mint = mint(0);
        let proofs = funded(&mint, 64);
        mint.set_condition(Condition { lie: Some(Lie::Prints), ..Condition::default() });
        assert_eq!(swap(&mint, &proofs, &outputs(&mint, 1_000)).0, 200);
        assert!(!mint.totals().balances());
    });
}

#[test]
fn keys_follow_from_seed_and_url() {
    on_a_paused_clock(|| async {
        assert_eq!(keys(&mint(0)).0, keys(&mint(0)).0);
        let other = ModelMint::new(2, "https://mint0.sim".parse().unwrap(), HostId(0), 0, Default::default());
        assert_ne!(keys(&mint(0)).0, keys(&other).0);
    });
}
