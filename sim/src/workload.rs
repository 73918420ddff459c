//! What buyers want, and when: arrivals, the choice of a service, inputs.

use std::time::Duration;

use crate::{
    cast::weighted,
    interpose::{Rng, splitmix},
    scenario::{Arrivals, Services, Workload},
};

/// The services that a seller sells: dealt round.
pub fn sold_by(services: &Services, seller: u32) -> impl Iterator<Item = u32> {
    let (count, each) = (services.kinds(), services.per_seller);
    (0..each).map(move |which| (seller * each + which) % count)
}

/// A number from a range, drawn evenly.
pub fn between([from, to]: [u64; 2], rng: &mut Rng) -> u64 {
    from + rng.below(to.saturating_sub(from) + 1)
}

/// One buyer's wishes: when the next comes, and what it is for.
#[derive(Clone, Debug)]
pub struct Wishes {
    rng: Rng,
    /// For even arrivals: when, within the interval.
    offset: f64,
    drawn: u64,
    owed: f64,
    /// The services that it has wanted, each once.
    wanted: Vec<u32>,
}

/// What is wished for.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// The service, by its number.
    pub service: u32,
    /// The input's first bytes follow from it.
    pub input_seed: u64,
    /// Bytes of input.
    pub input_bytes: u64,
}

impl Wishes {
    /// The wishes of the buyer with this seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let offset = rng.unit();
        Self { rng, offset, drawn: 0, owed: 0.0, wanted: Vec::new() }
    }

    /// When the next comes after `now`, in seconds of the run; `None` if never.
    ///
    /// Candidates come at the rate of the busiest time and are thinned out to that of theirs.
    pub fn next(&mut self, workload: &Workload, now: f64) -> Option<f64> {
        let usual = workload.per_buyer_minute / 60.0;
        let most = workload.burst.as_ref().map_or(usual, |burst| usual * burst.times.max(1.0));
        if most <= 0.0 {
            return None;
        }
        let mut at = now;
        // After so many refusals the burst must be over or yet to come: a bound for rates that are all but zero.
        for _ in 0..1_000_000 {
            let share = rate(workload, at, usual) / most;
            at = match workload.arrivals {
                Arrivals::Poisson => at - (1.0 - self.rng.unit()).ln() / most,
                Arrivals::Even if self.drawn == 0 => at + self.offset / most,
                Arrivals::Even => at + 1.0 / most,
            };
            self.drawn += 1;
            let kept = match workload.arrivals {
                Arrivals::Poisson => self.rng.unit() < rate(workload, at, usual) / most,
                Arrivals::Even => {
                    self.owed += share;
                    self.owed >= 1.0 - 1e-9
                }
            };
            if kept {
                self.owed = 0.0;
                return Some(at);
            }
        }
        None
    }

    /// What the wish at `now` is for.
    pub fn want(&mut self, workload: &Workload, services: u32, now: f64) -> Want {
        let one = workload.burst.as_ref().is_some_and(|burst| burst.one_service && in_burst(burst, now));
        let weights: Vec<f64> = (0..services).map(|number| f64::from(number + 1).powf(-workload.popularity)).collect();
        let service = if one { 0 } else { self.service(&weights, workload.kinds_per_buyer as usize) };
        let input_bytes = between(workload.input_bytes, &mut self.rng).max(8);
        Want { service, input_seed: self.rng.draw(), input_bytes }
    }
}

impl Wishes {
    /// One of those that this buyer wants: drawn anew until it has as many kinds as it ever wants.
    fn service(&mut self, weights: &[f64], kinds: usize) -> u32 {
        if kinds > 0 && self.wanted.len() >= kinds.min(weights.len()) {
            return self.wanted[self.rng.below(self.wanted.len() as u64) as usize];
        }
        let service = weighted(weights, &mut self.rng) as u32;
        if !self.wanted.contains(&service) {
            self.wanted.push(service);
        }
        service
    }
}

impl Want {
    /// The input itself: the same in every future, for the judge asks again.
    pub fn input(&self) -> Vec<u8> {
        let mut state = self.input_seed;
        let words = self.input_bytes.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| splitmix(&mut state).to_le_bytes()).collect();
        bytes.truncate(self.input_bytes as usize);
        bytes
    }
}

fn in_burst(burst: &crate::scenario::Burst, at: f64) -> bool {
    let (from, to) = (burst.at_s as f64, (burst.at_s + burst.for_s) as f64);
    (from..to).contains(&at)
}

fn rate(workload: &Workload, at: f64, usual: f64) -> f64 {
    let times = workload.burst.as_ref().filter(|burst| in_burst(burst, at)).map_or(1.0, |burst| burst.times);
    usual * times
}

/// Seconds as a duration.
pub fn secs(secs: f64) -> Duration {
    Duration::from_micros((secs.max(0.0) * 1e6) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Burst;

    fn count(workload: &Workload, until: f64) -> (usize, Vec<f64>) {
        let mut all = Vec::new();
        for buyer in 0..50 {
            let (mut wishes, mut now) = (Wishes::new(buyer), 0.0);
            while let Some(at) = wishes.next(workload, now).filter(|at| *at < until) {
                all.push(at);
                now = at;
            }
        }
        (all.len(), all)
    }

    #[test]
    fn wishes_come_at_their_rate_and_more_in_a_burst() {
        for arrivals in [Arrivals::Poisson, Arrivals::Even] {
            let steady = Workload { per_buyer_minute: 2.0, arrivals, ..Workload::default() };
            let (plain, _) = count(&steady, 600.0);
            assert!((900..1_100).contains(&plain), "{arrivals:?}: {plain}");
            let burst = Some(Burst { at_s: 100, for_s: 100, times: 5.0, one_service: true });
            let (_, all) = count(&Workload { burst, ..steady }, 600.0);
            let within = all.iter().filter(|at| (100.0..200.0).contains(*at)).count();
            assert!((700..950).contains(&within), "{arrivals:?}: {within}");
        }
    }

    #[test]
    fn the_first_services_are_wanted_most() {
        let workload = Workload { popularity: 1.0, ..Workload::default() };
        let mut wishes = Wishes::new(1);
        let wanted: Vec<u32> = (0..1_000).map(|_| wishes.want(&workload, 4, 0.0).service).collect();
        let times = |service| wanted.iter().filter(|wanted| **wanted == service).count();
        assert!(times(0) > 2 * times(3) && times(3) > 50, "{} {}", times(0), times(3));
        let want = wishes.want(&workload, 4, 0.0);
        assert_eq!((want.input(), want.input().len() as u64), (want.input(), want.input_bytes));
    }

    #[test]
    fn a_buyer_of_few_kinds_wants_only_those() {
        let workload = Workload { kinds_per_buyer: 2, popularity: 0.0, ..Workload::default() };
        let kinds = |buyer: u64| {
            let mut wishes = Wishes::new(buyer);
            let wanted = (0..200).map(|_| wishes.want(&workload, 9, 0.0).service);
            wanted.collect::<std::collections::BTreeSet<u32>>()
        };
        assert_eq!(kinds(1).len(), 2);
        assert!((2..20).any(|buyer| kinds(buyer) != kinds(1)), "not everybody wants the same");
    }

    #[test]
    fn no_rate_means_no_wishes() {
        assert_eq!(Wishes::new(1).next(&Workload::default(), 0.0), None);
    }
}
