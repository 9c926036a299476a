//! Cuts the files of a task into jobs, as many as one step may make.
//!
//! The cutting itself is PanDA's and is done by `ailurus_jedi`; this file gives it the files that
//! are there, and turns its chunks into what jobs read. A job never reads files of two datasets of
//! its first stream.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_jedi::{
    RefinedTask,
    split::{
        Chunk, Content, EventRange, JobLimits, Phase, QueueSize, Secondary, Splitter,
        limits::Access,
    },
};
use ailurus_model::{DatasetName, FileStatus, JobKind, JobStatus};

use crate::{
    Context,
    broker::Wishes,
    ledger::{FileRecord, InputProgress, InputState, Ledger, LedgerError, ScoutPhase},
    operation::Operation,
    tasks::record::{DATASETS_PER_STREAM, PandaTask, is_of_files},
};

/// HS06 of a core where queues do not tell, thousandths.
const CORE_POWER_MILLI: u64 = 10_000;

/// A job that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct JobPlan {
    /// What it reads: number of the input, dataset, part, and what is known of the file.
    pub(super) reads: Vec<(u32, DatasetName, u32, FileStatus)>,
    pub(super) first_event: u64,
    pub(super) n_events: u64,
    /// What it is made of.
    pub(super) chunk: Chunk,
}

/// The jobs of one step.
#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) jobs: Vec<JobPlan>,
    /// More can be cut at once.
    pub(super) has_more: bool,
}

/// Returns what a task's jobs are cut for: the largest that any of its queues offers.
pub(super) fn limits_of(
    ctx: &Context<'_>,
    task: &PandaTask,
    refined: &RefinedTask,
    wishes: &Wishes,
) -> JobLimits {
    let times: Vec<u64> = ctx
        .queues
        .values()
        .filter(|queue| wishes.allow(queue))
        .map(|queue| queue.max_time.as_secs())
        .collect();
    let is_unbounded = times.contains(&0);
    let walltime_max_s = times.into_iter().max().filter(|_| !is_unbounded);
    let queue = QueueSize {
        scratch_bytes: 0,
        walltime_max_s: walltime_max_s.unwrap_or(0),
        cores: refined.resources.cores.max(1),
        core_power_milli: CORE_POWER_MILLI,
        access: Access::Copied,
    };
    let phase = match task.progress.scouts {
        ScoutPhase::Wanted => Phase::Scouts,
        ScoutPhase::None | ScoutPhase::Made | ScoutPhase::Over => Phase::Bulk,
    };
    JobLimits::for_task(refined, &queue, phase)
}

/// One file, or one range of its events, with where it is.
struct Piece {
    /// Which of the files that were gathered.
    file: u32,
    part: u32,
    status: FileStatus,
    /// Where the next piece of the file begins; zero if this is its last.
    next_event: u64,
}

/// Files of the first stream that can be cut now.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Piece>,
    contents: Vec<Content>,
    /// More files are listed than were gathered.
    is_truncated: bool,
}

