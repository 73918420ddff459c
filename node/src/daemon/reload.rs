//! The settings read again while the node runs (SIGHUP): what can be changed is, and what can't is named.
//!
//! `network.bootstrap` and `log.filter` change at once. All else is held by rooms from their start, on purpose: prices, limits and modes
//! of a trade under way don't change beneath it. A file that can't be read changes nothing.

use crate::{
    config::{Config, ConfigError},
    keys::Home,
    network::Network,
};

use super::log;

/// The settings file, as it was read last.
#[derive(Debug)]
pub(super) struct Reloading {
    home: Home,
    read: Config,
}

/// What a look at the file came to: names of settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reloaded {
    /// Changed now.
    pub(super) applied: Vec<String>,
    /// Changed in the file, and in force from the next start on.
    pub(super) restart: Vec<String>,
}

impl Reloading {
    /// From here on changes count.
    pub(super) fn new(home: &Home) -> Result<Self, ConfigError> {
        Ok(Self { home: home.clone(), read: Config::load(home.config())? })
    }

    /// Reads the file again and puts in force what can be.
    pub(super) async fn reload(&mut self, network: &Network) -> Result<Reloaded, ConfigError> {
        let new = Config::load(self.home.config())?;
        let mut reloaded = Reloaded::default();
        for name in changed(&self.read, &new) {
            let applied = match name.as_str() {
                "network.bootstrap" => {
                    network.set_bootstrap(&self.read.network.bootstrap, &new.network.bootstrap).await;
                    true
                }
                "log.filter" => log::filter(&new.log.filter),
                _ => false,
            };
            // What waits for a restart is named at each reload until then.
            match name.as_str() {
                "network.bootstrap" => self.read.network.bootstrap.clone_from(&new.network.bootstrap),
                "log.filter" if applied => self.read.log.filter.clone_from(&new.log.filter),
                _ => {}
            }
            if applied { &mut reloaded.applied } else { &mut reloaded.restart }.push(name);
        }
        Ok(reloaded)
    }
}

/// The settings that differ, by name, in order.
fn changed(one: &Config, other: &Config) -> Vec<String> {
    // Every configuration that was read can be written.
    let table = |config: &Config| toml::Table::try_from(config).unwrap_or_default();
    let mut names = Vec::new();
    compare(&table(one), &table(other), "", &mut names);
    names.sort();
    names.dedup();
    names
}

fn compare(one: &toml::Table, other: &toml::Table, within: &str, names: &mut Vec<String>) {
    for name in one.keys().chain(other.keys()) {
        let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        match (one.get(name), other.get(name)) {
            (Some(one), Some(other)) if one == other => {}
            // Sections, and the sections in them; a table of pins is one setting.
            (Some(toml::Value::Table(one)), Some(toml::Value::Table(other))) if name != "pins" => {
                compare(one, other, &path, names);
            }
            _ => names.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What changes without a restart.
    const LIVE: [&str; 2] = ["log.filter", "network.bootstrap"];

    #[test]
    fn what_differs_is_named_once_and_what_is_live_is_a_setting() {
        let config = |text: &str| Config::parse(text).unwrap();
        let before = config("[network]\nmdns = false\n[wallet.purse]\ncap = 7\n");
        let after = config(
            "[network]\nbootstrap = [\"/ip4/192.0.2.7/tcp/1\"]\n[wallet]\npins = { \"https://mint.example\" = \"00112233445566778899aabbccddeeff\" }\n\
             [wallet.purse]\ncap = 8\n[monitor]\nlisten = \"127.0.0.1:1\"\n[log]\nfilter = \"debug\"\n",
        );
        let expected =
            ["log.filter", "monitor.listen", "network.bootstrap", "network.mdns", "wallet.pins", "wallet.purse.cap"];
        // A whole section of which one side has no value for a name that has no default.
        assert_eq!(changed(&before, &after), expected);
        assert_eq!(changed(&after, &after), [""; 0]);
        let all = toml::Table::try_from(Config::default()).unwrap();
        for name in LIVE {
            let (section, name) = name.split_once('.').unwrap();
            assert!(all[section].as_table().unwrap().contains_key(name), "{section}.{name}");
        }
    }
}
