//! What is to happen when: faults, wishes, looks; in the order of virtual time, then of entry.

use std::collections::BTreeMap;

use super::{Sabotage, faults::Episode};
use crate::{fabric::HostId, mint::Condition, scenario::ProxyFailure};

/// Something to be done at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// A buyer wants something.
    Wish(HostId),
    /// Somebody looks for a service.
    Search,
    /// Somebody grants something and takes it back.
    Revocation,
    /// A cheat floods or forges.
    Misbehaviour(HostId),
    /// A node dies.
    Kill { host: HostId, reset: bool },
    /// A dead node returns.
    Restart(HostId),
    /// These are cut off from the others.
    Cut { hosts: Vec<HostId>, one_way: bool },
    /// All reach all again.
    Heal,
    /// A mint, by its number, behaves otherwise.
    MintCondition(usize, Condition),
    /// A mint, by its number, changes its keys.
    MintRotates(usize),
    /// What is on a node's disk is copied.
    BackUp(HostId),
    /// A dead node's disk becomes what was copied.
    PutBack(HostId),
    /// A second home of a node's phrase is opened.
    Twin(HostId),
    /// It ends.
    TwinEnds(HostId),
    /// Somebody gives somebody a token.
    Token,
    /// A disk has no room any more; or it has.
    DiskFull(HostId, bool),
    /// A clock is so far ahead of where it was at first.
    ClockStep(HostId, i64),
    /// A mint's proxy, by the mint's number, behaves otherwise.
    Proxy(usize, Option<ProxyFailure>),
    /// No duty begins anything any more.
    PauseDuties,
    /// The state of the whole is written down.
    Sample,
    /// The rules are checked.
    Judge,
    /// A part breaks that is said to be whole; whether this is the second step of it.
    Sabotage(Sabotage, bool),
}

/// Actions by microsecond and order of entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    entries: BTreeMap<(u64, u64), Entry>,
    sequence: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    action: Action,
    /// When the fault begins that it is a part of.
    fault_us: Option<u64>,
}

impl Timeline {
    pub(super) fn at(&mut self, micros: u64, action: Action) {
        self.enter(micros, Entry { action, fault_us: None });
    }

    fn enter(&mut self, micros: u64, entry: Entry) {
        self.sequence += 1;
        self.entries.insert((micros, self.sequence), entry);
    }

    pub(super) fn at_secs(&mut self, secs: f64, action: Action) {
        self.at(micros(secs), action);
    }

    /// Everything that belongs to a fault.
    pub(super) fn play(&mut self, episode: Episode) {
        let fault_us = Some(micros(episode.from_s));
        for (at, action) in episode.actions {
            self.enter(micros(at), Entry { action, fault_us });
        }
    }

    /// Forgets faults that haven't begun at a moment; those that have go on to their end.
    pub(super) fn forget_faults_after(&mut self, now_us: u64) {
        self.entries.retain(|_, entry| entry.fault_us.is_none_or(|from| from <= now_us));
    }

    pub(super) fn forget(&mut self, which: impl Fn(&Action) -> bool) {
        self.entries.retain(|_, entry| !which(&entry.action));
    }

    /// When the next is due, in microseconds.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        self.entries.pop_first().map(|(_, entry)| entry.action)
    }
}

fn micros(secs: f64) -> u64 {
    (secs.max(0.0) * 1e6) as u64
}
