//! The steps of a job's life: what follows from each thing that ends.

use std::time::Duration;

use ailurus_model::{Blame, ErrorCode, JobStatus};

use super::{JobDirectory, JobLife, Phase, Standing, Turn, Wait, fetching::Scripts};
use crate::{
    JobEffect, PilotConfig, Problem,
    config::Cleanup,
    control::{
        running::Running,
        update::{Desk, wall_clock},
    },
    data::{
        CatalogueFile, GuidSource, Known, LogPlan, StageOutPlan, StoredFile, TransfersSeen,
        alternative_note, catalogue_query, direct_access, expand_outputs, plan_log, plan_stage_in,
        plan_stage_out, space::check_room,
    },
    input::PayloadEnd,
    monitoring::Sample,
    payload::{
        ending::{EndReason, PayloadSignal},
        report::PayloadReport,
        script::{ScriptPlan, plan_problem, plan_scripts},
        steps::{EndedBy, Next, Outputs, Steps, WorkEnd},
    },
    recovery::{PayloadExit, Verdict, judge},
    resource::{hard_limits::HardLimits, slots::Allotment},
};

/// The variable that tells programs which GPUs they may use.
const VISIBLE_GPUS: &str = "CUDA_VISIBLE_DEVICES";
/// Time for removing what a job left; a dead file system must not hold the pilot.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(60);

impl JobLife {
    // --- before the payload ---

    pub(super) fn on_work_dir(&mut self, turn: &mut Turn<'_>, result: Result<(), Problem>) {
        if !matches!(self.phase, Phase::Accepted) {
            return;
        }
        if let Err(problem) = result {
            return self.fail_early(turn, problem);
        }
        self.directory = JobDirectory::Made;
        let Desk { job, config, site } = &self.desk;
        let allowed = [
            config.script_urls.as_slice(),
            &config.profile.payload.script_urls,
        ]
        .concat();
        let plans = plan_scripts(&config.profile, job, &allowed)
            .and_then(|scripts| Ok((scripts, catalogue_query(job, site, config)?)));
        let (scripts, query) = match plans {
            Err(problem) => return self.fail(turn, problem),
            Ok(plans) => plans,
        };
        if let Some(query) = query {
            let look_up = (Wait::LookingUp, Some(JobEffect::FindReplicas(query)));
            return self.begin_stage_in(turn, scripts, look_up);
        }
        match self.plan_inputs(turn, None) {
            Err(problem) => self.fail_early(turn, problem),
            Ok(first) => self.begin_stage_in(turn, scripts, first),
        }
    }

    /// Plans the stage-in, and returns what is waited for and what is to be done.
    fn plan_inputs(
        &mut self,
        turn: &mut Turn<'_>,
        catalogue: Option<&[CatalogueFile]>,
    ) -> Result<(Wait, Option<JobEffect>), Problem> {
        let Desk { job, config, site } = &mut self.desk;
        let known = Known {
            catalogue,
            record: turn.storages,
            now: wall_clock(config, turn.now),
        };
        let plan = plan_stage_in(job, site, config, &known)?;
        check_room(&plan, turn.free_space)?;
        turn.notes.extend(plan.notes.iter().cloned());
        if plan.files.is_empty() {
            return Ok((Wait::Done, None));
        }
        job.parameters = direct_access::parameters(job, &config.profile.data, &plan.files);
        Ok((Wait::UnderWay, Some(JobEffect::StageIn(plan))))
    }

    /// Fetches inputs and script at the same time.
    fn begin_stage_in(
        &mut self,
        turn: &mut Turn<'_>,
        plans: Vec<ScriptPlan>,
        (inputs, first): (Wait, Option<JobEffect>),
    ) {
        let mut first_steps = Vec::from_iter(first);
        let script = Scripts::begin(plans, &mut first_steps);
        let since = turn.now;
        let phase = Phase::StagingIn {
            since,
            inputs,
            script,
        };
        self.enter(turn, phase);
        turn.out.append(&mut first_steps);
        self.note_if_ready(turn);
    }

    /// Plans the stage-in with what the catalogue says. One that does not answer is done without where
    /// places follow from the names of storages.
    pub(super) fn on_replicas(
        &mut self,
        turn: &mut Turn<'_>,
        result: Result<Vec<CatalogueFile>, Problem>,
    ) {
        let is_waited_for = matches!(
            &self.phase,
            Phase::StagingIn {
                inputs: Wait::LookingUp,
                ..
            }
        );
        if !is_waited_for {
            return;
        }
        let plan = match result {
            Ok(found) => self.plan_inputs(turn, Some(&found)),
            Err(problem) => {
                turn.notes
                    .push(format!("no answer of the catalogue: {problem}"));
                let planned = self.plan_inputs(turn, None);
                planned.map_err(|own| if has_no_place(&own) { problem } else { own })
            }
        };
        let (now_inputs, effect) = match plan {
            Ok(plan) => plan,
            Err(problem) => {
                turn.out.push(JobEffect::StopTransfers);
                return self.fail_early(turn, problem);
            }
        };
        if let Phase::StagingIn { inputs, .. } = &mut self.phase {
            *inputs = now_inputs;
        }
        turn.out.extend(effect);
    }

