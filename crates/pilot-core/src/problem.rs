//! One thing that went wrong, as a core and its shell speak of it.

use std::fmt;

use ailurus_model::{ErrorCode, update::ReportedError};
use serde::{Deserialize, Serialize};

/// Longest text of an error that the server keeps, in bytes.
const DIAG_LENGTH_MAX: usize = 500;

/// One thing that went wrong: PanDA's code and what happened here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// PanDA's code.
    pub code: ErrorCode,
    /// What happened, with names and values; may be empty.
    pub detail: String,
}

impl Problem {
    /// Makes a problem.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }

    /// Returns the problem as it is reported: number, standard message and detail.
    #[must_use]
    pub fn report(&self) -> ReportedError {
        ReportedError {
            code: i64::from(self.code.number()),
            diag: cut(&self.code.diagnostics(&self.detail), DIAG_LENGTH_MAX).to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.code.diagnostics(&self.detail);
        write!(f, "{}: {text}", self.code.number())
    }
}

/// Cuts a text to at most `length_max` bytes, at a character's border.
#[must_use]
pub fn cut(text: &str, length_max: usize) -> &str {
    &text[..text.floor_char_boundary(length_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_number_message_and_detail() {
        let report = Problem::new(ErrorCode::Mkdir, "`/x`").report();
        assert_eq!(
            (report.code, report.diag.as_str()),
            (1199, "Failed to create directory: `/x`")
        );
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let report = Problem::new(ErrorCode::Mkdir, "ü".repeat(400)).report();
        assert!(report.diag.len() <= DIAG_LENGTH_MAX && report.diag.ends_with('ü'));
    }
}
