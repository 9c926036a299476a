//! Plans the stage-in of a job: which files, from which replicas, copied or read remotely.
//!
//! A plan is made once the catalogue has been asked, if it is to be asked at all
//! ([`catalogue_query`]). Which replica is tried when is said in [`replicas`](super::replicas),
//! what the payload reads remotely in [`direct_access`].

use std::collections::BTreeMap;

use ailurus_experiment::{CacheChoice, CheckTime};
use ailurus_model::{
    ByteCount, Checksum, DatasetName, EndpointName, ErrorCode, Guid, InputFile, Job, Lfn, Scope,
    Timestamp,
};

use super::{
    CourseLimits, Domain, FormatCheck, LeftOut, StorageRecord, Try, check_name,
    copy_tools::{Purpose, ToolName, Tools, choose_tools, scheme_of},
    destinations::near_storages,
    direct_access,
    formats::check_of,
    place::place_in_directory,
    pool_file_catalog::pool_file_catalog,
    replicas::{CatalogueFile, Chooser, ReplicaQuery, Source, Ways, replica_query},
    space,
};
use crate::{PilotConfig, Problem, config::Catalogue, input::Site};

/// What is to be staged in for one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageInPlan {
    /// Every input, in the order of the job.
    pub files: Vec<StageInFile>,
    /// Text of `PoolFileCatalog.xml` for the job's directory, if the profile wants one.
    pub pool_file_catalog: Option<String>,
    /// Whether inputs go through a cache on the node.
    pub cache: CacheUse,
    /// How often and how long each file is tried.
    pub limits: CourseLimits,
    /// What is worth a line in the log.
    pub notes: Vec<String>,
}

/// Whether inputs go through a cache on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// They do, where the node has one.
    Cached,
    /// They go straight to the job's directory.
    Uncached,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageInFile {
    /// Its name in the job's directory.
    pub lfn: Lfn,
    /// Its Rucio scope.
    pub scope: Scope,
    /// The dataset that it belongs to.
    pub dataset: DatasetName,
    /// Its globally unique id, if one is known.
    pub guid: Option<Guid>,
    /// How the payload gets it.
    pub access: Access,
    /// Ways to fetch it, best first; at least one if it is to be copied.
    pub tries: Vec<Try>,
    /// Its size, if known: it must be this.
    pub size: Option<ByteCount>,
    /// Its checksum, if known: it must be this.
    pub checksum: Option<Checksum>,
    /// How its format is checked before the payload reads it, if at all.
    pub check: Option<FormatCheck>,
    /// What is not tried, and why.
    pub left_out: Vec<LeftOut>,
}

/// How the payload gets an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It is copied to the job's directory.
    Copy,
    /// The payload reads it from where it lies (`remote_io`); nothing is moved.
    Remote(RemoteInput),
    /// It is on the node already (`no_transfer`); nothing is moved.
    None,
}

/// An input that the payload reads from where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteInput {
    /// The URL that the payload opens.
    pub url: String,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// How far away it is.
    pub domain: Domain,
}

impl StageInFile {
    /// Makes an input without tries.
    #[must_use]
    pub fn new(input: &InputFile, access: Access) -> Self {
        Self {
            lfn: input.lfn.clone(),
            scope: input.scope.clone(),
            dataset: input.dataset.clone(),
            guid: input.guid.clone(),
            access,
            tries: Vec::new(),
            size: input.size,
            checksum: input.checksum.clone(),
            check: None,
            left_out: Vec::new(),
        }
    }

    /// Returns the URLs of its replicas, best first.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.tries.iter().map(|it| it.url.as_str())
    }
}

impl StageInPlan {
    /// Returns the files that are to be copied.
    pub fn copied(&self) -> impl Iterator<Item = &StageInFile> {
        let is_copied = |file: &&StageInFile| file.access == Access::Copy;
        self.files.iter().filter(is_copied)
    }
}

