//! Calls of pilots: getting jobs, reporting on them, asking what they are.

use ailurus_model::{Command, JobUpdate, PandaId, UpdateAnswer};
use ailurus_server_core::{
    AcquireError, PilotPhase, acquire_jobs as acquire, job_statuses, note_worker_pilot,
    update_job as update,
};
use ailurus_store::{Hint, WriteError};
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
    panda::{
        Call, Endpoint, Reply,
        endpoint::{
            LegacyBody, Parameter, Preset, Role, Shape, TIMEOUT, anything, flag, float, handler,
            int, list, text,
        },
        failed, own_jobs,
    },
    reads::AskError,
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::legacy("getJob", LegacyBody::FormOrJson, handler!(acquire_jobs))
        .takes(GET_JOB)
        .gives(Shape::Object(&[
            ("PandaID", Shape::Text),
            ("jobs", Shape::List(&Shape::Any)),
        ]))
        .by_pilot()
        .doc("Gives a pilot a job, or several as `jobs` where it says `nJobs`."),
    Endpoint::legacy("updateJob", LegacyBody::FormOrJson, handler!(update_job))
        .role(Role::JobOwner)
        .takes(&[
            anything("jobId").required().doc("the job"),
            text("state").required().doc("what it is"),
        ])
        .gives(Shape::Object(&[("command", Shape::Text)]))
        .by_pilot()
        .doc("Takes a heartbeat or a final report; the answer has a command to the pilot."),
    Endpoint::legacy(
        "updateJobsInBulk",
        LegacyBody::Json,
        handler!(update_jobs_in_bulk),
    )
    .role(Role::PilotByText)
    .takes(&[
        anything("jobList")
            .required()
            .doc("fields of `updateJob`, one object a job"),
        text("harvester_id").doc("the instance"),
    ])
    .gives(Shape::List(&Shape::Any))
    .by_harvester()
    .doc("Takes several updates of an older Harvester."),
    Endpoint::legacy("getStatus", LegacyBody::Form, handler!(job_status))
        .takes(&[text("ids").required().doc("jobs, separated by blanks")])
        .gives(Shape::Object(&[
            ("status", Shape::Text),
            ("attemptNr", Shape::Text),
        ]))
        .by_pilot()
        .doc("Tells status and attempt of jobs."),
    Endpoint::legacy(
        "updateWorkerPilotStatus",
        LegacyBody::FormOrJson,
        handler!(pilot_status),
    )
    .role(Role::PilotByText)
    .takes(&[
        text("site").doc("the queue's site"),
        anything("workerID").required().doc("the worker"),
        text("harvesterID").required().doc("the instance"),
        text("status").required().doc("`started` or `finished`"),
        text("node_id").doc("the worker node"),
    ])
    .by_pilot()
    .doc("Notes that a pilot has begun or ended in its worker."),
    Endpoint::post("pilot/acquire_jobs", handler!(acquire_jobs))
        .secure()
        .takes(ACQUIRE_JOBS)
        .gives(Shape::Object(&[
            ("StatusCode", Shape::Int),
            ("jobs", Shape::List(&Shape::Any)),
        ]))
        .by_harvester()
        .by_pilot()
        .doc("Gives jobs to a pilot or a Harvester."),
    Endpoint::get("pilot/get_job_status", handler!(job_status))
        .secure()
        .takes(&[list("job_ids").required().doc("the jobs"), TIMEOUT])
        .gives(Shape::List(&Shape::Object(&[
            ("job_id", Shape::Int),
            ("status", Shape::Text),
            ("attempt_number", Shape::Int),
        ])))
        .by_pilot()
        .doc("Tells status and attempt of jobs."),
    Endpoint::post("pilot/update_job", handler!(update_job))
        .role(Role::JobOwner)
        .takes(UPDATE_JOB)
        .ignores_unknown()
        .gives(Shape::Object(&[
            ("StatusCode", Shape::Int),
            ("command", Shape::Text),
        ]))
        .by_pilot()
        .doc("Takes a heartbeat or a final report; the answer has a command to the pilot."),
    Endpoint::post("pilot/update_jobs_bulk", handler!(update_jobs))
        .role(Role::Pilot)
        .takes(&[
            list("job_list")
                .required()
                .doc("parameters of `pilot/update_job`, one object a job"),
            text("harvester_id").required().doc("the instance"),
        ])
        .gives(Shape::List(&Shape::Any))
        .by_harvester()
        .doc("Takes several updates; the answer has one envelope a job, in order."),
    Endpoint::post("pilot/update_worker_status", handler!(pilot_status))
        .role(Role::Pilot)
        .takes(&[
            anything("worker_id").required().doc("the worker"),
            anything("harvester_id").required().doc("the instance"),
            anything("status").required().doc("`started` or `finished`"),
            anything("timeout").or(Preset::Int(60)).doc("not looked at"),
            anything("node_id").doc("the worker node"),
        ])
        .by_pilot()
        .doc("Notes that a pilot has begun or ended in its worker."),
];

