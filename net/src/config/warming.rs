//! Flags about the upstream that a node asks for what it does not have.

use std::time::Duration;

use super::flags::Flags;
use super::replication::is_address;
use super::{Config, ConfigError, failure, number, usage};
use crate::limits::WARM_TIMEOUT_MILLIS_MAX;
use crate::replication::held::Quorum;

impl Config {
    /// After the flags of replication: a node that does not write what it answers can't keep what it is told either.
    pub(super) fn read_warming(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        let options = &mut self.warming;
        options.upstream = flags.text("warm-from").map(str::to_owned);
        if let Some(address) = options.upstream.as_deref().filter(|address| !is_address(address)) {
            return Err(failure(format!("--warm-from takes HOST:PORT of a server, not {address}")));
        }
        if let Some(text) = flags.text("warm-timeout-ms") {
            let wrong = format!("--warm-timeout-ms takes 1 to {WARM_TIMEOUT_MILLIS_MAX} milliseconds");
            let millis = number("--warm-timeout-ms", text, 1, WARM_TIMEOUT_MILLIS_MAX, &wrong)?;
            options.timeout = Duration::from_millis(millis);
            if options.upstream.is_none() {
                return Err(usage("--warm-timeout-ms needs --warm-from"));
            }
        }
        if options.upstream.is_none() {
            return Ok(());
        }
        if self.replication.replica_of.is_some() {
            return Err(usage(
                "--warm-from is not for a replica (--replica-of): it has what its primary has",
            ));
        }
        if self.replication.quorum != Quorum::None {
            return Err(usage("--warm-from goes with --replication-mode async only"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Config, ConfigError, EXIT_FAILURE, EXIT_USAGE, Start};

    fn read(line: &str) -> Result<Config, ConfigError> {
        let words = std::iter::once("ringcached").chain(line.split_whitespace()).map(Into::into);
        Config::from_args(words, &|_| None).map(|start| match start {
            Start::Serve(config) => config,
            Start::Print(text) => panic!("{text}"),
        })
    }

    #[test]
    fn an_upstream_is_an_address_with_a_port() {
        let config = read("--warm-from cache-1.local:11211 --warm-timeout-ms 20").unwrap();
        assert_eq!(config.warming.upstream.as_deref(), Some("cache-1.local:11211"));
        assert_eq!(config.warming.timeout, Duration::from_millis(20));
        assert_eq!(read("").unwrap().warming.upstream, None);
        for line in [
            "--warm-from localhost",
            "--warm-from :11211",
            "--warm-from h:0",
            "--warm-from h:1 --warm-timeout-ms 0",
        ] {
            assert_eq!(read(line).unwrap_err().exit_code, EXIT_FAILURE, "{line}");
        }
    }

    #[test]
    fn who_does_not_decide_alone_what_it_holds_has_no_upstream() {
        for line in [
            "--warm-from h:1 --replica-of h:2",
            "--warm-from h:1 --replication-port 7 --replication-mode semi-sync",
            "--warm-timeout-ms 5",
        ] {
            let refusal = read(line).unwrap_err();
            assert!(refusal.exit_code == EXIT_USAGE && refusal.text.contains("--warm-"), "{line}: {refusal}");
        }
        assert!(read("--warm-from h:1 --replication-port 7").is_ok());
    }
}
