//! What came of a run: rows that a report draws and a notebook reads.
//!
//! As JSON lines, each row is an object with its `row` kind first: one `summary`, then tasks, searches, revocations, samples, nodes, their
//! traffic, flows and violations. Times are virtual milliseconds since the run began. All follows from the seed but for real time, speed and
//! memory (`wall_secs`, `cpu_secs`, `speed`, `resident`, `peak_resident`).

mod verdict;

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
};

use serde::{Deserialize, Serialize};

pub use self::verdict::ASKED_FOR;
use crate::{bare::Operations, fabric::NatKind, meter::Protocol, scenario::Role};

/// All that came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// The run as a whole.
    pub summary: Summary,
    /// Every task that was begun, in that order.
    pub tasks: Vec<TaskRow>,
    /// Every search that was measured by itself.
    pub searches: Vec<SearchRow>,
    /// Every delegation that was taken back to be measured.
    pub revocations: Vec<RevocationRow>,
    /// The state of the whole, every few seconds.
    pub samples: Vec<Sample>,
    /// Every node, at the end.
    pub nodes: Vec<NodeRow>,
    /// What each node's bytes were for, in the whole run.
    pub traffic: Vec<TrafficRow>,
    /// Where each mint's money went.
    pub flows: Vec<Flow>,
    /// Rules that were broken; none, if all is well.
    pub violations: Vec<Violation>,
    /// Whether the run was ended early; there is nothing but violations then.
    pub cut_short: bool,
}

/// The run as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The scenario's name.
    pub scenario: String,
    /// Everything random followed from it.
    pub seed: u64,
    /// How many nodes there were.
    pub nodes: u32,
    /// Virtual seconds.
    pub virtual_secs: f64,
    /// Real seconds.
    pub wall_secs: f64,
    /// Of these, seconds that the run kept a processor busy: one thread, so at most all of them.
    pub cpu_secs: f64,
    /// Virtual seconds per real second.
    pub speed: f64,
    /// Events of the fabric: deliveries, dials, answers.
    pub fabric_events: u64,
    /// Bytes that crossed the network.
    pub bytes: u64,
    /// The most memory that the process held, in bytes.
    pub peak_resident: u64,
    /// When the start was over and the workload began, in virtual seconds.
    #[serde(default)]
    pub warmup_s: f64,
    /// When the last fault was over, in virtual seconds.
    pub last_fault_s: f64,
    /// True tokens that wallets gave each other.
    #[serde(default)]
    pub tokens_given: u64,
    /// Those of them that somebody has received, as far as the receivers were told; the others were taken back.
    #[serde(default)]
    pub tokens_taken: u64,
    /// Events in the trace.
    pub events: u64,
    /// Hash of the trace: equal for equal runs.
    pub hash: String,
}

/// A task that somebody wanted done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// When the wish came.
    pub at_ms: u64,
    /// Whose, as a host number.
    pub buyer: u32,
    /// Who did it, as a host number, if it came to an award.
    pub seller: Option<u32>,
    /// Which service, by its number.
    pub service: u32,
    /// What was agreed on, in sat.
    pub price_sat: Option<u64>,
    /// Whether buyer and seller, as far as there is one, are honest.
    pub honest: bool,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// Why it failed, in words.
    pub reason: Option<String>,
    /// From the wish until the first offer came in.
    pub offered_ms: Option<u64>,
    /// From the first offer until the award was signed and its money locked.
    pub awarded_ms: Option<u64>,
    /// From the award until the seller took it.
    pub accepted_ms: Option<u64>,
    /// From there until the output was there.
    pub delivered_ms: Option<u64>,
    /// From the wish until its end, however it ended.
    pub total_ms: Option<u64>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    /// Delivered, with a receipt that holds.
    Done,
    /// Ended without a delivery.
    Failed,
    /// The buyer's node died meanwhile, and didn't come back in time.
    Lost,
    /// Still open when the run ended.
    #[default]
    Open,
}

/// A look for a service, without buying it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchRow {
    /// When.
    pub at_ms: u64,
    /// Whose, as a host number.
    pub node: u32,
    /// Which service, by its number.
    pub service: u32,
    /// How long until the first provider; none, if none was found.
    pub found_ms: Option<u64>,
    /// How far away the peer stood that named the first provider: 0 if it was on record here, 1 if a peer of our own
    /// routing table named it, one more for each peer that had to name the next.
    #[serde(default)]
    pub hops: Option<u32>,
    /// Requests that had been sent by then; three are under way at a time.
    pub asked: Option<u32>,
}

/// A delegation that was taken back, and when others refused it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RevocationRow {
    /// When it was taken back.
    pub at_ms: u64,
    /// By whom, as a host number.
    pub node: u32,
    /// Nodes that were up then.
    pub up: u32,
    /// How long until half of them refused it; none, if they didn't within the time that was looked.
    pub half_ms: Option<u64>,
    /// How long until 95 % of them did.
    pub most_ms: Option<u64>,
}

