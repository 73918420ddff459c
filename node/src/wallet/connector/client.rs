//! The calls of a Cashu mint over any [`Exchange`]: paths and JSON of the NUTs, bounded in time, their answers checked.
//!
//! A call that reads is repeated once if its reply got lost. One that changes the mint's books (swap, mint, melt) is
//! posted once: what became of it after a lost reply is found out in one place, the wallet's operations.
//!
//! Replies are read leniently where mints differ and nothing depends on it (what they say of themselves), and strictly
//! where money does. Checked is what a caller would otherwise take on trust: signatures have the asked amounts and
//! keysets (their DLEQ proofs are the caller's to check), states are those asked for, restored outputs are ours, a
//! keyset's ID follows from its keys (NUT-02).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use cdk::nuts::{BlindSignature, BlindedMessage, Id, KeySet, KeySetInfo, Proof, PublicKey, State};
use guilder_protocol::{
    limits::MAX_WITNESS,
    market::{MintUrl, Unit},
    settlement::escrow::bytes_in,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    Exchange, ExchangeError, MintTrouble,
    frames::{Method, Reply, Request},
    limits::{CALL_TIMEOUT, MELT_TIMEOUT, RETRY_DELAY},
};

/// Calls one mint. Cheap to clone.
#[derive(Clone)]
pub(in super::super) struct MintClient {
    mint: MintUrl,
    exchange: Arc<dyn Exchange>,
}

/// What a mint says of itself (NUT-06), as far as it matters.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Info {
    pub(in super::super) name: Option<String>,
    /// Its clock, in seconds.
    pub(in super::super) time: Option<u64>,
    supported: BTreeMap<String, Value>,
}

impl Info {
    fn read(value: &Value) -> Self {
        let supported = value["nuts"].as_object().into_iter().flatten();
        Self {
            name: value["name"].as_str().map(str::to_owned),
            time: value["time"].as_u64(),
            supported: supported.map(|(nut, settings)| (nut.clone(), settings.clone())).collect(),
        }
    }

    /// Whether it announces a NUT by its number.
    pub(in super::super) fn supports(&self, nut: &str) -> bool {
        self.supported.get(nut).is_some_and(|settings| settings["supported"] == true)
    }
}

/// How a quote stands (NUT-23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(in super::super) enum QuoteState {
    Unpaid,
    Pending,
    Paid,
    Issued,
    #[serde(other)]
    Unknown,
}

/// A mint quote (NUT-23, "Mint Quote").
#[derive(Clone, Debug, Deserialize)]
pub(in super::super) struct MintQuote {
    pub(in super::super) quote: String,
    pub(in super::super) request: String,
    pub(in super::super) state: QuoteState,
    expiry: Option<u64>,
}

impl MintQuote {
    /// Until when it can be paid, if the mint says so. 0 is what some mean by never.
    pub(in super::super) fn expiry(&self) -> Option<u64> {
        self.expiry.filter(|expiry| *expiry > 0)
    }
}

/// A melt quote (NUT-23, "Melt Quote"), and what a melt answers.
#[derive(Clone, Debug, Deserialize)]
pub(in super::super) struct MeltQuote {
    pub(in super::super) quote: String,
    pub(in super::super) amount: u64,
    #[serde(default)]
    pub(in super::super) fee_reserve: u64,
    pub(in super::super) state: QuoteState,
    pub(in super::super) payment_preimage: Option<String>,
}

/// How a proof stands (NUT-07).
#[derive(Clone, Debug)]
pub(in super::super) struct ProofState {
    pub(in super::super) state: State,
    /// The signatures that it was spent with; none if the mint doesn't tell.
    pub(in super::super) signatures: Vec<String>,
    /// Every text in the witness that it was spent with, as the mint shows it.
    pub(in super::super) witness: Vec<String>,
}

#[derive(Deserialize)]
struct RawState {
    #[serde(rename = "Y")]
    y: PublicKey,
    state: State,
    /// A JSON text as a rule; mints pass odd things on.
    #[serde(default)]
    witness: Witness,
}

/// Every text in a witness. It isn't parsed: JSON keeps only the last of two fields of one name, and mints take what some
/// parsers don't.
#[derive(Default)]
struct Witness(Vec<String>);

