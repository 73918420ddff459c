//! Mints as they are found: what they say of themselves may be odd, and their money is good.

use super::{
    double::Double,
    homes::{NOW, here},
    *,
};

/// A mint whose answers on two paths have something odd in them.
#[derive(Clone, Debug)]
struct Odd {
    mint: Double,
    info: serde_json::Value,
    keyset: serde_json::Value,
}

#[async_trait]
impl Exchange for Odd {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        let path = request.path.clone();
        let mut reply = self.mint.exchange(request).await?;
        let mut body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        match path.as_str() {
            "/v1/info" => {
                let odd = self.info.as_object().unwrap().clone();
                body.as_object_mut().unwrap().extend(odd.into_iter().filter(|(name, _)| name != "nuts"));
                let nuts = self.info["nuts"].as_object().cloned().unwrap_or_default();
                body["nuts"].as_object_mut().unwrap().extend(nuts);
            }
            "/v1/keysets" if !self.keyset.is_null() => {
                body["keysets"].as_array_mut().unwrap().push(self.keyset.clone())
            }
            _ => return Ok(reply),
        }
        reply.body = body.to_string().into_bytes();
        Ok(reply)
    }
}

impl Connectors for Odd {
    fn for_url(&self, _: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError> {
        Ok(Arc::new(self.clone()))
    }
}

async fn funded_at(odd: Odd) -> Result<Option<u64>, WalletError> {
    let runtime = Runtime::anchored(NOW);
    let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
    let parts = WalletParts {
        config: WalletConfig { mints: vec![here()], mint_patience_secs: 5, ..WalletConfig::default() },
        seed: Zeroizing::new([1; 64]),
        lock_seed: Zeroizing::new([1; 32]),
        store,
        connectors: Arc::new(odd),
        runtime: runtime.clone(),
        events: Events::new(),
        failpoint: Failpoint::default(),
    };
    let (wallet, _outcomes) = Wallet::open(parts).unwrap();
    let quote = wallet.fund(&here(), &play(), 50).await?;
    let funded = wallet.await_funds(&here(), &play(), &quote.id, Duration::from_secs(30)).await;
    runtime.shutdown().await;
    funded
}

#[tokio::test(start_paused = true)]
async fn a_mint_that_says_odd_things_of_itself_or_of_one_keyset_is_used_all_the_same() {
    let nothing = serde_json::Value::Null;
    let none = serde_json::json!({});
    let oddities = [
        (serde_json::json!({ "version": "nutshell" }), nothing.clone()),
        (serde_json::json!({ "version": 2 }), nothing.clone()),
        (serde_json::json!({ "contact": [{ "method": "email" }] }), nothing.clone()),
        (serde_json::json!({ "contact": [["email", "a@mint.example"]] }), nothing.clone()),
        (serde_json::json!({ "name": null, "motd": 7, "urls": "none" }), nothing.clone()),
        (
            serde_json::json!({ "nuts": { "4": { "methods": [{ "method": "bolt11", "unit": "play", "min_amount": null }] } } }),
            nothing.clone(),
        ),
        (serde_json::json!({ "nuts": { "5": "disabled", "99": [] } }), nothing),
        // Listed, and its keys can't be had.
        (
            none.clone(),
            serde_json::json!({ "id": "00ffffffffffffff", "unit": "play", "active": true, "input_fee_ppk": 0 }),
        ),
        // No keyset at all, and one of a unit that is none.
        (none.clone(), serde_json::json!({ "id": 7, "unit": "play", "active": true })),
        (none, serde_json::json!({ "id": "00ffffffffffffff", "unit": "Play Money", "active": true })),
    ];
    for (info, keyset) in oddities {
        let odd = Odd { mint: Double::new(0), info: info.clone(), keyset: keyset.clone() };
        assert_eq!(funded_at(odd).await.unwrap(), Some(50), "{info} {keyset}");
    }
}
