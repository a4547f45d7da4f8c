//! Floats.

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
