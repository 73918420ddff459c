//! One trade, as both sides and its outcome show it.

use guilder::trade::{MoneyView, TaskState};
use guilder_protocol::trade::buyer;

/// What is seen of a task that its buyer awarded.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The buyer's state.
    pub state: TaskState,
    /// What became of the buyer's money.
    pub money: Option<MoneyView>,
    /// Whether the seller plays by the rules.
    pub honest_seller: bool,
    /// Whether it was to be paid in escrow.
    pub in_escrow: bool,
    /// Seconds since the deadline, in escrow since the locktime; below 0, before it.
    pub past_deadline_secs: i64,
    /// Whether it was awarded when its deadline had passed.
    pub awarded_late: bool,
    /// Whether the output is what the input asks for, if there is an output.
    pub right_output: Option<bool>,
    /// Whether the seller's executor did the work.
    pub worked: bool,
    /// Whether the buyer has a receipt.
    pub receipt: bool,
    /// Whether the buyer has its seller's acceptance.
    pub accepted: bool,
    /// Whether the buyer has signed that it has the output.
    pub received: bool,
    /// Why the audit bundle doesn't verify, if it doesn't.
    pub audit: Option<String>,
}

/// How long after its deadline a trade may still be open: a retry's longest pause, and the tolerated skew.
pub(super) const GRACE_SECS: i64 = 90;

/// The rules that a trade breaks, with what is wrong.
pub fn judge_trade(seen: &Seen) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    let mut must = |holds: bool, rule: &'static str, what: &str| {
        if !holds {
            broken.push((rule, what.to_owned()));
        }
    };
    let over = seen.state.is_over();
    must(over || seen.past_deadline_secs <= GRACE_SECS, "outcome", "still open long after its deadline");
    must(!seen.awarded_late, "award", "awarded, and its money locked, after its deadline");
    let delivered = seen.state == TaskState::Delivered;
    must(!delivered || seen.receipt, "receipt", "delivered without a receipt");
    must(delivered == seen.received, "received", "its buyer's word that it has the output is missing, or isn't true");
    if seen.honest_seller {
        must(!delivered || seen.accepted, "accepted", "delivered, and its buyer hasn't got the acceptance");
        must(!delivered || seen.worked, "receipt", "an honest seller gave a receipt for work that was never done");
        must(
            seen.right_output != Some(false),
            "output",
            "an honest seller delivered something else than was asked for",
        );
        let paid = matches!(seen.money, Some(MoneyView::Bought(buyer::Money::Paid)));
        must(!over || delivered || !paid, "loss", "paid an honest seller for nothing");
        let redeemed = match seen.money {
            Some(MoneyView::Bought(buyer::Money::Settled { redeemed, .. })) => redeemed,
            _ => 0,
        };
        must(delivered || redeemed == 0, "loss", "an honest seller took the money of a failed trade");
    }
    if seen.in_escrow && over && !delivered {
        let gone = match seen.money {
            Some(MoneyView::Bought(buyer::Money::Paid)) => true,
            Some(MoneyView::Bought(buyer::Money::Settled { redeemed, .. })) => redeemed > 0,
            _ => false,
        };
        must(!gone, "escrow", "money in escrow went to a seller, and its buyer hasn't got the output");
    }
    if let Some(why) = &seen.audit {
        must(!over, "audit", &format!("its bundle doesn't verify: {why}"));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Seen {
        Seen {
            state: TaskState::Delivered,
            money: Some(MoneyView::Bought(buyer::Money::Paid)),
            honest_seller: true,
            in_escrow: false,
            past_deadline_secs: -10,
            awarded_late: false,
            right_output: Some(true),
            worked: true,
            receipt: true,
            accepted: true,
            received: true,
            audit: None,
        }
    }

    fn rules(seen: &Seen) -> Vec<&'static str> {
        judge_trade(seen).into_iter().map(|(rule, _)| rule).collect()
    }

    #[test]
    fn a_good_trade_breaks_nothing() {
        assert!(rules(&good()).is_empty());
    }

    #[test]
    fn each_rule_catches_what_it_is_for() {
        let open =
            Seen { state: TaskState::Working, past_deadline_secs: 1_000, receipt: false, received: false, ..good() };
        assert_eq!(rules(&open), ["outcome"]);
        assert_eq!(rules(&Seen { awarded_late: true, ..good() }), ["award"]);
        assert_eq!(rules(&Seen { receipt: false, ..good() }), ["receipt"]);
        assert_eq!(rules(&Seen { accepted: false, ..good() }), ["accepted"]);
        assert_eq!(rules(&Seen { received: false, ..good() }), ["received"]);
        assert_eq!(rules(&Seen { worked: false, ..good() }), ["receipt"]);
        assert_eq!(rules(&Seen { right_output: Some(false), ..good() }), ["output"]);
        let failed = Seen { state: TaskState::Failed, received: false, right_output: None, ..good() };
        assert_eq!(rules(&Seen { receipt: false, ..failed.clone() }), ["loss"]);
        assert_eq!(rules(&Seen { money: None, received: true, ..failed.clone() }), ["received"]);
        let redeemed = MoneyView::Bought(buyer::Money::Settled { refunded: 0, redeemed: 7, fee: 0 });
        let robbed = Seen { state: TaskState::Failed, money: Some(redeemed), ..failed };
        assert_eq!(rules(&robbed), ["loss"]);
        assert_eq!(rules(&Seen { audit: Some("no award".into()), ..good() }), ["audit"]);
    }

    #[test]
    fn a_cheat_may_take_the_price_of_its_call() {
        let cheated = Seen { honest_seller: false, right_output: Some(false), worked: false, ..good() };
        assert!(rules(&cheated).is_empty());
    }

    #[test]
    fn in_escrow_a_cheat_is_paid_for_nothing_but_an_output() {
        let redeemed = |redeemed| Some(MoneyView::Bought(buyer::Money::Settled { refunded: 0, redeemed, fee: 0 }));
        let seen = |money, in_escrow| Seen {
            state: TaskState::Failed,
            money,
            honest_seller: false,
            in_escrow,
            received: false,
            right_output: None,
            ..good()
        };
        for money in [redeemed(7), Some(MoneyView::Bought(buyer::Money::Paid))] {
            assert_eq!(rules(&seen(money.clone(), true)), ["escrow"]);
            assert!(rules(&seen(money, false)).is_empty());
        }
        assert!(rules(&seen(redeemed(0), true)).is_empty());
        let junk = Seen { honest_seller: false, in_escrow: true, right_output: Some(false), ..good() };
        assert!(rules(&junk).is_empty());
    }
}
