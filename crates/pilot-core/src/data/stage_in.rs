//! Plans the stage-in of a job: which files, from which replicas.

use ailurus_experiment::CheckTime;
use ailurus_model::{
    ByteCount, Checksum, DatasetName, EndpointName, ErrorCode, Guid, InputFile, Job, Lfn, PandaId,
    Scope,
};

use super::{
    CourseLimits, Domain, FormatCheck, LeftOut, Try, check_name,
    formats::check_of,
    place::{Direction, place_file, place_in_directory},
};
use crate::{PilotConfig, Problem, input::Site};

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

/// Plans the stage-in of a job.
///
/// # Errors
///
/// 1168 if the inputs are larger than the queue allows together, 1190 or 1099 for names that
/// cannot be, and the errors of [`place_file`] for a file that has no usable place.
pub fn plan_stage_in(job: &Job, site: &Site, config: &PilotConfig) -> Result<StageInPlan, Problem> {
    check_total_size(job, site)?;
    let files = job
        .inputs
        .iter()
        .map(|input| {
            check_name(&input.lfn, ErrorCode::StageInFailed)?;
            let sources = plan_sources((job.panda_id, input), site, config)?;
            Ok(StageInFile {
                lfn: input.lfn.clone(),
                scope: input.scope.clone(),
                dataset: input.dataset.clone(),
                guid: input.guid.clone(),
                access: Access::Copy,
                tries: sources.into_iter().map(Try::in_directory).collect(),
                size: input.size,
                checksum: input.checksum.clone(),
                check: check_of(&config.profile, &input.lfn, CheckTime::Input),
                left_out: Vec::new(),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(StageInPlan {
        files,
        pool_file_catalog: None,
        cache: CacheUse::Uncached,
        limits: CourseLimits::default(),
    })
}

fn check_total_size(job: &Job, site: &Site) -> Result<(), Problem> {
    let Some(limit) = site.queue.max_input_size else {
        return Ok(());
    };
    let total = job
        .inputs
        .iter()
        .filter_map(|input| input.size)
        .fold(ByteCount::ZERO, ByteCount::plus);
    if total <= limit {
        return Ok(());
    }
    let detail = format!("inputs of {total}, the queue allows {limit}");
    Err(Problem::new(ErrorCode::SizeTooLarge, detail))
}

/// Lists the replicas of a file: where it may lie already, the endpoint that the job names, then
/// those the queue reads from.
fn plan_sources(
    (panda_id, input): (PandaId, &InputFile),
    site: &Site,
    config: &PilotConfig,
) -> Result<Vec<String>, Problem> {
    let in_directory = |directory: &String| place_in_directory(directory, panda_id, &input.lfn);
    if let Some(directory) = &config.input_dir {
        return Ok(vec![in_directory(directory)]);
    }
    let mut endpoints: Vec<&EndpointName> = Vec::new();
    if !input.endpoint.is_empty() {
        endpoints.push(&input.endpoint);
    }
    for endpoint in site.queue.input_endpoints() {
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    let mut sources: Vec<String> = config.input_places.iter().map(in_directory).collect();
    let mut first_problem = None;
    for endpoint in endpoints {
        match place_file(
            &site.storages,
            endpoint,
            &input.scope,
            &input.lfn,
            Direction::Read,
        ) {
            Ok(url) => sources.push(url),
            Err(problem) => first_problem = first_problem.or(Some(problem)),
        }
    }
    if sources.is_empty() {
        let none = || {
            let detail = format!(
                "`{}` has no storage: neither job nor queue name one",
                input.lfn
            );
            Problem::new(ErrorCode::NoReplicas, detail)
        };
        return Err(first_problem.unwrap_or_else(none));
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{config, input_file, job, site};

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
