//! What an operator can set: `config.toml` in the home folder.
//!
//! Each room owns the type of its section, so that its settings and their defaults stand beside the code that obeys
//! them. The one place that documents them for people is `config/template.toml`, which `guilder init` writes: every
//! setting, commented out, at its default. A test holds the template to the types.

mod chosen;
pub mod join;
mod sections;

use std::{io, ops::Range, path::PathBuf};

use guilder_protocol::fault::{AtFault, Fault};
use serde::{Deserialize, Serialize};

use crate::{mint::MintConfig, network::NetworkConfig, trade::TradeConfig, wallet::WalletConfig};

pub use self::chosen::{AddressError, Chosen, joinable, listenable, monitorable};
pub use self::sections::{ApiConfig, GateConfig, HireConfig, HooksConfig, LogConfig, LogFormat, MonitorConfig};

/// What `guilder init` writes.
pub const TEMPLATE: &str = include_str!("config/template.toml");

/// All settings of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Peers.
    pub network: NetworkConfig,
    /// The control API.
    pub api: ApiConfig,
    /// The wallet.
    pub wallet: WalletConfig,
    /// Hiring from the command line.
    pub hire: HireConfig,
    /// What callers that aren't the owner may do.
    pub gate: GateConfig,
    /// Trading.
    pub trade: TradeConfig,
    /// The mint that this node hosts, if it does.
    pub mint: MintConfig,
    /// What machines watch the node by.
    pub monitor: MonitorConfig,
    /// Webhooks.
    pub hooks: HooksConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

impl Config {
    /// Reads settings from TOML. What isn't set is at its default; what isn't known is refused.
    ///
    /// # Errors
    /// Where the text isn't TOML, or sets what there isn't or can't be; with its line.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            line: line_of(text, error.span()),
            message: error.message().trim().replace('\n', ", "),
        })?;
        config.api.check()?;
        config.monitor.check()?;
        config.hooks.check()?;
        config.log.check()?;
        Ok(config)
    }

    /// Reads the settings of a home. A missing file means all defaults.
    ///
    /// # Errors
    /// If the file can't be read, or as [`Self::parse`].
    pub fn load(path: PathBuf) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|cause| ConfigError::File { path, cause: Box::new(cause) }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(cause) => Err(ConfigError::Io { path, cause }),
        }
    }
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count() + 1
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// In this file.
    #[error("{}: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        cause: Box<Self>,
    },
    /// Not TOML, an unknown setting, or a value of the wrong type.
    #[error("line {line}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// As the parser says it.
        message: String,
    },
    /// A value that a setting can't have.
    #[error("{setting}: {reason}")]
    Value {
        /// `section.name`.
        setting: &'static str,
        /// Why it can't.
        reason: String,
    },
    /// The file can't be read.
    #[error("can't read {}: {cause}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl AtFault for ConfigError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io { .. } => Fault::Environment,
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { cause, .. } => cause.hint(),
            Self::Syntax { .. } => Some("`guilder init --print-config` prints every setting with its default"),
            Self::Value { .. } | Self::Io { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The template with each `#name = value` and `#[section]` put in force.
    fn uncommented() -> String {
        let setting = |line: &&str| !line.starts_with("# ") && *line != "#";
        TEMPLATE
            .lines()
            .filter(setting)
            .map(|line| line.strip_prefix('#').unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_template_as_written_is_all_defaults() {
        assert_eq!(Config::parse(TEMPLATE).unwrap(), Config::default());
    }

    #[test]
    fn the_template_says_the_defaults() {
        assert_eq!(Config::parse(&uncommented()).unwrap(), Config::default());
    }

    #[test]
    fn the_template_leaves_no_setting_out() {
        let all = toml::to_string(&Config::default()).unwrap();
        let template: toml::Table = toml::from_str(&uncommented()).unwrap();
        let mut missing = Vec::new();
        compare(&toml::from_str(&all).unwrap(), &template, "", &mut missing);
        assert!(missing.is_empty(), "{missing:?}");
    }

    fn compare(defaults: &toml::Table, template: &toml::Table, section: &str, missing: &mut Vec<String>) {
        for (name, value) in defaults {
            let path = format!("{section}.{name}");
            match (value, template.get(name)) {
                (toml::Value::Table(inner), Some(toml::Value::Table(found))) => compare(inner, found, &path, missing),
                (_, Some(_)) => {}
                (_, None) => missing.push(path),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error = |text: &str| Config::parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(error("[api]\nlisten = \"127.0.0.1:0\"\nlissten = 3\n"), @"line 3: unknown field `lissten`, expected `listen`");
        insta::assert_snapshot!(error("[api]\n\nlisten = 7\n"), @"line 3: invalid type: integer `7`, expected socket address");
        insta::assert_snapshot!(error("[api]\nlisten = \"0.0.0.0:80\"\n"), @"api.listen: 0.0.0.0:80 is not a loopback address; whoever reaches the API has the money");
        insta::assert_snapshot!(error("[monitor]\nlisten = \"0.0.0.0:9464\"\n"), @"monitor.listen: 0.0.0.0:9464 can be reached from other machines, which then read what the node holds; monitor.allow_remote = true allows it");
        insta::assert_snapshot!(error("[api\n"), @"line 1: unclosed table, expected `]`");
        insta::assert_snapshot!(error("[log]\nfilter = \"guilder==\"\n"), @r#"log.filter: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5"#);
    }
}
