//! The shortest prefix of a run that shows that something is broken.
//!
//! Looking changes nothing, so the run is run again, in processes of their own: once with a close look every 20 seconds up to
//! the first that finds something, once with one every second of the 20 before it.

use std::{io, process::Stdio};

use guilder_sim::{play::EVERY_S, results::ASKED_FOR};

use super::{
    What,
    child::{self, Ended},
};

/// How much of a run shows it, and what is seen then.
pub(super) struct Prefix {
    until_s: f64,
    broken: String,
}

/// The shortest prefix at whose end something is broken; none if only the end shows it, as it does with all that a scenario
/// asks for. `broken` are the rules that the whole run broke.
pub(super) fn shortest(what: &What, seed: u64, broken: &[String]) -> io::Result<Option<Prefix>> {
    if broken.iter().all(|rule| ASKED_FOR.contains(&rule.as_str())) {
        return Ok(None);
    }
    let Some(rough) = first_found(what, seed, EVERY_S, 0.0)? else { return Ok(None) };
    let fine = first_found(what, seed, 1, rough.until_s - EVERY_S as f64)?;
    Ok(Some(fine.unwrap_or(rough)))
}

fn first_found(what: &What, seed: u64, every_s: u64, from_s: f64) -> io::Result<Option<Prefix>> {
    let mut command = child::command(what, seed)?;
    command.args(["--json", &format!("--look-every={every_s}"), &format!("--look-from={}", from_s.max(0.0))]);
    let Ended::Ran(summary) = child::ended(&command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?) else {
        return Ok(None);
    };
    let cut_short = summary.get("cut_short").and_then(serde_json::Value::as_bool) == Some(true);
    let broken = child::violations(&summary).into_iter().next().filter(|_| cut_short);
    Ok(broken.map(|broken| Prefix { until_s: child::number(&summary, "/violations/0/at_ms") / 1e3, broken }))
}

/// Says it, with the command that shows it.
pub(super) fn tell(prefix: Option<Prefix>, what: &What, seed: u64) {
    let arguments = what.arguments().join(" ");
    match prefix {
        Some(Prefix { until_s, broken }) => {
            println!("  shortest prefix that shows it: {broken}");
            println!("  to see it: guilder-sim replay {seed} {arguments} --until {until_s:.3}");
        }
        None => {
            println!("  only the end of the run shows it");
            println!("  to see it: guilder-sim replay {seed} {arguments}");
        }
    }
}
