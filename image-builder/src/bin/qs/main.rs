//! `qs`: builds images and runs them on emulated machines. Run from the sources as `cargo qs`.
//!
//! Data goes to the standard output, progress and messages to the standard error. Exit codes: 0 done, 1 failed and
//! nothing changed, 2 usage, 3 refused by the machine, 6 timed out and rolled back, 7 outcome unknown, 69 a host tool is
//! missing.

mod arguments;
mod bench;
mod build;
mod checkpoint;
mod disk;
mod doctor;
mod machines;
mod mode;
mod output;
mod plug;
mod run;
mod ssh;
mod trace;

use std::process;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::{Arguments, Command};
use image_builder::{Error, ExitCode};

fn main() {
    let code = match Arguments::try_parse() {
        Ok(arguments) => execute(arguments.command),
        Err(error) => {
            // Where the terminal is gone there is nobody to tell.
            drop(error.print());
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::Done,
                _ => ExitCode::Usage,
            }
        }
    };
    process::exit(code as i32);
}

fn execute(command: Command) -> ExitCode {
    let result = match command {
        Command::Build(options) => build::build(&options),
        Command::Run(options) => run::run(options),
        Command::Checkpoint { command } => checkpoint::checkpoint(&command),
        Command::Disk { command } => disk::disk(&command),
        Command::Ps { output } => machines::ps(output),
        Command::Stop { name } => machines::stop(&name),
        Command::Logs { name, follow } => machines::logs(&name, follow),
        Command::Ssh(options) => ssh::ssh(&options),
        Command::Mode(options) => mode::mode(&options),
        Command::Plug(options) => plug::plug(&options),
        Command::Unplug(options) => plug::unplug(&options),
        Command::Bench(options) => bench::bench(&options),
        Command::Doctor { install, output } => doctor::doctor(install, output),
    };
    result.unwrap_or_else(|error: Error| {
        output::error(&error);
        error.exit_code()
    })
}
