//! What the shell must do. Each effect that starts something comes back as an input.

use ailurus_experiment::PayloadPlan;
use ailurus_model::{Job, JobRequest, JobUpdate};

use crate::{
    PilotExit,
    data::{LogPlan, ReplicaQuery, StageInPlan, StageOutPlan},
    input::{JobTicket, JournalId, UpdateNr},
    monitoring::SampleScope,
    payload::{
        debug::DebugRequest, ending::PayloadSignal, log_stream::LogStream, script::ScriptPlan,
    },
    recovery::journal::JournalStep,
    resource::slots::Allotment,
};

/// Something the shell must start now; its end comes back as an [`crate::Input`].
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Load queue and storage data: `SiteLoaded`.
    LoadSite,
    /// Look for the journals of dead pilots: `JournalsFound`.
    FindJournals,
    /// Measure memory and free space: `NodeMeasured`.
    MeasureNode,
    /// Ask the server for jobs: `JobsOffered` or `AcquireFailed`.
    AcquireJob(Box<JobRequest>),
    /// Tell the server what the worker is: `WorkerReported`.
    ReportWorker(WorkerPhase),
    /// Do something for a job.
    Job(JobTicket, JobEffect),
    /// Say this in the log; nothing comes back.
    Note(String),
    /// Remove the pilot's own directory if that is wanted, and leave with this code.
    Exit(PilotExit),
}

/// What is said of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerPhase {
    /// The pilot has started.
    Started,
    /// The pilot is about to leave.
    Finished,
}

/// Why a final update is kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// No server was reached: the next pilot in this place sends it again.
    Undelivered,
    /// The server understood and refused it: people have to look.
    Refused,
}

/// Something to do for one job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEffect {
    /// Write the job's journal before anything that follows is done; nothing comes back.
    Journal(JournalStep),
    /// From here on, this job's files are those of a journal that was found; nothing comes back.
    TakeOver(JournalId),
    /// Make the job's directory: `WorkDirReady`.
    MakeWorkDir(Box<Job>),
    /// Ask the catalogue where the inputs are: `ReplicasFound`.
    FindReplicas(ReplicaQuery),
    /// Fetch and verify the inputs: `TransfersSeen`, if there is something to say, and then
    /// `StageInEnded`.
    StageIn(StageInPlan),
    /// Get the script: `ScriptReady`.
    FetchScript(ScriptPlan),
    /// Start the payload, or a step before or after it: `PayloadStarted`, and later
    /// `PayloadEnded`.
    StartPayload(Box<PayloadPlan>, Allotment),
    /// Show the payload's output while it runs; nothing comes back.
    StreamLog(Box<LogStream>),
    /// Look at the payload for the server: `Looked`.
    Look(DebugRequest),
    /// Send a signal to all of the payload's processes; nothing comes back.
    SignalPayload(PayloadSignal),
    /// Take a sample: `Sampled`.
    TakeSample(SampleScope),
    /// Verify and store the outputs: `TransfersSeen`, if there is something to say, and then
    /// `StageOutEnded`.
    StageOut(StageOutPlan),
    /// Pack and store the log archive: `TransfersSeen`, if there is something to say, and then
    /// `LogSaved`.
    SaveLog(Box<LogPlan>),
    /// Give up transfers that are under way; nothing comes back, and what they end with is ignored.
    StopTransfers,
    /// Send an update: `UpdateAnswered` with the same number.
    SendUpdate {
        /// Which try.
        nr: UpdateNr,
        /// What to send.
        update: Box<JobUpdate>,
    },
    /// Keep a final update that could not be delivered, where people and programs find it.
    KeepUpdate(Box<JobUpdate>, KeepReason),
    /// Remove what the job left on the node, if that is wanted: `CleanedUp`.
    CleanUp,
}
