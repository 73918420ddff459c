//! A copy of a store as it was after one commit, made while others go on.

use std::{fs, io, path::Path};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, backends::FileBackend};

use super::{Read, StoreError, access::Rows, disk::cached, error::guarded, migrations};

/// Copies every table of a snapshot into a new file at `path`, which its owner alone can read, durable once this returns. Blocks.
///
/// # Errors
/// If there is something at `path`, or the disk fails; then nothing is left there.
pub(crate) fn copy(read: &Read, path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let copied = guarded(|| {
        let database = cached(Database::builder()).create_with_backend(FileBackend::new(file)?)?;
        copy_tables(read, &database)
    });
    copied.inspect_err(|_| drop(fs::remove_file(path)))
}

fn copy_tables(read: &Read, to: &Database) -> Result<(), StoreError> {
    let write = to.begin_write()?;
    for table in read.tables()? {
        let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(&table);
        let (Some(from), mut copy) = (read.open(&table)?, write.open_table(definition)?) else { continue };
        for row in from.iter()? {
            let (key, value) = row?;
            copy.insert(key.value(), value.value())?;
        }
    }
    Ok(write.commit()?)
}

/// Refuses a file that is no store, or one that a later version wrote. Blocks; nothing in it is changed.
///
/// # Errors
/// Why it can't be used.
pub(crate) fn check(path: &Path) -> Result<(), StoreError> {
    if !path.exists() {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    }
    guarded(|| {
        let database = cached(Database::builder()).open(path)?;
        migrations::check(&Read::new(database.begin_read()?, Rows::default()))
    })
}
