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
    CourseLimits, Domain, FormatCheck, LeftOut, StorageRecord, Try,
    catalogue::{CatalogueFile, ReplicaQuery, replica_query},
    check_name,
    copy_tools::{Purpose, ToolName, Tools, choose_tools, scheme_of},
    direct_access::{self, Wish},
    formats::check_of,
    place::place_in_directory,
    pool_file_catalog::pool_file_catalog,
    replicas::{Chooser, Source, Ways},
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
    wish: Wish<'a>,
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
        let chooser = Chooser::new(job, site, config, &tools, known);
        let found = known.catalogue.map(|files| {
            let files = files.iter().map(|file| ((&file.scope, &file.lfn), file));
            files.collect()
        });
        Ok(Self {
            job,
            site,
            config,
            tools,
            wish: Wish::of(job),
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
        if self.wish.covers(input) {
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
mod tests;
