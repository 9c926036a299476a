//! What brokerage must know of queues, on every ledger.

use ailurus_model::{JobStatus, PandaId, QueueName, TaskId};
use ailurus_server_core::ledger::{ClaimOrder, Ledger, LoadRow, QueuePulse, TaskPlace};

use crate::{
    contract::on_each_ledger,
    rows::{NOW, any_job, job, task},
};

fn load(queue: &str, share: &str, status: JobStatus, jobs: u64, cores: u64) -> LoadRow {
    LoadRow {
        queue: queue.into(),
        share: share.to_owned(),
        resource_type: "SCORE".to_owned(),
        status,
        jobs,
        cores,
    }
}

fn with_jobs(ledger: &mut dyn Ledger, n: u64) -> Vec<PandaId> {
    ledger.put_task(&task(TaskId::new(1), "many")).unwrap();
    (1..=n)
        .map(|id| {
            let id = PandaId::new(id);
            ledger.insert_job(&job(id, TaskId::new(1)), &[]).unwrap();
            id
        })
        .collect()
}

#[test]
fn loads_equal_the_jobs_that_they_count() {
    on_each_ledger(|ledger| {
        let ids = with_jobs(ledger, 3);
        let activated = JobStatus::Activated;
        assert_eq!(
            ledger.loads().unwrap(),
            [load("JINR", "Test", activated, 3, 3)]
        );
        let change = |ledger: &mut dyn Ledger, id, status, queue: Option<&str>, cores| {
            let mut job = ledger.job(id).unwrap().unwrap();
            job.status = status;
            job.queue = queue.map(QueueName::new);
            job.cores = cores;
            ledger.put_job(&job).unwrap();
        };
        change(ledger, ids[0], JobStatus::Running, Some("JINR"), 4);
        change(ledger, ids[1], JobStatus::Finished, Some("JINR"), 1);
        change(ledger, ids[2], JobStatus::Defined, None, 1);
        let running = load("JINR", "Test", JobStatus::Running, 1, 4);
        assert_eq!(ledger.loads().unwrap(), [running]);
        change(ledger, ids[0], JobStatus::Failed, Some("JINR"), 4);
        assert_eq!(ledger.loads().unwrap(), []);
        assert!(ledger.queue_counts().unwrap().is_empty());
    });
}

#[test]
fn jobs_of_a_share_come_by_priority_and_turn_or_the_oldest_of_all() {
    on_each_ledger(|ledger| {
        let ids = with_jobs(ledger, 4);
        let change = |ledger: &mut dyn Ledger, id, share: &str, priority, turn| {
            let mut job = ledger.job(id).unwrap().unwrap();
            job.global_share = share.to_owned();
            job.priority = priority;
            job.turn = PandaId::new(turn);
            ledger.put_job(&job).unwrap();
        };
        change(ledger, ids[0], "A", 100, 9);
        change(ledger, ids[1], "A", 100, 2);
        change(ledger, ids[2], "B", 900, 3);
        change(ledger, ids[3], "A", 200, 9);
        let (queue, label) = ("JINR".into(), Default::default());
        assert_eq!(ledger.waiting_shares(&queue).unwrap(), ["A", "B"]);
        let claimed = |order, limit| {
            let mut filter = any_job(&queue, &label);
            filter.order = order;
            let ids = ledger.claimable(&filter, limit).unwrap();
            ids.into_iter().map(PandaId::value).collect::<Vec<_>>()
        };
        assert_eq!(claimed(ClaimOrder::ByNeed { share: "A" }, 9), [4, 2, 1]);
        assert_eq!(claimed(ClaimOrder::ByNeed { share: "B" }, 9), [3]);
        assert_eq!(claimed(ClaimOrder::ByNeed { share: "C" }, 9), [0; 0]);
        assert_eq!(claimed(ClaimOrder::Oldest, 3), [1, 2, 3]);
    });
}

#[test]
fn pulses_places_mixtures_and_shares_are_read_as_they_were_written() {
    on_each_ledger(|ledger| {
        let (near, far) = (QueueName::new("NEAR"), QueueName::new("FAR"));
        let pulse = QueuePulse {
            pilot_seen: Some(NOW),
            job_started: None,
        };
        ledger.put_pulse(&near, pulse).unwrap();
        assert_eq!(ledger.pulse(&near).unwrap(), pulse);
        assert_eq!(ledger.pulse(&far).unwrap(), QueuePulse::default());
        assert_eq!(ledger.pulses().unwrap().len(), 1);

        let task = TaskId::new(7);
        let more = TaskPlace {
            jobs: 3,
            failed: 1,
            finished: 2,
            closed: 0,
        };
        ledger.add_task_place(task, &near, &more).unwrap();
        ledger.add_task_place(task, &near, &more).unwrap();
        let places = ledger.task_places(task).unwrap();
        assert_eq!(
            places[&near],
            TaskPlace {
                jobs: 6,
                failed: 2,
                finished: 4,
                closed: 0
            }
        );
        assert!(ledger.task_places(TaskId::new(8)).unwrap().is_empty());

        assert_eq!(ledger.mixture("minbias").unwrap(), None);
        for (id, queue, jobs) in [(5, &near, 2), (6, &near, 1), (3, &far, 4)] {
            ledger
                .add_mixture("minbias", PandaId::new(id), queue, jobs)
                .unwrap();
        }
        let mixture = ledger.mixture("minbias").unwrap().unwrap();
        assert_eq!(mixture.turn, PandaId::new(5));
        assert_eq!((mixture.jobs[&near], mixture.jobs[&far]), (3, 4));

        for leaves in [&["B", "A"][..], &["A"], &[]] {
            let leaves: Vec<String> = leaves.iter().map(|it| (*it).to_owned()).collect();
            ledger.put_share_order(&leaves).unwrap();
            assert_eq!(ledger.share_order().unwrap(), leaves);
        }
    });
}
