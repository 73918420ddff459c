//! What is hired, and on what terms: on the command line, in a query, and in the trade.

use cid::Cid;
use guilder_protocol::{
    identity::AgentId,
    limits::{MAX_CHAIN, MAX_SUB_SERVICES},
    market::{MintUrl, ServiceName, Unit},
    settlement::Mode,
    ucan::grant::GrantChain,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use crate::{
    gate::Mandate,
    trade::{budgets::Budget, keys::KeyClaim},
};

/// Levels of subcontractors: as many as a chain has delegations.
const MAX_SUB_DEPTH: u64 = MAX_CHAIN as u64;

/// What is hired, and on what terms: the one request that every face makes, and the query of `POST /v1/tasks`; the input
/// travels beside it. What isn't said is decided by [`Api::hire`](crate::api::Api::hire).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams, clap::Args)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Hire {
    /// The service's name, e.g. text.summarize.
    #[param(value_type = String)]
    pub service: ServiceName,
    /// The most you pay, net [default: hire.max_price of the settings].
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<u64>,
    /// The unit to pay in [default: that of the mint, or the only one you hold].
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub unit: Option<Unit>,
    /// When the delivery must be there: 90s, 5m, 1h [default: hire.deadline_secs of the settings].
    #[arg(long = "deadline", value_name = "TIME", value_parser = parse_duration)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_secs: Option<u64>,
    /// Hire this seller and no other: a peer ID or a DID.
    #[arg(long, value_name = "PEER", value_parser = parse_agent)]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "agent_text")]
    #[param(value_type = Option<String>)]
    pub seller: Option<AgentId>,
    /// Never hire this seller; may be said several times.
    #[arg(long, value_name = "PEER", value_parser = parse_agent, conflicts_with = "seller")]
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "agent_list")]
    #[param(value_type = Vec<String>, style = Form, explode = false, required = false)]
    pub avoid: Vec<AgentId>,
    /// Take this seller's offer, if it makes one that fits; may be said several times.
    #[arg(long, value_name = "PEER", value_parser = parse_agent, conflicts_with = "seller")]
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "agent_list")]
    #[param(value_type = Vec<String>, style = Form, explode = false, required = false)]
    pub prefer: Vec<AgentId>,
    /// Pay with this mint's ecash and no other's.
    #[arg(long, value_name = "URL")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub mint: Option<MintUrl>,
    /// How it is paid [default: hire.mode of the settings].
    #[arg(long, value_name = "MODE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub mode: Option<HireMode>,
    /// Let the seller subcontract this service for the task; may be said several times.
    #[arg(long, value_name = "SERVICE", num_args = 1.., requires = "sub_budget")]
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "name_list")]
    #[param(value_type = Vec<String>, style = Form, explode = false, required = false)]
    pub allow_subcontract: Vec<ServiceName>,
    /// The most that all it subcontracts may cost, in the task's unit; it pays that itself.
    #[arg(long, value_name = "N", requires = "allow_subcontract")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_budget: Option<u64>,
    /// How many levels of subcontractors there may be [default: 1].
    #[arg(long, value_name = "N", requires = "allow_subcontract", value_parser = clap::value_parser!(u64).range(1..=MAX_SUB_DEPTH))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_depth: Option<u64>,
    /// A name of your own for this hire: given again, it is the same task, also after a crash, and nothing is paid twice.
    #[arg(long, value_name = "KEY")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Try again so often if it fails, as long as nothing can be paid twice.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u32>,
    /// Tell how the offers were weighed: what each seller did before, and what its price comes to by that.
    #[arg(long)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
    /// What you call it, to find it by: `guilder task list --label TEXT`.
    #[arg(long, value_name = "TEXT")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its place under its origin.
    #[arg(skip)]
    #[serde(skip)]
    pub claim: Option<KeyClaim>,
    /// The budgets that it is awarded on, beside what the wallet holds.
    #[arg(skip)]
    #[serde(skip)]
    pub budgets: Vec<Budget>,
    /// Who it is awarded for, if not for the owner.
    #[arg(skip)]
    #[serde(skip)]
    pub mandate: Option<Mandate>,
    /// Whether its end is written down for its origin, which takes it with [`take_end`](crate::trade::take_end); if the node dies before
    /// the award, it begins again.
    #[arg(skip)]
    #[serde(skip)]
    pub waits: bool,
    /// The most that is awarded in one day: `hire.daily_max` of the settings.
    #[arg(skip)]
    #[serde(skip)]
    pub daily_max: u64,
    /// Buy in another's name, under this grant that you hold: `guilder grants` shows them. Never chosen by itself.
    #[arg(long, value_name = "ID")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The grant itself.
    #[arg(skip)]
    #[serde(skip)]
    pub granted: Option<GrantChain>,
    /// The most that is in a stranger's hands who can't be paid in escrow: `hire.stranger_max` of the settings.
    #[arg(skip)]
    #[serde(skip)]
    pub stranger_max: u64,
    /// The task that we sell for whose sake this is hired.
    #[arg(skip)]
    #[serde(skip)]
    pub under: Option<Under>,
    /// Whether a service of this node's own is taken, if it sells the one that is hired.
    #[arg(skip)]
    #[serde(skip)]
    pub own: bool,
    /// Whether the steps between hiring and end are left out of the stream.
    #[arg(skip)]
    #[serde(default)]
    pub quiet: bool,
}

