//! Ends jobs, or has them run elsewhere, by PanDA's kill codes.
//!
//! A job that runs is told to end with its next heartbeat; every other one ends at once. Codes that
//! mean "elsewhere" do not end a job of a task: it is brokered anew, with its next attempt if a
//! pilot had it. PanDA closes it and has JEDI make another job of the same inputs.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`, `killJob`.

use ailurus_model::{Caller, Command, JobKind, JobStatus, PandaId, Proof};

use crate::{
    Context,
    events::{EventRole, is_resting},
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
    text::{DIAG_CHARS_MAX, clipped},
};

/// PanDA's `taskBufferErrorCode`s.
pub(crate) const KILLED: u32 = 100;
const EXPIRED: u32 = 102;
const ABORTED: u32 = 103;
const REASSIGNED: u32 = 105;
const FAST_REBROKERAGE: u32 = 130;

/// The sub-status of a job that is to run elsewhere.
pub(crate) const TO_REASSIGN: &str = "toreassign";
/// The sub-status of a job that nobody needs any more.
const TASK_DONE: &str = "taskdone";

/// Why jobs are to end: PanDA's kill codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillCode {
    /// No code: its user wants it to end.
    User,
    /// 2: it waited too long.
    Expired,
    /// 3: another system gave it up.
    Aborted,
    /// 4: its inputs were waited for too long.
    ExpiredWaiting,
    /// 7: the server tries it again.
    ServerRetry,
    /// 8: it is brokered anew.
    Rebrokerage,
    /// 9: it ends at once, whatever it is.
    Force,
    /// 10: its queue has too many.
    FastRebrokerage,
    /// 50: its task ends.
    Task,
    /// 51: its task wants it elsewhere.
    Reassigned,
    /// 52: its task ends at once.
    TaskForce,
    /// 55: its task is done, or almost.
    TaskDone,
    /// 60: its pilot gave it back.
    Pilot,
    /// 91: a production manager ends a user's job.
    Production,
    /// 99: the same, at once.
    ProductionForce,
}

/// Every code with its number.
const NUMBERS: [(i64, KillCode); 14] = [
    (2, KillCode::Expired),
    (3, KillCode::Aborted),
    (4, KillCode::ExpiredWaiting),
    (7, KillCode::ServerRetry),
    (8, KillCode::Rebrokerage),
    (9, KillCode::Force),
    (10, KillCode::FastRebrokerage),
    (50, KillCode::Task),
    (51, KillCode::Reassigned),
    (52, KillCode::TaskForce),
    (55, KillCode::TaskDone),
    (60, KillCode::Pilot),
    (91, KillCode::Production),
    (99, KillCode::ProductionForce),
];

impl KillCode {
    /// Reads PanDA's number. One that is not known means what no number means.
    #[must_use]
    pub fn of_number(number: Option<i64>) -> Self {
        let known = NUMBERS.iter().find(|(known, _)| Some(*known) == number);
        known.map_or(Self::User, |(_, code)| *code)
    }

    /// Says whether a production manager may end users' jobs with it.
    const fn is_for_managers(self) -> bool {
        !matches!(
            self,
            Self::User | Self::Aborted | Self::TaskDone | Self::Pilot
        )
    }

    /// Says whether it counts although the job is being ended already.
    const fn insists(self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::Force
                | Self::FastRebrokerage
                | Self::Reassigned
                | Self::TaskForce
                | Self::Pilot
                | Self::ProductionForce
        )
    }

    /// Says whether the job is to run elsewhere.
    const fn is_elsewhere(self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::ExpiredWaiting
                | Self::Rebrokerage
                | Self::FastRebrokerage
                | Self::Reassigned
        )
    }
}

/// What is to be done about jobs.
#[derive(Debug, Clone, Copy)]
pub struct KillRequest<'a> {
    /// Why.
    pub code: KillCode,
    /// Who asks.
    pub caller: &'a Caller,
    /// The sub-status that closed jobs get (`jobSubStatus=…` of the options), if one is given.
    pub sub_status: Option<&'a str>,
    /// What becomes of what a merge job reads.
    pub unmerged: Unmerged,
}

