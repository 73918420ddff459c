//! `guilder swarm`

use std::fmt;

use super::{Context, wait_for};
use crate::{
    api::types::{OnSale, RoundTrips, SwarmView},
    console::{CliError, Exit, Field, Show, fields, table},
};

/// Print what this node knows of its swarm.
///
/// How many nodes there are is estimated from the distances of their keys in the distributed hash table, with the range in which the number lies
/// in 95 of 100 cases; nodes that keep no records for others aren't counted. Services are those whose adverts this node has heard, since it
/// sells them or has looked for them. Distance and software are those of the connected peers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let swarm: SwarmView = context.client()?.get("/v1/swarm").await?;
        context.printer.show(&swarm)?;
        Ok(Exit::Done)
    })
}

impl Show for SwarmView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let software: Vec<String> = self
            .software
            .iter()
            .map(|software| format!("{} {}", software.peers, software.name.as_deref().unwrap_or("that don't say")))
            .collect();
        fields(
            out,
            &[
                ("nodes", Field::from(self.nodes_in_words())),
                ("connected", self.connected.to_string().into()),
                ("round trip", self.round_trips.iter().map(in_words).collect::<Vec<_>>().into()),
                ("software", software.into()),
            ],
        )?;
        writeln!(out)?;
        let price = |on_sale: &OnSale| match on_sale.lowest == on_sale.highest {
            true => format!("{} {}", on_sale.lowest, on_sale.unit),
            false => format!("{} to {} {}", on_sale.lowest, on_sale.highest, on_sale.unit),
        };
        let row = |on_sale: &OnSale| vec![on_sale.service.to_string(), on_sale.sellers.to_string(), price(on_sale)];
        let rows: Vec<_> = self.services.iter().map(row).collect();
        table(
            out,
            &["SERVICE", ">SELLERS", ">PRICE"],
            &rows,
            "No adverts heard yet: look for a service with guilder find NAME",
        )?;
        match self.more_services {
            0 => Ok(()),
            more => writeln!(out, "… and {more} more"),
        }
    }
}

impl SwarmView {
    fn nodes_in_words(&self) -> String {
        let size = &self.size;
        match size.at_least == size.at_most {
            true => format!("{}, all known", size.estimate),
            false => format!("about {} ({} to {})", size.estimate, size.at_least, size.at_most),
        }
    }
}

fn in_words(row: &RoundTrips) -> String {
    match (row.up_to_ms, row.measured) {
        (Some(ms), _) => format!("{} within {ms} ms", row.peers),
        (None, true) => format!("{} farther", row.peers),
        (None, false) => format!("{} not measured yet", row.peers),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{api::types::Software, network::size::SwarmSize};

    #[test]
    fn a_swarm_is_shown() {
        let swarm = SwarmView {
            size: SwarmSize { estimate: 214, at_least: 138, at_most: 333, known: 71 },
            connected: 3,
            round_trips: vec![
                RoundTrips { up_to_ms: Some(5), peers: 2, measured: true },
                RoundTrips { up_to_ms: None, peers: 1, measured: false },
            ],
            software: vec![Software { name: Some("guilder/0.1.0".into()), peers: 3 }],
            services: vec![OnSale {
                service: "text.count".parse().unwrap(),
                unit: "sat".parse().unwrap(),
                sellers: 2,
                lowest: 3,
                highest: 5,
            }],
            more_services: 0,
        };
        let mut shown = String::new();
        swarm.human(&mut shown).unwrap();
        insta::assert_snapshot!(shown);
    }
}
