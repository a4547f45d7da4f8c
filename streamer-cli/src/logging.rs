//! The log, on stderr.

use std::{
    fmt, io,
    sync::atomic::{AtomicBool, Ordering},
};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{config::LogFormat, output, terminal::Shown};

/// Begins to log. `verbosity` is -1 for errors only, 0 for the usual, 1 and 2 for more.
///
/// A second call, as when an application has set up a log of its own, changes nothing.
pub(crate) fn init(format: LogFormat, verbosity: i8) {
    let level = match verbosity {
        ..=-1 => LevelFilter::ERROR,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_default(level)
        // What these say below a warning is about their own inner life.
        .with_targets(
            ["h2", "hyper", "hyper_util", "mio", "object_store", "redis", "reqwest", "rustls", "sqlx"]
                .map(|target| (target, LevelFilter::WARN.min(level))),
        )
        // Lines of text do not show spans, which cost something for each message.
        .with_target(
            streamer::trace::TARGET,
            match format {
                LogFormat::Json if verbosity > 0 => level,
                _ => LevelFilter::OFF,
            },
        );
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| LogFile)
        .with_target(false)
        // Else a closed stderr is a panic.
        .log_internal_errors(false);
    let colour = output::wants_colour(&io::stderr());
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).event_format(Lines { colour }).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(targets));
    #[cfg(feature = "otlp")]
    let (subscriber, trouble) = match crate::otlp::layer() {
        Ok(layer) => (subscriber.with(layer), None),
        Err(trouble) => (subscriber.with(None), Some(trouble)),
    };
    // An application that set up a log of its own before keeps it.
    let _ = subscriber.try_init();
    #[cfg(feature = "otlp")]
    if let Some(trouble) = trouble {
        tracing::warn!("{trouble}");
    }
}

/// Whether a program draws on the terminal that log lines would go to.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// Log lines that would go to a terminal are dropped until this is.
#[cfg(feature = "top")]
pub(crate) struct Hushed;

/// Drops log lines that would be drawn over a screen. A log that goes to a file goes on.
#[cfg(feature = "top")]
pub(crate) fn hush() -> Hushed {
    HUSHED.store(io::IsTerminal::is_terminal(&io::stderr()), Ordering::Release);
    Hushed
}

#[cfg(feature = "top")]
impl Drop for Hushed {
    fn drop(&mut self) {
        HUSHED.store(false, Ordering::Release);
    }
}

/// Where log lines go: stderr, unless it is hushed.
struct LogFile;

impl io::Write for LogFile {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match HUSHED.load(Ordering::Acquire) {
            true => Ok(text.len()),
            false => io::stderr().write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// `TIME LEVEL text`, one line for each event, whatever the text holds.
struct Lines {
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = event.metadata().level();
        let style = match *level {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            _ => "2",
        };
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        let line = Shown::line(time)
            .styled("2", self.colour)
            .and(Shown::line(format!("{level:>5}")).styled(style, self.colour))
            .and(text);
        writeln!(out, "{}", line.as_str())
    }
}
