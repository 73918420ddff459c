//! `guilder service-unit`

use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::Context;
use crate::console::{CliError, Exit, Show};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder service-unit | sudo tee /etc/systemd/system/guilder.service
  guilder --home /srv/guilder service-unit --user market
  guilder --passphrase-file /etc/guilder/passphrase service-unit";

/// Where a node lives whose unit names no other home: systemd makes it, for the node's user alone.
const HOME: &str = "/var/lib/guilder";

/// Print a systemd unit that runs the node.
///
/// The node runs as a user of its own, without privileges, and can write to nothing but its home: in /var/lib/guilder unless --home
/// says where. With --passphrase-file that file, which root alone needs to read, is handed to it at each start. It is not started
/// again after what a restart can't mend: wrong settings, a wrong passphrase.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The user that it runs as.
    #[arg(long, value_name = "NAME", default_value = "guilder", value_parser = user)]
    user: String,
    /// Where the guilder binary is [default: this one].
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// The unit.
#[derive(Debug, Serialize)]
struct Unit {
    unit: String,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe().map_err(|cause| CliError::io("can't find the guilder binary", &cause))?,
    };
    let home = match context.named_home() {
        Some(home) => home.dir().to_owned(),
        None => HOME.into(),
    };
    can_be_reached(&binary, &home)?;
    let unit = unit(&args.user, &binary, &home, context.passphrase.file())?;
    context.printer.show(&Unit { unit })?;
    Ok(Exit::Done)
}

/// A unit whose node may not look into people's homes can't start a binary that lies there.
fn can_be_reached(binary: &Path, home: &Path) -> Result<(), CliError> {
    if is_personal(home) || !is_personal(binary) {
        return Ok(());
    }
    let binary = binary.display();
    Err(CliError::usage(
        format!("{binary} lies in somebody's home, where a service does not look"),
        format!(
            "put it where all may run it: sudo install {binary} /usr/local/bin/guilder; then --binary /usr/local/bin/guilder"
        ),
    ))
}

fn is_personal(path: &Path) -> bool {
    ["/home", "/root", "/run/user"].iter().any(|folder| path.starts_with(folder))
}

fn unit(user: &str, binary: &Path, home: &Path, passphrase: Option<&Path>) -> Result<String, CliError> {
    // Only in a command does systemd put variables in place of $.
    let command = format!("{} --home {}", word(binary)?, word(home)?).replace('$', "$$");
    let (credential, command) = match passphrase {
        None => (String::new(), command),
        Some(file) => {
            let file = word(file)?;
            if file.starts_with('"') {
                return Err(CliError::usage(
                    "a unit can't name such a passphrase file",
                    "give it a name without spaces",
                ));
            }
            (format!("LoadCredential=passphrase:{file}\n"), format!("{command} --passphrase-file %d/passphrase"))
        }
    };
    let mut text = format!(
        "\
# Made by: guilder service-unit
[Unit]
Description=Guilder node
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
User={user}
{credential}ExecStart={command} up
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5
# Settings, keys or passphrase are wrong, or another daemon has the home: somebody has to look.
RestartPreventExitStatus=2
TimeoutStopSec=30
LimitNOFILE=16384
"
    );
    text += &place(home)?;
    text += HARDENING;
    Ok(text)
}

/// What the node may write to.
fn place(home: &Path) -> Result<String, CliError> {
    let mut text = String::from("\n# It writes to its home and to nothing else.\nProtectSystem=strict\n");
    let name = home.strip_prefix("/var/lib").ok().and_then(Path::to_str).filter(|name| is_plain(name));
    // A String takes everything.
    let _ = match name {
        Some(name) => writeln!(text, "StateDirectory={name}\nStateDirectoryMode=0700"),
        None => writeln!(text, "ReadWritePaths={}", word(home)?),
    };
    text += if is_personal(home) { "ProtectHome=no\n" } else { "ProtectHome=yes\n" };
    // It would have a /tmp of its own, without its home.
    let is_temporary = ["/tmp", "/var/tmp"].iter().any(|folder| home.starts_with(folder));
    text += if is_temporary { "PrivateTmp=no\n" } else { "PrivateTmp=yes\n" };
    Ok(text)
}

/// What is taken from the node, and so from the programs of its services.
const HARDENING: &str = "\
UMask=0077

# It has no privileges and gets none. The programs of its services run under the same rules.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
# Node.js, Java and PyPy compile while they run: without such services take the # off.
#MemoryDenyWriteExecute=yes

[Install]
WantedBy=multi-user.target
";

/// A path as one word of a unit: systemd expands %, and splits at spaces.
fn word(path: &Path) -> Result<String, CliError> {
    let path = std::path::absolute(path).map_err(|cause| CliError::file("find", path, &cause))?;
    let text = path.to_str().filter(|text| !text.contains(|c: char| c.is_control()));
    let Some(text) = text else {
        return Err(CliError::usage(
            format!("{} can't be written in a unit", path.display()),
            "choose a path without control characters, in UTF-8",
        ));
    };
    let escaped = text.replace('%', "%%");
    let is_one_word = !text.contains(|c: char| c.is_whitespace() || "\"'\\;".contains(c));
    let quoted = || format!("\"{}\"", escaped.replace('\\', "\\\\").replace('"', "\\\""));
    Ok(if is_one_word { escaped.clone() } else { quoted() })
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-/".contains(c))
}

/// The name of a user, as a unit can have it.
fn user(name: &str) -> Result<String, &'static str> {
    let is_name = is_plain(name) && !name.contains('/') && !name.starts_with('-');
    if is_name { Ok(name.to_owned()) } else { Err("a user's name has letters, digits, - and _") }
}

impl Show for Unit {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(&self.unit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_unit_of_a_node_in_its_usual_place() {
        let unit = unit("guilder", Path::new("/usr/bin/guilder"), Path::new(HOME), None).unwrap();
        insta::assert_snapshot!(unit);
    }

    #[test]
    fn a_home_elsewhere_is_written_to_and_a_passphrase_handed_over() {
        let home = Path::new("/home/a b/100%");
        let unit = unit("a", Path::new("/opt/guilder"), home, Some(Path::new("/etc/guilder/passphrase"))).unwrap();
        for line in [
            "User=a",
            "LoadCredential=passphrase:/etc/guilder/passphrase",
            "ExecStart=/opt/guilder --home \"/home/a b/100%%\" --passphrase-file %d/passphrase up",
            "ReadWritePaths=\"/home/a b/100%%\"",
            "ProtectHome=no",
        ] {
            assert!(unit.lines().any(|written| written == line), "no {line} in\n{unit}");
        }
        assert!(!unit.contains("StateDirectory"), "{unit}");
    }

    #[test]
    fn what_would_say_something_else_in_a_unit_is_refused() {
        for bad in ["", "a b", "a\nExecStart=/bin/sh", "-x", "a/b", "%h"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        assert!(word(Path::new("/a\nExecStart=/bin/sh")).is_err());
    }
}
