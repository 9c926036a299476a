//! The rarer parts of queue data: [`QueueOptions`].
//!
//! Source: Pilot 3, `pilot/info/queuedata.py`, `QueueData`, `clean__container_type`,
//! `clean__container_options`.

use std::collections::BTreeMap;

use ailurus_model::{Queue, QueueOptions, queue::Activity};
use serde_json::{Map, Value, json};

use crate::{
    fields::{FieldError, Fields, is_missing_text, text_of},
    queue_data::object_of,
    queue_terms,
};

/// Container options in `catchall`, by the names that sites use.
const OPTIONS_IN_CATCHALL: [&str; 2] = ["singularity_options=", "apptainer_options="];
/// The option that closes a container, and what must be open in it.
const CONTAIN: &str = " --contain";
const WORK_DIR: &str = "${workdir}";

/// Reads what is stated; `catchall` is the queue's.
pub(crate) fn decode(
    fields: &Fields,
    params: &Fields,
    catchall: &str,
) -> Result<QueueOptions, FieldError> {
    let flag = |name, default| fields.flag(name).unwrap_or(default);
    let unstated = QueueOptions::default();
    Ok(QueueOptions {
        app_dir: fields.text("appdir"),
        container_types: container_types(&fields.text("container_type")),
        container_options: container_options(&fields.text("container_options"), catchall),
        copy_tool_setups: copy_tool_setups(fields)?,
        schemes: schemes(fields)?,
        allows_lan: flag("allow_lan", unstated.allows_lan),
        allows_wan: flag("allow_wan", unstated.allows_wan),
        has_direct_lan: flag("direct_access_lan", unstated.has_direct_lan),
        has_direct_wan: flag("direct_access_wan", unstated.has_direct_wan),
        has_cache: flag("use_pcache", unstated.has_cache),
        allows_alternative_stage_out: params.flag("allow_altstageout"),
        internet_protocol: Some(params.text("internet_protocol_version"))
            .filter(|text| !text.is_empty())
            .unwrap_or(unstated.internet_protocol),
        pledged_cpu: fields
            .whole_if_any("pledgedcpu")
            .unwrap_or(unstated.pledged_cpu),
        terms: queue_terms::decode(fields, params, catchall)?,
    })
}

/// Reads `singularity:pilot;docker:wrapper` as the program of each user.
fn container_types(text: &str) -> BTreeMap<String, String> {
    text.split(';')
        .filter_map(|part| part.split_once(':'))
        .map(|(program, user)| (user.trim().to_owned(), program.trim().to_owned()))
        .filter(|(user, program)| !user.is_empty() && !program.is_empty())
        .collect()
}

fn container_options(text: &str, catchall: &str) -> String {
    let options = if is_missing_text(text) {
        options_in(catchall)
    } else {
        text
    };
    if options.contains(CONTAIN) && !options.contains(WORK_DIR) {
        // A closed container must still see the job's directory.
        return options.replacen(CONTAIN, &format!(",{WORK_DIR}{CONTAIN}"), 1);
    }
    options.to_owned()
}

/// The quoted text behind the first of the known names; empty if there is none.
fn options_in(catchall: &str) -> &str {
    let found = OPTIONS_IN_CATCHALL
        .iter()
        .find_map(|name| catchall.split_once(name));
    let Some((_, rest)) = found else {
        return "";
    };
    let mut characters = rest.chars();
    match characters.next() {
        Some(quote @ ('\'' | '"')) => characters.as_str().split(quote).next(),
        _ => rest.split([' ', ',']).next(),
    }
    .unwrap_or_default()
}

fn copy_tool_setups(fields: &Fields) -> Result<BTreeMap<String, String>, FieldError> {
    let tools = object_of(fields, "copytools")?;
    Ok(tools
        .iter()
        .filter_map(|(tool, settings)| {
            let setup = settings.get("setup").map(text_of)?;
            Some((tool.to_owned(), setup.into_owned()))
        })
        .filter(|(_, setup)| !is_missing_text(setup))
        .collect())
}

/// `{activity: [scheme…]}` or `{activity: {tool: [scheme…]}}`.
fn schemes(
    fields: &Fields,
) -> Result<BTreeMap<Activity, BTreeMap<String, Vec<String>>>, FieldError> {
    let object = object_of(fields, "acopytools_schemas")?;
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        let texts = items.iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    Ok(object
        .iter()
        .map(|(activity, value)| {
            let of_tool = |(tool, value): (&String, &Value)| (tool.clone(), texts(value));
            let by_tool = match value.as_object() {
                Some(by_tool) => by_tool.iter().map(of_tool).collect(),
                None => BTreeMap::from([(QueueOptions::EVERY_TOOL.to_owned(), texts(value))]),
            };
            (activity.to_owned(), by_tool)
        })
        .collect())
}

