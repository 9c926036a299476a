//! Which files are checked for their format, and what a bad one means.
//!
//! The profile says what; know-how looks at bytes; an adapter brings both together. Here is decided
//! what follows from a verdict.
//!
//! A bad input is not the payload's fault: another replica may be sound, unless the catalogue's own
//! checksum has shown that this is the file as it was registered. A bad output is the payload's.

use ailurus_experiment::{CheckTime, FormatProfile, HookProfile, Profile};
use ailurus_format::{Depth, Format};
use ailurus_model::{Blame, ErrorCode, Lfn};
use serde::{Deserialize, Serialize};

use super::{
    ToolName,
    course::{Failure, FailureKind},
};
use crate::Problem;

/// How one file is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatCheck {
    /// The format's name, one of [`Format::names`]; empty if only the command judges.
    pub format: String,
    /// How much of it is looked at, one of [`Depth::ALL`].
    pub depth: String,
    /// A program that judges besides, if any.
    pub command: Option<HookProfile>,
}

impl FormatCheck {
    /// Returns the format and how much of it is looked at; none if only the command judges.
    #[must_use]
    pub fn built_in(&self) -> Option<(Format, Depth)> {
        let format = Format::from_name(&self.format)?;
        Some((format, Depth::from_name(&self.depth).unwrap_or_default()))
    }
}

/// Returns how a file is checked at that time; none if it is not. The first entry whose pattern fits
/// counts.
#[must_use]
pub fn check_of(profile: &Profile, lfn: &Lfn, time: CheckTime) -> Option<FormatCheck> {
    let fits = |entry: &&FormatProfile| entry.pattern.matches(lfn.as_str());
    let entry = profile.formats.iter().find(fits)?;
    entry.when.contains(&time).then(|| FormatCheck {
        format: entry.format.clone(),
        depth: entry.depth.clone(),
        command: entry.command.clone(),
    })
}

/// A profile names something that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is `{name}`: there are {known}")]
pub struct UnknownName {
    /// The profile's key.
    pub key: &'static str,
    /// The name.
    pub name: String,
    /// What there is, joined by commas.
    pub known: String,
}

/// Says whether the names in a profile are those of formats and copy tools.
///
/// # Errors
///
/// The first name that nobody knows.
pub fn check_names(profile: &Profile) -> Result<(), UnknownName> {
    let unknown = |key, name: &str, known| {
        Err(UnknownName {
            key,
            name: name.to_owned(),
            known,
        })
    };
    for entry in &profile.formats {
        let name = &entry.format;
        if !name.is_empty() && Format::from_name(name).is_none() {
            return unknown("formats.format", name, quoted(Format::names()));
        }
        if Depth::from_name(&entry.depth).is_none() {
            let known = quoted(Depth::ALL.into_iter().map(Depth::name));
            return unknown("formats.depth", &entry.depth, known);
        }
    }
    for name in &profile.data.copy_tools {
        if name.parse::<ToolName>().is_err() {
            let known = quoted(ToolName::all().map(ToolName::as_str));
            return unknown("data.copy_tools", name, known);
        }
    }
    Ok(())
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether the catalogue's checksum agreed before a file was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It did: every replica has the same bytes.
    ByChecksum,
    /// There was none to compare with.
    No,
}

/// Returns what a bad verdict on an input means for its course: another replica, or none.
#[must_use]
pub fn bad_input(lfn: &Lfn, said: &str, verified: Verified) -> Failure {
    let (kind, why) = match verified {
        Verified::ByChecksum => (
            FailureKind::BadAtOrigin,
            ", and its checksum is the registered one: it was bad when it was stored",
        ),
        Verified::No => (FailureKind::Mismatch, ""),
    };
    let detail = format!("input `{lfn}` is not sound: {said}{why}");
    Failure {
        kind,
        problem: Problem::new(ErrorCode::StageInFailed, detail),
        kept: ailurus_model::ByteCount::ZERO,
    }
}

/// Returns what a bad verdict on an output means: it is not stored, and the job fails. The fault is
/// the payload's ([`BAD_OUTPUT_BLAME`]).
#[must_use]
pub fn bad_output(lfn: &Lfn, said: &str) -> Problem {
    let detail = format!("output `{lfn}` is not sound: {said}");
    Problem::new(ErrorCode::UnknownPayloadFailure, detail)
}

/// Who can do something about a bad output.
pub const BAD_OUTPUT_BLAME: Blame = Blame::Payload;

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(formats: &str) -> Profile {
        let text = format!(
            "name = \"t\"\ndescription = \"t\"\n[payload]\n[[payload.commands]]\n\
             transformation = \"*\"\ncommand = [\"x\"]\n{formats}"
        );
        Profile::from_toml("t", &text).expect("valid")
    }

    const ROOT: &str = "[[formats]]\npattern = \"raw*.root\"\nformat = \"root\"\n\
        depth = \"baskets\"\nwhen = [\"input\"]\n[[formats]]\npattern = \"*.root\"\nformat = \"root\"\n";

    #[test]
    fn the_first_entry_that_fits_a_name_says_when_and_how() {
        let profile = profile(ROOT);
        let check = |name: &str, time| check_of(&profile, &Lfn::new(name), time);
        let raw = check("raw1.root", CheckTime::Input).expect("checked");
        assert_eq!(raw.built_in(), Some((Format::Root, Depth::Baskets)));
        assert_eq!(check("raw1.root", CheckTime::Output), None);
        let other = check("a.root", CheckTime::Output).expect("checked");
        assert_eq!(other.built_in(), Some((Format::Root, Depth::Structure)));
        assert_eq!(check("a.txt", CheckTime::Input), None);
    }

    #[test]
    fn names_that_nobody_knows_are_refused_with_what_there_is() {
        assert_eq!(check_names(&profile(ROOT)), Ok(()));
        for (text, part) in [
            (
                ROOT.replace("\"root\"", "\"roott\""),
                "`roott`: there are `root`",
            ),
            (
                ROOT.replace("baskets", "all"),
                "`all`: there are `structure`",
            ),
            (
                "[data]\ncopy_tools = [\"cp\"]\n".into(),
                "`data.copy_tools` is `cp`: there are `rucio`",
            ),
        ] {
            let error = check_names(&profile(&text)).expect_err(&text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn every_built_in_profile_names_what_there_is() {
        for name in [
            "generic", "spd", "rubin", "sphenix", "eic", "darkside", "ska",
        ] {
            let profile = Profile::built_in(name).expect("built in");
            assert_eq!(check_names(&profile), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_bad_input_means_another_replica_only_where_the_checksum_did_not_agree() {
        let lfn = Lfn::new("f.root");
        let failure = bad_input(&lfn, "truncated at byte 7", Verified::No);
        assert_eq!(failure.kind, FailureKind::Mismatch);
        let failure = bad_input(&lfn, "truncated at byte 7", Verified::ByChecksum);
        assert_eq!(failure.kind, FailureKind::BadAtOrigin);
        assert!(failure.problem.detail.contains("truncated at byte 7"));
        let problem = bad_output(&lfn, "0 events");
        assert_eq!(problem.code, ErrorCode::UnknownPayloadFailure);
    }
}
