//! Carries out the effects of one job.

use std::sync::{Arc, Mutex, mpsc::SyncSender};

use ailurus_experiment::{HookPoint, PayloadPlan};
use ailurus_model::{ErrorCode, Job, JobUpdate};
use ailurus_pilot_core::{
    Input, JobEffect, JobInput, JobTicket, Problem,
    data::{LogPlan, ReplicaQuery, StageInPlan, StageOutPlan, TransfersSeen, traces::JobTraces},
    input::{DebugAnswer, UpdateNr},
    monitoring::{Sample, SampleScope},
    payload::{
        debug::DebugRequest, ending::PayloadSignal, log_stream::LogStream, script::ScriptPlan,
    },
    resource::slots::Allotment,
};
use ailurus_process::Signal;

use super::{JobTools, Message, Shell, lock, missed_end};
use crate::{
    data::JobPlace,
    debug,
    hooks::Hooks,
    log, log_stream,
    payload::{end_beside, file_names, start_beside, start_payload, wait_for},
    settings::random_bytes,
    timing::Mark,
    traces::JobTracer,
    watch::{JobFiles, Watch},
    work_dir,
};

/// What is said of an activity that panicked.
const BAD_END: &str = "this activity of the pilot ended badly: see its log";

impl Shell {
    pub(super) fn carry_out_for_job(&mut self, ticket: JobTicket, effect: JobEffect) {
        match effect {
            JobEffect::Journal(step) => self.write_journal(ticket, step),
            JobEffect::TakeOver(id) => self.take_over(ticket, id),
            JobEffect::MakeWorkDir(job) => self.make_work_dir(ticket, &job),
            JobEffect::SendUpdate { nr, update } => self.send_update(ticket, nr, update),
            JobEffect::KeepUpdate(update, reason) => {
                work_dir::keep_update(&self.settings.launch_dir, &update, reason);
            }
            JobEffect::FindReplicas(query) => self.find_replicas(ticket, query),
            JobEffect::StageIn(plan) => self.stage_in(ticket, plan),
            JobEffect::FetchScript(plan) => self.fetch_script(ticket, plan),
            JobEffect::StartPayload(plan, allotment) => {
                self.start_payload(ticket, plan, &allotment)
            }
            JobEffect::StreamLog(stream) => self.stream_log(ticket, *stream),
            JobEffect::Look(request) => self.look(ticket, request),
            JobEffect::SignalPayload(signal) => self.signal_payload(ticket, signal),
            JobEffect::TakeSample(scope) => self.take_sample(ticket, scope),
            JobEffect::StageOut(plan) => {
                self.end_stream(ticket);
                self.stage_out(ticket, plan);
            }
            JobEffect::SaveLog(plan) => {
                self.end_stream(ticket);
                self.save_log(ticket, *plan);
            }
            JobEffect::StopTransfers => self.stop_transfers(ticket),
            JobEffect::CleanUp => self.clean_up(ticket),
        }
    }

    fn make_work_dir(&mut self, ticket: JobTicket, job: &Job) {
        // Quick, and everything else waits for it: not worth a thread.
        let made = work_dir::make_job_dir(&self.home, &self.settings.source_dir, job.panda_id);
        let made = made.and_then(|dir| match &job.options.secrets {
            Some(secrets) => work_dir::write_secrets(&dir, secrets).map(|()| dir),
            None => Ok(dir),
        });
        let result = made.map(|dir| {
            self.note_directory(ticket, &dir);
            let core = &self.settings.core;
            let is_first = ticket == JobTicket::default().next();
            let log_begin = if is_first {
                0
            } else {
                log::position(&self.home)
            };
            let place = JobPlace::new(dir.clone(), self.mover.clone(), log_begin)
                .with_tracer(self.tracer(job));
            let tools = JobTools {
                panda_id: job.panda_id,
                stream: None,
                hooks: Hooks::of(&core.profile, core.queue.as_str(), job, dir.clone()),
                place: Arc::new(place),
                payload: None,
                files: JobFiles::of(job),
                recorder: None,
            };
            self.jobs.insert(ticket, tools);
        });
        let ready = move |result| of_job(ticket, JobInput::WorkDirReady(result));
        let hooks = self.jobs.get(&ticket).and_then(|job| job.hooks.clone());
        if let (Ok(()), Some(hooks)) = (&result, hooks)
            && hooks.has(HookPoint::BeforeJob)
        {
            let fallback = ready(bad_end(ErrorCode::SetupFailure));
            return self
                .activities
                .start("hook", fallback, move |_| ready(hooks.before_job()));
        }
        let effects = self.core.handle(self.now(), ready(result));
        self.carry_out_all(effects);
    }

