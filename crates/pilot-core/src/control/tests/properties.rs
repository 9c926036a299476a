//! Whatever happens, and in whatever order, the pilot keeps its promises.
//!
//! A shell with random luck carries out what the pilot wants, late and in any order, loses answers,
//! and throws in signals and stray inputs. After a while its luck turns, and the pilot must leave.

use std::{collections::BTreeMap, num::NonZeroU32};

use ailurus_model::{ByteCount, Command, ErrorCode, JobUpdate, Moment, UpdateAnswer};
use proptest::prelude::*;

use super::bench::{found, problem, roomy, stored};
use crate::{
    Effect, Input, JobEffect, JobInput, JobTicket, PilotConfig, PilotCore,
    config::{Catalogue, DataSettings, Slots},
    control::testing::{config, input_file, job, output_file, site},
    input::{AcquireFailure, FoundJournals, PayloadEnd, UpdateFailure},
    monitoring::{FilesSample, Sample},
    payload::ending::PayloadSignal,
    recovery::PayloadExit,
    resource::slots::Allotment,
};

/// Steps after which luck turns.
const UNLUCKY_STEPS: usize = 60;
/// Steps within which a pilot must leave then.
const STEPS_MAX: usize = 2000;
/// Jobs after which the server offers no further ones.
const JOBS_MAX: u64 = 4;

/// A shell that carries effects out when chance says so.
struct Shell {
    core: PilotCore,
    now: Moment,
    open: Vec<Effect>,
    payloads: BTreeMap<JobTicket, Allotment>,
    slots: Slots,
    finals: BTreeMap<JobTicket, JobUpdate>,
    delivered: BTreeMap<JobTicket, u32>,
    superseded: Vec<JobTicket>,
    accepted: Vec<JobTicket>,
    has_left: bool,
    n_jobs: u64,
}

impl Shell {
    fn new(payloads: u32) -> Self {
        let mut site = site();
        site.queue.time_floor = std::time::Duration::from_secs(600);
        let slots = Slots {
            payloads: NonZeroU32::new(payloads).expect("not zero"),
            ahead: payloads - 1,
            cores: None,
        };
        let mut shell = Self {
            core: PilotCore::new(PilotConfig {
                slots,
                data: DataSettings {
                    catalogue: if payloads == 2 {
                        Catalogue::Rucio
                    } else {
                        Catalogue::None
                    },
                    ..DataSettings::default()
                },
                ..config()
            }),
            now: Moment::START,
            open: Vec::new(),
            payloads: BTreeMap::new(),
            slots,
            finals: BTreeMap::new(),
            delivered: BTreeMap::new(),
            superseded: Vec::new(),
            accepted: Vec::new(),
            has_left: false,
            n_jobs: 0,
        };
        shell.give(Input::Started);
        shell.open.clear();
        shell.give(Input::JournalsFound(FoundJournals::default()));
        shell.give(Input::SiteLoaded(Ok(Box::new(site))));
        shell
    }

