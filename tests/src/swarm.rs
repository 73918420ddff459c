//! A mint host and traders on loopback, and their money.

use std::{collections::BTreeMap, fmt, ops::AddAssign, time::Duration};

use serde_json::Value;

use crate::{Daemon, Home, LONG, Slot, eventually};

/// The unit of the hosted mint: play money.
pub const UNIT: &str = "play";

/// What every node of a test is set to: it listens on loopback alone and looks for nobody on the local network.
pub const LOOPBACK: &str = "network.listen = [\"/ip4/127.0.0.1/tcp/0\"]\nnetwork.mdns = false\n";

/// Locks that fall back soon after the deadline. They come back once the tolerated skew of a minute has passed too.
pub const SHORT_LOCKS: &str =
    "wallet.purse.life_secs = 1\nwallet.purse.bucket_secs = 1\nwallet.redemption.margin_secs = 5\n";

/// A node that hosts a mint of play money, and the right to run a swarm.
#[derive(Debug)]
pub struct Swarm {
    /// The mint host, which is also the one address that the others know.
    pub mint: Daemon,
    /// Its mint.
    pub mint_url: String,
    bootstrap: String,
    _slot: Slot,
}

impl Swarm {
    /// Starts the mint host. The mint keeps `fee_ppk` thousandths of each proof spent.
    #[track_caller]
    pub fn start(fee_ppk: u64) -> Self {
        Self::start_with(fee_ppk, "")
    }

    /// As [`Self::start`], with more settings of the mint host.
    #[track_caller]
    pub fn start_with(fee_ppk: u64, settings: &str) -> Self {
        Self::start_at("127.0.0.1", fee_ppk, settings)
    }

    /// As [`Self::start_with`], with the mint host at an address of its own.
    #[track_caller]
    pub fn start_at(host: &str, fee_ppk: u64, settings: &str) -> Self {
        let hosting = format!("{}{}{settings}", LOOPBACK.replace("127.0.0.1", host), mint_settings(fee_ppk));
        Self::start_in(&Home::new(&hosting), &hosting)
    }

    /// As [`Self::start`], on a small disk ([`Home::on_small_disk`]), if it can be had.
    #[track_caller]
    pub fn start_on_small_disk(mib: u32, fee_ppk: u64) -> Option<Self> {
        let hosting = format!("{LOOPBACK}{}", mint_settings(fee_ppk));
        Some(Self::start_in(&Home::on_small_disk(mib, &hosting)?, &hosting))
    }

    fn start_in(home: &Home, settings: &str) -> Self {
        let slot = Slot::take();
        let mint = Daemon::start("mint", home);
        // Started again, it is where the others know it to be.
        let port = mint.address().split("/tcp/").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
        mint.settings(&settings.replacen("/tcp/0", &format!("/tcp/{port}"), 1));
        let (bootstrap, mint_url) = (mint.address(), format!("p2p://mint/{}", mint.peer_id()));
        Self { mint, mint_url, bootstrap, _slot: slot }
    }

    /// Settings of a trader that knows the mint host, and these beside. It pays in advance, whoever sells, unless these say `hire.mode`:
    /// most tests count what is locked and redeemed.
    pub fn settings(&self, more: &str) -> String {
        let Self { bootstrap, mint_url, .. } = self;
        let mode = if more.contains("hire.mode") { "" } else { "hire.mode = \"prepaid\"\n" };
        format!(
            "{LOOPBACK}network.bootstrap = [\"{bootstrap}\"]\nwallet.mints = [\"{mint_url}\"]\n\
             wallet.unit = \"{UNIT}\"\n{mode}{more}"
        )
    }

    /// As [`Self::settings`], of a trader at an address of its own.
    pub fn settings_at(&self, host: &str, more: &str) -> String {
        let settings = self.settings(more);
        match settings.strip_prefix(LOOPBACK) {
            Some(rest) => format!("{}{rest}", LOOPBACK.replace("127.0.0.1", host)),
            None => settings,
        }
    }

