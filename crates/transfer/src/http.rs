//! The copy tool for HTTP, HTTPS and WebDAV: `http`.
//!
//! [`HttpTool`] fetches with one pass of checksums, goes on after broken connections, fetches large
//! files in parts side by side, and stores under a name of its own first where the storage can
//! rename. It believes no answer that can be checked: sizes, ranges, versions and checksums are
//! compared. Which storage to ask and when to try again is decided elsewhere; what is tried again
//! here is one connection of a transfer that moves.
//!
//! How names become URLs is told by [`place`](encode_path), which token goes where by
//! [`RedirectTrust`].

mod answer;
mod credential;
mod dav;
mod digest;
mod facts;
mod get;
mod hosts;
mod look;
mod macaroon;
mod place;
mod put;
mod session;
mod span;
mod third_party;
mod upload;

use std::{num::NonZeroU32, path::PathBuf, sync::Arc};

use ailurus_http::{ClientConfig, ConfigError, Exchanger};
use ailurus_model::ByteCount;

use self::{credential::Token, hosts::Hosts, place::Place, session::Session};
pub use self::{
    credential::{Macaroons, RedirectTrust},
    place::encode_path,
    third_party::{Mode, ThirdPartyCopy},
};
use crate::{
    Budget, Direction, RemoteFile, Tool, Transfer, TransferError, TransferReport, Watch,
    checksum::ChecksumKind,
    flow_marker::{FlowIds, FlowMarker},
};

/// What a storage tool over HTTP is told once.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Certificates, trust and proxy. Its token is not used.
    pub client: ClientConfig,
    /// The file with the bearer token, if there is one; it may be replaced at any time.
    pub token_file: Option<PathBuf>,
    /// Asks storages for macaroons, with the certificate or token, and uses these.
    pub macaroons: Option<Macaroons>,
    /// To which hosts tokens go along redirects.
    pub redirects: RedirectTrust,
    /// Most parts of one file at a time.
    pub ranges: NonZeroU32,
    /// Size of a part. Files up to this size are fetched in one.
    pub part: ByteCount,
    /// What storages are told that connections are for, so that they mark them.
    pub flow: Option<FlowIds>,
    /// Tells networks what connections are for, in packets of its own.
    pub flow_marker: Option<FlowMarker>,
}

impl Default for HttpOptions {
    /// Returns what suits most storages: four parts of 64 MiB at a time.
    fn default() -> Self {
        Self {
            client: ClientConfig::default(),
            token_file: None,
            macaroons: None,
            redirects: RedirectTrust::default(),
            ranges: NonZeroU32::new(4).expect("not zero"),
            part: ByteCount::from_bytes(64 << 20),
            flow: None,
            flow_marker: None,
        }
    }
}

/// Moves files between this node and storages that speak HTTP.
#[derive(Debug)]
pub struct HttpTool(Shared);

/// What all conversations of a tool share.
#[derive(Debug)]
pub(crate) struct Shared {
    options: HttpOptions,
    exchanger: Exchanger,
    token: Token,
    macaroons: macaroon::Memory,
    hosts: Hosts,
    /// Bytes of buffers.
    buffers: Arc<Budget>,
    /// Permits for threads that fetch parts.
    helpers: Arc<Budget>,
}

impl HttpTool {
    /// What queues call it, beside `http`.
    pub const FURTHER_NAMES: [&'static str; 2] = ["webdav", "davs"];

    /// The URL schemes that it serves.
    pub const SCHEMES: [&'static str; 4] = ["http", "https", "dav", "davs"];

    /// Makes the tool. No connection is opened. `buffers` bounds the bytes of its buffers, and
    /// `helpers` counts the further threads that large files may take at a time; both may be
    /// shared with other tools.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a certificate or key cannot be read, or the proxy's address is none.
    pub fn new(
        options: HttpOptions,
        buffers: Arc<Budget>,
        helpers: Arc<Budget>,
    ) -> Result<Self, ConfigError> {
        Ok(Self(Shared {
            exchanger: Exchanger::new(options.client.clone())?,
            token: Token::new(options.token_file.clone()),
            macaroons: macaroon::Memory::default(),
            hosts: Hosts::default(),
            buffers,
            helpers,
            options,
        }))
    }

    const fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Tool for HttpTool {
    fn name(&self) -> &'static str {
        "http"
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        let place = Place::read(transfer.direction, &transfer.url)?;
        let session = Session::new(&self.0, transfer.direction, watch);
        match transfer.direction {
            Direction::StageIn => get::get(&session, &place, transfer),
            Direction::StageOut => put::put(&session, &place, transfer),
        }
    }

    fn look(&self, url: &str, watch: &Watch) -> Result<RemoteFile, TransferError> {
        let place = Place::read(Direction::StageIn, url)?;
        let session = Session::new(&self.0, Direction::StageIn, watch);
        let found = session.look(&place, ChecksumKind::Adler32)?;
        Ok(RemoteFile {
            size: found.size,
            checksum: found.checksums.into_iter().next(),
        })
    }

    fn remove(&self, url: &str, watch: &Watch) -> Result<(), TransferError> {
        let place = Place::read(Direction::StageOut, url)?;
        let session = Session::new(&self.0, Direction::StageOut, watch);
        session.delete(&place)
    }
}
