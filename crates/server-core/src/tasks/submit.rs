//! Takes a task of PanDA in.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/task_standalone_module.py`
//! (`insertTaskParamsPanda`).

use std::sync::Arc;

use ailurus_jedi::{
    RefineSettings, TaskParams,
    command::incremental,
    refine,
    refine::{Catalogue, Scripts},
};
use ailurus_model::{
    ByteCount, Caller, Scope, SourceLabel, TaskId, TaskSpec, TaskStatus,
    task::{Resources, Split},
};
use serde_json::Value;

use crate::{
    Context,
    cache_files::note_archives,
    ledger::{
        Generation, Ledger, LedgerError, PandaTaskRecord, ScoutPhase, TaskOrder, TaskProgress,
        TaskRecord,
    },
    naming::first_seed,
    operation::Operation,
    tasks::record::spec_of,
};

/// Priority of a person's task.
const ANALYSIS_PRIORITY: i64 = 1000;
/// Statuses in which a task of the same name is started anew instead of being refused.
const RESTARTABLE: [TaskStatus; 5] = [
    TaskStatus::Finished,
    TaskStatus::Failed,
    TaskStatus::Aborted,
    TaskStatus::Done,
    TaskStatus::Exhausted,
];
/// Statuses that count against the most tasks of a person.
const ACTIVE: [TaskStatus; 7] = [
    TaskStatus::Registered,
    TaskStatus::Defined,
    TaskStatus::Ready,
    TaskStatus::Scouting,
    TaskStatus::Running,
    TaskStatus::Paused,
    TaskStatus::Throttled,
];
/// A task as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRequest {
    /// Its parameters.
    pub params: Value,
    /// The task that comes before it, if it was named by number.
    pub parent: Option<TaskId>,
    /// Where the submitter reached the server: scheme, host and port; empty if not known.
    pub origin: String,
}

/// PanDA's answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitReply {
    /// 0 taken in, 1 and 2 there already, 3 started anew, 4 wrong, 10 too many, 11 no such parent.
    pub code: i64,
    /// The task, if there is one.
    pub task: Option<TaskId>,
    /// What happened, in PanDA's words.
    pub message: String,
}

impl SubmitReply {
    fn refused(code: i64, message: String) -> Self {
        Self {
            code,
            task: None,
            message,
        }
    }
}

/// Takes a task in, and answers with PanDA's codes.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn submit_task(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    request: TaskRequest,
    caller: &Caller,
) -> Result<SubmitReply, LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    let reply = op.submit_task(request, caller)?;
    op.finish()?;
    Ok(reply)
}

/// Puts what only production may say right, and returns whose the task is.
fn adjust(params: &mut TaskParams, caller: &Caller) -> String {
    let fields = params.fields();
    let text = |key: &str| fields.text_or_empty(key).unwrap_or_default();
    let (named, task_type) = (text("userName"), text("taskType"));
    let is_official = fields.flag("official").unwrap_or_default();
    let is_production = caller.rights.production;
    let user = if is_production && !named.is_empty() {
        named
    } else {
        caller.name.clone()
    };
    params.set("userName", Value::from(user.clone()));
    if !is_production || task_type.is_empty() {
        params.set("taskType", Value::from("anal"));
        params.set("taskPriority", Value::from(ANALYSIS_PRIORITY));
        if is_official && let Some(group) = caller.rights.working_groups.first() {
            params.set("workingGroup", Value::from(group.clone()));
        }
    }
    user
}