/// What `getJob` takes.
const GET_JOB: &[Parameter] = &[
    text("siteName").required().doc("the queue"),
    text("computingElement").doc("the computing element"),
    text("prodSourceLabel").doc("which jobs: `managed`, `user`, `unified`, `test`, ..."),
    anything("mem").doc("memory of the slot in MB, 0 for no limit"),
    anything("diskSpace").doc("scratch space in MB, 0 for no limit"),
    anything("cpu").doc("not looked at"),
    text("node").doc("the worker node"),
    text("workingGroup").doc("not looked at"),
    text("countryGroup").doc("not looked at"),
    anything("allowOtherCountry").doc("not looked at"),
    text("prodUserID").doc("jobs of this user only"),
    text("getProxyKey").doc("not looked at"),
    anything("taskID").doc("jobs of this task only"),
    anything("nJobs").doc("how many; the answer is a list then, also for one"),
    anything("background").doc("not looked at"),
    text("resourceType").doc("jobs of this class only"),
    text("harvester_id").doc("the Harvester instance of the pilot's worker"),
    anything("worker_id").doc("the pilot's worker"),
    text("schedulerID").doc("who started the pilot"),
    text("jobType").doc("the kind of pilot"),
    anything("viaTopic").doc("whether the job was announced by a message"),
    anything("remaining_time").doc("seconds for which the slot lives on"),
    anything("timeout").doc("not looked at"),
];

/// What `pilot/acquire_jobs` takes.
const ACQUIRE_JOBS: &[Parameter] = &[
    text("site_name").required().doc("the queue"),
    TIMEOUT,
    int("memory").doc("memory of the slot in MB, 0 for no limit"),
    int("disk_space").doc("scratch space in MB, 0 for no limit"),
    text("prod_source_label").doc("which jobs: `managed`, `user`, `unified`, `test`, ..."),
    text("node").doc("the worker node"),
    text("computing_element").doc("the computing element"),
    text("prod_user_id").doc("jobs of this user only"),
    text("get_proxy_key").doc("not looked at"),
    int("task_id").doc("jobs of this task only"),
    int("n_jobs").or(Preset::Int(1)).doc("how many at most"),
    flag("background").doc("not looked at"),
    text("resource_type")
        .alias("resourceType")
        .doc("jobs of this class only"),
    text("harvester_id").doc("the Harvester instance of the pilot's worker"),
    int("worker_id").doc("the pilot's worker"),
    text("scheduler_id").doc("who asks"),
    text("job_type").doc("the kind of pilot"),
    flag("via_topic").doc("whether the job was announced by a message"),
    anything("remaining_time").doc("seconds for which the slot lives on"),
];

/// What `pilot/update_job` takes.
const UPDATE_JOB: &[Parameter] = &[
    int("job_id").required().doc("the job"),
    text("job_status").required().doc("what it is"),
    text("job_output_report").doc("JSON text: its outputs by logical name"),
    text("node").doc("the worker node"),
    int("cpu_consumption_time").doc("CPU seconds"),
    text("cpu_consumption_unit").doc("the unit, and the CPU model"),
    text("scheduler_id").doc("who started the pilot"),
    text("pilot_id").doc("the pilot's own name"),
    text("site_name").doc("the queue"),
    text("pilot_log").doc("extract of the pilot's log"),
    text("meta_data").doc("JSON text: what the payload says about its work"),
    float("cpu_conversion_factor").doc("not looked at"),
    int("trans_exit_code").doc("exit code of the payload"),
    int("pilot_error_code").doc("the pilot's error"),
    text("pilot_error_diag").doc("the pilot's words for it"),
    int("exe_error_code").doc("the payload's error"),
    text("exe_error_diag").doc("the words for it"),
    text("pilot_timing").doc("seconds of the phases, separated by bars"),
    text("start_time").doc("when the payload began"),
    text("end_time").doc("when the payload ended"),
    int("n_events").doc("events"),
    int("n_input_files").doc("input files"),
    text("batch_id").doc("the batch system's id"),
    int("attempt_nr").doc("the attempt"),
    text("job_metrics").doc("words `name=value`"),
    text("stdout").doc("tail of the payload's output, in debug mode"),
    text("job_sub_status").doc("detail of the status"),
    int("core_count").doc("cores"),
    float("mean_core_count").doc("cores in use on average"),
    float("max_rss").doc("memory in KiB"),
    float("max_vmem").doc("memory in KiB"),
    float("max_swap").doc("memory in KiB"),
    float("max_pss").doc("memory in KiB"),
    float("avg_rss").doc("memory in KiB"),
    float("avg_vmem").doc("memory in KiB"),
    float("avg_swap").doc("memory in KiB"),
    float("avg_pss").doc("memory in KiB"),
    float("tot_rchar").doc("bytes"),
    float("tot_wchar").doc("bytes"),
    float("tot_rbytes").doc("bytes"),
    float("tot_wbytes").doc("bytes"),
    float("rate_rchar").doc("bytes a second"),
    float("rate_wchar").doc("bytes a second"),
    float("rate_rbytes").doc("bytes a second"),
    float("rate_wbytes").doc("bytes a second"),
    text("corrupted_files").doc("logical names, separated by commas"),
    text("cpu_architecture_level").doc("level of the CPU's instruction set"),
    int("grid").doc("grams of CO2 a kWh where it ran"),
    text("source_site").doc("where inputs came from"),
    text("destination_site").doc("where outputs went"),
    TIMEOUT,
];

