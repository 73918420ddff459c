//! Every kind of event, its level in the log and its name in JSON.
//!
//! Events are read as well as written: the command line and the lab hear those of a daemon, which may be a later version.
//! What they don't know is [`Event::Unknown`], [`Side::Unknown`], [`Outcome::Unknown`] or [`SwapPurpose::Unknown`]; a node emits none
//! of them.

use cid::Cid;
use guilder_protocol::{fault::Fault, identity::AgentId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing::Level;
use utoipa::ToSchema;

/// An amount with its unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// How many of `unit`.
    pub amount: u64,
    /// `sat`, or a mint's own name.
    pub unit: String,
}

/// Which side of a trade this node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// We asked and pay.
    Buyer,
    /// We do the work.
    Seller,
    /// One that a later version knows. No trade of this node has it.
    #[serde(other)]
    Unknown,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Delivered, with a receipt that holds.
    Done,
    /// Ended without a delivery.
    Failed {
        /// The party at fault.
        #[serde(with = "fault_code")]
        #[schema(value_type = String)]
        fault: Fault,
        /// Why, in words.
        reason: String,
    },
    /// Called off by this node's user.
    Cancelled,
    /// In a way that a later version knows.
    #[serde(other)]
    Unknown,
}

/// What a swap at a mint is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwapPurpose {
    /// Ecash locked in advance to a seller.
    Refill,
    /// A token to hand to somebody.
    Send,
    /// A token taken in.
    Receive,
    /// Coins moved to a newer keyset.
    Renew,
    /// A Lightning invoice paid.
    Pay,
    /// One that a later version knows.
    #[serde(other)]
    Unknown,
}

impl SwapPurpose {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refill => "refill",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Renew => "renew",
            Self::Pay => "pay",
            Self::Unknown => "unknown",
        }
    }
}

