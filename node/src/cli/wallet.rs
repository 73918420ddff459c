//! `guilder wallet balance|fund|send|receive|restore|mints`

use std::fmt;

use clap::Subcommand;
use guilder_protocol::market::{MintUrl, Unit};
use hyper::Method;
use serde::Serialize;

use super::{Context, prompt::ask_text, wait_for};
use crate::{
    api::{
        client::{json, query},
        types::{AddMint, Balance, Fund, Funding, MintView, Receive, Received, Restore, Restored, Send, Token},
    },
    console::{CliError, Exit, Show, harmless::one_line, table},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder wallet mints add https://mint.example.com
  guilder wallet fund 1000               prints an invoice, waits until it is paid
  guilder wallet send 21 > token.txt
  guilder wallet receive < token.txt";

/// Look after the node's money.
///
/// The wallet holds ecash of the mints you accept. A mint can refuse to pay out: keep there what you would carry in a
/// purse.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Print what the wallet holds, by mint and unit.
    Balance,
    /// Get money in: print what is to be paid, wait for the payment, take the ecash.
    Fund {
        /// How much.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        amount: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Turn money into a token (text) to hand to somebody. Whoever has the token has the money.
    Send {
        /// How much. The receiver gets it less the mint's fee, if the mint takes one.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        amount: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Take a token in.
    Receive {
        /// The token; read from standard input if not given, where it doesn't end up in your shell's history.
        token: Option<String>,
    },
    /// Look for money that this node's recovery phrase once had at a mint: after `guilder init --restore`.
    ///
    /// Tokens that nobody has taken yet may be found again, too. Money that was locked to sellers or not yet redeemed
    /// isn't: it is in the old home folder alone.
    Restore {
        #[command(flatten)]
        place: Place,
    },
    /// Print, add or remove the mints whose ecash is accepted.
    Mints {
        #[command(subcommand)]
        command: Option<MintsCommand>,
    },
}

/// Which money.
#[derive(Debug, clap::Args)]
struct Place {
    /// Of this mint [default: the only one accepted].
    #[arg(long, value_name = "URL")]
    mint: Option<MintUrl>,
    /// In this unit [default: the mint's only one].
    #[arg(long)]
    unit: Option<Unit>,
}

#[derive(Debug, Subcommand)]
enum MintsCommand {
    /// Print the accepted mints (as without a word).
    List,
    /// Accept a mint's ecash from now on. You trust it with what you hold there.
    Add {
        /// https://…, http://127.0.0.1:… or p2p://mint/PEER_ID.
        url: MintUrl,
    },
    /// Accept a mint's ecash no more. What is held there stays.
    Remove {
        /// Its URL.
        url: MintUrl,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Balances(Vec<Balance>);

#[derive(Serialize)]
#[serde(transparent)]
struct Mints(Vec<MintView>);

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        match &args.command {
            WalletCommand::Balance => {
                context.printer.show(&Balances(context.client()?.get("/v1/wallet").await?))?;
            }
            WalletCommand::Fund { amount, place } => fund(*amount, place, context).await?,
            WalletCommand::Send { amount, place } => {
                let send = Send { amount: *amount, mint: place.mint.clone(), unit: place.unit.clone() };
                context.printer.show(&context.client()?.post::<Token>("/v1/wallet/send", &send).await?)?;
            }
            WalletCommand::Receive { token } => {
                let token = match token {
                    Some(token) => token.clone(),
                    None => ask_text(&context.printer, "Token: ", |text| !text.trim().is_empty())?.to_string(),
                };
                let receive = Receive { token };
                context.printer.show(&context.client()?.post::<Received>("/v1/wallet/receive", &receive).await?)?;
            }
            WalletCommand::Restore { place } => {
                let restore = Restore { mint: place.mint.clone(), unit: place.unit.clone() };
                context.printer.show(&context.client()?.post::<Restored>("/v1/wallet/restore", &restore).await?)?;
            }
            WalletCommand::Mints { command } => mints(command.as_ref(), context).await?,
        }
        Ok(Exit::Done)
    })
}

async fn fund(amount: u64, place: &Place, context: &Context) -> Result<(), CliError> {
    let fund = Fund { amount, mint: place.mint.clone(), unit: place.unit.clone() };
    let mut lines = context.client()?.lines::<Funding>(Method::POST, "/v1/wallet/fund", json(&fund)?).await?;
    while let Some(line) = lines.next().await? {
        match &line {
            Funding::Quote { .. } => context.printer.show(&line)?,
            Funding::Funded { amount, unit, mint } => {
                context.printer.step(&line, format_args!("Paid: {amount} {unit} at {mint}."))?;
                return Ok(());
            }
        }
    }
    Err(CliError::usage(
        "the payment didn't come before the quote lapsed",
        "if you did pay, the ecash comes in by itself; else run the command again for a new quote",
    ))
}

async fn mints(command: Option<&MintsCommand>, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        None | Some(MintsCommand::List) => {}
        Some(MintsCommand::Add { url }) => {
            let _: MintView = client.post("/v1/mints", &AddMint { url: url.clone() }).await?;
        }
        Some(MintsCommand::Remove { url }) => client.delete(&query("/v1/mints", &[("url", url)])?).await?,
    }
    context.printer.show(&Mints(client.get("/v1/mints").await?))
}

