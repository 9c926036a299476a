//! The profile of an experiment: one TOML file, read once and checked whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Limits, NamePattern, Template};

/// Profiles that are part of the program, by name.
const BUILT_IN: [(&str, &str); 2] = [
    ("generic", include_str!("../../../profiles/generic.toml")),
    ("spd", include_str!("../../../profiles/spd.toml")),
];

/// Variables that payloads do not see unless their profile has a list of its own.
pub const HIDDEN_VARIABLES: [&str; 8] = [
    "*TOKEN*",
    "*SECRET*",
    "*PASSWORD*",
    "OIDC_*",
    "PANDA_AUTH_*",
    "HARVESTER_*",
    "GTAG",
    "PANDA_JSID",
];

/// Least length of a period: shorter ones would keep a core busy.
const PERIOD_MIN: std::time::Duration = std::time::Duration::from_millis(10);

/// What an experiment needs of a pilot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name by which `--pilot-user` asks for it, in lower case.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// How the payload is started.
    pub payload: PayloadProfile,
    /// Which files show that a payload makes progress.
    #[serde(default)]
    pub progress: ProgressProfile,
    /// What goes into the log archive.
    #[serde(default)]
    pub log: LogProfile,
    /// Times and sizes. Default: Pilot 3's.
    #[serde(default)]
    pub limits: Limits,
    /// Known errors of the experiment, looked for before the common ones: text in the form of the
    /// files of the error catalogue. Default: none.
    #[serde(default)]
    pub error_catalogue: String,
}

/// How the payload is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadProfile {
    /// Lines that a shell runs in the payload's own process before the payload. Default: none.
    #[serde(default)]
    pub setup: Vec<String>,
    /// Variables for the payload besides those that every payload gets. Default: none.
    #[serde(default)]
    pub environment: BTreeMap<String, Template>,
    /// Variables of the pilot that the payload must not see: tokens, proxies' passwords, and what
    /// only the pilot needs. Default: [`HIDDEN_VARIABLES`].
    #[serde(default = "hidden_variables")]
    pub hidden_variables: Vec<NamePattern>,
    /// Words put before the command of a job that names a container image. Default: none, and
    /// such a job is refused.
    #[serde(default)]
    pub container: Vec<Template>,
    /// How a command is made from transformation and parameters: the first entry whose pattern
    /// matches is taken. At least one.
    pub commands: Vec<CommandProfile>,
    /// Where scripts may be fetched, besides the PanDA server. Default: none.
    #[serde(default)]
    pub script_urls: Vec<String>,
}

fn hidden_variables() -> Vec<NamePattern> {
    HIDDEN_VARIABLES.map(NamePattern::new).to_vec()
}

/// One way to make a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandProfile {
    /// Matched against the last part of the transformation.
    pub transformation: NamePattern,
    /// The command's words. `{arguments}` alone stands for the words of the parameters,
    /// `{parameters}` for their whole text, `{script}` for the script's path.
    pub command: Vec<Template>,
}

impl CommandProfile {
    /// Says whether the command needs the transformation as a file in the job's directory.
    #[must_use]
    pub fn needs_script(&self) -> bool {
        self.command.iter().any(|word| word.mentions("script"))
    }
}

/// Which files show that a payload makes progress.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProgressProfile {
    /// A file says nothing about progress if its path below the job's directory contains one of
    /// these texts. Default: none.
    pub ignored: Vec<String>,
}

/// What goes into the log archive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogProfile {
    /// Names of files and directories that stay out of it, besides inputs and outputs.
    /// Default: none.
    pub left_out: Vec<NamePattern>,
}

/// A profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file is no TOML, or a key is unknown, missing or of another kind.
    #[error("profile `{file}` cannot be read")]
    Text {
        /// The profile's name or path.
        file: String,
        /// Line, key, value and what is allowed.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is readable but makes no sense.
    #[error("profile `{file}`: `{key}` is {value}, but must be {allowed}")]
    Value {
        /// The profile's name or path.
        file: String,
        /// The key, with dots.
        key: String,
        /// The value as it was understood.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// There is no built-in profile of that name.
    #[error(
        "`{name}` is not a built-in profile: there are {known}; others are files `{name}.toml` in the profile path"
    )]
    Unknown {
        /// The name as it was given.
        name: String,
        /// The built-in names, joined by commas.
        known: String,
    },
}

