//! One queue as the core follows it: settings, data, back-pressure, and the cycle under way.

use std::collections::BTreeMap;

use ailurus_model::{
    BatchId, HarvesterId, NodeName, Queue, Timestamp, Worker, WorkerId, WorkerStatus,
    queue::QueueStatus,
};

use crate::{
    message::QueueSettings,
    plan::{Limits, Standing},
    pressure::Pressure,
};

/// CRIC's word for a queue that is in use.
const ACTIVE: &str = "ACTIVE";

#[derive(Debug)]
pub(crate) struct QueueState {
    pub(crate) settings: QueueSettings,
    pub(crate) data: Option<Queue>,
    pub(crate) pressure: Pressure,
    pub(crate) standing: Option<Standing>,
    /// New workers that this cycle may still bring.
    pub(crate) budget: u32,
    /// The worker whose record or submission is not answered yet, and since when.
    pub(crate) in_flight: Option<(WorkerId, Timestamp)>,
    /// When jobs of this queue were last seen with pilots.
    pub(crate) last_busy: Option<Timestamp>,
    /// The statistics as last reported, and when.
    pub(crate) statistics: Option<(Timestamp, BTreeMap<WorkerStatus, u32>)>,
}

impl QueueState {
    pub(crate) const fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            data: None,
            pressure: Pressure::new(),
            standing: None,
            budget: 0,
            in_flight: None,
            last_busy: None,
            statistics: None,
        }
    }

    /// The admin's limits, tightened by the queue's data.
    pub(crate) fn limits(&self) -> Limits {
        let data = self.data.as_ref();
        self.settings.limits.within(
            data.and_then(|data| data.worker_limit),
            data.and_then(|data| data.worker_queue_limit),
        )
    }

    /// Says why the queue takes no workers, if it takes none.
    pub(crate) fn accepts_workers(&self) -> Result<(), Standing> {
        let Some(data) = &self.data else {
            return Err(Standing::QueueUnknown);
        };
        if data.state != ACTIVE {
            return Err(Standing::QueueInactive);
        }
        match data.status {
            // A queue to which nothing new is brokered still has jobs that want to run.
            QueueStatus::Online | QueueStatus::Brokeroff | QueueStatus::Test => Ok(()),
            QueueStatus::Paused | QueueStatus::Offline => Err(Standing::QueueClosed {
                status: data.status,
            }),
        }
    }

    /// Forgets the worker under way if it is this one. Says whether it was.
    pub(crate) fn land(&mut self, worker_id: WorkerId) -> bool {
        let was_flying = self
            .in_flight
            .is_some_and(|(flying, _)| flying == worker_id);
        if was_flying {
            self.in_flight = None;
        }
        was_flying
    }

    pub(crate) fn new_worker(
        &self,
        harvester_id: HarvesterId,
        worker_id: WorkerId,
        now: Timestamp,
    ) -> Worker {
        Worker {
            harvester_id,
            worker_id,
            batch_id: BatchId::default(),
            queue: self.settings.name.clone(),
            status: WorkerStatus::Pending,
            resource_type: self.settings.resource_type.clone(),
            job_type: self.settings.job_type.clone(),
            core_count: self.data.as_ref().map_or(1, |data| data.core_count),
            node: NodeName::default(),
            submit_time: Some(now),
            start_time: None,
            end_time: None,
            exit_code: None,
            diag: String::new(),
            panda_ids: Vec::new(),
            detail: ailurus_model::WorkerDetail::of_sure_end(),
        }
    }
}