/// Adds what is stated to the object of a queue.
pub(crate) fn encode(out: &mut Map<String, Value>, params: &mut Map<String, Value>, queue: &Queue) {
    let options = &queue.options;
    let unstated = QueueOptions::default();
    let types: Vec<String> = options
        .container_types
        .iter()
        .map(|(user, program)| format!("{program}:{user}"))
        .collect();
    out.insert("container_type".into(), types.join(";").into());
    out.insert(
        "container_options".into(),
        options.container_options.as_str().into(),
    );
    if !options.app_dir.is_empty() {
        out.insert("appdir".into(), options.app_dir.as_str().into());
    }
    if !options.schemes.is_empty() {
        out.insert("acopytools_schemas".into(), json!(options.schemes));
    }
    let mut tools: BTreeMap<&str, Value> = queue
        .copy_tools
        .values()
        .flatten()
        .map(|tool| (tool.as_str(), json!({})))
        .collect();
    for (tool, setup) in &options.copy_tool_setups {
        tools.insert(tool, json!({"setup": setup}));
    }
    out.insert("copytools".into(), json!(tools));
    for (name, flag, default) in [
        ("allow_lan", options.allows_lan, unstated.allows_lan),
        ("allow_wan", options.allows_wan, unstated.allows_wan),
        ("direct_access_lan", options.has_direct_lan, false),
        ("direct_access_wan", options.has_direct_wan, false),
        ("use_pcache", options.has_cache, false),
    ] {
        if flag != default {
            out.insert(name.into(), flag.into());
        }
    }
    queue_terms::encode(out, params, &options.terms);
    if options.pledged_cpu != unstated.pledged_cpu {
        out.insert("pledgedcpu".into(), options.pledged_cpu.into());
    }
    if let Some(allowed) = options.allows_alternative_stage_out {
        params.insert("allow_altstageout".into(), allowed.into());
    }
    if options.internet_protocol != unstated.internet_protocol {
        params.insert(
            "internet_protocol_version".into(),
            options.internet_protocol.as_str().into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(value: Value) -> QueueOptions {
        let fields = Fields::from_value(value).expect("an object");
        let params = object_of(&fields, "params").expect("an object");
        decode(&fields, &params, &fields.text("catchall")).expect("options")
    }

    #[test]
    fn container_programs_are_told_by_who_uses_them() {
        let options = options(json!({
            "container_type": "singularity:pilot; docker:wrapper;:x;nothing",
        }));
        let types: Vec<_> = options.container_types.into_iter().collect();
        let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            types,
            [owned("pilot", "singularity"), owned("wrapper", "docker")]
        );
    }

    #[test]
    fn container_options_come_from_catchall_where_the_queue_has_none() {
        for (queue, expected) in [
            (json!({"container_options": "-B /x"}), "-B /x"),
            (
                json!({"container_options": "-B /x --contain"}),
                "-B /x,${workdir} --contain",
            ),
            (
                json!({"container_options": "none", "catchall": "a singularity_options='-B /y -C' b"}),
                "-B /y -C",
            ),
            (json!({"catchall": "apptainer_options=-C,b"}), "-C"),
            (json!({"catchall": "apptainer_options='"}), ""),
            (json!({}), ""),
        ] {
            assert_eq!(options(queue).container_options, expected);
        }
    }

    #[test]
    fn schemes_are_read_for_activities_and_for_tools() {
        let options = options(json!({
            "acopytools_schemas": {"read_lan": ["root", "https"], "pw": {"gfal": ["davs"], "x": 7}},
            "copytools": {"rucio": {"setup": "/s.sh"}, "mv": {}},
            "params": {"allow_altstageout": false},
        }));
        assert_eq!(
            options.schemes_for(&["read_lan"], "rucio"),
            ["root", "https"]
        );
        assert_eq!(options.schemes_for(&["pw"], "gfal"), ["davs"]);
        assert!(options.schemes_for(&["pw"], "rucio").is_empty());
        assert_eq!(options.copy_tool_setups["rucio"], "/s.sh");
        assert_eq!(options.allows_alternative_stage_out, Some(false));
    }
}
