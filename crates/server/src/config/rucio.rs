//! The section `[rucio]` of the configuration file: the catalogue that is asked for the files of
//! datasets which tasks read.

use std::{fs, path::PathBuf};

use ailurus_http::Secret;
use ailurus_rucio::{Credential, RucioConfig};
use serde::Deserialize;

use super::{ConfigError, Picker, Shown};
use crate::config::Origin;

/// The section as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RucioSection {
    /// The server, for example `https://rucio.example.org`. Without it, only datasets that are
    /// known here can be read.
    host: Option<String>,
    /// The server that gives tokens. Default: `host`.
    auth_host: Option<String>,
    /// The account to act for. Default: the credential's.
    account: Option<String>,
    /// Whose accounts these are, where one server serves several organisations.
    vo: Option<String>,
    /// User name, with `password_file`.
    user: Option<String>,
    /// File whose first line is the user's password.
    password_file: Option<PathBuf>,
    /// File with a bearer token in place of user and password.
    token_file: Option<PathBuf>,
}

impl RucioSection {
    /// Checks the section and notes every value. None without a server.
    pub(super) fn resolve(self, picker: &mut Picker) -> Result<Option<RucioConfig>, ConfigError> {
        let quoted = |text: Option<&str>| match text {
            Some(text) => format!("\"{text}\""),
            None => "none".to_owned(),
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        for (key, value) in [
            ("rucio.host", self.host.clone()),
            ("rucio.auth_host", self.auth_host.clone()),
            ("rucio.account", self.account.clone()),
            ("rucio.vo", self.vo.clone()),
            ("rucio.user", self.user.clone()),
            ("rucio.password_file", path(&self.password_file)),
            ("rucio.token_file", path(&self.token_file)),
        ] {
            let origin = if value.is_some() {
                Origin::File
            } else {
                Origin::BuiltIn
            };
            picker.shown.push(Shown {
                key,
                value: quoted(value.as_deref()),
                origin,
            });
        }
        let Some(host) = self.host else {
            return Ok(None);
        };
        let credential = match (self.user, self.password_file, self.token_file) {
            (Some(user), Some(file), None) => {
                let bad = |reason: String| ConfigError::Value {
                    key: "rucio.password_file",
                    value: format!("{} ({reason})", file.display()),
                    allowed: "a file whose first line is the password",
                };
                let text = fs::read_to_string(&file).map_err(|error| bad(error.to_string()))?;
                let password = text.lines().next().unwrap_or_default();
                if password.is_empty() {
                    return Err(bad("its first line is empty".to_owned()));
                }
                Credential::UserPass {
                    user,
                    password: Secret::new(password),
                }
            }
            (None, None, Some(file)) => Credential::TokenFile(file),
            (_, _, _) => {
                return Err(ConfigError::Value {
                    key: "rucio",
                    value: host,
                    allowed: "together with `user` and `password_file`, or with `token_file`",
                });
            }
        };
        let mut config = RucioConfig::new(host, credential);
        if let Some(auth_host) = self.auth_host {
            config.auth_host = auth_host;
        }
        config.account = self.account;
        config.vo = self.vo;
        Ok(Some(config))
    }
}
