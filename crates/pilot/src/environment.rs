//! The pilot's environment: the variables that wrapper, Harvester and batch system set.
//!
//! Read once, here and nowhere else.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ailurus_http::{BearerToken, ProxyConfig};
use ailurus_model::{ByteCount, HarvesterId, Lfn, NodeName, WorkerId};
use ailurus_node::{BatchIdentity, batch_of, condor_job_id};

use crate::{node_view::NodeSettings, server::JobOverrides};

/// Variables by which batch systems tell when the slot ends.
const SLOT_VARIABLES: [&str; 2] = ["SLURM_JOB_END_TIME", "PBS_WALLTIME"];
/// Largest job ad that is read, in bytes.
const JOB_AD_MAX: u64 = 1 << 20;
/// Where grid tools put a user's proxy; the user's number follows.
const PROXY_PREFIX: &str = "/tmp/x509up_u";

/// The variables as they were at the start. Values that are no text are left out.
#[derive(Debug, Clone)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(crate) fn read() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// Makes an environment of these variables.
    #[cfg(test)]
    pub(crate) fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(variables.into_iter().map(owned).collect())
    }

    /// Returns a variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    pub(crate) fn harvester_id(&self) -> Option<HarvesterId> {
        self.get("HARVESTER_ID").map(HarvesterId::new)
    }

    pub(crate) fn worker_id(&self) -> Option<WorkerId> {
        self.get("HARVESTER_WORKER_ID")?.parse().ok()
    }

    /// Returns the node's name as Pilot 3 tells it: with the slot, where there are slots.
    pub(crate) fn node_name(&self, host_name: &NodeName) -> NodeName {
        let host = self.get("PANDA_HOSTNAME").unwrap_or(host_name.as_str());
        match self.get("_CONDOR_SLOT") {
            Some(slot) => NodeName::new(format!("{slot}@{host}")),
            None => NodeName::new(host),
        }
    }

    /// Returns what is said of node and slot.
    pub(crate) fn node_settings(&self) -> NodeSettings {
        let text = |name: &str| self.get(name).unwrap_or_default().to_owned();
        let variables = SLOT_VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.get(name)?.to_owned())));
        NodeSettings {
            machine_features: text("MACHINEFEATURES"),
            job_features: text("JOBFEATURES"),
            path: text("PATH"),
            storage_limit: self.storage_limit(),
            batch: self.batch(),
            variables: variables.collect(),
            job_ad: self.get("_CONDOR_JOB_AD").map(PathBuf::from),
            machine_ad: self.get("_CONDOR_MACHINE_AD").map(PathBuf::from),
        }
    }

    /// Returns the space that a pod may take. Pods that have it say what they asked for, too.
    ///
    /// Source: Pilot 3, `pilot/util/workernode.py`, `get_local_disk_space`.
    fn storage_limit(&self) -> Option<ByteCount> {
        self.get("storageRequestMiB")?;
        let mib: u64 = self.get("storageLimitMiB")?.parse().ok()?;
        Some(ByteCount::from_mib(mib))
    }

    pub(crate) fn batch(&self) -> Option<BatchIdentity> {
        batch_of(&self.0).or_else(|| {
            let path = Path::new(self.get("_CONDOR_JOB_AD")?);
            let length = std::fs::metadata(path).ok()?.len();
            (length <= JOB_AD_MAX)
                .then(|| std::fs::read_to_string(path).ok())
                .flatten()
                .and_then(|text| condor_job_id(&text))
        })
    }

    /// Tells whence and where a pilot of a glidein factory runs, if its machine ad says both.
    ///
    /// Source: Pilot 3, `pilot/util/condor.py`, `get_globaljobid` and its callers.
    pub(crate) fn grid_sites(&self) -> Option<(String, String)> {
        let path = Path::new(self.get("_CONDOR_MACHINE_AD")?);
        let length = std::fs::metadata(path).ok()?.len();
        let text = (length <= JOB_AD_MAX)
            .then(|| std::fs::read_to_string(path).ok())
            .flatten()?;
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim().trim_matches('"').to_owned())
        };
        Some((value("RemoteScheddName")?, value("GLIDEIN_Site")?))
    }

    /// Finds the bearer token, if both its file and its origin are named.
    ///
    /// Source: Pilot 3, `pilot/util/https.py`, `get_local_oidc_token_info`.
    pub(crate) fn token(&self) -> Option<BearerToken> {
        let name = self.first(&["OIDC_AUTH_TOKEN", "PANDA_AUTH_TOKEN"])?;
        let origin = self.first(&["OIDC_AUTH_ORIGIN", "PANDA_AUTH_ORIGIN"])?;
        let refreshed = self.get("OIDC_REFRESHED_AUTH_TOKEN").map(PathBuf::from);
        Some(BearerToken {
            file: refreshed
                .filter(|path| path.is_file())
                .map_or_else(|| self.locate(name), absolute),
            origin: origin.to_owned(),
        })
    }

    /// Finds the key by which the server knows the token, if one is named.
    pub(crate) fn token_key(&self) -> Option<PathBuf> {
        Some(self.locate(self.get("PANDA_AUTH_TOKEN_KEY")?))
    }

    /// Finds a token or key by its name or path: in Pilot 3 the order of these places is chance.
    ///
    /// Source: Pilot 3, `pilot/util/https.py`, `locate_token`.
    fn locate(&self, name: &str) -> PathBuf {
        let beside = self.first(&["OIDC_AUTH_DIR", "PANDA_AUTH_DIR", "X509_USER_PROXY"]);
        let directories = [
            beside.and_then(|path| Path::new(path).parent()),
            self.get("PILOT_SOURCE_DIR").map(Path::new),
            self.get("PILOT_WORK_DIR").map(Path::new),
            self.get("HOME").map(Path::new),
        ];
        let found = [PathBuf::from(name)]
            .into_iter()
            .chain(
                directories
                    .into_iter()
                    .flatten()
                    .map(|directory| directory.join(name)),
            )
            .find(|path| path.is_file());
        absolute(found.unwrap_or_else(|| PathBuf::from(name)))
    }

    /// Finds the client's certificate: the first of these that exists.
    ///
    /// Source: Pilot 3, `pilot/util/https.py`, `cacert`.
    pub(crate) fn certificate(&self, given: Option<&Path>) -> Option<PathBuf> {
        let variable = self.get("X509_USER_PROXY").map(Path::new);
        let uid = rustix::process::getuid().as_raw();
        let usual = PathBuf::from(format!("{PROXY_PREFIX}{uid}"));
        [given, variable, Some(usual.as_path())]
            .into_iter()
            .flatten()
            .find(|path| path.is_file())
            .map(|path| absolute(path.to_owned()))
    }

    /// What every job is to be told, whatever its definition says.
    pub(crate) fn job_overrides(&self) -> JobOverrides {
        JobOverrides {
            core_count: self
                .get("ATHENA_PROC_NUMBER")
                .and_then(|text| text.trim().parse().ok()),
            log_name: self.get("PILOT_LOGFILE").map(Lfn::new),
        }
    }

    /// Returns the HTTP proxy for a URL's scheme, if one is set.
    pub(crate) fn proxy(&self, is_https: bool) -> Option<ProxyConfig> {
        let names: &[&str] = if is_https {
            &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        } else {
            &["http_proxy", "all_proxy", "ALL_PROXY"]
        };
        let except = self.first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Some(ProxyConfig {
            url: self.first(names)?.to_owned(),
            except: except
                .split(',')
                .map(|host| host.trim().to_owned())
                .collect(),
        })
    }
}

