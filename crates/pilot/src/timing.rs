//! When the steps of a job happened, for benches: `--timing-file`.

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use ailurus_model::PandaId;
use serde_json::json;

use crate::settings::wall_now;

/// A step that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The job was asked for.
    RequestSent,
    /// The payload runs.
    PayloadStart,
    /// The payload has ended.
    PayloadEnd,
    /// The final update went out.
    FinalUpdateSent,
}

/// The marks of one job, in milliseconds since the process began; the beginning itself is written
/// as Unix time in milliseconds.
#[derive(Debug)]
pub(crate) struct Timing {
    begin: Instant,
    marks: [Option<f64>; 4],
}

impl Timing {
    pub(crate) const fn new(begin: Instant) -> Self {
        Self {
            begin,
            marks: [None; 4],
        }
    }

    /// Sets a mark, and says whether it was not set before. A new job request clears the others.
    pub(crate) fn set(&mut self, mark: Mark) -> bool {
        if mark == Mark::RequestSent {
            self.marks = [None; 4];
        }
        let now = millis(self.begin.elapsed());
        let mark = &mut self.marks[mark as usize];
        let is_first = mark.is_none();
        mark.get_or_insert(now);
        is_first
    }

    /// Adds the marks as one line to a file.
    pub(crate) fn write(&self, path: &Path, panda_id: PandaId) {
        let mark = |mark: Mark| self.marks[mark as usize];
        let age = millis(self.begin.elapsed());
        #[expect(clippy::cast_precision_loss, reason = "exact until the year 287396")]
        let process_start = wall_now().as_millis() as f64 - age;
        let line = json!({
            "panda_id": panda_id.value(),
            "process_start_ms": process_start,
            "request_sent_ms": mark(Mark::RequestSent),
            "payload_start_ms": mark(Mark::PayloadStart),
            "payload_end_ms": mark(Mark::PayloadEnd),
            "final_update_sent_ms": mark(Mark::FinalUpdateSent),
        });
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| writeln!(file, "{line}"));
        if let Err(error) = written {
            tracing::warn!("`{}` cannot be written: {error}", path.display());
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