    /// What the mint has issued and not taken back, by its own books.
    #[track_caller]
    pub fn in_circulation(&self) -> u64 {
        let status = self.mint.status();
        let books = status["mint_books"].as_array().unwrap();
        let unit = books.iter().find(|books| books["unit"] == UNIT).unwrap_or_else(|| panic!("no {UNIT} in {status}"));
        unit["issued"].as_u64().unwrap() - unit["redeemed"].as_u64().unwrap()
    }

    /// Starts a trader with more settings than the usual.
    #[track_caller]
    pub fn trader(&self, name: &str, more: &str) -> Daemon {
        Daemon::start(name, &Home::new(&self.settings(more)))
    }

    /// Starts a trader with so much money.
    #[track_caller]
    pub fn buyer(&self, amount: u64, more: &str) -> Daemon {
        let buyer = self.trader("buyer", more);
        fund(&buyer, amount);
        buyer
    }
}

fn mint_settings(fee_ppk: u64) -> String {
    format!("mint.host = true\nmint.units = [{{ unit = \"{UNIT}\", input_fee_ppk = {fee_ppk} }}]\n")
}

/// Gets money from the trader's one mint.
#[track_caller]
pub fn fund(daemon: &Daemon, amount: u64) {
    let lines = daemon.run(["wallet", "fund", &amount.to_string()]).ok().lines();
    assert!(lines.iter().any(|line| line["kind"] == "funded" && line["amount"] == amount), "{lines:?}");
}

/// Waits until a node finds a service.
#[track_caller]
pub fn meet(buyer: &Daemon, service: &str) {
    eventually(&format!("{service} to be found"), LONG, || {
        let found = buyer.run(["find", service]);
        if found.text().contains(service) { Ok(()) } else { Err(found) }
    });
}

/// Puts a service on sale that gives back its input.
#[track_caller]
pub fn sell_echo(seller: &Daemon, name: &str, price: u64, more: &str) {
    sell(seller, name, price, &format!("{more}\nrun = \"echo\""));
}

/// Puts a service on sale that a shell script does.
#[track_caller]
pub fn sell_script(seller: &Daemon, name: &str, price: u64, script: &str, more: &str) {
    let command = serde_json::json!(["/bin/sh", "-c", script]);
    sell(seller, name, price, &format!("{more}\n[run.process]\ncommand = {command}"));
}

/// Puts a service on sale; `rest` is what stands in its file beside name and price.
#[track_caller]
pub fn sell(seller: &Daemon, name: &str, price: u64, rest: &str) {
    let unit = seller_unit(seller);
    let text = format!("name = \"{name}\"\ndescription = \"{name}\"\nprice = {price}\nunit = \"{unit}\"\n{rest}\n");
    let file = seller.write(&format!("{name}.toml"), text);
    seller.run(["service".as_ref(), "add".as_ref(), file.as_os_str()]).ok();
}

/// The unit that a trader's settings name.
fn seller_unit(seller: &Daemon) -> String {
    let settings = std::fs::read_to_string(seller.path().join("config.toml")).unwrap();
    let line = settings.lines().find_map(|line| line.strip_prefix("wallet.unit = "));
    line.map_or_else(|| "sat".to_owned(), |unit| unit.trim_matches('"').to_owned())
}

/// What a hire that was delivered came to.
#[derive(Debug)]
pub struct Delivered {
    /// The task, as the command line shows it at the end.
    pub task: Value,
    /// The output.
    pub output: String,
}

impl Delivered {
    /// The task's ID.
    pub fn id(&self) -> &str {
        self.task["id"].as_str().unwrap()
    }
}

