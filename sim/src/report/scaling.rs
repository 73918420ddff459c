//! Runs of one scenario in several sizes, drawn against each other: how what a node sees grows with the network. Runs of
//! one size with several seeds count together.

use std::{collections::BTreeMap, fmt::Write as _};

use super::plot::{Plot, Series};
use crate::{
    meter::Protocol,
    results::{Results, Sample, SearchRow, TaskOutcome},
};

/// A figure: its name as a file's, and its plot.
pub type Figure = (&'static str, Plot);

/// What one size shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// How many nodes.
    pub nodes: u32,
    /// How many runs.
    pub runs: usize,
    /// Searches that found a provider, and all.
    pub found: (usize, usize),
    /// Half of the searches and 95 % of them took at most so many milliseconds.
    pub search_ms: (f64, f64),
    /// Steps to the peer that named the first provider: mean and 95 %.
    pub hops: (f64, f64),
    /// Peers asked until one named a provider: mean and 95 %.
    pub asked: (f64, f64),
    /// Bytes that a node sent on average until the start was over.
    pub start_bytes: f64,
    /// Bytes a second that a node sent on average, in the second half of the run.
    pub bytes_per_sec: f64,
    /// The same, by what they were for.
    pub by_protocol: BTreeMap<Protocol, f64>,
    /// Half of the buyers and 95 % of them had their first paid task done after so many milliseconds.
    pub first_paid_ms: (f64, f64),
    /// Tasks done, and all.
    pub done: (usize, usize),
    /// Peers that half of the nodes had more of at the end.
    pub peers: f64,
    /// Resident memory per node, in bytes; the most of all runs.
    pub resident: f64,
}

impl Row {
    /// What runs of each size show, the smallest size first.
    pub fn by_size(runs: &[Results]) -> Vec<Self> {
        let mut sizes: BTreeMap<u32, Vec<&Results>> = BTreeMap::new();
        for run in runs {
            sizes.entry(run.summary.nodes).or_default().push(run);
        }
        sizes.into_iter().map(|(nodes, runs)| Self::of(nodes, &runs)).collect()
    }

    fn of(nodes: u32, runs: &[&Results]) -> Self {
        let searches = || runs.iter().flat_map(|run| &run.searches);
        let count = |of: fn(&SearchRow) -> Option<u32>| {
            let values = || searches().filter_map(of).map(f64::from);
            (values().sum::<f64>() / values().count().max(1) as f64, at(values(), 0.95))
        };
        let ends = || runs.iter().flat_map(|run| &run.nodes);
        let first_paid = || ends().filter_map(|node| node.first_paid_ms).map(|ms| ms as f64);
        let took = || searches().filter_map(|search| search.found_ms).map(|ms| ms as f64);
        let (bytes_per_sec, by_protocol) = rates(runs);
        Self {
            nodes,
            runs: runs.len(),
            found: (took().count(), searches().count()),
            search_ms: (at(took(), 0.5), at(took(), 0.95)),
            hops: count(|search| search.hops),
            asked: count(|search| search.asked),
            start_bytes: start_bytes(runs),
            bytes_per_sec,
            by_protocol,
            first_paid_ms: (at(first_paid(), 0.5), at(first_paid(), 0.95)),
            done: (
                runs.iter().map(|run| run.count(TaskOutcome::Done)).sum(),
                runs.iter().map(|run| run.tasks.len()).sum(),
            ),
            peers: at(ends().map(|node| f64::from(node.peers)), 0.5),
            resident: runs.iter().map(|run| run.summary.peak_resident).max().unwrap_or(0) as f64
                / f64::from(nodes.max(1)),
        }
    }
}

