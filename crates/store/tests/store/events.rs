//! Ranges of events, on each kind of ledger.

use ailurus_model::{AttemptNr, ByteCount, Checksum, EventArchive, EventStatus, PandaId};
use ailurus_server_core::ledger::{EventRangeRecord, EventRows, Ledger};
use ailurus_store::DatabaseLedger;

use crate::{contract::on_each_ledger, postgresql};

const JOB: PandaId = PandaId::new(7);

pub(crate) fn range(file: u64, first_event: u64, status: EventStatus) -> EventRangeRecord {
    EventRangeRecord {
        panda_id: JOB,
        file,
        first_event,
        last_event: first_event + 9,
        attempt_nr: 1,
        attempts_left: 3,
        status,
        holder: PandaId::new(0),
        held_by: AttemptNr::new(0),
        object_store: String::new(),
        path_convention: None,
        archive: String::new(),
        error_code: None,
        error_diag: String::new(),
    }
}

#[test]
fn ranges_are_read_as_they_were_written() {
    on_each_ledger(|ledger| {
        let mut all = vec![
            range(2, 1, EventStatus::Ready),
            range(2, 11, EventStatus::Ready),
            range(10, 1, EventStatus::Ready),
        ];
        let mut other = range(2, 1, EventStatus::Ready);
        other.panda_id = PandaId::new(8);
        ledger.put_event_ranges(&all).unwrap();
        ledger.put_event_ranges(&[other]).unwrap();
        all[1].status = EventStatus::Failed;
        all[1].holder = PandaId::new(9);
        all[1].held_by = AttemptNr::new(2);
        all[1].attempt_nr = 4;
        all[1].object_store = "7/1000".to_owned();
        all[1].path_convention = Some(1000);
        all[1].archive = "a.tar".to_owned();
        all[1].error_code = Some(-1);
        all[1].error_diag = "it's broken".to_owned();
        ledger.put_event_ranges(&all[1..2]).unwrap();
        let keys = [(10, 1), (2, 11), (2, 99), (2, 11), (2, 1)];
        assert_eq!(ledger.event_ranges_at(JOB, &keys).unwrap(), all);
        assert!(
            ledger
                .event_ranges_at(PandaId::new(9), &keys)
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn ranges_are_listed_by_status_page_by_page_and_counted() {
    on_each_ledger(|ledger| {
        let all: Vec<EventRangeRecord> = (0..12)
            .map(|nr| {
                let status = EventStatus::ALL[usize::try_from(nr % 3).unwrap()];
                range(nr / 6, nr % 6 * 10 + 1, status)
            })
            .collect();
        ledger.put_event_ranges(&all).unwrap();
        let list = |ledger: &dyn Ledger, statuses: &[EventStatus], after, limit| {
            let found = ledger.event_ranges_in(JOB, statuses, after, limit);
            let found: Vec<_> = found.unwrap().iter().map(EventRangeRecord::key).collect();
            found
        };
        let ready = [EventStatus::Ready];
        assert_eq!(list(ledger, &ready, None, 3), [(0, 1), (0, 31), (1, 1)]);
        assert_eq!(
            list(ledger, &ready, Some((0, 1)), 9),
            [(0, 31), (1, 1), (1, 31)]
        );
        assert_eq!(list(ledger, &ready, Some((1, 31)), 9), []);
        assert_eq!(list(ledger, &[], None, 9), []);
        assert_eq!(list(ledger, EventStatus::ALL, None, 99).len(), 12);
        let mut taken = all[0].clone();
        taken.status = EventStatus::Done;
        ledger.put_event_ranges(&[taken]).unwrap();
        assert_eq!(list(ledger, &ready, None, 1), [(0, 31)]);
        let counts = ledger.event_counts(JOB).unwrap();
        assert_eq!(counts[&EventStatus::Ready], 3);
        assert_eq!(counts[&EventStatus::Done], 1);
        assert_eq!(counts.values().sum::<u64>(), 12);
        assert!(ledger.event_counts(PandaId::new(1)).unwrap().is_empty());
    });
}

#[test]
fn a_file_with_events_is_noted_once() {
    on_each_ledger(|ledger| {
        let archive = EventArchive {
            lfn: "a.tar".into(),
            size: ByteCount::from_mib(3),
            checksum: Some(Checksum::Adler32(7)),
            object_store: "7/1000".to_owned(),
            n_events: Some(8),
        };
        ledger.add_event_archive(JOB, &archive).unwrap();
        let again = EventArchive {
            n_events: None,
            checksum: None,
            ..archive.clone()
        };
        ledger.add_event_archive(JOB, &again).unwrap();
        assert_eq!(ledger.event_archives(JOB).unwrap(), [archive]);
        assert!(ledger.event_archives(PandaId::new(8)).unwrap().is_empty());
    });
}

#[test]
fn a_job_is_of_one_set_for_ever() {
    on_each_ledger(|ledger| {
        let number = PandaId::new;
        for (set, member) in [(7, 9), (7, 7), (8, 9), (8, 12)] {
            ledger
                .add_event_member(number(set), number(member))
                .unwrap();
        }
        let set_of = |member| ledger.event_set_of(number(member)).unwrap();
        assert_eq!([set_of(9), set_of(7)], [Some(JOB); 2]);
        assert_eq!((set_of(12), set_of(8)), (Some(number(8)), None));
        assert_eq!(ledger.event_members(JOB).unwrap(), [7, 9].map(PandaId::new));
        assert!(ledger.event_members(number(9)).unwrap().is_empty());
    });
}

#[test]
fn very_many_ranges_are_written_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = match postgresql::new_database() {
        Some(database) => DatabaseLedger::open(database).unwrap(),
        None => DatabaseLedger::open(&dir.path().join("server.db")).unwrap(),
    };
    let check = |ledger: &mut DatabaseLedger| {
        let ready = |nr| range(1, nr, EventStatus::Ready);
        let mut all: Vec<_> = (0..30_000).map(ready).collect();
        ledger.put_event_ranges(&all[..25_000]).unwrap();
        for one in &mut all {
            one.status = EventStatus::Sent;
        }
        ledger.put_event_ranges(&all).unwrap();
        let counts = ledger.event_counts(JOB).unwrap();
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [(EventStatus::Sent, 30_000)]
        );
    };
    ledger.transact(check).unwrap();
}

#[test]
fn postgresql_keeps_ranges_as_well() {
    const CHECKS: [fn(); 5] = [
        ranges_are_read_as_they_were_written,
        ranges_are_listed_by_status_page_by_page_and_counted,
        a_file_with_events_is_noted_once,
        a_job_is_of_one_set_for_ever,
        very_many_ranges_are_written_at_once,
    ];
    postgresql::with_server(|| CHECKS.iter().for_each(|check| check()));
}
