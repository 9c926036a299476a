//! What a copy program's end means: by its description, then by the error catalogue.

use ailurus_diagnosis as diagnosis;
use ailurus_model::ErrorCode;
use ailurus_process::{CommandEnd, StreamEnd};

use crate::{Cause, Direction};

use super::{CommandTool, description::Meaning, place::RemotePlace};

/// What a shell says with its exit code if it does not find a program.
const EXIT_NOT_FOUND: i32 = 127;

/// Most characters of a program's last words that are told on.
const SAID_MAX: usize = 400;

/// How Rucio begins what it has to say.
const DETAILS: &str = "Details: ";

/// Why a program failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// As every error.
    Cause(Cause),
    /// The storage has no checksums to tell.
    NoChecksum,
}

impl CommandTool {
    /// Judges how a program ended.
    pub(super) fn judge(
        &self,
        program: &str,
        direction: Direction,
        place: &RemotePlace,
        end: &StreamEnd,
    ) -> Result<(), Failure> {
        let exit_code = match end.end {
            CommandEnd::Exited(0) => return Ok(()),
            CommandEnd::Exited(EXIT_NOT_FOUND) if !self.setup.is_empty() => {
                let program = program.to_owned();
                return Err(Failure::Cause(Cause::ToolMissing { program }));
            }
            CommandEnd::Exited(code) => Some(code),
            CommandEnd::Signalled(_) => None,
        };
        let output = place.without_secrets(&text_of(end));
        tracing::debug!(program, ?end.end, output, "a copy program failed");
        let said = match end.end {
            CommandEnd::Exited(code) => {
                last_words(&output).unwrap_or_else(|| format!("exit code {code}, without a word"))
            }
            CommandEnd::Signalled(signal) => format!("ended by signal {signal}"),
        };
        let failed = |code| {
            Failure::Cause(Cause::ToolFailed {
                program: program.to_owned(),
                code,
                said: said.clone(),
            })
        };
        for rule in &self.description.error {
            let fits_code = rule.exit_code.is_none_or(|code| Some(code) == exit_code);
            let fits_text = rule.text.as_ref().is_none_or(|text| output.contains(text));
            if !fits_code || !fits_text {
                continue;
            }
            if let Some(meaning) = rule.means {
                return Err(of_meaning(meaning, direction, said.clone(), failed));
            }
            let code = match direction {
                Direction::StageIn => rule.code,
                Direction::StageOut => rule.stage_out_code.or(rule.code),
            };
            return Err(failed(code.unwrap_or_else(|| general(direction))));
        }
        let known = match direction {
            Direction::StageIn => diagnosis::Direction::StageIn,
            Direction::StageOut => diagnosis::Direction::StageOut,
        };
        let found = self.catalogue.classify_transfer(known, output.as_bytes());
        let code = found.map_or_else(|| general(direction), |(_, code)| code);
        Err(match meaning_of(code) {
            Some(meaning) => of_meaning(meaning, direction, said.clone(), failed),
            None => failed(code),
        })
    }
}

/// Returns what a code of the catalogue says to those who choose the next step.
fn meaning_of(code: ErrorCode) -> Option<Meaning> {
    use ErrorCode as E;
    [
        (E::MissingInputFile, Meaning::Missing),
        (E::NoLocalSpace, Meaning::NoSpace),
        (E::NoRemoteSpace, Meaning::NoSpace),
        (E::StageInAuthenticationFailure, Meaning::Denied),
        (E::StageOutAuthenticationFailure, Meaning::Denied),
        (E::UnreachableNetwork, Meaning::Unreachable),
        (E::ServiceNotAvailable, Meaning::Busy),
        (E::ChecksumNotSupported, Meaning::NoChecksum),
    ]
    .into_iter()
    .find_map(|(known, meaning)| (known == code).then_some(meaning))
}

fn of_meaning(
    meaning: Meaning,
    direction: Direction,
    why: String,
    failed: impl Fn(ErrorCode) -> Failure,
) -> Failure {
    Failure::Cause(match (meaning, direction) {
        (Meaning::Missing, Direction::StageIn) => Cause::Missing,
        // The output is there; its directory in the storage is not.
        (Meaning::Missing, Direction::StageOut) => return failed(ErrorCode::NoSuchFile),
        (Meaning::NoSpace, _) => Cause::NoSpace,
        (Meaning::Denied, _) => Cause::Denied { why },
        (Meaning::Unreachable, _) => Cause::Unreachable { why },
        (Meaning::Broken, _) => Cause::Broken { why },
        (Meaning::Busy, _) => Cause::Busy {
            why,
            retry_after: None,
        },
        (Meaning::Refused, _) => Cause::Refused { why },
        (Meaning::NoChecksum, _) => return Failure::NoChecksum,
    })
}

fn general(direction: Direction) -> ErrorCode {
    match direction {
        Direction::StageIn => ErrorCode::StageInFailed,
        Direction::StageOut => ErrorCode::StageOutFailed,
    }
}

fn text_of(end: &StreamEnd) -> String {
    let (said, complained) = (&end.stdout, &end.stderr);
    let both = [said.as_slice(), b"\n", complained.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Returns the end of a text in one line, or what Rucio marks as the reason.
fn last_words(output: &str) -> Option<String> {
    if let Some((_, details)) = output.rsplit_once(DETAILS) {
        let line = details.lines().next().unwrap_or_default().trim();
        if !line.is_empty() {
            return Some(line.chars().take(SAID_MAX).collect());
        }
    }
    let lines = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join("; ");
    let surplus = text.chars().count().saturating_sub(SAID_MAX);
    let last: String = text.chars().skip(surplus).collect();
    (!last.is_empty()).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_told_in_one_line() {
        assert_eq!(last_words("\n  \n"), None);
        assert_eq!(last_words("a\n\n b \n").as_deref(), Some("a; b"));
        let long = format!("{}end", "x".repeat(2 * SAID_MAX));
        let last = last_words(&long).expect("words");
        assert!(last.len() == SAID_MAX && last.ends_with("xend"));
        let rucio = "ERROR x\nDetails: no such rse\nTraceback";
        assert_eq!(last_words(rucio).as_deref(), Some("no such rse"));
    }
}
