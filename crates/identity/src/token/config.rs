//! The files that name issuers: `VO_auth_config.json` and `VO.ROLE_auth_config.json`, as clients
//! of PanDA fetch them.
//!
//! Unknown keys are let be: the files are shared with clients and with PanDA.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};

/// How the names of the files end.
const ENDING: &str = "_auth_config.json";

/// Largest file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// What clients need to know, and nothing else.
const PUBLIC: &[&str] = &[
    "client_id",
    "client_secret",
    "audience",
    "oidc_config_url",
    "vo",
    "jwt_profile",
    "no_verify",
];

/// The files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum AuthConfigError {
    /// A file or the folder cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is no JSON object.
    #[error("`{}` is no JSON object", path.display())]
    NoJson {
        /// The file.
        path: PathBuf,
    },
    /// A key is missing or wrong.
    #[error("`{key}` in `{}` must be {allowed}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// Two files know one client in different ways.
    #[error("client `{client_id}` has different issuers in two files, one of them `{}`", path.display())]
    TwoIssuers {
        /// The second file.
        path: PathBuf,
        /// The client.
        client_id: String,
    },
    /// There is nothing in the folder.
    #[error("folder `{}` has no file `VO{ENDING}`", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFile {
    /// The client whose tokens are taken.
    pub client_id: String,
    /// Other clients whose tokens are taken.
    pub secondary_ids: Vec<String>,
    /// The audience of access tokens, if they have one besides the client.
    pub audience: Option<String>,
    /// Where the issuer describes itself.
    pub discovery_url: String,
    /// The VO, for calls without `Origin`.
    pub vo: Option<String>,
    /// Clients that are programs: they need not be in the group.
    pub robot_ids: Vec<String>,
    /// Roles that a call without role gets, the first that fits.
    pub auto_roles: Vec<String>,
    /// The claim with the groups.
    pub groups_claim: &'static str,
}

impl AuthFile {
    /// Returns every audience that a token may be for.
    #[must_use]
    pub fn audiences(&self) -> Vec<String> {
        let ids = std::iter::once(&self.client_id).chain(&self.secondary_ids);
        ids.chain(&self.audience).cloned().collect()
    }

    /// Judges the content of a file; an error says which key must be what.
    fn read(file: &Map<String, Value>) -> Result<Self, (&'static str, &'static str)> {
        let text = |key: &'static str| match file.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            Some(_) => Err((key, "a text")),
        };
        let needed = |key: &'static str| text(key)?.ok_or((key, "there"));
        let discovery_url = needed("oidc_config_url")?;
        if !is_safe_url(&discovery_url) {
            return Err(("oidc_config_url", "an `https` URL, or one of this machine"));
        }
        let profile = text("jwt_profile")?;
        Ok(Self {
            client_id: needed("client_id")?,
            secondary_ids: list(file, "secondary_ids")?,
            audience: text("audience")?,
            discovery_url,
            vo: text("vo")?,
            robot_ids: list(file, "robot_ids")?,
            auto_roles: list(file, "auto_roles")?,
            groups_claim: if profile.as_deref() == Some("wlcg") {
                "wlcg.groups"
            } else {
                "groups"
            },
        })
    }
}

/// Reads a list of texts, or texts with commas between.
fn list(
    file: &Map<String, Value>,
    key: &'static str,
) -> Result<Vec<String>, (&'static str, &'static str)> {
    let wrong = || (key, "a list of texts");
    let items: Vec<String> = match file.get(key) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => text.split(',').map(str::to_owned).collect(),
        Some(Value::Array(items)) => {
            let text = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(wrong);
            items.iter().map(text).collect::<Result<_, _>>()?
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => return Err(wrong()),
    };
    let trimmed = items.iter().map(|item| item.trim().to_owned());
    Ok(trimmed.filter(|item| !item.is_empty()).collect())
}

/// Says whether what a URL gives cannot be changed on its way: `https`, or this machine.
pub(super) fn is_safe_url(url: &str) -> bool {
    if url.starts_with("https://") {
        return true;
    }
    let host = url.strip_prefix("http://").unwrap_or_default();
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|local| match host.strip_prefix(local) {
            Some(rest) => rest.is_empty() || rest.starts_with(':') && !rest.contains('@'),
            None => false,
        })
}

