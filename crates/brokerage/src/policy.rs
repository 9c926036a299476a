//! The policy: which filters and weights a kind of job has, in which order, with which constants.
//!
//! It is a TOML file; [`Policy::built_in`] is the one that comes with the program
//! (`profiles/brokerage.toml`). What a rule means is code, everything else is this file.

use std::collections::BTreeMap;

use ailurus_model::{EndpointName, SourceLabel};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{filter::Filter, weight::Factor};

/// The file that comes with the program.
const BUILT_IN: &str = include_str!("../../../profiles/brokerage.toml");
/// The label that stands for all that are not named.
const ANY_LABEL: &str = "*";

/// A checked policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    labels: BTreeMap<String, String>,
    profiles: BTreeMap<String, Profile>,
    /// Costs of moving one GB, by the place to which it is moved, then by where it lies.
    costs: BTreeMap<String, Vec<(EndpointName, u64)>>,
}

/// How a kind of job is brokered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name by which the policy refers to it.
    #[serde(skip)]
    pub name: String,
    /// What it is for, one sentence.
    pub about: String,
    /// Filters, in order.
    pub filters: Vec<FilterRule>,
    /// Factors of the weight, in order.
    pub weights: Vec<Factor>,
    /// How many of the best queues jobs of one kind are spread over.
    pub candidates_max: usize,
    /// What it counts that the task used a queue before.
    pub used_before: UsedBefore,
}

/// What it counts that a task used a queue before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsedBefore {
    /// More than any weight.
    First,
    /// It decides between queues of equal weight.
    Tie,
    /// Nothing.
    Off,
}

/// A filter and when it is used.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct FilterRule {
    /// The filter.
    pub filter: Filter,
    /// Whether it only drops queues as long as others remain.
    pub is_wish: bool,
    /// Whether it is passed over for jobs whose task names its queues.
    pub is_for_unnamed: bool,
}

/// A policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is no TOML, or has unknown or missing keys.
    #[error("the brokerage policy is wrong: {problem}")]
    Malformed {
        /// What is wrong, and where.
        problem: String,
    },
    /// A label is given a profile that is not there.
    #[error("label `{label}` is given profile `{profile}`, which is none of: {known}")]
    UnknownProfile {
        /// The label.
        label: String,
        /// The profile.
        profile: String,
        /// All profiles.
        known: String,
    },
    /// No profile is given to labels that are not named.
    #[error("no profile is given to label `*`, which stands for all that are not named")]
    NoDefault,
    /// A profile makes no sense.
    #[error("profile `{profile}`: `{key}` is {value}, it must be {allowed}")]
    Value {
        /// The profile.
        profile: String,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

/// The file as people write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    labels: BTreeMap<String, String>,
    profiles: BTreeMap<String, Profile>,
    #[serde(default)]
    transfer_costs: Vec<TransferCost>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransferCost {
    from: EndpointName,
    to: String,
    cost: u64,
}

impl Policy {
    /// Returns the policy that comes with the program.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("the policy in `profiles/` is checked by a test")
    }

    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let file: PolicyFile = toml::from_str(text).map_err(|error| PolicyError::Malformed {
            problem: error.to_string().trim_end().to_owned(),
        })?;
        let mut profiles = file.profiles;
        for (name, profile) in &mut profiles {
            profile.name.clone_from(name);
            check(profile)?;
        }
        for (label, profile) in &file.labels {
            if !profiles.contains_key(profile) {
                let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
                return Err(PolicyError::UnknownProfile {
                    label: label.clone(),
                    profile: profile.clone(),
                    known: known.join(", "),
                });
            }
        }
        if !file.labels.contains_key(ANY_LABEL) {
            return Err(PolicyError::NoDefault);
        }
        let mut costs: BTreeMap<String, Vec<(EndpointName, u64)>> = BTreeMap::new();
        for TransferCost { from, to, cost } in file.transfer_costs {
            costs.entry(to).or_default().push((from, cost));
        }
        Ok(Self {
            labels: file.labels,
            profiles,
            costs,
        })
    }

    /// Returns the profile of jobs with this label.
    #[must_use]
    pub fn profile_of(&self, label: &SourceLabel) -> &Profile {
        let name = self.labels.get(label.as_str());
        let name = name.or_else(|| self.labels.get(ANY_LABEL));
        name.and_then(|name| self.profiles.get(name))
            .expect("every label has a profile, which was checked when the policy was read")
    }

    /// Returns what moving a GB to a place costs, by where it lies. A place is the name of a
    /// site or of a queue; what is said of the queue comes first.
    #[must_use]
    pub fn costs_to(&self, queue: &str, site: &str) -> &[(EndpointName, u64)] {
        let of_queue = self.costs.get(queue);
        of_queue
            .or_else(|| self.costs.get(site))
            .map_or(&[], Vec::as_slice)
    }
}

