//! How many swarms may run at once: several nodes each, on a machine that may have two cores.

use std::{
    env,
    fs::{File, TryLockError},
    time::Duration,
};

use crate::eventually;

const SLOTS: usize = 2;

/// The right to run a swarm. Others wait until it is dropped, also those of other test programs.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

impl Slot {
    /// Waits for a free slot.
    #[track_caller]
    pub fn take() -> Self {
        eventually("a free slot for a swarm", Duration::from_secs(15 * 60), || {
            (0..SLOTS).find_map(Self::try_take).ok_or("all are taken")
        })
    }

    fn try_take(index: usize) -> Option<Self> {
        // Per user: a file of somebody else's can't be opened.
        let name = format!("guilder-tests-{}-{index}.lock", rustix::process::getuid().as_raw());
        let lock = File::options().create(true).truncate(false).write(true).open(env::temp_dir().join(name)).unwrap();
        match lock.try_lock() {
            Ok(()) => Some(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(cause)) => panic!("can't lock a slot: {cause}"),
        }
    }
}
