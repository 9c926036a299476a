//! Copy tools that are external programs: the real `xrdcp`, and programs that do what they are told
//! not to.

mod gsi;
mod misbehaviour;
mod stand_in;
mod xrootd;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, atomic::AtomicBool},
    time::Duration,
};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{ByteCount, Checksum};
use ailurus_transfer::{
    CommandTool, CommandTools, Direction, Durability, FileIdentity, Patience, Tool, Transfer,
    TransferError, TransferReport, Watch, checksum::ChecksumKind,
};

static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| Arc::new(Catalogue::built_in()));

/// Names that a shell, a URL or an option parser would trip over.
const ODD_NAMES: [&str; 10] = [
    "plain.root",
    "a b  c",
    "p%20q%",
    "ю—中.root",
    "-rf",
    "quote'and\"double",
    "$(touch evil);`x`&|<>",
    "new\nline",
    "hash#tag",
    "back\\slash",
];

const PATIENCE: Patience = Patience {
    begin: Duration::from_secs(60),
    stall: Duration::from_secs(60),
    least_bytes: 1,
    blind: Duration::from_secs(60),
};

fn tool(name: &str, setup: &str) -> CommandTool {
    let tools = CommandTools::built_in(CATALOGUE.clone()).expect("sound");
    tools.tool(name, setup).expect("known")
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

fn run(tool: &CommandTool, transfer: &Transfer) -> Result<TransferReport, TransferError> {
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
    ByteCount::from_bytes(bytes.len() as u64)
}

/// Everything below a directory, hidden files too, by rising name.
fn names_in(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        if entry.file_type().expect("still there").is_dir() {
            found.extend(names_in(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