/// What a plan rests on besides job, site and settings.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// What the catalogue says of the inputs; none if it was not asked or did not answer.
    pub catalogue: Option<&'a [CatalogueFile]>,
    /// What was seen of the storages.
    pub record: &'a StorageRecord,
    /// The time, for people.
    pub now: Timestamp,
}

/// Returns what the catalogue is to be asked before the stage-in of a job can be planned; none if it
/// can be planned at once.
///
/// # Errors
///
/// As [`choose_tools`].
pub fn catalogue_query(
    job: &Job,
    site: &Site,
    config: &PilotConfig,
) -> Result<Option<ReplicaQuery>, Problem> {
    if job.inputs.is_empty() || config.input_dir.is_some() {
        return Ok(None);
    }
    match config.data.catalogue {
        Catalogue::None => Ok(None),
        Catalogue::Rucio => Ok(replica_query(job, &stage_in_tools(site, config)?)),
    }
}

fn stage_in_tools(site: &Site, config: &PilotConfig) -> Result<Tools, Problem> {
    choose_tools(
        &site.queue,
        Purpose::StageIn,
        &config.profile.data.copy_tools,
    )
}

/// Plans the stage-in of a job.
///
/// # Errors
///
/// 1168 if the inputs are larger than the queue allows together, 1190 or 1099 for names that
/// cannot be, 1323 if the queue has no copy tool, 1326 for a file without a usable replica, and 1133,
/// 1313 or 1329 where no catalogue was asked and no storage has a place for it.
pub fn plan_stage_in(
    job: &Job,
    site: &Site,
    config: &PilotConfig,
    known: &Known<'_>,
) -> Result<StageInPlan, Problem> {
    for input in &job.inputs {
        check_name(&input.lfn, ErrorCode::StageInFailed)?;
    }
    let planner = Planner::new(job, site, config, known)?;
    let mut notes = planner.tools.note();
    let mut files = Vec::new();
    for input in &job.inputs {
        files.push(planner.plan_file(input, &mut notes)?);
    }
    let mut plan = StageInPlan {
        files,
        pool_file_catalog: None,
        cache: cache_use(site, config),
        limits: CourseLimits::default(),
        notes,
    };
    space::check_inputs(&plan, &site.queue)?;
    if config.profile.data.pool_file_catalog && !plan.files.is_empty() {
        plan.pool_file_catalog = Some(pool_file_catalog(&plan.files));
    }
    Ok(plan)
}

fn cache_use(site: &Site, config: &PilotConfig) -> CacheUse {
    match config.profile.data.cache {
        CacheChoice::Always => CacheUse::Cached,
        CacheChoice::ByQueue if site.queue.options.has_cache => CacheUse::Cached,
        CacheChoice::ByQueue | CacheChoice::Never => CacheUse::Uncached,
    }
}

/// What is the same for all inputs of a job.
struct Planner<'a> {
    job: &'a Job,
    site: &'a Site,
    config: &'a PilotConfig,
    tools: Tools,
    chooser: Chooser<'a>,
    /// What the catalogue says, by scope and name; none if it did not answer.
    found: Option<BTreeMap<(&'a Scope, &'a Lfn), &'a CatalogueFile>>,
}

impl<'a> Planner<'a> {
    fn new(
        job: &'a Job,
        site: &'a Site,
        config: &'a PilotConfig,
        known: &Known<'a>,
    ) -> Result<Self, Problem> {
        let tools = stage_in_tools(site, config)?;
        let near = near_storages(&site.queue, job);
        let places = (&site.queue, &site.storages);
        let memory = (known.record, known.now);
        let chooser = Chooser::new(places, job, &tools, near, memory);
        let found = known.catalogue.map(|files| {
            let files = files.iter().map(|file| ((&file.scope, &file.lfn), file));
            files.collect()
        });
        Ok(Self {
            job,
            site,
            config,
            tools,
            chooser,
            found,
        })
    }