impl Profile {
    /// Reads a profile. `file` names it in messages.
    ///
    /// # Errors
    ///
    /// [`ProfileError`] naming file, key, value and what is allowed.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text).map_err(|source| ProfileError::Text {
            file: file.to_owned(),
            source: Box::new(source),
        })?;
        profile.check(file)?;
        Ok(profile)
    }

    /// Returns a built-in profile; upper and lower case are the same.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Unknown`] if there is none of that name.
    pub fn built_in(name: &str) -> Result<Self, ProfileError> {
        let found = BUILT_IN
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((known, text)) = found else {
            return Err(ProfileError::Unknown {
                name: name.to_owned(),
                known: BUILT_IN.map(|(known, _)| format!("`{known}`")).join(", "),
            });
        };
        Self::from_toml(known, text)
    }

    /// Finds the way to make a command for a transformation.
    #[must_use]
    pub fn command_for(&self, transformation: &str) -> Option<&CommandProfile> {
        let name = last_part(transformation);
        self.payload
            .commands
            .iter()
            .find(|command| command.transformation.matches(name))
    }

    fn check(&self, file: &str) -> Result<(), ProfileError> {
        let bad = |key: &str, value: String, allowed: &str| {
            Err(ProfileError::Value {
                file: file.to_owned(),
                key: key.to_owned(),
                value,
                allowed: allowed.to_owned(),
            })
        };
        if self.payload.commands.is_empty() {
            return bad("payload.commands", "empty".into(), "at least one entry");
        }
        if let Some(entry) = self.payload.commands.iter().find(|c| c.command.is_empty()) {
            let value = format!("empty for `{}`", entry.transformation);
            return bad("payload.commands.command", value, "at least one word");
        }
        let has_image = |words: &[Template]| words.iter().any(|word| word.mentions("image"));
        if !self.payload.container.is_empty() && !has_image(&self.payload.container) {
            let value = "without `{image}`".into();
            return bad(
                "payload.container",
                value,
                "words with `{image}` among them",
            );
        }
        for (key, period) in self.limits.periods() {
            if period < PERIOD_MIN {
                return bad(key, format!("`{period:?}`"), "at least `10ms`");
            }
        }
        Ok(())
    }
}

/// Returns what stands behind the last slash, without a URL's query.
#[must_use]
pub fn last_part(transformation: &str) -> &str {
    let path = transformation.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{error::Error, time::Duration};

    use ailurus_model::ByteCount;

    use super::*;

    const SMALL: &str = r#"
        name = "small"
        description = "For tests."
        [payload]
        [[payload.commands]]
        transformation = "*"
        command = ["./{script}", "{arguments}"]
    "#;

    fn whole_text(error: &ProfileError) -> String {
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    }

    #[test]
    fn a_profile_that_says_nothing_hides_credentials() {
        let profile = Profile::from_toml("small.toml", SMALL).expect("valid");
        let hides = |name: &str| {
            let mut patterns = profile.payload.hidden_variables.iter();
            patterns.any(|pattern| pattern.matches(name))
        };
        assert!(hides("PANDA_AUTH_TOKEN") && hides("AWS_SECRET_ACCESS_KEY"));
        assert!(!hides("PATH") && !hides("X509_USER_PROXY"));
    }

    #[test]
    fn the_built_in_profiles_are_valid_and_bear_their_names() {
        for (name, _) in BUILT_IN {
            assert_eq!(Profile::built_in(name).expect("valid").name, name);
        }
        assert_eq!(Profile::built_in("SPD").expect("any case").name, "spd");
    }

    #[test]
    fn an_unknown_name_lists_the_built_in_ones() {
        let error = Profile::built_in("atlas")
            .expect_err("not built in")
            .to_string();
        assert!(error.contains("`generic`, `spd`"), "{error}");
    }

    #[test]
    fn limits_left_out_are_those_of_pilot_3() {
        let limits = Profile::from_toml("small", SMALL).expect("valid").limits;
        assert_eq!(limits.heartbeat, Duration::from_secs(1800));
        assert_eq!(limits.looping, Duration::from_secs(7200));
        assert_eq!(limits.stdout, ByteCount::from_gib(2));
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_key_and_allowed_keys() {
        let text = format!("{SMALL}\n[limits]\nheartbaet = \"1m\"\n");
        let error = whole_text(&Profile::from_toml("x.toml", &text).expect_err("misspelt"));
        for part in ["`x.toml`", "heartbaet", "`heartbeat`"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_bad_value_is_refused_with_the_value() {
        let text = format!("{SMALL}\n[limits]\nheartbeat = \"soon\"\n");
        let error = whole_text(&Profile::from_toml("x.toml", &text).expect_err("no duration"));
        assert!(error.contains("`soon` is not a duration"), "{error}");
    }

    #[test]
    fn a_period_of_zero_is_refused() {
        let text = format!("{SMALL}\n[limits]\nsample = \"0s\"\n");
        let error = Profile::from_toml("x.toml", &text)
            .expect_err("zero")
            .to_string();
        assert_eq!(
            error,
            "profile `x.toml`: `limits.sample` is `0ns`, but must be at least `10ms`"
        );
    }

    #[test]
    fn the_last_part_of_a_transformation_is_its_name() {
        assert_eq!(last_part("https://x/trf/run.sh?v=1"), "run.sh");
        assert_eq!(last_part("run.sh"), "run.sh");
        assert_eq!(last_part("https://x/"), "");
    }
}
