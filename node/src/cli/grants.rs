//! `guilder grants [list|show|import]`

use std::{fmt, path::PathBuf};

use clap::Subcommand;
use guilder_protocol::limits::MAX_CHAIN_BYTES;
use serde::Serialize;

use super::{
    Context,
    task::{peer, short},
    ucan::read_bounded,
    wait_for,
};
use crate::{
    api::types::{GrantView, ImportGrant},
    console::{CliError, Exit, Show, fields, harmless::one_line, table},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder grants
  guilder grants show 4xw2kq
  guilder grants import grant.txt";

/// Print the grants that this agent gave and holds, or take one in.
///
/// A grant that is held lets this agent buy in another's name, from its own money: `guilder hire --grant ID`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<GrantsCommand>,
}

#[derive(Debug, Subcommand)]
enum GrantsCommand {
    /// Print all of them.
    List,
    /// Print all about one, and its text.
    Show {
        /// Its ID, or the last letters of it.
        id: String,
    },
    /// Take in a grant that was made to this agent.
    Import {
        /// The file with its text, or - for standard input.
        file: PathBuf,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Grants(Vec<GrantView>);

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        match &args.command {
            None | Some(GrantsCommand::List) => {
                context.printer.show(&Grants(client.get("/v1/grants").await?))?;
            }
            Some(GrantsCommand::Show { id }) => {
                let all: Vec<GrantView> = client.get("/v1/grants").await?;
                let mut named = all.into_iter().filter(|grant| !id.is_empty() && grant.id.ends_with(id.as_str()));
                let (Some(grant), None) = (named.next(), named.next()) else {
                    let message = format!("there is no grant that ends in {}, or several", one_line(id));
                    return Err(CliError::usage(message, "see them: `guilder grants`"));
                };
                context.printer.show(&grant)?;
                context.printer.note("its text:");
                context.printer.note(&grant.text);
            }
            Some(GrantsCommand::Import { file }) => {
                let bytes = read_bounded(file, 2 * MAX_CHAIN_BYTES as u64)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let grant: GrantView = client.post("/v1/grants/import", &ImportGrant { text }).await?;
                context.printer.show(&grant)?;
                context.printer.note(format_args!("use it: guilder hire SERVICE --grant {}", short(&grant.id)));
            }
        }
        Ok(Exit::Done)
    })
}

impl Show for Grants {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |grant: &GrantView| {
            let with = if grant.side == "given" { &grant.grantee } else { &grant.grantor };
            vec![
                short(&grant.id),
                grant.side.clone(),
                peer(with),
                clipped(&listed_all(&grant.services)),
                clipped(&money(grant.budget, grant.unit.as_deref())),
                grant.state.clone(),
                // The day: `grants show` has the rest.
                grant.expires.to_string().chars().take(10).collect(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        let header = ["ID", "SIDE", "PEER", "SERVICES", ">BUDGET", "STATE", "EXPIRES"];
        table(out, &header, &rows, "No grants. To give one: guilder grant PEER --help")
    }
}

/// As much of a text as leaves the table within 80 columns: `grants show` has the rest.
fn clipped(text: &str) -> String {
    const LETTERS: usize = 12;
    let mut letters: String = text.chars().take(LETTERS).collect();
    if text.chars().nth(LETTERS).is_some() {
        letters.push('…');
    }
    letters
}

fn money(amount: Option<u64>, unit: Option<&str>) -> String {
    match (amount, unit) {
        (Some(amount), Some(unit)) => format!("{amount} {}", one_line(unit)),
        (Some(amount), None) => amount.to_string(),
        (None, _) => "any".to_owned(),
    }
}

/// Services in a line.
pub(super) fn listed_all(services: &[String]) -> String {
    if services.is_empty() { "any".to_owned() } else { one_line(&services.join(", ")).into_owned() }
}

/// All about one grant.
pub(super) fn write(grant: &GrantView, services: &str, out: &mut dyn fmt::Write) -> fmt::Result {
    let state = match &grant.revoked_by {
        Some(revoker) => format!("revoked by {revoker}"),
        None if grant.side == "given" && grant.state == "valid" && !grant.handed_over => {
            "valid; the grantee doesn't have it yet".to_owned()
        }
        None => grant.state.clone(),
    };
    let money = |amount| money(amount, grant.unit.as_deref());
    let mut lines = vec![
        ("grant", grant.id.clone()),
        ("state", state),
        ("in the name of", grant.principal.clone()),
        ("given by", grant.grantor.clone()),
        ("to", grant.grantee.clone()),
        ("services", services.to_owned()),
        ("price of one", money(grant.max_price)),
        ("budget", money(grant.budget)),
    ];
    if let Some(spent) = grant.spent {
        lines.push(("awarded", money(Some(spent))));
    }
    lines.push(("mint", grant.mint.as_deref().map_or_else(|| "any".to_owned(), |mint| one_line(mint).into_owned())));
    let depth = grant.depth.map_or_else(|| "any number".to_owned(), |depth| depth.to_string());
    lines.push(("delegations", format!("{}, at most {depth}", grant.delegations)));
    lines.push(("expires", grant.expires.to_string()));
    fields(out, &lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{identity::AgentKey, time::Timestamp};

    use super::*;

    #[test]
    fn a_listing_of_grants_fits_a_terminal_of_eighty_columns() {
        let agent = |seed| AgentKey::from_seed(&[seed; 32]).id().peer_id();
        let grant = |side: &str, state: &str| GrantView {
            id: "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".into(),
            side: side.into(),
            text: String::new(),
            principal: agent(1),
            grantor: agent(1),
            grantee: agent(2),
            services: vec!["text.summarize".into(), "text.translate".into(), "image.describe".into()],
            max_price: Some(1_000_000),
            budget: Some(u64::MAX),
            spent: None,
            unit: Some("play".into()),
            mint: None,
            depth: None,
            delegations: 8,
            expires: Timestamp::from_secs(1_900_000_000),
            at: Timestamp::default(),
            state: state.into(),
            revoked_by: None,
            handed_over: true,
        };
        let mut shown = String::new();
        Grants(vec![grant("given", "revoked"), grant("held", "expired")]).human(&mut shown).unwrap();
        let widest = shown.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{widest:?}: {shown}");
        assert!(shown.contains("text.summari…") && shown.contains("2030-03-17"), "{shown}");
    }
}
