//! `guilder hook add|list|rotate|remove`, and `guilder hook out …` (`hook/out.rs`)

use std::fmt;

use clap::{Subcommand, builder::NonEmptyStringValueParser};
use serde::Serialize;

use super::{Context, wait_for};
use crate::{
    api::{
        client::escape,
        types::{HookRequest, HookRotation},
    },
    config::Config,
    console::{CliError, Exit, Show, fields, harmless::one_line, table},
    duty::{Hook, HookKind},
};

mod out;

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder hook add repo --github
  guilder hook rotate repo          a new secret beside the one before
  guilder hook rotate repo --done   the sender has it: the one before is taken no more
  guilder hook out add books --url https://books.example/hooks --events ended,redeemed";

/// Let webhooks set duties off, or tell other programs by webhooks what happens here.
///
/// They come in on a listener of their own, which is off until config.toml says where: [hooks] listen. Those that go out
/// (`guilder hook out`) need none.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: HookCommand,
}

#[derive(Debug, Subcommand)]
enum HookCommand {
    /// Add a hook, and print its URL and its secret: this once.
    #[command(group = clap::ArgGroup::new("kind").required(true).args(["github", "standard"]))]
    Add {
        /// Its name, by which duties take it: on = [{ hook = "NAME" }].
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Signed as GitHub does it.
        #[arg(long)]
        github: bool,
        /// Signed as the Standard Webhooks specification says.
        #[arg(long)]
        standard: bool,
    },
    /// Print all hooks.
    List,
    /// Give a hook a new secret. The one before is taken beside it until --done.
    Rotate {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Take the secret before no more.
        #[arg(long)]
        done: bool,
    },
    /// Remove a hook.
    Remove {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Tell other programs by webhooks what happens here.
    #[command(subcommand)]
    Out(out::OutCommand),
}

#[derive(Serialize)]
#[serde(transparent)]
struct Hooks(Vec<Hook>);

/// A hook with where it is.
#[derive(Serialize)]
struct Placed {
    url: Option<String>,
    #[serde(flatten)]
    hook: Hook,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        match &args.command {
            HookCommand::Add { name, github, standard } => {
                let kind = if *github && !*standard { HookKind::Github } else { HookKind::Standard };
                let hook: Hook = client.post("/v1/hooks", &HookRequest { name: name.clone(), kind }).await?;
                show(context, hook)?;
            }
            HookCommand::List => context.printer.show(&Hooks(client.get("/v1/hooks").await?))?,
            HookCommand::Rotate { name, done } => {
                let rotation = HookRotation { done: *done };
                show(context, client.post(&format!("/v1/hooks/{}/rotate", escape(name)), &rotation).await?)?;
            }
            HookCommand::Remove { name } => {
                client.delete::<()>(&format!("/v1/hooks/{}", escape(name))).await?;
                context.printer.note(format_args!("{} is removed", one_line(name)));
            }
            HookCommand::Out(command) => return out::run(command, &client, context).await,
        }
        Ok(Exit::Done)
    })
}

fn show(context: &Context, hook: Hook) -> Result<(), CliError> {
    let config = Config::load(context.home()?.config())?;
    let url = config.hooks.url_of(&hook.name);
    let secret = hook.secret.is_some();
    let listens = url.is_some();
    context.printer.show(&Placed { url, hook })?;
    if secret {
        context.printer.note("the secret isn't shown again");
    }
    if !listens {
        context.printer.note("webhooks aren't taken yet: set [hooks] listen in config.toml, and start the node again");
    }
    Ok(())
}

fn kind(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Github => "GitHub",
        HookKind::Standard => "Standard Webhooks",
    }
}

impl Show for Placed {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(
            out,
            &[
                ("hook", self.hook.name.clone()),
                ("signed as by", kind(self.hook.kind).to_owned()),
                ("url", self.url.clone().unwrap_or_default()),
                ("secret", self.hook.secret.clone().unwrap_or_default()),
                ("secrets taken", self.hook.secrets.to_string()),
            ],
        )
    }
}

impl Show for Hooks {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |hook: &Hook| {
            vec![
                hook.name.clone(),
                kind(hook.kind).to_owned(),
                hook.taken.to_string(),
                hook.last.map(|last| last.to_string()).unwrap_or_default(),
                hook.secrets.to_string(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(out, &["HOOK", "SIGNED AS BY", ">TAKEN", "LAST", ">SECRETS"], &rows, "No hooks yet.")
    }
}
