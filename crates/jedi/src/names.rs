//! Names of a task's output files, and the serial numbers in them.
//!
//! A template has `$JEDITASKID`, `${SN}`, `${SN/P}` and `${MIDDLENAME}`; [`output_lfn`] fills them
//! in. Placeholders whose value is known only when a job has its numbers (`$PANDAID` …) stay, and
//! [`fill_ids`] puts them in later.
//!
//! Source: PanDA server, `task_complex_module.py` (`getOutputFiles_JEDI`),
//! `pandajedi/jediorder/JobGenerator.py`.

use crate::refined::RefinedTask;

/// Digits of a serial number in a name, when nothing else is told.
const SERIAL_DIGITS: usize = 6;
/// Most digits that a template may ask for.
const SERIAL_DIGITS_MAX: usize = 20;

/// Makes the name of an output file.
///
/// `${SN}` and `${SN/P}` are the serial number with six digits, `${SN:03d}` with as many as told.
#[must_use]
pub fn output_lfn(template: &str, task: u64, serial: u64, middle_name: &str) -> String {
    let template = template.replace("$JEDITASKID", &task.to_string());
    let template = template.replace("${MIDDLENAME}", middle_name);
    let mut name = String::with_capacity(template.len() + SERIAL_DIGITS);
    let mut rest = template.as_str();
    while let Some(at) = rest.find("${SN") {
        let (before, from) = rest.split_at(at);
        name.push_str(before);
        let inner = &from["${SN".len()..];
        match inner
            .find('}')
            .and_then(|end| Some((serial_digits(&inner[..end])?, end)))
        {
            Some((digits, end)) => {
                name.push_str(&format!("{serial:0digits$}"));
                rest = &inner[end + 1..];
            }
            None => {
                name.push_str("${SN");
                rest = inner;
            }
        }
    }
    name.push_str(rest);
    name
}

/// Reads what follows `SN` in a placeholder: nothing, `/P`, or a width as `:08d`.
fn serial_digits(format: &str) -> Option<usize> {
    if format.is_empty() || format == "/P" {
        return Some(SERIAL_DIGITS);
    }
    let width = format.strip_prefix(':')?.strip_suffix('d')?;
    if width.is_empty() {
        return Some(1);
    }
    width
        .parse()
        .ok()
        .filter(|digits| *digits <= SERIAL_DIGITS_MAX)
}

/// Ids that are known only when a job is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobIds {
    /// The job (`$PANDAID`).
    pub job: u64,
    /// Its set (`$JOBSETID`).
    pub set: u64,
    /// The first job in a line of retries (`$ORIGINPANDAID`).
    pub origin: u64,
    /// Its task (`$JEDITASKID`).
    pub task: u64,
}

/// Puts ids into a name or into arguments.
#[must_use]
pub fn fill_ids(text: &str, ids: &JobIds) -> String {
    // Every `$` costs a copy below; most texts have none.
    if !text.contains('$') {
        return text.to_owned();
    }
    [
        ("$ORIGINPANDAID", ids.origin),
        ("$PANDAID", ids.job),
        ("$JOBSETID", ids.set),
        ("$JEDITASKID", ids.task),
    ]
    .iter()
    .fold(text.to_owned(), |text, (word, id)| {
        text.replace(word, &id.to_string())
    })
}

/// Puts the number of a file into its own name (`$JEDIFILEID`).
#[must_use]
pub fn fill_file_id(text: &str, file: u64) -> String {
    text.replace("$JEDIFILEID", &file.to_string())
}

/// Returns the middle name of a job's outputs: fields of the input's name, and a segment's name.
///
/// `first_input` is the first file of the master, `dataset` the input dataset (empty if none).
#[must_use]
pub fn middle_name(
    task: &RefinedTask,
    dataset: &str,
    first_input: &str,
    segment: Option<&str>,
) -> String {
    let fields = task.rules.middle_name_fields();
    let is_named_after_file = task.rules.is_set(crate::rules::Rule::UseFileAsSourceLfn);
    let source = if is_named_after_file {
        first_input
    } else {
        without_scope(dataset)
    };
    let mut name = if dataset.is_empty() {
        String::new()
    } else {
        fields_of(source, &fields)
    };
    if let Some(segment) = segment {
        if !name.is_empty() {
            name.push('_');
        }
        name.push_str(segment);
    }
    name
}

/// Returns the middle name of a merge job's outputs: that of the files which it merges.
#[must_use]
pub fn merge_middle_name(task: &RefinedTask, unmerged_output: &str) -> String {
    let count = task.rules.middle_name_fields().len();
    let fields: Vec<&str> = unmerged_output.split('.').skip(4).take(count).collect();
    if fields.is_empty() {
        String::new()
    } else {
        format!(".{}", fields.join("."))
    }
}

