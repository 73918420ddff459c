//! Random lives of wallets, compared with the mint to the unit.
//!
//! A sequence drives up to three homes (two of one phrase, one of another) through funding, tokens sent, taken, repeated,
//! forged, foreign and taken back, invoices, locks that are refused, redeemed, both, or fall back, while homes are killed,
//! restored from older backups, opened twice, made from the phrase alone, have their clocks set by up to a year and their
//! disks full; and while the mint is down, deaf, slow, behind a proxy, lying, without witnesses, rotating its keys, at two
//! URLs. In the end all is well and everybody syncs. Then:
//!
//! - each home's balance is what its phrase has at the mint, derived here number by number, and its books add up;
//! - so are the tokens that nobody has spent;
//! - all that the mint owes is that, and locks that somebody has or that went with a home;
//! - nothing is under way.
//!
//! One sequence in [`REAL_EVERY`] is played at a hosted mint, with cdk's books in a file; the others at one in memory.
//!
//! `GUILDER_WALLET_SEQUENCES=100000 cargo test -p guilder --lib wallet::tests::property -- --nocapture` runs more;
//! `GUILDER_WALLET_SEED=7` runs the one with that seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{LazyLock, Mutex},
};

use cdk::{
    nuts::{Id, SecretKey},
    secret::Secret,
};

use super::{
    double::{Double, Mood},
    homes::{Home, NOW, also_here, here},
    *,
};
use crate::wallet::records::{Destination, FAILED, OPERATIONS, Premint};

/// Sequences in the suite.
const SEQUENCES: u64 = 200;
/// One sequence of so many is played at a hosted mint.
const REAL_EVERY: u64 = 20;
/// Steps of a sequence.
const STEPS: usize = 14;
/// More numbers than a sequence uses of one line.
const NUMBERS: u32 = 600;

/// Draws that a seed repeats.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len() as u64) as usize) }
    }
}

/// What tells the forged tokens' secret from others; see [`forged`](super::homes::forged).
const FORGED: u8 = 9;

/// The Y of the forged tokens: a home that is about to find out what they are worth holds them, too, and the mint owes nothing.
static FORGED_Y: LazyLock<[u8; 33]> = LazyLock::new(|| {
    let secret = format!("{FORGED:02x}").repeat(32);
    cdk::dhke::hash_to_curve(secret.as_bytes()).unwrap().to_bytes()
});

/// A blinded message and the Y of its coin.
type Derived = ([u8; 33], [u8; 33]);

static DERIVED: LazyLock<Mutex<BTreeMap<(u8, bool, Id), Arc<Vec<Derived>>>>> = LazyLock::new(Mutex::default);

/// The first numbers of a phrase's line of secrets under a keyset.
fn derived(seed: u8, tokens: bool, id: Id) -> Arc<Vec<Derived>> {
    if let Some(known) = DERIVED.lock().unwrap().get(&(seed, tokens, id)) {
        return Arc::clone(known);
    }
    let bytes = if tokens { *keys::token_seed(&[seed; 64]) } else { [seed; 64] };
    let derive = |number| {
        let secret = Secret::from_seed(&bytes, id, number).unwrap();
        let r = SecretKey::from_seed(&bytes, id, number).unwrap();
        let y = cdk::dhke::hash_to_curve(secret.as_bytes()).unwrap();
        let blinded: cdk::nuts::PublicKey = y.combine(&r.public_key()).unwrap().into();
        (blinded.to_bytes(), y.to_bytes())
    };
    let all = Arc::new((0..NUMBERS).map(derive).collect());
    DERIVED.lock().unwrap().insert((seed, tokens, id), Arc::clone(&all));
    all
}

