//! What the wallet writes down. Every coin is in exactly one of these tables at any time, and moves between them in one
//! transaction:
//!
//! ```text
//!               ┌─ COINS ◄────────── receive, fund, redeem, refund
//!               │    │ refill, cold lock, send, pay
//!               │    ▼
//!   mint  ──► OPERATIONS (in flight; the identical request is posted until its fate is known) ──► FAILED (parked)
//!               │
//!   buyer       ├─► PURSE ──debit──► AT_RISK ──failed──► REFUNDS ──after the locktime──► COINS
//!               │     ▲───returned─────┘ └──paid──► gone
//!   seller      └── ACCEPTED (accepted, DUE once earned) ──redeemed──► COINS
//! ```
//!
//! ACCOUNTS counts what came in and went out per mint and unit, in the same transactions, and HISTORY has a line for
//! each of these changes: the ledger's books (`ledger/books.rs`) check that the tables hold exactly the difference.

use std::fmt;

use cid::Cid;
use guilder_protocol::{
    bytes::ByteArray,
    identity::AgentId,
    locks::{Dleq, Keyset, KeysetId, LockedProof},
    market::{MintUrl, Unit},
    settlement::Conditions,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    keys::KeyPath,
    spend::{Preimage, Spend},
};
use crate::{
    limits::{REDEEM_ESCROW_RETRY_SECS, REDEEM_LAST_RETRY_SECS, REDEEM_RETRY_SECS},
    store::{Json, Key, Table},
};

/// Mints on the list, by URL.
pub(super) const MINTS: Table<MintRecord> = Table::new("wallet/trusted");
/// Spendable coins, by mint, unit and Y.
pub(super) const COINS: Table<Coin> = Table::new("wallet/coins");
/// How many of them there are and what they are worth, by mint, unit and keyset: so that what is often asked costs no look at each.
pub(super) const HELD: Table<Held> = Table::new("wallet/coins/held");
/// COINS in the order of their amounts, by mint, unit, keyset, amount and Y.
pub(super) const BY_SIZE: Table<()> = Table::new("wallet/coins/by-size");
/// Operations at a mint whose fate isn't known, by their ID.
pub(super) const OPERATIONS: Table<Operation> = Table::new("wallet/operations");
/// Operations that can't come to be, with what is needed to look into them, by their ID.
pub(super) const FAILED: Table<FailedOperation> = Table::new("wallet/failed");
/// How many secrets were derived, by line of secrets and keyset.
pub(super) const COUNTERS: Table<u32> = Table::new("wallet/counters");
/// Derivation numbers below the counter that no mint has ever seen, by line of secrets and keyset.
pub(super) const FREED: Table<Vec<u32>> = Table::new("wallet/counters/freed");
/// Mint quotes that may yet bring money, by mint, unit and quote ID.
pub(super) const QUOTES: Table<QuoteRecord> = Table::new("wallet/quotes");
/// Conditions of each purse batch, by its locktime and ID (that of the operation that made it).
pub(super) const BATCHES: Table<BatchRecord> = Table::new("wallet/batches");
/// Coins locked to a seller and not yet paid with, by batch and Y.
pub(super) const PURSE: Table<PurseCoin> = Table::new("wallet/purse");
/// Coins paid with in a trade that isn't over, by trade.
pub(super) const AT_RISK: Table<AtRisk> = Table::new("wallet/at-risk");
/// What a seller has had of ours in advance and could take for nothing, by seller, unit and trade: until it has earned it, or until
/// its locktime.
pub(super) const ADVANCES: Table<Advance> = Table::new("wallet/advances");
/// Locks of failed trades that fall back to us, by locktime and trade.
pub(super) const REFUNDS: Table<AtRisk> = Table::new("wallet/refunds");
/// Trades whose coins are back in the purse's table, and can't be paid with until the mint has said that they are unspent.
pub(super) const RETURNED: Table<Returned> = Table::new("wallet/returned");
/// Proofs that a seller has taken of a trade's lock, with the signatures by which it spent them. Kept as evidence.
pub(super) const REDEEMED_PROOFS: Table<Vec<RedeemedProof>> = Table::new("wallet/redeemed-proofs");
/// Locks accepted from buyers, by trade.
pub(super) const ACCEPTED: Table<AcceptedLock> = Table::new("wallet/accepted");
/// Accepted locks that are earned and not yet in an operation, by locktime and trade.
pub(super) const DUE: Table<Due> = Table::new("wallet/due");
/// Each accepted proof until it can't be accepted again, by locktime and Y.
pub(super) const RESERVED: Table<Cid> = Table::new("wallet/reserved");
/// Unredeemed value that is ours to redeem, by mint and unit, and by mint, unit and buyer.
pub(super) const OWED: Table<u64> = Table::new("wallet/owed");
/// Value in escrow that its buyer hasn't released, by mint, unit and buyer.
pub(super) const UNRELEASED: Table<u64> = Table::new("wallet/unreleased");
/// What of it is in places that their buyers haven't earned, by mint and unit.
pub(super) const UNRELEASED_SHARED: Table<u64> = Table::new("wallet/unreleased/shared");
/// What became of a trade's money, until the trade room has taken note, by trade.
pub(super) const OUTCOMES: Table<Outcome> = Table::new("wallet/outcomes");
/// Tokens sent, by ID.
pub(super) const SENT: Table<SentToken> = Table::new("wallet/sent");
/// The first proof of each token received, and when: so that the same token again is told from one that was spent by
/// somebody else.
pub(super) const RECEIVED: Table<Timestamp> = Table::new("wallet/received");
/// What came in and went out, by mint and unit.
pub(super) const ACCOUNTS: Table<AccountRecord> = Table::new("wallet/accounts");
/// Every change of a balance, by its number.
pub(super) const HISTORY: Table<HistoryEntry> = Table::new("wallet/history");

