//! The storage below a store: a file, or a disk of a test or the simulator; and how it is opened anew after a failure.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{File, OpenOptions},
    io,
    ops::{Bound, Range},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

use super::StoreError;
use crate::{failpoint::Failpoint, limits::STORE_ASIDE_BYTES};

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

    /// The same bytes, none of which is changed.
    pub(super) fn open_aside(&self) -> Result<Aside, StoreError> {
        let file = (self.open)()?;
        // What is read then is what a later opening finds, also after a crash.
        file.sync_data()?;
        let len = file.len()?;
        Ok(Aside { file, written: Mutex::new(Written { len, of_file: len, pages: BTreeMap::new() }) })
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

/// A part of the file that is kept in memory once something in it was written, in bytes.
const PAGE: usize = 4096;

/// A file of which nothing is changed: what is written to it stays in memory. redb writes when it opens a file that wasn't closed,
/// so a full disk could not even be read without it.
#[derive(Debug)]
pub(super) struct Aside {
    file: Box<dyn StorageBackend>,
    written: Mutex<Written>,
}

struct Written {
    len: u64,
    /// So much from the beginning is as it is in the file, but for `pages`; what lies behind it was never written.
    of_file: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("len", &self.len).field("pages", &self.pages.len()).finish_non_exhaustive()
    }
}

impl Aside {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is in the file, zeros behind its end.
    fn of_file(&self, number: u64, of_file: u64) -> io::Result<Box<[u8; PAGE]>> {
        let (mut page, at) = (Box::new([0; PAGE]), number * PAGE as u64);
        let there = of_file.saturating_sub(at).min(PAGE as u64) as usize;
        if there > 0 {
            self.file.read(at, &mut page[..there])?;
        }
        Ok(page)
    }

    fn check(written: &Written, offset: u64, len: usize) -> io::Result<()> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= written.len);
        end.map(drop).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// The pages that some bytes lie in: each one's number, which of its bytes, and where they stand among the given ones.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(len - done);
        (count > 0).then(|| {
            let among = done..done + count;
            done += count;
            (at / PAGE as u64, within..within + count, among)
        })
    })
}

impl StorageBackend for Aside {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let written = self.written();
        Self::check(&written, offset, out.len())?;
        for (number, within, among) in pages(offset, out.len()) {
            match written.pages.get(&number) {
                Some(page) => out[among].copy_from_slice(&page[within]),
                None => out[among].copy_from_slice(&self.of_file(number, written.of_file)?[within]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut written = self.written();
        written.len = len;
        written.of_file = written.of_file.min(len);
        written.pages.retain(|number, _| *number < len.div_ceil(PAGE as u64));
        let (last, end) = (len / PAGE as u64, (len % PAGE as u64) as usize);
        if let Some(page) = written.pages.get_mut(&last) {
            page[end..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut written = self.written();
        Self::check(&written, offset, data.len())?;
        for (number, within, among) in pages(offset, data.len()) {
            if !written.pages.contains_key(&number) {
                if written.pages.len() >= STORE_ASIDE_BYTES / PAGE {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                let page = self.of_file(number, written.of_file)?;
                written.pages.insert(number, page);
            }
            if let Some(page) = written.pages.get_mut(&number) {
                page[within].copy_from_slice(&data[among]);
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::testing::CrashBackend;

    #[test]
    fn what_is_written_aside_is_read_and_changes_nothing() {
        let disk = CrashBackend::new();
        let file = disk.backend().open().unwrap();
        file.set_len(6_000).unwrap();
        file.write(0, &[1; 6_000]).unwrap();
        let aside = disk.backend().open_aside().unwrap();
        aside.write(4_090, &[2; 10]).unwrap();
        aside.set_len(9_000).unwrap();
        aside.write(8_990, &[3; 10]).unwrap();
        let mut seen = vec![9; 9_000];
        aside.read(0, &mut seen).unwrap();
        let expected = [vec![1; 4_090], vec![2; 10], vec![1; 1_900], vec![0; 2_990], vec![3; 10]].concat();
        assert!(seen == expected);
        // What is cut off and made anew was never written.
        aside.set_len(4_095).unwrap();
        aside.set_len(6_000).unwrap();
        let mut seen = vec![9; 6_000];
        aside.read(0, &mut seen).unwrap();
        assert!(seen == [vec![1; 4_090], vec![2; 5], vec![0; 1_905]].concat());
        assert!(aside.read(5_999, &mut [0; 2]).is_err() && aside.write(5_999, &[0; 2]).is_err());
        let mut kept = vec![9; 6_000];
        file.read(0, &mut kept).unwrap();
        assert!(kept == vec![1; 6_000]);
    }

    #[test]
    fn what_is_written_aside_is_bounded() {
        let aside = CrashBackend::new().backend().open_aside().unwrap();
        aside.set_len(u64::MAX / 2).unwrap();
        let full = (0_u64..).find(|page| aside.write(page * PAGE as u64, &[1]).is_err());
        assert_eq!(full, Some((STORE_ASIDE_BYTES / PAGE) as u64));
    }
}
