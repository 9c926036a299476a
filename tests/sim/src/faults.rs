//! What goes wrong, how often, and until when.

use std::{collections::BTreeMap, fmt};

use ailurus_model::Moment;

use crate::chance::Chance;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $worst:literal;)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// How often it happens in the worst of worlds, in a thousand cases.
            const fn worst_per_mille(self) -> u32 {
                match self { $(Self::$name => $worst),* }
            }
        }
    };
}

faults! {
    /// A request never reaches the server.
    RequestLost = "requests lost", 200;
    /// The server acts, and its answer is lost.
    AnswerLost = "answers lost", 200;
    /// The server gets a request twice.
    RequestDoubled = "requests doubled", 200;
    /// A request reaches the server after the client gave up.
    RequestLate = "requests late", 150;
    /// The server dies, and starts again some time later.
    ServerCrash = "server crashes", 400;
    /// Harvester dies in the middle of its effects, and starts again some time later.
    HarvesterCrash = "harvester crashes", 15;
    /// Harvester's database does not take a row.
    RecordFailed = "records failed", 100;
    /// A worker node disappears with all that is on it.
    NodeVanishes = "nodes vanished", 250;
    /// A pilot is killed in the middle of its effects; what it wrote down stays on the node.
    PilotKilled = "pilots killed", 15;
    /// The batch system ends a worker: a signal, and soon after the end.
    Preempted = "workers preempted", 150;
    /// The batch system refuses a worker.
    SubmissionRefused = "submissions refused", 200;
    /// The batch system takes a worker, and its answer is lost.
    SubmissionSilent = "submissions taken silently", 200;
    /// A submission gets lost on its way, and nobody can tell.
    SubmissionLost = "submissions lost", 200;
    /// A query of the batch system fails.
    QueryFailed = "queries failed", 300;
    /// The batch system leaves a worker out of its answers for a while.
    WorkerForgotten = "workers forgotten", 100;
    /// The pilot cannot read queue and storage data.
    SiteDataMissing = "site data missing", 50;
    /// An input cannot be had.
    StageInFailed = "stage-ins failed", 150;
    /// An output cannot be stored.
    StageOutFailed = "stage-outs failed", 150;
    /// A transfer takes very long.
    TransferSlow = "transfers slow", 100;
    /// The payload exits with an error that the catalogue knows.
    PayloadFails = "payloads failed", 200;
    /// The payload does nothing, for ever.
    PayloadLoops = "payloads looping", 80;
    /// The payload takes more memory than allowed.
    PayloadGrows = "payloads growing", 80;
    /// The payload is ended by a signal.
    PayloadSignalled = "payloads signalled", 80;
    /// The payload says that it did well, but an output is missing.
    OutputMissing = "outputs missing", 80;
    /// A pilot says that a job finished and leaves an output out.
    ReportIncomplete = "reports incomplete", 30;
    /// The payload cannot be started.
    PayloadUnstartable = "payloads not started", 50;
    /// A person kills a job.
    JobKilled = "jobs killed", 300;
    /// A person kills a task.
    TaskKilled = "tasks killed", 100;
    /// A person retries a task that ended.
    TaskRetried = "tasks retried", 300;
    /// An operator cancels all workers, and starts Harvester again some time later.
    WorkersCancelled = "cancellations of all workers", 30;
    /// A program sends the last final update of a pilot again, much later.
    FinalRepeated = "final updates repeated", 300;
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often each fault struck.
pub type FaultCounts = BTreeMap<Fault, u64>;

/// The faults of one run.
#[derive(Debug)]
pub(crate) struct Faults {
    per_mille: BTreeMap<Fault, u32>,
    counts: FaultCounts,
    /// From then on nothing goes wrong.
    end: Moment,
}

impl Faults {
    /// Draws how bad this world is: some are nearly without faults, some terrible.
    pub(crate) fn draw(chance: &mut Chance, end: Moment) -> Self {
        let severity = *chance.one_of(&[0, 5, 20, 40, 70, 100, 100, 150]);
        let mut per_mille = BTreeMap::new();
        for fault in Fault::ALL {
            // A third of the kinds is left out, so that the others are seen without them too.
            let is_present = !chance.says_yes(333);
            let rate = chance.count(0, fault.worst_per_mille()) * severity / 100;
            per_mille.insert(*fault, if is_present { rate } else { 0 });
        }
        Self {
            per_mille,
            counts: BTreeMap::new(),
            end,
        }
    }

    /// Makes a world in which nothing goes wrong.
    #[cfg(test)]
    pub(crate) const fn none() -> Self {
        Self {
            per_mille: BTreeMap::new(),
            counts: BTreeMap::new(),
            end: Moment::START,
        }
    }

    /// Draws whether a fault strikes, and counts it.
    pub(crate) fn strikes(&mut self, fault: Fault, now: Moment, chance: &mut Chance) -> bool {
        let rate = self.per_mille.get(&fault).copied().unwrap_or(0);
        let strikes = now < self.end && chance.says_yes(rate);
        if strikes {
            *self.counts.entry(fault).or_default() += 1;
        }
        strikes
    }

    /// From then on nothing goes wrong.
    pub(crate) const fn end(&self) -> Moment {
        self.end
    }

    pub(crate) const fn counts(&self) -> &FaultCounts {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_strikes_once_the_faults_have_stopped() {
        let end = Moment::from_millis(1000);
        let mut struck = 0;
        for seed in 0..50 {
            let mut chance = Chance::new(seed);
            let mut faults = Faults::draw(&mut chance, end);
            for fault in Fault::ALL {
                struck += u32::from(faults.strikes(*fault, Moment::START, &mut chance));
                assert!(!faults.strikes(*fault, end, &mut chance));
            }
        }
        assert!(struck > 0);
    }
}