impl<L: Ledger> Operation<'_, L> {
    /// Cuts up to `most` jobs, and notes in the task's progress what they take.
    pub(super) fn cut_files(
        &mut self,
        task: &mut PandaTask,
        most: usize,
    ) -> Result<Cut, LedgerError> {
        let definition = std::sync::Arc::clone(&task.definition);
        let Some(refined) = &definition.refined else {
            return Ok(Cut::default());
        };
        let wishes = self.wishes(task.id())?;
        let limits = limits_of(self.ctx, task, refined, &wishes);
        let secondaries = self.secondaries(task, refined)?;
        let mut cut = Cut::default();
        for at in 0..task.progress.inputs.len() {
            let input = &task.progress.inputs[at];
            if input.stream != 0 || input.n_taken >= input.parts.len() {
                continue;
            }
            let left = most.saturating_sub(cut.jobs.len());
            if left == 0 {
                cut.has_more = true;
                break;
            }
            self.cut_dataset(task, refined, at, &limits, &secondaries, left, &mut cut)?;
        }
        Ok(cut)
    }

    #[expect(clippy::too_many_arguments, reason = "one call, of the loop above")]
    fn cut_dataset(
        &mut self,
        task: &mut PandaTask,
        refined: &RefinedTask,
        at: usize,
        limits: &JobLimits,
        secondaries: &[SecondaryFiles],
        most: usize,
        cut: &mut Cut,
    ) -> Result<(), LedgerError> {
        let input = &task.progress.inputs[at];
        let nr = number_of(&task.progress.inputs, at);
        let gathered = self.gather(input, refined, limits)?;
        let streams = secondaries.iter().map(|secondary| {
            let stream = &refined.inputs[secondary.stream];
            Secondary::new(stream, &secondary.contents, secondary.position(task))
        });
        let mut splitter =
            Splitter::new(gathered.contents.iter().cloned(), streams.collect(), limits);
        let mut done = 0;
        let mut taken = 0;
        let mut next_event = input.events_taken;
        let first_taken = input.n_taken;
        let waits_for_more = limits.files_per_job.is_some() && input.state != InputState::Closed;
        let mut positions = splitter.positions();
        while cut.jobs.len() < most {
            let Some(chunk) = splitter.next() else { break };
            let pieces = &gathered.pieces[done..done + chunk.master.len()];
            done += chunk.master.len();
            let is_last = done == gathered.contents.len();
            if is_last && (gathered.is_truncated || (waits_for_more && chunk.is_short)) {
                cut.has_more |= gathered.is_truncated;
                break;
            }
            cut.jobs
                .push(plan_of(nr, &input.dataset, &chunk, pieces, secondaries));
            positions = splitter.positions();
            if let Some(last) = pieces.last() {
                taken = last.file + u32::from(last.next_event == 0);
                next_event = last.next_event;
            }
        }
        cut.has_more |= cut.jobs.len() >= most && done < gathered.contents.len();
        let input = &mut task.progress.inputs[at];
        input.n_taken = first_taken.saturating_add(taken);
        input.events_taken = next_event;
        for (secondary, position) in secondaries.iter().zip(positions) {
            secondary.note_position(task, position);
        }
        Ok(())
    }

    /// Reads the files of a dataset that are to be cut next.
    fn gather(
        &self,
        input: &InputProgress,
        refined: &RefinedTask,
        limits: &JobLimits,
    ) -> Result<Gathered, LedgerError> {
        let most = usize::try_from(self.ctx.limits.tasks.files_per_step).unwrap_or(usize::MAX);
        let parts: Vec<u32> = input.parts.iter_from(input.n_taken).take(most).collect();
        let left = input.parts.len().saturating_sub(input.n_taken);
        let mut gathered = Gathered {
            is_truncated: usize::try_from(left).unwrap_or(usize::MAX) > parts.len(),
            ..Gathered::default()
        };
        let known = self.files_of_parts(&input.dataset, &parts)?;
        let lost = self.lost_parts(&input.dataset, &known, &parts)?;
        let mut from_event = input.events_taken;
        for (nr, part) in (0..).zip(parts) {
            let file = known.get(&part);
            let status = match (file, lost.contains(&part)) {
                (Some(_), _) => FileStatus::Ready,
                (None, true) => FileStatus::Failed,
                (None, false) => FileStatus::Expected,
            };
            // Without a number of files in a job, sizes count, and only files have sizes.
            if status == FileStatus::Expected && limits.files_per_job.is_none() {
                gathered.is_truncated = false;
                break;
            }
            let contents = contents_of(nr, part, file, refined, limits, from_event);
            from_event = 0;
            let n = contents.len();
            for (at, content) in contents.into_iter().enumerate() {
                let next_event = match content.range {
                    Some(range) if at + 1 < n => range.end.saturating_add(1),
                    Some(_) | None => 0,
                };
                gathered.pieces.push(Piece {
                    file: nr,
                    part,
                    status,
                    next_event,
                });
                gathered.contents.push(content);
            }
        }
        Ok(gathered)
    }

    /// Reads registered files of a dataset by part.
    fn files_of_parts(
        &self,
        dataset: &DatasetName,
        parts: &[u32],
    ) -> Result<BTreeMap<u32, FileRecord>, LedgerError> {
        let (Some(first), Some(last)) = (parts.iter().min(), parts.iter().max()) else {
            return Ok(BTreeMap::new());
        };
        let wanted: BTreeSet<u32> = parts.iter().copied().collect();
        let mut files = BTreeMap::new();
        let mut from = *first;
        loop {
            let page = self.ledger.files_from(dataset, from, parts.len())?;
            let Some(end) = page.last().map(|file| file.part) else {
                return Ok(files);
            };
            let page = page.into_iter().filter(|file| wanted.contains(&file.part));
            files.extend(page.map(|file| (file.part, file)));
            if end >= *last || files.len() == parts.len() {
                return Ok(files);
            }
            from = end.saturating_add(1);
        }
    }

    /// Lists parts that will not come, because their jobs have ended without them.
    fn lost_parts(
        &self,
        dataset: &DatasetName,
        known: &BTreeMap<u32, FileRecord>,
        parts: &[u32],
    ) -> Result<BTreeSet<u32>, LedgerError> {
        if known.len() == parts.len() {
            return Ok(BTreeSet::new());
        }
        let producer = self.ledger.dataset(dataset)?.and_then(|one| one.producer);
        let Some(producer) = producer else {
            return Ok(parts.iter().copied().collect());
        };
        if self.ledger.are_jobs_dropped(producer)? {
            // Its jobs are no more, so what they have not written will not come.
            let missing = parts.iter().filter(|part| !known.contains_key(part));
            return Ok(missing.copied().collect());
        }
        let without = [
            JobStatus::Finished,
            JobStatus::Failed,
            JobStatus::Cancelled,
            JobStatus::Closed,
        ];
        let merges = self.merges_outputs(producer)?;
        let mut lost = BTreeSet::new();
        for id in self.ledger.jobs_of_task(producer, &without)? {
            let job = self.job(id)?;
            let writes_it = match job.kind {
                JobKind::Run | JobKind::Scout | JobKind::Direct => !merges,
                JobKind::Merge => merges,
                JobKind::Build | JobKind::Consumer => false,
            };
            if writes_it && !known.contains_key(&job.part) {
                lost.insert(job.part);
            }
        }
        Ok(lost)
    }

    /// Reads the files that go along with those of the first stream.
    fn secondaries(
        &self,
        task: &PandaTask,
        refined: &RefinedTask,
    ) -> Result<Vec<SecondaryFiles>, LedgerError> {
        let mut secondaries = Vec::new();
        for (stream_nr, stream) in refined.inputs.iter().enumerate().skip(1) {
            if !is_of_files(stream.kind) {
                continue;
            }
            let mut secondary = SecondaryFiles {
                stream: stream_nr,
                ..SecondaryFiles::default()
            };
            let inputs = &task.progress.inputs;
            for (at, input) in inputs.iter().enumerate() {
                if usize::try_from(input.stream) != Ok(stream_nr) {
                    continue;
                }
                let parts: Vec<u32> = input.parts.iter_from(0).collect();
                let known = self.files_of_parts(&input.dataset, &parts)?;
                let lost = self.lost_parts(&input.dataset, &known, &parts)?;
                for part in parts {
                    let file = known.get(&part);
                    let status = match (file, lost.contains(&part)) {
                        (Some(_), _) => FileStatus::Ready,
                        (None, true) => FileStatus::Failed,
                        (None, false) => FileStatus::Expected,
                    };
                    let place = (number_of(inputs, at), input.dataset.clone(), part, status);
                    secondary.places.push(place);
                    let id = u64::from(part);
                    secondary.contents.push(content_of(id, part, file, refined));
                }
            }
            secondaries.push(secondary);
        }
        Ok(secondaries)
    }
}

