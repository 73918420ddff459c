//! `guilder service init NAME`: a service's file with a program that works, to be changed into one's own.

use std::{
    fmt,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use guilder_protocol::market::{ServiceName, Unit};
use serde::Serialize;

use crate::{
    cli::Context,
    config::Config,
    console::{CliError, Exit, Show, quoted},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What it is to be called, e.g. text.count.
    name: ServiceName,
    /// The folder to put the files in.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// What the program is written in.
    #[arg(long, value_name = "LANGUAGE", default_value = "sh")]
    language: Language,
    /// The price of one task, net.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    price: u64,
    /// Its unit [default: wallet.unit of the node's settings].
    #[arg(long)]
    unit: Option<Unit>,
}

/// In what a program is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    /// A shell script.
    Sh,
    /// Python 3, with progress.
    Python,
}

impl Language {
    fn ending(self) -> &'static str {
        match self {
            Self::Sh => "sh",
            Self::Python => "py",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Sh => include_str!("template/count.sh"),
            Self::Python => include_str!("template/count.py"),
        }
    }
}

#[derive(Serialize)]
struct Made {
    service: PathBuf,
    program: PathBuf,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (file, program) = (format!("{}.toml", args.name), format!("{}.{}", args.name, args.language.ending()));
    let unit = match &args.unit {
        Some(unit) => unit.clone(),
        // Whoever has no node yet can write a service all the same.
        None => Config::load(context.home()?.config())?.wallet.unit,
    };
    let text = include_str!("template/service.toml")
        .replace("{name}", args.name.as_str())
        .replace("{program}", &program)
        .replace("{price}", &args.price.to_string())
        .replace("{unit}", unit.as_str());
    let made = Made { service: args.dir.join(file), program: args.dir.join(program) };
    let fail = |path: &Path, cause: &std::io::Error| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => {
            CliError::usage(format!("there is {} already", path.display()), "choose another name, or another --dir")
        }
        _ => CliError::file("write", path, cause),
    };
    std::fs::create_dir_all(&args.dir).map_err(|cause| fail(&args.dir, &cause))?;
    if made.service.exists() {
        return Err(fail(&made.service, &std::io::ErrorKind::AlreadyExists.into()));
    }
    write_new(&made.program, args.language.program(), 0o777).map_err(|cause| fail(&made.program, &cause))?;
    write_new(&made.service, &text, 0o666).map_err(|cause| fail(&made.service, &cause))?;
    context.printer.show(&made)?;
    Ok(Exit::Done)
}

/// What is there stays as it is.
fn write_new(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())
}

impl Show for Made {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let service = quoted(&self.service);
        writeln!(out, "{}  what is sold, for how much, within which limits", self.service.display())?;
        writeln!(out, "{}  the program: change it into yours\n", self.program.display())?;
        writeln!(out, "Try it without network and money:")?;
        writeln!(out, "  echo 'Agents trade.' | guilder service test {service} --input -")?;
        writeln!(out, "Sell it, with the node up:")?;
        writeln!(out, "  guilder service add {service}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::executor::Definition;

    #[test]
    fn what_is_written_is_a_service_that_could_be_sold() {
        let dir = tempfile::tempdir().unwrap();
        let template = include_str!("template/service.toml");
        for language in [Language::Sh, Language::Python] {
            let program = format!("a.b.{}", language.ending());
            write_new(&dir.path().join(&program), language.program(), 0o755).unwrap();
            let values = [("{name}", "a.b"), ("{program}", &program), ("{price}", "3"), ("{unit}", "play")];
            let text = values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
            assert!(["{name}", "{program}", "{price}", "{unit}"].iter().all(|name| !text.contains(name)), "{text}");
            let definition = Definition::from_toml(&text, dir.path()).unwrap();
            assert_eq!((definition.price, definition.unit.as_str()), (3, "play"));
            let found = definition.find_program();
            assert!(found.is_ok() || language == Language::Python, "{found:?}");
            // What is commented out is as true as what isn't.
            let all = text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line));
            let all = all.collect::<Vec<_>>().join("\n");
            assert!(all.len() < text.len());
            std::fs::write(dir.path().join("input.schema.json"), "{}").unwrap();
            Definition::from_toml(&all, dir.path()).unwrap_or_else(|error| panic!("{error}\n{all}"));
        }
    }

    fn is_setting(line: &str) -> bool {
        line.split_once(" = ").is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    }
}
