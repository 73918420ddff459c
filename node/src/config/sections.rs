//! The sections that belong to no other room.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::trade::HireMode;

/// `[api]`: the control API that the command line talks to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Where it listens; loopback only. Port 0 takes any free one, which `api.json` names.
    pub listen: SocketAddr,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into() }
    }
}

impl ApiConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        let reason = format!("{} is not a loopback address; whoever reaches the API has the money", self.listen);
        Err(ConfigError::Value { setting: "api.listen", reason })
    }
}

/// `[hire]`: what `guilder hire` goes by where it isn't told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HireConfig {
    /// The most that is paid for one task, net, in the unit that it is paid in.
    pub max_price: u64,
    /// Seconds until the delivery must have arrived.
    pub deadline_secs: u64,
    /// How it is paid.
    pub mode: HireMode,
    /// With `mode = "auto"`: the most that is in the hands of a seller in advance which hasn't earned it and can't be paid in escrow,
    /// all tasks together.
    pub stranger_max: u64,
    /// The most that is awarded in one day (UTC), in each unit; 0: no bound.
    pub daily_max: u64,
}

impl Default for HireConfig {
    fn default() -> Self {
        Self { max_price: 100, deadline_secs: 60, mode: HireMode::Auto, stranger_max: 20, daily_max: 0 }
    }
}

/// `[gate]`: callers that aren't the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateConfig {
    /// A hire of a caller that may cost more than this waits for the owner's word, in whatever unit.
    pub ask_above: u64,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self { ask_above: 100 }
    }
}

/// `[monitor]`: `/healthz` and `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorConfig {
    /// Where they are served; nowhere unless set.
    pub listen: Option<SocketAddr>,
    /// Whether that may be an address which other machines reach.
    pub allow_remote: bool,
}

impl MonitorConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.listen {
            Some(listen) if !listen.ip().is_loopback() && !self.allow_remote => {
                let reason = format!(
                    "{listen} can be reached from other machines, which then read what the node holds; monitor.allow_remote = true \
                     allows it"
                );
                Err(ConfigError::Value { setting: "monitor.listen", reason })
            }
            _ => Ok(()),
        }
    }
}

/// `[hooks]`: webhooks that set duties off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HooksConfig {
    /// Where they are taken; nowhere unless set.
    pub listen: Option<SocketAddr>,
    /// What their URLs begin with as others reach them, where a proxy or a tunnel stands before the listener.
    pub url: Option<String>,
}

impl HooksConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let is_web = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        match &self.url {
            Some(url) if !is_web(url) => {
                let reason = format!("{url} is no URL; one looks like https://hooks.example.org");
                Err(ConfigError::Value { setting: "hooks.url", reason })
            }
            _ => Ok(()),
        }
    }

    /// Where a hook is, if any are taken.
    pub fn url_of(&self, name: &str) -> Option<String> {
        let base = match (&self.url, self.listen) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(listen)) => format!("http://{listen}"),
            (None, None) => return None,
        };
        Some(format!("{base}/hooks/{name}"))
    }
}

/// `[log]`: what is logged to standard error, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// As in `RUST_LOG`, which goes first where it is set.
    pub filter: String,
    /// For people or for machines.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info,libp2p=error,cdk=warn,rmcp=off".into(), format: LogFormat::Text }
    }
}

impl LogConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match tracing_subscriber::EnvFilter::try_new(&self.filter) {
            Ok(_) => Ok(()),
            Err(error) => Err(ConfigError::Value { setting: "log.filter", reason: error.to_string() }),
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text.
    #[default]
    Text,
    /// One JSON object.
    Json,
}
