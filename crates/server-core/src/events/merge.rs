//! The attempt that merges: what it reads and runs.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`, `getJobs`,
//! and `pandaserver/jobdispatcher/Protocol.py`, `appendJob`.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use ailurus_model::{
    AttemptNr, EndpointName, EventArchive, EventStatus, FileId, JobKind, JobTags, Lfn, PandaId,
    Queue,
};

use super::{EventRole, RANGES_PER_CALL_MAX, id_of, set_of};
use crate::{
    definition::{JobOutput, JobOutputs, Payload},
    ledger::{EventRangeRecord, FileRecord, JobRecord, JobText, Ledger, LedgerError},
    operation::Operation,
};

/// What a merge reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MergeInputs {
    pub(crate) files: Vec<FileRecord>,
    /// `inputFor_OUTPUT:INPUT,INPUT^…`.
    pub(crate) lists: String,
    /// The object store of each input.
    pub(crate) tokens: BTreeMap<Lfn, String>,
    /// Which of them are files with the outputs of several ranges.
    pub(crate) archives: BTreeSet<Lfn>,
}

impl<L: Ledger> Operation<'_, L> {
    /// Lists what a merge reads: what was written of each range that is done.
    pub(crate) fn merge_inputs(
        &mut self,
        job: &JobRecord,
        outputs: &JobOutputs,
        queue: &Queue,
    ) -> Result<MergeInputs, LedgerError> {
        let done = [EventStatus::Done];
        let set = set_of(self.ledger, job.panda_id)?;
        let ranges = self
            .ledger
            .event_ranges_in(set, &done, None, RANGES_PER_CALL_MAX)?;
        let archives = self.ledger.event_archives(set)?;
        let archives: BTreeMap<&str, &EventArchive> = archives
            .iter()
            .map(|archive| (archive.lfn.as_str(), archive))
            .collect();
        let endpoint = queue.output_endpoint().cloned().unwrap_or_default();
        let mut made: BTreeMap<(PandaId, AttemptNr), Vec<String>> = BTreeMap::new();
        let mut inputs = MergeInputs::default();
        let mut lists: Vec<Vec<String>> = vec![Vec::new(); outputs.files.len()];
        for range in &ranges {
            let writer = (range.named_by(), range.held_by);
            let names = match made.entry(writer) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(self.names_in(writer.0, writer.1)?),
            };
            for (nr, output) in outputs.files.iter().enumerate() {
                let base = names.get(nr).map_or(output.lfn.as_str(), String::as_str);
                let lfn = format!("{base}.{}", id_of(job, range));
                lists[nr].push(lfn.clone());
                match archives.get(range.archive.as_str()) {
                    None => inputs.add_own(output, range, lfn, &endpoint),
                    Some(archive) => inputs.add_archive(output, archive, &endpoint),
                }
            }
        }
        // A job that was submitted as it is refers to its outputs by the names that it came with.
        let named = |output: &JobOutput| match job.kind {
            JobKind::Direct => output.name.clone(),
            JobKind::Run | JobKind::Scout | JobKind::Build | JobKind::Merge | JobKind::Consumer => {
                output.lfn.to_string()
            }
        };
        let lists = outputs
            .files
            .iter()
            .zip(lists)
            .filter(|(_, names)| !names.is_empty());
        let lists: Vec<String> = lists
            .map(|(output, names)| format!("inputFor_{}:{}", named(output), names.join(",")))
            .collect();
        inputs.lists = lists.join("^");
        Ok(inputs)
    }

    /// Reads how an attempt named its outputs.
    pub(super) fn names_in(
        &self,
        job: PandaId,
        attempt: AttemptNr,
    ) -> Result<Vec<String>, LedgerError> {
        let text = self.ledger.job_text(job, attempt, JobText::EventOutputs)?;
        let names = text.and_then(|text| serde_json::from_str(&text).ok());
        Ok(names.unwrap_or_default())
    }
}

