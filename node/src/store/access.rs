//! What a job sees: a snapshot to read, or a transaction to change.

use std::{
    cell::{OnceCell, RefCell},
    cmp::Ordering,
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    iter::Peekable,
    ops::ControlFlow,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, TableHandle as _, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};

use super::{KeyRange, StoreError, Table, error::guarded};

type Bytes = &'static [u8];
/// Shared, so that a visitor of one table may read another, or the same, as it goes.
type OpenTable<'t> = Rc<RefCell<redb::Table<'t, Bytes, Bytes>>>;
/// One job's changes to one table: a value, or `None` where the key is to go.
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
/// Told each key and value of a scan, until it breaks.
type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'v;

/// What can be read from, be it a [`Read`] or a [`Write`]: helpers take an `&impl Reader`.
pub trait Reader {
    /// The bytes under a key.
    #[doc(hidden)]
    fn bytes(&self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The keys and bytes of a range.
    #[doc(hidden)]
    fn scan(&self, table: &'static str, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// The value under a key.
    ///
    /// # Errors
    /// If the disk fails or the record can't be decoded.
    fn get<V: DeserializeOwned>(&self, table: Table<V>, key: impl AsRef<[u8]>) -> Result<Option<V>, StoreError> {
        self.bytes(table.name(), key.as_ref())?.map(|bytes| table.decode(&bytes)).transpose()
    }

    /// Whether there is a value under a key.
    ///
    /// # Errors
    /// If the disk fails.
    fn contains<V>(&self, table: Table<V>, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        Ok(self.bytes(table.name(), key.as_ref())?.is_some())
    }

    /// The keys and values of a range in its order, no more than `limit`. The next page begins with
    /// `range.after(last_key)`.
    ///
    /// # Errors
    /// If the disk fails or a record can't be decoded.
    fn range<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        range: KeyRange,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, V)>, StoreError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.visit(table, range, |key, value| {
            found.push((key.to_vec(), value));
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(found)
    }

    /// Shows `visit` each key and value of a range in its order, until it breaks. Holds one record at a time.
    ///
    /// # Errors
    /// If the disk fails or a record can't be decoded.
    fn visit<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        range: KeyRange,
        mut visit: impl FnMut(&[u8], V) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.scan(table.name(), &range, &mut |key, bytes| Ok(visit(key, table.decode(bytes)?)))
    }
}

/// A snapshot of the last commit.
pub struct Read {
    transaction: ReadTransaction,
    rows: Rows,
}

impl Read {
    pub(super) fn new(transaction: ReadTransaction, rows: Rows) -> Self {
        Self { transaction, rows }
    }

    /// The names of all tables.
    pub(super) fn tables(&self) -> Result<Vec<String>, StoreError> {
        guarded(|| Ok(self.transaction.list_tables()?.map(|table| table.name().to_owned()).collect()))
    }

    /// A table that nothing was ever written to doesn't exist.
    pub(super) fn open(&self, table: &str) -> Result<Option<redb::ReadOnlyTable<Bytes, Bytes>>, StoreError> {
        match self.transaction.open_table(TableDefinition::new(table)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Reader for Read {
    fn bytes(&self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.count(1);
        guarded(|| {
            let Some(table) = self.open(table)? else { return Ok(None) };
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, table: &'static str, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        match guarded(|| self.open(table))? {
            Some(table) => merge(&table, range, &Changes::new(), &mut self.rows.counting(visit)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").finish_non_exhaustive()
    }
}

/// A transaction in the making. A job's own changes are held back until it is over, then kept or forgotten whole.
pub struct Write<'t> {
    transaction: &'t WriteTransaction,
    tables: RefCell<BTreeMap<&'static str, OpenTable<'t>>>,
    held: BTreeMap<&'static str, Changes>,
    changed: bool,
    witness: Option<Witness>,
    /// The first failure of the disk under a job, whatever the job made of it.
    failed: OnceCell<StoreError>,
    rows: Rows,
}

/// How many records were read, in all snapshots and transactions of a store: what a question costs, whatever the machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows(Arc<AtomicU64>);

impl Rows {
    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn count(&self, rows: u64) {
        self.0.fetch_add(rows, Relaxed);
    }

    /// `visit`, counted.
    fn counting<'v>(
        &'v self,
        visit: &'v mut Visit<'_>,
    ) -> impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'v {
        move |key, value| {
            self.count(1);
            visit(key, value)
        }
    }
}

/// A key that the transaction changes: after a commit that failed, it tells whether the commit came to be.
#[derive(Debug)]
pub(super) struct Witness {
    table: &'static str,
    key: Vec<u8>,
    before: Option<Vec<u8>>,
}

impl Witness {
    /// Whether the snapshot shows the state from before the transaction.
    pub(super) fn is_unchanged(&self, read: &Read) -> Result<bool, StoreError> {
        Ok(read.bytes(self.table, &self.key)? == self.before)
    }
}

/// What the jobs of a transaction have made of it.
pub(super) enum Made {
    /// There is nothing to commit.
    Nothing,
    /// There is; with a witness, unless a later job undid what an earlier one did.
    Changes(Option<Witness>),
}

impl<'t> Write<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction, rows: Rows) -> Self {
        let (tables, held) = (RefCell::default(), BTreeMap::new());
        Self { transaction, tables, held, changed: false, witness: None, failed: OnceCell::new(), rows }
    }

    /// Writes a value under a key, over what was there.
    ///
    /// # Errors
    /// If the value has no DAG-CBOR form (a float that is no number, say).
    pub fn put<V: Serialize>(&mut self, table: Table<V>, key: impl AsRef<[u8]>, value: &V) -> Result<(), StoreError> {
        let bytes = table.encode(value)?;
        self.held.entry(table.name()).or_default().insert(key.as_ref().to_vec(), Some(bytes));
        Ok(())
    }

    /// Takes away what is under a key, if there is anything.
    ///
    /// # Errors
    /// None as yet; it reads as [`Write::put`] does.
    pub fn delete<V>(&mut self, table: Table<V>, key: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.held.entry(table.name()).or_default().insert(key.as_ref().to_vec(), None);
        Ok(())
    }

    /// Writes bytes as they are in another store.
    pub(super) fn put_bytes(&mut self, table: &'static str, key: Vec<u8>, value: Vec<u8>) {
        self.held.entry(table).or_default().insert(key, Some(value));
    }

    /// Writes the changes of the job that is over into the transaction.
    pub(super) fn keep(&mut self) -> Result<(), StoreError> {
        for (table, changes) in std::mem::take(&mut self.held) {
            for (key, value) in changes {
                self.apply(table, key, value)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, table: &'static str, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let before = self.with_table(table, |open| {
            guarded(|| {
                let mut open = open.borrow_mut();
                let old = match &value {
                    Some(value) => open.insert(key.as_slice(), value.as_slice())?,
                    None => open.remove(key.as_slice())?,
                };
                Ok(old.map(|old| old.value().to_vec()))
            })
        })?;
        if before != value {
            self.changed = true;
            self.witness.get_or_insert(Witness { table, key, before });
        }
        Ok(())
    }

    /// Forgets the changes of the job that is over.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    pub(super) fn finish(mut self) -> Result<Made, StoreError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        if !self.changed {
            return Ok(Made::Nothing);
        }
        let Some(witness) = self.witness.take() else { return Ok(Made::Changes(None)) };
        let undone = self.bytes(witness.table, &witness.key)? == witness.before;
        Ok(Made::Changes((!undone).then_some(witness)))
    }

