//! Which library the jobs of a task use: one build job for each group of queues that share storage.
//!
//! A job gets its queue first, and then the library of that queue's group: if there is none that
//! is young enough, a build job is made there, and the job waits for it. A build job stays in its
//! group. When it has ended without a library, the jobs that waited for it go to another group.
//!
//! Source: PanDA server, `pandajedi/jediorder/JobGenerator.py` (`doGenerateBuild`),
//! `pandajedi/jediorder/JobSplitter.py` (jobs that go to one queue in a row).

use std::collections::{BTreeMap, BTreeSet};

use ailurus_brokerage::{Candidate, Spread, judge};
use ailurus_jedi::estimate;
use ailurus_model::{
    ByteCount, FileStatus, JobKind, JobStatus, Queue, QueueName, SourceLabel, TaskId, TaskStatus,
    job_tags, queue::QueueStatus,
};

use crate::{
    broker::{Demand, why_none},
    ledger::{InputNeed, JobRecord, Ledger, LedgerError, LibraryBuild},
    operation::Operation,
    tasks::{
        define::library_dataset,
        record::{LIBRARY_INPUT, PandaTask},
    },
    text::{DIAG_CHARS_MAX, clipped},
};

/// What a group of queues is called that share storage: the endpoint where they write, or the one
/// queue that has none.
pub(crate) fn site_group(queue: &Queue) -> String {
    match queue.output_endpoint() {
        Some(endpoint) => endpoint.to_string(),
        None => queue.name.to_string(),
    }
}

/// What a build job is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LibraryState {
    /// Its library is there.
    Ready,
    /// It is being made.
    UnderWay,
    /// It will not come.
    Lost,
    /// It is there, but too old.
    Old,
}

/// The libraries of a task, the newest of each group.
pub(crate) struct Libraries {
    task: PandaTask,
    newest: BTreeMap<String, (usize, LibraryState)>,
    is_changed: bool,
}

impl Libraries {
    /// Groups whose library is there or will come.
    fn live(&self) -> BTreeSet<&str> {
        let newest = self.newest.iter();
        newest
            .filter(|(_, (_, state))| matches!(state, LibraryState::Ready | LibraryState::UnderWay))
            .map(|(group, _)| group.as_str())
            .collect()
    }

    /// Groups that have none, after somebody tried.
    fn lost(&self) -> BTreeSet<&str> {
        let newest = self.newest.iter();
        newest
            .filter(|(_, (_, state))| *state == LibraryState::Lost)
            .map(|(group, _)| group.as_str())
            .collect()
    }

    /// Returns the candidates that a job may go to, with or without groups that have no library.
    fn admitted<'a>(&self, all: &[Candidate<'a>], reach: Reach) -> Vec<Candidate<'a>> {
        let (live, lost) = (self.live(), self.lost());
        let is_admitted = |candidate: &&Candidate<'a>| {
            let group = site_group(candidate.queue);
            match reach {
                Reach::Live => live.contains(group.as_str()),
                Reach::NotLost => !lost.contains(group.as_str()),
            }
        };
        all.iter().filter(is_admitted).cloned().collect()
    }
}

/// Which groups a job may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Those whose library is there or will come.
    Live,
    /// All but those where it could not be made.
    NotLost,
}

