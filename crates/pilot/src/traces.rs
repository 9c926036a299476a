//! Tells Rucio what became of transfers.
//!
//! What a trace says is decided by the core; here it gets what only the node knows, and goes to a
//! thread of its own, which is started with the first one.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ailurus_model::{Guid, NodeName, Timestamp};
use ailurus_pilot_core::data::{
    Direction, Try,
    traces::{JobTraces, Trace, TraceEnd, TraceTimes, TracedFile},
};
use ailurus_rucio::TraceSender;
use ailurus_wire::rucio::trace as wire;

use crate::settings::{TraceSettings, VERSION, wall_now};

/// How long the pilot's end may wait for traces.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Stands where Pilot 3 names the version of Rucio's client.
const CLIENT: &str = "none";
/// An address that nobody has, for asking the kernel which of ours would be used. Nothing is sent.
///
/// Source: RFC 5737.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// Takes the traces of all jobs.
#[derive(Debug)]
pub(crate) struct TraceDesk {
    settings: TraceSettings,
    host: String,
    ip: String,
    sender: Mutex<Sending>,
}

/// Whether traces are sent.
#[derive(Debug)]
enum Sending {
    /// Nothing was to be sent yet.
    Unopened,
    Open(TraceSender),
    /// They cannot be sent, or not any more.
    Closed,
}

/// Takes the traces of one job.
#[derive(Debug, Clone)]
pub(crate) struct JobTracer {
    desk: Arc<TraceDesk>,
    job: Arc<JobTraces>,
    /// When the stage-in or stage-out began.
    begin: Timestamp,
}

impl TraceDesk {
    pub(crate) fn new(settings: TraceSettings, node: &NodeName) -> Self {
        let ip = own_address().map(|ip| ip.to_string());
        Self {
            settings,
            host: node.to_string(),
            ip: ip.unwrap_or_default(),
            sender: Mutex::new(Sending::Unopened),
        }
    }

    /// Takes a trace. Never waits for its server.
    fn tell(&self, job: &JobTraces, trace: &Trace) {
        let mut sending = self.sending();
        if matches!(*sending, Sending::Unopened) {
            let started = TraceSender::start(&self.settings.url, &self.settings.http);
            let started = started.inspect_err(|error| tracing::warn!("no traces: {error}"));
            *sending = started.map_or(Sending::Closed, Sending::Open);
        }
        match &*sending {
            Sending::Open(sender) => sender.send(&self.message(job, trace)),
            Sending::Unopened | Sending::Closed => {}
        }
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn message(&self, job: &JobTraces, trace: &Trace) -> wire::TransferTrace {
        let (times, file) = (&trace.times, &trace.file);
        let guid = Some(&file.guid).filter(|guid| !guid.is_empty());
        wire::TransferTrace {
            event: trace.event.to_owned(),
            version: format!("{VERSION}+{CLIENT}"),
            protocol: trace.protocol.clone(),
            state: trace.state.to_owned(),
            reason: trace.reason.clone(),
            local_site: trace.local_site.clone(),
            remote_site: trace.remote_site.clone(),
            times: wire::TraceTimes {
                start: Some(times.start),
                catalogue: None,
                relative: Some(times.transfer),
                transfer: Some(times.transfer),
                validate: Some(times.validate),
                end: Some(times.end),
            },
            dataset: file.dataset.clone(),
            scope: file.scope.clone(),
            file: file.lfn.clone(),
            size: file.size,
            guid: guid.map(Guid::new),
            url: trace.url.clone(),
            user: job.user.clone(),
            panda_id: job.panda_id,
            task_id: job.task_id,
            request_id: job.uuid.clone(),
            host: self.host.clone(),
            ip: self.ip.clone(),
            queue: job.queue.to_string(),
        }
    }

    /// Sends what is left, for a little while.
    pub(crate) fn close(&self) {
        let sending = std::mem::replace(&mut *self.sending(), Sending::Closed);
        let Sending::Open(sender) = sending else {
            return;
        };
        let summary = sender.finish(LAST_WAIT);
        let (sent, refused, dropped) = (summary.n_sent, summary.n_refused, summary.n_dropped);
        tracing::info!("traces: {sent} sent, {refused} refused, {dropped} dropped");
    }
}

impl JobTracer {
    pub(crate) fn new(desk: Arc<TraceDesk>, job: JobTraces) -> Self {
        Self {
            desk,
            job: Arc::new(job),
            begin: wall_now(),
        }
    }

    /// Returns the same for a stage-in or stage-out that begins now.
    pub(crate) fn starting_now(&self) -> Self {
        Self {
            begin: wall_now(),
            ..self.clone()
        }
    }

    /// Tells what became of a try that took this long and has just ended.
    pub(crate) fn tell(
        &self,
        direction: Direction,
        (way, file): (&Try, TracedFile),
        elapsed: Duration,
        end: TraceEnd<'_>,
    ) {
        let now = wall_now();
        let times = TraceTimes {
            start: self.begin,
            transfer: now.before(elapsed),
            // Bytes are verified while they are moved.
            validate: now,
            end: now,
        };
        if let Some(trace) = self.job.of_try(direction, (way, file), times, end) {
            self.desk.tell(&self.job, &trace);
        }
    }
}

/// Asks the kernel from which address this node talks to others.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use ailurus_http::ClientConfig;
    use ailurus_model::{DatasetName, EndpointName, Lfn, PandaId, QueueName, Scope, TaskId};
    use ailurus_testkit::{http::Answer, stand_in::HttpStandIn};
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_try_is_told_with_its_job_its_node_and_its_times() {
        let server = HttpStandIn::start(|_| Some(Answer::new(201, "Created")));
        let server = server.expect("a free port");
        let settings = TraceSettings {
            url: format!("{}/traces/", server.url()),
            http: ClientConfig::default(),
        };
        let desk = Arc::new(TraceDesk::new(settings, &NodeName::new("wn1")));
        let job = JobTraces {
            panda_id: PandaId::new(4711),
            task_id: TaskId::new(77),
            user: "alice".into(),
            queue: QueueName::new("Q"),
            uuid: "01".repeat(16),
            local_site: Some("JINR".into()),
            is_analysis: false,
        };
        let tracer = JobTracer::new(desk.clone(), job).starting_now();
        let name = (&Scope::new("s"), &Lfn::new("f"));
        let file = TracedFile::new(name, &DatasetName::new("ds"), None, None);
        let way = Try {
            endpoint: EndpointName::new("EP"),
            ..Try::in_directory("root://h//f".into())
        };
        let took = Duration::from_secs(2);
        tracer.tell(Direction::Read, (&way, file.clone()), took, TraceEnd::Moved);
        // A directory that the pilot was given is no business of Rucio's.
        let nowhere = Try::in_directory("file:///in/f".into());
        tracer.tell(Direction::Read, (&nowhere, file), took, TraceEnd::Moved);
        desk.close();
        let [request] = &server.requests()[..] else {
            panic!("one trace");
        };
        let told: Value = serde_json::from_slice(&request.body).expect("JSON");
        for (field, value) in [
            ("eventType", "get_sm"),
            ("clientState", "DONE"),
            ("localSite", "JINR"),
            ("remoteSite", "EP"),
            ("hostname", "wn1"),
            ("pq", "Q"),
        ] {
            assert_eq!(told[field], value, "{field}");
        }
        let time = |field: &str| told[field].as_f64().expect("a time");
        let length = time("timeEnd") - time("transferStart");
        assert!((length - 2.0).abs() < 0.01, "{length}");
    }
}
