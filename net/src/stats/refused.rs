//! `stats detail` and `stats cachedump`: answered as a memcached with `-X` answers them.
//!
//! Neither statistics per prefix nor dumps exist here, but clients know these commands by their errors:
//! libmemcached's dump walks the classes until it meets `Illegal slab id`.

const BAD_LINE: &[u8] = b"CLIENT_ERROR bad command line\r\n";
const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
const CACHEDUMP_FORBIDDEN: &[u8] = b"CLIENT_ERROR stats cachedump not allowed\r\n";
const DETAIL_FORBIDDEN: &[u8] = b"CLIENT_ERROR stats detail not allowed\r\n";
const DETAIL_USAGE: &[u8] = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";
const ILLEGAL_CLASS: &[u8] = b"CLIENT_ERROR Illegal slab id\r\n";

/// memcached's number of size classes: a class from here on is illegal.
const CLASSES: u32 = 64;

/// The answer to `stats detail` with the words behind it.
pub(super) fn detail<'w>(mut words: impl Iterator<Item = &'w [u8]>) -> &'static [u8] {
    match words.next() {
        Some(b"on" | b"off" | b"dump") => DETAIL_FORBIDDEN,
        _ => DETAIL_USAGE,
    }
}

/// The answer to `stats cachedump` with the words behind it: class and limit.
pub(super) fn cachedump<'w>(mut words: impl Iterator<Item = &'w [u8]>) -> &'static [u8] {
    let (Some(class), Some(limit)) = (words.next(), words.next()) else {
        return BAD_LINE;
    };
    match (number(class), number(limit)) {
        (Some(class), Some(_)) if class >= CLASSES => ILLEGAL_CLASS,
        (Some(_), Some(_)) => CACHEDUMP_FORBIDDEN,
        _ => BAD_FORMAT,
    }
}

fn number(word: &[u8]) -> Option<u32> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{
        BAD_FORMAT, BAD_LINE, CACHEDUMP_FORBIDDEN, DETAIL_FORBIDDEN, DETAIL_USAGE, ILLEGAL_CLASS, cachedump,
        detail,
    };

    #[test]
    fn each_form_has_memcacheds_error() {
        let words = |text: &'static str| text.split_whitespace().map(str::as_bytes);
        for (text, answer) in [
            ("", BAD_LINE),
            ("1", BAD_LINE),
            ("x 1", BAD_FORMAT),
            ("1 x", BAD_FORMAT),
            ("-1 0", BAD_FORMAT),
            ("63 0", CACHEDUMP_FORBIDDEN),
            ("64 0", ILLEGAL_CLASS),
            ("99 1", ILLEGAL_CLASS),
        ] {
            assert_eq!(cachedump(words(text)), answer, "{text}");
        }
        for (text, answer) in [("", DETAIL_USAGE), ("x", DETAIL_USAGE), ("dump", DETAIL_FORBIDDEN)] {
            assert_eq!(detail(words(text)), answer, "{text}");
        }
    }
}
