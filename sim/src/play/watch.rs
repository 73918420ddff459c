//! How closely a run is watched: the judge's looks in the middle of it, and the runs that end with one.
//!
//! A look reads tables and changes nothing, so a run goes the same way however often it is looked at. What can be said
//! before the end is said by a close look; liveness, and what a scenario says must hold, only the end shows.

use std::{collections::BTreeMap, time::Duration};

use guilder_protocol::identity::AgentId;

use super::Play;
use crate::{
    fabric::HostId,
    results::{Results, Summary},
    scenario::Fault,
    trace::Trace,
    world::WorldError,
};

/// When the judge looks, and at how much. None of it changes what happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watch {
    /// Seconds between two looks.
    pub every_s: u64,
    /// From this second on.
    pub from_s: f64,
    /// Whether each is a close look, and the run ends with the first that finds something.
    pub closely: bool,
    /// Whether the run ends at this second, with a close look.
    pub until_s: Option<f64>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { every_s: EVERY_S, from_s: 0.0, closely: false, until_s: None }
    }
}

/// How often the rules are checked that hold at every moment, in seconds.
pub const EVERY_S: u64 = 20;

impl Play<'_> {
    pub(super) fn look(&mut self) {
        if self.watch.closely {
            self.look_closely();
            self.over = self.judge.has_found();
        } else {
            self.judge.look(&self.world, &self.cast, self.now_us() / 1_000);
        }
    }

    fn look_closely(&mut self) {
        let at_ms = self.now_us() / 1_000;
        self.judge.look(&self.world, &self.cast, at_ms);
        // What a quote is being turned into is in no record before it is there.
        // What a mint that lies has done to a swap shows when it is over.
        // What a home has forgotten its owner's sync brings back, at the end; so it is with tokens on their way.
        let in_view = !self.scenario.faults.iter().any(Fault::hides_money);
        if self.notes.lock().funding == 0 && self.liars.is_empty() && in_view {
            self.judge_coins(false);
        }
        self.judge_trades();
    }

    /// Every task that has an award, and every sale.
    fn judge_trades(&mut self) {
        let agents = self.agents();
        let wishes = self.notes.lock().wishes.clone();
        for wish in wishes {
            if let Some(view) = self.view(&wish).filter(|view| view.trade.is_some()) {
                self.judge_wish(&wish, &view, &agents);
            }
        }
        self.judge_chains(&agents);
        self.judge_sales(&agents);
    }

    /// Who lives where.
    pub(super) fn agents(&self) -> BTreeMap<AgentId, HostId> {
        self.world.hosts().map(|host| (self.world.agent(host), host)).collect()
    }

    /// The moment to which a stage of the run lasts, if it is to end there, or earlier.
    pub(super) fn end_of(&self, stage: Duration) -> Duration {
        self.watch.until_s.map_or(stage, |until| stage.min(Duration::from_secs_f64(until)))
    }

    /// Ends the run, with a close look, if its time has come.
    pub(super) fn end_if_due(&mut self) {
        if self.watch.until_s.is_some_and(|until| self.now_us() as f64 / 1e6 >= until) && !self.over {
            self.look_closely();
            self.over = true;
        }
    }

    /// What was found in a run that was ended early.
    pub(super) fn cut_short(self, seed: u64, trace: &Trace) -> Result<Results, WorldError> {
        let (events, hash) = trace.finish().map_err(WorldError::new)?;
        let virtual_secs = self.start.elapsed().as_secs_f64();
        let nodes = self.cast.len() as u32;
        let summary = Summary { seed, nodes, virtual_secs, events, hash, ..Summary::default() };
        Ok(Results { summary, violations: self.judge.verdict(), cut_short: true, ..Results::default() })
    }
}
