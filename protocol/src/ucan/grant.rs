//! The delegation by which a buyer lets its seller subcontract.

use cid::Cid;
use ipld_core::ipld::Ipld;
use serde_bytes::ByteBuf;

use super::{
    Command, Delegation, Policy, Selector, Statement,
    chain::AWARD,
    command::CommandError,
    policy::{Comparison, Number, PolicyError, SelectorError},
};
use crate::{
    fault::{AtFault, Fault},
    identity::AgentId,
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
        let fix = |field: &str, value| Ok::<_, GrantError>(Statement::Equal(Selector::parse(field)?, value));
        let bound = |field: &str, most: u64| {
            Ok::<_, GrantError>(Statement::Compare(Comparison::AtMost, Selector::parse(field)?, Number::from(most)))
        };
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

/// Why a grant can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
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
