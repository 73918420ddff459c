//! Which points are tried.

use std::fmt;

use crate::market::{Blow, Came, Course, Market, Party, Shape};

/// More commits of one node than any row's trade makes.
const MOST_COMMITS: u64 = 60;

/// One row; a sweep is as many as there are commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) victim: Party,
    pub(crate) act: Act,
    pub(crate) part: Part,
}

/// When a row is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Always.
    Ci,
    /// Where all are.
    All,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A fault in the middle of a trade.
    Fault(&'static str),
    /// The same at each commit, until the trade is over before it.
    Sweep(&'static str),
    /// A blow from outside in the middle of the work.
    AtWork(Blow),
    /// A fault while a grant is given.
    Grant(&'static str),
    /// A fault while a grant is taken back.
    Revoke(&'static str),
}

impl Act {
    pub(crate) fn most(self) -> u64 {
        if matches!(self, Self::Sweep(_)) { MOST_COMMITS } else { 1 }
    }

    fn turns_clock(self) -> bool {
        matches!(self, Self::Fault(fault) if fault.starts_with("fast:") || fault.starts_with("slow:"))
    }

    /// Who must be on a small disk.
    pub(crate) fn small_disk(self, victim: Party) -> Option<Party> {
        matches!(self, Self::AtWork(Blow::Full | Blow::FullAndKill)).then_some(victim)
    }
}

impl Row {
    pub(crate) fn play(&self, market: &mut Market, number: u64) -> Came {
        match self.act {
            Act::Fault(fault) => market.try_fault(self.victim, fault),
            Act::Sweep(step) => market.try_fault(self.victim, &format!("{step}*{number}")),
            Act::AtWork(blow) => market.try_at_work(self.victim, blow),
            Act::Grant(fault) => market.try_granting(fault),
            Act::Revoke(fault) => market.try_revoking(fault),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.victim.name(), self.act.at(1))
    }
}

/// What a buyer's node does in a trade, whoever hires it.
const BUYS: &[&str] = &[
    "kill:send-asked",
    "kill:store-award",
    "kill:send-awarded",
    "kill:store-fetching",
    "kill:store-bought",
    "kill:send-received",
    "drop:send-asked",
    "repeat:send-asked",
    "delay:send-asked",
    "drop:send-awarded",
    "repeat:send-awarded",
    "delay:send-awarded",
    "drop:send-received",
    "repeat:send-received",
    "delay:send-received",
    "full:store-award",
    "full:store-fetching",
    "full:store-bought",
    "fast:send-awarded",
    "slow:send-awarded",
    "fast:store-bought",
    "slow:store-award",
];

/// The money of whoever buys or redeems: a swap.
const SWAPS: &[&str] = &[
    "kill:store-swap",
    "kill:post-swap",
    "kill:reply-swap",
    "kill:settle-swap",
    "drop:reply-swap",
    "lose:reply-swap",
    "repeat:reply-swap",
    "delay:reply-swap",
    "drop:reply-swap,drop:reply-restore",
    "drop:reply-swap,drop:reply-state",
    "drop:reply-swap,kill:reply-restore",
    "drop:reply-swap,repeat:reply-restore,repeat:reply-state",
    "drop:reply-swap,delay:reply-state",
    "full:store-swap",
    "full:post-swap",
    "full:settle-swap",
    "fast:post-swap",
    "slow:post-swap",
];

const SELLS: &[&str] = &[
    "kill:send-offered",
    "kill:store-accepted",
    "kill:send-accepted",
    "kill:store-sold",
    "kill:send-delivered",
    "kill:store-redeemed",
    "drop:send-offered",
    "repeat:send-offered",
    "delay:send-offered",
    "drop:send-accepted",
    "repeat:send-accepted",
    "delay:send-accepted",
    "drop:send-delivered",
    "repeat:send-delivered",
    "delay:send-delivered",
    "full:store-accepted",
    "full:store-sold",
    "full:store-redeemed",
    "fast:store-accepted",
    "slow:store-accepted",
    "fast:store-sold",
    "slow:store-sold",
];

/// What the last in line says beside: its service has schemas, and tells its progress.
const WORKS: &[&str] = &[
    "drop:send-schema",
    "repeat:send-schema",
    "delay:send-schema",
    "drop:send-progress",
    "repeat:send-progress",
    "delay:send-progress",
];

const RELEASES: &[&str] = &[
    "kill:store-release",
    "kill:send-release",
    "drop:send-release",
    "repeat:send-release",
    "delay:send-release",
    "full:store-release",
    "fast:store-release",
    "slow:store-release",
];

const OPENS: &[&str] = &[
    "kill:store-released",
    "kill:send-opened",
    "drop:send-opened",
    "repeat:send-opened",
    "delay:send-opened",
    "full:store-released",
    "fast:store-released",
    "slow:store-released",
];

const SWEEPS: &[&str] = &["kill:commit", "kill:committed"];

const MINTS: &[&str] = &[
    "kill:act-swap",
    "kill:amid-swap*1",
    "kill:amid-swap*2",
    "kill:amid-swap*4",
    "kill:amid-swap*8",
    "kill:answer-swap",
    "kill:act-swap*2",
    "kill:answer-swap*2",
];

/// What is always tried of a course: at least one of each kind, and the steps at which most was once wrong.
fn is_in_ci(course: Course, victim: Party, text: &str) -> bool {
    let wanted: &[(Party, &str)] = match (course.shape, course.mode) {
        (Shape::Pair, "prepaid") => &[
            (Party::Buyer, "kill:send-asked"),
            (Party::Buyer, "kill:send-awarded"),
            (Party::Buyer, "kill:store-bought"),
            (Party::Buyer, "drop:send-awarded"),
            (Party::Buyer, "drop:reply-swap"),
            (Party::Seller, "kill:store-accepted"),
            (Party::Seller, "kill:send-delivered"),
            (Party::Seller, "kill:settle-swap"),
            (Party::Seller, "full:store-sold"),
            (Party::Mint, "kill:answer-swap"),
        ],
        (Shape::Pair, _) => &[
            (Party::Buyer, "kill:store-release"),
            (Party::Buyer, "kill:send-release"),
            (Party::Buyer, "repeat:send-release"),
            (Party::Seller, "kill:store-released"),
            (Party::Seller, "kill:send-opened"),
            (Party::Seller, "drop:send-opened"),
            (Party::Seller, "drop:reply-swap,drop:reply-restore"),
        ],
        (Shape::Chain, "prepaid") => &[
            (Party::Middle, "kill:store-debit"),
            (Party::Middle, "kill:send-awarded"),
            (Party::Middle, "Kill at work"),
        ],
        (Shape::Chain, _) => &[
            (Party::Middle, "kill:store-award"),
            (Party::Middle, "kill:store-sold"),
            (Party::Seller, "kill:send-delivered"),
        ],
        (Shape::Grant, _) => &[
            (Party::Buyer, "kill:store-debit"),
            (Party::Buyer, "kill:store-award"),
            (Party::Grantor, "granting kill:committed"),
            (Party::Grantor, "revoking kill:committed"),
        ],
    };
    wanted.iter().any(|(party, wanted)| *party == victim && *wanted == text)
}

/// All rows of a course.
pub(crate) fn of(course: Course) -> Vec<Row> {
    let escrow = |steps: &'static [&'static str]| if course.mode == "escrow" { steps } else { &[] };
    let faults = |victim: Party, lists: &[&'static [&'static str]]| {
        let rows: Vec<_> = lists.iter().copied().flatten().map(|fault| (victim, Act::Fault(fault))).collect();
        rows
    };
    let sweeps = |victim: Party| SWEEPS.iter().map(move |step| (victim, Act::Sweep(step)));
    let works = |victim: Party| [Blow::Kill, Blow::Full, Blow::FullAndKill].map(|blow| (victim, Act::AtWork(blow)));
    let debit: &[&str] = &["kill:store-debit", "full:store-debit"];

    let buyer: &[&[&str]] = &[BUYS, SWAPS, escrow(RELEASES)];
    let seller: &[&[&str]] = &[SELLS, WORKS, SWAPS, escrow(OPENS)];
    let mut rows = Vec::new();
    match course.shape {
        Shape::Pair => {
            rows.extend(faults(Party::Buyer, buyer));
            rows.extend(faults(Party::Seller, seller));
            rows.extend(faults(Party::Mint, &[MINTS]));
            rows.extend(sweeps(Party::Buyer).chain(sweeps(Party::Seller)));
            rows.extend([Party::Buyer, Party::Seller, Party::Mint].into_iter().flat_map(works));
        }
        Shape::Chain => {
            // In the middle everything happens that happens at either end.
            rows.extend(faults(Party::Middle, &[debit, BUYS, SELLS, SWAPS, escrow(RELEASES), escrow(OPENS)]));
            rows.extend(faults(Party::Buyer, &[&BUYS[..6], escrow(&RELEASES[..2])]));
            rows.extend(faults(Party::Seller, &[&SELLS[..6], escrow(&OPENS[..2])]));
            rows.extend(faults(
                Party::Mint,
                &[MINTS, &["kill:act-swap*3", "kill:answer-swap*3", "kill:answer-swap*4"]],
            ));
            rows.extend(sweeps(Party::Middle).chain(sweeps(Party::Buyer)).chain(sweeps(Party::Seller)));
            rows.extend([Party::Middle, Party::Buyer, Party::Seller].map(|party| (party, Act::AtWork(Blow::Kill))));
            rows.extend(works(Party::Middle).into_iter().skip(1));
        }
        Shape::Grant => {
            rows.extend(faults(Party::Buyer, &[debit, &BUYS[..6]]));
            rows.extend(sweeps(Party::Buyer));
            for fault in ["kill:store-grant", "kill:commit", "kill:committed"] {
                rows.push((Party::Grantor, Act::Grant(fault)));
            }
            for fault in ["kill:store-revocation", "kill:commit", "kill:committed"] {
                rows.push((Party::Grantor, Act::Revoke(fault)));
            }
        }
    }
    // Clocks are turned when all else has been tried, as what came of it shows at the end; those on small disks last of all,
    // each party's together, for each has a market of its own.
    rows.sort_by_key(|(victim, act)| (act.small_disk(*victim).map(Party::name), act.turns_clock()));
    let row = |(victim, act): (Party, Act)| {
        let part = if is_in_ci(course, victim, &act.at(1)) { Part::Ci } else { Part::All };
        Row { victim, act, part }
    };
    rows.into_iter().map(row).collect()
}
