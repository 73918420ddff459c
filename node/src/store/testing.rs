//! Disks that fail on demand, for tests and for the simulator.

use std::{
    fmt, io,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend};

use super::Backend;

/// The part of a write that reaches a disk whole, in bytes.
const SECTOR: usize = 512;

/// A disk in memory that forgets, in a crash, what was written since the last sync. Clones share the disk.
#[derive(Clone, Default)]
pub struct CrashBackend(Arc<Mutex<Platter>>);

#[derive(Default)]
struct Platter {
    bytes: Vec<u8>,
    /// What undoes each change since the last sync, oldest first.
    unsynced: Vec<Change>,
    /// Counts crashes: who opened the disk before one finds it gone.
    life: u64,
    /// The handle that holds the lock, by its number.
    locked_by: Option<u64>,
    handles: u64,
    full: bool,
    /// Changes and syncs that still succeed before the power goes.
    fuse: Option<u64>,
    syncs: u64,
    /// Over every change that was made, in order.
    digest: u64,
}

/// What was where something was changed. Applying one yields the one that undoes it.
#[derive(Clone)]
enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Length { len: usize, tail: Vec<u8> },
}

impl CrashBackend {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a store opens to live on this disk.
    pub fn backend(&self) -> Backend {
        let disk = self.clone();
        Backend::new(move || Ok(disk.handle()))
    }

    /// The power goes: everything since the last sync is lost, and every open handle is dead.
    pub fn crash(&self) {
        self.crash_keeping(|| false);
    }

    /// The power goes amid the writing: of what was written since the last sync, each sector for which `keep` says so
    /// has reached the disk, in whatever order.
    pub fn crash_keeping(&self, mut keep: impl FnMut() -> bool) {
        let mut platter = self.lock();
        let mut lost = Vec::new();
        while let Some(change) = platter.unsynced.pop() {
            lost.push(platter.apply(change));
        }
        for change in lost.into_iter().rev() {
            platter.keep_some(change, &mut keep);
        }
        platter.life += 1;
        let life = platter.life;
        platter.note(life, &[]);
        platter.locked_by = None;
        platter.fuse = None;
    }

    /// Another disk with the same on it, as a crash would leave it.
    pub fn copy(&self) -> Self {
        let platter = self.lock();
        let mut copy = Platter { bytes: platter.bytes.clone(), ..Platter::default() };
        for change in platter.unsynced.iter().rev() {
            copy.apply(change.clone());
        }
        Self(Arc::new(Mutex::new(copy)))
    }

    /// The power goes by itself after this many more changes and syncs; what comes later fails until [`Self::crash`].
    pub fn power_off_after(&self, operations: u64) {
        self.lock().fuse = Some(operations);
    }

    /// Whether the disk has no room for any further write.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// A fingerprint of everything that was ever written, in its order, and of crashes: equal on two disks only if they were
    /// used alike.
    pub fn digest(&self) -> u64 {
        self.lock().digest
    }

    /// Whether these bytes stand anywhere on it, as a crash now would leave it.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        self.copy().lock().bytes.windows(bytes.len().max(1)).any(|window| window == bytes)
    }

    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        self.lock().bytes.len()
    }

    fn handle(&self) -> Handle {
        let mut platter = self.lock();
        platter.handles += 1;
        Handle { id: platter.handles, life: platter.life, disk: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CrashBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platter = self.lock();
        f.debug_struct("CrashBackend")
            .field("size", &platter.bytes.len())
            .field("syncs", &platter.syncs)
            .field("life", &platter.life)
            .finish_non_exhaustive()
    }
}

impl Platter {
    fn apply(&mut self, change: Change) -> Change {
        match change {
            Change::Bytes { at, mut bytes } => {
                let len = bytes.len();
                bytes.swap_with_slice(&mut self.bytes[at..][..len]);
                Change::Bytes { at, bytes }
            }
            Change::Length { len, tail } => {
                let old = self.bytes.len();
                let cut = self.bytes.split_off(len.min(old));
                self.bytes.extend_from_slice(&tail);
                self.bytes.resize(len, 0);
                Change::Length { len: old, tail: cut }
            }
        }
    }

    /// Mixes a change into the digest. Not a cryptographic hash: it tells runs apart, not forgeries.
    fn note(&mut self, at: u64, data: &[u8]) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut digest = (self.digest ^ at ^ ((data.len() as u64) << 40)).wrapping_mul(ODD);
        let (words, rest) = data.as_chunks::<8>();
        for word in words {
            digest = (digest.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD);
        }
        for byte in rest {
            digest = (digest.rotate_left(23) ^ u64::from(*byte)).wrapping_mul(ODD);
        }
        self.digest = digest;
    }

    /// Lengths are kept in order, as journalling file systems do; bytes by the sector.
    fn keep_some(&mut self, change: Change, keep: &mut impl FnMut() -> bool) {
        match change {
            Change::Length { .. } => {
                self.apply(change);
            }
            Change::Bytes { mut at, bytes } => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (sector, later) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                    if keep() {
                        self.bytes[at..][..sector.len()].copy_from_slice(sector);
                    }
                    at += sector.len();
                    rest = later;
                }
            }
        }
    }

    /// Lets one change or sync through, unless the power is off.
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// One opening of the disk.
#[derive(Debug)]
struct Handle {
    disk: CrashBackend,
    id: u64,
    life: u64,
}

impl Handle {
    fn platter(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.disk.lock();
        if platter.life == self.life { Ok(platter) } else { Err(io::Error::other("the disk is gone")) }
    }
}

fn place(at: u64, len: usize, size: usize) -> io::Result<usize> {
    usize::try_from(at)
        .ok()
        .filter(|at| at.checked_add(len).is_some_and(|end| end <= size))
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter()?.bytes.len() as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter()?;
        let at = place(at, out.len(), platter.bytes.len())?;
        out.copy_from_slice(&platter.bytes[at..][..out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter()?;
        platter.spend()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        if platter.full && len > platter.bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.note(len as u64, &[]);
        let undo = platter.apply(Change::Length { len, tail: Vec::new() });
        platter.unsynced.push(undo);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter()?;
        platter.spend()?;
        platter.unsynced.clear();
        platter.syncs += 1;
        Ok(())
    }

    fn write(&self, at: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter()?;
        platter.spend()?;
        if platter.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.note(at, data);
        let at = place(at, data.len(), platter.bytes.len())?;
        let undo = platter.apply(Change::Bytes { at, bytes: data.to_vec() });
        platter.unsynced.push(undo);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        let mut platter = self.disk.lock();
        if platter.locked_by == Some(self.id) {
            platter.locked_by = None;
        }
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if (start, end) != (Bound::Unbounded, Bound::Unbounded) {
            return Err(BackendError::Unsupported);
        }
        let mut platter = self.platter().map_err(BackendError::Io)?;
        Ok(*platter.locked_by.get_or_insert(self.id) == self.id)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        self.close().map_err(BackendError::Io)
    }
}
