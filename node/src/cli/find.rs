//! `guilder find SERVICE`

use std::fmt;

use guilder_protocol::{
    market::{MintUrl, Unit},
    settlement::Mode,
};
use hyper::Method;
use serde::Serialize;

use super::{
    Context,
    status::{duration, peers_in_words},
    wait_for,
};
use crate::{
    api::{
        client::{empty, query},
        types::{FindTerms, Found, Status},
    },
    catalogue::query::Pattern,
    console::{CliError, Exit, Show, table},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder find text.summarize
  guilder find 'text.*' --max-price 5 --mode escrow --words 'german letters'
  guilder find text.summarize --mint https://mint.example --reachable
  guilder find text.summarize --limit 3 --json";

/// Find out who sells a service.
///
/// Tells those whose adverts are known at once, then looks them up in the swarm, and prints who sells it, the cheapest first. Adverts are
/// verified: each is signed by its seller; AGE is how long ago. What this node sells itself comes first: hired here, it does that for
/// free.
///
/// In a pattern `*` stands for any characters, dots too. It is matched against the services that this node has heard of, since it sells
/// them or has looked for them; the eight of them with most sellers are then looked up.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The service's name, e.g. text.summarize, or a pattern, e.g. 'text.*'.
    service: Pattern,
    /// At most this list price, in whatever unit it is.
    #[arg(long, value_name = "PRICE")]
    max_price: Option<u64>,
    /// Priced in this unit.
    #[arg(long, value_name = "UNIT")]
    unit: Option<Unit>,
    /// Paid at this mint.
    #[arg(long, value_name = "URL")]
    mint: Option<MintUrl>,
    /// Paid this way: escrow or prepaid.
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// Each of these words stands in the service's name or description.
    #[arg(long, value_name = "WORDS")]
    words: Option<String>,
    /// Only who is connected, or answers now.
    #[arg(long)]
    reachable: bool,
    /// Stop after so many sellers [default: 20].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Sellers {
    found: Vec<Found>,
    #[serde(skip)]
    service: Pattern,
    /// Whether more than a name was asked for.
    #[serde(skip)]
    narrowed: bool,
}

impl Args {
    fn terms(&self) -> FindTerms {
        FindTerms {
            limit: self.limit.map(|limit| limit as usize),
            max_price: self.max_price,
            unit: self.unit.clone(),
            mint: self.mint.clone(),
            mode: self.mode.clone(),
            words: self.words.clone(),
            reachable: self.reachable,
        }
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let terms = args.terms();
        let path = query(&format!("/v1/find/{}", args.service), &terms)?;
        let client = context.client()?;
        let mut lines = client.lines(Method::GET, &path, empty()).await?;
        let mut found: Vec<Found> = Vec::new();
        let looking = format!("looking for sellers of {}", args.service);
        while let Some(seller) = context.printer.waiting(&looking, lines.next()).await? {
            found.push(seller);
        }
        found.sort_by(|a, b| {
            (!a.own, &a.service, &a.unit, a.price, &a.seller).cmp(&(!b.own, &b.service, &b.unit, b.price, &b.seller))
        });
        let exit = if found.is_empty() { Exit::No } else { Exit::Done };
        let narrowed = FindTerms { limit: None, ..terms } != FindTerms::default();
        context.printer.show(&Sellers { found, service: args.service.clone(), narrowed })?;
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

impl Sellers {
    fn row(&self, found: &Found) -> Vec<String> {
        let mut row = vec![
            found.seller.clone(),
            if found.own { "free".to_owned() } else { format!("{} {}", found.price, found.unit) },
            if found.own { String::new() } else { duration(found.age_secs) },
            found.mints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            match (found.own, found.description.lines().next().unwrap_or_default()) {
                (true, what) => format!("your own, {} {} to others: {what}", found.price, found.unit),
                (false, what) => what.to_owned(),
            },
        ];
        if matches!(self.service, Pattern::Glob(_)) {
            row.insert(0, found.service.to_string());
        }
        row
    }
}

impl Show for Sellers {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let rows: Vec<_> = self.found.iter().map(|found| self.row(found)).collect();
        let nothing = match (&self.service, self.narrowed) {
            (service, true) => format!("Nobody sells {service} on these terms (that this node can find)."),
            (Pattern::Name(service), false) => format!("Nobody sells {service} (that this node can find)."),
            (Pattern::Glob(glob), false) => {
                format!("This node has heard of no service that {glob} matches; look for one by its whole name first.")
            }
        };
        let mut head = vec!["SELLER", ">PRICE", ">AGE", "MINTS", "WHAT"];
        if matches!(self.service, Pattern::Glob(_)) {
            head.insert(0, "SERVICE");
        }
        table(out, &head, &rows, &nothing)
    }
}
