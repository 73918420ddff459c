//! The storage below a store: a file, or a disk of a test or the simulator; and how it is opened anew after a failure.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    ops::Bound,
    path::Path,
    sync::Arc,
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

use super::StoreError;
use crate::failpoint::Failpoint;

/// Where a store keeps its bytes: opened once at the start, and anew after a failure.
#[derive(Clone)]
pub struct Backend {
    open: Arc<dyn Fn() -> Result<Box<dyn StorageBackend>, StoreError> + Send + Sync>,
    pub(super) failpoint: Failpoint,
}

impl Backend {
    /// The file at `path`, made if it isn't there, readable by its owner alone.
    pub fn file(path: &Path) -> Self {
        let path = path.to_owned();
        Self::new(move || {
            let file = open_private(&path)?;
            Ok(FileBackend::new(file)?)
        })
    }

    /// Whatever `open` returns; each call must lead to the same bytes.
    pub fn new<B: StorageBackend>(open: impl Fn() -> Result<B, StoreError> + Send + Sync + 'static) -> Self {
        Self { open: Arc::new(move || Ok(Box::new(open()?))), failpoint: Failpoint::default() }
    }

    /// The same with a failpoint at each write and each commit.
    #[must_use]
    pub fn failing(self, failpoint: Failpoint) -> Self {
        Self { failpoint, ..self }
    }

    pub(super) fn open(&self) -> Result<Opened, StoreError> {
        Ok(Opened { file: (self.open)()?, failpoint: self.failpoint.clone() })
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

/// Opens or makes a file of mode 0600. A new file's entry in its folder is made durable too.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.create(true).open(path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

/// An open backend of whatever kind.
#[derive(Debug)]
pub(super) struct Opened {
    file: Box<dyn StorageBackend>,
    failpoint: Failpoint,
}

impl StorageBackend for Opened {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.failpoint.write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.failpoint.write()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
