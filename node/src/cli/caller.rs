//! `guilder caller add|list|revoke`

use std::fmt;

use clap::Subcommand;
use guilder_protocol::market::{ServiceName, Unit};
use serde::Serialize;

use super::{Context, wait_for};
use crate::{
    api::{
        client::escape,
        types::{AddedCaller, CallerRequest, CallerView},
    },
    console::{CliError, Exit, Show, table},
    gate::Risk,
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder caller add nightly --risk medium --budget 100/day --services web.extract
  guilder --as nightly hire web.extract --input page.html
  guilder caller revoke nightly";

/// Programs and agents that speak to the node with a name, rights and a budget of their own.
///
/// Give each of them a caller, and none of them your own access. A caller of low risk reads and finds; of medium risk it hires within its
/// budget too; of high risk it may ask for all else, and each request waits for your word: see `guilder approvals`. What keeps a caller
/// from your own access is file rights alone: a program that runs as your user can read api.json, and is you.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: CallerCommand,
}

#[derive(Debug, Subcommand)]
enum CallerCommand {
    /// Add one. Its token is written to a file of its own in the home folder, which --as reads.
    Add {
        /// Small letters, digits and dashes.
        name: String,
        /// The highest risk that it may ask for.
        #[arg(long, value_enum)]
        risk: Risk,
        /// The most that may be awarded for it in a day (UTC), e.g. 100/day.
        #[arg(long, value_name = "N/day", value_parser = parse_budget)]
        budget: Option<u64>,
        /// The unit of the budget, in which alone it hires [default: wallet.unit of the settings].
        #[arg(long)]
        unit: Option<Unit>,
        /// The services that it may hire [default: any].
        #[arg(long, value_name = "SERVICE", num_args = 1.., value_delimiter = ',')]
        services: Vec<ServiceName>,
    },
    /// Print all of them, and what is spent of their budgets today.
    List,
    /// Take its rights away: its token opens nothing any more, and what it hired and isn't awarded yet is awarded no more.
    Revoke {
        /// Its name.
        name: String,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Callers(Vec<CallerView>);

#[derive(Serialize)]
struct Revoked<'a> {
    revoked: &'a str,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        match &args.command {
            CallerCommand::Add { name, risk, budget, unit, services } => {
                let request = CallerRequest {
                    name: name.clone(),
                    risk: *risk,
                    budget: *budget,
                    unit: unit.clone(),
                    services: services.clone(),
                };
                let added: AddedCaller = client.post("/v1/callers", &request).await?;
                context.printer.show(&added)?;
            }
            CallerCommand::List => context.printer.show(&Callers(client.get("/v1/callers").await?))?,
            CallerCommand::Revoke { name } => {
                client.delete::<()>(&format!("/v1/callers/{}", escape(name))).await?;
                context.printer.show(&Revoked { revoked: name })?;
            }
        }
        Ok(Exit::Done)
    })
}

/// `100/day`, or `100`.
fn parse_budget(text: &str) -> Result<u64, String> {
    let digits = text.strip_suffix("/day").unwrap_or(text);
    digits.parse().map_err(|_| "expected an amount a day, like 100/day".to_owned())
}

impl Show for AddedCaller {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "added; its token is in {}", self.token_file)?;
        writeln!(out, "use it: guilder --as {} status", self.name)
    }
}

impl Show for Revoked<'_> {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "revoked; its token opens nothing any more")
    }
}

impl Show for Callers {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |caller: &CallerView| {
            let unit = caller.unit.as_ref().map(ToString::to_string).unwrap_or_default();
            let services: Vec<_> = caller.services.iter().map(ToString::to_string).collect();
            vec![
                caller.name.clone(),
                caller.risk.as_str().to_owned(),
                caller.budget.map(|budget| budget.to_string()).unwrap_or_default(),
                caller.spent_today.to_string(),
                unit,
                if services.is_empty() { "any".to_owned() } else { services.join(", ") },
                caller.added.to_string(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        let header = ["NAME", "RISK", ">A DAY", ">TODAY", "UNIT", "SERVICES", "ADDED"];
        table(out, &header, &rows, "No callers. To add one: guilder caller add --help")
    }
}

#[cfg(test)]
mod tests {
    use super::parse_budget;

    #[test]
    fn a_budget_is_an_amount_a_day() {
        assert_eq!((parse_budget("100/day"), parse_budget("7")), (Ok(100), Ok(7)));
        for text in ["", "/day", "100/week", "-1", "1.5/day"] {
            assert!(parse_budget(text).is_err(), "{text}");
        }
    }
}
