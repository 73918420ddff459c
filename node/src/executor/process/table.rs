//! The system's table of processes, read from `/proc`: who descends from whom, and who holds how much memory.
//!
//! Where there is no `/proc`, nobody is seen: process groups alone bound a program then.

use std::{collections::BTreeMap, fs, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

/// How often a killed family is looked through again before it is given up.
const ROUNDS: usize = 200;
/// Between two looks: what a killed process needs to be gone.
const PAUSE: Duration = Duration::from_millis(2);

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    parent: i32,
    session: i32,
}

/// The living children of a process.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let children = read().into_iter().filter(|(_, entry)| entry.parent == parent.as_raw_pid());
    children.filter_map(|(pid, _)| Pid::from_raw(pid)).collect()
}

/// Whether a process was started with an environment in which a variable begins so.
pub(super) fn has_variable(process: Pid, beginning: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", process.as_raw_pid())).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(beginning))
}

/// All living processes under `ancestor`, itself not among them.
pub(super) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, entry) in read() {
        children.entry(entry.parent).or_default().push(pid);
    }
    let mut found = children.remove(&ancestor.as_raw_pid()).unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let more = children.remove(pid).unwrap_or_default();
        found.extend(more);
        next += 1;
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// Kills everything under `ancestor` until there is nothing left.
pub(super) fn kill_descendants(ancestor: Pid) {
    kill_until_none(|| descendants(ancestor));
}

/// Kills every process of a session until there is none left.
pub(super) fn kill_session(session: Pid) {
    kill_until_none(|| {
        let members = read().into_iter().filter(|(_, entry)| entry.session == session.as_raw_pid());
        members.filter_map(|(pid, _)| Pid::from_raw(pid)).collect()
    });
}

/// Kills what is found until nothing is.
pub(super) fn kill_until_none(mut find: impl FnMut() -> Vec<Pid>) {
    for _ in 0..ROUNDS {
        let found = find();
        if found.is_empty() {
            return;
        }
        for pid in found {
            // it may be gone already
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Bytes that these processes hold of their own: anonymous, shared between programs, or swapped out. What they share
/// among each other counts for each.
pub(super) fn memory_bytes(processes: &[Pid]) -> u64 {
    processes.iter().map(|pid| memory_of(*pid).unwrap_or(0)).sum()
}

fn memory_of(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).ok()?;
    Some(parse_memory(&status))
}

fn parse_memory(status: &str) -> u64 {
    let kib = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let held = matches!(name, "RssAnon" | "RssShmem" | "VmSwap");
        held.then(|| value.trim().trim_end_matches(" kB").parse::<u64>().ok())?
    };
    status.lines().filter_map(kib).sum::<u64>() * 1024
}

/// All processes that aren't dead.
fn read() -> Vec<(i32, Entry)> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parse_stat(&stat)?))
    })
    .collect()
}

/// `pid (name) state parent group session …` (proc_pid_stat(5)); the name can hold anything. `None` for the dead.
fn parse_stat(stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x")).then_some(Entry { parent, session })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_can_hold_anything() {
        let stat = "42 (evil) Z 1 (x) S 7 40 39 0 -1 4194560 1";
        assert_eq!(parse_stat(stat), Some(Entry { parent: 7, session: 39 }));
        assert_eq!(parse_stat("42 (dead) Z 7 40 39 0"), None);
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn memory_is_what_a_process_holds_of_its_own() {
        let status =
            "Name:\tx\nVmRSS:\t 9000 kB\nRssAnon:\t  100 kB\nRssFile:\t 8000 kB\nRssShmem:\t 20 kB\nVmSwap:\t 3 kB\n";
        assert_eq!(parse_memory(status), 123 * 1024);
        assert_eq!(parse_memory("RssAnon: many\n"), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sees_its_own_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let me = rustix::process::getpid();
        let pid = Pid::from_child(&child);
        assert!(descendants(me).contains(&pid));
        assert!(memory_bytes(&[pid]) > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants(me).contains(&pid));
    }
}
