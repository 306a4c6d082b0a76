//! The differences to the stock memcached that are known, each with its name and exactly what it looks like.
//!
//! They are what memcached itself changed in 1.6.40 and before, seen from an older one, and the deviations that
//! docs/protocol.md names, seen from a newer one.

use std::collections::BTreeMap;

const FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";

/// Why the reply to one command may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exception {
    /// Too few arguments were `ERROR` and are a format error since 1.6.40.
    Arguments,
    /// Since 1.6.40 an empty line follows the refusal of a long key in a get.
    EmptyLine,
    /// A refused store leaves its data to be read as a command before 1.6.40.
    Swallowed,
    /// md had one text for all wrong flags.
    DeleteFlags,
    /// A mode of several letters was refused; only the first one counts.
    ModeLength,
    /// `q` did not silence an ma that created.
    QuietCreate,
    /// The servers' versions.
    Version,
    /// me: size and class come from the allocator.
    ShownSize,
    /// me: the time left was printed with its sign turned.
    ShownExpiry,
    /// The time left of what has just expired is shown as 2^32 less something; ours is zero.
    ShownPast,
    /// A number that shrank kept its length here, and did not there ([`crate::padding`]).
    Padding,
    /// A clock tick lay between the two servers' answers.
    Tick,
}

/// How often each exception was met.
pub type Met = BTreeMap<Exception, u64>;

impl Exception {
    /// Whether `stock` and `ours` differ in exactly this way, or not at all.
    pub fn explains(self, stock: &[u8], ours: &[u8]) -> bool {
        match self {
            Exception::Arguments => stock == b"ERROR\r\n" && ours == FORMAT,
            Exception::EmptyLine => stock == [FORMAT, b"\r\n"].concat() && ours == FORMAT,
            Exception::Swallowed => stock == [FORMAT, b"ERROR\r\n"].concat() && ours == FORMAT,
            Exception::DeleteFlags => {
                stock == b"CLIENT_ERROR invalid or duplicate flag\r\n"
                    && (ours == b"CLIENT_ERROR duplicate flag\r\n"
                        || ours == b"CLIENT_ERROR invalid flag\r\n")
            }
            Exception::ModeLength => {
                stock == b"CLIENT_ERROR incorrect length for M token\r\n" && ours == b"NS\r\n"
            }
            Exception::QuietCreate => stock == b"HD\r\n" && ours.is_empty(),
            Exception::Version => stock.starts_with(b"VERSION 1.6.") && ours.starts_with(b"VERSION 1.6."),
            // These are found inside a reply, where the rest of it must agree.
            Exception::ShownSize
            | Exception::ShownExpiry
            | Exception::ShownPast
            | Exception::Padding
            | Exception::Tick => false,
        }
    }
}
