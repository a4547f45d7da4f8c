//! `top`: groups, failures and messages, live in the terminal.
//!
//! # Layout
//!
//! - here: the command, the terminal, and the loop that waits for keys and for answers of the store.
//! - `screen`: which page is shown, and what each key does. `draw`: what the pages look like.
//! - `look`: what a page needs from the store.

mod draw;
mod look;
mod screen;

use std::{
    io::{self, IsTerminal as _},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEvent, KeyEventKind},
};
use streamer::Streamer;
use tokio::sync::mpsc;

use self::{
    look::{Archive, Found, Wanted},
    screen::{Next, Screen},
};
use super::tail::terminated;
use crate::{
    app::Session,
    config::flag,
    exit::{Exit, Failure, Outcome},
    listeners, logging,
};

const EXAMPLES: &str = "\
Examples:
  streamer top
  streamer top --interval 500ms
  STREAMER_URL=sqlite://shop.db streamer top

Keys: arrows or j/k move, Enter opens a group, a pending message or a failure,
Esc goes back, f lists failures, s sorts by lag, pending or name, r looks again,
q quits. It changes nothing.";

/// How long the keyboard is waited for before the thread looks whether it is to end.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Watch groups live in the terminal, and inspect one, its pending messages and failures
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Top {
    /// How often the store is looked at
    #[arg(long, value_name = "DURATION", value_parser = flag::<Duration>, default_value = "2s")]
    interval: Duration,
    /// How long a consumer may do nothing and still counts as alive: twice the reclaim time of the listeners
    #[arg(long, value_name = "DURATION", value_parser = flag::<Duration>, default_value = "2m")]
    stale_after: Duration,
}

/// What the loop waits for.
enum Happened {
    Key(KeyEvent),
    Resized,
    Looked(Wanted, Result<Found, String>),
}

impl Top {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        if session.json || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::usage(
                "`top` needs a terminal to draw on; for a pipe or a file use `status --watch`, or `status --watch --json`",
            ));
        }
        let streamer = session.connect_to_read().await?;
        let archive = match session.has_archive() && session.archive_is_there() {
            true => Some(session.archive_to_read().await?),
            false => None,
        };
        let url = streamer::shown_url(&session.config.settings.url.value);
        let configured = listeners::names(&session.listeners, &session.config.definitions);
        let looker = Looker {
            streamer,
            archive,
            events: configured.into_iter().map(|(event, _)| event).collect(),
            stale_after: self.stale_after,
        };
        // Log lines would be drawn over the screen.
        let _hushed = logging::hush();
        let terminal = ratatui::try_init().map_err(|error| could_not_draw(&error))?;
        let ended = self.show(terminal, Screen::new(url), Arc::new(looker)).await;
        // Also after an error: the shell needs its terminal back.
        let restored = ratatui::try_restore();
        ended.and(restored).map_err(|error| could_not_draw(&error))?;
        Ok(Exit::Done)
    }

    async fn show(&self, mut terminal: DefaultTerminal, mut screen: Screen, looker: Arc<Looker>) -> io::Result<()> {
        let (sender, mut happened) = mpsc::channel(64);
        let keys = sender.clone();
        // It ends when nobody receives any more.
        std::thread::spawn(move || read_keys(&keys));
        let look = |wanted: Wanted| {
            let (looker, sender) = (Arc::clone(&looker), sender.clone());
            tokio::spawn(async move {
                let found = looker.look(&wanted).await;
                let _ = sender.send(Happened::Looked(wanted, found)).await;
            });
        };
        let mut ended = std::pin::pin!(terminated());
        let mut looks = tokio::time::interval(self.interval.max(Duration::from_millis(100)));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // One look at a time, however slow the store is.
        let mut is_looking = false;
        loop {
            terminal.draw(|frame| draw::draw(frame, &screen))?;
            let event = tokio::select! {
                () = &mut ended => return terminal.show_cursor(),
                _ = looks.tick(), if !is_looking => {
                    is_looking = true;
                    look(Wanted::Overview);
                    continue;
                }
                event = happened.recv() => event,
            };
            let next = match event {
                // The keyboard is gone, and the terminal with it.
                None => return Ok(()),
                Some(Happened::Resized) => Next::Stay,
                Some(Happened::Key(key)) => screen.key(key),
                Some(Happened::Looked(wanted, found)) => {
                    let was_overview = wanted == Wanted::Overview;
                    is_looking &= !was_overview;
                    screen.found(&wanted, found);
                    match screen.wanted().filter(|_| was_overview) {
                        // The pending messages of a group are as new as its numbers.
                        Some(wanted @ Wanted::Group { .. }) => Next::Look(wanted),
                        _ => Next::Stay,
                    }
                }
            };
            match next {
                Next::Stay => {}
                Next::Look(wanted) => look(wanted),
                Next::Quit => return terminal.show_cursor(),
            }
        }
    }
}

/// What looks at the store for a page.
struct Looker {
    streamer: Streamer,
    archive: Archive,
    /// Events that have a listener; some may have no stream.
    events: Vec<String>,
    stale_after: Duration,
}

/// Gives on what is typed, until nobody wants it or the terminal is gone.
fn read_keys(sender: &mpsc::Sender<Happened>) {
    while !sender.is_closed() {
        let event = match event::poll(KEY_WAIT) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let happened = match event {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Happened::Key(key),
            Ok(Event::Resize(..)) => Happened::Resized,
            Ok(_) => continue,
            Err(_) => return,
        };
        if sender.blocking_send(happened).is_err() {
            return;
        }
    }
}

fn could_not_draw(error: &io::Error) -> Failure {
    Failure::failed(format!("could not draw on the terminal: {error}"))
}
