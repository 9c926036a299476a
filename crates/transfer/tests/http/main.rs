//! The copy tool for HTTP and WebDAV against storage that lies, breaks and refuses, and against
//! real servers.

mod breaking;
mod credentials;
mod faults;
mod names;
mod real;
mod stage_in;
mod stage_out;
mod third_party;

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ailurus_model::{ByteCount, Checksum};
use ailurus_testkit::storage::LyingStore;
use ailurus_transfer::{
    Budget, Cause, Direction, Durability, FileIdentity, Patience, Tool as _, Transfer,
    TransferError, TransferReport, Watch,
    checksum::{ChecksumKind, adler32},
    http::{HttpOptions, HttpTool},
};

/// Patience of transfers that are to end by themselves.
const PATIENCE: Patience = Patience {
    begin: Duration::from_secs(20),
    stall: Duration::from_secs(20),
    least_bytes: 1,
    blind: Duration::from_secs(60),
};

/// Patience of transfers that are to be given up.
const IMPATIENCE: Patience = Patience {
    begin: Duration::from_millis(300),
    stall: Duration::from_millis(300),
    least_bytes: 1,
    blind: Duration::from_secs(60),
};

/// Storage, a directory of this node, and a tool.
struct Stand {
    store: LyingStore,
    dir: tempfile::TempDir,
    tool: HttpTool,
}

impl Stand {
    fn new() -> Self {
        Self::with(HttpOptions::default())
    }

    fn with(options: HttpOptions) -> Self {
        Self {
            store: LyingStore::start().expect("a port"),
            dir: tempfile::tempdir().expect("space"),
            tool: tool(options),
        }
    }

    /// A tool that fetches in parts of 10,000 bytes.
    fn in_parts() -> Self {
        Self::with(HttpOptions {
            part: ByteCount::from_bytes(10_000),
            ranges: NonZeroU32::new(4).expect("not zero"),
            ..HttpOptions::default()
        })
    }

    fn local(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Describes the fetching of a path into `job/in`.
    fn stage_in(&self, path: &str) -> Transfer {
        transfer(
            Direction::StageIn,
            &self.store.url(path),
            &self.local("job/in"),
        )
    }

    /// Describes the storing of content under a path.
    fn stage_out(&self, path: &str, content: &[u8]) -> Transfer {
        let file = self.local("out");
        fs::write(&file, content).expect("space");
        Transfer {
            checksum: Some(Checksum::Adler32(adler32(content))),
            ..transfer(Direction::StageOut, &self.store.url(path), &file)
        }
    }

    fn run(&self, transfer: &Transfer) -> Result<TransferReport, TransferError> {
        run(&self.tool, transfer)
    }

    fn fails(&self, transfer: &Transfer) -> Cause {
        let error = self.run(transfer).expect_err("a failure");
        assert_eq!(error.direction, transfer.direction);
        if transfer.direction == Direction::StageIn {
            assert_clean(self.dir.path());
        }
        error.cause
    }

    /// How often it was asked by a method.
    fn n_heard(&self, method: &str) -> usize {
        let heard = self.store.heard();
        let is_it = |line: &str| line.split(' ').next() == Some(method);
        heard
            .iter()
            .filter(|it| is_it(it.method_and_target()))
            .count()
    }
}

fn tool(options: HttpOptions) -> HttpTool {
    let buffers = Budget::new(Budget::BUFFER_BYTES);
    HttpTool::new(options, buffers, Budget::new(12)).expect("valid")
}

fn run(tool: &HttpTool, transfer: &Transfer) -> Result<TransferReport, TransferError> {
    tool.transfer(transfer, &watch(transfer.patience))
}

fn watch(patience: Patience) -> Watch {
    Watch::new(Arc::new(AtomicBool::new(false)), patience)
}

fn transfer(direction: Direction, url: &str, path: &Path) -> Transfer {
    Transfer {
        direction,
        url: url.to_owned(),
        path: path.to_owned(),
        size: None,
        checksum: None,
        kind: ChecksumKind::Adler32,
        also: Vec::new(),
        durability: Durability::Relaxed,
        patience: PATIENCE,
        identity: FileIdentity::default(),
    }
}

/// The transfer with what the catalogue says about a file of this content.
fn known(transfer: Transfer, content: &[u8]) -> Transfer {
    Transfer {
        size: Some(ByteCount::from_bytes(content.len() as u64)),
        checksum: Some(Checksum::Adler32(adler32(content))),
        ..transfer
    }
}

/// Bytes that look like data, the same for the same length.
fn data(length: usize) -> Vec<u8> {
    let mut state = u32::try_from(length).expect("small") | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Nothing half-written is left below a directory.
fn assert_clean(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_clean(&path);
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.ends_with(".part"), "{} is left", path.display());
    }
}