/// Names an operation, and the purse batch or the token that it makes.
pub(super) type OperationId = ByteArray<16>;
/// A compressed point.
pub(super) type Y = ByteArray<33>;

pub(super) fn batch_key(locktime: Timestamp, id: OperationId) -> Key {
    Key::of(locktime).and(id.0)
}

/// The ID in a key of BATCHES or, at its beginning, of PURSE.
pub(super) fn batch_id(key: &[u8]) -> Option<OperationId> {
    Some(ByteArray(*key.first_chunk()?))
}

/// A mint and a unit: what money can be swapped within. The mint by its first URL, however many it has
/// ([`super::mints`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Currency {
    pub mint: MintUrl,
    pub unit: Unit,
}

impl Currency {
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
    /// When this URL was first reached: the earliest of one mint's is the one that its money is kept under.
    pub since: Timestamp,
    /// Added by command, not by the config file.
    pub added: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeysetRecord {
    pub keyset: Json<cdk::nuts::KeySet>,
    pub active: bool,
    /// The mint lists it no longer.
    pub delisted: bool,
}

impl KeysetRecord {
    pub(super) fn delisted(keyset: &Keyset) -> Self {
        let keyset = cdk::nuts::KeySet {
            id: keyset.id().to_cashu(),
            unit: super::coin::currency_unit(keyset.unit()),
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

/// Spendable coins of one keyset, in sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub keyset: KeysetId,
    pub coins: u64,
    pub amount: u64,
}

/// An operation at a mint, from before it is posted until its fate is known: enough to post it again, byte for byte.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Operation {
    pub currency: Currency,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Premint>,
    pub fee: u64,
    pub purpose: Purpose,
    pub made: Timestamp,
    /// The last moment to post it, if it shows what must not be shown later.
    pub until: Option<Timestamp>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Input {
    pub coin: Coin,
    pub y: Y,
    /// What unlocks it, if it is locked.
    pub unlocked: Option<Unlocked>,
}

/// What a locked coin is spent with.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Unlocked {
    pub ours: Vec<SignedBy>,
    /// Signatures that others gave us, in hex.
    pub given: Vec<String>,
    /// What the witness says of the lock's hash, if it has one.
    pub preimage: Option<Preimage>,
}

/// A signature of ours over a locked coin's secret (NUT-11, SIG_INPUTS).
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SignedBy {
    /// Our key, to tell our own spending from somebody else's.
    pub key: ByteArray<33>,
    /// In hex.
    pub signature: String,
}

/// An output before the mint has signed it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Premint {
    /// 0 where the mint decides (NUT-08).
    pub amount: u64,
    pub blinded: ByteArray<33>,
    pub id: KeysetId,
    /// The blinding factor.
    pub r: ByteArray<32>,
    pub secret: String,
    pub to: Destination,
    /// Which of its line of derived secrets it has, if it is derived.
    pub number: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Destination {
    Coins,
    Purse,
    Token,
}

/// What an operation is for: where its inputs are from, and what its outputs become.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    /// Inputs from COINS, outputs to the purse (and change).
    Refill { batch: Box<BatchRecord> },
    /// Inputs from COINS, outputs to a token (and change).
    Send,
    /// Inputs from COINS that are many and small, or of keysets that end soon; outputs to COINS.
    Renew,
    /// Inputs from a token that somebody gave us, or from one that we take back.
    Receive { reclaimed: Option<OperationId> },
    /// Inputs are the proofs of these trades in ACCEPTED, in their order.
    Redeem { trades: Vec<Cid> },
    /// Inputs are what is left of these locks in REFUNDS, then of these batches in PURSE, in their order.
    Refund { locks: Vec<RefundedLock>, batches: Vec<RefundedBatch> },
    /// No inputs: a quote was paid.
    Mint { quote: String },
    /// Inputs from COINS, spent for an invoice; outputs are blank change.
    Melt { quote: String, amount: u64 },
}

impl Purpose {
    /// Whether people are told that just this operation was done: that somebody paid us, or that there is a token to pay with. The
    /// outcome of any other is right for us whichever copy of this wallet had it done.
    pub(super) fn is_told_to_people(&self) -> bool {
        matches!(self, Self::Send | Self::Receive { reclaimed: None })
    }
}

/// A failed trade's lock in a refund.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct RefundedLock {
    pub trade: Cid,
    pub locktime: Timestamp,
    /// How many of the refund's inputs are its, in order.
    pub inputs: usize,
}

