//! `config`: what is in force, and where each value came from.

use clap::Args;
use serde_json::Value;
use streamer::OrderedJson;

use crate::{
    app::Session,
    config::{Definition, Flags, Limit, Mode, Row, SettingFlags, Value as _, What},
    exit::{Exit, Outcome},
    output,
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  streamer config
  STREAMER_GROUP=billing streamer config --workers 8
  streamer config --json | jq -r .url.value";

/// Show what is configured, and where each value came from; passwords are hidden
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    #[command(flatten)]
    settings: SettingFlags,
    /// The domain that emitted events carry
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
}

impl Show {
    pub(crate) fn flags(&self, flags: &mut Flags) {
        flags.domain = self.domain.clone();
        self.settings.clone().put_into(flags);
    }

    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let config = &session.config;
        let mut rows: Vec<(String, String, Value, String)> = Vec::new();
        for Row {
            key,
            mut text,
            mut json,
            source,
        } in config.settings.rows()
        {
            let is_url = ["url", "archive_url", "outbox_url"].contains(&key);
            if is_url && !text.is_empty() && !json.is_null() {
                text = streamer::shown_url(&text);
                json = text.clone().into();
            }
            rows.push((key.to_owned(), text, json, source.to_string()));
        }
        let file = config
            .path
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        for (event, names) in &config.definitions.events {
            rows.push((
                format!("listen_and_fire.\"{event}\""),
                names.join(", "),
                names.clone().into(),
                file.clone(),
            ));
        }
        if let Some(retry) = &config.definitions.retry {
            rows.push(("retry".to_owned(), retry.show(), retry.show().into(), file.clone()));
        }
        for definition in &config.definitions.listeners {
            let text = describe(definition);
            let json = text.clone().into();
            rows.push((
                format!("listeners.{}", definition.name),
                text,
                json,
                definition.place.clone(),
            ));
        }
        if session.json {
            let rows = rows.into_iter();
            let object: OrderedJson = rows
                .map(|(key, _, json, from)| (key, output::object!({"value": json, "source": from})))
                .collect();
            output::json(&object)?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new([Column::whole("Key"), Column::text("Value"), Column::text("From")]);
        for (key, value, _, source) in rows {
            table.row([key, value, source]);
        }
        table.print()?;
        Ok(Exit::Done)
    }
}

/// A program with its options. Whatever else stands on its command line may be a secret: only the names of options are known
/// to be harmless.
fn shown_command(command: &[String]) -> String {
    let is_name = |word: &str| {
        word.starts_with("--")
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            || word.len() == 2 && word.starts_with('-')
    };
    let arguments = command.iter().skip(1).map(|word| match word.split_once('=') {
        _ if is_name(word) => word.clone(),
        Some((name, _)) if is_name(name) => format!("{name}=***"),
        _ => "***".to_owned(),
    });
    let program = command.first().map(|program| match program.contains("://") {
        true => streamer::shown_url(program),
        false => program.clone(),
    });
    program.into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A listener in a line. Values of `env` are often secrets; only their names are shown.
fn describe(definition: &Definition) -> String {
    let mut text = match &definition.what {
        What::Program {
            command,
            mode,
            shell,
            env,
            ..
        } => {
            let mode = if *mode == Mode::Lines { "lines" } else { "message" };
            // Arguments may hold secrets; of a command line nobody knows which word is one.
            let shown = match shell {
                true => "a command line".to_owned(),
                false => shown_command(command),
            };
            let mut text = format!("program {shown}, mode {mode}");
            if *shell {
                text.push_str(", shell");
            }
            if !env.is_empty() {
                let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
                text = format!("{text}, env {}", names.join(" "));
            }
            text
        }
        #[cfg(feature = "webhooks")]
        What::Webhook {
            url,
            secret_env,
            headers,
            redirects,
        } => {
            let mut text = format!("webhook {}", streamer::shown_url(url));
            if let Some(variable) = secret_env {
                text = format!("{text}, signed with ${}", crate::config::shown_variable(variable));
            }
            if !headers.is_empty() {
                // Their values are often secrets.
                let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
                text = format!("{text}, headers {}", names.join(" "));
            }
            match redirects {
                crate::config::Redirects::None => text,
                crate::config::Redirects::SameHost => text + ", redirects same-host",
                crate::config::Redirects::Any => text + ", redirects any",
            }
        }
    };
    text = format!("{text}, timeout {}", Limit(definition.timeout).show());
    if let Some(retry) = &definition.retry {
        text = format!("{text}, retry {}", retry.show());
    }
    text
}
