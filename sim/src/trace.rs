//! The trace of a run: every event of every node, in order, with its virtual time; and the hash of it all.

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::fabric::HostId;

/// Where the events of one simulation go. Cheap to clone.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    start: Instant,
    hash: Sha256,
    events: u64,
    line: String,
    out: Option<Box<dyn io::Write + Send>>,
}

impl Trace {
    /// An empty trace; its clock starts now. With a path, every line is written there too.
    ///
    /// # Errors
    /// If the file can't be created.
    pub fn new(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(File::create).transpose()?;
        Ok(Self::to(file.map(|file| Box::new(BufWriter::new(file)) as Box<dyn io::Write + Send>)))
    }

    /// An empty trace whose lines are written to `out` too, each in one call.
    pub fn to(out: Option<Box<dyn io::Write + Send>>) -> Self {
        let inner = Inner { start: Instant::now(), hash: Sha256::new(), events: 0, line: String::new(), out };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Records an event of a host.
    ///
    /// # Panics
    /// If the trace can't be written: a trace with holes proves nothing.
    pub fn record(&self, host: HostId, event: &dyn fmt::Debug) {
        let mut inner = self.lock();
        let at = inner.start.elapsed().as_micros();
        let mut line = std::mem::take(&mut inner.line);
        line.clear();
        let formatted = writeln!(line, "{at} {} {event:?}", host.0);
        debug_assert!(formatted.is_ok(), "writing to a string fails only if Debug does");
        inner.hash.update(&line);
        inner.events += 1;
        if let Some(out) = &mut inner.out {
            #[allow(clippy::expect_used)] // see the panic section
            out.write_all(line.as_bytes()).expect("the trace can be written");
        }
        inner.line = line;
    }

    /// How many events there were, and the hash of their lines.
    ///
    /// # Errors
    /// If the rest of the trace can't be written.
    pub fn finish(&self) -> io::Result<(u64, String)> {
        let mut inner = self.lock();
        if let Some(out) = &mut inner.out {
            out.flush()?;
        }
        let digest = inner.hash.clone().finalize();
        Ok((inner.events, digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
