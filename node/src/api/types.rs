//! What is asked of a node and what it answers, as it stands in the control API's JSON.
//!
//! Identities stand as peer IDs, content IDs and mints as text, moments as seconds since the Unix epoch.

use guilder_protocol::{
    fault::{AtFault, Fault},
    market::{MintUrl, ServiceName, Unit},
    time::Timestamp,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{mint::Totals, wallet::Account};

/// How the node does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the running binary.
    pub version: String,
    /// The node's identity.
    pub peer_id: String,
    /// The same as a DID.
    pub did: String,
    /// The home folder.
    pub home: String,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// Addresses that others can dial, peer ID included.
    pub listen: Vec<String>,
    /// Connected peers.
    pub peers: u64,
    /// Services on sale.
    pub services: u64,
    /// Tasks not ended yet, bought and sold.
    pub open_tasks: u64,
    /// The hosted mint's addresses, if one runs.
    pub hosted_mint: Vec<String>,
    /// What that mint has issued and taken back, by unit; what is left is in circulation.
    pub mint_books: Vec<Totals>,
    /// What the wallet holds.
    pub balances: Vec<Balance>,
}

/// The node's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `12D3Koo…`
    pub peer_id: String,
    /// `did:key:z6Mk…`
    pub did: String,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who.
    pub peer_id: String,
    /// Where: the remote addresses of its connections.
    pub addresses: Vec<String>,
    /// What software it says it runs.
    pub software: Option<String>,
    /// The last measured round trip, in microseconds.
    pub round_trip_us: Option<u64>,
    /// How long it has been connected, in seconds.
    pub connected_secs: u64,
}

/// Asks to connect to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    /// A multiaddr that ends in `/p2p/` and the peer ID.
    pub address: String,
}

/// A service on sale here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// For people.
    pub description: String,
    /// Net price of one task.
    pub price: u64,
    /// Its unit.
    pub unit: Unit,
    /// What runs it: `echo`, `process`, `http`.
    pub executor: String,
    /// Tasks at once.
    pub concurrency: u64,
    /// Longest that one task works.
    pub time_limit_secs: u64,
    /// Mints whose ecash is taken for it.
    pub mints: Vec<MintUrl>,
}

/// A service that others sell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Who sells.
    pub seller: String,
    /// What.
    pub service: ServiceName,
    /// For people.
    pub description: String,
    /// Net list price.
    pub price: u64,
    /// Its unit.
    pub unit: Unit,
    /// Mints whose ecash is taken.
    pub mints: Vec<MintUrl>,
    /// When the advert ends unless it is renewed.
    pub expires: Option<Timestamp>,
}

/// What is hired, and on what terms; the input travels beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hire {
    /// The service wanted.
    pub service: ServiceName,
    /// The most that is paid, net; the settings' default if not said.
    pub max_price: Option<u64>,
    /// The unit to pay in; that of the mint, or the wallet's only one.
    pub unit: Option<Unit>,
    /// Seconds until the delivery must have arrived.
    pub deadline_secs: u64,
    /// Hire this seller and no other (peer ID or DID).
    pub seller: Option<String>,
    /// Pay with this mint's ecash and no other's.
    pub mint: Option<MintUrl>,
}

/// The first line of a hire's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hired {
    /// The task that it is from now on.
    pub task: String,
}

/// Which side of a task this node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskSide {
    /// It pays.
    Buyer,
    /// It works.
    Seller,
}

/// A task, bought or sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Content ID of the root ask.
    pub id: String,
    /// Which side we are on.
    pub side: TaskSide,
    /// The service.
    pub service: ServiceName,
    /// The other side, once there is one.
    pub peer: Option<String>,
    /// Where it stands, in one word.
    pub state: String,
    /// Whether nothing more will happen.
    pub ended: bool,
    /// Whether it was delivered.
    pub delivered: bool,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Net price, once agreed.
    pub price: Option<u64>,
    /// Its unit.
    pub unit: Option<Unit>,
    /// The mint that it is paid at.
    pub mint: Option<MintUrl>,
    /// When it began.
    pub created: Timestamp,
    /// When it last moved.
    pub updated: Timestamp,
    /// Content ID of the award.
    pub award: Option<String>,
    /// Content ID of the receipt.
    pub receipt: Option<String>,
    /// Size of the output, if it is here.
    pub output_bytes: Option<u64>,
    /// What became of the money, in words.
    pub money: Option<String>,
    /// As a seller: what the mint gave for it, once it has.
    pub redeemed: Option<u64>,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The party at fault.
    #[serde(serialize_with = "fault_code", deserialize_with = "fault_from_code")]
    pub fault: Fault,
    /// In words.
    pub reason: String,
    /// What to do about it, if there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What the wallet holds at one mint in one unit, by where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The mint.
    pub mint: MintUrl,
    /// The unit.
    pub unit: Unit,
    /// Free to spend.
    pub available: u64,
    /// Locked in advance for sellers, to pay them without the mint; comes back after its locktime.
    pub purse: u64,
    /// With sellers whose work isn't done.
    pub at_risk: u64,
    /// Of failed tasks, waiting for the locktime to fall back.
    pub waiting: u64,
    /// Earned, not redeemed yet.
    pub earned: u64,
    /// Under way between this node and the mint.
    pub pending: u64,
    /// What came in and went out, since the beginning.
    pub account: Account,
}

