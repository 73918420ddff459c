//! When a duty is due: cron patterns in a zone, and what becomes of each due moment.
//!
//! A pattern has five fields (minute, hour, day of month, month, day of week), read as Debian's cron does:
//! - Where both days are restricted, one of them must fit; where either begins with `*`, both must.
//! - **Clocks that are put forward**: a pattern whose minute and hour both don't begin with `*` names a time of day, and a time
//!   that the day lacks is due at the first moment after the gap. Others count real time, and have nothing due in it.
//! - **Clocks that are put back**: a time of day that comes twice is due the first time. Others are due both times.
//!
//! [`decide`] gives every due moment one outcome, whatever happened between two looks: a restart, a suspended machine, a clock that
//! was set. A moment is due once: what a clock that was ahead has run isn't run again when it is set right; what it has skipped is
//! decided anew in its time.

use std::fmt;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use guilder_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::limits::{CLOCK_WAVERS_SECS, MAX_COUNTED, MAX_MADE_UP, ON_TIME_SECS};

/// What happens to moments that passed while the node was down or its machine asleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// The last of them runs.
    #[default]
    Last,
    /// Each of them runs, the latest [`MAX_MADE_UP`] at the most.
    Each,
    /// None of them runs.
    Skip,
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: croner::Cron,
    zone: Tz,
    /// Whether the pattern names times of day.
    is_daytime: bool,
    missed: Missed,
    grace_secs: Option<u64>,
}

/// Why a schedule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The pattern.
    #[error("`{pattern}` is no cron pattern: {why}")]
    Pattern {
        /// As it was written.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// The zone.
    #[error("there is no time zone `{0}`")]
    Zone(String),
    /// Nothing fits the pattern, like the 30th of February.
    #[error("`{0}` never comes")]
    Never(String),
}

impl ScheduleError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Pattern { .. } => {
                "five fields: minute, hour, day of month, month, day of week; `0 7 * * 1-5` is seven o'clock on weekdays"
            }
            Self::Zone(_) => "a name of the IANA database, like Europe/Berlin or UTC",
            Self::Never(_) => "look at the day and the month",
        }
    }
}

/// What became of due moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Outcomes after this moment were decided by a clock that was ahead: the skipped ones are void, and are decided again.
    pub reopened: Option<Timestamp>,
    /// They run.
    pub run: Vec<Timestamp>,
    /// They don't.
    pub skipped: Vec<Skipped>,
    /// Every moment up to here has its outcome.
    pub decided: Timestamp,
}

/// Due moments, one after the other, that don't run for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// How many there are; [`MAX_COUNTED`] or more if it is that.
    pub count: u64,
    /// Why.
    pub why: SkippedFor,
}

/// Why a due moment doesn't run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkippedFor {
    /// It was missed, and a later one runs in its place.
    Later,
    /// It was missed by more than the grace.
    Grace,
    /// It was missed, and the duty says to skip what is missed.
    Missed,
    /// More were missed than are made up for.
    TooMany,
}

