//! Regions of the world and the round trips between them.
//!
//! The numbers are the average round trips between the regions of IBM Cloud from 27 July to 25 August 2024, as published in
//! its documentation (`ibm-cloud-docs/vpc`, "Network latency dashboards"), in milliseconds; the two directions, which
//! differ by a few milliseconds, are averaged. Data centres are better connected than people: `topology.last_mile_ms` adds the
//! way to them.

/// The regions, in the order of the matrix.
pub const NAMES: [&str; 10] =
    ["dallas", "toronto", "washington", "frankfurt", "london", "madrid", "osaka", "sydney", "tokyo", "sao-paulo"];

/// Round trips in milliseconds. Within a region: between availability zones of one.
const ROUND_TRIP_MS: [[f64; 10]; 10] = [
    [2.0, 34.0, 31.0, 123.0, 113.0, 120.5, 150.0, 186.0, 143.0, 145.0],
    [34.0, 2.0, 19.0, 93.0, 82.5, 107.0, 168.5, 214.5, 162.0, 128.5],
    [31.0, 19.0, 2.0, 91.0, 75.0, 87.5, 172.0, 214.0, 165.0, 118.5],
    [123.0, 93.0, 91.0, 2.0, 13.0, 29.0, 231.5, 249.5, 233.0, 197.0],
    [113.0, 82.5, 75.0, 13.0, 2.0, 27.0, 243.5, 261.0, 243.5, 187.5],
    [120.5, 107.0, 87.5, 29.0, 27.0, 2.0, 257.0, 275.0, 257.0, 208.5],
    [150.0, 168.5, 172.0, 231.5, 243.5, 257.0, 2.0, 122.0, 9.0, 292.0],
    [186.0, 214.5, 214.0, 249.5, 261.0, 275.0, 122.0, 2.0, 115.0, 328.0],
    [143.0, 162.0, 165.0, 233.0, 243.5, 257.0, 9.0, 115.0, 2.0, 283.5],
    [145.0, 128.5, 118.5, 197.0, 187.5, 208.5, 292.0, 328.0, 283.5, 2.0],
];

/// The place of a region in [`NAMES`].
pub fn index(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// One way's delay between two regions, by their places in [`NAMES`], in microseconds.
///
/// # Panics
/// If there is no such region.
pub fn one_way_us(from: usize, to: usize) -> u64 {
    (ROUND_TRIP_MS[from][to] * 500.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_as_long() {
        for (from, here) in NAMES.iter().enumerate() {
            for (to, there) in NAMES.iter().enumerate() {
                assert_eq!(one_way_us(from, to), one_way_us(to, from), "{here} {there}");
                assert!(one_way_us(from, to) >= 1_000);
            }
        }
        assert_eq!(index("tokyo").zip(index("osaka")).map(|(a, b)| one_way_us(a, b)), Some(4_500));
        assert_eq!(index("atlantis"), None);
    }
}
