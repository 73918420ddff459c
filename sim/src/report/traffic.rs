//! What nodes send and are sent, and what for.

use super::{
    plot::{Plot, Series},
    table,
};
use crate::{
    meter::Protocol,
    results::{Results, Sample},
};

pub(super) fn drawn(results: &Results) -> String {
    let start_ms = (results.summary.warmup_s * 1e3) as u64;
    let later: Vec<&Sample> = results.samples.iter().filter(|sample| sample.at_ms >= start_ms).collect();
    let mut drawn = rates(results, &results.samples.iter().collect::<Vec<_>>(), "kB a second that a node sends");
    if start_ms > 0 {
        drawn += &rates(results, &later, "kB a second that a node sends, after the start");
    }
    drawn += &sums(results, &later);
    if !results.nodes.is_empty() {
        let sent = results.nodes.iter().map(|node| node.sent as f64 / 1e3);
        let received = results.nodes.iter().map(|node| node.received as f64 / 1e3);
        drawn += &Plot::new("kB in the whole run", "share of nodes")
            .logarithmic()
            .with(Series::shares("sent", sent))
            .with(Series::shares("received", received))
            .svg();
    }
    drawn
}

/// In all, and for each protocol that is at least a hundredth of it.
fn rates(results: &Results, samples: &[&Sample], title: &str) -> String {
    let nodes = f64::from(results.summary.nodes.max(1));
    let line = |name: &str, sent: &dyn Fn(&Sample) -> u64| {
        let pairs = samples.windows(2).filter(|pair| pair[1].at_ms > pair[0].at_ms);
        let rate = |pair: &[&Sample]| {
            let secs = (pair[1].at_ms - pair[0].at_ms) as f64 / 1e3;
            // What is written waits sometimes to be sent, so that the overhead may seem to shrink.
            (pair[1].at_ms as f64 / 1e3, sent(pair[1]).saturating_sub(sent(pair[0])) as f64 / secs / nodes / 1e3)
        };
        Series::new(name, pairs.map(rate).collect())
    };
    let mut plot = Plot::new("virtual seconds", title).with(line("in all", &Sample::sent));
    for protocol in Protocol::ALL {
        let sent = |sample: &Sample| sample.sent_for(protocol);
        let meanwhile = |sent: &dyn Fn(&Sample) -> u64| match samples {
            [first, .., last] => sent(last).saturating_sub(sent(first)),
            _ => 0,
        };
        if meanwhile(&sent) > 0 && meanwhile(&sent) * 100 >= meanwhile(&Sample::sent) {
            plot = plot.with(line(protocol.name(), &sent));
        }
    }
    plot.svg()
}

/// A node's kilobytes by protocol: for the start, and a second after it.
fn sums(results: &Results, later: &[&Sample]) -> String {
    let [first, .., last] = later else { return String::new() };
    let nodes = f64::from(results.summary.nodes.max(1)) * 1e3;
    let secs = (last.at_ms - first.at_ms) as f64 / 1e3;
    let line = |name: &str, started: u64, by_now: u64| {
        let rate = by_now.saturating_sub(started) as f64 / secs / nodes;
        vec![name.to_owned(), format!("{:.1}", started as f64 / nodes), format!("{rate:.3}")]
    };
    let mut lines = vec![["sent by a node", "kB to start", "kB a second after that"].map(String::from).to_vec()];
    lines.push(line("in all", first.sent(), last.sent()));
    for protocol in last.by_protocol.keys() {
        lines.push(line(protocol.name(), first.sent_for(*protocol), last.sent_for(*protocol)));
    }
    table(&lines)
}
