//! One wheel for all trades' alarms: an ordered map and one task, instead of a sleeping task per trade.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use cid::Cid;
use guilder_protocol::time::Timestamp;
use tokio::sync::Notify;

use super::limits::MAX_TIMER_SLEEP;
use crate::{runtime::Runtime, sync::lock};

/// The alarms: at most one per trade.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    wheel: Mutex<Wheel>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Wheel {
    due: BTreeSet<(Timestamp, Cid)>,
    of: BTreeMap<Cid, Timestamp>,
}

impl Timers {
    /// Sets the trade's alarm, instead of an earlier one.
    pub(crate) fn set(&self, trade: Cid, at: Timestamp) {
        let mut wheel = lock(&self.wheel);
        let first = wheel.due.first().map(|(at, _)| *at);
        if let Some(before) = wheel.of.insert(trade, at) {
            wheel.due.remove(&(before, trade));
        }
        wheel.due.insert((at, trade));
        if first.is_none_or(|first| at < first) {
            self.earlier.notify_one();
        }
    }

    /// Forgets the trade's alarm.
    pub(crate) fn clear(&self, trade: Cid) {
        let mut wheel = lock(&self.wheel);
        if let Some(at) = wheel.of.remove(&trade) {
            wheel.due.remove(&(at, trade));
        }
    }

    /// Waits for the next alarm and takes it. Cancel-safe.
    pub(crate) async fn next(&self, runtime: &Runtime) -> Cid {
        loop {
            let now = runtime.now();
            let sleep = match self.take(now) {
                Ok(trade) => return trade,
                Err(Some(at)) => Duration::from_secs(at.since(now)).min(MAX_TIMER_SLEEP),
                Err(None) => MAX_TIMER_SLEEP,
            };
            tokio::select! {
                biased;
                () = self.earlier.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// The first alarm that is due, or when the first one will be.
    fn take(&self, now: Timestamp) -> Result<Cid, Option<Timestamp>> {
        let mut wheel = lock(&self.wheel);
        match wheel.due.first().copied() {
            Some((at, trade)) if at <= now => {
                wheel.due.remove(&(at, trade));
                wheel.of.remove(&trade);
                Ok(trade)
            }
            Some((at, _)) => Err(Some(at)),
            None => Err(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use guilder_protocol::cbor::cid_of;

    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn alarms_ring_in_order_and_a_later_setting_replaces() {
        let timers = Timers::default();
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| cid_of(name));
        timers.set(a, at(30));
        timers.set(b, at(20));
        timers.set(c, at(10));
        timers.set(a, at(15));
        timers.clear(c);
        assert_eq!(timers.take(at(14)), Err(Some(at(15))));
        assert_eq!(timers.take(at(40)), Ok(a));
        assert_eq!(timers.take(at(40)), Ok(b));
        assert_eq!(timers.take(at(40)), Err(None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_alarm_wakes_the_sleeper() {
        let runtime = Runtime::anchored(at(1_000));
        let timers = std::sync::Arc::new(Timers::default());
        let [late, soon] = [b"l", b"s"].map(|name| cid_of(name));
        timers.set(late, at(1_100));
        let (waiting, clock) = (std::sync::Arc::clone(&timers), runtime.clone());
        let waiter = tokio::spawn(async move { (waiting.next(&clock).await, clock.now()) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        timers.set(soon, at(1_005));
        assert_eq!(waiter.await.ok(), Some((soon, at(1_005))));
    }
}
