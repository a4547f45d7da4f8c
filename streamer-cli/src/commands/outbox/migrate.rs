//! `outbox migrate`: the tables in the application's database.

use clap::{Args, ValueEnum};
use streamer::outbox::{Dialect, schema};

use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer outbox migrate
  streamer outbox migrate --print
  streamer outbox migrate --print --dialect postgres > outbox.sql

Running it again changes nothing. For migrations of your own: --print, or
`streamer_sea_orm::Migration`.";

/// Make the tables of the outbox and the inbox, where they are missing
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Migrate {
    /// Print the statements, for whoever may run them; needs no connection
    #[arg(long)]
    print: bool,
    /// With --print: the kind of database [default: that of the URL]
    #[arg(long, value_name = "KIND", requires = "print")]
    dialect: Option<Kind>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Postgres,
    Mysql,
    Sqlite,
}

impl Migrate {
    pub(super) async fn run(&self, session: &Session) -> Outcome {
        if self.print {
            let dialect = match self.dialect {
                Some(Kind::Postgres) => Dialect::Postgres,
                Some(Kind::Mysql) => Dialect::MySql,
                Some(Kind::Sqlite) => Dialect::Sqlite,
                None => {
                    let url = super::url(session)?;
                    Dialect::of_url(url).ok_or_else(|| {
                        let url = streamer::shown_url(url);
                        Failure::usage(format!("'{url}' names no kind of database; say --dialect"))
                    })?
                }
            };
            let statements = schema(dialect).iter().map(|statement| format!("{statement};"));
            output::text(statements.collect::<Vec<_>>().join("\n\n"))?;
            return Ok(Exit::Done);
        }
        super::open(session).await?.migrate().await?;
        let database = streamer::shown_url(super::url(session)?);
        match session.json {
            true => output::done_json(&output::object!({"report": "migrated", "database": database}))?,
            false => output::done(format!("The outbox in {database} is ready."))?,
        }
        Ok(Exit::Done)
    }
}
