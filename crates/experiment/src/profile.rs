//! The profile of an experiment: one TOML file, read once and checked whole.

use std::collections::BTreeMap;

use ailurus_model::PandaId;
use serde::{Deserialize, Serialize};

use crate::{
    ContainerProfile, DataProfile, FormatProfile, HookPoint, HookProfile, Limits, NamePattern,
    Template, container::NO_CONTAINER,
};

/// Profiles that are part of the program, by name.
const BUILT_IN: [(&str, &str); 7] = [
    ("generic", include_str!("../../../profiles/generic.toml")),
    ("spd", include_str!("../../../profiles/spd.toml")),
    ("rubin", include_str!("../../../profiles/rubin.toml")),
    ("sphenix", include_str!("../../../profiles/sphenix.toml")),
    ("eic", include_str!("../../../profiles/eic.toml")),
    ("darkside", include_str!("../../../profiles/darkside.toml")),
    ("ska", include_str!("../../../profiles/ska.toml")),
];

/// Container programs that every profile knows.
const CONTAINERS: &str = include_str!("../../../profiles/containers.toml");

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
    /// Container programs by name, over those of `profiles/containers.toml`. Default: only those.
    #[serde(default)]
    pub containers: BTreeMap<String, ContainerProfile>,
    /// Executables for what a file cannot say, by when they run. Default: none.
    #[serde(default)]
    pub hooks: BTreeMap<HookPoint, HookProfile>,
    /// How a job's outputs are understood.
    #[serde(default)]
    pub outputs: OutputProfile,
    /// How inputs and outputs are moved.
    #[serde(default)]
    pub data: DataProfile,
    /// Which files are checked, and how. Default: none is.
    #[serde(default)]
    pub formats: Vec<FormatProfile>,
    /// Where the payload's output is shown while it runs.
    #[serde(default)]
    pub log_stream: LogStreamProfile,
    /// What the server is told besides.
    #[serde(default)]
    pub reporting: ReportingProfile,
    /// What must be on the node before a job is asked for.
    #[serde(default)]
    pub software: SoftwareProfile,
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
    /// Words before everything else, for example `["srun", "-n", "1"]`. Default: none.
    #[serde(default)]
    pub launcher: Vec<Template>,
    /// The container program for jobs with an image, if the queue names none: a name in
    /// `[containers]`, or `none` if images are of no concern to the pilot. Default `apptainer`.
    #[serde(default = "default_container")]
    pub container: String,
    /// Whether `container` is used whatever the queue names. Default: no.
    #[serde(default)]
    pub container_is_fixed: bool,
    /// Images by the platform (`cmtConfig`) or short name that stands for them. Default: none.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// Whether the container program takes every platform for an image. Default: no, and a
    /// platform that is no image and not in `images` runs without a container.
    #[serde(default)]
    pub platforms_are_images: bool,
    /// How a command is made from transformation and parameters: the first entry whose pattern
    /// matches is taken. At least one.
    pub commands: Vec<CommandProfile>,
    /// Where scripts may be fetched, besides the PanDA server. Default: none.
    #[serde(default)]
    pub script_urls: Vec<String>,
}

fn default_container() -> String {
    "apptainer".to_owned()
}

/// Whether a crash may leave a core file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CoreDumpPolicy {
    /// As large as `limits.core_file`, which may be zero.
    #[default]
    Limited,
    /// As large as the node allows: the job is in debug mode.
    Allowed,
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
    /// Who starts the job's container. Default: the pilot.
    #[serde(default)]
    pub container: CommandContainer,
}

/// Who starts the container of a job that names an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandContainer {
    /// The pilot.
    #[default]
    ByPilot,
    /// The command itself, as `runcontainer` does; it gets the image as `{image}`.
    ByCommand,
}

impl CommandProfile {
    /// Says whether the command needs the transformation as a file in the job's directory.
    #[must_use]
    pub fn needs_script(&self) -> bool {
        self.command.iter().any(|word| word.mentions("script"))
    }
}

/// How a job's outputs are understood.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputProfile {
    /// An output whose name begins with this is a regular expression: it stands for all files in
    /// the job's directory whose names have a match. Default: no output is.
    pub pattern_prefix: String,
}

/// Where the payload's output is shown while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogStreamProfile {
    /// `type;protocol://host:port`, as in `catchall`; used where neither option nor queue says.
    /// Default: none.
    pub destination: String,
}

/// What the server is told besides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportingProfile {
    /// The number behind this text in the pilot's id is replaced by that of the job, so that each
    /// job of a pilot has an id of its own. Default: none is.
    pub job_mark: String,
}

impl ReportingProfile {
    /// Returns the pilot's id as it is reported for a job.
    #[must_use]
    pub fn pilot_id(&self, pilot_id: &str, panda_id: PandaId) -> String {
        let mark = &self.job_mark;
        match pilot_id.split_once(mark.as_str()) {
            Some((before, after)) if !mark.is_empty() => {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{before}{mark}{panda_id}{rest}")
            }
            Some(_) | None => pilot_id.to_owned(),
        }
    }
}

