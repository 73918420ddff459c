//! `guilder grant PEER`

use std::{fmt, path::PathBuf};

use guilder_protocol::market::{MintUrl, ServiceName, Unit};

use super::{
    Context,
    grants::{self, listed_all},
    task, wait_for,
};
use crate::{
    api::types::{GrantRequest, GrantView},
    console::{CliError, Exit, Show, quoted},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder grant 12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq --service text.summarize \\
      --max-price 20 --budget 500 --expires 30d
  guilder grant PEER --service text.sum --max-price 20 --budget 500 --expires 30d --output grant.txt
  guilder grant PEER --under 4xw2kq --service text.summarize --max-price 5 --budget 50 --expires 1d";

/// Let another agent buy in this agent's name, from its own money.
///
/// A grant is a signed delegation: which services, in which unit and at which mint, for how much, until when. Who sells sees
/// in whose name it works. It is handed to PEER over the wire, now or when it connects; or by hand, as the text that
/// --output writes. PEER uses it with `guilder hire --grant ID`; `guilder revoke ID` takes it back.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Who may buy: a peer ID or a DID.
    #[arg(value_name = "PEER")]
    grantee: String,
    /// What may be bought; may be said several times.
    #[arg(long = "service", value_name = "NAME", required = true)]
    services: Vec<ServiceName>,
    /// The most that one task may cost, net.
    #[arg(long, value_name = "N")]
    max_price: u64,
    /// The most that all tasks together may cost, net.
    #[arg(long, value_name = "N")]
    budget: u64,
    /// How long it holds: 90s, 5m, 1h, 30d.
    #[arg(long = "expires", value_name = "TIME", value_parser = parse_time)]
    expires_secs: u64,
    /// The most delegations from the principal to whoever buys: 1 lets PEER buy and pass nothing on [default: no more than
    /// there are].
    #[arg(long, value_name = "N")]
    depth: Option<u64>,
    /// The unit of the amounts [default: wallet.unit of the settings].
    #[arg(long)]
    unit: Option<Unit>,
    /// The mint whose money it is [default: the only one that this wallet accepts].
    #[arg(long, value_name = "URL")]
    mint: Option<MintUrl>,
    /// Pass on a part of this grant that we hold, in its principal's name.
    #[arg(long, value_name = "ID")]
    under: Option<String>,
    /// Write the grant as a text for `guilder grants import`.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let request = GrantRequest {
            grantee: args.grantee.clone(),
            services: args.services.clone(),
            max_price: args.max_price,
            budget: args.budget,
            expires_secs: args.expires_secs,
            depth: args.depth,
            unit: args.unit.clone(),
            mint: args.mint.clone(),
            under: args.under.clone(),
        };
        let granted: GrantView = context.client()?.post("/v1/grants", &request).await?;
        if let Some(path) = &args.output {
            let text = format!("{}\n", granted.text);
            std::fs::write(path, text).map_err(|cause| CliError::file("write", path, &cause))?;
        }
        context.printer.show(&granted)?;
        let id = task::short(&granted.id);
        if let Some(path) = &args.output {
            context.printer.note(format_args!("for the grantee: guilder grants import {}", quoted(path)));
        } else if !granted.handed_over {
            context.printer.note(format_args!(
                "the grantee can't be reached now and gets it when it connects; by hand: `guilder grants show {id}`"
            ));
        }
        context.printer.note(format_args!("take it back: guilder revoke {id}"));
        Ok(Exit::Done)
    })
}

impl Show for GrantView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        grants::write(self, &listed_all(&self.services), out)
    }
}

/// Seconds, from `90`, `90s`, `5m`, `1h` or `30d`.
fn parse_time(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let secs = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    // A century: later moments may not fit what every implementation can hold.
    let secs = secs.filter(|secs| (1..=100 * 366 * 86_400).contains(secs));
    secs.ok_or_else(|| "expected a time like 90s, 5m, 1h or 30d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, secs) in [("90", 90), ("5m", 300), ("1h", 3_600), ("30d", 30 * 86_400)] {
            assert_eq!(parse_time(text), Ok(secs));
        }
        for text in ["", "0", "d", "-1d", "1000000d", "1w"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
