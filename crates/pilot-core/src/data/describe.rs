//! A plan for people: each file with its tries in order, and what is left out and why.
//!
//! [`PlanTable`] is made from the same functions as the plan of a real job. Signatures in URLs are
//! not shown.

use std::fmt;

use ailurus_model::{ByteCount, Checksum, Job, Queue};
use serde::Serialize;

use super::{
    Access, Domain, FormatCheck, GuidSource, Known, LeftOut, Rank, StageInFile, StageOutFile, Try,
    copy_tools::{Purpose, choose_tools},
    plan_log, plan_stage_in, plan_stage_out,
    tries::place_of,
};
use crate::{PilotConfig, Problem, control::random::Random, input::Site};

/// The plan of a job's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanTable {
    /// Inputs, outputs and the log, in this order, without those that the job does not have.
    pub parts: Vec<PlanPart>,
}

/// The plan of a job's inputs, of its outputs or of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanPart {
    /// `inputs`, `outputs` or `log`.
    pub name: &'static str,
    /// The copy tools, best first.
    pub tools: Vec<String>,
    /// Who named them.
    pub tools_from: String,
    /// Its files, in the order of the job.
    pub files: Vec<PlannedFile>,
    /// What is worth to be known besides.
    pub notes: Vec<String>,
    /// Why there is no plan, if there is none.
    pub problem: Option<String>,
}

/// The plan of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedFile {
    /// Its name.
    pub lfn: String,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its checksum, if known.
    pub checksum: Option<Checksum>,
    /// What is done with it, for example `copied`.
    pub access: String,
    /// How its format is checked, if at all.
    pub check: Option<String>,
    /// Its tries, best first.
    pub tries: Vec<PlannedTry>,
    /// What is not tried, and why.
    pub left_out: Vec<String>,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedTry {
    /// What moves the file.
    pub tool: String,
    /// The URL, without signatures.
    pub url: String,
    /// The endpoint, empty for a directory that the pilot was given.
    pub endpoint: String,
    /// How far away it is.
    pub domain: Domain,
    /// Which of an output's places it is.
    pub rank: Rank,
}

impl PlanTable {
    /// Plans all data of a job.
    #[must_use]
    pub fn of(job: &Job, site: &Site, config: &PilotConfig, known: &Known<'_>) -> Self {
        let mut random = Random::new(config.seed);
        let mut parts = Vec::new();
        if !job.inputs.is_empty() {
            let plan = plan_stage_in(job, site, config, known).map(|plan| {
                let files = plan.files.iter().map(PlannedFile::of_input);
                (files.collect(), plan.notes)
            });
            parts.push(PlanPart::new(
                "inputs",
                Purpose::StageIn,
                (site, config),
                plan,
            ));
        }
        if !job.outputs.is_empty() {
            let mut guids = GuidSource {
                reported: &std::collections::BTreeMap::new(),
                random: &mut random,
            };
            let plan = plan_stage_out(job, site, config, known, &mut guids);
            let plan = plan.map(|plan| {
                let files = plan.files.iter().map(PlannedFile::of_output);
                (files.collect(), Vec::new())
            });
            parts.push(PlanPart::new(
                "outputs",
                Purpose::StageOut,
                (site, config),
                plan,
            ));
        }
        let log = plan_log(job, site, config, known, &mut random);
        if let Some(plan) = log.transpose() {
            let plan = plan.map(|plan| (vec![PlannedFile::of_output(&plan.file)], Vec::new()));
            parts.push(PlanPart::new("log", Purpose::Log, (site, config), plan));
        }
        Self { parts }
    }

    /// Says whether every file has a way.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.problem.is_none())
    }
}

impl PlanPart {
    fn new(
        name: &'static str,
        purpose: Purpose,
        (site, config): (&Site, &PilotConfig),
        plan: Result<(Vec<PlannedFile>, Vec<String>), Problem>,
    ) -> Self {
        let (tools, tools_from) = tools_of(&site.queue, purpose, config);
        let (files, notes, problem) = match plan {
            Ok((files, notes)) => (files, notes, None),
            Err(problem) => (Vec::new(), Vec::new(), Some(problem.to_string())),
        };
        Self {
            name,
            tools,
            tools_from,
            files,
            notes,
            problem,
        }
    }
}

fn tools_of(queue: &Queue, purpose: Purpose, config: &PilotConfig) -> (Vec<String>, String) {
    match choose_tools(queue, purpose, &config.profile.data.copy_tools) {
        Ok(tools) => {
            let names = tools.tools.iter().map(ToString::to_string);
            (names.collect(), tools.source.to_string())
        }
        // The plan's own problem says why.
        Err(_) => (Vec::new(), String::new()),
    }
}

impl PlannedFile {
    fn of_input(file: &StageInFile) -> Self {
        let access = match &file.access {
            Access::Copy => "copied".to_owned(),
            Access::None => "on every node, not moved".to_owned(),
            Access::Remote(remote) => {
                let (place, endpoint) = (place_of(&remote.url), &remote.endpoint);
                format!(
                    "read by the payload from {place} ({endpoint}, {})",
                    remote.domain
                )
            }
        };
        Self {
            lfn: file.lfn.to_string(),
            size: file.size,
            checksum: file.checksum.clone(),
            access,
            check: file.check.as_ref().map(check_text),
            tries: file.tries.iter().map(PlannedTry::of).collect(),
            left_out: file.left_out.iter().map(LeftOut::to_string).collect(),
        }
    }