impl MergeInputs {
    fn add_own(
        &mut self,
        output: &JobOutput,
        range: &EventRangeRecord,
        lfn: String,
        endpoint: &EndpointName,
    ) {
        let store = match range.path_convention {
            Some(convention) => format!("{}/{convention}", range.object_store),
            None => range.object_store.clone(),
        };
        let lfn = Lfn::new(lfn);
        self.tokens.insert(lfn.clone(), store);
        self.files.push(input(output, lfn, endpoint));
    }

    fn add_archive(&mut self, output: &JobOutput, archive: &EventArchive, endpoint: &EndpointName) {
        if !self.archives.insert(archive.lfn.clone()) {
            return;
        }
        let store = archive.object_store.clone();
        self.tokens.insert(archive.lfn.clone(), store);
        self.files.push(FileRecord {
            size: Some(archive.size),
            checksum: archive.checksum.clone(),
            ..input(output, archive.lfn.clone(), endpoint)
        });
    }
}

/// A file that an attempt wrote for the merge.
fn input(output: &JobOutput, lfn: Lfn, endpoint: &EndpointName) -> FileRecord {
    FileRecord {
        id: FileId::default(),
        dataset: output.dataset.clone(),
        part: output.part,
        lfn,
        scope: output.scope.clone(),
        guid: None,
        size: None,
        checksum: None,
        surl: String::new(),
        endpoint: endpoint.clone(),
        replicas: Vec::new(),
        producer: None,
        n_events: None,
    }
}

/// The program of the merge, in the arguments of a job.
const PROGRAM: (&str, &str) = ("<PANDA_ESMERGE_TRF>", "</PANDA_ESMERGE_TRF>");
/// The arguments of the merge, in the arguments of a job.
const ARGUMENTS: (&str, &str) = ("<PANDA_ESMERGE_JOBP>", "</PANDA_ESMERGE_JOBP>");
/// How all that concerns the merge begins and ends.
const ALL: (&str, &str) = ("<PANDA_ESMERGE_", "</PANDA_ESMERGE_");

/// Has a job run what it is just now: its own program, or that of the merge.
pub(crate) fn fit_payload(payload: &mut Payload, tags: &JobTags) {
    match EventRole::of(tags) {
        EventRole::None | EventRole::TakesBeside => {}
        EventRole::Takes => payload.parameters = without_merge(&payload.parameters),
        EventRole::Merges => {
            if let Some(program) = between(&payload.parameters, PROGRAM) {
                payload.transformation = program.to_owned();
            }
            if let Some(arguments) = between(&payload.parameters, ARGUMENTS) {
                payload.parameters = arguments.to_owned();
            }
        }
    }
}

fn between<'t>(text: &'t str, (start, end): (&str, &str)) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// Leaves out what only the merge reads.
fn without_merge(text: &str) -> String {
    let (Some(start), Some(last)) = (text.find(ALL.0), text.rfind(ALL.1)) else {
        return text.to_owned();
    };
    let end = text[last..]
        .find('>')
        .map_or(text.len(), |at| last + at + 1);
    if last < start {
        return text.to_owned();
    }
    format!("{}{}", &text[..start], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "--sim a.root <PANDA_ESMERGE_TRF>merge.sh</PANDA_ESMERGE_TRF>\
        <PANDA_ESMERGE_JOBP>-o b.root @inputFor_b.root</PANDA_ESMERGE_JOBP>";

    #[test]
    fn the_program_of_the_merge_is_not_that_of_the_others() {
        assert_eq!(without_merge(TEXT), "--sim a.root ");
        assert_eq!(between(TEXT, PROGRAM), Some("merge.sh"));
        assert_eq!(between(TEXT, ARGUMENTS), Some("-o b.root @inputFor_b.root"));
        assert_eq!(without_merge("plain"), "plain");
        assert_eq!(between("plain", PROGRAM), None);
    }
}
