//! The bearer token, read again whenever its file has changed.

use std::{
    fs,
    io::{self, ErrorKind, Read},
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::{BearerToken, HttpError, Secret, file_version::FileVersion};

/// Largest token, in bytes. Real ones have up to a few thousand.
const TOKEN_MAX_BYTES: u64 = 64 << 10;

/// A token file and what was read from it last.
#[derive(Debug)]
pub struct TokenFile {
    config: BearerToken,
    last: Mutex<Option<(FileVersion, Secret)>>,
}

impl TokenFile {
    /// Begins to look at a file, which need not be there yet.
    #[must_use]
    pub const fn new(config: BearerToken) -> Self {
        Self {
            config,
            last: Mutex::new(None),
        }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.config.origin
    }

    /// Returns the value of the `Authorization` header, from the file as it is now.
    ///
    /// # Errors
    ///
    /// [`HttpError::NoToken`] if the file cannot be read, or holds no token.
    pub fn authorization(&self) -> Result<Secret, HttpError> {
        let no_token = |source| HttpError::NoToken {
            path: self.config.file.clone(),
            source,
        };
        let version = version_of(&self.config.file).map_err(no_token)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, authorization)) = &*last
            && *known == version
        {
            return Ok(authorization.clone());
        }
        let authorization = read(&self.config.file).map_err(no_token)?;
        *last = Some((version, authorization.clone()));
        Ok(authorization)
    }
}

fn version_of(path: &Path) -> io::Result<FileVersion> {
    let version = FileVersion::of(path)?;
    if version.mode & 0o007 != 0 {
        tracing::debug!(path = %path.display(), "the token file can be used by everybody here");
    }
    Ok(version)
}

fn read(path: &Path) -> io::Result<Secret> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(TOKEN_MAX_BYTES)
        .read_to_string(&mut text)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(Secret::new(format!("Bearer {token}")))
}
