//! Which tool moves what: by the name that a queue uses, or by a URL's scheme.

use std::sync::Arc;

use crate::{Cause, Direction, Tool, TransferError};

/// The copy tools of this pilot. Where two serve the same name or scheme, the first is taken.
#[derive(Debug, Clone, Default)]
pub struct Toolbox(Vec<Entry>);

#[derive(Debug, Clone)]
struct Entry {
    tool: Arc<dyn Tool>,
    names: Vec<String>,
    schemes: Vec<String>,
}

impl Entry {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn schemes(&self) -> &[String] {
        &self.schemes
    }
}

impl Toolbox {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool with its further names, beside [`Tool::name`], and the schemes that it serves;
    /// the empty one stands for a plain path.
    pub fn add(&mut self, tool: Arc<dyn Tool>, further_names: &[&str], schemes: &[&str]) {
        let names = [tool.name()]
            .into_iter()
            .chain(further_names.iter().copied());
        self.0.push(Entry {
            names: names.map(str::to_owned).collect(),
            schemes: schemes.iter().map(|&it| it.to_owned()).collect(),
            tool,
        });
    }

    /// Returns all names, in the order in which they are looked up.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(Entry::names).map(String::as_str)
    }

    /// Finds the tool of a name.
    ///
    /// # Errors
    ///
    /// [`Cause::UnknownTool`] with the names that there are.
    pub fn named(&self, direction: Direction, name: &str) -> Result<&Arc<dyn Tool>, TransferError> {
        self.find(direction, name, Entry::names)
    }

    /// Finds the tool for a URL or plain path.
    ///
    /// # Errors
    ///
    /// [`Cause::UnknownTool`] with the schemes that there are.
    pub fn for_url(
        &self,
        direction: Direction,
        url: &str,
    ) -> Result<&Arc<dyn Tool>, TransferError> {
        let scheme = split_url(url).map_or("", |(scheme, _)| scheme);
        self.find(direction, scheme, Entry::schemes)
    }

    fn find(
        &self,
        direction: Direction,
        wanted: &str,
        known: fn(&Entry) -> &[String],
    ) -> Result<&Arc<dyn Tool>, TransferError> {
        let serves = |entry: &&Entry| known(entry).iter().any(|it| it == wanted);
        if let Some(entry) = self.0.iter().find(serves) {
            return Ok(&entry.tool);
        }
        let known: Vec<&str> = self
            .0
            .iter()
            .flat_map(known)
            .map(|it| if it.is_empty() { "plain paths" } else { it })
            .collect();
        let cause = Cause::UnknownTool {
            wanted: wanted.to_owned(),
            known: known.join(", "),
        };
        Err(TransferError::new(direction, wanted, cause))
    }
}

/// Splits a URL into its scheme and the rest; none for a plain path, which may hold `://` behind
/// a slash.
pub(crate) fn split_url(url: &str) -> Option<(&str, &str)> {
    url.split_once("://")
        .filter(|(scheme, _)| !scheme.contains('/'))
}

/// Returns the host of a URL with its port, without who asks; empty for files of this node.
pub(crate) fn host_of(url: &str) -> &str {
    let Some((_, rest)) = split_url(url).filter(|(scheme, _)| *scheme != "file") else {
        return "";
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_with_their_port_and_without_secrets() {
        for (url, host) in [
            ("root://eos.example.org:1094//eos/a", "eos.example.org:1094"),
            ("https://user:secret@se.example.org/a@b", "se.example.org"),
            ("https://[::1]:8443/a", "[::1]:8443"),
            ("https://se.example.org?x=1", "se.example.org"),
            ("file:///data/a", ""),
            ("file://localhost/data/a", ""),
            ("/data/a", ""),
            ("/odd/a://b", ""),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
