//! `guilder find SERVICE`

use std::fmt;

use guilder_protocol::market::ServiceName;
use hyper::Method;
use serde::Serialize;

use super::{Context, status::peers_in_words, wait_for};
use crate::{
    api::{
        client::{empty, query},
        types::{Found, Status},
    },
    console::{CliError, Exit, Show, table},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder find text.summarize
  guilder find text.summarize --limit 3 --json";

/// Find out who sells a service.
///
/// Looks a service up in the swarm and prints who sells it, the cheapest first. Adverts are verified: each is signed by
/// its seller. What this node sells itself comes first: hired here, it does that for free.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The service's name, e.g. text.summarize.
    service: ServiceName,
    /// Stop after so many sellers [default: 20].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Sellers {
    found: Vec<Found>,
    #[serde(skip)]
    service: ServiceName,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let path = query(&format!("/v1/find/{}", args.service), &[("limit", args.limit)])?;
        let client = context.client()?;
        let mut lines = client.lines(Method::GET, &path, empty()).await?;
        let mut found: Vec<Found> = Vec::new();
        let looking = format!("looking for sellers of {}", args.service);
        while let Some(seller) = context.printer.waiting(&looking, lines.next()).await? {
            found.push(seller);
        }
        found.sort_by(|a, b| (!a.own, &a.unit, a.price, &a.seller).cmp(&(!b.own, &b.unit, b.price, &b.seller)));
        let exit = if found.is_empty() { Exit::No } else { Exit::Done };
        context.printer.show(&Sellers { found, service: args.service.clone() })?;
        // A program that works on a task may not look, and isn't told.
        if exit == Exit::No
            && let Ok(status) = client.get::<Status>("/v1/status").await
            && status.peers == 0
        {
            peers_in_words(&status).iter().for_each(|line| context.printer.note(format!("peers  {line}")));
        }
        Ok(exit)
    })
}

impl Show for Sellers {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |found: &Found| {
            vec![
                found.seller.clone(),
                if found.own { "free".to_owned() } else { format!("{} {}", found.price, found.unit) },
                found.mints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                match (found.own, found.description.lines().next().unwrap_or_default()) {
                    (true, what) => format!("your own, {} {} to others: {what}", found.price, found.unit),
                    (false, what) => what.to_owned(),
                },
            ]
        };
        let rows: Vec<_> = self.found.iter().map(row).collect();
        let nothing = format!("Nobody sells {} (that this node can find).", self.service);
        table(out, &["SELLER", ">PRICE", "MINTS", "WHAT"], &rows, &nothing)
    }
}
