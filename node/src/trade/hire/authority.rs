//! On whose authority a hire is made: our own, or another's, under delegations that bound it.
//!
//! ```text
//!  hire ─▶ narrowed to what the delegations leave ─▶ ask … offer ─▶ DEBIT: one transaction ─▶ lock ─▶ award
//! ```
//!
//! **The debit** adds the price, and in full what is granted on, to the running total of every delegation of `prf`, if each
//! one's policy holds of the award with its own total as `spent`. Transactions come one after the other, so two awards never
//! count on the same money, however many are made at once; and it is on disk before money is locked, so no crash forgets it.
//! What came to no signed award is given back where nothing was debited on top of it; else the totals of two awards would
//! overlap, which proves overspending. What was signed stays debited, also if the seller refused it.

use cid::Cid;
use guilder_protocol::{
    award::AwardArgs,
    envelope::Signed,
    identity::AgentId,
    settlement::Terms,
    time::Timestamp,
    trade::{Deal, seller::Seller},
    ucan::{
        Args, Delegation,
        chain::{self, ChainError},
        grant::GrantChain,
    },
};
use ipld_core::ipld::Ipld;

use super::{
    error::{Bound, HireError},
    request::{Hire, Under},
};
use crate::{
    store::{Key, Reader, StoreError, Write},
    trade::records::{DEALS, SELLERS, SPENT, key},
};

/// See the module.
#[derive(Clone, Debug)]
pub(in crate::trade) struct Authority {
    /// In whose name.
    pub(super) principal: AgentId,
    /// The delegations from the principal to us.
    pub(super) links: Vec<Signed<Delegation>>,
    /// The root ask, if the hire is part of another's task.
    pub(super) task: Option<Cid>,
    /// The task that we sell for whose sake we hire.
    pub(super) under: Option<Under>,
}

/// What was debited for one award.
#[derive(Clone, Debug, Default)]
pub struct Debited {
    amount: u64,
    /// Each row and what it came to.
    rows: Vec<(Key, u64)>,
    /// The running total under the last delegation; `None` on our own authority.
    pub(super) spent: Option<u64>,
}

impl Authority {
    /// Our own.
    pub(super) fn own(me: AgentId) -> Self {
        Self { principal: me, links: Vec::new(), task: None, under: None }
    }

    /// That of a task that we sell, as far as its buyer lets us pass it on.
    pub(super) fn of_task(r: &impl Reader, under: Under) -> Result<Result<Self, Bound>, StoreError> {
        let Some(deal) = r.get(DEALS, key(under.award))? else { return Ok(Err(Bound::Over)) };
        if !is_worked_on(r, under.award)? {
            return Ok(Err(Bound::Over));
        }
        let Some(links) = deal.passed_on() else { return Ok(Err(Bound::NotGranted { by: deal.buyer() })) };
        let (principal, task) = (deal.award.principal(), Some(deal.award.args().task));
        Ok(Ok(Self { principal, links, task, under: Some(under) }))
    }

    /// That of a standing grant: any task, as far as its delegations allow.
    pub(super) fn of_grant(chain: &GrantChain) -> Self {
        Self { principal: chain.principal(), links: chain.links().to_vec(), task: None, under: None }
    }

    pub(super) fn is_own(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether it is a standing grant's, and no task's.
    pub(super) fn is_by_grant(&self) -> bool {
        !self.is_own() && self.under.is_none()
    }

    /// Who stands above us: none of them is to do this work.
    pub(super) fn above(&self) -> impl Iterator<Item = AgentId> + '_ {
        self.links.iter().map(|link| link.iss)
    }

