//! `stats detail`: answered as a memcached with `-X` answers it. There are no statistics per prefix.

const DETAIL_FORBIDDEN: &[u8] = b"CLIENT_ERROR stats detail not allowed\r\n";
const DETAIL_USAGE: &[u8] = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";

/// The answer to `stats detail` with the words behind it.
pub(super) fn detail<'w>(mut words: impl Iterator<Item = &'w [u8]>) -> &'static [u8] {
    match words.next() {
        Some(b"on" | b"off" | b"dump") => DETAIL_FORBIDDEN,
        _ => DETAIL_USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::{DETAIL_FORBIDDEN, DETAIL_USAGE, detail};

    #[test]
    fn each_form_has_memcacheds_error() {
        let words = |text: &'static str| text.split_whitespace().map(str::as_bytes);
        for (text, answer) in [("", DETAIL_USAGE), ("x", DETAIL_USAGE), ("dump", DETAIL_FORBIDDEN)] {
            assert_eq!(detail(words(text)), answer, "{text}");
        }
    }
}
