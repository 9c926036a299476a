//! The copy tools for object stores: against a real server that checks signatures, and against one
//! in the test's own process that misbehaves, or checks what Google's would.

mod bucket;
mod faults;
mod google;
mod real;

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ailurus_model::{ByteCount, Checksum};
use ailurus_transfer::{
    AccessKey, Budget, Direction, Durability, FileIdentity, Patience, S3Keys, S3Options, S3Tool,
    Tool as _, Transfer, TransferError, TransferReport, Watch, checksum::ChecksumKind,
};

const PATIENCE: Patience = Patience {
    begin: Duration::from_secs(30),
    stall: Duration::from_secs(30),
    least_bytes: 1,
    blind: Duration::from_secs(60),
};

/// Names that a URL, a signature or an XML parser would trip over.
const ODD_NAMES: [&str; 9] = [
    "plain.root",
    "a b  c",
    "p%20q%",
    "ю—中.root",
    "-rf",
    "quote'and\"double",
    "plus+and&amp;<tag>",
    "what?now=1#tag",
    "~tilde*(x)!,;:@$=",
];

fn keys(id: &str, secret: &str) -> S3Keys {
    S3Keys {
        given: Some(AccessKey {
            id: id.to_owned(),
            secret: ailurus_http::Secret::new(secret),
            session_token: None,
        }),
        ..S3Keys::default()
    }
}

/// Small parts, so that a small file has many.
fn options(keys: S3Keys, part: u64) -> S3Options {
    S3Options {
        part: ByteCount::from_bytes(part),
        parallel: NonZeroU32::new(4).expect("not zero"),
        ..S3Options::for_keys(keys)
    }
}

fn tool(options: S3Options) -> S3Tool {
    S3Tool::new(options, Budget::new(32 << 20), Budget::new(8)).expect("nothing is read")
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

fn watch() -> Watch {
    Watch::new(Arc::new(AtomicBool::new(false)), PATIENCE)
}

fn run(tool: &S3Tool, transfer: &Transfer) -> Result<TransferReport, TransferError> {
    tool.transfer(transfer, &watch())
}

fn adler32(bytes: &[u8]) -> Checksum {
    Checksum::Adler32(ailurus_transfer::checksum::adler32(bytes))
}

fn bytes(length: usize) -> Vec<u8> {
    let pattern = (0..=u8::MAX).flat_map(|a| (0..=250).map(move |b: u8| a ^ b));
    pattern.cycle().take(length).collect()
}

fn size_of(bytes: &[u8]) -> ByteCount {
    ByteCount::from_bytes(u64::try_from(bytes.len()).expect("small"))
}

/// Files of a job, written and wanted.
struct Job(tempfile::TempDir);

impl Job {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("space"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("job").join(name)
    }

    fn output(&self, url: &str, content: &[u8]) -> Transfer {
        let path = self.path("out");
        fs::create_dir_all(self.path("")).expect("space");
        fs::write(&path, content).expect("space");
        transfer(Direction::StageOut, url, &path)
    }

    fn fetch(&self, url: &str, content: &[u8]) -> Transfer {
        Transfer {
            size: Some(size_of(content)),
            checksum: Some(adler32(content)),
            ..transfer(Direction::StageIn, url, &self.path("in"))
        }
    }
}
