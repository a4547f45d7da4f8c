//! From the configuration to listeners: the application's own ones and those of `streamer.toml`, event by event.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use streamer::{Listener, ListenerContext, ListenerError, Listeners, ReceivedMessage, StreamName, async_trait};

use crate::{
    config::{Definition, Definitions, Mode, What},
    exit::Failure,
    program::{Groups, Lines, OnePerMessage, Program},
};

/// The listeners of the application and of the configuration together, ready to listen.
pub(crate) struct Built {
    pub(crate) listeners: Listeners,
    /// Programs with long-lived children, to end when listening has ended.
    lines: Vec<Arc<Lines>>,
    groups: Groups,
}

/// The names of each event's listeners: first those that the application registered, then those of the configuration.
pub(crate) fn names(own: &Listeners, definitions: &Definitions) -> Vec<(String, Vec<String>)> {
    let mut events: Vec<(String, Vec<String>)> = own
        .all()
        .map(|(event, listeners)| {
            (
                event.to_string(),
                listeners.iter().map(|one| one.name().to_owned()).collect(),
            )
        })
        .collect();
    for (event, names) in &definitions.events {
        let at = events.iter().position(|(known, _)| known == event).unwrap_or_else(|| {
            events.push((event.clone(), Vec::new()));
            events.len() - 1
        });
        for name in names {
            if !events[at].1.contains(name) {
                events[at].1.push(name.clone());
            }
        }
    }
    events
}

/// Makes the listeners of `events` (of all when empty), and finds out whether each can work.
pub(crate) fn build(
    own: Listeners,
    definitions: &Definitions,
    events: &[StreamName],
    workers: usize,
) -> Result<Built, Failure> {
    let mut registered: HashMap<String, (Arc<dyn Listener>, Option<Duration>)> = HashMap::new();
    // The configuration may give a listener to further events; it is tried again there as it is elsewhere.
    let mut own_policies = HashMap::new();
    for (_, listeners) in own.all() {
        for one in listeners {
            if let Some(policy) = one.retry() {
                own_policies.insert(one.name().to_owned(), policy.clone());
            }
            registered
                .entry(one.name().to_owned())
                .or_insert_with(|| (one.listener().clone(), one.timeout()));
        }
    }
    let mut built = Built {
        listeners: own,
        lines: Vec::new(),
        groups: Groups::default(),
    };
    let mut shared: BTreeMap<&str, (Arc<dyn Listener>, Option<Duration>)> = BTreeMap::new();
    for (event, names) in &definitions.events {
        let event = StreamName::from(event);
        if !events.is_empty() && !events.contains(&event) {
            continue;
        }
        for name in names {
            // The application has given it to this event already.
            if built.listeners.has(event.clone(), name) {
                continue;
            }
            let (listener, timeout) = match (
                shared.get(name.as_str()),
                definitions.listeners.iter().find(|one| one.name == *name),
            ) {
                (Some(listener), _) => listener.clone(),
                // Programs and webhooks keep to their time-outs by themselves.
                (None, Some(definition)) => (built.make(definition, workers)?, None),
                // The configuration was checked: what it does not define is the application's own.
                (None, None) => match registered.get(name) {
                    Some(listener) => listener.clone(),
                    None => continue,
                },
            };
            shared.insert(name, (listener.clone(), timeout));
            built
                .listeners
                .add_listener(event.clone(), name, Shared(listener), timeout);
        }
    }
    let mut listeners = std::mem::take(&mut built.listeners);
    for (name, policy) in own_policies {
        listeners = listeners.retry_for(&name, &policy);
    }
    for definition in &definitions.listeners {
        let used = listeners
            .all()
            .any(|(_, all)| all.iter().any(|one| one.name() == definition.name));
        if let Some(retry) = definition.retry.as_ref().filter(|_| used) {
            listeners = listeners.retry_for(&definition.name, &retry.policy());
        }
    }
    if let Some(retry) = &definitions.retry {
        listeners = listeners.retry(&retry.policy());
    }
    built.listeners = listeners;
    Ok(built)
}