impl Schedule {
    /// The schedule of a pattern in a zone.
    ///
    /// # Errors
    /// If either is none, or the pattern never fits.
    pub fn new(pattern: &str, zone: &str, missed: Missed, grace_secs: Option<u64>) -> Result<Self, ScheduleError> {
        let wrong = |why: String| ScheduleError::Pattern { pattern: pattern.to_owned(), why };
        let known = |c: char| c.is_ascii_alphanumeric() || "*,-/# \t".contains(c);
        if let Some(other) = pattern.chars().find(|c| !known(*c)) {
            return Err(wrong(format!("`{}` has no meaning in it", other.escape_default())));
        }
        let fields: Vec<&str> = pattern.split_whitespace().collect();
        let &[minute, hour, day, _, weekday] = &*fields else {
            return Err(wrong(format!("it has {} fields", fields.len())));
        };
        let both_days = day.starts_with('*') || weekday.starts_with('*');
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).dom_and_dow(both_days).build();
        let cron = parser.parse(pattern).map_err(|error| wrong(error.to_string()))?;
        let zone: Tz = zone.parse().map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let is_daytime = !minute.starts_with('*') && !hour.starts_with('*');
        let schedule = Self { cron, zone, is_daytime, missed, grace_secs };
        // A fixed moment: whether a pattern ever comes doesn't depend on when it is asked.
        match schedule.next(Timestamp::from_secs(1_767_225_600)) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(pattern.to_owned())),
        }
    }

    /// The first due moment after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = DateTime::<Utc>::from_timestamp(i64::try_from(after.as_secs()).ok()?, 0)?;
        let due = if self.is_daytime && self.zone != Tz::UTC {
            // In local time, which has no gaps; a moment after a gap may stand for several times in it.
            let mut local = after.with_timezone(&self.zone).naive_local();
            // A time that the day lacks is due after the gap: it lies before the local time of `after` then.
            local = self.before_gap(local);
            loop {
                local = self.cron.find_next_occurrence(&local, false).ok()?;
                let due = self.moment(local)?;
                if due > after {
                    break due;
                }
            }
        } else {
            self.cron.find_next_occurrence(&after.with_timezone(&self.zone), false).ok()?.with_timezone(&Utc)
        };
        u64::try_from(due.timestamp()).ok().map(Timestamp::from_secs)
    }

    /// The moment of a local time: the first of two, the first after the gap where there is none.
    fn moment(&self, mut local: NaiveDateTime) -> Option<DateTime<Utc>> {
        // The longest gap is a day, where a date line was crossed.
        for _ in 0..=24 * 60 {
            match self.zone.from_local_datetime(&local) {
                LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => return Some(at.with_timezone(&Utc)),
                LocalResult::None => local += TimeDelta::minutes(1),
            }
        }
        None
    }

    /// The local time, or where it is the first after a gap, the last before it.
    fn before_gap(&self, local: NaiveDateTime) -> NaiveDateTime {
        let mut before = local - TimeDelta::minutes(1);
        let mut in_gap = false;
        for _ in 0..=24 * 60 {
            if !matches!(self.zone.from_local_datetime(&before), LocalResult::None) {
                break;
            }
            (before, in_gap) = (before - TimeDelta::minutes(1), true);
        }
        if in_gap { before } else { local }
    }

    /// The last due moments after `after` and up to `until`, the earliest first: `most` at the most.
    fn latest(&self, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut back_secs = 60 * 60;
        loop {
            let from = until.saturating_sub(back_secs).max(after);
            let mut found = Vec::new();
            let mut at = from;
            while let Some(due) = self.next(at).filter(|due| *due <= until) {
                found.push(due);
                at = due;
            }
            if found.len() >= most || from == after {
                return found.split_off(found.len().saturating_sub(most));
            }
            back_secs *= 4;
        }
    }

    /// The first due moment after `after`, and how many there are up to `until`, counted up to [`MAX_COUNTED`].
    fn count(&self, after: Timestamp, until: Timestamp) -> (Option<Timestamp>, u64) {
        let (mut first, mut count, mut at) = (None, 0, after);
        while count < MAX_COUNTED
            && let Some(due) = self.next(at).filter(|due| *due <= until)
        {
            first.get_or_insert(due);
            (count, at) = (count + 1, due);
        }
        (first, count)
    }

    /// The last due moment from `from`, which is one, up to `until`; and how many there are, counted up to [`MAX_COUNTED`].
    pub fn last_and_count(&self, from: Timestamp, until: Timestamp) -> (Timestamp, u64) {
        let before = from.saturating_sub(1);
        let last = self.latest(before, until, 1).last().copied();
        (last.unwrap_or(from), self.count(before, until).1)
    }

    /// Whether another schedule has the same moments.
    pub fn is_same(&self, other: &Self) -> bool {
        self.cron.as_str() == other.cron.as_str() && self.zone == other.zone
    }

    /// Gives every moment that is due after `decided` and up to `now` its outcome. Those that `ran` says have run keep it.
    pub fn decide(&self, decided: Timestamp, now: Timestamp, ran: impl Fn(Timestamp) -> bool) -> Decision {
        let set_back = now.saturating_add(CLOCK_WAVERS_SECS) < decided;
        let reopened = set_back.then_some(now);
        if now <= decided {
            return Decision { reopened, decided: reopened.unwrap_or(decided), ..Decision::default() };
        }
        let mut latest = self.latest(decided, now, MAX_MADE_UP);
        let mut decision = Decision { decided: now, ..Decision::default() };
        let Some(&last) = latest.last() else { return decision };
        let is_on_time = |due: Timestamp| now.since(due) < ON_TIME_SECS;
        let is_in_grace =
            |due: Timestamp| is_on_time(due) || self.grace_secs.is_none_or(|grace| now.since(due) <= grace);
        let candidates: Vec<Timestamp> = match self.missed {
            Missed::Last => vec![last],
            Missed::Each => std::mem::take(&mut latest),
            Missed::Skip => vec![last].into_iter().filter(|due| is_on_time(*due)).collect(),
        };
        let in_place = match self.missed {
            Missed::Last => SkippedFor::Later,
            Missed::Each => SkippedFor::TooMany,
            Missed::Skip => SkippedFor::Missed,
        };
        // Those before the first that may run.
        let end = candidates.first().map_or(last, |first| first.saturating_sub(1));
        decision.skip_up_to(self, decided, end, in_place, &ran);
        for due in candidates {
            if ran(due) {
                continue;
            }
            if is_in_grace(due) {
                decision.run.push(due);
            } else {
                decision.skipped.push(Skipped { from: due, to: due, count: 1, why: SkippedFor::Grace });
            }
        }
        decision
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.cron.as_str(), self.zone)
    }
}

impl Decision {
    /// Skips what is due after `after` and up to `until`. What has run before lies between two ranges.
    fn skip_up_to(
        &mut self,
        schedule: &Schedule,
        after: Timestamp,
        until: Timestamp,
        why: SkippedFor,
        ran: &impl Fn(Timestamp) -> bool,
    ) {
        let (first, count) = schedule.count(after, until);
        let Some(from) = first else { return };
        if count < MAX_COUNTED {
            let (mut at, mut open) = (after, None::<Skipped>);
            while let Some(due) = schedule.next(at).filter(|due| *due <= until) {
                at = due;
                if ran(due) {
                    self.skipped.extend(open.take());
                } else {
                    let range = open.get_or_insert(Skipped { from: due, to: due, count: 0, why });
                    (range.to, range.count) = (due, range.count + 1);
                }
            }
            self.skipped.extend(open);
        } else {
            // So many that they are told as one; the few of them that ran keep their own outcome.
            let to = schedule.latest(after, until, 1).last().copied().unwrap_or(from);
            self.skipped.push(Skipped { from, to, count, why });
        }
    }
}

#[cfg(test)]
mod tests;