/// The figures of several sizes.
pub fn figures(rows: &[Row]) -> Vec<Figure> {
    let line = |name: &str, value: &dyn Fn(&Row) -> f64| {
        Series::new(name, rows.iter().map(|row| (f64::from(row.nodes), value(row))).collect()).marked()
    };
    let over_nodes = |y: &str| Plot::new("nodes", y).logarithmic();
    let mut by_protocol = over_nodes("kB a second that a node sends, by protocol");
    for protocol in spoken(rows) {
        let rate = |row: &Row| row.by_protocol.get(&protocol).copied().unwrap_or(0.0) / 1e3;
        by_protocol = by_protocol.with(line(protocol.name(), &rate));
    }
    vec![
        (
            "search-time",
            over_nodes("milliseconds until the first provider")
                .with(line("half of the searches", &|row| row.search_ms.0))
                .with(line("95 %", &|row| row.search_ms.1)),
        ),
        (
            "hops",
            over_nodes("hops to the peer that named a provider")
                .with(line("mean", &|row| row.hops.0))
                .with(line("95 %", &|row| row.hops.1))
                .with(line("log₂ N", &|row| f64::from(row.nodes).log2()).dashed()),
        ),
        (
            "peers-asked",
            over_nodes("peers asked until one named a provider")
                .with(line("mean", &|row| row.asked.0))
                .with(line("95 %", &|row| row.asked.1))
                .with(line("log₂ N", &|row| f64::from(row.nodes).log2()).dashed()),
        ),
        (
            "bytes-per-node",
            over_nodes("kB a second that a node sends").with(line("mean", &|row| row.bytes_per_sec / 1e3)),
        ),
        ("bytes-by-protocol", by_protocol),
        (
            "first-paid-task",
            over_nodes("milliseconds from a buyer's first wish to its first paid task")
                .with(line("half of the buyers", &|row| row.first_paid_ms.0))
                .with(line("95 %", &|row| row.first_paid_ms.1)),
        ),
        ("peers", over_nodes("peers that a node is connected to").with(line("median", &|row| row.peers))),
        ("memory", over_nodes("MB of memory for each node").with(line("at most", &|row| row.resident / 1e6))),
    ]
}

/// The protocols that are at least a hundredth of some size's traffic.
fn spoken(rows: &[Row]) -> Vec<Protocol> {
    let matters = |protocol: &Protocol| {
        rows.iter().any(|row| row.by_protocol.get(protocol).is_some_and(|rate| rate * 100.0 >= row.bytes_per_sec))
    };
    Protocol::ALL.into_iter().filter(matters).collect()
}

/// The numbers behind the figures: tables, whose first lines are their heads.
pub fn tables(rows: &[Row]) -> [Vec<Vec<String>>; 2] {
    let heads = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut found = vec![heads(&[
        "nodes",
        "runs",
        "searches found",
        "search, ms: half, 95 %",
        "hops: mean, 95 %",
        "peers asked: mean, 95 %",
        "log₂ N",
        "first paid task, ms: half, 95 %",
        "tasks done",
        "peers",
        "MB per node",
    ])];
    found.extend(rows.iter().map(|row| {
        vec![
            row.nodes.to_string(),
            row.runs.to_string(),
            format!("{} of {}", row.found.0, row.found.1),
            format!("{:.0}, {:.0}", row.search_ms.0, row.search_ms.1),
            format!("{:.1}, {:.0}", row.hops.0, row.hops.1),
            format!("{:.1}, {:.0}", row.asked.0, row.asked.1),
            format!("{:.1}", f64::from(row.nodes).log2()),
            format!("{:.0}, {:.0}", row.first_paid_ms.0, row.first_paid_ms.1),
            format!("{} of {}", row.done.0, row.done.1),
            format!("{:.0}", row.peers),
            format!("{:.1}", row.resident / 1e6),
        ]
    }));
    let spoken = spoken(rows);
    let mut sent = vec![heads(&["nodes", "kB to start, per node", "kB/s per node"])];
    sent[0].extend(spoken.iter().map(|protocol| protocol.name().to_owned()));
    sent.extend(rows.iter().map(|row| {
        let mut line = vec![row.nodes.to_string(), format!("{:.0}", row.start_bytes / 1e3)];
        line.push(format!("{:.2}", row.bytes_per_sec / 1e3));
        let rate = |protocol| row.by_protocol.get(protocol).copied().unwrap_or(0.0) / 1e3;
        line.extend(spoken.iter().map(|protocol| format!("{:.2}", rate(protocol))));
        line
    }));
    [found, sent]
}

