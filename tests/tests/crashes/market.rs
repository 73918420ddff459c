//! Who trades in a row of the matrix: a mint, a seller, a buyer and, in a chain, somebody between them.

use std::{
    collections::BTreeSet,
    fmt, fs,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use guilder_tests::{
    Daemon, Home, LONG, Ran, Swarm,
    binary::guilder,
    eventually,
    swarm::{self, Books},
};
use serde_json::Value;

use crate::checks::{self, Bought, Found};

/// What the last in line sells, and its price.
pub(crate) const COPY: (&str, u64) = ("text.copy", 7);
/// What the one in the middle sells, who passes it on.
const THROUGH: (&str, u64) = ("text.through", 40);
/// A lock that the purse holds for the other doesn't pay for this one: there is a swap in any case.
const DEAR_COPY: (&str, u64) = ("text.copy.dear", 40);
/// Room for a node and the row's trade.
const SMALL_DISK_MIB: u32 = 24;
const SIGKILL: i32 = 9;
/// How long a clock stays turned if the hire goes on: a trade is over in a tenth of it.
const TURNED_FOR: Duration = Duration::from_secs(20);
/// A row in which there is no room for anything, not even for an output.
const FULL_DISK: &str = "full disk";
/// All rows whose clocks were turned.
const TURNED: &str = "turned clocks";
/// So much that it goes as content, both ways. It is JSON, for the schemas.
const INPUT_BYTES: usize = 100 * 1024;
/// What the middle may pass on for one task.
const SUB_BUDGET: u64 = 3 * COPY.1;
/// All that may be bought under the grant.
const GRANT_BUDGET: u64 = 1_000;
/// How long after its locktime money is back at the latest: deadline, the deadlines of escrow, skew, and time to spare.
const FALL_BACK: Duration = Duration::from_secs(900);
/// How long a trade may take that goes over a fault and a restart on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// A lock for each hire, made when it is due and of no use for another; redeemed at once; back soon if in vain.
const SETTINGS: &str = "wallet.purse.warm_after_hires = 1000000\nwallet.purse.life_secs = 1\n\
    wallet.purse.bucket_secs = 1\nwallet.redemption.batch = 1\nwallet.redemption.interval_secs = 1\n\
    wallet.redemption.margin_secs = 5\nwallet.redemption.release_secs = 60\nwallet.redemption.redeem_secs = 60\n\
    wallet.redemption.escrow_margin_secs = 120\ntrade.search_secs = 10\n";

/// Who is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Buyer,
    Middle,
    Seller,
    Mint,
    Grantor,
}

impl Party {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Middle => "subcontractor",
            Self::Seller => "seller",
            Self::Mint => "mint",
            Self::Grantor => "grantor",
        }
    }
}

/// Who hires whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The buyer hires the seller.
    Pair,
    /// The buyer hires the middle, which hires the seller.
    Chain,
    /// The buyer hires the seller in the grantor's name.
    Grant,
}

/// What is traded over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Course {
    pub(crate) shape: Shape,
    pub(crate) mode: &'static str,
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::Pair => f.pad(self.mode),
            Shape::Chain => f.pad(&format!("chain, {}", self.mode)),
            Shape::Grant => f.pad(&format!("on a grant, {}", self.mode)),
        }
    }
}

pub(crate) struct Market {
    pub(crate) course: Course,
    swarm: Swarm,
    seller: Daemon,
    middle: Option<Daemon>,
    buyer: Daemon,
    grantor: Option<Daemon>,
    grant: Option<String>,
    input: Vec<u8>,
    /// Work isn't done while this file isn't there.
    gate: PathBuf,
    /// Is there once work has begun.
    begun: PathBuf,
    /// How often the seller has changed its schemas.
    renewed: usize,
    /// What there was before a clock was turned.
    before_turn: Option<BTreeSet<String>>,
}

/// What a row came to.
pub(crate) enum Came {
    /// All holds; what became of the task, by its buyer.
    To(String),
    /// The same, but whether all holds shows at the end.
    Later(String),
    /// The trade was over and settled without the fault.
    Nothing,
}

/// What is done to a party in the middle of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// It is killed, and started again before the work is done.
    Kill,
    /// Its disk is full while the work is done, and has room again later.
    Full,
    /// Its disk is full while the work is done; then it is killed, and started again with room.
    FullAndKill,
}

