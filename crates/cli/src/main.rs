//! The command line for people: tasks, jobs, queues and datasets over the server's JSON API.
//!
//! Exit codes are in [`failure`]; 0 is success, and 2, a wrong command line, is `clap`'s.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use ailurus_wire::{
    rest::{
        ActionAnswer, DatasetView, ExplanationView, JobView, QueueView, ShareView, SubmitAnswer,
        TaskView,
    },
    task_file,
};
use clap::Parser as _;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    api::{Api, DEFAULT_SERVER, encode},
    args::{Cli, DatasetVerb, JobVerb, Noun, QueueVerb, ShareVerb, TaskVerb},
    failure::Failure,
    table::printable,
};

mod api;
mod args;
mod credentials;
mod explain;
mod failure;
mod log;
mod show;
mod table;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = run(&cli);
    match output.and_then(|bytes| print(&bytes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            failure.exit_code()
        }
    }
}

/// Writes an error and what to do about it to standard error, each on a line of its own.
fn complain(failure: &Failure) {
    let mut text = format!("error[{}]: {failure}\n", failure.code());
    let help = failure.help();
    if !help.is_empty() {
        text.push_str(&format!("help: {help}\n"));
    }
    say(&text);
}

/// Writes to standard error. Where that is gone, nobody can be told.
fn say(text: &str) {
    drop(io::stderr().write_all(printable(text).as_bytes()));
}

/// Writes the answer. A reader that has seen enough, such as `head`, is no error.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Failure::Output),
    }
}

fn run(cli: &Cli) -> Result<Vec<u8>, Failure> {
    let server = cli
        .options
        .server
        .clone()
        .or_else(|| {
            std::env::var("AILURUS_SERVER")
                .ok()
                .filter(|url| !url.is_empty())
        })
        .unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let api = Api::new(&server, &cli.options.credentials)?;
    let form = if cli.options.json {
        Form::Json
    } else {
        Form::Table
    };
    match &cli.noun {
        Noun::Task(verb) => run_task(&api, form, verb),
        Noun::Job(verb) => run_job(&api, form, verb),
        Noun::Queue(QueueVerb::List) => {
            let queues: Vec<QueueView> = api.get("queues")?;
            Ok(form.render(&queues, |queues| show::queues(queues)))
        }
        Noun::Queue(QueueVerb::Show { name }) => {
            let queue: QueueView = api.get(&format!("queues/{}", encode(name)))?;
            Ok(form.render(&queue, show::queue))
        }
        Noun::Share(ShareVerb::List) => {
            let shares: Vec<ShareView> = api.get("shares")?;
            Ok(form.render(&shares, |shares| explain::shares(shares)))
        }
        Noun::Dataset(DatasetVerb::Show { name }) => {
            let dataset: DatasetView = api.get(&format!("datasets/{}", encode(name)))?;
            Ok(form.render(&dataset, show::dataset))
        }
    }
}

fn run_task(api: &Api, form: Form, verb: &TaskVerb) -> Result<Vec<u8>, Failure> {
    match verb {
        TaskVerb::Submit { file, user } => submit(api, form, file, user),
        TaskVerb::List { chain } => {
            let query = chain
                .as_ref()
                .map_or_else(String::new, |chain| format!("?chain={}", encode(chain)));
            let tasks: Vec<TaskView> = api.get(&format!("tasks{query}"))?;
            Ok(form.render(&tasks, |tasks| show::tasks(tasks)))
        }
        TaskVerb::Show { id } => {
            let task: TaskView = api.get(&format!("tasks/{id}"))?;
            Ok(form.render(&task, show::task))
        }
        TaskVerb::Explain { id } => explain(api, form, &format!("tasks/{id}/explain")),
        TaskVerb::Pause { id } => act(api, form, &format!("tasks/{id}/pause")),
        TaskVerb::Resume { id } => act(api, form, &format!("tasks/{id}/resume")),
        TaskVerb::Finish { id } => act(api, form, &format!("tasks/{id}/finish")),
        TaskVerb::Kill { id } => act(api, form, &format!("tasks/{id}/kill")),
        TaskVerb::Retry { id } => act(api, form, &format!("tasks/{id}/retry")),
    }
}

