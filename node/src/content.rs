//! Large inputs and outputs, kept as files by their hash and moved between peers in verified chunks.
//!
//! ```text
//!  executor, API ── writer ─▶ temp/…  ── fsync, rename ──▶ files/<hash>.<size> ── reader ──▶ executor, API
//!  a peer's stream ─ fetch ─▶ partial/<hash>.<size> ── rename ──▶      │       └── serve ──▶ a peer's stream
//!                                                                      ▼
//!                                            gc: goes once nothing refers to it and nobody pins it
//! ```
//!
//! A file holds the content, and behind it the digests of its chunks ([`guilder_protocol::content`] says how they make
//! the hash). It appears under its name whole and durable, or not at all; every chunk is checked again when it is read.
//!
//! **Who keeps a content alive.** Whoever makes or fetches one gets a [`Pin`], which holds it for as long as it lives. To
//! hold it across restarts, record a reference ([`refer`]) in the same transaction that names the content, then drop the
//! pin. [`Content::collect`] removes what has neither.
//!
//! **Bounded**: one chunk of memory per reader, writer and transfer; [`limits::MAX_CONTENT_TRANSFERS`] served at
//! once, [`limits::MAX_CONTENT_TRANSFERS_PER_PEER`] per peer; every chunk has [`limits::CONTENT_CHUNK_TIMEOUT`] to pass.
//! How long a whole transfer may take is for the caller, who knows the deadline.
//!
//! **Cancel-safe**: dropping any future of this room leaves no file behind but, after a fetch, the verified chunks under
//! `partial/`, where the next fetch of the same content goes on.
//!
//! [`limits::MAX_CONTENT_TRANSFERS`]: crate::limits::MAX_CONTENT_TRANSFERS
//! [`limits::MAX_CONTENT_TRANSFERS_PER_PEER`]: crate::limits::MAX_CONTENT_TRANSFERS_PER_PEER
//! [`limits::CONTENT_CHUNK_TIMEOUT`]: crate::limits::CONTENT_CHUNK_TIMEOUT

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use guilder_protocol::{
    content::ContentId,
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::MAX_CONTENT,
    word::Word,
};

mod data;
mod files;
mod references;
mod transfer;

pub use data::{Collector, Data, Pieces};
pub use files::{Reader, Writer};
pub use references::{CollectError, Collected, refer, release};

use crate::runtime::{Job, Runtime};

/// The handle of a node's content folder.
#[derive(Clone)]
pub struct Content(Arc<Inner>);

struct Inner {
    root: PathBuf,
    runtime: Runtime,
    held: Mutex<Held>,
}

/// What is in use at this moment.
#[derive(Default)]
struct Held {
    /// How many pins each content has.
    pins: BTreeMap<ContentId, usize>,
    /// Contents whose file under `partial/` a fetch is writing.
    fetching: BTreeMap<ContentId, ()>,
    /// Transfers being served, by peer.
    serving: BTreeMap<AgentId, usize>,
    /// Makes the names of temporary files distinct.
    temp_count: u64,
}

impl Content {
    /// Opens the folder, made if it isn't there, and clears what a crash left under `temp/`.
    ///
    /// # Errors
    /// If the folder can't be made or written.
    pub async fn open(root: PathBuf, runtime: Runtime) -> Result<Self, ContentError> {
        let made = root.clone();
        runtime
            .offload(Job::Disk, move || {
                match std::fs::remove_dir_all(made.join(files::TEMP)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                [files::TEMP, files::PARTIAL, files::FILES]
                    .iter()
                    .try_for_each(|name| files::private_dir(&made.join(name)))
            })
            .await
            .map_err(|error| ContentError::io("open the folder of contents", error))?;
        Ok(Self(Arc::new(Inner { root, runtime, held: Mutex::default() })))
    }

    /// Stores bytes held in memory.
    ///
    /// # Errors
    /// If they are over [`MAX_CONTENT`] or the disk fails.
    pub async fn put(&self, bytes: Bytes) -> Result<Pin, ContentError> {
        let mut writer = self.writer(MAX_CONTENT).await?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// Begins a content of at most `max_bytes` whose bytes come bit by bit.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn writer(&self, max_bytes: u64) -> Result<Writer, ContentError> {
        Writer::create(self.clone(), max_bytes.min(MAX_CONTENT)).await
    }

    /// Opens a content for reading, from its first byte.
    ///
    /// # Errors
    /// If it isn't here, or its file is damaged.
    pub async fn reader(&self, id: ContentId) -> Result<Reader, ContentError> {
        Reader::open(self.pin(id)).await
    }

    /// Whether the content is here whole. Its bytes aren't checked until they are read.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn contains(&self, id: ContentId) -> Result<bool, ContentError> {
        let path = self.file(id);
        let found = self.0.runtime.offload(Job::Disk, move || path.try_exists()).await;
        found.map_err(|error| ContentError::io("look for a content", error))
    }