/// Splits the header `Origin` into VO and role.
///
/// Source: panda-server, `pandaserver/srvcore/panda_request.py`, `decode_token`.
#[must_use]
pub fn split_origin(origin: &str) -> (&str, Option<&str>) {
    let split = match origin.split_once(':') {
        Some(parts) => Some(parts),
        None if origin.starts_with("vo.") => None,
        None => origin.rsplit_once('.'),
    };
    match split {
        Some((vo, role)) => (vo, Some(role).filter(|role| !role.is_empty())),
        None => (origin, None),
    }
}

/// All files of a folder.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    by_client: BTreeMap<String, Arc<AuthFile>>,
    /// By what stands before the ending, with a dot between VO and role.
    by_name: BTreeMap<String, Arc<AuthFile>>,
    vos: BTreeSet<String>,
    public: BTreeMap<String, Vec<u8>>,
}

impl AuthConfig {
    /// Reads the files of a folder.
    ///
    /// # Errors
    ///
    /// [`AuthConfigError`] if one of them is wrong, or there is none.
    pub fn load(folder: &Path) -> Result<Self, AuthConfigError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            |source| AuthConfigError::Unreadable { path, source }
        };
        let mut config = Self::default();
        let entries = fs::read_dir(folder).map_err(unreadable(folder))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.and_then(|name| name.strip_suffix(ENDING)) else {
                continue;
            };
            let size = fs::metadata(&path).map_err(unreadable(&path))?.len();
            if size > FILE_MAX_BYTES {
                return Err(AuthConfigError::NoJson { path });
            }
            let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
            config.add(&path, name, &text)?;
        }
        if config.by_name.is_empty() {
            let path = folder.to_owned();
            return Err(AuthConfigError::Empty { path });
        }
        Ok(config)
    }

    fn add(&mut self, path: &Path, name: &str, text: &str) -> Result<(), AuthConfigError> {
        let Ok(Value::Object(content)) = serde_json::from_str(text) else {
            let path = path.to_owned();
            return Err(AuthConfigError::NoJson { path });
        };
        let file = AuthFile::read(&content).map_err(|(key, allowed)| AuthConfigError::Key {
            path: path.to_owned(),
            key,
            allowed,
        })?;
        let file = Arc::new(file);
        for client_id in std::iter::once(&file.client_id).chain(&file.secondary_ids) {
            let before = self.by_client.insert(client_id.clone(), Arc::clone(&file));
            if before.is_some_and(|before| before.discovery_url != file.discovery_url) {
                return Err(AuthConfigError::TwoIssuers {
                    path: path.to_owned(),
                    client_id: client_id.clone(),
                });
            }
        }
        let mut public = json!({});
        for key in PUBLIC {
            if let Some(value) = content.get(*key) {
                public[*key] = value.clone();
            }
        }
        let served = format!("{name}{ENDING}");
        self.public.insert(served, public.to_string().into_bytes());
        self.vos.insert(vo_of_file(name).to_owned());
        self.by_name.insert(name.replace(':', "."), file);
        Ok(())
    }

    /// Returns what `/auth/NAME` gives, for names such as `spd_auth_config.json`.
    #[must_use]
    pub fn public_file(&self, name: &str) -> Option<&[u8]> {
        self.public.get(name).map(Vec::as_slice)
    }

    /// Returns the client of this id.
    #[must_use]
    pub fn client(&self, client_id: &str) -> Option<&AuthFile> {
        self.by_client.get(client_id).map(|file| &**file)
    }

    /// Returns every client; those with several ids several times.
    pub fn clients(&self) -> impl Iterator<Item = &AuthFile> {
        self.by_client.values().map(|file| &**file)
    }

    /// Returns the file of a VO and role; that of the VO if the role has none.
    pub(super) fn file_of(&self, vo: &str, role: Option<&str>) -> Option<&AuthFile> {
        let with_role = role.and_then(|role| self.by_name.get(&format!("{vo}.{role}")));
        with_role
            .or_else(|| self.by_name.get(vo))
            .map(|file| &**file)
    }

    pub(super) fn knows(&self, vo: &str) -> bool {
        self.vos.contains(vo)
    }

    /// Returns how many files were read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Says whether no file was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// Returns the VO of a file's name. Unlike in `Origin`, the first dot counts.
