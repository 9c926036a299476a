//! Pilot 3's configuration file, which `HARVESTER_PILOT_CONFIG` names: what of it means something
//! here. Everything else in it is passed over.
//!
//! What the command line says comes first, then this file, then the profile.
//!
//! Source: Pilot 3, `pilot/util/config.py` and `pilot/util/default.cfg`; sizes as in
//! `pilot/util/auxiliary.py`, `human2bytes`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use ailurus_experiment::Limits;
use ailurus_model::ByteCount;

use crate::environment::Environment;

/// Largest file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// What stands for the directory of CVMFS in paths.
const CVMFS_MARK: &str = "CVMFS_PATH";

/// The configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigFileError {
    /// It cannot be read.
    #[error("`{}`, which `HARVESTER_PILOT_CONFIG` names, cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A value names a variable that is not set.
    #[error("`{key}` of the configuration file is `{value}`: set that variable")]
    Variable { key: String, value: String },
    /// A value is none of its kind.
    #[error("`{key}` of the configuration file is `{value}`: it must be {allowed}")]
    Value {
        key: String,
        value: String,
        allowed: &'static str,
    },
}

/// Values by section and key, keys in lower case.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigFile(BTreeMap<(String, String), String>);

impl ConfigFile {
    /// Reads the file that the environment names; a missing one counts as none, as in Pilot 3.
    pub(crate) fn read(environment: &Environment) -> Result<Self, ConfigFileError> {
        let Some(path) = environment.get("HARVESTER_PILOT_CONFIG").map(Path::new) else {
            return Ok(Self::default());
        };
        if !path.exists() {
            return Ok(Self::default());
        }
        let read = || -> io::Result<String> {
            if fs::metadata(path)?.len() > FILE_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            fs::read_to_string(path)
        };
        let text = read().map_err(|source| ConfigFileError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, |name| environment.get(name).map(str::to_owned))
    }

    /// Reads `[section]` and `key = value` or `key: value` lines.
    fn parse(
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigFileError> {
        let mut values = BTreeMap::new();
        for ((section, key), value) in ini_values(text) {
            let value = match value.strip_prefix('$') {
                None => value,
                Some(name) => {
                    let name = name.trim_start_matches('{').trim_end_matches('}');
                    variable(name).ok_or_else(|| ConfigFileError::Variable {
                        key: format!("{section}.{key}"),
                        value: value.clone(),
                    })?
                }
            };
            values.insert((section, key), value);
        }
        Ok(Self(values))
    }

    /// Returns a value that says something.
    pub(crate) fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.0
            .get(&(section.to_owned(), key.to_owned()))
            .map(String::as_str)
            .filter(|value| !value.is_empty() && !value.eq_ignore_ascii_case("none"))
    }

    /// Returns a path or URL, with the directory of CVMFS filled in.
    pub(crate) fn place(&self, key: &str, cvmfs: &str) -> Option<String> {
        let value = self.get("Information", key)?;
        Some(value.replace(CVMFS_MARK, cvmfs))
    }

    /// Returns a number of seconds from section `Pilot`.
    pub(crate) fn seconds(&self, key: &str) -> Result<Option<Duration>, ConfigFileError> {
        self.number("Pilot", key, "a whole number of seconds", |text| {
            text.parse().ok().map(Duration::from_secs)
        })
    }

    /// Puts what the file says about limits in the place of a profile's.
    pub(crate) fn apply(&self, limits: &mut Limits) -> Result<(), ConfigFileError> {
        let size = |key| self.number("Pilot", key, "a size such as `2 GB`", size_of);
        for (key, limit) in [
            ("heartbeat", &mut limits.heartbeat),
            ("lost_heartbeat", &mut limits.lost_heartbeat),
            ("looping_verification_time", &mut limits.looping_check),
            ("disk_space_verification_time", &mut limits.disk_check),
        ] {
            // No period may be zero.
            let given = self.seconds(key)?.filter(|period| !period.is_zero());
            *limit = given.unwrap_or(*limit);
        }
        let looping = [
            self.seconds("looping_limit_default")?,
            self.seconds("looping_limit_min_default")?,
        ];
        // Pilot 3 uses the larger one.
        limits.looping = looping
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(limits.looping);
        for (key, limit) in [
            ("free_space_limit", &mut limits.free_space_before),
            ("free_space_limit_running", &mut limits.free_space_during),
            ("maximum_output_file_size", &mut limits.output_file),
        ] {
            *limit = size(key)?.unwrap_or(*limit);
        }
        let stdout = self.number(
            "Pilot",
            "local_size_limit_stdout",
            "a number of kB",
            |text| text.parse().ok().map(ByteCount::from_kib),
        )?;
        limits.stdout = stdout.unwrap_or(limits.stdout);
        Ok(())
    }