/// The files of a stream that goes along with the first one.
#[derive(Debug, Default)]
struct SecondaryFiles {
    stream: usize,
    contents: Vec<Content>,
    places: Vec<(u32, DatasetName, u32, FileStatus)>,
}

impl SecondaryFiles {
    fn input<'t>(&self, inputs: &'t mut [InputProgress]) -> Option<&'t mut InputProgress> {
        let mut inputs = inputs.iter_mut();
        inputs.find(|input| usize::try_from(input.stream) == Ok(self.stream))
    }

    /// How far the stream is used; its first dataset keeps that for all.
    fn position(&self, task: &PandaTask) -> usize {
        let mut inputs = task.progress.inputs.iter();
        let first = inputs.find(|input| usize::try_from(input.stream) == Ok(self.stream));
        first.map_or(0, |input| usize::try_from(input.n_taken).unwrap_or(0))
    }

    fn note_position(&self, task: &mut PandaTask, position: usize) {
        if let Some(input) = self.input(&mut task.progress.inputs) {
            input.n_taken = u32::try_from(position).unwrap_or(u32::MAX);
        }
    }
}

/// Returns the number that an input has among a job's needs.
pub(super) fn number_of(inputs: &[InputProgress], at: usize) -> u32 {
    let stream = inputs[at].stream;
    let before = inputs[..at].iter().filter(|input| input.stream == stream);
    let nth = u32::try_from(before.count()).unwrap_or(u32::MAX);
    stream
        .saturating_mul(DATASETS_PER_STREAM)
        .saturating_add(nth)
}

