//! The items of `jobParameters` and `log`: streams that jobs read and write, and their arguments.

use std::collections::BTreeSet;

use crate::{
    params::{Fields, ParamError, parse_millionths},
    refined::{InputKind, InputStream, ListedName, OutputKind, OutputStream, Unmerged},
    rules::{Rule, SplitRules},
};

/// Name of the dataset that stands for jobs without input.
pub const PSEUDO_DATASET: &str = "pseudo_dataset";
/// Name of the dataset that stands for running numbers.
pub const SEQUENCE_DATASET: &str = "seq_number";
/// Name of the dataset that stands for random seeds.
pub const SEED_DATASET: &str = "RNDMSEED";
/// What datasets and files that wait for a merge are marked with.
pub const UNMERGED_MARK: &str = "panda.um";
/// Most items of a task.
const ITEMS_MAX: usize = 10_000;

/// What the items say.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) inputs: Vec<InputStream>,
    pub(super) outputs: Vec<OutputStream>,
    pub(super) command: String,
    pub(super) seed_offset: Option<i64>,
    pub(super) first_event_offset: Option<i64>,
}

/// Reads all items.
pub(super) fn read(fields: &Fields<'_>, rules: &SplitRules) -> Result<Streams, ParamError> {
    let params = fields.objects("jobParameters")?;
    if fields.value("jobParameters").is_none() {
        return Err(fields.missing("jobParameters", "a list of items"));
    }
    if params.len() > ITEMS_MAX {
        return Err(fields.invalid("jobParameters", "a list of at most 10000 items"));
    }
    let mut reader = Reader {
        fields,
        rules,
        streams: Streams::default(),
        seen: BTreeSet::new(),
    };
    if fields.flag("noInput")? {
        let kind = if rules.is_set(Rule::PfnList) {
            InputKind::PhysicalNames
        } else {
            InputKind::Pseudo
        };
        reader
            .streams
            .inputs
            .push(made_stream(kind, PSEUDO_DATASET, "pseudo_input"));
        reader.seen.insert(PSEUDO_DATASET.to_owned());
    }
    for item in &params {
        let value = reader.item(item)?;
        reader.number(item, &value)?;
        reader.argument(item, &value)?;
    }
    for key in ["log", "log_merge"] {
        for item in fields.objects(key)? {
            reader.item(&item)?;
        }
    }
    let mut streams = reader.streams;
    if streams.command.ends_with(' ') {
        streams.command.pop();
    }
    if streams.inputs.is_empty() {
        return Err(fields.missing(
            "noInput",
            "true, or an item of `jobParameters` that is an input",
        ));
    }
    if streams.seed_offset.is_some() {
        streams.inputs.push(made_stream(
            InputKind::RandomSeed,
            SEED_DATASET,
            "random_seed",
        ));
    }
    Ok(streams)
}

struct Reader<'a> {
    fields: &'a Fields<'a>,
    rules: &'a SplitRules,
    streams: Streams,
    /// Datasets that have a stream already.
    seen: BTreeSet<String>,
}

