//! Where a trade's time goes, by node: the sums of its spans ([`crate::spans`]), shared out over all trades that were made.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{console::CliError, lab::swarm::lab_error, spans::Sum};

/// By node.
#[derive(Debug, Serialize)]
pub(super) struct Breakdown(BTreeMap<&'static str, Vec<Share>>);

/// What the spans of one kind took of a trade.
#[derive(Debug, Serialize)]
struct Share {
    span: String,
    /// How often a trade.
    times: f64,
    /// How long each.
    each_ms: f64,
    /// How long a trade, in all.
    ms_per_task: f64,
}

/// Where a node's spans go.
pub(super) fn file(dir: &Path, node: &str) -> PathBuf {
    dir.join(node).join("spans.json")
}

impl Breakdown {
    /// Reads what the nodes wrote when they stopped.
    pub(super) fn read(dir: &Path, nodes: &[&'static str], trades: usize) -> Result<Self, CliError> {
        let of_node = |node: &&'static str| {
            let bytes =
                std::fs::read(file(dir, node)).map_err(|cause| CliError::io("can't read a node's spans", &cause))?;
            let sums: Vec<Sum> =
                serde_json::from_slice(&bytes).map_err(|error| lab_error(format!("the spans of {node}: {error}")))?;
            Ok((*node, sums.into_iter().map(|sum| Share::of(sum, trades)).collect()))
        };
        Ok(Self(nodes.iter().map(of_node).collect::<Result<_, CliError>>()?))
    }

    pub(super) fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "\nWhere the time goes, warm-up included; spans may lie in one another, and wait:")?;
        for (node, shares) in &self.0 {
            for Share { span, times, each_ms, ms_per_task } in shares {
                writeln!(out, "  {node:7} {span:15} {ms_per_task:7.3} ms a trade  = {times:6.3} x {each_ms:.3} ms")?;
            }
        }
        Ok(())
    }
}

impl Share {
    fn of(sum: Sum, trades: usize) -> Self {
        let (trades, ms) = (trades.max(1) as f64, sum.nanos as f64 / 1e6);
        let span = serde_json::to_value(sum.span).ok().and_then(|name| Some(name.as_str()?.to_owned()));
        Self {
            span: span.unwrap_or_default(),
            times: sum.count as f64 / trades,
            each_ms: ms / sum.count.max(1) as f64,
            ms_per_task: ms / trades,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn spans_are_shared_out_over_the_trades() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("buyer")).unwrap();
        assert!(Breakdown::read(dir.path(), &["buyer"], 4).is_err());
        std::fs::write(file(dir.path(), "buyer"), r#"[{"span":"store-award","count":2,"nanos":8000000}]"#).unwrap();
        let breakdown = Breakdown::read(dir.path(), &["buyer"], 4).unwrap();
        let mut text = String::new();
        breakdown.write(&mut text).unwrap();
        assert!(text.contains("buyer   store-award       2.000 ms a trade  =  0.500 x 4.000 ms"), "{text}");
    }
}
