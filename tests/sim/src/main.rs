//! `ailurus-sim [--seeds A..B] [--trace]`: runs the seeds that once found something, then a range.
//!
//! Exits with 1 at the first violation. With `--trace`, the seeds of the range only are run, one
//! after the other, and every line of their traces goes to standard output.

#![expect(
    clippy::print_stdout,
    reason = "a program for people prints its result"
)]
#![expect(
    clippy::print_stderr,
    reason = "a program for people prints its errors"
)]

use std::{collections::BTreeSet, ops::Range, process::ExitCode, time::Instant};

use ailurus_sim::{Keep, run_seed, run_seeds};

/// Seeds that found something, one a line, with a word on what.
const FIXED_SEEDS: &str = include_str!("../seeds.txt");
const DEFAULT_RANGE: Range<u64> = 0..200;
const USAGE: &str = "usage: ailurus-sim [--seeds A..B] [--trace]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (range, keep) = match read_arguments(&arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match keep {
        Keep::All => trace_seeds(range),
        Keep::Recent => check_seeds(range),
    }
}

fn read_arguments(arguments: &[String]) -> Result<(Range<u64>, Keep), String> {
    let mut range = DEFAULT_RANGE;
    let mut keep = Keep::Recent;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--trace" => keep = Keep::All,
            "--seeds" => {
                let text = words.next().map_or("", String::as_str);
                range = read_range(text)
                    .ok_or_else(|| format!("`{text}` is no range of seeds, as in `0..200`"))?;
            }
            other => return Err(format!("`{other}` is no option")),
        }
    }
    Ok((range, keep))
}

fn read_range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    let range = from.parse().ok()?..to.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

fn fixed_seeds() -> impl Iterator<Item = u64> {
    let words = FIXED_SEEDS
        .lines()
        .filter_map(|line| line.split('#').next());
    words.filter_map(|word| word.trim().parse().ok())
}

fn check_seeds(range: Range<u64>) -> ExitCode {
    let seeds: BTreeSet<u64> = fixed_seeds().chain(range).collect();
    let seeds: Vec<u64> = seeds.into_iter().collect();
    let begin = Instant::now();
    match run_seeds(&seeds) {
        Ok(summary) => {
            println!("{summary}; {:.1} s", begin.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn trace_seeds(range: Range<u64>) -> ExitCode {
    for seed in range {
        let run = run_seed(seed, Keep::All);
        for line in &run.trace {
            println!("{line}");
        }
        match run.outcome {
            Ok(summary) => eprintln!(
                "seed {seed}: {summary}, fingerprint {:016x}",
                run.fingerprint
            ),
            Err(violation) => {
                eprintln!("{violation}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<(Range<u64>, Keep), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read_arguments(&words)
    }

    #[test]
    fn every_fixed_seed_is_a_number_with_a_reason() {
        assert!(fixed_seeds().count() > 0);
        assert!(FIXED_SEEDS.lines().all(|line| line.contains("# ")));
    }

    #[test]
    fn options_come_in_any_order_and_have_defaults() {
        assert_eq!(read(&[]), Ok((0..200, Keep::Recent)));
        assert_eq!(read(&["--trace", "--seeds", "7..8"]), Ok((7..8, Keep::All)));
    }

    #[test]
    fn a_bad_option_is_refused_with_its_text() {
        for words in [
            &["--seeds", "8..8"][..],
            &["--seeds", "x"],
            &["--seeds"],
            &["--fast"],
        ] {
            assert!(
                read(words).is_err_and(|error| error.contains('`')),
                "{words:?}"
            );
        }
    }
}