    /// Does something with a table, and remembers if the disk failed at it, whatever the job makes of that.
    fn with_table<R>(
        &self,
        name: &'static str,
        job: impl FnOnce(OpenTable<'t>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let done = guarded(|| self.open(name)).and_then(job);
        if let Err(error) = &done
            && error.is_disk()
        {
            self.failed.get_or_init(|| error.clone());
        }
        done
    }

    fn open(&self, name: &'static str) -> Result<OpenTable<'t>, StoreError> {
        match self.tables.borrow_mut().entry(name) {
            Entry::Occupied(open) => Ok(open.get().clone()),
            Entry::Vacant(closed) => {
                let table = self.transaction.open_table(TableDefinition::new(name))?;
                Ok(closed.insert(Rc::new(RefCell::new(table))).clone())
            }
        }
    }
}

impl Reader for Write<'_> {
    fn bytes(&self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(held) = self.held.get(table).and_then(|changes| changes.get(key)) {
            return Ok(held.clone());
        }
        self.rows.count(1);
        self.with_table(table, |open| guarded(|| Ok(open.borrow().get(key)?.map(|value| value.value().to_vec()))))
    }

    fn scan(&self, table: &'static str, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let none = Changes::new();
        let held = self.held.get(table).unwrap_or(&none);
        let mut visit = self.rows.counting(visit);
        self.with_table(table, |open| merge(&*open.borrow(), range, held, &mut visit))
    }
}

impl fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").finish_non_exhaustive()
    }
}

/// Visits a range of a table as it would be after `held`.
fn merge(
    table: &impl ReadableTable<Bytes, Bytes>,
    range: &KeyRange,
    held: &Changes,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let Some(bounds) = range.bounds() else { return Ok(()) };
    let stored = guarded(|| Ok(table.range::<&[u8]>(bounds)?))?;
    let held = held.range::<[u8], _>(bounds);
    if range.is_backwards() {
        zip(stored.rev(), held.rev(), Ordering::reverse, visit)
    } else {
        zip(stored, held, |order| order, visit)
    }
}

type Stored<'a> = Result<(redb::AccessGuard<'a, Bytes>, redb::AccessGuard<'a, Bytes>), redb::StorageError>;

/// Walks two sorted rows at once. Where both have a key, the held one counts.
fn zip<'a>(
    mut stored: impl Iterator<Item = Stored<'a>>,
    held: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
    direction: fn(Ordering) -> Ordering,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let mut held: Peekable<_> = held.peekable();
    while let Some((key, value)) = guarded(|| Ok(stored.next().transpose()?))? {
        let key = key.value();
        let mut covered = false;
        while let Some((held_key, held_value)) =
            held.next_if(|(held_key, _)| direction(held_key.as_slice().cmp(key)).is_le())
        {
            covered |= held_key.as_slice() == key;
            if let Some(value) = held_value
                && visit(held_key, value)?.is_break()
            {
                return Ok(());
            }
        }
        if !covered && visit(key, value.value())?.is_break() {
            return Ok(());
        }
    }
    for (key, value) in held {
        if let Some(value) = value
            && visit(key, value)?.is_break()
        {
            return Ok(());
        }
    }
    Ok(())
}