    /// Remembers bad replicas, for people.
    pub(super) fn on_transfers_seen(&mut self, turn: &mut Turn<'_>, seen: &TransfersSeen) {
        for bad in &seen.bad {
            turn.notes.push(bad.to_string());
            self.record.remark(bad.to_string());
        }
    }

    pub(super) fn on_stage_in(&mut self, turn: &mut Turn<'_>, result: Result<(), Problem>) {
        let Phase::StagingIn {
            since,
            inputs,
            script,
        } = &mut self.phase
        else {
            return;
        };
        *inputs = Wait::Done;
        self.record.timing.stage_in = turn.now.since(*since);
        if let Err(problem) = result {
            return self.fail_early(turn, problem);
        }
        script.on_inputs(&mut turn.out);
        self.note_if_ready(turn);
    }

    pub(super) fn on_script(&mut self, turn: &mut Turn<'_>, result: Result<(), Problem>) {
        let Phase::StagingIn { script, .. } = &mut self.phase else {
            return;
        };
        if let Err(problem) = &result {
            turn.notes.push(format!("no script yet: {problem}"));
        }
        match script.on_result((turn.now, turn.random, &mut turn.out), result) {
            Ok(()) => self.note_if_ready(turn),
            Err(problem) => {
                turn.out.push(JobEffect::StopTransfers);
                self.fail(turn, problem);
            }
        }
    }

    /// Remembers since when the job waits for its part of the node.
    fn note_if_ready(&mut self, turn: &Turn<'_>) {
        if self.is_ready_to_start() {
            self.ready_since.get_or_insert(turn.now);
        }
    }

    /// Starts the first part of the job's work with its part of the node.
    pub(crate) fn start(&mut self, turn: &mut Turn<'_>, allotment: Allotment) {
        if !self.is_ready_to_start() {
            return;
        }
        self.waited = turn.now.since(self.ready_since.unwrap_or(turn.now));
        let Desk { job, config, site } = &self.desk;
        match Steps::plan(&config.profile, job, &site.queue) {
            Err(error) => self.fail(turn, plan_problem(&error)),
            Ok(mut steps) => {
                for (name, value) in &config.variables {
                    steps.set_variable(name, value);
                }
                steps.set_variable("PILOT_SITENAME", site.queue.resource.as_str());
                if !allotment.gpus.is_empty() {
                    let gpus: Vec<String> = allotment.gpus.iter().map(u32::to_string).collect();
                    steps.set_variable(VISIBLE_GPUS, &gpus.join(","));
                }
                let phase = Phase::Starting {
                    since: turn.now,
                    ending: None,
                };
                self.enter(turn, phase);
                let limits = &self.desk.config.profile.limits;
                let allotment = Allotment {
                    hard_limits: HardLimits::of(&self.limits, limits),
                    ..allotment
                };
                let first = JobEffect::StartPayload(steps.begin(), allotment.clone());
                turn.out.push(first);
                self.steps = Some(Box::new((steps, allotment)));
            }
        }
    }

    // --- the payload ---

    pub(super) fn on_payload_started(&mut self, turn: &mut Turn<'_>, result: Result<(), Problem>) {
        let Phase::Starting { since, ending } = &mut self.phase else {
            return self.on_next_part_started(turn, result);
        };
        let reason = ending.take();
        self.record.timing.setup = turn.now.since(*since);
        if let Err(problem) = result {
            let problem = reason
                .and_then(|reason| reason.problem())
                .unwrap_or(problem);
            return match self.standing {
                Standing::Current => self.fail(turn, problem),
                Standing::Superseded => self.clean_up(turn),
            };
        }
        let running = Running::new(turn.now, &self.desk.config.profile.limits);
        self.enter(turn, Phase::Running(Box::new(running)));
        self.stream_log(turn);
        match reason {
            Some(reason) => self.end(turn, reason),
            None => self.tell(turn, JobStatus::Running),
        }
    }