///
/// Source: panda-server, `pandaserver/config/panda_config.py`.
fn vo_of_file(name: &str) -> &str {
    match name.split_once(':') {
        Some((vo, _)) => vo,
        None if name.starts_with("vo.") => name,
        None => name.split_once('.').map_or(name, |(vo, _)| vo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_split_at_a_colon_or_the_last_dot() {
        for (origin, vo, role) in [
            ("spd", "spd", None),
            ("spd.production", "spd", Some("production")),
            ("spd:production", "spd", Some("production")),
            ("a.b.c", "a.b", Some("c")),
            ("vo.spd.jinr.ru", "vo.spd.jinr.ru", None),
            ("vo.spd.jinr.ru:pilot", "vo.spd.jinr.ru", Some("pilot")),
            ("spd.", "spd", None),
        ] {
            assert_eq!(split_origin(origin), (vo, role), "{origin}");
        }
    }

    fn load(files: &[(&str, &str)]) -> Result<AuthConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        AuthConfig::load(folder.path()).map_err(|error| error.to_string())
    }

    const SPD: &str = r#"{"client_id": "c", "client_secret": "s", "audience": "a",
        "oidc_config_url": "https://i/.well-known/openid-configuration", "vo": "spd",
        "robot_ids": "r1,r2", "secondary_ids": ["c2"], "jwt_profile": "wlcg"}"#;

    #[test]
    fn a_file_says_whose_tokens_are_taken_and_clients_see_what_they_need() {
        let config = load(&[("spd_auth_config.json", SPD), ("other.json", "x")]).unwrap();
        let file = config.client("c2").unwrap();
        assert_eq!(file.audiences(), ["c", "c2", "a"]);
        assert_eq!(file.robot_ids, ["r1", "r2"]);
        assert_eq!(file.groups_claim, "wlcg.groups");
        let public = config.public_file("spd_auth_config.json").unwrap();
        let public: Value = serde_json::from_slice(public).unwrap();
        assert_eq!(public["client_secret"], "s");
        assert!(public.get("robot_ids").is_none());
        assert!(config.public_file("../other.json").is_none());
        assert!(config.knows("spd") && !config.knows("mpd"));
    }

    #[test]
    fn wrong_files_are_named_with_key_and_what_is_allowed() {
        let plain = SPD.replace("https://", "http://");
        for (text, expected) in [
            (plain.as_str(), "`oidc_config_url` in"),
            ("{}", "`oidc_config_url` in"),
            ("[]", "is no JSON object"),
            (
                r#"{"client_id": 7, "oidc_config_url": "https://i"}"#,
                "`client_id` in",
            ),
        ] {
            let error = load(&[("spd_auth_config.json", text)]).unwrap_err();
            assert!(
                error.contains(expected) && error.contains("spd_auth"),
                "{error}"
            );
        }
        let other = SPD.replace("https://i/", "https://j/");
        let two = [("a_auth_config.json", SPD), ("b_auth_config.json", &other)];
        assert!(load(&two).unwrap_err().contains("different issuers"));
        assert!(load(&[]).unwrap_err().contains("has no file"));
    }

    #[test]
    fn only_urls_that_nobody_can_change_on_the_way_are_safe() {
        for url in [
            "https://x/y",
            "http://127.0.0.1:8080/x",
            "http://localhost/",
            "http://[::1]:1",
        ] {
            assert!(is_safe_url(url), "{url}");
        }
        for url in [
            "http://x/",
            "ftp://x",
            "http://127.0.0.1.evil/",
            "http://localhost:@evil/",
            "",
        ] {
            assert!(!is_safe_url(url), "{url}");
        }
    }
}
