//! `config`: what is in force, and where each value came from.

use clap::Args;
use comfy_table::Table;
use serde_json::{Map, Value, json};

use crate::{
    app::Session,
    config::{Definition, Flags, Limit, Mode, Row, SettingFlags, Value as _, What, without_password},
    exit::{Exit, Outcome},
    output,
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
            if ["url", "archive_url"].contains(&key) {
                text = without_password(&text);
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
                json!(names),
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
            let object: Map<_, _> = rows
                .map(|(key, _, json, from)| (key, json!({"value": json, "source": from})))
                .collect();
            output::json(&object)?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new();
        table.load_style(output::TABLE);
        table.set_header(["Key", "Value", "From"]);
        for (key, value, _, source) in rows {
            table.add_row([key, value, source]);
        }
        output::line(table.to_string())?;
        Ok(Exit::Done)
    }
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
            let mut text = format!("program {}, mode {mode}", command.join(" "));
            if *shell {
                text.push_str(", shell");
            }
            if !env.is_empty() {
                let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
                text = format!("{text}, env {}", names.join(" "));
            }
            text
        }
        What::Webhook { url, secret_env } => {
            let url = without_password(url);
            match secret_env {
                Some(variable) => format!("webhook {url}, signed with ${variable}"),
                None => format!("webhook {url}"),
            }
        }
    };
    text = format!("{text}, timeout {}", Limit(definition.timeout).show());
    if let Some(retry) = &definition.retry {
        text = format!("{text}, retry {}", retry.show());
    }
    text
}
