//! `Range`, `If-Range` and `If-None-Match` (RFC 9110, 13 and 14).
use core::ops::Range;

/// What a `Range` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: there is no range, or one that the server may and does ignore.
    Whole,
    /// These bytes, at least one.
    Part(Range<usize>),
    /// Bytes that the file doesn't have.
    Nothing,
}

/// What `field` asks of a file of `length` bytes. Several ranges, other units and bad syntax count as no range.
pub fn wanted(field: &[u8], length: usize) -> Wanted {
    parse(field, length).unwrap_or(Wanted::Whole)
}

fn parse(field: &[u8], length: usize) -> Option<Wanted> {
    let (unit, set) = field.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let set = set.trim_ascii();
    let dash = set.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&set[..dash], &set[dash + 1..]);
    let part = match (first.is_empty(), last.is_empty()) {
        (true, true) => return None,
        (true, false) => length - number(last)?.min(length)..length,
        (false, true) => number(first)?..length,
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some(if part.is_empty() { Wanted::Nothing } else { Wanted::Part(part) })
}

/// A decimal number; one too big for `usize` is as good as the biggest.
pub fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits.iter().fold(0usize, |number, digit| {
            number.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
        }),
    )
}

/// Whether an `If-None-Match` field names `etag`: a list, weak tags count, `*` names all.
pub fn names(field: &[u8], etag: &[u8]) -> bool {
    // Commas inside of tags are no danger: ours has none.
    field.split(|&byte| byte == b',').any(|tag| {
        let tag = tag.trim_ascii();
        tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file() {
        let cases: [(&[u8], Wanted); 17] = [
            (b"bytes=0-0", Wanted::Part(0..1)),
            (b"bytes=2-4", Wanted::Part(2..5)),
            (b"Bytes=2-4 ", Wanted::Part(2..5)),
            (b"bytes=7-", Wanted::Part(7..10)),
            (b"bytes=7-99999999999999999999999", Wanted::Part(7..10)),
            (b"bytes=-3", Wanted::Part(7..10)),
            (b"bytes=-30", Wanted::Part(0..10)),
            (b"bytes=-0", Wanted::Nothing),
            (b"bytes=10-", Wanted::Nothing),
            (b"bytes=99999999999999999999999-", Wanted::Nothing),
            (b"bytes=10-20", Wanted::Nothing),
            (b"bytes=4-2", Wanted::Whole),
            (b"bytes=-", Wanted::Whole),
            (b"bytes=0-1,3-4", Wanted::Whole),
            (b"bytes=a-b", Wanted::Whole),
            (b"lines=1-2", Wanted::Whole),
            (b"", Wanted::Whole),
        ];
        for (field, part) in cases {
            assert_eq!(wanted(field, 10), part, "{}", field.escape_ascii());
        }
        assert_eq!(wanted(b"bytes=0-", 0), Wanted::Nothing);
        assert_eq!(wanted(b"bytes=-1", 0), Wanted::Nothing);
    }

    #[test]
    fn tags_are_found_in_lists() {
        assert!(names(b"\"a\"", b"\"a\""));
        assert!(names(b"W/\"a\"", b"\"a\""));
        assert!(names(b"\"b\" , \"a\"", b"\"a\""));
        assert!(names(b"*", b"\"a\""));
        assert!(!names(b"\"b\"", b"\"a\""));
        assert!(!names(b"a", b"\"a\""));
        assert!(!names(b"", b"\"a\""));
    }
}
