//! `[listeners.NAME]`: programs and webhooks that handle messages, and `[listen_and_fire]`: which event has which.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

#[cfg(feature = "webhooks")]
use super::{HeaderValue, Redirects};
use super::{
    Limit, Retry,
    file::{Table, nearest},
    webhook,
};
use crate::exit::Failure;

/// How long a listener of the configuration may take for a message unless it says otherwise.
const DEFAULT_TIMEOUT: Limit = Limit(Some(Duration::from_secs(30)));

const PROGRAM_KEYS: [&str; 5] = ["program", "mode", "shell", "cwd", "env"];
const WEBHOOK_KEYS: [&str; 4] = ["webhook", "secret_env", "headers", "redirects"];

/// Every key of a listener.
pub(super) fn keys() -> Vec<&'static str> {
    [PROGRAM_KEYS.as_slice(), WEBHOOK_KEYS.as_slice(), &["timeout", "retry"]].concat()
}

/// The listeners that the file defines and the events it gives them to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Definitions {
    /// Each event with the names of its listeners, in the order of the file.
    pub(crate) events: Vec<(String, Vec<String>)>,
    pub(crate) listeners: Vec<Definition>,
    /// How listeners are tried again that do not say it themselves.
    pub(crate) retry: Option<Retry>,
    /// Listeners that no event uses: worth a warning.
    pub(crate) unused: Vec<String>,
}

/// A listener that the file defines.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    /// Where it is defined, for complaints: `streamer.toml:9`.
    pub(crate) place: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<Retry>,
    pub(crate) what: What,
}

/// What handles the messages of a listener.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Program {
        /// The program and its arguments; one command line when `shell`.
        command: Vec<String>,
        mode: Mode,
        shell: bool,
        /// Its working directory, and where a relative program is looked for: by default the folder of the file.
        cwd: PathBuf,
        env: Vec<(String, String)>,
    },
    #[cfg(feature = "webhooks")]
    Webhook {
        url: String,
        /// The environment variable that holds the secret of the signature.
        secret_env: Option<String>,
        /// More headers, by name.
        headers: Vec<(String, HeaderValue)>,
        redirects: Redirects,
    },
}

/// The name of an environment variable, for people: who wrote the secret itself in its place must not read it in a log.
#[cfg(feature = "webhooks")]
pub(crate) fn shown_variable(name: &str) -> &str {
    match name.chars().any(|c| c.is_ascii_lowercase()) {
        true => "***",
        false => name,
    }
}

/// How a program gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One long-lived process, a line for each message, a line for each answer.
    Lines,
    /// One process for each message; its exit code is the answer.
    Message,
}

impl Definitions {
    /// Reads both tables. `known` names the listeners that the application registered by itself.
    pub(crate) fn read(top: &Table<'_>, known: &[&str]) -> Result<Self, Failure> {
        let mut listeners = Vec::new();
        if let Some(table) = top.table("listeners")? {
            for (name, span) in table.keys() {
                let Some(entry) = table.table(name)? else { continue };
                let full = format!("listeners.{name}");
                listeners.push(Definition::read(name, span, &entry.called(&full))?);
            }
        }
        let mut events = Vec::new();
        if let Some(table) = top.table("listen_and_fire")? {
            for (event, _) in table.keys() {
                let names = table.texts(event)?.unwrap_or_default();
                for (at, (name, span)) in names.iter().enumerate() {
                    if names[..at].iter().any(|(earlier, _)| earlier == name) {
                        let text = format!("`listen_and_fire` gives '{event}' the listener `{name}` twice");
                        return Err(top.file.complain(span.clone(), &text));
                    }
                    let mut names = listeners
                        .iter()
                        .map(|listener| listener.name.as_str())
                        .chain(known.iter().copied());
                    if names.clone().all(|known| known != name) {
                        let hint = match nearest(name, &mut names) {
                            Some(near) => format!("; did you mean `{near}`?"),
                            None => format!("; add a table [listeners.{name}]"),
                        };
                        let text = format!(
                            "`listen_and_fire` gives '{event}' the listener `{name}`, which is not defined{hint}"
                        );
                        return Err(top.file.complain(span.clone(), &text));
                    }
                }
                events.push((event.to_owned(), names.into_iter().map(|(name, _)| name).collect()));
            }
        }
        let used = |listener: &Definition| {
            events
                .iter()
                .any(|(_, names): &(_, Vec<String>)| names.contains(&listener.name))
        };
        let unused = listeners
            .iter()
            .filter(|listener| !used(listener))
            .map(|listener| listener.name.clone())
            .collect();
        let retry = match top.table("retry")? {
            Some(table) => Some(Retry::read(&table)?),
            None => None,
        };
        Ok(Self {
            events,
            listeners,
            retry,
            unused,
        })
    }
}

