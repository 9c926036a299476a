//! Calls about jobs that no pilot makes: Harvester's and people's.

use ailurus_model::{Caller, JobForm, PandaId, Proof, TaskId};
use ailurus_server_core::{
    CommandFate, DebugFate, DebugMode, KillCode, KillRequest, LedgerError, Unmerged,
    command_to_pilot, describe_job, kill_jobs,
    ledger::{ArchiveRows, JobText, JobTextRows, Ledger},
    offline_script, reassign_jobs, set_command as leave_command, set_debug_mode as set_debug,
    submit_jobs,
};
use ailurus_wire::{Dialect, job_spec, job_status as status_call};
use serde_json::{Map, Value, json};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{
        LegacyBody, Preset, Role, Shape, TIMEOUT, flag, handler, int, ints, list, text, texts,
    },
    failed,
};

/// Jobs that one call describes at most; PanDA passes over the others, too.
const DESCRIBED_MAX: usize = 5500;
/// Jobs that are described or killed within one transaction.
const JOBS_PER_STEP: usize = 100;
/// The option of a kill that says which sub-status a closed job gets.
const SUB_STATUS_OPTION: &str = "jobSubStatus=";
/// The option that keeps what a merge job reads.
const KEEP_UNMERGED_OPTION: &str = "keepUnmerged";
/// PanDA's word for a job that is to end.
const TO_BE_KILLED: &str = "tobekilled";

const STATE: Shape = Shape::Object(&[("status", Shape::Text), ("command", Shape::Text)]);

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("job/get_status", handler!(status))
        .secure()
        .takes(&[list("job_ids").required().doc("the jobs"), TIMEOUT])
        .gives(Shape::List(&STATE))
        .by_harvester()
        .doc("Tells status and command of jobs in their order; one that ended or is not known is to be killed."),
    Endpoint::legacy("checkJobStatus", LegacyBody::Json, handler!(check_status))
        .takes(&[
            text("ids").required().doc("jobs, joined by commas"),
            TIMEOUT,
        ])
        .gives(Shape::Object(&[("data", Shape::List(&STATE))]))
        .by_harvester()
        .doc("Tells status and command of jobs in their order."),
    Endpoint::any("job/get_description", handler!(descriptions_at_work))
        .secure()
        .takes(&[ints("job_ids").required().doc("the jobs, at most 5500")])
        .gives(Shape::List(&Shape::Any))
        .by_client()
        .doc("Describes jobs by PanDA's attributes in their order; null for one not known, or archived."),
    Endpoint::any("job/get_description_incl_archive", handler!(descriptions))
        .secure()
        .takes(&[ints("job_ids").required().doc("the jobs, at most 5500")])
        .gives(Shape::List(&Shape::Any))
        .by_client()
        .doc("Describes jobs, also those that ended long ago."),
    Endpoint::get(
        "job/generate_offline_execution_script",
        handler!(offline_script_of),
    )
    .takes(&[
        int("job_id").required().doc("the job"),
        int("days").doc("how far back the archive is looked through; all of it always is"),
    ])
    .gives(Shape::Text)
    .by_client()
    .doc("Writes a script that runs a job's payload on another machine, as plain text."),
    Endpoint::get(
        "job/get_metadata_for_analysis_jobs",
        handler!(metadata_of_task),
    )
    .secure()
    .takes(&[int("task_id").required().doc("the task")])
    .gives(Shape::Map(&Shape::Any))
    .by_client()
    .doc("Returns the job reports of a user's finished jobs by their numbers."),
    Endpoint::post("job/kill", handler!(kill))
        .secure()
        .takes(&[
            list("job_ids").required().doc("the jobs"),
            int("code").doc("PanDA's kill code; none for a user's own wish"),
            flag("use_email_as_id")
                .or(Preset::Bool(false))
                .doc("not looked at: users are known by their names"),
            texts("kill_options").doc("`jobSubStatus=…`, `keepUnmerged`"),
        ])
        .gives(Shape::List(&Shape::Flag))
        .by_client()
        .doc("Ends jobs, and says for each whether anything was done."),
    Endpoint::post("job/reassign", handler!(reassign))
        .secure()
        .takes(&[list("job_ids").required().doc("the jobs")])
        .by_client()
        .doc("Has jobs that do not run yet brokered anew."),
    Endpoint::post("job/set_command", handler!(set_command))
        .role(Role::Production)
        .takes(&[
            int("job_id").required().doc("the job"),
            text("command").required().doc("for example `tobekilled`"),
        ])
        .by_client()
        .doc("Leaves a command for the pilot that has a job."),
    Endpoint::post("job/set_debug_mode", handler!(set_debug_mode))
        .secure()
        .takes(&[
            int("job_id").required().doc("the job"),
            flag("mode").required().doc("whether output is to be shown"),
        ])
        .gives(Shape::Text)
        .by_client()
        .doc("Has the pilot send its payload's output with each heartbeat, or no more."),
    Endpoint::legacy("setDebugMode", LegacyBody::Text, handler!(legacy_debug))
        .takes(&[
            text("pandaID").required().doc("the job"),
            text("modeOn").required().doc("`True` or `False`"),
        ])
        .gives(Shape::Text)
        .by_pilot()
        .doc("Has the pilot send its payload's output with each heartbeat, or no more."),
    Endpoint::post("job/submit", handler!(submit))
        .secure()
        .takes(&[text("jobs")
            .required()
            .doc("a JSON list of jobs, each the list of its attributes")])
        .gives(Shape::List(&Shape::List(&Shape::Any)))
        .by_client()
        .doc("Takes in jobs as they are, at most 5000, and answers the number of each."),
];

