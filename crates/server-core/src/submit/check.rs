//! Judges a submission before anything of it is written.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_model::{
    DatasetName, Seed, TaskSpec,
    task::{ListedDataset, Split, Submission, TaskInput, TaskOutput},
};

use crate::{
    Context,
    ledger::Ledger,
    naming::names_of,
    submit::{
        SubmitError,
        value::{at_most, bad, lfn, name, placeholder_names, text, within},
    },
    template::{Names, Number, Template, Values},
};

/// Judges a submission and returns into how many jobs each of its tasks will be cut.
pub(super) fn checked(
    ctx: &Context<'_>,
    ledger: &impl Ledger,
    submission: &Submission,
) -> Result<Vec<u32>, SubmitError> {
    let limits = ctx.limits;
    if submission.tasks.is_empty() {
        return Err(SubmitError::Empty);
    }
    at_most(
        "number of tasks",
        submission.tasks.len(),
        limits.tasks_per_submission_max,
    )?;
    let mut check = Check {
        ctx,
        ledger,
        parts: BTreeMap::new(),
        names: BTreeSet::new(),
        lfns: BTreeSet::new(),
    };
    for dataset in &submission.datasets {
        check.listed(dataset)?;
    }
    submission
        .tasks
        .iter()
        .map(|spec| check.task(spec))
        .collect()
}

struct Check<'a, L> {
    ctx: &'a Context<'a>,
    ledger: &'a L,
    /// Parts of the datasets that this submission brings so far.
    parts: BTreeMap<&'a DatasetName, u32>,
    /// User and name of its tasks so far.
    names: BTreeSet<(&'a str, &'a str)>,
    /// Scope and name of every file of its first jobs so far.
    lfns: BTreeSet<(String, String)>,
}

impl<'a, L: Ledger> Check<'a, L> {
    fn listed(&mut self, dataset: &'a ListedDataset) -> Result<(), SubmitError> {
        let field = |name: &str| format!("{name} of dataset `{}`", dataset.name);
        name("name of a dataset", dataset.name.as_str(), ":/")?;
        at_most(
            &field("number of files"),
            dataset.files.len(),
            self.ctx.limits.files_per_dataset_max,
        )?;
        if dataset.files.is_empty() {
            return Err(bad(field("number of files"), "0", "1 and more"));
        }
        let mut seen = BTreeSet::new();
        for file in &dataset.files {
            lfn(field("file"), file.lfn.as_str())?;
            name(&field("scope of a file"), file.scope.as_str(), "")?;
            name(&field("endpoint of a file"), file.endpoint.as_str(), "")?;
            if !seen.insert((&file.scope, &file.lfn)) {
                return Err(SubmitError::LfnNotUnique {
                    field: field("file"),
                    lfn: file.lfn.to_string(),
                });
            }
        }
        self.bring(field("name"), &dataset.name, as_u32(dataset.files.len()))
    }

    fn task(&mut self, spec: &'a TaskSpec) -> Result<u32, SubmitError> {
        let field = |name: &str| format!("{name} of task `{}`", spec.name);
        name("name of a task", &spec.name, "")?;
        name(&field("scope"), spec.scope.as_str(), "")?;
        text(field("user"), &spec.user)?;
        text(field("transformation"), &spec.transformation)?;
        let limits = self.ctx.limits;
        at_most(
            &field("length of parameters"),
            spec.parameters.len(),
            limits.parameters_bytes_max,
        )?;
        within(
            field("max_attempts"),
            spec.max_attempts,
            limits.attempts_max,
        )?;
        within(field("cores"), spec.resources.cores, limits.cores_max)?;
        self.task_name(spec)?;
        self.queues(spec)?;
        at_most(
            &field("number of inputs"),
            spec.inputs.len(),
            limits.files_per_task_max,
        )?;
        at_most(
            &field("number of outputs"),
            spec.outputs.len(),
            limits.files_per_task_max,
        )?;
        let inputs = spec.inputs.iter().map(|input| input.name.as_str());
        placeholder_names(&field("input name"), inputs)?;
        let outputs = spec.outputs.iter().map(|output| output.name.as_str());
        placeholder_names(&field("output name"), outputs)?;
        let n_jobs = self.jobs(spec)?;
        Template::parse(&spec.parameters, &names_of(spec)).map_err(|problem| {
            SubmitError::BadTemplate {
                field: field("parameters"),
                problem,
            }
        })?;
        for output in &spec.outputs {
            self.output(spec, output, n_jobs)?;
        }
        Ok(n_jobs)
    }

    fn task_name(&mut self, spec: &'a TaskSpec) -> Result<(), SubmitError> {
        let exists = |task| SubmitError::TaskExists {
            user: spec.user.clone(),
            name: spec.name.clone(),
            task,
        };
        if let Some(task) = self.ledger.live_task_named(&spec.user, &spec.name)? {
            return Err(exists(Some(task)));
        }
        if !self.names.insert((&spec.user, &spec.name)) {
            return Err(exists(None));
        }
        Ok(())
    }

    fn queues(&self, spec: &TaskSpec) -> Result<(), SubmitError> {
        let known = &self.ctx.queues;
        let Some(queue) = spec.queues.iter().find(|name| !known.contains_key(*name)) else {
            return Ok(());
        };
        let allowed: Vec<String> = known.keys().map(|name| format!("`{name}`")).collect();
        Err(SubmitError::UnknownQueue {
            field: format!("queues of task `{}`", spec.name),
            queue: queue.clone(),
            allowed: allowed.join(", "),
        })
    }

