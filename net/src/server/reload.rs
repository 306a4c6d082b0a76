//! What SIGHUP reads again: files that may change while the node serves.

use std::sync::{Mutex, PoisonError};

/// Reads one thing again. `Ok` says what is in use now, `Err` why the present one stays.
type Hook = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

/// The things that can be read again, in the order in which they were announced.
#[derive(Default)]
pub struct Reload(Mutex<Vec<Hook>>);

impl Reload {
    /// Announces something that can be read again. `hook` runs on the thread that waits for signals, never on a
    /// worker, so it may take its time and read files; what it reads it hands over by means of its own.
    pub fn announce(&self, hook: impl Fn() -> Result<String, String> + Send + Sync + 'static) {
        self.hooks().push(Box::new(hook));
    }

    /// Reads everything again and logs how that went.
    pub(super) fn run(&self) {
        let hooks = self.hooks();
        if hooks.is_empty() {
            tracing::info!("SIGHUP: there is nothing to read again");
        }
        for hook in hooks.iter() {
            match hook() {
                Ok(read) => tracing::info!("SIGHUP: {read}"),
                Err(reason) => tracing::warn!("SIGHUP: {reason}"),
            }
        }
    }

    fn hooks(&self) -> std::sync::MutexGuard<'_, Vec<Hook>> {
        // A hook that panicked has ended the process, except in tests.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Reload;

    #[test]
    fn a_failing_hook_does_not_keep_the_next_one_from_running() {
        let reload = Reload::default();
        let runs = Arc::new(AtomicU32::new(0));
        for fails in [true, false] {
            let runs = Arc::clone(&runs);
            reload.announce(move || {
                runs.fetch_add(1, Ordering::Relaxed);
                if fails { Err("it can't be read".to_owned()) } else { Ok("read".to_owned()) }
            });
        }
        reload.run();
        reload.run();
        assert_eq!(runs.load(Ordering::Relaxed), 4);
    }
}
