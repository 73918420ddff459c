//! The delegations that Guilder writes: by a [`SubGrant`] a buyer lets its seller subcontract for one task, by a
//! [`StandingGrant`] an agent lets another buy in its name, from that one's own money. [`Terms`] reads back what either, or
//! a chain of them, allows at the most.

use cid::Cid;
use data_encoding::BASE64URL_NOPAD;
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;

use super::{
    Command, Delegation, Policy, Selector, Statement,
    chain::{self, AWARD, ChainError, Revocations, check_commands, check_money, check_path},
    command::CommandError,
    policy::{Comparison, Number, PolicyError, SelectorError},
};
use crate::{
    cbor,
    envelope::{EnvelopeError, Signed},
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::{MAX_CHAIN, MAX_CHAIN_BYTES, MAX_GRANTED_SERVICES},
    market::{MintUrl, ServiceName, Unit},
    time::Timestamp,
};

/// What a seller may award to others for the sake of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct SubGrant {
    /// The buyer, who passes authority on.
    pub buyer: AgentId,
    /// The seller, who receives it.
    pub seller: AgentId,
    /// On whose authority: the buyer itself, or the principal of the chain by which it bought.
    pub principal: AgentId,
    /// The root ask of the task.
    pub task: Cid,
    /// The services that may be bought; any if none is named.
    pub services: Vec<String>,
    /// The unit of all amounts.
    pub unit: String,
    /// The mint whose money it is.
    pub mint: String,
    /// The most that one award may cost, in `unit`.
    pub max_price: u64,
    /// The most that all awards together may cost, with what is granted on, in `unit`.
    pub max_spent: u64,
    /// The latest deadline of an award.
    pub deadline: Timestamp,
    /// The most delegations that a chain may have, this one included.
    pub max_depth: u64,
    /// The last second of the delegation itself.
    pub expires: Timestamp,
    /// Random bytes that make it unique.
    pub nonce: Vec<u8>,
}

impl SubGrant {
    /// The delegation, for the buyer to sign.
    ///
    /// # Errors
    /// If a value can't stand in a policy.
    pub fn delegation(&self) -> Result<Delegation, GrantError> {
        let mut statements = vec![
            fix(".task", Ipld::Link(self.task))?,
            fix(".unit", Ipld::String(self.unit.clone()))?,
            fix(".mint", Ipld::String(self.mint.clone()))?,
            bound(".price", self.max_price)?,
            bound(".spent", self.max_spent)?,
            bound(".deadline", self.deadline.as_secs())?,
            bound(".depth", self.max_depth)?,
        ];
        let mut services = self.services.iter().map(|service| fix(".service", Ipld::String(service.clone())));
        match services.len() {
            0 => {}
            1 => statements.extend(services.next().transpose()?),
            _ => statements.push(Statement::Or(services.collect::<Result<_, _>>()?)),
        }
        Ok(Delegation {
            iss: self.buyer,
            aud: self.seller,
            sub: Some(self.principal),
            cmd: Command::parse(AWARD)?,
            pol: Policy::new(statements)?,
            nonce: ByteBuf::from(self.nonce.clone()),
            meta: None,
            nbf: None,
            exp: Some(self.expires),
        })
    }
}

fn fix(field: &str, value: Ipld) -> Result<Statement, GrantError> {
    Ok(Statement::Equal(Selector::parse(field)?, value))
}

fn bound(field: &str, most: u64) -> Result<Statement, GrantError> {
    Ok(Statement::Compare(Comparison::AtMost, Selector::parse(field)?, Number::from(most)))
}

/// What an agent may award in another's name, whatever the task, from its own money: service, unit and mint are fixed where
/// a [`SubGrant`] fixes the task. (That the principal's own money is spent will be another command's delegation.)
#[derive(Clone, Debug, PartialEq)]
pub struct StandingGrant {
    /// Who passes authority on: the principal, or whom it lets pass it on.
    pub grantor: AgentId,
    /// Who receives it.
    pub grantee: AgentId,
    /// On whose authority.
    pub principal: AgentId,
    /// What may be bought: 1 to [`MAX_GRANTED_SERVICES`].
    pub services: Vec<ServiceName>,
    /// The unit of all amounts.
    pub unit: Unit,
    /// The mint whose money it is.
    pub mint: MintUrl,
    /// The most that one award may cost, in `unit`.
    pub max_price: u64,
    /// The most that all awards together may cost, in `unit`.
    pub budget: u64,
    /// The most delegations that a chain may have, this one included.
    pub max_depth: u64,
    /// The last second of the delegation, and the latest deadline of an award.
    pub expires: Timestamp,
    /// Random bytes that make it unique.
    pub nonce: Vec<u8>,
}

