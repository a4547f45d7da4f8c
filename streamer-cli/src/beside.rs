//! Our commands beside those of an application, in its own command line.

use clap::{ArgMatches, Args, FromArgMatches, Subcommand};

use crate::args::{Command, Global};

/// Every command of `streamer`, for an enum of an application's own commands. Run one with [`App::execute`](crate::App::execute).
///
/// ```no_run
/// use std::process::ExitCode;
/// use clap::Parser;
/// use streamer::Listeners;
/// use streamer_cli::{App, Commands, Options};
///
/// /// A shop
/// #[derive(Parser)]
/// struct Cli {
///     #[command(flatten)]
///     options: Options,
///     #[command(subcommand)]
///     command: Own,
/// }
///
/// #[derive(clap::Subcommand)]
/// enum Own {
///     /// Serve the shop's pages
///     Serve,
///     #[command(flatten)]
///     Streamer(Commands),
/// }
///
/// #[tokio::main]
/// async fn main() -> ExitCode {
///     let cli = Cli::parse();
///     match cli.command {
///         Own::Serve => ExitCode::SUCCESS,
///         Own::Streamer(command) => App::new(Listeners::new()).name("shop").execute(cli.options, command).await,
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Commands(pub(crate) Box<Command>);

impl FromArgMatches for Commands {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Command::from_arg_matches(matches).map(|command| Self(Box::new(command)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Subcommand for Commands {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        Command::augment_subcommands(command)
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Command::augment_subcommands_for_update(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Command::has_subcommand(name)
    }
}

/// The options that every command of ours takes (`--url`, `--config`, `--json`, …). They are global: give them to the
/// application's own parser with `#[command(flatten)]`.
#[derive(Debug)]
pub struct Options(pub(crate) Global);

impl Options {
    /// The store that `--url` names, where it does. The environment and `streamer.toml` are read by our commands alone.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }
}

impl FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Global::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Args for Options {
    fn augment_args(command: clap::Command) -> clap::Command {
        Global::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Global::augment_args_for_update(command)
    }
}
