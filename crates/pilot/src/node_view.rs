//! What the pilot knows of its node and its slot, each thing found out when it is first needed.
//!
//! GPU tools, batch systems' commands and features behind URLs can take seconds, so this is asked
//! only by activities, never by the loop.

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use ailurus_http::{Client, ClientConfig, Timeouts};
use ailurus_model::{ByteCount, Timestamp};
use ailurus_node::{
    BatchIdentity, GpuFacts, GpuTool, JobFeatures, MachineFeatures, NodeFacts, SlotEnd, SlotTexts,
    ask_slot_end, slot_end,
};
use ailurus_pilot_core::monitoring::{Machine, SlotSample, prmon::Hardware};

use crate::settings::wall_now;

/// Largest ad of `HTCondor` that is read, in bytes.
const AD_MAX: u64 = 1 << 20;
/// Longest wait for one feature behind a URL.
const FEATURE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the environment says of node and slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeSettings {
    /// Directory or URL (`MACHINEFEATURES`), empty if there is none.
    pub(crate) machine_features: String,
    /// Directory or URL (`JOBFEATURES`), empty if there is none.
    pub(crate) job_features: String,
    /// Where programs are looked for (`PATH`).
    pub(crate) path: String,
    /// Local space that a pod may take (`storageLimitMiB`), where the pod says what it asked for, too.
    pub(crate) storage_limit: Option<ByteCount>,
    /// Who started the pilot.
    pub(crate) batch: Option<BatchIdentity>,
    /// Variables that tell the slot's end.
    pub(crate) variables: BTreeMap<String, String>,
    /// File with the job's ad (`_CONDOR_JOB_AD`).
    pub(crate) job_ad: Option<PathBuf>,
    /// File with the machine's ad (`_CONDOR_MACHINE_AD`).
    pub(crate) machine_ad: Option<PathBuf>,
}

/// Node and slot as far as they are known.
#[derive(Debug)]
pub(crate) struct NodeView {
    settings: NodeSettings,
    facts: NodeFacts,
    /// When the pilot began.
    begin: Timestamp,
    /// For features behind URLs.
    client: Option<Client>,
    slot_end: OnceLock<Option<SlotEnd>>,
    gpus: OnceLock<GpuFacts>,
}

impl NodeView {
    pub(crate) fn new(
        settings: NodeSettings,
        facts: NodeFacts,
        begin: Timestamp,
        client: &ClientConfig,
    ) -> Self {
        let places = [&settings.machine_features, &settings.job_features];
        let is_remote = places.iter().any(|place| place.starts_with("http"));
        let config = is_remote.then(|| ClientConfig {
            token: None,
            certificate: None,
            timeouts: Timeouts {
                connect: FEATURE_TIMEOUT,
                whole: FEATURE_TIMEOUT,
                download: FEATURE_TIMEOUT,
            },
            ..client.clone()
        });
        Self {
            client: config.and_then(|config| Client::new(config).ok()),
            settings,
            facts,
            begin,
            slot_end: OnceLock::new(),
            gpus: OnceLock::new(),
        }
    }

    /// Returns what may still be written where `free` bytes are free and `used` are taken.
    pub(crate) fn writable(&self, free: ByteCount, used: ByteCount) -> ByteCount {
        let limit = self.settings.storage_limit.map(ByteCount::as_bytes);
        let left = limit.map(|limit| ByteCount::from_bytes(limit.saturating_sub(used.as_bytes())));
        left.map_or(free, |left| left.min(free))
    }

    /// Returns how long the slot lasts.
    pub(crate) fn slot(&self) -> SlotSample {
        let now = wall_now();
        let end = *self.slot_end.get_or_init(|| {
            let end = self.find_slot_end(now);
            if let Some(end) = end {
                let at = end.at.to_log_text();
                tracing::info!("the slot ends at {at}, says `{}`", end.source);
            }
            end
        });
        let place = &self.settings.machine_features;
        let shutdown = MachineFeatures::read_shutdown(place, self.fetch());
        // A time before the pilot's start is a leftover of an earlier shutdown.
        let shutdown = shutdown.filter(|at| *at >= self.begin);
        SlotSample {
            ends_in: end.map(|end| end.at.since(now)),
            shuts_down_in: shutdown.map(|at| at.since(now)),
        }
    }

    /// Returns the time until the slot or the machine ends, whichever comes first.
    pub(crate) fn slot_left(&self) -> Option<Duration> {
        let slot = self.slot();
        slot.ends_in.into_iter().chain(slot.shuts_down_in).min()
    }

    /// Returns the GPUs of the node, none in it if there are none.
    pub(crate) fn gpus(&self) -> &GpuFacts {
        self.gpus.get_or_init(|| {
            let facts = self.gpu_tool().and_then(|mut tool| tool.facts());
            facts.unwrap_or_default()
        })
    }

    /// Returns the tool that tells the use of GPUs, if there are any.
    pub(crate) fn gpu_tool(&self) -> Option<GpuTool> {
        GpuTool::find(&self.settings.path)
    }

