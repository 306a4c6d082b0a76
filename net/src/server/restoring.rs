//! A start with the records of backups (`--restore`). Connections wait in the listeners' queues meanwhile.

use std::time::Instant;

use ringcache_engine::{Engine, Now, Shard};

use crate::backup::BackupError;
use crate::backup::file::Mode;
use crate::backup::restore::{Took, check_all, into_shards, report};
use crate::clock::Clock;
use crate::config::Config;

/// Installs the backups of `--restore`, where there are any.
///
/// Errors: something is wrong with one of them; then nothing was installed.
pub(super) fn restore(config: &Config, engine: &Engine, shards: &mut [Shard]) -> Result<(), BackupError> {
    if config.restore.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let clock = Clock::new(false);
    let mode = if config.salvage { Mode::Salvage } else { Mode::Strict };
    let files = check_all(&config.restore, mode, Now::from_unix_millis(clock.unix_millis()), |_, _| true)?;
    for lost in files.iter().flat_map(|file| &file.losses.shown) {
        tracing::warn!("--salvage: {lost}");
    }
    let check = begun.elapsed();
    engine.expect_much(true);
    let counts = into_shards(&files, shards, &clock)?;
    engine.expect_much(false);
    let took = Took { check, install: begun.elapsed() - check };
    let result = report(&files, counts, took);
    tracing::info!(%result, "backup restored");
    Ok(())
}