/// A purse batch in a refund.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct RefundedBatch {
    pub id: OperationId,
    /// How many of the refund's inputs are its, in order.
    pub inputs: usize,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct FailedOperation {
    pub record: Operation,
    pub why: String,
    pub at: Timestamp,
}

/// A mint quote that was asked for and hasn't brought its money yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct QuoteRecord {
    pub currency: Currency,
    pub id: String,
    pub request: String,
    pub amount: u64,
    pub made: Timestamp,
    /// Until when it can be paid by the mint's word; `None` if it says nothing.
    pub expires: Option<Timestamp>,
    /// Until when it is looked at, at least.
    pub kept_until: Timestamp,
    /// What it has brought.
    pub issued: u64,
}

impl QuoteRecord {
    pub(super) fn key(&self) -> Key {
        quote_key(&self.currency, &self.id)
    }
}

pub(super) fn quote_key(currency: &Currency, id: &str) -> Key {
    currency.key().and(id)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BatchRecord {
    pub seller: AgentId,
    pub currency: Currency,
    pub conditions: Conditions,
    /// How it is taken back after the locktime.
    pub refund: Spend,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AtRisk {
    pub trade: Cid,
    pub batch: OperationId,
    pub seller: AgentId,
    pub currency: Currency,
    pub conditions: Conditions,
    /// How it is taken back after the locktime.
    pub refund: Spend,
    pub proofs: Vec<LockedProof>,
    /// What the seller has been seen to have redeemed of it; no longer in `proofs`.
    pub redeemed: u64,
    /// When it was.
    pub since: Timestamp,
}

/// What a trade has put into its seller's hands in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Advance {
    /// Without the mint's fee.
    pub amount: u64,
    /// Until when the seller alone can take it.
    pub until: Timestamp,
}

/// A coin in the purse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PurseCoin {
    pub proof: LockedProof,
    /// The last trade that gave it back: its seller has had the coin, and answers for it if it is spent.
    pub given_back_by: Option<Cid>,
}

