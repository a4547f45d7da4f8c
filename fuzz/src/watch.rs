//! Notices a check that does not return.

use std::{
    process::abort,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::keep;

/// A call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The input that is being checked, and since when.
pub(crate) struct Watch(Arc<Mutex<(Instant, Vec<u8>)>>);

impl Watch {
    /// Ends the process when a call hangs, after its input was written: nothing else could end the call.
    pub(crate) fn start(name: &str) -> Self {
        let current = Arc::new(Mutex::new((Instant::now(), Vec::new())));
        let (watched, name) = (Arc::downgrade(&current), name.to_owned());
        thread::spawn(move || {
            while let Some(current) = watched.upgrade() {
                let hangs = {
                    let (since, input) = &*current.lock().unwrap_or_else(PoisonError::into_inner);
                    (since.elapsed() > PATIENCE).then(|| keep(&name, input))
                };
                if let Some(file) = hangs {
                    eprintln!("{name}: hangs; the input is in {}", file.display());
                    abort();
                }
                drop(current);
                thread::sleep(Duration::from_millis(200));
            }
        });
        Self(current)
    }

    pub(crate) fn begin(&self, input: &[u8]) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current.0 = Instant::now();
        current.1.clear();
        current.1.extend_from_slice(input);
    }
}
