//! What a task wishes of the places of its jobs, beyond what each of its jobs needs.
//!
//! A task of PanDA says so in its parameters, in names and patterns that are looked at anew whenever
//! a queue is chosen: queues come and go. Another task lists its queues. The type is [`Wishes`].

use std::sync::Arc;

use ailurus_brokerage::{
    NamePatterns, NetworkWish, NucleusWish, PlaceWish, ShareTraits, ShareTree, SoftwareWish,
};
use ailurus_jedi::{InputKind, InputStream, RefinedTask, Rule};
use ailurus_model::{JobKind, Queue, QueueName, TaskId, TaskSpec};

use crate::{
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
};

/// PanDA's word for all clouds together.
const ALL_CLOUDS: &str = "WORLD";

/// What a task wishes of the places of its jobs.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    working_group: String,
    campaign: String,
    vo: String,
    /// The global share that it asks for.
    share: String,
    queues: Vec<QueueName>,
    named: Option<NamePatterns>,
    included: Option<NamePatterns>,
    excluded: Option<NamePatterns>,
    cloud: String,
    site: String,
    release: String,
    architecture: String,
    container: String,
    build_container: String,
    /// How nodes must reach the network, and by which stack.
    network: (String, String),
    /// The site where outputs are collected.
    nucleus: String,
    /// What its queues weigh more than others.
    nucleus_weight: i64,
    avoids_virtual_placement: bool,
    /// kB/s.
    io_intensity: u64,
    /// kB/s and core.
    disk_io: u64,
    /// The sample that many jobs read, for each stream of input after the first; none for a task
    /// that declares nothing about its inputs.
    samples: Option<Vec<Option<String>>>,
}

impl Wishes {
    /// Returns what a task wishes that lists its queues.
    fn of_spec(spec: &TaskSpec, vo: &str) -> Self {
        Self {
            vo: vo.to_owned(),
            queues: spec.queues.clone(),
            ..Self::default()
        }
    }

    /// Returns what a task of PanDA wishes, where queues of these clouds are known.
    fn of_refined(task: &RefinedTask, mut clouds: impl Iterator<Item = impl AsRef<str>>) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let sites = &task.sites;
        // A queue that is named counts more than its cloud; a cloud of no queue is a VO's name or
        // `WORLD`, which PanDA takes for all.
        let cloud = sites.cloud.as_deref().filter(|cloud| {
            sites.site.is_empty()
                && *cloud != ALL_CLOUDS
                && clouds.any(|known| known.as_ref() == *cloud)
        });
        let build = task.build.as_ref();
        let word = |rule: Rule| {
            let value = task.rules.text(rule);
            value
                .and_then(|value| rule.label(value))
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            working_group: text(&task.working_group),
            campaign: text(&task.campaign),
            vo: task.vo.clone(),
            share: text(&task.global_share),
            queues: Vec::new(),
            named: NamePatterns::of_task(&sites.site),
            included: NamePatterns::of_task(&sites.included),
            excluded: NamePatterns::of_task(&sites.excluded),
            cloud: cloud.unwrap_or_default().to_owned(),
            site: text(&sites.panda_site),
            release: task.payload.release.clone(),
            architecture: task.architecture.clone(),
            container: text(&task.payload.container),
            build_container: build.map_or_else(String::new, |build| text(&build.container)),
            network: (word(Rule::IpConnectivity), word(Rule::IpStack)),
            nucleus: text(&sites.nucleus),
            nucleus_weight: task.rules.number(Rule::T1Weight).unwrap_or(0),
            avoids_virtual_placement: task.rules.is_set(Rule::AvoidVp),
            io_intensity: task.resources.io_intensity,
            disk_io: task.resources.disk_io,
            samples: Some(task.inputs.iter().skip(1).map(sample_of).collect()),
        }
    }

    /// Returns where jobs may run.
    pub(crate) fn place(&self) -> PlaceWish<'_> {
        PlaceWish {
            queues: &self.queues,
            cloud: &self.cloud,
            site: &self.site,
            named: self.named.as_ref(),
            included: self.included.as_ref(),
            excluded: self.excluded.as_ref(),
        }
    }

    /// Says whether the task's jobs may run at a queue, whatever the queue offers.
    pub(crate) fn allow(&self, queue: &Queue) -> bool {
        self.place().allows(queue)
    }

    /// Returns what jobs of a kind must find on the nodes.
    pub(crate) fn software(&self, kind: JobKind) -> SoftwareWish<'_> {
        SoftwareWish {
            release: &self.release,
            container: match kind {
                JobKind::Build => &self.build_container,
                JobKind::Run
                | JobKind::Scout
                | JobKind::Merge
                | JobKind::Direct
                | JobKind::Consumer => &self.container,
            },
            architecture: &self.architecture,
        }
    }

    /// Returns I/O intensity in kB/s and disk I/O in kB/s and core: they are those of the payload.
    pub(crate) fn io(&self, kind: JobKind) -> (u64, u64) {
        match kind {
            JobKind::Run | JobKind::Scout | JobKind::Consumer => (self.io_intensity, self.disk_io),
            JobKind::Build | JobKind::Merge | JobKind::Direct => (0, 0),
        }
    }

    /// Returns how nodes must reach the network.
    pub(crate) fn network(&self) -> NetworkWish<'_> {
        NetworkWish {
            access: &self.network.0,
            stack: &self.network.1,
        }
    }

    /// Returns where outputs of jobs of a kind are collected. Merging may be done anywhere.
    pub(crate) fn nucleus(&self, kind: JobKind) -> NucleusWish<'_> {
        NucleusWish {
            site: &self.nucleus,
            weight: match kind {
                JobKind::Merge => self.nucleus_weight.max(0),
                JobKind::Run
                | JobKind::Scout
                | JobKind::Build
                | JobKind::Direct
                | JobKind::Consumer => self.nucleus_weight,
            },
        }
    }

    /// Says whether jobs of a kind avoid queues that read files which lie elsewhere: merging always
    /// does.
    pub(crate) fn avoids_virtual_placement(&self, kind: JobKind) -> bool {
        self.avoids_virtual_placement || kind == JobKind::Merge
    }

    /// Returns the working group, empty if there is none.
    pub(crate) fn working_group(&self) -> &str {
        &self.working_group
    }

    /// Returns the sample of each stream of input after the first; none if nothing is declared.
    pub(crate) fn samples(&self) -> Option<&[Option<String>]> {
        self.samples.as_deref()
    }

    /// Returns the leaf of global shares for which work of the task counts.
    pub(crate) fn share<'a>(
        &self,
        shares: &'a ShareTree,
        spec: &TaskSpec,
        label: &str,
        resource_type: &str,
    ) -> &'a str {
        let asked = shares.leaf_named(&self.share);
        asked.unwrap_or_else(|| {
            shares.leaf_of(&ShareTraits {
                source_label: label,
                working_group: &self.working_group,
                campaign: &self.campaign,
                processing_type: &spec.processing_type,
                transformation: &spec.transformation,
                resource_type,
                vo: &self.vo,
            })
        })
    }
}

