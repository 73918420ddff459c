//! `guilder wallet balance|fund|send|receive|sent|pay|pending|history|restore|mints`

use std::fmt;

use clap::Subcommand;
use guilder_protocol::market::{MintUrl, Unit};
use hyper::Method;
use serde::Serialize;

use super::{Context, prompt::ask_text, wait_for};
use crate::{
    api::{
        client::{json, query},
        types::{
            AddMint, Balance, Fund, Funding, HistoryEntry, HistoryReason, InvoicePaid, MintView, Pay, PendingView,
            Receive, Received, Reclaim, Restore, Restored, Send, SentState, SentView, Token,
        },
    },
    console::{CliError, Exit, Look, Show, harmless::one_line, table, table_as},
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
    /// List the tokens that were sent, print one again, or take one back.
    Sent {
        #[command(subcommand)]
        command: Option<SentCommand>,
    },
    /// Pay a Lightning invoice.
    Pay {
        /// The invoice.
        invoice: String,
        #[command(flatten)]
        place: Place,
    },
    /// Print what is under way: since when, what holds it up, and what ends it.
    Pending,
    /// Print every change of the balance, with its reason.
    History {
        /// As comma-separated values, with a header.
        #[arg(long)]
        csv: bool,
    },
    /// Look for money that this node's recovery phrase once had at a mint: after `guilder init --restore`.
    ///
    /// Tokens that nobody has spent yet are found, too, and listed by `guilder wallet sent`. Money that was locked to sellers
    /// or not yet redeemed isn't: it is in the old home folder alone.
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
enum SentCommand {
    /// List them, and ask their mints which were spent (as without a word).
    List,
    /// Print a token again. Whoever has it has the money.
    Show {
        /// The beginning of its ID.
        id: String,
    },
    /// Take a token back into the balance, if nobody has spent it.
    Reclaim {
        /// The beginning of its ID.
        id: String,
    },
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

#[derive(Serialize)]
#[serde(transparent)]
struct Sent(Vec<SentView>);

#[derive(Serialize)]
#[serde(transparent)]
struct Pendings(Vec<PendingView>);

#[derive(Serialize)]
#[serde(transparent)]
struct History(Vec<HistoryEntry>);

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        match &args.command {
            WalletCommand::Balance => {
                context.printer.show(&Balances(context.client()?.get("/v1/wallet").await?))?;
            }
            WalletCommand::Fund { amount, place } => fund(*amount, place, context).await?,
            WalletCommand::Send { amount, place } => {
                let send = Send { amount: *amount, mint: place.mint.clone(), unit: place.unit.clone() };
                hand_over(&context.client()?.post::<Token>("/v1/wallet/send", &send).await?, context)?;
            }
            WalletCommand::Receive { token } => {
                let token = match token {
                    Some(token) => token.clone(),
                    None => ask_text(&context.printer, "Token: ", |text| !text.trim().is_empty())?.to_string(),
                };
                let receive = Receive { token };
                let client = context.client()?;
                let receiving = client.post::<Received>("/v1/wallet/receive", &receive);
                context.printer.show(&context.printer.waiting("the mint exchanges the coins", receiving).await?)?;
            }
            WalletCommand::Sent { command } => sent(command.as_ref(), context).await?,
            WalletCommand::Pay { invoice, place } => {
                let pay = Pay { invoice: invoice.clone(), mint: place.mint.clone(), unit: place.unit.clone() };
                let client = context.client()?;
                let paying = client.post::<InvoicePaid>("/v1/wallet/pay", &pay);
                context.printer.show(&context.printer.waiting("the mint pays the invoice", paying).await?)?;
            }
            WalletCommand::Pending => {
                context.printer.show(&Pendings(context.client()?.get("/v1/wallet/pending").await?))?;
            }
            WalletCommand::History { csv } => history(*csv, context).await?,
            WalletCommand::Restore { place } => {
                let restore = Restore { mint: place.mint.clone(), unit: place.unit.clone() };
                let client = context.client()?;
                let restoring = client.post::<Restored>("/v1/wallet/restore", &restore);
                context
                    .printer
                    .show(&context.printer.waiting("the mint is asked what it has signed", restoring).await?)?;
            }
            WalletCommand::Mints { command } => mints(command.as_ref(), context).await?,
        }
        Ok(Exit::Done)
    })
}

