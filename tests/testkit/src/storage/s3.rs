//! An S3 server that checks signatures: `s3s-fs`, a program of the Rust registry.
//!
//! `cargo xtask test` builds it once into [`place::target`]; it is no dependency of ours, for it
//! takes longer to build than all of our own crates. Buckets are folders, objects are files in
//! them. It knows multipart uploads, ranges and presigned URLs.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::place;
use crate::server::{self, LOG, Server};

/// The program, also the name of its package.
pub const PROGRAM: &str = "s3s-fs";

/// The package's version; newer ones want a newer Rust.
pub const VERSION: &str = "0.14.1";

/// A running server with one access key. It ends with this value.
#[derive(Debug)]
pub struct S3 {
    server: Server,
    folder: PathBuf,
    port: u16,
}

impl S3 {
    /// The access key.
    pub const ACCESS_KEY: &'static str = "ailurus-test";
    /// Its secret key.
    pub const SECRET_KEY: &'static str = "no secret at all";
    /// The region by which requests are signed.
    pub const REGION: &'static str = "us-east-1";

    /// Starts a server with these empty buckets, below an empty folder of its own. None if the
    /// machine has no `s3s-fs`.
    ///
    /// # Errors
    ///
    /// It does not start; the message has the end of its log.
    pub fn start(folder: &Path, buckets: &[&str]) -> anyhow::Result<Option<Self>> {
        let advice = format!("cargo install {PROGRAM} --version {VERSION} --features binary");
        let Some(program) = server::find_or_say(PROGRAM, &tools(), &advice)? else {
            return Ok(None);
        };
        for bucket in buckets {
            fs::create_dir_all(folder.join("files").join(bucket))
                .with_context(|| format!("`{}` cannot be made", folder.display()))?;
        }
        let folder = folder.canonicalize()?;
        let mut port = 0;
        let server = Server::start("the S3 server", &folder, None, is_ready, || {
            port = server::free_port()?;
            let files = folder.join("files");
            let files = files.to_str().context("a path of a test is text")?;
            let program = program.to_str().context("a path of a test is text")?;
            let number = port.to_string();
            let keys = [
                "--access-key",
                Self::ACCESS_KEY,
                "--secret-key",
                Self::SECRET_KEY,
            ];
            let place = ["--host", "127.0.0.1", "--port", &number, files];
            let words = [&[program][..], &keys, &place].concat();
            Ok(words.into_iter().map(str::to_owned).collect())
        })?;
        Ok(Some(Self {
            server,
            folder,
            port,
        }))
    }

    /// Returns scheme, host and port. Buckets are the first part of a path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns where it listens, for a proxy before it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Returns the folder on disk with a folder for each bucket.
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

/// Returns where `cargo xtask test` puts the programs that it builds.
#[must_use]
pub fn tools() -> PathBuf {
    place::target().join("tools/bin")
}

fn is_ready(folder: &Path) -> bool {
    let log = fs::read_to_string(folder.join(LOG)).unwrap_or_default();
    log.contains("server is running")
}