/// What happened in a node. `task` is the CID of the root ask, `trade` that of the award; both sides use the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    // --- network ---
    /// The node listens on an address.
    Listening {
        /// As a multiaddr.
        address: String,
    },
    /// A bootstrap peer doesn't answer. It is dialled again and again.
    BootstrapFailed {
        /// Its multiaddr.
        address: String,
        /// Why, in words.
        reason: String,
        /// Whether the dial before had failed too.
        again: bool,
    },
    /// A peer is connected (its first connection).
    PeerConnected {
        /// Who.
        #[schema(value_type = String)]
        peer: AgentId,
        /// Its multiaddr.
        address: String,
        /// Whether we dialled.
        dialled: bool,
    },
    /// A peer's last connection is gone.
    PeerDisconnected {
        /// Who.
        #[schema(value_type = String)]
        peer: AgentId,
        /// Why, in words.
        reason: String,
    },
    /// A peer broke the rules and was given penalty points.
    PeerPenalized {
        /// Who.
        #[schema(value_type = String)]
        peer: AgentId,
        /// What it did.
        reason: String,
        /// Whether it is refused from now on.
        banned: bool,
    },

    // --- catalogue ---
    /// Another agent's advert was verified and kept.
    AdvertSeen {
        /// Who sells.
        #[schema(value_type = String)]
        seller: AgentId,
        /// What.
        service: String,
        /// Its list price.
        price: Money,
    },
    /// Another agent withdrew a service.
    AdvertWithdrawn {
        /// Who sold it.
        #[schema(value_type = String)]
        seller: AgentId,
        /// What.
        service: String,
    },
    /// Our own service is in the catalogue.
    ServiceAdded {
        /// Its name.
        service: String,
    },
    /// Our own service is gone from it.
    ServiceRemoved {
        /// Its name.
        service: String,
    },
    /// The MCP server of our own service describes its tool otherwise than when that was put on sale: it is taken off sale.
    ToolChanged {
        /// The service's name.
        service: String,
        /// What is otherwise.
        why: String,
    },

    // --- grants ---
    /// A delegation is known to be revoked.
    Revoked {
        /// Which.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        delegation: Cid,
        /// By whom.
        #[schema(value_type = String)]
        revoker: AgentId,
    },

    // --- trade ---
    /// We look for sellers of a service.
    Searching {
        /// The task that it is for.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// What is looked for.
        service: String,
    },
    /// A service of our own does it, for free.
    OwnWork {
        /// The task.
        #[schema(value_type = String)]
        #[serde(with = "cid_text")]
        task: Cid,
        /// What does it.
        service: String,
    },
    /// A seller of the service was found.
    SellerFound {
        /// The task that it is for.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// Who.
        #[schema(value_type = String)]
        seller: AgentId,
    },
    /// An ask went out (buyer) or came in (seller).
    Asked {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// Our side.
        side: Side,
        /// The other side.
        #[schema(value_type = String)]
        peer: AgentId,
        /// The service asked for.
        service: String,
    },
    /// A binding offer came in (buyer) or went out (seller).
    Offered {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// Our side.
        side: Side,
        /// The other side.
        #[schema(value_type = String)]
        peer: AgentId,
        /// The net price.
        price: Money,
    },
    /// An offer was weighed, the best first: told where a hire is to be explained.
    Weighed {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// Who offers.
        #[schema(value_type = String)]
        peer: AgentId,
        /// The net price.
        price: Money,
        /// How often it has delivered to us.
        delivered: u64,
        /// How often it has failed us.
        failed: u64,
        /// How likely it delivers, in thousandths.
        chance_permille: u64,
        /// What its price comes to by that, in thousandths of the unit.
        weighed_milli: u64,
    },
    /// The seller declined the ask.
    Declined {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// Our side.
        side: Side,
        /// The other side.
        #[schema(value_type = String)]
        peer: AgentId,
        /// Why, in words.
        reason: String,
    },
    /// The award is signed and its money locked (buyer), or came in (seller).
    Awarded {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// The award.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        trade: Cid,
        /// Our side.
        side: Side,
        /// The other side.
        #[schema(value_type = String)]
        peer: AgentId,
        /// The net price.
        price: Money,
    },
    /// The seller took the award.
    Accepted {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// The award.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        trade: Cid,
        /// Our side.
        side: Side,
        /// The other side.
        #[schema(value_type = String)]
        peer: AgentId,
    },
    /// The seller refused the award; the money goes back.
    Refused {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// The award.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        trade: Cid,
        /// Our side.
        side: Side,
        /// The other side.
        #[schema(value_type = String)]
        peer: AgentId,
        /// Why, in words.
        reason: String,
    },
    /// The work goes on.
    Progress {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// The award.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        trade: Cid,
        /// Our side.
        side: Side,
        /// Parts per thousand that are done, if that was said.
        permille: Option<u16>,
        /// What it is at, as the seller says.
        note: String,
        /// The next words of the output, to be appended to those before.
        partial: String,
    },
    /// The other side took what it didn't earn, or held up what it had promised.
    Cheated {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// The award.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        trade: Cid,
        /// Our side.
        side: Side,
        /// The other side.
        #[schema(value_type = String)]
        peer: AgentId,
        /// What it did.
        what: String,
        /// What it took.
        sum: Option<Money>,
    },
    /// What a seller delivered, and was paid for, doesn't satisfy the schema that its offer promised.
    OutputInvalid {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// The award.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        trade: Cid,
        /// The seller.
        #[schema(value_type = String)]
        peer: AgentId,
        /// What is wrong with it first, and where.
        why: String,
    },
    /// The output and its receipt are there (buyer) or on their way (seller).
    Delivered {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// The award.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        trade: Cid,
        /// Our side.
        side: Side,
        /// The other side.
        #[schema(value_type = String)]
        peer: AgentId,
        /// The receipt.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        receipt: Cid,
        /// Size of the output in bytes.
        output_bytes: u64,
    },
    /// A task is over on our side.
    Ended {
        /// The root ask.
        #[serde(with = "cid_text")]
        #[schema(value_type = String)]
        task: Cid,
        /// The award, if it came to one.
        #[serde(with = "optional_cid_text")]
        #[schema(value_type = Option<String>)]
        trade: Option<Cid>,
        /// Our side.
        side: Side,
        /// How.
        #[serde(flatten)]
        outcome: Outcome,
    },

    // --- money ---
    /// Money is locked for a seller.
    Locked {
        /// The mint.
        mint: String,
        /// The sum of the proofs.
        sum: Money,
        /// Whether the purse had it ready (else a swap was made).
        from_purse: bool,
    },
    /// A swap went through.
    Swapped {
        /// The mint.
        mint: String,
        /// What it was for.
        purpose: SwapPurpose,
        /// What came out.
        sum: Money,
        /// What the mint kept.
        fee: u64,
    },
    /// Locked proofs that we earned are now ours at the mint.
    Redeemed {
        /// The mint.
        mint: String,
        /// The trades they paid for.
        trades: u64,
        /// What came out.
        sum: Money,
        /// What the mint kept.
        fee: u64,
    },
    /// Money that we had locked came back.
    Refunded {
        /// The mint.
        mint: String,
        /// What came out.
        sum: Money,
        /// What the mint kept.
        fee: u64,
    },
    /// A mint quote was paid and its coins issued to us.
    Funded {
        /// The mint.
        mint: String,
        /// What was issued.
        sum: Money,
    },
    /// A mint is down, slow, or says something that can't be true.
    MintTrouble {
        /// The mint.
        mint: String,
        /// What is wrong.
        reason: String,
    },
    /// Money could not be moved or is lost; somebody must look.
    MoneyTrouble {
        /// The mint.
        mint: String,
        /// The party at fault.
        #[serde(with = "fault_code")]
        #[schema(value_type = String)]
        fault: Fault,
        /// What is wrong.
        reason: String,
    },

    // --- gate ---
    /// A caller asks for what waits for the owner's word.
    ApprovalAsked {
        /// The approval.
        approval: String,
        /// Who asks.
        caller: String,
        /// For what.
        action: String,
    },
    /// The owner has answered.
    ApprovalAnswered {
        /// The approval.
        approval: String,
        /// Whether it is granted.
        granted: bool,
    },

    // --- duties ---
    /// A duty was set off.
    RunBegan {
        /// Which.
        duty: String,
        /// The run's ID.
        run: String,
    },
    /// A run of a duty is over.
    RunEnded {
        /// The duty.
        duty: String,
        /// The run's ID.
        run: String,
        /// `done`, `failed` or `cancelled`.
        outcome: String,
        /// Why it failed, in words.
        reason: Option<String>,
    },
    /// Moments at which a duty was due, or what would have set it off, went by without a run.
    DutySkipped {
        /// Which.
        duty: String,
        /// How many.
        moments: u64,
        /// Why, in words.
        why: String,
    },
    /// A duty is paused: nothing sets it off until it is resumed.
    DutyPaused {
        /// Which.
        duty: String,
        /// Why, in words.
        why: String,
    },

    // --- webhooks out ---
    /// An endpoint didn't take a webhook, however often it was tried: it isn't told that any more.
    WebhookFailed {
        /// Which.
        endpoint: String,
        /// The delivery's ID.
        id: String,
        /// How often it was tried.
        attempts: u32,
        /// What came of it last, in words.
        why: String,
    },
    /// An endpoint is told nothing until it is resumed.
    WebhooksPaused {
        /// Which.
        endpoint: String,
        /// Why, in words.
        why: String,
    },

    // --- memory ---
    /// The memory was gone through.
    Dreamed {
        /// Of so many memories that were new.
        memories: u64,
        /// And so many things that happened.
        episodes: u64,
        /// Changes that were made.
        changes: u64,
    },

    // --- daemon ---
    /// Listening, API up: the node takes work.
    Ready {
        /// Milliseconds from start.
        took_ms: u64,
    },
    /// The settings were read again.
    Reloaded {
        /// Which were changed by it, with commas.
        applied: String,
        /// Which the file has otherwise, in force from the next start on.
        restart: String,
    },
    /// The settings were to be read again and can't be: nothing was changed.
    ReloadFailed {
        /// Why, in words.
        reason: String,
    },
    /// The node is stopping cleanly.
    Stopping {
        /// What asked for it.
        reason: String,
    },

    /// A kind that a later version knows. Never emitted.
    #[serde(other)]
    Unknown,
}