impl Built {
    fn make(&mut self, definition: &Definition, workers: usize) -> Result<Arc<dyn Listener>, Failure> {
        let wrong = |text: String| {
            Failure::usage(format!(
                "{}: the listener `{}` cannot work: {text}",
                definition.place, definition.name
            ))
        };
        match definition.what.clone() {
            What::Program {
                command,
                mode,
                shell,
                cwd,
                env,
            } => {
                let program = Program {
                    name: definition.name.clone(),
                    command,
                    shell,
                    cwd,
                    env,
                    timeout: definition.timeout,
                    groups: self.groups.clone(),
                };
                program.check().map_err(wrong)?;
                if mode == Mode::Message {
                    return Ok(Arc::new(OnePerMessage(program)));
                }
                let lines = Arc::new(Lines::new(program, workers));
                self.lines.push(lines.clone());
                Ok(lines)
            }
            #[cfg(feature = "webhooks")]
            What::Webhook {
                url,
                secret_env,
                headers,
                redirects,
            } => {
                use crate::config::{self, HeaderValue, shown_variable};

                let variable = |key: &str, name: &str| match std::env::var(name) {
                    Ok(value) if !value.is_empty() => Ok(value),
                    _ => Err(wrong(format!(
                        "its `{key}` names the environment variable {}, which is not set (or not text)",
                        shown_variable(name)
                    ))),
                };
                let secret = secret_env.map(|name| variable("secret_env", &name)).transpose()?;
                let mut values = Vec::new();
                for (name, value) in headers {
                    let value = match value {
                        HeaderValue::Text(text) => text,
                        HeaderValue::Env(name) => variable("headers", &name)?,
                        HeaderValue::File(path) => config::read(&path)
                            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                            .map_err(|error| {
                                wrong(format!("the file {} could not be read: {error}", path.display()))
                            })?,
                    };
                    values.push((name, value));
                }
                let webhook = crate::webhook::Webhook::new(&url, secret, values, redirects, definition.timeout);
                Ok(Arc::new(webhook.map_err(wrong)?))
            }
        }
    }

    /// What ends the programs; `listeners` can be given away before.
    pub(crate) fn split(self) -> (Listeners, Programs) {
        (
            self.listeners,
            Programs {
                lines: self.lines,
                groups: self.groups,
            },
        )
    }
}

/// The programs that run for listeners.
pub(crate) struct Programs {
    lines: Vec<Arc<Lines>>,
    groups: Groups,
}

impl Programs {
    /// Ends them in good order: their input ends, they get time, then they are asked to end, then killed.
    pub(crate) async fn end(&self) {
        futures_util::future::join_all(self.lines.iter().map(|lines| lines.end())).await;
        self.ended().await;
    }

    /// Kills them.
    pub(crate) fn kill(&self) {
        self.groups.kill();
    }

    /// Waits for those that were asked to end: each gets some seconds, then it is killed.
    pub(crate) async fn ended(&self) {
        self.groups.ended().await;
    }

    /// Reaps what programs leave behind, where nobody else does: as the first process of a container.
    pub(crate) fn reap_orphans(&self) {
        self.groups.reap_orphans();
    }
}

/// One listener for several events.
struct Shared(Arc<dyn Listener>);

#[async_trait]
impl Listener for Shared {
    async fn handle(&self, message: &ReceivedMessage, context: &ListenerContext) -> Result<(), ListenerError> {
        self.0.handle(message, context).await
    }

    fn decodes(&self) -> bool {
        self.0.decodes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_the_application_keeps_its_time_out_where_the_configuration_names_it() {
        async fn receipt() {}
        let limit = Duration::from_secs(7);
        let own = Listeners::new().on("a", "receipt", receipt).timeout(limit);
        let definitions = Definitions {
            events: vec![("b".to_owned(), vec!["receipt".to_owned()])],
            ..Definitions::default()
        };
        let built = build(own.without_state(), &definitions, &[], 1);
        let built = built.map(|built| built.split().0).unwrap_or_default();
        for event in ["a", "b"] {
            let timeouts = built
                .of(&event.into())
                .iter()
                .map(streamer::RegisteredListener::timeout)
                .collect::<Vec<_>>();
            assert_eq!(timeouts, [Some(limit)], "{event}");
        }
    }
}
