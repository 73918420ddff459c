//! Who needs a content beyond the moment, kept in the store; and the removal of what nobody needs.

use std::{fs, io, path::Path};

use guilder_protocol::content::ContentId;

use super::{Content, ContentError, files};
use crate::{
    runtime::Job,
    store::{Key, KeyPart, Reader, Store, StoreError, Table, Write},
};

/// Content and holder → the content.
const REFERENCES: Table<ContentId> = Table::new("content/references");

/// Records that `holder` needs the content, in the transaction that makes it so. Repeating it changes nothing. It also
/// keeps what is fetched of a content that isn't here whole yet.
///
/// # Errors
/// As [`Write::put`].
pub fn refer(write: &mut Write<'_>, id: ContentId, holder: impl KeyPart) -> Result<(), StoreError> {
    write.put(REFERENCES, key_of(id).and(holder), &id)
}

/// Records that `holder` no longer needs it.
///
/// # Errors
/// As [`Write::delete`].
pub fn release(write: &mut Write<'_>, id: ContentId, holder: impl KeyPart) -> Result<(), StoreError> {
    write.delete(REFERENCES, key_of(id).and(holder))
}

fn key_of(id: ContentId) -> Key {
    Key::of(*id.hash.as_bytes()).and(id.size)
}

fn is_referred(read: &impl Reader, id: ContentId) -> Result<bool, StoreError> {
    Ok(!read.range(REFERENCES, key_of(id).range(), 1)?.is_empty())
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Content {
    /// Removes every content, and every part of one, that nobody refers to and nobody pins. `store` is the one that the
    /// references were recorded in. Takes a look-up per file: for housekeeping, not for a hot path.
    ///
    /// # Errors
    /// If the disk or the store fails. What was removed until then stays removed.
    pub async fn collect(&self, store: &Store) -> Result<Collected, CollectError> {
        let mut collected = Collected::default();
        for folder in [files::FILES, files::PARTIAL] {
            let listed = self.root().join(folder);
            let names = self.0.runtime.offload(Job::Disk, move || list(&listed)).await?;
            for id in names.iter().filter_map(|name| files::id_of(name)) {
                let path = self.root().join(folder).join(files::name_of(id));
                let (content, store) = (self.clone(), store.clone());
                let removed =
                    self.0.runtime.offload(Job::Disk, move || content.remove_unused(&store, id, &path)).await?;
                collected.files += u64::from(removed.is_some());
                collected.bytes += removed.unwrap_or(0);
            }
        }
        Ok(collected)
    }

    /// Removes a file if nothing holds its content; says how large it was.
    ///
    /// Whoever lets a pin go has recorded its reference before. So pins are looked at first, and while no new one can
    /// come: what has none then, and no reference in a snapshot taken after that, has no holder.
    fn remove_unused(&self, store: &Store, id: ContentId, path: &Path) -> Result<Option<u64>, CollectError> {
        let held = self.held();
        if held.pins.contains_key(&id) || store.read(|read| is_referred(read, id))? {
            return Ok(None);
        }
        let size = fs::metadata(path)?.len();
        fs::remove_file(path)?;
        drop(held);
        Ok(Some(size))
    }
}

fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Why a collection stopped.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The references can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file can't be removed.
    #[error(transparent)]
    Content(#[from] ContentError),
}

impl From<io::Error> for CollectError {
    fn from(error: io::Error) -> Self {
        Self::Content(ContentError::io("remove a content", error))
    }
}

impl guilder_protocol::fault::AtFault for CollectError {
    fn fault(&self) -> guilder_protocol::fault::Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Content(error) => error.fault(),
        }
    }
}
