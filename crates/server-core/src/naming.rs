//! Names and seeds of one attempt: what it writes, under which log, with which parameters.

use std::collections::BTreeMap;

use ailurus_model::{AttemptNr, DatasetName, Lfn, Seed, TaskId, TaskSpec};

use crate::{
    ledger::{AttemptRecord, JobRecord, LedgerError},
    template::{Names, Template, Values},
};

/// Seeds that one task can hand out before it meets those of another.
const SEEDS_PER_TASK: u64 = 1_000_000;
/// Tasks before the same seeds come again. Pythia 6 takes seeds up to 900 000 000.
const SEED_BLOCKS: u64 = 900;

/// Returns the seed of a task's first attempt.
///
/// Tasks begin at different seeds, so that two tasks that generate the same process do not make
/// the same events.
pub(crate) const fn first_seed(task: TaskId) -> Seed {
    Seed::new((task.value() % SEED_BLOCKS) * SEEDS_PER_TASK + 1)
}

/// Returns the names that a task's parameters may refer to.
pub(crate) fn names_of(spec: &TaskSpec) -> Names<'_> {
    Names {
        inputs: spec
            .inputs
            .iter()
            .map(|input| input.name.as_str())
            .collect(),
        outputs: spec
            .outputs
            .iter()
            .map(|output| output.name.as_str())
            .collect(),
    }
}

/// Returns the dataset to which a task's logs belong.
pub(crate) fn log_dataset(spec: &TaskSpec) -> DatasetName {
    DatasetName::new(format!("{}.{}.log", spec.scope, spec.name))
}

/// Returns the name of an attempt's log archive.
pub(crate) fn log_lfn(spec: &TaskSpec, attempt: &AttemptRecord) -> Lfn {
    Lfn::new(format!(
        "{}.{}.{}.log.tgz",
        spec.name, attempt.panda_id, attempt.attempt_nr
    ))
}

/// Returns the files that an attempt is to write, in the order of the task's outputs.
pub(crate) fn output_lfns(
    spec: &TaskSpec,
    job: &JobRecord,
    attempt: &AttemptRecord,
) -> Result<Vec<Lfn>, LedgerError> {
    let values = values(spec, job, attempt.seed, attempt.attempt_nr);
    spec.outputs
        .iter()
        .map(|output| {
            let template = parsed(spec, &output.lfn, &Names::default())?;
            Ok(Lfn::new(template.expand(&values)))
        })
        .collect()
}

/// Returns the payload's arguments for an attempt.
pub(crate) fn parameters<'a>(
    spec: &'a TaskSpec,
    job: &JobRecord,
    attempt: &AttemptRecord,
    inputs: BTreeMap<&'a str, Vec<Lfn>>,
    outputs: &[Lfn],
) -> Result<String, LedgerError> {
    let template = parsed(spec, &spec.parameters, &names_of(spec))?;
    let names = spec.outputs.iter().map(|output| output.name.as_str());
    Ok(template.expand(&Values {
        inputs,
        outputs: names.zip(outputs.iter().cloned()).collect(),
        ..values(spec, job, attempt.seed, attempt.attempt_nr)
    }))
}

fn values<'a>(
    spec: &'a TaskSpec,
    job: &JobRecord,
    seed: Seed,
    attempt_nr: AttemptNr,
) -> Values<'a> {
    Values {
        seed,
        part: job.part,
        attempt: attempt_nr,
        events: job.n_events,
        first_event: job.first_event,
        task: &spec.name,
        inputs: BTreeMap::new(),
        outputs: BTreeMap::new(),
    }
}

/// Reads a template that was accepted at submission.
fn parsed(spec: &TaskSpec, text: &str, names: &Names<'_>) -> Result<Template, LedgerError> {
    Template::parse(text, names).map_err(|error| {
        LedgerError::contradiction(format!("task `{}` was accepted, but {error}", spec.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_tasks_have_seeds_of_their_own() {
        assert_eq!(first_seed(TaskId::new(1)), Seed::new(1_000_001));
        assert_eq!(first_seed(TaskId::new(2)), Seed::new(2_000_001));
        assert!(first_seed(TaskId::new(u64::MAX)).value() + SEEDS_PER_TASK <= 900_000_001);
    }
}
