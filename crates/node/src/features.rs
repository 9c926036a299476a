//! Machine features and job features: what a site says of the machine and of the slot.
//!
//! `MACHINEFEATURES` and `JOBFEATURES` name a directory, or the URL of one, with a small file for
//! each feature.
//!
//! Source: HSF-TN-2016-02, "Machine/Job Features Specification".

use std::{fs::File, io::Read, path::Path, time::Duration};

use ailurus_model::{ByteCount, Timestamp};

/// Most of a feature's file that is read, in bytes.
const TEXT_MAX: u64 = 4 << 10;

/// What a site says of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MachineFeatures {
    /// Total HS06 rating.
    pub hs06: Option<f64>,
    /// When the machine will be shut down.
    pub shutdown: Option<Timestamp>,
    /// Processors that jobs may use.
    pub n_processors: Option<u32>,
    /// Time that a job is given to end once the machine is to go.
    pub grace: Option<Duration>,
}

/// What a site says of the slot.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobFeatures {
    /// Processors of the slot.
    pub n_processors: Option<u32>,
    /// HS06 rating of the slot.
    pub hs06: Option<f64>,
    /// When the slot ends.
    pub shutdown: Option<Timestamp>,
    /// Time that a job is given to end then.
    pub grace: Option<Duration>,
    /// When the slot began.
    pub begin: Option<Timestamp>,
    /// The batch system's id.
    pub job_id: String,
    /// Wall-clock limit of the slot.
    pub walltime: Option<Duration>,
    /// CPU time limit of the slot.
    pub cpu_time: Option<Duration>,
    /// Limit of resident memory.
    pub memory: Option<ByteCount>,
    /// Limit of swap.
    pub swap: Option<ByteCount>,
    /// Limit of scratch space.
    pub scratch: Option<ByteCount>,
}

impl MachineFeatures {
    /// Reads the features below a place. `fetch` gets the text of a URL.
    pub fn read(place: &str, fetch: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| feature(place, name, &fetch);
        Self {
            hs06: text("hs06").and_then(|it| rating(&it)),
            shutdown: text("shutdowntime").and_then(|it| time(&it)),
            n_processors: text("total_cpu").and_then(|it| whole(&it)),
            grace: text("grace_secs").and_then(|it| seconds(&it)),
        }
    }

    /// Reads only when the machine will be shut down: the one feature that changes.
    pub fn read_shutdown(place: &str, fetch: impl Fn(&str) -> Option<String>) -> Option<Timestamp> {
        time(&feature(place, "shutdowntime", &fetch)?)
    }
}

impl JobFeatures {
    /// Reads the features below a place. `fetch` gets the text of a URL.
    pub fn read(place: &str, fetch: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| feature(place, name, &fetch);
        let size = |name: &str| Some(ByteCount::from_bytes(whole(&text(name)?)?));
        Self {
            n_processors: text("allocated_cpu").and_then(|it| whole(&it)),
            hs06: text("hs06_job").and_then(|it| rating(&it)),
            shutdown: text("shutdowntime_job").and_then(|it| time(&it)),
            grace: text("grace_secs_job").and_then(|it| seconds(&it)),
            begin: text("jobstart_secs").and_then(|it| time(&it)),
            job_id: text("job_id").unwrap_or_default(),
            walltime: text("wall_limit_secs").and_then(|it| seconds(&it)),
            cpu_time: text("cpu_limit_secs").and_then(|it| seconds(&it)),
            memory: size("max_rss_bytes"),
            swap: size("max_swap_bytes"),
            scratch: size("scratch_limit_bytes"),
        }
    }

    /// Returns when the slot ends by its own word: the earlier of its shutdown and its wall-clock
    /// limit.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        let by_limit = self.begin.zip(self.walltime);
        let by_limit = by_limit.map(|(begin, limit)| begin.after(limit));
        self.shutdown.into_iter().chain(by_limit).min()
    }
}

fn feature(place: &str, name: &str, fetch: &impl Fn(&str) -> Option<String>) -> Option<String> {
    if place.is_empty() {
        return None;
    }
    let text = if place.starts_with("http://") || place.starts_with("https://") {
        fetch(&format!("{}/{name}", place.trim_end_matches('/')))?
    } else {
        let file = File::open(Path::new(place).join(name)).ok()?;
        let mut text = String::new();
        file.take(TEXT_MAX).read_to_string(&mut text).ok()?;
        text
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn rating(text: &str) -> Option<f64> {
    let rating: f64 = text.parse().ok()?;
    (rating.is_finite() && rating > 0.0).then_some(rating)
}

/// Zero means in all of these files that nothing is known.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: u64 = whole(text)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn time(text: &str) -> Option<Timestamp> {
    let seconds: u32 = whole(text)?;
    (seconds > 0).then(|| Timestamp::from_millis(i64::from(seconds) * 1000))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn no_network(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_directory_of_features_is_read() {
        let dir = tempfile::tempdir().expect("space");
        for (name, text) in [
            ("hs06", "256.8\n"),
            ("total_cpu", "32\n"),
            ("shutdowntime", "1700000000\n"),
            ("grace_secs", "900"),
        ] {
            fs::write(dir.path().join(name), text).expect("space");
        }
        let place = dir.path().to_str().expect("text");
        let features = MachineFeatures::read(place, no_network);
        assert_eq!(
            (features.hs06, features.n_processors),
            (Some(256.8), Some(32))
        );
        let shutdown = Some(Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(features.shutdown, shutdown);
        assert_eq!(features.grace, Some(Duration::from_secs(900)));
        assert_eq!(MachineFeatures::read_shutdown(place, no_network), shutdown);
    }

    #[test]
    fn features_behind_a_url_are_fetched() {
        let fetch = |url: &str| match url {
            "http://features.example.org/job/wall_limit_secs" => Some("3600\n".to_owned()),
            "http://features.example.org/job/jobstart_secs" => Some("1700000000".to_owned()),
            "http://features.example.org/job/max_rss_bytes" => Some("2048".to_owned()),
            _ => None,
        };
        let features = JobFeatures::read("http://features.example.org/job/", fetch);
        assert_eq!(
            features.end(),
            Some(Timestamp::from_millis(1_700_003_600_000))
        );
        assert_eq!(features.memory, Some(ByteCount::from_kib(2)));
    }

    #[test]
    fn the_earlier_end_of_a_slot_counts() {
        let at = |seconds: i64| Some(Timestamp::from_millis(seconds * 1000));
        let features = JobFeatures {
            begin: at(1000),
            walltime: Some(Duration::from_secs(500)),
            shutdown: at(1200),
            ..JobFeatures::default()
        };
        assert_eq!(features.end(), at(1200));
        assert_eq!(JobFeatures::default().end(), None);
    }

    #[test]
    fn nonsense_is_nothing() {
        let fetch = |_: &str| Some("-1 or so".to_owned());
        let job_id = "-1 or so".to_owned();
        let machine = MachineFeatures::read("http://features.example.org", fetch);
        assert_eq!(machine, MachineFeatures::default());
        let job = JobFeatures::read("http://features.example.org", fetch);
        assert_eq!(
            job,
            JobFeatures {
                job_id,
                ..JobFeatures::default()
            }
        );
        assert_eq!(JobFeatures::read("", fetch), JobFeatures::default());
        assert_eq!((rating("inf"), seconds("0"), time("0")), (None, None, None));
    }
}
