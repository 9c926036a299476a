//! What heartbeats change: one narrow row for each job that a pilot has.
//!
//! A heartbeat says that the pilot lives and what the payload uses. Were that written into the
//! wide rows of job and attempt, each would cost several pages and an index. So it goes to a
//! table of its own, and whoever reads a job or an attempt sees both together. The row goes when
//! something else of its attempt changes.

use ailurus_model::{AttemptNr, ByteCount, JobStatus, PandaId, Timestamp};
use ailurus_server_core::ledger::{AttemptRecord, JobRecord};

use crate::{
    session::Session,
    sql::{
        Column::{Int, Text},
        Columns, SqlError, Table, row,
    },
};

static PULSE: Table = Table {
    name: "pulse",
    columns: &[
        Int("panda_id"),
        Int("heard"),
        Int("attempt_nr"),
        Int("cpu_secs"),
        Int("rss_max"),
        Text("report"),
    ],
    key: 1,
};

/// Says whether somebody is to be heard of a job in this status.
pub(super) const fn is_out(status: JobStatus) -> bool {
    match status {
        JobStatus::Sent
        | JobStatus::Starting
        | JobStatus::Running
        | JobStatus::Holding
        | JobStatus::Transferring
        | JobStatus::Merging => true,
        JobStatus::Pending
        | JobStatus::Defined
        | JobStatus::Assigned
        | JobStatus::Activated
        | JobStatus::Finished
        | JobStatus::Failed
        | JobStatus::Cancelled
        | JobStatus::Closed => false,
    }
}

/// What was heard of a job last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pulse {
    /// When.
    heard: Timestamp,
    /// What was said, and of which attempt; none if only the time is known.
    attempt: Option<Use>,
}

/// What the attempt of a job uses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    attempt_nr: AttemptNr,
    cpu_secs: Option<u64>,
    rss_max: Option<ByteCount>,
    report: String,
}

fn read(session: &Session, job: PandaId) -> Result<Option<Pulse>, SqlError> {
    let Some(row) = session.read(&PULSE, &row![job])? else {
        return Ok(None);
    };
    let mut columns = Columns::of(&row);
    columns.take::<PandaId>()?;
    let heard = columns.take()?;
    let attempt_nr: Option<AttemptNr> = columns.take()?;
    let attempt = attempt_nr
        .map(|attempt_nr| {
            Ok::<_, SqlError>(Use {
                attempt_nr,
                cpu_secs: columns.take()?,
                rss_max: columns.take()?,
                report: columns.take()?,
            })
        })
        .transpose()?;
    Ok(Some(Pulse { heard, attempt }))
}

fn put(session: &Session, job: PandaId, pulse: &Pulse) -> Result<(), SqlError> {
    let used = pulse.attempt.as_ref();
    session.put(
        &PULSE,
        row![
            job,
            pulse.heard,
            used.map(|used| used.attempt_nr),
            used.and_then(|used| used.cpu_secs),
            used.and_then(|used| used.rss_max),
            used.map_or("", |used| &used.report),
        ],
    )
}

/// Reads what was heard of many jobs at once.
pub(super) fn prefetch(
    session: &Session,
    jobs: impl Iterator<Item = PandaId>,
) -> Result<(), SqlError> {
    session.prefetch(&PULSE, jobs.map(|job| row![job].to_vec()).collect())
}

/// Notes that nothing was heard of a job: no pilot has it, so it has no row here.
pub(super) fn expect_none(session: &Session, job: PandaId) {
    session.learn_absent(&PULSE, row![job].to_vec());
}

/// Completes a job with what was heard of it.
pub(crate) fn refresh_job(session: &Session, job: &mut JobRecord) -> Result<(), SqlError> {
    if is_out(job.status)
        && let Some(pulse) = read(session, job.panda_id)?
    {
        job.modified = job.modified.max(pulse.heard);
    }
    Ok(())
}

/// Completes an attempt with what was heard of it.
pub(crate) fn refresh_attempt(
    session: &Session,
    attempt: &mut AttemptRecord,
) -> Result<(), SqlError> {
    if attempt.ended.is_some() {
        return Ok(());
    }
    let used = read(session, attempt.panda_id)?.and_then(|pulse| pulse.attempt);
    if let Some(used) = used.filter(|used| used.attempt_nr == attempt.attempt_nr) {
        attempt.cpu_secs = used.cpu_secs;
        attempt.rss_max = used.rss_max;
        attempt.report = used.report;
    }
    Ok(())
}

/// Copies what heartbeats change from one state of an attempt to another.
pub(super) fn copy(from: &AttemptRecord, to: &mut AttemptRecord) {
    to.cpu_secs = from.cpu_secs;
    to.rss_max = from.rss_max;
    to.report.clone_from(&from.report);
}

/// Returns when a job was heard of, if that was noted here.
pub(super) fn heard(session: &Session, job: PandaId) -> Result<Option<Timestamp>, SqlError> {
    Ok(read(session, job)?.map(|pulse| pulse.heard))
}

/// Notes when a job was heard of.
pub(super) fn put_heard(session: &Session, job: PandaId, heard: Timestamp) -> Result<(), SqlError> {
    let attempt = read(session, job)?.and_then(|pulse| pulse.attempt);
    put(session, job, &Pulse { heard, attempt })
}

/// Notes what an attempt uses.
pub(super) fn put_attempt(session: &Session, attempt: &AttemptRecord) -> Result<(), SqlError> {
    let before = read(session, attempt.panda_id)?;
    let used = Use {
        attempt_nr: attempt.attempt_nr,
        cpu_secs: attempt.cpu_secs,
        rss_max: attempt.rss_max,
        report: attempt.report.clone(),
    };
    let pulse = Pulse {
        heard: before.map_or(Timestamp::from_millis(0), |pulse| pulse.heard),
        attempt: Some(used),
    };
    put(session, attempt.panda_id, &pulse)
}

/// Forgets what an attempt used, because its own row says it now.
pub(super) fn forget_attempt(session: &Session, attempt: &AttemptRecord) -> Result<(), SqlError> {
    match read(session, attempt.panda_id)? {
        Some(Pulse {
            heard,
            attempt: Some(_),
        }) => {
            let pulse = Pulse {
                heard,
                attempt: None,
            };
            put(session, attempt.panda_id, &pulse)
        }
        Some(Pulse { attempt: None, .. }) | None => Ok(()),
    }
}

/// Forgets a job that no pilot has any more.
pub(super) fn forget_job(session: &Session, job: PandaId) -> Result<(), SqlError> {
    match read(session, job)? {
        Some(_) => session.delete(&PULSE, &row![job]),
        None => Ok(()),
    }
}