/// What must be on the node before a job is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoftwareProfile {
    /// Directories that must be there and not empty. Those below `/cvmfs` count only for queues whose
    /// data say that they have CVMFS. Default: none.
    pub locations: Vec<String>,
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
        let mut profile: Self = read(file, text)?;
        for (name, container) in read::<Containers>("containers", CONTAINERS)?.containers {
            profile.containers.entry(name).or_insert(container);
        }
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

    /// Finds a container program by the name that queue data or profile give it.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerProfile> {
        let by_program = || self.containers.values().find(|it| it.is_called(name));
        self.containers.get(name).or_else(by_program)
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
        let container = &self.payload.container;
        if container != NO_CONTAINER && self.container(container).is_none() {
            let value = format!("`{container}`");
            return bad(
                "payload.container",
                value,
                "`none` or a name in `[containers]`",
            );
        }
        for (name, container) in &self.containers {
            if let Some((key, allowed)) = container.fault() {
                let value = "another".into();
                return bad(&format!("containers.{name}.{key}"), value, allowed);
            }
        }
        if let Some((point, _)) = self.hooks.iter().find(|(_, it)| it.command.is_empty()) {
            return bad(
                &format!("hooks.{point}.command"),
                "empty".into(),
                "at least one word",
            );
        }
        if self.data.copy_tools.is_empty() {
            return bad("data.copy_tools", "empty".into(), "at least one name");
        }
        if let Some((key, value, allowed)) = self.data.flow_marker.and_then(|it| it.fault()) {
            let key = format!("data.flow_marker.{key}");
            return bad(&key, format!("`{value}`"), allowed);
        }
        let mut faults = self.formats.iter().filter_map(|it| Some((it, it.fault()?)));
        if let Some((format, (key, allowed))) = faults.next() {
            let value = format!("missing for `{}`", format.pattern);
            return bad(&format!("formats.{key}"), value, allowed);
        }
        for (key, period) in self.limits.periods() {
            if period < PERIOD_MIN {
                return bad(key, format!("`{period:?}`"), "at least `10ms`");
            }
        }
        Ok(())
    }
}

/// The file of container programs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Containers {
    containers: BTreeMap<String, ContainerProfile>,
}

fn read<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, ProfileError> {
    toml::from_str(text).map_err(|source| ProfileError::Text {
        file: file.to_owned(),
        source: Box::new(source),
    })
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

    use crate::CheckTime;

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
        assert!(error.contains("`generic`, `spd`, `rubin`"), "{error}");
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
    fn a_container_program_that_nobody_knows_is_refused() {
        let text = SMALL.replace("[payload]\n", "[payload]\ncontainer = \"shifter\"\n");
        let error = Profile::from_toml("x.toml", &text)
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("`payload.container` is `shifter`"),
            "{error}"
        );
    }

    #[test]
    fn a_profile_that_says_nothing_of_data_moves_them_as_pilot_3() {
        let profile = Profile::from_toml("small", SMALL).expect("valid");
        assert_eq!(profile.data, DataProfile::default());
        assert_eq!(profile.data.copy_tools, ["rucio"]);
        assert!(profile.formats.is_empty());
    }

    #[test]
    fn formats_are_read_with_their_defaults_and_refused_with_the_key() {
        let read =
            |entry: &str| Profile::from_toml("x.toml", &format!("{SMALL}\n[[formats]]\n{entry}\n"));
        let profile = read("pattern = \"*.root\"\nformat = \"root\"").expect("valid");
        let entry = &profile.formats[0];
        assert_eq!(entry.depth, "structure");
        assert_eq!(entry.when, [CheckTime::Input, CheckTime::Output]);
        for (entry, key) in [
            ("pattern = \"*\"", "`formats.format`"),
            (
                "pattern = \"*\"\nformat = \"root\"\nwhen = []",
                "`formats.when`",
            ),
            (
                "pattern = \"*\"\ncommand = { command = [] }",
                "`formats.command.command`",
            ),
            ("pattern = \"*\"\nformats = \"root\"", "`format`"),
        ] {
            let error = whole_text(&read(entry).expect_err(entry));
            assert!(error.contains(key), "{entry}: {error}");
        }
        let none = format!("{SMALL}\n[data]\ncopy_tools = []\n");
        let error = Profile::from_toml("x.toml", &none).expect_err("none");
        assert!(error.to_string().contains("`data.copy_tools`"), "{error}");
    }

    #[test]
    fn a_profiles_own_container_program_stands_before_the_common_one() {
        let own = "[containers.podman]\nprograms = [\"crun\"]\narguments = [\"{image}\"]\n";
        let profile = Profile::from_toml("x.toml", &format!("{SMALL}\n{own}")).expect("valid");
        let programs = |name: &str| profile.container(name).map(|it| it.programs[0].clone());
        assert_eq!(programs("podman").as_deref(), Some("crun"));
        assert_eq!(programs("singularity").as_deref(), Some("apptainer"));
        assert_eq!(programs("shifter"), None);
    }

    #[test]
    fn the_number_behind_the_mark_becomes_that_of_the_job() {
        let rubin = Profile::built_in("rubin").expect("built in").reporting;
        let id = |text: &str| rubin.pilot_id(text, PandaId::new(42));
        assert_eq!(
            id("https://x/PandaJob_0/log|SLURM|PR|1"),
            "https://x/PandaJob_42/log|SLURM|PR|1"
        );
        assert_eq!(id("https://x/log|SLURM"), "https://x/log|SLURM");
        let generic = Profile::built_in("generic").expect("built in").reporting;
        assert_eq!(
            generic.pilot_id("PandaJob_7", PandaId::new(42)),
            "PandaJob_7"
        );
    }

    #[test]
    fn the_last_part_of_a_transformation_is_its_name() {
        assert_eq!(last_part("https://x/trf/run.sh?v=1"), "run.sh");
        assert_eq!(last_part("run.sh"), "run.sh");
        assert_eq!(last_part("https://x/"), "");
    }
}
