//! Plans where outputs and the log go.

use std::collections::BTreeMap;

use ailurus_experiment::{CheckTime, NamePattern};
use ailurus_model::{
    ByteCount, Checksum, DatasetName, EndpointName, ErrorCode, FileReport, Guid, Job, Lfn,
    OutputFile, PandaId, Scope, job::guid_from_random,
};
use serde::{Deserialize, Serialize};

use super::{
    FormatCheck, LeftOut, Rank, Try, check_name,
    formats::check_of,
    place::{Direction, place_file, place_in_directory},
};
use crate::{PilotConfig, Problem, control::random::Random, input::Site};

/// What is to be stored for one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageOutPlan {
    /// Every output, in the order of the job.
    pub files: Vec<StageOutFile>,
    /// Largest size of one of them.
    pub size_max: ByteCount,
    /// Whether some of it may be stored already.
    pub beginning: Beginning,
}

/// Whether a stage-out is the first of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beginning {
    /// Nothing is stored.
    Fresh,
    /// A pilot died in it: what lies at its place, whole, is not stored again.
    Resumed,
}

impl StageOutPlan {
    /// Returns the same plan with another beginning.
    #[must_use]
    pub fn beginning_at(self, beginning: Beginning) -> Self {
        Self { beginning, ..self }
    }
}

/// One output, or the log archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageOutFile {
    /// Its name in the job's directory.
    pub lfn: Lfn,
    /// The URL where it is meant to be.
    pub destination: String,
    /// The endpoint that the URL belongs to.
    pub endpoint: EndpointName,
    /// Its GUID.
    pub guid: Guid,
    /// Its Rucio scope.
    #[serde(default)]
    pub scope: Scope,
    /// The dataset that it will belong to.
    #[serde(default)]
    pub dataset: DatasetName,
    /// Ways to store it, best first; those to the alternative storage are the last. Plans of former
    /// versions have none: see [`StageOutFile::ways`].
    #[serde(default)]
    pub tries: Vec<Try>,
    /// How its format is checked before it is stored, if at all.
    #[serde(default)]
    pub check: Option<FormatCheck>,
    /// What is not tried, and why.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

impl StageOutFile {
    /// Makes a file that is only to go this way, unchecked.
    #[must_use]
    pub fn by(lfn: Lfn, guid: Guid, way: Try) -> Self {
        Self {
            lfn,
            destination: way.url.clone(),
            endpoint: way.endpoint.clone(),
            guid,
            scope: Scope::default(),
            dataset: DatasetName::default(),
            tries: vec![way],
            check: None,
            left_out: Vec::new(),
        }
    }

    /// Returns the ways to store it, best first, at least one.
    #[must_use]
    pub fn ways(&self) -> Vec<Try> {
        if !self.tries.is_empty() {
            return self.tries.clone();
        }
        vec![Try {
            endpoint: self.endpoint.clone(),
            ..Try::in_directory(self.destination.clone())
        }]
    }

    /// Returns what is reported once the file is stored.
    #[must_use]
    pub fn report(&self, stored: &StoredFile) -> FileReport {
        let (surl, endpoint) = match &stored.place {
            Some(place) => (&place.url, &place.endpoint),
            None => (&self.destination, &self.endpoint),
        };
        FileReport {
            lfn: self.lfn.clone(),
            guid: self.guid.clone(),
            size: stored.size,
            checksum: stored.checksum.clone(),
            surl: surl.clone(),
            endpoint: endpoint.clone(),
        }
    }
}

/// A file as it lies in storage, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its size, never zero.
    pub size: ByteCount,
    /// Its checksum.
    pub checksum: Checksum,
    /// Where it lies, if not where it was meant to.
    pub place: Option<Box<StoredPlace>>,
}

/// Where an output lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPlace {
    /// The URL.
    pub url: String,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Whether that is the alternative storage (`is_altstaged`).
    pub rank: Rank,
}

impl StoredFile {
    /// Makes a file that lies where it was meant to.
    #[must_use]
    pub const fn new(size: ByteCount, checksum: Checksum) -> Self {
        Self {
            size,
            checksum,
            place: None,
        }
    }

    /// Says that the file went this way.
    #[must_use]
    pub fn by(self, way: &Try) -> Self {
        let place = StoredPlace {
            url: way.url.clone(),
            endpoint: way.endpoint.clone(),
            rank: way.rank,
        };
        Self {
            place: Some(Box::new(place)),
            ..self
        }
    }
}

/// How the log archive is made and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlan {
    /// The archive and its destination.
    pub file: StageOutFile,
    /// The directory that everything in the archive lies in.
    pub top_directory: String,
    /// Names in the job's directory that stay out: inputs, outputs, the archive itself.
    pub left_out_names: Vec<Lfn>,
    /// Patterns of names that stay out.
    pub left_out: Vec<NamePattern>,
}

/// Plans the stage-out of a job. `guids` are those that the payload gave to its outputs.
///
/// # Errors
///
/// 1190 or 1371 for names that cannot be, 1133 where no endpoint is known, and the errors of
/// [`place_file`].
pub fn plan_stage_out(
    job: &Job,
    site: &Site,
    config: &PilotConfig,
    guids: &BTreeMap<Lfn, Guid>,
    random: &mut Random,
) -> Result<StageOutPlan, Problem> {
    let files = job
        .outputs
        .iter()
        .map(|output| {
            let mut file = plan_file((job.panda_id, output), site, config, random)?;
            if let Some(guid) = guids.get(&output.lfn) {
                file.guid = guid.clone();
            }
            Ok(file)
        })
        .collect::<Result<_, _>>()?;
    Ok(StageOutPlan {
        files,
        size_max: config.profile.limits.output_file,
        beginning: Beginning::Fresh,
    })
}

