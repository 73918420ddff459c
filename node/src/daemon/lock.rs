//! One daemon per home: a lock that the system takes back when the process ends, however it ends.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use guilder_protocol::fault::{AtFault, Fault};
use rustix::fs::{FlockOperation, flock};

/// Holds a home's lock until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, and leaves our process's number in it for whoever comes second.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let fail = |cause: std::io::Error| LockError::Io { path: path.to_owned(), cause };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(fail)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.take(32).read_to_string(&mut holder);
                return Err(LockError::Taken { holder: holder.trim().to_owned() });
            }
            Err(cause) => return Err(fail(cause.into())),
        }
        let noted =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        noted.map_err(fail)?;
        Ok(Self { _file: file })
    }
}

/// Why a daemon can't have a home to itself.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another has it.
    #[error("a daemon runs on this home already (process {holder})")]
    Taken {
        /// Its process.
        holder: String,
    },
    /// The disk.
    #[error("can't lock {}: {cause}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

impl AtFault for LockError {
    fn fault(&self) -> Fault {
        match self {
            Self::Taken { .. } => Fault::Ours,
            Self::Io { .. } => Fault::Environment,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Taken { .. } => Some("`guilder status` talks to it; give another --home DIR to run a second node"),
            Self::Io { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_home_has_one_daemon_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.lock");
        let first = Lock::take(&path).unwrap();
        let second = Lock::take(&path).unwrap_err();
        assert!(matches!(&second, LockError::Taken { holder } if *holder == std::process::id().to_string()));
        drop(first);
        Lock::take(&path).unwrap();
    }
}
