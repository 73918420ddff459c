//! What is asked of a node and what it answers, as it stands in the control API's JSON.
//!
//! Identities stand as peer IDs, content IDs and mints as text, moments as seconds since the Unix epoch.
//!
//! These types are the description of the API, too: `docs/openapi.json` is made of them and of the routes. What is stored has
//! types of its own, so that neither binds the other. An enum with an `Unknown` is open: a later version may say more.

use guilder_protocol::{
    invitation::MintPin,
    market::{MintUrl, ServiceName, Unit},
    settlement::Mode,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use super::error::{ApiError, ErrorCode};
pub use crate::trade::{Earnings, EarningsBy, Hire};
use crate::{
    aliases::Named,
    duty::HookKind,
    events::Stamped,
    gate::{ApprovalState, Risk},
    mint::Totals,
    network::size::SwarmSize,
    wallet::{self, Account},
};

/// How the node does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// The peers to start from, as `network.bootstrap` names them.
    #[serde(default)]
    pub bootstrap: Vec<BootstrapPeer>,
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
    /// What speaks against this machine's clock, in words, if most peers heard last agree that it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// What came of reading the settings again (SIGHUP), the last time that it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reloaded: Option<ReloadView>,
}

/// The settings, read again while the node runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Reload)]
pub struct ReloadView {
    /// When.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// The settings that were changed by it.
    pub applied: Vec<String>,
    /// Those that the file has otherwise, in force from the next start on.
    pub restart: Vec<String>,
    /// Why the file couldn't be read; then nothing was changed.
    #[schema(required)]
    pub error: Option<String>,
}

/// A peer to start from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BootstrapPeer {
    /// Where it is dialled.
    pub address: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Why the last dial failed; none while it is connected, and before the first dial ended.
    #[schema(required)]
    pub error: Option<String>,
}

/// The node's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// `12D3Koo…`
    pub peer_id: String,
    /// `did:key:z6Mk…`
    pub did: String,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Who.
    pub peer_id: String,
    /// Where: the remote addresses of its connections.
    pub addresses: Vec<String>,
    /// What software it says it runs.
    #[schema(required)]
    pub software: Option<String>,
    /// The last measured round trip, in microseconds.
    #[schema(required)]
    pub round_trip_us: Option<u64>,
    /// How long it has been connected, in seconds.
    pub connected_secs: u64,
}

/// Asks to connect to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// A multiaddr that ends in `/p2p/` and the peer ID.
    pub address: String,
}

/// A service on sale here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Service)]
pub struct ServiceView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ServiceName,
    /// For people.
    pub description: String,
    /// Net price of one task.
    pub price: u64,
    /// Its unit.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// What runs it: `echo`, `process`, `http`, `mcp`.
    pub executor: String,
    /// Tasks at once.
    pub concurrency: u64,
    /// Longest that one task works.
    pub time_limit_secs: u64,
    /// Mints whose ecash is taken for it.
    #[schema(value_type = Vec<String>)]
    pub mints: Vec<MintUrl>,
}

/// A service that others sell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Found {
    /// Who sells.
    pub seller: String,
    /// What.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// For people.
    pub description: String,
    /// Net list price.
    pub price: u64,
    /// Its unit.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// Mints whose ecash is taken.
    #[schema(value_type = Vec<String>)]
    pub mints: Vec<MintUrl>,
    /// When the advert ends unless it is renewed.
    #[schema(value_type = Option<u64>, required)]
    pub expires: Option<Timestamp>,
    /// Whether it is this node itself: free for who hires here.
    #[serde(default)]
    pub own: bool,
    /// How it can be paid.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub modes: Vec<Mode>,
    /// How old the advert is, in seconds: what its seller said then. A seller renews it every twenty minutes.
    #[serde(default)]
    pub age_secs: u64,
    /// Whether the seller is connected now.
    #[serde(default)]
    pub connected: bool,
}

/// What sellers are looked for. What isn't said asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct FindTerms {
    /// Stop after so many [default: 20].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// At most this list price, in whatever unit it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price: Option<u64>,
    /// Priced in this unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub unit: Option<Unit>,
    /// Paid at this mint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub mint: Option<MintUrl>,
    /// Paid this way: escrow or prepaid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub mode: Option<Mode>,
    /// Each of these words stands in the service's name or description, in whatever case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// Only who is connected, or answers now.
    pub reachable: bool,
}

