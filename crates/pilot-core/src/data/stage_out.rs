//! Plans where outputs and the log go.

use std::collections::BTreeMap;

use ailurus_experiment::{CheckTime, ChecksumChoice, NamePattern};
use ailurus_model::{
    ByteCount, Checksum, DatasetName, EndpointName, ErrorCode, FileReport, Guid, Job, Lfn,
    OutputFile, Scope, job::guid_from_random,
};
use serde::{Deserialize, Serialize};

use super::{
    FormatCheck, Known, LeftOut, Rank, Try, check_name,
    copy_tools::{Purpose, Tools, choose_tools},
    destinations::{Destinations, choose_storages},
    formats::check_of,
    place::{PathRule, place_in_directory},
    replicas::Ways,
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
    /// The checksum that is made of each.
    #[serde(default)]
    pub checksum: ChecksumChoice,
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

/// Where the GUIDs of outputs come from.
#[derive(Debug)]
pub struct GuidSource<'a> {
    /// Those that the payload gave to its outputs.
    pub reported: &'a BTreeMap<Lfn, Guid>,
    /// For outputs that nobody gave one.
    pub random: &'a mut Random,
}

/// Plans the stage-out of a job.
///
/// # Errors
///
/// 1190 or 1371 for names that cannot be, 1323 if the queue has no copy tool, 1133 where no storage
/// is known, 1313 where it has no protocol, 1329 where its paths do not follow from names.
pub fn plan_stage_out(
    job: &Job,
    site: &Site,
    config: &PilotConfig,
    known: &Known<'_>,
    guids: &mut GuidSource<'_>,
) -> Result<StageOutPlan, Problem> {
    let mut planner = Planner::new((job, site, config), Purpose::StageOut, known)?;
    let mut files = Vec::new();
    for output in &job.outputs {
        let mut file = planner.plan_file(output, guids.random)?;
        if let Some(guid) = guids.reported.get(&output.lfn) {
            file.guid = guid.clone();
        }
        files.push(file);
    }
    Ok(StageOutPlan {
        files,
        size_max: config.profile.limits.output_file,
        beginning: Beginning::Fresh,
        checksum: config.profile.data.checksum,
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
    known: &Known<'_>,
    random: &mut Random,
) -> Result<Option<LogPlan>, Problem> {
    let Some(log) = &job.log else {
        return Ok(None);
    };
    let inputs = job.inputs.iter().map(|input| input.lfn.clone());
    let outputs = job.outputs.iter().map(|output| output.lfn.clone());
    let mut planner = Planner::new((job, site, config), Purpose::Log, known)?;
    Ok(Some(LogPlan {
        file: planner.plan_file(log, random)?,
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

/// What is the same for all outputs of a job.
struct Planner<'a> {
    job: &'a Job,
    site: &'a Site,
    config: &'a PilotConfig,
    tools: Tools,
    purpose: Purpose,
    known: &'a Known<'a>,
}

impl<'a> Planner<'a> {
    fn new(
        (job, site, config): (&'a Job, &'a Site, &'a PilotConfig),
        purpose: Purpose,
        known: &'a Known<'a>,
    ) -> Result<Self, Problem> {
        let defaults = &config.profile.data.copy_tools;
        Ok(Self {
            job,
            site,
            config,
            tools: choose_tools(&site.queue, purpose, defaults)?,
            purpose,
            known,
        })
    }

    fn plan_file(
        &mut self,
        output: &OutputFile,
        random: &mut Random,
    ) -> Result<StageOutFile, Problem> {
        check_name(&output.lfn, ErrorCode::BadOutputFileName)?;
        let ways = self.ways(output)?;
        let Some(first) = ways.tries.first() else {
            let detail = format!("`{}` has no place to go to", output.lfn);
            return Err(Problem::new(ErrorCode::NoStorage, detail));
        };
        let guid = output.guid.clone().filter(|guid| !guid.is_empty());
        Ok(StageOutFile {
            lfn: output.lfn.clone(),
            destination: first.url.clone(),
            endpoint: first.endpoint.clone(),
            guid: guid.unwrap_or_else(|| guid_from_random(random.bytes())),
            scope: output.scope.clone(),
            dataset: output.dataset.clone(),
            tries: ways.tries,
            check: check_of(&self.config.profile, &output.lfn, CheckTime::Output),
            left_out: ways.left_out,
        })
    }

    fn ways(&self, output: &OutputFile) -> Result<Ways, Problem> {
        let (job, site) = (self.job, self.site);
        if let Some(directory) = &self.config.output_dir {
            let url = place_in_directory(directory, job.panda_id, &output.lfn);
            let endpoint = choose_storages(job, &site.queue, output, self.purpose).primary;
            let way = Try {
                endpoint: endpoint.unwrap_or_default(),
                ..Try::in_directory(url)
            };
            return Ok(Ways {
                tries: vec![way],
                left_out: Vec::new(),
            });
        }
        let destinations = Destinations {
            job,
            site,
            path_rule: PathRule::of(self.config.data.catalogue),
            tools: &self.tools,
            purpose: self.purpose,
            known: self.known,
        };
        destinations.plan(output)
    }
}

/// Says which files went to the alternative storage, as Pilot 3 does; nothing if none did.
///
/// Source: Pilot 3, `pilot/control/data.py`, `_do_stageout`.
#[must_use]
pub fn alternative_note<'a>(
    files: impl IntoIterator<Item = (&'a Lfn, &'a StoredFile)>,
) -> Option<String> {
    let is_alternative = |stored: &StoredFile| {
        let place = stored.place.as_ref();
        place.is_some_and(|place| place.rank == Rank::Alternative)
    };
    let files = files
        .into_iter()
        .filter(|(_, stored)| is_alternative(stored));
    let names: Vec<String> = files.map(|(lfn, _)| format!("'{lfn}'")).collect();
    (!names.is_empty()).then(|| format!("Alternative stage-out for [{}]", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::testing::{config, job, output_file, site},
        data::StorageRecord,
    };

    fn plan(job: &Job, site: &Site, config: &PilotConfig) -> Result<StageOutPlan, ErrorCode> {
        let mut guids = GuidSource {
            reported: &BTreeMap::from([(Lfn::new("reported"), Guid::new("FROM-REPORT"))]),
            random: &mut Random::new([1; 16]),
        };
        let record = StorageRecord::default();
        plan_stage_out(job, site, config, &known(&record), &mut guids)
            .map_err(|problem| problem.code)
    }

    fn known(record: &StorageRecord) -> Known<'_> {
        Known {
            catalogue: None,
            record,
            now: ailurus_model::Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_plan_of_a_former_version_is_read_and_has_its_one_way() {
        let text = r#"{"files":[{"lfn":"o","destination":"file:///s/o","endpoint":"EP","guid":"G"}],
            "size_max":"1 GiB","beginning":"resumed"}"#;
        let plan: StageOutPlan = serde_json::from_str(text).expect("a plan");
        let ways = plan.files[0].ways();
        assert_eq!(ways.len(), 1);
        assert_eq!(
            (ways[0].url.as_str(), ways[0].endpoint.as_str()),
            ("file:///s/o", "EP")
        );
        assert_eq!(plan.checksum, ChecksumChoice::Adler32);
    }

    #[test]
    fn what_is_stored_elsewhere_is_reported_there_and_noted() {
        let way = Try {
            endpoint: EndpointName::new("ALT"),
            rank: Rank::Alternative,
            ..Try::in_directory("root://alt//o".into())
        };
        let file = StageOutFile::by(
            Lfn::new("o"),
            Guid::new("G"),
            Try::in_directory("root://ep//o".into()),
        );
        let stored = StoredFile::new(ByteCount::from_bytes(1), Checksum::Adler32(1));
        assert_eq!(file.report(&stored).surl, "root://ep//o");
        assert_eq!(alternative_note([(&file.lfn, &stored)]), None);
        let stored = stored.by(&way);
        let report = file.report(&stored);
        assert_eq!(
            (report.surl.as_str(), report.endpoint.as_str()),
            ("root://alt//o", "ALT")
        );
        let note = alternative_note([(&file.lfn, &stored)]);
        assert_eq!(note.as_deref(), Some("Alternative stage-out for ['o']"));
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
        let record = StorageRecord::default();
        let mut random = Random::new([1; 16]);
        let plan = plan_log(&job, &site(), &config(), &known(&record), &mut random);
        let plan = plan.expect("plan").expect("a log is wanted");
        assert_eq!(plan.left_out_names, [Lfn::new("o"), Lfn::new("log.tgz")]);
        assert_eq!(plan.top_directory, "tarball_PandaJob_1_Q");
    }
}
