//! `[listeners.NAME]`: programs and webhooks that handle messages, and `[listen_and_fire]`: which event has which.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Limit, Retry,
    file::{Table, nearest},
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
pub(crate) fn shown_variable(name: &str) -> &str {
    match name.chars().any(|c| c.is_ascii_lowercase()) {
        true => "***",
        false => name,
    }
}

/// Where the value of a header is.
#[derive(Clone, Debug)]
pub(crate) enum HeaderValue {
    Text(String),
    /// In this environment variable.
    Env(String),
    /// In this file, without the line break at its end.
    File(PathBuf),
}

/// Which redirects a webhook may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirects {
    None,
    /// To the same scheme, host and port.
    SameHost,
    Any,
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

    /// A URL and no more. The error does not quote it.
    pub(crate) fn plain_webhook(url: &str) -> Result<Self, String> {
        if !is_web(url) {
            return Err(format!(
                "--webhook must be an http:// or https:// URL{}",
                encoding_hint(url)
            ));
        }
        Ok(Self::Webhook {
            url: url.to_owned(),
            secret_env: None,
            headers: Vec::new(),
            redirects: Redirects::None,
        })
    }
}

fn is_web(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

fn encoding_hint(url: &str) -> &'static str {
    match url.contains('@') {
        true => "; in a user name or password, write '/', '?', '#', '@' and ':' percent-encoded",
        false => "",
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
                webhook(table, url)?
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

fn webhook(table: &Table<'_>, url: String) -> Result<What, Failure> {
    if !is_web(&url) {
        let span = table.find("webhook").map_or(0..0, |(span, _)| span);
        // The URL is not quoted: it may hold a password.
        let hint = encoding_hint(&url);
        let text = format!("`{}` must be an http:// or https:// URL{hint}", table.full("webhook"));
        return Err(table.file.complain(span, &text));
    }
    let secret_env = table.get::<String>("secret_env")?.map(|(name, _)| name);
    if let Some(name) = &secret_env
        && !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        let span = table.find("secret_env").map_or(0..0, |(span, _)| span);
        let text = format!(
            "`{}` must be the name of an environment variable",
            table.full("secret_env")
        );
        return Err(table.file.complain(span, &text));
    }
    let redirects = match table.get::<String>("redirects")? {
        None => Redirects::None,
        Some((redirects, _)) => match redirects.as_str() {
            "none" => Redirects::None,
            "same-host" => Redirects::SameHost,
            "any" => Redirects::Any,
            other => {
                let span = table.find("redirects").map_or(0..0, |(span, _)| span);
                let text = format!(
                    "`{}` must be \"none\", \"same-host\" or \"any\", not {other:?}",
                    table.full("redirects")
                );
                return Err(table.file.complain(span, &text));
            }
        },
    };
    Ok(What::Webhook {
        url,
        secret_env,
        headers: headers(table)?,
        redirects,
    })
}

/// `headers = { Name = "text", Authorization = { env = "TOKEN" }, X-Key = { file = "key.txt" } }`
fn headers(table: &Table<'_>) -> Result<Vec<(String, HeaderValue)>, Failure> {
    let Some(headers) = table.table("headers")? else {
        return Ok(Vec::new());
    };
    let full = table.full("headers");
    let headers = headers.called(&full);
    let mut found = Vec::new();
    for (name, span) in headers.keys() {
        if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
            let text = format!("`{}` is no name of a header", headers.full(name));
            return Err(table.file.complain(span, &text));
        }
        let value = match headers.find(name) {
            Some((_, value)) if value.as_table().is_some() => {
                let Some(place) = headers.table(name)? else { continue };
                let full = headers.full(name);
                let place = place.called(&full);
                place.only(&["env", "file"])?;
                match (place.get::<String>("env")?, place.get::<String>("file")?) {
                    (Some((variable, _)), None) => HeaderValue::Env(variable),
                    (None, Some((file, _))) => HeaderValue::File(folder_of(table).join(file)),
                    _ => {
                        let text = format!("`{full}` needs one of `env` and `file`");
                        return Err(table.file.complain(span, &text));
                    }
                }
            }
            _ => match headers.get::<String>(name)? {
                Some((text, _)) => HeaderValue::Text(text),
                None => continue,
            },
        };
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// The folder of the file: where its relative paths begin.
fn folder_of<'a>(table: &Table<'a>) -> &'a Path {
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
