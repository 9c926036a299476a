//! What a job is that was submitted as it is: read from the attributes that came with it.
//!
//! Names of outputs and log get the number of the attempt behind them from the second attempt on,
//! and so does what the parameters say of them, as PanDA does when it tries a job again.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, Attributes, ByteCount, Checksum, DatasetName, EndpointName, FileId, Guid, JobForm,
    JobOptions, Lfn, Queue, QueueName, Scope, job_tags,
};

use crate::{
    definition::{JobOutput, JobOutputs, Payload, Presence},
    ledger::{AttemptRecord, FileRecord, JobRecord, JobText, Ledger, LedgerError},
    operation::Operation,
};

/// Our own attribute of an output: which part of its dataset it becomes.
pub(crate) const PART: &str = "ailurusPart";
/// The token of an output that may be missing.
const ALLOW_NO_OUTPUT: &str = "an";
/// Where the texts of a job as a whole are kept.
pub(crate) const WHOLE_JOB: AttemptNr = AttemptNr::new(0);

impl<L: Ledger> Operation<'_, L> {
    /// Reads what was submitted as this job.
    pub(crate) fn form_of(&self, job: &JobRecord) -> Result<JobForm, LedgerError> {
        let missing = |what: &str| {
            let text = format!("job {} was submitted as it is, but {what}", job.panda_id);
            LedgerError::contradiction(text)
        };
        let text = self
            .ledger
            .job_text(job.panda_id, WHOLE_JOB, JobText::Spec)?
            .ok_or_else(|| missing("its attributes are not there"))?;
        serde_json::from_str(&text).map_err(|error| missing(&error.to_string()))
    }

    /// The queue that a job's submitter chose, if it is still there.
    pub(crate) fn chosen_queue(&self, job: &JobRecord) -> Result<Option<QueueName>, LedgerError> {
        let form = self.form_of(job)?;
        let name = QueueName::new(form.attributes.text("computingSite"));
        Ok(self.ctx.queue(&name).map(|queue| queue.name.clone()))
    }

    pub(crate) fn direct_parts(
        &self,
        job: &JobRecord,
    ) -> Result<Vec<(DatasetName, u32)>, LedgerError> {
        let form = self.form_of(job)?;
        let outputs = form
            .files
            .iter()
            .filter(|file| file.text("type") == "output");
        Ok(outputs
            .map(|file| (dataset_of(file), part_of(file)))
            .collect())
    }

    pub(crate) fn direct_outputs(
        &self,
        job: &JobRecord,
        attempt_nr: AttemptNr,
    ) -> Result<JobOutputs, LedgerError> {
        let form = self.form_of(job)?;
        let output = |file: &Attributes| JobOutput {
            name: file.text("lfn").to_owned(),
            lfn: lfn_in(file.text("lfn"), &form, attempt_nr),
            scope: Scope::new(file.text("scope")),
            dataset: dataset_of(file),
            part: part_of(file),
            presence: if may_be_missing(file) {
                Presence::Optional
            } else {
                Presence::Required
            },
        };
        let of_type = |kind: &str| {
            let files = form.files.iter().filter(|file| file.text("type") == kind);
            files.map(output).collect::<Vec<_>>()
        };
        let log = of_type("log").into_iter().next();
        Ok(JobOutputs {
            files: of_type("output"),
            log: log.unwrap_or_else(|| JobOutput {
                name: "log".to_owned(),
                lfn: Lfn::new(format!("job.{}.{attempt_nr}.log.tgz", job.panda_id)),
                scope: Scope::default(),
                dataset: DatasetName::default(),
                part: 0,
                presence: Presence::Optional,
            }),
        })
    }

    /// The files that a job reads, as if they were registered.
    pub(crate) fn direct_inputs(&self, job: &JobRecord) -> Result<Vec<FileRecord>, LedgerError> {
        let form = self.form_of(job)?;
        let queue = job.queue.as_ref().and_then(|name| self.ctx.queue(name));
        let inputs = form
            .files
            .iter()
            .filter(|file| file.text("type") == "input");
        Ok(inputs.map(|file| input(file, queue)).collect())
    }

    pub(crate) fn direct_payload(
        &self,
        job: &JobRecord,
        attempt: &AttemptRecord,
    ) -> Result<Payload, LedgerError> {
        let form = self.form_of(job)?;
        let attributes = &form.attributes;
        let options = JobOptions {
            home_package: attributes.text("homepackage").to_owned(),
            cpu_time_max: Duration::from_secs(attributes.count("maxCpuCount")),
            nucleus: attributes.text("nucleus").to_owned(),
            ..JobOptions::default()
        };
        Ok(Payload {
            job_name: attributes.text("jobName").to_owned(),
            jobset_id: job.task_id.value(),
            processing_type: attributes.text("processingType").to_owned(),
            transformation: attributes.text("transformation").to_owned(),
            parameters: parameters(&form, attempt.attempt_nr),
            release: attributes.text("AtlasRelease").to_owned(),
            platform: attributes.text("cmtConfig").to_owned(),
            container_image: attributes.text("container_name").to_owned(),
            looping_check: !job.tags.has(job_tags::NO_LOOPING_CHECK),
            transfer_type: attributes.text("transferType").to_owned(),
            options,
        })
    }
}

fn may_be_missing(file: &Attributes) -> bool {
    let tokens = file.text("dispatchDBlockToken");
    tokens.split(',').any(|token| token == ALLOW_NO_OUTPUT)
}

