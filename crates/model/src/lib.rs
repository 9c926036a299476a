//! The words that all of Ailurus shares: identifiers, statuses, units, jobs, files, queues,
//! tasks, workers and the registry of error codes.
//!
//! Types only. Nothing here reads a clock, a file or the network, and nothing knows how PanDA
//! spells a field on the wire: that is the business of the `wire` crate.

pub mod caller;
pub mod error_code;
pub mod event;
pub mod file;
pub mod id;
pub mod job;
pub mod job_form;
pub mod job_options;
pub mod job_tags;
pub mod queue;
pub mod queue_terms;
pub mod status;
pub mod storage;
pub mod task;
pub mod time;
pub mod units;
pub mod update;
pub mod usage;
pub mod worker;

pub use caller::{Caller, Proof, Rights};
pub use error_code::{Blame, ErrorCode, Retry};
pub use event::{EventArchive, EventItem, EventMessage, EventRangeId, EventReport, GivenRange};
pub use file::{Checksum, FileReport, InputFile, OutputFile};
pub use id::{
    AttemptNr, BatchId, ChainName, ChangeId, DatasetName, EndpointName, FileId, Guid, HarvesterId,
    Lfn, NodeName, PandaId, PilotId, QueueName, Scope, Seed, TaskId, WorkerId, WorkflowId,
};
pub use job::{Job, JobRequest, RequestDetails, SourceLabel};
pub use job_form::{Attributes, FormValue, JobForm};
pub use job_options::{
    AlternativeStageOut, ContainerOptions, JobCloning, JobOptions, JobStep, SecretText,
};
pub use job_tags::JobTags;
pub use queue::{Queue, QueueOptions};
pub use queue_terms::{Hardware, QueueTerms};
pub use status::{
    EventStatus, FileStatus, JobKind, JobStatus, StepStatus, TaskStatus, WorkerStatus,
    WorkflowStatus,
};
pub use storage::{StorageEndpoint, StorageKeys, StorageOptions, StorageProtocol};
pub use task::TaskSpec;
pub use time::{Moment, Timestamp};
pub use units::ByteCount;
pub use update::{Command, JobUpdate, UpdateAnswer};
pub use usage::UsageSummary;
pub use worker::{Worker, WorkerDetail, WorkerSync};
