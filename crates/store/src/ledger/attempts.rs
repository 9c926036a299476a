//! Statements over attempts.

use ailurus_model::{AttemptNr, PandaId, update::ReportedError};
use ailurus_server_core::ledger::AttemptRecord;

use crate::sql::{Columns, Sql, SqlError, params};

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

pub(super) fn read(
    sql: &dyn Sql,
    job: PandaId,
    attempt_nr: AttemptNr,
) -> Result<Option<AttemptRecord>, SqlError> {
    sql.first(
        concat!(
            "SELECT ",
            columns!(),
            " FROM attempt WHERE panda_id = ?1 AND attempt_nr = ?2"
        ),
        params![job, attempt_nr],
        read_attempt,
    )
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

pub(super) fn put(sql: &dyn Sql, attempt: &AttemptRecord) -> Result<(), SqlError> {
    let code = |error: &Option<ReportedError>| error.as_ref().map(|error| error.code);
    let diag = |error: &Option<ReportedError>| error.as_ref().map(|error| error.diag.clone());
    sql.execute(
        concat!(
            "INSERT INTO attempt (",
            columns!(),
            ", task_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19, ?20, ?21, ?22, ?23, ?24,
                     (SELECT task_id FROM job WHERE panda_id = ?1))
             ON CONFLICT (panda_id, attempt_nr) DO UPDATE SET
                 seed = ?3, queue = ?4, node = ?5, pilot_id = ?6, status = ?7, sent = ?8,
                 started = ?9, ended = ?10, payload_exit_code = ?11,
                 pilot_error_code = ?12, pilot_error_diag = ?13,
                 payload_error_code = ?14, payload_error_diag = ?15,
                 server_error_code = ?16, server_error_diag = ?17,
                 diagnosis = ?18, cpu_secs = ?19, rss_max = ?20, timing = ?21, log_surl = ?22,
                 pilot_log = ?23, report = ?24"
        ),
        params![
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
        ],
    )
    .map(drop)
}