impl Market {
    /// Starts everybody, one of them on a small disk if that is said; none if such a disk can't be had.
    pub(crate) fn open_with(course: Course, small: Option<Party>) -> Option<Self> {
        let swarm = match small {
            Some(Party::Mint) => Swarm::start_on_small_disk(SMALL_DISK_MIB, 100)?,
            _ => Swarm::start(100),
        };
        let settings = swarm.settings(&format!("{SETTINGS}hire.mode = \"{}\"\n", course.mode));
        let start = |party: Party| {
            let home = match small {
                Some(small) if small == party => Home::on_small_disk(SMALL_DISK_MIB, &settings)?,
                _ => Home::new(&settings),
            };
            Some(Daemon::start(party.name(), &home))
        };
        let seller = start(Party::Seller)?;
        let (gate, begun) = (seller.write("gate", ""), seller.file("begun"));
        let middle = (course.shape == Shape::Chain).then(|| {
            let middle = start(Party::Middle)?;
            swarm::fund(&middle, 10_000);
            // Run again after a crash, it comes to the hire that its first run made.
            let script = format!(
                "exec '{}' hire {} --input - --mode {} --id \"$GUILDER_AWARD\" --retry 9",
                guilder().display(),
                COPY.0,
                course.mode
            );
            let own = format!("time_limit_secs = 100\n[subcontract]\nbudget = {SUB_BUDGET}\nstrangers = true\n");
            swarm::sell_script(&middle, THROUGH.0, THROUGH.1, &script, &own);
            Some(middle)
        });
        let middle = match middle {
            Some(middle) => Some(middle?),
            None => None,
        };
        let buyer = start(Party::Buyer)?;
        swarm::fund(&buyer, 20_000);
        let grantor = (course.shape == Shape::Grant).then(|| swarm.trader("grantor", ""));
        let mut input: Vec<u8> = (0..INPUT_BYTES).map(|at| b'a' + (at % 23) as u8).collect();
        (input[0], input[INPUT_BYTES - 1]) = (b'"', b'"');
        let renewed = 0;
        let mut market = Self {
            course,
            swarm,
            seller,
            middle,
            buyer,
            grantor,
            grant: None,
            input,
            gate,
            begun,
            renewed,
            before_turn: None,
        };
        market.put_on_sale();
        if market.grantor.is_some() {
            market.grant = Some(market.give_grant());
        }
        Some(market)
    }

    /// What the seller sells, with schemas that nobody has seen yet: a buyer asks for them.
    fn put_on_sale(&mut self) {
        self.renewed += 1;
        let schema = format!("{{ type = \"string\", maxLength = {} }}", 2 * INPUT_BYTES + self.renewed);
        let rest = format!("concurrency = 4\ninput = {schema}\noutput = {schema}");
        let script = format!(
            "echo '50% reading' >&$GUILDER_PROGRESS_FD; sleep 0.3; touch '{}'; \
             until [ -e '{}' ]; do sleep 0.05; done; exec cat",
            self.begun.display(),
            self.gate.display()
        );
        for (service, price) in [COPY, DEAR_COPY] {
            swarm::sell_script(&self.seller, service, price, &script, &rest);
        }
    }

    fn grant_terms(&self) -> Vec<String> {
        let (buyer, budget) = (self.buyer.peer_id(), GRANT_BUDGET.to_string());
        let terms = ["grant", &buyer, "--service", COPY.0, "--max-price", "50", "--budget", &budget, "--expires", "2h"];
        terms.map(Into::into).to_vec()
    }

    fn give_grant(&self) -> String {
        let given = self.grantor.as_ref().unwrap().json(self.grant_terms());
        let id = given["id"].as_str().unwrap().to_owned();
        self.holds_grant(&id);
        id
    }

    /// Waits until the buyer has a grant.
    fn holds_grant(&self, id: &str) {
        eventually("the grant to be handed over", PATIENCE, || {
            let held = self.buyer.json(["grants"]);
            if held.as_array().unwrap().iter().any(|grant| grant["id"] == id) { Ok(()) } else { Err(held) }
        });
    }

    pub(crate) fn party(&mut self, party: Party) -> &mut Daemon {
        match party {
            Party::Buyer => &mut self.buyer,
            Party::Middle => self.middle.as_mut().unwrap(),
            Party::Seller => &mut self.seller,
            Party::Mint => &mut self.swarm.mint,
            Party::Grantor => self.grantor.as_mut().unwrap(),
        }
    }

