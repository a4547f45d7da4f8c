//! What a program writes to stderr: each line to our log under the listener's name, and the tail kept for errors.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    task::JoinHandle,
};

/// How much of the tail is kept.
const KEPT: usize = 2048;
/// A longer line is logged in pieces.
const LONGEST_LINE: u64 = 8192;
/// A process that the program left behind may hold the pipe open for ever; the last words are not waited for so long.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct LastWords {
    tail: Arc<Mutex<Vec<u8>>>,
    pump: JoinHandle<()>,
}

impl LastWords {
    /// Begins to pass `output` on to the log.
    pub(super) fn of(listener: &str, output: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let tail = Arc::new(Mutex::new(Vec::new()));
        let (kept, listener) = (tail.clone(), listener.to_owned());
        let pump = tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut output).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
                tracing::info!("{listener}: {}", String::from_utf8_lossy(&line).trim_end());
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.append(&mut line);
                let excess = kept.len().saturating_sub(KEPT);
                kept.drain(..excess);
            }
        });
        Self { tail, pump }
    }

    /// The tail, once the program has ended: nothing when it said nothing.
    pub(super) async fn all(mut self) -> String {
        let _ = tokio::time::timeout(PATIENCE, &mut self.pump).await;
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        // The cut may have gone through a character.
        String::from_utf8_lossy(&tail)
            .trim_start_matches('\u{fffd}')
            .trim()
            .to_owned()
    }
}
