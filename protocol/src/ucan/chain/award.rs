//! What Guilder asks of a chain beyond UCAN where money is at stake.

use super::{Chain, ChainError, Signed};
use crate::{
    award::Award,
    identity::AgentId,
    limits::{MAX_CHAIN, MAX_CHAIN_BYTES},
    ucan::{Delegation, Statement},
};
use ipld_core::ipld::Ipld;

/// The command that spends: the buyer's go-ahead for a task, with locked money.
pub const AWARD: &str = "/task/award";

/// Checks what `receiver` must find in the chain of an award that it is to work for.
///
/// # Errors
/// If the chain isn't an award's, isn't addressed to `receiver` by name, acts in `receiver`'s own name by delegation,
/// states another depth than it has, or breaks [`check_money`].
pub fn check_award(chain: &Chain, receiver: AgentId) -> Result<(), ChainError> {
    let invocation = chain.invocation();
    if invocation.cmd.as_str() != AWARD {
        return Err(ChainError::NotAward(invocation.cmd.clone()));
    }
    if invocation.aud != Some(receiver) {
        return Err(ChainError::Receiver(receiver));
    }
    let depth = chain.links().len();
    if depth > 0 && invocation.sub == receiver {
        return Err(ChainError::ReceiverIsSubject);
    }
    if invocation.args.get("depth") != Some(&Ipld::Integer(depth as i128)) {
        return Err(ChainError::Depth(depth));
    }
    check_money(chain.links().iter().map(Signed::payload))
}

/// Checks the delegation by which the buyer of `award` lets its seller subcontract; `links` are those behind the award.
///
/// It is from the buyer to the seller, in the award's principal's name, for awards of this task alone; it fits behind the
/// links; and a buyer that spends on another's authority has debited it in full, with the price.
///
/// # Errors
/// [`ChainError::SubGrant`], or what [`check_money`] finds.
pub fn check_sub_grant(
    grant: &Signed<Delegation>,
    award: &Award,
    links: &[Signed<Delegation>],
) -> Result<(), ChainError> {
    let args = award.args();
    let wrong = |rule| Err(ChainError::SubGrant(rule));
    if grant.iss != award.buyer() || grant.aud != args.seller || grant.sub != Some(award.principal()) {
        return wrong("it is from the buyer to the seller, in the name of the principal");
    }
    if grant.cmd.as_str() != AWARD {
        return wrong("it is for awards and nothing else");
    }
    if grant.pol.fixed("task") != Some(&Ipld::Link(args.task)) {
        return wrong("it fixes the task");
    }
    // What the seller lays out is counted against what it is paid: in the same money, or the numbers say nothing.
    let same = |field, text: &str| grant.pol.every_fixed(field).all(|value| *value == Ipld::String(text.to_owned()));
    if !same("unit", args.unit.as_str()) || !same("mint", args.mint.as_str()) {
        return wrong("it is in the unit and at the mint of the award");
    }
    if links.len() >= MAX_CHAIN {
        return Err(ChainError::Long);
    }
    if links.iter().chain([grant]).map(|link| link.bytes().len()).sum::<usize>() > MAX_CHAIN_BYTES {
        return Err(ChainError::Large);
    }
    let Some(most) = grant.pol.most("spent") else { return wrong("it bounds what is spent in all") };
    if !links.is_empty() && args.price.checked_add(most).is_none_or(|sum| args.spent < sum) {
        return wrong("it is debited in full where it is issued");
    }
    check_money(links.iter().chain([grant]).map(Signed::payload))
}

/// Checks that delegations, root first, are fit to authorise spending: each one ends, and where one bounds `.price` or
/// `.spent`, it or one above it fixes `.unit` and `.mint` with `==`. A bound of 100 without a unit would let the delegate
/// choose what it is 100 of; a unit fixed further down is the delegate's own choice.
///
/// # Errors
/// Which delegation isn't.
pub fn check_money<'a>(links: impl IntoIterator<Item = &'a Delegation>) -> Result<(), ChainError> {
    let mut fixed = [("unit", false), ("mint", false)];
    for (link, delegation) in links.into_iter().enumerate() {
        if delegation.exp.is_none() {
            return Err(ChainError::Endless { link });
        }
        let statements = delegation.pol.statements();
        for (field, is_fixed) in &mut fixed {
            *is_fixed |= statements.iter().any(|statement| fixes(statement, field));
        }
        let unfixed = fixed.iter().find(|(_, is_fixed)| !is_fixed);
        if let Some((field, _)) = unfixed.filter(|_| statements.iter().any(bounds_money)) {
            return Err(ChainError::Unfixed { link, field });
        }
    }
    Ok(())
}

/// Whether a statement that holds leaves one text only for the argument `field`.
fn fixes(statement: &Statement, field: &str) -> bool {
    match statement {
        Statement::Equal(selector, Ipld::String(_)) => selector.is_field(field),
        Statement::And(inner) => inner.iter().any(|statement| fixes(statement, field)),
        _ => false,
    }
}

/// Whether a statement may depend on the price, anywhere in it. One that reads all arguments at once may.
fn bounds_money(statement: &Statement) -> bool {
    match statement {
        Statement::Equal(selector, _)
        | Statement::NotEqual(selector, _)
        | Statement::Compare(_, selector, _)
        | Statement::Like(selector, _)
        | Statement::All(selector, _)
        | Statement::Any(selector, _) => matches!(selector.root_field(), None | Some("price" | "spent")),
        Statement::Not(inner) => bounds_money(inner),
        Statement::And(inner) | Statement::Or(inner) => inner.iter().any(bounds_money),
    }
}
