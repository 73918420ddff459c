//! What can be asked of a node, and at which risk.

use serde::{Deserialize, Serialize};

/// How much harm an action can do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// It reads.
    Low,
    /// It spends within a budget, or takes in.
    Medium,
    /// It adds a way to spend, to run or to publish, or moves money out.
    High,
}

impl Risk {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Whatever a caller can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// See what the node is, holds, sells and did.
    Look,
    /// See who sells what.
    Find,
    /// Recall what is remembered, of the domains that the caller may read.
    Recall,
    /// Hire, within a budget.
    Hire,
    /// Call off what the caller hired itself.
    Cancel,
    /// Remember, with as much trust as the caller has.
    Remember,
    /// Forget memories that are named one by one.
    Forget,
    /// Connect to a peer.
    Dial,
    /// Ask a mint for a quote, to put money in.
    Fund,
    /// Take a token in.
    Receive,
    /// Take a token back that was sent: whoever was given it has nothing then.
    Reclaim,
    /// Look for coins that the phrase made.
    Restore,
    /// Hire above the price that is asked for, under a grant, or let a seller subcontract.
    HireAbove,
    /// Make a token of money.
    Send,
    /// See the text of one that was made: whoever has it has the money.
    ShowToken,
    /// Pay an invoice.
    Pay,
    /// Count no more on locked money, so that it may be paid again.
    WriteOff,
    /// Accept a mint's ecash.
    AddMint,
    /// Accept it no more.
    RemoveMint,
    /// Put a service on sale: it runs a program here.
    AddService,
    /// Take one off sale.
    RemoveService,
    /// Let another agent buy in this one's name.
    Grant,
    /// Take a grant in, to spend under.
    ImportGrant,
    /// Take a delegation back.
    Revoke,
    /// Set a duty off, which spends within its own budget.
    RunDuty,
    /// Pause a duty, or call a run of one off.
    PauseDuty,
    /// Add a duty, or replace its file: it spends by itself.
    AddDuty,
    /// Resume or remove one.
    ChangeDuty,
    /// Add, change or remove a webhook: a way to set duties off from outside.
    ChangeHook,
    /// Forget whatever answers a question, is of a domain or from a source, or is old.
    ForgetMany,
    /// Say who may read and write a domain of the memory, and whether it may leave.
    SetDomain,
    /// Take a private domain out as files.
    ExportPrivate,
    /// Take memories in that were edited, as the owner's word.
    ImportTrusted,
    /// Add, change, test or remove an endpoint of webhooks: it publishes what happens here.
    ChangeEndpoint,
    /// Go through the memory, and make less of it.
    Dream,
    /// Add a caller.
    AddCaller,
    /// Revoke one.
    RevokeCaller,
    /// Answer what waits for the owner's word.
    Approve,
    /// Copy all that the node holds, keys and money.
    Backup,
    /// Stop the node.
    Stop,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 40] = [
        Self::Look,
        Self::Find,
        Self::Recall,
        Self::Hire,
        Self::Cancel,
        Self::Remember,
        Self::Forget,
        Self::Dial,
        Self::Fund,
        Self::Receive,
        Self::Reclaim,
        Self::Restore,
        Self::HireAbove,
        Self::Send,
        Self::ShowToken,
        Self::Pay,
        Self::WriteOff,
        Self::AddMint,
        Self::RemoveMint,
        Self::AddService,
        Self::RemoveService,
        Self::Grant,
        Self::ImportGrant,
        Self::Revoke,
        Self::RunDuty,
        Self::PauseDuty,
        Self::AddDuty,
        Self::ChangeDuty,
        Self::ChangeHook,
        Self::ForgetMany,
        Self::SetDomain,
        Self::ExportPrivate,
        Self::ImportTrusted,
        Self::ChangeEndpoint,
        Self::Dream,
        Self::AddCaller,
        Self::RevokeCaller,
        Self::Approve,
        Self::Backup,
        Self::Stop,
    ];

    /// The risk of each action. Every action has its line: one that is added doesn't compile without.
    pub fn risk(self) -> Risk {
        match self {
            Self::Look | Self::Find | Self::Recall => Risk::Low,
            Self::Hire | Self::Cancel | Self::Remember | Self::Forget => Risk::Medium,
            Self::Dial | Self::Fund | Self::Receive | Self::Restore => Risk::Medium,
            Self::PauseDuty => Risk::Medium,
            Self::HireAbove | Self::WriteOff => Risk::High,
            Self::Send | Self::ShowToken | Self::Reclaim | Self::Pay => Risk::High,
            Self::AddMint | Self::RemoveMint => Risk::High,
            Self::AddService | Self::RemoveService => Risk::High,
            Self::Grant | Self::ImportGrant | Self::Revoke => Risk::High,
            // It spends on the duty's budget, not on the caller's.
            Self::RunDuty => Risk::High,
            Self::AddDuty | Self::ChangeDuty | Self::ChangeHook | Self::ChangeEndpoint => Risk::High,
            Self::ForgetMany | Self::SetDomain | Self::ExportPrivate | Self::ImportTrusted => Risk::High,
            Self::Dream => Risk::High,
            Self::AddCaller | Self::RevokeCaller | Self::Approve | Self::Backup | Self::Stop => Risk::High,
        }
    }

    /// Whether it is the owner's alone: nobody else may even ask for it.
    pub(super) fn is_the_owners(self) -> bool {
        matches!(self, Self::Approve | Self::Backup)
    }

    /// In a word, for logs, errors and approvals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Find => "find",
            Self::Recall => "recall",
            Self::Hire => "hire",
            Self::Cancel => "cancel",
            Self::Remember => "remember",
            Self::Forget => "forget",
            Self::Dial => "dial",
            Self::Fund => "fund",
            Self::Receive => "receive",
            Self::Reclaim => "reclaim",
            Self::Restore => "restore",
            Self::HireAbove => "hire-above",
            Self::Send => "send",
            Self::ShowToken => "show-token",
            Self::Pay => "pay",
            Self::WriteOff => "write-off",
            Self::AddMint => "add-mint",
            Self::RemoveMint => "remove-mint",
            Self::AddService => "add-service",
            Self::RemoveService => "remove-service",
            Self::Grant => "grant",
            Self::ImportGrant => "import-grant",
            Self::Revoke => "revoke",
            Self::RunDuty => "run-duty",
            Self::PauseDuty => "pause-duty",
            Self::AddDuty => "add-duty",
            Self::ChangeDuty => "change-duty",
            Self::ChangeHook => "change-hook",
            Self::ForgetMany => "forget-many",
            Self::SetDomain => "set-domain",
            Self::ExportPrivate => "export-private",
            Self::ImportTrusted => "import-trusted",
            Self::ChangeEndpoint => "change-endpoint",
            Self::Dream => "dream",
            Self::AddCaller => "add-caller",
            Self::RevokeCaller => "revoke-caller",
            Self::Approve => "approve",
            Self::Backup => "backup",
            Self::Stop => "stop",
        }
    }
}