/// A table of balances for each mint, under its URL: beside a long one they would be wider than a terminal.
pub(super) fn balances(out: &mut dyn fmt::Write, balances: &[Balance]) -> fmt::Result {
    let row = |balance: &Balance| {
        let amount = |amount: u64| if amount == 0 { "-".to_owned() } else { format!("{amount} {}", balance.unit) };
        vec![
            format!("  {} {}", balance.available, balance.unit),
            amount(balance.purse),
            amount(balance.at_risk),
            amount(balance.waiting),
            amount(balance.earned),
            amount(balance.pending),
        ]
    };
    if balances.is_empty() {
        return writeln!(
            out,
            "No money yet. To get some: `guilder wallet mints add URL`, if none is accepted yet, then `guilder wallet fund N`."
        );
    }
    let header = [">  AVAILABLE", ">IN PURSE", ">AT RISK", ">FALLING BACK", ">EARNED", ">UNDER WAY"];
    for of_mint in balances.chunk_by(|one, next| one.mint == next.mint) {
        writeln!(out, "{}", of_mint[0].mint)?;
        table(out, &header, &of_mint.iter().map(row).collect::<Vec<_>>(), "")?;
    }
    Ok(())
}

impl Show for Balances {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        balances(out, &self.0)
    }
}

impl Show for Funding {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Quote { mint, request, amount, unit, expires, .. } => {
                writeln!(out, "Pay this to get {amount} {unit} at {mint}:\n\n{}\n", one_line(request))?;
                writeln!(out, "It lapses at {expires}. Waiting …")
            }
            Self::Funded { mint, amount, unit } => writeln!(out, "Paid: {amount} {unit} at {mint}."),
        }
    }
}

impl Show for Token {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "{}", self.token)
    }
}

impl Show for Received {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let fee = if self.fee == 0 { String::new() } else { format!(" (the mint kept {})", self.fee) };
        writeln!(out, "Received {} {} at {}{fee}.", self.amount, self.unit, self.mint)
    }
}

impl Show for Restored {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "Found {} {} at {}.", self.amount, self.unit, self.mint)
    }
}

impl Show for Mints {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |mint: &MintView| {
            let units = mint.units.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            vec![
                mint.url.to_string(),
                if units.is_empty() { "(not reached yet)".to_owned() } else { units },
                if mint.added { "command" } else { "settings" }.to_owned(),
                mint.name.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(
            out,
            &["MINT", "UNITS", "ADDED BY", "NAME"],
            &rows,
            "No mint is accepted yet. Add one: guilder wallet mints add URL",
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_balance_fits_a_terminal() {
        let mint = MintUrl::of_peer(guilder_protocol::identity::AgentKey::from_seed(&[1; 32]).id());
        let unit: Unit = "play".parse().unwrap();
        let amount = 1_000_000_000;
        let balance = Balance {
            mint: mint.clone(),
            unit,
            available: amount,
            purse: amount,
            at_risk: amount,
            waiting: amount,
            earned: 0,
            pending: amount,
            account: crate::wallet::Account::default(),
        };
        let mut text = String::new();
        Balances(vec![balance.clone(), balance]).human(&mut text).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.starts_with(&format!("{mint}\n  ")) && text.contains("  AVAILABLE  "), "{text}");
    }
}
