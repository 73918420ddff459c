//! `check`: the same seed in two processes must give the same trace, event by event.
//!
//! Both write their traces into pipes and this process reads the two side by side, so nothing is stored and the first
//! difference is seen when it happens.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader},
    process::{Child, ChildStdout, Stdio},
};

use clap::Args;

use super::{Verdict, What, child};

/// What is checked if nothing else is named: with trades, with faults, with cheats.
const USUAL: [(&str, u32); 3] = [("storm", 50), ("mint-outage", 50), ("cheating-traders", 50)];
/// Lines shown before the first difference.
const CONTEXT: usize = 5;

/// The arguments of `check`.
#[derive(Args)]
pub(crate) struct Check {
    /// A scenario's file or shipped name; a few usual ones, if none is named.
    scenario: Option<String>,
    /// Everything random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many nodes, instead of what the scenario says.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: Option<u32>,
    /// How many virtual seconds, instead of what the scenario says.
    #[arg(long, value_name = "SECONDS")]
    secs: Option<u64>,
}

impl Check {
    pub(super) fn run(self) -> Verdict {
        let named = self.scenario.map(|scenario| What { scenario, nodes: self.nodes, secs: self.secs, sabotage: None });
        let usual = USUAL.map(|(scenario, nodes)| {
            let nodes = Some(self.nodes.unwrap_or(nodes));
            What { scenario: scenario.into(), nodes, secs: self.secs, sabotage: None }
        });
        let checked = named.map_or_else(|| usual.to_vec(), |named| vec![named]);
        let mut well = true;
        for what in &checked {
            well &= check(what, self.seed)?;
        }
        Ok(well)
    }
}

fn check(what: &What, seed: u64) -> Verdict {
    what.load()?;
    println!("{}, seed {seed}, twice", what.arguments().join(" "));
    let (mut first, mut second) = (begin(what, seed)?, begin(what, seed)?);
    let same = compare(&mut first, &mut second);
    for one in [&mut first, &mut second] {
        let _ = one.process.kill(); // one that waits for its reader, after a difference
        one.process.wait()?;
    }
    let Some(difference) = same? else {
        println!("  {} events, {}", first.lines - 1, first.hash());
        let broken = first.broken();
        broken.iter().for_each(|broken| println!("  VIOLATION of {broken}"));
        println!("  the same");
        return Ok(broken.is_empty());
    };
    println!("  NOT the same: the node or the simulator hangs on something else than the seed");
    println!("  the first difference is event {}, after", first.lines);
    difference.before.iter().for_each(|line| println!("      {line}"));
    println!("  first   {}\n  second  {}", difference.first, difference.second);
    Ok(false)
}

struct Running {
    process: Child,
    out: BufReader<ChildStdout>,
    lines: u64,
    line: String,
}

fn begin(what: &What, seed: u64) -> io::Result<Running> {
    let mut process = child::command(what, seed)?.arg("--trace=-").stdout(Stdio::piped()).spawn()?;
    let out = process.stdout.take().ok_or_else(|| io::Error::other("the child has no output"))?;
    Ok(Running { process, out: BufReader::with_capacity(1 << 16, out), lines: 0, line: String::new() })
}

impl Running {
    /// Reads the next line; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        let mut line = Vec::new();
        let more = self.out.read_until(b'\n', &mut line)? > 0;
        if more {
            self.lines += 1;
            self.line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        }
        Ok(more)
    }

    /// The last line is the summary, which is real time's as well.
    fn summary(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.line).ok()
    }

    fn hash(&self) -> String {
        let hash = self.summary().and_then(|summary| Some(summary.get("hash")?.as_str()?.to_owned()));
        hash.unwrap_or_default()
    }

    fn broken(&self) -> Vec<String> {
        self.summary().map(|summary| child::violations(&summary)).unwrap_or_default()
    }
}

struct Difference {
    before: VecDeque<String>,
    first: String,
    second: String,
}

fn compare(first: &mut Running, second: &mut Running) -> io::Result<Option<Difference>> {
    let mut before = VecDeque::new();
    loop {
        let more = (first.next()?, second.next()?);
        if more == (false, false) {
            let (one, two) = (first.hash(), second.hash());
            if one.is_empty() || one != two {
                return Err(io::Error::other("a run ended without a result: it crashed, see above"));
            }
            return Ok(None);
        }
        let summaries = || Some((first.summary()?, second.summary()?));
        let differs = more != (true, true) || first.line != second.line;
        if differs && (more != (true, true) || summaries().is_none()) {
            let (first, second) = (first.line.clone(), second.line.clone());
            return Ok(Some(Difference { before, first, second }));
        }
        if before.len() == CONTEXT {
            before.pop_front();
        }
        before.push_back(first.line.clone());
    }
}
