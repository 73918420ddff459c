//! A token bucket: a sustained rate and a burst.

use std::time::Duration;

use tokio::time::Instant;

/// Says when the next thing may be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// The time that one thing costs.
    cost: Duration,
    /// How much unused time counts.
    burst: Duration,
    /// All time up to here is used.
    used_until: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_sec: u32, burst: u32, now: Instant) -> Self {
        let cost = Duration::from_secs(1) / per_sec.max(1);
        let burst = cost * burst;
        // The monotonic clock may be younger than a burst; then the bucket starts less full.
        Self { cost, burst, used_until: now.checked_sub(burst).unwrap_or(now) }
    }

    /// Takes one if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let until = self.next(now);
        let granted = until <= now;
        if granted {
            self.used_until = until;
        }
        granted
    }

    /// Takes one in any case; if that is one too many, says when it will be paid for.
    pub(super) fn charge(&mut self, now: Instant) -> Option<Instant> {
        self.used_until = self.next(now);
        (self.used_until > now).then_some(self.used_until)
    }

    fn next(&self, now: Instant) -> Instant {
        let oldest = now.checked_sub(self.burst).unwrap_or(self.used_until);
        self.used_until.max(oldest) + self.cost
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
    fn what_is_charged_is_paid_for_later() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = Bucket::new(10, 5, start);
        assert_eq!((0..100).take_while(|_| bucket.charge(start).is_none()).count(), 5);
        assert_eq!(bucket.charge(start), Some(start + Duration::from_millis(200)));
        assert_eq!(bucket.charge(start + Duration::from_millis(200)), Some(start + Duration::from_millis(300)));
    }
}