/// What a hire's stream tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HireEvent {
    /// First: it has a name.
    Hired(Hired),
    /// A step of it.
    Step(Box<Step>),
    /// Last: how it ended.
    Ended(Box<TaskView>),
    /// What a later version tells: skipped.
    #[serde(other)]
    Unknown,
}

/// The task that a hire is from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hired {
    /// Its ID.
    pub task: String,
}

/// A step of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Milliseconds since it was hired.
    pub task_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub said: DescribedEvent,
}

/// An event of the node, with a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DescribedEvent {
    /// The same in words.
    pub say: String,
    /// The event.
    #[serde(flatten)]
    pub event: Stamped,
}

impl From<&Stamped> for DescribedEvent {
    fn from(event: &Stamped) -> Self {
        Self { say: event.event.say(), event: event.clone() }
    }
}

/// What the stream of all events tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeEvent {
    /// Something happened.
    Event(Box<DescribedEvent>),
    /// The listener was too slow: so many events are gone.
    Missed {
        /// How many.
        missed: u64,
    },
    /// Of what came before the event of this number something is no longer kept, or was lost when the node was killed.
    Gap {
        /// The number.
        until: u64,
    },
    /// What a later version tells: skipped.
    #[serde(other)]
    Unknown,
}

/// A line of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Line<T> {
    /// The next of what was asked for.
    Item(T),
    /// The stream broke off; it is the last line.
    Error(ApiError),
}

/// Which tasks are listed: the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, clap::Args)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TaskListing {
    /// At most so many [default: 20].
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only those before this one: the last of the page before.
    #[arg(long, value_name = "ID")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Only those that stand so: searching, awarded, working, fetching, opening, delivered, failed, cancelled; or open, or over.
    #[arg(long, value_name = "STATE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only those that were bought (buyer), or sold (seller).
    #[arg(long, value_name = "SIDE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub side: Option<TaskSide>,
    /// Only those of this service.
    #[arg(long, value_name = "NAME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// Only those with this peer on the other side: a peer ID or a DID.
    #[arg(long, value_name = "PEER")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Only those that began then or later: 2026-11-29, 2026-11-29T08:00:00Z, or seconds since the Unix epoch.
    #[arg(long, value_name = "TIME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only those that began before then.
    #[arg(long, value_name = "TIME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only those that were hired with this label.
    #[arg(long, value_name = "TEXT")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Which earnings are summed up, and by what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EarningsQuery {
    /// By what.
    #[serde(default)]
    #[param(inline)]
    pub by: EarningsBy,
    /// Only what was taken since then, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u64>)]
    pub since: Option<Timestamp>,
}

/// Lets another agent buy in our name, from its own money. What isn't said is decided by
/// [`Api::grant`](crate::api::Api::grant).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// Who may buy: a peer ID or a DID.
    pub grantee: String,
    /// What.
    #[schema(value_type = Vec<String>)]
    pub services: Vec<ServiceName>,
    /// The most that one task may cost, net.
    pub max_price: u64,
    /// The most that all tasks together may cost, net.
    pub budget: u64,
    /// For how long, in seconds.
    pub expires_secs: u64,
    /// The most delegations from the principal to whoever buys; null for as few as there are then.
    #[serde(default)]
    pub depth: Option<u64>,
    /// The unit of the amounts; null for the wallet's, or that of the grant above.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub unit: Option<Unit>,
    /// The mint whose money it is; null for the only one that is accepted, or that of the grant above.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub mint: Option<MintUrl>,
    /// The grant that we hold and of which this passes a part on; null to grant in our own name.
    #[serde(default)]
    pub under: Option<String>,
}

/// A caller that is to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerRequest {
    /// Small letters, digits and dashes.
    pub name: String,
    /// The highest risk that it may ask for. Of `high` each request waits for the owner's word.
    pub risk: Risk,
    /// The most that may be awarded for it in a day (UTC); needed from `medium` on.
    #[serde(default)]
    pub budget: Option<u64>,
    /// In which unit [default: wallet.unit of the settings]; it hires in no other.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub unit: Option<Unit>,
    /// The services that it may hire; any if none is named.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub services: Vec<ServiceName>,
}

/// A caller was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddedCaller {
    /// Its name.
    pub name: String,
    /// The file that holds its token, readable by the node's user alone.
    pub token_file: String,
}