    /// Keeps `id` from being collected until the pin is dropped, whether it is here yet or not.
    pub fn pin(&self, id: ContentId) -> Pin {
        *self.held().pins.entry(id).or_default() += 1;
        Pin(Arc::new(PinInner { content: self.clone(), id }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // nothing that holds the lock can panic half-way through a change
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: ContentId) -> PathBuf {
        self.0.root.join(files::FILES).join(files::name_of(id))
    }

    fn partial(&self, id: ContentId) -> PathBuf {
        self.0.root.join(files::PARTIAL).join(files::name_of(id))
    }

    fn temp(&self) -> PathBuf {
        let count = {
            let mut held = self.held();
            held.temp_count += 1;
            held.temp_count
        };
        self.0.root.join(files::TEMP).join(count.to_string())
    }

    fn root(&self) -> &Path {
        &self.0.root
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("root", &self.0.root).finish_non_exhaustive()
    }
}

/// Holds a content while it lives; see the module's documentation.
#[derive(Clone)]
pub struct Pin(Arc<PinInner>);

struct PinInner {
    content: Content,
    id: ContentId,
}

impl Pin {
    /// The content that is held.
    pub fn id(&self) -> ContentId {
        self.0.id
    }
}

impl Drop for PinInner {
    fn drop(&mut self) {
        let mut held = self.content.held();
        if let Some(count) = held.pins.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                held.pins.remove(&self.id);
            }
        }
    }
}

impl PartialEq for Pin {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Pin {}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({})", self.id())
    }
}

/// Why a content can't be stored, read or moved.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// More bytes than may be taken.
    #[error("it has more than {limit_bytes} bytes, which is the limit")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// It isn't on this machine.
    #[error("content {0} is not here")]
    Missing(ContentId),
    /// Its file was changed behind our back.
    #[error("the file of content {0} is damaged")]
    Damaged(ContentId),
    /// No room on the disk.
    #[error("no room left on the disk of {}", .0.display())]
    DiskFull(PathBuf),
    /// Another failure of the disk.
    #[error("could not {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The peer sent what isn't the content that was asked for, or no valid frame.
    #[error("the peer sent something else than the content asked for: {0}")]
    Wrong(&'static str),
    /// The peer has nothing for us.
    #[error("the peer does not give content {0}: it does not hold it, or not for us")]
    Refused(ContentId),
    /// The peer answers in words of a later version.
    #[error("not understood: the peer answers with {0}")]
    NotUnderstood(Word),
    /// The peer has too much to do.
    #[error("the peer serves too many contents at the moment")]
    Busy,
    /// The peer stopped, or is too slow.
    #[error("the transfer came to a halt: nothing moved for {secs} s")]
    Stalled {
        /// For how long, in seconds.
        secs: u64,
    },
    /// The connection broke.
    #[error("the transfer broke off: {0}")]
    Broken(io::Error),
}

impl ContentError {
    fn io(what: &'static str, source: io::Error) -> Self {
        Self::Io { what, source }
    }
}

impl AtFault for ContentError {
    fn fault(&self) -> Fault {
        match self {
            Self::Missing(_) | Self::TooLarge { .. } => Fault::Ours,
            Self::Wrong(_) | Self::Refused(_) => Fault::Peer,
            Self::NotUnderstood(_) => Fault::Incompatible,
            Self::Busy
            | Self::Stalled { .. }
            | Self::Broken(_)
            | Self::Damaged(_)
            | Self::DiskFull(_)
            | Self::Io { .. } => Fault::Environment,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => Some("hand it over in parts, each within the limit"),
            Self::DiskFull(_) => Some("make room on that disk, or move the home folder to another (--home)"),
            Self::Damaged(_) => Some("the disk may be failing; the file is fetched anew if the peer still holds it"),
            Self::Busy | Self::Stalled { .. } | Self::Broken(_) => {
                Some("it is resumed where it ended when tried again")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