impl Reader<'_> {
    /// Takes one item, and returns its text in the arguments.
    fn item(&mut self, item: &Fields<'_>) -> Result<String, ParamError> {
        let value = item.text_or_empty("value")?;
        let is_template = match item.required_text("type")?.as_str() {
            "template" => true,
            "constant" => false,
            _ => return Err(item.invalid("type", "`constant` or `template`")),
        };
        let Some(dataset) = item.filled_text("dataset")?.filter(|_| is_template) else {
            return Ok(value);
        };
        let param_type = item.required_text("param_type")?;
        let kind = match param_type.as_str() {
            "input" | "pseudo_input" | "random_seed" => {
                if self.seen.insert(dataset.clone()) {
                    let stream = self.input(item, &dataset, &value, param_type)?;
                    self.streams.inputs.push(stream);
                }
                return Ok(value);
            }
            "output" => OutputKind::Output,
            "log" => OutputKind::Log,
            // Types of other steps of PanDA: their text stays, they are no streams.
            _ => return Ok(value),
        };
        self.output(item, dataset, &value, kind)
    }

    fn input(
        &self,
        item: &Fields<'_>,
        dataset: &str,
        value: &str,
        param_type: String,
    ) -> Result<InputStream, ParamError> {
        let attributes = Attributes::read(item)?;
        let stream = stream_name(value);
        let kind = match (dataset, param_type.as_str()) {
            (_, "random_seed") => InputKind::RandomSeed,
            (SEQUENCE_DATASET, _) => InputKind::Sequence,
            (PSEUDO_DATASET, _) if self.rules.is_set(Rule::PfnList) => InputKind::PhysicalNames,
            (PSEUDO_DATASET, _) => InputKind::Pseudo,
            _ if item.flag("pseudo")? || attributes.has("ps") => InputKind::Pseudo,
            _ => InputKind::Dataset,
        };
        let mut datasets = item.list("dataset")?;
        if let Some(stream) = &stream {
            for added in self.fields.list(&format!("dsFor{stream}"))? {
                if !datasets.contains(&added) {
                    datasets.push(added);
                }
            }
        }
        let files_per_job = item
            .count("nFilesPerJob")?
            .or(attributes.count(&["nFilesPerJob", "np"]));
        Ok(InputStream {
            datasets,
            is_expanded: item.flag("expand")?,
            consolidate: item.filled_text("consolidate")?,
            ratio_millionths: match item
                .millionths("ratio")?
                .or(attributes.millionths(&["ratio"]))
            {
                None => 1_000_000,
                Some(0) => return Err(item.invalid("ratio", "a number above 0")),
                Some(ratio) => ratio,
            },
            event_ratio_millionths: item
                .millionths("eventRatio")?
                .or(attributes.millionths(&["eventRatio", "er"])),
            // Numbers go one to a job.
            files_per_job: files_per_job.or((kind == InputKind::Sequence).then_some(1)),
            offset: item
                .count("offset")?
                .or(attributes.count(&["offset", "of"]))
                .unwrap_or(0),
            records: item
                .count("num_records")?
                .or(attributes.count(&["num_records", "nr"])),
            include: item.list("include")?,
            exclude: item.list("exclude")?,
            files: listed_names(item)?,
            is_whole: attributes.has("nosplit"),
            is_repeated: attributes.has("repeat") || item.flag("repeat")?,
            is_reusable: item.flag("reusable")?
                || attributes.has("ru")
                || attributes.has("reusable"),
            is_random: item.flag("random")? || attributes.has("rd") || attributes.has("random"),
            has_duplicates: item.flag("usedup")?
                || attributes.has("ud")
                || attributes.has("usedup"),
            is_checked: item.flag("check")? || attributes.has("cc"),
            is_index_consistent: item.flag("indexConsistent")?
                || attributes.has("ic")
                || attributes.has("indexConsistent"),
            is_never_staged: item.flag("no_staging")?
                || attributes.count(&["no_staging", "ns"]) == Some(1),
            token: item.filled_text("token")?,
            ..made_stream_named(stream, kind, param_type)
        })
    }

    fn output(
        &mut self,
        item: &Fields<'_>,
        dataset: String,
        value: &str,
        kind: OutputKind,
    ) -> Result<String, ParamError> {
        let attributes = Attributes::read(item)?;
        let is_merge_only = item.flag("mergeOnly")? || attributes.has("mo");
        let (word, number) = match kind {
            OutputKind::Output => ("OUTPUT", self.count(OutputKind::Output)),
            OutputKind::Log => ("LOG", self.count(OutputKind::Log)),
        };
        let stream = if is_merge_only {
            "LOG_MERGE".to_owned()
        } else {
            format!("{word}{number}")
        };
        let template = value
            .rsplit('=')
            .next()
            .unwrap_or_default()
            .replace('\'', "");
        if template.is_empty() || template.contains(char::is_whitespace) {
            return Err(item.invalid(
                "value",
                "the name of a file, after `=` if an option precedes it",
            ));
        }
        let argument = value.replace(&template, &format!("${{{stream}}}"));
        let is_merged = self.fields.flag("mergeOutput")? && !is_merge_only;
        let is_at_end = self.fields.flag("umNameAtEnd")?;
        self.streams.outputs.push(OutputStream {
            stream,
            kind,
            unmerged: is_merged.then(|| Unmerged {
                dataset: format!("{UNMERGED_MARK}.{dataset}"),
                lfn_template: if is_at_end {
                    format!("{template}.{UNMERGED_MARK}")
                } else {
                    format!("{UNMERGED_MARK}.{template}")
                },
            }),
            dataset,
            container: item.filled_text("container")?,
            lfn_template: template,
            first_serial: item.count("offset")?.unwrap_or(0).saturating_add(1),
            token: item.filled_text("token")?,
            destination: match item.filled_text("destination")? {
                Some(destination) => Some(destination),
                None => self.fields.filled_text("destination")?,
            },
            is_transient: match item.value("transient") {
                None => None,
                Some(_) => Some(item.flag("transient")?),
            },
            may_be_absent: item.flag("allowNoOutput")? || attributes.has("an"),
            is_hidden: item.flag("hidden")?,
            is_merge_only,
        });
        Ok(argument)
    }

    fn count(&self, kind: OutputKind) -> usize {
        self.streams
            .outputs
            .iter()
            .filter(|output| output.kind == kind)
            .count()
    }

    /// Notes the offsets of seeds and first events.
    fn number(&mut self, item: &Fields<'_>, value: &str) -> Result<(), ParamError> {
        if item.text_or_empty("param_type")? != "number" {
            return Ok(());
        }
        let offset = item
            .count("offset")?
            .and_then(|offset| i64::try_from(offset).ok());
        if value.contains("${RNDMSEED}") {
            self.streams.seed_offset = Some(offset.unwrap_or(0));
        } else if value.contains("${FIRSTEVENT}") {
            self.streams.first_event_offset = offset.or(self.streams.first_event_offset);
        }
        Ok(())
    }

    /// Adds an item to the arguments, if they show it.
    fn argument(&mut self, item: &Fields<'_>, value: &str) -> Result<(), ParamError> {
        if item.flag("hidden")? || item.value("value").is_none() {
            return Ok(());
        }
        if item.flag("es_only")? {
            let wrapped = format!("<PANDA_ES_ONLY>{value}</PANDA_ES_ONLY>");
            self.streams.command.push_str(&wrapped);
        } else {
            self.streams.command.push_str(value);
        }
        if item.value("padding").is_none() || item.flag("padding")? {
            self.streams.command.push(' ');
        }
        Ok(())
    }
}