fn run_job(api: &Api, form: Form, verb: &JobVerb) -> Result<Vec<u8>, Failure> {
    match verb {
        JobVerb::List {
            task,
            status,
            failed_attempts,
            limit,
        } => {
            let mut query = format!("limit={limit}&failed_attempts={failed_attempts}");
            if let Some(task) = task {
                query.push_str(&format!("&task={task}"));
            }
            if let Some(status) = status {
                query.push_str(&format!("&status={status}"));
            }
            let jobs: Vec<JobView> = api.get(&format!("jobs?{query}"))?;
            if u32::try_from(jobs.len()) == Ok(*limit) {
                say(&format!(
                    "note: only the newest jobs are listed, at most {limit}: `--limit`, `--task` and \
                     `--status` choose others\n"
                ));
            }
            Ok(form.render(&jobs, |jobs| show::jobs(jobs)))
        }
        JobVerb::Show { id } => {
            let job: JobView = api.get(&format!("jobs/{id}"))?;
            Ok(form.render(&job, show::job))
        }
        JobVerb::Explain { id } => explain(api, form, &format!("jobs/{id}/explain")),
        JobVerb::Log { id, attempt, file } => {
            let job: JobView = api.get(&format!("jobs/{id}"))?;
            let log = log::read(&job, *attempt, *file)?;
            if !log.note.is_empty() {
                say(&format!("note: {}\n", log.note));
            }
            Ok(match form {
                Form::Table => log.bytes,
                Form::Json => form.render(&String::from_utf8_lossy(&log.bytes), |_| String::new()),
            })
        }
        JobVerb::Kill { id } => act(api, form, &format!("jobs/{id}/kill")),
    }
}

fn submit(api: &Api, form: Form, file: &Path, user: &str) -> Result<Vec<u8>, Failure> {
    let path = file.display().to_string();
    let bytes = fs::read(file).map_err(|source| Failure::File {
        path: path.clone(),
        source,
    })?;
    let text = String::from_utf8(bytes).map_err(|error| Failure::NotText {
        path: path.clone(),
        line: line_of(error.as_bytes(), error.utf8_error().valid_up_to()),
    })?;
    let is_json = file
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if is_json {
        return submit_params(api, form, &path, &text);
    }
    let submission = task_file::parse_for(&path, &text, user)?;
    let submitted = api.post("tasks", &submission);
    // The server does not know which file it was.
    let answer: SubmitAnswer = submitted.map_err(|failure| failure.in_file(&path))?;
    Ok(form.render(&answer, |answer| {
        let lines = answer.tasks.iter().map(|task| {
            let jobs = if task.jobs == 1 { "job" } else { "jobs" };
            format!(
                "task {} `{}` submitted with {} {jobs}\n",
                task.id, task.name, task.jobs
            )
        });
        lines
            .chain(["`ailurus task list` shows the progress\n".to_owned()])
            .collect()
    }))
}

/// Submits one task of PanDA.
fn submit_params(api: &Api, form: Form, path: &str, text: &str) -> Result<Vec<u8>, Failure> {
    let params: Map<String, Value> =
        serde_json::from_str(text).map_err(|source| Failure::Params {
            path: path.to_owned(),
            source,
        })?;
    let submitted = api.post("panda-tasks", &params);
    let answer: SubmitAnswer = submitted.map_err(|failure| failure.in_file(path))?;
    Ok(form.render(&answer, |answer| {
        let lines = answer.tasks.iter().map(|task| {
            format!(
                "task {} `{}` submitted; `ailurus task show {}` shows the progress\n",
                task.id, task.name, task.id
            )
        });
        lines.collect()
    }))
}

/// Returns the number of the line in which a byte is, from 1.
fn line_of(bytes: &[u8], place: usize) -> usize {
    let before = bytes.iter().take(place);
    before.filter(|byte| **byte == b'\n').count() + 1
}

fn explain(api: &Api, form: Form, path: &str) -> Result<Vec<u8>, Failure> {
    let explanation: ExplanationView = api.get(path)?;
    Ok(form.render(&explanation, explain::explanation))
}

fn act(api: &Api, form: Form, path: &str) -> Result<Vec<u8>, Failure> {
    let answer: ActionAnswer = api.post(path, &())?;
    Ok(form.render(&answer, |answer| format!("{}\n", answer.message)))
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Table,
    Json,
}

impl Form {
    fn render<T: Serialize>(self, answer: &T, table: impl FnOnce(&T) -> String) -> Vec<u8> {
        match self {
            Self::Table => printable(&table(answer)).into_bytes(),
            Self::Json => {
                let mut bytes = serde_json::to_vec_pretty(answer)
                    .expect("an answer that was read from JSON can be written as JSON");
                bytes.push(b'\n');
                bytes
            }
        }
    }
}
