//! The server's part of queue data: [`QueueTerms`].
//!
//! Source: PanDA server, `pandaserver/taskbuffer/SiteSpec.py` and `pandaserver/brokerage/SiteMapper.py`.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{ByteCount, Hardware, QueueTerms};
use serde_json::{Map, Value, json};

use crate::{
    fields::{FieldError, Fields, is_missing, number_of, text_of},
    queue_data::object_of,
};

/// Thousandths in one.
const MILLI: f64 = 1000.0;
/// The largest power of a core that is believed, in HS06.
const CORE_POWER_MAX: f64 = 1e6;

/// Reads what is stated. Wishes of the catch-all text may also stand among the parameters.
pub(crate) fn decode(
    fields: &Fields,
    params: &Fields,
    catchall: &str,
) -> Result<QueueTerms, FieldError> {
    let whole = |name: &str| fields.whole_if_any::<u64>(name).unwrap_or(0);
    let extra = Extra { params, catchall };
    let cores: Option<i64> = fields.whole_if_any("corecount");
    let network = fields.text("wnconnectivity");
    let (connectivity, ip_stack) = network.split_once('#').unwrap_or((&network, ""));
    Ok(QueueTerms {
        cloud: fields.text("cloud"),
        takes_any_cores: cores.is_some_and(|cores| cores <= 0),
        memory_is_per_core: extra.has("per_core_attr"),
        memory_min: ByteCount::from_mib(whole("minrss")),
        memory_mean: ByteCount::from_mib(whole("meanrss")),
        time_min: Duration::from_secs(whole("mintime")),
        storage_free_gb: whole("space"),
        core_power_milli: milli(fields.get("corepower")),
        disk_io_max: whole("maxdiskio"),
        io_intensity_max: params.whole_if_any("max_io_intensity").unwrap_or(0),
        connectivity: connectivity.to_owned(),
        ip_stack: ip_stack.to_owned(),
        capability: fields.text("capability"),
        workflow: fields.text("workflow"),
        harvester: fields.text("harvester"),
        fair_share_policy: fields.text("fairsharepolicy"),
        transferring_max: whole("transferringlimit"),
        processing_allowed: extra.list("allowed_processing"),
        processing_excluded: extra.list("excluded_processing").unwrap_or_default(),
        releases: names_of(fields.get("releases")),
        hardware: hardware(fields.get("architectures")),
        allows_no_pilot: extra.has("allow_no_pilot"),
        keeps_its_jobs: extra.has("disableReassign"),
        worker_limits: worker_limits(fields)?,
        streaming_cores: params.whole_if_any("ups_core_target").unwrap_or(0),
    })
}

/// Wishes that stand in the catch-all text (`name`, `name=a|b`, comma-separated) or in `params`.
struct Extra<'a> {
    params: &'a Fields,
    catchall: &'a str,
}

impl Extra<'_> {
    fn word(&self, name: &str) -> Option<&str> {
        self.catchall
            .split(',')
            .map(str::trim)
            .find_map(|word| match word.split_once('=') {
                Some((key, value)) => (key.trim() == name).then_some(value.trim()),
                None => (word == name).then_some(""),
            })
    }

    fn has(&self, name: &str) -> bool {
        self.params
            .flag(name)
            .unwrap_or_else(|| self.word(name).is_some())
    }

    fn list(&self, name: &str) -> Option<Vec<String>> {
        let stated = self.params.get(name).filter(|value| !is_missing(value));
        match stated {
            Some(value) => Some(names_of(Some(value))),
            None => self.word(name).map(words),
        }
    }
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(['|', ',']).map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A list of names, also as one text with `|` or commas between them.
fn names_of(value: Option<&Value>) -> Vec<String> {
    match value.filter(|value| !is_missing(value)) {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .iter()
            .flat_map(|item| words(&text_of(item)))
            .collect(),
        Some(other) => words(&text_of(other)),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is checked to lie between zero and the largest power"
)]
fn milli(value: Option<&Value>) -> u64 {
    value
        .and_then(number_of)
        .filter(|number| (0.0..CORE_POWER_MAX).contains(number))
        .map_or(0, |number| (number * MILLI).round() as u64)
}

/// `[{"type": "gpu", "vendor": ["nvidia"], "model": […]}, …]`; what is no such list is unknown.
fn hardware(value: Option<&Value>) -> Vec<Hardware> {
    let Some(Value::Array(items)) = value else {
        return Vec::new();
    };
    let objects = items.iter().filter_map(Value::as_object);
    objects
        .map(|item| Hardware {
            is_gpu: item.get("type").and_then(Value::as_str) == Some("gpu"),
            arch: names_of(item.get("arch")),
            vendor: names_of(item.get("vendor")),
            instructions: names_of(item.get("instr")),
            model: names_of(item.get("model")),
        })
        .collect()
}

fn worker_limits(fields: &Fields) -> Result<BTreeMap<String, u64>, FieldError> {
    let config = object_of(fields, "uconfig")?;
    let limits = object_of(&config, "resource_type_limits")?;
    let count = |value: &Value| crate::fields::whole_of(value).and_then(|n| u64::try_from(n).ok());
    Ok(limits
        .iter()
        .filter_map(|(name, value)| Some((name.to_owned(), count(value)?)))
        .collect())
}

