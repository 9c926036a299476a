//! PanDA's tasks: what people hand in as maps of parameters, and the steps that make jobs of them.
//!
//! A third of all seeds have some: a task that makes events, with scouts or without, and often one
//! that reads what it writes, now and then before it has ended, with its outputs merged or not.
//! Half of such pairs are handed in as the steps of a workflow. Besides, there is one whose jobs
//! share events with others, or are copies of one another.

use std::time::Duration;

use ailurus_jedi::workflow::{Plan, PlannedStep, Start};
use ailurus_model::{Caller, TaskId};
use ailurus_server_core::{
    invariants::check_always,
    ledger::{PandaTaskRows as _, WorkflowRows as _},
    tasks::{Backlog, TaskRequest, step_tasks, submit_task},
    workflows::{WorkflowRequest, step_workflows, submit_workflow},
};
use serde_json::{Value, json};

use crate::{chance::Chance, scenario::SCRIPT_URL, violation::Invariant, world::World};

/// Which of this many seeds has tasks of PanDA.
const ONE_IN: u64 = 3;
/// The name of the first task.
const FIRST: &str = "panda1";
/// The name of the task that reads what the first one writes.
const SECOND: &str = "panda2";
/// The name of the task whose jobs share events.
const SHARED: &str = "panda3";
/// Events of each of its jobs, and of each of their ranges.
const SHARED_EVENTS: (u32, u32) = (6, 2);
/// Rounds of steps at a time after which there must be no backlog.
const ROUNDS_MAX: u32 = 1000;
/// How long a task waits for something outside before it is given up.
pub(crate) const PENDING_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

/// Draws what people hand in. It has a source of chance of its own, so that whatever else is drawn
/// for a seed does not depend on it.
pub(crate) fn draw(seed: u64) -> Vec<Value> {
    if seed % ONE_IN != ONE_IN - 1 {
        return Vec::new();
    }
    let chance = &mut Chance::new(!seed);
    let mut tasks = vec![draw_first(chance)];
    if chance.says_yes(700) {
        tasks.push(draw_second(chance));
    }
    tasks
}

/// Draws whether two tasks are the steps of a workflow.
pub(crate) fn is_workflow(seed: u64, tasks: &[Value]) -> bool {
    tasks.len() > 1 && Chance::new(seed.rotate_left(32)).says_yes(500)
}

/// Makes the plan of a workflow of two tasks.
fn plan_of(tasks: Vec<Value>) -> Plan {
    let steps = (0..).zip(tasks).filter_map(|(place, params)| {
        let Value::Object(params) = params else {
            return None;
        };
        let is_by_file = params.get("noWaitParent") == Some(&Value::Bool(true));
        let name = params.get("taskName")?.as_str()?.to_owned();
        Some(PlannedStep {
            name: name.clone(),
            number: place,
            block: None,
            is_junction: false,
            parents: place.checked_sub(1).into_iter().collect(),
            start: if is_by_file {
                Start::WithParent
            } else {
                Start::WhenDone
            },
            condition: None,
            inputs: Vec::new(),
            is_output: false,
            task_name: name,
            output_types: Vec::new(),
            params,
        })
    });
    Plan {
        name: None,
        inputs: Vec::new(),
        steps: steps.collect(),
        blocks: Vec::new(),
    }
}

/// Draws a task whose jobs share events with others, or are copies of one another. It has a
/// source of chance of its own.
fn draw_shared(seed: u64) -> Option<Value> {
    if seed % ONE_IN != ONE_IN - 1 {
        return None;
    }
    let chance = &mut Chance::new(seed.rotate_left(32) ^ !0);
    let mut task = draw_task(chance, SHARED);
    let (per_job, per_range) = SHARED_EVENTS;
    task["noInput"] = json!(true);
    task["skipScout"] = json!(chance.says_yes(800));
    task["nEvents"] = json!(chance.count(1, 4) * per_job);
    task["nEventsPerJob"] = json!(per_job);
    task["nSitesPerJob"] = json!(chance.count(1, 2));
    if chance.says_yes(600) {
        task["nEsConsumers"] = json!(chance.count(1, 3));
        task["nEventsPerWorker"] = json!(per_range);
        task["maxAttemptES"] = json!(chance.count(1, 4));
        task["allowPartialFinish"] = json!(chance.says_yes(500));
        task["esmergeSpec"] = json!({
            "transPath": format!("{SCRIPT_URL}/merge.sh"),
            "jobParameters": "-o ${OUTPUT0} @inputFor_${OUTPUT0}",
        });
    } else {
        task["nEsConsumers"] = json!(2);
        task["useJobCloning"] = json!(chance.one_of(&["runonce", "storeonce"]));
    }
    Some(task)
}

