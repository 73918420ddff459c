#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_secs(u64::try_from(text.parse::<DateTime<Utc>>().unwrap().timestamp()).unwrap())
}

fn schedule(pattern: &str, zone: &str, missed: Missed, grace_secs: Option<u64>) -> Schedule {
    Schedule::new(pattern, zone, missed, grace_secs).unwrap()
}

fn berlin(pattern: &str) -> Schedule {
    schedule(pattern, "Europe/Berlin", Missed::Each, None)
}

/// Every moment of a schedule in a time.
fn all(schedule: &Schedule, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    schedule.latest(after, until, usize::MAX)
}

#[test]
fn a_time_of_day_that_a_day_lacks_is_due_after_the_gap_and_one_that_comes_twice_the_first_time() {
    let due = |pattern: &str, after, until| -> Vec<String> {
        all(&berlin(pattern), at(after), at(until)).iter().map(ToString::to_string).collect()
    };
    let spring = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    assert_eq!(due("30 2 * * *", spring.0, spring.1), ["2026-03-29T01:00:00Z"]);
    assert_eq!(due("0,30 2,3 * * *", spring.0, spring.1), ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
    assert_eq!(due("*/30 2 * * *", spring.0, spring.1), Vec::<String>::new(), "it counts real time");
    let autumn = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    assert_eq!(due("30 2 * * *", autumn.0, autumn.1), ["2026-10-25T00:30:00Z"]);
    assert_eq!(due("30 2,4 * * *", autumn.0, autumn.1), ["2026-10-25T00:30:00Z", "2026-10-25T03:30:00Z"]);
    assert_eq!(due("*/30 2 * * *", autumn.0, autumn.1).len(), 4, "it counts real time");
}

#[test]
fn a_pattern_that_never_comes_or_is_none_is_refused() {
    let error = |pattern: &str, zone: &str| Schedule::new(pattern, zone, Missed::Last, None).unwrap_err();
    assert_eq!(error("0 7 30 2 *", "UTC"), ScheduleError::Never("0 7 30 2 *".into()));
    assert_eq!(error("0 7 * * *", "Europe/Atlantis"), ScheduleError::Zone("Europe/Atlantis".into()));
    for pattern in ["", "* * * *", "0 0 7 * * *", "60 * * * *", "@daily", "0 7 * * MOO", "0 7 * * ?", "5/10 * * * *"] {
        assert!(matches!(error(pattern, "UTC"), ScheduleError::Pattern { .. }), "{pattern}");
    }
}

#[test]
fn what_was_missed_for_a_week_is_made_up_for_as_the_duty_says() {
    let (decided, now) = (at("2026-11-22T08:00:00Z"), at("2026-11-29T08:10:00Z"));
    let decide = |missed, grace| schedule("0 7 * * *", "UTC", missed, grace).decide(decided, now, |_| false);
    let last = decide(Missed::Last, None);
    assert_eq!(last.run, [at("2026-11-29T07:00:00Z")]);
    let (from, to) = (at("2026-11-23T07:00:00Z"), at("2026-11-28T07:00:00Z"));
    assert_eq!(last.skipped, [Skipped { from, to, count: 6, why: SkippedFor::Later }]);
    assert_eq!((last.decided, last.reopened), (now, None));
    assert_eq!(decide(Missed::Each, None).run.len(), 7);
    let grace = decide(Missed::Last, Some(60 * 60));
    assert_eq!(grace.run, []);
    assert_eq!(grace.skipped.last().unwrap().why, SkippedFor::Grace);
    let skip = decide(Missed::Skip, None);
    assert_eq!((skip.run.len(), skip.skipped[0].count, skip.skipped[0].why), (0, 7, SkippedFor::Missed));
    let hourly = schedule("0 * * * *", "UTC", Missed::Each, None).decide(decided, now, |_| false);
    assert_eq!(hourly.run.len(), MAX_MADE_UP);
    assert_eq!((hourly.skipped[0].count, hourly.skipped[0].why), (168 - 24, SkippedFor::TooMany));
}

#[test]
fn a_clock_that_is_years_ahead_is_looked_at_within_a_moment() {
    let began = std::time::Instant::now();
    let minutely = schedule("* * * * *", "Europe/Berlin", Missed::Last, None);
    let (decided, now) = (at("2026-11-29T08:00:00Z"), at("2046-11-29T08:00:10Z"));
    let decision = minutely.decide(decided, now, |_| false);
    assert_eq!(decision.run, [at("2046-11-29T08:00:00Z")]);
    assert_eq!(decision.skipped[0].count, MAX_COUNTED);
    assert_eq!(decision.skipped[0].to, at("2046-11-29T07:59:00Z"));
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

#[test]
fn a_clock_that_is_set_right_again_decides_anew_and_runs_nothing_twice() {
    let hourly = schedule("0 * * * *", "UTC", Missed::Last, None);
    let (right, ahead) = (at("2026-11-29T08:00:30Z"), at("2026-11-29T12:00:30Z"));
    let first = hourly.decide(right, ahead, |_| false);
    assert_eq!(first.run, [at("2026-11-29T12:00:00Z")]);
    let back = hourly.decide(first.decided, right.saturating_add(20), |_| false);
    assert_eq!((back.reopened, back.decided), (Some(right.saturating_add(20)), right.saturating_add(20)));
    let ran = |due| due == at("2026-11-29T12:00:00Z");
    let nine = hourly.decide(back.decided, at("2026-11-29T09:00:01Z"), ran);
    assert_eq!(nine.run, [at("2026-11-29T09:00:00Z")], "it had been skipped, and has come now");
    let noon = hourly.decide(at("2026-11-29T11:00:01Z"), at("2026-11-29T12:00:01Z"), ran);
    assert_eq!((noon.run.len(), noon.skipped.len()), (0, 0), "it has run");
    let wavers = hourly.decide(ahead, ahead.saturating_sub(5), |_| false);
    assert_eq!((wavers.reopened, wavers.decided), (None, ahead));
}

/// Outcomes as the store keeps them.
#[derive(Default)]
struct Ledger {
    ran: BTreeSet<Timestamp>,
    skipped: BTreeMap<Timestamp, Skipped>,
}

impl Ledger {
    fn look(&mut self, schedule: &Schedule, decided: Timestamp, now: Timestamp) -> Timestamp {
        let decision = schedule.decide(decided, now, |due| self.ran.contains(&due));
        if let Some(reopened) = decision.reopened {
            // As the engine does it: what lies after is void, what straddles ends at the last moment before.
            let _ = self.skipped.split_off(&reopened.saturating_add(1));
            if let Some(last) = self.skipped.values_mut().next_back().filter(|last| last.to > reopened) {
                last.to = reopened;
            }
        }
        for due in decision.run {
            assert!(self.ran.insert(due), "{due} ran twice");
        }
        for skipped in decision.skipped {
            assert!(self.skipped.insert(skipped.from, skipped).is_none());
        }
        decision.decided
    }

    fn outcomes(&self, due: Timestamp) -> usize {
        let skipped = self.skipped.range(..=due).next_back().is_some_and(|(_, skipped)| due <= skipped.to);
        usize::from(self.ran.contains(&due)) + usize::from(skipped)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Restarts, suspends, clocks that are set: a look happens at any time, by a clock that is off by anything.
    #[test]
    fn every_due_moment_has_one_outcome_whatever_the_clock_does(
        pattern in prop::sample::select(vec!["0 * * * *", "*/20 * * * *", "30 2 * * *", "15 1,2,3 * * *", "0 9 * * 1-5", "7 */3 1,15 * *"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        missed in prop::sample::select(vec![Missed::Last, Missed::Each, Missed::Skip]),
        grace in prop::option::of(0_u64..20_000),
        began in 1_774_000_000_u64..1_776_000_000,
        steps in prop::collection::vec((1_u64..200_000, prop_oneof![6 => Just(0_i64), 1 => -400_000_i64..400_000]), 1..25),
    ) {
        let schedule = schedule(pattern, zone, missed, grace);
        let (mut real, first) = (began, Timestamp::from_secs(began));
        let (mut ledger, mut decided) = (Ledger::default(), first);
        for (passed, off) in steps {
            real += passed;
            let wall = Timestamp::from_secs(real.saturating_add_signed(off).max(began));
            decided = ledger.look(&schedule, decided, wall);
        }
        // In the end the clock is right, and every moment up to now has its outcome.
        let now = Timestamp::from_secs(real + 120);
        ledger.look(&schedule, decided, now);
        for due in all(&schedule, first, now) {
            prop_assert_eq!(ledger.outcomes(due), 1, "{}", due);
        }
    }

    #[test]
    fn the_next_moment_is_the_first_after_and_looking_from_any_moment_before_finds_it(
        pattern in "[0-9]{1}|1?[0-9],[34][0-9]", hour in "\\*|[0-9]|1,2,3|\\*/4", after in 1_774_000_000_u64..1_806_000_000, earlier in 0_u64..7_200,
    ) {
        let schedule = berlin(&format!("{pattern} {hour} * * *"));
        let next = schedule.next(Timestamp::from_secs(after)).unwrap();
        prop_assert!(next.as_secs() > after);
        let from_before = all(&schedule, Timestamp::from_secs(after - earlier), next);
        prop_assert_eq!(from_before.last(), Some(&next));
        prop_assert!(from_before.iter().rev().nth(1).is_none_or(|before| before.as_secs() <= after));
    }
}

/// `PATTERN|ZONE|AFTER|MOMENT MOMENT …`, made by PyPI's cronsim: `tests/foreign/cron.py 999`.
#[test]
fn patterns_come_when_cronsim_says() {
    let mut differ = Vec::new();
    for line in include_str!("cronsim.txt").lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let &[pattern, zone, after, moments] = &*fields else { panic!("{line}") };
        let schedule = schedule(pattern, zone, Missed::Last, None);
        let after = Timestamp::from_secs(after.parse().unwrap());
        let ours = std::iter::successors(schedule.next(after), |at| schedule.next(*at)).take(6);
        let ours: Vec<String> = ours.map(|at| at.as_secs().to_string()).collect();
        if ours.join(" ") != moments {
            differ.push(format!("{line}\n{}", ours.join(" ")));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}