impl<'de> Deserialize<'de> for Witness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Witness;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a witness")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Witness, E> {
                Ok(Witness::default())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Witness, E> {
                Ok(Witness::default())
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Witness, E> {
                Ok(Witness::default())
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Witness, E> {
                Ok(Witness::default())
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Witness, E> {
                Ok(Witness::default())
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Witness, E> {
                let mut end = value.len().min(MAX_WITNESS);
                while !value.is_char_boundary(end) {
                    end -= 1;
                }
                Ok(Witness(vec![value[..end].into()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Witness, A::Error> {
                let mut texts = Vec::new();
                while let Some(Witness(more)) = seq.next_element()? {
                    texts.extend(more);
                }
                texts.truncate(MAX_TEXTS);
                Ok(Witness(texts))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Witness, A::Error> {
                let mut texts = Vec::new();
                while let Some((_, Witness(more))) = map.next_entry::<de::IgnoredAny, _>()? {
                    texts.extend(more);
                }
                texts.truncate(MAX_TEXTS);
                Ok(Witness(texts))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl RawState {
    /// Whatever in the witness may be a Schnorr signature (64 bytes), as hex.
    fn signatures(&self) -> Vec<String> {
        let bytes = self.witness.0.iter().flat_map(|text| bytes_in(text));
        let found: BTreeSet<_> = bytes.filter(|bytes| bytes.len() == 64).collect();
        found.into_iter().map(hex::encode).take(MAX_SIGNATURES).collect()
    }
}

/// More texts than an honest witness has.
const MAX_TEXTS: usize = 32;
/// More signatures of one witness than any lock of ours needs.
const MAX_SIGNATURES: usize = 16;

#[derive(Deserialize)]
struct Signatures {
    signatures: Vec<BlindSignature>,
}

#[derive(Deserialize)]
struct States {
    states: Vec<RawState>,
}

#[derive(Deserialize)]
struct Restored {
    outputs: Vec<RestoredOutput>,
    signatures: Vec<BlindSignature>,
}

/// Of a restored output only which one it is matters.
#[derive(Deserialize)]
struct RestoredOutput {
    #[serde(rename = "B_")]
    blinded: PublicKey,
}

#[derive(Deserialize)]
struct Keysets {
    keysets: Vec<Value>,
}

impl MintClient {
    pub(in super::super) fn new(mint: &MintUrl, exchange: Arc<dyn Exchange>) -> Self {
        Self { mint: mint.clone(), exchange }
    }

    /// What the mint says of itself.
    pub(in super::super) async fn info(&self) -> Result<Info, MintTrouble> {
        Ok(Info::read(&self.read::<Value>(Method::Get, "/v1/info", Vec::new()).await?))
    }

    /// The keysets that it lists; those that can't be read are passed over.
    pub(in super::super) async fn keysets(&self) -> Result<Vec<KeySetInfo>, MintTrouble> {
        let listed: Keysets = self.read(Method::Get, "/v1/keysets", Vec::new()).await?;
        Ok(listed.keysets.into_iter().filter_map(|keyset| serde_json::from_value(keyset).ok()).collect())
    }

    /// The keys of one keyset.
    pub(in super::super) async fn keyset(&self, id: Id) -> Result<KeySet, MintTrouble> {
        let listed: Keysets = self.read(Method::Get, &format!("/v1/keys/{id}"), Vec::new()).await?;
        let keysets = listed.keysets.into_iter().filter_map(|keyset| serde_json::from_value::<KeySet>(keyset).ok());
        let found = keysets.into_iter().find(|keyset| keyset.id == id && keyset.verify_id().is_ok());
        found.ok_or_else(|| MintTrouble::lying(&self.mint, format!("keys that aren't those of keyset {id}")))
    }

    pub(in super::super) async fn mint_quote(&self, amount: u64, unit: &Unit) -> Result<MintQuote, MintTrouble> {
        self.read(Method::Post, "/v1/mint/quote/bolt11", body(&json!({ "amount": amount, "unit": unit }))).await
    }

    pub(in super::super) async fn mint_quote_state(&self, id: &str) -> Result<MintQuote, MintTrouble> {
        let quote: MintQuote = self.read(Method::Get, &self.quote_path("mint", id)?, Vec::new()).await?;
        if quote.quote != id {
            return Err(MintTrouble::lying(&self.mint, "another quote than the one asked about"));
        }
        Ok(quote)
    }

    pub(in super::super) async fn melt_quote(&self, invoice: &str, unit: &Unit) -> Result<MeltQuote, MintTrouble> {
        self.read(Method::Post, "/v1/melt/quote/bolt11", body(&json!({ "request": invoice, "unit": unit }))).await
    }

    pub(in super::super) async fn melt_quote_state(&self, id: &str) -> Result<MeltQuote, MintTrouble> {
        let quote: MeltQuote = self.read(Method::Get, &self.quote_path("melt", id)?, Vec::new()).await?;
        if quote.quote != id {
            return Err(MintTrouble::lying(&self.mint, "another quote than the one asked about"));
        }
        Ok(quote)
    }

    /// A quote's ID comes from the mint and goes into a path.
    fn quote_path(&self, kind: &str, id: &str) -> Result<String, MintTrouble> {
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '=');
        if id.is_empty() || id.len() > 128 || !id.chars().all(plain) {
            return Err(MintTrouble::lying(&self.mint, "a quote with an ID that fits no path"));
        }
        Ok(format!("/v1/{kind}/quote/bolt11/{id}"))
    }

    pub(in super::super) async fn swap(
        &self,
        inputs: &[Proof],
        outputs: &[BlindedMessage],
    ) -> Result<Vec<BlindSignature>, MintTrouble> {
        let request = body(&json!({ "inputs": inputs, "outputs": outputs }));
        let signed: Signatures = self.post("/v1/swap", request, CALL_TIMEOUT).await?;
        self.answer(outputs, signed.signatures)
    }

    pub(in super::super) async fn mint(
        &self,
        quote: &str,
        outputs: &[BlindedMessage],
    ) -> Result<Vec<BlindSignature>, MintTrouble> {
        let request = body(&json!({ "quote": quote, "outputs": outputs }));
        let signed: Signatures = self.post("/v1/mint/bolt11", request, CALL_TIMEOUT).await?;
        self.answer(outputs, signed.signatures)
    }

    pub(in super::super) async fn melt(
        &self,
        quote: &str,
        inputs: &[Proof],
        outputs: &[BlindedMessage],
    ) -> Result<MeltQuote, MintTrouble> {
        let outputs = (!outputs.is_empty()).then_some(outputs);
        let request = body(&json!({ "quote": quote, "inputs": inputs, "outputs": outputs }));
        self.post("/v1/melt/bolt11", request, MELT_TIMEOUT).await
    }

    /// The states of proofs, in their order (NUT-07).
    pub(in super::super) async fn states(&self, ys: &[PublicKey]) -> Result<Vec<ProofState>, MintTrouble> {
        if ys.is_empty() {
            return Ok(Vec::new());
        }
        let answer: States = self.read(Method::Post, "/v1/checkstate", body(&json!({ "Ys": ys }))).await?;
        let mut found: BTreeMap<[u8; 33], RawState> =
            answer.states.into_iter().map(|state| (state.y.to_bytes(), state)).collect();
        let states: Option<Vec<_>> = ys.iter().map(|y| found.remove(&y.to_bytes())).collect();
        let states = states.filter(|_| found.is_empty());
        let states = states.ok_or_else(|| MintTrouble::lying(&self.mint, "states of other proofs than those asked"))?;
        let told = |raw: RawState| {
            let signatures = raw.signatures();
            ProofState { state: raw.state, signatures, witness: raw.witness.0 }
        };
        Ok(states.into_iter().map(told).collect())
    }

    /// The signatures that the mint has given for outputs, in their order (NUT-09).
    pub(in super::super) async fn signatures(
        &self,
        outputs: &[BlindedMessage],
    ) -> Result<Vec<Option<BlindSignature>>, MintTrouble> {
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        let answer: Restored = self.read(Method::Post, "/v1/restore", body(&json!({ "outputs": outputs }))).await?;
        let lie = || MintTrouble::lying(&self.mint, "restored outputs that nobody asked for");
        if answer.outputs.len() != answer.signatures.len() {
            return Err(lie());
        }
        let named = answer.outputs.into_iter().map(|output| output.blinded.to_bytes());
        let mut found: BTreeMap<[u8; 33], BlindSignature> = named.zip(answer.signatures).collect();
        let signatures = outputs.iter().map(|output| found.remove(&output.blinded_secret.to_bytes())).collect();
        if found.is_empty() { Ok(signatures) } else { Err(lie()) }
    }

    /// Takes signatures if they are what was asked for, output by output.
    fn answer(
        &self,
        outputs: &[BlindedMessage],
        signatures: Vec<BlindSignature>,
    ) -> Result<Vec<BlindSignature>, MintTrouble> {
        let pairs = || outputs.iter().zip(&signatures);
        let fits = |(output, signature): (&BlindedMessage, &BlindSignature)| {
            output.amount == signature.amount && output.keyset_id == signature.keyset_id
        };
        if outputs.len() == signatures.len() && pairs().all(fits) {
            return Ok(signatures);
        }
        Err(MintTrouble::lying(&self.mint, "signatures for other outputs than those sent"))
    }

    /// A call that changes nothing, a second time if the first got lost.
    async fn read<R: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<R, MintTrouble> {
        match self.call(method, path, body.clone(), CALL_TIMEOUT).await {
            Err(MintTrouble::Down { .. }) => {
                sleep(RETRY_DELAY).await;
                self.call(method, path, body, CALL_TIMEOUT).await
            }
            settled => settled,
        }
    }

    async fn post<R: DeserializeOwned>(&self, path: &str, body: Vec<u8>, limit: Duration) -> Result<R, MintTrouble> {
        self.call(Method::Post, path, body, limit).await
    }

    async fn call<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<R, MintTrouble> {
        let request = Request { method, path: path.to_owned(), body };
        let reply = match timeout(limit, self.exchange.exchange(request)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(ExchangeError::Unreachable(cause) | ExchangeError::Lost(cause))) => {
                return Err(MintTrouble::down(&self.mint, &cause));
            }
            Ok(Err(ExchangeError::Malformed(what))) => {
                return Err(MintTrouble::down(&self.mint, &format!("it gives no usable answer: {what}")));
            }
            Err(_) => return Err(MintTrouble::Slow { mint: self.mint.clone() }),
        };
        self.understand(&reply)
    }

    fn understand<R: DeserializeOwned>(&self, reply: &Reply) -> Result<R, MintTrouble> {
        if reply.is_success() {
            return serde_json::from_slice(&reply.body)
                .map_err(|error| MintTrouble::down(&self.mint, &format!("an answer that is not a mint's: {error}")));
        }
        let error: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let detail = error["detail"].as_str().or_else(|| error["error"].as_str()).unwrap_or_default();
        Err(MintTrouble::of_reply(&self.mint, reply.status, error["code"].as_u64(), detail))
    }
}

/// JSON values that we built ourselves are always written.
fn body(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl fmt::Debug for MintClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MintClient({})", self.mint)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const Y: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    /// Mints pass a witness on as they were given it, and some read what others don't: whoever spends a lock and would rather
    /// not be known writes one like that.
    #[test]
    fn attack_a_signature_is_found_in_a_witness_that_is_no_json() {
        let signature = "ab".repeat(64);
        let plain = format!(r#"{{"signatures":["{signature}"]}}"#);
        for witness in [
            json!(plain),
            json!(serde_json::to_string(&plain).unwrap()),
            json!({ "signatures": [signature] }),
            json!(format!(r#"{{"x":NaN,"signatures":["{signature}"]}}"#)),
            json!(format!(r#"{{"signatures":["{signature}"],"signatures":[]}}"#)),
            json!(plain.replace("ab", "AB ")),
        ] {
            let state = json!({ "Y": Y, "state": "SPENT", "witness": witness });
            let state: RawState = serde_json::from_value(state).unwrap();
            assert_eq!(state.signatures(), std::slice::from_ref(&signature), "{witness}");
        }
        let nothing = json!({ "Y": Y, "state": "SPENT", "witness": r#"{"preimage":"0707","signatures":[]}"# });
        assert!(serde_json::from_value::<RawState>(nothing).unwrap().signatures().is_empty());
    }
}