/// The names of the events that a journal keeps.
pub(crate) const KEPT_NAMES: [&str; 37] = [
    "accepted",
    "approval_answered",
    "approval_asked",
    "asked",
    "awarded",
    "bootstrap_failed",
    "cheated",
    "declined",
    "delivered",
    "dreamed",
    "duty_paused",
    "duty_skipped",
    "ended",
    "funded",
    "listening",
    "locked",
    "mint_trouble",
    "money_trouble",
    "offered",
    "output_invalid",
    "own_work",
    "ready",
    "redeemed",
    "refunded",
    "refused",
    "reload_failed",
    "reloaded",
    "run_began",
    "run_ended",
    "searching",
    "service_added",
    "service_removed",
    "stopping",
    "swapped",
    "tool_changed",
    "webhook_failed",
    "webhooks_paused",
];

impl Event {
    /// What it is called in JSON.
    pub(crate) fn name(&self) -> String {
        let json = serde_json::to_value(self).unwrap_or_default();
        json.get("event").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }

    /// The task that the event belongs to, if to one.
    pub fn task(&self) -> Option<&Cid> {
        match self {
            Self::Searching { task, .. }
            | Self::OwnWork { task, .. }
            | Self::SellerFound { task, .. }
            | Self::Asked { task, .. }
            | Self::Offered { task, .. }
            | Self::Weighed { task, .. }
            | Self::Declined { task, .. }
            | Self::Awarded { task, .. }
            | Self::Accepted { task, .. }
            | Self::Refused { task, .. }
            | Self::Progress { task, .. }
            | Self::Cheated { task, .. }
            | Self::OutputInvalid { task, .. }
            | Self::Delivered { task, .. }
            | Self::Ended { task, .. } => Some(task),
            _ => None,
        }
    }

