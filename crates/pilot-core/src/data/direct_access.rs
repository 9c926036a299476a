//! Direct access: which inputs the payload reads from where they lie, and how it is told.
//!
//! | who | must say yes |
//! |---|---|
//! | job | an analysis job or `transferType` `direct`; words of its parameters overrule both |
//! | file | no storage token `local`; a name that is no archive, library or raw data |
//! | queue | `direct_access_lan` or `direct_access_wan`, for the distance of the replica |
//! | profile | the scheme of the replica |
//!
//! Source: Pilot 3, `pilot/info/jobdata.py`, `prepare_infiles`; `pilot/info/filespec.py`,
//! `is_directaccess`; `pilot/api/data.py`, `set_status_for_direct_access`.

use std::collections::BTreeMap;

use ailurus_experiment::DataProfile;
use ailurus_model::{InputFile, Job, Lfn, QueueOptions};

use super::{
    Domain,
    copy_tools::scheme_of,
    replicas::{Candidate, Ways},
    stage_in::{Access, RemoteInput, StageInFile},
};

/// The token of a file that must be copied to the node.
const TOKEN_LOCAL: &str = "local";
/// Parts of names, in lower case, of files that no payload can open remotely.
const NEVER_REMOTE: [&str; 3] = [".tar.gz", ".lib.tgz", ".raw."];
/// Begin of such a name.
const NEVER_REMOTE_BEGIN: &str = "raw.";
/// Parameters that demand direct access.
const WANTS_DIRECT: &str = "--accessmode=direct";
/// Parameters that forbid it, whatever else they say.
const WANTS_COPY: [&str; 2] = ["--accessmode=copy", "--useLocalIO"];
/// Part of the name of what a build job writes.
const LIBRARY_MARK: &str = ".lib.";

/// Says whether a job is a user's: its transformation is a URL.
///
/// Source: Pilot 3, `pilot/info/jobdata.py`, `is_analysis`.
#[must_use]
pub fn is_analysis(job: &Job) -> bool {
    let transformation = &job.transformation;
    ["http://", "https://"]
        .iter()
        .any(|scheme| transformation.starts_with(scheme))
}

/// Says whether a job makes a library for later ones.
fn is_build_job(job: &Job) -> bool {
    let mut names = job.outputs.iter().map(|output| output.lfn.as_str());
    names.any(|name| name.contains(LIBRARY_MARK) && !name.contains(".log."))
}

/// What a job says of reading remotely. Made once for all of its files: parameters may be long.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    job: &'a Job,
    /// Whether it is wanted for files whose token does not forbid it.
    by_job: bool,
    /// What the parameters demand or forbid, whatever else is said.
    by_parameters: Option<bool>,
}

impl<'a> Wish<'a> {
    /// Reads what a job says.
    #[must_use]
    pub fn of(job: &'a Job) -> Self {
        let has = |words: &str| job.parameters.contains(words);
        let by_parameters = if is_build_job(job) || WANTS_COPY.into_iter().any(has) {
            Some(false)
        } else {
            has(WANTS_DIRECT).then_some(true)
        };
        Self {
            job,
            by_job: is_analysis(job) || job.transfer_type == "direct",
            by_parameters,
        }
    }

    /// Says whether the payload is to read this file from where it lies, if a replica allows it.
    #[must_use]
    pub fn covers(&self, input: &InputFile) -> bool {
        let token = self.job.options.storage_tokens.get(&input.lfn);
        let is_local = token.is_some_and(|token| token == TOKEN_LOCAL);
        let is_wished = self.by_parameters.unwrap_or(self.by_job && !is_local);
        is_wished && may_be_remote(&input.lfn)
    }
}

/// Says whether a file of this name can be opened remotely.
fn may_be_remote(lfn: &Lfn) -> bool {
    let name = lfn.as_str().to_ascii_lowercase();
    !name.starts_with(NEVER_REMOTE_BEGIN) && !NEVER_REMOTE.iter().any(|it| name.contains(it))
}

/// Chooses the replica that the payload reads from: the first one with a scheme that it can open.
/// One from far away only where `ways` have nothing near to be copied.
pub(super) fn choose(
    candidates: &[Candidate],
    ways: &Ways,
    options: &QueueOptions,
    data: &DataProfile,
    xcache_proxy: Option<&str>,
) -> Access {
    let first = |domain, schemes: &[String]| {
        let can_open = |it: &&Candidate| schemes.iter().any(|scheme| scheme == scheme_of(&it.url));
        let mut of_domain = candidates.iter().filter(|it| it.domain == domain);
        of_domain.find(can_open)
    };
    let near = options
        .has_direct_lan
        .then(|| first(Domain::Lan, &data.direct_access_lan));
    let has_near = ways.tries.iter().any(|it| it.domain == Domain::Lan);
    let may_be_far = options.has_direct_wan && !has_near;
    let far = || may_be_far.then(|| first(Domain::Wan, &data.direct_access_wan));
    let Some(it) = near.flatten().or_else(|| far().flatten()) else {
        return Access::Copy;
    };
    let prefix = match it.domain {
        Domain::Lan => xcache_proxy.unwrap_or_default(),
        Domain::Wan => "",
    };
    Access::Remote(RemoteInput {
        url: format!("{prefix}{}", it.url),
        endpoint: it.endpoint.clone(),
        domain: it.domain,
    })
}

