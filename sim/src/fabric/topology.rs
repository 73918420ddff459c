//! How far hosts are from each other, and what happens on the way.

use std::f64::consts::SQRT_2;

/// A square world: delay grows with distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Topology {
    /// One-way delay between hosts at the same place, in microseconds.
    pub nearest_us: u64,
    /// What the whole diagonal adds, in microseconds.
    pub span_us: u64,
    /// At most so much is added to each segment, in microseconds.
    pub jitter_us: u64,
    /// How likely a segment is lost, 0 to 1.
    pub loss: f64,
    /// Uplink of each host, in bits a second; 0 for no limit.
    pub uplink_bps: u64,
}

impl Default for Topology {
    /// The open Internet: 5 to 125 ms one way, 3 ms jitter, no loss, uplinks that never fill.
    fn default() -> Self {
        Self { nearest_us: 5_000, span_us: 120_000, jitter_us: 3_000, loss: 0.0, uplink_bps: 0 }
    }
}

impl Topology {
    /// One way's delay between two places in the unit square.
    pub(super) fn base_us(&self, from: (f64, f64), to: (f64, f64)) -> u64 {
        let distance = (from.0 - to.0).hypot(from.1 - to.1) / SQRT_2;
        self.nearest_us + (self.span_us as f64 * distance) as u64
    }
}
