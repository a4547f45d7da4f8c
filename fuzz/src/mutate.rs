//! How an input is changed.

use std::ops::Range;

use rand::{RngExt as _, rngs::StdRng};

/// Longer inputs show nothing that shorter ones do not.
const LONGEST: usize = 64 << 10;
/// The most changes to one input.
const MOST_CHANGES: u32 = 6;

/// Bytes that formats give a meaning to, or forget.
const ODD_BYTES: &[u8] = b"\0\r\n\t \"'\\-+.,:;=*$%#@!?&/|~^<>()[]{}09azAZ_e\x1b\x7f\x80\xc3\xa9\xed\xf0\xfe\xff";

/// Numbers at which types and limits end.
const ODD_NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "-1",
    "1",
    "127",
    "128",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "0.1",
];

/// `base` after some changes; a part of `other` may come into it.
pub(crate) fn mutated(base: &[u8], other: &[u8], tokens: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = base.to_vec();
    for _ in 0..random.random_range(1..=MOST_CHANGES) {
        change(&mut input, other, tokens, random);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, other: &[u8], tokens: &[Vec<u8>], random: &mut StdRng) {
    let odd = |random: &mut StdRng| ODD_BYTES[random.random_range(0..ODD_BYTES.len())];
    match random.random_range(0..11) {
        0 => {
            if let Some(byte) = any(input, random) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = any(input, random) {
                *byte = random.random();
            }
        }
        2 => {
            let new = odd(random);
            if let Some(byte) = any(input, random) {
                *byte = new;
            }
        }
        3 => {
            let at = random.random_range(0..=input.len());
            input.insert(at, odd(random));
        }
        4 => drop(input.drain(part(input.len(), random))),
        // Once, or often: what nests may nest deep.
        5 => {
            let copied = part(input.len(), random);
            let times = match random.random_range(0..4) {
                0 => random.random_range(1..2_000),
                _ => 1,
            };
            let times = times.min(LONGEST / copied.len().max(1));
            let copies = input[copied.clone()].repeat(times);
            input.splice(copied.end..copied.end, copies);
        }
        6 if !tokens.is_empty() => {
            let token = &tokens[random.random_range(0..tokens.len())];
            let replaced = match random.random() {
                true => part(input.len(), random),
                false => {
                    let at = random.random_range(0..=input.len());
                    at..at
                }
            };
            input.splice(replaced, token.iter().copied());
        }
        7 => {
            let replaced = part(input.len(), random);
            input.splice(replaced, other[part(other.len(), random)].iter().copied());
        }
        8 => {
            let number = ODD_NUMBERS[random.random_range(0..ODD_NUMBERS.len())];
            if let Some(digits) = digits(input, random) {
                input.splice(digits, number.bytes());
            }
        }
        9 => {
            let length = random.random_range(0..=input.len());
            input.truncate(length);
        }
        _ => {
            let moved = part(input.len(), random);
            let moved = input.drain(moved).collect::<Vec<_>>();
            let at = random.random_range(0..=input.len());
            input.splice(at..at, moved);
        }
    }
}

fn any<'a>(input: &'a mut [u8], random: &mut StdRng) -> Option<&'a mut u8> {
    match input.len() {
        0 => None,
        length => input.get_mut(random.random_range(0..length)),
    }
}

/// A part, more often a short one.
fn part(length: usize, random: &mut StdRng) -> Range<usize> {
    let begin = random.random_range(0..=length);
    let longest = match random.random_range(0..4) {
        0 => length - begin,
        _ => (length - begin).min(8),
    };
    begin..begin + random.random_range(0..=longest)
}

/// One of the numbers in an input.
fn digits(input: &[u8], random: &mut StdRng) -> Option<Range<usize>> {
    let from = random.random_range(0..=input.len());
    let begin = from + input[from..].iter().position(u8::is_ascii_digit)?;
    let length = input[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some(begin..begin + length)
}