impl<L: Ledger> Operation<'_, L> {
    /// Reads the libraries of a task whose jobs with this demand need one.
    pub(crate) fn libraries_for(
        &mut self,
        demand: &Demand,
    ) -> Result<Option<Libraries>, LedgerError> {
        match demand.kind {
            JobKind::Run | JobKind::Scout | JobKind::Consumer => self.libraries_of(demand.task),
            JobKind::Build | JobKind::Merge | JobKind::Direct => Ok(None),
        }
    }

    /// Reads the libraries of a task, if it has build jobs.
    fn libraries_of(&mut self, id: TaskId) -> Result<Option<Libraries>, LedgerError> {
        let definition = self.panda_task(id)?;
        let refined = definition.as_ref().and_then(|one| one.refined.as_ref());
        if refined.is_none_or(|refined| refined.build.is_none()) {
            return Ok(None);
        }
        let Some(task) = self.load_task(id)? else {
            return Ok(None);
        };
        let mut newest = BTreeMap::new();
        for (at, build) in task.progress.builds.iter().enumerate() {
            let state = self.state_of(build)?;
            newest.insert(build.group.clone(), (at, state));
        }
        Ok(Some(Libraries {
            task,
            newest,
            is_changed: false,
        }))
    }

    fn state_of(&self, build: &LibraryBuild) -> Result<LibraryState, LedgerError> {
        let job = self.job(build.panda_id)?;
        let age = self.ctx.now.since(job.state_changed);
        Ok(if !job.status.is_terminal() {
            LibraryState::UnderWay
        } else if job.status != JobStatus::Finished {
            LibraryState::Lost
        } else if age > self.ctx.limits.tasks.library_reuse {
            LibraryState::Old
        } else {
            LibraryState::Ready
        })
    }

    /// Returns where a job must go because of its library, and what it reads besides: a build job
    /// stays in its group; one that waited for a library goes where that is. A further attempt may
    /// go anywhere.
    pub(crate) fn site_group_of(
        &mut self,
        job: &JobRecord,
        needs: &[InputNeed],
    ) -> Result<(Option<String>, Vec<InputNeed>), LedgerError> {
        let (library, others): (Vec<InputNeed>, Vec<InputNeed>) = needs
            .iter()
            .cloned()
            .partition(|need| need.input == LIBRARY_INPUT);
        let waited = job.status == JobStatus::Pending || job.attempt_nr.value() == 1;
        let is_ready = |need: &InputNeed| need.status == FileStatus::Ready;
        let is_bound = waited && library.iter().any(is_ready);
        if job.kind != JobKind::Build && !is_bound {
            return Ok((None, others));
        }
        let Some(task) = self.load_task(job.task_id)? else {
            return Ok((None, others));
        };
        let record = &task.record;
        let mut builds = task.progress.builds.iter();
        let found = builds.find(|build| match job.kind {
            JobKind::Build => build.panda_id == job.panda_id,
            JobKind::Run
            | JobKind::Scout
            | JobKind::Merge
            | JobKind::Direct
            | JobKind::Consumer => {
                let dataset = library_dataset(record, build.part);
                library.iter().any(|need| need.dataset == dataset)
            }
        });
        Ok((found.map(|build| build.group.clone()), others))
    }

    /// Chooses queues for jobs that need a library, and returns how many can go at once. The
    /// caller writes the jobs.
    pub(crate) fn place_at_libraries(
        &mut self,
        demand: &Demand,
        mut libraries: Libraries,
        jobs: &mut [JobRecord],
    ) -> Result<u64, LedgerError> {
        let mut placed = self.place_jobs_at_libraries(demand, &mut libraries, jobs)?;
        if demand.site_group.is_some() {
            // Their own group takes them no more: another one may.
            let anywhere = Demand {
                site_group: None,
                ..demand.clone()
            };
            for job in jobs
                .iter_mut()
                .filter(|job| job.status == JobStatus::Defined)
            {
                let one = std::slice::from_mut(job);
                placed += self.place_jobs_at_libraries(&anywhere, &mut libraries, one)?;
            }
        }
        if libraries.is_changed {
            self.save_task(&mut libraries.task)?;
        }
        Ok(placed)
    }

    fn place_jobs_at_libraries(
        &mut self,
        demand: &Demand,
        libraries: &mut Libraries,
        jobs: &mut [JobRecord],
    ) -> Result<u64, LedgerError> {
        let spec = self.spec(demand.task)?;
        let wishes = self.wishes(demand.task)?;
        let (mut turn, all) = self.candidates_for(demand)?;
        let needs = demand.needs(&spec, &wishes);
        let profile = self.ctx.scheduling.policy.profile_of(&demand.source_label);
        let mut placed: BTreeMap<QueueName, u64> = BTreeMap::new();
        let mut reach = self.reach_of(libraries);
        let mut candidates = libraries.admitted(&all, reach);
        let mut spread = Spread::new(profile, &needs);
        for job in jobs {
            job.global_share.clone_from(&demand.share);
            let now_reach = self.reach_of(libraries);
            if now_reach != reach {
                reach = now_reach;
                candidates = libraries.admitted(&all, reach);
                spread = Spread::new(profile, &needs);
            }
            let mut found = spread.place(job.panda_id, &mut candidates);
            if found.is_none() && reach == Reach::Live && self.may_build(libraries) {
                reach = Reach::NotLost;
                candidates = libraries.admitted(&all, reach);
                spread = Spread::new(profile, &needs);
                found = spread.place(job.panda_id, &mut candidates);
            }
            let Some(index) = found else {
                let why = why_none(&judge(profile, &needs, &candidates));
                job.queue = None;
                self.set_status(job, JobStatus::Defined, &why)?;
                job.reason = why;
                continue;
            };
            let queue = candidates[index].queue;
            if self.bind_library(libraries, job, queue)? {
                self.send_to(job, &queue.name, demand, &mut turn)?;
                *placed.entry(queue.name.clone()).or_default() += 1;
            }
        }
        self.note_placed(demand, turn.unwrap_or_default(), &placed)?;
        Ok(placed.values().sum())
    }

    /// A task's jobs go to groups with a library as long as these have few of them.
    fn reach_of(&self, libraries: &Libraries) -> Reach {
        let n_live = u64::try_from(libraries.live().len()).unwrap_or(u64::MAX);
        let builds = libraries.task.progress.builds.iter();
        let n_jobs: u64 = builds.map(|build| build.n_jobs).sum();
        let enough = n_live.saturating_mul(u64::from(self.ctx.limits.tasks.jobs_per_library));
        if n_jobs >= enough && self.may_build(libraries) {
            Reach::NotLost
        } else {
            Reach::Live
        }
    }

    fn may_build(&self, libraries: &Libraries) -> bool {
        let most = usize::try_from(self.ctx.limits.tasks.libraries_max).unwrap_or(usize::MAX);
        let is_ending = matches!(
            libraries.task.status(),
            TaskStatus::Aborting | TaskStatus::ToAbort | TaskStatus::Finishing | TaskStatus::Passed
        );
        let n_live = libraries.live().len();
        n_live == 0 || (n_live < most && !is_ending)
    }

    /// Has a job use the library of a queue's group, and says whether that is there. If not, the
    /// job waits for it, and a build job is made unless there is one.
    fn bind_library(
        &mut self,
        libraries: &mut Libraries,
        job: &mut JobRecord,
        queue: &Queue,
    ) -> Result<bool, LedgerError> {
        let group = site_group(queue);
        let (at, state) = match libraries.newest.get(&group) {
            Some((at, state @ (LibraryState::Ready | LibraryState::UnderWay))) => (*at, *state),
            Some((_, LibraryState::Lost | LibraryState::Old)) | None => {
                self.make_build(&mut libraries.task, &group)?;
                let at = libraries.task.progress.builds.len() - 1;
                libraries
                    .newest
                    .insert(group.clone(), (at, LibraryState::UnderWay));
                (at, LibraryState::UnderWay)
            }
        };
        let build = &mut libraries.task.progress.builds[at];
        build.n_jobs += 1;
        libraries.is_changed = true;
        let (dataset, maker) = (
            library_dataset(&libraries.task.record, build.part),
            build.panda_id,
        );
        let is_ready = state == LibraryState::Ready;
        // It may come back from the archive with what it has read.
        self.ledger.put_job(job)?;
        self.ledger.put_need(&InputNeed {
            panda_id: job.panda_id,
            input: LIBRARY_INPUT,
            dataset,
            part: 0,
            status: if is_ready {
                FileStatus::Ready
            } else {
                FileStatus::Expected
            },
        })?;
        if !is_ready {
            let why = format!("waits for the library that job {maker} builds at `{group}`");
            job.queue = None;
            job.reason = clipped(&why, DIAG_CHARS_MAX);
            self.set_status(job, JobStatus::Pending, &why)?;
        }
        Ok(is_ready)
    }

    /// Makes the build job of a group.
    fn make_build(&mut self, task: &mut PandaTask, group: &str) -> Result<(), LedgerError> {
        let definition = std::sync::Arc::clone(&task.definition);
        let Some(build) = definition
            .refined
            .as_ref()
            .and_then(|one| one.build.as_ref())
        else {
            return Ok(());
        };
        let mut job = self.blank_job(task, JobKind::Build)?;
        job.part = task.progress.n_builds;
        job.source_label = SourceLabel::new(build.label.clone());
        job.memory = ByteCount::from_mib(estimate::BUILD_RAM_MB);
        job.cores = 1;
        job.tags.insert(job_tags::BUILD);
        self.class_of(job.cores, job.memory)
            .clone_into(&mut job.resource_type);
        task.progress.n_builds += 1;
        task.progress.builds.push(LibraryBuild {
            group: group.to_owned(),
            panda_id: job.panda_id,
            part: job.part,
            n_jobs: 0,
        });
        let dataset = library_dataset(&task.record, job.part);
        self.put_written(dataset, task.id(), 1)?;
        task.record.n_jobs += 1;
        self.save_task(task)?;
        self.set_status(&mut job, JobStatus::Defined, "")?;
        self.insert_job(&job, &[])?;
        self.place(&mut job).map(drop)
    }

    /// Sends a job elsewhere whose library will not come, and says whether it did.
    pub(crate) fn find_other_library(
        &mut self,
        job: &mut JobRecord,
        needs: &[InputNeed],
    ) -> Result<bool, LedgerError> {
        let is_lost =
            |need: &InputNeed| need.input == LIBRARY_INPUT && need.status == FileStatus::Failed;
        if !needs.iter().any(is_lost) || !self.has_other_group(job)? {
            return Ok(false);
        }
        self.choose_queue(job, needs)?;
        Ok(true)
    }

    /// Says whether a task that lives may use a queue whose group has not failed to build.
    fn has_other_group(&mut self, job: &JobRecord) -> Result<bool, LedgerError> {
        let Some(libraries) = self.libraries_of(job.task_id)? else {
            return Ok(false);
        };
        if matches!(
            libraries.task.status(),
            TaskStatus::Aborting | TaskStatus::ToAbort | TaskStatus::Finishing | TaskStatus::Passed
        ) {
            return Ok(false);
        }
        let wishes = self.wishes(job.task_id)?;
        let lost = libraries.lost();
        let mut queues = self.ctx.queues.values();
        Ok(queues.any(|queue| {
            wishes.allow(queue)
                && queue.status != QueueStatus::Offline
                && !lost.contains(site_group(queue).as_str())
        }))
    }

    /// Says why a job without a queue is to end: no library can come for it, or it is to build one
    /// where all is closed while another group is open.
    pub(crate) fn why_no_library(
        &mut self,
        job: &JobRecord,
    ) -> Result<Option<String>, LedgerError> {
        Ok(match job.kind {
            JobKind::Run | JobKind::Scout | JobKind::Consumer => {
                let libraries = self.libraries_of(job.task_id)?;
                let is_tried = libraries.is_some_and(|one| !one.lost().is_empty());
                (is_tried && !self.has_other_group(job)?)
                    .then(|| "its library could be built nowhere".to_owned())
            }
            JobKind::Build => {
                let (Some(group), _) = self.site_group_of(job, &[])? else {
                    return Ok(None);
                };
                let is_open = |queue: &Queue| {
                    queue.status != QueueStatus::Offline && site_group(queue) == group
                };
                let is_closed = !self.ctx.queues.values().any(is_open);
                (is_closed && self.has_other_group(job)?)
                    .then(|| format!("no queue of `{group}` is open"))
            }
            JobKind::Merge | JobKind::Direct => None,
        })
    }

    /// Has the build jobs of a task that have ended without a library tried again.
    pub(super) fn build_again(&mut self, task: &PandaTask, who: &str) -> Result<(), LedgerError> {
        for build in &task.progress.builds {
            if self.state_of(build)? == LibraryState::Lost {
                self.revive_one(build.panda_id, who)?;
            }
        }
        Ok(())
    }
}