/// Prints a token, which whoever asked for it must not lose.
fn hand_over(token: &Token, context: &Context) -> Result<(), CliError> {
    let id = &token.id[..token.id.len().min(8)];
    if let Err(error) = context.printer.hand_over(token) {
        let hint = format!(
            "the token is kept: `guilder wallet sent show {id}` prints it, `guilder wallet sent reclaim {id}` takes it back"
        );
        return Err(error.with_hint(hint));
    }
    context.printer.note(format_args!("It is kept as {id} until it is spent: guilder wallet sent"));
    say_who_can_take(token, context);
    Ok(())
}

/// Other wallets than Guilder's take the URL in a token for one of HTTP, and refuse it without saying why.
fn say_who_can_take(token: &Token, context: &Context) {
    if token.mint.peer().is_some() {
        context.printer.note("Its mint is reached over libp2p, so only a Guilder node can take it.");
    }
}

async fn sent(command: Option<&SentCommand>, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        None | Some(SentCommand::List) => context.printer.show(&Sent(client.get("/v1/wallet/sent").await?)),
        Some(SentCommand::Show { id }) => {
            let token: Token = client.get(&format!("/v1/wallet/sent/{}", path_part(id)?)).await?;
            context.printer.hand_over(&token)?;
            say_who_can_take(&token, context);
            Ok(())
        }
        Some(SentCommand::Reclaim { id }) => {
            let reclaim = Reclaim { id: id.clone() };
            context.printer.show(&client.post::<Received>("/v1/wallet/reclaim", &reclaim).await?)
        }
    }
}

/// An ID as a part of a path: it has digits of hex alone.
fn path_part(id: &str) -> Result<&str, CliError> {
    if !id.is_empty() && id.chars().all(|char| char.is_ascii_hexdigit()) {
        return Ok(id);
    }
    Err(CliError::usage(format!("{id:?} is not the beginning of a token's ID"), "`guilder wallet sent` lists them"))
}

async fn history(csv: bool, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let (mut entries, mut from) = (Vec::<HistoryEntry>::new(), 0_u64);
    loop {
        let page: Vec<HistoryEntry> = client.get(&query("/v1/wallet/history", &[("from", &from)])?).await?;
        let Some(last) = page.last() else { break };
        from = last.number + 1;
        entries.extend(page);
    }
    if csv { context.printer.bytes(csv_of(&entries).as_bytes()) } else { context.printer.show(&History(entries)) }
}

/// As RFC 4180 has it.
fn csv_of(entries: &[HistoryEntry]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut csv = String::from("number,time,mint,unit,change,reason,detail\r\n");
    for entry in entries {
        let detail = entry.detail.as_deref().map(|detail| quoted(&one_line(detail))).unwrap_or_default();
        let HistoryEntry { number, at, mint, unit, .. } = entry;
        let (sign, amount, reason) = (sign(entry), entry.amount, reason(entry.reason));
        csv.push_str(&format!("{number},{at},{},{unit},{sign}{amount},{reason},{detail}\r\n", quoted(mint.as_str())));
    }
    csv
}

fn sign(entry: &HistoryEntry) -> &'static str {
    if entry.came_in { "" } else { "-" }
}

/// In the words of `--json`.
fn reason(reason: HistoryReason) -> &'static str {
    match reason {
        HistoryReason::Funded => "funded",
        HistoryReason::Restored => "restored",
        HistoryReason::Received => "received",
        HistoryReason::Reclaimed => "reclaimed",
        HistoryReason::Accepted => "accepted",
        HistoryReason::Voided => "voided",
        HistoryReason::Sent => "sent",
        HistoryReason::Invoice => "invoice",
        HistoryReason::Paid => "paid",
        HistoryReason::Forfeited => "forfeited",
        HistoryReason::Fee => "fee",
        HistoryReason::Lost => "lost",
        HistoryReason::Unknown => "unknown",
    }
}

async fn fund(amount: u64, place: &Place, context: &Context) -> Result<(), CliError> {
    let fund = Fund { amount, mint: place.mint.clone(), unit: place.unit.clone() };
    let mut lines = context.client()?.lines::<Funding>(Method::POST, "/v1/wallet/fund", json(&fund)?).await?;
    while let Some(line) = context.printer.waiting("waiting for the payment", lines.next()).await? {
        match &line {
            Funding::Quote { .. } => context.printer.show(&line)?,
            Funding::Funded { amount, unit, mint } => {
                context.printer.step(&line, format_args!("Paid: {amount} {unit} at {mint}."))?;
                return Ok(());
            }
            Funding::Unknown => {}
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
            let add = AddMint { url: url.clone() };
            let _: MintView = context.printer.waiting(format!("asking {url}"), client.post("/v1/mints", &add)).await?;
        }
        Some(MintsCommand::Remove { url }) => client.delete(&query("/v1/mints", &[("url", url)])?).await?,
    }
    context.printer.show(&Mints(client.get("/v1/mints").await?))
}

