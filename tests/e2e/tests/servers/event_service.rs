//! Tasks whose events are done in ranges (PanDA's event service), from the client that submits them
//! to the task that is done, while consumers die, ranges fail and servers are killed.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    consumers::{
        Consumer, Dialect, archived, failed, post, range_statuses, submit_task, wait_for_task,
    },
    house::{DatabaseKind, House},
};

/// After which silence a job is lost: much more than the calls between two reports take.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// What a production system sends: twelve events, two in a range, one job.
fn params(name: &str, changes: &Value) -> Value {
    let mut params = json!({
        "taskName": name, "userName": "prod", "taskType": "prod", "prodSourceLabel": "managed",
        "vo": "spd", "processingType": "sim", "noInput": true, "nEvents": 12, "nEventsPerJob": 12,
        "nEventsPerWorker": 2, "maxAttemptES": 2, "skipScout": true, "transPath": "sim.sh",
        "architecture": "", "allowPartialFinish": true,
        "esmergeSpec": {"transPath": "merge.sh",
                        "jobParameters": "-o ${OUTPUT0} @inputFor_${OUTPUT0}"},
        "log": {"type": "template", "param_type": "log", "dataset": format!("{name}.log"),
                "value": format!("{name}.$JEDITASKID.${{SN}}.log.tgz")},
        "jobParameters": [
            {"type": "constant", "value": "-n ${MAXEVENTS} --skip ${SKIPEVENTS}"},
            {"type": "template", "param_type": "output", "dataset": format!("{name}.hits"),
             "value": format!("--out={name}.$JEDITASKID._${{SN/P}}.root")},
        ],
    });
    for (key, value) in changes.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

fn events(ranges: &[Value]) -> Vec<u64> {
    let first = ranges.iter().map(|range| range["startEvent"].as_u64());
    first.map(Option::unwrap).collect()
}

/// How many ranges are in which status.
fn tally(house: &House, task: u64, job: u64) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for state in range_statuses(house, task, job).values() {
        let status = state["status"].as_str().unwrap().to_owned();
        *tally.entry(status).or_default() += 1;
    }
    tally
}

/// Merges what was done, by a consumer of this dialect, although the server is killed before the
/// last word. Returns the names of what it read.
fn merge(house: &mut House, dialect: Dialect) -> Vec<String> {
    let mut merge = Consumer::start(&house.addresses()[0], dialect);
    assert_eq!(merge.job["eventServiceMerge"], "True", "{}", merge.job);
    assert_eq!(merge.job["transformation"], "merge.sh");
    let list = |key: &str| -> Vec<String> {
        let names = merge.job[key].as_str().unwrap().split(',');
        names.map(str::to_owned).collect()
    };
    let (inputs, outputs) = (list("inFiles"), list("outFiles"));
    assert!(
        merge.job["jobPars"]
            .as_str()
            .unwrap()
            .contains(&format!("@inputFor_{}", outputs[0])),
        "{}",
        merge.job
    );
    house.kill_and_restart(0);
    merge.follow(&house.addresses()[0]);
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    merge.update("finished", &outputs);
    // The answer was lost, the update comes again.
    merge.update("finished", &outputs);
    inputs
}

/// The first consumer does two ranges, fails one, and is never heard of again.
fn dies_in_the_middle(house: &mut House) -> (u64, Vec<Value>) {
    let mut first = Consumer::start(&house.addresses()[0], Dialect::Legacy);
    assert_eq!(first.job["eventService"], "True", "{}", first.job);
    assert_eq!(first.job["transformation"], "sim.sh");
    let ranges = first.ranges(4);
    assert_eq!(events(&ranges), [1, 3, 5, 7]);
    let done = archived(&ranges[..2]);
    assert_eq!(first.report(1, &done), (json!([true, true]), Value::Null));
    house.kill_and_restart(0);
    first.follow(&house.addresses()[0]);
    assert_eq!(first.report(1, &done), (json!([true, true]), Value::Null));
    let fails = failed(&ranges[2..3]);
    assert_eq!(first.report(0, &fails), (json!([true]), Value::Null));
    (first.id(), ranges)
}

