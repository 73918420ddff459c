//! What is spent under a chain's delegations: running totals, held against every policy before money leaves.
//!
//! An award's `spent` is the running total under the last delegation. Whoever awards keeps a total for each delegation
//! in `prf`, since one that stands higher up may be shared by several below it, and lets a new award through only if the
//! policy of every delegation holds of the award with *that delegation's* total as its `spent`.
//!
//! A total counts what was signed away: the prices of awards, whatever became of them, and in full what was granted on.
//! Two awards of one buyer whose totals overlap are so signed proof that it overspent.

use ipld_core::ipld::Ipld;

use super::ChainError;
use crate::{
    award::AwardArgs,
    envelope::Signed,
    limits::POLICY_FUEL,
    settlement::Terms,
    ucan::{
        Args, Delegation, Policy, Statement,
        policy::{Comparison, Fuel, Number, OutOfFuel},
    },
};

/// The totals of `links` once `amount` more is spent for an award of `args` on `terms`; `spent` are those before it.
///
/// # Errors
/// Which delegation doesn't cover it, and by which statement: [`ChainError::Policy`].
pub fn debit(
    links: &[Signed<Delegation>],
    args: &AwardArgs,
    terms: &Terms,
    spent: &[u64],
    amount: u64,
) -> Result<Vec<u64>, ChainError> {
    let mut fuel = Fuel::new(POLICY_FUEL);
    let mut totals = Vec::with_capacity(links.len());
    for (link, delegation) in links.iter().enumerate() {
        let before = spent.get(link).copied().unwrap_or_default();
        let total = before.checked_add(amount).ok_or(ChainError::Overspent { link })?;
        let args = draft(AwardArgs { spent: total, ..args.clone() }, terms).ok_or(ChainError::Overspent { link })?;
        match delegation.pol.first_failing(args.as_ipld(), &mut fuel) {
            Ok(None) => totals.push(total),
            Ok(Some(statement)) => return Err(ChainError::Policy { link, statement: Box::new(statement.clone()) }),
            Err(OutOfFuel) => return Err(ChainError::Fuel { link }),
        }
    }
    Ok(totals)
}

/// The arguments of an award as far as they are known before its money is locked: all but the proofs.
fn draft(args: AwardArgs, terms: &Terms) -> Option<Args> {
    let known = Args::from_value(&args).ok()?;
    let mode = ("mode".to_owned(), Ipld::String(terms.mode().as_str().into()));
    let locktime = terms.locks_to().map(|to| ("locktime".to_owned(), Ipld::Integer(to.until.as_secs().into())));
    Some(known.with([mode].into_iter().chain(locktime).collect::<std::collections::BTreeMap<_, _>>().into()))
}

impl Policy {
    /// The first statement that can't hold of arguments of which only these are known yet.
    pub fn refuses(&self, known: &Args) -> Option<&Statement> {
        let decided = |statement: &&Statement| statement.reads_only(&|field| known.get(field).is_some());
        let fails = |statement: &&Statement| statement.allows(known.as_ipld()) == Ok(false);
        outright(self.statements()).filter(decided).find(fails)
    }

    /// The most that the argument `field` may be, as far as a statement that must hold says so outright.
    pub fn most(&self, field: &str) -> Option<u64> {
        outright(self.statements()).filter_map(|statement| most(statement, field)).min()
    }

    /// The one value that the argument `field` may have, if a statement that must hold fixes it outright.
    pub fn fixed(&self, field: &str) -> Option<&Ipld> {
        self.every_fixed(field).next()
    }

    /// The same of each such statement; two that differ let nothing through.
    pub fn every_fixed<'a>(&'a self, field: &str) -> impl Iterator<Item = &'a Ipld> {
        outright(self.statements()).filter_map(move |statement| match statement {
            Statement::Equal(selector, value) if selector.is_field(field) => Some(value),
            _ => None,
        })
    }
}

/// The statements that must all hold, those within an `and` too.
fn outright(statements: &[Statement]) -> Box<dyn Iterator<Item = &Statement> + '_> {
    Box::new(statements.iter().flat_map(|statement| match statement {
        Statement::And(inner) => outright(inner),
        other => Box::new(std::iter::once(other)),
    }))
}

fn most(statement: &Statement, field: &str) -> Option<u64> {
    let bound = |number: &Number, less: i128| match number {
        Number::Int(int) => u64::try_from(int.checked_sub(less)?.max(0)).ok(),
        Number::Float(_) => None,
    };
    match statement {
        Statement::Compare(Comparison::AtMost, selector, number) if selector.is_field(field) => bound(number, 0),
        Statement::Compare(Comparison::Less, selector, number) if selector.is_field(field) => bound(number, 1),
        Statement::Equal(selector, Ipld::Integer(int)) if selector.is_field(field) => u64::try_from(*int).ok(),
        _ => None,
    }
}