/// Hires with input on standard input; it must be delivered.
#[track_caller]
pub fn hire(buyer: &Daemon, service: &str, input: &[u8], more: &[&str]) -> Delivered {
    let mut args = vec!["hire", service, "--input", "-"];
    args.extend(more);
    let lines = buyer.run_with(args, input).ok().lines();
    let last = lines.last().unwrap();
    let output = last["output"].as_str().unwrap_or_else(|| panic!("no output in {last}")).to_owned();
    Delivered { task: last["ended"].clone(), output }
}

/// A wallet's money in all its mints, by where it is and by its account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // as in the command line's JSON
pub struct Money {
    pub available: u64,
    pub purse: u64,
    pub at_risk: u64,
    pub waiting: u64,
    pub earned: u64,
    pub pending: u64,
    pub funded: u64,
    pub received: u64,
    pub sent: u64,
    pub paid: u64,
    pub forfeited: u64,
    pub fees: u64,
    pub lost: u64,
}

impl Money {
    /// What a node's wallet holds.
    #[track_caller]
    pub fn of(daemon: &Daemon) -> Self {
        let balances = daemon.json(["wallet", "balance"]);
        let mut money = Self::default();
        balances.as_array().unwrap().iter().for_each(|balance| money += Self::read(balance));
        money
    }

    fn read(balance: &Value) -> Self {
        let part = |name: &str| balance[name].as_u64().unwrap_or_else(|| panic!("no {name} in {balance}"));
        let entry = |name: &str| balance["account"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {balance}"));
        Self {
            available: part("available"),
            purse: part("purse"),
            at_risk: part("at_risk"),
            waiting: part("waiting"),
            earned: part("earned"),
            pending: part("pending"),
            funded: entry("funded"),
            received: entry("received"),
            sent: entry("sent"),
            paid: entry("paid"),
            forfeited: entry("forfeited"),
            fees: entry("fees"),
            lost: entry("lost"),
        }
    }

    /// All that the wallet holds.
    pub fn total(&self) -> u64 {
        self.available + self.purse + self.at_risk + self.waiting + self.earned + self.pending
    }

    /// Whether nothing of it is on its way: what is locked in a purse is still nobody else's.
    pub fn is_settled(&self) -> bool {
        self.at_risk + self.waiting + self.earned + self.pending == 0
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        self.available += other.available;
        self.purse += other.purse;
        self.at_risk += other.at_risk;
        self.waiting += other.waiting;
        self.earned += other.earned;
        self.pending += other.pending;
        self.funded += other.funded;
        self.received += other.received;
        self.sent += other.sent;
        self.paid += other.paid;
        self.forfeited += other.forfeited;
        self.fees += other.fees;
        self.lost += other.lost;
    }
}

/// The books of several nodes.
#[derive(Clone, Debug)]
pub struct Books(BTreeMap<String, Money>);

impl Books {
    /// Reads them.
    #[track_caller]
    pub fn of(daemons: &[&Daemon]) -> Self {
        Self(daemons.iter().map(|daemon| (daemon.name().to_owned(), Money::of(daemon))).collect())
    }

    /// Waits until no money of theirs is on its way.
    #[track_caller]
    pub fn settled(daemons: &[&Daemon], patience: Duration) -> Self {
        eventually("all money to be settled", patience, || {
            let books = Self::of(daemons);
            if books.0.values().all(Money::is_settled) { Ok(books) } else { Err(books) }
        })
    }

    /// One node's.
    #[track_caller]
    pub fn money(&self, name: &str) -> Money {
        self.0[name]
    }

    /// All of them.
    pub fn sum(&self) -> Money {
        let mut sum = Money::default();
        self.0.values().for_each(|money| sum += *money);
        sum
    }

    /// Every coin that was issued to one of them is with one of them, or was kept by the mint as a fee that they know of.
    #[track_caller]
    pub fn add_up(&self) -> &Self {
        let sum = self.sum();
        assert_eq!(sum.total() + sum.fees, sum.funded, "coins were lost or made: {self}");
        assert_eq!(sum.lost, 0, "{self}");
        self
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, money)| write!(f, "\n  {name}: {money:?}"))
    }
}