    /// A further part of the job's work runs, or cannot.
    fn on_next_part_started(&mut self, turn: &mut Turn<'_>, result: Result<(), Problem>) {
        let Phase::Running(running) = &mut self.phase else {
            return;
        };
        match result {
            // The signal that began the ending may have come before there was anything to end.
            Ok(()) if running.is_ending() => {
                turn.out
                    .push(JobEffect::SignalPayload(PayloadSignal::Terminate));
            }
            Ok(()) => {}
            Err(problem) => {
                let end = PayloadEnd {
                    problem: Some(problem),
                    ..PayloadEnd::default()
                };
                self.on_payload_ended(turn, end);
            }
        }
    }

    pub(super) fn on_sample(&mut self, turn: &mut Turn<'_>, sample: &Sample) {
        let Phase::Running(running) = &mut self.phase else {
            return;
        };
        let limits = (&self.desk.config.profile.limits, &self.limits);
        let meter = &mut self.record.meter;
        meter.add(turn.now, wall_clock(&self.desk.config, turn.now), sample);
        let reason = running.on_sample(turn.now, sample, limits);
        self.record.timing.payload = turn.now.since(running.started());
        if let Some(line) = meter.line()
            && running.wants_usage_line(turn.now)
        {
            turn.notes.push(format!("the payload uses {line}"));
        }
        if let Some(reason) = reason {
            self.end(turn, reason);
        }
    }

    pub(super) fn on_payload_ended(&mut self, turn: &mut Turn<'_>, end: PayloadEnd) {
        if matches!(self.phase, Phase::Starting { .. }) {
            self.on_payload_started(turn, Ok(()));
        }
        let Phase::Running(running) = &self.phase else {
            return;
        };
        self.record.timing.payload = turn.now.since(running.started());
        let is_ended_by_pilot = running.is_ending() || end.problem.is_some();
        let by = if is_ended_by_pilot {
            EndedBy::Pilot
        } else {
            EndedBy::Itself
        };
        let work = match self.steps.as_deref_mut() {
            Some((steps, allotment)) => match steps.on_end(end, by) {
                Next::Start(plan) => {
                    let next = JobEffect::StartPayload(plan, allotment.clone());
                    turn.out.push(next);
                    return;
                }
                Next::Over(work) => *work,
            },
            None => WorkEnd {
                end,
                ..WorkEnd::default()
            },
        };
        self.on_work_ended(turn, work);
    }

    fn on_work_ended(&mut self, turn: &mut Turn<'_>, work: WorkEnd) {
        let Phase::Running(running) = &self.phase else {
            return;
        };
        let WorkEnd {
            end,
            problem,
            outputs,
        } = work;
        if let Some(cpu) = end.cpu {
            self.record.meter.set_cpu(cpu);
        }
        let reason = running.end_reason().cloned();
        let reason = reason.or_else(|| self.shortage(&end));
        let report = PayloadReport::read(end.job_report.as_deref(), end.error_report.as_deref());
        let mut verdict = judge(
            end.exit,
            reason.as_ref(),
            &end.symptoms,
            &end.last_words,
            &report,
        );
        let ended_by_pilot = reason.as_ref().and_then(EndReason::problem).is_some();
        if !ended_by_pilot && let Some(problem) = problem.or(end.problem) {
            verdict.problem = Some(problem);
        }
        let says_why = report.error.as_ref().map(|_| Blame::Payload);
        self.found_blame = end.symptoms.first().map(|it| it.blame).or(says_why);
        self.record.n_events = report.n_events.or(end.n_events);
        self.record.metadata = end.job_report;
        match self.standing {
            Standing::Current => self.conclude(turn, verdict, &report, (outputs, &end.files)),
            Standing::Superseded => self.clean_up(turn),
        }
    }

    /// Explains a failure that nothing else explains by a full disk.
    fn shortage(&self, end: &PayloadEnd) -> Option<EndReason> {
        let is_explained = matches!(end.exit, PayloadExit::Code(0) | PayloadExit::OutOfMemory(_));
        let is_unexplained = !is_explained && end.symptoms.is_empty();
        let free = end.free_space.filter(|_| is_unexplained)?;
        self.limits
            .check_free_space(free)
            .err()
            .map(EndReason::Limit)
    }

    fn conclude(
        &mut self,
        turn: &mut Turn<'_>,
        verdict: Verdict,
        report: &PayloadReport,
        (outputs, files): (Outputs, &[String]),
    ) {
        self.record.payload_exit_code = Some(verdict.exit_code);
        self.record.payload_error = verdict.payload_error;
        if let Some(problem) = verdict.problem {
            return self.fail(turn, problem);
        }
        if outputs == Outputs::None {
            self.desk.job.outputs.clear();
        }
        let prefix = &self.desk.config.profile.outputs.pattern_prefix;
        match expand_outputs(&self.desk.job.outputs, prefix, files) {
            Err(problem) => return self.fail(turn, problem),
            Ok(outputs) => self.desk.job.outputs = outputs,
        }
        let Desk { job, config, site } = &self.desk;
        let known = known(turn, config);
        let mut guids = GuidSource {
            reported: &report.guids,
            random: turn.random,
        };
        match plan_stage_out(job, site, config, &known, &mut guids) {
            Err(problem) => self.fail(turn, problem),
            Ok(plan) if plan.files.is_empty() => self.save_log(turn),
            Ok(plan) => self.stage_out(turn, plan),
        }
    }

