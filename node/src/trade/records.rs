//! What the trade room keeps in the store.
//!
//! | table | key | value |
//! |---|---|---|
//! | `trade/deals` | award | what was agreed, written once |
//! | `trade/buyers`, `trade/sellers` | award | the machine's state, written at each durable step |
//! | `trade/open` | award | our side; there until the machine has ended |
//! | `trade/tasks` | ask | what we asked for: awards, and why it came to nothing |
//! | `trade/log` | moment, ask or award | our side: what a listing goes through |
//! | `trade/by-task` | ask, award | when we took it: finds a task's awards on the seller's side |
//! | `trade/offers` | expiry, our offer | the award that took it |
//! | `trade/refusals` | expiry of the offer, award | the reason, so that an award once refused is never taken |
//! | `trade/work` | award | what is told of our work to its operator alone: the end of standard error, why it failed |
//! | `trade/content` | content, peer, trade | nothing: the trade lets the peer have it |
//! | `trade/promises` | award | the schema of the output that we bought, and whether the output satisfied it |
//! | `trade/seller-history` | seller | how often it served us, failed us, and took our money for nothing |
//! | `trade/buyer-history` | buyer | how often its money was good, and its input or its release never came |
//! | `trade/earned` | seller, mint, unit | what it delivered in escrow, by day, for a month: how far it is paid in advance |
//! | `trade/paid` | buyer, mint, unit | what it paid us in escrow, by day, for a month: how far we subcontract for it unpaid |
//! | `trade/outlays` | buyer, mint, unit, award | what a task in escrow may cost us, or has, until it is paid ([`super::outlays`]) |
//! | `trade/spent` | expiry, delegation | all that we awarded or granted on under it |
//! | `trade/passed-on` | award, ask | nothing: what we hired for the sake of a task that we sell |
//! | `trade/origins` | caller, its key, slot | the request that it came with, and the tasks that came of it ([`super::keys`]) |
//! | `trade/waiting` | the same | what was asked for, until its end is written ([`super::ends`]) |
//! | `trade/waited` | ask | the origin that waits for its end |
//! | `trade/ends` | caller, its key, slot | how it ended, until whoever waits has taken it |
//! | `trade/budgets` | day, account, unit | what was awarded on a budget ([`super::budgets`]) |
//! | `trade/charges` | the same, award | what an award was charged, while its money may come back |
//! | `trade/written-off` | award | that its buyer no longer counts on its money |
//! | `trade/awarded` | day, unit | what was awarded on that day, where a day has a bound |
//! | `trade/sub-evidence` | award | an audit bundle, checked, about work that its seller passed on: what it handed over, or we do |
//! | `trade/second-receipts` | award | two receipts of its seller's that contradict each other |
//! | `trade/cheats` | award | what a seller took for nothing; there for good |

use cid::Cid;
use guilder_protocol::{
    content::ContentId,
    envelope::Signed,
    fault::Fault,
    identity::AgentId,
    market::{Ask, MintUrl, Unit, choice::Experience},
    time::{SKEW_SECS, Timestamp},
    trade::{Deal, Stored, buyer::Buyer, seller::Seller},
    wire::Reason,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    content,
    events::Side,
    store::{Key, KeyRange, Reader, StoreError, Table, Write},
};

pub(super) const DEALS: Table<Deal> = Table::new("trade/deals");
pub(super) const BUYERS: Table<Buyer> = Table::new("trade/buyers");
pub(super) const SELLERS: Table<Seller> = Table::new("trade/sellers");
pub(super) const OPEN: Table<StoredSide> = Table::new("trade/open");
pub(super) const TASKS: Table<TaskRecord> = Table::new("trade/tasks");
pub(super) const LOG: Table<LogRow> = Table::new("trade/log");
/// Bytes of the inputs and outputs that ended trades keep, under the empty key: no more than these, for what several share counts
/// for each.
pub(super) const PAYLOADS: Table<u64> = Table::new("trade/payloads");
pub(super) const BY_TASK: Table<Timestamp> = Table::new("trade/by-task");
pub(super) const CONTENT: Table<()> = Table::new("trade/content");
pub(super) const OFFERS: Table<Taken> = Table::new("trade/offers");
pub(super) const REFUSALS: Table<Refusal> = Table::new("trade/refusals");
pub(super) const PROMISES: Table<Promise> = Table::new("trade/promises");
pub(super) const SELLER_HISTORY: Table<SellerHistory> = Table::new("trade/seller-history");
pub(super) const BUYER_HISTORY: Table<BuyerHistory> = Table::new("trade/buyer-history");
pub(super) const WORK: Table<WorkNote> = Table::new("trade/work");
/// What sellers have delivered to us in escrow, by seller, mint and unit.
pub(super) const EARNED: Table<Earned> = Table::new("trade/earned");
/// What buyers have paid us in escrow, by buyer, mint and unit.
pub(super) const PAID: Table<Earned> = Table::new("trade/paid");
/// What we have spent under delegations, until they expire.
pub(super) const SPENT: Table<u64> = Table::new("trade/spent");
/// What we hire for the sake of trades that we sell.
pub(super) const PASSED_ON: Table<()> = Table::new("trade/passed-on");
/// What was awarded on a day (UTC, since the epoch), without what was refused.
const AWARDED: Table<u64> = Table::new("trade/awarded");
/// What sellers handed over about work that they passed on, and what we hand over.
pub(super) const SUB_EVIDENCE: Table<ByteBuf> = Table::new("trade/sub-evidence");
/// Two receipts of a seller's for one award that contradict each other.
pub(super) const SECOND_RECEIPTS: Table<Vec<ByteBuf>> = Table::new("trade/second-receipts");
pub(super) const CHEATS: Table<Cheat> = Table::new("trade/cheats");

