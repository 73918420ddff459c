//! The program's commands, as a user runs them, on networks small enough for an unoptimized build.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const SMALL: &str = r#"
name = "small"
about = "A few nodes that trade."
duration_s = 60
warmup_s = 20
drain_s = 25
[population]
nodes = 6
traders = 1
[services]
count = 1
[workload]
per_buyer_minute = 4
[measure]
searches_per_minute = 6
[must]
done_share = 0.5
"#;

/// Nobody sells, so no search finds anybody.
const HOPELESS: &str = r#"
name = "hopeless"
about = "Everyone looks for what nobody has."
duration_s = 30
warmup_s = 10
drain_s = 2
[population]
nodes = 3
bystanders = 1
[measure]
searches_per_minute = 20
[must]
found_share = 1.0
"#;

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn scenario(folder: &Path, text: &str) -> String {
    let path = folder.join("scenario.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn sim(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_guilder-sim")).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_run_is_drawn_and_is_the_same_twice() {
    let folder = folder("run");
    let small = scenario(&folder, SMALL);
    let out = folder.join("out");
    let (code, said, errors) = sim(&["run", &small, "--json", "--out", out.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}{errors}");
    let summary: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(summary["done"].as_u64().unwrap() > 0, "{summary}");

    let (code, said, errors) = sim(&["report", out.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}{errors}");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for part in ["Tasks over time", "Latency by phase", "Discovery", "Bandwidth", "Money", "Memory", "<svg"] {
        assert!(page.contains(part), "no {part}");
    }
    assert!(!page.contains("NaN"));
    // It opens offline: the only addresses are the names of SVG's namespace.
    assert_eq!(page.matches("http").count(), page.matches("xmlns=").count());

    let (code, said, errors) = sim(&["check", &small]);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(said.contains(summary["hash"].as_str().unwrap()) && said.contains("the same"), "{said}");
}

#[test]
fn a_sweep_fails_with_the_command_that_shows_why() {
    let folder = folder("sweep");
    let hopeless = scenario(&folder, HOPELESS);
    let (code, said, errors) = sim(&["sweep", &hopeless, "--seeds", "3..4", "--jobs", "2"]);
    assert_eq!(code, Some(1), "{said}{errors}");
    assert!(said.contains("2 of 2 seeds with violations") && said.contains("found_share"), "{said}");
    let replay = said.lines().find_map(|line| line.split_once("guilder-sim ")).unwrap().1;
    let arguments: Vec<&str> = replay.split(' ').chain(["--trace", " 1 "]).collect();
    assert!(arguments.starts_with(&["replay", "3"]), "{replay}");
    let (_, events, errors) = sim(&arguments);
    assert!(events.lines().count() > 5, "{events}{errors}");
    assert!(events.lines().all(|line| line.contains(" 1 ")));
}

#[test]
fn what_cannot_be_run_is_an_error_and_not_a_finding() {
    let (code, _, errors) = sim(&["run", "no-such-scenario"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("steady-market"), "{errors}");
    let (code, _, errors) = sim(&["sweep", "steady-market", "--seeds", "9..3"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("empty"), "{errors}");
}

#[test]
fn looking_closely_changes_nothing() {
    let folder = folder("looks");
    let small = scenario(&folder, SMALL);
    let hash = |more: &[&str]| {
        let (_, said, errors) = sim(&[&["run", &small, "--json"], more].concat());
        let summary: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{errors}"));
        assert_eq!(summary["cut_short"], false);
        summary["hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash(&[]), hash(&["--look-every=1"]));
}

#[test]
fn a_violation_comes_with_the_shortest_prefix_that_shows_it() {
    let folder = folder("shortest");
    let small = scenario(&folder, SMALL);
    let (code, said, errors) = sim(&["run", &small, "--sabotage", "coin-vanishes"]);
    assert_eq!(code, Some(1), "{said}{errors}");
    // Broken half-way between 20 s and 35 s; the usual look comes at 40 s.
    let replay = said.lines().find_map(|line| line.split_once("guilder-sim ")).unwrap().1;
    assert!(said.contains("VIOLATION of wallet at 40.000 s") && replay.ends_with("--until 28.000"), "{said}");
    let (code, _, found) = sim(&[&replay.split(' ').collect::<Vec<_>>()[..], &["--trace", "killed"]].concat());
    assert!(code == Some(1) && found.contains("VIOLATION of wallet at 28.000 s"), "{found}");

    let (code, said, errors) = sim(&["sweep", &small, "--seeds", "1..1", "--sabotage", "coin-vanishes"]);
    assert!(code == Some(1) && said.contains(replay), "{said}{errors}");
}

#[test]
fn futures_part_in_the_middle_of_trade_and_each_can_be_had_again() {
    let folder = folder("futures");
    let small = scenario(&folder, SMALL);
    let explore = |more: &[&str]| {
        let (code, said, errors) = sim(&[&["explore", &small, "--at", "28"], more].concat());
        assert_eq!(code, Some(0), "{said}{errors}");
        let numbered =
            |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_digit()) && line.contains(" s ");
        said.lines().filter(numbered).map(str::to_owned).collect::<Vec<_>>()
    };
    let all = explore(&["--futures", "2", "--jobs", "1"]);
    assert!(all.len() == 2 && all[0].split_whitespace().last() != all[1].split_whitespace().last(), "{all:?}");
    assert_eq!(explore(&["--futures", "1", "--first", "1"]), all[1..]);
}