    fn plan_file(
        &self,
        input: &InputFile,
        notes: &mut Vec<String>,
    ) -> Result<StageInFile, Problem> {
        let profile = &self.config.profile;
        let is_there = |lfn: &Lfn| {
            let mut patterns = profile.data.not_transferred.iter();
            patterns.any(|pattern| pattern.matches(lfn.as_str()))
        };
        if is_there(&input.lfn) {
            return Ok(StageInFile::new(input, Access::None));
        }
        let mut file = StageInFile::new(input, Access::Copy);
        file.check = check_of(profile, &input.lfn, CheckTime::Input);
        let in_directory = |directory: &String| {
            let url = place_in_directory(directory, self.job.panda_id, &input.lfn);
            Try::in_directory(url)
        };
        if let Some(directory) = &self.config.input_dir {
            file.tries = vec![in_directory(directory)];
            return Ok(file);
        }
        file.tries = self.config.input_places.iter().map(in_directory).collect();
        if let Some(url) = self.job.options.input_urls.get(&input.lfn) {
            file.tries.extend(self.own_url(input, url));
        }
        let found = self.found.as_ref();
        let entry = found.and_then(|found| found.get(&(&input.scope, &input.lfn)).copied());
        let source = match (found, entry) {
            (Some(_), Some(entry)) => {
                file.fill_in(entry, notes);
                Source::Catalogue
            }
            // The catalogue answered, but does not know this file.
            (Some(_), None) if file.tries.is_empty() => {
                return Err(Ways::default().nothing(&input.lfn, Source::Catalogue));
            }
            (Some(_) | None, None) | (None, Some(_)) => Source::Names,
        };
        self.add_ways(input, &mut file, (source, entry))?;
        Ok(file)
    }

    /// Adds the replicas to a file, or lets the payload read one of them.
    fn add_ways(
        &self,
        input: &InputFile,
        file: &mut StageInFile,
        (source, entry): (Source, Option<&CatalogueFile>),
    ) -> Result<(), Problem> {
        let (candidates, ways) = self.chooser.candidates(self.job.panda_id, input, entry);
        let ways = self.chooser.choose(&candidates, ways);
        if direct_access::is_wanted(self.job, input) {
            let data = &self.config.profile.data;
            let proxy = self.config.data.xcache_proxy.as_deref();
            let options = &self.site.queue.options;
            file.access = direct_access::choose(&candidates, &ways, options, data, proxy);
        }
        let has_way = !file.tries.is_empty() || file.access != Access::Copy;
        if ways.tries.is_empty() && !has_way {
            return Err(ways.nothing(&input.lfn, source));
        }
        file.tries.extend(ways.tries);
        file.left_out = ways.left_out;
        Ok(())
    }

    /// Returns the way to a file whose place the job itself gives.
    fn own_url(&self, input: &InputFile, url: &str) -> Option<Try> {
        let scheme = scheme_of(url);
        let mut tools = self.tools.tools.iter().chain(&[ToolName::Rucio]);
        let tool = tools.find_map(|tool| tool.mover(scheme))?;
        Some(Try {
            tool,
            endpoint: input.endpoint.clone(),
            domain: Domain::Wan,
            ..Try::in_directory(url.to_owned())
        })
    }
}