    pub(super) fn stage_out(&mut self, turn: &mut Turn<'_>, plan: StageOutPlan) {
        let phase = Phase::StagingOut {
            since: turn.now,
            plan: plan.clone(),
        };
        self.enter(turn, phase);
        turn.out.push(JobEffect::StageOut(plan));
    }

    // --- after the payload ---

    pub(super) fn on_stage_out(
        &mut self,
        turn: &mut Turn<'_>,
        results: Vec<Result<StoredFile, Problem>>,
    ) {
        let Phase::StagingOut { since, plan } = &self.phase else {
            return;
        };
        self.record.timing.stage_out = turn.now.since(*since);
        let stored = plan.files.iter().zip(&results);
        let stored = stored.filter_map(|(file, result)| Some((&file.lfn, result.as_ref().ok()?)));
        if let Some(note) = alternative_note(stored) {
            self.record.remark(note);
        }
        let missing = plan.files.len().saturating_sub(results.len());
        for (file, result) in plan.files.iter().zip(results) {
            let is_optional = self.desk.job.outputs_optional.contains(&file.lfn);
            match result {
                Ok(stored) => self.record.stored.push(file.report(&stored)),
                Err(problem) if is_optional && problem.code == ErrorCode::MissingOutputFile => {
                    turn.notes
                        .push(format!("output `{}` is missing, as it may be", file.lfn));
                }
                Err(problem) => self.record.problems.push(problem),
            }
        }
        if missing > 0 {
            let detail = format!("{missing} outputs have no result");
            self.record
                .problems
                .push(Problem::new(ErrorCode::StageOutFailed, detail));
        }
        self.save_log(turn);
    }

    pub(super) fn save_log(&mut self, turn: &mut Turn<'_>) {
        if self.directory == JobDirectory::Absent {
            return self.report(turn);
        }
        let Desk { job, config, site } = &self.desk;
        let known = known(turn, config);
        match plan_log(job, site, config, &known, turn.random) {
            Ok(None) => self.report(turn),
            Ok(Some(plan)) => self.store_log(turn, Box::new(plan)),
            Err(problem) => {
                self.record.problems.push(problem);
                self.report(turn);
            }
        }
    }

    pub(super) fn store_log(&mut self, turn: &mut Turn<'_>, plan: Box<LogPlan>) {
        self.enter(turn, Phase::SavingLog { plan: plan.clone() });
        turn.out.push(JobEffect::SaveLog(plan));
    }

    pub(super) fn on_log_saved(
        &mut self,
        turn: &mut Turn<'_>,
        result: Result<StoredFile, Problem>,
    ) {
        let Phase::SavingLog { plan } = &self.phase else {
            return;
        };
        match result {
            Ok(stored) => {
                if let Some(note) = alternative_note([(&plan.file.lfn, &stored)]) {
                    self.record.remark(note);
                }
                self.record.stored.push(plan.file.report(&stored));
            }
            Err(problem) => self.record.problems.push(problem),
        }
        self.report(turn);
    }

    pub(super) fn clean_up(&mut self, turn: &mut Turn<'_>) {
        let give_up_at = self.stop.cut_short(turn.now.after(CLEANUP_PATIENCE));
        self.enter(turn, Phase::CleaningUp { give_up_at });
        if self.directory == JobDirectory::Absent || self.desk.config.cleanup == Cleanup::Keep {
            self.enter(turn, Phase::Over);
        } else {
            turn.out.push(JobEffect::CleanUp);
        }
    }
}

/// Says whether a stage-in could not be planned because nobody knows where an input is.
const fn has_no_place(problem: &Problem) -> bool {
    matches!(
        problem.code,
        ErrorCode::NoReplicas
            | ErrorCode::NoStorage
            | ErrorCode::NoStorageProtocol
            | ErrorCode::NonDeterministicDdm
    )
}

/// What plans of outputs rest on.
fn known<'a>(turn: &Turn<'a>, config: &PilotConfig) -> Known<'a> {
    Known {
        catalogue: None,
        record: turn.storages,
        now: wall_clock(config, turn.now),
    }
}