/// A program or an agent with a token of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Caller)]
pub struct CallerView {
    /// Its name.
    pub name: String,
    /// The highest risk that it may ask for.
    pub risk: RiskView,
    /// The most that may be awarded for it in a day (UTC).
    #[schema(required)]
    pub budget: Option<u64>,
    /// In which unit.
    #[schema(value_type = Option<String>, required)]
    pub unit: Option<Unit>,
    /// What is awarded today, without what has come back.
    pub spent_today: u64,
    /// The services that it may hire; any if there is none.
    #[schema(value_type = Vec<String>)]
    pub services: Vec<ServiceName>,
    /// Since when.
    #[schema(value_type = u64)]
    pub added: Timestamp,
}

/// How much harm what a caller asks for can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RiskView {
    /// It reads.
    Low,
    /// It spends within a budget, or takes in.
    Medium,
    /// It adds a way to spend, to run or to publish, or moves money out.
    High,
    /// As a later version knows.
    #[serde(other)]
    Unknown,
}

impl RiskView {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => Risk::Low.as_str(),
            Self::Medium => Risk::Medium.as_str(),
            Self::High => Risk::High.as_str(),
            Self::Unknown => "unknown",
        }
    }
}

impl From<Risk> for RiskView {
    fn from(risk: Risk) -> Self {
        match risk {
            Risk::Low => Self::Low,
            Risk::Medium => Self::Medium,
            Risk::High => Self::High,
        }
    }
}

/// What waits for the owner's word, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Approval)]
pub struct ApprovalView {
    /// Its ID.
    pub id: String,
    /// Who asks: `caller/NAME`.
    pub caller: String,
    /// For what, in a word.
    pub action: String,
    /// All of its terms, as JSON: granted is this, and nothing that differs in anything.
    pub terms: String,
    /// When it was asked for.
    #[schema(value_type = u64)]
    pub asked: Timestamp,
    /// Where it stands.
    pub state: ApprovalStateView,
    /// Since when.
    #[schema(value_type = u64)]
    pub since: Timestamp,
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ApprovalState)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStateView {
    /// It waits.
    Asked,
    /// The owner said yes, and it hasn't been done.
    Granted,
    /// The owner said no.
    Refused,
    /// It was granted, and done.
    Used,
    /// As a later version knows.
    #[serde(other)]
    Unknown,
}

impl ApprovalStateView {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Used => "used",
            Self::Unknown => "unknown",
        }
    }
}

impl From<ApprovalState> for ApprovalStateView {
    fn from(state: ApprovalState) -> Self {
        match state {
            ApprovalState::Asked => Self::Asked,
            ApprovalState::Granted => Self::Granted,
            ApprovalState::Refused => Self::Refused,
            ApprovalState::Used => Self::Used,
        }
    }
}

/// The owner's yes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// That of the secret file, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

/// Shows that there is one, never which.
impl std::fmt::Debug for Consent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consent").field("passphrase", &self.passphrase.is_some()).finish()
    }
}

/// Takes in a grant that was made to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportGrant {
    /// Its text: `guilder-grant-1:…`
    pub text: String,
}

/// Takes a delegation back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Its ID or the last letters of it, or a grant's text whose last delegation is taken back.
    pub what: String,
}

/// A delegation that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Revoked)]
pub struct RevokedView {
    /// Content ID of the delegation.
    pub delegation: String,
    /// When, in Unix seconds.
    #[schema(value_type = Option<u64>, required)]
    pub at: Option<Timestamp>,
    /// Until when it is remembered, for it has ended then.
    #[schema(value_type = u64)]
    pub until: Timestamp,
    /// Connected peers, who are told.
    pub peers: u64,
}

/// A standing grant, given or held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Grant)]
pub struct GrantView {
    /// Content ID of the delegation to the grantee.
    pub id: String,
    /// `given` or `held`.
    pub side: String,
    /// `valid`, `revoked` or `ended`.
    pub state: String,
    /// On whose authority.
    pub principal: String,
    /// Who passed it on to the grantee.
    pub grantor: String,
    /// Who may buy.
    pub grantee: String,
    /// What; empty if it names no services.
    pub services: Vec<String>,
    /// The most that one task may cost.
    #[schema(required)]
    pub max_price: Option<u64>,
    /// The most that all tasks together may cost.
    #[schema(required)]
    pub budget: Option<u64>,
    /// Of one that we hold: how much of the budget was awarded or passed on.
    #[schema(required)]
    pub spent: Option<u64>,
    /// The unit of the amounts.
    #[schema(required)]
    pub unit: Option<String>,
    /// The mint whose money it is.
    #[schema(required)]
    pub mint: Option<String>,
    /// The most delegations from the principal to whoever buys.
    #[schema(required)]
    pub depth: Option<u64>,
    /// How many there are to the grantee.
    pub delegations: u64,
    /// Its last second.
    #[schema(value_type = u64)]
    pub expires: Timestamp,
    /// When it was made, or came.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// Of one that was given: whether the grantee has it.
    pub handed_over: bool,
    /// Who revoked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// All of it as a line of text, for `guilder grants import`.
    pub text: String,
}

