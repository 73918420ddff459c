//! `guilder earnings`

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use guilder_protocol::time::Timestamp;
use serde::Serialize;

use super::{Context, wait_for};
use crate::{
    api::{
        client::query,
        types::{Earnings, EarningsBy, EarningsQuery},
    },
    console::{CliError, Exit, Show, harmless::one_line, table},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder earnings
  guilder earnings --by day --days 7
  guilder earnings --by buyer --csv > buyers.csv";

/// Print what this node has earned by selling.
///
/// Sums up the tasks whose records are still kept (`trade.keep_days` of the settings). What is unredeemed is earned, and comes
/// with the next batch from the mint; what is unreleased is delivered in escrow, and its buyer hasn't released it yet.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// By what to sum up.
    #[arg(long, value_name = "WHAT", default_value = "service")]
    by: EarningsBy,
    /// Only tasks that were taken in the last N days.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    days: Option<u64>,
    /// As comma-separated values, with a header.
    #[arg(long)]
    csv: bool,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Earned {
    rows: Vec<Earnings>,
    #[serde(skip)]
    by: EarningsBy,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let since = args.days.map(|days| now().saturating_sub(days * 86_400));
        let path = query("/v1/earnings", &EarningsQuery { by: args.by, since })?;
        let earned = Earned { rows: context.client()?.get(&path).await?, by: args.by };
        if args.csv {
            context.printer.bytes(earned.csv().as_bytes())?
        } else {
            context.printer.show(&earned)?
        }
        Ok(Exit::Done)
    })
}

fn now() -> Timestamp {
    Timestamp::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

impl Earned {
    /// As RFC 4180 has it.
    fn csv(&self) -> String {
        let mut csv = format!(
            "{},unit,tasks,delivered,failed,redeemed,unredeemed,unreleased,lost\r\n",
            self.name().to_ascii_lowercase()
        );
        for row in &self.rows {
            let Earnings { of, unit, tasks, delivered, failed, redeemed, unredeemed, unreleased, lost } = row;
            let of = one_line(of);
            csv.push_str(&format!(
                "{of},{unit},{tasks},{delivered},{failed},{redeemed},{unredeemed},{unreleased},{lost}\r\n"
            ));
        }
        csv
    }

    fn name(&self) -> &'static str {
        match self.by {
            EarningsBy::Service => "SERVICE",
            EarningsBy::Buyer => "BUYER",
            EarningsBy::Day => "DAY",
        }
    }

    /// A sum for each unit that has several rows.
    fn totals(&self) -> Vec<Earnings> {
        let mut totals: Vec<(usize, Earnings)> = Vec::new();
        for row in &self.rows {
            match totals.iter_mut().find(|(_, total)| total.unit == row.unit) {
                Some((count, total)) => (*count, *total) = (*count + 1, total.clone().and(row)),
                None => totals.push((1, Earnings { of: "in all".into(), ..row.clone() })),
            }
        }
        totals.into_iter().filter(|(count, _)| *count > 1).map(|(_, total)| total).collect()
    }
}

impl Show for Earned {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let totals = self.totals();
        let row = |row: &Earnings| {
            let amount = |amount: u64| format!("{amount} {}", row.unit);
            vec![
                row.of.clone(),
                row.tasks.to_string(),
                row.delivered.to_string(),
                row.failed.to_string(),
                amount(row.redeemed),
                amount(row.unredeemed),
                amount(row.unreleased),
                amount(row.lost),
            ]
        };
        let rows: Vec<_> = self.rows.iter().chain(&totals).map(row).collect();
        let names = [">TASKS", ">DELIVERED", ">FAILED", ">REDEEMED", ">UNREDEEMED", ">UNRELEASED", ">LOST"];
        let header: Vec<_> = [self.name()].into_iter().chain(names).collect();
        table(out, &header, &rows, "Nothing was sold here yet. Put a service on sale: guilder service add FILE")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn amounts_of_one_unit_are_added_up_and_no_others() {
        let row = |of: &str, unit: &str, redeemed| Earnings {
            tasks: 2,
            delivered: 1,
            redeemed,
            ..Earnings::none(of.into(), unit.parse().unwrap())
        };
        let rows = vec![row("a.b", "sat", 1_000), row("a.c", "play", 7), row("a.d", "sat", 20)];
        let earned = Earned { rows, by: EarningsBy::Service };
        let mut text = String::new();
        earned.human(&mut text).unwrap();
        insta::assert_snapshot!(text, @r"
        SERVICE  TASKS  DELIVERED  FAILED  REDEEMED  UNREDEEMED  UNRELEASED    LOST
        a.b          2          1       0  1000 sat       0 sat       0 sat   0 sat
        a.c          2          1       0    7 play      0 play      0 play  0 play
        a.d          2          1       0    20 sat       0 sat       0 sat   0 sat
        in all       4          2       0  1020 sat       0 sat       0 sat   0 sat
        ");
        assert_eq!(earned.csv().lines().nth(1).unwrap(), "a.b,sat,2,1,0,1000,0,0,0");
    }
}
