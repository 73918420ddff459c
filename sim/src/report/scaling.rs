//! Runs of one scenario in several sizes, drawn against each other: how what a node sees grows with the network.

use std::fmt::Write as _;

use super::plot::{Plot, Series};
use crate::results::Results;

/// A figure: its name as a file's, and its plot.
pub type Figure = (&'static str, Plot);

/// What one size shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// How many nodes.
    pub nodes: u32,
    /// Searches that found a provider, and all.
    pub found: (usize, usize),
    /// Half of the searches and 95 % of them took at most so many milliseconds.
    pub search_ms: (f64, f64),
    /// Peers asked until one named a provider: mean and 95 %.
    pub asked: (f64, f64),
    /// Bytes a second that a node sent on average, in the second half of the run.
    pub bytes_per_sec: f64,
    /// Half of the buyers and 95 % of them had their first paid task done after so many milliseconds.
    pub first_paid_ms: (f64, f64),
    /// Tasks done, and all.
    pub done: (usize, usize),
    /// Peers that half of the nodes had more of at the end.
    pub peers: f64,
    /// Resident memory per node, in bytes.
    pub resident: f64,
}

impl Row {
    /// What a run shows.
    pub fn of(results: &Results) -> Self {
        let summary = &results.summary;
        let searches = || results.searches.iter();
        let asked = || searches().filter_map(|search| search.asked).map(f64::from);
        let first_paid = || results.nodes.iter().filter_map(|node| node.first_paid_ms).map(|ms| ms as f64);
        let found = searches().filter(|search| search.found_ms.is_some()).count();
        let took = || searches().filter_map(|search| search.found_ms).map(|ms| ms as f64);
        Self {
            nodes: summary.nodes,
            found: (found, results.searches.len()),
            search_ms: (at(took(), 0.5), at(took(), 0.95)),
            asked: (asked().sum::<f64>() / (asked().count().max(1) as f64), at(asked(), 0.95)),
            bytes_per_sec: rate(results),
            first_paid_ms: (at(first_paid(), 0.5), at(first_paid(), 0.95)),
            done: (results.count(crate::results::TaskOutcome::Done), results.tasks.len()),
            peers: at(results.nodes.iter().map(|node| f64::from(node.peers)), 0.5),
            resident: summary.peak_resident as f64 / f64::from(summary.nodes.max(1)),
        }
    }
}

/// The figures of several sizes.
pub fn figures(rows: &[Row]) -> Vec<Figure> {
    let line = |name: &str, value: &dyn Fn(&Row) -> f64| {
        Series::new(name, rows.iter().map(|row| (f64::from(row.nodes), value(row))).collect()).marked()
    };
    let over_nodes = |y: &str| Plot::new("nodes", y).logarithmic();
    vec![
        (
            "search-time",
            over_nodes("milliseconds until the first provider")
                .with(line("half of the searches", &|row| row.search_ms.0))
                .with(line("95 %", &|row| row.search_ms.1)),
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
        (
            "first-paid-task",
            over_nodes("milliseconds from a buyer's first wish to its first paid task")
                .with(line("half of the buyers", &|row| row.first_paid_ms.0))
                .with(line("95 %", &|row| row.first_paid_ms.1)),
        ),
        ("peers", over_nodes("peers that a node is connected to").with(line("median", &|row| row.peers))),
    ]
}

/// The numbers behind the figures, as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| nodes | searches found | search, ms: half, 95 % | peers asked: mean, 95 % | log₂ N | kB/s per node | \
         first paid task, ms: half, 95 % | tasks done | peers | MB per node |\n\
         |------:|---------------:|-----------------------:|------------------------:|-------:|--------------:|\
         --------------------------------:|-----------:|------:|------------:|\n",
    );
    for row in rows {
        let _ = writeln!(
            table,
            "| {} | {} of {} | {:.0}, {:.0} | {:.1}, {:.0} | {:.1} | {:.2} | {:.0}, {:.0} | {} of {} | {:.0} | {:.1} |",
            row.nodes,
            row.found.0,
            row.found.1,
            row.search_ms.0,
            row.search_ms.1,
            row.asked.0,
            row.asked.1,
            f64::from(row.nodes).log2(),
            row.bytes_per_sec / 1e3,
            row.first_paid_ms.0,
            row.first_paid_ms.1,
            row.done.0,
            row.done.1,
            row.peers,
            row.resident / 1e6,
        );
    }
    table
}

/// The value below which a part of the values lies; 0 of none.
fn at(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0)
}

fn rate(results: &Results) -> f64 {
    let half_ms = (results.summary.virtual_secs * 500.0) as u64;
    let mut late = results.samples.iter().filter(|sample| sample.at_ms >= half_ms);
    let (Some(first), Some(last)) = (late.next(), late.next_back()) else { return 0.0 };
    let secs = (last.at_ms - first.at_ms) as f64 / 1e3;
    (last.bytes - first.bytes) as f64 / secs / f64::from(results.summary.nodes.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Sample, SearchRow, Summary};

    #[test]
    fn a_size_is_reduced_to_its_row() {
        let search = |found_ms, asked| SearchRow { found_ms, asked, ..SearchRow::default() };
        let sample = |at_ms, bytes| Sample { at_ms, bytes, ..Sample::default() };
        let results = Results {
            summary: Summary { nodes: 64, virtual_secs: 20.0, peak_resident: 6_400, ..Summary::default() },
            searches: vec![search(Some(30), Some(3)), search(Some(10), Some(0)), search(None, None)],
            samples: vec![sample(0, 0), sample(10_000, 1_000), sample(20_000, 7_400)],
            ..Results::default()
        };
        let row = Row::of(&results);
        assert_eq!((row.found, row.asked, row.bytes_per_sec, row.resident), ((2, 3), (1.5, 3.0), 10.0, 100.0));
        let figures = figures(&[row.clone(), Row { nodes: 128, ..row.clone() }]);
        assert!(figures.iter().all(|(_, plot)| plot.standalone().contains("polyline")));
        assert!(table(&[row]).contains("| 64 | 2 of 3 |"));
    }
}
