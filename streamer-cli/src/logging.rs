//! The log, on stderr.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::LogFormat;

/// Begins to log. `verbosity` is -1 for warnings and errors, 0 for the usual, 1 and 2 for more.
///
/// A second call, as when an application has set up a log of its own, changes nothing.
pub(crate) fn init(format: LogFormat, verbosity: i8) {
    let level = match verbosity {
        ..=-1 => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_default(level)
        // What these say below a warning is about their own inner life.
        .with_targets(["mio", "redis", "rustls", "ureq", "ureq_proto"].map(|target| (target, LevelFilter::WARN)));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        // Else a closed stderr is a panic.
        .log_internal_errors(false);
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = match format {
        LogFormat::Text => lines.with_ansi(colour).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    // An application that set up a log of its own before keeps it.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .try_init();
}