/// Returns the text of the first `${…}` up to its decorators.
fn stream_name(value: &str) -> Option<String> {
    let rest = &value[value.find("${")? + 2..];
    let inner = &rest[..rest.find('}')?];
    let name = inner.split('/').next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}

fn made_stream(kind: InputKind, dataset: &str, param_type: &str) -> InputStream {
    let stream = (kind == InputKind::PhysicalNames).then(|| "IN".to_owned());
    InputStream {
        datasets: vec![dataset.to_owned()],
        ..made_stream_named(stream, kind, param_type.to_owned())
    }
}

fn made_stream_named(stream: Option<String>, kind: InputKind, param_type: String) -> InputStream {
    InputStream {
        stream,
        kind,
        datasets: Vec::new(),
        param_type,
        is_expanded: false,
        consolidate: None,
        ratio_millionths: 1_000_000,
        event_ratio_millionths: None,
        files_per_job: None,
        offset: 0,
        records: None,
        include: Vec::new(),
        exclude: Vec::new(),
        files: Vec::new(),
        is_whole: false,
        is_repeated: false,
        is_reusable: false,
        is_random: false,
        has_duplicates: false,
        is_checked: false,
        is_index_consistent: false,
        is_never_staged: false,
        token: None,
    }
}

/// The words of an item's `attributes`: `nosplit,repeat,np=2`.
struct Attributes(Vec<String>);

impl Attributes {
    fn read(item: &Fields<'_>) -> Result<Self, ParamError> {
        Ok(Self(item.list("attributes")?))
    }

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|one| one == word)
    }

    fn text(&self, names: &[&str]) -> Option<&str> {
        let pairs = self.0.iter().filter_map(|one| one.split_once('='));
        pairs
            .filter(|(name, _)| names.contains(name))
            .map(|(_, value)| value)
            .next()
    }

    fn count(&self, names: &[&str]) -> Option<u64> {
        self.text(names)?.parse().ok()
    }

    fn millionths(&self, names: &[&str]) -> Option<u64> {
        parse_millionths(self.text(names)?)
    }
}

/// Reads `files`: names, or objects with what is known of a file.
fn listed_names(item: &Fields<'_>) -> Result<Vec<ListedName>, ParamError> {
    let is_objects = item
        .value("files")
        .and_then(serde_json::Value::as_array)
        .is_some_and(|files| files.iter().any(serde_json::Value::is_object));
    if !is_objects {
        let names = item.list("files")?.into_iter();
        return Ok(names
            .map(|lfn| ListedName {
                lfn,
                ..ListedName::default()
            })
            .collect());
    }
    let either = |file: &Fields<'_>, first: &str, second: &str| match file.count(first)? {
        Some(count) => Ok(Some(count)),
        None => file.count(second),
    };
    let files = item.objects("files")?;
    files
        .iter()
        .map(|file| {
            Ok(ListedName {
                lfn: file.required_text("lfn")?,
                first_event: either(file, "firstEvent", "startEvent")?,
                events: file.count("nEvents")?,
                bytes: either(file, "filesize", "fsize")?,
                guid: file.filled_text("guid")?,
                boundary: file.integer("boundaryID")?,
            })
        })
        .collect()
}
