//! From a payload's end to what is reported: the one place where success is decided.

use ailurus_model::{Blame, ErrorCode, update::ReportedError};

use crate::{
    Problem,
    payload::{ending::EndReason, report::PayloadReport},
    problem::cut,
};

/// How a payload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PayloadExit {
    /// It exited with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
    /// The kernel killed a process of it, because no memory was left.
    OutOfMemory(MemoryShortage),
    /// Nobody knows: the process that watched it was killed, or no signal can end it.
    #[default]
    Unknown,
}

/// Where the memory was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryShortage {
    /// The payload had reached its own limit, which the kernel holds.
    OfPayload,
    /// The limit of the slot, or of the node, was reached.
    OfSlot,
}

impl PayloadExit {
    /// Returns the code as a shell gives it: 128 more than a signal's number, -1 if unknown.
    #[must_use]
    pub fn shell_code(self) -> i64 {
        match self {
            Self::Code(code) => code.into(),
            Self::Signal(signal) => 128 + i64::from(signal),
            Self::OutOfMemory(_) => 128 + i64::from(SIGKILL),
            Self::Unknown => -1,
        }
    }
}

/// A known error that was found in a payload's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// The catalogue's name for it.
    pub id: String,
    /// PanDA's code, where the catalogue has a better one than "failed to execute payload".
    pub code: Option<ErrorCode>,
    /// Who can do something about it.
    pub blame: Blame,
    /// The cause in one sentence.
    pub cause: String,
    /// The remedy in one sentence.
    pub remedy: String,
    /// The line in which it was found; empty if it follows from the exit code.
    pub line: String,
}

/// What a payload's end means for its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The payload's exit code, as a shell gives it.
    pub exit_code: i64,
    /// Why the job failed; none if the payload did what it should.
    pub problem: Option<Problem>,
    /// The payload's own error.
    pub payload_error: Option<ReportedError>,
}

/// SIGKILL's number.
const SIGKILL: i32 = 9;
/// SIGSEGV's number.
const SIGSEGV: i32 = 11;
/// What is said of a payload that the kernel ended.
const OWN_LIMIT: &str = "the kernel ended it at its memory limit: \
    the job must ask for more memory, or use less";
const SLOT_LIMIT: &str = "the kernel ended it because the slot or the node had no memory left";
/// What is said of a payload whose end nobody saw. One that no signal can end has a reason to be
/// ended, which is reported in place of this.
const UNSEEN_END: &str = "nobody saw how it ended: the process that watches it was killed, \
    for lack of memory perhaps";
/// Longest text of the payload's error that the server keeps, in bytes.
const PAYLOAD_DIAG_LENGTH_MAX: usize = 500;

/// Judges a payload's end.
///
/// A reason for which the pilot ended it counts first, then a known error in its output, then the
/// exit itself. A payload that named its own error in an error report has failed in any case.
#[must_use]
pub fn judge(
    exit: PayloadExit,
    reason: Option<&EndReason>,
    symptoms: &[Symptom],
    last_words: &str,
    report: &PayloadReport,
) -> Verdict {
    // Who asked for the payload's end takes what it did until then as whole.
    let exit = if reason == Some(&EndReason::KillFile) {
        PayloadExit::Code(0)
    } else {
        exit
    };
    let exit_code = exit.shell_code();
    let symptom = symptoms.first();
    let is_failed = exit != PayloadExit::Code(0) || report.is_fatal;
    let problem = reason
        .and_then(EndReason::problem)
        .or_else(|| is_failed.then(|| payload_problem(exit, symptom, last_words, report)));
    let payload_error = is_failed
        .then(|| payload_error(exit_code, symptom, report))
        .flatten();
    Verdict {
        exit_code,
        problem,
        payload_error,
    }
}

fn payload_problem(
    exit: PayloadExit,
    symptom: Option<&Symptom>,
    last_words: &str,
    report: &PayloadReport,
) -> Problem {
    if let PayloadExit::OutOfMemory(shortage) = exit {
        return match shortage {
            MemoryShortage::OfPayload => Problem::new(ErrorCode::PayloadExceedMaxMem, OWN_LIMIT),
            MemoryShortage::OfSlot => Problem::new(ErrorCode::PayloadOutOfMemory, SLOT_LIMIT),
        };
    }
    let how = match exit {
        PayloadExit::Code(code) => format!("exit code {code}"),
        PayloadExit::Signal(signal) => format!("ended by signal {signal}"),
        PayloadExit::OutOfMemory(_) | PayloadExit::Unknown => UNSEEN_END.to_owned(),
    };
    if let Some(symptom) = symptom {
        let code = symptom.code.unwrap_or(ErrorCode::PayloadExecutionFailure);
        return Problem::new(code, format!("{how}: {} {}", symptom.cause, symptom.remedy));
    }
    let code = match exit {
        PayloadExit::Signal(SIGSEGV) => ErrorCode::PayloadSigsegv,
        PayloadExit::Code(_)
        | PayloadExit::Signal(_)
        | PayloadExit::OutOfMemory(_)
        | PayloadExit::Unknown => ErrorCode::PayloadExecutionFailure,
    };
    let said = report
        .error
        .as_ref()
        .map_or(last_words, |error| error.diag.as_str());
    let detail = if said.is_empty() {
        how
    } else {
        format!("{how}: {said}")
    };
    Problem::new(code, detail)
}

