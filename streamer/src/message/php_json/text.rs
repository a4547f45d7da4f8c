//! Strings, quoted and escaped.

/// Whether a byte stands for itself inside quotes.
static PLAIN: [bool; 256] = plain_bytes();

const fn plain_bytes() -> [bool; 256] {
    let mut plain = [false; 256];
    // 0x7f too: PHP leaves it as it is.
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, b'"' | b'\\' | b'/');
        byte += 1;
    }
    plain
}

/// Appends `text` with its quotes.
pub(crate) fn write_str(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Appends `text` without quotes.
pub(super) fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if PLAIN[usize::from(byte)] {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        at += write_escape(out, byte, &text[at..]);
        written = at;
    }
    out.extend_from_slice(&bytes[written..]);
}

/// Appends the escape of the first character of `rest`, which begins with `byte`, and gives its length in bytes.
fn write_escape(out: &mut Vec<u8>, byte: u8, rest: &str) -> usize {
    let short = match byte {
        b'"' | b'\\' | b'/' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let character = rest.chars().next().unwrap_or_default();
            for unit in character.encode_utf16(&mut [0; 2]) {
                write_unit(out, *unit);
            }
            return character.len_utf8();
        }
    };
    out.extend_from_slice(&[b'\\', short]);
    1
}

fn write_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 0xf)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}
