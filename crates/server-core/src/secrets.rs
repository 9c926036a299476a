//! What people want their payloads to know: kept by name for its owner, and given to nobody else.
//!
//! Source: panda-server, `pandaserver/taskbuffer/db_proxy_mods/entity_module.py`,
//! `set_user_secret` and `get_user_secrets`.

use std::collections::BTreeMap;

use ailurus_model::{JobTags, SecretText, job_tags};

use crate::{
    Context,
    ledger::{Ledger, LedgerError},
};

/// Largest value, in bytes: a file of 1000 KiB as base64.
pub const SECRET_MAX_BYTES: usize = 1000 * 1024 * 4 / 3 + 4;
/// Longest name, in bytes.
pub const SECRET_NAME_MAX_BYTES: usize = 250;
/// Secrets that one person may have.
pub const SECRETS_MAX: usize = 100;
/// What all secrets of one person may have together, in bytes of names and values: they go along
/// with each of their jobs.
pub const SECRETS_MAX_BYTES: usize = 4 << 20;
/// Stands before the name of a secret whose value is a file in base64.
pub const FILE_MARK: &str = "___file___:";

/// What becomes of somebody's secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretChange {
    /// One is new, or changes.
    Set {
        /// Its name, with [`FILE_MARK`] before that of a file.
        name: String,
        /// Its value.
        value: String,
    },
    /// One is forgotten, be it a text or a file.
    Forget {
        /// Its name, with the mark or without.
        name: String,
    },
    /// All are forgotten.
    ForgetAll,
}

impl std::fmt::Debug for SecretChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set { name, .. } => write!(f, "Set({name})"),
            Self::Forget { name } => write!(f, "Forget({name})"),
            Self::ForgetAll => f.write_str("ForgetAll"),
        }
    }
}

/// A secret is not kept.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is too large.
    #[error("the value has {n_bytes} bytes: at most {SECRET_MAX_BYTES} are kept")]
    TooLarge {
        /// Its size.
        n_bytes: usize,
    },
    /// Its name is too long, or empty.
    #[error("the name has {n_bytes} bytes: it must have 1 to {SECRET_NAME_MAX_BYTES}")]
    Name {
        /// Its length.
        n_bytes: usize,
    },
    /// There are enough already.
    #[error("there are {SECRETS_MAX} secrets already: forget one first")]
    TooMany,
    /// They are too large together.
    #[error(
        "the secrets would have {n_bytes} bytes together: at most {SECRETS_MAX_BYTES} are kept, \
         forget one first"
    )]
    TooLargeTogether {
        /// What they would have.
        n_bytes: usize,
    },
    /// The rows are out of reach.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Changes somebody's secrets. `owner` is their compact name.
///
/// # Errors
///
/// [`SecretError`] if a secret is too large, or there are too many.
pub fn change_secrets(
    ledger: &mut impl Ledger,
    owner: &str,
    change: &SecretChange,
) -> Result<(), SecretError> {
    match change {
        SecretChange::Set { name, value } => {
            if name.is_empty() || name.len() > SECRET_NAME_MAX_BYTES {
                return Err(SecretError::Name {
                    n_bytes: name.len(),
                });
            }
            if value.len() > SECRET_MAX_BYTES {
                return Err(SecretError::TooLarge {
                    n_bytes: value.len(),
                });
            }
            let known = ledger.secrets(owner)?;
            if known.len() >= SECRETS_MAX && !known.contains_key(name) {
                return Err(SecretError::TooMany);
            }
            let others = known.iter().filter(|(other, _)| *other != name);
            let n_bytes = others.map(|(name, value)| name.len() + value.len());
            let n_bytes = n_bytes.sum::<usize>() + name.len() + value.len();
            if n_bytes > SECRETS_MAX_BYTES {
                return Err(SecretError::TooLargeTogether { n_bytes });
            }
            ledger.put_secret(owner, name, value)?;
        }
        SecretChange::Forget { name } => {
            let known = ledger.secrets(owner)?;
            let of_file = format!("{FILE_MARK}{name}");
            if known.contains_key(name) {
                ledger.remove_secret(owner, name)?;
            } else if known.contains_key(&of_file) {
                ledger.remove_secret(owner, &of_file)?;
            }
        }
        SecretChange::ForgetAll => ledger.remove_secrets(owner)?,
    }
    Ok(())
}

/// Returns somebody's secrets: those of these names, or all of them if no name is given.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn secrets_of(
    ledger: &(impl Ledger + ?Sized),
    owner: &str,
    names: &[String],
) -> Result<BTreeMap<String, String>, LedgerError> {
    let mut secrets = ledger.secrets(owner)?;
    if !names.is_empty() {
        secrets.retain(|name, _| names.contains(name));
    }
    Ok(secrets)
}

