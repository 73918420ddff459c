//! End-to-end tests: what an operator would do, with the binary that an operator would have.
//!
//! ```text
//! Home    an empty folder, and the command line run on it       guilder --home DIR … --json
//! Daemon  `guilder up` on a home: ready, killed, restarted      a real process, its log kept
//! Swarm   a mint host, and traders that know its address        loopback, play money, no mDNS
//! Hostile an attacker under a key and from an address of its own
//! Script  a program of other people's libraries                 tests/foreign
//! ```
//!
//! The binary is built once per test program, in the profile that the tests are built in. Nothing here waits for a fixed
//! time: everything that takes a while is asked for until it is so ([`eventually`]), within a bound that a busy machine
//! of two cores keeps. Ports are whatever is free. At most two swarms run at once on a machine ([`Slot`]), so that the
//! tests may run in parallel.
//!
//! Environment: `GUILDER_BIN` names a binary to test instead of building one; `GUILDER_NUTSHELL_VENV` a Python virtual
//! environment with Nutshell in it, and `GUILDER_FOREIGN_NODE` a folder with the JavaScript libraries, where they aren't where
//! `tests/foreign/install` puts them.

// The whole crate is a test: what fails here fails a test, and says where.
#![allow(clippy::unwrap_used, clippy::print_stderr)]
#![forbid(unsafe_code)]

use std::io::Write as _;

pub mod binary;
pub mod daemon;
pub mod foreign;
pub mod home;
pub mod hostile;
pub mod http;
pub mod nutshell;
pub mod slot;
pub mod swarm;
pub mod wait;

pub use self::{
    daemon::Daemon,
    home::{Home, Ran},
    slot::Slot,
    swarm::Swarm,
    wait::{LONG, eventually},
};

/// Says that a test is skipped, past the test harness, which keeps what passing tests print to itself.
pub fn skip(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: no {what}");
}
