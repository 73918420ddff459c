//! `guilder up`, as a process of its own.

use std::{
    fs::{self, File},
    net::SocketAddr,
    ops::Deref,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    Home, LONG, eventually,
    home::{tail, wait},
    http::{self, Answer},
};

/// Lines of a log that are shown when a test fails.
const LOG_TAIL: usize = 60;

/// A running node. Dropped, it is killed; and if the test fails, its log is shown.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    home: Home,
    child: Child,
}

/// The command line of its home.
impl Deref for Daemon {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

impl Daemon {
    /// Starts a node on a home and waits until it is ready.
    #[track_caller]
    pub fn start(name: &str, home: &Home) -> Self {
        Self::start_with(name, home, &[])
    }

    /// As [`Self::start`], with these variables in its environment.
    #[track_caller]
    pub fn start_with(name: &str, home: &Home, env: &[(&str, &str)]) -> Self {
        let mut daemon = Self { name: name.to_owned(), home: home.clone(), child: spawn(home, env) };
        daemon.wait_until_ready();
        daemon
    }

    /// As [`Self::start`], with these arguments for `up`: on an empty home it may take some to make one.
    #[track_caller]
    pub fn up(name: &str, home: &Home, args: &[&str]) -> Self {
        let mut daemon = Self { name: name.to_owned(), home: home.clone(), child: spawn_with(home, args, &[]) };
        daemon.wait_until_ready();
        daemon
    }

    /// Starts it again, after it has ended.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// As [`Self::restart`], with these variables in its environment.
    #[track_caller]
    pub fn restart_with(&mut self, env: &[(&str, &str)]) {
        assert!(self.child.try_wait().unwrap().is_some(), "{} still runs", self.name);
        self.child = spawn(&self.home, env);
        self.wait_until_ready();
    }

    /// Starts it again, after it has ended, to kill itself at a step of a trade or of its money: which it may come to
    /// before it is ready.
    #[track_caller]
    pub fn dies_at(&mut self, step: &str, patience: Duration) {
        assert!(self.child.try_wait().unwrap().is_some(), "{} still runs", self.name);
        self.child = spawn(&self.home, &[("GUILDER_FAILPOINT", &format!("kill:{step}"))]);
        let status = self.wait_for_end(patience);
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{step}: {status}\n{}", self.log_tail());
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let name = self.name.clone();
        eventually(&format!("{name} to be ready"), LONG, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{name} ended early: {status}\n{}", self.log_tail());
            }
            match self.access() {
                Some(access) if access["pid"] == self.pid() => Ok(()),
                _ => Err("its api.json isn't there yet"),
            }
        });
        self.home.run(["status"]).ok();
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `guilder status` says.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.home.json(["status"])
    }

    /// Its peer ID.
    #[track_caller]
    pub fn peer_id(&self) -> String {
        self.home.json(["id"])["peer_id"].as_str().unwrap().to_owned()
    }

    /// A TCP address at which others reach it, peer ID included.
    #[track_caller]
    pub fn address(&self) -> String {
        let status = self.status();
        let addresses = status["listen"].as_array().unwrap().iter().filter_map(Value::as_str);
        addresses.into_iter().find(|address| address.contains("/tcp/")).unwrap().to_owned()
    }

    /// Kills it (SIGKILL), as a power cut would end it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as an operator would: SIGTERM, and it leaves in order.
    #[track_caller]
    pub fn stop(&mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        let Some(status) = wait(&mut self.child, LONG) else {
            panic!("{} doesn't stop on SIGTERM\n{}", self.name, self.log_tail())
        };
        assert!(status.success(), "{} stopped with {status}\n{}", self.name, self.log_tail());
        assert!(self.access().is_none(), "{} left its api.json behind", self.name);
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What its api.json says: address, token, process.
    pub fn access(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.home.path().join("api.json")).ok()?).ok()
    }

    /// Asks its API directly, with these headers and no token of its own accord.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let address = self.access().unwrap()["address"].as_str().unwrap().parse::<SocketAddr>().unwrap();
        http::request(address, method, path, headers, b"").unwrap()
    }

    /// The most memory that it ever had resident, in MiB.
    #[cfg(target_os = "linux")]
    pub fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Its log, of all its starts.
    pub fn log(&self) -> PathBuf {
        self.home.file("node.log")
    }

    /// The last lines of it.
    pub fn log_tail(&self) -> String {
        format!("--- the log of {} ({})\n{}", self.name, self.log().display(), tail(&self.log(), LOG_TAIL))
    }

    /// Ends after so much time at the latest.
    #[track_caller]
    pub fn wait_for_end(&mut self, patience: Duration) -> std::process::ExitStatus {
        wait(&mut self.child, patience)
            .unwrap_or_else(|| panic!("{} didn't end in {patience:?}\n{}", self.name, self.log_tail()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

fn spawn(home: &Home, env: &[(&str, &str)]) -> Child {
    spawn_with(home, &[], env)
}

fn spawn_with(home: &Home, args: &[&str], env: &[(&str, &str)]) -> Child {
    let log = File::options().create(true).append(true).open(home.file("node.log")).unwrap();
    let mut command = home.command();
    command.arg("up").args(args).envs(env.iter().copied());
    if let Some(filter) = std::env::var_os("GUILDER_TEST_LOG") {
        command.env("RUST_LOG", filter);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap()
}