    fn of_output(file: &StageOutFile) -> Self {
        Self {
            lfn: file.lfn.to_string(),
            size: None,
            checksum: None,
            access: "stored".to_owned(),
            check: file.check.as_ref().map(check_text),
            tries: file.ways().iter().map(PlannedTry::of).collect(),
            left_out: file.left_out.iter().map(LeftOut::to_string).collect(),
        }
    }
}

impl PlannedTry {
    fn of(it: &Try) -> Self {
        Self {
            tool: it.tool.to_string(),
            url: it.place(),
            endpoint: it.endpoint.to_string(),
            domain: it.domain,
            rank: it.rank,
        }
    }
}

fn check_text(check: &FormatCheck) -> String {
    let command = check.command.as_ref();
    let program = command.and_then(|it| it.command.first());
    match (check.format.as_str(), program) {
        ("", Some(program)) => format!("by `{program}`"),
        (format, Some(program)) => format!("{format}, {}, and by `{program}`", check.depth),
        (format, None) => format!("{format}, {}", check.depth),
    }
}

impl fmt::Display for PlanTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PlanPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.tools.is_empty() {
            let tools = self.tools.join(", ");
            write!(f, "  by {tools} (named by {})", self.tools_from)?;
        }
        writeln!(f)?;
        if let Some(problem) = &self.problem {
            writeln!(f, "  no plan: {problem}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        let tries = self.files.iter().flat_map(|file| &file.tries);
        let width = tries.map(|it| it.tool.len()).max().unwrap_or(0);
        for file in &self.files {
            file.write(f, width)?;
        }
        Ok(())
    }
}

impl PlannedFile {
    /// Writes the file with its tries, whose tools take `width` columns.
    fn write(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        write!(f, "  {}", self.lfn)?;
        if let Some(size) = self.size {
            write!(f, "  {size}")?;
        }
        if let Some(checksum) = &self.checksum {
            write!(f, "  {checksum}")?;
        }
        write!(f, "  {}", self.access)?;
        if let Some(check) = &self.check {
            write!(f, "  checked: {check}")?;
        }
        writeln!(f)?;
        for (nr, it) in (1..).zip(&self.tries) {
            let endpoint = match it.endpoint.as_str() {
                "" => "a directory of the pilot's",
                endpoint => endpoint,
            };
            write!(
                f,
                "    {nr:>2}  {:width$}  {endpoint}  {}  {}",
                it.tool, it.domain, it.url
            )?;
            match it.rank {
                Rank::Primary => writeln!(f)?,
                Rank::Alternative => writeln!(f, "  (alternative)")?,
            }
        }
        for left_out in &self.left_out {
            writeln!(f, "     -  {left_out}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::{EndpointName, Lfn, Scope, Timestamp};

    use super::*;
    use crate::{
        control::testing::{config, input_file, job, output_file, site},
        data::{CatalogueFile, Medium, Replica, StorageRecord},
    };

    fn table(catalogue: Option<&[CatalogueFile]>, site: &Site) -> PlanTable {
        let mut job = job(1);
        job.inputs = vec![input_file("in.root")];
        job.outputs = vec![output_file("out.root")];
        let known = Known {
            catalogue,
            record: &StorageRecord::default(),
            now: Timestamp::from_millis(0),
        };
        let mut config = config();
        config.profile.formats = ailurus_experiment::Profile::built_in("spd")
            .expect("built in")
            .formats;
        PlanTable::of(&job, site, &config, &known)
    }

    fn replica(endpoint: &str, url: &str) -> Replica {
        Replica {
            endpoint: EndpointName::new(endpoint),
            url: url.into(),
            priority: 1,
            medium: Medium::Disk,
        }
    }

    #[test]
    fn a_plan_shows_tries_in_order_and_what_is_left_out() {
        let entry = CatalogueFile {
            scope: Scope::new("user.alice"),
            lfn: Lfn::new("in.root"),
            size: None,
            checksums: vec![Checksum::Adler32(7)],
            replicas: vec![
                replica("EP", "davs://ep/in.root?X-Sig=secret"),
                replica("FAR", "root://far//in.root"),
            ],
        };
        let table = table(Some(&[entry]), &site());
        let text = table.to_string();
        assert!(table.is_complete(), "{text}");
        for part in [
            "inputs  by rucio (named by the profile)\n",
            "  in.root  10 B  ad:00000007  copied  checked: root, structure\n",
            "     1  http  EP  LAN  davs://ep/in.root\n",
            "     -  `FAR` root://far//in.root: the queue does not allow WAN access (`allow_wan`)\n",
            "  out.root  stored  checked: root, structure\n",
            "log  by rucio",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        assert!(!text.contains("secret"), "{text}");
        let json = serde_json::to_string(&table).expect("JSON");
        assert!(
            json.contains(r#""tool":"http""#) && !json.contains("secret"),
            "{json}"
        );
    }

    #[test]
    fn what_cannot_be_planned_says_why() {
        let mut site = site();
        site.storages.clear();
        let table = table(None, &site);
        assert!(!table.is_complete());
        let text = table.to_string();
        assert!(text.contains("no plan: 1133: "), "{text}");
        assert_eq!(table.parts.len(), 3);
    }
}
