//! Replies that get lost, come late, or can't be true.

use super::*;

/// Breaks the next replies in a given way, after the mint has acted.
#[derive(Debug)]
struct Broken {
    mint: HostedMint,
    left: AtomicU32,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Lost,
    Never,
    Garbage,
    OneSignatureLess,
    OtherStates,
}

#[async_trait]
impl Exchange for Broken {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        let acts = ["/v1/swap", "/v1/mint/bolt11", "/v1/melt/bolt11"].contains(&request.path.as_str());
        let checks = request.path == "/v1/checkstate";
        let mut reply = self.mint.exchange(request).await?;
        let meant = if matches!(self.how, How::OtherStates) { checks } else { acts };
        let left = |left: u32| left.checked_sub(1);
        if !meant || self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_err() {
            return Ok(reply);
        }
        match self.how {
            How::Lost => return Err(ExchangeError::Lost("reset".into())),
            How::Never => std::future::pending().await,
            How::Garbage => reply.body = b"<html>".to_vec(),
            How::OneSignatureLess => shorten(&mut reply, "signatures"),
            How::OtherStates => shorten(&mut reply, "states"),
        }
        Ok(reply)
    }
}

fn shorten(reply: &mut Reply, list: &str) {
    let mut body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    body[list].as_array_mut().unwrap().pop();
    reply.body = serde_json::to_vec(&body).unwrap();
}

fn broken(mint: &HostedMint, left: u32, how: How) -> DynConnector {
    over(&MintUrl::of_peer(host()), Arc::new(Broken { mint: mint.clone(), left: left.into(), how })).unwrap()
}

async fn purse(how: How, left: u32, unit: &str) -> (Purse, HostedMint, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let mut purse = Purse::new(&direct(&mint), unit).await;
    let proofs_are_made_over = broken(&mint, left, how);
    purse.mint = proofs_are_made_over;
    (purse, mint, folder)
}

#[tokio::test]
async fn a_lost_swap_is_found_again() {
    for how in [How::Lost, How::Garbage, How::OneSignatureLess] {
        let (mut purse, mint, _folder) = purse(how, 1, PLAY).await;
        let broken = std::mem::replace(&mut purse.mint, direct(&mint));
        let proofs = purse.fund(&[1, 8]).await;
        purse.mint = broken;
        let outputs = purse.outputs(&[1, 4, 4]);
        let request = swap(&proofs, &outputs);
        let signatures = purse.mint.post_swap(request.clone()).await.unwrap().signatures;
        let again = purse.mint.post_swap(request).await.unwrap().signatures;
        assert_eq!(signatures, again, "{how:?}");
        assert_eq!(purse.proofs(&outputs, signatures).total_amount().unwrap(), Amount::from(9));
    }
}

#[tokio::test]
async fn a_lost_issue_is_found_again() {
    let (purse, mint, _folder) = purse(How::Lost, 1, PLAY).await;
    let (quote, _) = purse.invoice(9).await;
    let (outputs, request) = purse.issue(&quote, &[1, 8]);
    let signatures = purse.mint.post_mint(&bolt11(), request.clone()).await.unwrap().signatures;
    assert_eq!(purse.mint.post_mint(&bolt11(), request).await.unwrap().signatures, signatures);
    assert_eq!(purse.proofs(&outputs, signatures).total_amount().unwrap(), Amount::from(9));
    let (_, greedy) = purse.issue(&quote, &[1, 8]);
    assert!(matches!(purse.mint.post_mint(&bolt11(), greedy).await.unwrap_err(), Error::IssuedQuote));
    assert_eq!(mint.totals().await.unwrap()[1].issued, 9);
}

#[tokio::test]
async fn a_lost_melt_is_found_again() {
    let (mut purse, mint, _folder) = purse(How::Lost, 1, OWED).await;
    let broken = std::mem::replace(&mut purse.mint, direct(&mint));
    let proofs = purse.fund(&[8, 8]).await;
    let (_, invoice) = purse.invoice(8).await;
    let quote = purse.melt_quote(&invoice).await.unwrap();
    purse.mint = broken;
    let request = MeltRequest::new(quote.clone(), proofs[..1].to_vec(), None);
    let melted = purse.mint.post_melt(&bolt11(), request.clone()).await.unwrap();
    assert_eq!(sha256(&paid(&melted)), *<_ as AsRef<[u8; 32]>>::as_ref(invoice.payment_hash()));
    assert_eq!(paid(&purse.mint.post_melt(&bolt11(), request).await.unwrap()), paid(&melted));
    // Other money for the same quote is not taken, and not said to be.
    let other = MeltRequest::new(quote, proofs[1..].to_vec(), None);
    purse.mint.post_melt(&bolt11(), other).await.unwrap_err();
    assert_eq!(purse.states(&proofs).await, [State::Spent, State::Unspent]);
}

#[tokio::test]
async fn a_mint_that_answers_no_more_leaves_it_open() {
    let (mut purse, mint, _folder) = purse(How::Never, u32::MAX, PLAY).await;
    let broken = std::mem::replace(&mut purse.mint, direct(&mint));
    let proofs = purse.fund(&[8]).await;
    purse.mint = broken;
    let outputs = purse.outputs(&[8]);
    // The restore that follows the silence finds the signatures.
    pause();
    purse.mint.post_swap(swap(&proofs, &outputs)).await.unwrap();
    let unspent = purse.outputs(&[8]);
    let error = purse.mint.post_swap(swap(&proofs, &unspent)).await.unwrap_err();
    assert!(!error.is_definitive_failure());
    assert!(matches!(MintTrouble::from_error(&MintUrl::of_peer(host()), &error), MintTrouble::Slow { .. }), "{error}");
}

#[tokio::test]
async fn answers_that_cant_be_true_are_lies() {
    let (mut purse, mint, _folder) = purse(How::OtherStates, u32::MAX, PLAY).await;
    let broken = std::mem::replace(&mut purse.mint, direct(&mint));
    let proofs = purse.fund(&[8]).await;
    let error = broken.post_check_state(CheckStateRequest { ys: proofs.ys().unwrap() }).await.unwrap_err();
    let trouble = MintTrouble::from_error(&MintUrl::of_peer(host()), &error);
    assert!(matches!(trouble, MintTrouble::Lying { .. }), "{trouble}");
    assert_eq!(trouble.fault(), Fault::Mint);
}