impl<L: Ledger> Operation<'_, L> {
    /// Takes a task in, and answers with PanDA's codes.
    pub(crate) fn submit_task(
        &mut self,
        request: TaskRequest,
        caller: &Caller,
    ) -> Result<SubmitReply, LedgerError> {
        let mut params = match TaskParams::from_value(request.params) {
            Ok(params) => params,
            Err(error) => return Ok(SubmitReply::refused(4, error.to_string())),
        };
        let user = adjust(&mut params, caller);
        let fields = params.fields();
        let name = fields.text_or_empty("taskName").unwrap_or_default();
        if name.is_empty() {
            let message = "task parameter `taskName` is missing: give a name".to_owned();
            return Ok(SubmitReply::refused(4, message));
        }
        let parent = match self.parent_of(&params, &user, request.parent)? {
            Ok(parent) => parent,
            Err(message) => return Ok(SubmitReply::refused(11, message)),
        };
        if let Some(reply) = self.answer_duplicate(&params, &user, &name)? {
            return Ok(reply);
        }
        let label = params
            .fields()
            .text_or_empty("prodSourceLabel")
            .unwrap_or_default();
        if let Some(message) = self.too_many(&user, &label)? {
            return Ok(SubmitReply::refused(10, message));
        }
        let id = self.take_in(params, user, name, parent, request.origin)?;
        Ok(SubmitReply {
            code: 0,
            task: Some(id),
            message: format!("succeeded. new jediTaskID={id}"),
        })
    }

    /// Finds the task that comes before; the inner error is for the client.
    fn parent_of(
        &self,
        params: &TaskParams,
        user: &str,
        given: Option<TaskId>,
    ) -> Result<Result<Option<TaskId>, String>, LedgerError> {
        let named = params.fields().text_or_empty("parentTaskName");
        if let Some(name) = named.ok().filter(|name| !name.is_empty()) {
            let found = self.ledger.newest_task_named(Some(user), &name)?;
            return Ok(match found {
                Some(id) => Ok(Some(id)),
                None => Err(format!(
                    "failed to find the parent with user={user} name={name}"
                )),
            });
        }
        match given {
            Some(id) if self.ledger.task(id)?.is_none() => Ok(Err(format!(
                "failed to find the parent with jediTaskID={id}"
            ))),
            other => Ok(Ok(other)),
        }
    }

    fn too_many(&self, user: &str, label: &str) -> Result<Option<String>, LedgerError> {
        let most = self.ctx.limits.tasks.active_per_user_max;
        if most == 0 {
            return Ok(None);
        }
        let mut active = 0_u64;
        for id in self.ledger.tasks_of_user(user, &ACTIVE)? {
            active += u64::from(self.task(id)?.spec.source_label.as_str() == label);
        }
        Ok((active >= u64::from(most)).then(|| {
            format!("too many active tasks for {user} ({active} >= {most}): wait until some end")
        }))
    }

    /// Answers a submission whose name is taken: it starts the task of that name anew if that has
    /// ended.
    fn answer_duplicate(
        &mut self,
        params: &TaskParams,
        user: &str,
        name: &str,
    ) -> Result<Option<SubmitReply>, LedgerError> {
        let fields = params.fields();
        let flag = |key: &str| fields.flag(key).unwrap_or_default();
        let is_official = flag("official");
        let is_analysis = fields.text_or_empty("taskType").as_deref() == Ok("anal");
        if !is_analysis || !(flag("uniqueTaskName") || is_official) {
            return Ok(None);
        }
        let of_user = (!is_official).then_some(user);
        let Some(id) = self.ledger.newest_task_named(of_user, name)? else {
            return Ok(None);
        };
        let status = self.task(id)?.status;
        if status == TaskStatus::Broken {
            return Ok(None);
        }
        if !RESTARTABLE.contains(&status) {
            return Ok(Some(SubmitReply::refused(
                2,
                format!(
                    "jediTaskID={id} is in the {status} state for outDS={name}. \
                     You can re-execute the task with the same or another input once it goes into \
                     finished/failed/done"
                ),
            )));
        }
        let changes = incremental::changes(params);
        let order = TaskOrder {
            command: "incexec".to_owned(),
            comment: Value::Object(changes).to_string(),
            who: user.to_owned(),
            after: 0,
        };
        if let Err(message) = self.start_anew(id, &order)? {
            return Ok(Some(SubmitReply::refused(4, message)));
        }
        Ok(Some(SubmitReply {
            code: 3,
            task: Some(id),
            message: format!(
                "reactivation accepted. jediTaskID={id} (currently in {status} state) will be \
                 re-executed with old and/or new input"
            ),
        }))
    }

    /// Writes the rows of a new task.
    fn take_in(
        &mut self,
        params: TaskParams,
        user: String,
        name: String,
        parent: Option<TaskId>,
        origin: String,
    ) -> Result<TaskId, LedgerError> {
        let id = self.ledger.new_task_id()?;
        let label = params.fields().text_or_empty("prodSourceLabel");
        let refined = refine(&params, &self.refine_settings(&user, &params, &origin));
        let spec = match &refined {
            Ok(refined) => spec_of(id, refined),
            Err(_) => unread_spec(user, name, label.unwrap_or_default()),
        };
        let spec = Arc::new(spec);
        // The text of the map, whatever keys name an archive in it.
        note_archives(
            self.ledger,
            id,
            &Value::Object(params.raw().clone()).to_string(),
        )?;
        let mut record = TaskRecord {
            id,
            spec: Arc::clone(&spec),
            revision: 1,
            status: TaskStatus::Registered,
            n_jobs: 0,
            next_seed: first_seed(id),
            created: self.ctx.now,
            state_changed: self.ctx.now,
        };
        self.insert_task(&record)?;
        let mut progress = TaskProgress {
            id,
            parent,
            origin,
            due: Some(self.ctx.now),
            modified: self.ctx.now,
            attempt_nr: 1,
            priority: spec.priority,
            next_serial: 1,
            next_merge_serial: 1,
            ..TaskProgress::default()
        };
        let refined = match refined {
            Ok(refined) => {
                progress.scouts = scouts_of(&refined);
                Some(refined)
            }
            Err(error) => {
                progress.message = error.to_string();
                progress.due = None;
                progress.generation = Generation::Stopped;
                progress.ended = Some(self.ctx.now);
                self.set_task_status(&mut record, TaskStatus::Broken, &error.to_string())?;
                self.ledger.put_task(&record)?;
                None
            }
        };
        self.ledger.put_panda_task(
            &PandaTaskRecord {
                id,
                revision: 1,
                params,
                refined,
            },
            &spec,
        )?;
        self.ledger.put_task_progress(&progress)?;
        Ok(id)
    }

    /// Returns what the server adds to parameters. Scripts come from where the sandbox does, else
    /// from where the submitter reached the server, unless the server is told another place.
    pub(super) fn refine_settings(
        &self,
        user: &str,
        params: &TaskParams,
        origin: &str,
    ) -> RefineSettings {
        let limits = &self.ctx.limits.tasks;
        let source = params.fields().filled_text("sourceURL").ok().flatten();
        RefineSettings {
            user: user.to_owned(),
            vo: limits.vo.clone(),
            scripts: match (limits.scripts_url.as_str(), source, origin) {
                ("", None, "") => Scripts::default(),
                ("", None, origin) => Scripts::below(origin),
                ("", Some(source), _) => Scripts::below(&source),
                (told, _, _) => Scripts::below(told),
            },
            catalogue: Catalogue::None,
            earlier_rules: None,
        }
    }
}

/// Says whether a task's first jobs are to measure.
pub(super) fn scouts_of(task: &ailurus_jedi::RefinedTask) -> ScoutPhase {
    match task.rules.scouts() {
        ailurus_jedi::rules::ScoutRule::Wanted => ScoutPhase::Wanted,
        ailurus_jedi::rules::ScoutRule::None => ScoutPhase::None,
        ailurus_jedi::rules::ScoutRule::Over => ScoutPhase::Over,
    }
}

/// Returns what can be said of a task whose parameters were not understood.
fn unread_spec(user: String, name: String, label: String) -> TaskSpec {
    TaskSpec {
        name,
        chain: None,
        user,
        scope: Scope::default(),
        source_label: SourceLabel::new(label),
        processing_type: String::new(),
        transformation: String::new(),
        parameters: String::new(),
        split: Split::AllFiles,
        inputs: Vec::new(),
        outputs: Vec::new(),
        resources: Resources {
            cores: 1,
            memory: ByteCount::ZERO,
            disk: ByteCount::ZERO,
            walltime: std::time::Duration::ZERO,
        },
        priority: 0,
        max_attempts: 1,
        queues: Vec::new(),
    }
}
