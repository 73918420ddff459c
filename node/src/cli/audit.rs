//! `guilder audit show|export|verify`

use std::{collections::BTreeMap, fmt, path::PathBuf};

use clap::Subcommand;
use guilder_protocol::{
    audit::{self, Report, fraud},
    fault::{AtFault, Fault},
    limits::{MAX_CONTENT, MAX_FRAUD_PROOF},
    receipt::{Outcome, Salt},
    time::Timestamp,
};
use serde::Serialize;

mod html;
mod judge;

use self::judge::{Judged, judge};
use super::{Context, output::Place, task, ucan::read_bounded, wait_for};
use crate::console::{CliError, Exit, Show, harmless::one_line, quoted};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder audit show 4xw2kq
  guilder audit export 4xw2kq --output task.audit.car
  guilder audit verify task.audit.car      anyone can, anywhere
  guilder audit verify task.audit.car --output answer.json --salt 6f1c…
  guilder audit verify accusations/bafy….fraud.car      whose fault it is, as far as the file shows";

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
        /// Draw it as a page that opens without a network, and write it here.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
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
    ///
    /// A proof of fraud (accusations/ in a buyer's home folder) is such a bundle and what it lacks: the money that a seller took,
    /// or what it delivered sealed and the key that doesn't open it. Of one it is said whose fault it shows, or whose word the
    /// rest is. Exit code 1: the file doesn't hold, or shows no fault.
    Verify {
        /// The file, or - for standard input.
        file: PathBuf,
        /// The output that was delivered: whether it is what the seller promised is said, too.
        #[arg(long, value_name = "FILE", requires = "salt")]
        output: Option<PathBuf>,
        /// The salt of the output: guilder task show tells it.
        #[arg(long, value_name = "HEX", requires = "output")]
        salt: Option<Salt>,
    },
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    match &args.command {
        AuditCommand::Show { id, html } => wait_for(async {
            let bundle = download(id, context).await?;
            let report = audit::verify(&bundle)?;
            if let Some(path) = html {
                let mut writing = Place::at(path)?.begin()?;
                writing.piece(html::page(&report).as_bytes(), context)?;
                writing.end(context)?;
            }
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
        AuditCommand::Verify { file, output, salt } => {
            let bytes = read_bounded(file, MAX_FRAUD_PROOF as u64 + 1)?;
            let (report, proof) = match read(&bytes) {
                Ok(read) => read,
                Err(invalid) => {
                    context.printer.show(&*invalid)?;
                    return Ok(Exit::No);
                }
            };
            let judged = match output.as_ref().zip(*salt) {
                None => None,
                Some((path, salt)) => {
                    let output = read_bounded(path, MAX_CONTENT + 1)?;
                    if output.len() as u64 > MAX_CONTENT {
                        let message = format!("{} is larger than any output ({MAX_CONTENT} bytes)", quoted(path));
                        return Err(CliError::usage(message, "give the output alone: `guilder task output ID`"));
                    }
                    Some(judge(&report, &salt, &output))
                }
            };
            let shows_nothing = proof.as_ref().is_some_and(|proof| proof.answers.is_none());
            let exit = if judged == Some(Judged::Unknown) || shows_nothing { Exit::No } else { Exit::Done };
            context.printer.show(&ReportView::judged(report, judged).with(proof))?;
            Ok(exit)
        }
    }
}

/// Checks a bundle or a proof of fraud, whichever it says that it is.
fn read(bytes: &[u8]) -> Result<(Report, Option<FraudView>), Box<ReportView>> {
    if fraud::is_proof(bytes) {
        let proof = fraud::verify(bytes).map_err(|error| Box::new(ReportView::invalid(&error)))?;
        let view = FraudView::from(&proof);
        return Ok((proof.report, Some(view)));
    }
    let report = audit::verify(bytes).map_err(|error| Box::new(ReportView::invalid(&error)))?;
    Ok((report, None))
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
    /// What is shown of the output at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<OutputView>,
    /// What a proof of fraud shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    fraud: Option<FraudView>,
    #[serde(skip)]
    words: String,
}

#[derive(Serialize)]
struct FraudView {
    /// The award that it is about.
    award: String,
    /// `wrong-key`, `no-key`, `contradicts`, `took-failed`, `took-late`: the seller answers. `took-without-key`, `took-cancelled`,
    /// `took-accepted`, `took`: it is somebody's word. `nothing`: no fault. `not-understood`: of a later version.
    finding: &'static str,
    /// Who answers, by nothing but what it signed itself.
    answers: Option<String>,
    /// Whose word it is, where the file doesn't show it.
    word_of: Option<String>,
    /// How many of the proofs of the money the seller took, and of how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<(usize, usize)>,
    /// The same in one sentence.
    verdict: String,
}

impl From<&fraud::Proof> for FraudView {
    fn from(proof: &fraud::Proof) -> Self {
        Self {
            award: proof.award.to_string(),
            finding: proof.finding.as_str(),
            answers: proof.answers().map(|agent| agent.peer_id()),
            word_of: proof.word_of().map(|agent| agent.peer_id()),
            taken: proof.taken,
            verdict: proof.verdict(),
        }
    }
}

#[derive(Serialize)]
struct OutputView {
    /// `valid`, `output-invalid` (its seller answers), `nothing-promised`, `undecided`, `not-this-output`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    award: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seller: Option<String>,
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
    /// How it was to be paid.
    mode: String,
    /// How many delegations are behind it.
    depth: u64,
    /// When the work began and ended, by the seller's clock, as its receipt says.
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
    locked: Option<u64>,
    output_commitment: Option<String>,
    failure: Option<String>,
    /// When the seller took it, as it signed.
    accepted: Option<Timestamp>,
    /// When the buyer called it off, as it signed.
    called_off: Option<Timestamp>,
    /// When the buyer had the output, as it signed.
    received: Option<Timestamp>,
    /// Delegations behind the award that the bundle shows to be revoked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<RevokedView>,
    /// Receipts that contradict each other, by content ID.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contradicting: Vec<String>,
    /// Other awards of its buyer under the same delegation whose running totals overlap its own: it overspent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overlaps: Vec<String>,
    /// What the statements show: `delivered`, `seller-failed`, `seller-says` (that it is the buyer's doing; nothing shows it),
    /// `seller-contradicts`, `accepted`, `called-off`, `revoked`, `received`, `open`, `not-understood`.
    answer: &'static str,
    /// Who answers for it, if its own signature shows that.
    answers: Option<String>,
    /// The same in one sentence.
    verdict: String,
    /// The award for whose sake it was made, if it was subcontracted.
    #[serde(skip_serializing_if = "Option::is_none")]
    under: Option<String>,
    /// Receipts of subcontracted work that it names and the file doesn't hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    elsewhere: Vec<String>,
    /// Who answers to whom and why, through all that was subcontracted, in one sentence; null if it was delivered.
    responsibility: Option<String>,
}

#[derive(Serialize)]
struct RevokedView {
    delegation: String,
    revoker: String,
    /// By its clock.
    at: Option<Timestamp>,
}

impl From<audit::Revoked> for RevokedView {
    fn from(audit::Revoked { delegation, revoker, at }: audit::Revoked) -> Self {
        Self { delegation: delegation.to_string(), revoker: revoker.peer_id(), at }
    }
}

impl ReportView {
    pub(crate) fn valid(report: Report) -> Self {
        let mut words = format!("valid\n\n{}", harmless_words(report.clone()));
        let failed: Vec<_> = report.hires.iter().map(|hire| report.responsibility(hire)).collect();
        if report.hires.len() > 1 {
            for sentence in failed.iter().flatten() {
                words.push_str(&format!("\n  ==> {}\n", one_line(sentence)));
            }
        }
        let not_understood =
            report.unread.iter().map(|unread| (unread.statement.to_string(), unread.why.clone())).collect();
        let hires = report.hires.into_iter().zip(failed);
        let hires = hires.map(|(hire, responsibility)| HireView { responsibility, ..hire.into() }).collect();
        Self {
            valid: Some(true),
            why: None,
            task: Some(report.task.to_string()),
            hires,
            not_understood,
            output: None,
            fraud: None,
            words,
        }
    }

    /// With what a proof of fraud shows.
    fn with(mut self, fraud: Option<FraudView>) -> Self {
        if let Some(fraud) = &fraud {
            self.words.push_str(&format!("\n  ==> {}\n", one_line(&fraud.verdict)));
        }
        Self { fraud, ..self }
    }

    fn judged(report: Report, judged: Option<Judged>) -> Self {
        let mut view = Self::valid(report);
        if let Some(judged) = judged {
            view.words.push_str(&format!("\n  => {}\n", one_line(&judged.to_string())));
            view.output = Some(judged.into());
        }
        view
    }

    fn invalid(error: &(impl AtFault + fmt::Display)) -> Self {
        let is_later = error.fault() == Fault::Incompatible;
        let what = if is_later { "not understood" } else { "invalid" };
        let words = format!("{what}: {}\n", one_line(&error.to_string()));
        let (hires, not_understood) = (Vec::new(), BTreeMap::new());
        Self {
            valid: (!is_later).then_some(false),
            why: Some(error.to_string()),
            task: None,
            hires,
            not_understood,
            output: None,
            fraud: None,
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

impl From<Judged> for OutputView {
    fn from(judged: Judged) -> Self {
        let (verdict, why) = (judged.as_str(), judged.why().map(str::to_owned));
        let (award, seller) = match judged {
            Judged::Of { award, seller, .. } => (Some(award), Some(seller)),
            Judged::Unknown => (None, None),
        };
        Self { verdict, why, award, seller }
    }
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
            mode: hire.part.mode().to_string(),
            depth: hire.args.depth,
            began: hire.receipt.as_ref().map(|receipt| receipt.began),
            ended: hire.receipt.as_ref().map(|receipt| receipt.ended),
            locked: hire.receipt.as_ref().and_then(|receipt| receipt.money.locked()),
            output_commitment: match out {
                Some(Outcome::Ok(commitment)) => Some(commitment.to_string()),
                _ => None,
            },
            failure: match out {
                Some(Outcome::Error(error)) => Some(format!("{}: {}", error.code, error.text)),
                _ => None,
            },
            accepted: hire.accepted,
            called_off: hire.cancelled,
            received: hire.received.as_ref().map(|has| has.at),
            revoked: hire.revoked.iter().copied().map(RevokedView::from).collect(),
            contradicting: hire.contradicting.keys().map(ToString::to_string).collect(),
            overlaps: hire.overlaps.iter().map(ToString::to_string).collect(),
            answer: hire.answer.as_str(),
            answers: hire.answer.who().map(|agent| agent.peer_id()),
            verdict: hire.verdict(),
            under: hire.under.map(|award| award.to_string()),
            elsewhere: hire.elsewhere.iter().map(ToString::to_string).collect(),
            responsibility: None,
        }
    }
}

impl Show for ReportView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(&self.words)
    }
}