    /// How loud it is in the log: trouble warns, what an operator wants to follow informs, the rest is for debugging.
    fn level(&self) -> Level {
        match self {
            Self::MoneyTrouble { .. } => Level::ERROR,
            Self::MintTrouble { .. } | Self::PeerPenalized { .. } | Self::Cheated { .. } => Level::WARN,
            Self::OutputInvalid { .. } | Self::BootstrapFailed { again: false, .. } | Self::ToolChanged { .. } => {
                Level::WARN
            }
            Self::DutySkipped { .. } | Self::DutyPaused { .. } | Self::ReloadFailed { .. } => Level::WARN,
            Self::WebhookFailed { .. } | Self::WebhooksPaused { .. } => Level::WARN,
            Self::RunEnded { reason: Some(_), .. } => Level::WARN,
            Self::Ended { outcome: Outcome::Failed { .. }, .. } => Level::WARN,
            Self::Listening { .. }
            | Self::ServiceAdded { .. }
            | Self::ServiceRemoved { .. }
            | Self::Ended { .. }
            | Self::Redeemed { .. }
            | Self::Refunded { .. }
            | Self::Funded { .. }
            | Self::ApprovalAsked { .. }
            | Self::ApprovalAnswered { .. }
            | Self::RunBegan { .. }
            | Self::RunEnded { .. }
            | Self::Dreamed { .. }
            | Self::Ready { .. }
            | Self::Reloaded { .. }
            | Self::Stopping { .. } => Level::INFO,
            _ => Level::DEBUG,
        }
    }

    /// One line in the log: words for people, and beside them the same as JSON for logs in JSON (see `daemon::log`).
    /// Both are only made if the level is on.
    pub(super) fn log(&self) {
        macro_rules! at {
            ($level:expr) => {
                tracing::event!(target: "guilder::events", $level, event_json = %Json(self), "{}", Line(self))
            };
        }
        match self.level() {
            Level::ERROR => at!(Level::ERROR),
            Level::WARN => at!(Level::WARN),
            Level::INFO => at!(Level::INFO),
            _ => at!(Level::DEBUG),
        }
    }
}

/// An event as one flat JSON object.
struct Json<'a>(&'a Event);

impl std::fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self.0).unwrap_or_default())
    }
}