impl StandingGrant {
    /// The delegation, for the grantor to sign.
    ///
    /// # Errors
    /// If it names no service or too many.
    pub fn delegation(&self) -> Result<Delegation, GrantError> {
        if !(1..=MAX_GRANTED_SERVICES).contains(&self.services.len()) {
            return Err(GrantError::Services);
        }
        let service = |name: &ServiceName| fix(".service", Ipld::String(name.to_string()));
        let services = match self.services.as_slice() {
            [one] => service(one)?,
            several => Statement::Or(several.iter().map(service).collect::<Result<_, _>>()?),
        };
        let statements = vec![
            services,
            fix(".unit", Ipld::String(self.unit.to_string()))?,
            fix(".mint", Ipld::String(self.mint.to_string()))?,
            bound(".price", self.max_price)?,
            bound(".spent", self.budget)?,
            bound(".deadline", self.expires.as_secs())?,
            bound(".depth", self.max_depth)?,
        ];
        Ok(Delegation {
            iss: self.grantor,
            aud: self.grantee,
            sub: Some(self.principal),
            cmd: Command::parse(AWARD)?,
            pol: Policy::new(statements)?,
            nonce: ByteBuf::from(self.nonce.clone()),
            meta: None,
            nbf: None,
            exp: Some(self.expires),
        })
    }
}

/// What a chain of delegations allows at the most, as far as it is said in the form in which grants are written here: to
/// list it and to choose by it. Whether an award keeps to a policy, only the policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The services that it names; `None` if it names none.
    pub services: Option<Vec<String>>,
    /// The unit that it fixes.
    pub unit: Option<String>,
    /// The mint that it fixes.
    pub mint: Option<String>,
    /// The task that it fixes.
    pub task: Option<Cid>,
    /// The most that one award may cost.
    pub max_price: Option<u64>,
    /// The most that all awards may cost: the least of the chain's.
    pub budget: Option<u64>,
    /// The most delegations that a chain may have.
    pub max_depth: Option<u64>,
    /// The latest deadline of an award.
    pub deadline: Option<Timestamp>,
    /// The earliest end of a delegation.
    pub expires: Option<Timestamp>,
}

impl Terms {
    /// What these delegations allow together: each can only narrow what the one above it allows.
    pub fn of(links: &[Signed<Delegation>]) -> Self {
        let mut terms = Self::default();
        for link in links {
            link.pol.statements().iter().for_each(|statement| terms.narrow(statement));
            lower(&mut terms.expires, link.exp);
        }
        terms
    }

    fn narrow(&mut self, statement: &Statement) {
        match statement {
            Statement::And(inner) => inner.iter().for_each(|statement| self.narrow(statement)),
            Statement::Compare(Comparison::AtMost, selector, Number::Int(most)) => {
                let most = u64::try_from(*most).unwrap_or(if *most < 0 { 0 } else { u64::MAX });
                match selector.root_field().filter(|name| selector.is_field(name)) {
                    Some("price") => lower(&mut self.max_price, Some(most)),
                    Some("spent") => lower(&mut self.budget, Some(most)),
                    Some("depth") => lower(&mut self.max_depth, Some(most)),
                    Some("deadline") => lower(&mut self.deadline, Some(Timestamp::from_secs(most))),
                    _ => {}
                }
            }
            Statement::Equal(selector, Ipld::String(text)) if selector.is_field("unit") => {
                self.unit = Some(text.clone())
            }
            Statement::Equal(selector, Ipld::String(text)) if selector.is_field("mint") => {
                self.mint = Some(text.clone())
            }
            Statement::Equal(selector, Ipld::Link(task)) if selector.is_field("task") => self.task = Some(*task),
            other => {
                if let Some(named) = services_in(other) {
                    self.services = Some(match self.services.take() {
                        Some(known) => known.into_iter().filter(|service| named.contains(service)).collect(),
                        None => named,
                    });
                }
            }
        }
    }
}

/// The services that a statement names as all that may be bought.
fn services_in(statement: &Statement) -> Option<Vec<String>> {
    match statement {
        Statement::Equal(selector, Ipld::String(name)) if selector.is_field("service") => Some(vec![name.clone()]),
        Statement::Or(several) => several.iter().map(services_in).collect::<Option<Vec<_>>>().map(|all| all.concat()),
        _ => None,
    }
}

