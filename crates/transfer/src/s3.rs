//! The copy tools for object stores: `s3`, and `gs` for Google's.
//!
//! [`S3Tool`] signs each request (`rusty-s3` and, for Google, a service account's key) and sends it
//! over our own HTTP client. Stage-in is that of [`HttpTool`] with a signed URL: ranges side by
//! side, and going on after a break. Stage-out sends large files in parts side by side; an object
//! appears only when all of them are there, and each is compared by its MD5. Nothing of an object
//! is kept in memory.

mod conversation;
mod keys;
mod parts;
mod place;
mod put;
mod sign;

use std::{num::NonZeroU32, sync::Arc};

use ailurus_http::{ClientConfig, ConfigError, Exchanger};
use ailurus_model::ByteCount;

pub use keys::{AccessKey, S3Keys};
pub use sign::S3Signer;

use crate::{
    Budget, Cause, Direction, RemoteFile, Tool, Transfer, TransferError, TransferReport, Watch,
    http::{HttpOptions, HttpTool},
};
use conversation::Conversation;
use place::{Home, ObjectPlace};

/// Google's storage, where no other is given.
const GOOGLE: &str = "https://storage.googleapis.com";

/// Where AWS's own buckets are; between the two comes the region.
const AWS: (&str, &str) = ("https://s3.", ".amazonaws.com");

/// What a tool for object stores is told once.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Certificates, trust and proxy. Its token is not used.
    pub client: ClientConfig,
    /// Who signs requests.
    pub signer: S3Signer,
    /// Where buckets are that a URL names without a host: scheme, host and port.
    pub home: String,
    /// Size of a part. Files up to this size are moved in one.
    pub part: ByteCount,
    /// Most parts of one file at a time.
    pub parallel: NonZeroU32,
}

/// Moves files between this node and object stores.
#[derive(Debug)]
pub struct S3Tool {
    name: &'static str,
    options: S3Options,
    exchanger: Exchanger,
    http: HttpTool,
    /// Permits for threads that send parts.
    helpers: Arc<Budget>,
}

impl S3Options {
    /// Returns what suits most object stores: parts of 32 MiB, four at a time.
    fn with(signer: S3Signer, home: String) -> Self {
        Self {
            client: ClientConfig::default(),
            signer,
            home,
            part: ByteCount::from_bytes(32 << 20),
            parallel: NonZeroU32::new(4).expect("not zero"),
        }
    }

    /// Options for the access keys of [`S3Keys::from_environment`]; `AWS_ENDPOINT_URL` says where
    /// buckets without a host are.
    #[must_use]
    pub fn from_environment() -> Self {
        let options = Self::for_keys(S3Keys::from_environment());
        let home = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
        if home.is_empty() {
            return options;
        }
        Self { home, ..options }
    }

    /// Options for Google's storage: the service account of `GOOGLE_APPLICATION_CREDENTIALS`, or
    /// else HMAC keys where AWS's programs look for theirs.
    #[must_use]
    pub fn google_from_environment() -> Self {
        let account = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS");
        let account = account.filter(|file| !file.is_empty());
        Self::for_google(account.map_or_else(
            || S3Signer::Keys(S3Keys::from_environment()),
            |file| S3Signer::ServiceAccount(file.into()),
        ))
    }

    /// Options for access keys.
    #[must_use]
    pub fn for_keys(keys: S3Keys) -> Self {
        let region = keys
            .find()
            .map_or_else(|_| "us-east-1".to_owned(), |it| it.region);
        Self::with(S3Signer::Keys(keys), format!("{}{region}{}", AWS.0, AWS.1))
    }

    /// Options for Google's storage.
    #[must_use]
    pub fn for_google(signer: S3Signer) -> Self {
        Self::with(signer, GOOGLE.to_owned())
    }
}

impl S3Tool {
    /// The schemes that `s3` moves.
    pub const SCHEMES: [&'static str; 4] = ["s3", "s3s", "s3+https", "s3+rucio"];

    /// The schemes that `gs` moves.
    pub const GOOGLE_SCHEMES: [&'static str; 1] = ["gs"];

    /// Makes the tool `s3`. No connection is opened. `buffers` bounds the bytes of its buffers, and
    /// `helpers` counts the further threads that large files may take at a time; both may be
    /// shared with other tools.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a certificate or key cannot be read, or the proxy's address is none.
    pub fn new(
        options: S3Options,
        buffers: Arc<Budget>,
        helpers: Arc<Budget>,
    ) -> Result<Self, ConfigError> {
        Self::named("s3", options, buffers, helpers)
    }

    /// Makes the tool `gs`. No connection is opened.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn google(
        options: S3Options,
        buffers: Arc<Budget>,
        helpers: Arc<Budget>,
    ) -> Result<Self, ConfigError> {
        Self::named("gs", options, buffers, helpers)
    }

    fn named(
        name: &'static str,
        options: S3Options,
        buffers: Arc<Budget>,
        helpers: Arc<Budget>,
    ) -> Result<Self, ConfigError> {
        let http = HttpOptions {
            client: options.client.clone(),
            ranges: options.parallel,
            part: options.part,
            ..HttpOptions::default()
        };
        Ok(Self {
            name,
            exchanger: Exchanger::new(options.client.clone())?,
            http: HttpTool::new(http, buffers, Arc::clone(&helpers))?,
            helpers,
            options,
        })
    }

    fn place(&self, direction: Direction, url: &str) -> Result<ObjectPlace, TransferError> {
        let home = Home {
            endpoint: &self.options.home,
            bucket_scheme: "gs",
        };
        ObjectPlace::read(direction, url, &home)
    }

    /// Fetches by a signed URL.
    fn get(&self, transfer: &Transfer, watch: &Watch) -> Result<TransferReport, TransferError> {
        let place = self.place(Direction::StageIn, &transfer.url)?;
        let talk = Conversation::new(self, Direction::StageIn, &place, watch);
        let signed = Transfer {
            url: talk.sign(rusty_s3::Method::Get, &[])?.reveal().to_owned(),
            ..transfer.clone()
        };
        self.http.transfer(&signed, watch).map_err(|error| {
            if error.place == transfer.path.display().to_string() {
                return error;
            }
            // The body says why, and whose fault it is.
            let is_unclear = matches!(
                error.cause,
                Cause::NoPermission { .. } | Cause::Refused { .. }
            );
            let why = is_unclear.then(|| talk.why_not()).flatten();
            talk.error(why.unwrap_or(error.cause))
        })
    }
}

impl Tool for S3Tool {
    fn name(&self) -> &str {
        self.name
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        match transfer.direction {
            Direction::StageIn => self.get(transfer, watch),
            Direction::StageOut => {
                let place = self.place(Direction::StageOut, &transfer.url)?;
                let talk = Conversation::new(self, Direction::StageOut, &place, watch);
                put::put(&talk, transfer)
            }
        }
    }

    fn look(&self, url: &str, watch: &Watch) -> Result<RemoteFile, TransferError> {
        let place = self.place(Direction::StageIn, url)?;
        let talk = Conversation::new(self, Direction::StageIn, &place, watch);
        Ok(talk.look()?.to_remote_file())
    }

    fn remove(&self, url: &str, watch: &Watch) -> Result<(), TransferError> {
        let place = self.place(Direction::StageOut, url)?;
        let talk = Conversation::new(self, Direction::StageOut, &place, watch);
        talk.delete()
    }
}
