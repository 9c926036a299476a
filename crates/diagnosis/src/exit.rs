//! What the exit code of a payload means, before anything is known of its output.
//!
//! The meanings stand in the catalogue as `exit_codes`; here is only the arithmetic that brings
//! the spellings of one end together: a shell's 128 + signal and a program's -signal.

use crate::{catalogue::Catalogue, entry::Entry};

/// Added to a signal's number in the exit code of a shell.
const SHELL_SIGNAL_BASE: i64 = 128;
/// The largest number of a signal on Linux.
const SIGNAL_MAX: i64 = 64;

impl Catalogue {
    /// Explains the exit code of a payload; a negative code is that of a signal.
    ///
    /// Returns nothing for 0, which is success, and for codes that only the program itself can
    /// explain.
    #[must_use]
    pub fn explain_exit(&self, code: i64) -> Option<&Entry> {
        self.entry_of_exit_code(shell_code(code)).or_else(|| {
            self.entry_of_exit_code(SHELL_SIGNAL_BASE)
                .filter(|_| is_signal(code))
        })
    }
}

/// Returns the code that a shell gives for the same end.
fn shell_code(code: i64) -> i64 {
    if (-SIGNAL_MAX..=-1).contains(&code) {
        SHELL_SIGNAL_BASE - code
    } else {
        code
    }
}

/// Says whether a code stands for a signal.
fn is_signal(code: i64) -> bool {
    (SHELL_SIGNAL_BASE + 1..=SHELL_SIGNAL_BASE + SIGNAL_MAX).contains(&shell_code(code))
}

#[cfg(test)]
mod tests {
    use ailurus_model::ErrorCode;

    use super::*;
    use crate::entry::Action;

    #[test]
    fn success_and_codes_of_programs_have_no_entry() {
        let catalogue = Catalogue::built_in();
        for code in [0, 7, 42, 250, 1000, i64::MAX, i64::MIN] {
            assert_eq!(catalogue.explain_exit(code), None, "{code}");
        }
    }

    #[test]
    fn both_spellings_of_a_signal_give_the_same_entry() {
        let catalogue = Catalogue::built_in();
        for signal in 1..=SIGNAL_MAX {
            let entry = catalogue.explain_exit(SHELL_SIGNAL_BASE + signal);
            assert!(entry.is_some(), "signal {signal}");
            assert_eq!(entry, catalogue.explain_exit(-signal), "signal {signal}");
        }
    }

    #[test]
    fn well_known_exit_codes_have_their_meaning() {
        let catalogue = Catalogue::built_in();
        let id = |code| catalogue.explain_exit(code).map(|entry| entry.id.as_str());
        assert_eq!(id(126), Some("exit-not-executable"));
        assert_eq!(id(127), Some("exit-command-not-found"));
        assert_eq!(id(134), Some("exit-abort"));
        assert_eq!(id(137), Some("exit-killed"));
        assert_eq!(id(139), Some("exit-segmentation-fault"));
        assert_eq!(id(143), Some("exit-terminated"));
        assert_eq!(id(-11), Some("exit-segmentation-fault"));
        assert_eq!(id(163), Some("exit-other-signal"));
    }

    #[test]
    fn a_killed_payload_gets_more_memory() {
        let catalogue = Catalogue::built_in();
        let entry = catalogue.explain_exit(137).unwrap();
        assert_eq!(entry.action, Action::MoreMemory);
        let segfault = catalogue.explain_exit(139).unwrap();
        assert_eq!(segfault.code, Some(ErrorCode::PayloadSigsegv));
    }
}