fn lower<T: Ord + Copy>(bound: &mut Option<T>, other: Option<T>) {
    if let Some(other) = other {
        *bound = Some(bound.map_or(other, |known| known.min(other)));
    }
}

/// What stands before a grant as text.
const TEXT_PREFIX: &str = "guilder-grant-1:";

/// A grant as it is handed over: the delegations that lead from the principal to the grantee, root first, all signatures
/// verified, fit to authorise awards. What it lets the grantee do at which time, and whether it is revoked, is checked with
/// each award.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantChain(Vec<Signed<Delegation>>);

impl GrantChain {
    /// These delegations, root first.
    ///
    /// # Errors
    /// Why they authorise nobody to award anything.
    pub fn new(links: Vec<Signed<Delegation>>) -> Result<Self, GrantChainError> {
        let root = links.first().ok_or(GrantChainError::Empty)?;
        if links.len() > MAX_CHAIN {
            return Err(ChainError::Long.into());
        }
        if links.iter().map(|link| link.bytes().len()).sum::<usize>() > MAX_CHAIN_BYTES {
            return Err(ChainError::Large.into());
        }
        if (1..links.len()).any(|end| links[..end].contains(&links[end])) {
            return Err(ChainError::Repeated.into());
        }
        check_path(root.sub.ok_or(ChainError::PowerlineRoot)?, &links)?;
        check_commands(&links, Some(&Command::parse(AWARD).map_err(|_| GrantChainError::Empty)?))?;
        check_money(links.iter().map(Signed::payload))?;
        Ok(Self(links))
    }

    /// Reads the envelopes of the delegations, root first.
    ///
    /// # Errors
    /// If one doesn't hold, or as [`Self::new`].
    pub fn decode(envelopes: &[impl AsRef<[u8]>]) -> Result<Self, GrantChainError> {
        Self::read(envelopes, Signed::decode)
    }

    fn read(
        envelopes: &[impl AsRef<[u8]>],
        read: impl Fn(&[u8]) -> Result<Signed<Delegation>, EnvelopeError>,
    ) -> Result<Self, GrantChainError> {
        if envelopes.len() > MAX_CHAIN {
            return Err(ChainError::Long.into());
        }
        let read = |bytes: &[u8]| match bytes.len() > MAX_CHAIN_BYTES {
            true => Err(ChainError::Large),
            false => read(bytes).map_err(ChainError::Delegation),
        };
        Self::new(envelopes.iter().map(|bytes| read(bytes.as_ref())).collect::<Result<_, _>>()?)
    }

    /// The envelopes: [`Self::decode`] reads them.
    pub fn encode(&self) -> Vec<ByteBuf> {
        self.0.iter().map(|link| ByteBuf::from(link.bytes())).collect()
    }

    /// As one line of text, for files and messages between people: `guilder-grant-1:` and the list of envelopes as DAG-CBOR in
    /// base64url without padding.
    pub fn to_text(&self) -> String {
        format!("{TEXT_PREFIX}{}", BASE64URL_NOPAD.encode(&cbor::encode(&self.encode())))
    }

    /// Reads [`Self::to_text`], with whatever white space around it.
    ///
    /// # Errors
    /// If it is no grant's text, or as [`Self::decode`].
    pub fn from_text(text: &str) -> Result<Self, GrantChainError> {
        let digits = text.trim().strip_prefix(TEXT_PREFIX).ok_or(GrantChainError::Text)?;
        if digits.len() > 2 * MAX_CHAIN_BYTES {
            return Err(ChainError::Large.into());
        }
        let bytes = BASE64URL_NOPAD.decode(digits.as_bytes()).map_err(|_| GrantChainError::Text)?;
        let envelopes: Vec<ByteBuf> = cbor::decode(&bytes).map_err(|_| GrantChainError::Text)?;
        Self::decode(&envelopes)
    }

    /// The delegations, root first.
    pub fn links(&self) -> &[Signed<Delegation>] {
        &self.0
    }

    /// The delegation to the grantee.
    pub fn leaf(&self) -> &Signed<Delegation> {
        &self.0[self.0.len() - 1]
    }

    /// The name of the grant: the content ID of the delegation to the grantee.
    pub fn cid(&self) -> Cid {
        self.leaf().cid()
    }

