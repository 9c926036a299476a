//! A pilot on a bench: short verbs for what happens, short words for what it does.

use std::time::Duration;

use ailurus_model::{
    ByteCount, Checksum, Command, ErrorCode, Job, JobRequest, JobStatus, JobUpdate, Moment,
    UpdateAnswer,
};

use crate::{
    Effect, Input, JobEffect, JobInput, JobTicket, PilotConfig, PilotCore, Problem,
    control::{phase::PhaseName, testing},
    data::{CatalogueFile, Medium, Replica, ReplicaQuery, StoredFile},
    input::{FoundJournals, Offer, PayloadEnd, Site, UpdateFailure, UpdateNr},
    monitoring::{FilesSample, Sample},
    payload::ending::PayloadSignal,
    recovery::{
        PayloadExit,
        journal::{JobDirectory, Journal, JournalStep},
    },
    resource::NodeFacts,
};

/// A pilot and what it wants done, with notes left out.
pub(super) struct Bench {
    pub(super) core: PilotCore,
    pub(super) now: Moment,
    wanted: Vec<Effect>,
    ticket: JobTicket,
    /// What dead pilots left.
    pub(super) found: FoundJournals,
    /// The journal of the job that was taken last.
    pub(super) journal: Option<Journal>,
    /// Whether what is done with journals is wanted too.
    pub(super) with_journal: bool,
}

impl Bench {
    pub(super) fn new(config: PilotConfig) -> Self {
        Self {
            core: PilotCore::new(config),
            now: Moment::START,
            wanted: Vec::new(),
            ticket: JobTicket::default(),
            found: FoundJournals::default(),
            journal: None,
            with_journal: false,
        }
    }

    /// A pilot that has asked for its first job.
    pub(super) fn asking(config: PilotConfig, site: Site) -> Self {
        let mut bench = Self::new(config);
        bench.give(Input::Started);
        bench.give(Input::SiteLoaded(Ok(Box::new(site))));
        bench.give(Input::NodeMeasured(roomy()));
        bench.wanted();
        bench
    }

    /// A pilot whose job has its directory, and waits for inputs (if any) and script.
    pub(super) fn staging_in(job: Job) -> Self {
        let mut bench = Self::asking(testing::config(), testing::site());
        bench.accept(job);
        bench.job(JobInput::WorkDirReady(Ok(())));
        bench
    }

    /// A pilot whose payload runs; both of its updates are answered.
    pub(super) fn running(job: Job) -> Self {
        let mut bench = Self::staging_in(job);
        bench.answer(1);
        if bench.wants(|effect| matches!(effect, JobEffect::StageIn(_))) {
            bench.job(JobInput::StageInEnded(Ok(())));
        }
        bench.job(JobInput::ScriptReady(Ok(())));
        bench.job(JobInput::PayloadStarted(Ok(())));
        bench.answer(2);
        bench.wanted();
        bench
    }

    pub(super) fn accept(&mut self, job: Job) {
        self.ticket = self.ticket.next();
        self.offer(vec![job]);
    }

    /// What is given from now on is for the first job.
    pub(super) fn expect_ticket(&mut self) {
        self.ticket = JobTicket::default().next();
    }

    pub(super) fn offer(&mut self, jobs: Vec<Job>) {
        let refused = Vec::new();
        self.give(Input::JobsOffered(Offer { jobs, refused }));
    }

    pub(super) fn no_job(&mut self) {
        self.offer(Vec::new());
    }

    pub(super) fn give(&mut self, input: Input) {
        let effects = self.core.handle(self.now, input);
        let is_looking = effects.contains(&Effect::FindJournals);
        self.keep(effects);
        if is_looking {
            let found = std::mem::take(&mut self.found);
            self.give(Input::JournalsFound(found));
        }
    }

    pub(super) fn job(&mut self, input: JobInput) {
        self.give(Input::Job(self.ticket, input));
    }