    /// Returns how many jobs the task is cut into.
    fn jobs(&self, spec: &TaskSpec) -> Result<u32, SubmitError> {
        let field = |name: &str| format!("{name} of task `{}`", spec.name);
        let parts: Vec<u32> = spec
            .inputs
            .iter()
            .map(|input| self.parts_of(spec, input))
            .collect::<Result<_, _>>()?;
        let n_jobs = match spec.split {
            Split::Events { total, per_job } => {
                if total == 0 {
                    return Err(bad(field("number of events"), "0", "1 and more"));
                }
                if per_job == 0 {
                    return Err(bad(field("events in a job"), "0", "1 and more"));
                }
                if let Some(input) = spec.inputs.first() {
                    let allowed = "no input for a task that is cut by events";
                    return Err(bad(field("input"), &input.name, allowed));
                }
                total.div_ceil(per_job)
            }
            Split::Files { per_job } => {
                if per_job == 0 {
                    return Err(bad(field("files in a job"), "0", "1 and more"));
                }
                let first = self.paired_parts(spec, &parts)?;
                u64::from(first.div_ceil(per_job))
            }
            Split::AllFiles => {
                if parts.is_empty() {
                    return Err(no_input(spec));
                }
                1
            }
        };
        let allowed = self.ctx.limits.jobs_per_task_max;
        u32::try_from(n_jobs)
            .ok()
            .filter(|n_jobs| *n_jobs <= allowed)
            .ok_or_else(|| SubmitError::TooMany {
                field: field("number of jobs"),
                value: n_jobs,
                allowed: u64::from(allowed),
            })
    }

    /// Returns the parts of the first input, with which all others go along.
    fn paired_parts(&self, spec: &TaskSpec, parts: &[u32]) -> Result<u32, SubmitError> {
        let Some((first, others)) = parts.split_first() else {
            return Err(no_input(spec));
        };
        for (input, parts) in spec.inputs.iter().skip(1).zip(others) {
            if parts != first && *parts != 1 {
                return Err(SubmitError::UnpairedInput {
                    field: format!("input `{}` of task `{}`", input.name, spec.name),
                    dataset: input.dataset.clone(),
                    parts: *parts,
                    allowed: *first,
                });
            }
        }
        Ok(*first)
    }

    fn parts_of(&self, spec: &TaskSpec, input: &TaskInput) -> Result<u32, SubmitError> {
        if let Some(parts) = self.parts.get(&input.dataset) {
            return Ok(*parts);
        }
        let known = self.ledger.dataset(&input.dataset)?;
        known
            .map(|dataset| dataset.n_parts)
            .ok_or_else(|| SubmitError::MissingDataset {
                field: format!("input `{}` of task `{}`", input.name, spec.name),
                dataset: input.dataset.clone(),
            })
    }

    fn output(
        &mut self,
        spec: &'a TaskSpec,
        output: &'a TaskOutput,
        n_jobs: u32,
    ) -> Result<(), SubmitError> {
        let field = || format!("output `{}` of task `{}`", output.name, spec.name);
        name(
            &format!("dataset of {}", field()),
            output.dataset.as_str(),
            ":/",
        )?;
        let template = Template::parse(&output.lfn, &Names::default()).map_err(|problem| {
            SubmitError::BadTemplate {
                field: format!("lfn of {}", field()),
                problem,
            }
        })?;
        // The longest name that can come of it.
        let longest = template.expand(&Values {
            seed: Seed::new(u64::from(u32::MAX)),
            part: n_jobs,
            events: u64::MAX,
            first_event: u64::MAX,
            task: &spec.name,
            ..Values::default()
        });
        lfn(format!("lfn of {}", field()), &longest)?;
        let tells_attempts = template.has(Number::Seed) || template.has(Number::Attempt);
        let tells_jobs = n_jobs == 1
            || template.has(Number::Seed)
            || template.has(Number::Part)
            || (template.has(Number::FirstEvent) && matches!(spec.split, Split::Events { .. }));
        // Seeds of two tasks differ, all other numbers can be the same.
        let family = if template.has(Number::Seed) {
            format!("{}/{}", spec.name, output.lfn)
        } else {
            let task = &spec.name;
            template.expand(&Values {
                task,
                ..Values::default()
            })
        };
        let is_new = self.lfns.insert((spec.scope.to_string(), family));
        if !(tells_attempts && tells_jobs && is_new) {
            return Err(SubmitError::LfnNotUnique {
                field: format!("lfn of {}", field()),
                lfn: output.lfn.clone(),
            });
        }
        self.bring(field(), &output.dataset, n_jobs)
    }

    fn bring(
        &mut self,
        field: String,
        dataset: &'a DatasetName,
        parts: u32,
    ) -> Result<(), SubmitError> {
        let is_known = self.ledger.dataset(dataset)?.is_some();
        if is_known || self.parts.insert(dataset, parts).is_some() {
            return Err(SubmitError::DatasetExists {
                field,
                dataset: dataset.clone(),
            });
        }
        Ok(())
    }
}

fn no_input(spec: &TaskSpec) -> SubmitError {
    let field = format!("number of inputs of task `{}`", spec.name);
    bad(field, "0", "1 and more for a task that is cut by files")
}

fn as_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