    /// On whose authority.
    pub fn principal(&self) -> AgentId {
        self.0[0].iss
    }

    /// Who passed it on to the grantee.
    pub fn grantor(&self) -> AgentId {
        self.leaf().iss
    }

    /// Who may award.
    pub fn grantee(&self) -> AgentId {
        self.leaf().aud
    }

    /// What it allows at the most.
    pub fn terms(&self) -> Terms {
        Terms::of(&self.0)
    }

    /// The last second of all of it.
    pub fn expires(&self) -> Timestamp {
        self.0.iter().filter_map(|link| link.exp).min().unwrap_or_default()
    }

    /// Whether something of it has ended, the skew granted.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires().is_past(now)
    }

    /// Which delegation of it is revoked, and by whom, if one is.
    pub fn revoked(&self, revocations: &impl Revocations) -> Option<(Cid, AgentId)> {
        chain::revoked(&self.0, revocations).map(|(link, revoker)| (self.0[link].cid(), revoker))
    }
}

/// Stored as it is handed over; on the way in checked again, the signatures too but in what
/// [`kept`](crate::envelope::kept) reads.
impl Serialize for GrantChain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encode().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for GrantChain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&Vec::<ByteBuf>::deserialize(deserializer)?, Signed::read).map_err(serde::de::Error::custom)
    }
}

/// Why delegations are no grant.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GrantChainError {
    /// Nothing in it.
    #[error("a grant has at least one delegation")]
    Empty,
    /// Not a grant's text.
    #[error("not a grant: expected one line that begins with {TEXT_PREFIX}")]
    Text,
    /// They don't lead anywhere, or authorise no awards.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl AtFault for GrantChainError {
    fn fault(&self) -> Fault {
        match self {
            Self::Chain(error) => error.fault(),
            Self::Empty | Self::Text => Fault::Peer,
        }
    }
}