/// Returns a dataset's name without its scope.
#[must_use]
pub fn without_scope(dataset: &str) -> &str {
    dataset.rsplit(':').next().unwrap_or(dataset)
}

/// Returns the scope of a dataset: told before a colon, or the first words of its name.
///
/// Names of people and groups have two words of scope (`user.ivan`), others one (`mc26`).
#[must_use]
pub fn scope_of(dataset: &str) -> String {
    if let Some((scope, _)) = dataset.split_once(':') {
        return scope.to_owned();
    }
    let words = if dataset.starts_with("user.") || dataset.starts_with("group.") {
        2
    } else {
        1
    };
    let words: Vec<&str> = dataset
        .trim_end_matches('/')
        .split('.')
        .take(words)
        .collect();
    words.join(".")
}

/// Returns the name of an output dataset that is made of a template: the template and its number.
#[must_use]
pub fn made_dataset(template: &str, id: u64) -> String {
    format!("{}.{id}", template.trim_end_matches('/'))
}

/// Returns the name of the outputs of a workflow's step: `user.ivan.flow_003_reco`.
#[must_use]
pub fn step_outputs(workflow_outputs: &str, step: u32, name: &str) -> String {
    format!(
        "{}_{step:03}_{name}",
        workflow_outputs.trim_end_matches('/')
    )
}

/// Returns the name of one kind of a task's outputs, as `prun` makes it: `user.ivan.flow_x.root/`.
#[must_use]
pub fn outputs_of_kind(outputs: &str, kind: &str) -> String {
    format!("{}_{kind}/", outputs.trim_end_matches('/'))
}

/// Returns fields of a name (numbered from 1), each after a dot.
pub(crate) fn fields_of(name: &str, fields: &[usize]) -> String {
    let parts = parts_of(name);
    let mut text = String::new();
    for field in fields {
        // PanDA stops at the first field that is not there.
        match field.checked_sub(1).and_then(|at| parts.get(at)) {
            Some(part) => {
                text.push('.');
                text.push_str(part);
            }
            None => break,
        }
    }
    text
}

/// Takes a name apart at dots and at `_tid` with digits.
fn parts_of(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for piece in name.split('.') {
        let mut rest = piece;
        while let Some((at, digits)) = find_tid(rest) {
            parts.push(&rest[..at]);
            rest = &rest[at + "_tid".len() + digits..];
        }
        parts.push(rest);
    }
    parts
}

/// Finds `_tid` that digits follow, and counts them.
fn find_tid(text: &str) -> Option<(usize, usize)> {
    text.match_indices("_tid").find_map(|(at, word)| {
        let digits = text[at + word.len()..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        (digits > 0).then_some((at, digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_have_six_digits_unless_told() {
        let lfn = |template: &str| output_lfn(template, 12, 34, ".mid");
        assert_eq!(lfn("u.$JEDITASKID._${SN/P}.x.root"), "u.12._000034.x.root");
        assert_eq!(lfn("u${MIDDLENAME}.${SN}.log.tgz"), "u.mid.000034.log.tgz");
        assert_eq!(lfn("a${SN:03d}b${SN:d}"), "a034b34");
        assert_eq!(lfn("a${SNAIL}b${SN"), "a${SNAIL}b${SN");
    }

    #[test]
    fn ids_are_put_in_where_they_are_asked_for() {
        let ids = JobIds {
            job: 7,
            set: 8,
            origin: 6,
            task: 5,
        };
        assert_eq!(
            fill_ids("a.$PANDAID.$ORIGINPANDAID.$JOBSETID.$JEDITASKID", &ids),
            "a.7.6.8.5"
        );
        assert_eq!(fill_file_id("l.$JEDIFILEID.lib.tgz", 9), "l.9.lib.tgz");
    }

    #[test]
    fn names_fall_apart_at_dots_and_task_numbers() {
        assert_eq!(
            fields_of("mc26.123.gen.AOD_tid00012_00._0001.root", &[2, 3, 4]),
            ".123.gen.AOD"
        );
        assert_eq!(fields_of("a.b", &[2, 9]), ".b");
        assert_eq!(fields_of("a_tidy.b", &[1]), ".a_tidy");
    }

    #[test]
    fn steps_of_workflows_write_to_names_of_their_own() {
        let outputs = step_outputs("user.ivan.flow/", 3, "reco");
        assert_eq!(outputs, "user.ivan.flow_003_reco");
        assert_eq!(
            outputs_of_kind(&outputs, "x.root"),
            "user.ivan.flow_003_reco_x.root/"
        );
    }

    #[test]
    fn scopes_are_told_or_follow_from_the_name() {
        assert_eq!(scope_of("user.ivan.sim.x/"), "user.ivan");
        assert_eq!(scope_of("mc26.123.x"), "mc26");
        assert_eq!(scope_of("spd:anything"), "spd");
    }
}