impl PurseCoin {
    /// One that no seller has been shown.
    pub(super) fn new(proof: LockedProof) -> Self {
        Self { proof, given_back_by: None }
    }
}

/// Coins that a trade gave back. Its seller has had them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Returned {
    pub trade: Cid,
    pub batch: OperationId,
    pub locktime: Timestamp,
    pub currency: Currency,
    pub ys: Vec<Y>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AcceptedLock {
    pub buyer: AgentId,
    pub identity: ByteArray<8>,
    pub currency: Currency,
    pub locktime: Timestamp,
    /// How it is redeemed.
    pub spend: Spend,
    pub proofs: Vec<LockedProof>,
    /// How often the mint has refused to redeem it.
    pub tries: u32,
    /// In an operation whose fate isn't known: it is neither due again nor can it be given up.
    pub redeeming: bool,
    /// If it is in escrow: what it takes beyond our signature.
    pub escrow: Option<AcceptedEscrow>,
}

/// A lock in escrow, before and after its release.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AcceptedEscrow {
    /// The key that opens what was delivered, by how it derives.
    pub key: KeyPath,
    /// The last moment to show it.
    pub redeem_by: Timestamp,
    /// Whether it counts as one of those that their buyer has earned, beside what all strangers share.
    pub earned: bool,
    /// Whether the buyer has released it: from then on it is credit to the mint, as any other.
    pub released: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Due {
    pub trade: Cid,
    pub locktime: Timestamp,
    pub currency: Currency,
    pub proofs: usize,
    /// When it was earned, or refused last.
    pub since: Timestamp,
    /// When it was tried last, by the clock of then.
    pub tried: Timestamp,
    /// As in the lock. One that was refused is redeemed on its own.
    pub tries: u32,
    /// How often no swap could even be made of it since it is due.
    pub put_off: u32,
    /// In escrow: the last moment to redeem it. The buyer waits for it, so it is redeemed at once.
    pub redeem_by: Option<Timestamp>,
}

impl Due {
    /// How often its redemption came to nothing.
    pub(super) fn setbacks(&self) -> u32 {
        self.tries.saturating_add(self.put_off)
    }

    /// When to try again, if it came to nothing before.
    pub(super) fn again_at(&self, now: Timestamp) -> Timestamp {
        if self.tried > now {
            // The clock was ahead then: what it said is no reason to wait.
            return now;
        }
        // In escrow there is a last moment, and what isn't redeemed by then is lost.
        let longest_secs = if self.redeem_by.is_some() { REDEEM_ESCROW_RETRY_SECS } else { REDEEM_LAST_RETRY_SECS };
        let pause_secs = REDEEM_RETRY_SECS.saturating_mul(self.setbacks().into());
        self.tried.saturating_add(pause_secs.min(longest_secs))
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
    Refunded {
        /// Came back, after the mint's fee.
        refunded: u64,
        /// The seller had redeemed it.
        redeemed: u64,
        /// Kept by the mint.
        fee: u64,
    },
}

/// A token that was sent.
#[derive(Clone, Serialize, Deserialize)]
pub struct SentToken {
    /// Names it in this wallet: 32 digits in hex.
    pub id: String,
    /// The token, `cashuB…`. Whoever has it has the money.
    pub token: String,
    /// What it is worth, before the receiver's fee.
    pub amount: u64,
    /// Its mint.
    pub mint: MintUrl,
    /// Its unit.
    pub unit: Unit,
    /// When it was made, or found again.
    pub at: Timestamp,
    /// What is known of it.
    pub state: SentState,
}

/// What is known of a token that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SentState {
    /// Nobody has been seen to have spent it.
    Open,
    /// All of it was spent by whoever has its text.
    Spent,
    /// It was reclaimed into this wallet.
    Reclaimed,
}

