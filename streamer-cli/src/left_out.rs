//! Commands and options that a program has only with a cargo feature.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

const ENDPOINTS: bool = cfg!(feature = "endpoints");

/// A command or an option, what brings it, and whether this program has it.
type Part = (&'static str, &'static str, bool);

const PARTS: [Part; 6] = [
    ("dashboard", "feature `dashboard`", cfg!(feature = "dashboard")),
    ("top", "feature `top`", cfg!(feature = "top")),
    (
        "outbox",
        "features `outbox-postgres`, `outbox-mysql` and `outbox-sqlite`, those of the databases that it is to open",
        cfg!(feature = "outbox"),
    ),
    ("--metrics", "feature `endpoints`", ENDPOINTS),
    ("--health", "feature `endpoints`", ENDPOINTS),
    ("--stalled-after", "feature `endpoints`", ENDPOINTS),
];

/// What to say of a command line that clap has refused because this program was built without a part; `None` for other
/// mistakes.
pub(crate) fn explain(error: &Error) -> Option<String> {
    explain_with(error, &PARTS)
}

fn explain_with(error: &Error, parts: &[Part]) -> Option<String> {
    let kind = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return None,
    };
    let Some(ContextValue::String(said)) = error.get(kind) else {
        return None;
    };
    // laravel-streamer's spelling of a command.
    let word = said.strip_prefix("streamer:").unwrap_or(said);
    let (word, features, _) = parts.iter().find(|(known, _, is_there)| *known == word && !is_there)?;
    Some(format!(
        "this program was built without `{word}`; build it with the cargo {features} of `streamer-cli`"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may
mod tests {
    use clap::{Arg, Command, CommandFactory as _};

    use super::*;

    /// A program that has nothing of what cargo features add.
    fn refused(arguments: &[&str]) -> Option<String> {
        let listen = Command::new("listen").arg(Arg::new("group").long("group"));
        let program = Command::new("streamer").subcommand(listen);
        let error = program.try_get_matches_from(arguments).unwrap_err();
        let parts = PARTS.map(|(word, features, _)| (word, features, false));
        explain_with(&error, &parts)
    }

    #[test]
    fn what_is_left_out_is_named_with_its_feature() {
        for (arguments, expected) in [
            (
                &["streamer", "dashboard"][..],
                "without `dashboard`; build it with the cargo feature `dashboard` of",
            ),
            (
                &["streamer", "streamer:top"],
                "without `top`; build it with the cargo feature `top` of",
            ),
            (
                &["streamer", "outbox", "status"],
                "without `outbox`; build it with the cargo features `outbox-postgres`,",
            ),
            (
                &["streamer", "listen", "--metrics", "9464"],
                "without `--metrics`; build it with the cargo feature `endpoints` of",
            ),
            (
                &["streamer", "listen", "--health=80"],
                "without `--health`; build it with",
            ),
        ] {
            let text = refused(arguments).unwrap();
            assert!(text.contains(expected), "{text}");
        }
        for other in [
            &["streamer", "lisen"][..],
            &["streamer", "listen", "--groop"],
            &["streamer", "listen", "--group"],
        ] {
            assert_eq!(refused(other), None);
        }
    }

    #[test]
    fn each_part_is_in_a_program_with_its_feature_and_in_no_other() {
        let program = crate::args::Cli::command();
        let listen = program.find_subcommand("listen").unwrap();
        for (word, _, expected) in PARTS {
            let is_there = match word.strip_prefix("--") {
                Some(option) => listen.get_arguments().any(|one| one.get_long() == Some(option)),
                None => program.find_subcommand(word).is_some(),
            };
            assert_eq!(is_there, expected, "{word}");
        }
    }
}
