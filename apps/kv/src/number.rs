//! Numbers as Redis reads and writes them.
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A decimal integer in its only spelling: no spaces, no `+`, no leading zeros, no `-0`.
pub(crate) fn parse_i64(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits == b"0" {
        return (!negative).then_some(0);
    }
    if digits.is_empty() || digits.len() > 19 || digits[0] == b'0' {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit); // at most 10^19 - 1, which fits
    }
    if negative {
        (value <= 1 << 63).then(|| (value as i64).wrapping_neg())
    } else {
        i64::try_from(value).ok()
    }
}

/// An integer of few digits, without checks: lengths in the protocol's fast path use it.
pub(crate) fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub(crate) fn write_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_u64(out, value.unsigned_abs());
}

/// The decimal digits of `value`.
pub(crate) fn digits(value: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    write_i64(&mut out, value);
    out
}

/// A floating point number; `inf` in any case with or without a sign, but not NaN.
pub(crate) fn parse_f64(bytes: &[u8]) -> Option<f64> {
    let text = core::str::from_utf8(bytes).ok()?;
    text.parse::<f64>().ok().filter(|value| !value.is_nan())
}

/// As C's `%.17g`, which is how Redis 7.0 prints scores.
pub(crate) fn format_f64(value: f64) -> String {
    if value.is_infinite() {
        return String::from(if value > 0.0 { "inf" } else { "-inf" });
    }
    if value.is_nan() {
        return String::from("nan");
    }
    if value == 0.0 {
        return String::from(if value.is_sign_negative() { "-0" } else { "0" });
    }
    if value.abs() < 1e15 && value == (value as i64) as f64 {
        return format!("{}", value as i64);
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..17).contains(&exponent) {
        let mantissa = trim_zeros(mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let decimals = usize::try_from(16 - exponent).unwrap_or(0);
    String::from(trim_zeros(&format!("{value:.decimals$}")))
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Decimal places that INCRBYFLOAT keeps.
const PLACES: u32 = 17;

/// The sum as INCRBYFLOAT and HINCRBYFLOAT print it: up to 17 decimal places, no exponent, no trailing zeros. `None` if
/// it is not finite.
pub(crate) fn add_decimal(a: &[u8], b: &[u8]) -> Option<String> {
    if let (Some(a), Some(b)) = (parse_decimal(a), parse_decimal(b))
        && let Some(sum) = a.checked_add(b)
    {
        let scale = 10u128.pow(PLACES);
        let sign = if sum < 0 { "-" } else { "" };
        let (whole, fraction) = (sum.unsigned_abs() / scale, sum.unsigned_abs() % scale);
        let text = format!("{sign}{whole}.{fraction:017}");
        return Some(String::from(trim_zeros(&text)));
    }
    let sum = parse_f64(a)? + parse_f64(b)?;
    sum.is_finite().then(|| {
        let text = format!("{sum:.17}");
        String::from(trim_zeros(&text))
    })
}

/// A plain decimal (perhaps with an exponent) in units of 10^-17, if it fits in that without loss.
fn parse_decimal(bytes: &[u8]) -> Option<i128> {
    let text = core::str::from_utf8(bytes).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    let mut value = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let shift = i32::try_from(PLACES)
        .ok()?
        .checked_add(exponent)?
        .checked_sub(i32::try_from(fraction.len()).ok()?)?;
    if value != 0 {
        if shift < 0 {
            return None;
        }
        value = value.checked_mul(10i128.checked_pow(shift.unsigned_abs())?)?;
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        for good in [0, 1, -1, 42, i64::MAX, i64::MIN, -1_000_000_007] {
            assert_eq!(parse_i64(&digits(good)), Some(good));
        }
        for bad in
            ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "-9223372036854775809", "a"]
        {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_i64(b"99999999999999999999"), None);
    }

    #[test]
    fn floats_print_like_percent_17_g() {
        for (value, text) in [
            (3.3, "3.2999999999999998"),
            (0.1, "0.10000000000000001"),
            (1.5, "1.5"),
            (-0.0, "-0"),
            (1e17, "1e+17"),
            (1e16, "10000000000000000"),
            (123_456_789_012_345_680_000.0, "1.2345678901234568e+20"),
            (1e-5, "1.0000000000000001e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "inf"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(format_f64(value), text);
        }
    }

    #[test]
    fn decimal_sums_are_exact() {
        for (a, b, sum) in [
            ("0.1", "0.2", Some("0.3")),
            ("10.50", "0.1", Some("10.6")),
            ("5.0e3", "2.0e2", Some("5200")),
            ("3", "-5.5", Some("-2.5")),
            ("1", "-1", Some("0")),
            ("1e400", "1", None),
        ] {
            assert_eq!(add_decimal(a.as_bytes(), b.as_bytes()).as_deref(), sum, "{a} + {b}");
        }
    }
}
