//! Many real Guilder nodes in one process, in virtual time, from one seed.
//!
//! ```text
//! interpose   the process's clock and entropy: virtual and seeded while a simulation runs
//! bare        what the cryptography of a run costs by itself, beside which its speed is judged
//! fabric      the network: a libp2p transport over one event heap, with latency, loss, bandwidth, partitions, crashes
//! world       hosts, their machines and executors, and the whole nodes on them; the converged start
//! mint        mints in memory with real blind signatures, that fail and lie as they are told
//! chains      what work passes on, and what comes of it
//! cast        who takes part, and what those do who cheat
//! workload    who wants what, when
//! play        plays a scenario: lets all that happen, in order
//! meter       what each host's bytes are for, and how deep its searches go
//! journal     what the nodes say of themselves
//! judge       what must hold, whatever happens
//! trace       every event of every node, hashed: two runs of a seed are equal if their hashes are
//! scenario    what a run is: the TOML files under `scenarios/`
//! results     what came of it, in rows for the report and for a notebook
//! report      those rows, drawn
//! run         one run, from a scenario and a seed to its results
//! ```
//!
//! A simulation owns its process: libp2p counts connections and listeners in process-wide counters, and the clock is the
//! process's. Everything runs on one thread under tokio's paused clock, which jumps from one timer to the next; nothing
//! ever waits in real time.

#![allow(missing_debug_implementations)] // handles of one simulation; what is worth printing is in the trace

pub mod bare;
pub mod cast;
pub mod chains;
pub mod fabric;
pub mod interpose;
pub mod journal;
pub mod judge;
pub mod meter;
pub mod mint;
pub mod play;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod trace;
pub mod workload;
pub mod world;