/// Returns the name of what many jobs read together, if a stream is declared so.
fn sample_of(stream: &InputStream) -> Option<String> {
    let is_shared = stream.is_whole || stream.is_reusable || stream.is_repeated;
    (stream.kind == InputKind::Dataset && is_shared).then(|| stream.datasets.join(","))
}

impl<L: Ledger> Operation<'_, L> {
    /// Returns what a task wishes, once a call and revision.
    pub(crate) fn wishes(&mut self, id: TaskId) -> Result<Arc<Wishes>, LedgerError> {
        if let Some(known) = self.wishes.get(&id) {
            return Ok(Arc::clone(known));
        }
        let task = self.panda_task(id)?;
        let refined = task.as_ref().and_then(|task| task.refined.as_ref());
        let wishes = match refined {
            Some(refined) => {
                let queues = self.ctx.queues.values();
                Wishes::of_refined(refined, queues.map(|queue| &queue.options.terms.cloud))
            }
            None => Wishes::of_spec(&*self.spec(id)?, &self.ctx.limits.tasks.vo),
        };
        let wishes = Arc::new(wishes);
        self.wishes.insert(id, Arc::clone(&wishes));
        Ok(wishes)
    }

    /// Returns the leaf of global shares for which a job counts.
    pub(crate) fn share_of(&mut self, job: &JobRecord) -> Result<String, LedgerError> {
        let spec = self.spec(job.task_id)?;
        let wishes = match job.kind {
            JobKind::Direct => Arc::new(Wishes {
                working_group: self.working_group_of(job)?,
                ..Wishes::of_spec(&spec, &self.ctx.limits.tasks.vo)
            }),
            JobKind::Run | JobKind::Scout | JobKind::Build | JobKind::Merge | JobKind::Consumer => {
                self.wishes(job.task_id)?
            }
        };
        let shares = &self.ctx.scheduling.shares;
        let label = job.source_label.as_str();
        let share = wishes.share(shares, &spec, label, &job.resource_type);
        Ok(share.to_owned())
    }
}
