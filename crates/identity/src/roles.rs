//! What a name or a VOMS attribute allows.
//!
//! Pure. Source: panda-server, `pandaserver/api/v1/common.py`, `has_production_role` and
//! `extract_production_working_groups`, and of 0.8.1 `pandaserver/jobdispatcher/JobDispatcher.py`,
//! `_checkRole`.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_model::Rights;
use regex::Regex;

/// Attributes that make a production manager, if nothing else is configured.
pub const PRODUCTION_FQANS: &[&str] =
    &["^/[^/]+/Role=production", "^/atlas/usatlas/Role=production"];

/// Attributes that make a pilot, if nothing else is configured.
pub const PILOT_FQANS: &[&str] = &["^/[^/]+/Role=pilot$", "^/atlas/usatlas/Role=pilot$"];

/// Subgroups of which a production role is that of the whole VO.
const WHOLE_VO: &str = "usatlas";

/// A pattern cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is no regular expression")]
pub struct RolePolicyError {
    /// The pattern.
    pub pattern: String,
    /// Why.
    #[source]
    source: regex::Error,
}

/// Who may do what.
#[derive(Debug, Clone)]
pub struct RolePolicy {
    production_dns: Vec<String>,
    pilot_owners: Vec<Regex>,
    production_fqans: Vec<Regex>,
    pilot_fqans: Vec<Regex>,
    working_group: Regex,
    /// Working groups of names, by part of the name.
    working_groups: BTreeMap<String, BTreeSet<String>>,
}

/// What people write of a [`RolePolicy`].
#[derive(Debug, Clone, Default)]
pub struct RoleSettings {
    /// Parts of names in slash form whose bearers are production managers.
    pub production_dns: Vec<String>,
    /// Regular expressions for names in slash form whose bearers are pilots.
    pub pilot_owners: Vec<String>,
    /// Regular expressions for attributes of production managers; the built-in ones if none.
    pub production_fqans: Option<Vec<String>>,
    /// Regular expressions for attributes of pilots; the built-in ones if none.
    pub pilot_fqans: Option<Vec<String>>,
    /// Working groups of people, by part of their name in slash form.
    pub working_groups: BTreeMap<String, BTreeSet<String>>,
}

impl RolePolicy {
    /// Judges what people wrote.
    ///
    /// # Errors
    ///
    /// [`RolePolicyError`] for a pattern that is no regular expression.
    pub fn new(settings: RoleSettings) -> Result<Self, RolePolicyError> {
        let built_in = |patterns: &[&str]| patterns.iter().map(|&it| it.to_owned()).collect();
        let production = settings.production_fqans;
        let pilot = settings.pilot_fqans;
        let not_empty = |part: &String| !part.is_empty();
        Ok(Self {
            production_dns: settings
                .production_dns
                .into_iter()
                .filter(not_empty)
                .collect(),
            pilot_owners: expressions(settings.pilot_owners)?,
            production_fqans: expressions(
                production.unwrap_or_else(|| built_in(PRODUCTION_FQANS)),
            )?,
            pilot_fqans: expressions(pilot.unwrap_or_else(|| built_in(PILOT_FQANS)))?,
            working_group: Regex::new("^/[^/]+/([^/]+)/Role=production")
                .expect("a constant regular expression"),
            working_groups: settings.working_groups,
        })
    }

    /// Says what somebody may do. `dn` is their name in slash form.
    #[must_use]
    pub fn rights(&self, dn: &str, fqans: &[String]) -> Rights {
        let any = |patterns: &[Regex]| {
            let mut all = fqans.iter();
            all.any(|fqan| patterns.iter().any(|pattern| pattern.is_match(fqan)))
        };
        let has_name = !dn.is_empty();
        let production =
            any(&self.production_fqans) || self.production_dns.iter().any(|part| dn.contains(part));
        let owns_pilots = has_name && self.pilot_owners.iter().any(|it| it.is_match(dn));
        let mut working_groups = BTreeSet::new();
        for fqan in fqans {
            if let Some(found) = self.working_group.captures(fqan)
                && &found[1] != WHOLE_VO
            {
                working_groups.insert(found[1].to_owned());
                working_groups.insert(format!("gr_{}", &found[1]));
            }
        }
        for (part, groups) in &self.working_groups {
            if has_name && dn.contains(part) {
                working_groups.extend(groups.iter().cloned());
            }
        }
        Rights {
            production,
            pilot: production || owns_pilots || any(&self.pilot_fqans),
            working_groups,
        }
    }
}

fn expressions(patterns: Vec<String>) -> Result<Vec<Regex>, RolePolicyError> {
    let patterns = patterns.into_iter().filter(|pattern| !pattern.is_empty());
    patterns
        .map(|pattern| Regex::new(&pattern).map_err(|source| RolePolicyError { pattern, source }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(dn: &str, fqans: &[&str]) -> Rights {
        let policy = RolePolicy::new(RoleSettings {
            production_dns: vec!["/CN=Robot: SPD production".into(), String::new()],
            pilot_owners: vec!["/CN=pilot[0-9]$".into()],
            working_groups: BTreeMap::from([("/CN=Jane".into(), BTreeSet::from(["mpd".into()]))]),
            ..RoleSettings::default()
        });
        let fqans: Vec<String> = fqans.iter().map(|&fqan| fqan.to_owned()).collect();
        policy.unwrap().rights(dn, &fqans)
    }

    #[test]
    fn a_role_of_the_vo_makes_managers_and_pilots() {
        for (fqans, production, pilot) in [
            (&["/spd", "/spd/Role=production"][..], true, true),
            (&["/spd/Role=production/Capability=x"], true, true),
            (&["/spd/Role=pilot"], false, true),
            (&["/spd/muon/Role=production"], false, false),
            (&["/spd"], false, false),
            (&["/atlas/usatlas/Role=production"], true, true),
            (&["x/spd/Role=production"], false, false),
            (&[], false, false),
        ] {
            let found = rights("/CN=x", fqans);
            assert_eq!(
                (found.production, found.pilot),
                (production, pilot),
                "{fqans:?}"
            );
        }
    }

    #[test]
    fn names_of_robots_make_managers_and_pilots() {
        let robot = rights("/DC=org/CN=robot/CN=Robot: SPD production", &[]);
        assert!(robot.production && robot.pilot);
        let pilot = rights("/DC=org/CN=pilot7", &[]);
        assert!(!pilot.production && pilot.pilot);
        let nobody = rights("", &[]);
        assert_eq!(nobody, Rights::default(), "an empty entry is nobody's");
    }

    #[test]
    fn a_role_in_a_group_gives_the_working_group() {
        let found = rights("/CN=Jane", &["/spd/muon/Role=production"]);
        let groups: Vec<&str> = found.working_groups.iter().map(String::as_str).collect();
        assert_eq!(groups, ["gr_muon", "mpd", "muon"]);
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = RolePolicy::new(RoleSettings {
            pilot_owners: vec!["(".into()],
            ..RoleSettings::default()
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            "`(` is no regular expression"
        );
    }
}