fn check(profile: &Profile) -> Result<(), PolicyError> {
    let wrong = |key, value: &dyn ToString, allowed| {
        Err(PolicyError::Value {
            profile: profile.name.clone(),
            key,
            value: value.to_string(),
            allowed,
        })
    };
    if profile.candidates_max == 0 {
        return wrong("candidates_max", &0, "at least 1");
    }
    let is_number = |number: f64| number.is_finite() && number >= 0.0;
    for rule in &profile.filters {
        let number = rule.filter.ratio();
        if !is_number(number) {
            return wrong("ratio", &number, "a number from zero on");
        }
    }
    for factor in &profile.weights {
        let (number, must_divide) = match factor {
            Factor::LocalGb { gb } => (*gb, true),
            Factor::TransferCost { half_at, unknown } if is_number(*unknown) => (*half_at, true),
            Factor::TransferCost { unknown, .. } => (*unknown, false),
            Factor::LocalInput { worth } | Factor::Chain { worth } | Factor::Mixture { worth } => {
                (*worth, false)
            }
            Factor::PilotsSeen { unseen, .. } => (*unseen, false),
            Factor::Nucleus {
                reads_much, urgent, ..
            } if is_number(*urgent) => (*reads_much, false),
            Factor::Nucleus { urgent, .. } => (*urgent, false),
            Factor::Generic {}
            | Factor::Production {}
            | Factor::FreeSlots {}
            | Factor::InputToMove {} => (0.0, false),
        };
        if !is_number(number) || (must_divide && number == 0.0) {
            return wrong(factor.name(), &number, "a number above zero");
        }
    }
    Ok(())
}

impl TryFrom<toml::Table> for FilterRule {
    type Error = String;

    fn try_from(mut table: toml::Table) -> Result<Self, String> {
        let mut flag = |key: &str| match table.remove(key) {
            None => Ok(false),
            Some(toml::Value::Boolean(flag)) => Ok(flag),
            Some(other) => Err(format!(
                "`{key}` is a {}, it must be true or false",
                other.type_str()
            )),
        };
        Ok(Self {
            is_wish: flag("if_others_remain")?,
            is_for_unnamed: flag("unless_named")?,
            filter: rule(table)?,
        })
    }
}

fn rule<T: DeserializeOwned>(table: toml::Table) -> Result<T, String> {
    let name = table
        .get("is")
        .and_then(toml::Value::as_str)
        .unwrap_or("a rule without `is`")
        .to_owned();
    toml::Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| format!("{name}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(filters: &str, weights: &str) -> String {
        format!(
            "[labels]\n\"*\" = \"p\"\n[profiles.p]\nabout = \"x\"\ncandidates_max = 5\n\
             used_before = \"tie\"\nfilters = [{filters}]\nweights = [{weights}]\n"
        )
    }

    #[test]
    fn the_built_in_policy_serves_every_label() {
        let policy = Policy::built_in();
        for label in ["managed", "user", "panda", "test", "anything"] {
            let profile = policy.profile_of(&SourceLabel::new(label));
            assert!(!profile.filters.is_empty() && !profile.weights.is_empty());
        }
    }

    #[test]
    fn unknown_rules_and_keys_are_refused_with_their_name() {
        for (filters, weights, expected) in [
            ("{ is = \"moon\" }", "", "moon"),
            ("{ is = \"status\", strict = 1 }", "", "strict"),
            ("{ is = \"status\", unless_named = 1 }", "", "unless_named"),
            ("{ is = \"storage-space\" }", "", "free_min"),
            ("", "{ is = \"chain\" }", "worth"),
            ("", "{ is = \"chain\", worth = -1.0 }", "chain"),
            ("", "{ is = \"local-gb\", gb = 0.0 }", "local-gb"),
        ] {
            let error = Policy::parse(&text(filters, weights)).expect_err("refused");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_profile_that_is_not_there_is_refused_with_those_that_are() {
        let text = text("", "").replace("\"p\"\n[prof", "\"q\"\n[prof");
        let error = Policy::parse(&text).expect_err("no such profile");
        assert!(error.to_string().contains("none of: p"), "{error}");
    }

    #[test]
    fn costs_of_a_queue_come_before_those_of_its_site() {
        let text = text("", "")
            + "[[transfer_costs]]\nfrom = \"A\"\nto = \"SITE\"\ncost = 3\n\
               [[transfer_costs]]\nfrom = \"A\"\nto = \"QUEUE\"\ncost = 1\n";
        let policy = Policy::parse(&text).unwrap();
        assert_eq!(policy.costs_to("QUEUE", "SITE"), [("A".into(), 1)]);
        assert_eq!(policy.costs_to("OTHER", "SITE"), [("A".into(), 3)]);
        assert!(policy.costs_to("OTHER", "ELSE").is_empty());
    }
}
