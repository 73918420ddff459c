//! How many quotes stand, and how long; and what is said of a lock that isn't unlocked.

use cdk::nuts::{HTLCWitness, SpendingConditions, Witness};
use serde_json::{Value, json};

use super::*;
use crate::mint::{
    limits::{MAX_QUOTE_REQUEST, QUOTE_KEPT},
    quotes::{Swept, now},
};

async fn post(mint: &HostedMint, path: &str, body: &Value) -> (u16, Value) {
    let request = Request { method: Method::Post, path: path.into(), body: body.to_string().into_bytes() };
    let reply = mint.exchange(request).await.unwrap();
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

async fn quote(mint: &HostedMint) -> (u16, Value) {
    post(mint, "/v1/mint/quote/bolt11", &json!({ "amount": 1, "unit": OWED })).await
}

#[tokio::test]
async fn unpaid_quotes_are_deleted_once_they_have_long_run_out_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let (issued, _) = purse.invoice(3).await;
    let (outputs, request) = purse.issue(&issued, &[1, 2]);
    let signatures = purse.mint.post_mint(&bolt11(), request.clone()).await.unwrap().signatures;
    let mut unpaid = Vec::new();
    for _ in 0..3 {
        unpaid.push(quote(&mint).await.1["quote"].as_str().unwrap().to_owned());
    }
    let owed = Purse::new(&direct(&mint), OWED).await;
    let (_, invoice) = owed.invoice(1).await;
    owed.melt_quote(&invoice).await.unwrap();
    let life = Duration::from_secs(config(0).quote_ttl_secs) + QUOTE_KEPT;
    // Not while they can be paid, nor just afterwards.
    for at in [now(), now() + life - Duration::from_secs(30)] {
        assert_eq!(mint.quotes.sweep(at).await.unwrap(), Swept { gone: 0, left: 5 });
    }
    assert_eq!(mint.quotes.sweep(now() + life + Duration::from_secs(30)).await.unwrap(), Swept { gone: 5, left: 0 });
    let asked = Request { method: Method::Get, path: format!("/v1/mint/quote/bolt11/{}", unpaid[0]), body: Vec::new() };
    let told: Value = serde_json::from_slice(&mint.exchange(asked).await.unwrap().body).unwrap();
    assert_eq!(told["code"], 20_007, "{told}");
    // The request that issued the other is still answered as before.
    assert_eq!(purse.mint.post_mint(&bolt11(), request).await.unwrap().signatures, signatures);
    assert_eq!(purse.states(&purse.proofs(&outputs, signatures)).await, [State::Unspent; 2]);
}

#[tokio::test]
async fn only_so_many_quotes_stand_unpaid() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let proofs = purse.fund(&[1]).await;
    mint.quotes.set_room(2);
    for _ in 0..2 {
        assert_eq!(quote(&mint).await.0, 200);
    }
    let (status, told) = quote(&mint).await;
    assert_eq!((status, told["code"].as_u64()), (503, Some(50_000)), "no judgement: {told}");
    // All else goes on.
    let outputs = purse.outputs(&[1]);
    purse.mint.post_swap(swap(&proofs, &outputs)).await.unwrap();
    assert_eq!(mint.quotes.sweep(now()).await.unwrap(), Swept { gone: 0, left: 2 });
    assert_eq!(quote(&mint).await.0, 200);
    // Nor do they take more than their share of the disk.
    let long = "x".repeat(MAX_QUOTE_REQUEST);
    let (status, _) =
        post(&mint, "/v1/mint/quote/bolt11", &json!({ "amount": 1, "unit": OWED, "description": long })).await;
    assert_eq!(status, 413);
}

/// NUT-14: a client must be able to tell that it is its witness.
#[tokio::test]
async fn an_htlc_without_its_preimage_is_refused_for_its_witness() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let preimage = "11".repeat(32);
    let mut outputs = purse.outputs(&[1]);
    let secret = Secret::try_from(SpendingConditions::new_htlc(preimage.clone(), None).unwrap()).unwrap();
    let (blinded, r) = cdk::dhke::blind_message(&secret.to_bytes(), None).unwrap();
    let blinded_message = cdk::nuts::BlindedMessage::new(Amount::ONE, purse.id, blinded);
    outputs.secrets = vec![PreMint { blinded_message, secret, r, amount: Amount::ONE, derivation_index: None }];
    let (quote, _) = purse.invoice(1).await;
    let request = MintRequest { quote, outputs: outputs.blinded_messages(), signature: None };
    let locked = purse.proofs(&outputs, purse.mint.post_mint(&bolt11(), request).await.unwrap().signatures);
    let fresh = purse.outputs(&[1]);
    let with = |preimage: Option<&str>| {
        let mut inputs = locked.clone();
        let witness = |text: &str| HTLCWitness { preimage: text.into(), signatures: None };
        inputs[0].witness = preimage.map(|text| Witness::HTLCWitness(witness(text)));
        serde_json::to_value(swap(&inputs, &fresh)).unwrap()
    };
    for wrong in [None, Some("22".repeat(32)), Some("11".into()), Some("zz".repeat(32))] {
        let (status, told) = post(&mint, "/v1/swap", &with(wrong.as_deref())).await;
        assert_eq!((status, told["code"].as_u64()), (400, Some(20_008)), "{wrong:?}: {told}");
        assert!(told["detail"].is_string());
    }
    assert_eq!(post(&mint, "/v1/swap", &with(Some(&preimage))).await.0, 200);
}