    fn give(&mut self, input: Input) {
        let effects = self.core.handle(self.now, input);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match &effect {
                Effect::Note(_) => continue,
                Effect::Exit(_) => {
                    let left = &self.payloads;
                    assert!(left.is_empty(), "P1: {left:?} outlives its pilot");
                    assert!(!self.has_left, "a pilot leaves once");
                    self.has_left = true;
                }
                Effect::Job(ticket, effect) => self.take_job_effect(*ticket, effect),
                Effect::LoadSite
                | Effect::FindJournals
                | Effect::MeasureNode
                | Effect::AcquireJob(_)
                | Effect::ReportWorker(_) => {}
            }
            self.open.push(effect);
        }
    }

    fn take_job_effect(&mut self, ticket: JobTicket, effect: &JobEffect) {
        match effect {
            JobEffect::MakeWorkDir(_) => self.accepted.push(ticket),
            JobEffect::StartPayload(_, allotment) => self.share(ticket, allotment),
            JobEffect::SendUpdate { update, .. } => {
                assert!(
                    !self.superseded.contains(&ticket),
                    "a superseded attempt speaks"
                );
                let is_told = self.delivered.contains_key(&ticket);
                assert!(!is_told, "an update follows the delivered final one");
                match self.finals.get(&ticket) {
                    Some(first) => assert_eq!(first, &**update, "the final update changes"),
                    None if update.is_final() => {
                        self.finals.insert(ticket, (**update).clone());
                    }
                    None => {}
                }
            }
            // It may have waited all the time behind another update.
            JobEffect::KeepUpdate(update, _) => {
                let first = self
                    .finals
                    .entry(ticket)
                    .or_insert_with(|| (**update).clone());
                assert_eq!(first, &**update, "another final update is kept");
            }
            JobEffect::Journal(_)
            | JobEffect::TakeOver(_)
            | JobEffect::Look(_)
            | JobEffect::StreamLog(_)
            | JobEffect::SignalPayload(_)
            | JobEffect::FindReplicas(_)
            | JobEffect::StageIn(_)
            | JobEffect::FetchScript(_)
            | JobEffect::TakeSample(_)
            | JobEffect::StageOut(_)
            | JobEffect::SaveLog(_)
            | JobEffect::StopTransfers
            | JobEffect::CleanUp => {}
        }
    }

    /// Checks that a payload takes nothing that another one has.
    fn share(&mut self, ticket: JobTicket, allotment: &Allotment) {
        let n_payloads = self.payloads.len() + 1;
        assert!(n_payloads <= self.slots.payloads.get() as usize, "too many");
        for other in self.payloads.values() {
            assert_ne!(other.slot, allotment.slot);
            let is_shared = |core: &u32| other.cores.contains(core);
            assert!(!allotment.cores.iter().any(is_shared), "cores are shared");
        }
        let pinned = self.payloads.values().map(|it| it.cores.len());
        let n_cores = pinned.sum::<usize>() + allotment.cores.len();
        assert!(
            n_cores <= roomy().cores as usize,
            "more cores than there are"
        );
        self.payloads.insert(ticket, allotment.clone());
    }

    /// Carries one open effect out. `luck` decides how it ends; zero is the best.
    fn carry_out(&mut self, index: usize, luck: u8) {
        let effect = self.open.swap_remove(index % self.open.len());
        match effect {
            Effect::FindJournals => self.give(Input::JournalsFound(FoundJournals::default())),
            Effect::MeasureNode => self.give(Input::NodeMeasured(roomy())),
            Effect::AcquireJob(request) => self.offer(request.n_jobs, luck),
            Effect::ReportWorker(_) => self.give(Input::WorkerReported),
            Effect::Job(ticket, effect) => self.carry_out_for_job(ticket, effect, luck),
            Effect::LoadSite | Effect::Note(_) | Effect::Exit(_) => {}
        }
    }

    fn offer(&mut self, n_jobs: u32, luck: u8) {
        match luck {
            0..=5 if self.n_jobs < JOBS_MAX => {
                let jobs = (0..n_jobs.min(1 + u32::from(luck))).map(|_| self.new_job());
                let jobs = jobs.collect();
                self.offer_jobs(jobs);
            }
            6 => self.give(Input::AcquireFailed(AcquireFailure::NoAnswer(
                "reset".into(),
            ))),
            7 => self.give(Input::AcquireFailed(AcquireFailure::NotAllowed(
                "no role".into(),
            ))),
            _ => self.offer_jobs(Vec::new()),
        }
    }

    fn new_job(&mut self) -> ailurus_model::Job {
        self.n_jobs += 1;
        let mut job = job(self.n_jobs);
        job.inputs = vec![input_file("in")];
        job.outputs = vec![output_file("out")];
        job.core_count = u32::try_from(self.n_jobs % 3 + 1).expect("small");
        job
    }

    fn offer_jobs(&mut self, jobs: Vec<ailurus_model::Job>) {
        let refused = Vec::new();
        self.give(Input::JobsOffered(crate::input::Offer { jobs, refused }));
    }

    fn carry_out_for_job(&mut self, ticket: JobTicket, effect: JobEffect, luck: u8) {
        let is_bad = luck > 5;
        let plain = |code| if is_bad { problem(code) } else { Ok(()) };
        let input = match effect {
            JobEffect::MakeWorkDir(_) => JobInput::WorkDirReady(plain(ErrorCode::Mkdir)),
            JobEffect::FindReplicas(_) if is_bad => {
                JobInput::ReplicasFound(problem(ErrorCode::RucioListReplicasFailed))
            }
            JobEffect::FindReplicas(query) => JobInput::ReplicasFound(Ok(found(&query))),
            JobEffect::StageIn(_) => JobInput::StageInEnded(plain(ErrorCode::StageInFailed)),
            JobEffect::FetchScript(_) => {
                JobInput::ScriptReady(plain(ErrorCode::TrfDownloadFailure))
            }
            JobEffect::StartPayload(..) => {
                if is_bad {
                    self.payloads.remove(&ticket);
                }
                JobInput::PayloadStarted(plain(ErrorCode::PayloadExecutionFailure))
            }
            JobEffect::Look(_) => JobInput::Looked(Box::default()),
            JobEffect::StreamLog(_) => return,
            JobEffect::SignalPayload(signal) => return self.signal(ticket, signal, luck),
            JobEffect::TakeSample(_) => JobInput::Sampled(Box::new(Sample {
                files: Some(FilesSample {
                    free_space: ByteCount::from_gib(if is_bad { 0 } else { 100 }),
                    ..FilesSample::default()
                }),
                ..Sample::default()
            })),
            JobEffect::StageOut(plan) => {
                let one = || {
                    if is_bad {
                        problem(ErrorCode::StageOutFailed)
                    } else {
                        stored()
                    }
                };
                JobInput::StageOutEnded(plan.files.iter().map(|_| one()).collect())
            }
            JobEffect::SaveLog(_) => JobInput::LogSaved(if is_bad {
                problem(ErrorCode::StageOutFailed)
            } else {
                stored()
            }),
            JobEffect::SendUpdate { nr, update } => {
                let result = self.server(ticket, &update, luck);
                JobInput::UpdateAnswered { nr, result }
            }
            JobEffect::CleanUp => JobInput::CleanedUp,
            JobEffect::Journal(_)
            | JobEffect::TakeOver(_)
            | JobEffect::StopTransfers
            | JobEffect::KeepUpdate(..) => return,
        };
        self.give(Input::Job(ticket, input));
    }

    fn server(
        &mut self,
        ticket: JobTicket,
        update: &JobUpdate,
        luck: u8,
    ) -> Result<UpdateAnswer, UpdateFailure> {
        match luck {
            9 => return Err(UpdateFailure::Unreachable("reset".into())),
            8 => return Err(UpdateFailure::Refused("odd".into())),
            _ => {}
        }
        if update.is_final() {
            *self.delivered.entry(ticket).or_default() += 1;
            return Ok(UpdateAnswer::default());
        }
        match luck {
            7 => Ok(UpdateAnswer::with(Command::ToBeKilled)),
            6 => {
                self.superseded.push(ticket);
                Ok(UpdateAnswer::with(Command::BadAttemptNr))
            }
            _ => Ok(UpdateAnswer::default()),
        }
    }

    fn signal(&mut self, ticket: JobTicket, signal: PayloadSignal, luck: u8) {
        let obeys = signal == PayloadSignal::Kill || luck < 5;
        if obeys {
            self.end_payload(ticket, PayloadExit::Signal(9));
        }
    }

    /// Ends a payload that has started.
    fn end_payload(&mut self, ticket: JobTicket, exit: PayloadExit) {
        let is_start = |effect: &Effect| matches!(effect, Effect::Job(other, JobEffect::StartPayload(..)) if *other == ticket);
        if !self.open.iter().any(is_start) && self.payloads.remove(&ticket).is_some() {
            let end = PayloadEnd {
                exit,
                ..PayloadEnd::default()
            };
            self.give(Input::Job(ticket, JobInput::PayloadEnded(Box::new(end))));
        }
    }

    fn end_any_payload(&mut self, index: usize, exit: PayloadExit) {
        let n_payloads = self.payloads.len().max(1);
        let ticket = self.payloads.keys().nth(index % n_payloads).copied();
        if let Some(ticket) = ticket {
            self.end_payload(ticket, exit);
        }
    }

    fn pass_time(&mut self) {
        if let Some(due) = self.core.next_deadline() {
            self.now = self.now.max(due);
        }
        let effects = self.core.handle_timeout(self.now);
        self.take(effects);
    }

    fn has_kill_open(&self) -> Option<usize> {
        self.open.iter().position(|effect| {
            matches!(
                effect,
                Effect::Job(_, JobEffect::SignalPayload(PayloadSignal::Kill))
            )
        })
    }

    /// One unlucky step. A kill is carried out before time passes: no shell forgets it.
    fn step(&mut self, choice: u8, index: usize, luck: u8) {
        match choice {
            0..=5 if !self.open.is_empty() => self.carry_out(index, luck),
            6 | 7 => {
                while let Some(kill) = self.has_kill_open() {
                    self.carry_out(kill, 0);
                }
                self.pass_time();
            }
            8 => self.end_any_payload(index, PayloadExit::Code(i32::from(luck > 5))),
            9 if luck == 9 => self.give(Input::StopRequested(15)),
            9 => self.give(Input::Job(JobTicket::default().next(), JobInput::CleanedUp)),
            _ => {}
        }
    }

    fn finish(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.has_left {
                return;
            }
            if self.open.is_empty() {
                self.end_any_payload(0, PayloadExit::Code(0));
                self.pass_time();
            } else {
                self.carry_out(0, 0);
            }
        }
        panic!("the pilot never leaves: {:?}", self.core);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_job_gets_one_final_update_and_no_payload_outlives_the_pilot(
        payloads in 1_u32..4,
        steps in prop::collection::vec((0_u8..10, any::<usize>(), 0_u8..10), UNLUCKY_STEPS),
    ) {
        let mut shell = Shell::new(payloads);
        for (choice, index, luck) in steps {
            if !shell.has_left {
                shell.step(choice, index, luck);
            }
        }
        shell.finish();
        for ticket in &shell.accepted {
            let is_told = shell.finals.contains_key(ticket) || shell.superseded.contains(ticket);
            prop_assert!(is_told, "job {ticket} has no final update");
        }
        prop_assert!(shell.delivered.values().all(|count| *count == 1));
    }

    #[test]
    fn the_same_inputs_give_the_same_effects(
        payloads in 1_u32..4,
        steps in prop::collection::vec((0_u8..10, any::<usize>(), 0_u8..10), UNLUCKY_STEPS),
    ) {
        let run = || {
            let mut shell = Shell::new(payloads);
            for (choice, index, luck) in &steps {
                if !shell.has_left {
                    shell.step(*choice, *index, *luck);
                }
            }
            (shell.open, shell.now)
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn acting_before_a_deadline_does_nothing(
        payloads in 1_u32..4,
        steps in prop::collection::vec((0_u8..10, any::<usize>(), 0_u8..10), UNLUCKY_STEPS),
    ) {
        let mut shell = Shell::new(payloads);
        for (choice, index, luck) in steps {
            if shell.has_left {
                break;
            }
            if shell.core.next_deadline().is_none_or(|due| due > shell.now) {
                let effects = shell.core.handle_timeout(shell.now);
                prop_assert_eq!(effects, vec![]);
            }
            shell.step(choice, index, luck);
        }
    }
}
