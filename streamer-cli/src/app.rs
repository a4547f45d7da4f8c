//! An application's listeners under a command line.

#[cfg(feature = "endpoints")]
use std::net::SocketAddr;
use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{CommandFactory as _, FromArgMatches as _};
use streamer::{
    KeepAlive, Listeners, Streamer,
    archive::{ArchiveManager, ArchiveStorage, SqliteArchive},
    engine::EmbeddedEngine,
};

#[cfg(feature = "endpoints")]
use crate::metrics;
use crate::{
    args::{Cli, Command, Global},
    beside::{Commands, Options},
    config::{Config, Defaults, Flags, Source},
    exit::{Exit, Failure, Outcome},
    logging, output,
    terminal::Shown,
};

/// How long a command that is done waits at most until its store is closed.
const CLOSING: Duration = Duration::from_secs(1);

/// The command line of an application: every command of `streamer`, with the application's own listeners.
///
/// ```no_run
/// use std::process::ExitCode;
/// use streamer::{Listeners, Payload};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// async fn receipt(Payload(order): Payload<Order>) {
///     println!("a receipt for order {}", order.id);
/// }
///
/// fn main() -> ExitCode {
///     let listeners = Listeners::new().on("order.placed", "receipt", receipt);
///     streamer_cli::App::new(listeners).name("shop").main()
/// }
/// ```
///
/// An application with commands of its own flattens [`Commands`](crate::Commands) into their enum, and passes the chosen one to
/// [`App::execute`].
#[derive(Debug)]
pub struct App {
    listeners: Listeners,
    name: &'static str,
    about: Option<&'static str>,
    version: &'static str,
    defaults: Defaults,
    archives: ArchiveManager,
    /// Whether we set up the log.
    logs: bool,
    /// The whole command line, for completions, where it is not ours.
    command: Option<clap::Command>,
}

impl App {
    /// An application with these listeners. Those of its `streamer.toml` are added to them.
    pub fn new<S>(listeners: Listeners<S>) -> Self {
        Self {
            listeners: listeners.without_state(),
            name: "streamer",
            about: None,
            version: env!("CARGO_PKG_VERSION"),
            defaults: Defaults::default(),
            archives: ArchiveManager::new(),
            logs: true,
            command: None,
        }
    }

    /// What the program is called. Default: `streamer`.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// What the program is, in a line, for `--help`.
    #[must_use]
    pub fn about(mut self, about: &'static str) -> Self {
        self.about = Some(about);
        self
    }

