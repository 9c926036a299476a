//! What Harvester instances say about themselves, and what people want of them.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/worker_module.py`,
//! `harvesterIsAlive`, `reportWorkerStats_jobtype`, `addHarvesterDialogs`,
//! `updateServiceMetrics`, `setNumSlotsForWP`.

use std::time::Duration;

use ailurus_model::{HarvesterId, QueueName, Timestamp};

use crate::{
    Context,
    ledger::{
        DialogRecord, InstanceRecord, Ledger, LedgerError, ServiceMetricsRecord, TargetSlotsRecord,
        WorkerCounts, WorkerStatisticsRecord,
    },
    text::{DIAG_CHARS_MAX, clipped},
};

/// How long messages, measures and numbers of workers are kept.
const NOTES_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest measures that are kept, in characters.
const METRICS_CHARS_MAX: usize = 4000;
/// The word for workers whose class of jobs is not known yet: they are not counted.
const UNDEFINED: &str = "Undefined";

/// A sign of life of an instance, with what it says of itself. What it leaves out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HarvesterWord {
    /// The instance.
    pub id: HarvesterId,
    /// The distinguished name with which it comes.
    pub owner: String,
    /// The machine from which it comes.
    pub host: String,
    /// When it began; told once.
    pub started: Option<Timestamp>,
    /// Its version, empty if not told.
    pub version: String,
    /// The commit that it was built from, empty if not told.
    pub commit: String,
}

/// Takes a sign of life. The first one makes the instance known.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn note_heartbeat(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
    word: &HarvesterWord,
) -> Result<(), LedgerError> {
    let mut instance = match ledger.instance(&word.id)? {
        Some(known) => known,
        None => InstanceRecord {
            id: word.id.clone(),
            owner: String::new(),
            host: String::new(),
            started: None,
            version: String::new(),
            commit: String::new(),
            heard: ctx.now,
        },
    };
    for (known, said) in [
        (&mut instance.owner, &word.owner),
        (&mut instance.host, &word.host),
        (&mut instance.version, &word.version),
        (&mut instance.commit, &word.commit),
    ] {
        if !said.is_empty() {
            known.clone_from(said);
        }
    }
    instance.started = word.started.or(instance.started);
    instance.heard = ctx.now;
    ledger.put_instance(&instance)
}

/// Takes how many workers an instance has at a queue. Workers of no class are not counted.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn note_worker_statistics(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
    harvester: &HarvesterId,
    queue: &QueueName,
    counts: &WorkerCounts,
) -> Result<(), LedgerError> {
    let mut counts = counts.clone();
    for by_type in counts.values_mut() {
        by_type.retain(|resource_type, _| resource_type != UNDEFINED);
    }
    ledger.put_worker_statistics(&WorkerStatisticsRecord {
        harvester: harvester.clone(),
        queue: queue.clone(),
        counts,
        reported: ctx.now,
    })
}

/// Takes messages of an instance for people.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn note_dialogs(
    ledger: &mut (impl Ledger + ?Sized),
    dialogs: &[DialogRecord],
) -> Result<(), LedgerError> {
    for dialog in dialogs {
        ledger.put_dialog(&DialogRecord {
            message: clipped(&dialog.message, DIAG_CHARS_MAX),
            ..dialog.clone()
        })?;
    }
    Ok(())
}

/// Takes what an instance measured of its machines.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn note_service_metrics(
    ledger: &mut (impl Ledger + ?Sized),
    metrics: &[ServiceMetricsRecord],
) -> Result<(), LedgerError> {
    for one in metrics {
        ledger.put_service_metrics(&ServiceMetricsRecord {
            metrics: clipped(&one.metrics, METRICS_CHARS_MAX),
            ..one.clone()
        })?;
    }
    Ok(())
}

/// Sets how many slots a queue is to have for a global share and a class of jobs. Says whether
/// there is such a queue.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn set_target_slots(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
    slots: &TargetSlotsRecord,
) -> Result<bool, LedgerError> {
    if ctx.queue(&slots.queue).is_none() {
        return Ok(false);
    }
    ledger.put_target_slots(slots)?;
    Ok(true)
}

/// Forgets what instances said long ago. Returns how many rows.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn expire_harvester_notes(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
) -> Result<u64, LedgerError> {
    let before = ctx.now.before(NOTES_KEPT);
    let notes = ledger.remove_harvester_notes_before(before)?;
    Ok(notes + ledger.remove_worker_statistics_before(before)?)
}
