//! Space on the node's disk: what a job will need, and whether that is there.
//!
//! Twice: before a job is asked for, what the jobs that the pilot holds will need is not offered
//! again ([`SpaceNeed`]); and once the inputs' sizes and ways are known, before any is copied
//! ([`check_inputs`], [`check_room`]). A job gives back what it reserved when it ends.

use ailurus_model::{ByteCount, ErrorCode, Job, Queue};

use super::{StageInPlan, ToolName};
use crate::Problem;

/// What the log archive and small files of a job need at least.
const LOG_SPACE: ByteCount = ByteCount::from_mib(64);

/// What a job will need on the node's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceNeed {
    /// Its inputs, as far as their sizes are known.
    pub inputs: ByteCount,
    /// Everything: what the job asks for (`maxDiskCount`), at least its inputs and its log.
    pub total: ByteCount,
}

impl SpaceNeed {
    /// Estimates what a job needs. Inputs that the payload may read remotely count too: whether it
    /// does is known only with the replicas.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let sizes = job.inputs.iter().filter_map(|input| input.size);
        let inputs = sizes.fold(ByteCount::ZERO, ByteCount::plus);
        let log = if job.log.is_some() {
            LOG_SPACE
        } else {
            ByteCount::ZERO
        };
        let at_least = if inputs == ByteCount::ZERO {
            ByteCount::ZERO
        } else {
            inputs.plus(log)
        };
        Self {
            inputs,
            total: job.disk.max(at_least),
        }
    }
}

/// Says whether the inputs that are to be copied are allowed together. Files that the node sees
/// already, and that `mv` would only link, do not count.
///
/// # Errors
///
/// 1168.
///
/// Source: Pilot 3, `pilot/api/data.py`, `check_availablespace`.
pub(super) fn check_inputs(plan: &StageInPlan, queue: &Queue) -> Result<(), Problem> {
    let is_linked = queue
        .copy_tools
        .values()
        .flatten()
        .all(|it| it == ToolName::Mv.as_str())
        && !queue.copy_tools.is_empty();
    let total = copied_size(plan);
    if let Some(limit) = queue.max_input_size
        && total > limit
    {
        let detail = format!("inputs of {total}, the queue allows {limit}");
        return Err(Problem::new(ErrorCode::SizeTooLarge, detail));
    }
    if is_linked {
        return Ok(());
    }
    check_size(total, queue)
}

/// Says whether the inputs that are to be copied fit on the disk, where `free` is what other jobs
/// leave of it; none if that is not known.
///
/// # Errors
///
/// 1098.
pub(crate) fn check_room(plan: &StageInPlan, free: Option<ByteCount>) -> Result<(), Problem> {
    let total = copied_size(plan);
    match free {
        Some(free) if total > free => {
            let detail = format!("inputs of {total}, but {free} are free for them");
            Err(Problem::new(ErrorCode::NoLocalSpace, detail))
        }
        Some(_) | None => Ok(()),
    }
}

fn copied_size(plan: &StageInPlan) -> ByteCount {
    let sizes = plan.copied().filter_map(|file| file.size);
    sizes.fold(ByteCount::ZERO, ByteCount::plus)
}

/// Inputs must fit into the queue's work directories (`maxwdir`); zero means no limit.
fn check_size(inputs: ByteCount, queue: &Queue) -> Result<(), Problem> {
    if queue.disk == ByteCount::ZERO || inputs <= queue.disk {
        return Ok(());
    }
    let limit = queue.disk;
    let detail = format!("inputs of {inputs}, the queue's work directories have {limit}");
    Err(Problem::new(ErrorCode::SizeTooLarge, detail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::testing::{input_file, job, site};

    fn job_of(disk_gib: u64, inputs_gib: &[u64]) -> Job {
        let mut job = job(1);
        job.disk = ByteCount::from_gib(disk_gib);
        let input = |gib: &u64| {
            let mut input = input_file("f");
            input.size = Some(ByteCount::from_gib(*gib));
            input
        };
        job.inputs = inputs_gib.iter().map(input).collect();
        job
    }

    #[test]
    fn a_job_needs_what_it_asks_for_and_at_least_its_inputs_and_its_log() {
        let need = |job: &Job| SpaceNeed::of(job).total;
        assert_eq!(need(&job_of(5, &[])), ByteCount::from_gib(5));
        assert_eq!(need(&job_of(5, &[1, 2])), ByteCount::from_gib(5));
        let large = need(&job_of(1, &[1, 2]));
        assert_eq!(large, ByteCount::from_gib(3).plus(LOG_SPACE));
        assert_eq!(need(&job_of(0, &[])), ByteCount::ZERO);
    }

    fn plan(gib: u64) -> StageInPlan {
        let mut job = job_of(0, &[gib]);
        job.inputs[0].lfn = ailurus_model::Lfn::new("f");
        let known = super::super::Known {
            catalogue: None,
            record: &super::super::StorageRecord::default(),
            now: ailurus_model::Timestamp::from_millis(0),
        };
        let config = crate::control::testing::config();
        super::super::plan_stage_in(&job, &site(), &config, &known).expect("plan")
    }

    #[test]
    fn inputs_must_fit_into_what_the_queue_allows_and_what_is_free() {
        let (mut queue, plan) = (site().queue, plan(4));
        let code = |result: Result<(), Problem>| result.err().map(|problem| problem.code);
        let free = |gib| code(check_room(&plan, Some(ByteCount::from_gib(gib))));
        assert_eq!((free(4), free(3)), (None, Some(ErrorCode::NoLocalSpace)));
        assert_eq!(code(check_room(&plan, None)), None);
        assert_eq!(code(check_inputs(&plan, &queue)), None);
        queue.disk = ByteCount::from_gib(3);
        assert_eq!(
            code(check_inputs(&plan, &queue)),
            Some(ErrorCode::SizeTooLarge)
        );
        let linked = ("pr".to_owned(), vec!["mv".to_owned()]);
        queue.copy_tools.extend([linked]);
        assert_eq!(code(check_inputs(&plan, &queue)), None);
        queue.max_input_size = Some(ByteCount::from_gib(3));
        assert_eq!(
            code(check_inputs(&plan, &queue)),
            Some(ErrorCode::SizeTooLarge)
        );
    }

    proptest! {
        #[test]
        fn a_job_never_needs_less_than_its_inputs(
            inputs in prop::collection::vec(0_u64..50, 0..4), disk in 0_u64..100,
        ) {
            let need = SpaceNeed::of(&job_of(disk, &inputs));
            prop_assert!(need.total >= need.inputs);
            prop_assert!(need.total >= ByteCount::from_gib(disk));
        }
    }
}