/// Tells status and command of jobs that a Harvester holds. One that is not known is to be killed.
async fn status(call: Call) -> Reply {
    let ids = match status_call::decode_request(Dialect::V1, &call.fields) {
        Ok(ids) => ids,
        Err(error) => return Reply::bad_request(Dialect::V1, &error),
    };
    match states(&call, ids).await {
        Ok(states) => Reply::data(states),
        Err(failure) => failure,
    }
}

async fn check_status(call: Call) -> Reply {
    let ids = call.text("ids").unwrap_or_default();
    let ids = ids.split(',').filter_map(|id| id.trim().parse().ok());
    match states(&call, ids.collect()).await {
        Ok(states) => Reply::Json(json!({"StatusCode": 0, "data": states})),
        Err(failure) => failure,
    }
}

async fn states(call: &Call, ids: Vec<PandaId>) -> Result<Vec<Value>, Reply> {
    let read = call
        .app
        .read(move |reader| {
            let state = |id: &PandaId| {
                reader.ledger().job(*id).map(|job| match job {
                    // Who still has a job that has ended, as PanDA's archived ones, is to let it go.
                    Some(job) if job.status.is_terminal() => {
                        json!({"status": job.status, "command": TO_BE_KILLED})
                    }
                    Some(job) => json!({
                        "status": job.status,
                        "command": command_to_pilot(&job),
                    }),
                    None => json!({"status": null, "command": TO_BE_KILLED}),
                })
            };
            ids.iter().map(state).collect::<Result<Vec<Value>, _>>()
        })
        .await;
    read.map_err(|error| failed(&error))
}

/// Which jobs are described.
#[derive(Debug, Clone, Copy)]
enum Described {
    /// Those outside of the archive.
    AtWork,
    /// All.
    All,
}

async fn descriptions_at_work(call: Call) -> Reply {
    described(call, Described::AtWork).await
}

async fn descriptions(call: Call) -> Reply {
    described(call, Described::All).await
}

async fn described(call: Call, which: Described) -> Reply {
    let ids: Vec<u64> = call.wholes("job_ids");
    let mut described = Vec::with_capacity(ids.len().min(DESCRIBED_MAX));
    let ids: Vec<u64> = ids.into_iter().take(DESCRIBED_MAX).collect();
    for step in ids.chunks(JOBS_PER_STEP) {
        match forms(&call, step.to_vec(), which).await {
            Ok(forms) => described.extend(forms.iter().map(|form| {
                form.as_ref()
                    .map_or(Value::Null, job_spec::encode_description)
            })),
            Err(failure) => return failure,
        }
    }
    Reply::data(described)
}

async fn forms(
    call: &Call,
    ids: Vec<u64>,
    which: Described,
) -> Result<Vec<Option<JobForm>>, Reply> {
    let read = call
        .app
        .look(move |ctx, ledger| {
            let ids = ids.into_iter().map(PandaId::new);
            ids.map(|id| match which {
                Described::AtWork if ledger.is_archived(id)? => Ok(None),
                Described::AtWork | Described::All => describe_job(ctx, ledger, id),
            })
            .collect::<Result<Vec<_>, LedgerError>>()
        })
        .await;
    read.map_err(|error| failed(&error))
}

