//! What can go wrong with a store, and whose fault it is.

use std::io::{self, ErrorKind};

use guilder_protocol::fault::{AtFault, Fault};

use crate::panics;

/// Why the store couldn't do it. Never holds what was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file is locked.
    #[error("another process has this node's store open")]
    AlreadyOpen,
    /// The file's schema is from the future.
    #[error("the store has version {found}; this program knows versions up to {known}")]
    Newer {
        /// The version in the file.
        found: u64,
        /// The newest that this program knows.
        known: u64,
    },
    /// The file has records of a layout that this program doesn't read.
    #[error("the store was written by an older guilder, in a layout that this one doesn't read")]
    Older,
    /// No space left; nothing of the transaction was written.
    #[error("the disk is full")]
    DiskFull,
    /// The disk or its driver failed; nothing of the transaction was written.
    #[error("the disk failed: {message}")]
    Disk {
        /// What the operating system calls it.
        kind: ErrorKind,
        /// What it says.
        message: String,
    },
    /// The transaction failed, and so did opening the file anew. Whether it came to be is known once it opens again.
    #[error("the disk failed during a commit and could not be read again: {message}")]
    Uncertain {
        /// What failed last.
        message: String,
    },
    /// The file isn't a store, or isn't what was once written.
    #[error("the store is damaged: {message}")]
    Damaged {
        /// What redb found.
        message: String,
    },
    /// A stored record isn't of the type its table says.
    #[error("a record in the table {table} can't be read")]
    Decode {
        /// The table.
        table: &'static str,
    },
    /// A value has no DAG-CBOR form.
    #[error("a value for the table {table} can't be written")]
    Encode {
        /// The table.
        table: &'static str,
    },
    /// The node is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl AtFault for StoreError {
    fn fault(&self) -> Fault {
        match self {
            Self::AlreadyOpen | Self::Newer { .. } | Self::Older | Self::Encode { .. } => Fault::Ours,
            Self::DiskFull
            | Self::Disk { .. }
            | Self::Uncertain { .. }
            | Self::Damaged { .. }
            | Self::Decode { .. }
            | Self::Closed => Fault::Environment,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::AlreadyOpen => Some("stop the other `guilder up` on this home folder, or choose another with --home"),
            Self::Newer { .. } => Some("run the version of guilder that last used this home folder, or a later one"),
            Self::Older => Some(
                "run the guilder that wrote it until its tasks are over; then, with this one, bring the money into a new home folder with the recovery phrase",
            ),
            Self::DiskFull => Some("free some space; the node goes on by itself"),
            Self::Disk { .. } | Self::Uncertain { .. } => Some("check the disk, then restart the node"),
            Self::Damaged { .. } | Self::Decode { .. } => {
                Some("restore the home folder from a backup; the recovery phrase restores its keys and money")
            }
            Self::Encode { .. } | Self::Closed => None,
        }
    }
}

impl StoreError {
    /// Whether the database must be opened anew before it can be used again.
    pub(super) fn is_disk(&self) -> bool {
        matches!(self, Self::DiskFull | Self::Disk { .. } | Self::Uncertain { .. } | Self::Damaged { .. })
    }

    /// Whether the same transaction may succeed another time: it was the disk, or the node is going down.
    pub(crate) fn may_pass(&self) -> bool {
        self.is_disk() || matches!(self, Self::Closed)
    }
}

/// Does something with redb, which panics at some pages that aren't what it once wrote.
pub(super) fn guarded<R>(work: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    panics::contained(work).unwrap_or_else(|message| Err(StoreError::Damaged { message }))
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Self::DiskFull,
            ErrorKind::InvalidData => Self::Damaged { message: error.to_string() },
            kind => Self::Disk { kind, message: error.to_string() },
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::AlreadyOpen,
            redb::Error::DatabaseClosed => Self::Closed,
            redb::Error::PreviousIo => {
                Self::Disk { kind: ErrorKind::Other, message: "an earlier operation failed".to_owned() }
            }
            other => Self::Damaged { message: other.to_string() },
        }
    }
}

/// redb has an error type per operation; all of them are one to us.
macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

from_redb!(CommitError, DatabaseError, StorageError, TableError, TransactionError);