    /// What `--version` says. Default: the version of `streamer-cli`.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// The domain when neither flag, environment nor file gives one. Default: empty.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.defaults.domain = Some(domain.into());
        self
    }

    /// The store when neither flag, environment nor file gives one. Default: `redis://127.0.0.1:6379`.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.defaults.url = Some(url.into());
        self
    }

    /// The archive drivers that `archive_driver` may name. Default: those of the library.
    #[must_use]
    pub fn archives(mut self, archives: ArchiveManager) -> Self {
        self.archives = archives;
        self
    }

    /// Whether this sets up the log, on stderr, by `--log-format`, `-v` and `-q`. `false` leaves that to the application, and with it
    /// what the feature `otlp` sends. Default: yes; a log that was set up before stays.
    #[must_use]
    pub fn logs(mut self, logs: bool) -> Self {
        self.logs = logs;
        self
    }

    /// The command line of this application, as [`App::run`] reads it: for manual pages, or to look into it.
    #[must_use]
    pub fn command(&self) -> clap::Command {
        let command = Cli::command().name(self.name).bin_name(self.name).version(self.version);
        match self.about {
            Some(about) => command.about(about),
            None => command,
        }
    }

    /// The whole command line of an application that has commands of its own beside ours: `completions` completes it.
    /// Default: ours alone.
    #[must_use]
    pub fn completed(mut self, command: clap::Command) -> Self {
        self.command = Some(command);
        self
    }

    /// Does what the command line says, and gives the exit code: 0 done, 1 failed, 2 usage or configuration, 3 the
    /// store could not be used, 4 the archive could not be used, 130 ended at once by a second signal. It makes its own Tokio runtime and sets up the log.
    #[must_use = "return it from `main`"]
    pub fn main(self) -> ExitCode {
        self.run(std::env::args_os())
    }

    /// The same with given arguments, of which the first is the program's name.
    #[must_use = "return it from `main`"]
    pub fn run(self, arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
        let cli = match self.parse(arguments) {
            Ok(cli) => cli,
            Err(exit) => return exit.into(),
        };
        match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => {
                let outcome = runtime.block_on(self.perform(cli));
                // A blocking call that still runs must not hold up the end.
                runtime.shutdown_background();
                // A file is left as one that anybody can copy, and read who may not write.
                EmbeddedEngine::wait_until_closed(CLOSING);
                ended(outcome)
            }
            Err(error) => ended(Err(Failure::failed(format!(
                "could not start the async runtime: {error}"
            )))),
        }
    }

    /// The same inside of the application's own Tokio runtime, where listeners may have been made that need it.
    ///
    /// ```no_run
    /// use std::process::ExitCode;
    /// use streamer::{Listeners, Streamer};
    ///
    /// #[tokio::main]
    /// async fn main() -> ExitCode {
    ///     let listeners = Listeners::new().on("order.placed", "receipt", async || println!("an order"));
    ///     streamer_cli::App::new(listeners).name("shop").run_async(std::env::args_os()).await
    /// }
    /// ```
    #[must_use = "return it from `main`"]
    pub async fn run_async(self, arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
        match self.parse(arguments) {
            Ok(cli) => ended(self.perform(cli).await),
            Err(exit) => exit.into(),
        }
    }

    /// Runs one of our commands, which the application's own command line contains. What `main` gives, inside of the
    /// application's runtime; [`Commands`](crate::Commands) shows how.
    #[must_use = "return it from `main`"]
    pub async fn execute(self, options: Options, command: Commands) -> ExitCode {
        let (global, command) = (options.0, *command.0);
        ended(self.perform(Cli { global, command }).await)
    }

    fn parse(&self, arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, Exit> {
        let parsed = self
            .command()
            .try_get_matches_from(arguments)
            .and_then(|matches| Cli::from_arg_matches(&matches));
        parsed.map_err(|error| {
            // Help that was asked for goes to stdout and is no failure; a closed pipe is nobody's.
            if !error.use_stderr() {
                let _ = error.print();
                return Exit::Done;
            }
            if let Some(text) = crate::left_out::explain(&error) {
                let _ = writeln!(io::stderr(), "error: {text}");
                return Exit::Usage;
            }
            // It quotes arguments, which may come from elsewhere.
            let text = Shown::text(error.render().to_string());
            let _ = write!(io::stderr(), "{}", text.as_str());
            Exit::Usage
        })
    }

    async fn perform(self, cli: Cli) -> Outcome {
        let outcome = self.carry_out(cli).await;
        #[cfg(feature = "otlp")]
        crate::otlp::flush().await;
        outcome
    }

    async fn carry_out(self, cli: Cli) -> Outcome {
        let Cli { global, command } = cli;
        if global.ansi || global.no_ansi {
            output::ask_for_colour(global.ansi);
        }
        if global.quiet {
            output::be_quiet();
        }
        let session = |flags: &dyn Fn(&mut Flags)| {
            let session = self.session(&global, flags)?;
            #[cfg(feature = "endpoints")]
            session.measure(None)?;
            Ok::<_, Failure>(session)
        };
        match command {
            // It says itself where its metrics are served.
            Command::Listen(listen) => {
                let session = self.session(&global, &|flags| listen.flags(flags))?;
                listen.run(&session).await
            }
            Command::Emit(emit) => emit.run(&session(&|flags| emit.flags(flags))?).await,
            Command::Scheduled(scheduled) => scheduled.run(&session(&|_| {})?).await,
            Command::List(list) => list.run(&session(&|_| {})?),
            Command::Tail(tail) => tail.run(&session(&|_| {})?).await,
            Command::Status(status) => status.run(&session(&|_| {})?).await,
            #[cfg(feature = "top")]
            Command::Top(top) => top.run(&session(&|_| {})?).await,
            Command::Show(show) => show.run(&session(&|_| {})?).await,
            Command::Doctor(doctor) => doctor.run(&session(&|_| {})?).await,
            #[cfg(feature = "dashboard")]
            Command::Dashboard(dashboard) => dashboard.run(&session(&|_| {})?).await,
            Command::Failed(failed) => failed.run(&session(&|_| {})?).await,
            Command::FailedList(list) => list.run(&session(&|_| {})?).await,
            Command::FailedRetry(retry) => retry.run(&session(&|_| {})?).await,
            Command::FailedFlush(flush) => flush.run(&session(&|_| {})?).await,
            Command::Archive(archive) => archive.run(&session(&|_| {})?).await,
            Command::Purge(purge) => purge.run(&session(&|_| {})?).await,
            Command::ArchiveRestore(restore) => restore.run(&session(&|_| {})?).await,
            Command::Replay(replay) => replay.run(&session(&|_| {})?).await,
            Command::History(history) => history.run(&session(&|_| {})?).await,
            #[cfg(feature = "outbox")]
            Command::Outbox(outbox) => outbox.run(&session(&|flags| outbox.flags(flags))?).await,
            Command::Config(show) => show.run(&session(&|flags| show.flags(flags))?),
            Command::Group(group) => group.run(&session(&|_| {})?).await,
            Command::Consumer(consumer) => consumer.run(&session(&|_| {})?).await,
            Command::Demo(demo) => {
                self.log(&global, global.log_format.unwrap_or(crate::config::LogFormat::Text));
                demo.run(&global).await
            }
            Command::DemoListen(listen) => listen.run().await,
            Command::Completions(completions) => {
                let command = self.command.clone().unwrap_or_else(|| self.command());
                completions.run(command)
            }
        }
    }

    fn log(&self, global: &Global, format: crate::config::LogFormat) {
        if self.logs {
            logging::init(format, global.verbosity());
        }
    }

    /// Reads the configuration and begins to log.
    fn session(&self, global: &Global, more: &dyn Fn(&mut Flags)) -> Result<Session, Failure> {
        let mut flags = global.flags();
        more(&mut flags);
        let known: Vec<&str> = self
            .listeners
            .all()
            .flat_map(|(_, all)| all)
            .map(streamer::RegisteredListener::name)
            .collect();
        let config = Config::load(global.config.as_deref(), &flags, &self.defaults, &known)?;
        self.log(global, config.settings.log_format.value);
        for name in &config.definitions.unused {
            tracing::warn!("the listener `{name}` is defined, but `listen_and_fire` gives it no event");
        }
        let listeners = self.listeners.clone();
        Ok(Session {
            config,
            listeners,
            archives: self.archives.clone(),
            json: global.json,
            quiet: global.quiet,
            no_interaction: global.no_interaction,
            #[cfg(feature = "endpoints")]
            sends_telemetry: self.logs,
        })
    }
}

