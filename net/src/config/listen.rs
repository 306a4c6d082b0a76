//! Where to listen: the ports of `-p` and `-U`, the socket of `-s`, and the addresses of `-l`: `host`, `host:port`,
//! `[v6]:port`, a bare v6 address, `*`, with memcached's prefixes.

use super::flags::Flags;
use super::{Binding, Config, ConfigError, EXIT_USAGE, Encryption, number, usage};
use crate::limits::UDP_LIMIT_KIB_MAX;

/// One address to listen on (`-l`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Host name or address; `None` is every address.
    pub host: Option<String>,
    /// Port of its own, else the one of `-p`.
    pub port: Option<u16>,
    /// What its prefixes say.
    pub terms: Terms,
}

impl Encryption {
    /// The prefix that asks for it.
    pub(super) fn prefix(self) -> Option<&'static str> {
        ENCRYPTIONS.iter().find(|(_, one)| *one == self).map(|(name, _)| *name)
    }
}

/// What holds for the connections of one listener, where it differs from the rest of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `proto[..]:`, else `-B`.
    pub binding: Option<Binding>,
    /// `notls:`, `btls:`, `mtls:`.
    pub encryption: Encryption,
}

impl Config {
    pub(super) fn read_addresses(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if let Some(text) = flags.text("port") {
            self.port = port("-p", text)?;
        }
        if let Some(text) = flags.text("udp-port") {
            self.udp_port = port("-U", text)?;
            if self.udp_port.is_some() && flags.text("port").is_none() {
                self.port = self.udp_port;
            }
        }
        if let Some(text) = flags.text("udp-limit") {
            let wrong =
                format!("The limit of answers over UDP takes 0 to {UDP_LIMIT_KIB_MAX} KiB per second");
            self.udp_bytes_per_second = 1024 * number("--udp-limit", text, 0, UDP_LIMIT_KIB_MAX, &wrong)?;
        }
        for list in flags.texts("listen") {
            // The same address once more means nothing, as in memcached.
            for address in Listen::parse_list(list)? {
                if !self.listen.contains(&address) {
                    self.listen.push(address);
                }
            }
            let before = self.listen_text.take().map_or(String::new(), |before| before + ",");
            self.listen_text = Some(before + list);
        }
        if let Some(text) = flags.text("unix-mask") {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
            self.socket_mode =
                mode.ok_or_else(|| usage(format!("Invalid access mask {text}: octal, up to 777 (-a)")))?;
        }
        self.socket_path = flags.path("unix-socket");
        if self.socket_path.is_some() {
            (self.port, self.udp_port) = (None, None);
        } else if self.port.is_none() && self.udp_port.is_none() {
            self.warnings
                .push("TCP is off (-p 0) and there is no Unix socket (-s): nobody can connect".into());
        }
        Ok(())
    }

