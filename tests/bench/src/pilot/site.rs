//! How pilots of the benches are started: over HTTPS, with certificate, token and Harvester.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use ailurus_testkit::{
    place::{self, Profile},
    stand_in::Door,
    tls::{Authority, ClientProof},
};
use anyhow::Context as _;

/// The bearer token of all pilots, and their role.
pub(super) const TOKEN: &str = "token-of-the-bench";
pub(super) const ORIGIN: &str = "bench.pilot";

/// What sites have: an authority and the credentials of their pilots.
pub(super) struct Site {
    authority: Authority,
    authorities: PathBuf,
    proxy: PathBuf,
    token: PathBuf,
}

/// Where a pilot gets what.
pub(super) struct Addresses {
    pub(super) server: String,
    pub(super) queue_data: String,
    pub(super) storage_data: String,
}

impl Site {
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let (proxy, token) = (folder.join("proxy.pem"), folder.join("token"));
        fs::create_dir_all(folder)?;
        fs::write(&proxy, authority.proxy("bench")?)?;
        fs::write(&token, TOKEN)?;
        Ok(Self {
            authorities: authority.write_directory(&folder.join("authorities"))?,
            authority,
            proxy,
            token,
        })
    }

    /// A door that only our pilots come through.
    pub(super) fn door(&self) -> anyhow::Result<Arc<dyn Door>> {
        self.authority.door(&["127.0.0.1"], ClientProof::Demanded)
    }

    /// Starts a pilot in a directory of its own.
    pub(super) fn start_pilot(
        &self,
        queue: &str,
        place: &Path,
        addresses: &Addresses,
        options: &[&str],
    ) -> anyhow::Result<Child> {
        fs::create_dir_all(place)?;
        let out = fs::File::create(place.join("pilot.out"))?;
        Command::new(place::program("ailurus-pilot", Profile::Release))
            .current_dir(place)
            .args(["-q", queue, "-j", "managed", "--pilot-user", "generic"])
            .args(["-b", "-v", "1", "--url", &addresses.server])
            .args(["--queuedata-url", &addresses.queue_data])
            .args(["--storagedata-url", &addresses.storage_data])
            .args(["--baseurls", &format!("{}/trf/user", addresses.server)])
            .arg("--capath")
            .arg(&self.authorities)
            .arg("--timing-file")
            .arg(place.join("timing.json"))
            .arg("-a")
            .arg(place)
            .args(options)
            .env("X509_USER_PROXY", &self.proxy)
            .env("PANDA_AUTH_TOKEN", &self.token)
            .env("PANDA_AUTH_ORIGIN", ORIGIN)
            .env("HARVESTER_ID", "bench")
            .env("HARVESTER_WORKER_ID", "1")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("`ailurus-pilot` cannot be started: is it built?")
    }
}
