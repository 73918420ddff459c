//! The Cashu HTTP API over the [`Books`]: what a path and its JSON do.

use cashu::{
    Amount, CheckStateRequest, CheckStateResponse, CurrencyUnit, Id, KeysResponse, KeysetResponse,
    MintQuoteBolt11Request, MintQuoteBolt11Response, MintQuoteState, MintRequest, MintResponse, PaymentMethod,
    RestoreRequest, RestoreResponse, SwapRequest, SwapResponse,
};
use guilder::wallet::connector::frames::{Method, Reply, Request};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Books, Lie,
    books::{Refusal, UNIT},
};

/// What the mint says, and how many points it had to multiply.
pub(super) fn answer(books: &mut Books, lie: Option<Lie>, request: &Request) -> (Reply, u64) {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let (done, points) = match (request.method, parts.as_slice()) {
        (Method::Get, ["v1", "info"]) => (Ok(info()), 0),
        (Method::Get, ["v1", "keysets"]) => (reply(&KeysetResponse { keysets: books.infos() }), 0),
        (Method::Get, ["v1", "keys"]) => (reply(&KeysResponse { keysets: books.keysets(|_, active| active) }), 0),
        (Method::Get, ["v1", "keys", id]) => (keys(books, id), 0),
        (Method::Post, ["v1", "mint", "quote", "bolt11"]) => (new_quote(books, &request.body), 0),
        (Method::Get, ["v1", "mint", "quote", "bolt11", id]) => (quote(books, id), 0),
        (Method::Post, ["v1", "mint", "bolt11"]) => mint(books, lie, &request.body),
        (Method::Post, ["v1", "swap"]) => swap(books, lie, &request.body),
        (Method::Post, ["v1", "checkstate"]) => states(books, &request.body),
        (Method::Post, ["v1", "restore"]) => restore(books, lie, &request.body),
        _ => return (Reply::error(404, "no such path"), 0),
    };
    let reply = match done {
        Ok(value) => Reply { status: 200, body: value.to_string().into_bytes() },
        Err((code, detail)) => {
            Reply { status: 400, body: json!({ "code": code, "detail": detail }).to_string().into_bytes() }
        }
    };
    (reply, points)
}

type Done = Result<Value, Refusal>;

const MALFORMED: Refusal = (10_000, "malformed request");

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| MALFORMED)
}

fn reply(value: &impl Serialize) -> Done {
    serde_json::to_value(value).map_err(|_| MALFORMED)
}

fn info() -> Value {
    let yes = json!({ "supported": true });
    let method = json!({ "method": "bolt11", "unit": UNIT });
    json!({
        "name": "model mint",
        "version": "model/1",
        "nuts": {
            "4": { "methods": [method], "disabled": false },
            "5": { "methods": [], "disabled": true },
            "7": yes, "8": yes, "9": yes, "10": yes, "11": yes, "12": yes, "14": yes,
        },
    })
}

fn keys(books: &Books, id: &str) -> Done {
    let id: Id = id.parse().map_err(|_| MALFORMED)?;
    let keysets = books.keysets(|known, _| known == id);
    if keysets.is_empty() { Err((12_001, "keyset is not known")) } else { reply(&KeysResponse { keysets }) }
}

fn new_quote(books: &mut Books, body: &[u8]) -> Done {
    let request: MintQuoteBolt11Request = read(body)?;
    if request.unit != CurrencyUnit::Sat {
        return Err((11_013, "unit is not supported"));
    }
    let id = books.quote(request.amount.to_u64());
    let mut shown = quote(books, &id)?;
    shown["pubkey"] = reply(&request.pubkey)?;
    Ok(shown)
}

fn quote(books: &Books, id: &str) -> Done {
    let (amount, issued) = books.quoted(id).ok_or((20_007, "no such quote"))?;
    let amount = Amount::from(amount);
    reply(&MintQuoteBolt11Response {
        quote: id.to_owned(),
        request: format!("play money, paid: {id}"),
        amount: Some(amount),
        unit: Some(CurrencyUnit::Sat),
        method: PaymentMethod::BOLT11,
        amount_paid: amount,
        amount_issued: if issued { amount } else { Amount::ZERO },
        updated_at: 0,
        state: if issued { MintQuoteState::Issued } else { MintQuoteState::Paid },
        expiry: Some(4_000_000_000),
        pubkey: None,
    })
}

fn mint(books: &mut Books, lie: Option<Lie>, body: &[u8]) -> (Done, u64) {
    let request: MintRequest<String> = match read(body) {
        Ok(request) => request,
        Err(refusal) => return (Err(refusal), 0),
    };
    let points = request.outputs.len() as u64;
    let signed = books.mint(&request.quote, &request.outputs, lie);
    (signed.and_then(|signatures| reply(&MintResponse { signatures })), points)
}

fn swap(books: &mut Books, lie: Option<Lie>, body: &[u8]) -> (Done, u64) {
    let request: SwapRequest = match read(body) {
        Ok(request) => request,
        Err(refusal) => return (Err(refusal), 0),
    };
    let points = (request.inputs().len() + request.outputs().len()) as u64;
    let signed = match books.swap(&request, lie) {
        Ok(_) if lie == Some(Lie::Denies) => Err((11_001, "token already spent")),
        signed => signed,
    };
    (signed.and_then(|signatures| reply(&SwapResponse::new(signatures))), points)
}

fn states(books: &Books, body: &[u8]) -> (Done, u64) {
    let request: Result<CheckStateRequest, _> = read(body);
    (request.and_then(|request| reply(&CheckStateResponse { states: books.states(&request.ys) })), 0)
}

fn restore(books: &Books, lie: Option<Lie>, body: &[u8]) -> (Done, u64) {
    let restored = read::<RestoreRequest>(body).and_then(|request| {
        let (outputs, signatures) =
            if lie == Some(Lie::Denies) { (Vec::new(), Vec::new()) } else { books.restore(&request.outputs) };
        reply(&RestoreResponse { outputs, signatures })
    });
    (restored, 0)
}
