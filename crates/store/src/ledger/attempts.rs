//! Statements over attempts.

use ailurus_model::{AttemptNr, PandaId, TaskId, update::ReportedError};
use ailurus_server_core::ledger::AttemptRecord;

use super::{
    archive::{self, ARCHIVED_ATTEMPT},
    pulse,
};
use crate::{
    session::Session,
    sql::{
        Column::{Int, Text},
        Columns, OwnedRow, SqlError, Table, row,
    },
};

macro_rules! columns {
    () => {
        "panda_id, attempt_nr, seed, queue, node, pilot_id, status, sent, started, ended,
         payload_exit_code, pilot_error_code, pilot_error_diag, payload_error_code,
         payload_error_diag, server_error_code, server_error_diag, diagnosis, cpu_secs, rss_max,
         timing, log_surl, pilot_log, report"
    };
}

/// The columns of an attempt, in the order in which [`read_attempt`] takes them.
pub(crate) const ATTEMPT_COLUMNS: &str = columns!();

/// Attempts, with their task at the end.
pub(super) static ATTEMPT: Table = Table {
    name: "attempt",
    columns: &[
        Int("panda_id"),
        Int("attempt_nr"),
        Int("seed"),
        Text("queue"),
        Text("node"),
        Text("pilot_id"),
        Text("status"),
        Int("sent"),
        Int("started"),
        Int("ended"),
        Int("payload_exit_code"),
        Int("pilot_error_code"),
        Text("pilot_error_diag"),
        Int("payload_error_code"),
        Text("payload_error_diag"),
        Int("server_error_code"),
        Text("server_error_diag"),
        Text("diagnosis"),
        Int("cpu_secs"),
        Int("rss_max"),
        Text("timing"),
        Text("log_surl"),
        Text("pilot_log"),
        Text("report"),
        Int("task_id"),
    ],
    key: 2,
};

pub(super) fn read(
    session: &Session,
    job: PandaId,
    attempt_nr: AttemptNr,
) -> Result<Option<AttemptRecord>, SqlError> {
    let key = row![job, attempt_nr];
    let row = match session.read(&ATTEMPT, &key)? {
        None if archive::may_have(session, job)? => session.read(&ARCHIVED_ATTEMPT, &key)?,
        found => found,
    };
    row.map(|row| {
        let mut attempt = read_attempt(&mut Columns::of(&row))?;
        pulse::refresh_attempt(session, &mut attempt)?;
        Ok(attempt)
    })
    .transpose()
}

/// Reads the current attempts of jobs at once.
pub(super) fn prefetch(
    session: &Session,
    attempts: impl Iterator<Item = (PandaId, AttemptNr)>,
) -> Result<(), SqlError> {
    let keys = attempts.map(|(job, attempt_nr)| row![job, attempt_nr].to_vec());
    session.prefetch(&ATTEMPT, keys.collect())
}

/// Reads an attempt from a row of [`ATTEMPT_COLUMNS`].
pub(crate) fn read_attempt(columns: &mut Columns<'_>) -> Result<AttemptRecord, SqlError> {
    Ok(AttemptRecord {
        panda_id: columns.take()?,
        attempt_nr: columns.take()?,
        seed: columns.take()?,
        queue: columns.take()?,
        node: columns.take()?,
        pilot_id: columns.take()?,
        status: columns.take()?,
        sent: columns.take()?,
        started: columns.take()?,
        ended: columns.take()?,
        payload_exit_code: columns.take()?,
        pilot_error: reported_error(columns)?,
        payload_error: reported_error(columns)?,
        server_error: reported_error(columns)?,
        diagnosis: columns.take()?,
        cpu_secs: columns.take()?,
        rss_max: columns.take()?,
        timing: columns.take()?,
        log_surl: columns.take()?,
        pilot_log: columns.take()?,
        report: columns.take()?,
    })
}

fn reported_error(columns: &mut Columns<'_>) -> Result<Option<ReportedError>, SqlError> {
    let code: Option<i64> = columns.take()?;
    let diag: Option<String> = columns.take()?;
    Ok(code
        .zip(diag)
        .map(|(code, diag)| ReportedError { code, diag }))
}

/// Writes an attempt. What a heartbeat changes is written beside it.
pub(super) fn put(session: &Session, attempt: &AttemptRecord) -> Result<(), SqlError> {
    let key = row![attempt.panda_id, attempt.attempt_nr];
    if let Some(Some(stored)) = session.kept(&ATTEMPT, &key) {
        let mut heard = read_attempt(&mut Columns::of(&stored))?;
        pulse::copy(attempt, &mut heard);
        if heard == *attempt && attempt.ended.is_none() {
            return pulse::put_attempt(session, attempt);
        }
    }
    pulse::forget_attempt(session, attempt)?;
    if archive::may_have(session, attempt.panda_id)? {
        archive::bring_back(session, attempt.panda_id)?;
    }
    let task = super::jobs::task_of(session, attempt.panda_id)?;
    session.put(&ATTEMPT, row_of(attempt, task))
}

fn row_of(attempt: &AttemptRecord, task: Option<TaskId>) -> OwnedRow {
    let code = |error: &Option<ReportedError>| error.as_ref().map(|error| error.code);
    let diag = |error: &Option<ReportedError>| error.as_ref().map(|error| error.diag.clone());
    row![
        attempt.panda_id,
        attempt.attempt_nr,
        attempt.seed,
        attempt.queue,
        attempt.node,
        attempt.pilot_id,
        attempt.status,
        attempt.sent,
        attempt.started,
        attempt.ended,
        attempt.payload_exit_code,
        code(&attempt.pilot_error),
        diag(&attempt.pilot_error),
        code(&attempt.payload_error),
        diag(&attempt.payload_error),
        code(&attempt.server_error),
        diag(&attempt.server_error),
        attempt.diagnosis,
        attempt.cpu_secs,
        attempt.rss_max,
        attempt.timing,
        attempt.log_surl,
        attempt.pilot_log,
        attempt.report,
        task,
    ]
    .to_vec()
}