impl Balance {
    /// All of it.
    pub fn total(&self) -> u64 {
        let parts = [self.available, self.purse, self.at_risk, self.waiting, self.earned, self.pending];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

/// Asks for money at a mint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fund {
    /// How much.
    pub amount: u64,
    /// Where; the wallet's only mint if not said.
    pub mint: Option<MintUrl>,
    /// In what; the mint's only unit if not said.
    pub unit: Option<Unit>,
}

/// A line of a funding's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Funding {
    /// To be paid.
    Quote {
        /// The mint.
        mint: MintUrl,
        /// The mint's name for it.
        quote: String,
        /// What to pay: a Lightning invoice, as a rule.
        request: String,
        /// How much is issued once it is paid.
        amount: u64,
        /// Its unit.
        unit: Unit,
        /// When it lapses.
        expires: Timestamp,
    },
    /// Paid and issued.
    Funded {
        /// The mint.
        mint: MintUrl,
        /// How much.
        amount: u64,
        /// Its unit.
        unit: Unit,
    },
}

/// Asks for a token to hand to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send {
    /// How much it is worth to the receiver's mint.
    pub amount: u64,
    /// Of which mint; the wallet's only one if not said.
    pub mint: Option<MintUrl>,
    /// In what; the mint's only unit if not said.
    pub unit: Option<Unit>,
}

/// Money as text: whoever has it, has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// `cashuB…` (NUT-00).
    pub token: String,
    /// Its mint.
    pub mint: MintUrl,
    /// Its worth.
    pub amount: u64,
    /// Its unit.
    pub unit: Unit,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} {} of {}, hidden)", self.amount, self.unit, self.mint)
    }
}

/// A token to take in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    /// `cashuA…` or `cashuB…`.
    pub token: String,
}

impl std::fmt::Debug for Receive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receive(hidden)")
    }
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// At which mint.
    pub mint: MintUrl,
    /// How much, after the mint's fee.
    pub amount: u64,
    /// What the mint kept.
    pub fee: u64,
    /// Its unit.
    pub unit: Unit,
}

/// Asks for coins that this wallet's phrase once made, before this home folder was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// Where; the wallet's only mint if not said.
    pub mint: Option<MintUrl>,
    /// In what; the mint's only unit if not said.
    pub unit: Option<Unit>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// At which mint.
    pub mint: MintUrl,
    /// How much.
    pub amount: u64,
    /// Its unit.
    pub unit: Unit,
}

/// A mint that the operator accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintView {
    /// Its URL.
    pub url: MintUrl,
    /// What it calls itself, once it has been reached.
    pub name: Option<String>,
    /// The units that it issues; empty until it has been reached.
    pub units: Vec<Unit>,
    /// Whether it was added by command; otherwise it stands in the settings.
    pub added: bool,
}

/// Adds a mint to the accepted ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddMint {
    /// Its URL.
    pub url: MintUrl,
}

/// A request that didn't come off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What, with its causes.
    pub message: String,
    /// The party at fault.
    #[serde(serialize_with = "fault_code", deserialize_with = "fault_from_code")]
    pub fault: Fault,
    /// What the caller can do about it.
    pub hint: Option<String>,
    /// Whether it is that the thing asked for isn't there.
    #[serde(default)]
    pub missing: bool,
}

impl ApiError {
    /// Of an error with its causes.
    pub fn of<E: AtFault>(error: &E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Transparent errors say what their cause says.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self { message, fault: error.fault(), hint: error.hint().map(Into::into), missing: false }
    }

    /// The caller's fault.
    pub fn misuse(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), fault: Fault::Ours, hint: Some(hint.into()), missing: false }
    }

    /// What is asked for isn't there.
    pub fn missing(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { missing: true, ..Self::misuse(message, hint) }
    }
}

impl<E: AtFault> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

fn fault_code<S: Serializer>(fault: &Fault, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(fault.code())
}

fn fault_from_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fault, D::Error> {
    let code = String::deserialize(deserializer)?;
    Fault::from_code(&code).ok_or_else(|| D::Error::custom("not the code of a fault"))
}