    /// The hire within what the delegations leave: what it doesn't say they decide, what it says more than they allow is
    /// refused.
    pub(super) fn narrow(&self, hire: Hire, r: &impl Reader, now: Timestamp) -> Result<Hire, HireError> {
        if self.is_own() {
            return Ok(hire);
        }
        self.check_known(&hire)?;
        if let Some(under) = &self.under
            && !under.services.is_empty()
            && [&hire.service].into_iter().chain(&hire.allow_subcontract).any(|name| !under.services.contains(name))
        {
            return Err(Bound::OwnService { allowed: under.services.clone() }.into());
        }
        let fixed = |field| {
            self.links.iter().find_map(|link| match link.pol.fixed(field) {
                Some(Ipld::String(text)) => Some(text.as_str()),
                _ => None,
            })
        };
        let (unit, mint) =
            (fixed("unit").and_then(|unit| unit.parse().ok()), fixed("mint").and_then(|m| m.parse().ok()));
        let (price, until) = (self.most_price(r)?, self.latest());
        let left = until.since(now);
        let deadline_secs = hire.deadline_secs.unwrap_or_else(|| left.saturating_sub((left / 10).max(1)));
        if left == 0 || deadline_secs == 0 {
            return Err(HireError::DeadlinePassed);
        }
        if deadline_secs > left {
            return Err(Bound::Deadline { left_secs: left }.into());
        }
        if hire.max_price.is_some_and(|most| most > price) {
            return Err(Bound::Price { left: price }.into());
        }
        Ok(Hire {
            unit: hire.unit.or(unit),
            mint: hire.mint.or(mint),
            max_price: Some(hire.max_price.unwrap_or(price)),
            deadline_secs: Some(deadline_secs),
            avoid: hire.avoid.into_iter().chain(self.above()).collect(),
            ..hire
        })
    }

    /// Holds against the policies what is known before anybody is asked.
    fn check_known(&self, hire: &Hire) -> Result<(), HireError> {
        let text = |text: &dyn ToString| Ipld::String(text.to_string());
        let mut known = std::collections::BTreeMap::from([
            ("service".to_owned(), text(&hire.service)),
            ("depth".to_owned(), Ipld::Integer(self.links.len() as i128)),
        ]);
        known.extend(self.task.map(|task| ("task".to_owned(), Ipld::Link(task))));
        known.extend(hire.unit.as_ref().map(|unit| ("unit".to_owned(), text(unit))));
        known.extend(hire.mint.as_ref().map(|mint| ("mint".to_owned(), text(mint))));
        let known = Args::from(known);
        for (place, link) in self.links.iter().enumerate() {
            if let Some(statement) = link.pol.refuses(&known) {
                let error = ChainError::Policy { link: place, statement: Box::new(statement.clone()) };
                return Err(self.bound(error).into());
            }
        }
        Ok(())
    }

    /// The most that one award may cost now. It is looked at again where the money leaves.
    fn most_price(&self, r: &impl Reader) -> Result<u64, HireError> {
        let mut most = u64::MAX;
        for link in &self.links {
            most = most.min(link.pol.most("price").unwrap_or(u64::MAX));
            if let Some(budget) = link.pol.most("spent") {
                let left = budget.saturating_sub(r.get(SPENT, spent_key(link))?.unwrap_or_default());
                if left == 0 {
                    return Err(Bound::Spent { by: link.iss, budget }.into());
                }
                most = most.min(left);
            }
        }
        if let Some(under) = &self.under {
            let left = under.budget.saturating_sub(r.get(SPENT, self.own_key(under))?.unwrap_or_default());
            if left == 0 {
                return Err(Bound::OwnBudget { budget: under.budget }.into());
            }
            most = most.min(left);
        }
        Ok(most)
    }

    /// The last moment at which a delivery may be due.
    fn latest(&self) -> Timestamp {
        latest(&self.links)
    }

    /// Where it is counted what we ourselves let a task's program spend.
    fn own_key(&self, under: &Under) -> Key {
        own_key(&self.links, under.award)
    }

    /// Holds once more, where it is debited, that the task for whose sake we hire is still worked on.
    pub(super) fn check_open(&self, r: &impl Reader) -> Result<(), HireError> {
        match &self.under {
            Some(under) if !is_worked_on(r, under.award)? => Err(Bound::Over.into()),
            _ => Ok(()),
        }
    }

    /// Debits every delegation, and what our own service allows, for an award of `args` and `granted` on.
    pub(super) fn debit(
        &self,
        w: &mut Write<'_>,
        args: &AwardArgs,
        terms: &Terms,
        granted: u64,
    ) -> Result<Debited, HireError> {
        if self.is_own() {
            return Ok(Debited::default());
        }
        let amount = args.price.checked_add(granted).ok_or(Bound::Price { left: 0 })?;
        let mut rows: Vec<Key> = self.links.iter().map(spent_key).collect();
        let mut before = Vec::with_capacity(rows.len());
        for row in &rows {
            before.push(w.get(SPENT, row)?.unwrap_or_default());
        }
        let mut totals = chain::debit(&self.links, args, terms, &before, amount)
            .map_err(|error| HireError::from(self.bound(error)))?;
        let spent = totals.last().copied();
        if let Some(under) = &self.under {
            let row = self.own_key(under);
            let total = w.get(SPENT, &row)?.unwrap_or_default().saturating_add(amount);
            if total > under.budget {
                return Err(Bound::OwnBudget { budget: under.budget }.into());
            }
            rows.push(row);
            totals.push(total);
        }
        for (row, total) in rows.iter().zip(&totals) {
            w.put(SPENT, row, total)?;
        }
        Ok(Debited { amount, rows: rows.into_iter().zip(totals).collect(), spent })
    }

