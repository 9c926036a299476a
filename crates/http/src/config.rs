//! What a client is told once, when it is made.

use std::{path::PathBuf, time::Duration};

/// All settings of a [`crate::Client`].
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Limits on time.
    pub timeouts: Timeouts,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Whose server certificates are believed.
    pub trust: Trust,
    /// Whether servers must prove who they are.
    pub verification: Verification,
    /// The client's own certificate, if it has one.
    pub certificate: Option<ClientCertificate>,
    /// The bearer token, if there is one. It is sent with every request, never over a redirect.
    pub token: Option<BearerToken>,
    /// The HTTP proxy, if one is to be used.
    pub proxy: Option<ProxyConfig>,
    /// Whether answers that point elsewhere are gone after.
    pub redirects: Redirects,
    /// Most bytes of an answer that is kept in memory.
    pub response_max_bytes: u64,
}

/// Limits on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands, with name look-up and TLS.
    pub connect: Duration,
    /// Until the whole answer of a request has come.
    pub whole: Duration,
    /// Until a file has come whole, in [`crate::Client::get_to_file`].
    pub download: Duration,
}

/// What becomes of answers that point elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redirects {
    /// They are gone after, a few times. Headers of the request go along, whatever host it is.
    #[default]
    Followed,
    /// They are the answer: for requests whose headers are secrets.
    Told,
}

/// Whose server certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Mozilla's list, built in.
    #[default]
    BuiltIn,
    /// The certificates of one PEM file, and no others.
    File(PathBuf),
    /// Those of all files in a directory, as `/etc/grid-security/certificates`, and no others.
    Directory(PathBuf),
    /// The same and Mozilla's list: directories of grid sites lack the authorities of the web,
    /// which certify many servers of experiments.
    DirectoryAndBuiltIn(PathBuf),
}

/// Whether servers must prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verification {
    /// Certificate chain, validity and host name are checked.
    #[default]
    On,
    /// Nothing is checked: for test stands only.
    Off,
}

/// The client's own certificate. Both files may be the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file with the certificate, then the rest of its chain.
    pub chain_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// A bearer token in a file, which may be replaced by a newer one at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BearerToken {
    /// The file; blanks and line ends around the token are ignored.
    pub file: PathBuf,
    /// The `Origin` header, by which PanDA learns the role: `<vo>.<role>`.
    pub origin: String,
}

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Its address, for example `http://squid.example.org:3128`.
    pub url: String,
    /// Hosts that are reached without it, as in `no_proxy`.
    pub except: Vec<String>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            user_agent: concat!("ailurus/", env!("CARGO_PKG_VERSION")).to_owned(),
            trust: Trust::default(),
            verification: Verification::default(),
            certificate: None,
            token: None,
            proxy: None,
            redirects: Redirects::default(),
            response_max_bytes: 64 << 20,
        }
    }
}

impl Default for Timeouts {
    /// Pilot 3's 120 seconds for a request, 20 of them for the connection, 10 minutes for a file.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            whole: Duration::from_secs(120),
            download: Duration::from_secs(600),
        }
    }
}