    /// Returns who tells Rucio what becomes of a job's files, if it is to know.
    fn tracer(&self, job: &Job) -> Option<JobTracer> {
        let desk = self.traces.clone()?;
        let local_site = self.settings.rucio.as_ref()?.local_site.clone();
        let random = random_bytes().unwrap_or_default();
        let queue = self.settings.core.queue.clone();
        let traces = JobTraces::new(job, queue, local_site, random);
        Some(JobTracer::new(desk, traces))
    }

    fn send_update(&mut self, ticket: JobTicket, nr: UpdateNr, update: Box<JobUpdate>) {
        tracing::info!("update {nr} of job {}: {}", update.panda_id, update.status);
        if update.is_final()
            && self.timing.set(Mark::FinalUpdateSent)
            && let Some(path) = &self.settings.timing_file
        {
            self.timing.write(path, update.panda_id);
        }
        self.couriers.send(ticket, nr, update);
    }

    fn find_replicas(&self, ticket: JobTicket, query: ReplicaQuery) {
        let found = move |result| of_job(ticket, JobInput::ReplicasFound(result));
        let fallback = found(bad_end(ErrorCode::RucioListReplicasFailed));
        let catalogue = self.catalogue.clone();
        self.with_place(ticket, "replicas", fallback, move |place, _| {
            let none = || Problem::new(ErrorCode::RucioListReplicasFailed, "no catalogue is set");
            let catalogue = catalogue.ok_or_else(none);
            found(catalogue.and_then(|it| it.find(&query, place.stop.flag())))
        });
    }

    fn stage_in(&self, ticket: JobTicket, plan: StageInPlan) {
        let ended = move |result| of_job(ticket, JobInput::StageInEnded(result));
        let fallback = ended(bad_end(ErrorCode::StageInFailed));
        self.with_place(ticket, "stage-in", fallback, move |place, sender| {
            let (seen, result) = place.stage_in(&plan);
            tell_seen(sender, ticket, seen);
            ended(result)
        });
    }

    fn fetch_script(&self, ticket: JobTicket, plan: ScriptPlan) {
        let ready = move |result| of_job(ticket, JobInput::ScriptReady(result));
        let fallback = ready(bad_end(ErrorCode::TrfDownloadFailure));
        let client = self.public.clone();
        self.with_place(ticket, "script", fallback, move |place, _| {
            ready(place.fetch_script(&client, &plan))
        });
    }

    /// One thread starts the payload and waits for it.
    fn start_payload(&self, ticket: JobTicket, mut plan: Box<PayloadPlan>, allotment: &Allotment) {
        let Some(job) = self.jobs.get(&ticket) else {
            return;
        };
        tracing::debug!("job {} gets {allotment:?}", job.panda_id);
        let dir = job.place.dir.clone();
        let (starter, allotment) = (self.starter.clone(), allotment.clone());
        let profile = &self.settings.core.profile;
        let known_errors = profile.error_catalogue.clone();
        let hooks = job.hooks.clone();
        let has_patterns = !profile.outputs.pattern_prefix.is_empty();
        self.activities
            .start("payload", missed_end(ticket), move |sender| {
                match hooks
                    .as_ref()
                    .map_or(Ok(()), |hooks| hooks.payload_command(&mut plan))
                    .and_then(|()| start_payload(&starter, &plan, &dir, &allotment))
                {
                    Err(problem) => of_job(ticket, JobInput::PayloadStarted(Err(problem))),
                    Ok(payload) => {
                        let control = payload.control();
                        let pid = payload.pid();
                        tell(
                            sender,
                            Message::PayloadRuns {
                                ticket,
                                control,
                                pid,
                            },
                        );
                        let started = of_job(ticket, JobInput::PayloadStarted(Ok(())));
                        tell(sender, Message::Input(started));
                        let beside = start_beside(&starter, &plan, &dir, &allotment);
                        let mut end = wait_for(payload, (&plan, &dir), &known_errors);
                        if let Some(beside) = beside {
                            end_beside(beside);
                        }
                        if let Some(hooks) = &hooks {
                            hooks.after_payload(plan.step, &mut end);
                        }
                        if has_patterns {
                            end.files = file_names(&dir);
                        }
                        of_job(ticket, JobInput::PayloadEnded(Box::new(end)))
                    }
                }
            });
    }

    fn signal_payload(&self, ticket: JobTicket, signal: PayloadSignal) {
        let Some((control, _)) = self.jobs.get(&ticket).and_then(|job| job.payload.as_ref()) else {
            return;
        };
        let sent = match signal {
            PayloadSignal::Terminate => control.signal(Signal::Term),
            PayloadSignal::Kill => control.kill(),
        };
        if let Err(error) = sent {
            tracing::debug!("{signal:?}: {error}");
        }
    }

