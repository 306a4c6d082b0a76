//! Flags about replication: who follows whom, which answers wait, how links are.

use std::str::FromStr;
use std::time::Duration;

use super::flags::Flags;
use super::{Config, ConfigError, failure, number, usage};
use crate::limits::{LINK_WINDOW_MIB_MAX, NODE_NUMBER_MAX, REPLICAS_MAX};
use crate::replication::held::Quorum;
use crate::replication::node::ReplicationOptions;

impl Default for ReplicationOptions {
    fn default() -> Self {
        Self {
            port: None,
            replica_of: None,
            quorum: Quorum::None,
            sync_timeout: Duration::from_millis(1000),
            min_replicas: 0,
            max_lag: None,
            patience: Duration::from_millis(5000),
            window_bytes: 4 << 20,
            compress: false,
            secret_file: None,
            node_number: 0,
            node_file: None,
        }
    }
}

impl FromStr for Quorum {
    type Err = ();

    /// `async`, `semi-sync`, `semi-sync:K` or `all`.
    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "async" => Quorum::None,
            "semi-sync" => Quorum::Some(1),
            "all" => Quorum::All,
            _ => {
                let replicas = text.strip_prefix("semi-sync:").and_then(|count| count.parse().ok());
                Quorum::Some(
                    replicas.filter(|count| (1..=REPLICAS_MAX).contains(&usize::from(*count))).ok_or(())?,
                )
            }
        })
    }
}

impl Config {
    pub(super) fn read_replication(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        let options = &mut self.replication;
        if let Some(text) = flags.text("replication-port") {
            let wrong = "--replication-port takes 1 to 65535, or -1 for a free one";
            options.port = match text {
                "-1" => Some(0),
                _ => Some(number("--replication-port", text, 1, u16::MAX, wrong)?),
            };
        }
        options.replica_of = flags.text("replica-of").map(str::to_owned);
        if let Some(address) = options.replica_of.as_deref().filter(|address| !is_address(address)) {
            return Err(failure(format!("{address} is no HOST:PORT of a node's --replication-port")));
        }
        if let Some(text) = flags.text("replication-mode") {
            let wrong = "--replication-mode takes async, semi-sync, semi-sync:K or all";
            options.quorum = text.parse().map_err(|()| failure(wrong))?;
        }
        let millis = |name: &str, least: u64| -> Result<Option<Duration>, ConfigError> {
            let Some(text) = flags.text(name) else { return Ok(None) };
            let wrong = format!("--{name} takes {least} to 3600000 milliseconds");
            Ok(Some(Duration::from_millis(number(&format!("--{name}"), text, least, 3_600_000, &wrong)?)))
        };
        options.sync_timeout = millis("sync-timeout-ms", 1)?.unwrap_or(options.sync_timeout);
        options.patience = millis("replication-timeout-ms", 100)?.unwrap_or(options.patience);
        options.max_lag = millis("max-lag-ms", 1)?;
        if let Some(text) = flags.text("min-replicas") {
            let wrong = format!("--min-replicas takes 0 to {REPLICAS_MAX}");
            options.min_replicas = number("--min-replicas", text, 0, REPLICAS_MAX as u16, &wrong)?;
        }
        if options.max_lag.is_some() && options.min_replicas == 0 {
            options.min_replicas = 1;
        }
        if let Some(text) = flags.text("replication-window") {
            let wrong = format!("--replication-window takes 1 to {LINK_WINDOW_MIB_MAX} MiB");
            options.window_bytes =
                number("--replication-window", text, 1, LINK_WINDOW_MIB_MAX, &wrong)? << 20;
        }
        options.compress = flags.given("replication-compress");
        options.secret_file = flags.path("replication-secret");
        options.node_file = flags.path("node-file");
        if let Some(text) = flags.text("node-number") {
            let wrong = format!("--node-number takes 0 to {NODE_NUMBER_MAX}");
            options.node_number = number("--node-number", text, 0, NODE_NUMBER_MAX, &wrong)?;
        }
        let needs_replicas = options.quorum != Quorum::None || options.min_replicas > 0;
        if needs_replicas && options.port.is_none() && options.replica_of.is_none() {
            return Err(usage("--replication-mode and --min-replicas need --replication-port"));
        }
        Ok(())
    }
}

/// `HOST:PORT`. Whether there is such a host is not looked up here.
pub(super) fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}
