//! The commands about backups: what an operator may ask of them, and the answer.

use std::path::PathBuf;
use std::time::Instant;

use ringcache_engine::limits::SLOTS;
use ringcache_engine::{Now, Slot};
use serde_json::Value;

use super::words::Progress;
use super::{Audience, Failure, Office};
use crate::backup::file::Mode;
use crate::backup::restore::{Took, check_all, into_node, report};
use crate::backup::take::{Extent, Order};
use crate::backup::{BackupError, take};
use crate::limits::RESTORE_FILES_MAX;

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self(error.to_string())
    }
}

pub(super) fn take(
    office: &Office,
    audience: &mut Audience<'_>,
    path: PathBuf,
    slots: Option<(u16, u16)>,
    since: Option<PathBuf>,
    compresses: bool,
) -> Result<Value, Failure> {
    let extent = match (slots, since) {
        (None, None) => Extent::Whole,
        (None, Some(path)) => Extent::Since(path),
        (Some((first, last)), None) if first <= last && usize::from(last) < SLOTS => {
            Extent::Slots(Slot(first), Slot(last))
        }
        (Some(_), None) => return Err(Failure(format!("slots are 0 to {}, in order", SLOTS - 1))),
        (Some(_), Some(_)) => return Err(Failure("changes of some slots can't be told apart".to_owned())),
    };
    Ok(take::take(&Order { path, extent, compresses }, office, audience)?)
}

pub(super) fn restore(
    office: &Office,
    audience: &mut Audience<'_>,
    paths: &[PathBuf],
    salvage: bool,
) -> Result<Value, Failure> {
    if paths.is_empty() || paths.len() > RESTORE_FILES_MAX {
        return Err(Failure(format!("a restore takes 1 to {RESTORE_FILES_MAX} files")));
    }
    let begun = Instant::now();
    let mode = if salvage { Mode::Salvage } else { Mode::Strict };
    let now = Now::from_unix_millis(office.node.clock.unix_millis());
    let checking =
        |done_bytes, total_bytes| Progress { phase: "check".to_owned(), done_bytes, total_bytes, records: 0 };
    let files = check_all(paths, mode, now, |done, total| audience.tell(|| checking(done, total)).is_ok())?;
    let check = begun.elapsed();
    let counts = into_node(&files, office, audience)?;
    let took = Took { check, install: begun.elapsed() - check };
    let result = report(&files, counts, took);
    tracing::info!(%result, "backup restored");
    Ok(result)
}