/// What the operator calls a peer or a mint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    /// The name, without the `@`.
    pub name: String,
    /// `peer` or `mint`.
    pub kind: String,
    /// The peer's ID, or the mint's URL.
    pub target: String,
}

impl From<(&str, &Named)> for Alias {
    fn from((name, target): (&str, &Named)) -> Self {
        Self { name: name.to_owned(), kind: target.kind().to_owned(), target: target.to_string() }
    }
}

/// The file of a duty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DutyFile {
    /// Its text: TOML, as docs/duties.md says.
    pub file: String,
}

/// Which runs are listed: the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, clap::Args)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RunListing {
    /// Only those of this duty.
    #[arg(value_name = "DUTY")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<String>,
    /// At most so many [default: 20].
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Whether the answer waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RunWait {
    /// Until the run is over, 15 seconds at the most.
    #[serde(default)]
    pub wait: bool,
}

/// Adds a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookRequest {
    /// Its name: the end of its URL's path.
    pub name: String,
    /// How it is signed.
    pub kind: HookKind,
}

/// Adds an endpoint of webhooks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    /// Its name.
    pub name: String,
    /// Where it is: on this machine, or `https://`.
    pub url: String,
    /// The events that it is told of; all if there are none.
    #[serde(default)]
    pub events: Vec<String>,
}

/// A URL may have a secret in it.
impl std::fmt::Debug for EndpointRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointRequest")
            .field("name", &self.name)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// Replaces the secret of a hook or of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookRotation {
    /// That its sender has the new one: the one before is taken no more.
    #[serde(default)]
    pub done: bool,
}

/// Which side of a task this node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TaskSide {
    /// It pays.
    Buyer,
    /// It works.
    Seller,
    /// One that a later version knows. None to ask for.
    #[serde(other)]
    #[value(skip)]
    Unknown,
}

/// A task, bought or sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    /// Content ID of the root ask.
    pub id: String,
    /// Which side we are on.
    pub side: TaskSide,
    /// Whether this node's own service did it: for free, and nothing was signed.
    #[serde(default)]
    pub own: bool,
    /// The service.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// The other side, once there is one.
    #[schema(required)]
    pub peer: Option<String>,
    /// Where it stands, in one word.
    pub state: String,
    /// Whether nothing more will happen.
    pub ended: bool,
    /// Whether it was delivered.
    pub delivered: bool,
    /// Why it failed or was called off, if it was: in the shape of all errors.
    #[schema(required)]
    pub failure: Option<ApiError>,
    /// Net price, once agreed.
    #[schema(required)]
    pub price: Option<u64>,
    /// Its unit.
    #[schema(value_type = Option<String>, required)]
    pub unit: Option<Unit>,
    /// The mint that it is paid at.
    #[schema(value_type = Option<String>, required)]
    pub mint: Option<MintUrl>,
    /// When it began.
    #[schema(value_type = u64)]
    pub created: Timestamp,
    /// When it last moved.
    #[schema(value_type = u64)]
    pub updated: Timestamp,
    /// Content ID of the award.
    #[schema(required)]
    pub award: Option<String>,
    /// When the seller took the award, as it signed, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub accepted: Option<Timestamp>,
    /// When the buyer called it off, as it signed, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub called_off: Option<Timestamp>,
    /// Content ID of the receipt.
    #[schema(required)]
    pub receipt: Option<String>,
    /// When the buyer had the output, as it signed, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub received: Option<Timestamp>,
    /// Size of the output, if it is here.
    #[schema(required)]
    pub output_bytes: Option<u64>,
    /// The salt under which the receipt commits to the output, in hex: `guilder audit verify` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// As a buyer: whether the output is what the seller promised, if it promised something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_check: Option<OutputCheck>,
    /// What became of the money, in words.
    #[schema(required)]
    pub money: Option<String>,
    /// As a seller: what the mint gave for it, once it has.
    #[schema(required)]
    pub redeemed: Option<u64>,
    /// What was said last of the work, while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<TaskProgress>,
    /// What its caller calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// As a seller: the end of what the program wrote to its standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