    fn number<T>(
        &self,
        section: &str,
        key: &str,
        allowed: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigFileError> {
        let Some(value) = self.get(section, key) else {
            return Ok(None);
        };
        let parsed = parse(value).ok_or_else(|| ConfigFileError::Value {
            key: format!("{section}.{key}"),
            value: value.to_owned(),
            allowed,
        })?;
        Ok(Some(parsed))
    }
}

/// Reads `[section]` and `key = value` or `key: value` lines; keys come in lower case.
pub(super) fn ini_values(text: &str) -> impl Iterator<Item = ((String, String), String)> {
    let mut section = String::new();
    text.lines().map(str::trim).filter_map(move |line| {
        if line.is_empty() || line.starts_with(['#', ';']) {
            return None;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            section = name.trim().to_owned();
            return None;
        }
        let (key, value) = line.split_once(['=', ':'])?;
        let key = key.trim().to_ascii_lowercase();
        Some(((section.clone(), key), value.trim().to_owned()))
    })
}

/// Reads a number and a unit; all units are powers of 1024, whatever they are called.
fn size_of(text: &str) -> Option<ByteCount> {
    let digits = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = match number {
        "" => 1,
        number => number.parse().ok()?,
    };
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.chars().next() {
        None | Some('b') => 1,
        Some('k') => 1 << 10,
        Some('m') => 1 << 20,
        Some('g') => 1 << 30,
        Some('t') => 1 << 40,
        Some('p') => 1 << 50,
        Some(_) => return None,
    };
    number.checked_mul(factor).map(ByteCount::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
[Pilot]
pandaserver: https://panda.example.org:25443
HeartBeat = 60
lost_heartbeat: 0
looping_limit_default: 3600
looping_limit_min_default: 7200
free_space_limit: 5 GB
local_size_limit_stdout: 1024
pandajob: real
[Information]
queues_cvmfs: CVMFS_PATH/x/queues.json
storages_url = $STORAGES
queuedata_url: none
";

    fn parse(text: &str) -> Result<ConfigFile, ConfigFileError> {
        ConfigFile::parse(text, |name| {
            (name == "STORAGES").then(|| "https://s/d.json".to_owned())
        })
    }

    #[test]
    fn what_means_something_here_is_used() {
        let file = parse(TEXT).expect("a file");
        assert_eq!(
            file.get("Pilot", "pandaserver"),
            Some("https://panda.example.org:25443")
        );
        assert_eq!(
            file.place("queues_cvmfs", "/cvmfs").as_deref(),
            Some("/cvmfs/x/queues.json")
        );
        assert_eq!(
            file.place("storages_url", "").as_deref(),
            Some("https://s/d.json")
        );
        assert_eq!(file.place("queuedata_url", ""), None);
        let mut limits = Limits::default();
        file.apply(&mut limits).expect("limits");
        assert_eq!(limits.heartbeat, Duration::from_secs(60));
        assert_eq!(limits.lost_heartbeat, Limits::default().lost_heartbeat);
        assert_eq!(limits.looping, Duration::from_secs(7200));
        assert_eq!(limits.free_space_before, ByteCount::from_gib(5));
        assert_eq!(limits.stdout, ByteCount::from_mib(1));
    }

    #[test]
    fn what_makes_no_sense_names_its_key() {
        let error = parse("[Pilot]\nx: ${NOWHERE}").expect_err("no variable");
        assert_eq!(
            error.to_string(),
            "`Pilot.x` of the configuration file is `${NOWHERE}`: set that variable"
        );
        let file = parse("[Pilot]\nheartbeat: soon").expect("a file");
        let error = file.apply(&mut Limits::default()).expect_err("no number");
        assert!(error.to_string().contains("`Pilot.heartbeat`"), "{error}");
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let bytes = |text| size_of(text).map(ByteCount::as_bytes);
        assert_eq!(bytes("2 GB"), Some(2 << 30));
        assert_eq!(bytes("14336 MB"), Some(14_336 << 20));
        assert_eq!(bytes("7"), Some(7));
        assert_eq!(bytes("k"), Some(1024));
        assert_eq!(bytes("1 mib"), Some(1 << 20));
        assert_eq!(bytes("5 x"), None);
    }
}
