//! The storage's side of a transfer: a URL, in the parts that copy programs want.

use std::ffi::OsString;

use ailurus_model::Checksum;

use crate::{
    BadPlaceReason, Cause, Direction, Transfer, TransferError, new_guid, toolbox::split_url,
};

use super::words::Values;

/// A URL of a file, split. XRootD and WebDAV put options and keys behind a question mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemotePlace {
    url: String,
    /// Scheme, host and port; empty for what is no URL.
    server: String,
    /// The path with what is behind a question mark.
    path: String,
}

impl RemotePlace {
    pub(super) fn new(url: &str) -> Self {
        let Some((scheme, rest)) = split_url(url) else {
            return Self {
                url: url.to_owned(),
                server: String::new(),
                path: url.to_owned(),
            };
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Self {
            url: url.to_owned(),
            server: format!("{scheme}://{authority}"),
            path: path.to_owned(),
        }
    }

    pub(super) fn scheme(&self) -> &str {
        split_url(&self.url).map_or("", |(scheme, _)| scheme)
    }

    /// Returns the URL for people: without passwords, and without what is behind a question mark.
    pub(super) fn shown(&self) -> String {
        let (plain, _) = cut_query(&self.url);
        match split_url(plain) {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let host = authority.rsplit('@').next().unwrap_or_default();
                format!("{scheme}://{host}/{path}")
            }
            None => plain.to_owned(),
        }
    }

    /// Takes what is secret out of a text.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let (_, query) = cut_query(&self.url);
        if query.len() > 1 {
            text.replace(query, "?…")
        } else {
            text.to_owned()
        }
    }

    /// Makes a place beside this one for a file in the making.
    pub(super) fn temporary(&self, direction: Direction) -> Result<Self, TransferError> {
        let (plain, query) = cut_query(&self.url);
        let (directory, name) = plain.rsplit_once('/').unwrap_or(("", plain));
        if name.is_empty() {
            let cause = Cause::BadPlace(BadPlaceReason::NoName);
            return Err(TransferError::new(direction, self.shown(), cause));
        }
        let guid = new_guid().map_err(|source| {
            let action = "name";
            TransferError::new(direction, self.shown(), Cause::Io { action, source })
        })?;
        // Without the target's name, which may have all the length that a name can have.
        Ok(Self::new(&format!(
            "{directory}/.ailurus-{guid}.part{query}"
        )))
    }

    /// Puts in what commands are told about this place.
    pub(super) fn put_into(&self, values: &mut Values) {
        if self.url.is_empty() {
            return;
        }
        values.insert("url", self.url.clone().into());
        values.insert("directory_url", directory_of(&self.url).into());
        values.insert("server", self.server.clone().into());
        values.insert("remote_path", self.path.clone().into());
        values.insert("remote_directory", directory_of(&self.path).into());
    }

    /// Puts in what commands are told about the new name of a file.
    pub(super) fn put_into_as_new(&self, values: &mut Values) {
        values.insert("new_url", self.url.clone().into());
        values.insert("new_remote_path", self.path.clone().into());
    }
}

/// Puts in what commands are told about the file and the node's side.
pub(super) fn put_file(transfer: &Transfer, path: &std::path::Path, values: &mut Values) {
    let mut file_url = OsString::from("file://");
    file_url.push(path);
    values.insert("file_url", file_url);
    values.insert("path", path.into());
    if let Some(parent) = path.parent() {
        values.insert("local_directory", parent.into());
    }
    values.insert(
        "timeout",
        transfer.patience.blind.as_secs().to_string().into(),
    );
    if let Some(size) = transfer.size {
        values.insert("size", size.as_bytes().to_string().into());
    }
    if let Some(checksum) = &transfer.checksum {
        put_checksum(checksum, values);
    }
    let identity = &transfer.identity;
    let known = [
        ("scope", identity.scope.as_ref().map(ToString::to_string)),
        ("lfn", identity.lfn.as_ref().map(ToString::to_string)),
        ("guid", identity.guid.as_ref().map(ToString::to_string)),
        (
            "endpoint",
            identity.endpoint.as_ref().map(ToString::to_string),
        ),
        ("space_token", identity.space_token.clone()),
    ];
    for (name, value) in known {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            values.insert(name, value.into());
        }
    }
}

/// Puts in a checksum.
pub(super) fn put_checksum(checksum: &Checksum, values: &mut Values) {
    let (kind, digits) = match checksum {
        Checksum::Adler32(sum) => ("adler32", format!("{sum:08x}")),
        Checksum::Md5(digits) => ("md5", digits.clone()),
        Checksum::Sha256(digits) => ("sha256", digits.clone()),
    };
    if kind == "adler32" {
        values.insert("adler32", digits.clone().into());
    }
    values.insert("checksum_kind", kind.into());
    values.insert("checksum", digits.into());
}

/// Reads a checksum from a program's answer.
pub(super) fn read_checksum(kind: &str, digits: &str) -> Option<Checksum> {
    let digits = digits.to_ascii_lowercase();
    let is_hex = |length: usize| {
        digits.len() == length && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    match kind.to_ascii_lowercase().as_str() {
        "adler32" | "adler" => u32::from_str_radix(&digits, 16).ok().map(Checksum::Adler32),
        "md5" if is_hex(32) => Some(Checksum::Md5(digits)),
        "sha256" | "sha-256" if is_hex(64) => Some(Checksum::Sha256(digits)),
        _ => None,
    }
}

/// Splits a URL before its question mark.
fn cut_query(url: &str) -> (&str, &str) {
    url.split_at(url.find('?').unwrap_or(url.len()))
}

fn directory_of(place: &str) -> String {
    let (plain, query) = cut_query(place);
    let directory = plain
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    format!("{directory}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_as_xrdfs_wants_it() {
        let place = RemotePlace::new("root://u@h:1094//eos/a b/x?authz=secret/1");
        let mut values = Values::new();
        place.put_into(&mut values);
        for (name, value) in [
            ("server", "root://u@h:1094"),
            ("remote_path", "/eos/a b/x?authz=secret/1"),
            ("remote_directory", "/eos/a b?authz=secret/1"),
            ("directory_url", "root://u@h:1094//eos/a b?authz=secret/1"),
        ] {
            assert_eq!(values[name], value, "{name}");
        }
        assert_eq!(place.shown(), "root://h:1094//eos/a b/x");
        assert_eq!(
            place.without_secrets("cannot open x?authz=secret/1: no"),
            "cannot open x?…: no"
        );
    }

    #[test]
    fn a_temporary_place_lies_in_the_same_directory_and_keeps_the_key() {
        let place = RemotePlace::new("root://h//d/x?authz=k");
        let temporary = place.temporary(Direction::StageOut).expect("has a name");
        let url = &temporary.url;
        assert!(url.starts_with("root://h//d/.ailurus-"), "{url}");
        assert!(url.ends_with(".part?authz=k"), "{url}");
        let error = RemotePlace::new("root://h//d/").temporary(Direction::StageOut);
        assert!(error.is_err());
    }

    #[test]
    fn checksums_of_programs_are_read() {
        assert_eq!(read_checksum("adler32", "1A"), Some(Checksum::Adler32(26)));
        assert_eq!(read_checksum("md5", "1a"), None);
        assert_eq!(read_checksum("crc32c", "1a"), None);
    }
}
