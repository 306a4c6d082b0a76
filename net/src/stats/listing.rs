//! `stats cachedump <class> <limit>`: keys of a size class. All records are of class 1.

use crate::config::Config;
use crate::dump::Form;
use crate::limits::CLASSES;
use crate::protocol::BAD_FORMAT;
use crate::protocol::number::parse_u32;

const BAD_LINE: &[u8] = b"CLIENT_ERROR bad command line\r\n";
const FORBIDDEN: &[u8] = b"CLIENT_ERROR stats cachedump not allowed\r\n";
/// libmemcached's dump walks the classes until it meets this.
const ILLEGAL_CLASS: &[u8] = b"CLIENT_ERROR Illegal slab id\r\n";

/// The dump to make, when the words behind the command ask for one that shows something.
pub(super) fn asked<'w>(config: &Config, words: impl Iterator<Item = &'w [u8]>) -> Option<Form> {
    match parse(config, words) {
        Ok((1, records_max)) => Some(Form::Listing { records_max }),
        _ => None,
    }
}

/// The answer in all other cases.
pub(super) fn refusal<'w>(config: &Config, words: impl Iterator<Item = &'w [u8]>) -> &'static [u8] {
    parse(config, words).err().unwrap_or_else(|| Form::Listing { records_max: 0 }.empty())
}

fn parse<'w>(
    config: &Config,
    mut words: impl Iterator<Item = &'w [u8]>,
) -> Result<(u32, u32), &'static [u8]> {
    if !config.dump_enabled {
        return Err(FORBIDDEN);
    }
    let (Some(class), Some(limit)) = (words.next(), words.next()) else {
        return Err(BAD_LINE);
    };
    match (parse_u32(class), parse_u32(limit)) {
        (Some(class), Some(_)) if class >= CLASSES => Err(ILLEGAL_CLASS),
        (Some(class), Some(limit)) => Ok((class, limit)),
        _ => Err(BAD_FORMAT),
    }
}

#[cfg(test)]
mod tests {
    use super::{BAD_FORMAT, BAD_LINE, FORBIDDEN, ILLEGAL_CLASS, asked, refusal};
    use crate::config::Config;
    use crate::dump::Form;

    #[test]
    fn each_form_has_memcacheds_answer() {
        let config = Config::default();
        let words = |text: &'static str| text.split_whitespace().map(str::as_bytes);
        for (text, answer) in [
            ("", BAD_LINE),
            ("1", BAD_LINE),
            ("x 1", BAD_FORMAT),
            ("1 x", BAD_FORMAT),
            ("-1 0", BAD_FORMAT),
            ("63 0", b"END\r\n"),
            ("0 0", b"END\r\n"),
            ("64 0", ILLEGAL_CLASS),
            ("99 1", ILLEGAL_CLASS),
        ] {
            assert_eq!(refusal(&config, words(text)), answer, "{text}");
            assert_eq!(asked(&config, words(text)), None, "{text}");
        }
        assert_eq!(asked(&config, words("1 7")), Some(Form::Listing { records_max: 7 }));
        let config = Config { dump_enabled: false, ..config };
        assert_eq!(refusal(&config, words("1 7")), FORBIDDEN);
        assert_eq!(asked(&config, words("1 7")), None);
    }
}
