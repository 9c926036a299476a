//! Files in the server's cache, on each kind of ledger.

use std::{collections::BTreeMap, time::Duration};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{ByteCount, TaskId, TaskStatus};
use ailurus_server_core::{
    Context, Limits, MemoryLedger, expire_cache_files, ledger::Ledger, note_archives,
    note_cache_file, same_cache_file, touch_cache_file,
};
use ailurus_store::DatabaseLedger;

use crate::rows::{NOW, task};

const SIZE: ByteCount = ByteCount::from_kib(3);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Runs the same steps on a new ledger of each kind.
fn on_each_ledger(check: impl Fn(&mut Both)) {
    check(&mut Both::Memory(Box::default()));
    let dir = tempfile::tempdir().unwrap();
    let ledger = DatabaseLedger::open(&dir.path().join("server.db")).unwrap();
    check(&mut Both::Database(Box::new(ledger)));
}

enum Both {
    Memory(Box<MemoryLedger>),
    Database(Box<DatabaseLedger>),
}

/// One operation on whichever ledger it is, some days after the beginning.
macro_rules! run {
    ($ledger:expr, $days:expr, $operation:ident $(, $argument:expr)*) => {{
        let (queues, catalogue, limits) = (BTreeMap::new(), Catalogue::built_in(), Limits::default());
        let ctx = Context {
            now: NOW.after(DAY * $days),
            queues: &queues,
            catalogue: &catalogue,
            limits: &limits,
            scheduling: ailurus_server_core::Scheduling::built_in(),
        };
        match $ledger {
            Both::Memory(ledger) => $operation(&ctx, &mut **ledger $(, $argument)*),
            Both::Database(ledger) => $operation(&ctx, &mut **ledger $(, $argument)*),
        }
        .unwrap()
    }};
}

impl Both {
    fn rows(&mut self) -> &mut dyn Ledger {
        match self {
            Self::Memory(ledger) => &mut **ledger,
            Self::Database(ledger) => &mut **ledger,
        }
    }
}

#[test]
fn the_same_file_of_the_same_user_is_found_for_some_days() {
    on_each_ledger(|ledger| {
        run!(
            ledger,
            0,
            note_cache_file,
            "jobO.1.tar.gz",
            "Jane Doe",
            SIZE,
            "77"
        );
        let found = |ledger: &mut Both, days: u32, user: &str, checksum: &str| {
            run!(ledger, days, same_cache_file, user, SIZE, checksum)
        };
        assert_eq!(
            found(ledger, 2, "Jane Doe", "77").as_deref(),
            Some("jobO.1.tar.gz")
        );
        assert_eq!(found(ledger, 2, "John Doe", "77"), None);
        assert_eq!(found(ledger, 2, "Jane Doe", "78"), None);
        assert_eq!(found(ledger, 4, "Jane Doe", "77"), None);
    });
}

#[test]
fn a_file_goes_once_it_is_of_no_use() {
    on_each_ledger(|ledger| {
        let names = ["jobO.1.tar.gz", "jobO.2.tar.gz", "jobO.3.tar.gz"];
        for name in names {
            run!(ledger, 0, note_cache_file, name, "", SIZE, "");
        }
        let mut user = task(TaskId::new(5), "sim");
        user.status = TaskStatus::Running;
        ledger.rows().put_task(&user).unwrap();
        match ledger {
            Both::Memory(ledger) => note_archives(&mut **ledger, user.id, "-a jobO.1.tar.gz"),
            Both::Database(ledger) => note_archives(&mut **ledger, user.id, "-a jobO.1.tar.gz"),
        }
        .unwrap();
        run!(ledger, 5, touch_cache_file, "jobO.2.tar.gz");
        let files = names.map(|name| (name.to_owned(), NOW));

        let gone = |ledger: &mut Both, days: u32| run!(ledger, days, expire_cache_files, &files);
        assert_eq!(gone(ledger, 6), Vec::<String>::new());
        assert_eq!(gone(ledger, 8), ["jobO.3.tar.gz"]);
        user.status = TaskStatus::Done;
        ledger.rows().put_task(&user).unwrap();
        assert_eq!(gone(ledger, 8), ["jobO.1.tar.gz", "jobO.3.tar.gz"]);
        assert_eq!(ledger.rows().cache_file("jobO.1.tar.gz").unwrap(), None);
    });
}
