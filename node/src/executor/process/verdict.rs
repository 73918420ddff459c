//! How a run of a program ended, as its guard writes it: a small text file, written once.

use std::{fs, io::Write as _, path::Path};

use super::super::bounded_read;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::executor) enum Verdict {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal, which the guard didn't send.
    Signalled(i32),
    /// Killed: it held so many bytes.
    Memory(u64),
    /// Killed: it had more than so many processes.
    Processes(usize),
    /// Killed: the lifeline closed.
    Stopped,
    /// It couldn't be started, because of this.
    NotStarted(String),
}

impl Verdict {
    /// Writes it, unless there is one already: the first is the cause of the others.
    pub(super) fn write(&self, path: &Path) {
        let text = match self {
            Self::Exited(code) => format!("exited {code}"),
            Self::Signalled(signal) => format!("signalled {signal}"),
            Self::Memory(bytes) => format!("memory {bytes}"),
            Self::Processes(limit) => format!("processes {limit}"),
            Self::Stopped => "stopped ".into(),
            Self::NotStarted(why) => format!("not-started {why}"),
        };
        // Without it the node says that the guard was killed; there is nobody else to tell.
        let _ = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
    }

    /// Reads it; `None` if there is none.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = bounded_read(path, 1024).ok()?;
        let (word, rest) = text.split_once(' ')?;
        Some(match word {
            "exited" => Self::Exited(rest.parse().ok()?),
            "signalled" => Self::Signalled(rest.parse().ok()?),
            "memory" => Self::Memory(rest.parse().ok()?),
            "processes" => Self::Processes(rest.parse().ok()?),
            "stopped" => Self::Stopped,
            "not-started" => Self::NotStarted(rest.into()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_back_and_the_first_word_stands() {
        let folder = tempfile::tempdir().unwrap();
        for (index, verdict) in [
            Verdict::Exited(3),
            Verdict::Signalled(11),
            Verdict::Memory(1 << 40),
            Verdict::Processes(256),
            Verdict::Stopped,
            Verdict::NotStarted("No such file or directory (os error 2)".into()),
        ]
        .into_iter()
        .enumerate()
        {
            let path = folder.path().join(index.to_string());
            assert_eq!(Verdict::read(&path), None);
            verdict.write(&path);
            Verdict::Exited(0).write(&path);
            assert_eq!(Verdict::read(&path), Some(verdict));
        }
    }
}