/// A table of balances for each mint, under its URL: beside a long one they would be wider than a terminal.
pub(super) fn balances(out: &mut dyn fmt::Write, balances: &[Balance]) -> fmt::Result {
    if balances.is_empty() {
        return writeln!(
            out,
            "No money yet. To get some: `guilder wallet mints add URL`, if none is accepted yet, then `guilder wallet fund N`."
        );
    }
    balances_as(Look::now(), out, balances)
}

/// What is held at each mint, as wide as the look says.
pub(super) fn balances_as(look: &Look, out: &mut dyn fmt::Write, balances: &[Balance]) -> fmt::Result {
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
    let header = [">  AVAILABLE", ">IN PURSE", ">AT RISK", ">FALLING BACK", ">EARNED", ">UNDER WAY"];
    for of_mint in balances.chunk_by(|one, next| one.mint == next.mint) {
        writeln!(out, "{}", of_mint[0].mint)?;
        table_as(look, out, &header, &of_mint.iter().map(row).collect::<Vec<_>>(), "")?;
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
            Self::Unknown => Ok(()),
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
        let Self { mint, amount, unit, sent, spent_elsewhere } = self;
        writeln!(out, "Found {amount} {unit} at {mint}.")?;
        if *sent > 0 {
            writeln!(out, "{sent} {unit} more are in tokens that nobody has spent: guilder wallet sent")?;
        }
        if *spent_elsewhere > 0 {
            writeln!(
                out,
                "{spent_elsewhere} {unit} have left the balance: another copy of this wallet has spent them."
            )?;
        }
        writeln!(out, "What was locked to sellers, or earned and not redeemed, is in the old home folder alone.")
    }
}

impl Show for InvoicePaid {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let fee = if self.fee == 0 { String::new() } else { format!(" and a fee of {}", self.fee) };
        writeln!(out, "Paid {} {}{fee} with money of {}.", self.amount, self.unit, self.mint)?;
        self.preimage.iter().try_for_each(|preimage| writeln!(out, "Preimage: {}", one_line(preimage)))
    }
}

impl Show for Sent {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |token: &SentView| {
            let state = match token.state {
                SentState::Open => "open",
                SentState::Spent => "spent",
                SentState::Reclaimed => "reclaimed",
                SentState::Unknown => "?",
            };
            let id = token.id.chars().take(8).collect();
            vec![
                id,
                token.at.to_string(),
                format!("{} {}", token.amount, token.unit),
                state.into(),
                token.mint.to_string(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(out, &["ID", "MADE", ">AMOUNT", "STATE", "MINT"], &rows, "No token was sent.")
    }
}

impl Show for Pendings {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "Nothing is under way.");
        }
        for PendingView { id, what, mint, amount, unit, since, why, ends } in &self.0 {
            writeln!(out, "{what}  {amount} {unit} at {mint}, since {since}")?;
            writeln!(out, "  {}", one_line(id))?;
            why.iter().try_for_each(|why| writeln!(out, "  held up: {}", one_line(why)))?;
            writeln!(out, "  ends by: {}", one_line(ends))?;
        }
        Ok(())
    }
}

impl Show for History {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |entry: &HistoryEntry| {
            let change = format!("{}{} {}", if entry.came_in { "+" } else { "-" }, entry.amount, entry.unit);
            let detail = entry.detail.as_deref().map(|detail| one_line(detail).into_owned()).unwrap_or_default();
            vec![entry.at.to_string(), change, reason(entry.reason).to_owned(), entry.mint.to_string(), detail]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(out, &["TIME", ">CHANGE", "REASON", "MINT", "DETAIL"], &rows, "Nothing has changed the balance yet.")
    }
}

impl Show for Mints {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |mint: &MintView| {
            let units = mint.units.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            vec![
                std::iter::once(&mint.url).chain(&mint.also).map(ToString::to_string).collect::<Vec<_>>().join(" = "),
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
    fn history_is_written_as_csv_that_nothing_breaks_out_of() {
        let entry = HistoryEntry {
            number: 7,
            at: guilder_protocol::time::Timestamp::from_secs(1_800_000_000),
            mint: "https://mint.example".parse().unwrap(),
            unit: "sat".parse().unwrap(),
            amount: 21,
            reason: HistoryReason::Lost,
            came_in: false,
            detail: Some("he said \"no\",\nand more".into()),
        };
        let csv = csv_of(&[entry]);
        assert_eq!(csv.lines().count(), 2, "{csv}");
        assert!(csv.contains(",sat,-21,lost,\"he said \"\"no\"\","), "{csv}");
    }

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