/// What came of holding an output against the schema that its seller promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum OutputCheck {
    /// It satisfies the schema.
    Valid,
    /// It doesn't; it is paid for all the same.
    Invalid {
        /// What is wrong first, and where.
        why: String,
    },
    /// That couldn't be told.
    Unchecked {
        /// Why.
        why: String,
    },
    /// What a later version tells.
    #[serde(other)]
    Unknown,
}

/// What was said last of a task's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskProgress {
    /// Parts per thousand that are done, if that was said.
    #[schema(required)]
    pub permille: Option<u16>,
    /// What it was at, the latest last.
    pub notes: Vec<String>,
    /// The end of the words that have been written so far.
    pub partial: String,
}

impl TaskView {
    /// What it is named by where a listing goes on after it: a seller may have sold the same task several times.
    pub fn cursor(&self) -> &str {
        match (self.side, &self.award) {
            (TaskSide::Seller, Some(award)) => award,
            _ => &self.id,
        }
    }
}

/// What the wallet holds at one mint in one unit, by where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    /// The mint.
    #[schema(value_type = String)]
    pub mint: MintUrl,
    /// The unit.
    #[schema(value_type = String)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fund {
    /// How much.
    pub amount: u64,
    /// Where; the wallet's only mint if not said.
    #[schema(value_type = Option<String>)]
    pub mint: Option<MintUrl>,
    /// In what; the mint's only unit if not said.
    #[schema(value_type = Option<String>)]
    pub unit: Option<Unit>,
}

/// What a funding's stream tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Funding {
    /// To be paid.
    Quote {
        /// The mint.
        #[schema(value_type = String)]
        mint: MintUrl,
        /// The mint's name for it.
        quote: String,
        /// What to pay: a Lightning invoice, as a rule.
        request: String,
        /// How much is issued once it is paid.
        amount: u64,
        /// Its unit.
        #[schema(value_type = String)]
        unit: Unit,
        /// When it lapses.
        #[schema(value_type = u64)]
        expires: Timestamp,
    },
    /// Paid and issued.
    Funded {
        /// The mint.
        #[schema(value_type = String)]
        mint: MintUrl,
        /// How much.
        amount: u64,
        /// Its unit.
        #[schema(value_type = String)]
        unit: Unit,
    },
    /// What a later version tells: skipped.
    #[serde(other)]
    Unknown,
}

/// Asks for a token to hand to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// How much it is worth to the receiver's mint.
    pub amount: u64,
    /// Of which mint; the wallet's only one if not said.
    #[schema(value_type = Option<String>)]
    pub mint: Option<MintUrl>,
    /// In what; the mint's only unit if not said.
    #[schema(value_type = Option<String>)]
    pub unit: Option<Unit>,
}

/// Money as text: whoever has it, has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Names it among the tokens sent.
    pub id: String,
    /// `cashuB…` (NUT-00).
    pub token: String,
    /// Its mint.
    #[schema(value_type = String)]
    pub mint: MintUrl,
    /// Its worth.
    pub amount: u64,
    /// Its unit.
    #[schema(value_type = String)]
    pub unit: Unit,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} {} of {}, hidden)", self.amount, self.unit, self.mint)
    }
}

/// A token to take in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Received {
    /// At which mint.
    #[schema(value_type = String)]
    pub mint: MintUrl,
    /// How much, after the mint's fee.
    pub amount: u64,
    /// What the mint kept.
    pub fee: u64,
    /// Its unit.
    #[schema(value_type = String)]
    pub unit: Unit,
}

/// Asks for coins that this wallet's phrase once made, before this home folder was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// Where; the wallet's only mint if not said.
    #[schema(value_type = Option<String>)]
    pub mint: Option<MintUrl>,
    /// In what; the mint's only unit if not said.
    #[schema(value_type = Option<String>)]
    pub unit: Option<Unit>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// At which mint.
    #[schema(value_type = String)]
    pub mint: MintUrl,
    /// How much has come into the balance.
    pub amount: u64,
    /// Its unit.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// How much is in tokens that were sent and that nobody has spent.
    pub sent: u64,
    /// How much has left the balance, because another copy of this wallet has spent it.
    pub spent_elsewhere: u64,
}

/// A token that was sent, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Sent)]
pub struct SentView {
    /// Names it.
    pub id: String,
    /// Its mint.
    #[schema(value_type = String)]
    pub mint: MintUrl,
    /// Its worth.
    pub amount: u64,
    /// Its unit.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// When it was made, or found again.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// What became of it.
    pub state: SentState,
}