struct World {
    mint: Double,
    /// The buyer's home, its second home, the seller's.
    homes: [Option<Home>; 3],
    backups: Vec<(usize, CrashBackend)>,
    tokens: Vec<SentToken>,
    /// Locked coins that any home has ever had, by Y.
    locked: BTreeMap<[u8; 33], u64>,
    /// Trades that were awarded.
    trades: Vec<u32>,
    /// The latest that any clock has said.
    latest: Timestamp,
    log: Vec<String>,
}

const SEEDS: [u8; 3] = [1, 1, 2];

impl World {
    async fn new(draws: &mut Draws, real: bool) -> Self {
        let fee_ppk = 100 * draws.below(2);
        let mint = if real { Double::real(fee_ppk) } else { Double::new(fee_ppk) };
        if !real && draws.below(5) == 0 {
            mint.books().show_no_witness();
        }
        let homes = [Some(Home::new(&mint, 1).await), None, Some(Home::new(&mint, 2).await)];
        let (backups, tokens, trades) = (Vec::new(), Vec::new(), Vec::new());
        Self { mint, homes, backups, tokens, locked: BTreeMap::new(), trades, latest: NOW, log: Vec::new() }
    }

    /// Notes the locked coins that a home has, or may have from the mint.
    async fn note(&mut self, which: usize) {
        let Some(home) = &self.homes[which] else { return };
        self.latest = self.latest.max(home.runtime.now());
        for holding in home.wallet.holdings().unwrap() {
            if let HeldCoin::Had(y) = holding.coin
                && y != *FORGED_Y
            {
                self.locked.insert(y, holding.amount);
            }
        }
        let outputs = home.store.read(|read| {
            let running = read.range(OPERATIONS, KeyRange::all(), usize::MAX)?.into_iter().map(|(_, record)| record);
            let failed = read.range(FAILED, KeyRange::all(), usize::MAX)?.into_iter().map(|(_, failed)| failed.record);
            Ok(running.chain(failed).flat_map(|record| record.outputs).collect::<Vec<Premint>>())
        });
        for output in outputs.unwrap().into_iter().filter(|output| output.to == Destination::Purse) {
            let y = coin::y_of(&output.secret).unwrap();
            if self.mint.unspent(output.id.to_cashu(), &[(output.blinded.0, y.0)]).await > 0 {
                self.locked.insert(y.0, output.amount);
            }
        }
    }

    async fn stop(&mut self, which: usize) -> Option<CrashBackend> {
        self.note(which).await;
        let home = self.homes[which].take()?;
        Some(home.stop().await.2)
    }

    async fn open(&mut self, which: usize, disk: CrashBackend, at: Timestamp) {
        self.homes[which] = Some(Home::open(&self.mint, SEEDS[which], disk, at).await);
    }

    fn living(&self, draws: &mut Draws) -> Option<usize> {
        let living: Vec<usize> = (0..3).filter(|which| self.homes[*which].is_some()).collect();
        draws.pick(&living).copied()
    }