fn is_done_whatever_dies(kind: DatabaseKind) {
    let Some(mut house) = House::build_impatient(kind, 1, LOST_AFTER) else {
        return;
    };
    let task = submit_task(&house, &params("ranges", &json!({})));
    let (id, lost) = dies_in_the_middle(&mut house);

    let mut second = Consumer::start(&house.addresses()[0], Dialect::V1);
    assert_eq!((second.id(), second.attempt()), (id, 2));
    let rest = second.ranges(100);
    assert_eq!(events(&rest), [5, 7, 9, 11]);
    house.kill_and_restart(0);
    second.follow(&house.addresses()[0]);
    assert!(second.ranges(100).is_empty(), "they are given out once");
    // The first one is alive after all.
    let late = archived(&lost[3..]);
    assert_eq!(
        second.report(1, &late),
        (json!([false]), json!("tobekilled"))
    );
    // One range fails as often as it may.
    let (fails, done) = (failed(&rest[..1]), archived(&rest[1..]));
    assert_eq!(second.report(0, &fails), (json!([true]), Value::Null));
    assert_eq!(
        second.report(1, &done),
        (json!([true, true, true]), Value::Null)
    );
    second.end();

    let inputs = merge(&mut house, Dialect::Legacy);
    let archives = [&lost[0], &rest[1]].map(|range| {
        let name = range["eventRangeID"].as_str().unwrap();
        format!("zip://EventService_premerge_{name}.tar")
    });
    assert_eq!(inputs, archives);
    wait_for_task(&house, task, "done");
    let expected = [("fatal", 1), ("merged", 5)].map(|(word, n)| (word.to_owned(), n));
    assert_eq!(tally(&house, task, id), BTreeMap::from(expected));
}

#[test]
fn a_task_of_ranges_is_done_on_sqlite_whatever_dies() {
    is_done_whatever_dies(DatabaseKind::Sqlite);
}

#[test]
fn a_task_of_ranges_is_done_on_postgresql_whatever_dies() {
    is_done_whatever_dies(DatabaseKind::Postgres);
}

/// Two consumers at a time, at different servers if there are two; one dies.
fn is_shared_by_two(kind: DatabaseKind, n_servers: usize) {
    let Some(mut house) = House::build_impatient(kind, n_servers, LOST_AFTER) else {
        return;
    };
    let task = submit_task(&house, &params("shared", &json!({"nEsConsumers": 2})));
    let last = n_servers - 1;
    let leader = Consumer::start(&house.addresses()[0], Dialect::Legacy);
    let other = Consumer::start(&house.addresses()[last], Dialect::V1);
    assert_ne!(leader.id(), other.id());
    let (own, others) = (leader.ranges(2), other.ranges(2));
    assert_eq!((events(&own), events(&others)), (vec![1, 3], vec![5, 7]));
    // Nobody speaks for another.
    let (returns, _) = other.report(1, &archived(&renamed(&own, other.id())));
    assert_eq!(returns, json!([false, false]));
    let (returns, _) = other.report(1, &archived(&others[..1]));
    assert_eq!(returns, json!([true]));
    let (returns, _) = leader.report(1, &archived(&own));
    assert_eq!(returns, json!([true, true]));
    leader.end();
    house.kill_and_restart(0);
    // The other one is silent from now on. Whoever comes next does what is left.
    let mut merged = false;
    for _ in 0..4 {
        let next = Consumer::start(&house.addresses()[last], Dialect::V1);
        if next.job["eventServiceMerge"] == "True" {
            let outputs = next.job["outFiles"].as_str().unwrap();
            next.update("finished", &outputs.split(',').collect::<Vec<_>>());
            merged = true;
            break;
        }
        let rest = next.ranges(100);
        if !rest.is_empty() {
            let (returns, _) = next.report(1, &archived(&rest));
            assert_eq!(returns, json!(vec![true; rest.len()]));
        }
        next.end();
    }
    assert!(merged);
    wait_for_task(&house, task, "done");
    let expected = BTreeMap::from([("merged".to_owned(), 6)]);
    assert_eq!(tally(&house, task, leader.id()), expected);
    for id in [leader.id(), other.id()] {
        let path = format!("/api/v1/job/get_status?job_ids={id}");
        let answer = house.get_any(&path);
        assert!(answer.to_string().contains("finished"), "{answer}");
    }
}

