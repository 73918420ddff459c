//! What came of a run, drawn: one HTML page with its plots inside, which opens offline.

pub mod plot;
pub mod scaling;
mod traffic;

use std::fmt::Write as _;

use self::plot::{Bars, Plot, Series, escape};
use crate::results::{Results, Sample, TaskOutcome, TaskRow};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #222; --faint: #ddd; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --faint: #444; --paper: #16181b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2.5rem }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
th { font-weight: 600 } .numbers { margin: 0 0 1.5rem; font-size: 13px } .numbers td, .numbers th { text-align: right }
.numbers :first-child { text-align: left } .bad { color: #c0392b } pre { overflow: auto; font-size: 12px; line-height: 1.35 }
svg { width: 100%; height: auto; display: block; margin: .6rem 0 1.2rem }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif } svg .grid { stroke: var(--faint) } svg .axis { stroke: var(--ink) }
";

/// The page. `scenario` is the file that was run.
pub fn html(results: &Results, scenario: &str) -> String {
    let name = escape(&results.summary.scenario);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}, seed {}</title>\n<style>{STYLE}</style></head>\n\
         <body>\n<h1>{name}, seed {}</h1>\n",
        results.summary.seed, results.summary.seed
    );
    page += &summary(results);
    page += &violations(results);
    for (title, drawn) in [
        ("Tasks over time", tasks(results)),
        ("Latency by phase", latency(results)),
        ("Why tasks failed", failures(results)),
        ("Discovery", discovery(results)),
        ("Bandwidth", traffic::drawn(results)),
        ("Money", money(results)),
        ("Memory", memory(results)),
    ] {
        if !drawn.is_empty() {
            let _ = write!(page, "<h2>{title}</h2>\n{drawn}");
        }
    }
    let _ = write!(page, "<h2>The scenario</h2>\n<pre>{}</pre>\n</body></html>\n", escape(scenario));
    page
}

/// The page of several sizes of one scenario.
pub fn html_of_sizes(name: &str, rows: &[scaling::Row]) -> String {
    let name = escape(name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>{name}</title>\n<style>{STYLE}</style></head>\n\
         <body>\n<h1>{name}, in {} sizes</h1>\n",
        rows.len()
    );
    for (_, plot) in scaling::figures(rows) {
        page += &plot.svg();
    }
    for lines in scaling::tables(rows) {
        page += &table(&lines);
    }
    page + "</body></html>\n"
}

/// A table whose first line are its heads.
fn table(lines: &[Vec<String>]) -> String {
    let mut table = String::from("<table class=\"numbers\">\n");
    for (index, line) in lines.iter().enumerate() {
        let kind = if index == 0 { "th" } else { "td" };
        let cells: String = line.iter().map(|cell| format!("<{kind}>{}</{kind}>", escape(cell))).collect();
        let _ = writeln!(table, "<tr>{cells}</tr>");
    }
    table + "</table>\n"
}

fn summary(results: &Results) -> String {
    let summary = &results.summary;
    let count = |outcome| results.count(outcome);
    let rows = [
        ("nodes", summary.nodes.to_string()),
        (
            "time",
            format!(
                "{:.0} virtual seconds in {:.1} s: {:.1} times real time",
                summary.virtual_secs, summary.wall_secs, summary.speed
            ),
        ),
        (
            "tasks",
            format!(
                "{}: {} done, {} failed, {} lost with their buyer, {} open",
                results.tasks.len(),
                count(TaskOutcome::Done),
                count(TaskOutcome::Failed),
                count(TaskOutcome::Lost),
                count(TaskOutcome::Open)
            ),
        ),
        ("traffic", format!("{:.1} MB", summary.bytes as f64 / 1e6)),
        ("memory", format!("{:.0} MB at most", summary.peak_resident as f64 / 1e6)),
        ("trace", format!("{} events, <code>{}</code>", summary.events, escape(&summary.hash))),
    ];
    let cells = rows.map(|(name, value)| format!("<tr><th>{name}</th><td>{value}</td></tr>\n"));
    format!("<table>\n{}</table>\n", cells.concat())
}