impl What {
    /// A command line for each message, in the working directory.
    pub(crate) fn command_line(command: &str) -> Self {
        Self::Program {
            command: vec![command.to_owned()],
            mode: Mode::Message,
            shell: true,
            cwd: PathBuf::from("."),
            env: Vec::new(),
        }
    }
}

impl Definition {
    /// A listener that a flag of the command line makes.
    pub(crate) fn of_command_line(name: &str, option: &str, what: What) -> Self {
        Self {
            name: name.to_owned(),
            place: format!("--{option}"),
            timeout: DEFAULT_TIMEOUT.0,
            retry: None,
            what,
        }
    }

    fn read(name: &str, span: Range<usize>, table: &Table<'_>) -> Result<Self, Failure> {
        table.only(&keys())?;
        let what = match (table.texts("program")?, table.get::<String>("webhook")?) {
            (Some(command), None) => {
                refuse(table, &WEBHOOK_KEYS, "a webhook")?;
                program(table, command.into_iter().map(|(word, _)| word).collect())?
            }
            (None, Some((url, _))) => {
                refuse(table, &PROGRAM_KEYS, "a program")?;
                webhook::read(table, url)?
            }
            (both, _) => {
                let found = if both.is_some() { "has both" } else { "has neither" };
                let text = format!("the listener `{name}` {found} `program` and `webhook`; give it one of them");
                let text = text.replace("neither `program` and", "neither `program` nor");
                return Err(table.file.complain(span, &text));
            }
        };
        let timeout = table.get("timeout")?.map_or(DEFAULT_TIMEOUT, |(limit, _)| limit).0;
        let full = table.full("retry");
        let retry = match table.table("retry")? {
            Some(table) => Some(Retry::read(&table.called(&full))?),
            None => None,
        };
        let place = format!("{}:{}", table.file.path.display(), table.file.line(&span));
        Ok(Self {
            name: name.to_owned(),
            place,
            timeout,
            retry,
            what,
        })
    }
}

fn program(table: &Table<'_>, command: Vec<String>) -> Result<What, Failure> {
    let complain = |key: &str, text: &str| {
        let span = table.find(key).map_or(0..0, |(span, _)| span);
        table.file.complain(span, &format!("`{}` {text}", table.full(key)))
    };
    if command.first().is_none_or(|program| program.trim().is_empty()) {
        return Err(complain("program", "names no program"));
    }
    let shell = table.get("shell")?.is_some_and(|(shell, _)| shell);
    if shell && command.len() > 1 {
        return Err(complain(
            "program",
            "must be one text, the command line, when `shell = true`",
        ));
    }
    let mode = match table.get::<String>("mode")? {
        None => Mode::Lines,
        Some((mode, _)) => match mode.as_str() {
            "lines" => Mode::Lines,
            "message" => Mode::Message,
            other => {
                return Err(complain(
                    "mode",
                    &format!("must be \"lines\" or \"message\", not {other:?}"),
                ));
            }
        },
    };
    let folder = folder_of(table);
    let cwd = table
        .get::<String>("cwd")?
        .map_or_else(|| folder.to_owned(), |(cwd, _)| folder.join(cwd));
    let mut env = Vec::new();
    if let Some(variables) = table.table("env")? {
        let full = table.full("env");
        let variables = variables.called(&full);
        for (name, _) in variables.keys() {
            if let Some((value, _)) = variables.get::<String>(name)? {
                env.push((name.to_owned(), value));
            }
        }
    }
    Ok(What::Program {
        command,
        mode,
        shell,
        cwd,
        env,
    })
}

/// The folder of the file: where its relative paths begin.
pub(super) fn folder_of<'a>(table: &Table<'a>) -> &'a Path {
    let folder = table.file.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Refuses keys that belong to the other sort of listener.
fn refuse(table: &Table<'_>, keys: &[&str], sort: &str) -> Result<(), Failure> {
    match table.keys().find(|(key, _)| keys.contains(key)) {
        Some((key, span)) => Err(table.file.complain(
            span,
            &format!("`{}` belongs to {sort}, which this listener is not", table.full(key)),
        )),
        None => Ok(()),
    }
}
