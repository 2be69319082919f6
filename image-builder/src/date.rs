//! Moments as people and programs read them.

use time::OffsetDateTime;

/// ISO 8601, in whole seconds.
pub fn date(moment: OffsetDateTime) -> String {
    let (date, time) = (moment.date(), moment.time());
    let day = format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day());
    format!("{day}T{:02}:{:02}:{:02}Z", time.hour(), time.minute(), time.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_dates() {
        let moment = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        assert_eq!(date(moment), "2023-11-14T22:13:20Z");
    }
}
