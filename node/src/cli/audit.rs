//! `guilder audit show|export|verify`

use std::{collections::BTreeMap, fmt, path::PathBuf};

use clap::Subcommand;
use guilder_protocol::{
    audit::{self, Answer, AuditError, Report},
    limits::MAX_BUNDLE,
    receipt::Outcome,
    time::Timestamp,
};
use serde::Serialize;

use super::{Context, output::Place, task, ucan::read_bounded, wait_for};
use crate::console::{CliError, Exit, Show, harmless::one_line, quoted};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder audit show 4xw2kq
  guilder audit export 4xw2kq --output task.audit.car
  guilder audit verify task.audit.car      anyone can, anywhere";

/// Print, write out or check what was signed about a task.
///
/// All that was signed about a task makes one file, its audit bundle, which anyone can check without a node, a network
/// or keys. It holds no money and no output: it can be shown around.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Print what the signed statements of a task say.
    Show {
        /// The task's ID, or its last letters.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Write a task's audit bundle (a CAR file).
    Export {
        /// The task's ID, or its last letters.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        id: String,
        /// Where to [default: standard output].
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check an audit bundle and say who asked, who did it, on whose authority, against what money, and who answers.
    Verify {
        /// The file, or - for standard input.
        file: PathBuf,
    },
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    match &args.command {
        AuditCommand::Show { id } => wait_for(async {
            let bundle = download(id, context).await?;
            let report = audit::verify(&bundle)?;
            context.printer.show(&ReportView::valid(report))?;
            Ok(Exit::Done)
        }),
        AuditCommand::Export { id, output } => wait_for(async {
            let bundle = download(id, context).await?;
            match output {
                None => context.printer.bytes(&bundle)?,
                Some(path) => {
                    let mut writing = Place::at(path)?.begin()?;
                    writing.piece(&bundle, context)?;
                    writing.end(context)?;
                    context.printer.show(&Exported { file: path.display().to_string(), bytes: bundle.len() })?;
                }
            }
            Ok(Exit::Done)
        }),
        AuditCommand::Verify { file } => {
            let bytes = read_bounded(file, MAX_BUNDLE as u64 + 1)?;
            let verdict = audit::verify(&bytes);
            let exit = if verdict.is_ok() { Exit::Done } else { Exit::No };
            context.printer.show(&verdict.map_or_else(ReportView::invalid, ReportView::valid))?;
            Ok(exit)
        }
    }
}

async fn download(id: &str, context: &Context) -> Result<Vec<u8>, CliError> {
    let mut download = context.client()?.download(&format!("{}/audit", task::path(id))).await?;
    let mut bundle = Vec::new();
    while let Some(piece) = download.next().await? {
        bundle.extend_from_slice(&piece);
    }
    Ok(bundle)
}

#[derive(Serialize)]
struct Exported {
    file: String,
    bytes: usize,
}

impl Show for Exported {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let file = one_line(&self.file);
        writeln!(out, "{file} ({} bytes)\nCheck it: guilder audit verify {}", self.bytes, quoted(self.file.as_ref()))
    }
}

/// What a bundle says, in a form for JSON, and in words.
#[derive(Serialize)]
pub(crate) struct ReportView {
    /// Null if nothing in it can be read by this version.
    valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    hires: Vec<HireView>,
    /// Statements of later versions, which this one doesn't understand, by content ID.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    not_understood: BTreeMap<String, String>,
    #[serde(skip)]
    words: String,
}

#[derive(Serialize)]
struct HireView {
    award: String,
    awarded: Timestamp,
    buyer: String,
    seller: String,
    principal: String,
    service: String,
    price: u64,
    unit: String,
    mint: String,
    input: String,
    deadline: Timestamp,
    locked: Option<u64>,
    output_commitment: Option<String>,
    failure: Option<String>,
    /// What the statements show: `delivered`, `seller-failed`, `seller-says` (that it is the buyer's doing; nothing shows it),
    /// `open`, `not-understood`.
    answer: &'static str,
}

impl ReportView {
    pub(crate) fn valid(report: Report) -> Self {
        let words = format!("valid\n\n{}", harmless_words(report.clone()));
        let not_understood =
            report.unread.iter().map(|unread| (unread.statement.to_string(), unread.why.clone())).collect();
        let hires = report.hires.into_iter().map(HireView::from).collect();
        Self { valid: Some(true), why: None, task: Some(report.task.to_string()), hires, not_understood, words }
    }

    fn invalid(error: AuditError) -> Self {
        let is_later = matches!(error, AuditError::NotUnderstood(..));
        let what = if is_later { "not understood" } else { "invalid" };
        let words = format!("{what}: {}\n", one_line(&error.to_string()));
        let (hires, not_understood) = (Vec::new(), BTreeMap::new());
        Self {
            valid: (!is_later).then_some(false),
            why: Some(error.to_string()),
            task: None,
            hires,
            not_understood,
            words,
        }
    }
}

/// The report with what others wrote in it held to its lines.
fn harmless_words(mut report: Report) -> Report {
    for receipt in report.hires.iter_mut().filter_map(|hire| hire.receipt.as_mut()) {
        if let Outcome::Error(error) = &mut receipt.out {
            error.text = one_line(&error.text).into_owned();
        }
    }
    report.unread.iter_mut().for_each(|unread| unread.why = one_line(&unread.why).into_owned());
    report
}

impl From<audit::Hire> for HireView {
    fn from(hire: audit::Hire) -> Self {
        let out = hire.receipt.as_ref().map(|receipt| &receipt.out);
        Self {
            award: hire.award.to_string(),
            awarded: hire.awarded,
            buyer: hire.buyer.peer_id(),
            seller: hire.args.seller.peer_id(),
            principal: hire.principal.peer_id(),
            service: hire.args.service.to_string(),
            price: hire.args.price,
            unit: hire.args.unit.to_string(),
            mint: hire.args.mint.to_string(),
            input: hire.args.input.to_string(),
            deadline: hire.args.deadline,
            locked: hire.receipt.as_ref().and_then(|receipt| receipt.money.locked()),
            output_commitment: match out {
                Some(Outcome::Ok(commitment)) => Some(commitment.to_string()),
                _ => None,
            },
            failure: match out {
                Some(Outcome::Error(error)) => Some(format!("{}: {}", error.code, error.text)),
                _ => None,
            },
            answer: match hire.answer {
                Answer::Delivered(_) => "delivered",
                Answer::SellerFailed(_) => "seller-failed",
                Answer::SellerSays(..) => "seller-says",
                Answer::Open => "open",
                Answer::NotUnderstood => "not-understood",
            },
        }
    }
}

impl Show for ReportView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(&self.words)
    }
}