    async fn step(&mut self, draws: &mut Draws) {
        let kind = draws.below(22);
        let Some(which) = self.living(draws) else { return };
        self.log.push(format!("{kind} by {which}"));
        let amount = 1 + draws.below(200);
        let home = self.homes[which].as_ref().unwrap();
        match kind {
            0..=3 => {
                let url = if draws.below(3) == 0 { also_here() } else { here() };
                let _ = timeout(Duration::from_secs(60), home.fund_at(&url, amount)).await;
            }
            4..=6 => {
                if let Ok(token) = home.send(amount / 2 + 2).await {
                    self.tokens.push(token);
                }
            }
            7..=8 => {
                if let Some(token) = draws.pick(&self.tokens) {
                    let _ = home.wallet.receive(&token.token).await;
                }
            }
            9 => {
                if let Some(token) = draws.pick(&home.wallet.sent().unwrap()) {
                    let _ = home.wallet.reclaim(&token.id).await;
                }
            }
            10 => _ = home.wallet.receive(&super::homes::forged(&self.mint, 1 << draws.below(20), FORGED)).await,
            11 => _ = home.wallet.pay(&here(), &play(), &format!("pay:{}", 1 + amount / 4)).await,
            12..=13 => self.award(draws).await,
            14 => {
                let at = match draws.below(3) {
                    0 => home.runtime.now(),
                    1 => home.runtime.now().saturating_add(draws.below(365 * 86_400)),
                    _ => home.runtime.now().saturating_sub(draws.below(365 * 86_400)),
                };
                let disk = self.stop(which).await.unwrap();
                self.open(which, disk, at).await;
            }
            15 => self.backups.push((which, home.backup())),
            16 => self.go_back(draws, which).await,
            17 => self.second_home(draws).await,
            18 => {
                let moods = [Mood::Down, Mood::Deaf, Mood::Deaf, Mood::Proxied(403), Mood::Slow(20), Mood::Denies];
                self.mint.set(*draws.pick(&moods).unwrap());
                sleep(Duration::from_secs(draws.below(30))).await;
            }
            19 => {
                self.mint.begin_keyset().await;
                sleep(Duration::from_secs(700)).await;
            }
            20 => {
                home.disk.set_full(true);
                let _ = timeout(Duration::from_secs(60), home.fund(amount)).await;
                sleep(Duration::from_secs(draws.below(100))).await;
                home.disk.set_full(false);
                // Until the store has found that there is room.
                let writing = async {
                    while home.store.write(|_| Ok(())).await.is_err() {
                        sleep(Duration::from_secs(1)).await;
                    }
                };
                timeout(Duration::from_secs(600), writing).await.unwrap();
            }
            _ => _ = home.wallet.receive(&super::homes::forged(&Double::salted(0, 9), 8, FORGED)).await,
        }
        if draws.below(3) == 0 {
            self.mint.set(Mood::Well);
        }
        sleep(Duration::from_secs(draws.below(100))).await;
        for which in 0..3 {
            self.note(which).await;
        }
    }

    async fn award(&mut self, draws: &mut Draws) {
        let buyer = draws.below(2) as usize;
        let (Some(home), Some(seller)) = (&self.homes[buyer], &self.homes[2]) else { return };
        let number = self.trades.len() as u32;
        self.trades.push(number);
        let awarded = timeout(Duration::from_secs(60), home.award(seller, 1 + draws.below(20), number)).await;
        if !matches!(awarded, Ok(Ok(()))) {
            return;
        }
        let (refused, redeemed) = (draws.below(3) == 0, draws.below(2) == 0);
        if refused {
            let _ = home.wallet.settle_buyer(trade(number), LockOutcome::Returned).await;
            // Until the buyer has looked at what came back, as a rule.
            sleep(Duration::from_secs(draws.below(10))).await;
        }
        if redeemed {
            seller.redeem(number).await;
            if draws.below(2) == 0 {
                let _ = home.wallet.settle_buyer(trade(number), LockOutcome::Paid).await;
            }
        }
    }

    /// A home goes on from an older backup of it, or from the phrase alone.
    async fn go_back(&mut self, draws: &mut Draws, which: usize) {
        let of_it: Vec<_> = self.backups.iter().filter(|(of, _)| SEEDS[*of] == SEEDS[which]).cloned().collect();
        let disk = draws.pick(&of_it).map_or_else(CrashBackend::new, |(_, backup)| backup.copy());
        disk.crash();
        let at = self.homes[which].as_ref().unwrap().runtime.now();
        let _ = self.stop(which).await;
        self.open(which, disk, at).await;
    }

    async fn second_home(&mut self, draws: &mut Draws) {
        if self.homes[1].is_some() {
            let _ = self.stop(1).await;
            return;
        }
        let of_first: Vec<_> = self.backups.iter().filter(|(of, _)| SEEDS[*of] == 1).cloned().collect();
        let disk = draws.pick(&of_first).map_or_else(CrashBackend::new, |(_, backup)| backup.copy());
        disk.crash();
        self.open(1, disk, NOW).await;
    }