    fn stream_log(&mut self, ticket: JobTicket, stream: LogStream) {
        if let Some(job) = self.jobs.get_mut(&ticket) {
            let client = self.public.clone();
            job.stream = log_stream::start(stream, job.place.dir.clone(), client);
        }
    }

    /// Ends the stream: no payload writes any more.
    fn end_stream(&mut self, ticket: JobTicket) {
        if let Some(job) = self.jobs.get_mut(&ticket) {
            job.stream = None;
        }
    }

    fn look(&self, ticket: JobTicket, request: DebugRequest) {
        let looked = move |answer| of_job(ticket, JobInput::Looked(Box::new(answer)));
        let job = self.jobs.get(&ticket);
        let seen = job.and_then(|job| {
            let (_, watch) = job.payload.as_ref()?;
            Some((job.place.dir.clone(), watch.clone()))
        });
        self.activities
            .start("look", looked(DebugAnswer::default()), move |_| {
                let Some((dir, watch)) = seen else {
                    return looked(DebugAnswer::default());
                };
                let pids = lock(&watch).processes();
                looked(debug::look(&request, &dir, &pids))
            });
    }

    fn take_sample(&self, ticket: JobTicket, scope: SampleScope) {
        let sampled = move |sample| of_job(ticket, JobInput::Sampled(Box::new(sample)));
        let watch: Option<Arc<Mutex<Watch>>> = self
            .jobs
            .get(&ticket)
            .and_then(|job| job.payload.as_ref())
            .map(|(_, watch)| watch.clone());
        self.activities
            .start("sample", sampled(Sample::default()), move |_| {
                sampled(
                    watch
                        .map(|watch| lock(&watch).sample(scope))
                        .unwrap_or_default(),
                )
            });
    }

    fn stage_out(&self, ticket: JobTicket, plan: StageOutPlan) {
        let ended = move |results| of_job(ticket, JobInput::StageOutEnded(results));
        let bad_ends = plan
            .files
            .iter()
            .map(|_| bad_end(ErrorCode::StageOutFailed))
            .collect();
        let fallback = ended(bad_ends);
        self.with_place(ticket, "stage-out", fallback, move |place, sender| {
            let (seen, results) = place.stage_out(&plan);
            tell_seen(sender, ticket, seen);
            ended(results)
        });
    }

    fn save_log(&self, ticket: JobTicket, plan: LogPlan) {
        let saved = move |result| of_job(ticket, JobInput::LogSaved(result));
        let fallback = saved(bad_end(ErrorCode::LogFileCreationFailure));
        self.with_place(ticket, "save-log", fallback, move |place, sender| {
            let (seen, result) = place.save_log(&plan);
            tell_seen(sender, ticket, seen);
            saved(result)
        });
    }

    /// Gives up the transfers that run. Later ones of the same job get a switch of their own.
    fn stop_transfers(&mut self, ticket: JobTicket) {
        if let Some(job) = self.jobs.get_mut(&ticket) {
            job.place.stop.stop();
            job.place = Arc::new(job.place.with_new_stop());
        }
    }

    fn clean_up(&mut self, ticket: JobTicket) {
        let job = self.jobs.remove(&ticket);
        let done = of_job(ticket, JobInput::CleanedUp);
        self.activities.start("clean-up", done.clone(), move |_| {
            if let Some(job) = job {
                tracing::debug!("removing the directory of job {}", job.panda_id);
                if let Some(hooks) = &job.hooks {
                    hooks.after_job();
                }
                work_dir::remove(&job.place.dir);
            }
            done
        });
    }

    /// Starts an activity in the job's directory. Without one, the activity has ended badly.
    fn with_place(
        &self,
        ticket: JobTicket,
        name: &str,
        fallback: Input,
        activity: impl FnOnce(&JobPlace, &SyncSender<Message>) -> Input + Send + 'static,
    ) {
        let place = self.jobs.get(&ticket).map(|job| job.place.clone());
        let without_place = fallback.clone();
        self.activities
            .start(name, fallback, move |sender| match place {
                Some(place) => activity(&place, sender),
                None => without_place,
            });
    }
}

fn of_job(ticket: JobTicket, input: JobInput) -> Input {
    Input::Job(ticket, input)
}

fn bad_end<T>(code: ErrorCode) -> Result<T, Problem> {
    Err(Problem::new(code, BAD_END))
}

/// Says what tries to move files have shown, if there were any.
fn tell_seen(sender: &SyncSender<Message>, ticket: JobTicket, seen: TransfersSeen) {
    if seen != TransfersSeen::default() {
        let seen = JobInput::TransfersSeen(Box::new(seen));
        tell(sender, Message::Input(of_job(ticket, seen)));
    }
}

/// Sends a message of an activity that goes on.
fn tell(sender: &SyncSender<Message>, message: Message) {
    if sender.send(message).is_err() {
        tracing::debug!("the loop has ended");
    }
}