async fn offline_script_of(call: Call) -> Reply {
    let Some(id) = call.whole("job_id") else {
        return Reply::Text("ERROR: job_id is not the number of a job".to_owned());
    };
    let found = match forms(&call, vec![id], Described::All).await {
        Ok(mut forms) => forms.pop().flatten(),
        Err(failure) => return failure,
    };
    let script = match found {
        Some(form) => offline_script(&form),
        None => Err(format!("job {id} is not known")),
    };
    Reply::Text(script.unwrap_or_else(|why| format!("ERROR: {why}")))
}

async fn metadata_of_task(call: Call) -> Reply {
    let task = TaskId::new(call.whole("task_id").unwrap_or_default());
    let read = call
        .app
        .read(move |reader| {
            use ailurus_model::JobStatus::Finished;
            let ledger = reader.ledger();
            let mut found = Map::new();
            for id in ledger.jobs_of_task(task, &[Finished])? {
                let Some(job) = ledger.job(id)? else { continue };
                if job.source_label.as_str() != "user" {
                    continue;
                }
                let text = ledger.job_text(id, job.attempt_nr, JobText::Metadata)?;
                let metadata = text.and_then(|text| serde_json::from_str(&text).ok());
                if let Some(metadata) = metadata {
                    found.insert(id.to_string(), metadata);
                }
            }
            Ok(found)
        })
        .await;
    match read {
        Ok(found) if found.is_empty() => Reply::data_and_message(json!({}), "No metadata found"),
        Ok(found) => Reply::data(Value::Object(found)),
        Err(error) => failed(&error),
    }
}

async fn kill(call: Call) -> Reply {
    let code = KillCode::of_number(call.whole("code"));
    let options = call.texts("kill_options");
    let sub_status = options
        .iter()
        .find_map(|option| option.strip_prefix(SUB_STATUS_OPTION))
        .map(ToOwned::to_owned);
    let unmerged = if options.iter().any(|option| option == KEEP_UNMERGED_OPTION) {
        Unmerged::Kept
    } else {
        Unmerged::Lost
    };
    let ids: Vec<Option<PandaId>> = call
        .list("job_ids")
        .iter()
        .map(|id| ailurus_wire::fields::whole_of(id).and_then(|id| u64::try_from(id).ok()))
        .map(|id| id.map(PandaId::new))
        .collect();
    let mut done = Vec::with_capacity(ids.len());
    for step in ids.chunks(JOBS_PER_STEP) {
        // What is no number is no job: nothing is done about it.
        let step: Vec<PandaId> = step.iter().map(|id| id.unwrap_or_default()).collect();
        let caller = call.caller.clone();
        let sub_status = sub_status.clone();
        let written = call
            .app
            .write(move |ctx, ledger| {
                let request = KillRequest {
                    code,
                    caller: &caller,
                    sub_status: sub_status.as_deref(),
                    unmerged,
                };
                kill_jobs(ctx, ledger, &step, request)
            })
            .await;
        match written {
            Ok(step) => done.extend(step),
            Err(error) => return failed(&error),
        }
    }
    let killed = done.iter().filter(|is_done| **is_done).count();
    tracing::info!(
        asked = done.len(),
        killed,
        user = call.caller.name,
        "jobs killed"
    );
    Reply::data(done)
}

async fn reassign(call: Call) -> Reply {
    let ids: Vec<u64> = call.wholes("job_ids");
    for step in ids.chunks(JOBS_PER_STEP) {
        let step: Vec<PandaId> = step.iter().copied().map(PandaId::new).collect();
        let caller = call.caller.clone();
        let written = call
            .app
            .write(move |ctx, ledger| reassign_jobs(ctx, ledger, &step, &caller))
            .await;
        if let Err(error) = written {
            return failed(&error);
        }
    }
    Reply::data(Value::Null)
}

async fn set_command(call: Call) -> Reply {
    let id = PandaId::new(call.whole("job_id").unwrap_or_default());
    let command = call.text("command").unwrap_or_default();
    let written = call
        .app
        .write(move |_, ledger| leave_command(ledger, id, &command))
        .await;
    match written {
        Ok(CommandFate::Taken(message)) => Reply::data_and_message(Value::Null, message),
        Ok(CommandFate::Refused(why)) => Reply::refusal(why),
        Err(error) => failed(&error),
    }
}

