//! Tells systemd (`Type=notify`) when a listening has started, what it does, and that its process is not blocked.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;
use streamer::{Condition, Health};

use crate::terminal::Shown;

/// How often the condition is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Tells systemd about a listening from now on, if systemd started this process.
pub(crate) fn watch(health: Health) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    tokio::spawn(async move {
        // The watchdog is told twice in its time, as systemd recommends.
        let pause = watchdog.map_or(LOOK, |time| LOOK.min(time / 2));
        let mut told = Told::default();
        loop {
            told.tell(&health.condition(), watchdog.is_some());
            tokio::time::sleep(pause).await;
        }
    });
}

/// The end was asked for: systemd is told at once, since the process may end soon.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// What was told before.
#[derive(Debug, Default)]
struct Told {
    is_ready: bool,
    status: String,
}

impl Told {
    fn tell(&mut self, condition: &Condition, has_watchdog: bool) {
        let mut states = Vec::new();
        // Once: a service that was ready stays started when its store goes away.
        if condition.is_ready() && !self.is_ready {
            self.is_ready = true;
            states.push(NotifyState::Ready);
        }
        if has_watchdog && condition.is_live() {
            states.push(NotifyState::Watchdog);
        }
        let text = Shown::line(condition.to_string());
        let is_new = text.as_str() != self.status;
        if is_new {
            text.as_str().clone_into(&mut self.status);
            states.push(NotifyState::Status(&self.status));
        }
        if !states.is_empty() {
            send(&states);
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd could not be told: {error}");
    }
}
