//! What the judge is shown of every honest seller's trades.

use std::collections::BTreeMap;

use guilder::{
    events::Side,
    parts::Node,
    trade::{MoneyView, Page, TaskView},
};
use guilder_protocol::identity::AgentId;

use super::Play;
use crate::{
    fabric::HostId,
    judge::{Credit, Sale, judge_sales},
};

impl Play<'_> {
    /// Honest sellers are paid for what they do, each proof once, and lose no more than the credit that they give.
    pub(super) fn judge_sales(&mut self, agents: &BTreeMap<AgentId, HostId>) {
        let at_ms = self.now_us() / 1_000;
        let judged = |host: &HostId| self.cast.is_honest(*host) && !self.world.had_other_home(*host);
        for host in self.world.hosts().filter(judged).collect::<Vec<_>>() {
            let Some(node) = self.world.node(host) else { continue };
            let redemption = &node.config.wallet.redemption;
            let credit = Credit {
                per_mint: redemption.max_per_mint,
                per_buyer: redemption.max_per_buyer,
                unreleased_per_buyer: redemption.max_unreleased_per_buyer,
                unreleased_shared: redemption.max_unreleased_shared,
            };
            for (rule, trade, what) in judge_sales(&self.sales(node, agents), credit) {
                let what = format!("host {} and trade {trade}: {what}", host.0);
                self.judge.accuse(at_ms, rule, what, self.world.journal().last_events(&trade));
            }
        }
    }

    fn sales(&self, node: &Node, agents: &BTreeMap<AgentId, HostId>) -> Vec<Sale> {
        let (mut page, mut sales) = (Page::default(), Vec::new());
        while let Ok(views) = node.trade.tasks(page) {
            let Some(last) = views.last() else { break };
            page.after = Some(last.cursor());
            let sold = views.iter().filter(|view| view.side == Side::Seller);
            sales.extend(sold.filter_map(|view| self.sale(node, view, agents)));
        }
        sales
    }

    fn sale(&self, node: &Node, view: &TaskView, agents: &BTreeMap<AgentId, HostId>) -> Option<Sale> {
        let (trade, buyer) = (view.trade?, view.peer?);
        let evidence = node.trade.evidence(trade).ok()??;
        let award = evidence.awards.iter().find(|award| award.cid() == trade)?;
        let in_escrow = award.part().key_hash().is_some();
        let (award, ecash) = (award.args(), award.part().commitment());
        // Who has forgotten an award hasn't not given it.
        let remembers = |host: &HostId| self.cast.is_honest(*host) && !self.world.had_other_home(*host);
        let host = agents.get(&buyer).filter(|host| remembers(host));
        let given =
            host.and_then(|host| self.world.node(*host)).map(|node| matches!(node.trade.show(trade), Ok(Some(_))));
        let liars = self.liars.iter().filter_map(|liar| self.world.mints().get(self.mints.get(*liar)?));
        let liar = liars.into_iter().any(|liar| liar.is_at(&award.mint));
        let money = match &view.money {
            Some(MoneyView::Sold(money)) => Some(money.clone()),
            _ => None,
        };
        let (mint, price) = (award.mint.clone(), award.price);
        Some(Sale { trade, buyer, given, mint, honest_mint: !liar, price, in_escrow, ecash, money })
    }
}
