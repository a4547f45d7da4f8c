//! The command line.

use std::{error::Error, net::SocketAddr, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use streamer::Streamer;
use streamer_cli::{App, Commands, Options};

use crate::{web, worker};

/// Where events are when `--url` does not say.
const DEFAULT_URL: &str = "sqlite://service.db";

/// A web service that emits events, and the worker that handles them
#[derive(Parser)]
#[command(name = "service")]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Own,
}

#[derive(Subcommand)]
enum Own {
    /// Serve requests; each order is an event
    Web {
        /// Where to serve; port 0 chooses a free one
        #[arg(long, default_value = "127.0.0.1:3000")]
        address: SocketAddr,
    },
    /// Handle events
    Work {
        /// Where to serve /metrics and /health; port 0 chooses a free one
        #[arg(long, default_value = "127.0.0.1:9464")]
        metrics: SocketAddr,
    },
    #[command(flatten)]
    Streamer(Commands),
}

/// Does what the command line says.
pub(crate) async fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Own::Streamer(command) => {
            // `failed retry` and `listen` have the worker's listeners.
            let app = App::new(worker::listeners(worker::Accounts::default()));
            let app = app.name("service").url(DEFAULT_URL).completed(Cli::command());
            return app.execute(cli.options, command).await;
        }
        Own::Web { address } => serve(&cli.options, address).await,
        Own::Work { metrics } => work(&cli.options, metrics).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let metrics = observe()?;
    let streamer = connect(options).await?;
    web::serve(address, web::router(streamer, metrics), asked_to_end()).await?;
    Ok(())
}

async fn work(options: &Options, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let metrics = observe()?;
    let streamer = connect(options).await?;
    let pages = tokio::spawn(web::serve(address, web::operations(metrics), std::future::pending()));
    let summary = worker::work(&streamer, asked_to_end()).await?;
    // Pages are served until the last message is settled.
    pages.abort();
    tracing::info!(
        "{} messages were handled, {} times a listener failed",
        summary.messages,
        summary.failed
    );
    Ok(())
}

async fn connect(options: &Options) -> Result<Streamer, Box<dyn Error>> {
    let streamer = Streamer::connect(options.url().unwrap_or(DEFAULT_URL)).await?;
    Ok(streamer.with_domain("service"))
}

/// Logs on stderr, and records metrics.
fn observe() -> Result<PrometheusHandle, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let metrics = PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets(streamer::metrics::DURATION_BOUNDARIES)?
        .install_recorder()?;
    streamer::metrics::enable();
    Ok(metrics)
}

/// Ctrl-C, or SIGTERM, as systemd and Kubernetes send it.
async fn asked_to_end() {
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => _ = signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
