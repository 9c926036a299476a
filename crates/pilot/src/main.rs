//! `ailurus-pilot`: the agent on a worker node. Wires the core to its adapters and gives the exit
//! code. What is decided is decided in `ailurus-pilot-core`.

use std::{process::ExitCode, time::Instant};

use clap::Parser as _;

mod args;
mod container;
mod credentials;
mod data;
mod data_command;
mod debug;
mod environment;
mod function;
mod hooks;
mod journal;
mod link;
mod log;
mod log_stream;
mod node_view;
mod once;
mod payload;
mod recorder;
mod replicas;
mod server;
mod server_url;
mod settings;
mod shell;
mod site;
mod software;
mod timing;
mod traces;
mod watch;
mod work_dir;
mod work_from;

use args::Args;
use settings::Settings;

/// Exit code for what is wrong with arguments, as option parsers give it.
pub(crate) const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    ailurus_process::guard::run_if_asked();
    let begin = Instant::now();
    match std::env::args_os().nth(1) {
        Some(word) if word == once::COMMAND => return once::main(begin),
        Some(word) if word == function::COMMAND => return function::main(),
        Some(word) if word == data_command::COMMAND => return data_command::main(),
        Some(_) | None => {}
    }
    let args = Args::parse();
    let settings = match Settings::gather(&args, begin) {
        Ok(settings) => settings,
        Err(error) => {
            complain(error.code(), &error);
            return ExitCode::from(USAGE_ERROR);
        }
    };
    match shell::run(settings) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let (word, code) = error.code();
            complain(word, &error);
            ExitCode::from(code)
        }
    }
}

/// Says on standard error what went wrong before there was a log, with all causes.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
pub(crate) fn complain(code: &str, error: &dyn std::error::Error) {
    eprintln!("error[{code}]: {}", log::chain(error));
}
