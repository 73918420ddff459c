//! Tokens that wallets give each other, good and bad; second homes of a phrase; and what an owner does after either.

use std::time::Duration;

use cashu::{CurrencyUnit, Proof, SecretKey, Token, secret::Secret};
use guilder::wallet::{SentState, Wallet};
use guilder_protocol::market::{MintUrl, Unit};
use tokio::time::{sleep, timeout};

use super::Play;
use crate::{fabric::HostId, interpose::Rng, mint::ModelMint, scenario::Fault, world::WorldError};

/// What is given.
#[derive(Clone, Copy, Debug)]
enum Given {
    /// A token, taken once.
    Good,
    /// A token, taken by two wallets, one after the other.
    Twice,
    /// Coins that no mint has signed.
    Forged,
    /// Coins of a mint that nobody knows.
    Foreign,
}

/// Who takes part in it.
struct Giving {
    giver: Wallet,
    takers: [Wallet; 2],
    mint: MintUrl,
    unit: Unit,
    amount: u64,
    /// A token that was made out of nothing.
    false_token: Option<String>,
}

impl Play<'_> {
    /// One of the honest gives another a token.
    pub(super) fn give_token(&mut self) {
        let given = [Given::Good, Given::Twice, Given::Forged, Given::Foreign][self.rng.below(4) as usize];
        let up: Vec<HostId> = self.cast.iter().filter(|(_, part)| part.buys()).map(|(host, _)| host).collect();
        let up: Vec<HostId> = up.into_iter().filter(|host| self.world.node(*host).is_some()).collect();
        if up.len() < 3 {
            return;
        }
        let mut drawn = up;
        let mut draw = || {
            let at = self.rng.below(drawn.len() as u64) as usize;
            drawn.swap_remove(at)
        };
        let hosts = [draw(), draw(), draw()];
        let [Some(giver), Some(one), Some(two)] =
            hosts.map(|host| self.world.node(host).map(|node| node.wallet.clone()))
        else {
            return;
        };
        let (mint, amount) = (self.mint_of(hosts[0]), 1 + self.rng.below(16));
        let false_token = self.false_token(given, &mint, amount);
        let giving = Giving { giver, takers: [one, two], mint, unit: self.unit.clone(), amount, false_token };
        let notes = self.notes.clone();
        tokio::spawn(async move {
            let given_by = format!("{given:?} from host {}", hosts[0].0);
            let came = giving.give(given).await;
            let mut noted = notes.lock();
            noted.tokens.0 += u64::from(came.given);
            noted.tokens.1 += u64::from(came.received);
            noted.token_faults.extend(came.fault.map(|fault| format!("{given_by}: {fault}")));
        });
    }

    fn false_token(&mut self, given: Given, mint: &MintUrl, amount: u64) -> Option<String> {
        let url = match given {
            Given::Good | Given::Twice => return None,
            Given::Forged => mint.as_str(),
            Given::Foreign => "https://elsewhere.sim",
        };
        let known = self.world.mints().values().find(|known| known.is_at(mint))?;
        forged(known, url, amount, &mut self.rng)
    }

    /// Opens a second home of a host's phrase.
    pub(super) async fn open_twin(&mut self, host: HostId) -> Result<(), WorldError> {
        if self.world.node(host).is_none() {
            return Ok(());
        }
        self.world.open_twin(host).await?;
        if let Some(twin) = self.world.twin(host) {
            twin.spend(self.mint_of(host), self.unit.clone());
        }
        Ok(())
    }

    /// What an owner does whose phrase had another home, and who gave tokens that nobody took: syncs, and takes them back.
    pub(super) async fn sync_homes(&mut self) {
        let gives = self.scenario.faults.iter().any(|fault| matches!(fault, Fault::Tokens { .. }));
        for host in self.world.hosts().collect::<Vec<_>>() {
            self.world.end_twin(host).await;
            let other_home = self.world.had_other_home(host);
            let Some(node) = self.world.node(host).filter(|_| other_home || gives) else { continue };
            let (wallet, unit) = (node.wallet.clone(), self.unit.clone());
            let work = async {
                for mint in self.mints.iter().filter(|_| other_home) {
                    // Once more, if a call got lost: nobody else is at it any more.
                    for _ in 0..TRIES {
                        if wallet.restore(mint, &unit).await.is_ok() {
                            break;
                        }
                        sleep(Duration::from_secs(1)).await;
                    }
                }
                for sent in wallet.look_at_sent().await.unwrap_or_default() {
                    if sent.state == SentState::Open {
                        let _ = wallet.reclaim(&sent.id).await;
                    }
                }
            };
            // What doesn't end is open then, and said to be.
            let _ = timeout(SYNC, work).await;
            let left = wallet.look_at_sent().await.unwrap_or_default().into_iter();
            for sent in left.filter(|sent| sent.state == SentState::Open) {
                let what = format!("host {}: nobody has taken {}, nor can it be taken back", host.0, sent.amount);
                self.notes.lock().token_faults.push(what);
            }
        }
        for what in std::mem::take(&mut self.notes.lock().token_faults) {
            self.judge.accuse(self.start.elapsed().as_millis() as u64, "tokens", what, Vec::new());
        }
    }
}

/// What came of a token.
#[derive(Default)]
struct Came {
    /// It was a true one.
    given: bool,
    /// Somebody was told that it has it now.
    received: bool,
    /// What was wrong.
    fault: Option<String>,
}

impl Giving {
    async fn give(self, given: Given) -> Came {
        let Self { giver, takers: [one, two], mint, unit, amount, false_token } = self;
        if let Some(token) = false_token {
            let taken = one.receive(&token).await.ok();
            let fault = taken.map(|taken| format!("{} were received for it", taken.amount));
            return Came { fault, ..Came::default() };
        }
        let Ok(sent) = giver.send(&mint, &unit, amount).await else { return Came::default() };
        let mut taken = vec![one.receive(&sent.token).await];
        if matches!(given, Given::Twice) {
            taken.push(two.receive(&sent.token).await);
            taken.push(one.receive(&sent.token).await);
        }
        let worth: Vec<u64> = taken.iter().flatten().map(|taken| taken.amount + taken.fee).collect();
        let fault = match worth.as_slice() {
            [] => None,
            [once] => (*once != amount).then(|| format!("{once} were received for {amount}")),
            more => Some(format!("received {} times", more.len())),
        };
        Came { given: true, received: !worth.is_empty(), fault }
    }
}

/// A token of coins that nobody has signed.
fn forged(mint: &ModelMint, url: &str, amount: u64, rng: &mut Rng) -> Option<String> {
    let keyset = mint.active_keyset()?;
    let secret: String = (0..4).map(|_| format!("{:016x}", rng.draw())).collect();
    let mut scalar = [1; 32];
    scalar[8..16].copy_from_slice(&rng.draw().to_le_bytes());
    let point = SecretKey::from_slice(&scalar).ok()?.public_key();
    let amount = amount.next_power_of_two();
    let proof = Proof::new(amount.into(), keyset, Secret::new(secret), point);
    Some(Token::new(url.parse().ok()?, vec![proof], None, CurrencyUnit::Sat).to_string())
}

/// How often a sync is tried whose calls got lost.
const TRIES: u32 = 5;
/// How long one owner's syncing may take.
const SYNC: Duration = Duration::from_secs(300);
