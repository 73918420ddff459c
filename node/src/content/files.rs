//! The files of the content folder: written aside, made durable, then given their name.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use guilder_protocol::content::{CHUNK_SIZE, ChunkList, ContentHasher, ContentId};

use super::{Content, ContentError, Pin};
use crate::runtime::Job;

/// Whole contents, by name.
pub(super) const FILES: &str = "files";
/// What is being written by this process.
pub(super) const TEMP: &str = "temp";
/// Verified chunks of contents that are being fetched.
pub(super) const PARTIAL: &str = "partial";

/// A content's file name.
pub(super) fn name_of(id: ContentId) -> String {
    format!("{}.{}", id.hash, id.size)
}

/// The content that a file's name says it holds.
pub(super) fn id_of(name: &str) -> Option<ContentId> {
    name.replacen('.', ":", 1).parse().ok()
}

/// Makes a folder that only its owner can look into.
pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file that only its owner can read, for reading and writing, made if it isn't there.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Appends the chunk list, makes the file durable, and gives it its name in the folder.
pub(super) fn publish(file: &File, list: &ChunkList, from: &Path, to: &Path) -> io::Result<()> {
    file.write_all_at(list.digests(), list.id.size)?;
    file.sync_all()?;
    fs::rename(from, to)?;
    if let Some(folder) = to.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// A content being written. Dropped before [`Writer::finish`], it leaves nothing behind.
pub struct Writer {
    content: Content,
    max_bytes: u64,
    /// `None` while a write is on its way, and for good after one failed or was abandoned.
    open: Option<Open>,
}

struct Open {
    file: File,
    path: Scratch,
    hasher: ContentHasher,
    /// Gathers small writes into chunks.
    buffer: BytesMut,
}

/// A file that is removed when dropped, unless it was renamed away.
pub(super) struct Scratch(pub(super) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may have been renamed, or the folder be gone: either way there is nothing left to do.
        let _ = fs::remove_file(&self.0);
    }
}

impl Open {
    /// Hashes and writes out the buffer.
    fn flush(&mut self) -> io::Result<()> {
        let bytes = self.buffer.split();
        self.hasher.update(&bytes);
        self.file.write_all(&bytes)
    }
}

impl Writer {
    pub(super) async fn create(content: Content, max_bytes: u64) -> Result<Self, ContentError> {
        let path = content.temp();
        let created = content
            .0
            .runtime
            .offload(Job::Disk, move || {
                let path = Scratch(path);
                let file = private_file(&path.0)?;
                Ok(Open { file, path, hasher: ContentHasher::default(), buffer: BytesMut::new() })
            })
            .await;
        let open = created.map_err(|error| content.disk_error("create a file for a content", error))?;
        Ok(Self { content, max_bytes, open: Some(open) })
    }

    /// Takes the next bytes. They reach the disk chunk by chunk.
    ///
    /// # Errors
    /// If they go over the limit or the disk fails; the writer is of no use then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ContentError> {
        let mut open = self.open.take().ok_or_else(abandoned)?;
        let size = open.hasher.size() + (open.buffer.len() + bytes.len()) as u64;
        if size > self.max_bytes {
            return Err(ContentError::TooLarge { limit_bytes: self.max_bytes });
        }
        open.buffer.extend_from_slice(&bytes);
        if open.buffer.len() >= CHUNK_SIZE {
            let flush = move || open.flush().map(|()| open);
            let flushed = self.content.0.runtime.offload(Job::Disk, flush).await;
            open = flushed.map_err(|error| self.content.disk_error("write a content", error))?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Ends the content: when this returns it is durable, and here under its name.
    ///
    /// # Errors
    /// If the disk fails; nothing stays behind then.
    pub async fn finish(self) -> Result<Pin, ContentError> {
        let Self { content, open, .. } = self;
        let mut open = open.ok_or_else(abandoned)?;
        let shared = content.clone();
        let publish = move || {
            open.flush()?;
            let Open { file, path, hasher, .. } = open;
            let list = hasher.finish();
            // pinned before it can be seen, so that it can't be collected in between
            let pin = shared.pin(list.id);
            publish(&file, &list, &path.0, &shared.file(list.id))?;
            Ok(pin)
        };
        let published = content.0.runtime.offload(Job::Disk, publish).await;
        published.map_err(|error| content.disk_error("store a content", error))
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

fn abandoned() -> ContentError {
    ContentError::io("write a content", io::Error::other("an earlier write of it failed or was abandoned"))
}

/// A content being read: chunk by chunk, each checked.
#[derive(Debug)]
pub struct Reader {
    pin: Pin,
    file: Arc<File>,
    list: Arc<ChunkList>,
    next: u64,
}

impl Reader {
    pub(super) async fn open(pin: Pin) -> Result<Self, ContentError> {
        let content = pin.content();
        let (id, path) = (pin.id(), content.file(pin.id()));
        let opened = content.0.runtime.offload(Job::Disk, move || open_checked(id, &path)).await;
        let (file, list) = opened?;
        Ok(Self { pin, file: Arc::new(file), list: Arc::new(list), next: 0 })
    }

    /// What is being read.
    pub fn id(&self) -> ContentId {
        self.pin.id()
    }

    /// The digests of its chunks.
    pub fn list(&self) -> &ChunkList {
        &self.list
    }

    /// Goes to the beginning of chunk `index`.
    pub fn seek(&mut self, index: u64) {
        self.next = index;
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// If the chunk isn't what it was, or the disk fails.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        let index = self.next;
        if index >= self.id().chunks() {
            return Ok(None);
        }
        let (file, list) = (Arc::clone(&self.file), Arc::clone(&self.list));
        let read = move || {
            let mut chunk = vec![0; list.id.chunk_len(index)];
            match file.read_exact_at(&mut chunk, index * CHUNK_SIZE as u64) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ContentError::Damaged(list.id)),
                Err(error) => Err(ContentError::io("read a content", error)),
                Ok(()) => list.verify(index, &chunk).map(|()| chunk).map_err(|_| ContentError::Damaged(list.id)),
            }
        };
        let chunk = self.pin.content().0.runtime.offload(Job::Disk, read).await?;
        self.next = index + 1;
        Ok(Some(chunk.into()))
    }
}

fn open_checked(id: ContentId, path: &Path) -> Result<(File, ChunkList), ContentError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ContentError::Missing(id)),
        opened => opened.map_err(|error| ContentError::io("open a content", error))?,
    };
    let length = file.metadata().map_err(|error| ContentError::io("open a content", error))?.len();
    // an ID that came from elsewhere may claim any size: nothing is allocated by it
    if id.size > guilder_protocol::limits::MAX_CONTENT || length != id.size + id.chunks() * 32 {
        return Err(ContentError::Damaged(id));
    }
    let mut digests = vec![0; (length - id.size) as usize];
    file.read_exact_at(&mut digests, id.size).map_err(|error| ContentError::io("read a content's list", error))?;
    let list = ChunkList::check(id, digests).map_err(|_| ContentError::Damaged(id))?;
    Ok((file, list))
}

impl Pin {
    pub(super) fn content(&self) -> &Content {
        &self.0.content
    }
}

impl Content {
    /// A failed write, a full disk told apart.
    pub(super) fn disk_error(&self, what: &'static str, error: io::Error) -> ContentError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ContentError::DiskFull(self.root().into()),
            _ => ContentError::io(what, error),
        }
    }
}