/// What is known of a token that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SentState {
    /// Nobody has been seen to have spent it.
    Open,
    /// All of it was spent by whoever has its text.
    Spent,
    /// It was reclaimed into this wallet.
    Reclaimed,
    /// What a later version tells.
    #[serde(other)]
    Unknown,
}

impl From<wallet::SentState> for SentState {
    fn from(state: wallet::SentState) -> Self {
        match state {
            wallet::SentState::Open => Self::Open,
            wallet::SentState::Spent => Self::Spent,
            wallet::SentState::Reclaimed => Self::Reclaimed,
        }
    }
}

/// A change of a balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// Its number: they rise with time.
    pub number: u64,
    /// When, by this machine's clock.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// The mint.
    #[schema(value_type = String)]
    pub mint: MintUrl,
    /// The unit.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// How much.
    pub amount: u64,
    /// Why.
    pub reason: HistoryReason,
    /// Whether it came in; otherwise it went out.
    pub came_in: bool,
    /// The trade, the quote or the token that it was for, or a cause in words.
    #[schema(required)]
    pub detail: Option<String>,
}

impl From<wallet::HistoryEntry> for HistoryEntry {
    fn from(entry: wallet::HistoryEntry) -> Self {
        let wallet::HistoryEntry { number, at, mint, unit, amount, reason, detail } = entry;
        Self { number, at, mint, unit, amount, reason: reason.into(), came_in: reason.is_in(), detail }
    }
}

/// Why a balance changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryReason {
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
    /// What a later version tells; `came_in` says which way.
    #[serde(other)]
    Unknown,
}

impl From<wallet::Reason> for HistoryReason {
    fn from(reason: wallet::Reason) -> Self {
        use wallet::Reason;
        match reason {
            Reason::Funded => Self::Funded,
            Reason::Restored => Self::Restored,
            Reason::Received => Self::Received,
            Reason::Reclaimed => Self::Reclaimed,
            Reason::Accepted => Self::Accepted,
            Reason::Voided => Self::Voided,
            Reason::Sent => Self::Sent,
            Reason::Invoice => Self::Invoice,
            Reason::Paid => Self::Paid,
            Reason::Forfeited => Self::Forfeited,
            Reason::Fee => Self::Fee,
            Reason::Lost => Self::Lost,
        }
    }
}

/// Names a token that was sent, by the beginning of its ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reclaim {
    /// The beginning of its ID.
    pub id: String,
}

/// Something that is under way in the wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Pending)]
pub struct PendingView {
    /// Names it.
    pub id: String,
    /// What it is: `refill`, `send`, `renew`, `receive`, `redeem`, `refund`, `mint`, `pay`, `quote`, `earned`, `locked`.
    pub what: String,
    /// The mint.
    #[schema(value_type = String)]
    pub mint: MintUrl,
    /// How much.
    pub amount: u64,
    /// Its unit.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// Since when.
    #[schema(value_type = u64)]
    pub since: Timestamp,
    /// What holds it up, if that is known.
    #[schema(required)]
    pub why: Option<String>,
    /// What ends it.
    pub ends: String,
}

/// Pays a Lightning invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// BOLT 11.
    pub invoice: String,
    /// With money of this mint; the wallet's only one if not said.
    #[schema(value_type = Option<String>)]
    pub mint: Option<MintUrl>,
    /// In this unit; the mint's only one if not said.
    #[schema(value_type = Option<String>)]
    pub unit: Option<Unit>,
}

/// An invoice that was paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvoicePaid {
    /// With money of this mint.
    #[schema(value_type = String)]
    pub mint: MintUrl,
    /// What its payee got.
    pub amount: u64,
    /// What mint and Lightning kept.
    pub fee: u64,
    /// The unit.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// The proof of payment, in hex, if the mint gave it.
    #[schema(required)]
    pub preimage: Option<String>,
}

/// A mint that the operator accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Mint)]
pub struct MintView {
    /// Its URL.
    #[schema(value_type = String)]
    pub url: MintUrl,
    /// What it calls itself, once it has been reached.
    #[schema(required)]
    pub name: Option<String>,
    /// The units that it issues; empty until it has been reached.
    #[schema(value_type = Vec<String>)]
    pub units: Vec<Unit>,
    /// Whether it was added by command; otherwise it stands in the settings.
    pub added: bool,
    /// Further URLs at which the same mint is accepted.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub also: Vec<MintUrl>,
    /// The fingerprint of the keys that it signs with, once it has been reached: the same for everybody who reaches the same mint.
    #[serde(default)]
    #[schema(value_type = Option<String>, required)]
    pub pin: Option<MintPin>,
}