    fn traders(&self) -> Vec<&Daemon> {
        [Some(&self.buyer), self.middle.as_ref(), Some(&self.seller)].into_iter().flatten().collect()
    }

    /// What the buyer hires.
    fn service(&self) -> &'static str {
        if self.middle.is_some() { THROUGH.0 } else { COPY.0 }
    }

    /// Waits until everybody would find whom it hires.
    #[track_caller]
    fn meet(&self, service: &str) {
        let pairs = match &self.middle {
            Some(middle) => vec![(&self.buyer, middle, service), (middle, &self.seller, COPY.0)],
            None => vec![(&self.buyer, &self.seller, service)],
        };
        for (buyer, seller, service) in pairs {
            let seller = seller.peer_id();
            eventually("the seller to be found", PATIENCE, || {
                let found = buyer.run(["find", service]);
                if found.text().contains(&seller) { Ok(()) } else { Err(found.to_string()) }
            });
        }
    }

    /// Hires over the command line, while this goes on.
    fn hire(&self, service: &str) -> JoinHandle<Ran> {
        let (home, input) = ((*self.buyer).clone(), self.input.clone());
        let mut line: Vec<String> =
            ["hire", service, "--input", "-", "--max-price", "50", "--deadline", "2m"].map(Into::into).to_vec();
        if self.middle.is_some() {
            let budget = SUB_BUDGET.to_string();
            line.extend(["--allow-subcontract", COPY.0, "--sub-budget", &budget].map(Into::into));
        }
        line.extend(self.grant.iter().flat_map(|id| ["--grant".to_owned(), id.clone()]));
        line.extend(["--mode".to_owned(), self.course.mode.to_owned()]);
        thread::spawn(move || home.run_with(line, &input))
    }

    /// A row: the victim is set to have a fault, a trade is made, and the victim comes back.
    pub(crate) fn try_fault(&mut self, victim: Party, fault: &str) -> Came {
        let daemon = self.party(victim);
        let log = daemon.log();
        // A reply may be heard before it is ready.
        let past = fs::read_to_string(&log).unwrap().matches(" happens").count();
        daemon.kill();
        daemon.restart_with(&[("GUILDER_FAILPOINT", fault)]);
        let faults = fault.split(',').count();
        let service = if fault.contains("settle-swap") && self.middle.is_none() && self.grant.is_none() {
            DEAR_COPY.0
        } else {
            self.service()
        };
        if fault.contains("send-schema") {
            self.put_on_sale();
        }
        self.meet(service);
        let known = self.known();
        let hire = self.hire(service);
        let happened = || fs::read_to_string(&log).unwrap().matches(" happens").count() >= past + faults;
        let struck = self.wait_for_end(victim, &hire, turns_clock(fault), happened);
        let daemon = self.party(victim);
        if !daemon.has_ended() {
            daemon.kill();
        }
        if !struck {
            let struck_late = fs::read_to_string(&log).unwrap().matches(" happens").count() > past;
            self.party(victim).restart();
            hire.join().unwrap().ok();
            assert_eq!(self.ends(&known), "delivered, paid", "{fault} didn't happen");
            assert!(!struck_late, "{fault} happened when the trade was over and settled");
            return Came::Nothing;
        }
        self.party(victim).restart();
        if turns_clock(fault) {
            // Whose clock was ahead believes that what its seller took still waits for the locktime: what is true of the coins
            // shows when that has passed. Until then no row can be told from the one before.
            let outcome = self.told(&known);
            self.before_turn.get_or_insert(known);
            return Came::Later(outcome);
        }
        let ran = hire.join().unwrap();
        if ran.code() != 0 && victim == Party::Buyer && fault.starts_with("kill:") {
            let failed = ran.failed();
            // Asked once more, it is no daemon at all.
            assert!([6, 7].contains(&failed.exit), "{failed:?}");
            let fault = failed.fault.clone();
            failed.says(&fault, &["guilder up", "task show"]);
        }
        let outcome = self.ends(&known);
        self.check(&known, fault);
        Came::To(outcome)
    }

    /// A row: something befalls the victim in the middle of the last one's work.
    pub(crate) fn try_at_work(&mut self, victim: Party, blow: Blow) -> Came {
        let is_begun = |begun: &PathBuf| if begun.exists() { Ok(()) } else { Err("it hasn't") };
        fs::remove_file(&self.gate).unwrap();
        let _ = fs::remove_file(&self.begun);
        self.meet(self.service());
        let known = self.known();
        let hire = self.hire(self.service());
        eventually("the work to begin", PATIENCE, || is_begun(&self.begun));
        let (log, begun) = (self.party(victim).log(), self.begun.clone());
        let complaints = || {
            let log = fs::read_to_string(&log).unwrap().to_lowercase();
            ["full", "no room left"].iter().map(|words| log.matches(words).count()).sum::<usize>()
        };
        let past = complaints();
        match blow {
            Blow::Kill => {
                self.party(victim).kill();
                if victim == Party::Seller {
                    fs::remove_file(&begun).unwrap();
                }
                self.party(victim).restart();
                eventually("the work to have begun", PATIENCE, || is_begun(&begun));
            }
            Blow::Full | Blow::FullAndKill => self.party(victim).fill_disk(),
        }
        fs::write(&self.gate, "").unwrap();
        if blow != Blow::Kill {
            // A disk may have been given enough room beforehand for all that this trade writes.
            eventually("the full disk to be felt, or the hire to end", PATIENCE, || {
                if complaints() > past || hire.is_finished() { Ok(()) } else { Err("neither") }
            });
            if blow == Blow::FullAndKill {
                self.party(victim).kill();
            }
            self.party(victim).free_disk();
            if blow == Blow::FullAndKill {
                self.party(victim).restart();
            }
        }
        hire.join().unwrap();
        let outcome = self.ends(&known);
        self.check(&known, if blow == Blow::Kill { "" } else { FULL_DISK });
        let felt = if blow != Blow::Kill && complaints() == past { " (the disk had room set aside)" } else { "" };
        Came::To(format!("{outcome}{felt}"))
    }

    /// A row: the grantor has the fault while it gives a grant, and comes back.
    pub(crate) fn try_granting(&mut self, fault: &str) -> Came {
        let known = self.given();
        let (args, home) = (self.grant_terms(), (**self.grantor.as_ref().unwrap()).clone());
        let came = self.try_command(fault, move || home.run(args));
        let given: Vec<_> = self.given().difference(&known).cloned().collect();
        let outcome = match &given[..] {
            [] => "no grant was given".to_owned(),
            [id] => {
                self.holds_grant(id);
                "the grant was kept and handed over".to_owned()
            }
            more => panic!("{} grants of one command", more.len()),
        };
        if came { Came::To(outcome) } else { Came::Nothing }
    }

    /// A row: the grantor has the fault while it takes a grant back, and comes back.
    pub(crate) fn try_revoking(&mut self, fault: &str) -> Came {
        let id = self.give_grant();
        let home = (**self.grantor.as_ref().unwrap()).clone();
        let revoked = id.clone();
        let came = self.try_command(fault, move || home.run(["revoke", &revoked]));
        let is_revoked = |daemon: &Daemon| {
            let grants = daemon.json(["grants"]);
            grants.as_array().unwrap().iter().any(|grant| grant["id"] == id.as_str() && grant["state"] == "revoked")
        };
        let outcome = if is_revoked(self.grantor.as_ref().unwrap()) {
            eventually("the revocation to arrive", PATIENCE, || {
                if is_revoked(&self.buyer) { Ok(()) } else { Err("it hasn't") }
            });
            let refused = self.buyer.run(["hire", COPY.0, "--grant", &id]).failed();
            assert!(refused.message.contains("revoked"), "{refused:?}");
            "the revocation was kept and has arrived"
        } else {
            "nothing was revoked"
        };
        if came { Came::To(outcome.to_owned()) } else { Came::Nothing }
    }

    /// Runs a command at the grantor, which is set to have a fault; true if it has had it.
    fn try_command(&mut self, fault: &str, command: impl FnOnce() -> Ran + Send + 'static) -> bool {
        let grantor = self.party(Party::Grantor);
        grantor.kill();
        grantor.restart_with(&[("GUILDER_FAILPOINT", fault)]);
        let ran = thread::spawn(command).join().unwrap();
        // A command whose daemon dies is cut off; one that has got its answer may have got it just before.
        let came = !ran.succeeded() || grantor.has_ended();
        if came {
            assert_eq!(grantor.wait_for_end(LONG).signal(), Some(SIGKILL), "{ran}");
        } else {
            grantor.kill();
        }
        grantor.restart();
        came
    }

    /// The grants that the grantor has given.
    fn given(&self) -> BTreeSet<String> {
        let grants = self.grantor.as_ref().unwrap().json(["grants"]);
        grants.as_array().unwrap().iter().map(|grant| grant["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the victim has ended, or until the trade is over and settled; true if the fault has happened.
    fn wait_for_end(
        &mut self,
        victim: Party,
        hire: &JoinHandle<Ran>,
        turns_clock: bool,
        has_happened: impl Fn() -> bool,
    ) -> bool {
        let mut turned = None;
        eventually("the fault, or the end of the trade", 2 * PATIENCE, || {
            let daemon = self.party(victim);
            if daemon.has_ended() {
                let status = daemon.wait_for_end(LONG);
                assert_eq!(status.signal(), Some(SIGKILL), "{status}");
                return Ok(true);
            }
            // With its clock turned, some of it may wait for the right time.
            if turns_clock && has_happened() {
                let since = *turned.get_or_insert_with(Instant::now);
                if hire.is_finished() || since.elapsed() > TURNED_FOR {
                    return Ok(true);
                }
            }
            if !hire.is_finished() {
                return Err("the hire goes on".to_owned());
            }
            // The victim may die while it is asked.
            let is_over = self.traders().into_iter().all(|daemon| {
                let tasks = daemon.run(["task", "list", "--limit", "200"]);
                let balance = daemon.run(["wallet", "balance"]);
                tasks.succeeded() && balance.succeeded() && is_over(&tasks.json(), &balance.json())
            });
            if is_over { Ok(has_happened()) } else { Err("something is on its way".to_owned()) }
        })
    }

    /// The awards and tasks so far.
    fn known(&self) -> BTreeSet<String> {
        self.traders().into_iter().flat_map(|daemon| self.tasks(daemon)).map(|task| name(&task)).collect()
    }

    fn tasks(&self, daemon: &Daemon) -> Vec<Value> {
        let tasks = daemon.json(["task", "list", "--limit", "200"]).as_array().unwrap().clone();
        // The middle buys and sells: both are in its list.
        tasks
            .into_iter()
            .map(|mut task| {
                task["of"] = daemon.name().into();
                task
            })
            .collect()
    }

    /// Waits until all tasks have ended and all money that needs no locktime is where it belongs; says what the new ones came to.
    fn ends(&self, known: &BTreeSet<String>) -> String {
        self.wait_until_over(2 * PATIENCE);
        self.told(known)
    }

    fn wait_until_over(&self, patience: Duration) {
        eventually("all tasks to end", patience, || {
            let open = |daemon: &&&Daemon| {
                !is_over(&daemon.json(["task", "list", "--limit", "200"]), &daemon.json(["wallet", "balance"]))
            };
            match self.traders().iter().find(open) {
                None => Ok(()),
                Some(daemon) => {
                    Err(format!("{}: {:?} {:?}", daemon.name(), self.tasks(daemon), Books::of(&[daemon]).sum()))
                }
            }
        });
    }

    /// What the buyer says of its new tasks.
    fn told(&self, known: &BTreeSet<String>) -> String {
        let tasks =
            self.tasks(&self.buyer).into_iter().filter(|task| task["side"] == "buyer" && !known.contains(&name(task)));
        let told: Vec<String> = tasks
            .map(|task| {
                let reason =
                    task["failure"]["message"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
                let money = task["money"].as_str().map(|money| format!(", {money}")).unwrap_or_default();
                format!("{}{reason}{money}", task["state"].as_str().unwrap())
            })
            .collect();
        if told.is_empty() { "nothing was awarded".to_owned() } else { told.join("; ") }
    }

    /// Every check, over what is new since `known`.
    fn check(&self, known: &BTreeSet<String>, fault: &str) {
        let books = Books::of(&self.traders());
        let (mut bought, mut sold, mut all, mut reports, mut subs) = (vec![], vec![], vec![], vec![], vec![]);
        let new = self.tasks(&self.buyer).into_iter().filter(|task| !known.contains(&name(task)));
        let roots: BTreeSet<String> = new.map(|task| task["id"].as_str().unwrap().to_owned()).collect();
        for daemon in self.traders() {
            for task in self.tasks(daemon).into_iter().filter(|task| !known.contains(&name(task))) {
                all.push(task.clone());
                let Some(award) = task["award"].as_str() else {
                    bought.extend((task["side"] == "buyer").then_some(Bought { task, output: None, hire: None }));
                    continue;
                };
                let file = daemon.file("row.car");
                daemon.run(["audit", "export", name(&task).as_str(), "--output", file.to_str().unwrap()]).ok();
                let report = daemon.run(["audit", "verify", file.to_str().unwrap()]).json();
                let hires = report["hires"].as_array().cloned().unwrap_or_default();
                let hire = hires.into_iter().find(|hire| hire["award"] == award);
                // A hire of the middle is part of the task for whose sake it is made.
                let of = report["task"].as_str().filter(|of| roots.contains(*of)).or(roots.first().map(String::as_str));
                reports.push((of.unwrap_or_default().to_owned(), report));
                if task["side"] == "seller" {
                    sold.push(task);
                    continue;
                }
                if daemon.name() == "subcontractor" {
                    subs.push(task["price"].as_u64().unwrap());
                }
                let output = (task["state"] == "delivered")
                    .then(|| daemon.run_as_person(["task", "output", task["id"].as_str().unwrap()], b"").ok().stdout);
                bought.push(Bought { task, output, hire });
            }
        }
        let budget = if self.middle.is_some() { SUB_BUDGET } else { GRANT_BUDGET };
        let counted = self.grant.as_ref().map(|id| self.spent_under(id));
        let awarded = match &self.grant {
            Some(_) => self
                .tasks(&self.buyer)
                .iter()
                .filter(|task| task["award"].is_string())
                .filter_map(|task| task["price"].as_u64())
                .collect(),
            None => subs,
        };
        let may_give_up = fault == FULL_DISK || (self.middle.is_some() && fault.contains("full"));
        let holds: [(&str, Found); 7] = [
            ("coins are conserved", checks::coins_are_conserved(books.sum(), self.swarm.in_circulation())),
            ("nothing is stuck", checks::nothing_is_stuck(&all, books.sum(), true)),
            ("no work is paid twice", checks::no_work_is_paid_twice(&bought, &sold)),
            ("no payment without a delivery", checks::no_payment_without_a_delivery(&bought, &self.input)),
            ("every bundle verifies", checks::every_bundle_verifies(&reports)),
            ("budgets hold", checks::budgets_hold(&awarded, counted, budget)),
            (
                "what was awarded is delivered",
                if fault == TURNED { Ok(()) } else { checks::what_was_awarded_is_delivered(&bought, may_give_up) },
            ),
        ];
        for (check, found) in holds {
            if let Err(found) = found {
                panic!("{check}: {found}{books}");
            }
        }
    }

    fn spent_under(&self, id: &str) -> u64 {
        let held = self.buyer.json(["grants"]);
        held.as_array().unwrap().iter().find(|grant| grant["id"] == id).unwrap()["spent"].as_u64().unwrap()
    }

    /// The ends of everybody's logs, to see why a row failed.
    pub(crate) fn print_logs(&self) {
        let others = [Some(&self.swarm.mint), self.grantor.as_ref()].into_iter().flatten();
        self.traders().into_iter().chain(others).for_each(|daemon| println!("{}", daemon.log_tail()));
    }

    /// The end of all rows: what was locked in vain has fallen back, and every coin is in one place.
    pub(crate) fn close(&self) {
        self.wait_until_over(FALL_BACK);
        let books = Books::settled(&self.traders(), FALL_BACK);
        let tasks: Vec<_> = self.traders().into_iter().flat_map(|daemon| self.tasks(daemon)).collect();
        checks::nothing_is_stuck(&tasks, books.sum(), false).unwrap();
        checks::coins_are_conserved(books.sum(), self.swarm.in_circulation()).unwrap();
        if let Some(known) = &self.before_turn {
            self.check(known, TURNED);
        }
    }
}

/// What names a task to its node's command line: a seller may have several awards of one task.
fn name(task: &Value) -> String {
    let name = match task["side"].as_str() {
        Some("seller") => &task["award"],
        _ => &task["id"],
    };
    name.as_str().unwrap().to_owned()
}

fn turns_clock(fault: &str) -> bool {
    fault.contains("fast:") || fault.contains("slow:")
}

fn is_over(tasks: &Value, balances: &Value) -> bool {
    let part = |balance: &Value, name: &str| balance[name].as_u64().unwrap();
    tasks.as_array().unwrap().iter().all(|task| task["ended"] == true)
        && balances
            .as_array()
            .unwrap()
            .iter()
            .all(|balance| ["at_risk", "earned", "pending"].iter().all(|name| part(balance, name) == 0))
}
