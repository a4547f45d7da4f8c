//! Floats, and numbers that come as text.

use serde::{de::IgnoredAny, ser::Error as _};

use super::EncodeError;

/// The greatest number of digits before the decimal point without an exponent (`zend_gcvt` with precision 17).
const MAX_INTEGER_DIGITS: i32 = 17;
/// The greatest number of zeros after the decimal point without an exponent.
const MAX_LEADING_ZEROS: i32 = 3;

pub(super) fn write_float<F: zmij::Float + Into<f64>>(out: &mut Vec<u8>, value: F) -> Result<(), EncodeError> {
    if !value.into().is_finite() {
        return Err(EncodeError::NotFinite);
    }
    // Not `{:e}`: of two shortest texts that are equally near, the standard library takes the greater one, PHP and zmij
    // the even one (2^50 + 0.25 ends in .2).
    write_digits(out, zmij::Buffer::new().format_finite(value));
    Ok(())
}

/// A number that comes as text. A float is spelled as PHP does it; digits that no float has are kept, as are those of integers.
pub(super) fn write_number(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    let begins_as_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if !begins_as_number || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Err(EncodeError::custom(format!("a number cannot have the text `{text}`")));
    }
    if text.contains(['.', 'e', 'E']) {
        let float: f64 = text.parse().map_err(EncodeError::custom)?;
        if !float.is_finite() {
            return Err(EncodeError::NotFinite);
        }
        let mut buffer = zmij::Buffer::new();
        let shortest = buffer.format_finite(float);
        if decimal(text).is_some_and(|decimal_of_text| Some(decimal_of_text) == decimal(shortest)) {
            write_digits(out, shortest);
            return Ok(());
        }
    }
    out.extend_from_slice(text.trim_ascii_end().as_bytes());
    Ok(())
}

/// Whether the number is negative, its digits without zeros around them, and where its point is: ±0.digits × 10^point.
/// `None` where the exponent has no place in 64 bits.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{integer}{fraction}");
    let significant = digits.trim_start_matches('0');
    let leading_zeros = digits.len() - significant.len();
    let point = exponent.parse::<i64>().ok()?.checked_add(integer.len() as i64)? - leading_zeros as i64;
    let significant = significant.trim_end_matches('0');
    let point = if significant.is_empty() { 0 } else { point };
    Some((unsigned.len() < text.len(), significant.to_owned(), point))
}

/// Spells the shortest digits that `shortest` holds, in whatever notation, the way PHP does.
fn write_digits(out: &mut Vec<u8>, shortest: &str) {
    let unsigned = shortest.strip_prefix('-').unwrap_or(shortest);
    if unsigned.len() < shortest.len() {
        out.push(b'-');
    }
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

    let mut buffer = [0; 64];
    let mut length = 0;
    // The value is 0.digits × 10^point.
    let mut point = exponent.parse::<i32>().unwrap_or_default() + integer.len() as i32;
    for digit in integer.bytes().chain(fraction.bytes()).take(buffer.len()) {
        if length == 0 && digit == b'0' {
            point -= 1;
        } else {
            buffer[length] = digit;
            length += 1;
        }
    }
    while length > 0 && buffer[length - 1] == b'0' {
        length -= 1;
    }
    let digits = &buffer[..length];

    if digits.is_empty() {
        out.push(b'0');
    } else if !(-MAX_LEADING_ZEROS..=MAX_INTEGER_DIGITS).contains(&point) {
        out.extend_from_slice(&[digits[0], b'.']);
        out.extend_from_slice(if length == 1 { b"0" } else { &digits[1..] });
        out.extend_from_slice(if point > 0 { b"e+" } else { b"e-" });
        out.extend_from_slice((point - 1).unsigned_abs().to_string().as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let integer_digits = point as usize;
        if integer_digits < length {
            out.extend_from_slice(&digits[..integer_digits]);
            out.push(b'.');
            out.extend_from_slice(&digits[integer_digits..]);
        } else {
            out.extend_from_slice(digits);
            out.resize(out.len() + integer_digits - length, b'0');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Result<String, EncodeError> {
        let mut out = Vec::new();
        write_number(&mut out, text)?;
        Ok(String::from_utf8(out).expect("it is ASCII"))
    }

    #[test]
    fn digits_that_no_float_has_are_kept() {
        for text in [
            "100000000000000000000",
            "-18446744073709551616",
            "0.1000000000000000000001",
            "12345678901234567.89",
            "1e-400",
            "0e99999999999999999999",
        ] {
            assert_eq!(written(text), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_number_or_no_float_can_hold_is_refused() {
        for text in [
            "", "-", "1.", ".5", "01", "1,2", "inf", "NaN", "\"1\"", "[1]", " 1", "1 2",
        ] {
            assert!(matches!(written(text), Err(EncodeError::Custom(_))), "{text}");
        }
        assert_eq!(written("1e400"), Err(EncodeError::NotFinite));
    }

    proptest! {
        #[test]
        fn a_float_is_written_alike_as_itself_and_as_text(float in any::<f64>().prop_filter("JSON has it", |float| float.is_finite())) {
            let mut expected = Vec::new();
            write_float(&mut expected, float).expect("it is finite");
            // The standard library and zmij differ in a few of the shortest digits.
            for text in [format!("{float:.1100}"), zmij::Buffer::new().format_finite(float).to_owned()] {
                let written = written(&text).expect("it is a number");
                let same = written.as_bytes() == expected || written == text && decimal(&text) != decimal(&format!("{float:?}"));
                prop_assert!(same, "{} {}", written, text);
            }
        }

        #[test]
        fn zeros_around_a_number_make_no_difference(whole in 0_u32..1000, fraction in 0_u32..1000, zeros in 0_usize..30) {
            let mut expected = Vec::new();
            let plain = format!("{whole}.{fraction:03}");
            write_float(&mut expected, plain.parse::<f64>().expect("it is a float")).expect("it is finite");
            let expected = String::from_utf8(expected).expect("it is ASCII");
            let zeros = "0".repeat(zeros);
            prop_assert_eq!(written(&format!("{plain}{zeros}")), Ok(expected.clone()));
            prop_assert_eq!(written(&format!("0.{zeros}{whole:04}{fraction:03}E+{}", zeros.len() + 4)), Ok(expected));
        }
    }
}