/// Returns the parameters of a job whose payload reads these files from where they lie: with the
/// profile's words for an analysis job, else with URLs in place of names.
///
/// Only whole names are replaced: `a.root` in `data.root` stays.
///
/// Source: Pilot 3, `pilot/user/atlas/common.py`, `get_analysis_run_command`;
/// `pilot/user/atlas/setup.py`, `replace_lfns_with_turls`.
#[must_use]
pub fn parameters(job: &Job, data: &DataProfile, files: &[StageInFile]) -> String {
    let remote: BTreeMap<&str, String> = files
        .iter()
        .filter_map(|file| match &file.access {
            Access::Remote(remote) => Some((file.lfn.as_str(), as_word(&remote.url))),
            Access::Copy | Access::None => None,
        })
        .collect();
    if remote.is_empty() || is_build_job(job) {
        return job.parameters.clone();
    }
    let words = &data.direct_access_arguments;
    if is_analysis(job) && !words.is_empty() {
        let missing = words.iter().filter(|word| !job.parameters.contains(*word));
        return missing.fold(job.parameters.clone(), |text, word| {
            format!("{text} {word}")
        });
    }
    replace_names(&job.parameters, &remote)
}

/// Returns a URL that stays one word where parameters are split into words.
fn as_word(url: &str) -> String {
    let mut word = String::with_capacity(url.len());
    for c in url.chars() {
        match c {
            ' ' => word.push_str("%20"),
            '"' => word.push_str("%22"),
            '\'' => word.push_str("%27"),
            '\\' => word.push_str("%5C"),
            c => word.push(c),
        }
    }
    word
}

/// Replaces whole names by URLs, in one pass over the text.
fn replace_names(text: &str, urls: &BTreeMap<&str, String>) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        replaced.push_str(urls.get(word).map_or(word, String::as_str));
        let next = behind.chars().next().map_or(0, char::len_utf8);
        let (between, behind) = behind.split_at(next);
        replaced.push_str(between);
        rest = behind;
    }
    replaced
}

/// Says whether a character may stand in the name of a file. A slash may not: a name behind one is
/// the end of a path, and stays.
fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '~' | '#' | '%' | '/' | '@')
}

#[cfg(test)]
mod tests {
    use ailurus_experiment::Profile;
    use proptest::prelude::*;

    use super::*;
    use crate::control::testing::{input_file, job, output_file};

    fn production() -> Job {
        let mut job = job(1);
        job.transformation = "Reco_tf.py".into();
        job
    }

    #[test]
    fn analysis_and_direct_jobs_want_it_unless_the_file_or_the_parameters_forbid() {
        let input = input_file("AOD.1.root");
        assert!(is_wanted(&job(1), &input) && !is_wanted(&production(), &input));
        let with = |change: fn(&mut Job)| {
            let mut job = production();
            job.transfer_type = "direct".into();
            change(&mut job);
            is_wanted(&job, &input)
        };
        assert!(with(|_| {}));
        let token = |job: &mut Job| {
            let token = (Lfn::new("AOD.1.root"), "local".to_owned());
            job.options.storage_tokens.extend([token]);
        };
        assert!(!with(token));
        assert!(!with(
            |job| job.parameters = "x --useLocalIO --accessmode=direct".into()
        ));
        assert!(with(|job| {
            job.transfer_type.clear();
            job.parameters = "--accessmode=direct".into();
        }));
        assert!(!with(|job| job.outputs = vec![output_file("u.lib.tgz")]));
    }

    #[test]
    fn archives_libraries_and_raw_data_are_never_read_remotely() {
        for name in ["a.TAR.gz", "u.0.lib.tgz", "data.RAW.1", "raw.1.root"] {
            assert!(!is_wanted(&job(1), &input_file(name)), "{name}");
        }
        assert!(is_wanted(&job(1), &input_file("draw.root")));
    }

    fn remote(lfn: &str, url: &str) -> StageInFile {
        let remote = RemoteInput {
            url: url.into(),
            endpoint: ailurus_model::EndpointName::new("EP"),
            domain: Domain::Lan,
        };
        StageInFile::new(&input_file(lfn), Access::Remote(remote))
    }

    #[test]
    fn whole_names_become_urls_and_parts_of_names_stay() {
        let mut job = production();
        job.parameters = "--in=a.root,'b.root' aa.root a.root.idx data/a.root (\"a.root\")".into();
        let files = [
            remote("a.root", "root://h//x/a.root"),
            remote("b.root", "https://h/b?s='1 2'"),
        ];
        let data = DataProfile::default();
        assert_eq!(
            parameters(&job, &data, &files),
            "--in=root://h//x/a.root,'https://h/b?s=%271%202%27' aa.root a.root.idx data/a.root \
             (\"root://h//x/a.root\")"
        );
        assert_eq!(parameters(&job, &data, &[]), job.parameters);
    }

    #[test]
    fn the_profiles_words_are_added_to_an_analysis_job_once() {
        let profile = Profile::built_in("generic").expect("built in");
        let mut data = profile.data;
        data.direct_access_arguments = vec!["--usePFCTurl".into(), "--directIn".into()];
        let mut job = job(1);
        job.parameters = "-i a.root --directIn".into();
        let files = [remote("a.root", "root://h//a.root")];
        let text = parameters(&job, &data, &files);
        assert_eq!(text, "-i a.root --directIn --usePFCTurl");
    }

    fn is_wanted(job: &Job, input: &InputFile) -> bool {
        Wish::of(job).covers(input)
    }

    proptest! {
        #[test]
        fn text_without_the_name_stays_as_it_is(text in "[ -~äß]{0,60}") {
            let mut job = production();
            job.parameters = text.clone();
            let files = [remote("Ω.root", "root://h//f")];
            prop_assert_eq!(parameters(&job, &DataProfile::default(), &files), text);
        }
    }
}
