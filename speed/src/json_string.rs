//! The content of JSON strings.

/// Return how many bytes come before a quote, a backslash or a control character.
pub fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let mut length = 0;
    // Eight bytes at once. A byte below `limit` sets its highest bit; a later one may be wrong.
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let below =
            |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH;
        let equals = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let special = below(word, 0x20) | equals(b'"') | equals(b'\\') | equals(0x7f);
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let rest = bytes.get(length..).unwrap_or_default();
    let is_special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f);
    length + rest.iter().position(is_special).unwrap_or(rest.len())
}

pub fn unescape(content: &str) -> Option<String> {
    let mut text = String::with_capacity(content.len());
    let mut pieces = content.split('\\');
    text.push_str(pieces.next()?);
    while let Some(piece) = pieces.next() {
        let mut rest = piece;
        let character = match piece.as_bytes().first() {
            // Two backslashes enclose an empty piece. The next piece has no escape.
            None => {
                text.push('\\');
                text.push_str(pieces.next()?);
                continue;
            }
            Some(b'"') => '"',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut unit = code_unit(piece)?;
                rest = piece.get(4..)?;
                if (0xd800..0xdc00).contains(&unit) && rest.len() == 1 {
                    let low = pieces.next()?;
                    let low_unit = code_unit(low)?;
                    if !(0xdc00..0xe000).contains(&low_unit) {
                        return None;
                    }
                    unit = 0x10000 + ((unit - 0xd800) << 10) + (low_unit - 0xdc00);
                    rest = low.get(4..)?;
                }
                char::from_u32(unit)?
            }
            Some(_) => return None,
        };
        text.push(character);
        text.push_str(rest.get(1..)?);
    }
    Some(text)
}

/// Return the number in `u12ab…`.
fn code_unit(piece: &str) -> Option<u32> {
    let digits = piece.strip_prefix('u')?.get(..4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}
