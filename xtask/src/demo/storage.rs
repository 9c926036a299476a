//! What the demo's two sites store their files in: folders, or an XRootD server each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ailurus_testkit::{
    QueueSettings,
    deployment::{Protocol, SiteStorage},
    storage::XRootD,
};
use anyhow::{Context as _, bail};

use crate::{shell, storage};

/// A kind of storage, as `--storage` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A folder a site, which both sites see.
    Directory,
    /// A server a site, by `root://`.
    XRootD,
    /// The same server, by HTTP.
    WebDav,
}

impl Kind {
    /// Their names, for messages.
    pub(super) const NAMES: &'static str = "directory, xrootd, webdav";

    /// Finds a kind by its name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "directory" => Some(Self::Directory),
            "xrootd" => Some(Self::XRootD),
            "webdav" => Some(Self::WebDav),
            _ => None,
        }
    }
}

/// The servers of the sites. They end with this value.
#[derive(Debug, Default)]
pub(super) struct Servers(Vec<(String, XRootD)>);

impl Servers {
    /// Starts a server for each queue, and tells the queue of it. Folders need none.
    ///
    /// # Errors
    ///
    /// There is no XRootD and it cannot be installed, or it does not start.
    pub(super) fn start(
        kind: Kind,
        folder: &Path,
        queues: &mut [QueueSettings],
    ) -> anyhow::Result<Self> {
        let mut servers = Vec::new();
        if kind == Kind::Directory {
            return Ok(Self(servers));
        }
        storage::provide_xrootd()?;
        for queue in queues {
            let endpoint = queue.endpoint();
            let place = folder.join("storage").join(&endpoint);
            fs::create_dir_all(&place)
                .with_context(|| format!("`{}` cannot be made", place.display()))?;
            let Some(server) = XRootD::start(&place)? else {
                bail!("`--storage` needs XRootD: `apt-get install xrootd-server xrootd-client`");
            };
            queue.storage = Some(site_storage(kind, &server));
            servers.push((endpoint, server));
        }
        Ok(Self(servers))
    }

    /// Prints what lies in each storage.
    ///
    /// # Errors
    ///
    /// A storage cannot be read, is empty, or holds a file that was not finished.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (endpoint, server) in &self.0 {
            let mut files = Vec::new();
            list(&server.dir(), &mut files)?;
            let n_bytes: u64 = files.iter().map(|(_, length)| length).sum();
            println!(
                "  {endpoint:<18}{:>6} files, {:.1} MB, at {}",
                files.len(),
                n_bytes as f64 / 1e6,
                server.url("")
            );
            if files.is_empty() {
                bail!("nothing lies in storage `{endpoint}`");
            }
        }
        Ok(())
    }
}

fn site_storage(kind: Kind, server: &XRootD) -> SiteStorage {
    let path = format!("{}/", server.export());
    let root = Protocol {
        endpoint: format!("root://{}/", server.root_host()),
        path: path.clone(),
        flavour: "XROOT".to_owned(),
    };
    let http = Protocol {
        endpoint: server.http_endpoint(),
        path,
        flavour: "WEBDAV".to_owned(),
    };
    let (tools, protocols) = match kind {
        Kind::Directory | Kind::XRootD => (["xrdcp", "http"], [root, http]),
        Kind::WebDav => (["http", "xrdcp"], [http, root]),
    };
    SiteStorage {
        tools: tools.map(str::to_owned).to_vec(),
        protocols: protocols.to_vec(),
    }
}

fn list(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            let length = path.metadata()?.len();
            files.push((path, length));
        }
    }
    Ok(())
}

/// Copies a stored file to a path, as a person would.
///
/// # Errors
///
/// The file is not there.
pub(super) fn fetch(url: &str, target: &Path) -> anyhow::Result<()> {
    match url.split_once("://") {
        Some(("file", path)) => {
            fs::copy(path, target).with_context(|| format!("`{path}` cannot be copied"))?;
            Ok(())
        }
        Some(("root", _)) => shell::run(
            Command::new("xrdcp")
                .args(["--silent", "--force", url])
                .arg(target),
        ),
        Some(("http", _)) => {
            let options = ["--silent", "--show-error", "--fail", "--output"];
            shell::run(Command::new("curl").args(options).arg(target).arg(url))
        }
        Some(_) | None => bail!("`{url}` is a place that the demo does not know"),
    }
}
