//! Parts that are broken on purpose, to see that the judge finds it. No scenario can ask for it: this is for tests,
//! and for `--sabotage PART`, which the commands' help doesn't show.

use guilder::store::Table;
use serde::de::IgnoredAny;

use super::{Action, Play};
use crate::{
    fabric::HostId,
    mint::{Condition, Lie},
    world::{WorldError, executor::Habit},
};

/// What is broken, of those who are said to be honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// Every other disk forgets, in a crash, half a minute of commits.
    DisksForget,
    /// A wallet's table loses a row.
    CoinVanishes,
    /// A seller delivers something else than was asked for.
    SellerErrs,
    /// A mint signs and doesn't take what it was given for it.
    MintForgetsInputs,
    /// A mint takes what it is given and signs nothing.
    MintRobs,
}

impl Play<'_> {
    /// In the midst of the workload: the first step, and half a minute later the second.
    pub(super) fn plan_sabotage(&mut self) {
        let Some(sabotage) = self.sabotage else { return };
        let from = (self.scenario.warmup_s + self.scenario.workload_ends_s()) as f64 / 2.0;
        self.timeline.at_secs(from, Action::Sabotage(sabotage, false));
        self.timeline.at_secs(from + 30.0, Action::Sabotage(sabotage, true));
    }

    pub(super) async fn commit_sabotage(&mut self, sabotage: Sabotage, second: bool) -> Result<(), WorldError> {
        match (sabotage, second) {
            (Sabotage::DisksForget, false) => self.world.remember_disks(),
            (Sabotage::DisksForget, true) => {
                for host in self.world.hosts().step_by(2).collect::<Vec<_>>() {
                    self.world.kill(host, true).await;
                    self.world.forget_since(host);
                    self.bring_back(host).await?;
                }
            }
            (Sabotage::CoinVanishes, false) => self.lose_a_coin().await?,
            (Sabotage::SellerErrs, false) => {
                for host in self.sellers() {
                    self.world.executor(host).set_habit(Habit::Garbage);
                }
            }
            (Sabotage::MintForgetsInputs, false) => self.make_mints_lie(Lie::ForgetsInputs),
            (Sabotage::MintRobs, false) => self.make_mints_lie(Lie::Robs),
            (_, true) => {}
        }
        Ok(())
    }

    fn sellers(&self) -> Vec<HostId> {
        self.cast.iter().filter(|(_, part)| part.sells()).map(|(host, _)| host).collect()
    }

    /// The judge isn't told.
    fn make_mints_lie(&self, lie: Lie) {
        for number in 0..self.mints.len() {
            self.mint(number, |mint| mint.set_condition(Condition { lie: Some(lie), ..Condition::default() }));
        }
    }

    async fn lose_a_coin(&self) -> Result<(), WorldError> {
        const COINS: Table<IgnoredAny> = Table::new("wallet/coins");
        let nodes = self.world.hosts().filter_map(|host| self.world.node(host));
        let Some(rich) = nodes.into_iter().find(|node| node.wallet.funds(&self.unit).iter().any(|(_, sum)| *sum > 0))
        else {
            return Ok(());
        };
        let lost = rich.store.write(|write| {
            use guilder::store::{KeyRange, Reader};
            match write.range(COINS, KeyRange::all(), 1)?.pop() {
                Some((key, _)) => write.delete(COINS, key),
                None => Ok(()),
            }
        });
        lost.await.map_err(WorldError::new)
    }
}
