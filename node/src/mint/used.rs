//! Whether the books are those of all that the keys have signed.
//!
//! A mint's keys derive from the recovery phrase, its books don't: a home that is made of the phrase alone, or whose books
//! come from an older backup, would take coins that were spent before. So beside the books stands a file that says how much
//! the keys have signed at least. While the books say less, swaps and melts are off, and the reason is told, until the
//! operator accepts the loss (`guilder mint resume --accept-loss`).
//!
//! Where the whole home was put back to an older state, file and books agree, and it isn't noticed, until coins come back that
//! these books never issued.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::{HostedMint, MintError, limits::USED_PAUSE};
use crate::{
    keys::{Existing, write_private},
    runtime::Job,
};

/// Why swaps and melts are off, if they are.
#[derive(Debug, Default)]
pub(super) struct Suspension(Mutex<Option<&'static str>>);

impl Suspension {
    pub(super) fn reason(&self) -> Option<&'static str> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, reason: Option<&'static str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// What is said instead of a swap.
const EMPTY: &str = "this mint's books are empty though its keys were used; its operator has to accept the loss first";
const OLDER: &str =
    "this mint's books are older than what its keys have signed; its operator has to accept the loss first";
const UNREADABLE: &str = "what this mint's keys have signed can't be read from mint.used any more; its operator has to accept the loss first";
const SPENT: &str =
    "this mint has taken back more than its books say it issued; its operator has to accept the loss first";

impl HostedMint {
    /// Compares the books with what `used` says that the keys have signed, and keeps that file true from now on. If `resume`
    /// exists, the operator has accepted the loss: the books hold as they are.
    ///
    /// # Errors
    /// If books or files can't be read or written.
    pub async fn guard(&self, used: &Path, resume: &Path) -> Result<(), MintError> {
        let accepted = tokio::fs::try_exists(resume).await.map_err(MintError::Folder)?;
        let before = match tokio::fs::read(used).await {
            // A number that can't be read may have been any.
            Ok(text) => Some(str::from_utf8(&text).ok().and_then(|text| text.trim().parse::<u64>().ok())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(MintError::Folder(error)),
        };
        let (issued, redeemed) = self.sums().await?;
        let reason = match before {
            _ if accepted => None,
            Some(_) if issued == 0 => Some(EMPTY),
            Some(None) => Some(UNREADABLE),
            Some(Some(before)) if issued < before => Some(OLDER),
            _ if redeemed > issued => Some(SPENT),
            _ => None,
        };
        self.suspension.set(reason);
        match reason {
            Some(reason) => tracing::error!(reason, "swaps and melts are off: `guilder mint resume --accept-loss`"),
            None => {
                self.note(used, issued).await?;
                if accepted {
                    tokio::fs::remove_file(resume).await.map_err(MintError::Folder)?;
                }
            }
        }
        Ok(())
    }

    /// Keeps the file that [`Self::guard`] compares with true, for as long as the node runs.
    pub async fn keep_guard(self, used: std::path::PathBuf) {
        let mut noted = 0;
        loop {
            tokio::time::sleep(USED_PAUSE).await;
            if self.suspension.reason().is_some() {
                continue;
            }
            let written = match self.sums().await {
                Ok((issued, _)) if issued > noted => self.note(&used, issued).await.map(|()| noted = issued),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                tracing::warn!(%error, "what the mint's keys have signed is not noted");
            }
        }
    }

    /// Why this mint does no swaps and melts, if it does none.
    pub fn suspended(&self) -> Option<&'static str> {
        self.suspension.reason()
    }

    async fn sums(&self) -> Result<(u64, u64), MintError> {
        let totals = self.totals().await?;
        let sum = |of: fn(&super::Totals) -> u64| totals.iter().map(of).fold(0, u64::saturating_add);
        Ok((sum(|total| total.issued), sum(|total| total.redeemed)))
    }

    /// Whole or not at all, and durable.
    async fn note(&self, used: &Path, issued: u64) -> Result<(), MintError> {
        let used = used.to_owned();
        let writing = move || write_private(&used, issued.to_string().as_bytes(), Existing::Replace);
        Ok(self.runtime.offload(Job::Disk, writing).await?)
    }
}