    /// No socket offers a way around logins, where these are asked for. When the protocol has been read.
    pub(super) fn check_addresses(&mut self) -> Result<(), ConfigError> {
        if self.udp_port.is_some() && self.sasl_file.is_some() {
            return Err(usage("ERROR: Cannot enable UDP while using binary SASL authentication."));
        }
        if self.udp_port.is_some() && self.auth_file.is_some() {
            return Err(usage("Cannot use UDP with ascii authentication enabled (-U 0 to disable)"));
        }
        for terms in self.listen.iter_mut().map(|one| &mut one.terms) {
            match terms.binding {
                Some(Binding::Binary) if self.auth_file.is_some() => {
                    return Err(usage("Cannot use binary protocol when ascii authentication enabled"));
                }
                Some(Binding::Auto) if self.auth_file.is_some() => {
                    let text = "negotiating ports are ascii only when ascii authentication enabled";
                    self.warnings.push(text.into());
                    terms.binding = Some(Binding::Ascii);
                }
                Some(Binding::Ascii | Binding::Auto) if self.sasl_file.is_some() => {
                    return Err(usage("ERROR: You cannot allow the ASCII protocol while using SASL."));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A port; `None` is off, `Some(0)` is for the kernel to choose.
fn port(flag: &str, text: &str) -> Result<Option<u16>, ConfigError> {
    match text {
        "-1" => Ok(Some(0)),
        "0" => Ok(None),
        _ => Ok(Some(text.parse().map_err(|_| usage(format!("Invalid port number {text} ({flag})")))?)),
    }
}

impl Listen {
    /// Reads one value of `-l`, a list parted by commas or semicolons. Names are not resolved here.
    ///
    /// Errors: a port that is no port, a prefix that asks for the proxy, or for nothing that is known.
    pub(super) fn parse_list(list: &str) -> Result<Vec<Self>, ConfigError> {
        list.split([',', ';']).map(str::trim).filter(|one| !one.is_empty()).map(Self::parse).collect()
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let (terms, address) = strip_prefixes(text)?;
        let (host, port) = split_port(address);
        let port = match port {
            Some(digits) => Some(digits.parse().map_err(|_| wrong(text))?),
            None => None,
        };
        let host = match host {
            "*" | "" => None,
            name => Some(name.to_owned()),
        };
        Ok(Self { host, port, terms })
    }
}

/// The prefixes that only mean something beside `-Z`.
const ENCRYPTIONS: [(&str, Encryption); 3] =
    [("notls", Encryption::Off), ("btls", Encryption::ServerOnly), ("mtls", Encryption::Mutual)];

/// Takes `notls:`, `btls:`, `mtls:`, `proto[..]:`, `tag[..]:` and `tag_.._:` off the front. A tag only names the listener
/// in memcached's proxy, so it leaves nothing to remember.
fn strip_prefixes(text: &str) -> Result<(Terms, &str), ConfigError> {
    let mut rest = text;
    let mut terms = Terms::default();
    loop {
        if let Some((name, encryption)) = ENCRYPTIONS
            .into_iter()
            .find(|(name, _)| rest.strip_prefix(name).is_some_and(|r| r.starts_with(':')))
        {
            terms.encryption = encryption;
            rest = &rest[name.len() + 1..];
        } else if let Some((name, after)) = bracketed(rest, "proto[", "]:") {
            terms.binding = Some(protocol(name, text)?);
            rest = after;
        } else if let Some((name, after)) = bracketed(rest, "tag[", "]:").or(bracketed(rest, "tag_", "_:")) {
            if !(1..=8).contains(&name.len()) {
                return Err(wrong(text));
            }
            rest = after;
        } else {
            return Ok((terms, rest));
        }
    }
}

fn bracketed<'t>(text: &'t str, open: &str, close: &str) -> Option<(&'t str, &'t str)> {
    text.strip_prefix(open)?.split_once(close)
}

fn protocol(name: &str, text: &str) -> Result<Binding, ConfigError> {
    match name {
        "ascii" => Ok(Binding::Ascii),
        "binary" => Ok(Binding::Binary),
        "negotiating" => Ok(Binding::Auto),
        "proxy" => Err(ConfigError::new(EXIT_USAGE, format!("Server not built with proxy: {text}"))),
        _ => Err(wrong(text)),
    }
}

/// Parts host and port. Several colons without brackets are a v6 address without a port.
fn split_port(address: &str) -> (&str, Option<&str>) {
    if let Some((host, after)) = bracketed(address, "[", "]") {
        let port = after.strip_prefix(':').unwrap_or(after);
        return (host, (!after.is_empty()).then_some(port));
    }
    match address.split_once(':') {
        Some((_, port)) if port.contains(':') => (address, None),
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    }
}

fn wrong(text: &str) -> ConfigError {
    ConfigError::new(EXIT_USAGE, format!("Invalid address to listen on: {text} (-l)"))
}

#[cfg(test)]
mod tests {
    use super::{Binding, Encryption, Listen};

    #[test]
    fn all_forms_of_addresses() {
        type Address = (Option<&'static str>, Option<u16>);
        let table: &[(&str, &[Address])] = &[
            ("", &[]),
            ("*", &[(None, None)]),
            ("*:0", &[(None, Some(0))]),
            ("127.0.0.1", &[(Some("127.0.0.1"), None)]),
            ("localhost:11212", &[(Some("localhost"), Some(11212))]),
            ("::1", &[(Some("::1"), None)]),
            ("[::1]", &[(Some("::1"), None)]),
            ("[::1]:7", &[(Some("::1"), Some(7))]),
            ("a,b:1;[::]:2", &[(Some("a"), None), (Some("b"), Some(1)), (Some("::"), Some(2))]),
            ("notls:a:1", &[(Some("a"), Some(1))]),
            ("tag[abc]:a:1", &[(Some("a"), Some(1))]),
            ("tag_abc_:proto[ascii]:a:1", &[(Some("a"), Some(1))]),
        ];
        for (text, expected) in table {
            let got = Listen::parse_list(text).unwrap();
            let got: Vec<_> = got.iter().map(|one| (one.host.as_deref(), one.port)).collect();
            assert_eq!(got, *expected, "{text}");
        }
    }

    #[test]
    fn what_can_not_be_listened_on() {
        for text in ["a:b", "a:99999", "a:", "[::1]:x", "[::1]x", "tag[]:a", "tag[ninechars]:a", "proto[x]:a"]
        {
            let error = Listen::parse_list(text).unwrap_err();
            assert_eq!((error.exit_code, error.text.contains(text)), (64, true), "{text}: {}", error.text);
        }
        let error = Listen::parse_list("proto[proxy]:a").unwrap_err();
        assert!(error.text.contains("not built with proxy"), "{}", error.text);
    }

    #[test]
    fn a_prefix_names_the_encryption_of_its_listener_only() {
        let list = "notls:a,btls:b:1,mtls:proto[ascii]:tag_x_:c,tag[x]:mtls:d,mtls";
        let encryptions: Vec<_> =
            Listen::parse_list(list).unwrap().iter().map(|one| one.terms.encryption).collect();
        use Encryption::{ByFlags, Mutual, Off, ServerOnly};
        assert_eq!(encryptions, [Off, ServerOnly, Mutual, Mutual, ByFlags]);
    }

    #[test]
    fn a_prefix_names_the_protocol_of_its_listener_only() {
        let list = "proto[binary]:a,proto[ascii]:tag[x]:b:1,c,tag_x_:proto[negotiating]:d";
        let bindings: Vec<_> =
            Listen::parse_list(list).unwrap().iter().map(|one| one.terms.binding).collect();
        assert_eq!(bindings, [Some(Binding::Binary), Some(Binding::Ascii), None, Some(Binding::Auto)]);
    }
}
