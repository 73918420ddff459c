//! What older files need before this program can use them.
//!
//! The table `meta` holds the file's version under `version`: 1 for the first one, one more for each step of [`ALL`].
//! Steps are only ever added. All steps that a file lacks run in one transaction.

use redb::{Database, ReadableDatabase};
use serde::de::IgnoredAny;

use super::{KeyRange, Read, Reader, StoreError, Table, Write, access::Rows};

/// One step: brings a file of the version before to its own.
pub(super) type Migration = fn(&mut Write<'_>) -> Result<(), StoreError>;

/// Every step since version 1, oldest first.
pub(super) const ALL: &[Migration] = &[refuse_first_layout];

/// Tables whose records, or what hangs on them, are laid out otherwise since version 2.
const LAID_OUT_ANEW: [Table<IgnoredAny>; 5] = [
    Table::new("wallet/coins"),
    Table::new("wallet/accounts"),
    Table::new("trade/log"),
    Table::new("trade/tasks"),
    Table::new("trade/deals"),
];

/// Version 2: coins are found by what is held of each keyset and by size, the log says of each row which task it is of. Version 1 was
/// never released: what holds money or trades of it isn't brought over but refused, since it would seem empty.
fn refuse_first_layout(write: &mut Write<'_>) -> Result<(), StoreError> {
    for table in LAID_OUT_ANEW {
        if !write.range(table, KeyRange::all(), 1)?.is_empty() {
            return Err(StoreError::Older);
        }
    }
    Ok(())
}

const META: Table<u64> = Table::new("meta");
const VERSION: &[u8] = b"version";

/// Refuses a file that isn't a store, or is a later version's.
pub(super) fn check(read: &Read) -> Result<(), StoreError> {
    let known = 1 + ALL.len() as u64;
    match read.get(META, VERSION)? {
        Some(found) if found > known => Err(StoreError::Newer { found, known }),
        Some(_) => Ok(()),
        None => Err(StoreError::Damaged { message: "it doesn't say of which version it is".into() }),
    }
}

/// Brings the file up to date: a new one is by definition.
pub(super) fn run(database: &Database, steps: &[Migration]) -> Result<(), StoreError> {
    let known = 1 + steps.len() as u64;
    let found = Read::new(database.begin_read()?, Rows::default()).get(META, VERSION)?;
    let missing = match found {
        Some(found) if found == known => return Ok(()),
        Some(found) => found
            .checked_sub(1)
            .and_then(|done| steps.get(usize::try_from(done).ok()?..))
            .ok_or(StoreError::Newer { found, known })?,
        None => &[],
    };
    let transaction = database.begin_write()?;
    let mut write = Write::new(&transaction, Rows::default());
    for step in missing {
        step(&mut write)?;
    }
    write.put(META, VERSION, &known)?;
    write.keep()?;
    write.finish()?;
    Ok(transaction.commit()?)
}
