//! Debian's `XRootD` server: `root://`, HTTP and HTTPS with `WebDAV`, and third-party copy.
//!
//! It listens on all interfaces (version 5 cannot be told otherwise) at ports of chance. What
//! clients name `/data/PATH` lies below [`XRootD::dir`].

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::certificates::{Certificates, Identity};
use crate::server::{self, LOG, OwnFiles, Server};

/// What helps on Debian.
const ADVICE: &str =
    "apt-get install xrootd-server xrootd-server-plugins xrootd-voms-plugins xrootd-client";

/// What clients name the top of the storage.
const EXPORT: &str = "/data";

/// Who may read and write.
#[derive(Debug, Clone, Copy, Default)]
pub enum Access<'a> {
    /// Everybody, over `root://` and plain HTTP.
    #[default]
    Anyone,
    /// The users that this authority has made before the start: by GSI over `root://`, by their
    /// client certificate over HTTPS, with a proxy or without one.
    Proxies(&'a Certificates),
}

/// What may be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rights {
    /// Everything.
    #[default]
    ReadWrite,
    /// Reading; what is to be read is put below [`XRootD::dir`] by the test.
    ReadOnly,
}

/// What a server is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'a> {
    /// Who may read and write.
    pub access: Access<'a>,
    /// The authority of its certificate for HTTPS where everybody is let in; none for one of its
    /// own.
    pub authority: Option<&'a Certificates>,
    /// What may be done.
    pub rights: Rights,
    /// How much it can store, in bytes; none for as much as the disk holds. The machine must allow
    /// mount namespaces.
    pub space: Option<u64>,
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct XRootD {
    server: Server,
    folder: PathBuf,
    root_port: u16,
    http_port: u16,
    is_open: bool,
    own: Option<Certificates>,
    has_own_files: bool,
}

impl XRootD {
    /// Starts a server that everybody may read and write, below an empty folder of its own. None
    /// if the machine has no `XRootD`.
    ///
    /// # Errors
    ///
    /// It does not start; the message has the end of its log.
    pub fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        Self::start_with(folder, Settings::default())
    }

    /// As [`XRootD::start`], of other settings.
    ///
    /// # Errors
    ///
    /// As [`XRootD::start`].
    pub fn start_with(folder: &Path, settings: Settings<'_>) -> anyhow::Result<Option<Self>> {
        if !server::are_there(&["xrootd", "xrdcp", "xrdfs"], ADVICE)? {
            return Ok(None);
        }
        for place in [&format!("root{EXPORT}"), "admin"] {
            fs::create_dir_all(folder.join(place))
                .with_context(|| format!("`{}` cannot be made", folder.display()))?;
        }
        // The server takes paths as they are, and its own must not depend on where it runs.
        let folder = folder.canonicalize()?;
        let own_files = settings.space.map(|size| OwnFiles {
            path: folder.join(format!("root{EXPORT}")),
            size,
        });
        if own_files.is_some() && !OwnFiles::are_possible() {
            return Ok(None);
        }
        // Without HTTPS it would have no third-party copy over HTTP either.
        let given = match settings.access {
            Access::Anyone => settings.authority,
            Access::Proxies(certificates) => Some(certificates),
        };
        let own = match given {
            Some(_) => None,
            None => Certificates::make(&folder.join("certificates"))?,
        };
        let Some(certificates) = given.or(own.as_ref()) else {
            return Ok(None);
        };
        let (host, authorities) = certificates.copy_to(&folder)?;
        let (mut root_port, mut http_port) = (0, 0);
        let server = Server::start("XRootD", &folder, own_files.as_ref(), is_ready, || {
            (root_port, http_port) = (server::free_port()?, server::free_port()?);
            let file = folder.join("xrootd.cfg");
            let configuration = Configuration {
                folder: &folder,
                settings,
                ports: (root_port, http_port),
                host: &host,
                authorities: &authorities,
            };
            fs::write(&file, configuration.to_text())?;
            let users = certificates.user_hashes();
            let rules = users.iter().map(|hash| format!("u {hash}.0 {EXPORT} a\n"));
            fs::write(folder.join("rules"), rules.collect::<String>())?;
            let file = file.to_str().context("a path of a test is text")?;
            Ok(["xrootd", "-c", file].map(str::to_owned).to_vec())
        })?;
        Ok(Some(Self {
            server,
            folder,
            root_port,
            http_port,
            is_open: matches!(settings.access, Access::Anyone),
            own,
            has_own_files: own_files.is_some(),
        }))
    }

    /// Returns the `root://` URL of a file, for example of `spd/a.root`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("root://{}/{EXPORT}/{path}", self.root_host())
    }

    /// Returns the URL of a file over HTTP, or over HTTPS where people must show who they are;
    /// what the path holds must be encoded already.
    #[must_use]
    pub fn http_url(&self, path: &str) -> String {
        format!("{}{EXPORT}/{path}", self.http_endpoint())
    }

    /// Returns the URL of a file over HTTPS, which every server speaks at the same port.
    #[must_use]
    pub fn https_url(&self, path: &str) -> String {
        format!("{}{EXPORT}/{path}", self.https_endpoint())
    }

    /// Returns scheme, host and port of HTTPS.
    #[must_use]
    pub fn https_endpoint(&self) -> String {
        format!("https://localhost:{}", self.http_port)
    }

    /// Returns the authority of its own that a server for everybody has for HTTPS.
    #[must_use]
    pub const fn certificates(&self) -> Option<&Certificates> {
        self.own.as_ref()
    }

    /// Returns host and port of `root://`, as a URL has them.
    #[must_use]
    pub fn root_host(&self) -> String {
        format!("localhost:{}", self.root_port)
    }

    /// Returns scheme, host and port of HTTP or HTTPS.
    #[must_use]
    pub fn http_endpoint(&self) -> String {
        let scheme = if self.is_open { "http" } else { "https" };
        format!("{scheme}://localhost:{}", self.http_port)
    }

    /// Returns where `root://` is listened at, for a proxy before it.
    #[must_use]
    pub fn root_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.root_port))
    }

    /// Returns where HTTP or HTTPS is listened at, for a proxy before it.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.http_port))
    }

    /// Returns what clients name the top of the storage, `/data`.
    #[must_use]
    pub const fn export(&self) -> &'static str {
        EXPORT
    }

    /// Returns the folder on disk of what clients name `/data`.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        let inside = self.folder.join(format!("root{EXPORT}"));
        if self.has_own_files {
            let top = format!("/proc/{}/root{}", self.id(), inside.display());
            return PathBuf::from(top);
        }
        inside
    }

    /// Returns the server's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Returns its process id, for a test that stops or kills it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.server.id()
    }
}

