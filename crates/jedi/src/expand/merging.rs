//! Which files are merged into which output: `${TRN_OUTPUT:OUTPUT}` is `in1,in2:out …`. Of logs, which
//! stay as they are, `${TRN_LOG:LOG}` is nothing.

use super::{
    JobValues,
    streams::{Streams, UNMERGED_PREFIX},
};

/// Name of the stream of a merge job's own log.
const MERGE_LOG: &str = "LOG_MERGE";

/// Output streams of a merge job with the files that go into them.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pairs: Vec<Pair>,
    /// Output streams that no input stream belongs to, with the names of their files.
    deleted: Vec<(String, Vec<String>)>,
}

#[derive(Debug)]
struct Pair {
    /// The stream's name without its number.
    base: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Pairs {
    /// Pairs the streams, and removes from `streams` those without a partner.
    pub(super) fn of(streams: &mut Streams<'_>, values: &JobValues<'_>) -> Self {
        let mut found = Self::default();
        for stream in streams.names() {
            if stream.starts_with(UNMERGED_PREFIX) || !is_output(&stream, values) {
                continue;
            }
            let own = format!("{UNMERGED_PREFIX}{stream}");
            let log = format!("{UNMERGED_PREFIX}LOG0");
            let partner = if stream == MERGE_LOG && streams.files(&log).is_some() {
                log
            } else {
                own
            };
            let texts = |name: &str| -> Option<Vec<String>> {
                Some(
                    streams
                        .files(name)?
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                )
            };
            let outputs = texts(&stream).unwrap_or_default();
            match texts(&partner) {
                Some(inputs) => found.pairs.push(Pair {
                    base: stream
                        .trim_end_matches(|c: char| c.is_ascii_digit())
                        .to_owned(),
                    inputs,
                    outputs,
                }),
                None => found.deleted.push((stream, outputs)),
            }
        }
        for (stream, _) in &found.deleted {
            streams.remove(stream);
        }
        found
    }

    /// Returns the placeholders of pairs with what they stand for.
    pub(super) fn arguments(&self) -> Vec<(String, String)> {
        let mut arguments: Vec<(String, String)> = Vec::new();
        for pair in &self.pairs {
            let name = placeholder(&pair.base);
            let text = if pair.inputs.is_empty() {
                " ".to_owned()
            } else {
                format!("{}:{} ", pair.inputs.join(","), pair.outputs.join(","))
            };
            match arguments.iter_mut().find(|(one, _)| *one == name) {
                Some((_, so_far)) => so_far.push_str(&text),
                None => arguments.push((name, text)),
            }
        }
        arguments
    }

    /// Removes the options of streams that are not there: `--x=${OUTPUT1}`, and placeholders of
    /// pairs that are not there.
    pub(super) fn without_deleted(&self, template: &str) -> String {
        let mut text = self.without_absent(template);
        for (stream, _) in &self.deleted {
            for name in [stream.clone(), format!("{UNMERGED_PREFIX}{stream}")] {
                let value = format!("=${{{name}}}");
                while let Some(at) = text.find(&value) {
                    let option = text[..at].rfind("--");
                    let is_one_word =
                        |start: &usize| !text[*start..at].contains(char::is_whitespace);
                    let Some(start) = option.filter(is_one_word) else {
                        break;
                    };
                    text.replace_range(start..at + value.len(), "");
                }
            }
        }
        text
    }

    fn without_absent(&self, template: &str) -> String {
        let mark = format!("${{{UNMERGED_PREFIX}");
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once(&mark) {
            text.push_str(before);
            let name = after.split('}').next().unwrap_or_default();
            let is_absent = name.split_once(':').is_some_and(|(_, base)| {
                name.len() < after.len() && self.pairs.iter().all(|pair| pair.base != base)
            });
            if is_absent {
                rest = &after[name.len() + 1..];
            } else {
                text.push_str(&mark);
                rest = after;
            }
        }
        text.push_str(rest);
        text
    }

    /// Returns the names of outputs that are not made, as nothing goes into them.
    pub(super) fn dropped_outputs(&self, template: &str) -> Vec<String> {
        let is_shown =
            |pair: &&Pair| template.contains(&format!("${{{}}}", placeholder(&pair.base)));
        let empty = self
            .pairs
            .iter()
            .filter(|pair| pair.inputs.is_empty())
            .filter(is_shown);
        let deleted = self
            .deleted
            .iter()
            .flat_map(|(_, outputs)| outputs.iter().take(1));
        deleted
            .chain(empty.flat_map(|pair| pair.outputs.iter().take(1)))
            .cloned()
            .collect()
    }
}

fn placeholder(base: &str) -> String {
    format!("{UNMERGED_PREFIX}{base}:{base}")
}

fn is_output(stream: &str, values: &JobValues<'_>) -> bool {
    values
        .outputs
        .iter()
        .any(|(one, _)| one.split('|').next() == Some(stream))
}
