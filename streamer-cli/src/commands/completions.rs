//! `completions`: what a shell needs to complete our commands.

use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;

use crate::exit::{Exit, Outcome};

const EXAMPLES: &str = "\
Examples:
  streamer completions bash > ~/.bash_completion.d/streamer
  streamer completions zsh > ~/.zfunc/_streamer
  streamer completions fish > ~/.config/fish/completions/streamer.fish";

/// Print the completions for a shell
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut command: clap::Command) -> Outcome {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        std::io::stdout().lock().write_all(&script)?;
        Ok(Exit::Done)
    }
}
