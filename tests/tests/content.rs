//! The largest input and output that a trade can have, through nodes that never hold them in memory.

#![allow(clippy::unwrap_used)]

use std::{ffi::OsStr, fs, path::Path};

use guilder_tests::{
    Daemon, LONG, Swarm,
    swarm::{self, Books},
};

const LARGEST: usize = 64 * 1024 * 1024;
/// Far less than one copy of it, and room for a debug build's own 60 MiB.
const PEAK_MIB: u64 = 110;

const LARGE: &str = "time_limit_secs = 600\nmax_input_bytes = 67108864\nmax_output_bytes = 67108864\n[run.process]\ncommand = [\"cat\"]";

/// Bytes that don't repeat where chunks do.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn hire(buyer: &Daemon, input: &Path, output: &Path) -> guilder_tests::Ran {
    let words = ["--json", "hire", "text.large", "--deadline", "10m", "--input"].map(OsStr::new);
    let mut command = buyer.command();
    command.args(words).args([input.as_os_str(), "--output".as_ref(), output.as_os_str()]);
    guilder_tests::Ran::of_within(command, b"", 5 * LONG)
}

#[test]
fn sixty_four_mebibytes_go_in_and_out_in_bounded_memory() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "wallet.redemption.interval_secs = 1\n");
    let buyer = swarm.buyer(100, "");
    swarm::sell(&seller, "text.large", 5, LARGE);
    swarm::meet(&buyer, "text.large");
    let bytes = noise(LARGEST);
    let (input, output) = (buyer.write("input", &bytes), buyer.file("output"));
    hire(&buyer, &input, &output).ok();
    assert!(fs::read(&output).unwrap() == bytes, "another output");

    // One byte more is refused before anything is paid.
    let input = buyer.write("larger", [&bytes[..], b"!"].concat());
    let failed = hire(&buyer, &input, &output).failed().says("ours", &["67108864"]);
    assert_eq!(failed.exit, 2, "{failed:?}");
    let books = Books::settled(&[&buyer, &seller], LONG);
    assert_eq!(books.add_up().money("seller").total(), 5, "{books}");

    #[cfg(target_os = "linux")]
    for daemon in [&buyer, &seller] {
        let peak = daemon.peak_mib();
        assert!(peak <= PEAK_MIB, "{} held {peak} MiB\n{}", daemon.name(), daemon.log_tail());
    }
}
