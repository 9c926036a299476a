//! Statements over attempts.

use ailurus_model::{AttemptNr, ByteCount, PandaId, Seed, update::ReportedError};
use ailurus_server_core::ledger::AttemptRecord;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::row::{Columns, bytes, int};

macro_rules! columns {
    () => {
        "panda_id, attempt_nr, seed, queue, node, pilot_id, status, sent, started, ended,
         payload_exit_code, pilot_error_code, pilot_error_diag, payload_error_code,
         payload_error_diag, server_error_code, server_error_diag, diagnosis, cpu_secs, rss_max,
         timing, log_surl, pilot_log"
    };
}

/// The columns of an attempt, in the order in which [`read_attempt`] takes them.
pub(crate) const ATTEMPT_COLUMNS: &str = columns!();

pub(super) fn read(
    connection: &Connection,
    job: PandaId,
    attempt_nr: AttemptNr,
) -> rusqlite::Result<Option<AttemptRecord>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM attempt WHERE panda_id = ? AND attempt_nr = ?"
        ))?
        .query_row(params![int(job.value()), attempt_nr.value()], read_attempt)
        .optional()
}

/// Reads an attempt from a row of [`ATTEMPT_COLUMNS`].
pub(crate) fn read_attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRecord> {
    let mut columns = Columns::of(row);
    Ok(AttemptRecord {
        panda_id: columns.u64().map(PandaId::new)?,
        attempt_nr: columns.take().map(AttemptNr::new)?,
        seed: columns.u64().map(Seed::new)?,
        queue: columns.parsed()?,
        node: columns.parsed()?,
        pilot_id: columns.take()?,
        status: columns.parsed()?,
        sent: columns.time()?,
        started: columns.optional_time()?,
        ended: columns.optional_time()?,
        payload_exit_code: columns.take()?,
        pilot_error: reported_error(&mut columns)?,
        payload_error: reported_error(&mut columns)?,
        server_error: reported_error(&mut columns)?,
        diagnosis: columns.take()?,
        cpu_secs: columns.optional_u64()?,
        rss_max: columns.optional_u64()?.map(ByteCount::from_bytes),
        timing: columns.take()?,
        log_surl: columns.take()?,
        pilot_log: columns.take()?,
    })
}

fn reported_error(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Option<ReportedError>> {
    let code: Option<i64> = columns.take()?;
    let diag: Option<String> = columns.take()?;
    Ok(code
        .zip(diag)
        .map(|(code, diag)| ReportedError { code, diag }))
}

pub(super) fn put(connection: &Connection, attempt: &AttemptRecord) -> rusqlite::Result<()> {
    let code = |error: &Option<ReportedError>| error.as_ref().map(|error| error.code);
    let diag = |error: &Option<ReportedError>| error.as_ref().map(|error| error.diag.clone());
    connection
        .prepare_cached(concat!(
            "INSERT INTO attempt (",
            columns!(),
            ", task_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19, ?20, ?21, ?22, ?23, (SELECT task_id FROM job WHERE panda_id = ?1))
             ON CONFLICT (panda_id, attempt_nr) DO UPDATE SET
                 seed = ?3, queue = ?4, node = ?5, pilot_id = ?6, status = ?7, sent = ?8,
                 started = ?9, ended = ?10, payload_exit_code = ?11,
                 pilot_error_code = ?12, pilot_error_diag = ?13,
                 payload_error_code = ?14, payload_error_diag = ?15,
                 server_error_code = ?16, server_error_diag = ?17,
                 diagnosis = ?18, cpu_secs = ?19, rss_max = ?20, timing = ?21, log_surl = ?22,
                 pilot_log = ?23"
        ))?
        .execute(params![
            int(attempt.panda_id.value()),
            attempt.attempt_nr.value(),
            int(attempt.seed.value()),
            attempt.queue.as_str(),
            attempt.node.as_str(),
            attempt.pilot_id,
            attempt.status.as_str(),
            attempt.sent.as_millis(),
            attempt.started.map(|time| time.as_millis()),
            attempt.ended.map(|time| time.as_millis()),
            attempt.payload_exit_code,
            code(&attempt.pilot_error),
            diag(&attempt.pilot_error),
            code(&attempt.payload_error),
            diag(&attempt.payload_error),
            code(&attempt.server_error),
            diag(&attempt.server_error),
            attempt.diagnosis,
            attempt.cpu_secs.map(int),
            attempt.rss_max.map(bytes),
            attempt.timing,
            attempt.log_surl,
            attempt.pilot_log,
        ])?;
    Ok(())
}
