//! A node's folder, and the command line on it.

use std::{
    ffi::OsStr,
    fmt, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary;

/// How long any command may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(180);

/// A folder for a node, gone with the last of its handles. The user's own HOME in it is empty too.
#[derive(Clone, Debug)]
pub struct Home(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    dir: TempDir,
    /// Whether it is a file system of its own.
    mounted: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.mounted {
            // What can't be unmounted is a few MiB of memory until the machine ends.
            let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
        }
    }
}

impl Home {
    /// Nothing is in it.
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("guilder-test-").tempdir().unwrap();
        Self(Arc::new(Folder { dir, mounted: false }))
    }

    /// As [`Self::new`], on a disk of its own with so much room. None where this user may not mount one.
    #[track_caller]
    pub fn on_small_disk(mib: u32, settings: &str) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("guilder-test-").tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(dir.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        let home = Self(Arc::new(Folder { dir, mounted }));
        mounted.then(|| {
            home.run(["init"]).ok();
            home.settings(settings);
            home
        })
    }

    /// Fills its disk to the last byte. What it is filled with goes with [`Self::free_disk`].
    pub fn fill_disk(&self) {
        assert!(self.0.mounted, "others share this disk");
        let mut file = fs::File::create(self.file("fill")).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn free_disk(&self) {
        fs::remove_file(self.file("fill")).unwrap();
    }

    /// With keys, and with these settings.
    #[track_caller]
    pub fn new(settings: &str) -> Self {
        let home = Self::empty();
        home.run(["init"]).ok();
        home.settings(settings);
        home
    }

    /// Changes the settings, for the next start.
    pub fn settings(&self, settings: &str) {
        fs::write(self.path().join("config.toml"), settings).unwrap();
    }

    /// The node's folder.
    pub fn path(&self) -> PathBuf {
        self.0.dir.path().join("node")
    }

    /// A place for a file of the test's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.dir.path().join(name)
    }

    /// Writes such a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// `guilder` on this home. Nothing of the test's own environment reaches it but PATH.
    pub fn command(&self) -> Command {
        let user = self.file("user");
        fs::create_dir_all(&user).unwrap();
        let mut command = Command::new(binary::guilder());
        command.env_clear().env("HOME", user).envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.current_dir(self.0.dir.path()).arg("--home").arg(self.path());
        command
    }

    /// Runs a command with `--json`.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        self.run_with(args, b"")
    }

    /// Runs a command with `--json` and this on standard input.
    #[track_caller]
    pub fn run_with<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, input: &[u8]) -> Ran {
        let mut command = self.command();
        command.arg("--json").args(args);
        Ran::of(command, input)
    }

    /// Runs a command as a person would, for text.
    #[track_caller]
    pub fn run_as_person<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, input: &[u8]) -> Ran {
        let mut command = self.command();
        command.args(args);
        Ran::of(command, input)
    }

    /// Runs a command that must succeed, and reads its one JSON value.
    #[track_caller]
    pub fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Value {
        self.run(args).ok().json()
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    command: String,
    status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// Runs it to its end.
    #[track_caller]
    pub fn of(command: Command, input: &[u8]) -> Self {
        Self::of_within(command, input, PATIENCE)
    }

    /// As [`Self::of`], with another patience than for a command line.
    #[track_caller]
    pub fn of_within(mut command: Command, input: &[u8], patience: Duration) -> Self {
        let spoken = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|cause| panic!("can't run {spoken}: {cause}"));
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        // A command may well not read its input.
        let feeding = thread::spawn(move || _ = stdin.write_all(&input));
        let (stdout, stderr) = (drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap()));
        let status = wait(&mut child, patience);
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        feeding.join().unwrap();
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        match status {
            Some(status) => Self { command: spoken, status, stdout, stderr },
            None => panic!(
                "{spoken} hung for {patience:?}; it wrote:\n{}\n{}",
                String::from_utf8_lossy(&stdout),
                String::from_utf8_lossy(&stderr)
            ),
        }
    }

    /// Its exit code.
    ///
    /// # Panics
    /// If a signal ended it.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self}"))
    }

    /// Whether it succeeded.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// It failed, and says so as JSON on standard error.
    #[track_caller]
    pub fn failed(&self) -> Failed {
        let lines = String::from_utf8_lossy(&self.stderr);
        let last = lines.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        let Some(error) = last.as_ref().and_then(|last| last.get("error")) else { panic!("no error in {self}") };
        let text = |name: &str| error[name].as_str().map(str::to_owned).unwrap_or_default();
        let failed = Failed { message: text("message"), fault: text("fault"), hint: text("hint"), exit: self.code() };
        assert_ne!(failed.exit, 0, "{self}");
        assert_eq!(error["exit"], failed.exit, "{self}");
        failed
    }

    /// Its one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// Its JSON values, one a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let lines = self.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error} in {self}"))).collect()
    }

    /// What it wrote to standard output.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What it wrote to standard error.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.command, self.status)?;
        writeln!(f, "--- standard output\n{}", clipped(&self.stdout))?;
        write!(f, "--- standard error\n{}", clipped(&self.stderr))
    }
}

/// The error of a command that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What, with its causes.
    pub message: String,
    /// The party at fault.
    pub fault: String,
    /// What the reader can do; empty if nothing is said.
    pub hint: String,
    /// The exit code.
    pub exit: i32,
}

impl Failed {
    /// It is laid at `fault`, its message or hint (its commands without `--home`) says each of `words`, and it has a hint.
    #[track_caller]
    pub fn says(self, fault: &str, words: &[&str]) -> Self {
        assert_eq!(self.fault, fault, "{self:?}");
        let text = without_home(&format!("{} {}", self.message, self.hint)).to_lowercase();
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(&word.to_lowercase())).collect();
        assert!(missing.is_empty(), "{missing:?} not in {self:?}");
        assert!(!self.hint.is_empty(), "no hint in {self:?}");
        self
    }
}

fn without_home(text: &str) -> String {
    let mut words = text.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--home" {
            words.next();
        } else {
            kept.push(word)
        }
    }
    kept.join(" ")
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read is shown if the command failed.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for a process to end; none if it doesn't.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if began.elapsed() > patience {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn clipped(bytes: &[u8]) -> String {
    const MOST: usize = 8 * 1024;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]).into_owned();
    if bytes.len() > MOST { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// The last lines of a file, if there is one.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
