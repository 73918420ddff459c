//! A mint in memory: real blind signatures and DLEQ proofs, the JSON of the NUTs, and every kind of trouble on the way.
//!
//! One of them may have a hosted mint behind it, with cdk's books in a file: then the books here are only for the trouble on
//! the way. It runs on threads of its own, in real time, while the virtual clock of its wallets stands still.
//!
//! Lightning is a text, `pay:AMOUNT`: whoever melts for it pays it. Quotes are paid as soon as they are made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use cdk::{
    Amount,
    dhke::{hash_to_curve, sign_message, verify_message},
    nuts::{
        BlindSignature, BlindedMessage, CurrencyUnit, Id, KeySet, MintKeySet, Proof, PublicKey, SecretKey,
        SpendingConditionVerification as _, SwapRequest, nut02::KeySetVersion,
    },
};
use serde_json::{Value, json};

use super::*;
use crate::wallet::{connector::frames::Method, records::Coin};

/// How the way to the double is, or what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Nothing gets through.
    Down,
    /// Nothing gets through on one path.
    DownOn(&'static str),
    /// It acts; no reply comes back.
    Deaf,
    /// The same on one path.
    DeafTo(&'static str),
    /// A proxy answers in its place.
    Proxied(u16),
    /// It answers after this many seconds.
    Slow(u64),
    /// It does what it is asked, and then says that the proofs were spent before and that it has signed nothing.
    Denies,
}

type Refusal = (u16, &'static str);
type Signed = (BlindSignature, u64);

const NOT_VERIFIED: Refusal = (10_001, "proof not verified");
const SPENT: Refusal = (11_001, "token already spent");
const SIGNED: Refusal = (11_003, "outputs already signed");
const UNBALANCED: Refusal = (11_005, "not balanced");

/// A spent proof: the witness that it was spent with.
type Witness = Option<String>;

pub(super) struct Books {
    salt: u8,
    keysets: BTreeMap<Id, (MintKeySet, bool)>,
    fee_ppk: u64,
    version: KeySetVersion,
    signed: BTreeMap<[u8; 33], Signed>,
    spent: BTreeMap<[u8; 33], Witness>,
    /// Amount, issued.
    quotes: BTreeMap<String, (u64, bool)>,
    /// Amount, paid.
    melts: BTreeMap<String, (u64, bool)>,
    issued: u64,
    redeemed: u64,
    mood: Mood,
    /// Its clock, if it tells it.
    time: Option<u64>,
    /// What a quote says of its expiry.
    expiry: Option<u64>,
    unpaid: bool,
    /// Requests to issue a quote are refused, and kept.
    holds: bool,
    held: Vec<Value>,
    /// It says of no spent proof by which signatures it was.
    mute: bool,
    calls: Vec<String>,
}

/// The mint, at whatever URL it is asked for.
#[derive(Clone)]
pub(super) struct Double(Arc<Mutex<Books>>, Arc<Mutex<BTreeMap<MintUrl, Self>>>, Option<Arc<Hosted>>);

/// A hosted mint and the folder of its books.
struct Hosted {
    mint: HostedMint,
    fee_ppk: u64,
    _folder: TempDir,
}

/// Where hosted mints live.
static HOSTS: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

impl std::fmt::Debug for Double {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Double")
    }
}

impl Double {
    pub(super) fn new(fee_ppk: u64) -> Self {
        Self::salted(fee_ppk, 0)
    }

    /// One whose keysets have short IDs, of which the fee is no part and so can change.
    pub(super) fn with_short_ids() -> Self {
        let mint = Self::salted(0, 0);
        mint.books().keysets.clear();
        mint.books().version = KeySetVersion::Version00;
        mint.books().rotate(None);
        mint
    }

    /// One with other keys.
    pub(super) fn salted(fee_ppk: u64, salt: u8) -> Self {
        let mut books = Books {
            salt,
            keysets: BTreeMap::new(),
            fee_ppk,
            version: KeySetVersion::Version01,
            signed: BTreeMap::new(),
            spent: BTreeMap::new(),
            quotes: BTreeMap::new(),
            melts: BTreeMap::new(),
            issued: 0,
            redeemed: 0,
            mood: Mood::Well,
            time: None,
            expiry: Some(4_000_000_000),
            unpaid: false,
            holds: false,
            held: Vec::new(),
            mute: false,
            calls: Vec::new(),
        };
        books.rotate(None);
        Self(Arc::new(Mutex::new(books)), Arc::default(), None)
    }

    /// One with a hosted mint behind it.
    pub(super) fn real(fee_ppk: u64) -> Self {
        let open = async move {
            let folder = tempfile::tempdir().unwrap();
            let unit = MintUnit { unit: play(), input_fee_ppk: fee_ppk, ..MintUnit::default() };
            let config = MintConfig { units: vec![unit], ..MintConfig::default() };
            let runtime = Runtime::anchored(super::homes::NOW);
            let mint = HostedMint::open(folder.path(), &config, &super::MINT_SEED, &runtime).await.unwrap();
            Hosted { mint, fee_ppk, _folder: folder }
        };
        // Not where it is called from: there the clock is virtual.
        let hosted = std::thread::spawn(|| HOSTS.block_on(open)).join().unwrap();
        Self(Self::new(fee_ppk).0, Arc::default(), Some(Arc::new(hosted)))
    }

    /// Runs what the hosted mint does. The virtual clock doesn't go on while a blocking task is at work.
    async fn hosted<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
        tokio::task::spawn_blocking(|| HOSTS.block_on(work)).await.unwrap()
    }

    async fn ask(&self, request: Request, mood: Mood) -> Result<Reply, ExchangeError> {
        let Some(hosted) = self.2.clone() else { return Ok(self.books().answer(&request, mood)) };
        let path = request.path.clone();
        let mut reply = Self::hosted(async move { hosted.mint.exchange(request).await }).await?;
        let denied = match path.as_str() {
            "/v1/info" => {
                // It has a clock of its own, of which these homes are years behind.
                let mut info: Value = serde_json::from_slice(&reply.body).unwrap();
                info.as_object_mut().unwrap().remove("time");
                Some((reply.status, info))
            }
            "/v1/swap" if mood == Mood::Denies && reply.status == 200 => {
                Some((400, json!({ "code": SPENT.0, "detail": SPENT.1 })))
            }
            "/v1/restore" if mood == Mood::Denies => Some((200, json!({ "outputs": [], "signatures": [] }))),
            _ => None,
        };
        if let Some((status, body)) = denied {
            reply = Reply { status, body: body.to_string().into_bytes() };
        }
        Ok(reply)
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let body = if method == Method::Get { Vec::new() } else { body.to_string().into_bytes() };
        let reply = self.ask(Request { method, path: path.into(), body }, Mood::Well).await.unwrap();
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// The keysets that it lists.
    pub(super) async fn ids(&self) -> Vec<Id> {
        let listed = self.call(Method::Get, "/v1/keysets", Value::Null).await;
        let ids = listed["keysets"].as_array().unwrap().iter();
        ids.map(|keyset| keyset["id"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// Which of some coins are spent, by their Ys.
    pub(super) async fn spent(&self, ys: Vec<[u8; 33]>) -> BTreeSet<[u8; 33]> {
        let mut spent = BTreeSet::new();
        for some in ys.chunks(100) {
            let asked: Vec<String> = some.iter().map(hex::encode).collect();
            let states = self.call(Method::Post, "/v1/checkstate", json!({ "Ys": asked })).await;
            let is_spent = states["states"].as_array().unwrap().iter().map(|state| state["state"] == "SPENT");
            spent.extend(some.iter().zip(is_spent).filter(|(_, is_spent)| *is_spent).map(|(y, _)| *y));
        }
        spent
    }

    /// The worth of every coin that it has signed of these outputs of a keyset, by blinded message and Y, and that is unspent.
    pub(super) async fn unspent(&self, id: Id, outputs: &[([u8; 33], [u8; 33])]) -> u64 {
        let mut signed = BTreeMap::new();
        for some in outputs.chunks(100) {
            let message = |(blinded, _): &([u8; 33], [u8; 33])| {
                BlindedMessage::new(Amount::ZERO, id, PublicKey::from_slice(blinded).unwrap())
            };
            let asked: Vec<BlindedMessage> = some.iter().map(message).collect();
            let told = self.call(Method::Post, "/v1/restore", json!({ "outputs": asked })).await;
            let (told_outputs, signatures) =
                (told["outputs"].as_array().unwrap(), told["signatures"].as_array().unwrap());
            for (output, signature) in told_outputs.iter().zip(signatures) {
                signed.insert(output["B_"].as_str().unwrap().to_owned(), signature["amount"].as_u64().unwrap());
            }
        }
        let found = outputs.iter().filter_map(|(blinded, y)| Some((*y, *signed.get(&hex::encode(blinded))?)));
        let found: BTreeMap<[u8; 33], u64> = found.collect();
        let spent = self.spent(found.keys().copied().collect()).await;
        found.iter().filter(|(y, _)| !spent.contains(*y)).map(|(_, amount)| amount).sum()
    }

    /// What it has issued and not taken back.
    pub(super) async fn owes(&self) -> u64 {
        let Some(hosted) = self.2.clone() else { return self.outstanding() };
        let totals = Self::hosted(async move { hosted.mint.totals().await.unwrap() }).await;
        totals.iter().map(|total| total.issued - total.redeemed).sum()
    }

    /// It signs with a new keyset from now on.
    pub(super) async fn begin_keyset(&self) {
        let Some(hosted) = self.2.clone() else { return self.books().rotate(None) };
        Self::hosted(async move { hosted.mint.rotate("play", hosted.fee_ppk).await.unwrap() }).await;
    }

    /// Another mint is at this URL.
    pub(super) fn route(&self, url: MintUrl, other: &Self) {
        self.1.lock().unwrap().insert(url, other.clone());
    }

    pub(super) fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    pub(super) fn set(&self, mood: Mood) {
        self.books().mood = mood;
    }

    /// What it has issued and not taken back.
    pub(super) fn outstanding(&self) -> u64 {
        let books = self.books();
        books.issued - books.redeemed
    }

    pub(super) fn calls(&self, path: &str) -> usize {
        self.books().calls.iter().filter(|call| *call == path).count()
    }
}

impl Connectors for Double {
    fn for_url(&self, url: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError> {
        let other = self.1.lock().unwrap().get(url).cloned();
        Ok(Arc::new(other.unwrap_or_else(|| self.clone())))
    }
}

#[async_trait]
impl Exchange for Double {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        let mood = self.books().mood;
        match mood {
            Mood::DownOn(path) if path != request.path => {}
            Mood::Down | Mood::DownOn(_) => return Err(ExchangeError::Unreachable("the line is down".into())),
            Mood::Proxied(status) => return Ok(Reply { status, body: b"<html>computer says no</html>".to_vec() }),
            Mood::Slow(secs) => sleep(Duration::from_secs(secs)).await,
            Mood::Well | Mood::Deaf | Mood::DeafTo(_) | Mood::Denies => {}
        }
        let path = request.path.clone();
        let reply = self.ask(request, mood).await?;
        match mood {
            Mood::DeafTo(deaf_to) if deaf_to != path => Ok(reply),
            Mood::Deaf | Mood::DeafTo(_) => Err(ExchangeError::Lost("the line went dead".into())),
            _ => Ok(reply),
        }
    }
}

impl Books {
    pub(super) fn rotate(&mut self, final_expiry: Option<u64>) {
        self.keysets.values_mut().for_each(|(_, active)| *active = false);
        let seed = [&MINT_SEED[..], &[self.salt], &(self.keysets.len() as u32).to_be_bytes()].concat();
        let amounts: Vec<u64> = (0..24).map(|power| 1 << power).collect();
        let keyset = MintKeySet::generate_from_seed(
            &cdk::SECP256K1,
            &seed,
            &amounts,
            CurrencyUnit::custom("play"),
            Default::default(),
            self.fee_ppk,
            final_expiry,
            self.version,
        );
        self.keysets.insert(keyset.id, (keyset, true));
    }

    /// Coins of an amount as it would issue them, of secrets that no phrase gives.
    pub(super) fn issue(&mut self, amount: u64, count: u32) -> Vec<Coin> {
        let (id, key) = {
            let (keyset, _) = self.keysets.values().find(|(_, active)| *active).unwrap();
            (keyset.id, keyset.keys.get(&amount.into()).unwrap().secret_key.clone())
        };
        self.issued += amount * u64::from(count);
        let coin = |number: u32| {
            let secret = cdk::secret::Secret::new(format!("{number:08x}{amount:x}{}", hex::encode(id.to_bytes())));
            let point = sign_message(&key, &hash_to_curve(secret.as_bytes()).unwrap()).unwrap();
            Coin::from_proof(&Proof::new(amount.into(), id, secret, point))
        };
        (0..count).map(coin).collect()
    }

    /// Lists another mint's keysets beside its own, as active ones.
    pub(super) fn list_also(&mut self, other: &Self) {
        for (id, (keyset, _)) in &other.keysets {
            self.keysets.insert(*id, (keyset.clone(), true));
        }
    }

    /// Changes the fee of all its keysets.
    pub(super) fn set_fee(&mut self, ppk: u64) {
        self.fee_ppk = ppk;
        self.keysets.values_mut().for_each(|(keyset, _)| keyset.input_fee_ppk = ppk);
    }

    pub(super) fn set_time(&mut self, time: Option<Timestamp>) {
        self.time = time.map(Timestamp::as_secs);
    }

    pub(super) fn show_no_witness(&mut self) {
        self.mute = true;
    }

    pub(super) fn hold_mints(&mut self, holds: bool) {
        self.holds = holds;
    }

    /// Copies of the requests that were refused arrive.
    pub(super) fn deliver_held(&mut self) {
        self.holds = false;
        for body in std::mem::take(&mut self.held) {
            let _ = self.mint(&body);
        }
    }

    pub(super) fn set_quotes(&mut self, expiry: Option<u64>, unpaid: bool) {
        (self.expiry, self.unpaid) = (expiry, unpaid);
    }

    pub(super) fn keyset_ids(&self) -> Vec<(Id, KeySet)> {
        self.keysets.iter().map(|(id, keyset)| (*id, show(keyset))).collect()
    }

    fn answer(&mut self, request: &Request, mood: Mood) -> Reply {
        self.calls.push(request.path.clone());
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let done = match parts.as_slice() {
            ["v1", "info"] => Ok(self.info()),
            ["v1", "keysets"] => Ok(json!({ "keysets": self.keysets.values().map(list).collect::<Vec<_>>() })),
            ["v1", "keys", id] => Ok(self.keys(id)),
            ["v1", "mint", "quote", "bolt11"] => Ok(self.new_quote(body["amount"].as_u64().unwrap())),
            ["v1", "mint", "quote", "bolt11", id] => self.quote(id),
            ["v1", "mint", "bolt11"] => self.mint(&body),
            ["v1", "melt", "quote", "bolt11"] => self.new_melt(body["request"].as_str().unwrap()),
            ["v1", "melt", "quote", "bolt11", id] => self.melt_quote(id),
            ["v1", "melt", "bolt11"] => self.melt(&body),
            ["v1", "swap"] => {
                self.swap(&body).and_then(|done| if mood == Mood::Denies { Err(SPENT) } else { Ok(done) })
            }
            ["v1", "checkstate"] => Ok(self.states(&body)),
            ["v1", "restore"] if mood == Mood::Denies => Ok(json!({ "outputs": [], "signatures": [] })),
            ["v1", "restore"] => Ok(self.restore(&body)),
            _ => return Reply::error(404, "no such path"),
        };
        match done {
            Ok(value) => Reply { status: 200, body: value.to_string().into_bytes() },
            Err((code, detail)) => {
                Reply { status: 400, body: json!({ "code": code, "detail": detail }).to_string().into_bytes() }
            }
        }
    }

    fn info(&self) -> Value {
        let yes = json!({ "supported": true });
        let nuts = json!({ "7": yes, "8": yes, "9": yes, "10": yes, "11": yes, "12": yes, "14": yes });
        json!({ "name": "double", "time": self.time, "nuts": nuts })
    }

    fn keys(&self, id: &str) -> Value {
        let shown = self.keysets.iter().filter(|(known, _)| known.to_string() == id);
        json!({ "keysets": shown.map(|(_, keyset)| show(keyset)).collect::<Vec<_>>() })
    }

    fn new_quote(&mut self, amount: u64) -> Value {
        let id = format!("quote-{}", self.quotes.len());
        self.quotes.insert(id.clone(), (amount, false));
        self.quote(&id).unwrap()
    }

    fn quote(&self, id: &str) -> Result<Value, Refusal> {
        let (_, issued) = self.quotes.get(id).ok_or((20_007, "no such quote"))?;
        let state = match (issued, self.unpaid) {
            (true, _) => "ISSUED",
            (false, true) => "UNPAID",
            (false, false) => "PAID",
        };
        Ok(json!({ "quote": id, "request": "an invoice", "state": state, "expiry": self.expiry, "unit": "play" }))
    }

    fn mint(&mut self, body: &Value) -> Result<Value, Refusal> {
        let id = body["quote"].as_str().unwrap().to_owned();
        let outputs: Vec<BlindedMessage> = serde_json::from_value(body["outputs"].clone()).unwrap();
        let (amount, issued) = *self.quotes.get(&id).ok_or((20_007, "no such quote"))?;
        if issued {
            return Err((20_002, "quote already issued"));
        }
        if self.unpaid {
            return Err((20_001, "quote is not paid"));
        }
        if self.holds {
            self.held.push(body.clone());
            return Err((20_003, "minting is disabled"));
        }
        self.check_outputs(&outputs)?;
        if worth(&outputs) != amount {
            return Err(UNBALANCED);
        }
        let signatures = self.sign(&outputs);
        self.quotes.insert(id, (amount, true));
        Ok(json!({ "signatures": signatures }))
    }

    fn new_melt(&mut self, request: &str) -> Result<Value, Refusal> {
        let amount = request.strip_prefix("pay:").and_then(|amount| amount.parse().ok());
        let amount: u64 = amount.ok_or((20_004, "no such invoice"))?;
        let id = format!("melt-{}", self.melts.len());
        self.melts.insert(id.clone(), (amount, false));
        self.melt_quote(&id)
    }

    fn melt_quote(&self, id: &str) -> Result<Value, Refusal> {
        let (amount, paid) = self.melts.get(id).ok_or((20_007, "no such quote"))?;
        let (state, preimage) = if *paid { ("PAID", Some("11".repeat(32))) } else { ("UNPAID", None) };
        Ok(json!({
            "quote": id, "amount": amount, "fee_reserve": 4, "state": state, "expiry": 4_000_000_000_u64,
            "payment_preimage": preimage,
        }))
    }

    /// Takes one unit for Lightning.
    fn melt(&mut self, body: &Value) -> Result<Value, Refusal> {
        let id = body["quote"].as_str().unwrap().to_owned();
        let inputs: Vec<Proof> = serde_json::from_value(body["inputs"].clone()).unwrap();
        let blanks: Vec<BlindedMessage> = serde_json::from_value(body["outputs"].clone()).unwrap_or_default();
        let (amount, paid) = *self.melts.get(&id).ok_or((20_007, "no such quote"))?;
        if paid {
            return Err((20_006, "invoice already paid"));
        }
        let ys = self.check_inputs(&inputs)?;
        let came: u64 = inputs.iter().map(|proof| proof.amount.to_u64()).sum();
        let change = came.checked_sub(amount + 4 + self.fee(&inputs)).ok_or(UNBALANCED)? + 3;
        if blanks.iter().any(|blank| self.signed.contains_key(&blank.blinded_secret.to_bytes())) {
            return Err(SIGNED);
        }
        let bits = (0..24).filter(|bit| change & (1 << bit) != 0);
        let outputs: Vec<_> = blanks
            .into_iter()
            .zip(bits)
            .map(|(blank, bit)| BlindedMessage { amount: Amount::from(1 << bit), ..blank })
            .collect();
        let signatures = self.sign(&outputs);
        self.spend(ys, &inputs);
        self.melts.insert(id.clone(), (amount, true));
        let mut reply = self.melt_quote(&id)?;
        reply["change"] = json!(signatures);
        Ok(reply)
    }

    fn swap(&mut self, body: &Value) -> Result<Value, Refusal> {
        let request: SwapRequest = serde_json::from_value(body.clone()).unwrap();
        let (inputs, outputs) = (request.inputs(), request.outputs());
        let ys = self.check_inputs(inputs)?;
        request.verify_spending_conditions().map_err(|_| NOT_VERIFIED)?;
        self.check_outputs(outputs)?;
        let came: u64 = inputs.iter().map(|proof| proof.amount.to_u64()).sum();
        if came != worth(outputs) + self.fee(inputs) {
            return Err(UNBALANCED);
        }
        let signatures = self.sign(outputs);
        self.spend(ys, inputs);
        Ok(json!({ "signatures": signatures }))
    }

    fn spend(&mut self, ys: Vec<[u8; 33]>, inputs: &[Proof]) {
        for (y, proof) in ys.into_iter().zip(inputs) {
            let witness = proof.witness.as_ref().map(|witness| serde_json::to_string(witness).unwrap());
            self.spent.insert(y, witness);
            self.redeemed += proof.amount.to_u64();
        }
    }

    fn fee(&self, inputs: &[Proof]) -> u64 {
        let ppk = inputs.iter().map(|proof| self.keysets[&proof.keyset_id].0.input_fee_ppk);
        ppk.sum::<u64>().div_ceil(1_000)
    }

    fn check_inputs(&self, inputs: &[Proof]) -> Result<Vec<[u8; 33]>, Refusal> {
        let mut ys = BTreeSet::new();
        let mut ordered = Vec::new();
        for proof in inputs {
            let (keyset, _) = self.keysets.get(&proof.keyset_id).ok_or((12_001, "unknown keyset"))?;
            let pair = keyset.keys.get(&proof.amount).ok_or(NOT_VERIFIED)?;
            let y = hash_to_curve(proof.secret.as_bytes()).map_err(|_| NOT_VERIFIED)?.to_bytes();
            verify_message(&pair.secret_key, proof.c, proof.secret.as_bytes()).map_err(|_| NOT_VERIFIED)?;
            if self.spent.contains_key(&y) {
                return Err(SPENT);
            }
            if !ys.insert(y) {
                return Err((11_007, "duplicate inputs"));
            }
            ordered.push(y);
        }
        Ok(ordered)
    }

    fn check_outputs(&self, outputs: &[BlindedMessage]) -> Result<(), Refusal> {
        for output in outputs {
            let (keyset, active) = self.keysets.get(&output.keyset_id).ok_or((12_001, "unknown keyset"))?;
            if !active {
                return Err((12_002, "keyset is inactive"));
            }
            keyset.keys.get(&output.amount).ok_or(UNBALANCED)?;
            if self.signed.contains_key(&output.blinded_secret.to_bytes()) {
                return Err(SIGNED);
            }
        }
        Ok(())
    }

    fn sign(&mut self, outputs: &[BlindedMessage]) -> Vec<BlindSignature> {
        let mut signatures = Vec::new();
        for output in outputs {
            let key = &self.keysets[&output.keyset_id].0.keys.get(&output.amount).unwrap().secret_key;
            let point = sign_message(key, &output.blinded_secret).unwrap();
            let signature = BlindSignature::new(output.amount, point, output.keyset_id, &output.blinded_secret, key);
            let signature = signature.unwrap();
            let amount = output.amount.to_u64();
            self.signed.insert(output.blinded_secret.to_bytes(), (signature.clone(), amount));
            self.issued += amount;
            signatures.push(signature);
        }
        signatures
    }

    fn states(&self, body: &Value) -> Value {
        let ys: Vec<PublicKey> = serde_json::from_value(body["Ys"].clone()).unwrap();
        let state = |y: &PublicKey| match self.spent.get(&y.to_bytes()) {
            Some(_) if self.mute => json!({ "Y": y, "state": "SPENT", "witness": null }),
            Some(witness) => json!({ "Y": y, "state": "SPENT", "witness": witness }),
            None => json!({ "Y": y, "state": "UNSPENT", "witness": null }),
        };
        json!({ "states": ys.iter().map(state).collect::<Vec<_>>() })
    }

    fn restore(&self, body: &Value) -> Value {
        let outputs: Vec<BlindedMessage> = serde_json::from_value(body["outputs"].clone()).unwrap();
        let known = outputs.into_iter().filter_map(|output| {
            let (signature, _) = self.signed.get(&output.blinded_secret.to_bytes())?;
            Some((BlindedMessage { amount: signature.amount, ..output }, signature.clone()))
        });
        let (outputs, signatures): (Vec<_>, Vec<_>) = known.unzip();
        json!({ "outputs": outputs, "signatures": signatures })
    }
}

fn worth(outputs: &[BlindedMessage]) -> u64 {
    outputs.iter().map(|output| output.amount.to_u64()).sum()
}

fn list((keyset, active): &(MintKeySet, bool)) -> Value {
    json!({
        "id": keyset.id, "unit": keyset.unit, "active": active, "input_fee_ppk": keyset.input_fee_ppk,
        "final_expiry": keyset.final_expiry,
    })
}

fn show((keyset, active): &(MintKeySet, bool)) -> KeySet {
    KeySet {
        id: keyset.id,
        unit: keyset.unit.clone(),
        active: Some(*active),
        keys: keyset.keys.clone().into(),
        input_fee_ppk: keyset.input_fee_ppk,
        final_expiry: keyset.final_expiry,
    }
}

/// A scalar, for forging.
pub(super) fn scalar(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}