    /// What a rule of a chain is called to whoever hires.
    pub(super) fn bound(&self, error: ChainError) -> Bound {
        let place = match &error {
            ChainError::Policy { link, .. } | ChainError::Fuel { link } | ChainError::Overspent { link } => Some(*link),
            _ => None,
        };
        let by = place.and_then(|link| self.links.get(link)).map_or(self.principal, |link| link.iss);
        Bound::Chain { by, error: Box::new(error) }
    }
}

/// Gives back what came to no signed award, where nothing was debited on top of it.
pub(in crate::trade) fn give_back(w: &mut Write<'_>, debited: &Debited) -> Result<(), StoreError> {
    for (row, total) in &debited.rows {
        if w.get(SPENT, row)? == Some(*total) {
            w.put(SPENT, row, &total.saturating_sub(debited.amount))?;
        }
    }
    Ok(())
}

fn latest(links: &[Signed<Delegation>]) -> Timestamp {
    let bounds = links.iter().flat_map(|link| {
        let deadline = link.pol.most("deadline").map(Timestamp::from_secs);
        deadline.into_iter().chain(link.exp)
    });
    bounds.min().unwrap_or_default()
}

fn own_key(links: &[Signed<Delegation>], award: Cid) -> Key {
    Key::of(latest(links)).and(award)
}

/// All that was debited for the sake of a trade that we sell; `None` if that is past its deadline and may be forgotten.
pub(in crate::trade) fn spent_for(r: &impl Reader, deal: &Deal, now: Timestamp) -> Result<Option<u64>, StoreError> {
    let Some(links) = deal.passed_on() else { return Ok(Some(0)) };
    let spent = r.get(SPENT, own_key(&links, deal.id()))?;
    Ok(spent.or((now <= latest(&links)).then_some(0)))
}

/// All that we have awarded or passed on under a delegation.
pub(in crate::trade) fn spent_under(r: &impl Reader, link: &Signed<Delegation>) -> Result<u64, StoreError> {
    Ok(r.get(SPENT, spent_key(link))?.unwrap_or_default())
}

/// Debits what is passed on by a standing grant, in full, from every delegation that it is under.
pub(in crate::trade) fn debit_grant(w: &mut Write<'_>, chain: &GrantChain, amount: u64) -> Result<Debited, HireError> {
    let mut rows = Vec::new();
    for link in chain.links() {
        let total = spent_under(w, link)?.saturating_add(amount);
        if let Some(budget) = link.pol.most("spent").filter(|budget| total > *budget) {
            return Err(Bound::Spent { by: link.iss, budget }.into());
        }
        rows.push((spent_key(link), total));
    }
    for (row, total) in &rows {
        w.put(SPENT, row, total)?;
    }
    let spent = rows.last().map(|(_, total)| *total);
    Ok(Debited { amount, rows, spent })
}

/// Whether a trade that we sell is still worked on: only then is anything hired for its sake.
pub(in crate::trade) fn is_worked_on(r: &impl Reader, award: Cid) -> Result<bool, StoreError> {
    Ok(matches!(r.get(SELLERS, key(award))?, Some(Seller::Working(_))))
}

