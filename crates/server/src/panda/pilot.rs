//! Calls of pilots: getting jobs, reporting on them, asking what they are.

use ailurus_model::{JobUpdate, PandaId};
use ailurus_server_core::{
    AcquireError, PilotPhase, acquire_jobs as acquire, job_statuses, note_worker_pilot,
    update_job as update,
};
use ailurus_store::{ReadError, WriteError};
use ailurus_wire::{
    Answer, Dialect, Fields, LegacyForm, StatusCode,
    get_job::{self, JobsForm},
    job_status::{self, JobState},
    update_bulk,
    update_job::{self, UpdateError},
    worker_status,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    panda::{Reply, failed},
};

/// Gives jobs to a pilot or a Harvester.
pub(super) async fn acquire_jobs(app: &App, dialect: Dialect, fields: &Fields) -> Reply {
    let request = match get_job::decode_request(dialect, fields) {
        Ok(request) => request,
        Err(error) => return error.to_answer(dialect).into(),
    };
    let form = JobsForm::of_request(dialect, fields);
    let answer = match app
        .write(move |ctx, ledger| acquire(ctx, ledger, &request))
        .await
    {
        Ok(jobs) => {
            for job in &jobs {
                tracing::debug!(job.id = %job.panda_id, job.attempt = %job.attempt_nr, "job sent");
            }
            get_job::encode_answer(form, &jobs)
        }
        // Pilots come back later, as if there were no jobs, and log the reason.
        Err(WriteError::Operation(
            error @ (AcquireError::UnknownQueue { .. } | AcquireError::QueueNotServing { .. }),
        )) => Answer::failure(dialect, StatusCode::NoJobs, &error.to_string()),
        Err(error) => return failed(&error),
    };
    answer.into()
}

/// Takes a heartbeat or a final report.
pub(super) async fn update_job(app: &App, dialect: Dialect, fields: &Fields) -> Reply {
    let update = update_job::decode_request(dialect, fields);
    match apply(app, dialect, vec![update]).await {
        Ok(answers) => answers
            .into_iter()
            .next()
            .expect("each update has an answer")
            .into(),
        Err(failure) => failure,
    }
}

/// Takes several updates of a Harvester.
pub(super) async fn update_jobs(app: &App, fields: &Fields) -> Reply {
    match update_bulk::decode_request(fields) {
        Ok(bulk) => match apply(app, Dialect::V1, bulk.updates).await {
            Ok(answers) => update_bulk::encode_answer(&answers).into(),
            Err(failure) => failure,
        },
        Err(error) => error.to_answer(Dialect::V1).into(),
    }
}

/// Takes several updates of an older Harvester: each answer is a form of its own.
pub(super) async fn update_jobs_in_bulk(app: &App, fields: &Fields) -> Reply {
    let list = match fields.get("jobList") {
        Some(Value::Array(list)) => Some(list.clone()),
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        _ => None,
    };
    let Some(list) = list.filter(|list| list.len() <= update_bulk::JOBS_MAX) else {
        let allowed = format!(
            "jobList must be a list of at most {} updates",
            update_bulk::JOBS_MAX
        );
        return Reply::Json(json!([false, allowed]));
    };
    let updates = list.into_iter().map(|item| {
        let fields = Fields::from_value(item).unwrap_or_default();
        update_job::decode_request(Dialect::Legacy, &fields)
    });
    let answers = match apply(app, Dialect::Legacy, updates.collect()).await {
        Ok(answers) => answers,
        Err(failure) => return failure,
    };
    let forms: Vec<String> = answers
        .iter()
        .map(|answer| answer.to_body(LegacyForm::Urlencoded))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    Reply::Json(json!([true, forms]))
}

/// Carries out the updates that could be read, in one transaction, and answers all of them in
/// their order. If they could not be carried out, none is answered.
async fn apply(
    app: &App,
    dialect: Dialect,
    updates: Vec<Result<JobUpdate, UpdateError>>,
) -> Result<Vec<Answer>, Reply> {
    let mut readable = Vec::with_capacity(updates.len());
    let refusals: Vec<Option<Answer>> = updates
        .into_iter()
        .map(|update| match update {
            Ok(update) => {
                readable.push(update);
                None
            }
            Err(error) => Some(error.to_answer(dialect)),
        })
        .collect();
    let mut answers = if readable.is_empty() {
        Vec::new()
    } else {
        let written = app
            .write(move |ctx, ledger| {
                let answers = readable.iter().map(|one| update(ctx, ledger, one));
                answers.collect::<Result<Vec<_>, _>>()
            })
            .await;
        match written {
            Ok(answers) => answers
                .iter()
                .map(|answer| update_job::encode_answer(dialect, answer))
                .collect(),
            Err(error) => return Err(failed(&error)),
        }
    }
    .into_iter();
    Ok(refusals
        .into_iter()
        .map(|refusal| {
            refusal.unwrap_or_else(|| answers.next().expect("each readable update has an answer"))
        })
        .collect())
}

/// Tells what jobs are.
pub(super) async fn job_status(app: &App, dialect: Dialect, fields: &Fields) -> Reply {
    let answer = match job_status::decode_request(dialect, fields) {
        Ok(ids) => match job_states(app, ids).await {
            Ok(states) => job_status::encode_answer(dialect, &states),
            Err(error) => return failed(&error),
        },
        Err(error) => error.to_answer(dialect),
    };
    match dialect {
        Dialect::Legacy => Reply::Form(answer),
        Dialect::V1 => Reply::Answer(answer),
    }
}

async fn job_states(app: &App, ids: Vec<PandaId>) -> Result<Vec<JobState>, ReadError> {
    app.read(move |reader| {
        let found = job_statuses(reader.ledger(), &ids)?;
        Ok(ids
            .into_iter()
            .zip(found)
            .map(|(panda_id, found)| JobState { panda_id, found })
            .collect())
    })
    .await
}

/// Notes that a pilot has begun or ended in its worker.
pub(super) async fn pilot_status(app: &App, dialect: Dialect, fields: &Fields) -> Reply {
    let report = match worker_status::decode_request(dialect, fields) {
        Ok(report) => report,
        Err(error) => return error.to_answer(dialect).into(),
    };
    let phase = match report.phase {
        worker_status::PilotPhase::Started => PilotPhase::Started,
        worker_status::PilotPhase::Finished => PilotPhase::Finished,
    };
    let written = app
        .write(move |ctx, ledger| {
            let (harvester, worker) = (&report.harvester_id, report.worker_id);
            note_worker_pilot(ctx, ledger, harvester, worker, phase, &report.node)
        })
        .await;
    match written {
        Ok(()) => Answer::done(dialect).into(),
        Err(error) => failed(&error),
    }
}
