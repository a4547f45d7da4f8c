//! What a program writes to stderr: each line to our log under the listener's name, and the tail kept for errors.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    task::JoinHandle,
    time::Instant,
};

/// How much of the tail is kept.
const KEPT: usize = 2048;
/// A longer line is logged in pieces.
const LONGEST_LINE: u64 = 8192;
/// A process that the program left behind may hold the pipe open for ever; the last words are not waited for so long.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many bytes of one program are logged in a [`WINDOW`]; the rest is read, and counted.
const LOGGED: usize = 64 * 1024;
const WINDOW: Duration = Duration::from_secs(1);

pub(super) struct LastWords {
    tail: Arc<Mutex<Vec<u8>>>,
    pump: JoinHandle<()>,
}

impl LastWords {
    /// Begins to pass `output` on to the log.
    pub(super) fn of(listener: &str, output: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let tail = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut log) = (tail.clone(), Log::new(listener));
        let pump = tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut output).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
                log.line(&line);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.append(&mut line);
                let excess = kept.len().saturating_sub(KEPT);
                kept.drain(..excess);
            }
            log.tell_left_out();
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

/// Our log, as far as one program may fill it.
struct Log {
    listener: String,
    since: Instant,
    logged: usize,
    left_out: u64,
}

impl Log {
    fn new(listener: &str) -> Self {
        Self {
            listener: listener.to_owned(),
            since: Instant::now(),
            logged: 0,
            left_out: 0,
        }
    }

    fn line(&mut self, line: &[u8]) {
        if self.since.elapsed() >= WINDOW {
            self.tell_left_out();
            (self.since, self.logged) = (Instant::now(), 0);
        }
        if self.logged >= LOGGED {
            self.left_out += line.len() as u64;
            return;
        }
        self.logged += line.len();
        tracing::info!("{}: {}", self.listener, String::from_utf8_lossy(line).trim_end());
    }

    fn tell_left_out(&mut self) {
        if self.left_out > 0 {
            let kib = LOGGED / 1024;
            tracing::warn!(
                "{}: {} bytes of its output are left out of the log, which takes {kib} KiB a second",
                self.listener,
                self.left_out
            );
            self.left_out = 0;
        }
    }
}
