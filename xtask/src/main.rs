//! Chores of the project, one command each: `cargo xtask demo`, `test`, `bench`, `sim`, `tidy`,
//! `docs`, `package`.
//!
//! Standard output is for what a command is asked for; progress goes to standard error.

#![expect(
    clippy::print_stderr,
    reason = "a chore tells the person at the terminal what it does"
)]
#![expect(clippy::print_stdout, reason = "a chore prints its result")]

use std::process::ExitCode;

use ailurus_testkit::place::Profile;

mod bench;
mod demo;
mod docs;
mod machine;
mod package;
mod shell;
mod storage;
mod test;
mod tidy;
mod trees;

const HELP: &str = "\
Chores of the Ailurus project

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  demo    run the SPD production chain on this machine and show the result
            --events N      events to generate (default 20000)
            --storage KIND  directory (default), xrootd or webdav: an XRootD server a site
            --no-fault      do not break one simulation job on purpose
            --keep          keep the server running at the end, until Ctrl-C
  test    set up what the tests need and run them all
  bench   measure: one JSON line a figure on standard output, a table on standard error
            pilot | server | brokerage | transfer | root-check | all (default)     --runs N
            server: --database sqlite|postgres   --running N jobs   --servers N
  sim     run the simulator over seeds
            --seeds A..B    (default 0..200)
  tidy    check layers, file sizes and names
  package make what is released: pilot3.tar.gz, Debian packages, SHA256SUMS
            --out DIR       where to (default target/package)
            --pilot FILE    pack this pilot and build none; once for each architecture
            --tarball-only  no Debian packages
            --check         try the pilot on an old and a new Debian, and without a C library
  machine test control groups of version 2 in an emulated machine
  docs    write the pages that are generated from the code
            --check         only compare them
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, options) = match arguments.split_first() {
        Some((command, options)) => (command.as_str(), options),
        None => ("help", &[][..]),
    };
    let result = match command {
        "demo" => demo::run(options),
        "test" => test::run(options),
        "bench" => bench::run(options),
        "sim" => shell::cargo_run("ailurus-sim", Profile::Dev, options),
        "tidy" => tidy::run(options),
        "machine" => machine::test_control_groups(),
        "package" => package::run(options),
        "docs" => docs::run(options),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(anyhow::anyhow!(
            "`{other}` is no command: `cargo xtask help` lists them"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
