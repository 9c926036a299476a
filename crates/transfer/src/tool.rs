//! Which tool moves what.

use std::path::{Path, PathBuf};

use crate::{CopyRequest, TransferError, TransferReport, copy_local, error::BadPathReason};

/// A way to move files. PanDA queues name it (`copytools`), URLs imply it by their scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopyTool {
    /// Copies between file systems that the node mounts.
    Local,
}

impl CopyTool {
    /// Every tool.
    pub const ALL: [Self; 1] = [Self::Local];

    /// Returns the names by which queues ask for it, the preferred one first.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Local => &["local", "mv"],
        }
    }

    /// Returns the URL schemes that it serves; the empty one stands for a plain path.
    #[must_use]
    pub const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Local => &["file", ""],
        }
    }

    /// Finds the tool of a name.
    ///
    /// # Errors
    ///
    /// [`TransferError::UnknownTool`] with the names that there are.
    pub fn named(name: &str) -> Result<Self, TransferError> {
        find(name, Self::names)
    }

    /// Finds the tool for a URL or plain path.
    ///
    /// # Errors
    ///
    /// [`TransferError::UnknownTool`] with the schemes that there are.
    pub fn for_url(url: &str) -> Result<Self, TransferError> {
        find(
            split_url(url).map_or("", |(scheme, _)| scheme),
            Self::schemes,
        )
    }

    /// Copies one file with this tool.
    ///
    /// # Errors
    ///
    /// As [`copy_local`].
    pub fn copy(
        self,
        request: &CopyRequest,
        stop: &std::sync::atomic::AtomicBool,
    ) -> Result<TransferReport, TransferError> {
        match self {
            Self::Local => copy_local(request, stop),
        }
    }
}

/// Returns the path of a `file:` URL or of a plain path.
///
/// The path is taken as it is, without percent decoding: PanDA joins endpoint, prefix and file name
/// without encoding them.
///
/// # Errors
///
/// [`TransferError::UnknownTool`] for another scheme, [`TransferError::BadPath`] for a file URL
/// whose path is not absolute, as in `file://host/path`.
pub fn local_path(url: &str) -> Result<PathBuf, TransferError> {
    match CopyTool::for_url(url)? {
        CopyTool::Local => {}
    }
    let Some((_, rest)) = split_url(url) else {
        return Ok(PathBuf::from(url));
    };
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(TransferError::BadPath {
        path: Path::new(url).to_owned(),
        reason: BadPathReason::NotAbsolute,
    })
}

/// Splits a URL into its scheme and the rest; none for a plain path, which may hold `://` behind
/// a slash.
fn split_url(url: &str) -> Option<(&str, &str)> {
    url.split_once("://")
        .filter(|(scheme, _)| !scheme.contains('/'))
}

fn find(
    wanted: &str,
    known: fn(CopyTool) -> &'static [&'static str],
) -> Result<CopyTool, TransferError> {
    CopyTool::ALL
        .into_iter()
        .find(|tool| known(*tool).contains(&wanted))
        .ok_or_else(|| TransferError::UnknownTool {
            wanted: wanted.to_owned(),
            known: CopyTool::ALL
                .into_iter()
                .flat_map(known)
                .map(|it| if it.is_empty() { "plain paths" } else { *it })
                .collect::<Vec<_>>()
                .join(", "),
        })
}

#[cfg(test)]
mod tests {
    use ailurus_model::{ErrorCode, Retry};

    use super::*;

    #[test]
    fn file_urls_and_plain_paths_are_local() {
        for (url, path) in [
            ("/data/a b", "/data/a b"),
            ("file:///data/50%20/x", "/data/50%20/x"),
            ("file://localhost/data/x", "/data/x"),
            ("relative/name", "relative/name"),
            ("/odd/a://b", "/odd/a://b"),
        ] {
            assert_eq!(local_path(url).expect(url), Path::new(path));
        }
    }

    #[test]
    fn an_unknown_scheme_is_named_with_those_there_are() {
        let error = CopyTool::for_url("root://eos.example.org//x").expect_err("no such tool");
        assert_eq!(
            error.to_string(),
            "no copy tool for `root`; there are: file, plain paths"
        );
        assert_eq!(error.code(), ErrorCode::UnknownCopyTool);
        assert_eq!(error.retry(), Retry::Never);
    }

    #[test]
    fn queues_may_ask_by_pilot_3s_name() {
        assert_eq!(CopyTool::named("mv").expect("known"), CopyTool::Local);
        let error = CopyTool::named("rucio").expect_err("no such tool");
        assert!(error.to_string().contains("local, mv"), "{error}");
    }

    #[test]
    fn a_file_url_with_another_host_is_refused() {
        let error = local_path("file://other/x").expect_err("not here");
        assert!(matches!(error, TransferError::BadPath { .. }), "{error}");
    }
}
