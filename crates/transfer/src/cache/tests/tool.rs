//! A tool behind the cache.

use super::*;
use crate::{Durability, FileIdentity, Patience, RemoteFile, Tool, Transfer, Watch};

/// A storage that counts what it is asked for.
#[derive(Debug, Default)]
struct CountingTool(AtomicUsize);

impl Tool for CountingTool {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        watch.check(transfer.direction, &transfer.url)?;
        fs::create_dir_all(transfer.path.parent().expect("a directory")).expect("space");
        fs::write(&transfer.path, content(1)).expect("space");
        Ok(report(1))
    }

    fn look(&self, url: &str, _: &Watch) -> Result<RemoteFile, TransferError> {
        Err(TransferError::new(Direction::StageIn, url, Cause::Missing))
    }

    fn remove(&self, _: &str, _: &Watch) -> Result<(), TransferError> {
        Ok(())
    }
}

#[test]
fn a_tool_behind_the_cache_is_asked_once_for_a_file_that_is_known() {
    let fixture = Fixture::new();
    let tool = Arc::new(CountingTool::default());
    let cached = CachedTool::new(tool.clone(), Arc::new(fixture.open(100)));
    let mut transfer = Transfer {
        direction: Direction::StageIn,
        url: "root://storage//f1".into(),
        path: fixture.target("a"),
        size: Some(report(1).size),
        checksum: Some(report(1).checksum),
        kind: ChecksumKind::Adler32,
        also: Vec::new(),
        durability: Durability::Relaxed,
        patience: Patience {
            begin: Duration::from_secs(10),
            ..Patience::default()
        },
        identity: FileIdentity {
            scope: Some(Scope::new("spd")),
            lfn: Some(Lfn::new("f1")),
            ..FileIdentity::default()
        },
    };
    let watch = Watch::new(Arc::default(), transfer.patience);
    for name in ["a", "b", "c"] {
        transfer.path = fixture.target(name);
        cached.transfer(&transfer, &watch).expect("works");
        assert_eq!(fs::read(&transfer.path).expect("there"), content(1));
    }
    assert_eq!(tool.0.load(Ordering::Relaxed), 1);
    assert_eq!(fixture.kept(), [1]);
    // What the catalogue does not know, and outputs, go by the cache.
    let unknown = Transfer {
        checksum: None,
        ..transfer.clone()
    };
    transfer.direction = Direction::StageOut;
    for transfer in [unknown, transfer] {
        cached.transfer(&transfer, &watch).expect("works");
    }
    assert_eq!(tool.0.load(Ordering::Relaxed), 3);
}