/// [`Account`] with what it is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AccountRecord {
    pub currency: Currency,
    pub account: Account,
}

/// Why a balance changed. Each says whether money came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// In: a mint quote was paid.
    Funded,
    /// In: found by the recovery phrase, or made by another copy of this wallet.
    Restored,
    /// In: a token was received.
    Received,
    /// In: a token that was sent was reclaimed.
    Reclaimed,
    /// In: a buyer's lock was accepted.
    Accepted,
    /// Out: an accepted lock was given up.
    Voided,
    /// Out: a token was sent.
    Sent,
    /// Out: a Lightning invoice was paid.
    Invoice,
    /// Out: a seller was paid.
    Paid,
    /// Out: a seller whose trade failed redeemed it.
    Forfeited,
    /// Out: the mint kept it.
    Fee,
    /// Out: spent by somebody else or by another copy of this wallet, or unredeemable.
    Lost,
}

impl Reason {
    /// Whether money came in.
    pub fn is_in(self) -> bool {
        match self {
            Self::Funded | Self::Restored | Self::Received | Self::Reclaimed | Self::Accepted => true,
            Self::Voided | Self::Sent | Self::Invoice | Self::Paid | Self::Forfeited | Self::Fee | Self::Lost => false,
        }
    }
}

/// A change of a balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its number: they rise with time.
    pub number: u64,
    /// When, by our clock.
    pub at: Timestamp,
    /// The mint.
    pub mint: MintUrl,
    /// The unit.
    pub unit: Unit,
    /// How much.
    pub amount: u64,
    /// Why; it says whether it came or went.
    pub reason: Reason,
    /// The trade, the quote or the token that it was for, or a cause in words.
    pub detail: Option<String>,
}

/// Money in and out of a wallet at one mint, in one unit, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Account {
    /// In: minted, or found by the recovery phrase.
    pub funded: u64,
    /// In: tokens received, or reclaimed.
    pub received: u64,
    /// In: locks accepted from buyers.
    pub accepted: u64,
    /// Out: accepted locks given up.
    pub voided: u64,
    /// Out: tokens sent.
    pub sent: u64,
    /// Out: Lightning invoices paid.
    pub melted: u64,
    /// Out: paid to sellers.
    pub paid: u64,
    /// Out: redeemed by sellers whose trade failed.
    pub forfeited: u64,
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
        came.checked_sub(sum(&[self.voided, self.sent, self.melted, self.paid, self.forfeited, self.fees, self.lost])?)
    }

    pub(super) fn count(&mut self, reason: Reason, amount: u64) {
        let field = match reason {
            Reason::Funded | Reason::Restored => &mut self.funded,
            Reason::Received | Reason::Reclaimed => &mut self.received,
            Reason::Accepted => &mut self.accepted,
            Reason::Voided => &mut self.voided,
            Reason::Sent => &mut self.sent,
            Reason::Invoice => &mut self.melted,
            Reason::Paid => &mut self.paid,
            Reason::Forfeited => &mut self.forfeited,
            Reason::Fee => &mut self.fees,
            Reason::Lost => &mut self.lost,
        };
        *field = field.saturating_add(amount);
    }
}

/// A proof of a buyer's lock that was spent, and the mint's word on how: the witness carries the payee's signature, which
/// nobody but the seller can have made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedeemedProof {
    /// The proof; its secret is the lock.
    pub proof: LockedProof,
    /// BIP-340 signatures of the secret, as hex, as the mint shows them (NUT-07).
    pub signatures: Vec<String>,
    /// The texts of the witness, as the mint shows it.
    pub witness: Vec<String>,
}

impl fmt::Debug for RedeemedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedeemedProof({}, {} signatures)", self.proof.amount, self.signatures.len())
    }
}