/// Gives jobs to a pilot or a Harvester.
async fn acquire_jobs(call: Call) -> Reply {
    let (app, dialect, fields) = (&call.app, call.dialect, &call.fields);
    let mut request = match get_job::decode_request(dialect, fields) {
        Ok(request) => request,
        Err(error) => return error.to_answer(dialect).into(),
    };
    if let Err(refusal) = own_jobs::narrow(&call.caller, dialect, &mut request) {
        return refusal;
    }
    let form = JobsForm::of_request(dialect, fields);
    let answer = match app
        .write_with(Hint::Claim, move |ctx, ledger| {
            acquire(ctx, ledger, &request)
        })
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
async fn update_job(call: Call) -> Reply {
    let update = update_job::decode_request(call.dialect, &call.fields);
    match apply(&call.app, call.dialect, Commands::All, vec![update]).await {
        Ok(answers) => answers
            .into_iter()
            .next()
            .expect("each update has an answer")
            .into(),
        Err(failure) => failure,
    }
}

/// Takes several updates of a Harvester.
async fn update_jobs(call: Call) -> Reply {
    match update_bulk::decode_request(&call.fields) {
        Ok(bulk) => match apply(&call.app, Dialect::V1, Commands::One, bulk.updates).await {
            Ok(answers) => update_bulk::encode_answer(&answers).into(),
            Err(failure) => failure,
        },
        Err(error) => error.to_answer(Dialect::V1).into(),
    }
}

/// Takes several updates of an older Harvester: each answer is a form of its own.
async fn update_jobs_in_bulk(call: Call) -> Reply {
    let list = match call.fields.get("jobList") {
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
    let answers = apply(&call.app, Dialect::Legacy, Commands::One, updates.collect());
    let answers = match answers.await {
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

/// How many commands an answer to an update has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commands {
    /// As many as there are: pilots look for each.
    All,
    /// `tobekilled` alone if it is among them: Harvester compares the whole text.
    One,
}

impl Commands {
    fn of(self, mut answer: UpdateAnswer) -> UpdateAnswer {
        if self == Self::One && answer.commands.contains(&Command::ToBeKilled) {
            answer.commands = vec![Command::ToBeKilled];
        }
        answer
    }
}

/// Carries out the updates that could be read, in one transaction, and answers all of them in
/// their order. If they could not be carried out, none is answered.
async fn apply(
    app: &App,
    dialect: Dialect,
    commands: Commands,
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
        let jobs = readable.iter().map(|update| update.panda_id).collect();
        let hint = match readable.iter().any(|update| update.status.is_terminal()) {
            true => Hint::EndingJobs(jobs),
            false => Hint::Jobs(jobs),
        };
        let written = app
            .write_with(hint, move |ctx, ledger| {
                let answers = readable.iter().map(|one| update(ctx, ledger, one));
                answers.collect::<Result<Vec<_>, _>>()
            })
            .await;
        match written {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| update_job::encode_answer(dialect, &commands.of(answer)))
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
async fn job_status(call: Call) -> Reply {
    let dialect = call.dialect;
    let answer = match job_status::decode_request(dialect, &call.fields) {
        Ok(ids) => match job_states(&call.app, ids).await {
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

async fn job_states(app: &App, ids: Vec<PandaId>) -> Result<Vec<JobState>, AskError> {
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
async fn pilot_status(call: Call) -> Reply {
    let dialect = call.dialect;
    let report = match worker_status::decode_request(dialect, &call.fields) {
        Ok(report) => report,
        Err(error) => return error.to_answer(dialect).into(),
    };
    let phase = match report.phase {
        worker_status::PilotPhase::Started => PilotPhase::Started,
        worker_status::PilotPhase::Finished => PilotPhase::Finished,
    };
    let written = call
        .app
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