/// What becomes of the jobs whose outputs a merge job reads when that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmerged {
    /// They share its fate.
    #[default]
    Lost,
    /// They stay, and are merged anew (`keepUnmerged` of the options).
    Kept,
}

/// Ends jobs and says for each whether anything was done: nothing is if it is not known, has ended
/// or is being ended, or if the caller may not do it.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn kill_jobs(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    ids: &[PandaId],
    request: KillRequest<'_>,
) -> Result<Vec<bool>, LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    let mut done = Vec::with_capacity(ids.len());
    op.ledger.expect_jobs(ids)?;
    for id in ids {
        let is_done = match op.ledger.job(*id)? {
            Some(job) if op.may_kill(&job, request)? => {
                let who = who(request.caller);
                let sub_status = request.sub_status;
                // The merge itself is the one piece of work that can give what is kept a use.
                let code = match (job.kind, request.unmerged) {
                    (JobKind::Merge, Unmerged::Kept) => KillCode::Reassigned,
                    _ => request.code,
                };
                op.kill_by(job, code, &who, Rights::of(request), sub_status)?
            }
            Some(_) | None => false,
        };
        done.push(is_done);
    }
    op.finish()?;
    Ok(done)
}

/// Has jobs that do not run yet brokered anew.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn reassign_jobs(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    ids: &[PandaId],
    caller: &Caller,
) -> Result<u64, LedgerError> {
    let request = KillRequest {
        code: KillCode::Reassigned,
        caller,
        sub_status: None,
        unmerged: Unmerged::Lost,
    };
    let mut op = Operation::new(ctx, ledger);
    let mut moved = 0;
    op.ledger.expect_jobs(ids)?;
    for id in ids {
        let Some(job) = op.ledger.job(*id)? else {
            continue;
        };
        let does_not_run = matches!(
            job.status,
            JobStatus::Defined
                | JobStatus::Assigned
                | JobStatus::Activated
                | JobStatus::Sent
                | JobStatus::Starting
        );
        if does_not_run && op.may_kill(&job, request)? {
            let who = who(caller);
            moved += u64::from(op.kill_by(job, request.code, &who, Rights::Common, None)?);
        }
    }
    op.finish()?;
    Ok(moved)
}

/// The name under which a caller is noted.
pub(crate) fn who(caller: &Caller) -> String {
    if caller.name.is_empty() {
        "somebody on the server's machine".to_owned()
    } else {
        caller.name.clone()
    }
}

/// What a code may do beyond the common, by who uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Nothing.
    Common,
    /// Code 99 ends what runs.
    Production,
}

impl Rights {
    fn of(request: KillRequest<'_>) -> Self {
        if request.caller.rights.production {
            Self::Production
        } else {
            Self::Common
        }
    }
}

