//! The stand-alone `streamer`: its listeners come from `streamer.toml`.

use std::process::ExitCode;

fn main() -> ExitCode {
    streamer_cli::App::new(streamer::Listeners::new()).main()
}
