//! `dashboard`: the store in the browser.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use streamer_dashboard::{Dashboard as Served, Token};
use tokio::net::TcpListener;

use crate::{
    app::Session,
    config::{self, flag},
    exit::{Exit, Failure, Outcome},
    listeners, metrics, output,
};

const EXAMPLES: &str = "\
Examples:
  streamer dashboard
  streamer dashboard --listen 9000 --read-only
  streamer dashboard --listen 0.0.0.0:7878 --token-file /run/secrets/dashboard
  STREAMER_DASHBOARD_TOKEN=$(cat token) streamer dashboard --allow-host ops.lan

Beyond this machine a token is required. Failures are retried by the listeners
of streamer.toml, in this process. Changes are logged with the user's address.";

/// The environment variable with the token.
const VARIABLE: &str = "STREAMER_DASHBOARD_TOKEN";
/// How many failures may be retried at once; programs with long-lived children start so many.
const WORKERS: usize = 4;

/// Show streams, groups, messages, failures, archive and replay in the browser
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dashboard {
    /// Where to serve it: a port of this machine, or an address and a port
    #[arg(long, value_name = "ADDR", value_parser = metrics::address, default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// Refuse every change: the server does, not only the page
    #[arg(long)]
    read_only: bool,
    /// Ask for the token in this file; else for the one in STREAMER_DASHBOARD_TOKEN, if it is set
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A host name that browsers may use, besides `localhost` and IP addresses; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// How often the store is looked at while somebody views it
    #[arg(long, value_name = "DURATION", value_parser = flag::<Duration>, default_value = "2s")]
    interval: Duration,
}

impl Dashboard {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let token = self.token()?;
        if token.is_none() && !self.listen.ip().is_loopback() {
            return Err(Failure::usage(format!(
                "the dashboard is not served at {} without a login, because it shows payloads and changes the store: set \
                 {VARIABLE} or --token-file (a token is `openssl rand -hex 32`), or listen at 127.0.0.1",
                self.listen
            )));
        }
        let streamer = session.connect_to_change(self.read_only).await?;
        let configured = listeners::names(&session.listeners, &session.config.definitions);
        let with = configured.into_iter().filter(|(_, names)| !names.is_empty());
        let mut dashboard = Served::new(streamer)
            .read_only(self.read_only)
            .hosts(&self.allow_host)
            .interval(self.interval);
        let mut programs = None;
        if !self.read_only {
            match self.listeners(session) {
                Ok((listeners, started)) => {
                    dashboard = dashboard.listeners(listeners);
                    programs = Some(started);
                }
                // Everything else can be seen and done all the same.
                Err(failure) => {
                    tracing::warn!("failures cannot be retried in the dashboard: {failure}");
                    dashboard = dashboard.cannot_retry(format!("The listeners cannot work here: {failure}"));
                }
            }
        }
        dashboard = dashboard.events(with.map(|(event, _)| event));
        if session.has_archive() && session.archive_is_there() {
            let archive = match self.read_only {
                true => session.archive_to_read().await?,
                false => session.archive().await?,
            };
            dashboard = dashboard.archive(archive);
        }
        #[cfg(feature = "outbox")]
        if super::outbox::url(session).is_ok() {
            match super::outbox::open(session).await {
                Ok(outbox) => dashboard = dashboard.outbox(outbox),
                Err(failure) => tracing::warn!("the outbox is not shown: {failure}"),
            }
        }
        let has_token = token.is_some();
        if let Some(token) = token {
            dashboard = dashboard.token(token);
        }
        let served = self.serve(session, dashboard, has_token).await;
        if let Some(programs) = programs {
            match &served {
                Ok(_) => programs.end().await,
                Err(_) => programs.kill(),
            }
        }
        served
    }

    async fn serve(&self, session: &Session, dashboard: Served, has_token: bool) -> Outcome {
        let could_not = |error: io::Error| {
            Failure::failed(format!(
                "could not serve the dashboard at {}: {error}; name another address with --listen, or end what uses this one",
                self.listen
            ))
        };
        let listener = TcpListener::bind(self.listen).await.map_err(could_not)?;
        let mut address = listener.local_addr().map_err(could_not)?;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let url = format!("http://{address}/");
        match session.json {
            true => output::json(&output::object!({"report": "serving", "url": url, "read_only": self.read_only}))?,
            false => {
                let read_only = if self.read_only { ", read-only" } else { "" };
                let login = if has_token { ", with the token" } else { "" };
                output::line(format!("Dashboard: {url}{login}{read_only}. Ctrl-C ends it."))?;
            }
        }
        let stop = dashboard.stop_handle();
        stop.on_signals()
            .map_err(|error| Failure::failed(format!("could not listen to signals: {error}")))?;
        tokio::select! {
            ended = dashboard.serve(listener) => ended.map_err(could_not)?,
            () = stop.aborted() => {
                return Err(Failure {
                    exit: Exit::Aborted,
                    text: Some("ended at once by a second signal; what was not finished stays as it is".to_owned()),
                });
            }
        }
        Ok(Exit::Done)
    }

    fn token(&self) -> Result<Option<Token>, Failure> {
        let text = match &self.token_file {
            Some(path) => config::read(path)
                .map(Some)
                .map_err(|error| Failure::usage(format!("could not read the token in {}: {error}", path.display())))?,
            None => match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
                Some(value) => Some(
                    value
                        .into_string()
                        .map_err(|_| Failure::usage(format!("the environment variable {VARIABLE} is not text")))?,
                ),
                None => None,
            },
        };
        let token = text.map(|text| Token::new(&text)).transpose();
        token.map_err(|error| Failure::usage(error.to_string()))
    }

    fn listeners(&self, session: &Session) -> Result<(streamer::Listeners, listeners::Programs), Failure> {
        let built = listeners::build(session.listeners.clone(), &session.config.definitions, &[], WORKERS)?;
        let (listeners, programs) = built.split();
        match listeners.mistakes().first() {
            Some(mistake) => Err(Failure::usage(mistake.clone())),
            None => Ok((listeners, programs)),
        }
    }
}
