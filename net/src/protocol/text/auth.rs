//! The first command where `-Y` asks who a client is: a `set` of any key, whose data is user and password.
//!
//! ```text
//! set <any> <any> <any> <bytes>       STORED | CLIENT_ERROR authentication failure
//! <user> <password>
//! ```

use memchr::memchr;

use crate::limits::{AUTH_BYTES_MAX, LINE_BYTES_MAX};
use crate::protocol::line::{Command, Tokens};
use crate::protocol::number::parse_u32;
use crate::protocol::text::store::Data;
use crate::session::{Exchange, Flow, Login};

const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated\r\n";
const TOO_LONG: &[u8] = b"CLIENT_ERROR auth token too long\r\n";
const BAD_TERMINATION: &[u8] = b"CLIENT_ERROR bad command line termination\r\n";
const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad authentication token format\r\n";
const FAILURE: &[u8] = b"CLIENT_ERROR authentication failure\r\n";

/// A shorter line, its end not counted but for a `\r`, is no command: the connection is closed.
const COMMAND_BYTES_MIN: usize = 6;

/// Executes the command at the front of `input`. Nothing else is known here; a failure may be followed by another try.
pub fn authenticate(x: &mut Exchange<'_, '_, '_>, input: &[u8], login: &mut Login) -> Flow {
    let Some(end) = memchr(b'\n', input) else {
        return if input.len() > LINE_BYTES_MAX { Flow::Close } else { Flow::More(input.len() + 1) };
    };
    if end < COMMAND_BYTES_MIN {
        return Flow::Close;
    }
    let line = &input[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let command = Command { args: line, input, line_bytes: end + 1 };
    let bytes = Tokens::of(line).nth(4).and_then(parse_u32).map(|bytes| bytes as usize);
    let Some(bytes) = bytes.filter(|_| line.starts_with(b"set")) else {
        return x.answer(UNAUTHENTICATED, command.line_bytes);
    };
    if bytes > AUTH_BYTES_MAX {
        return x.answer(TOO_LONG, command.line_bytes);
    }
    let taken = command.line_bytes + bytes + 2;
    match Data::of(command, bytes) {
        Data::Missing => Flow::More(taken),
        Data::BadEnd => x.answer(BAD_TERMINATION, taken),
        Data::Whole(token) => check(x, token, taken, login),
    }
}

/// Looks for the user that the data names.
fn check(x: &mut Exchange<'_, '_, '_>, token: &[u8], taken: usize, login: &mut Login) -> Flow {
    let Some(end) = memchr(b' ', token) else {
        return x.answer(BAD_TOKEN, taken);
    };
    let (user, password) = (&token[..end], &token[end + 1..]);
    let reach = &x.reach;
    reach.counters.auth_cmds.add(1);
    if reach.node.auth.admits(user, password) {
        *login = Login::Done;
        return x.answer(b"STORED\r\n", taken);
    }
    reach.counters.auth_errors.add(1);
    reach.node.auth.complain(reach.now.seconds, reach.ticket, "unknown user or wrong password");
    x.answer(FAILURE, taken)
}