/// What a node knows of its swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Swarm)]
pub struct SwarmView {
    /// How many nodes there are that keep records for others, estimated from the distances of their keys.
    pub size: SwarmSize,
    /// Connected peers.
    pub connected: u64,
    /// These by how far away they are, the nearest first.
    pub round_trips: Vec<RoundTrips>,
    /// These by what software they say they run.
    pub software: Vec<Software>,
    /// What is on sale as far as was heard, those with most sellers first.
    pub services: Vec<OnSale>,
    /// How many services there are beyond those.
    pub more_services: u64,
}

/// Connected peers at a distance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoundTrips {
    /// A round trip to them takes at most so many milliseconds; none for those that are farther than the last, or not measured yet.
    #[schema(required)]
    pub up_to_ms: Option<u64>,
    /// Whether it was measured.
    pub measured: bool,
    /// How many they are.
    pub peers: u64,
}

/// Connected peers of one software.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Software {
    /// What they say that they run; none where they don't say.
    #[schema(required)]
    pub name: Option<String>,
    /// How many they are.
    pub peers: u64,
}

/// A service on sale in one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OnSale {
    /// Its name.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// The unit of its prices.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// How many sell it.
    pub sellers: u64,
    /// The lowest list price.
    pub lowest: u64,
    /// The highest.
    pub highest: u64,
}

/// Copies of what a running node holds, in files of its home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// The folder that they are in. Whoever asked for them takes it away; the node does at its next start.
    pub folder: String,
}

/// How an accepted mint does, asked now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MintCheck {
    /// Its URL.
    #[schema(value_type = String)]
    pub url: MintUrl,
    /// Why it can't be used; none if it answers as it should.
    #[schema(required)]
    pub error: Option<String>,
    /// What to do about that.
    #[schema(required)]
    pub hint: Option<String>,
    /// How long it took to answer, in milliseconds.
    pub took_ms: u64,
    /// Whether it signs by the keys of `wallet.pins`; none if nothing is pinned, or it doesn't answer.
    #[schema(required)]
    pub as_pinned: Option<bool>,
    /// How far this machine's clock is ahead of its, in seconds; none if it doesn't tell its time.
    #[schema(required)]
    pub ahead_secs: Option<i64>,
}

/// What brings a new node into the swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationView {
    /// The invitation, one line.
    pub invitation: String,
    /// The peers that it names.
    pub peers: Vec<InvitedPeer>,
    /// The mints that it names.
    pub mints: Vec<InvitedMint>,
    /// The unit to pay in.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// What was left out, and why, a sentence each.
    pub left_out: Vec<String>,
}

/// A peer of an invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitedPeer {
    /// Who.
    pub peer_id: String,
    /// Where it is dialled.
    pub addresses: Vec<String>,
}

/// A mint of an invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitedMint {
    /// Where.
    #[schema(value_type = String)]
    pub url: MintUrl,
    /// The fingerprint of the keys by which it signs; none if the inviter hasn't reached it.
    #[schema(value_type = Option<String>, required)]
    pub pin: Option<MintPin>,
}

/// Which invitation is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Invite {
    /// Name addresses of this machine and its networks too [default: false].
    #[serde(default)]
    pub local: bool,
}