fn content_of(id: u64, part: u32, file: Option<&FileRecord>, refined: &RefinedTask) -> Content {
    let lfn = match file {
        Some(file) => file.lfn.to_string(),
        None => format!("part {part}"),
    };
    Content {
        id,
        lfn,
        size: file
            .and_then(|file| file.size)
            .map_or(0, ailurus_model::ByteCount::as_bytes),
        events: refined
            .amount
            .events_per_file
            .or(file.and_then(|file| file.n_events)),
        ..Content::default()
    }
}

/// Returns a file as it is cut: whole, or in ranges of as many events as a job has.
fn contents_of(
    nr: u32,
    part: u32,
    file: Option<&FileRecord>,
    refined: &RefinedTask,
    limits: &JobLimits,
    from_event: u64,
) -> Vec<Content> {
    let whole = content_of(u64::from(nr), part, file, refined);
    let (Some(events), Some(per_job)) = (whole.events, limits.events_per_job) else {
        return vec![whole];
    };
    if events <= per_job && from_event == 0 {
        return vec![whole];
    }
    let mut ranges = Vec::new();
    let mut start = from_event;
    while start < events {
        let end = start.saturating_add(per_job).min(events) - 1;
        ranges.push(Content {
            range: Some(EventRange { start, end }),
            ..whole.clone()
        });
        start = end + 1;
    }
    ranges
}

fn plan_of(
    nr: u32,
    dataset: &DatasetName,
    chunk: &Chunk,
    pieces: &[Piece],
    secondaries: &[SecondaryFiles],
) -> JobPlan {
    let mut seen = BTreeSet::new();
    let mut plan = JobPlan {
        chunk: chunk.clone(),
        ..JobPlan::default()
    };
    for (piece, content) in pieces.iter().zip(&chunk.master) {
        if seen.insert((nr, piece.part)) {
            let read = (nr, dataset.clone(), piece.part, piece.status);
            plan.reads.push(read);
        }
        if let Some(range) = content.range {
            if plan.n_events == 0 {
                plan.first_event = range.start;
            }
            plan.n_events = plan.n_events.saturating_add(range.count());
        }
    }
    for (secondary, positions) in secondaries.iter().zip(&chunk.secondaries) {
        for position in positions {
            let Some(place) = secondary.places.get(*position) else {
                continue;
            };
            if seen.insert((place.0, place.2)) {
                plan.reads.push(place.clone());
            }
        }
    }
    plan
}
