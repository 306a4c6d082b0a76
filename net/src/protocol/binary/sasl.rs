//! SASL: `list mechanisms`, `auth`, `step`. The one mechanism is PLAIN (RFC 4616).
//!
//! ```text
//! request   key: mechanism · value: [identity to act as] 0 user 0 password
//! response  "Authenticated"
//! ```
//!
//! A client may name the mechanism first, without a value, and send the value with `step`.

use super::Request;
use super::header::{Opcode, Response, Status, push_error, push_value};
use crate::limits::{AUTH_BYTES_MAX, MECHANISM_BYTES_MAX};
use crate::session::{Exchange, Flow, Login};

const MECHANISM: &[u8] = b"PLAIN";
const DONE: &[u8] = b"Authenticated";

/// Whether a command is executed for a client that has not yet said who it is.
pub fn is_open_to_all(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::SaslMechanisms | Opcode::SaslAuth | Opcode::SaslStep | Opcode::Version)
}

/// `list mechanisms`. As in memcached it begins anew: who was known has to say again who it is.
pub fn mechanisms(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>, login: &mut Login) -> Flow {
    if !is_on(x) {
        return request.refuse(x, Status::UnknownCommand);
    }
    if *login == Login::Done {
        *login = Login::Needed;
    }
    push_value(request.asked, MECHANISM, x.sink());
    Flow::Taken(request.bytes())
}

/// `auth`.
pub fn auth(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>, login: &mut Login) -> Flow {
    if !is_on(x) {
        return request.refuse(x, Status::UnknownCommand);
    }
    if request.key.len() > MECHANISM_BYTES_MAX {
        return request.refuse(x, Status::Invalid);
    }
    if !request.key.eq_ignore_ascii_case(MECHANISM) {
        return fail(x, request, login, "the mechanism is not PLAIN");
    }
    if request.value_bytes == 0 {
        *login = Login::Begun;
        Response { status: Status::AuthContinues, ..Response::SUCCESS }.push(request.asked, x.sink());
        return Flow::Taken(request.bytes());
    }
    check(x, request, login)
}

/// `step`, behind an `auth` without a value.
pub fn step(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>, login: &mut Login) -> Flow {
    if !is_on(x) {
        return request.refuse(x, Status::UnknownCommand);
    }
    if request.key.len() > MECHANISM_BYTES_MAX {
        return request.refuse(x, Status::Invalid);
    }
    if *login != Login::Begun {
        return fail(x, request, login, "a step came without a beginning");
    }
    check(x, request, login)
}

/// Looks for the user that the value names.
fn check(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>, login: &mut Login) -> Flow {
    if request.value_bytes > AUTH_BYTES_MAX {
        return fail(x, request, login, "the credentials are too long");
    }
    let Some(value) = request.value() else { return Flow::More(request.bytes()) };
    let Some((user, password)) = read_plain(value) else {
        return fail(x, request, login, "the credentials are malformed");
    };
    if !x.reach.node.auth.admits(user, password) {
        return fail(x, request, login, "unknown user or wrong password");
    }
    *login = Login::Done;
    x.reach.counters.auth_cmds.add(1);
    push_value(request.asked, DONE, x.sink());
    Flow::Taken(request.bytes())
}

/// Counts and logs a failure; the client is only told that there was one. Whatever came with the request is swallowed.
fn fail(x: &mut Exchange<'_, '_, '_>, request: &Request<'_>, login: &mut Login, reason: &str) -> Flow {
    *login = Login::Needed;
    x.reach.counters.auth_cmds.add(1);
    x.reach.counters.auth_errors.add(1);
    x.reach.node.auth.complain(x.reach.now.seconds, x.reach.ticket, reason);
    push_error(request.asked, Status::Unauthenticated, x.sink());
    Flow::Swallow { taken: request.head_bytes, bytes: request.value_bytes as u64 }
}

/// User and password. Nobody acts for somebody else, so an identity to act as must be the user's own.
fn read_plain(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = value.split(|&byte| byte == 0);
    let (identity, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_own = identity.is_empty() || identity == user;
    (is_own && !user.is_empty() && parts.next().is_none()).then_some((user, password))
}

fn is_on(x: &Exchange<'_, '_, '_>) -> bool {
    x.reach.node.config.sasl_file.is_some()
}

#[cfg(test)]
mod tests {
    use super::read_plain;

    #[test]
    fn credentials_have_three_parts() {
        assert_eq!(read_plain(b"\0user\0pass"), Some((&b"user"[..], &b"pass"[..])));
        assert_eq!(read_plain(b"user\0user\0pass"), Some((&b"user"[..], &b"pass"[..])));
        assert_eq!(read_plain(b"\0user\0"), Some((&b"user"[..], &b""[..])));
        for bad in [&b""[..], b"\0", b"user\0pass", b"other\0user\0pass", b"\0user\0pass\0", b"\0\0pass"] {
            assert_eq!(read_plain(bad), None, "{}", bad.escape_ascii());
        }
    }
}