/// What a task that we sell lets its program pass on: our own bounds, beside those of its buyer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Under {
    /// The award that we work under.
    pub award: Cid,
    /// The services that may be hired; any if none is named.
    pub services: Vec<ServiceName>,
    /// The most that all of it may cost, in the award's unit.
    pub budget: u64,
}

/// How a hire is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum HireMode {
    /// In escrow, and in advance to who has earned it.
    Auto,
    /// In escrow only: sellers and buyers need not trust each other.
    Escrow,
    /// In advance, whoever sells: the seller holds the money while it works.
    Prepaid,
}

impl HireMode {
    /// The ways to pay that sellers are asked for.
    pub(super) fn asks(self) -> Vec<Mode> {
        match self {
            Self::Auto => vec![Mode::Escrow, Mode::Prepaid],
            Self::Escrow => vec![Mode::Escrow],
            Self::Prepaid => vec![Mode::Prepaid],
        }
    }
}

impl Hire {
    /// Whether what the seller may subcontract is said wholly.
    ///
    /// # Errors
    /// What lacks.
    pub(super) fn check_subcontract(&self) -> Result<(), &'static str> {
        match (self.allow_subcontract.len(), self.sub_budget, self.sub_depth) {
            (0, None, None) => Ok(()),
            (0, ..) => Err("--sub-budget and --sub-depth go with --allow-subcontract"),
            (1..=MAX_SUB_SERVICES, Some(1..), None | Some(1..=MAX_SUB_DEPTH)) => Ok(()),
            (1..=MAX_SUB_SERVICES, Some(1..), _) => Err("--sub-depth is from 1 to 8"),
            (1..=MAX_SUB_SERVICES, ..) => Err("--allow-subcontract goes with a --sub-budget of 1 or more"),
            _ => Err("--allow-subcontract names at most 16 services"),
        }
    }

    /// A hire of `service`, all else as the node is set.
    pub fn of(service: ServiceName) -> Self {
        Self {
            service,
            max_price: None,
            unit: None,
            deadline_secs: None,
            seller: None,
            avoid: Vec::new(),
            prefer: Vec::new(),
            mint: None,
            mode: None,
            allow_subcontract: Vec::new(),
            sub_budget: None,
            sub_depth: None,
            id: None,
            retry: None,
            explain: false,
            label: None,
            claim: None,
            budgets: Vec::new(),
            mandate: None,
            waits: false,
            daily_max: 0,
            grant: None,
            granted: None,
            stranger_max: 0,
            under: None,
            own: false,
            quiet: false,
        }
    }
}