/// What a command works with.
pub(crate) struct Session {
    pub(crate) config: Config,
    /// The listeners that the application registered by itself.
    pub(crate) listeners: Listeners,
    archives: ArchiveManager,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// Every question is answered with yes.
    pub(crate) no_interaction: bool,
    /// Whether spans and metrics are sent where the environment names a collector; else the application does that.
    #[cfg(feature = "endpoints")]
    sends_telemetry: bool,
}

impl Session {
    /// Begins to record metrics for whoever wants them.
    #[cfg(feature = "endpoints")]
    pub(crate) fn measure(&self, prometheus: Option<SocketAddr>) -> Result<(), Failure> {
        metrics::start(prometheus, self.sends_telemetry)
    }

    /// Whether there is an archive: somebody said where, or the default one was made already.
    pub(crate) fn has_archive(&self) -> bool {
        let settings = &self.config.settings;
        let default = [&settings.archive_driver.source, &settings.archive_url.source];
        let said = default.into_iter().any(|source| !matches!(source, Source::Default));
        match settings.archive_driver.value.as_str() {
            "sqlite" => {
                let url = &settings.archive_url.value;
                std::path::Path::new(url.strip_prefix("sqlite://").unwrap_or(url)).exists()
            }
            _ => said,
        }
    }

    /// Opens the archive.
    pub(crate) async fn archive(&self) -> Result<Arc<dyn ArchiveStorage>, Failure> {
        let settings = &self.config.settings;
        let opening = self
            .archives
            .open(&settings.archive_driver.value, &settings.archive_url.value);
        Ok(opening.await?)
    }

    /// Connects for a command that only reads: the file of a store that is not there is not made, and one that may not be
    /// written can be read.
    pub(crate) async fn connect_to_read(&self) -> Result<Streamer, Failure> {
        self.check_file()?;
        self.connect_for(true).await
    }

    /// Connects for a command that changes what is there, and for its dry run. There is nothing to change in a store that
    /// is not there, so its file is not made.
    pub(crate) async fn connect_to_change(&self, dry_run: bool) -> Result<Streamer, Failure> {
        self.check_file()?;
        self.connect_for(dry_run).await
    }

