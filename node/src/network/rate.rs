//! Token buckets: a sustained rate and a burst.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Says when the next thing may be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// The time that one thing costs.
    cost: Duration,
    /// How much unused time counts.
    burst: Duration,
    /// All time up to here is used.
    used_until: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_sec: u32, burst: u32, now: Instant) -> Self {
        let cost = Duration::from_secs(1) / per_sec.max(1);
        let burst = cost * burst;
        // The monotonic clock may be younger than a burst; then the bucket starts less full.
        Self { cost, burst, used_until: now.checked_sub(burst).unwrap_or(now) }
    }

    /// Takes one if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_many(1, now)
    }

    /// Takes so many if there are as many.
    pub(crate) fn take_many(&mut self, count: u32, now: Instant) -> bool {
        let until = self.after(count, now);
        let granted = until <= now;
        if granted {
            self.used_until = until;
        }
        granted
    }

    /// Takes one in any case; if that is one too many, says when it will be paid for.
    pub(crate) fn charge(&mut self, now: Instant) -> Option<Instant> {
        self.charge_many(1, now)
    }

    /// Takes so many in any case; if they are too many, says when they will be paid for.
    pub(crate) fn charge_many(&mut self, count: u32, now: Instant) -> Option<Instant> {
        self.used_until = self.after(count, now);
        (self.used_until > now).then_some(self.used_until)
    }

    /// Whether nothing of it is used.
    fn is_full(&self, now: Instant) -> bool {
        self.used_until + self.burst <= now
    }

    fn after(&self, count: u32, now: Instant) -> Instant {
        let oldest = now.checked_sub(self.burst).unwrap_or(self.used_until);
        self.used_until.max(oldest) + self.cost * count
    }
}

/// A bucket for each of many, as many as are remembered: full ones are forgotten first, as they say nothing.
#[derive(Clone, Debug)]
pub(crate) struct Buckets<K>(BTreeMap<K, Bucket>);

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Buckets<K> {
    /// Takes one from a key's bucket, if there is one.
    pub(crate) fn take(&mut self, key: K, per_sec: u32, burst: u32, remembered: usize, now: Instant) -> bool {
        self.bucket(key, per_sec, burst, remembered, now).take(now)
    }

    /// A key's bucket; a full one if it isn't remembered.
    pub(crate) fn bucket(&mut self, key: K, per_sec: u32, burst: u32, remembered: usize, now: Instant) -> &mut Bucket {
        if self.0.len() >= remembered && !self.0.contains_key(&key) {
            self.0.retain(|_, bucket| !bucket.is_full(now));
            if self.0.len() >= remembered {
                // The one that used least goes.
                let least = self.0.iter().min_by_key(|(_, bucket)| bucket.used_until).map(|(key, _)| *key);
                least.and_then(|least| self.0.remove(&least));
            }
        }
        self.0.entry(key).or_insert_with(|| Bucket::new(per_sec, burst, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_the_burst_then_the_rate() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = Bucket::new(10, 5, start);
        assert_eq!((0..100).take_while(|_| bucket.take(start)).count(), 5);
        let next = start + Duration::from_millis(100);
        assert!(!bucket.take(next - Duration::from_nanos(1)));
        assert!(bucket.take(next));
        assert!(!bucket.take(next));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).take_while(|_| bucket.take(later)).count(), 5);
    }

    #[test]
    fn given_more_keys_than_are_remembered_those_that_used_most_stay() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut buckets = Buckets::default();
        assert_eq!((0..9).filter(|_| buckets.take(0, 1, 3, 10, start)).count(), 3);
        for key in 1..100 {
            assert!(buckets.take(key, 1, 3, 10, start));
        }
        assert_eq!(buckets.0.len(), 10);
        assert!(!buckets.take(0, 1, 3, 10, start));
    }

    #[test]
    fn what_is_charged_is_paid_for_later() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = Bucket::new(10, 5, start);
        assert_eq!((0..100).take_while(|_| bucket.charge(start).is_none()).count(), 5);
        assert_eq!(bucket.charge(start), Some(start + Duration::from_millis(200)));
        assert_eq!(bucket.charge(start + Duration::from_millis(200)), Some(start + Duration::from_millis(300)));
    }
}