/// The state of the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_ms: u64,
    /// Nodes that are up.
    pub up: u32,
    /// Bytes that crossed the network so far, what mints and raw peers sent among them.
    pub bytes: u64,
    /// What for, sent by all nodes together.
    #[serde(default)]
    pub by_protocol: BTreeMap<Protocol, u64>,
    /// Events of the fabric so far.
    pub fabric_events: u64,
    /// Resident memory of the process, in bytes.
    pub resident: u64,
    /// Real seconds since the run began.
    pub wall_secs: f64,
    /// Of these, seconds that the run kept a processor busy.
    pub cpu_secs: f64,
    /// The cryptography that was done so far.
    #[serde(default)]
    pub operations: Operations,
    /// Tasks begun so far.
    pub begun: u64,
    /// Tasks done so far.
    pub done: u64,
    /// Tasks failed so far.
    pub failed: u64,
    /// Trades open now, over all nodes.
    pub open: u64,
}

impl Sample {
    /// Bytes that all nodes have sent so far.
    pub fn sent(&self) -> u64 {
        self.by_protocol.values().sum()
    }

    /// Those for one protocol.
    pub fn sent_for(&self, protocol: Protocol) -> u64 {
        self.by_protocol.get(&protocol).copied().unwrap_or(0)
    }
}

/// A node, at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its host number.
    pub node: u32,
    /// What it was there for.
    pub role: Role,
    /// Its region's name, if it had one.
    pub region: Option<String>,
    /// The NAT that it stood behind, if it did.
    #[serde(default)]
    pub nat: Option<NatKind>,
    /// Whether it was up.
    pub up: bool,
    /// Bytes that it sent.
    pub sent: u64,
    /// Bytes that it was sent.
    pub received: u64,
    /// Peers that it was connected to.
    pub peers: u32,
    /// Adverts of others that it knew.
    pub adverts: u32,
    /// From when it first wanted something until its first paid task was done, if one was.
    pub first_paid_ms: Option<u64>,
    /// What it paid, in sat.
    pub paid_sat: u64,
    /// What it earned, in sat.
    pub earned_sat: u64,
    /// What it paid for and didn't get, in sat.
    pub lost_sat: u64,
}

/// What a node's bytes were for: a row for each protocol that it spoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficRow {
    /// Its host number.
    pub node: u32,
    /// What they were for: `kad`, `gossip`, …; `overhead` is what noise, yamux, handshakes and raw peers add.
    pub protocol: Protocol,
    /// Bytes that it sent.
    pub sent: u64,
    /// Bytes that it was sent.
    pub received: u64,
}

/// Where a mint's money went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Which mint, from 0.
    pub mint: u32,
    /// From: `issued`, `buyers`, `locked`, `sellers`, ….
    pub from: String,
    /// To.
    pub to: String,
    /// How much, in sat.
    pub sat: u64,
}

/// A rule that was broken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// When it was seen.
    pub at_ms: u64,
    /// Which rule, as a short name.
    pub rule: String,
    /// What was seen.
    pub what: String,
    /// The last events of the trades concerned, as lines of the trace.
    pub last_events: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "snake_case")]
enum Row {
    Summary(Summary),
    Task(TaskRow),
    Search(SearchRow),
    Revocation(RevocationRow),
    Sample(Sample),
    Node(NodeRow),
    Traffic(TrafficRow),
    Flow(Flow),
    Violation(Violation),
}

impl Results {
    /// Writes every row as a line of JSON.
    ///
    /// # Errors
    /// If `out` can't be written to.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let rows = std::iter::once(Row::Summary(self.summary.clone()))
            .chain(self.tasks.iter().cloned().map(Row::Task))
            .chain(self.searches.iter().cloned().map(Row::Search))
            .chain(self.revocations.iter().cloned().map(Row::Revocation))
            .chain(self.samples.iter().cloned().map(Row::Sample))
            .chain(self.nodes.iter().cloned().map(Row::Node))
            .chain(self.traffic.iter().cloned().map(Row::Traffic))
            .chain(self.flows.iter().cloned().map(Row::Flow))
            .chain(self.violations.iter().cloned().map(Row::Violation));
        for row in rows {
            serde_json::to_writer(&mut out, &row)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// With the line that is no row.
    pub fn read(input: impl BufRead) -> io::Result<Self> {
        let mut results = Self::default();
        for (index, line) in input.lines().enumerate() {
            let row = serde_json::from_str(&line?);
            match row.map_err(|error| io::Error::other(format!("line {}: {error}", index + 1)))? {
                Row::Summary(row) => results.summary = row,
                Row::Task(row) => results.tasks.push(row),
                Row::Search(row) => results.searches.push(row),
                Row::Revocation(row) => results.revocations.push(row),
                Row::Sample(row) => results.samples.push(row),
                Row::Node(row) => results.nodes.push(row),
                Row::Traffic(row) => results.traffic.push(row),
                Row::Flow(row) => results.flows.push(row),
                Row::Violation(row) => results.violations.push(row),
            }
        }
        Ok(results)
    }

    /// How many tasks ended so.
    pub fn count(&self, outcome: TaskOutcome) -> usize {
        self.tasks.iter().filter(|task| task.outcome == outcome).count()
    }
}