impl<L: Ledger> Operation<'_, L> {
    fn may_kill(&mut self, job: &JobRecord, request: KillRequest<'_>) -> Result<bool, LedgerError> {
        let caller = request.caller;
        if caller.proof == Proof::Loopback {
            return Ok(true);
        }
        let owner = self.spec(job.task_id)?.user.clone();
        let is_owner = !caller.name.is_empty() && caller.name == owner;
        let is_users = matches!(job.source_label.as_str(), "user" | "panda");
        let as_manager = caller.rights.production && (!is_users || request.code.is_for_managers());
        Ok(is_owner || as_manager || self.is_of_their_group(job, caller)?)
    }

    /// Ends a job for its user or its task, and says whether anything was done.
    pub(crate) fn kill(&mut self, job: JobRecord, who: &str) -> Result<bool, LedgerError> {
        self.kill_by(job, KillCode::User, who, Rights::Common, None)
    }

    /// Ends a job by a code, and says whether anything was done.
    pub(crate) fn kill_by(
        &mut self,
        mut job: JobRecord,
        code: KillCode,
        who: &str,
        rights: Rights,
        sub_status: Option<&str>,
    ) -> Result<bool, LedgerError> {
        let is_being_killed = job.command == Some(Command::ToBeKilled);
        let insists = code.insists() || job.status == JobStatus::Merging;
        if job.status.is_terminal() || (is_being_killed && !insists) {
            return Ok(false);
        }
        // It has no queue to leave.
        if code.is_elsewhere() && is_resting(&job) {
            return Ok(false);
        }
        let label = job.source_label.as_str();
        let is_production = label == "managed" || label.contains("test");
        let is_forced = match code {
            KillCode::Force | KillCode::TaskForce => is_production,
            KillCode::ProductionForce => rights == Rights::Production,
            _ if job.status == JobStatus::Merging => true,
            KillCode::User
            | KillCode::Expired
            | KillCode::Aborted
            | KillCode::ExpiredWaiting
            | KillCode::ServerRetry
            | KillCode::Rebrokerage
            | KillCode::FastRebrokerage
            | KillCode::Task
            | KillCode::Reassigned
            | KillCode::TaskDone
            | KillCode::Pilot
            | KillCode::Production => false,
        };
        let verdict = Verdict::of(code, &job, who);
        job.reason = clipped(&verdict.diag, DIAG_CHARS_MAX);
        if code.is_elsewhere() && job.kind != JobKind::Direct {
            job.sub_status = TO_REASSIGN.to_owned();
        } else if let Some(text) = sub_status.or(verdict.sub_status) {
            job.sub_status = clipped(text, SUB_STATUS_CHARS_MAX);
        }
        job.server_code = verdict.code;
        if job.status == JobStatus::Running && !is_forced {
            // Its time stays: a kill is no sign of life.
            job.command = Some(Command::ToBeKilled);
            self.ledger.put_job(&job)?;
            return Ok(true);
        }
        if code.is_elsewhere() && job.kind != JobKind::Direct {
            self.run_elsewhere(job)?;
        } else {
            self.end_attempt_as(&job, verdict.status)?;
            self.end_without_outputs(job, verdict.status)?;
        }
        Ok(true)
    }

    /// Has a job brokered anew; if a pilot had it, by its next attempt, if there is one. `reason`
    /// of the job says why.
    pub(crate) fn run_elsewhere(&mut self, mut job: JobRecord) -> Result<(), LedgerError> {
        // It may have ended with another one that was ended just before.
        if job.status.is_terminal() {
            return Ok(());
        }
        // One has no queue, and the other has nothing left to run.
        if matches!(job.status, JobStatus::Pending | JobStatus::Merging) {
            return self.ledger.put_job(&job);
        }
        let why = job.reason.clone();
        if is_out(job.status) {
            self.end_attempt_as(&job, JobStatus::Closed)?;
            match EventRole::of(&job.tags) {
                EventRole::Takes => {
                    job.server_code = 0;
                    return self.go_on_with_events(job, &why);
                }
                EventRole::TakesBeside => self.settle_ranges(&job)?,
                EventRole::None | EventRole::Merges => {}
            }
            if job.attempt_nr.value() >= job.max_attempts {
                if self.leave_it_to_others(&job, &why)? {
                    return Ok(());
                }
                return self.end_without_outputs(job, JobStatus::Closed);
            }
            job.attempt_nr = job.attempt_nr.next();
        }
        job.command = None;
        job.worker = None;
        job.sub_status.clear();
        job.server_code = 0;
        self.set_status(&mut job, JobStatus::Defined, &why)?;
        job.queue = None;
        self.place(&mut job)?;
        self.touched.insert(job.task_id);
        self.copy_again(&job)
    }

    /// Ends a job at once that somebody wanted to end with its attempt, and says whether somebody
    /// did.
    pub(crate) fn end_if_killed(&mut self, job: &JobRecord) -> Result<bool, LedgerError> {
        if !is_killed(job) {
            return Ok(false);
        }
        let mut job = job.clone();
        self.end_attempt_as(&job, JobStatus::Cancelled)?;
        if job.server_code == 0 {
            job.server_code = KILLED;
        }
        job.command = None;
        let why = job.reason.clone();
        self.set_status(&mut job, JobStatus::Cancelled, &why)?;
        self.touched.insert(job.task_id);
        self.ledger.put_job(&job)?;
        Ok(true)
    }

    /// Ends the attempt of a job that a pilot has.
    pub(crate) fn end_attempt_as(
        &mut self,
        job: &JobRecord,
        status: JobStatus,
    ) -> Result<(), LedgerError> {
        if !is_out(job.status) {
            return Ok(());
        }
        let mut attempt = self.attempt(job)?;
        // A job whose outputs are being merged has ended its attempt already.
        if attempt.ended.is_some() {
            return Ok(());
        }
        attempt.status = status;
        attempt.ended = Some(self.ctx.now);
        self.ledger.put_attempt(&attempt)
    }

    /// Says whether a caller has production rights in the working group of a production job.
    fn is_of_their_group(&mut self, job: &JobRecord, caller: &Caller) -> Result<bool, LedgerError> {
        if !matches!(job.source_label.as_str(), "managed" | "test") {
            return Ok(false);
        }
        let group = self.working_group_of(job)?;
        Ok(caller.rights.working_groups.iter().any(|theirs| {
            let (group, theirs) = (group.to_ascii_lowercase(), theirs.to_ascii_lowercase());
            !theirs.is_empty() && (group == theirs || group.ends_with(&format!("_{theirs}")))
        }))
    }
}