/// Which side of a trade we are on, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StoredSide {
    #[serde(rename = "b")]
    Buyer,
    #[serde(rename = "s")]
    Seller,
}

/// What the log says of a task or a trade beside its key: enough to find it by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogRow {
    pub(super) side: StoredSide,
    /// The task, which is the key's own ID where we bought it.
    pub(super) task: Cid,
    /// Its input and its output were dropped; what was signed of them stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) shed: bool,
    /// They stay as long as the record, and aren't counted: nothing else goes for their sake.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stays: bool,
}

impl LogRow {
    pub(super) fn new(side: StoredSide, task: Cid) -> Self {
        Self { side, task, shed: false, stays: false }
    }

    /// Whether what it keeps is in [`PAYLOADS`].
    pub(super) fn is_counted(&self) -> bool {
        !self.shed && !self.stays
    }
}

/// Counts bytes of inputs and outputs of ended trades, and takes off what is dropped.
pub(super) fn count_payloads(w: &mut Write<'_>, more: u64, less: u64) -> Result<(), StoreError> {
    if more == less {
        return Ok(());
    }
    let kept = w.get(PAYLOADS, [])?.unwrap_or_default();
    w.put(PAYLOADS, [], &kept.saturating_add(more).saturating_sub(less))
}

/// How much a trade keeps of its input and its output.
pub(super) fn payload_bytes(deal: &Deal, output: Option<&Stored>) -> u64 {
    let output = output.map_or(0, |output| match output {
        Stored::Inline(bytes) => bytes.len() as u64,
        Stored::Content(id) => id.size,
    });
    deal.input.size().saturating_add(output)
}

impl From<StoredSide> for Side {
    fn from(side: StoredSide) -> Self {
        match side {
            StoredSide::Buyer => Self::Buyer,
            StoredSide::Seller => Self::Seller,
        }
    }
}

/// A task of ours. Statements stand as their bytes: they were verified when they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskRecord {
    pub(super) ask: ByteBuf,
    pub(super) created: Timestamp,
    /// In the order in which they were given; all but the last were refused.
    pub(super) awards: Vec<Cid>,
    /// Why it came to no award that was taken.
    pub(super) failure: Option<Failure>,
    /// The award for whose sake we hired, as its seller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) under: Option<Cid>,
    /// The caller that it was hired for, if that isn't the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
    /// What its caller calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    /// What came of it, where it was our own service that did it: for free, without a trade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) own: Option<OwnWork>,
}

impl TaskRecord {
    /// Of a task that begins, for the sake of an award that we sell if `under` names one.
    pub(super) fn begun(ask: &Signed<Ask>, created: Timestamp, under: Option<Cid>, label: Option<String>) -> Self {
        Self {
            ask: ByteBuf::from(ask.bytes()),
            created,
            awards: Vec::new(),
            failure: None,
            under,
            by: None,
            label,
            own: None,
        }
    }
}

/// What came of a work of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnWork {
    /// If it came to one.
    pub(super) output: Option<Stored>,
    /// The end of what the program wrote to its standard error.
    pub(super) stderr: String,
    /// When it ended.
    pub(super) at: Timestamp,
}

/// Why a task failed before a trade came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    pub(super) fault: String,
    pub(super) reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
    pub(super) at: Timestamp,
}

impl Failure {
    /// The party at fault.
    pub(super) fn fault(&self) -> Fault {
        Fault::from_code(&self.fault).unwrap_or(Fault::Environment)
    }
}