/// Why a grant can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No service, or too many.
    #[error("a standing grant names 1 to {MAX_GRANTED_SERVICES} services")]
    Services,
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A selector.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The command.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl AtFault for GrantError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        envelope::kept,
        identity::AgentKey,
        testing::{self, NOW},
        ucan::{Args, chain},
    };

    fn grant() -> StandingGrant {
        StandingGrant {
            grantor: testing::buyer().id(),
            grantee: testing::seller().id(),
            principal: testing::buyer().id(),
            services: vec!["text.echo".parse().unwrap(), "text.sum".parse().unwrap()],
            unit: "sat".parse().unwrap(),
            mint: "https://mint.example".parse().unwrap(),
            max_price: 7,
            budget: 50,
            max_depth: 1,
            expires: NOW.saturating_add(3_600),
            nonce: vec![1],
        }
    }

    fn signed(grant: &StandingGrant, key: &AgentKey) -> Signed<Delegation> {
        Signed::sign(grant.delegation().unwrap(), key).unwrap()
    }

    #[test]
    fn a_standing_grant_allows_its_services_unit_mint_and_bounds_and_nothing_beyond() {
        let delegation = grant().delegation().unwrap();
        assert_eq!(chain::check_money([&delegation]), Ok(()));
        let good = crate::award::AwardArgs { depth: 1, ..testing::args(&testing::deal().offer) };
        let allows = |change: &dyn Fn(&mut crate::award::AwardArgs)| {
            let mut args = good.clone();
            change(&mut args);
            delegation.pol.allows(Args::from_value(&args).unwrap().as_ipld())
        };
        assert!(allows(&|_| ()));
        assert!(allows(&|args| args.service = "text.sum".parse().unwrap()));
        assert!(allows(&|args| args.spent = 50));
        assert!(!allows(&|args| args.service = "text.echo.more".parse().unwrap()), "a name is no prefix");
        assert!(!allows(&|args| args.unit = "usd".parse().unwrap()));
        assert!(!allows(&|args| args.mint = "https://other.example".parse().unwrap()));
        assert!(!allows(&|args| args.price = 8));
        assert!(!allows(&|args| args.spent = 51));
        assert!(!allows(&|args| args.depth = 2));
        assert!(!allows(&|args| args.deadline = NOW.saturating_add(3_601)));
    }

    #[test]
    fn terms_are_what_a_chain_of_grants_leaves() {
        let first = StandingGrant { max_depth: 2, ..grant() };
        let second = StandingGrant {
            grantor: testing::seller().id(),
            grantee: AgentKey::from_seed(&[77; 32]).id(),
            services: vec!["text.sum".parse().unwrap(), "text.more".parse().unwrap()],
            max_price: 9,
            budget: 20,
            expires: NOW.saturating_add(60),
            ..first.clone()
        };
        let links = [signed(&first, &testing::buyer()), signed(&second, &testing::seller())];
        let terms = Terms::of(&links);
        assert_eq!(terms.services, Some(vec!["text.sum".to_owned()]));
        assert_eq!((terms.unit.as_deref(), terms.mint.as_deref()), (Some("sat"), Some("https://mint.example")));
        assert_eq!((terms.max_price, terms.budget, terms.max_depth), (Some(7), Some(20), Some(2)));
        let end = Some(NOW.saturating_add(60));
        assert_eq!((terms.deadline, terms.expires, terms.task), (end, end, None));
    }

    #[test]
    fn a_grant_reads_back_from_its_text_and_only_if_it_authorises_awards() {
        let (me, key) = (testing::buyer(), testing::seller());
        let root = signed(&StandingGrant { max_depth: 2, ..grant() }, &me);
        let next = StandingGrant { grantor: key.id(), grantee: AgentKey::from_seed(&[77; 32]).id(), ..grant() };
        let next = signed(&next, &key);
        let chain = GrantChain::new(vec![root.clone(), next.clone()]).unwrap();
        assert_eq!(GrantChain::from_text(&format!("\n  {}\n", chain.to_text())), Ok(chain.clone()));
        assert_eq!((chain.principal(), chain.grantor(), chain.cid()), (me.id(), key.id(), next.cid()));
        assert_eq!(GrantChain::from_text("guilder-grant-2:AAAA"), Err(GrantChainError::Text));
        assert_eq!(GrantChain::from_text("guilder-grant-1:AAAA"), Err(GrantChainError::Text));
        assert_eq!(GrantChain::new(vec![]), Err(GrantChainError::Empty));
        let changed = |change: &dyn Fn(&mut Delegation)| {
            let mut delegation = root.payload().clone();
            change(&mut delegation);
            GrantChain::new(vec![Signed::sign(delegation, &me).unwrap()]).map(drop)
        };
        let chain_error = |outcome: Result<(), GrantChainError>| match outcome {
            Err(GrantChainError::Chain(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(chain_error(GrantChain::new(vec![next, root.clone()]).map(drop)), ChainError::Root { .. }));
        assert_eq!(chain_error(changed(&|it| it.exp = None)), ChainError::Endless { link: 0 });
        assert!(matches!(
            chain_error(changed(&|it| it.cmd = "/task/award/x".parse().unwrap())),
            ChainError::Command { .. }
        ));
        assert_eq!(chain_error(changed(&|it| it.sub = None)), ChainError::PowerlineRoot);
        let unfixed = |it: &mut Delegation| it.pol = Policy::new(vec![bound(".price", 7).unwrap()]).unwrap();
        assert!(matches!(chain_error(changed(&unfixed)), ChainError::Unfixed { .. }));
        assert_eq!(chain_error(GrantChain::new(vec![root; 9]).map(drop)), ChainError::Long);
    }

    #[test]
    fn only_a_grant_that_was_kept_is_read_without_its_signatures() {
        let chain = GrantChain::new(vec![signed(&grant(), &testing::buyer())]).unwrap();
        let stored = cbor::encode(&chain);
        assert_eq!(cbor::decode(&stored), Ok(chain.clone()));
        let mut envelope = chain.leaf().bytes().to_vec();
        // The signature's first byte.
        envelope[3] ^= 1;
        let forged = cbor::encode(&vec![ByteBuf::from(envelope)]);
        assert!(cbor::decode::<GrantChain>(&forged).is_err());
        let read = kept(|| cbor::decode::<GrantChain>(&forged)).unwrap();
        assert_eq!(read.terms(), chain.terms());
        // All else is checked all the same.
        let none = cbor::encode(&Vec::<ByteBuf>::new());
        assert!(kept(|| cbor::decode::<GrantChain>(&none)).is_err());
    }

    #[test]
    fn a_grant_of_no_service_or_of_too_many_is_none() {
        let many = vec!["text.echo".parse().unwrap(); MAX_GRANTED_SERVICES + 1];
        for services in [vec![], many] {
            assert_eq!(StandingGrant { services, ..grant() }.delegation(), Err(GrantError::Services));
        }
    }
}