fn spent_key(link: &Signed<Delegation>) -> Key {
    Key::of(link.exp.unwrap_or(Timestamp::from_secs(u64::MAX))).and(link.cid())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{cbor::cid_of, identity::AgentKey, settlement::prepaid, ucan::grant::SubGrant};

    use super::*;
    use crate::{
        runtime::Runtime,
        store::{Store, testing::CrashBackend},
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn key(seed: u8) -> AgentKey {
        AgentKey::from_seed(&[seed; 32])
    }

    /// 1 lets 2 spend `budget` in a task.
    fn authority(budget: u64) -> Authority {
        let grant = SubGrant {
            buyer: key(1).id(),
            seller: key(2).id(),
            principal: key(1).id(),
            task: cid_of(b"task"),
            services: vec![],
            unit: "play".into(),
            mint: "https://mint.example".into(),
            max_price: budget,
            max_spent: budget,
            deadline: NOW.saturating_add(60),
            max_depth: 1,
            expires: NOW.saturating_add(60),
            nonce: vec![1],
        };
        let links = vec![Signed::sign(grant.delegation().unwrap(), &key(1)).unwrap()];
        Authority { principal: key(1).id(), links, task: Some(cid_of(b"task")), under: None }
    }

    fn args(price: u64) -> (AwardArgs, Terms) {
        let payee = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
        let terms = Terms::Prepaid(prepaid::Terms { payee, locktime: NOW.saturating_add(900) });
        let args = AwardArgs {
            task: cid_of(b"task"),
            service: "text.echo".parse().unwrap(),
            ask: cid_of(b"ask"),
            offer: cid_of(b"offer"),
            input: guilder_protocol::bytes::ByteArray([1; 32]),
            mint: "https://mint.example".parse().unwrap(),
            price,
            unit: "play".parse().unwrap(),
            spent: 0,
            seller: key(3).id(),
            deadline: NOW.saturating_add(50),
            depth: 1,
        };
        (args, terms)
    }

    async fn debit(store: &Store, authority: &Authority, price: u64, granted: u64) -> Result<Debited, HireError> {
        let (authority, (args, terms)) = (authority.clone(), args(price));
        store.transact(move |w| authority.debit(w, &args, &terms, granted)).await
    }

    #[tokio::test]
    async fn what_was_debited_is_so_after_a_crash() {
        let (disk, authority) = (CrashBackend::new(), authority(20));
        let runtime = Runtime::anchored(NOW);
        let store = Store::with_backend(disk.backend(), &runtime).await.unwrap();
        assert_eq!(debit(&store, &authority, 7, 3).await.unwrap().spent, Some(10));
        disk.crash();
        drop(store);
        let store = Store::with_backend(disk.backend(), &Runtime::anchored(NOW)).await.unwrap();
        assert!(matches!(debit(&store, &authority, 11, 0).await, Err(HireError::Bound(Bound::Chain { .. }))));
        assert_eq!(debit(&store, &authority, 10, 0).await.unwrap().spent, Some(20));
        let spent = store.read(|r| Ok(authority.most_price(r))).unwrap();
        assert!(matches!(spent, Err(HireError::Bound(Bound::Spent { budget: 20, .. }))));
    }

    #[tokio::test]
    async fn what_came_to_no_award_is_given_back_unless_something_stands_on_top_of_it() {
        let authority = authority(20);
        let store = Store::with_backend(CrashBackend::new().backend(), &Runtime::anchored(NOW)).await.unwrap();
        let give_back = async |debited: Debited| store.write(move |w| super::give_back(w, &debited)).await.unwrap();
        let first = debit(&store, &authority, 7, 0).await.unwrap();
        give_back(first).await;
        let first = debit(&store, &authority, 7, 0).await.unwrap();
        assert_eq!(first.spent, Some(7));
        let second = debit(&store, &authority, 7, 0).await.unwrap();
        // The second award says 14: were the first given back, the next one would say so too.
        give_back(first).await;
        assert!(debit(&store, &authority, 7, 0).await.is_err());
        give_back(second).await;
        assert_eq!(debit(&store, &authority, 7, 0).await.unwrap().spent, Some(14));
    }

    #[tokio::test]
    async fn what_our_own_service_lets_a_task_spend_is_debited_with_it() {
        let under = |award: &[u8]| Under { award: cid_of(award), services: vec![], budget: 10 };
        let store = Store::with_backend(CrashBackend::new().backend(), &Runtime::anchored(NOW)).await.unwrap();
        let of = |award: &[u8]| Authority { under: Some(under(award)), ..authority(100) };
        assert_eq!(debit(&store, &of(b"award"), 7, 0).await.unwrap().spent, Some(7));
        assert!(store.read(|r| Ok(authority(1).check_open(r))).unwrap().is_ok());
        let closed = store.read(|r| Ok(of(b"award").check_open(r))).unwrap();
        assert!(matches!(closed, Err(HireError::Bound(Bound::Over))), "nobody works on it");
        let over = debit(&store, &of(b"award"), 4, 0).await;
        assert!(matches!(over, Err(HireError::Bound(Bound::OwnBudget { budget: 10 }))));
        // Refused as a whole: the delegation wasn't debited either.
        assert_eq!(debit(&store, &of(b"another"), 4, 0).await.unwrap().spent, Some(11));
    }
}