/// Adds what is stated to the object of a queue.
pub(crate) fn encode(
    out: &mut Map<String, Value>,
    params: &mut Map<String, Value>,
    terms: &QueueTerms,
) {
    let network = match terms.ip_stack.as_str() {
        "" => terms.connectivity.clone(),
        stack => format!("{}#{stack}", terms.connectivity),
    };
    for (key, text) in [
        ("cloud", &terms.cloud),
        ("wnconnectivity", &network),
        ("capability", &terms.capability),
        ("workflow", &terms.workflow),
        ("harvester", &terms.harvester),
        ("fairsharepolicy", &terms.fair_share_policy),
    ] {
        if !text.is_empty() {
            out.insert(key.into(), text.as_str().into());
        }
    }
    for (key, number) in [
        ("minrss", terms.memory_min.as_mib()),
        ("meanrss", terms.memory_mean.as_mib()),
        ("mintime", terms.time_min.as_secs()),
        ("space", terms.storage_free_gb),
        ("maxdiskio", terms.disk_io_max),
        ("transferringlimit", terms.transferring_max),
    ] {
        if number > 0 {
            out.insert(key.into(), number.into());
        }
    }
    if terms.core_power_milli > 0 {
        let thousandths = u32::try_from(terms.core_power_milli).unwrap_or(u32::MAX);
        out.insert("corepower".into(), json!(f64::from(thousandths) / MILLI));
    }
    if !terms.releases.is_empty() {
        out.insert("releases".into(), json!(terms.releases));
    }
    if !terms.hardware.is_empty() {
        let items = terms.hardware.iter().map(|it| {
            json!({"type": if it.is_gpu { "gpu" } else { "cpu" }, "arch": it.arch,
                "vendor": it.vendor, "instr": it.instructions, "model": it.model})
        });
        out.insert("architectures".into(), items.collect());
    }
    if !terms.worker_limits.is_empty() {
        let limits = json!({"resource_type_limits": terms.worker_limits});
        out.insert("uconfig".into(), limits);
    }
    encode_params(params, terms);
}

fn encode_params(params: &mut Map<String, Value>, terms: &QueueTerms) {
    for (key, number) in [
        ("max_io_intensity", terms.io_intensity_max),
        ("ups_core_target", terms.streaming_cores),
    ] {
        if number > 0 {
            params.insert(key.into(), number.into());
        }
    }
    for (key, flag) in [
        ("per_core_attr", terms.memory_is_per_core),
        ("allow_no_pilot", terms.allows_no_pilot),
        ("disableReassign", terms.keeps_its_jobs),
    ] {
        if flag {
            params.insert(key.into(), true.into());
        }
    }
    if let Some(allowed) = &terms.processing_allowed {
        params.insert("allowed_processing".into(), json!(allowed));
    }
    if !terms.processing_excluded.is_empty() {
        let excluded = json!(terms.processing_excluded);
        params.insert("excluded_processing".into(), excluded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(value: Value) -> QueueTerms {
        let fields = Fields::from_value(value).expect("an object");
        let params = object_of(&fields, "params").expect("an object");
        decode(&fields, &params, &fields.text("catchall")).expect("terms")
    }

    #[test]
    fn wishes_stand_in_the_catch_all_text_or_among_the_parameters() {
        let by_text = terms(json!({
            "catchall": "allow_no_pilot, excluded_processing=merge|reco, singularity_options='-B'",
        }));
        assert!(by_text.allows_no_pilot);
        assert_eq!(by_text.processing_excluded, ["merge", "reco"]);
        assert_eq!(by_text.processing_allowed, None);
        let by_params = terms(json!({
            "params": {"allowed_processing": ["simul"], "per_core_attr": true},
        }));
        assert_eq!(by_params.processing_allowed.unwrap(), ["simul"]);
        assert!(by_params.memory_is_per_core);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let stated = terms(json!({
            "corecount": 0, "cloud": "RU", "minrss": 500, "mintime": 60, "space": 150,
            "corepower": 10.25, "fairsharepolicy": "type=merge:0%", "releases": "1.0|2.0",
            "architectures": [{"type": "gpu", "vendor": ["nvidia"], "model": ["kt100"]}],
            "uconfig": {"resource_type_limits": {"HIMEM": 16}}, "catchall": "allow_no_pilot",
            "params": {"max_io_intensity": 100, "ups_core_target": 40},
        }));
        assert_eq!(stated.core_power_milli, 10_250);
        assert!(stated.takes_any_cores && stated.hardware[0].is_gpu);
        let (mut out, mut params) = (Map::new(), Map::new());
        encode(&mut out, &mut params, &stated);
        out.insert("corecount".into(), 0.into());
        out.insert("params".into(), params.into());
        assert_eq!(terms(out.into()), stated);
    }

    #[test]
    fn what_makes_no_sense_is_as_if_it_were_not_there() {
        let terms = terms(json!({
            "corepower": -4, "minrss": "many", "architectures": "any",
            "uconfig": {"resource_type_limits": {"SCORE": -1}},
        }));
        assert_eq!(terms, QueueTerms::default());
    }
}
