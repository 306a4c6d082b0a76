//! Which protocol a connection speaks, and whether its client may give commands.

use crate::config::{Binding, Config};
use crate::protocol::binary;

/// The protocol of a connection, and whether its client may give commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// No byte has come. What the listener allows, where that is not what `-B` says.
    Unknown(Option<Binding>),
    Text(Login),
    Binary(Login),
}

/// How far a client has come with saying who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It has to.
    Needed,
    /// It has named the way in which it will (SASL).
    Begun,
    /// It has, or needn't.
    Done,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect::Unknown(None)
    }
}

impl Dialect {
    /// By the first byte, where `binding` leaves a choice.
    pub(super) fn of(first: u8, binding: Binding, config: &Config) -> Self {
        let is_binary = match binding {
            Binding::Auto => first == binary::header::REQUEST,
            Binding::Ascii => false,
            Binding::Binary => true,
        };
        let login = |is_needed| if is_needed { Login::Needed } else { Login::Done };
        if is_binary {
            Dialect::Binary(login(config.sasl_file.is_some()))
        } else {
            Dialect::Text(login(config.auth_file.is_some()))
        }
    }
}