/// Returns somebody's secrets as one of their jobs gets them: the JSON text of an object, also of
/// an empty one.
///
/// Source: PanDA server, `pandaserver/taskbuffer/TaskBuffer.py`, `getJobs`.
pub(crate) fn secrets_for_job(
    ledger: &impl Ledger,
    owner: &str,
) -> Result<SecretText, LedgerError> {
    let secrets = ledger.secrets(owner)?;
    let members = secrets
        .into_iter()
        .map(|(name, value)| (name, value.into()));
    let object = serde_json::Value::Object(members.collect());
    Ok(SecretText::new(object.to_string()))
}

/// Returns what the pilot of a job in debug mode gets: the secrets of whoever is named in the
/// settings.
///
/// Source: PanDA server, `pandaserver/taskbuffer/TaskBuffer.py`, `getJobs` and `updateJobStatus`.
pub(crate) fn secrets_for_pilot(
    ctx: &Context<'_>,
    ledger: &impl Ledger,
    tags: &JobTags,
) -> Result<BTreeMap<String, SecretText>, LedgerError> {
    if !tags.has(job_tags::DEBUG) {
        return Ok(BTreeMap::new());
    }
    let secrets = ledger.secrets(&ctx.limits.tasks.pilot_secrets_owner)?;
    let secrets = secrets.into_iter();
    Ok(secrets
        .map(|(name, value)| (name, SecretText::new(value)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryLedger;

    fn set(ledger: &mut MemoryLedger, name: &str, value: &str) -> Result<(), String> {
        let change = SecretChange::Set {
            name: name.into(),
            value: value.into(),
        };
        change_secrets(ledger, "Jane Doe", &change).map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_their_owners_alone() {
        let mut ledger = MemoryLedger::new();
        set(&mut ledger, "password", "x").unwrap();
        set(&mut ledger, "___file___:key.pem", "eA==").unwrap();
        let all = secrets_of(&ledger, "Jane Doe", &[]).unwrap();
        assert_eq!(all.len(), 2);
        let one = secrets_of(&ledger, "Jane Doe", &["password".into()]).unwrap();
        assert_eq!(one, BTreeMap::from([("password".into(), "x".into())]));
        assert!(secrets_of(&ledger, "John Doe", &[]).unwrap().is_empty());
    }

    #[test]
    fn a_file_is_forgotten_by_its_name_without_the_mark() {
        let mut ledger = MemoryLedger::new();
        set(&mut ledger, "___file___:key.pem", "eA==").unwrap();
        let change = SecretChange::Forget {
            name: "key.pem".into(),
        };
        change_secrets(&mut ledger, "Jane Doe", &change).unwrap();
        assert!(secrets_of(&ledger, "Jane Doe", &[]).unwrap().is_empty());
        set(&mut ledger, "a", "b").unwrap();
        change_secrets(&mut ledger, "Jane Doe", &SecretChange::ForgetAll).unwrap();
        assert_eq!(ledger, MemoryLedger::new());
    }

    #[test]
    fn what_is_too_much_is_refused_and_no_message_has_the_value() {
        let mut ledger = MemoryLedger::new();
        let large = "x".repeat(SECRET_MAX_BYTES + 1);
        let error = set(&mut ledger, "large", &large).unwrap_err();
        assert!(
            error.contains("at most") && !error.contains("xx"),
            "{error}"
        );
        assert!(set(&mut ledger, "", "x").is_err());
        for nr in 0..SECRETS_MAX {
            set(&mut ledger, &format!("name {nr}"), "x").unwrap();
        }
        set(&mut ledger, "name 7", "y").unwrap();
        let file = "x".repeat(SECRET_MAX_BYTES);
        let refused = (0..SECRETS_MAX).find_map(|nr| {
            let error = set(&mut ledger, &format!("name {nr}"), &file).err()?;
            Some((nr, error))
        });
        let (nr, error) = refused.expect("there is an end");
        assert_eq!(nr, SECRETS_MAX_BYTES / SECRET_MAX_BYTES);
        assert!(error.contains("together"), "{error}");
        set(&mut ledger, "name 0", &file).unwrap();
        assert!(
            set(&mut ledger, "one more", "x")
                .unwrap_err()
                .contains("forget one")
        );
        let change = SecretChange::Set {
            name: "n".into(),
            value: "hidden".into(),
        };
        assert!(!format!("{change:?}").contains("hidden"));
    }
}
