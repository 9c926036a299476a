//! How values of options are read.

use std::time::Duration;

use ailurus_model::units::parse_duration;

/// Shortest period: a shorter one would keep a core busy.
const PERIOD_MIN: Duration = Duration::from_millis(10);
/// Beginnings of PanDA's resource types.
const RESOURCE_TYPES: [&str; 2] = ["SCORE", "MCORE"];

/// Reads a duration that is repeated again and again.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    let period = parse_duration(text).map_err(|error| error.to_string())?;
    if period < PERIOD_MIN {
        return Err("it must be at least `10ms`".into());
    }
    Ok(period)
}

/// Reads Pilot 3's texts for yes and no, in any case.
pub(super) fn bool_text(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "t" | "y" | "1" => Ok(true),
        "no" | "false" | "f" | "n" | "0" => Ok(false),
        _ => Err("write yes, true, t, y or 1, or no, false, f, n or 0".into()),
    }
}

/// Reads a whole number. Pilot 3 takes negative ones, and acts on them as on zero.
pub(super) fn count(text: &str) -> Result<u32, String> {
    let number: i64 = text
        .trim()
        .parse()
        .map_err(|_| "it must be a whole number".to_owned())?;
    Ok(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

/// Reads PanDA's class of cores and memory; nothing stands for all.
pub(super) fn resource_type(text: &str) -> Result<String, String> {
    let is_known = text.is_empty()
        || RESOURCE_TYPES.iter().any(|known| {
            text.strip_prefix(known)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        });
    if is_known {
        Ok(text.to_owned())
    } else {
        Err("it must be SCORE or MCORE, or begin with SCORE_ or MCORE_".into())
    }
}