/// An event as `name key=value …`, for the log.
pub(super) struct Line<'a>(pub(super) &'a Event);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(self.0) else {
            return f.write_str("an event that can't be written");
        };
        if let Some(serde_json::Value::String(name)) = fields.remove("event") {
            f.write_str(&name)?;
        }
        for (key, value) in fields {
            match value {
                serde_json::Value::Null => {}
                serde_json::Value::String(text) if !text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                    write!(f, " {key}={text}")?;
                }
                serde_json::Value::Object(money) if money.contains_key("unit") => {
                    let unit = money["unit"].as_str().unwrap_or_default();
                    write!(f, " {key}={}{unit}", money["amount"])?;
                }
                other => write!(f, " {key}={other}")?,
            }
        }
        Ok(())
    }
}

/// A CID in JSON is its text.
mod cid_text {
    use super::{Cid, Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(cid: &Cid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(cid)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cid, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The same, or null.
mod optional_cid_text {
    use super::{Cid, Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(cid: &Option<Cid>, serializer: S) -> Result<S::Ok, S::Error> {
        match cid {
            Some(cid) => serializer.collect_str(cid),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cid>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

/// An event that holds a value which only a later version knows is [`Event::Unknown`], like one of a kind that only that knows.
pub(super) fn known_or_unknown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
    let fields = serde_json::Map::deserialize(deserializer)?;
    if !fields.get("event").is_some_and(serde_json::Value::is_string) {
        return Err(serde::de::Error::missing_field("event"));
    }
    Ok(Event::deserialize(serde_json::Value::Object(fields)).unwrap_or(Event::Unknown))
}

/// A fault in JSON is its code; one that a later version knows is [`Fault::Unknown`].
pub(crate) mod fault_code {
    use super::{Deserialize as _, Deserializer, Fault, Serializer};

    pub(crate) fn serialize<S: Serializer>(fault: &Fault, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(fault.code())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fault, D::Error> {
        let code = String::deserialize(deserializer)?;
        Ok(Fault::from_code(&code).unwrap_or(Fault::Unknown))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_log_line_is_short_and_a_json_line_is_flat() {
        let event = Event::Ended {
            task: guilder_protocol::cbor::cid_of(b"ask"),
            trade: None,
            side: Side::Buyer,
            outcome: Outcome::Failed { fault: Fault::Peer, reason: "no answer".into() },
        };
        let line = Line(&event).to_string();
        assert!(line.starts_with("ended ") && line.contains("reason=\"no answer\""), "{line}");
        assert!(!line.contains("trade"), "what isn't there isn't said: {line}");
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["event"], "ended");
        assert_eq!(json["outcome"], "failed");
        assert!(json["task"].as_str().unwrap().starts_with("bafyrei"));
    }

    #[test]
    fn what_can_be_told_of_is_all_that_the_journal_keeps() {
        let schema = serde_json::to_value(<Event as utoipa::PartialSchema>::schema()).unwrap();
        let names = schema["oneOf"].as_array().unwrap().iter().flat_map(|kind| {
            // What has fields of its own and of its outcome beside them is in two parts.
            let parts = kind["allOf"].as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
            parts.into_iter().filter_map(|part| part["properties"]["event"]["enum"][0].as_str().map(str::to_owned))
        });
        let left_out = [
            "advert_seen",
            "advert_withdrawn",
            "peer_connected",
            "peer_disconnected",
            "peer_penalized",
            "progress",
            "revoked",
            "seller_found",
            "unknown",
            "weighed",
        ];
        let mut kept: Vec<String> = names.filter(|name| !left_out.contains(&&**name)).collect();
        kept.sort();
        assert_eq!(kept, KEPT_NAMES);
        assert_eq!(Event::Ready { took_ms: 1 }.name(), "ready");
    }

    #[test]
    fn money_reads_as_an_amount_with_its_unit() {
        let sum = Money { amount: 12, unit: "sat".into() };
        let event = Event::Funded { mint: "http://127.0.0.1:1".into(), sum };
        assert_eq!(Line(&event).to_string(), "funded mint=http://127.0.0.1:1 sum=12sat");
    }
}
