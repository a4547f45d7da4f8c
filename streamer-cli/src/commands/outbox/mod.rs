//! `outbox`: events that applications wrote in their own database are published, looked at, and released.
//!
//! - `relay`: publishes them. `status`: how the outbox stands.
//! - `blocked`: `skip` and `retry`, for rows that could not be published. `migrate`: its tables.

mod blocked;
mod migrate;
mod relay;
mod status;

use clap::{Args, Subcommand};
use streamer::outbox::Outbox as Opened;

use self::{
    blocked::{Retry, Skip},
    migrate::Migrate,
    relay::Relay,
    status::Status,
};
use crate::{
    app::Session,
    config::{Flags, Source},
    exit::{Failure, Outcome},
};

const EXAMPLES: &str = "\
Examples:
  streamer outbox migrate --print --database postgres://localhost/shop
  streamer outbox relay
  streamer outbox relay --once
  streamer outbox status --json
  streamer outbox retry --all
  streamer outbox skip 0197fdd4-5f2c-7c0e-9d1b-0242ac120002 --yes

The database is that of the application: `outbox_url` in streamer.toml, or
STREAMER_OUTBOX_URL. How an application writes to it: docs/transactions.md.";

/// Publish the events that applications wrote in their own transactions
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Outbox {
    /// The application's database: postgres://, mysql://, mariadb:// or sqlite://. Other users of this machine see it in
    /// the process list: put a URL with a password into the environment or the file [env: STREAMER_OUTBOX_URL]
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Relay(Relay),
    Status(Status),
    Retry(Retry),
    Skip(Skip),
    Migrate(Migrate),
}

impl Outbox {
    pub(crate) fn flags(&self, flags: &mut Flags) {
        flags.outbox_url = self.database.clone().map(Some);
    }

    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        warn_of_a_password(session);
        match &self.command {
            What::Relay(relay) => relay.run(session).await,
            What::Status(status) => status.run(session).await,
            What::Retry(retry) => retry.run(session).await,
            What::Skip(skip) => skip.run(session).await,
            What::Migrate(migrate) => migrate.run(session).await,
        }
    }
}

/// The URL of the application's database.
pub(super) fn url(session: &Session) -> Result<&str, Failure> {
    let url = session.config.settings.outbox_url.value.as_deref();
    url.filter(|url| !url.is_empty()).ok_or_else(|| {
        Failure::usage(
            "no database is named: set `outbox_url` in streamer.toml, or STREAMER_OUTBOX_URL, or say --database URL",
        )
    })
}

fn warn_of_a_password(session: &Session) {
    let database = &session.config.settings.outbox_url;
    let has_password = |url: &String| streamer::shown_url(url) != *url;
    if database.source == Source::Flag && database.value.as_ref().is_some_and(has_password) {
        tracing::warn!(
            "other users of this machine can see the password in --database in the process list; put it into \
             STREAMER_OUTBOX_URL or `outbox_url` in streamer.toml"
        );
    }
}

pub(super) async fn open(session: &Session) -> Result<Opened, Failure> {
    let url = url(session)?;
    let source = &session.config.settings.outbox_url.source;
    let from = source.in_words("--database");
    Opened::connect(url).await.map_err(|error| {
        let mut failure = Failure::from(error);
        failure.text = failure.text.map(|text| format!("{text} (the database URL is {from})"));
        failure
    })
}
