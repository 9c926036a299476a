//! The invariants by number and name, and what is said when one does not hold.

use std::fmt;

use ailurus_model::Moment;

macro_rules! invariants {
    ($($name:ident = $text:literal;)*) => {
        /// What must hold. The numbers are those of `ARCHITECTURE.md` and of `server-core`'s
        /// `invariants`; those from R1 on are the simulator's own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Invariant {
            $(#[doc = $text] $name,)*
        }

        impl Invariant {
            /// Returns the sentence that must be true.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// Finds an invariant by its number.
            pub(crate) fn of_number(number: &str) -> Option<Self> {
                match number {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

invariants! {
    J1 = "at most one attempt of a job can finish it";
    J2 = "a terminal job never changes";
    J3 = "every acquired job becomes terminal within its limit";
    J4 = "counters equal the rows they count";
    J5 = "an update with an old attempt number changes nothing";
    J6 = "a job that a pilot has is the attempt that was sent last";
    J7 = "the history of a job leads from its making to what it is";
    T1 = "jobs of a task of PanDA are different parts of its work, under different names";
    T2 = "a task of PanDA that has ended is over";
    E1 = "a range of events that somebody has is of the attempt that its job is in";
    E2 = "when a job has ended, so have its ranges of events";
    E3 = "a range of events that is done stays done";
    G1 = "a step of a workflow gets one task in each round";
    G2 = "a step of a workflow begins when what it reads is there";
    G3 = "a workflow that has ended has no step that has not";
    S1 = "a task hands out each seed once, also after a retry";
    P1 = "no payload outlives its pilot";
    P2 = "resources in use never exceed the node's";
    P3 = "an output is registered at most once, and only with size and checksum";
    P4 = "a pilot that cannot reach the server ends its payload within the stated time";
    F1 = "workers per queue stay within their limits";
    F2 = "a submission of unknown fate counts as existing until proven gone";
    R1 = "the server's rows never contradict each other";
    C1 = "no core panics";
    K1 = "a job that a person killed while it was alive ends cancelled";
    D1 = "in the end an input is ready exactly if its file is, and no job is closed for nothing";
    L1 = "once faults stop, every task, pilot and worker ends";
    L2 = "without faults, every job finishes";
    W1 = "what one of our programs writes, the others can read and do not refuse";
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.sentence())
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
    /// The seed of the run.
    pub seed: u64,
    /// When it was seen, in virtual time.
    pub at: Moment,
    /// What happened last.
    pub recent: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            detail,
            seed,
            at,
            recent,
        } = self;
        writeln!(f, "violation of {invariant}")?;
        writeln!(f, "  {detail}")?;
        writeln!(
            f,
            "  seed {seed}, virtual time {at} s; the last of what happened:"
        )?;
        for line in recent {
            writeln!(f, "    {line}")?;
        }
        let next = seed.saturating_add(1);
        write!(
            f,
            "  replay: cargo xtask sim --seeds {seed}..{next} --trace"
        )
    }
}

impl std::error::Error for Violation {}
