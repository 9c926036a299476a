//! A real OIDC provider for one test (the npm package `oidc-provider`), on a free port of loopback.
//!
//! [`OidcProvider::start`] gives people `jane` (groups `/spd` and `/spd/production`), `john` (`/spd`)
//! and `eve` (`/mpd`), the clients [`CLIENT`] and [`OTHER_CLIENT`] for device flow, and the program
//! [`ROBOT`]. The package is installed once below the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{Child, Connection, place, python, server, wait::wait_for};

/// The client of people, by device flow.
pub const CLIENT: &str = "spd-client";
/// Another client of the same provider, which servers under test do not know.
pub const OTHER_CLIENT: &str = "other-client";
/// A program, by client credentials.
pub const ROBOT: &str = "spd-robot";
/// The audience of a program's tokens.
pub const AUDIENCE: &str = "https://panda.test.org";

/// The package, its version fixed.
const PACKAGE: &str = "oidc-provider@8.8.1";
/// The program.
const PROGRAM: &str = include_str!("oidc/provider.mjs");
/// How long the provider may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running provider. It ends with this value.
#[derive(Debug)]
pub struct OidcProvider {
    _child: Child,
    issuer: String,
}

/// Installs the package, if it is not there yet; returns its folder. None if the machine has no
/// `node`.
///
/// # Errors
///
/// The package cannot be installed.
pub fn prepare() -> anyhow::Result<Option<PathBuf>> {
    if !server::are_there(&["node", "npm"], "apt-get install nodejs npm")? {
        return Ok(None);
    }
    let folder = place::target().join("oidc-node");
    fs::create_dir_all(&folder)?;
    // Tests are processes of their own: one installs, the others wait.
    let lock = fs::File::create(place::target().join("oidc-node.lock"))?;
    lock.lock()?;
    let stamp = folder.join("complete");
    if !fs::read_to_string(&stamp).is_ok_and(|made| made == PACKAGE) {
        python::run(
            Command::new("npm")
                .args([
                    "install",
                    "--no-save",
                    "--no-audit",
                    "--no-fund",
                    "--prefix",
                ])
                .arg(&folder)
                .arg(PACKAGE),
        )?;
        fs::write(&stamp, PACKAGE)?;
    }
    let program = folder.join("provider.mjs");
    if !fs::read_to_string(&program).is_ok_and(|text| text == PROGRAM) {
        fs::write(&program, PROGRAM)?;
    }
    Ok(Some(folder))
}

impl OidcProvider {
    /// Starts a provider that writes into an empty folder. None if the machine has no `node`.
    ///
    /// # Errors
    ///
    /// It does not listen in time.
    pub fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let Some(installed) = prepare()? else {
            return Ok(None);
        };
        fs::create_dir_all(folder)?;
        let address = folder.join("issuer");
        let log = folder.join("oidc.log");
        let mut child = Child::start(
            "the OIDC provider",
            Command::new("node")
                .arg(installed.join("provider.mjs"))
                .arg(&address),
            &log,
        )?;
        let issuer = wait_for("the OIDC provider", START_LIMIT, || {
            if let Some(status) = child.ended()? {
                bail!("it ended with {status}");
            }
            let issuer = fs::read_to_string(&address).ok();
            Ok(issuer.filter(|text| !text.is_empty()))
        })
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Some(Self {
            _child: child,
            issuer,
        }))
    }

    /// Returns the issuer's URL, without a slash at its end.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns where it describes itself.
    #[must_use]
    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer)
    }

    /// Sends a form to one of its paths, and returns the answer's JSON, whatever its status.
    ///
    /// # Errors
    ///
    /// The answer is no JSON.
    pub fn post_form(&self, path: &str, form: &str) -> anyhow::Result<Value> {
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        let answer = self
            .connect()?
            .send("POST", path, headers, form.as_bytes())?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Has somebody say yes to a code, as they do in their browser.
    ///
    /// # Errors
    ///
    /// There is no such code.
    pub fn approve(&self, user_code: &str, account: &str) -> anyhow::Result<()> {
        let body = json!({"user_code": user_code, "account": account});
        self.connect()?.post("/control/approve", &body).map(drop)
    }

    /// Signs whatever is given with the provider's key.
    ///
    /// # Errors
    ///
    /// It cannot be signed.
    pub fn sign(&self, header: &Value, claims: &Value) -> anyhow::Result<String> {
        let body = json!({"header": header, "claims": claims});
        let answer = self.connect()?.post("/control/sign", &body)?;
        Ok(answer["token"].as_str().context("no token")?.to_owned())
    }

    /// Takes another key from here on; the one from before is gone.
    ///
    /// # Errors
    ///
    /// The provider does not answer.
    pub fn rotate(&self) -> anyhow::Result<()> {
        self.connect()?
            .post("/control/rotate", &json!({}))
            .map(drop)
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.issuer.trim_start_matches("http://"))
    }
}
