//! Boxes that translate addresses: what a host in a home or an office has between itself and the network.
//!
//! ```text
//! host 10.x:4001 ── box ──▶ remote      out   makes a session, or keeps it alive
//!                   box ◀── remote      in    a dial passes if the box's kind says so; what belongs to a session passes
//! ```
//!
//! Each such host has a box of its own, whose outside address is that of [`HostId::ip`](super::HostId::ip). Terms are those of
//! RFC 4787 and RFC 5382: **mapping**, which outside port stands for a port inside, and **filtering**, whom it lets in.
//!
//! | kind | mapping | lets in |
//! |---|---|---|
//! | full cone | the same port for all, the one inside | anybody |
//! | address-restricted | the same | whoever's address was dialled from that port |
//! | port-restricted | the same | whoever's address and port were |
//! | symmetric | another port for each destination | that destination |
//!
//! A session over which nothing has come for the box's time is forgotten without a word: its connection goes silent in both
//! directions, and dials are dropped as if there had never been any. Bounded by the dials within that time.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::HostId;

/// An address and a port.
pub(super) type Endpoint = (Ipv4Addr, u16);

/// How a box maps and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// One outside port for all; lets anybody in.
    FullCone,
    /// One outside port for all; lets in whom an address was dialled of.
    AddressRestricted,
    /// One outside port for all; lets in what was dialled, address and port.
    PortRestricted,
    /// An outside port for each destination, which alone is let in.
    Symmetric,
}

/// One end of a connection, as the box in front of it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) host: HostId,
    pub(super) inside: u16,
    pub(super) remote: Endpoint,
}

/// The box in front of one host.
#[derive(Debug)]
pub(super) struct Nat {
    kind: NatKind,
    mapping_us: u64,
    /// By the port inside and the remote end.
    sessions: BTreeMap<(u16, Endpoint), Session>,
    next_port: u16,
}

#[derive(Debug)]
struct Session {
    outside: u16,
    used_us: u64,
}

/// The first outside port of a symmetric box.
const FIRST_OUTSIDE: u16 = 20_000;

impl Nat {
    pub(super) fn new(kind: NatKind, mapping_us: u64) -> Self {
        Self { kind, mapping_us, sessions: BTreeMap::new(), next_port: FIRST_OUTSIDE }
    }

    /// A dial leaves. Returns the outside port that it seems to come from.
    pub(super) fn leave(&mut self, inside: u16, remote: Endpoint, now_us: u64) -> u16 {
        self.forget(now_us);
        let (kind, next_port) = (self.kind, &mut self.next_port);
        let session = self.sessions.entry((inside, remote)).or_insert_with(|| {
            let outside = if kind == NatKind::Symmetric { *next_port } else { inside };
            *next_port = next_port.checked_add(1).unwrap_or(FIRST_OUTSIDE);
            Session { outside, used_us: now_us }
        });
        session.used_us = now_us;
        session.outside
    }

    /// A dial comes in at an outside port. Returns the port inside, if it is let in.
    pub(super) fn enter(&mut self, outside: u16, source: Endpoint, now_us: u64) -> Option<u16> {
        self.forget(now_us);
        let lets_in = |remote: Endpoint| match self.kind {
            NatKind::FullCone => true,
            NatKind::AddressRestricted => remote.0 == source.0,
            NatKind::PortRestricted | NatKind::Symmetric => remote == source,
        };
        let mut sessions = self.sessions.iter();
        let ((inside, _), _) =
            sessions.find(|((_, remote), session)| session.outside == outside && lets_in(*remote))?;
        let inside = *inside;
        self.sessions.insert((inside, source), Session { outside, used_us: now_us });
        Some(inside)
    }

    /// Something passes that belongs to a session, if there still is one.
    pub(super) fn pass(&mut self, flow: &Flow, now_us: u64) -> bool {
        let time = self.mapping_us;
        let session = self.sessions.get_mut(&(flow.inside, flow.remote));
        let alive = session.filter(|session| now_us - session.used_us < time);
        alive.map(|session| session.used_us = now_us).is_some()
    }

    fn forget(&mut self, now_us: u64) {
        let time = self.mapping_us;
        self.sessions.retain(|_, session| now_us - session.used_us < time);
    }
}