fn draw_task(chance: &mut Chance, name: &str) -> Value {
    json!({
        "taskName": name,
        "userName": "alice",
        "taskType": "prod",
        "taskPriority": chance.count(100, 1000),
        "prodSourceLabel": "managed",
        "vo": "sim",
        "processingType": "simulation",
        "transPath": format!("{SCRIPT_URL}/{name}.sh"),
        "architecture": "",
        "maxAttempt": chance.count(1, 4),
        "skipScout": chance.says_yes(500),
        "log": {"type": "template", "param_type": "log", "dataset": format!("{name}.log"),
                "value": format!("{name}.$JEDITASKID.${{SN}}.log.tgz")},
        "jobParameters": [
            {"type": "template", "param_type": "output", "dataset": format!("{name}.out"),
             "value": format!("--out={name}.$JEDITASKID._${{SN/P}}.root")},
        ],
    })
}

fn draw_first(chance: &mut Chance) -> Value {
    let mut task = draw_task(chance, FIRST);
    task["noInput"] = json!(true);
    task["nEvents"] = json!(chance.count(1, 15));
    task["nEventsPerJob"] = json!(1);
    task
}

fn draw_second(chance: &mut Chance) -> Value {
    let mut task = draw_task(chance, SECOND);
    task["nFilesPerJob"] = json!(chance.count(1, 3));
    task["noWaitParent"] = json!(chance.says_yes(500));
    if chance.says_yes(500) {
        task["mergeOutput"] = json!(true);
        task["nFilesPerMergeJob"] = json!(chance.count(1, 3));
        task["mergeSpec"] = json!({
            "transPath": format!("{SCRIPT_URL}/merge.sh"),
            "jobParameters": "-o ${OUTPUT0} -i ${TRN_OUTPUT0/L}",
        });
    }
    if let Some(items) = task["jobParameters"].as_array_mut() {
        items.push(json!({"type": "template", "param_type": "input",
            "dataset": format!("{FIRST}.out"), "value": "-i \"${IN/L}\""}));
    }
    task
}

impl World {
    /// Hands the tasks in; each is the parent of the next, but for that whose jobs share events.
    pub(crate) fn submit_panda_tasks(&mut self) {
        if let Some(params) = draw_shared(self.seed) {
            self.hand_in(params, None);
        }
        let tasks = draw(self.seed);
        if is_workflow(self.seed, &tasks) {
            let request = WorkflowRequest {
                plan: plan_of(tasks),
                name: None,
                label: "managed".to_owned(),
                origin: String::new(),
            };
            let now = self.wall_clock();
            let (ctx, ledger) = self.server.parts(now, self.catalogue);
            let taken = submit_workflow(&ctx, ledger, request, &Caller::loopback());
            self.expect_rows(taken);
            return;
        }
        let mut parent: Option<TaskId> = None;
        for params in tasks {
            parent = self.hand_in(params, parent);
        }
    }

    fn hand_in(&mut self, params: Value, parent: Option<TaskId>) -> Option<TaskId> {
        let request = TaskRequest {
            params,
            parent,
            origin: String::new(),
        };
        let now = self.wall_clock();
        let (ctx, ledger) = self.server.parts(now, self.catalogue);
        let reply = submit_task(&ctx, ledger, request, &Caller::loopback());
        let reply = self.expect_rows(reply)?;
        if reply.task.is_none() {
            let message = reply.message;
            self.violate(Invariant::W1, format_args!("a task is refused: {message}"));
        }
        reply.task
    }

    /// Does the steps of tasks and the turns of workflows that are due.
    pub(crate) fn step_tasks(&mut self) {
        let now = self.wall_clock();
        let ledger = &self.server.ledger;
        let tasks = ledger.tasks_due(now, 1).map(|due| !due.is_empty());
        let workflows = ledger.workflows_due(now, 1).map(|due| !due.is_empty());
        let (tasks, workflows) = (self.expect_rows(tasks), self.expect_rows(workflows));
        if tasks != Some(true) && workflows != Some(true) {
            return;
        }
        // A step may carry on with the retry of a task, which changes jobs that have ended.
        self.check_rows();
        self.until_done(|world| {
            let (ctx, ledger) = world.server.parts(now, world.catalogue);
            let report = step_workflows(&ctx, ledger);
            world.expect_rows(report).map(|report| report.backlog)
        });
        let checked = check_always(&self.snapshot, &self.server.ledger);
        if let Err(broken) = checked {
            let invariant = Invariant::of_number(broken.number).unwrap_or(Invariant::J4);
            self.violate(invariant, format_args!("{}", broken.detail));
        }
        self.until_done(|world| {
            let (ctx, ledger) = world.server.parts(now, world.catalogue);
            let report = step_tasks(&ctx, ledger);
            world.expect_rows(report).map(|report| report.backlog)
        });
        self.take_snapshot();
    }

    /// Goes on while there is a backlog.
    fn until_done(&mut self, mut round: impl FnMut(&mut Self) -> Option<Backlog>) {
        for _ in 0..ROUNDS_MAX {
            match round(self) {
                Some(Backlog::More) => {}
                Some(Backlog::None) | None => break,
            }
        }
    }

    /// Says whether a task is one of PanDA's.
    pub(crate) fn is_of_panda(&self, id: TaskId) -> bool {
        let mut tasks = self.server.ledger.tasks();
        tasks.any(|task| task.id == id && task.revision > 0)
    }
}
