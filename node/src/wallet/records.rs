//! What the wallet writes down. Every coin is in exactly one of these tables at any time, and moves between them in one
//! transaction:
//!
//! ```text
//!               ┌─ COINS ◄────────── receive, fund, redeem, sweep
//!               │    │ refill, cold lock, send
//!               │    ▼
//!   swaps ──► SWAPS (in flight; the identical request is posted until its fate is known) ──► FAILED (parked)
//!               │
//!   buyer       ├─► PURSE ──debit──► AT_RISK ──failed──► WAITING ──after the locktime──► COINS
//!               │     ▲───returned─────┘ └──paid──► gone
//!   seller      └── TAKEN (accepted, DUE once earned) ──redeemed──► COINS
//! ```
//!
//! ACCOUNTS counts what came in and went out per mint and unit, in the same transactions: [`super::books`] checks that
//! the tables hold exactly the difference.

use cid::Cid;
use guilder_protocol::{
    bytes::ByteArray,
    identity::AgentId,
    locks::{Dleq, Keyset, KeysetId, LockedProof},
    market::{MintUrl, Unit},
    settlement::prepaid,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    limits::{REDEEM_LAST_RETRY_SECS, REDEEM_RETRY_SECS},
    store::{Json, Key, Table},
};

/// Mints on the list, by URL.
pub(super) const MINTS: Table<MintRecord> = Table::new("wallet/trusted");
/// Spendable coins, by mint, unit and Y.
pub(super) const COINS: Table<Coin> = Table::new("wallet/coins");
/// Swaps whose fate isn't known, by their ID.
pub(super) const SWAPS: Table<SwapRecord> = Table::new("wallet/swaps");
/// Swaps that can't come to be, with what is needed to look into it, by their ID.
pub(super) const FAILED: Table<FailedSwap> = Table::new("wallet/failed");
/// Terms of each purse batch, by its locktime and ID (that of the swap that made it).
pub(super) const BATCHES: Table<BatchRecord> = Table::new("wallet/batches");
/// Coins locked to a seller and not yet paid with, by batch and Y.
pub(super) const PURSE: Table<LockedProof> = Table::new("wallet/purse");
/// Coins paid with in a trade that isn't over, by trade.
pub(super) const AT_RISK: Table<AtRisk> = Table::new("wallet/at-risk");
/// Locks of failed trades that fall back to us, by locktime and trade.
pub(super) const WAITING: Table<AtRisk> = Table::new("wallet/waiting");
/// Trades whose coins went back to the purse since the purse was last read, with the batch.
pub(super) const RETURNED: Table<(Timestamp, SwapId)> = Table::new("wallet/returned");
/// Locks accepted from buyers, by trade.
pub(super) const TAKEN: Table<TakenLock> = Table::new("wallet/taken");
/// Accepted locks that are earned and not yet in a swap, by locktime and trade.
pub(super) const DUE: Table<Due> = Table::new("wallet/due");
/// Each accepted proof until it can't be accepted again, by locktime and Y.
pub(super) const RESERVED: Table<Cid> = Table::new("wallet/reserved");
/// Unredeemed value, by mint and unit, and by mint, unit and buyer.
pub(super) const OWED: Table<u64> = Table::new("wallet/owed");
/// What became of a trade's money, until the trade room has taken note, by trade.
pub(super) const OUTCOMES: Table<Outcome> = Table::new("wallet/outcomes");
/// Tokens given out, by ID.
pub(super) const SENT: Table<SentToken> = Table::new("wallet/sent");
/// What came in and went out, by mint and unit.
pub(super) const ACCOUNTS: Table<AccountRecord> = Table::new("wallet/accounts");
/// Coins given out as they were, by Y: a restore finds them until somebody has taken them, and must not count them.
pub(super) const FUNDED: Table<u64> = Table::new("wallet/funded");