fn violations(results: &Results) -> String {
    if results.violations.is_empty() {
        return "<p>Nothing that must hold was broken.</p>\n".into();
    }
    let mut list = String::from("<h2 class=\"bad\">Violations</h2>\n");
    for violation in &results.violations {
        let at_s = violation.at_ms as f64 / 1e3;
        let (rule, what) = (escape(&violation.rule), escape(&violation.what));
        let _ = writeln!(list, "<p class=\"bad\"><b>{rule}</b> at {at_s:.3} s: {what}</p>");
        if !violation.last_events.is_empty() {
            let _ = writeln!(list, "<pre>{}</pre>", escape(&violation.last_events.join("\n")));
        }
    }
    list
}

fn tasks(results: &Results) -> String {
    if results.tasks.is_empty() {
        return String::new();
    }
    let over_time = |value: fn(&Sample) -> u64| -> Vec<(f64, f64)> {
        results.samples.iter().map(|sample| (sample.at_ms as f64 / 1e3, value(sample) as f64)).collect()
    };
    Plot::new("virtual seconds", "tasks")
        .with(Series::new("begun", over_time(|sample| sample.begun)))
        .with(Series::new("done", over_time(|sample| sample.done)))
        .with(Series::new("failed", over_time(|sample| sample.failed)))
        .with(Series::new("open trades, both sides", over_time(|sample| sample.open)))
        .svg()
}

fn latency(results: &Results) -> String {
    type Phase = fn(&TaskRow) -> Option<u64>;
    let phases: [(&str, Phase); 5] = [
        ("to the first offer", |task| task.offered_ms),
        ("to the award", |task| task.awarded_ms),
        ("to acceptance", |task| task.accepted_ms),
        ("to the output", |task| task.delivered_ms),
        ("in all", |task| task.total_ms),
    ];
    let done = || results.tasks.iter().filter(|task| task.outcome == TaskOutcome::Done);
    if done().count() == 0 {
        return String::new();
    }
    let mut plot = Plot::new("milliseconds", "share of tasks done").logarithmic();
    for (name, phase) in phases {
        plot = plot.with(Series::shares(name, done().filter_map(phase).map(|ms| ms as f64)));
    }
    plot.svg()
}

fn failures(results: &Results) -> String {
    let mut reasons = std::collections::BTreeMap::<&str, f64>::new();
    for task in results.tasks.iter().filter(|task| task.outcome == TaskOutcome::Failed) {
        *reasons.entry(task.reason.as_deref().unwrap_or("no reason given")).or_default() += 1.0;
    }
    let mut bars: Vec<(String, f64)> = reasons.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
    bars.sort_by(|one, two| two.1.total_cmp(&one.1));
    bars.truncate(12);
    Bars { unit: "tasks", bars }.svg()
}

fn discovery(results: &Results) -> String {
    let found: Vec<f64> = results.searches.iter().filter_map(|search| Some(search.found_ms? as f64)).collect();
    if found.is_empty() {
        return String::new();
    }
    let mut drawn = format!("<p>{} of {} searches found a provider.</p>\n", found.len(), results.searches.len());
    drawn += &Plot::new("milliseconds to the first provider", "share of searches")
        .logarithmic()
        .with(Series::shares("found", found.into_iter()))
        .svg();
    let hops = counted(results.searches.iter().filter_map(|search| search.hops));
    let asked = counted(results.searches.iter().filter_map(|search| search.asked));
    for (what, counts) in [
        ("hops to the peer that named a provider (0: it was on record here)", hops),
        ("requests sent until a peer named a provider", asked),
    ] {
        if !counts.is_empty() {
            let bars = counts.into_iter().map(|(value, count)| (value.to_string(), count)).collect();
            let _ = write!(drawn, "<p>Searches by {what}:</p>\n{}", Bars { unit: "searches", bars }.svg());
        }
    }
    drawn
}

fn counted(values: impl Iterator<Item = u32>) -> std::collections::BTreeMap<u32, f64> {
    let mut counts = std::collections::BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1.0);
    counts
}

fn money(results: &Results) -> String {
    let bars =
        results.flows.iter().map(|flow| (format!("mint {}: {} → {}", flow.mint, flow.from, flow.to), flow.sat as f64));
    Bars { unit: "sat", bars: bars.collect() }.svg()
}

fn memory(results: &Results) -> String {
    let resident = results.samples.iter().map(|sample| (sample.at_ms as f64 / 1e3, sample.resident as f64 / 1e6));
    Plot::new("virtual seconds", "MB resident").with(Series::new("the whole process", resident.collect())).svg()
}

#[cfg(test)]
mod tests;
