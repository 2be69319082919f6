//! The `Date` header (RFC 9110, 5.6.7: IMF-fixdate).
use core::fmt::Write as _;

/// Bytes of a formatted date.
pub const LENGTH: usize = 29;

/// A date that is formatted once a second.
#[derive(Clone, Debug)]
pub struct Date {
    second: u64,
    text: [u8; LENGTH],
}

impl Default for Date {
    fn default() -> Self {
        Self::at(0)
    }
}

impl Date {
    /// The date `second` seconds after the start of 1970, UTC. Years past 9999 stay at 9999.
    pub fn at(second: u64) -> Self {
        let mut date = Self { second, text: [b' '; LENGTH] };
        date.format();
        date
    }

    /// Moves to `second`.
    pub fn update(&mut self, second: u64) {
        if self.second != second {
            self.second = second;
            self.format();
        }
    }

    /// As in `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn text(&self) -> &[u8; LENGTH] {
        &self.text
    }

    fn format(&mut self) {
        const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
        let second = self.second.min(LAST_SECOND_OF_9999);
        let (days, rest) = (second / 86_400, second % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        let weekday = WEEKDAYS[(days % 7) as usize];
        let month = MONTHS[month - 1];
        let mut text = Cursor { text: &mut self.text, at: 0 };
        write!(text, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
            .expect("a date has exactly 29 bytes");
    }
}

/// Year, month (from 1) and day (from 1) of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(days: u64) -> (u64, usize, u64) {
    // Years start in March here, so that the leap day is their last; eras have 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    (year, month as usize, day)
}

struct Cursor<'a> {
    text: &'a mut [u8],
    at: usize,
}

impl core::fmt::Write for Cursor<'_> {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let end = self.at + s.len();
        self.text.get_mut(self.at..end).ok_or(core::fmt::Error)?.copy_from_slice(s.as_bytes());
        self.at = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases: [(u64, &[u8; LENGTH]); 7] = [
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, b"Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, b"Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_798_761_600, b"Fri, 01 Jan 2027 00:00:00 GMT"),
            (4_107_542_400, b"Mon, 01 Mar 2100 00:00:00 GMT"),
            (u64::MAX, b"Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (second, text) in cases {
            let mut date = Date::default();
            date.update(second);
            assert_eq!(core::str::from_utf8(date.text()), core::str::from_utf8(text));
        }
    }
}