    /// Returns what job metrics say of the machine.
    pub(crate) fn machine(&self) -> Machine {
        let features = MachineFeatures::read(&self.settings.machine_features, self.fetch());
        let gpus = &self.gpus().cards;
        Machine {
            hs06_hundredths: features.hs06.map_or(0, hundredths),
            n_processors: features.n_processors.unwrap_or(0),
            gpu_name: gpus
                .first()
                .map(|card| card.name.clone())
                .unwrap_or_default(),
            n_gpus: u32::try_from(gpus.len()).unwrap_or(u32::MAX),
        }
    }

    /// Returns what prmon's summary says of the machine.
    pub(crate) fn hardware(&self) -> Hardware {
        let cpu = &self.facts.cpu;
        let cards = self.gpus().cards.iter();
        Hardware {
            cpu_model: cpu.model.clone(),
            n_processors: cpu.n_processors,
            n_sockets: cpu.n_sockets,
            cores_per_socket: cpu.cores_per_socket,
            threads_per_core: cpu.threads_per_core(),
            memory: self.facts.memory_total,
            gpus: cards
                .map(|card| (card.name.clone(), card.clock_mhz, card.memory))
                .collect(),
        }
    }

    fn find_slot_end(&self, now: Timestamp) -> Option<SlotEnd> {
        let settings = &self.settings;
        let texts = SlotTexts {
            env: &settings.variables,
            job_ad: &ad(settings.job_ad.as_deref()),
            machine_ad: &ad(settings.machine_ad.as_deref()),
            features: &JobFeatures::read(&settings.job_features, self.fetch()),
            begin: self.begin,
        };
        slot_end(&texts).or_else(|| {
            let batch = settings.batch.as_ref()?;
            ask_slot_end(batch, self.begin, now)
        })
    }

    /// Returns what gets the text of a URL. After the first failure it gets nothing any more: a
    /// server that is away must not be waited for once for each feature.
    fn fetch(&self) -> impl Fn(&str) -> Option<String> {
        let is_away = Cell::new(false);
        move |url| {
            let client = self.client.as_ref().filter(|_| !is_away.get())?;
            match client.get(url, &[]) {
                Ok(response) => response.is_success().then(|| response.text()),
                Err(error) => {
                    tracing::debug!("`{url}`: {error}");
                    is_away.set(true);
                    None
                }
            }
        }
    }
}

fn ad(path: Option<&Path>) -> String {
    path.filter(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() <= AD_MAX))
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range before"
)]
fn hundredths(rating: f64) -> u64 {
    (rating * 100.0).round().clamp(0.0, 1e15) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(settings: NodeSettings) -> NodeView {
        let facts = ailurus_node::node_facts();
        NodeView::new(settings, facts, wall_now(), &ClientConfig::default())
    }

    #[test]
    fn features_and_variables_tell_how_long_the_slot_lasts() {
        let place = tempfile::tempdir().expect("space");
        let in_an_hour = (wall_now().as_secs() + 3600).to_string();
        std::fs::write(place.path().join("shutdowntime"), &in_an_hour).expect("space");
        std::fs::write(place.path().join("hs06"), "160.5\n").expect("space");
        std::fs::write(place.path().join("total_cpu"), "16\n").expect("space");
        let in_two_hours = (wall_now().as_secs() + 7200).to_string();
        let view = view(NodeSettings {
            machine_features: place.path().display().to_string(),
            variables: BTreeMap::from([("SLURM_JOB_END_TIME".into(), in_two_hours)]),
            ..NodeSettings::default()
        });
        let slot = view.slot();
        let minutes = |left: Option<Duration>| left.map(|left| left.as_secs().div_ceil(60));
        assert_eq!(
            (minutes(slot.shuts_down_in), minutes(slot.ends_in)),
            (Some(60), Some(120))
        );
        assert_eq!(minutes(view.slot_left()), Some(60));
        let machine = view.machine();
        assert_eq!(
            (machine.hs06_hundredths, machine.n_processors),
            (16_050, 16)
        );
        assert_eq!(machine.n_gpus, 0);
        assert!(view.hardware().n_processors >= 1);
    }

    #[test]
    fn a_pods_storage_limit_leaves_less_than_the_disk() {
        let gib = ByteCount::from_gib;
        let limited = view(NodeSettings {
            storage_limit: Some(gib(10)),
            ..NodeSettings::default()
        });
        assert_eq!(limited.writable(gib(100), gib(3)), gib(7));
        assert_eq!(limited.writable(gib(1), gib(3)), gib(1));
        assert_eq!(limited.writable(gib(100), gib(30)), ByteCount::ZERO);
        assert_eq!(
            view(NodeSettings::default()).writable(gib(5), gib(30)),
            gib(5)
        );
    }

    #[test]
    fn an_old_shutdown_and_an_absent_one_limit_nothing() {
        let place = tempfile::tempdir().expect("space");
        std::fs::write(place.path().join("shutdowntime"), "1700000000\n").expect("space");
        let view = view(NodeSettings {
            machine_features: place.path().display().to_string(),
            ..NodeSettings::default()
        });
        assert_eq!(view.slot_left(), None);
    }
}
