//! `guilder invite`

use std::fmt;

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde::Serialize;

use super::{Context, wait_for};
use crate::{
    api::{
        client::query,
        types::{InvitationView, Invite},
    },
    console::{CliError, Exit, Show},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder invite
  guilder invite --local > invitation.txt
  guilder up --join guilderinvite1…                 there, on a machine where no node is yet";

/// Print an invitation, with which another node joins this one's swarm.
///
/// One line of text, and at a terminal the same as a QR code: this node's addresses that others reach, those of the bootstrap peers
/// that it is connected to, the mints that it accepts with the fingerprint of their keys, and the unit that it pays in. There is no
/// secret in it, and whoever has it may do nothing here that others may not. It isn't signed: send it on a way on which nobody changes
/// it, or compare the fingerprints with whoever accepts it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Name addresses of this machine and its networks too, for others that are there.
    #[arg(long)]
    local: bool,
    /// Draw the QR code, also where standard output is no terminal.
    #[arg(long, conflicts_with = "no_qr")]
    qr: bool,
    /// Draw none.
    #[arg(long)]
    no_qr: bool,
}

#[derive(Serialize)]
struct Invited {
    #[serde(flatten)]
    view: InvitationView,
    #[serde(skip)]
    qr: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let path = query("/v1/invitation", &Invite { local: args.local })?;
        let view: InvitationView = context.client()?.get(&path).await?;
        for what in &view.left_out {
            context.printer.note(format!("left out: {what}"));
        }
        for peer in &view.peers {
            context.printer.note(format!("peer  {}  {}", peer.peer_id, peer.addresses.join("  ")));
        }
        for mint in &view.mints {
            let pin = mint.pin.map_or_else(|| "not reached yet".to_owned(), |pin| format!("keys {pin}"));
            context.printer.note(format!("mint  {}  {pin}", mint.url));
        }
        let wanted = args.qr || (!args.no_qr && context.printer.is_for_a_terminal());
        let qr = if wanted { drawn(&view.invitation) } else { None };
        if wanted && qr.is_none() {
            context.printer.note("no QR code: the invitation is longer than one holds");
        }
        context.printer.show(&Invited { view, qr })?;
        Ok(Exit::Done)
    })
}

/// The QR code in half blocks, light on dark as terminals are. None if there is too much in it.
fn drawn(invitation: &str) -> Option<String> {
    // In upper case it has the alphanumeric form, which is half as large.
    let code = QrCode::with_error_correction_level(invitation.to_ascii_uppercase(), EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

impl Show for Invited {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(qr) = &self.qr {
            writeln!(out, "{qr}\n")?;
        }
        writeln!(out, "{}", self.view.invitation)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_usual_invitation_fits_a_terminal_as_a_code_and_the_longest_has_none() {
        let usual = drawn(&"guilderinvite1".repeat(20)).unwrap();
        let width = usual.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(width <= 72, "{width}");
        assert!(usual.chars().all(|c| "█▀▄ \n".contains(c)), "{usual}");
        assert!(drawn(&"a".repeat(5_000)).is_none());
    }
}
