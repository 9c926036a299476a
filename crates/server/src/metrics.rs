//! What the server tells Prometheus, and whether it is alive and ready.
//!
//! [`Metrics`] counts requests as they are answered. Counts of rows are read from the database when
//! Prometheus asks, at most once in [`COUNTS_AGE_MAX`], so that many scrapers cost no more than one.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ailurus_model::TaskId;
use ailurus_server_core::ledger::Ledger as _;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use serde_json::json;
use tokio::{sync::Mutex, time::timeout};

use crate::{app::App, knowledge::chain};

/// How old the counts of rows may be.
const COUNTS_AGE_MAX: Duration = Duration::from_secs(10);
/// Limit on asking the database whether it is there.
const READY_LIMIT: Duration = Duration::from_secs(5);
/// `OpenMetrics`, which Prometheus prefers.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Which call a request was: put into the extensions of an answer by who answered, so that the
/// words in a label are ours and never a client's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallName(pub(crate) &'static str);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    call: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

/// Counts of what the server does, and the last counts of its rows.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    answers: Family<AnswerLabels, Counter>,
    seconds: Family<CallLabel, Histogram>,
    under_way: Gauge,
    /// Messages that a broker has taken.
    pub(crate) messages: Counter,
    /// Times that messages had to wait for their broker.
    pub(crate) message_failures: Counter,
    counts: Mutex<Option<(Instant, Registry)>>,
}

impl Metrics {
    /// Begins to count.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("ailurus_server");
        let answers = Family::<AnswerLabels, Counter>::default();
        registry.register("requests", "Requests answered", answers.clone());
        // From 0.1 ms to 26 s.
        let seconds = Family::<CallLabel, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.0001, 4.0, 10))
        });
        registry.register_with_unit(
            "request_duration",
            "From a request's head to its answer",
            Unit::Seconds,
            seconds.clone(),
        );
        let under_way = Gauge::default();
        registry.register(
            "requests_under_way",
            "Requests not answered yet",
            under_way.clone(),
        );
        let (messages, message_failures) = (Counter::default(), Counter::default());
        registry.register(
            "messages",
            "Messages that a broker has taken",
            messages.clone(),
        );
        registry.register(
            "message_failures",
            "Times that messages had to wait for their broker",
            message_failures.clone(),
        );
        let start: Gauge = Gauge::default();
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        start.set(since_epoch.map_or(0, |time| time.as_secs().cast_signed()));
        registry.register_with_unit("start_time", "Start, since 1970", Unit::Seconds, start);
        // A gauge, as Prometheus' older format has no type for it.
        let build = Family::<BuildLabel, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&BuildLabel { version }).set(1);
        registry.register("build_info", "The program", build);
        Self {
            registry,
            answers,
            seconds,
            under_way,
            messages,
            message_failures,
            counts: Mutex::new(None),
        }
    }
}

/// Counts a request and its answer.
pub(crate) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let metrics = &app.metrics;
    let start = Instant::now();
    let _under_way = UnderWay::begin(&metrics.under_way);
    let answer = next.run(request).await;
    let call = answer
        .extensions()
        .get::<CallName>()
        .map_or("other", |name| name.0);
    let status = answer.status().as_u16();
    metrics
        .answers
        .get_or_create(&AnswerLabels { call, status })
        .inc();
    let seconds = metrics.seconds.get_or_create(&CallLabel { call });
    seconds.observe(start.elapsed().as_secs_f64());
    answer
}

/// Counts a request as under way, until it is dropped, answered or not.
struct UnderWay(Gauge);

impl UnderWay {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Returns the routes of this module.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/metrics", get(page))
        .route("/health", get(async || "alive\n"))
        .route("/ready", get(ready))
}

async fn page(State(app): State<Arc<App>>) -> Response {
    let metrics = &app.metrics;
    let mut counts = metrics.counts.lock().await;
    let is_fresh = |(taken, _): &(Instant, Registry)| taken.elapsed() < COUNTS_AGE_MAX;
    if !counts.as_ref().is_some_and(is_fresh) {
        match count_rows(&app).await {
            Ok(registry) => *counts = Some((Instant::now(), registry)),
            Err(answer) => return answer,
        }
    }
    let mut page = String::new();
    let written =
        text::encode_registry(&mut page, &metrics.registry).and_then(|()| match counts.as_ref() {
            Some((_, registry)) => text::encode_registry(&mut page, registry),
            None => Ok(()),
        });
    match written.and_then(|()| text::encode_eof(&mut page)) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn count_rows(app: &App) -> Result<Registry, Response> {
    let counted = app
        .read(|reader| Ok((reader.queue_counts()?, reader.worker_counts()?)))
        .await;
    let (jobs, workers) = counted.map_err(|error| {
        let reason = chain(&error);
        tracing::error!(error = reason, "rows could not be counted for the metrics");
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("ERROR : {reason}\n"),
        )
            .into_response()
    })?;
    let mut registry = Registry::with_prefix("ailurus_server");
    let gauges = |registry: &mut Registry, name, help| {
        let family = Family::<QueueLabels, Gauge>::default();
        registry.register(name, help, family.clone());
        family
    };
    let family = gauges(
        &mut registry,
        "jobs",
        "Jobs that have not ended, by queue and status",
    );
    for (queue, by_status) in jobs {
        for (status, n_jobs) in by_status {
            let (queue, status) = (queue.to_string(), status.as_str());
            let labels = QueueLabels { queue, status };
            family.get_or_create(&labels).set(n_jobs.cast_signed());
        }
    }
    let family = gauges(
        &mut registry,
        "workers",
        "Workers that have not ended, by queue and status",
    );
    for (queue, by_status) in workers {
        for (status, n_workers) in by_status {
            let (queue, status) = (queue.to_string(), status.as_str());
            let labels = QueueLabels { queue, status };
            family.get_or_create(&labels).set(n_workers.cast_signed());
        }
    }
    Ok(registry)
}

/// Says whether requests can be served: the database answers.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let asked = timeout(
        READY_LIMIT,
        app.read(|reader| reader.ledger().task(TaskId::default())),
    )
    .await;
    let problem = match asked {
        Ok(Ok(_)) => return Json(json!({"ready": true})).into_response(),
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("the database did not answer within {READY_LIMIT:?}"),
    };
    let answer = json!({"ready": false, "problem": problem});
    (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
}