/// Ranges under the name of another job.
fn renamed(ranges: &[Value], job: u64) -> Vec<Value> {
    let rename = |range: &Value| {
        let id = range["eventRangeID"].as_str().unwrap();
        let mut parts: Vec<String> = id.split('-').map(str::to_owned).collect();
        parts[1] = job.to_string();
        json!({"eventRangeID": parts.join("-")})
    };
    ranges.iter().map(rename).collect()
}

#[test]
fn two_consumers_share_the_ranges_of_a_job_on_sqlite() {
    is_shared_by_two(DatabaseKind::Sqlite, 1);
}

#[test]
fn two_consumers_share_the_ranges_of_a_job_at_two_servers_on_postgresql() {
    is_shared_by_two(DatabaseKind::Postgres, 2);
}

#[test]
fn what_a_merge_cannot_read_is_done_again_and_merged() {
    let Some(mut house) = House::build(DatabaseKind::Sqlite, 1) else {
        return;
    };
    let address = house.addresses()[0].clone();
    let task = submit_task(&house, &params("redo", &json!({"maxAttemptES": 4})));
    let first = Consumer::start(&address, Dialect::V1);
    let ranges = first.ranges(100);
    let archives = [archived(&ranges[..2]), archived(&ranges[2..])];
    for archive in &archives {
        first.report(1, archive);
    }
    first.end();
    for (dialect, archive, n) in [(Dialect::Legacy, 1, 4), (Dialect::V1, 0, 2)] {
        let merge = Consumer::start(&address, dialect);
        assert_eq!(merge.job["eventServiceMerge"], "True", "{}", merge.job);
        let lfn = archives[archive][0]["zipFile"]["lfn"].as_str().unwrap();
        merge.fail_to_read(&[lfn]);
        let again = Consumer::start(&address, dialect);
        assert_eq!(again.job["eventService"], "True", "{}", again.job);
        let ranges = again.ranges(100);
        assert_eq!(ranges.len(), n);
        again.report(1, &archived(&ranges));
        again.end();
    }
    assert_eq!(merge(&mut house, Dialect::V1).len(), 2);
    wait_for_task(&house, task, "done");
    let expected = BTreeMap::from([("merged".to_owned(), 6)]);
    assert_eq!(tally(&house, task, first.id()), expected);
}

#[test]
fn of_two_copies_of_a_job_the_first_that_runs_is_the_one() {
    let Some(house) = House::build(DatabaseKind::Sqlite, 1) else {
        return;
    };
    let mut params = params("copies", &json!({"useJobCloning": "runonce"}));
    for key in [
        "nEventsPerWorker",
        "maxAttemptES",
        "esmergeSpec",
        "allowPartialFinish",
    ] {
        params.as_object_mut().unwrap().remove(key);
    }
    let task = submit_task(&house, &params);
    let address = house.addresses()[0].clone();
    let copies = [Dialect::Legacy, Dialect::V1].map(|dialect| Consumer::take(&address, dialect));
    for copy in &copies {
        assert_eq!(copy.job["cloneJob"], "runonce", "{}", copy.job);
    }
    assert_eq!(copies[1].update("running", &[]), Value::Null);
    let told = copies[0].update("running", &[]);
    assert!(told.to_string().contains("tobekilled"), "{told}");
    let outputs = copies[1].job["outFiles"].as_str().unwrap();
    copies[1].update("finished", &outputs.split(',').collect::<Vec<_>>());
    wait_for_task(&house, task, "done");
    // The other one has nothing more to say.
    let body = json!({"job_id": copies[0].id(), "attempt_nr": 1, "job_status": "finished"});
    let answer = post(&address, "/api/v1/pilot/update_job", &body);
    assert_eq!(answer["data"]["command"], "alreadydone", "{answer}");
}