    /// Lets time pass, with every deadline on the way.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(due) = self.core.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let effects = self.core.handle_timeout(self.now);
            self.keep(effects);
        }
        self.now = end;
    }

    pub(super) fn pass_secs(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub(super) fn answer(&mut self, nr: UpdateNr) {
        let result = Ok(UpdateAnswer::default());
        self.job(JobInput::UpdateAnswered { nr, result });
    }

    pub(super) fn command(&mut self, nr: UpdateNr, command: Command) {
        let result = Ok(UpdateAnswer::with(command));
        self.job(JobInput::UpdateAnswered { nr, result });
    }

    pub(super) fn no_answer(&mut self, nr: UpdateNr) {
        let result = Err(UpdateFailure::Unreachable("connection refused".into()));
        self.job(JobInput::UpdateAnswered { nr, result });
    }

    pub(super) fn payload_exits(&mut self, exit: PayloadExit) {
        let end = PayloadEnd {
            exit,
            ..PayloadEnd::default()
        };
        self.job(JobInput::PayloadEnded(Box::new(end)));
    }

    pub(super) fn sample_files(&mut self, change: impl FnOnce(&mut FilesSample)) {
        let mut files = FilesSample {
            free_space: ByteCount::from_gib(100),
            ..FilesSample::default()
        };
        change(&mut files);
        let sample = Sample {
            files: Some(files),
            ..Sample::default()
        };
        self.job(JobInput::Sampled(Box::new(sample)));
    }

    fn keep(&mut self, effects: Vec<Effect>) {
        for effect in &effects {
            if let Effect::Job(_, JobEffect::Journal(step)) = effect {
                self.write_journal(step);
            }
        }
        let with_journal = self.with_journal;
        let is_journal = |effect: &Effect| matches!(effect, Effect::Job(_, JobEffect::Journal(_)));
        let told = effects.into_iter().filter(|effect| {
            !matches!(effect, Effect::Note(_) | Effect::FindJournals)
                && (with_journal || !is_journal(effect))
        });
        self.wanted.extend(told);
    }

    fn write_journal(&mut self, step: &JournalStep) {
        match step {
            JournalStep::Open(opening) => {
                self.journal = Some(Journal {
                    opening: opening.clone(),
                    last: None,
                    directory: JobDirectory::Made,
                });
            }
            JournalStep::Append(snapshot) => {
                if let Some(journal) = &mut self.journal {
                    journal.last = Some(snapshot.clone());
                }
            }
            JournalStep::Remove | JournalStep::Leave => {}
        }
    }

    /// Takes what the pilot wanted done since the last call.
    pub(super) fn wanted(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.wanted)
    }

    /// Takes the same in short words, and so checks that nothing else was wanted.
    pub(super) fn words(&mut self) -> Vec<String> {
        self.wanted().iter().map(word).collect()
    }

    /// Says whether something is wanted, without taking it.
    pub(super) fn wants(&self, what: impl Fn(&JobEffect) -> bool) -> bool {
        let is_it = |effect: &Effect| matches!(effect, Effect::Job(_, effect) if what(effect));
        self.wanted.iter().any(is_it)
    }

    /// Takes what was wanted and returns the last update in it.
    pub(super) fn update(&mut self) -> JobUpdate {
        let updates = self.wanted().into_iter().rev().filter_map(|effect| {
            if let Effect::Job(_, JobEffect::SendUpdate { update, .. }) = effect {
                return Some(*update);
            }
            None
        });
        let last = updates.into_iter().next();
        last.expect("an update was wanted")
    }

    /// Takes what was wanted and returns the job request in it.
    pub(super) fn request(&mut self) -> JobRequest {
        let mut wanted = self.wanted().into_iter();
        let request = wanted.find_map(|effect| {
            if let Effect::AcquireJob(request) = effect {
                return Some(request);
            }
            None
        });
        *request.expect("a job was asked for")
    }

    pub(super) fn phase(&self) -> Option<PhaseName> {
        self.core.jobs().next().map(|(_, _, phase)| phase)
    }
}

pub(super) fn roomy() -> NodeFacts {
    NodeFacts {
        memory: ByteCount::from_gib(8),
        free_space: ByteCount::from_gib(100),
        cores: 4,
        gpus: 0,
        proxy_left: None,
        slot_left: None,
        missing_software: None,
    }
}

/// A catalogue that has every file that it is asked for, on `EP`.
pub(super) fn found(query: &ReplicaQuery) -> Vec<CatalogueFile> {
    let file = |(scope, lfn): &(ailurus_model::Scope, ailurus_model::Lfn)| CatalogueFile {
        scope: scope.clone(),
        lfn: lfn.clone(),
        size: Some(ByteCount::from_bytes(10)),
        checksums: vec![Checksum::Adler32(1)],
        replicas: vec![Replica {
            endpoint: ailurus_model::EndpointName::new("EP"),
            url: format!("root://ep//{lfn}"),
            priority: 1,
            medium: Medium::Disk,
        }],
    };
    query.files.iter().map(file).collect()
}

pub(super) fn stored() -> Result<StoredFile, Problem> {
    let checksum = Checksum::Adler32(0x05a5_01a5);
    Ok(StoredFile::new(ByteCount::from_bytes(5), checksum))
}

pub(super) fn problem<T>(code: ErrorCode) -> Result<T, Problem> {
    Err(Problem::new(code, "as a test"))
}

/// The code that an update reports.
pub(super) fn code(update: &JobUpdate) -> i64 {
    update.pilot_error.as_ref().map_or(0, |error| error.code)
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::LoadSite => "load-site".into(),
        Effect::FindJournals => "find-journals".into(),
        Effect::MeasureNode => "measure".into(),
        Effect::AcquireJob(_) => "ask".into(),
        Effect::ReportWorker(phase) => format!("worker {phase:?}"),
        Effect::Note(text) => format!("note {text}"),
        Effect::Exit(exit) => format!("exit {}", exit.code()),
        Effect::Job(_, effect) => job_word(effect),
    }
}

fn job_word(effect: &JobEffect) -> String {
    match effect {
        JobEffect::Journal(JournalStep::Open(_)) => "journal open".into(),
        JobEffect::Journal(JournalStep::Append(_)) => "journal".into(),
        JobEffect::Journal(JournalStep::Remove) => "journal remove".into(),
        JobEffect::Journal(JournalStep::Leave) => "journal leave".into(),
        JobEffect::TakeOver(_) => "take-over".into(),
        JobEffect::MakeWorkDir(_) => "make-dir".into(),
        JobEffect::FindReplicas(_) => "find-replicas".into(),
        JobEffect::StageIn(_) => "stage-in".into(),
        JobEffect::FetchScript(_) => "script".into(),
        JobEffect::StartPayload(..) => "start".into(),
        JobEffect::Look(_) => "look".into(),
        JobEffect::StreamLog(_) => "stream".into(),
        JobEffect::SignalPayload(PayloadSignal::Terminate) => "term".into(),
        JobEffect::SignalPayload(PayloadSignal::Kill) => "kill".into(),
        JobEffect::TakeSample(scope) => format!("sample {scope:?}"),
        JobEffect::StageOut(_) => "stage-out".into(),
        JobEffect::SaveLog(_) => "save-log".into(),
        JobEffect::StopTransfers => "stop-transfers".into(),
        JobEffect::SendUpdate { nr, update } => {
            let status: JobStatus = update.status;
            format!("update {nr} {status}")
        }
        JobEffect::KeepUpdate(..) => "keep-update".into(),
        JobEffect::CleanUp => "clean-up".into(),
    }
}
