//! Programs of other people's libraries: the scripts in `tests/foreign`, run by Node.js or by Nutshell's Python.
//!
//! `tests/foreign/install` puts the libraries into `target/`. A script says what happens as JSON, an object a line, and ends when its
//! standard input does, so none outlives the test that started it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    mem,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    LONG,
    binary::file,
    home::{tail, wait},
};

/// Files and folders of `tests/foreign` that Node.js is given, beside its libraries.
const JAVASCRIPT: [&str; 6] = ["package.json", "old-node.js", "cashu-ts.js", "iso-ucan.js", "webhook.js", "peer"];

/// Where the Python environment with Nutshell is, if it is there.
pub fn nutshell_venv() -> Option<PathBuf> {
    let venv = env::var_os("GUILDER_NUTSHELL_VENV").map_or_else(|| file("target/nutshell-venv"), PathBuf::from);
    venv.join("bin/mint").exists().then_some(venv)
}

/// Where the JavaScript libraries are, if they and Node.js are there.
pub fn libraries() -> Option<PathBuf> {
    let libraries = env::var_os("GUILDER_FOREIGN_NODE").map_or_else(|| file("target/foreign-node"), PathBuf::from);
    (libraries.join("installed").exists() && has_node()).then_some(libraries)
}

/// Where MCP's JavaScript libraries are, if they and Node.js are there.
pub fn mcp_libraries() -> Option<PathBuf> {
    let libraries = file("target/foreign-mcp");
    (libraries.join("installed").exists() && has_node()).then_some(libraries)
}

/// The Python that has MCP's SDK, if it is there.
pub fn mcp_python() -> Option<PathBuf> {
    let venv = file("target/mcp-venv");
    venv.join("installed").exists().then(|| venv.join("bin/python"))
}

/// The Python that has the library of Standard Webhooks, if it is there.
fn webhooks_python() -> Option<PathBuf> {
    let venv = file("target/webhooks-venv");
    venv.join("installed").exists().then(|| venv.join("bin/python"))
}

fn has_node() -> bool {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    node.is_ok_and(|status| status.success())
}

/// Says that a test is skipped for want of foreign software.
pub fn skip(what: &str) {
    crate::skip(&format!("{what}; tests/foreign/install gets it, where npm and pip can reach their registries"));
}

/// The scripts for one set of libraries, in a folder of their own, and what runs them.
#[derive(Debug)]
pub struct Scripts {
    interpreter: PathBuf,
    dir: TempDir,
}

impl Scripts {
    /// Those for Node.js, with the libraries beside them. None, with a word on it, where they aren't there.
    pub fn of_javascript() -> Option<Self> {
        let Some(libraries) = libraries() else {
            skip("Node.js with cashu-ts, iso-ucan, js-libp2p and Octokit's webhooks");
            return None;
        };
        let scripts = Self::with("node".into(), &JAVASCRIPT);
        std::os::unix::fs::symlink(libraries.join("node_modules"), scripts.dir.path().join("node_modules")).unwrap();
        Some(scripts)
    }

    /// The one for Nutshell. None, with a word on it, where that isn't there.
    pub fn of_nutshell() -> Option<Self> {
        let Some(venv) = nutshell_venv() else {
            skip("Nutshell");
            return None;
        };
        Some(Self::with(venv.join("bin/python"), &["nutshell.py"]))
    }

    /// Those for Standard Webhooks. None, with a word on it, where its library isn't there.
    pub fn of_webhooks() -> Option<Self> {
        let Some(python) = webhooks_python() else {
            skip("the Python library of Standard Webhooks");
            return None;
        };
        Some(Self::with(python, &["webhook.py", "receiver.py"]))
    }

    fn with(interpreter: PathBuf, names: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("guilder-test-foreign-").tempdir().unwrap();
        names.iter().for_each(|name| copy(&file("tests/foreign").join(name), &dir.path().join(name)));
        Self { interpreter, dir }
    }

    /// Starts one.
    #[track_caller]
    pub fn start(&self, script: &str, args: &[&str]) -> Script {
        let mut command = Command::new(&self.interpreter);
        command.arg(script).args(args);
        Script::start(script, command, self.dir.path())
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// A running script. Dropped, it is killed; and if the test fails, what it wrote to standard error is shown.
#[derive(Debug)]
pub struct Script {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    said: Vec<Value>,
    log: PathBuf,
}

impl Script {
    fn start(name: &str, mut command: Command, dir: &Path) -> Self {
        let log = dir.join(format!("{}.log", name.replace('/', "-")));
        command.current_dir(dir).env_clear().env("HOME", dir);
        command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::options().create(true).append(true).open(&log).unwrap());
        let mut child = command.spawn().unwrap_or_else(|cause| panic!("can't run {command:?}: {cause}"));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (tell, lines) = channel();
        thread::spawn(move || {
            // A library may print lines of its own.
            let said = BufReader::new(stdout).lines().map_while(Result::ok);
            said.filter_map(|line| serde_json::from_str(&line).ok()).try_for_each(|line| tell.send(line))
        });
        Self { name: name.to_owned(), child, stdin, lines, said: Vec::new(), log }
    }

    /// What it says of `key`, or has said; what else it says is kept for later.
    #[track_caller]
    pub fn says(&mut self, key: &str) -> Value {
        if let Some(place) = self.said.iter().position(|line| line.get(key).is_some()) {
            return self.said.remove(place)[key].take();
        }
        loop {
            match self.lines.recv_timeout(LONG) {
                Ok(mut line) if line.get(key).is_some() => return line[key].take(),
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} didn't say {key} in {LONG:?}; it said {:?}", self.name, self.said)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} ended without a word on {key}; it said {:?}", self.name, self.said)
                }
            }
        }
    }

    /// All that it says until it ends, which must be in order, after what was kept.
    #[track_caller]
    pub fn finish(mut self) -> Vec<Value> {
        let mut lines = mem::take(&mut self.said);
        loop {
            match self.lines.recv_timeout(LONG) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} said nothing more in {LONG:?}, after {lines:?}", self.name)
                }
            }
        }
        let status = wait(&mut self.child, Duration::from_secs(20));
        assert!(status.is_some_and(|status| status.success()), "{} said {lines:?}\n{}", self.name, self.log_tail());
        lines
    }

    /// Asks it to leave, by ending its standard input, and returns what it has to say yet.
    #[track_caller]
    pub fn leave(mut self) -> Vec<Value> {
        self.stdin = None;
        self.finish()
    }

    fn log_tail(&self) -> String {
        format!("--- standard error of {}\n{}", self.name, tail(&self.log, 40))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}
