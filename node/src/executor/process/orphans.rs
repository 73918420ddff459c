//! What comes to this process when a program kills its guard.
//!
//! A guard's descendants become its parent's when it dies ([`adopt`]), whatever sessions and groups they have made: in a
//! process whose only other children are guards, they are told by not being one.

use std::{collections::BTreeSet, io, sync::Mutex};

use rustix::process::Pid;
use tokio::process::{Child, Command};

use super::table;
use crate::sync::lock;

/// The living guards of this process, of all its nodes. Held while one is started, so that none is unknown.
static GUARDS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Makes this process the one to which orphans under it come. For a process that starts nothing but guards: the daemon.
/// Elsewhere than on Linux, and where it isn't called, only what stays in the guard's session is found.
pub fn adopt() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::debug!(%error, "orphans of programs go to the system's first process");
    }
}

/// Starts a guard.
pub(super) fn start_guard(command: &mut Command) -> io::Result<(Child, Option<Pid>)> {
    let mut guards = lock(&GUARDS);
    let child = command.spawn()?;
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    guards.extend(pid.map(Pid::as_raw_pid));
    Ok((child, pid))
}

/// Notes that a guard has ended.
pub(super) fn forget_guard(guard: Option<Pid>) {
    if let Some(guard) = guard {
        lock(&GUARDS).remove(&guard.as_raw_pid());
    }
}

/// Kills every orphan that has come here, with what is under it.
pub(super) fn kill() {
    if !adopts() {
        return;
    }
    let mut killed = BTreeSet::new();
    table::kill_until_none(|| {
        let found = find();
        killed.extend(found.iter().map(|pid| pid.as_raw_pid()));
        found
    });
    for pid in killed.into_iter().filter_map(Pid::from_raw) {
        // Nobody else waits for them. Those that weren't our children are none now.
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
    }
}

#[cfg(target_os = "linux")]
fn adopts() -> bool {
    rustix::process::child_subreaper().is_ok_and(|reaper| reaper.is_some()) || is_first()
}

#[cfg(not(target_os = "linux"))]
fn adopts() -> bool {
    false
}

/// To the first process of a system or container come the orphans of all.
fn is_first() -> bool {
    rustix::process::getpid() == Pid::INIT
}

/// All children but guards, and what is under them. A child that isn't waited for keeps its number.
fn find() -> Vec<Pid> {
    let guards = lock(&GUARDS);
    let mut children = table::children(rustix::process::getpid());
    children.retain(|child| !guards.contains(&child.as_raw_pid()));
    drop(guards);
    if is_first() {
        children.retain(|child| table::has_variable(*child, b"GUILDER_AWARD="));
    }
    let under: Vec<_> = children.iter().flat_map(|child| table::descendants(*child)).collect();
    children.extend(under);
    children
}