/// Longest sub-status that is kept, in characters.
const SUB_STATUS_CHARS_MAX: usize = 80;

/// Says whether somebody wants a job to end that a pilot has.
pub(crate) fn is_killed(job: &JobRecord) -> bool {
    job.command == Some(Command::ToBeKilled) && job.sub_status != TO_REASSIGN
}

fn is_out(status: JobStatus) -> bool {
    status.is_with_pilot()
        || matches!(
            status,
            JobStatus::Holding | JobStatus::Transferring | JobStatus::Merging
        )
}

/// What a code makes of a job that ends.
struct Verdict {
    status: JobStatus,
    code: u32,
    diag: String,
    sub_status: Option<&'static str>,
}

impl Verdict {
    fn of(code: KillCode, job: &JobRecord, who: &str) -> Self {
        use JobStatus::{Cancelled, Closed};
        let (status, code, diag, sub_status) = match code {
            KillCode::Expired | KillCode::ExpiredWaiting => {
                let since = job.state_changed.to_panda_text();
                let diag = format!("expired in {}. status unchanged since {since}", job.status);
                (Closed, EXPIRED, diag, Some(TO_REASSIGN))
            }
            KillCode::Aborted => (Cancelled, ABORTED, "aborted by ExtIF".to_owned(), None),
            KillCode::Rebrokerage => {
                let diag = format!("reassigned to another site by rebrokerage. new {who}");
                (Cancelled, REASSIGNED, diag, None)
            }
            KillCode::Reassigned => {
                let diag = "reassigned by JEDI".to_owned();
                (Closed, KILLED, diag, Some(TO_REASSIGN))
            }
            KillCode::TaskDone => {
                let diag = "killed since task is (almost) done".to_owned();
                (Closed, KILLED, diag, Some(TASK_DONE))
            }
            KillCode::Pilot => (Closed, KILLED, "closed by the pilot".to_owned(), None),
            KillCode::FastRebrokerage => {
                let diag = "fast rebrokerage due to Nq/Nr overshoot".to_owned();
                (Closed, FAST_REBROKERAGE, diag, None)
            }
            KillCode::User
            | KillCode::ServerRetry
            | KillCode::Force
            | KillCode::Task
            | KillCode::TaskForce
            | KillCode::Production
            | KillCode::ProductionForce => (Cancelled, KILLED, format!("killed by `{who}`"), None),
        };
        Self {
            status,
            code,
            diag,
            sub_status,
        }
    }
}