impl StageInFile {
    /// Takes size and checksum of the catalogue where the job has none.
    fn fill_in(&mut self, entry: &CatalogueFile, notes: &mut Vec<String>) {
        if let (Some(own), Some(other)) = (self.size, entry.size)
            && own != other
        {
            let (own, other) = (own.as_bytes(), other.as_bytes());
            let name = &self.lfn;
            notes.push(format!(
                "`{name}` has {own} bytes for the job and {other} in the catalogue"
            ));
        }
        let mut same_kind = entry.checksums.iter().filter(|it| {
            let own = self.checksum.as_ref();
            own.is_some_and(|own| std::mem::discriminant(own) == std::mem::discriminant(*it))
        });
        if let (Some(own), Some(other)) = (&self.checksum, same_kind.next())
            && own != other
        {
            let name = &self.lfn;
            notes.push(format!(
                "`{name}` has {own} for the job and {other} in the catalogue"
            ));
        }
        self.size = self.size.or(entry.size);
        if self.checksum.is_none() {
            self.checksum = entry.checksums.first().cloned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::testing::{config, input_file, job, site},
        data::replicas::{Medium, Replica},
    };

    fn plan_with(
        job: &Job,
        site: &Site,
        config: &PilotConfig,
        catalogue: Option<&[CatalogueFile]>,
    ) -> Result<StageInPlan, Problem> {
        let known = Known {
            catalogue,
            record: &StorageRecord::default(),
            now: Timestamp::from_millis(0),
        };
        super::plan_stage_in(job, site, config, &known)
    }

    fn plan_stage_in(job: &Job, site: &Site, config: &PilotConfig) -> Result<StageInPlan, Problem> {
        plan_with(job, site, config, None)
    }

    fn entry(lfn: &str, replicas: &[(&str, &str)]) -> CatalogueFile {
        let replica = |((endpoint, url), priority): (&(&str, &str), u32)| Replica {
            endpoint: EndpointName::new(*endpoint),
            url: (*url).to_owned(),
            priority,
            medium: Medium::Disk,
        };
        CatalogueFile {
            scope: Scope::new("user.alice"),
            lfn: Lfn::new(lfn),
            size: Some(ByteCount::from_bytes(11)),
            checksums: vec![Checksum::Adler32(7)],
            replicas: replicas.iter().zip(1..).map(replica).collect(),
        }
    }

    fn one_input() -> Job {
        let mut job = job(1);
        job.transformation = "run.sh".into();
        job.inputs = vec![input_file("f")];
        job
    }

    #[test]
    fn the_catalogue_is_asked_where_there_is_one_and_inputs_need_it() {
        let (mut config, site) = (config(), site());
        let asked = |config: &PilotConfig, job: &Job| {
            let query = catalogue_query(job, &site, config).expect("tools");
            query.is_some()
        };
        assert!(!asked(&config, &one_input()));
        config.data.catalogue = Catalogue::Rucio;
        assert!(asked(&config, &one_input()) && !asked(&config, &job(1)));
        config.input_dir = Some("/in".into());
        assert!(!asked(&config, &one_input()));
    }

    #[test]
    fn what_the_catalogue_says_fills_in_what_the_job_does_not() {
        let mut job = one_input();
        let catalogue = [entry("f", &[("EP", "root://h//f")])];
        let plan = plan_with(&job, &site(), &config(), Some(&catalogue)).expect("plan");
        let file = &plan.files[0];
        assert_eq!(file.size, Some(ByteCount::from_bytes(10)));
        assert_eq!(file.checksum, Some(Checksum::Adler32(7)));
        assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
        assert!(file.sources().eq(["root://h//f"]));
        job.inputs[0].size = None;
        let plan = plan_with(&job, &site(), &config(), Some(&catalogue)).expect("plan");
        assert_eq!(plan.files[0].size, Some(ByteCount::from_bytes(11)));
    }

    #[test]
    fn a_file_that_the_catalogue_does_not_know_has_no_replica() {
        let code = |catalogue: &[CatalogueFile]| {
            let plan = plan_with(&one_input(), &site(), &config(), Some(catalogue));
            plan.err().map(|problem| problem.code)
        };
        assert_eq!(code(&[entry("g", &[])]), Some(ErrorCode::NoReplicas));
        assert_eq!(code(&[entry("f", &[])]), Some(ErrorCode::NoReplicas));
        assert_eq!(
            code(&[entry("f", &[("EP", "dcap://h/f")])]),
            Some(ErrorCode::NoReplicas)
        );
    }

    #[test]
    fn a_payload_reads_remotely_what_queue_and_job_allow() {
        let (mut job, mut site, mut config) = (one_input(), site(), config());
        let catalogue = [entry("f", &[("EP", "davs://h/f"), ("EP", "root://h//f")])];
        let access = |job: &Job, site: &Site, config: &PilotConfig| {
            let plan = plan_with(job, site, config, Some(&catalogue)).expect("plan");
            assert_eq!(
                plan.copied().count(),
                usize::from(plan.files[0].access == Access::Copy)
            );
            plan.files[0].access.clone()
        };
        job.transfer_type = "direct".into();
        assert_eq!(access(&job, &site, &config), Access::Copy);
        site.queue.options.has_direct_lan = true;
        config.data.xcache_proxy = Some("root://cache//".into());
        let Access::Remote(remote) = access(&job, &site, &config) else {
            panic!("copied");
        };
        assert_eq!(remote.url, "root://cache//root://h//f");
        // Near enough to be copied: nothing is read from far away.
        let near_is_closed = |site: &mut Site| {
            site.queue.options.has_direct_lan = false;
            site.queue.options.has_direct_wan = true;
        };
        near_is_closed(&mut site);
        assert_eq!(access(&job, &site, &config), Access::Copy);
        site.queue.options.allows_lan = false;
        site.queue.options.allows_wan = true;
        job.inputs[0].endpoint = EndpointName::new("EP");
        let elsewhere = EndpointName::new("OTHER");
        let near = vec![elsewhere];
        site.queue.storages.insert("read_lan".into(), near);
        let Access::Remote(remote) = access(&job, &site, &config) else {
            panic!("copied");
        };
        assert_eq!(
            (remote.url.as_str(), remote.domain),
            ("root://h//f", Domain::Wan)
        );
    }

    #[test]
    fn what_is_on_every_node_is_not_moved_and_needs_no_replica() {
        let mut config = config();
        config.profile.data.not_transferred =
            vec![ailurus_experiment::NamePattern::new("DBRelease-*")];
        config.profile.data.pool_file_catalog = true;
        let mut job = one_input();
        job.inputs = vec![input_file("DBRelease-1.tar.gz")];
        let plan = plan_with(&job, &site(), &config, Some(&[])).expect("plan");
        assert_eq!(plan.files[0].access, Access::None);
        assert!(
            plan.pool_file_catalog
                .is_some_and(|text| text.contains("DBRelease-1"))
        );
    }

    #[test]
    fn a_url_of_the_jobs_own_is_tried_first() {
        let mut job = one_input();
        let url = (Lfn::new("f"), "gs://bucket/f".to_owned());
        job.options.input_urls.extend([url]);
        let plan = plan_stage_in(&job, &site(), &config()).expect("plan");
        assert_eq!(plan.files[0].tries[0].tool, ToolName::Gs);
        assert_eq!(plan.files[0].tries.len(), 2);
    }

    #[test]
    fn without_a_catalogue_every_protocol_of_a_storage_is_a_way() {
        let mut site = site();
        let storage = site.storages.values_mut().next().expect("one");
        let protocol = |endpoint: &str| ailurus_model::StorageProtocol {
            endpoint: endpoint.into(),
            path: "/p/".into(),
            id: None,
        };
        let protocols = ["davs://h:443/", "root://h:1094/", "dcap://h/"].map(protocol);
        storage
            .protocols
            .insert("read_lan".into(), protocols.to_vec());
        let plan = plan_stage_in(&one_input(), &site, &config()).expect("plan");
        let file = &plan.files[0];
        let ways: Vec<String> = file.tries.iter().map(ToString::to_string).collect();
        let path = "/p/user/alice/fc/14/f";
        let expected = [
            format!("http davs://h:443{path}"),
            format!("xrdcp root://h:1094/{path}"),
        ];
        assert_eq!(ways.len(), 2, "{ways:?}");
        assert!(ways.contains(&expected[0]), "{ways:?}");
        assert_eq!(file.left_out.len(), 1);
    }

    #[test]
    fn the_cache_is_used_as_profile_and_queue_say() {
        let (mut config, mut site) = (config(), site());
        let cache = |config: &PilotConfig, site: &Site| {
            plan_stage_in(&one_input(), site, config)
                .expect("plan")
                .cache
        };
        assert_eq!(cache(&config, &site), CacheUse::Uncached);
        site.queue.options.has_cache = true;
        assert_eq!(cache(&config, &site), CacheUse::Cached);
        config.profile.data.cache = CacheChoice::Never;
        assert_eq!(cache(&config, &site), CacheUse::Uncached);
    }

    #[test]
    fn the_jobs_endpoint_comes_before_the_queues() {
        let mut site = site();
        let mut other = site.storages[&EndpointName::new("EP")].clone();
        other.name = EndpointName::new("OTHER");
        for protocols in other.protocols.values_mut() {
            protocols[0].path = "/other".into();
        }
        site.storages.insert(other.name.clone(), other);
        let mut job = job(1);
        job.inputs = vec![input_file("f")];
        job.inputs[0].endpoint = EndpointName::new("OTHER");
        let plan = plan_stage_in(&job, &site, &config()).expect("plan");
        let sources: Vec<&str> = plan.files[0].sources().collect();
        assert!(sources[0].starts_with("file:///other/"));
        assert!(sources[1].starts_with("file:///store/"));
    }

    #[test]
    fn an_input_directory_replaces_all_storages() {
        let mut config = config();
        config.input_dir = Some("/in/".into());
        let mut job = job(1);
        job.inputs = vec![input_file("f")];
        let plan = plan_stage_in(&job, &site(), &config).expect("plan");
        assert!(plan.files[0].sources().eq(["file:///in/f"]));
    }

    #[test]
    fn places_where_inputs_may_lie_come_before_storages_and_do_without_them() {
        let mut config = config();
        config.input_places = vec!["/point/{panda_id}".into(), "/point".into()];
        let mut job = job(1);
        job.inputs = vec![input_file("f")];
        let mut site = site();
        let sources = |site: &Site| {
            let plan = plan_stage_in(&job, site, &config).expect("plan");
            let sources = plan.files[0].sources().map(str::to_owned);
            sources.collect::<Vec<_>>()
        };
        let all = sources(&site);
        assert_eq!(all[..2], ["file:///point/1/f", "file:///point/f"]);
        assert!(all[2].starts_with("file:///store/"));
        site.storages.clear();
        assert_eq!(sources(&site).len(), 2);
    }

    #[test]
    fn names_that_lead_elsewhere_and_inputs_that_are_too_large_are_refused() {
        let code = |change: fn(&mut Job, &mut Site)| {
            let (mut job, mut site) = (job(1), site());
            job.inputs = vec![input_file("f")];
            change(&mut job, &mut site);
            plan_stage_in(&job, &site, &config())
                .err()
                .map(|problem| problem.code)
        };
        assert_eq!(code(|_, _| {}), None);
        let elsewhere = code(|job, _| job.inputs[0].lfn = Lfn::new("../f"));
        assert_eq!(elsewhere, Some(ErrorCode::StageInFailed));
        let long = code(|job, _| job.inputs[0].lfn = Lfn::new("f".repeat(256)));
        assert_eq!(long, Some(ErrorCode::LfnTooLong));
        let large = code(|_, site| site.queue.max_input_size = Some(ByteCount::from_bytes(9)));
        assert_eq!(large, Some(ErrorCode::SizeTooLarge));
        assert_eq!(
            code(|_, site| site.storages.clear()),
            Some(ErrorCode::NoStorage)
        );
    }
}
