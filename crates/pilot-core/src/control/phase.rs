//! The phases of a job's life, and the moves between them.

use std::fmt;

/// Where a job is in its life.
///
/// ```text
/// resuming ─► staging-out, saving-log, reporting or cleaning-up: the job of a pilot that died
///
/// accepted ─► staging-in ─► starting ─► running ─► staging-out ─► saving-log ─► reporting
///     │            │            │           │            │             ▲            │
///     └────────────┴────────────┴───────────┴── fails ───┴─────────────┘            ▼
///     └─ superseded, from anywhere without a payload ───────────────────────► cleaning-up ─► over
/// ```
///
/// A job without outputs goes from running to saving-log, one without a log straight to reporting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseName {
    /// Its pilot has died; the server is asked whether this attempt still counts.
    Resuming,
    /// The pilot has it; its directory is being made.
    Accepted,
    /// Inputs and script are on their way.
    StagingIn,
    /// The payload was asked to start.
    Starting,
    /// The payload runs, or is being ended.
    Running,
    /// Outputs are on their way.
    StagingOut,
    /// The log archive is being packed and stored.
    SavingLog,
    /// The final update is on its way.
    Reporting,
    /// What the job left on the node is being removed.
    CleaningUp,
    /// Nothing more happens.
    Over,
}

impl PhaseName {
    /// Every phase, in the order of a normal life.
    pub const ALL: [Self; 10] = [
        Self::Resuming,
        Self::Accepted,
        Self::StagingIn,
        Self::Starting,
        Self::Running,
        Self::StagingOut,
        Self::SavingLog,
        Self::Reporting,
        Self::CleaningUp,
        Self::Over,
    ];

    /// Says whether a job may go from `self` to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use PhaseName::{
            Accepted, CleaningUp, Over, Reporting, Resuming, Running, SavingLog, StagingIn,
            StagingOut, Starting,
        };
        match self {
            Resuming => matches!(next, StagingOut | SavingLog | Reporting | CleaningUp | Over),
            Accepted => matches!(next, StagingIn | SavingLog | Reporting | CleaningUp),
            StagingIn => matches!(next, Starting | SavingLog | Reporting | CleaningUp),
            Starting => matches!(next, Running | SavingLog | Reporting | CleaningUp),
            Running => matches!(next, StagingOut | SavingLog | Reporting | CleaningUp),
            StagingOut => matches!(next, SavingLog | Reporting | CleaningUp),
            SavingLog => matches!(next, Reporting | CleaningUp),
            Reporting => next == CleaningUp,
            CleaningUp => next == Over,
            Over => false,
        }
    }

    /// Says whether processes of the payload may exist.
    #[must_use]
    pub const fn has_payload(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }

    /// Returns the word for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resuming => "resuming",
            Self::Accepted => "accepted",
            Self::StagingIn => "staging-in",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::StagingOut => "staging-out",
            Self::SavingLog => "saving-log",
            Self::Reporting => "reporting",
            Self::CleaningUp => "cleaning-up",
            Self::Over => "over",
        }
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, one row a phase: where it may go.
    #[test]
    fn phases_move_exactly_like_this() {
        use PhaseName::*;
        let table: [(PhaseName, &[PhaseName]); 10] = [
            (
                Resuming,
                &[StagingOut, SavingLog, Reporting, CleaningUp, Over],
            ),
            (Accepted, &[StagingIn, SavingLog, Reporting, CleaningUp]),
            (StagingIn, &[Starting, SavingLog, Reporting, CleaningUp]),
            (Starting, &[Running, SavingLog, Reporting, CleaningUp]),
            (Running, &[StagingOut, SavingLog, Reporting, CleaningUp]),
            (StagingOut, &[SavingLog, Reporting, CleaningUp]),
            (SavingLog, &[Reporting, CleaningUp]),
            (Reporting, &[CleaningUp]),
            (CleaningUp, &[Over]),
            (Over, &[]),
        ];
        for (from, targets) in table {
            for to in PhaseName::ALL {
                assert_eq!(from.may_become(to), targets.contains(&to), "{from} to {to}");
            }
        }
    }

    #[test]
    fn no_phase_is_entered_twice() {
        for from in PhaseName::ALL {
            assert!(
                PhaseName::ALL
                    .iter()
                    .all(|to| !from.may_become(*to) || from < *to)
            );
        }
    }
}