/// Adds a mint to the accepted ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddMint {
    /// Its URL.
    #[schema(value_type = String)]
    pub url: MintUrl,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{fault::Fault, identity::AgentKey};
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::{
        console::Exit,
        events::{Event, Money, Outcome, Side},
    };

    fn read<T: DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
        assert_eq!(read::<T>(&serde_json::to_string(value).unwrap()), *value);
    }

    fn step(event: Event) -> HireEvent {
        let event = Stamped { seq: 7, at: Timestamp::from_secs(1_800_000_000), at_ms: 1_200, event };
        HireEvent::Step(Box::new(Step { task_ms: 12, said: DescribedEvent::from(&event) }))
    }

    #[test]
    fn every_line_of_a_hire_reads_as_it_was_written() {
        let task = guilder_protocol::cbor::cid_of(b"ask");
        let peer = AgentKey::from_seed(&[1; 32]).id();
        let price = Money { amount: 3, unit: "sat".into() };
        comes_back(&HireEvent::Hired(Hired { task: task.to_string() }));
        comes_back(&step(Event::Searching { task, service: "text.echo".into() }));
        comes_back(&step(Event::Awarded { task, trade: task, side: Side::Buyer, peer, price }));
        for outcome in
            [Outcome::Done, Outcome::Cancelled, Outcome::Failed { fault: Fault::Peer, reason: "no answer".into() }]
        {
            comes_back(&step(Event::Ended { task, trade: None, side: Side::Buyer, outcome }));
        }
        comes_back(&NodeEvent::Missed { missed: 3 });
        comes_back(&NodeEvent::Gap { until: 9 });
        comes_back(&Line::Item(HireEvent::Hired(Hired { task: "bafy".into() })));
        comes_back(&Line::<Hired>::Error(ApiError::misuse("no", "try again")));
    }

    #[test]
    fn what_a_later_version_tells_is_unknown_and_not_an_error() {
        assert_eq!(read::<HireEvent>(r#"{"kind":"haggled","over":{"much":[1,2]}}"#), HireEvent::Unknown);
        assert_eq!(read::<NodeEvent>(r#"{"kind":"rewound","to":3}"#), NodeEvent::Unknown);
        let json = r#"{"kind":"step","task_ms":1,"say":"haggled","seq":1,"at_ms":2,"event":"haggled","with":{"a":1}}"#;
        let HireEvent::Step(step) = read(json) else { panic!("a step is a step") };
        assert_eq!(step.said.event, Stamped { seq: 1, at: Timestamp::default(), at_ms: 2, event: Event::Unknown });
        let json =
            r#"{"kind":"step","task_ms":1,"say":"ready","seq":1,"at_ms":2,"event":"ready","took_ms":9,"more":[]}"#;
        let HireEvent::Step(step) = read(json) else { panic!("a step is a step") };
        assert_eq!(step.said.event.event, Event::Ready { took_ms: 9 });
    }

    #[test]
    fn a_fault_or_value_that_a_later_version_names_leaves_the_rest_readable() {
        let error = r#"{"code":"weather","fault":"weather","message":"it rains","hint":null,"retryable":false}"#;
        let error = read::<ApiError>(error);
        assert_eq!(
            (error.code, error.fault, error.to_string().as_str()),
            (ErrorCode::Unknown, Fault::Unknown, "it rains")
        );
        assert_eq!(Exit::from(error.fault), Exit::No);
        assert_eq!(read::<SentState>(r#""evaporated""#), SentState::Unknown);
        assert_eq!(read::<HistoryReason>(r#""rained""#), HistoryReason::Unknown);
        assert_eq!(read::<TaskSide>(r#""broker""#), TaskSide::Unknown);

        let task = guilder_protocol::cbor::cid_of(b"ask");
        let outcome = Outcome::Failed { fault: Fault::Peer, reason: "it rains".into() };
        let known = step(Event::Ended { task, trade: None, side: Side::Buyer, outcome });
        let json = serde_json::to_string(&known).unwrap();
        let HireEvent::Step(read_step) = read(&json.replace(r#""fault":"peer""#, r#""fault":"weather""#)) else {
            panic!()
        };
        let Event::Ended { outcome: Outcome::Failed { fault, .. }, .. } = &read_step.said.event.event else { panic!() };
        assert_eq!(*fault, Fault::Unknown);
        let HireEvent::Step(read_step) = read(&json.replace(r#""side":"buyer""#, r#""side":"broker""#)) else {
            panic!()
        };
        let Event::Ended { side, task: of, .. } = &read_step.said.event.event else { panic!() };
        assert_eq!((side, of), (&Side::Unknown, &task));
        // A value of another kind: the sentence for people is still there.
        let (today, later) = (r#""trade":null"#, r#""trade":{"of":[1]}"#);
        assert!(json.contains(today), "{json}");
        let HireEvent::Step(read_step) = read(&json.replace(today, later)) else { panic!() };
        let HireEvent::Step(known) = &known else { panic!() };
        assert_eq!((&read_step.said.event.event, &read_step.said.say), (&Event::Unknown, &known.said.say));
        assert_eq!(read_step.said.event.seq, known.said.event.seq);
        let no_event = r#"{"kind":"step","task_ms":1,"say":"?","seq":1,"at_ms":2}"#;
        assert!(serde_json::from_str::<HireEvent>(no_event).is_err());
    }
}