fn payload_error(
    exit_code: i64,
    symptom: Option<&Symptom>,
    report: &PayloadReport,
) -> Option<ReportedError> {
    let found = symptom.map(|symptom| {
        let text = if symptom.line.is_empty() {
            &symptom.cause
        } else {
            &symptom.line
        };
        ReportedError {
            code: exit_code,
            diag: cut(text, PAYLOAD_DIAG_LENGTH_MAX).to_owned(),
        }
    });
    // The line that was found says more than a report's summary; the report's code is kept.
    match (report.error.clone(), found) {
        (Some(reported), Some(found)) if !report.is_fatal => Some(ReportedError {
            code: reported.code,
            ..found
        }),
        (Some(reported), _) => Some(reported),
        (None, found) => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truncated(code: Option<ErrorCode>) -> Symptom {
        Symptom {
            id: "root-truncated".into(),
            code,
            blame: Blame::Storage,
            cause: "The input is truncated.".into(),
            remedy: "Take another replica.".into(),
            line: "Error in <TFile::Init>: file in.root is truncated".into(),
        }
    }

    fn failed(exit: PayloadExit, symptoms: &[Symptom]) -> Verdict {
        judge(
            exit,
            None,
            symptoms,
            "last words",
            &PayloadReport::default(),
        )
    }

    fn code(verdict: &Verdict) -> Option<ErrorCode> {
        verdict.problem.as_ref().map(|problem| problem.code)
    }

    #[test]
    fn exit_code_zero_without_an_error_report_is_success() {
        let verdict = failed(PayloadExit::Code(0), &[]);
        let success = Verdict {
            exit_code: 0,
            problem: None,
            payload_error: None,
        };
        assert_eq!(verdict, success);
    }

    #[test]
    fn a_known_error_gives_cause_and_remedy_to_people_and_the_line_to_the_server() {
        let verdict = failed(PayloadExit::Code(65), &[truncated(None)]);
        assert_eq!(code(&verdict), Some(ErrorCode::PayloadExecutionFailure));
        let detail = verdict.problem.expect("failed").detail;
        assert_eq!(
            detail,
            "exit code 65: The input is truncated. Take another replica."
        );
        let error = verdict.payload_error.expect("an error");
        assert_eq!((error.code, error.diag), (65, truncated(None).line));
    }

    #[test]
    fn the_catalogues_code_is_taken_where_it_has_one() {
        let verdict = failed(
            PayloadExit::Code(1),
            &[truncated(Some(ErrorCode::BadAlloc))],
        );
        assert_eq!(code(&verdict), Some(ErrorCode::BadAlloc));
    }

    #[test]
    fn an_unknown_failure_tells_exit_and_last_words() {
        let verdict = failed(PayloadExit::Code(3), &[]);
        assert_eq!(
            verdict.problem.expect("failed").detail,
            "exit code 3: last words"
        );
        assert_eq!(verdict.payload_error, None);
    }

    #[test]
    fn a_segmentation_fault_has_its_own_code_and_a_shells_exit_code() {
        let verdict = failed(PayloadExit::Signal(SIGSEGV), &[]);
        assert_eq!(
            (code(&verdict), verdict.exit_code),
            (Some(ErrorCode::PayloadSigsegv), 139)
        );
    }

    #[test]
    fn a_kill_for_lack_of_memory_is_told_whatever_else_is_found() {
        let symptoms = [truncated(Some(ErrorCode::BadAlloc))];
        let own = failed(
            PayloadExit::OutOfMemory(MemoryShortage::OfPayload),
            &symptoms,
        );
        assert_eq!(code(&own), Some(ErrorCode::PayloadExceedMaxMem));
        assert_eq!(own.exit_code, 137);
        let slot = failed(PayloadExit::OutOfMemory(MemoryShortage::OfSlot), &symptoms);
        assert_eq!(code(&slot), Some(ErrorCode::PayloadOutOfMemory));
    }

    #[test]
    fn the_pilots_reason_counts_before_what_the_payload_says() {
        let report = PayloadReport::default();
        let exit = PayloadExit::Signal(15);
        let verdict = judge(
            exit,
            Some(&EndReason::Stop(15)),
            &[truncated(None)],
            "",
            &report,
        );
        assert_eq!(code(&verdict), Some(ErrorCode::Sigterm));
    }

    #[test]
    fn a_payload_that_ends_well_in_its_grace_period_has_still_been_ended() {
        let report = PayloadReport::default();
        let verdict = judge(
            PayloadExit::Code(0),
            Some(&EndReason::ServerKill),
            &[],
            "",
            &report,
        );
        assert_eq!(
            (code(&verdict), verdict.exit_code),
            (Some(ErrorCode::PandaKill), 0)
        );
    }

    #[test]
    fn an_error_report_fails_a_payload_that_exits_with_zero() {
        let error = ReportedError {
            code: 7,
            diag: "y".into(),
        };
        let report = PayloadReport {
            error: Some(error.clone()),
            is_fatal: true,
            ..PayloadReport::default()
        };
        let verdict = judge(PayloadExit::Code(0), None, &[], "", &report);
        assert_eq!(code(&verdict), Some(ErrorCode::PayloadExecutionFailure));
        assert_eq!(verdict.payload_error, Some(error));
    }
}