/// PanDA's server says the opposite of what it has done here; clients show the message.
async fn set_debug_mode(call: Call) -> Reply {
    let mode = mode_of(call.flag("mode"));
    match change_debug(&call, call.whole("job_id").unwrap_or_default(), mode).await {
        // panda-client shows the data of a success.
        Ok(fate @ DebugFate::Changed) => {
            Reply::data_and_message(fate.to_string(), fate.to_string())
        }
        Ok(fate @ (DebugFate::Unchanged | DebugFate::Refused(_))) => {
            Reply::refusal(fate.to_string())
        }
        Err(failure) => failure,
    }
}

async fn legacy_debug(call: Call) -> Reply {
    let Some(id) = call.whole("pandaID") else {
        return Reply::Text("ERROR: pandaID is not the number of a job".to_owned());
    };
    if !call.caller.is_secure() {
        return Reply::Text("ERROR: SSL connection is required".to_owned());
    }
    let is_on = call.flag("modeOn");
    match change_debug(&call, id, mode_of(is_on)).await {
        // Pilot 3 takes every other word for a failure, asks again, and starts its job minutes later.
        Ok(DebugFate::Changed | DebugFate::Unchanged) => {
            Reply::Text(DebugFate::Changed.to_string())
        }
        Ok(fate @ DebugFate::Refused(_)) => Reply::Text(fate.to_string()),
        Err(failure) => failure,
    }
}

const fn mode_of(is_on: bool) -> DebugMode {
    if is_on { DebugMode::On } else { DebugMode::Off }
}

async fn change_debug(call: &Call, id: u64, mode: DebugMode) -> Result<DebugFate, Reply> {
    let caller = call.caller.clone();
    let written = call
        .app
        .write(move |ctx, ledger| set_debug(ctx, ledger, PandaId::new(id), &caller, mode))
        .await;
    written.map_err(|error| failed(&error))
}

async fn submit(call: Call) -> Reply {
    let jobs = match job_spec::decode_list(&call.text("jobs").unwrap_or_default()) {
        Ok(jobs) => jobs,
        Err(error) => return Reply::refusal(format!("Failed to deserialize jobs: {error}")),
    };
    let Some(first) = jobs.first() else {
        return Reply::refusal("No jobs were submitted");
    };
    let user = submitter(&call.caller, first);
    for job in &jobs {
        let attributes = &job.attributes;
        let label = attributes.text("prodSourceLabel");
        if label == "managed" && !call.caller.rights.production {
            return Reply::refusal(format!(
                "{user} is missing production for prodSourceLabel={label} submission"
            ));
        }
        let job_label = attributes.text("job_label");
        if !matches!(job_label, "" | "user" | "managed") {
            return Reply::refusal(format!("job_label={job_label} is not valid"));
        }
    }
    let owner = user.clone();
    let written = call
        .app
        .write(move |ctx, ledger| submit_jobs(ctx, ledger, jobs, &owner))
        .await;
    let submitted = match written {
        Ok(submitted) => submitted,
        Err(error) => return failed(&error),
    };
    tracing::info!(jobs = submitted.len(), user, "jobs submitted");
    let answers = submitted.into_iter().map(|job| {
        let id = job.panda_id.map(PandaId::value);
        let last = match job.source_label.as_str() {
            "managed" | "prod_test" | "install" => json!(job.name),
            _ => json!({"jobsetID": job.jobset_id}),
        };
        json!([id, job.definition_id, last])
    });
    Reply::data(answers.collect::<Vec<Value>>())
}

/// The user to whom jobs belong: the caller, or on this machine whoever the jobs name.
fn submitter(caller: &Caller, job: &JobForm) -> String {
    if caller.proof != Proof::Loopback || !caller.name.is_empty() {
        return caller.name.clone();
    }
    let named = job.attributes.text("prodUserName");
    let name = if named.is_empty() {
        ailurus_identity::name::compact(job.attributes.text("prodUserID"))
    } else {
        named.to_owned()
    };
    if name.is_empty() {
        "somebody on the server's machine".to_owned()
    } else {
        name
    }
}