/// Seconds, from `90`, `90s`, `5m` or `1h`.
fn parse_duration(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        _ => (text, 1),
    };
    let secs = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    secs.filter(|secs| *secs > 0).ok_or_else(|| "expected a time like 90s, 5m or 1h".to_owned())
}

/// An agent, from its peer ID or its DID.
fn parse_agent(text: &str) -> Result<AgentId, String> {
    let parsed = text.parse().or_else(|_| AgentId::from_peer_id(text));
    parsed.map_err(|_| "expected a peer ID (12D3Koo…) or a DID (did:key:z6Mk…)".to_owned())
}

/// An agent is written as its DID and read from either form.
mod agent_text {
    use super::{AgentId, Deserialize as _, Deserializer, Serializer, parse_agent};

    pub(super) fn serialize<S: Serializer>(agent: &Option<AgentId>, serializer: S) -> Result<S::Ok, S::Error> {
        match agent {
            Some(agent) => serializer.collect_str(agent),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AgentId>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse_agent(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

/// Agents, with commas between them: a query has no lists.
mod agent_list {
    use super::{AgentId, Deserialize as _, Deserializer, Serializer, parse_agent};

    pub(super) fn serialize<S: Serializer>(agents: &[AgentId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AgentId>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let agents = text.split(',').filter(|agent| !agent.is_empty());
        agents.map(|agent| parse_agent(agent).map_err(serde::de::Error::custom)).collect()
    }
}

/// Services, with commas between them, for the same reason.
mod name_list {
    use super::{Deserialize as _, Deserializer, Serializer, ServiceName};

    pub(super) fn serialize<S: Serializer>(names: &[ServiceName], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&names.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ServiceName>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let names = text.split(',').filter(|name| !name.is_empty());
        names.map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::identity::AgentKey;

    use super::{Hire, HireMode, parse_duration};

    #[test]
    fn a_hire_in_a_query_is_the_hire_that_was_asked_for() {
        let whole = Hire {
            max_price: Some(20),
            unit: Some("play".parse().unwrap()),
            deadline_secs: Some(90),
            seller: Some(AgentKey::from_seed(&[1; 32]).id()),
            avoid: vec![AgentKey::from_seed(&[2; 32]).id(), AgentKey::from_seed(&[3; 32]).id()],
            prefer: vec![AgentKey::from_seed(&[4; 32]).id()],
            mint: Some("https://mint.example/a%20b".parse().unwrap()),
            mode: Some(HireMode::Escrow),
            grant: Some("4xw2kq".into()),
            allow_subcontract: vec!["text.translate".parse().unwrap(), "text.count".parse().unwrap()],
            sub_budget: Some(9),
            sub_depth: Some(2),
            id: Some("order 7/é".into()),
            retry: Some(3),
            explain: true,
            label: Some("the weekly report".into()),
            quiet: true,
            ..Hire::of("text.echo".parse().unwrap())
        };
        for hire in [whole, Hire::of("text.echo".parse().unwrap())] {
            let query = serde_urlencoded::to_string(&hire).unwrap();
            assert_eq!(serde_urlencoded::from_str::<Hire>(&query).unwrap(), hire, "{query}");
        }
        let by_peer_id = format!("service=a.b&seller={}", AgentKey::from_seed(&[1; 32]).id().peer_id());
        let read = serde_urlencoded::from_str::<Hire>(&by_peer_id).unwrap();
        assert_eq!(read.seller, Some(AgentKey::from_seed(&[1; 32]).id()));
        assert!(serde_urlencoded::from_str::<Hire>("service=a.b&sellr=x").is_err(), "a misspelt term is refused");
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, secs) in [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3_600)] {
            assert_eq!(parse_duration(text).unwrap(), secs);
        }
        for text in ["", "s", "0", "-1s", "5d", "99999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
