//! Work that was passed on: what it was debited from, and who answers for it.

use std::collections::BTreeMap;

use cid::Cid;
use guilder_protocol::audit::Answer;

/// What is seen of an award under a delegation.
#[derive(Clone, Debug)]
pub struct Awarded {
    /// Which.
    pub award: Cid,
    /// The delegation that its buyer held.
    pub delegation: Cid,
    /// All that may be awarded under that.
    pub budget: u64,
    /// The running total that the award names, itself included.
    pub total: u64,
    /// Its price, and what it lets its seller pass on.
    pub amount: u64,
}

/// The rules that one buyer's awards break.
pub fn judge_budgets(awards: &[Awarded]) -> Vec<(&'static str, Cid, String)> {
    let mut by_delegation: BTreeMap<Cid, Vec<&Awarded>> = BTreeMap::new();
    for award in awards {
        by_delegation.entry(award.delegation).or_default().push(award);
    }
    let mut broken = Vec::new();
    for awards in by_delegation.values_mut() {
        awards.sort_by_key(|award| (award.total, award.award));
        awards.dedup_by_key(|award| award.award);
        let mut before = 0;
        for award in awards {
            let Awarded { budget, total, amount, .. } = award;
            if total > budget {
                broken.push(("budget", award.award, format!("{total} awarded under a delegation of {budget}")));
            }
            if total.saturating_sub(*amount) < before {
                let what = format!("counts from {}, and {before} was awarded", total.saturating_sub(*amount));
                broken.push(("budget", award.award, what));
            }
            before = *total;
        }
    }
    broken
}

/// What is known of the work of an honest seller.
#[derive(Clone, Copy, Debug)]
pub struct Worked {
    /// Whether it was ever done.
    pub done: bool,
    /// Whether its last run came to an output well before the deadline.
    pub in_time: bool,
    /// Whether its buyer is honest.
    pub buyer_is_honest: bool,
    /// Whether somebody wished for it: nobody in a simulation calls off what was wished for.
    pub wished: bool,
}

/// What is wrong with whom a bundle names for an honest seller's award.
pub fn judge_answer(answer: &Answer, worked: Worked) -> Option<&'static str> {
    match answer {
        Answer::Delivered(_) if !worked.done => Some("an honest seller signed for work that was never done"),
        Answer::SellerFailed(_) if worked.in_time => Some("an honest seller answers for work that was done in time"),
        Answer::SellerContradicts(_) => Some("an honest seller is said to contradict itself"),
        Answer::CalledOff(_) if worked.wished && worked.buyer_is_honest => {
            Some("an honest buyer answers for calling off what it never did")
        }
        Answer::NotUnderstood => Some("what a node of this version signed is not understood"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use guilder_protocol::{cbor::cid_of, identity::AgentKey};

    use super::*;

    fn award(number: u8, total: u64, amount: u64) -> Awarded {
        Awarded { award: cid_of(&[number]), delegation: cid_of(b"one"), budget: 20, total, amount }
    }

    #[test]
    fn totals_that_overlap_or_exceed_the_budget_are_found() {
        let fits = [award(1, 7, 7), award(2, 20, 13), award(2, 20, 13)];
        assert!(judge_budgets(&fits).is_empty());
        let elsewhere = Awarded { delegation: cid_of(b"two"), ..award(3, 7, 7) };
        assert!(judge_budgets(&[award(1, 7, 7), elsewhere]).is_empty());
        // What came to no award may have been counted in between.
        assert!(judge_budgets(&[award(1, 7, 7), award(2, 16, 7)]).is_empty());
        for wrong in [[award(1, 7, 7), award(2, 12, 6)], [award(1, 7, 7), award(2, 21, 14)]] {
            assert_eq!(judge_budgets(&wrong).len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn an_honest_party_that_is_named_wrongly_is_found() {
        let agent = AgentKey::from_seed(&[1; 32]).id();
        let fine = Worked { done: true, in_time: true, buyer_is_honest: true, wished: true };
        let failed = Worked { done: false, in_time: false, ..fine };
        let wrong = [
            (Answer::Delivered(agent), failed, fine),
            (Answer::SellerFailed(agent), fine, failed),
            (Answer::CalledOff(agent), fine, Worked { wished: false, ..fine }),
        ];
        for (answer, found, passed) in wrong {
            assert!(judge_answer(&answer, found).is_some(), "{answer:?}");
            assert!(judge_answer(&answer, passed).is_none(), "{answer:?}");
        }
        assert!(judge_answer(&Answer::SellerContradicts(agent), fine).is_some());
        assert!(judge_answer(&Answer::Open, fine).is_none() && judge_answer(&Answer::Accepted(agent), fine).is_none());
    }
}