/// Plans the log archive of a job; none if the job wants none.
///
/// # Errors
///
/// As [`plan_stage_out`].
pub fn plan_log(
    job: &Job,
    site: &Site,
    config: &PilotConfig,
    random: &mut Random,
) -> Result<Option<LogPlan>, Problem> {
    let Some(log) = &job.log else {
        return Ok(None);
    };
    let inputs = job.inputs.iter().map(|input| input.lfn.clone());
    let outputs = job.outputs.iter().map(|output| output.lfn.clone());
    Ok(Some(LogPlan {
        file: plan_file((job.panda_id, log), site, config, random)?,
        top_directory: format!("tarball_PandaJob_{}_{}", job.panda_id, site.queue.name),
        left_out_names: inputs
            .chain(outputs)
            .chain([log.lfn.clone()])
            .chain(node_program(job))
            .collect(),
        left_out: config.profile.log.left_out.clone(),
    }))
}

/// Returns the name of a job's program that was copied from the node: the node has it still.
fn node_program(job: &Job) -> Option<Lfn> {
    let transformation = job.transformation.trim();
    let path = transformation.strip_prefix("file://");
    let path = path.unwrap_or(transformation).strip_prefix('/')?;
    path.rsplit('/').next().map(Lfn::new)
}

fn plan_file(
    (panda_id, output): (PandaId, &OutputFile),
    site: &Site,
    config: &PilotConfig,
    random: &mut Random,
) -> Result<StageOutFile, Problem> {
    check_name(&output.lfn, ErrorCode::BadOutputFileName)?;
    let endpoint = choose_endpoint(output, site);
    let destination = if let Some(directory) = &config.output_dir {
        place_in_directory(directory, panda_id, &output.lfn)
    } else if let Some(endpoint) = endpoint {
        place_file(
            &site.storages,
            endpoint,
            &output.scope,
            &output.lfn,
            Direction::Write,
        )?
    } else {
        let detail = format!("`{}`: neither job nor queue name one", output.lfn);
        return Err(Problem::new(ErrorCode::NoStorage, detail));
    };
    let guid = output.guid.clone().filter(|guid| !guid.is_empty());
    Ok(StageOutFile {
        lfn: output.lfn.clone(),
        destination,
        endpoint: endpoint.cloned().unwrap_or_default(),
        guid: guid.unwrap_or_else(|| guid_from_random(random.bytes())),
        scope: output.scope.clone(),
        dataset: output.dataset.clone(),
        tries: Vec::new(),
        check: check_of(&config.profile, &output.lfn, CheckTime::Output),
        left_out: Vec::new(),
    })
}

/// Chooses the endpoint of an output: the job's if the site knows it, else the queue's.
fn choose_endpoint<'a>(output: &'a OutputFile, site: &'a Site) -> Option<&'a EndpointName> {
    let named = Some(&output.endpoint).filter(|endpoint| !endpoint.is_empty());
    named
        .filter(|endpoint| site.storages.contains_key(endpoint))
        .or_else(|| site.queue.output_endpoint())
        .or(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{config, job, output_file, site};

    fn plan(job: &Job, site: &Site, config: &PilotConfig) -> Result<StageOutPlan, ErrorCode> {
        let guids = BTreeMap::from([(Lfn::new("reported"), Guid::new("FROM-REPORT"))]);
        plan_stage_out(job, site, config, &guids, &mut Random::new([1; 16]))
            .map_err(|problem| problem.code)
    }

    #[test]
    fn guids_come_from_the_report_then_the_job_then_chance() {
        let mut job = job(1);
        job.outputs = vec![
            output_file("reported"),
            output_file("named"),
            output_file("neither"),
        ];
        job.outputs[1].guid = Some(Guid::new("FROM-JOB"));
        let plan = plan(&job, &site(), &config()).expect("plan");
        assert_eq!(plan.files[0].guid.as_str(), "FROM-REPORT");
        assert_eq!(plan.files[1].guid.as_str(), "FROM-JOB");
        assert_eq!(plan.files[2].guid.as_str().len(), 36);
    }

    #[test]
    fn an_endpoint_that_the_site_does_not_know_is_replaced_by_the_queues() {
        let mut job = job(1);
        job.outputs = vec![output_file("o")];
        job.outputs[0].endpoint = EndpointName::new("ELSEWHERE");
        let plan = plan(&job, &site(), &config()).expect("plan");
        assert_eq!(plan.files[0].endpoint.as_str(), "EP");
    }

    #[test]
    fn an_output_directory_replaces_all_storages() {
        let (mut config, mut site, mut job) = (config(), site(), job(1));
        config.output_dir = Some("/out/{panda_id}".into());
        site.storages.clear();
        job.outputs = vec![output_file("o")];
        let plan = plan(&job, &site, &config).expect("plan");
        assert_eq!(plan.files[0].destination, "file:///out/1/o");
    }

    #[test]
    fn an_output_name_that_leads_elsewhere_is_refused() {
        let mut job = job(1);
        job.outputs = vec![output_file("../../etc/passwd")];
        assert_eq!(
            plan(&job, &site(), &config()),
            Err(ErrorCode::BadOutputFileName)
        );
    }

    #[test]
    fn inputs_outputs_and_the_archive_itself_stay_out_of_the_log() {
        let mut job = job(1);
        job.outputs = vec![output_file("o")];
        let plan = plan_log(&job, &site(), &config(), &mut Random::new([1; 16]));
        let plan = plan.expect("plan").expect("a log is wanted");
        assert_eq!(plan.left_out_names, [Lfn::new("o"), Lfn::new("log.tgz")]);
        assert_eq!(plan.top_directory, "tarball_PandaJob_1_Q");
    }
}
