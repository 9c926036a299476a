//! `ailurus-pilot data`: what the pilot does with files, done by hand. One entry of [`COMMANDS`]
//! for each thing; nothing here speaks to a PanDA server.

mod check;
mod get;
mod moving;
mod plan;
mod put;

use std::{ffi::OsString, process::ExitCode};

use crate::USAGE_ERROR;

/// The word that asks for it.
pub(crate) const COMMAND: &str = "data";

/// One of the things that can be done.
struct DataCommand {
    /// The word that asks for it.
    name: &'static str,
    /// What it is for, in a few words.
    about: &'static str,
    /// Does it, given the program with both words as the first of its arguments.
    run: fn(Vec<OsString>) -> ExitCode,
}

const COMMANDS: [DataCommand; 4] = [
    DataCommand {
        name: plan::NAME,
        about: plan::ABOUT,
        run: plan::run,
    },
    DataCommand {
        name: check::NAME,
        about: check::ABOUT,
        run: check::run,
    },
    DataCommand {
        name: get::NAME,
        about: get::ABOUT,
        run: get::run,
    },
    DataCommand {
        name: put::NAME,
        about: put::ABOUT,
        run: put::run,
    },
];

/// Runs the command, and returns the process's exit code.
pub(crate) fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(2);
    let Some(word) = words.next() else {
        return tell_usage("no command is given");
    };
    if word == "--help" || word == "-h" || word == "help" {
        return tell_help();
    }
    let Some(command) = COMMANDS.iter().find(|command| word == command.name) else {
        return tell_usage(&format!("`{}` is no command", word.to_string_lossy()));
    };
    let program = OsString::from(format!("ailurus-pilot {COMMAND} {}", command.name));
    (command.run)([program].into_iter().chain(words).collect())
}

fn help() -> String {
    let mut text = format!(
        "What the pilot does with files, done by hand\n\n\
         Usage: ailurus-pilot {COMMAND} COMMAND [OPTIONS]\n\nCommands:\n"
    );
    for command in &COMMANDS {
        text.push_str(&format!("  {:<8}{}\n", command.name, command.about));
    }
    text.push_str("\nEach of them has --help.\n");
    text
}

#[expect(clippy::print_stdout, reason = "help that is asked for")]
fn tell_help() -> ExitCode {
    print!("{}", help());
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "a command's errors are for a person")]
fn tell_usage(why: &str) -> ExitCode {
    eprint!("error: {why}\n\n{}", help());
    ExitCode::from(USAGE_ERROR)
}
