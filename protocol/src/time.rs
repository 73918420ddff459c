//! Time as it stands on the wire: whole seconds UTC.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far two honest clocks may disagree, in seconds. The only such constant.
pub const SKEW_SECS: u64 = 60;

/// Whole seconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From whole seconds since the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// `secs` later; the end of time instead of an overflow.
    pub const fn saturating_add(self, secs: u64) -> Self {
        Self(self.0.saturating_add(secs))
    }

    /// `secs` earlier; the epoch instead of an underflow.
    pub const fn saturating_sub(self, secs: u64) -> Self {
        Self(self.0.saturating_sub(secs))
    }

    /// Seconds from `earlier` until this moment; 0 if this moment is not after it.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether a statement that holds until this moment is over at `now`, [`SKEW_SECS`] granted.
    pub const fn is_past(self, now: Self) -> bool {
        now.0 > self.0.saturating_add(SKEW_SECS)
    }

    /// Whether a statement made at this moment comes from the future at `now`, [`SKEW_SECS`] granted.
    pub const fn is_future(self, now: Self) -> bool {
        self.0 > now.0.saturating_add(SKEW_SECS)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0 / 86_400;
        let (year, month, day) = civil_from_days(days);
        let secs = self.0 % 86_400;
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", secs / 3_600, secs / 60 % 60, secs % 60)
    }
}

/// The Gregorian date of a day counted from 1970-01-01, in 400-year eras that begin on 1 March.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_a_date() {
        assert_eq!(Timestamp::from_secs(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_secs(951_827_696).to_string(), "2000-02-29T12:34:56Z");
        assert_eq!(Timestamp::from_secs(1_767_225_600).to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn grants_the_skew_and_no_more() {
        let end = Timestamp::from_secs(1_000);
        assert!(!end.is_past(Timestamp::from_secs(1_060)));
        assert!(end.is_past(Timestamp::from_secs(1_061)));
        assert!(!end.is_future(Timestamp::from_secs(940)));
        assert!(end.is_future(Timestamp::from_secs(939)));
        assert!(!Timestamp::from_secs(u64::MAX).is_past(end));
    }
}