/// Names a swap, and the purse batch that it makes.
pub(super) type SwapId = ByteArray<16>;
/// A compressed point.
pub(super) type Y = ByteArray<33>;

pub(super) fn batch_key(locktime: Timestamp, id: SwapId) -> Key {
    Key::of(locktime).and(id.0)
}

/// The ID in a key of BATCHES or, at its beginning, of PURSE.
pub(super) fn batch_id(key: &[u8]) -> Option<SwapId> {
    Some(ByteArray(*key.first_chunk()?))
}

/// A mint and a unit: what money can be swapped within.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Pocket {
    pub mint: MintUrl,
    pub unit: Unit,
}

impl Pocket {
    pub(super) fn new(mint: &MintUrl, unit: &Unit) -> Self {
        Self { mint: mint.clone(), unit: unit.clone() }
    }

    pub(super) fn key(&self) -> Key {
        Key::of(self.mint.as_str()).and(self.unit.as_str())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MintRecord {
    /// Which mint it is, whatever its URL: the hash of the keys that it was first seen with.
    pub identity: ByteArray<8>,
    pub keysets: Vec<KeysetRecord>,
    pub name: Option<String>,
    pub fetched: Timestamp,
    /// Added by command, not by the config file.
    pub added: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeysetRecord {
    pub keyset: Json<cdk::nuts::KeySet>,
    pub active: bool,
    /// The mint lists it no longer.
    #[serde(default)]
    pub delisted: bool,
}

impl KeysetRecord {
    pub(super) fn delisted(keyset: &Keyset) -> Self {
        let keyset = cdk::nuts::KeySet {
            id: keyset.id().to_cashu(),
            unit: super::pockets::currency(keyset.unit()),
            active: Some(false),
            keys: keyset.keys().clone(),
            input_fee_ppk: keyset.input_fee_ppk(),
            final_expiry: keyset.final_expiry().map(Timestamp::as_secs),
        };
        Self { keyset: Json(keyset), active: false, delisted: true }
    }
}

/// A coin as we keep it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Coin {
    pub amount: u64,
    pub c: ByteArray<33>,
    pub dleq: Option<Dleq>,
    pub id: KeysetId,
    pub secret: String,
}

/// A swap, from before it is posted until its fate is known: enough to post it again, byte for byte.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SwapRecord {
    pub pocket: Pocket,
    pub inputs: Vec<SwapInput>,
    pub outputs: Vec<Premint>,
    pub fee: u64,
    pub purpose: Purpose,
    pub made: Timestamp,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SwapInput {
    pub coin: Coin,
    pub y: Y,
    /// The NUT-11 signature over the secret, in hex.
    pub signature: Option<String>,
}

/// An output before the mint has signed it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Premint {
    pub amount: u64,
    pub blinded: ByteArray<33>,
    pub id: KeysetId,
    /// The blinding factor.
    pub r: ByteArray<32>,
    pub secret: String,
    pub to: Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Destination {
    Coins,
    Purse,
    Token,
}

/// What a swap is for: where its inputs are from, and what its outputs become.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    /// Inputs from COINS, outputs to the purse (and change).
    Refill { seller: AgentId, terms: prepaid::Conditions },
    /// Inputs from COINS, outputs to a token (and change).
    Send,
    /// Inputs from a token that somebody gave us.
    Receive,
    /// Inputs are the proofs of these trades in TAKEN, in their order.
    Redeem { trades: Vec<Cid> },
    /// Inputs are what is left of these locks in WAITING and of this batch in PURSE.
    Sweep { locks: Vec<SweptLock>, batch: Option<SwapId> },
}

/// A failed trade's lock in a sweep.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SweptLock {
    pub trade: Cid,
    pub locktime: Timestamp,
    /// How many of the sweep's inputs are its, in order.
    pub inputs: usize,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct FailedSwap {
    pub record: SwapRecord,
    pub why: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BatchRecord {
    pub seller: AgentId,
    pub pocket: Pocket,
    pub terms: prepaid::Conditions,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AtRisk {
    pub trade: Cid,
    pub batch: SwapId,
    pub seller: AgentId,
    pub pocket: Pocket,
    pub terms: prepaid::Conditions,
    pub proofs: Vec<LockedProof>,
    /// What the seller has been seen to have taken of it; no longer in `proofs`.
    pub taken: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TakenLock {
    pub buyer: AgentId,
    pub identity: ByteArray<8>,
    pub pocket: Pocket,
    pub locktime: Timestamp,
    pub proofs: Vec<LockedProof>,
    /// How often the mint has refused to redeem it.
    pub tries: u32,
    /// In a swap whose fate isn't known: it is neither due again nor can it be given up.
    #[serde(default)]
    pub redeeming: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Due {
    pub trade: Cid,
    pub locktime: Timestamp,
    pub pocket: Pocket,
    pub proofs: usize,
    pub since: Timestamp,
    /// As in the lock. One that was refused is redeemed on its own.
    pub tries: u32,
    /// How often no swap could even be made of it since it is due.
    #[serde(default)]
    pub put_off: u32,
}

impl Due {
    /// How often its redemption came to nothing.
    pub(super) fn setbacks(&self) -> u32 {
        self.tries.saturating_add(self.put_off)
    }

    /// When to try again, if it came to nothing before.
    pub(super) fn again_at(&self) -> Timestamp {
        let pause_secs = REDEEM_RETRY_SECS.saturating_mul(self.setbacks().into());
        self.since.saturating_add(pause_secs.min(REDEEM_LAST_RETRY_SECS))
    }
}

/// [`MoneyOutcome`] with its trade.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub trade: Cid,
    pub outcome: MoneyOutcome,
}

/// What became of a trade's money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoneyOutcome {
    /// As a seller: redeemed, so much after the mint's fee.
    Redeemed {
        /// In the trade's unit.
        amount: u64,
    },
    /// As a seller: the mint won't redeem it, in words.
    RedeemFailed {
        /// Why.
        why: String,
    },
    /// As a buyer: the locktime has passed and the lock is settled.
    Swept {
        /// Came back, after the mint's fee.
        refunded: u64,
        /// The seller had taken it.
        taken: u64,
        /// Kept by the mint.
        fee: u64,
    },
}

/// A token that was given out.
#[derive(Clone, Serialize, Deserialize)]
pub struct SentToken {
    /// The token, `cashuB…`. Whoever has it has the money.
    pub token: String,
    /// What it is worth, before the receiver's fee.
    pub amount: u64,
    /// Its mint.
    pub mint: MintUrl,
    /// Its unit.
    pub unit: Unit,
    /// When it was made.
    pub at: Timestamp,
}

/// [`Account`] with what it is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AccountRecord {
    pub pocket: Pocket,
    pub account: Account,
}

/// Money in and out of a wallet at one mint, in one unit, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// In: minted or restored.
    pub funded: u64,
    /// In: tokens received.
    pub received: u64,
    /// In: locks accepted from buyers.
    pub accepted: u64,
    /// Out: accepted locks given up.
    pub voided: u64,
    /// Out: tokens given out.
    pub sent: u64,
    /// Out: paid to sellers.
    pub paid: u64,
    /// Out: taken by sellers whose trade failed.
    pub taken: u64,
    /// Out: kept by the mint.
    pub fees: u64,
    /// Out: spent by somebody else, or unredeemable.
    pub lost: u64,
}

impl Account {
    /// What must be in the wallet's tables; `None` if more went out than came in.
    pub fn holdings(&self) -> Option<u64> {
        let sum = |parts: &[u64]| parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
        let came = sum(&[self.funded, self.received, self.accepted])?;
        came.checked_sub(sum(&[self.voided, self.sent, self.paid, self.taken, self.fees, self.lost])?)
    }
}
