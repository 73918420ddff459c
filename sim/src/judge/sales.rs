//! What an honest seller sold, and whether it was paid for it.

use std::collections::BTreeMap;

use cid::Cid;
use guilder_protocol::{bytes::Digest, identity::AgentId, market::MintUrl, trade::seller::Money};

/// What is seen of a trade that a seller took.
#[derive(Clone, Debug)]
pub struct Sale {
    /// The award.
    pub trade: Cid,
    /// Who gave it.
    pub buyer: AgentId,
    /// Whether the buyer's own books have the award; `None` if it cheats, and its books say nothing.
    pub given: Option<bool>,
    /// Where the money is from.
    pub mint: MintUrl,
    /// Whether that mint has told the truth all the time.
    pub honest_mint: bool,
    /// The price.
    pub price: u64,
    /// Whether it is paid in escrow.
    pub in_escrow: bool,
    /// The award's commitment to the ecash that pays it; `None` in a mode that locks none.
    pub ecash: Option<Digest>,
    /// What became of the money; `None` while the work lasts.
    pub money: Option<Money>,
}

/// What a seller allows itself to be owed (`docs/settlement.md`).
#[derive(Clone, Copy, Debug)]
pub struct Credit {
    /// By one mint.
    pub per_mint: u64,
    /// By one buyer.
    pub per_buyer: u64,
    /// In escrow, what is delivered and not released yet counts for itself: of one buyer, and of all together.
    pub unreleased_per_buyer: u64,
    /// See [`Self::unreleased_per_buyer`].
    pub unreleased_shared: u64,
}

/// What was lost, in advance and in escrow.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    in_advance: u64,
    in_escrow: u64,
}

impl Lost {
    fn add(&mut self, sale: &Sale) {
        let side = if sale.in_escrow { &mut self.in_escrow } else { &mut self.in_advance };
        *side += sale.price;
    }

    /// Whether it is more than the credit. What is released at once was bounded as what wasn't until then.
    fn exceeds(self, credit: u64, unreleased: u64) -> bool {
        self.in_advance > credit || self.in_advance + self.in_escrow > credit + unreleased
    }
}

/// The rules that a seller's trades break: which, which trade, and what is wrong.
pub fn judge_sales(sales: &[Sale], credit: Credit) -> Vec<(&'static str, Cid, String)> {
    let mut broken = Vec::new();
    let (mut paid_by, mut by_buyer, mut by_mint) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for sale in sales {
        let Sale { trade, price, .. } = sale;
        let earned = matches!(sale.money, Some(Money::Due | Money::Redeemed { .. } | Money::Lost(_)));
        if earned
            && let Some(ecash) = sale.ecash
            && let Some(other) = paid_by.insert(ecash, *trade)
        {
            broken.push(("double", *trade, format!("worked for the proofs that pay for {other} too")));
        }
        if matches!(sale.money, Some(Money::Redeemed { .. })) && sale.given == Some(false) {
            broken.push(("payment", *trade, "redeemed for an award that its honest buyer never gave".into()));
        }
        let Some(Money::Lost(why)) = &sale.money else { continue };
        if sale.honest_mint {
            broken.push(("loss", *trade, format!("{price} lost, though the mint is honest: {why}")));
        }
        let of_buyer = by_buyer.entry((&sale.mint, sale.buyer)).or_insert_with(Lost::default);
        let of_mint = by_mint.entry(&sale.mint).or_insert_with(Lost::default);
        for (lost, most, unreleased, whose) in [
            (of_buyer, credit.per_buyer, credit.unreleased_per_buyer, "one buyer's"),
            (of_mint, credit.per_mint, credit.unreleased_shared, "one mint's"),
        ] {
            lost.add(sale);
            if lost.exceeds(most, unreleased) {
                let what =
                    format!("{lost:?} of {whose} money, more than the credit of {most}, unreleased {unreleased}");
                broken.push(("loss", *trade, what));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{bytes::ByteArray, cbor::cid_of, identity::AgentKey};

    use super::*;

    const CREDIT: Credit = Credit { per_mint: 100, per_buyer: 10, unreleased_per_buyer: 6, unreleased_shared: 20 };

    fn sale(number: u8) -> Sale {
        Sale {
            trade: cid_of(&[number]),
            buyer: AgentKey::from_seed(&[number; 32]).id(),
            given: Some(true),
            mint: "https://mint0.sim".parse().unwrap(),
            honest_mint: true,
            price: 6,
            in_escrow: false,
            ecash: Some(ByteArray([number; 32])),
            money: Some(Money::Redeemed { amount: 6 }),
        }
    }

    fn lost(number: u8) -> Sale {
        Sale { honest_mint: false, money: Some(Money::Lost("denied".into())), ..sale(number) }
    }

    fn rules(sales: &[Sale]) -> Vec<&'static str> {
        judge_sales(sales, CREDIT).into_iter().map(|(rule, ..)| rule).collect()
    }

    #[test]
    fn sales_that_were_paid_for_break_nothing() {
        let cheats = Sale { given: None, ..sale(2) };
        let voided = Sale { ecash: sale(1).ecash, money: Some(Money::Voided), ..sale(3) };
        assert!(rules(&[sale(1), cheats, voided]).is_empty());
    }

    #[test]
    fn each_rule_catches_what_it_is_for() {
        assert_eq!(rules(&[sale(1), Sale { trade: sale(2).trade, ..sale(1) }]), ["double"]);
        assert_eq!(rules(&[Sale { given: Some(false), ..sale(1) }]), ["payment"]);
        assert_eq!(rules(&[Sale { honest_mint: true, ..lost(1) }]), ["loss"]);
    }

    #[test]
    fn at_a_lying_mint_a_seller_loses_its_credit_at_the_most() {
        assert!(rules(&[lost(1), lost(2)]).is_empty(), "6 of each of two buyers");
        let again = Sale { buyer: lost(1).buyer, ..lost(2) };
        assert_eq!(rules(&[lost(1), again]), ["loss"], "12 of one buyer");
        assert_eq!(rules(&(0..17).map(lost).collect::<Vec<_>>()), ["loss"], "102 of one mint");
    }

    #[test]
    fn in_escrow_a_seller_loses_what_waits_for_its_release_besides() {
        let by_one = |number| Sale { buyer: lost(1).buyer, in_escrow: true, ..lost(number) };
        assert!(rules(&[by_one(1), by_one(2)]).is_empty(), "12 of one buyer: a credit of 10, and 6 unreleased");
        assert_eq!(rules(&[by_one(1), by_one(2), by_one(3)]), ["loss"], "18 of one buyer");
        let shared = |number| Sale { in_escrow: true, ..lost(number) };
        assert!(rules(&(0..20).map(shared).collect::<Vec<_>>()).is_empty(), "120 of one mint");
        assert_eq!(rules(&(0..21).map(shared).collect::<Vec<_>>()), ["loss"], "126 of one mint");
        let in_advance = Sale { in_escrow: false, ..by_one(2) };
        assert_eq!(rules(&[lost(1), in_advance]), ["loss"], "12 in advance: escrow adds nothing to that");
    }
}
