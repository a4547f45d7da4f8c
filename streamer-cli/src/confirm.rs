//! The one step before anything is deleted: whoever runs the command hears what it would delete, and agrees.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;

use crate::{app::Session, exit::Failure, terminal::Shown};

/// What every command that deletes takes.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Confirm {
    /// Do not ask; needed where nobody can be asked
    #[arg(short, long)]
    yes: bool,
    /// Only tell what would happen
    #[arg(long)]
    dry_run: bool,
}

impl Confirm {
    pub(crate) const fn new(yes: bool, dry_run: bool) -> Self {
        Self { yes, dry_run }
    }

    pub(crate) fn is_dry_run(self) -> bool {
        self.dry_run
    }

    /// Whether somebody must be told what would be deleted before it is.
    pub(crate) fn asks(self, session: &Session) -> bool {
        !self.dry_run && !self.agreed(session)
    }

    fn agreed(self, session: &Session) -> bool {
        self.yes || session.no_interaction
    }

    /// Asks whoever sits at the terminal whether to do it, after telling what it does; `what` is a sentence such as
    /// `This deletes 3 failures.` An error where nobody can be asked.
    pub(crate) fn ask(self, session: &Session, what: &str) -> Result<bool, Failure> {
        if self.agreed(session) {
            return Ok(true);
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::usage(format!(
                "{what} Nothing was done: say --yes where nobody can be asked, or --dry-run to see what it would do"
            )));
        }
        let mut stderr = io::stderr();
        let asked = write!(stderr, "{} Go on? [y/N] ", Shown::line(what).as_str()).and_then(|()| stderr.flush());
        asked?;
        let mut answer = String::new();
        io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Failure::failed(format!("could not read the answer: {error}")))?;
        Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
    }
}
