//! How far hosts are from each other, and what happens on the way.

use std::f64::consts::SQRT_2;

/// A world: regions with a table of delays between them or, without that, a square in which delay grows with distance.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// One-way delay between hosts at the same place, in microseconds; with regions, of both last miles together.
    pub nearest_us: u64,
    /// What the whole diagonal of the square adds, in microseconds.
    pub span_us: u64,
    /// At most so much is added to each segment, in microseconds.
    pub jitter_us: u64,
    /// How likely a segment is lost, 0 to 1.
    pub loss: f64,
    /// Uplink of each host, in bits a second; 0 for no limit.
    pub uplink_bps: u64,
    /// One-way delays between regions, in microseconds: from, to. Empty: the world is a square.
    pub regions_us: Vec<Vec<u64>>,
}

impl Default for Topology {
    /// The open Internet: 5 to 125 ms one way, 3 ms jitter, no loss, uplinks that never fill.
    fn default() -> Self {
        Self { nearest_us: 5_000, span_us: 120_000, jitter_us: 3_000, loss: 0.0, uplink_bps: 0, regions_us: Vec::new() }
    }
}

/// Where a host stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// In the unit square.
    pub x: f64,
    /// In the unit square.
    pub y: f64,
    /// Its region, if the world has regions.
    pub region: usize,
}

impl Topology {
    /// One way's delay between two places.
    pub(super) fn base_us(&self, from: Place, to: Place) -> u64 {
        let regions = self.regions_us.get(from.region).and_then(|row| row.get(to.region));
        let far = regions.copied().unwrap_or_else(|| {
            let distance = (from.x - to.x).hypot(from.y - to.y) / SQRT_2;
            (self.span_us as f64 * distance) as u64
        });
        self.nearest_us + far
    }
}