    /// Whether an archive in a file has its file. One in a directory that this user may not look into may have.
    pub(crate) fn archive_is_there(&self) -> bool {
        let settings = &self.config.settings;
        let url = &settings.archive_url.value;
        let path = url.strip_prefix("sqlite://").unwrap_or(url);
        settings.archive_driver.value != "sqlite" || path.contains("://") || may_be_there(path)
    }

    /// Opens the archive for a command that only reads: its file is not made, and may be read-only.
    pub(crate) async fn archive_to_read(&self) -> Result<Arc<dyn ArchiveStorage>, Failure> {
        let settings = &self.config.settings;
        if settings.archive_driver.value != "sqlite" {
            return self.archive().await;
        }
        Ok(Arc::new(
            SqliteArchive::open_to_read(&settings.archive_url.value).await?,
        ))
    }

    /// Whether a store in a file has its file. One in a directory that this user may not look into may have.
    pub(crate) fn store_is_there(&self) -> bool {
        let Some(path) = self.config.settings.url.value.strip_prefix("sqlite://") else {
            return true;
        };
        let path = path.split('?').next().unwrap_or_default();
        // A name with an escape is left to the engine.
        path.is_empty() || path.contains('%') || may_be_there(path)
    }

    fn check_file(&self) -> Result<(), Failure> {
        let settings = &self.config.settings;
        if self.store_is_there() {
            return Ok(());
        }
        Err(Failure {
            exit: Exit::Unreachable,
            text: Some(format!(
                "the store {} is not there: the file does not exist, and this command does not make it (the store URL is {})",
                streamer::shown_url(&settings.url.value),
                settings.url.source.in_words("--url")
            )),
        })
    }

    /// Connects; with `keep_alive` a store that is away at the start is waited for as one that goes away later.
    pub(crate) async fn connect_patiently(&self) -> Result<Streamer, Failure> {
        let settings = &self.config.settings;
        let max_attempts = settings.max_attempts.value.map(|count| count.0);
        let (first, longest) = (KeepAlive::default().first_delay, KeepAlive::default().longest_delay);
        let mut attempt = 0;
        loop {
            let failure = match self.connect().await {
                Err(failure) if settings.keep_alive.value && failure.exit == Exit::Unreachable => failure,
                ended => return ended,
            };
            if max_attempts.is_some_and(|most| attempt >= most) {
                return Err(failure);
            }
            // At least half of it, so that many processes do not come back in the same instant.
            let doubled = first.saturating_mul(1 << attempt.min(20)).min(longest);
            let delay = doubled.mul_f64(rand::random_range(0.5..=1.0));
            attempt += 1;
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!("{failure}. Attempt {attempt} in {delay_ms} ms.");
            if self.json {
                let report = output::object!({
                    "report": "interrupted",
                    "scope": "store",
                    "streams": Option::<&str>::None,
                    "error": failure.to_string(),
                    "attempt": attempt,
                    "delay_ms": delay_ms,
                });
                // Whoever does not read this hears it from the log.
                let _ = output::json(&report);
            }
            tokio::time::sleep(delay).await;
        }
    }

    pub(crate) async fn connect(&self) -> Result<Streamer, Failure> {
        self.connect_for(false).await
    }

    async fn connect_for(&self, only_reads: bool) -> Result<Streamer, Failure> {
        let settings = &self.config.settings;
        let builder = Streamer::builder()
            .url(&settings.url.value)
            .domain(&settings.domain.value);
        let builder = if only_reads { builder.only_reads() } else { builder };
        builder.connect().await.map_err(|error| {
            let mut failure = Failure::from(error);
            if failure.exit == Exit::Unreachable {
                let url = streamer::shown_url(&settings.url.value);
                let from = settings.url.source.in_words("--url");
                let text = format!("{failure} (the store is {url}, {from})");
                failure.text = Some(text);
            }
            failure
        })
    }
}

/// Whether a file is there, as far as this user can see.
fn may_be_there(path: &str) -> bool {
    std::path::Path::new(path).try_exists().unwrap_or(true)
}

fn ended(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(Failure { exit, text }) => {
            if let Some(text) = text {
                complain(&text);
            }
            exit.into()
        }
    }
}

/// One line on stderr. `eprintln!` would panic when nobody reads it.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", Shown::line(format!("error: {text}")).as_str());
}
