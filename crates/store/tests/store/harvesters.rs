//! Harvesters, their workers' pilots and their commands, on each kind of ledger.

use std::{collections::BTreeMap, time::Duration};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{HarvesterId, QueueName, WorkerId, WorkerStatus};
use ailurus_server_core::{
    Context, HarvesterWord, Limits, MemoryLedger, NewCommand, PilotPhase, Replaces,
    acknowledge_commands, acquire_commands, ask_about_stale_workers, expire_commands,
    expire_harvester_notes, give_command,
    ledger::{
        Acknowledgement, CommandStatus, DialogRecord, GpuRecord, Ledger, NodeRecord,
        ServiceMetricsRecord, TargetSlotsRecord, WorkerCounts,
    },
    note_dialogs, note_heartbeat, note_service_metrics, note_worker_pilot, note_worker_statistics,
};
use ailurus_store::DatabaseLedger;

use crate::rows::{NOW, worker};

const HOUR: Duration = Duration::from_secs(3600);

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

/// One operation on whichever ledger it is, some hours after the beginning.
macro_rules! run {
    ($ledger:expr, $hours:expr, $operation:ident $(, $argument:expr)*) => {{
        let (queues, catalogue, limits) = (BTreeMap::new(), Catalogue::built_in(), Limits::default());
        let ctx = Context {
            now: NOW.after(HOUR * $hours),
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

fn harvester() -> HarvesterId {
    worker(1, WorkerStatus::Running).harvester_id
}

fn command<'a>(harvester: &'a HarvesterId, command: &'a str, params: &str) -> NewCommand<'a> {
    NewCommand {
        harvester,
        command,
        params: params.to_owned(),
        acknowledgement: Acknowledgement::Wanted,
        replaces: if command == "KILL_WORKERS" {
            Replaces::SameOrder
        } else {
            Replaces::SameText
        },
    }
}

#[test]
fn a_command_goes_from_new_to_retrieved_to_acknowledged_and_out() {
    on_each_ledger(|ledger| {
        let id = harvester();
        let first = run!(ledger, 0, give_command, command(&id, "SET:Q", "{\"a\":1}"));
        let second = run!(ledger, 0, give_command, command(&id, "SET:Q", "{\"a\":2}"));
        run!(ledger, 0, give_command, command(&id, "KILL_WORKERS", "[1]"));
        run!(ledger, 0, give_command, command(&id, "KILL_WORKERS", "[2]"));
        run!(ledger, 0, give_command, command(&id, "KILL_WORKERS", "[2]"));
        assert!(second > first);
        assert_eq!(ledger.rows().command(first).unwrap(), None);

        let stranger = HarvesterId::new("other");
        assert_eq!(run!(ledger, 1, acquire_commands, &stranger, 9), []);
        let taken = run!(ledger, 1, acquire_commands, &id, 2);
        let params: Vec<&str> = taken.iter().map(|it| it.params.as_str()).collect();
        assert_eq!(params, ["{\"a\":2}", "[1]"]);
        assert!(taken.iter().all(|it| it.status == CommandStatus::Retrieved));
        assert_eq!(run!(ledger, 1, acquire_commands, &id, 9).len(), 1);
        assert_eq!(run!(ledger, 1, acquire_commands, &id, 9), []);

        let ids = [second, 999];
        assert_eq!(run!(ledger, 2, acknowledge_commands, &ids), 1);
        let known = ledger.rows().command(second).unwrap().unwrap();
        assert_eq!(known.status, CommandStatus::Acknowledged);
        assert_eq!(run!(ledger, 7 * 24, expire_commands), 0);
        assert_eq!(run!(ledger, 7 * 24 + 3, expire_commands), 3);
    });
}

#[test]
fn numbers_of_workers_are_kept_by_queue_and_instance_until_they_are_old() {
    on_each_ledger(|ledger| {
        let counts: WorkerCounts = BTreeMap::from([(
            "managed".to_owned(),
            BTreeMap::from([
                (
                    "SCORE".to_owned(),
                    BTreeMap::from([("running".to_owned(), 3)]),
                ),
                ("Undefined".to_owned(), BTreeMap::new()),
            ]),
        )]);
        let id = harvester();
        for (hours, queue) in [(0, "A"), (1, "A"), (2, "B")] {
            let queue = QueueName::new(queue);
            run!(ledger, hours, note_worker_statistics, &id, &queue, &counts);
        }
        let since = |ledger: &mut Both, hours| {
            let since = NOW.after(HOUR * hours);
            ledger.rows().worker_statistics_since(since).unwrap()
        };
        let all = since(ledger, 0);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].counts["managed"].len(), 1);
        assert_eq!(since(ledger, 2).len(), 1);
        assert_eq!(run!(ledger, 24 * 30 + 2, expire_harvester_notes), 1);
        assert_eq!(since(ledger, 0).len(), 1);
    });
}

#[test]
fn an_instance_is_known_from_its_first_word_and_keeps_what_it_said() {
    on_each_ledger(|ledger| {
        let first = HarvesterWord {
            id: harvester(),
            host: "h1".to_owned(),
            started: Some(NOW),
            version: "0.7".to_owned(),
            ..HarvesterWord::default()
        };
        run!(ledger, 0, note_heartbeat, &first);
        let next = HarvesterWord {
            id: harvester(),
            ..HarvesterWord::default()
        };
        run!(ledger, 1, note_heartbeat, &next);
        let known = ledger.rows().instances().unwrap().pop().unwrap();
        assert_eq!((known.host.as_str(), known.version.as_str()), ("h1", "0.7"));
        assert_eq!((known.started, known.heard), (Some(NOW), NOW.after(HOUR)));
        assert_eq!(ledger.rows().instance(&harvester()).unwrap(), Some(known));
    });
}

/// Ledgers of both kinds behind one name, for operations that need no context.
macro_rules! write {
    ($ledger:expr, $operation:ident, $argument:expr) => {
        match $ledger {
            Both::Memory(ledger) => $operation(&mut **ledger, $argument),
            Both::Database(ledger) => $operation(&mut **ledger, $argument),
        }
        .unwrap()
    };
}

#[test]
fn words_of_instances_are_kept_newest_first_and_cut() {
    on_each_ledger(|ledger| {
        let dialog = |id: u64| DialogRecord {
            harvester: harvester(),
            id,
            module: "submitter".to_owned(),
            identifier: "Q".to_owned(),
            level: "ERROR".to_owned(),
            message: "x".repeat(600),
            created: NOW.after(HOUR * u32::try_from(id).unwrap()),
        };
        write!(ledger, note_dialogs, &[dialog(1), dialog(2), dialog(2)]);
        let listed = ledger.rows().dialogs_of(&harvester(), 9).unwrap();
        assert_eq!(listed.iter().map(|it| it.id).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(listed[0].message.len(), 500);
        let metrics = ServiceMetricsRecord {
            harvester: harvester(),
            created: NOW,
            host: "h1".to_owned(),
            metrics: "{\"rss_mib\": 8}".to_owned(),
        };
        write!(ledger, note_service_metrics, std::slice::from_ref(&metrics));
        let listed = ledger.rows().service_metrics_of(&harvester(), 9).unwrap();
        assert_eq!(listed, [metrics]);
        assert_eq!(run!(ledger, 24 * 30 + 2, expire_harvester_notes), 2);
    });
}

#[test]
fn wishes_for_slots_end_when_they_expire() {
    on_each_ledger(|ledger| {
        let wish = |share: &str, expires| TargetSlotsRecord {
            queue: QueueName::new("Q"),
            global_share: share.to_owned(),
            resource_type: String::new(),
            slots: 7,
            expires,
            modified: NOW,
        };
        for one in [wish("", None), wish("A", Some(NOW.after(HOUR)))] {
            ledger.rows().put_target_slots(&one).unwrap();
        }
        assert_eq!(ledger.rows().target_slots(NOW).unwrap().len(), 2);
        let later = NOW.after(2 * HOUR);
        assert_eq!(ledger.rows().target_slots(later).unwrap(), [wish("", None)]);
    });
}

#[test]
fn nodes_and_gpus_have_one_row_a_model() {
    on_each_ledger(|ledger| {
        let node = |host: &str, n_logical_cpus| NodeRecord {
            site: "JINR".to_owned(),
            host: host.into(),
            cpu_model: "EPYC".to_owned(),
            queue: QueueName::new("Q"),
            n_logical_cpus,
            n_sockets: 2,
            cores_per_socket: 16,
            threads_per_core: 2,
            cpu_architecture: "x86_64".to_owned(),
            cpu_architecture_level: "x86_64-v3".to_owned(),
            clock_mhz: 2250.5,
            memory: ailurus_model::ByteCount::from_mib(512),
            disk: ailurus_model::ByteCount::from_mib(1024),
            seen: NOW,
        };
        for one in [node("b", 1), node("a", 2), node("b", 64)] {
            ledger.rows().put_node(&one).unwrap();
        }
        let listed = ledger.rows().nodes_of("JINR", 9).unwrap();
        assert_eq!(listed, [node("a", 2), node("b", 64)]);
        let gpu = GpuRecord {
            site: "JINR".to_owned(),
            host: "a".into(),
            vendor: "NVIDIA".to_owned(),
            model: "A100".to_owned(),
            count: 4,
            memory: ailurus_model::ByteCount::from_mib(40),
            architecture: "Ampere".to_owned(),
            framework: "CUDA".to_owned(),
            framework_version: "12".to_owned(),
            driver_version: "535".to_owned(),
            seen: NOW,
        };
        ledger.rows().put_gpu(&gpu).unwrap();
        ledger.rows().put_gpu(&gpu).unwrap();
        assert_eq!(ledger.rows().gpus_of("JINR", 9).unwrap(), [gpu]);
    });
}

#[test]
fn an_instance_is_told_to_end_workers_whose_pilots_have_ended() {
    on_each_ledger(|ledger| {
        let id = harvester();
        for (number, status) in [
            (1, WorkerStatus::Submitted),
            (2, WorkerStatus::Running),
            (3, WorkerStatus::Finished),
            (4, WorkerStatus::Submitted),
        ] {
            let mut one = worker(number, status);
            one.submit_time = Some(NOW);
            ledger.rows().put_worker(&one, NOW).unwrap();
        }
        let say = |ledger: &mut Both, number, phase| {
            let (id, number) = (harvester(), WorkerId::new(number));
            run!(
                ledger,
                0,
                note_worker_pilot,
                &id,
                number,
                phase,
                &"n1".into()
            );
        };
        say(ledger, 1, PilotPhase::Started);
        say(ledger, 2, PilotPhase::Started);
        say(ledger, 2, PilotPhase::Finished);
        say(ledger, 3, PilotPhase::Finished);
        assert_eq!(run!(ledger, 1, ask_about_stale_workers), 0);
        assert_eq!(run!(ledger, 2, ask_about_stale_workers), 1);
        assert_eq!(run!(ledger, 2, ask_about_stale_workers), 0);
        let asked = run!(ledger, 2, acquire_commands, &id, 9);
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].command, "SYNC_WORKERS_KILL");
        assert_eq!(asked[0].params, "[2]");
        assert_eq!(run!(ledger, 3, ask_about_stale_workers), 1);
        assert_eq!(run!(ledger, 8 * 24, ask_about_stale_workers), 0);
    });
}
