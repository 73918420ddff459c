//! `guilder hook out add|list|show|rotate|resume|test|remove`

use std::fmt;

use clap::{Subcommand, builder::NonEmptyStringValueParser};
use serde::Serialize;

use super::Context;
use crate::{
    api::{
        client::{Client, escape},
        types::{EndpointRequest, HookRotation},
    },
    console::{CliError, Exit, Show, fields, harmless::one_line, table},
    notify::{Endpoint, Tried},
};

/// What `--events` says for all of them.
const ALL: &str = "all";

#[derive(Debug, Subcommand)]
pub(super) enum OutCommand {
    /// Add an endpoint, and print its secret: this once. It is told what happens from now on.
    Add {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Where it is: https://…, or on this machine http://….
        #[arg(long)]
        url: String,
        /// What it is told of, with commas between: ended, redeemed, money_trouble, …; or all.
        #[arg(long, value_delimiter = ',', required = true, value_name = "EVENT")]
        events: Vec<String>,
    },
    /// Print all endpoints.
    List,
    /// Print all about one endpoint: what it was told, what waits, what was given up.
    Show {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Give an endpoint a new secret. The one before signs beside it until --done.
    Rotate {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Its receiver has the new one: sign with the one before no more.
        #[arg(long)]
        done: bool,
    },
    /// Let a paused endpoint be told again, from where it was.
    Resume {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Post a test to an endpoint, once, and say what came of it.
    Test {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Remove an endpoint.
    Remove {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
}

pub(super) async fn run(command: &OutCommand, client: &Client, context: &Context) -> Result<Exit, CliError> {
    let printer = &context.printer;
    let path = |name: &str, what: &str| format!("/v1/endpoints/{}{what}", escape(name));
    match command {
        OutCommand::Add { name, url, events } => {
            let events = if events.iter().any(|event| event == ALL) { Vec::new() } else { events.clone() };
            let request = EndpointRequest { name: name.clone(), url: url.clone(), events };
            let endpoint: Endpoint = client.post("/v1/endpoints", &request).await?;
            printer.show(&endpoint)?;
            printer.note("the secret isn't shown again");
        }
        OutCommand::List => printer.show(&Endpoints(client.get("/v1/endpoints").await?))?,
        OutCommand::Show { name } => printer.show(&client.get::<Endpoint>(&path(name, "")).await?)?,
        OutCommand::Rotate { name, done } => {
            let endpoint: Endpoint = client.post(&path(name, "/rotate"), &HookRotation { done: *done }).await?;
            printer.show(&endpoint)?;
            if endpoint.secret.is_some() {
                printer.note("the secret isn't shown again");
            }
        }
        OutCommand::Resume { name } => {
            printer.show(&client.post::<Endpoint>(&path(name, "/resume"), &()).await?)?;
        }
        OutCommand::Test { name } => {
            let tried: Tried = client.post(&path(name, "/test"), &()).await?;
            printer.show(&tried)?;
            return Ok(if tried.taken { Exit::Done } else { Exit::No });
        }
        OutCommand::Remove { name } => {
            client.delete::<()>(&path(name, "")).await?;
            printer.note(format_args!("{} is removed", one_line(name)));
        }
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Endpoints(Vec<Endpoint>);

fn told_of(endpoint: &Endpoint) -> String {
    if endpoint.events.is_empty() { ALL.to_owned() } else { endpoint.events.join(", ") }
}

/// How it does, in a few words.
fn state(endpoint: &Endpoint) -> String {
    match (&endpoint.paused, &endpoint.waiting) {
        (Some(paused), _) => format!("paused: {}", paused.why),
        (None, Some(waiting)) => format!("tried {} times, next {}: {}", waiting.attempts, waiting.next, waiting.why),
        (None, None) => "up to date".to_owned(),
    }
}

impl Show for Endpoint {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut rows = vec![
            ("endpoint", self.name.clone()),
            ("url", self.url.clone()),
            ("events", told_of(self)),
            ("secret", self.secret.clone().unwrap_or_default()),
            ("secrets", self.secrets.to_string()),
            ("taken", self.taken.to_string()),
            ("last", self.last.map(|last| last.to_string()).unwrap_or_default()),
            ("state", state(self)),
        ];
        if let Some(waiting) = &self.waiting {
            rows.push(("waits", format!("{} {} since {}", waiting.kind, waiting.id, waiting.since)));
        }
        fields(out, &rows)?;
        if self.given_up.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let row = |gone: &crate::notify::GivenUp| {
            vec![gone.at.to_string(), gone.kind.clone(), gone.id.clone(), gone.attempts.to_string(), gone.why.clone()]
        };
        let rows: Vec<_> = self.given_up.iter().map(row).collect();
        table(out, &["GIVEN UP", "TYPE", "ID", ">ATTEMPTS", "WHY"], &rows, "")
    }
}

impl Show for Endpoints {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |endpoint: &Endpoint| {
            let last = endpoint.last.map(|last| last.to_string()).unwrap_or_default();
            vec![endpoint.name.clone(), endpoint.url.clone(), endpoint.taken.to_string(), last, state(endpoint)]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(out, &["ENDPOINT", "URL", ">TAKEN", "LAST", "STATE"], &rows, "No endpoints yet.")
    }
}

impl Show for Tried {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let taken = if self.taken { "taken" } else { "not taken" };
        writeln!(out, "{taken} after {} ms: {}", self.took_ms, one_line(&self.answer))
    }
}
