//! The pattern of RFC 864: lines of 72 of the 95 printable characters, each line starting one further.
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

const PRINTABLE: u8 = 95;
const LINE: u8 = 72;

/// Bytes after which the pattern starts again.
pub const ROUND: usize = PRINTABLE as usize * (LINE as usize + 2);

/// So many rounds of the pattern.
///
/// # Errors
/// When there is no memory for them.
pub fn rounds(count: usize) -> Result<Vec<u8>, TryReserveError> {
    let mut pattern = Vec::new();
    pattern.try_reserve_exact(count * ROUND)?;
    for _ in 0..count {
        for start in 0..PRINTABLE {
            pattern.extend((0..LINE).map(|column| b' ' + (start + column) % PRINTABLE));
            pattern.extend_from_slice(b"\r\n");
        }
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_rfc() {
        let pattern = rounds(2).unwrap();
        let text = core::str::from_utf8(&pattern).unwrap();
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], r##" !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg"##);
        assert_eq!(lines[1], r##"!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh"##);
        assert_eq!(&lines[94][..3], "~ !");
        assert_eq!(lines[95], lines[0]);
        assert_eq!(pattern.len(), 2 * ROUND);
    }
}
