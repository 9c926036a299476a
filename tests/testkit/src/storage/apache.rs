//! Debian's Apache with `mod_dav`: `WebDAV` storage as a plain web server has it, with and without
//! HTTPS.
//!
//! Unlike `XRootD` it makes no collection by itself: a PUT below one that is not there is answered
//! with 403 or 409, and it knows no checksums and no third-party copy. It listens on loopback and is one
//! process.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::certificates::Certificates;
use crate::server::{self, Server};

/// What helps on Debian. The package has the program without the service.
const ADVICE: &str = "apt-get install apache2-bin";

/// Where Debian's package puts its modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// Who may read and write, and how.
#[derive(Debug, Clone, Copy, Default)]
pub enum Access<'a> {
    /// Everybody, over plain HTTP.
    #[default]
    Anyone,
    /// Everybody, over HTTPS with the host's certificate of this authority.
    Https(&'a Certificates),
    /// Over HTTPS, who shows a user's certificate of this authority; proxies are refused, as
    /// Apache cannot be told to take them.
    ClientCertificates(&'a Certificates),
    /// Over plain HTTP, who says `Authorization: Bearer` with this token; others get 403.
    Token(&'a str),
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct Apache {
    server: Server,
    folder: PathBuf,
    port: u16,
    scheme: &'static str,
}

impl Apache {
    /// Starts a server that everybody may read and write, below an empty folder of its own. None
    /// if the machine has no Apache.
    ///
    /// # Errors
    ///
    /// It does not start; the message has the end of its log.
    pub fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        Self::start_with(folder, Access::default())
    }

    /// As [`Apache::start`], for certain people.
    ///
    /// # Errors
    ///
    /// As [`Apache::start`].
    pub fn start_with(folder: &Path, access: Access<'_>) -> anyhow::Result<Option<Self>> {
        if !server::are_there(&["apache2"], ADVICE)? {
            return Ok(None);
        }
        for place in ["files", "locks"] {
            fs::create_dir_all(folder.join(place))
                .with_context(|| format!("`{}` cannot be made", folder.display()))?;
        }
        let folder = folder.canonicalize()?;
        let mut port = 0;
        let server = Server::start("Apache", &folder, None, is_ready, || {
            port = server::free_port()?;
            let file = folder.join("apache.conf");
            fs::write(&file, configuration(&folder, access, port)?)?;
            let file = file.to_str().context("a path of a test is text")?;
            // One process, in the foreground: it ends as a whole.
            Ok(["apache2", "-X", "-f", file].map(str::to_owned).to_vec())
        })?;
        Ok(Some(Self {
            server,
            folder,
            port,
            scheme: match access {
                Access::Anyone | Access::Token(_) => "http",
                Access::Https(_) | Access::ClientCertificates(_) => "https",
            },
        }))
    }

    /// Returns the URL of a file; what the path holds must be encoded already.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint())
    }

    /// Returns scheme, host and port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.port)
    }

    /// Returns where it listens, for a proxy before it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Returns the folder on disk of what clients name `/`.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.folder.join("files")
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

/// It writes its process id once its port is its own.
fn is_ready(folder: &Path) -> bool {
    fs::read_to_string(folder.join("pid")).is_ok_and(|text| text.ends_with('\n'))
}

fn configuration(folder: &Path, access: Access<'_>, port: u16) -> anyhow::Result<String> {
    let place = folder.display();
    let mut modules = vec!["mpm_event", "authz_core", "dav", "dav_fs"];
    let mut people = "Require all granted".to_owned();
    let mut tls = String::new();
    match access {
        Access::Anyone => {}
        Access::Token(token) => {
            people = format!("Require expr \"%{{HTTP:Authorization}} == 'Bearer {token}'\"");
        }
        Access::Https(certificates) | Access::ClientCertificates(certificates) => {
            modules.push("ssl");
            let (host, authorities) = certificates.copy_to(folder)?;
            tls = format!(
                "SSLEngine on\nSSLCertificateFile {}\nSSLCertificateKeyFile {}\n\
                 SSLCACertificatePath {}\n",
                host.certificate.display(),
                host.key.display(),
                authorities.display()
            );
        }
    }
    if matches!(access, Access::ClientCertificates(_)) {
        tls.push_str("SSLVerifyClient require\n");
    }
    let load: String = modules
        .iter()
        .map(|module| format!("LoadModule {module}_module {MODULES}/mod_{module}.so\n"))
        .collect();
    Ok(format!(
        "{load}\
         ServerRoot {place}\n\
         ServerName localhost\n\
         DefaultRuntimeDir {place}\n\
         PidFile {place}/pid\n\
         Mutex file:{place}/locks\n\
         ErrorLog {place}/log\n\
         Listen 127.0.0.1:{port}\n\
         DocumentRoot {place}/files\n\
         DavLockDB {place}/locks/dav\n\
         {tls}\
         <Directory {place}/files>\n  Dav On\n  {people}\n</Directory>\n"
    ))
}