/// The award that took an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Taken {
    pub(super) award: Cid,
    /// When the offer runs out, and this row with it.
    pub(super) until: Timestamp,
}

/// An award that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    /// When the award's offer runs out, and this row with it.
    pub(super) until: Timestamp,
}

/// What we know of a seller from our own trades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SellerHistory {
    pub(super) delivered: u64,
    pub(super) failed: u64,
    /// How often it took money for which it delivered nothing.
    pub(super) took: u64,
    /// How often it was paid for an output that doesn't satisfy the schema that it promised.
    #[serde(default)]
    pub(super) invalid: u64,
    /// When it was last found to have taken money for nothing.
    pub(super) took_at: Option<Timestamp>,
}

impl From<SellerHistory> for Experience {
    fn from(SellerHistory { delivered, failed, took, invalid, .. }: SellerHistory) -> Self {
        Self { delivered, failed: failed.saturating_add(took).saturating_add(invalid) }
    }
}

/// What is told of our work on a trade to its operator alone. The buyer learns what the receipt says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkNote {
    /// The end of what the program wrote to its standard error.
    pub(super) stderr: String,
    /// Why it came to no output.
    pub(super) failure: Option<WorkFailure>,
}

/// Why work of ours came to no output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkFailure {
    pub(super) reason: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
}

/// What the seller's offer promises of the output: it is to satisfy a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Promise {
    /// The schema's text.
    pub(super) schema: String,
    /// What came of holding the output against it, once it was here.
    pub(super) kept: Option<OutputCheck>,
}

/// What came of holding an output against the schema that its seller promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum OutputCheck {
    /// It satisfies the schema.
    Valid,
    /// It doesn't: in words.
    Invalid(String),
    /// That couldn't be told: in words.
    Unchecked(String),
}

/// What we know of a buyer from our own trades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BuyerHistory {
    pub(super) paid: u64,
    /// How often it never released what was delivered in escrow.
    #[serde(default)]
    pub(super) no_release: u64,
    /// When it last didn't.
    #[serde(default)]
    pub(super) no_release_at: Option<Timestamp>,
    /// How often it never served the input of its award.
    pub(super) no_input: u64,
    /// When it last didn't.
    pub(super) no_input_at: Option<Timestamp>,
}

/// A seller took money for which it delivered nothing, showed a key that doesn't open what it delivered, or contradicted itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cheat {
    pub(super) seller: AgentId,
    /// How much of the lock it took, as far as its mint has shown.
    pub(super) took: u64,
    pub(super) at: Timestamp,
}

/// What a seller has delivered to us in escrow, or a buyer paid us, at one mint in one unit: day since the epoch and sum, the
/// oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Earned {
    days: Vec<(u64, u64)>,
}

/// Whether a moment was within the last so many seconds. One that is ahead of the clock was noted while that was wrong, and says nothing.
pub(super) fn is_lately(at: Timestamp, now: Timestamp, secs: u64) -> bool {
    at >= now.saturating_sub(secs) && at <= now.saturating_add(SKEW_SECS)
}

