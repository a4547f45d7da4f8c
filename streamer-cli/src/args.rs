//! The command line: what every command takes, and which commands there are.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

#[cfg(feature = "dashboard")]
use crate::commands::dashboard;
#[cfg(feature = "outbox")]
use crate::commands::outbox;
#[cfg(feature = "top")]
use crate::commands::top;
use crate::{
    commands::{
        archive, completions, config, consumer, demo, doctor, emit, failed, group, history, list, listen, replay,
        scheduled, show, status, tail,
    },
    config::{Flags, LogFormat, flag},
};

const EXIT_CODES: &str = "\
Exit codes:
  0    done; a listening that was stopped by a signal, or by --listen-timeout, is done too
  1    failed: the command could not do what it was asked to
  2    the command line or the configuration makes no sense
  3    the store, or the outbox's database, could not be used: not reached, or it
       refused to talk
  4    the archive could not be used
  130  ended at once by a second signal (or an interrupted demo)

Settings come from flags, else the environment (STREAMER_URL, STREAMER_GROUP, …), else
streamer.toml, else defaults; `config` shows what is in force. Logs go to stderr.";

/// Emit events and listen to them, over Redis Streams or over one SQLite file.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten, next_help_heading = "Global options")]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The store: redis://, rediss://, unix://, redis-sentinel://, redis-cluster:// or sqlite://. Other users of this
    /// machine see it in the process list: put a URL with a password into the environment or the file
    /// [env: STREAMER_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The configuration [env: STREAMER_CONFIG] [default: streamer.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log what is read, claimed and settled; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print and log only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// How log lines are written: text or json [env: STREAMER_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT", value_parser = flag::<LogFormat>)]
    pub(crate) log_format: Option<LogFormat>,
    /// As --yes, where a command asks; laravel-streamer's spelling
    #[arg(short = 'n', long, global = true, hide = true)]
    pub(crate) no_interaction: bool,
    /// Colour, whatever the output is; laravel-streamer's spelling
    #[arg(long, global = true, hide = true, overrides_with = "no_ansi")]
    pub(crate) ansi: bool,
    /// No colour; laravel-streamer's spelling
    #[arg(long, global = true, hide = true, overrides_with = "ansi")]
    pub(crate) no_ansi: bool,
    /// Means nothing here; laravel-streamer's spelling
    #[arg(long, global = true, hide = true, value_name = "NAME", require_equals = true)]
    pub(crate) env: Option<String>,
}

impl Global {
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            url: self.url.clone(),
            log_format: self.log_format,
            ..Flags::default()
        }
    }

    pub(crate) fn verbosity(&self) -> i8 {
        if self.quiet {
            -1
        } else {
            i8::try_from(self.verbose).unwrap_or(i8::MAX)
        }
    }
}

/// The commands. The hidden aliases are what laravel-streamer calls them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(alias = "streamer:listen")]
    Listen(listen::Listen),
    #[command(alias = "streamer:emit")]
    Emit(emit::Emit),
    Scheduled(scheduled::Scheduled),
    #[command(alias = "streamer:list")]
    List(list::List),
    #[command(alias = "streamer:tail")]
    Tail(tail::Tail),
    #[command(alias = "streamer:status")]
    Status(status::Status),
    #[cfg(feature = "top")]
    #[command(alias = "streamer:top")]
    Top(top::Top),
    #[command(alias = "streamer:show")]
    Show(show::Show),
    #[command(alias = "streamer:doctor")]
    Doctor(doctor::Doctor),
    #[cfg(feature = "dashboard")]
    #[command(alias = "streamer:dashboard")]
    Dashboard(dashboard::Dashboard),
    #[command(alias = "streamer:replay")]
    Replay(replay::Replay),
    #[command(alias = "streamer:history")]
    History(history::History),
    #[cfg(feature = "outbox")]
    Outbox(outbox::Outbox),
    #[command(alias = "streamer:config")]
    Config(config::Show),
    #[command(alias = "streamer:group")]
    Group(group::Group),
    #[command(alias = "streamer:consumer")]
    Consumer(consumer::Consumer),
    #[command(alias = "streamer:demo")]
    Demo(demo::Demo),
    #[command(alias = "streamer:archive")]
    Archive(archive::Archive),
    #[command(alias = "streamer:purge")]
    Purge(archive::sweep::Purge),
    #[command(name = "streamer:archive:restore", hide = true)]
    ArchiveRestore(archive::restore::Restore),
    Failed(failed::Failed),
    #[command(name = "streamer:failed:list", hide = true)]
    FailedList(failed::List),
    #[command(name = "streamer:failed:retry", hide = true)]
    FailedRetry(failed::Retry),
    #[command(name = "streamer:failed:flush", hide = true)]
    FailedFlush(failed::Flush),
    Completions(completions::Completions),
    #[command(hide = true)]
    DemoListen(demo::DemoListen),
}
