// SPDX-License-Identifier: GPL-2.0
//! Times and spans for people.

use jiff::{tz::TimeZone, Timestamp};

const SECOND: u64 = 1_000_000_000;

/// What time it is, and where.
pub struct Clock {
    now: Timestamp,
    zone: TimeZone,
}

impl Clock {
    /// This machine's.
    pub fn now() -> Self {
        Self {
            now: Timestamp::now(),
            zone: TimeZone::system(),
        }
    }

    /// One that stands still at so many nanoseconds since 1970.
    #[cfg(test)]
    pub fn at(nanoseconds: u64) -> Self {
        Self {
            now: Timestamp::from_nanosecond(nanoseconds.into()).unwrap(),
            zone: TimeZone::UTC,
        }
    }

    /// Nanoseconds since 1970.
    pub fn nanoseconds(&self) -> u64 {
        self.now.as_nanosecond().try_into().unwrap_or(0)
    }

    /// For machines.
    pub fn rfc3339(&self) -> String {
        format!("{:.6}", self.now)
    }

    /// The time of day, and the day unless it is today.
    pub fn show(&self, nanoseconds: u64) -> String {
        let Ok(time) = Timestamp::from_nanosecond(nanoseconds.into()) else {
            return nanoseconds.to_string();
        };
        let (time, now) = (
            time.to_zoned(self.zone.clone()),
            self.now.to_zoned(self.zone.clone()),
        );
        let format = if time.date() == now.date() {
            "%H:%M:%S"
        } else {
            "%F %H:%M:%S"
        };
        time.strftime(format).to_string()
    }

    /// The time of day as it is.
    pub fn show_now(&self) -> String {
        self.show(self.nanoseconds())
    }

    /// How long ago that was.
    pub fn since(&self, nanoseconds: u64) -> String {
        span(self.nanoseconds().saturating_sub(nanoseconds) / SECOND)
    }

    /// When it was so many seconds ago.
    pub fn before(&self, seconds: u64) -> String {
        self.show(
            self.nanoseconds()
                .saturating_sub(seconds.saturating_mul(SECOND)),
        )
    }
}

/// Seconds in the two largest units that say something.
pub fn span(seconds: u64) -> String {
    let parts = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let said: Vec<_> = parts[first..]
        .iter()
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n} {unit}"))
        .collect();
    if said.is_empty() {
        "0 s".into()
    } else {
        said.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let said: Vec<_> = [0, 59, 60, 61, 3600, 3661, 90_000, 86_400 * 400 + 1]
            .map(span)
            .into();
        assert_eq!(
            said,
            [
                "0 s",
                "59 s",
                "1 min",
                "1 min 1 s",
                "1 h",
                "1 h 1 min",
                "1 d 1 h",
                "400 d"
            ]
        );
    }

    #[test]
    fn times() {
        let now = 1_764_203_000 * SECOND + 5;
        let clock = Clock::at(now);
        assert_eq!(clock.show_now(), "00:23:20");
        assert_eq!(clock.before(3600), "2025-11-26 23:23:20");
        assert_eq!(clock.since(now - 61 * SECOND), "1 min 1 s");
        // A clock that was set back, and numbers that are no time.
        assert_eq!(clock.since(u64::MAX), "0 s");
        assert_eq!(clock.before(u64::MAX), "1970-01-01 00:00:00");
        assert!(!clock.show(u64::MAX).is_empty());
        assert!(
            clock.rfc3339().starts_with("2025-11-27T00:23:20.00000")
                && clock.rfc3339().ends_with('Z')
        );
    }
}
