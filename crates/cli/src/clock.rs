//! Times as they are shown: local time for people, UTC for programs.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// `2031-05-17 09:41`, local time; `-` for what was never changed.
pub(crate) fn short(time: SystemTime) -> String {
    if time == SystemTime::UNIX_EPOCH {
        return "-".to_owned();
    }
    local(time).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `2031-05-17 09:41:12.000000000 +0200`, local time; `never` for what was never changed.
pub(crate) fn long(time: SystemTime) -> String {
    if time == SystemTime::UNIX_EPOCH {
        return "never".to_owned();
    }
    local(time).strftime("%Y-%m-%d %H:%M:%S.%9f %z").to_string()
}

/// `2031-05-17T07:41:12.5Z`.
pub(crate) fn json(time: SystemTime) -> String {
    timestamp(time).to_string()
}

/// How long something lasts, in one unit: `0.3 s`, `12 s`, `4 min`, `3 h`, `2 d`.
pub(crate) fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

fn local(time: SystemTime) -> ZonedDateTime {
    timestamp(time).to_zoned_datetime(TimeZone::system())
}

/// What no calendar has is as near as one comes.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_all_that_is_known() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_500_000_000_000_000_007);
        assert_eq!(json(time), "2017-07-14T02:40:00.000000007Z");
        assert!(long(time).contains(".000000007 "), "{}", long(time));
        assert_eq!((short(SystemTime::UNIX_EPOCH), long(SystemTime::UNIX_EPOCH)), ("-".to_owned(), "never".to_owned()));
        let far = json(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::MAX / 4));
        assert!(far.starts_with("9999-12-"), "{far}");
    }

    #[test]
    fn what_lasts_is_said_in_one_unit() {
        let said = |ms| lasting(Duration::from_millis(ms));
        assert_eq!(
            [said(0), said(300), said(9_960), said(12_345), said(240_000), said(9_999_000), said(999_999_000)],
            ["0.0 s", "0.3 s", "10.0 s", "12 s", "4 min", "2 h", "11 d"]
        );
    }
}
