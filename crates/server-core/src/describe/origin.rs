//! What the description of a job has from its task.

use ailurus_jedi::RefinedTask;
use ailurus_model::Attributes;

/// Puts what jobs have from a task of PanDA.
/// Source: `pandajedi/jediorder/JobGenerator.py` (`doGenerate`).
pub(super) fn describe_origin(out: &mut Attributes, task: &RefinedTask) {
    for (name, text) in [
        ("VO", Some(&task.vo)),
        ("workingGroup", task.working_group.as_ref()),
        ("countryGroup", task.country_group.as_ref()),
        ("cloud", task.sites.cloud.as_ref()),
    ] {
        out.put_some(name, text.filter(|text| !text.is_empty()).cloned());
    }
    out.put_some("reqID", task.request);
}