    /// All is well again, every locktime passes, everybody syncs.
    async fn end(&mut self) {
        self.mint.set(Mood::Well);
        for which in 0..3 {
            if let Some(disk) = self.stop(which).await {
                let at = self.latest.saturating_add(86_400);
                self.open(which, disk, at).await;
                self.note(which).await;
            }
        }
        sleep(Duration::from_secs(1_000)).await;
        for home in self.homes.iter().flatten() {
            home.quiet().await;
            for number in &self.trades {
                home.wallet.settle_buyer(trade(*number), LockOutcome::Refund).await.unwrap();
                home.redeem(*number).await;
            }
        }
        sleep(Duration::from_secs(3 * 3_600)).await;
        for which in 0..3 {
            self.note(which).await;
        }
        for _ in 0..2 {
            for home in self.homes.iter().flatten() {
                home.quiet().await;
                home.sync().await;
                home.quiet().await;
            }
        }
    }

    async fn worth(&self, seed: u8, tokens: bool) -> u64 {
        let mut worth = 0;
        for id in self.mint.ids().await {
            worth += self.mint.unspent(id, &derived(seed, tokens, id)).await;
        }
        worth
    }

    async fn compare(&mut self) {
        let mut owned = 0;
        for seed in [1, 2] {
            let (coins, tokens) = (self.worth(seed, false).await, self.worth(seed, true).await);
            owned += coins + tokens;
            for home in self.homes.iter().flatten().filter(|home| home.seed == seed) {
                assert_eq!(home.spendable(), coins, "the balance of phrase {seed}");
                let open = home.wallet.look_at_sent().await.unwrap();
                let open = open.iter().filter(|token| token.state == SentState::Open).map(|token| token.amount);
                assert_eq!(open.sum::<u64>(), tokens, "the open tokens of phrase {seed}");
                assert_eq!(home.wallet.swaps_in_flight().unwrap(), 0);
            }
        }
        let ids = self.mint.ids().await;
        let lines = [1, 2].into_iter().flat_map(|seed| [(seed, false), (seed, true)]);
        let ours: BTreeSet<[u8; 33]> = lines
            .flat_map(|(seed, tokens)| ids.iter().map(move |id| derived(seed, tokens, *id)))
            .flat_map(|line| line.iter().map(|(_, y)| *y).collect::<Vec<_>>())
            .collect();
        let spent = self.mint.spent(self.locked.keys().copied().collect()).await;
        let gone = self.locked.iter().filter(|(y, _)| !ours.contains(*y) && !spent.contains(*y));
        let locked: u64 = gone.map(|(_, amount)| amount).sum();
        assert_eq!(self.mint.owes().await, owned + locked, "{owned} in balances and tokens, {locked} locked");
    }
}

async fn live(seed: u64) {
    let mut draws = Draws(seed);
    let mut world = World::new(&mut draws, seed % REAL_EVERY == REAL_EVERY - 1).await;
    for _ in 0..STEPS {
        world.step(&mut draws).await;
    }
    world.end().await;
    world.compare().await;
    for which in 0..3 {
        let _ = world.stop(which).await;
    }
}

#[test]
fn wallets_and_mint_agree_after_any_life() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("GUILDER_WALLET_SEQUENCES").unwrap_or(SEQUENCES);
    let seeds = number("GUILDER_WALLET_SEED").map_or(0..count, |seed| seed..seed + 1);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(2) as u64;
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for first in 0..threads {
            let (seeds, failed) = (seeds.clone(), &failed);
            scope.spawn(move || {
                for seed in seeds.filter(|seed| seed % threads == first) {
                    let run = || {
                        let paused =
                            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
                        paused.unwrap().block_on(live(seed));
                    };
                    if std::panic::catch_unwind(run).is_err() {
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "seeds {failed:?} of {seeds:?} fail: GUILDER_WALLET_SEED=N runs one");
}