fn is_ready(folder: &Path) -> bool {
    let log = fs::read_to_string(folder.join(LOG)).unwrap_or_default();
    log.lines()
        .any(|line| line.starts_with("------ xrootd ") && line.ends_with("completed."))
}

/// What goes into the configuration file.
struct Configuration<'a> {
    folder: &'a Path,
    settings: Settings<'a>,
    /// Of `root://` and HTTP.
    ports: (u16, u16),
    host: &'a Identity,
    authorities: &'a Path,
}

impl Configuration<'_> {
    fn to_text(&self) -> String {
        let place = self.folder.display();
        let (root_port, http_port) = self.ports;
        let (certificate, key) = (self.host.certificate.display(), self.host.key.display());
        let authorities = self.authorities.display();
        let rights = match self.settings.rights {
            Rights::ReadWrite => "writable",
            Rights::ReadOnly => "notwritable",
        };
        let mut text = format!(
            "all.role server\n\
             xrd.port {root_port}\n\
             all.export {EXPORT} {rights}\n\
             oss.localroot {place}/root\n\
             all.adminpath {place}/admin\n\
             all.pidpath {place}/admin\n\
             xrootd.chksum max 2 adler32 crc32c md5\n\
             ofs.tpc fcreds ?gsi =X509_USER_PROXY ttl 60 60 xfr 9 pgm /usr/bin/xrdcp --server\n\
             xrd.tls {certificate} {key}\n\
             xrd.tlsca certdir {authorities}\n\
             xrd.protocol XrdHttp:{http_port} libXrdHttp.so\n\
             http.desthttps no\n\
             http.listingdeny no\n\
             http.exthandler xrdtpc libXrdHttpTPC.so\n"
        );
        if matches!(self.settings.access, Access::Proxies(_)) {
            text.push_str(&format!(
                "xrootd.seclib libXrdSec.so\n\
                 sec.protocol gsi -certdir:{authorities} -cert:{certificate} -key:{key} -crl:0 \
                 -gmapopt:0 -dlgpxy:0\n\
                 sec.protbind * only gsi\n\
                 xrootd.tls capable all\n\
                 acc.authdb {place}/rules\n\
                 ofs.authorize 1\n"
            ));
        }
        text
    }
}