impl Earned {
    /// What was earned within thirty days.
    pub(super) fn lately(&self, now: Timestamp) -> u64 {
        let recent = self.days.iter().filter(|(day, _)| *day >= first_day(now));
        recent.fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    /// Adds what is earned now.
    pub(super) fn add(&mut self, amount: u64, now: Timestamp) {
        let today = now.as_secs() / 86_400;
        self.days.retain(|(day, _)| *day >= first_day(now));
        match self.days.last_mut().filter(|(day, _)| *day == today) {
            Some((_, sum)) => *sum = sum.saturating_add(amount),
            None => self.days.push((today, amount)),
        }
    }
}

fn spent_key(unit: &Unit, now: Timestamp) -> Key {
    Key::of(now.as_secs() / 86_400).and(unit.as_str())
}

/// What was awarded today.
pub(super) fn spent_today(r: &impl Reader, unit: &Unit, now: Timestamp) -> Result<u64, StoreError> {
    Ok(r.get(AWARDED, spent_key(unit, now))?.unwrap_or_default())
}

/// Counts what is awarded, if it stays within what may be spent in a day; says whether it does. Without a bound nothing is
/// counted.
pub(super) fn spend_today(
    w: &mut Write<'_>,
    unit: &Unit,
    amount: u64,
    daily_max: u64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if daily_max == 0 {
        return Ok(true);
    }
    for (key, _) in w.range(AWARDED, KeyRange::between(&[], &Key::of(now.as_secs() / 86_400)), PAST_DAYS)? {
        w.delete(AWARDED, key)?;
    }
    let spent = spent_today(w, unit, now)?.saturating_add(amount);
    if spent > daily_max {
        return Ok(false);
    }
    w.put(AWARDED, spent_key(unit, now), &spent)?;
    Ok(true)
}

/// Counts an award no more that was refused, on the day on which it was made.
pub(super) fn unspend(w: &mut Write<'_>, unit: &Unit, amount: u64, made: Timestamp) -> Result<(), StoreError> {
    let spent = spent_today(w, unit, made)?;
    if spent == 0 { Ok(()) } else { w.put(AWARDED, spent_key(unit, made), &spent.saturating_sub(amount)) }
}

/// Rows of past days that one award deletes at most; there is one for each unit and day.
const PAST_DAYS: usize = 16;

/// How long it counts that a seller delivered in escrow, or a buyer paid, in days.
const EARNED_DAYS: u64 = 30;

/// The same in seconds.
pub(super) const EARNED_SECS: u64 = EARNED_DAYS * 86_400;

/// The key of what is kept of trades with a peer, at one mint in one unit.
pub(super) fn deal_key(peer: AgentId, mint: &MintUrl, unit: &Unit) -> Key {
    Key::of(peer).and(mint.as_str()).and(unit.as_str())
}

/// The first day that still counts.
fn first_day(now: Timestamp) -> u64 {
    (now.as_secs() / 86_400).saturating_sub(EARNED_DAYS)
}

/// What a seller has delivered to us in escrow within thirty days.
pub(super) fn earned(
    r: &impl Reader,
    seller: AgentId,
    mint: &MintUrl,
    unit: &Unit,
    now: Timestamp,
) -> Result<u64, StoreError> {
    Ok(r.get(EARNED, deal_key(seller, mint, unit))?.unwrap_or_default().lately(now))
}

/// Notes that a seller has delivered in escrow. At a mint of its own that shows nothing.
pub(super) fn note_earned(w: &mut Write<'_>, deal: &Deal, now: Timestamp) -> Result<(), StoreError> {
    let args = deal.award.args();
    if deal.escrow().is_none() || args.mint.peer() == Some(args.seller) {
        return Ok(());
    }
    let key = deal_key(args.seller, &args.mint, &args.unit);
    let mut earned = w.get(EARNED, &key)?.unwrap_or_default();
    earned.add(args.price, now);
    w.put(EARNED, key, &earned)
}

/// Takes back what the delivery just noted has earned: its output isn't what was promised.
pub(super) fn take_back_earned(w: &mut Write<'_>, deal: &Deal) -> Result<(), StoreError> {
    let args = deal.award.args();
    let key = deal_key(args.seller, &args.mint, &args.unit);
    let (Some(_), Some(mut earned)) = (deal.escrow(), w.get(EARNED, &key)?) else { return Ok(()) };
    if let Some((_, amount)) = earned.days.last_mut() {
        *amount = amount.saturating_sub(args.price);
    }
    w.put(EARNED, key, &earned)
}

/// The key of a record that stands under one content ID.
pub(super) fn key(id: Cid) -> Key {
    Key::of(id)
}

/// A listing's key: in the order of time, then of the ID.
pub(super) fn log_key(created: Timestamp, id: Cid) -> Key {
    Key::of(created).and(id)
}

/// Lets the other side of a trade have a content, and keeps it as long as the trade's record.
pub(super) fn share(w: &mut Write<'_>, id: ContentId, with: AgentId, trade: Cid) -> Result<(), StoreError> {
    content::refer(w, id, trade)?;
    w.put(CONTENT, content_key(id, with, trade), &())
}

/// The key of a peer's right to a content.
pub(super) fn content_key(id: ContentId, with: AgentId, trade: Cid) -> Key {
    content_prefix(id, with).and(trade)
}

/// What the keys of a peer's rights to a content begin with.
pub(super) fn content_prefix(id: ContentId, with: AgentId) -> Key {
    Key::of(*id.hash.as_bytes()).and(id.size).and(with)
}

/// The moment and the ID in a key of [`LOG`].
pub(super) fn log_parts(key: &[u8]) -> Option<(Timestamp, Cid)> {
    let (moment, id) = key.split_first_chunk::<8>()?;
    Some((Timestamp::from_secs(u64::from_be_bytes(*moment)), cid_part(id)?))
}

/// A content ID as it stands at the end of a key: escaped and terminated, see [`Key`].
pub(super) fn cid_part(part: &[u8]) -> Option<Cid> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.strip_suffix(&[0, 1])?.iter();
    while let Some(byte) = rest.next() {
        if *byte == 0 && rest.next() != Some(&0xff) {
            return None;
        }
        bytes.push(*byte);
    }
    Cid::try_from(bytes).ok()
}
