//! `guilder peers`

use std::fmt;

use serde::Serialize;

use super::{Context, status::duration, wait_for};
use crate::{
    api::types::{Dial, Peer},
    console::{CliError, Exit, Show, table},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder peers
  guilder peers --dial /ip4/192.0.2.7/tcp/4848/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

/// Print the connected peers.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Connect to this address first.
    #[arg(long, value_name = "MULTIADDR")]
    dial: Option<String>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Peers(Vec<Peer>);

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        if let Some(address) = &args.dial {
            let dial = Dial { address: address.clone() };
            let () = context.printer.waiting(format!("dialling {address}"), client.post("/v1/peers", &dial)).await?;
        }
        context.printer.show(&Peers(client.get("/v1/peers").await?))?;
        Ok(Exit::Done)
    })
}

impl Show for Peers {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |peer: &Peer| {
            vec![
                peer.peer_id.clone(),
                peer.round_trip_us.map(|us| format!("{:.1} ms", us as f64 / 1_000.0)).unwrap_or_default(),
                duration(peer.connected_secs),
                peer.software.clone().unwrap_or_default(),
                peer.addresses.first().cloned().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        let header = ["PEER", ">PING", ">SINCE", "SOFTWARE", "ADDRESS"];
        table(out, &header, &rows, "No peers. Set network.bootstrap in config.toml, or use --dial ADDRESS.")
    }
}
