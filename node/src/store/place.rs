//! Where a store lies that is now and then written anew, so that nothing is left of what was taken out of it.
//!
//! redb leaves what was deleted in free pages of its file. So what must be gone is deleted, all that stays is written to a fresh file
//! beside it ([`Store::copy_to`]), and that takes the old one's place in one step ([`Place::replace`]).

use std::{
    fmt, fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{Backend, KeyRange, Reader as _, Store, StoreError, testing::CrashBackend};
use crate::{
    limits::STORE_COPY_BYTES,
    runtime::{Job, Runtime},
    sync::lock,
};

/// A place for a store's file and the one that is to come after it. Cheap to clone.
#[derive(Clone)]
pub struct Place(Kind);

#[derive(Clone)]
enum Kind {
    File(PathBuf),
    Disks(Arc<Mutex<Disks>>),
}

/// Disks in memory in place of files.
#[derive(Default)]
struct Disks {
    now: CrashBackend,
    fresh: CrashBackend,
    /// For tests: after how many operations the power of fresh ones goes.
    fresh_fuse: Option<u64>,
}

impl Place {
    /// The file at `path`; the fresh one is made beside it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    /// Disks in memory, for tests and for the simulator.
    pub fn disks() -> Self {
        Self(Kind::Disks(Arc::default()))
    }

    /// Whether there is a store yet. A place of disks always has one, which may be empty.
    pub async fn exists(&self, runtime: &Runtime) -> bool {
        match &self.0 {
            Kind::File(path) => {
                let path = path.clone();
                runtime.offload(Job::Disk, move || path.exists()).await
            }
            Kind::Disks(disks) => lock(disks).now.size() > 0,
        }
    }

    /// The store that is there.
    pub fn now(&self) -> Backend {
        match &self.0 {
            Kind::File(path) => Backend::file(path),
            Kind::Disks(disks) => lock(disks).now.backend(),
        }
    }

    /// An empty place beside it. What an earlier attempt left there is gone.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn fresh(&self, runtime: &Runtime) -> Result<Backend, StoreError> {
        match &self.0 {
            Kind::File(path) => {
                let fresh = beside(path);
                let removed = fresh.clone();
                runtime.offload(Job::Disk, move || remove(&removed)).await?;
                Ok(Backend::file(&fresh))
            }
            Kind::Disks(disks) => {
                let mut disks = lock(disks);
                disks.fresh = CrashBackend::new();
                if let Some(operations) = disks.fresh_fuse {
                    disks.fresh.power_off_after(operations);
                }
                Ok(disks.fresh.backend())
            }
        }
    }

    /// Takes the fresh store away, which must be closed: its room on the disk is free again.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn discard(&self, runtime: &Runtime) -> Result<(), StoreError> {
        match &self.0 {
            Kind::File(path) => {
                let fresh = beside(path);
                Ok(runtime.offload(Job::Disk, move || remove(&fresh)).await?)
            }
            Kind::Disks(disks) => {
                lock(disks).fresh = CrashBackend::new();
                Ok(())
            }
        }
    }

    /// Puts the fresh store, which must be closed, in the place of the one that is there. Durable once this returns.
    ///
    /// # Errors
    /// If the disk fails; then the old one is there still, or will be after a power cut.
    pub async fn replace(&self, runtime: &Runtime) -> Result<(), StoreError> {
        match &self.0 {
            Kind::File(path) => {
                let path = path.clone();
                let put = move || {
                    fs::rename(beside(&path), &path)?;
                    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
                };
                Ok(runtime.offload(Job::Disk, put).await?)
            }
            Kind::Disks(disks) => {
                let mut disks = lock(disks);
                disks.now = std::mem::take(&mut disks.fresh);
                // What was to fail while it was written works from now on.
                if disks.fresh_fuse.is_some() {
                    disks.now.crash();
                }
                Ok(())
            }
        }
    }

    /// The disk that is there now, of a place of disks.
    #[cfg(test)]
    pub(crate) fn disk(&self) -> CrashBackend {
        match &self.0 {
            Kind::File(_) => CrashBackend::new(),
            Kind::Disks(disks) => lock(disks).now.clone(),
        }
    }

    /// The disk of the store that is being written.
    #[cfg(test)]
    pub(crate) fn fresh_disk(&self) -> CrashBackend {
        match &self.0 {
            Kind::File(_) => CrashBackend::new(),
            Kind::Disks(disks) => lock(disks).fresh.clone(),
        }
    }

    /// Has every fresh disk fail after so many operations, or none.
    #[cfg(test)]
    pub(crate) fn fail_fresh_after(&self, operations: Option<u64>) {
        if let Kind::Disks(disks) = &self.0 {
            lock(disks).fresh_fuse = operations;
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => write!(f, "Place({})", path.display()),
            Kind::Disks(_) => f.write_str("Place(disks)"),
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Store {
    /// Writes all that is in these tables into another store, in transactions of [`STORE_COPY_BYTES`] each. Nobody may write to them
    /// meanwhile.
    ///
    /// # Errors
    /// If either disk fails; the other store has a part of it then.
    pub async fn copy_to(&self, other: &Self, tables: &[&'static str], runtime: &Runtime) -> Result<(), StoreError> {
        for &table in tables {
            let mut rest = Some(KeyRange::all());
            while let Some(range) = rest.take() {
                let (store, wanted) = (self.clone(), range.clone());
                let page = runtime.offload(Job::Disk, move || store.read(|r| page(r, table, &wanted))).await?;
                let Some((last, _)) = page.last() else { break };
                rest = Some(range.after(last));
                other
                    .write(move |w| {
                        page.into_iter().for_each(|(key, value)| w.put_bytes(table, key, value));
                        Ok(())
                    })
                    .await?;
            }
        }
        Ok(())
    }
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn page(r: &super::Read, table: &'static str, range: &KeyRange) -> Result<Rows, StoreError> {
    let (mut rows, mut bytes) = (Rows::new(), 0);
    r.scan(table, range, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        bytes += key.len() + value.len();
        Ok(if bytes < STORE_COPY_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(rows)
}
