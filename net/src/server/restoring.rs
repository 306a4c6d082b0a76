//! A start with the records of backups (`--restore`). Connections wait in the listeners' queues meanwhile.

use std::time::{Duration, Instant};

use ringcache_engine::{Engine, Now, Shard};

use crate::backup::BackupError;
use crate::backup::file::{Checked, Mode};
use crate::backup::restore::{Took, check_all, into_shards, report};
use crate::clock::Clock;
use crate::config::Config;

/// The backups of `--restore`, each of which was read to its end and found to be whole.
pub(super) struct Backups {
    files: Vec<Checked>,
    check: Duration,
}

impl Backups {
    /// Checks them, before anything is opened that a start which fails would lose.
    ///
    /// Errors: something is wrong with one of them.
    pub fn check(config: &Config) -> Result<Self, BackupError> {
        let begun = Instant::now();
        let mode = if config.salvage { Mode::Salvage } else { Mode::Strict };
        let now = Now::from_unix_millis(Clock::new(false).unix_millis());
        let files = check_all(&config.restore, mode, now, |_, _| true)?;
        for lost in files.iter().flat_map(|file| &file.losses.shown) {
            tracing::warn!("--salvage: {lost}");
        }
        Ok(Self { files, check: begun.elapsed() })
    }

    /// Installs them, where there are any.
    ///
    /// Errors: a file has changed since it was checked.
    pub fn install(&self, engine: &Engine, shards: &mut [Shard]) -> Result<(), BackupError> {
        if self.files.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        engine.expect_much(true);
        let counts = into_shards(&self.files, shards, &Clock::new(false))?;
        engine.expect_much(false);
        let took = Took { check: self.check, install: begun.elapsed() };
        let result = report(&self.files, counts, took);
        tracing::info!(%result, "backup restored");
        Ok(())
    }
}
