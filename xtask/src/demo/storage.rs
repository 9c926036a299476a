//! What the demo's two sites store their files in: folders, or an XRootD server each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ailurus_testkit::{
    QueueSettings,
    deployment::{Protocol, SiteStorage},
    storage::{Certificates, XRootD, xrootd::Settings},
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
    /// The same server, by HTTPS.
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
pub(super) struct Servers {
    sites: Vec<Site>,
    /// What they show who they are with.
    certificates: Option<Certificates>,
}

/// A site's server.
#[derive(Debug)]
struct Site {
    endpoint: String,
    /// How its own jobs come to it, for people.
    way: String,
    server: XRootD,
}

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
        if kind == Kind::Directory {
            return Ok(Self::default());
        }
        storage::provide_xrootd()?;
        let certificates = Certificates::make(&folder.join("certificates"))?;
        let settings = Settings {
            authority: certificates.as_ref(),
            ..Settings::default()
        };
        let mut sites = Vec::new();
        for queue in queues {
            let endpoint = queue.endpoint();
            let place = folder.join("storage").join(&endpoint);
            fs::create_dir_all(&place)
                .with_context(|| format!("`{}` cannot be made", place.display()))?;
            let Some(server) = XRootD::start_with(&place, settings)? else {
                bail!("`--storage` needs XRootD: `apt-get install xrootd-server xrootd-client`");
            };
            let storage = site_storage(kind, &server, certificates.as_ref());
            let first = storage.protocols.first();
            let way = first.map_or_else(String::new, |it| format!("{}{}", it.endpoint, it.path));
            queue.storage = Some(storage);
            sites.push(Site {
                endpoint,
                way,
                server,
            });
        }
        Ok(Self {
            sites,
            certificates,
        })
    }

    /// Copies a stored file to a path, as a person would.
    ///
    /// # Errors
    ///
    /// The file is not there.
    pub(super) fn fetch(&self, url: &str, target: &Path) -> anyhow::Result<()> {
        match url.split_once("://") {
            Some(("file", path)) => {
                fs::copy(path, target).with_context(|| format!("`{path}` cannot be copied"))?;
                Ok(())
            }
            Some(("root", _)) => {
                let options = ["--silent", "--force", url];
                shell::run(Command::new("xrdcp").args(options).arg(target))
            }
            Some(("https", _)) => {
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--show-error", "--fail"]);
                if let Some(certificates) = &self.certificates {
                    curl.arg("--cacert").arg(certificates.authority());
                }
                shell::run(curl.arg("--output").arg(target).arg(url))
            }
            Some(_) | None => bail!("`{url}` is a place that the demo does not know"),
        }
    }

    /// Prints what lies in each storage.
    ///
    /// # Errors
    ///
    /// A storage cannot be read, there is nothing at all, or a file is empty.
    pub(super) fn show(&self) -> anyhow::Result<()> {
        let mut n_files = 0;
        for site in &self.sites {
            let mut files = Vec::new();
            list(&site.server.dir(), &mut files)?;
            let n_bytes: u64 = files.iter().map(|(_, length)| length).sum();
            println!(
                "  {:<18}{:>6} files, {:.1} MB, at {}",
                site.endpoint,
                files.len(),
                n_bytes as f64 / 1e6,
                site.way
            );
            if let Some((path, _)) = files.iter().find(|(_, length)| *length == 0) {
                bail!("`{}` is empty", path.display());
            }
            n_files += files.len();
        }
        if n_files == 0 && !self.sites.is_empty() {
            bail!("nothing lies in any storage");
        }
        Ok(())
    }
}

fn site_storage(kind: Kind, server: &XRootD, certificates: Option<&Certificates>) -> SiteStorage {
    let path = format!("{}/", server.export());
    let root = Protocol {
        endpoint: format!("root://{}/", server.root_host()),
        path: path.clone(),
        flavour: "XROOT".to_owned(),
    };
    let http = Protocol {
        endpoint: server.https_endpoint(),
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
        environment: certificates.map_or_else(Vec::new, |certificates| {
            let directory = certificates.directory().display().to_string();
            vec![("X509_CERT_DIR".to_owned(), directory)]
        }),
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