/// The pilot goes to a directory of its own before such a file is read.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().copied())
    }

    #[test]
    fn the_node_is_named_by_host_and_slot() {
        let host = NodeName::new("wn1");
        assert_eq!(environment(&[]).node_name(&host).as_str(), "wn1");
        let named = environment(&[("PANDA_HOSTNAME", "x"), ("_CONDOR_SLOT", "slot1_2")]);
        assert_eq!(named.node_name(&host).as_str(), "slot1_2@x");
    }

    #[test]
    fn a_token_needs_a_file_and_an_origin_and_is_found_beside_its_directory() {
        let place = tempfile::tempdir().expect("space");
        std::fs::write(place.path().join("token"), "t").expect("space");
        let directory = place.path().join("x");
        let directory = directory.to_str().expect("text");
        assert!(
            environment(&[("PANDA_AUTH_TOKEN", "token")])
                .token()
                .is_none()
        );
        let token = environment(&[
            ("PANDA_AUTH_TOKEN", "token"),
            ("PANDA_AUTH_ORIGIN", "spd.pilot"),
            ("PANDA_AUTH_DIR", directory),
        ]);
        assert_eq!(
            token.token().expect("found").file,
            place.path().join("token")
        );
    }

    #[test]
    fn empty_variables_are_not_set() {
        assert_eq!(environment(&[("HARVESTER_ID", "")]).harvester_id(), None);
        assert_eq!(
            environment(&[("HARVESTER_WORKER_ID", "x")]).worker_id(),
            None
        );
    }

    #[test]
    fn a_key_is_found_like_a_token_and_the_first_certificate_that_exists_counts() {
        let place = tempfile::tempdir().expect("space");
        let file = |name: &str| place.path().join(name);
        for name in ["key", "proxy"] {
            std::fs::write(file(name), "x").expect("space");
        }
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        let environment = environment(&[
            ("PANDA_AUTH_TOKEN_KEY", "key"),
            ("X509_USER_PROXY", &text(file("proxy"))),
        ]);
        assert_eq!(environment.token_key(), Some(file("key")));
        let missing = file("missing");
        assert_eq!(environment.certificate(Some(&missing)), Some(file("proxy")));
        let given = file("key");
        assert_eq!(environment.certificate(Some(&given)), Some(given));
    }

    #[test]
    fn the_machine_ad_of_a_glidein_tells_both_sites_or_none() {
        let place = tempfile::tempdir().expect("space");
        let path = place.path().join("ad");
        let sites = |text: &str| {
            std::fs::write(&path, text).expect("space");
            environment(&[("_CONDOR_MACHINE_AD", path.to_str().expect("text"))]).grid_sites()
        };
        let both = "GLIDEIN_Site = \"JINR\"\nRemoteScheddName=\"ap1\"\n";
        assert_eq!(sites(both), Some(("ap1".into(), "JINR".into())));
        assert_eq!(sites("GLIDEIN_Site = \"JINR\"\n"), None);
    }

    #[test]
    fn cores_and_log_name_of_every_job_may_be_overruled() {
        let overrides = environment(&[("ATHENA_PROC_NUMBER", "8"), ("PILOT_LOGFILE", "l.tgz")]);
        let overrides = overrides.job_overrides();
        assert_eq!(overrides.core_count, Some(8));
        assert_eq!(overrides.log_name, Some(Lfn::new("l.tgz")));
        let nothing = environment(&[("ATHENA_PROC_NUMBER", "many")]).job_overrides();
        assert_eq!((nothing.core_count, nothing.log_name), (None, None));
    }
}