/// A table as Markdown writes it.
pub fn markdown(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "| {} |", line.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", "---:|".repeat(line.len()));
        }
    }
    text
}

/// The value below which a part of the values lies; 0 of none.
fn at(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0)
}

/// What a node sent until the start was over, on average.
fn start_bytes(runs: &[&Results]) -> f64 {
    let of_run = |run: &&Results| {
        let start_ms = (run.summary.warmup_s * 1e3) as u64;
        let started = run.samples.iter().find(|sample| sample.at_ms >= start_ms);
        started.map_or(0, Sample::sent) as f64 / f64::from(run.summary.nodes.max(1))
    };
    runs.iter().map(of_run).sum::<f64>() / runs.len().max(1) as f64
}

/// What a node sent a second in the second half of the runs, on average: in all, and by what for.
fn rates(runs: &[&Results]) -> (f64, BTreeMap<Protocol, f64>) {
    let mut by_protocol = BTreeMap::new();
    for run in runs {
        let half_ms = (run.summary.virtual_secs * 500.0) as u64;
        let mut late = run.samples.iter().filter(|sample| sample.at_ms >= half_ms);
        let (Some(first), Some(last)) = (late.next(), late.next_back()) else { continue };
        let node_secs = (last.at_ms - first.at_ms) as f64 / 1e3 * f64::from(run.summary.nodes.max(1));
        let per_run = node_secs * runs.len() as f64;
        for (protocol, bytes) in &last.by_protocol {
            let before = first.by_protocol.get(protocol).copied().unwrap_or(0);
            *by_protocol.entry(*protocol).or_default() += bytes.saturating_sub(before) as f64 / per_run;
        }
    }
    (by_protocol.values().sum(), by_protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Summary;

    #[test]
    fn runs_are_reduced_to_a_row_for_each_size() {
        let search = |found_ms, hops, asked| SearchRow { found_ms, hops, asked, ..SearchRow::default() };
        let sample = |at_ms, bytes, kad| Sample {
            at_ms,
            bytes,
            by_protocol: [(Protocol::Kad, kad), (Protocol::Overhead, bytes - kad)].into(),
            ..Sample::default()
        };
        let run = |nodes| Results {
            summary: Summary { nodes, virtual_secs: 20.0, warmup_s: 9.0, peak_resident: 6_400, ..Summary::default() },
            searches: vec![
                search(Some(30), Some(2), Some(3)),
                search(Some(10), Some(0), Some(0)),
                search(None, None, None),
            ],
            samples: vec![sample(0, 0, 0), sample(10_000, 1_000, 500), sample(20_000, 7_400, 3_700)],
            ..Results::default()
        };
        let rows = Row::by_size(&[run(128), run(64), run(64)]);
        let [row, larger] = rows.as_slice() else { panic!("there are two sizes") };
        assert_eq!((row.nodes, row.runs, larger.nodes, larger.runs), (64, 2, 128, 1));
        assert_eq!((row.found, row.hops, row.asked), ((4, 6), (1.0, 2.0), (1.5, 3.0)));
        assert_eq!((row.start_bytes, row.bytes_per_sec, row.resident), (15.625, 10.0, 100.0));
        assert!(figures(&rows).iter().all(|(_, plot)| plot.standalone().contains("polyline")));
        let tables = tables(&rows).map(|table| markdown(&table)).concat();
        assert!(
            tables.contains("| 64 | 2 | 4 of 6 |") && tables.contains("| kB/s per node | kad | overhead |\n|---:|")
        );
    }
}
