//! The trace of a run: every event of every node, in order, with its virtual time; and the hash of it all.

use std::{
    collections::BTreeMap,
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
    /// Per host, how many peers its latest successful search had asked by then.
    asked: BTreeMap<HostId, u32>,
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
        let inner = Inner {
            start: Instant::now(),
            hash: Sha256::new(),
            events: 0,
            line: String::new(),
            out,
            asked: BTreeMap::new(),
        };
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
        if let Some(asked) = asked(&line) {
            inner.asked.insert(host, asked);
        }
        if let Some(out) = &mut inner.out {
            #[allow(clippy::expect_used)] // see the panic section
            out.write_all(line.as_bytes()).expect("the trace can be written");
        }
        inner.line = line;
    }

    /// How many peers a host's latest successful search for a provider had asked when it succeeded; 0 without one.
    pub fn asked(&self, host: HostId) -> u32 {
        self.lock().asked.get(&host).copied().unwrap_or(0)
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

/// Reads the peers asked out of a Kademlia event that names providers. The event is libp2p's and its text is all that
/// the tap hears of it.
fn asked(line: &str) -> Option<u32> {
    const NAMED: &str = "GetProviders(Ok(FoundProviders";
    let event = line.find("OutboundQueryProgressed").map(|at| &line[at..])?;
    let named = event.contains(NAMED) && !event.contains("providers: {}");
    let count = event.split("QueryStats { requests: ").nth(1).filter(|_| named)?;
    count.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_names_somebody_says_how_many_it_asked() {
        let event = |providers| {
            format!(
                "7 1 Behaviour(BehaviourEvent: OutboundQueryProgressed {{ id: QueryId(3), result: GetProviders(Ok(FoundProviders \
                 {{ key: Key(b\"x\"), providers: {{{providers}}} }})), stats: QueryStats {{ requests: 4, success: 2 }} }})"
            )
        };
        assert_eq!(asked(&event("PeerId(\"12D3\")")), Some(4));
        assert_eq!(asked(&event("")), None);
        assert_eq!(asked("7 1 Dialing { peer_id: None }"), None);
    }
}