pub(crate) fn dataset_of(file: &Attributes) -> DatasetName {
    let own = file.text("dataset");
    let name = if own.is_empty() {
        file.text("destinationDBlock")
    } else {
        own
    };
    DatasetName::new(name)
}

fn part_of(file: &Attributes) -> u32 {
    u32::try_from(file.count(PART)).unwrap_or(u32::MAX)
}

fn input(file: &Attributes, queue: Option<&Queue>) -> FileRecord {
    let checksum = ["checksum", "md5sum"]
        .into_iter()
        .map(|name| file.text(name))
        .find(|text| !text.is_empty());
    let token = file.text("prodDBlockToken");
    let endpoint = match token.strip_prefix("dst:").or(token.strip_prefix("ddd:")) {
        Some(named) => EndpointName::new(named),
        None => queue
            .and_then(|queue| queue.storages.get("pr"))
            .and_then(|endpoints| endpoints.first())
            .cloned()
            .unwrap_or_default(),
    };
    let guid = file.text("GUID");
    FileRecord {
        id: FileId::default(),
        dataset: dataset_of(file),
        part: 0,
        lfn: Lfn::new(file.text("lfn")),
        scope: Scope::new(file.text("scope")),
        guid: (!guid.is_empty()).then(|| Guid::new(guid)),
        size: file
            .whole("fsize")
            .and_then(|size| u64::try_from(size).ok())
            .map(ByteCount::from_bytes),
        checksum: checksum.and_then(|text| text.parse::<Checksum>().ok()),
        surl: String::new(),
        endpoint,
        replicas: Vec::new(),
        producer: None,
        n_events: None,
    }
}

/// The name of an output or log in an attempt. Libraries that build jobs make keep theirs.
fn lfn_in(lfn: &str, form: &JobForm, attempt_nr: AttemptNr) -> Lfn {
    let is_build = form.attributes.text("prodSourceLabel") == "panda";
    let keeps = (is_build && !lfn.ends_with(".log.tgz")) || lfn.ends_with(".lib.tgz");
    if attempt_nr.value() <= 1 || keeps || lfn.starts_with(crate::outputs::REGEX_PREFIX) {
        return Lfn::new(lfn);
    }
    let base = match lfn.rsplit_once('.') {
        Some((base, end)) if !end.is_empty() && end.bytes().all(|c| c.is_ascii_digit()) => base,
        Some(_) | None => lfn,
    };
    Lfn::new(format!("{base}.{attempt_nr}"))
}

/// The payload's arguments with the names that its files have in this attempt.
fn parameters(form: &JobForm, attempt_nr: AttemptNr) -> String {
    let mut text = form.attributes.text("jobParameters").to_owned();
    for file in &form.files {
        let old = file.text("lfn");
        if old.is_empty() || !matches!(file.text("type"), "output" | "log") {
            continue;
        }
        let new = lfn_in(old, form, attempt_nr);
        if new.as_str() != old {
            text = with_name_replaced(&text, old, new.as_str());
        }
    }
    text
}

/// Replaces a name where it stands for itself: between quotes, blanks or colons.
fn with_name_replaced(text: &str, old: &str, new: &str) -> String {
    const ENDS: [char; 3] = ['\'', '"', ' '];
    let mut replaced = String::with_capacity(text.len() + new.len());
    let mut rest = text;
    while let Some(start) = rest.find(old) {
        let (before, found) = rest.split_at(start);
        let after = &found[old.len()..];
        replaced.push_str(before);
        let begins = replaced.is_empty()
            || replaced.ends_with(ENDS)
            || replaced.ends_with([':', '=', ','])
            || replaced.ends_with("%20");
        let ends = after.is_empty()
            || after.starts_with(ENDS)
            || after.starts_with(',')
            || after.starts_with("%20");
        replaced.push_str(if begins && ends { new } else { old });
        rest = after;
    }
    replaced.push_str(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> JobForm {
        let mut form = JobForm::default();
        let parameters = "-o 'a.root' --log=j.log.tgz.1 xa.root %20a.root%20 a.root.x";
        form.attributes.put("jobParameters", parameters);
        for (lfn, kind) in [("a.root", "output"), ("j.log.tgz.1", "log")] {
            let mut file = Attributes::default();
            file.put("lfn", lfn);
            file.put("type", kind);
            form.files.push(file);
        }
        form
    }

    #[test]
    fn names_get_the_attempts_number_and_parameters_follow() {
        let form = form();
        let first = parameters(&form, AttemptNr::new(1));
        assert_eq!(first, form.attributes.text("jobParameters"));
        assert_eq!(
            parameters(&form, AttemptNr::new(2)),
            "-o 'a.root.2' --log=j.log.tgz.2 xa.root %20a.root.2%20 a.root.x"
        );
        let third = lfn_in("j.log.tgz.2", &form, AttemptNr::new(3));
        assert_eq!(third.as_str(), "j.log.tgz.3");
    }

    #[test]
    fn a_library_keeps_its_name() {
        let mut form = form();
        form.attributes.put("prodSourceLabel", "panda");
        let second = AttemptNr::new(2);
        assert_eq!(lfn_in("u.lib.tgz", &form, second).as_str(), "u.lib.tgz");
        let log = lfn_in("u.log.tgz", &form, second);
        assert_eq!(log.as_str(), "u.log.tgz.2");
    }
}
