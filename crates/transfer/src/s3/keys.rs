//! Whose requests they are: access keys, from the places where AWS's own programs look.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use ailurus_http::Secret;

/// The region that requests are signed for if nothing says another.
const REGION: &str = "us-east-1";

/// Largest file of keys, in bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Where access keys are looked for, in this order: a named profile, the environment, the default
/// profile. Files are read at each use, so keys can be renewed.
#[derive(Debug, Clone, Default)]
pub struct S3Keys {
    /// The profile that is asked for by name.
    pub profile: Option<String>,
    /// Keys that were given directly.
    pub given: Option<AccessKey>,
    /// Files with profiles, for example `~/.aws/credentials` and `~/.aws/config`.
    pub files: Vec<PathBuf>,
    /// The region that was given directly.
    pub region: Option<String>,
}

/// An access key with its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its name, which is no secret.
    pub id: String,
    /// The secret that requests are signed with.
    pub secret: Secret,
    /// What comes with keys that are good for some time only.
    pub session_token: Option<Secret>,
}

/// Keys for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) key: AccessKey,
    pub(super) region: String,
}

impl S3Keys {
    /// Looks where AWS's own programs look: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE`, `AWS_REGION`,
    /// `AWS_DEFAULT_REGION`, `HOME`; and at `PANDA_PILOT_AWS_PROFILE` before `AWS_PROFILE`.
    ///
    /// Source: Pilot 3, `pilot/copytool/s3.py`; AWS SDKs and Tools Reference Guide, "Shared config
    /// and credentials files".
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?;
            (!value.is_empty()).then_some(value)
        };
        let home = variable("HOME").map(PathBuf::from);
        let file = |name: &str, usual: &str| {
            let given = variable(name).map(PathBuf::from);
            given.or_else(|| Some(home.as_ref()?.join(usual)))
        };
        let given = text("AWS_ACCESS_KEY_ID").zip(text("AWS_SECRET_ACCESS_KEY"));
        Self {
            profile: text("PANDA_PILOT_AWS_PROFILE").or_else(|| text("AWS_PROFILE")),
            given: given.map(|(id, secret)| AccessKey {
                id,
                secret: Secret::new(secret),
                session_token: text("AWS_SESSION_TOKEN").map(Secret::new),
            }),
            files: [
                file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
                file("AWS_CONFIG_FILE", ".aws/config"),
            ]
            .into_iter()
            .flatten()
            .collect(),
            region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
        }
    }

    /// Returns the keys for a request.
    ///
    /// # Errors
    ///
    /// Where they were looked for, if there are none.
    pub(super) fn find(&self) -> Result<Identity, String> {
        let profile = self.profile.as_deref();
        let texts: Vec<String> = self.files.iter().filter_map(|file| read(file)).collect();
        let named = |key: &str| {
            let name = profile.unwrap_or("default");
            texts.iter().find_map(|text| value_of(text, name, key))
        };
        let of_profile = || {
            Some(AccessKey {
                id: named("aws_access_key_id")?,
                secret: Secret::new(named("aws_secret_access_key")?),
                session_token: named("aws_session_token").map(Secret::new),
            })
        };
        let key = match (profile, &self.given) {
            (None, Some(given)) => Some(given.clone()),
            (Some(_), _) | (None, None) => of_profile(),
        };
        let region = self.region.clone().or_else(|| named("region"));
        let key = key.ok_or_else(|| {
            let files: Vec<String> = self
                .files
                .iter()
                .map(|file| format!("`{}`", file.display()))
                .collect();
            let files = files.join(", ");
            match profile {
                Some(name) => format!("no profile `{name}` with keys in {files}"),
                None => format!("no `AWS_ACCESS_KEY_ID`, and no default profile in {files}"),
            }
        })?;
        Ok(Identity {
            key,
            region: region.unwrap_or_else(|| REGION.to_owned()),
        })
    }
}

fn read(file: &Path) -> Option<String> {
    let is_sound = fs::metadata(file).is_ok_and(|meta| meta.len() <= FILE_MAX_BYTES);
    is_sound.then(|| fs::read_to_string(file).ok()).flatten()
}

/// Finds a value in a file of profiles: `[name]`, or `[profile name]` as the other file has it.
fn value_of(text: &str, profile: &str, key: &str) -> Option<String> {
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            let name = heading.trim();
            let name = name.strip_prefix("profile ").unwrap_or(name).trim();
            is_inside = name == profile;
        } else if is_inside
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
            && name.trim().eq_ignore_ascii_case(key)
        {
            let value = value.trim();
            return (!value.is_empty()).then(|| value.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
        # keys\n[default]\naws_access_key_id = A\naws_secret_access_key=sa\n\
        [spd]\naws_access_key_id=B\naws_secret_access_key=s=b\naws_session_token=t\n\
        [empty]\naws_access_key_id=\n";
    const CONFIG: &str = "[profile spd]\nregion = eu-north-1\n";

    fn keys(variables: &[(&str, &str)]) -> (tempfile::TempDir, S3Keys) {
        let dir = tempfile::tempdir().expect("space");
        fs::create_dir(dir.path().join(".aws")).expect("space");
        fs::write(dir.path().join(".aws/credentials"), FILE).expect("space");
        fs::write(dir.path().join(".aws/config"), CONFIG).expect("space");
        let keys = S3Keys::from_variables(|name| {
            let given = variables.iter().find(|(known, _)| *known == name);
            let home = || (name == "HOME").then(|| dir.path().as_os_str().to_owned());
            given.map(|(_, value)| value.into()).or_else(home)
        });
        (dir, keys)
    }

    fn found(variables: &[(&str, &str)]) -> Result<(String, String, String), String> {
        let (_dir, keys) = keys(variables);
        let identity = keys.find()?;
        let secret = identity.key.secret.reveal().to_owned();
        Ok((identity.key.id, secret, identity.region))
    }

    fn three(a: &str, b: &str, c: &str) -> Result<(String, String, String), String> {
        Ok((a.to_owned(), b.to_owned(), c.to_owned()))
    }

    #[test]
    fn the_environment_goes_before_the_default_profile() {
        assert_eq!(found(&[]), three("A", "sa", REGION));
        let given = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "se")];
        assert_eq!(found(&given), three("E", "se", REGION));
    }

    #[test]
    fn a_named_profile_goes_before_the_environment() {
        let given = [
            ("AWS_ACCESS_KEY_ID", "E"),
            ("AWS_SECRET_ACCESS_KEY", "se"),
            ("AWS_PROFILE", "default"),
            ("PANDA_PILOT_AWS_PROFILE", "spd"),
        ];
        assert_eq!(found(&given), three("B", "s=b", "eu-north-1"));
    }

    #[test]
    fn missing_keys_are_said_with_the_places_that_were_searched() {
        let error = found(&[("AWS_PROFILE", "empty")]).expect_err("no keys");
        assert!(
            error.contains("`empty`") && error.contains("credentials"),
            "{error}"
        );
        let error = found(&[("HOME", "/nowhere")]).expect_err("no files");
        assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
    }
}
