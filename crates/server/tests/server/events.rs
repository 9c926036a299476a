//! Ranges of events over HTTP, in the letter of Pilot 3's and Harvester's messages.

use ailurus_wire::{Fields, body};
use serde_json::{Value, json};

use crate::harness::{Answer, QUEUE, Server};

/// How many attributes a job has in lists.
const N_ATTRIBUTES: usize = 126;
const MERGE: &str = "<PANDA_ESMERGE_TRF>merge.sh</PANDA_ESMERGE_TRF>\
    <PANDA_ESMERGE_JOBP>-o hits.root @inputFor_hits.root</PANDA_ESMERGE_JOBP>";

/// Twelve events of one file, two in a range.
const SPANS: &str = "es:0:a.root/0/11/2/3^";

/// A job as production systems submit it, whose events are done in ranges.
fn submission() -> String {
    let mut values = vec![json!("NULL"); N_ATTRIBUTES];
    for (index, value) in [
        (9, json!("sim.sh")),
        (12, json!("managed")),
        (17, json!(3)),
        (19, json!("es")),
        (47, json!(QUEUE)),
        (49, json!(format!("-i a.root -o hits.root{MERGE}"))),
        (73, json!("prod")),
        (78, json!(SPANS)),
        (103, json!(1)),
    ] {
        values[index] = value;
    }
    let file = |lfn: &str, kind: &str, guid: &str| {
        let mut file = vec![json!("NULL"); 22];
        for (index, value) in [
            (2, guid),
            (3, lfn),
            (4, kind),
            (5, "spd.data"),
            (11, "spd.data"),
            (17, "spd"),
        ] {
            file[index] = json!(value);
        }
        file[14] = json!(1000);
        file.push(Value::Null);
        json!(file)
    };
    values.push(json!([
        file("a.root", "input", "0000-1111"),
        file("hits.root", "output", "NULL"),
        file("es.log.tgz", "log", "NULL"),
    ]));
    json!([values]).to_string()
}

/// A pilot that has a job.
struct Pilot<'s> {
    server: &'s Server,
    job: Value,
}

impl<'s> Pilot<'s> {
    /// Gets a job and says that it runs.
    fn with_job(server: &'s Server) -> Self {
        let request = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "node": "wn1"});
        let job = call(server, "getJob", &request).json();
        assert_eq!(job["StatusCode"], 0, "{job}");
        let pilot = Self { server, job };
        pilot.update("running");
        pilot
    }

    fn id(&self) -> u64 {
        self.job["PandaID"].as_u64().expect("a number")
    }

    fn update(&self, state: &str) -> Value {
        let log = self.job["logFile"].as_str().unwrap();
        let mut report = json!({log: {"guid": "22", "fsize": 10, "adler32": "0cc737eb",
            "surl": "file:///eos/log", "endpoint": ["EOS"]}});
        if self.job["eventServiceMerge"] == "True" {
            let output = self.job["outFiles"].as_str().unwrap();
            let output = output.split(',').next().unwrap();
            report[output] = json!({"guid": "33", "fsize": 10, "adler32": "0cc737eb",
                "surl": "file:///eos/hits", "endpoint": ["EOS"]});
        }
        let fields = json!({"jobId": self.id(), "attemptNr": self.job["attemptNr"],
            "state": state, "xml": report.to_string()});
        call(self.server, "updateJob", &fields).json()
    }

    /// Asks for ranges as `pandacommunicator.py` does.
    fn ranges(&self, n: u32) -> Vec<Value> {
        let data = json!({"pandaID": self.id(), "jobsetID": self.job["jobsetID"],
            "taskID": self.job["taskID"], "nRanges": n});
        let answer = call(self.server, "getEventRanges", &data).json();
        assert_eq!(answer["StatusCode"], 0, "{answer}");
        answer["eventRanges"].as_array().expect("a list").clone()
    }

    /// Reports on ranges as `genericexecutor.py` does.
    fn report(&self, version: u32, ranges: &Value) -> Value {
        let message = json!({"version": version, "eventRanges": ranges.to_string()});
        call(self.server, "updateEventRanges", &message).json()
    }
}

/// Calls as Pilot 3 does: compressed JSON, and JSON is wanted.
fn call(server: &Server, method: &str, fields: &Value) -> Answer {
    let body = body::compress(fields.to_string().as_bytes());
    let headers = "Content-Type: application/json\r\nAccept: application/json\r\n";
    server.send("POST", &format!("/server/panda/{method}"), headers, &body)
}

fn with_status(ranges: &[Value], status: &str) -> Vec<Value> {
    let entry =
        |range: &Value| json!({"eventRangeID": range["eventRangeID"], "eventStatus": status});
    ranges.iter().map(entry).collect()
}

/// Outputs in one archive, as Pilot 3 reports them.
fn archived(ranges: &[Value], lfn: &str) -> Value {
    json!([{
        "zipFile": {"numEvents": ranges.len(), "objstoreID": 117, "lfn": lfn, "fsize": 2000,
                    "pathConvention": 1000, "adler32": "0cc737eb"},
        "eventRanges": with_status(ranges, "finished"),
    }])
}

#[test]
fn pilots_share_the_events_of_a_job_and_merge_what_they_wrote() {
    let server = Server::start();
    let taken = server.v1("job/submit", &json!({"jobs": submission()}));
    let id = taken.data()[0][0].as_u64().expect("a number");
    let lost = first_attempt(&server, id);
    let alone = second_attempt(&server, id, &lost);

    let merge = Pilot::with_job(&server);
    assert_eq!(merge.job["eventServiceMerge"], "True");
    assert_eq!(merge.job["transformation"], "merge.sh");
    assert_eq!(merge.job["jobPars"], "-o hits.root.3 @inputFor_hits.root");
    let name = alone["eventRangeID"].as_str().unwrap();
    assert_eq!(
        merge.job["inFiles"],
        format!(
            "zip://EventService_premerge_1.tar,hits.root.2.{name},\
             zip://EventService_premerge_2.tar"
        )
    );
    assert_eq!(merge.job["prodDBlockToken"], "117/1000,118,117/1000");
    let lists = merge.job["writeToFile"].as_str().unwrap();
    assert!(
        lists.starts_with("inputFor_hits.root:hits.root."),
        "{lists}"
    );
    assert_eq!(lists.split(',').count(), 6);
    merge.update("finished");
    assert_eq!(server.job(id)["status"], "finished");
}

/// Takes four ranges over the legacy dialect, and does two of them. Returns one that it loses.
fn first_attempt(server: &Server, id: u64) -> Value {
    let pilot = Pilot::with_job(server);
    assert_eq!(pilot.id(), id);
    assert_eq!(pilot.job["eventService"], "True");
    assert_eq!(pilot.job["prodDBlockTokenForOutput"], "NULL,NULL");
    assert_eq!(pilot.job["jobPars"], "-i a.root -o hits.root");
    let ranges = pilot.ranges(4);
    let task = pilot.job["taskID"].as_u64().expect("a number");
    let expected = json!({"eventRangeID": format!("{task}-{id}-1-1-1"), "startEvent": 1,
        "lastEvent": 2, "LFN": "a.root", "GUID": "0000-1111", "scope": "spd"});
    assert_eq!((ranges.len(), &ranges[0]), (4, &expected));
    // Version 1: a file with two outputs; version 0: a failure, whose answer has texts.
    let told = pilot.report(1, &archived(&ranges[..2], "EventService_premerge_1.tar"));
    let commands = json!({id.to_string(): null});
    assert_eq!(
        told,
        json!({"StatusCode": 0, "Returns": [true, true], "Command": commands})
    );
    let failure = json!([{"errorCode": 1220, "eventRangeID": ranges[2]["eventRangeID"],
        "eventStatus": "failed"}, {"eventRangeID": ranges[3]["eventRangeID"],
        "eventStatus": "running"}]);
    let told = pilot.report(0, &failure);
    assert_eq!(told["Returns"], "[true,null]");
    assert_eq!(told["Command"], commands.to_string());
    let asked = json!({"pandaID": id, "jobsetID": 1, "taskID": task});
    let left = call(server, "checkEventsAvailability", &asked).json();
    assert_eq!(left, json!({"StatusCode": 0, "nEventRanges": 2}));
    pilot.update("finished");
    ranges[3].clone()
}

/// Takes what is left over v1, as Harvester does, and does it all. Returns the range whose output
/// is a file of its own.
fn second_attempt(server: &Server, id: u64, lost: &Value) -> Value {
    let pilot = Pilot::with_job(server);
    assert_eq!((pilot.id(), &pilot.job["attemptNr"]), (id, &json!(2)));
    let task = &pilot.job["taskID"];
    let available = format!(
        "/api/v1/event/get_available_event_range_count?job_id={id}&jobset_id=1&task_id={task}"
    );
    assert_eq!(server.get(&available).data(), 4);
    let asked = json!({"job_id": id, "jobset_id": 1, "task_id": task, "n_ranges": 100});
    let given = server.v1("event/acquire_event_ranges", &asked).data();
    assert_eq!(given["StatusCode"], 0);
    let rest = given["eventRanges"].as_array().expect("a list").clone();
    assert_eq!(rest.len(), 4);
    // What the first one had is not what it has now.
    let told = pilot.report(1, &archived(std::slice::from_ref(lost), "late.tar"));
    assert_eq!(told["Returns"], json!([false]));
    assert_eq!(told["Command"][id.to_string()], "tobekilled");
    let one = json!({"event_range_id": rest[0]["eventRangeID"], "event_range_status": "finished",
        "object_store_id": 118});
    let commands = json!({id.to_string(): null});
    let told = server.v1("event/update_single_event_range", &one).data();
    assert_eq!(told["Command"], commands.to_string());
    let message = archived(&rest[1..], "EventService_premerge_2.tar").to_string();
    let message = json!({"event_ranges": message, "version": 2});
    let told = server.v1("event/update_event_ranges", &message);
    assert_eq!(
        told.data(),
        json!({"StatusCode": 0, "Returns": [true, true, true], "Commands": commands})
    );
    let mut query = Fields::new();
    let pairs = json!([{"task_id": task, "job_id": id}]);
    query.put("job_task_ids", pairs.to_string());
    let query = body::encode_form(&query);
    let states = server.get(&format!("/api/v1/event/get_event_range_statuses?{query}"));
    let states = states.data()[id.to_string()].clone();
    assert_eq!(states.as_object().unwrap().len(), 6);
    let state = &states[rest[0]["eventRangeID"].as_str().unwrap()];
    assert_eq!(
        state,
        &json!({"status": "finished", "error": null, "dialog": null})
    );
    pilot.update("finished");
    rest[0].clone()
}

#[test]
fn what_is_no_range_is_answered_as_the_real_server_does() {
    let server = Server::start();
    server.v1("job/submit", &json!({"jobs": submission()}));
    let pilot = Pilot::with_job(&server);
    for (entry, answer) in [
        (
            json!({"eventRangeID": "1-2-3", "eventStatus": "finished"}),
            json!(false),
        ),
        (
            json!({"eventRangeID": "1-99-3-4-5", "eventStatus": "finished"}),
            json!(false),
        ),
        (json!({"eventStatus": "finished"}), json!(false)),
        (
            json!({"eventRangeID": "1-2-3-4-5", "eventStatus": "cancelled"}),
            json!(false),
        ),
        (
            json!({"eventRangeID": "1-2-3-4-5", "eventStatus": "transferring"}),
            Value::Null,
        ),
        (json!(7), json!(false)),
    ] {
        let told = pilot.report(1, &json!([entry]));
        assert_eq!(told["Returns"], json!([answer]), "{entry}");
    }
    let told = pilot.report(
        1,
        &json!([{"eventRangeID": "1-99-3-4-5", "eventStatus": "failed"}]),
    );
    assert_eq!(told["Command"], json!({"99": "tobekilled"}));
    for ranges in ["", "{}", "7", "not JSON"] {
        let message = json!({"version": 1, "eventRanges": ranges});
        let told = call(&server, "updateEventRanges", &message).json();
        assert_eq!(told["StatusCode"], 30, "{ranges}: {told}");
    }
    let unknown = json!({"eventRangeID": "1-99-3-4-5", "eventStatus": "finished"});
    let told = server.legacy("updateEventRange", &unknown);
    assert_eq!(told.text("StatusCode"), "30");
    let none = json!({"pandaID": 99, "jobsetID": 1, "taskID": 1, "nRanges": "x"});
    let told = call(&server, "getEventRanges", &none).json();
    assert_eq!(told, json!({"StatusCode": 0, "eventRanges": []}));
    let told = server.legacy("getEventRanges", &none);
    assert_eq!(
        (told.text("StatusCode"), told.text("eventRanges")),
        ("0".into(), "[]".into())
    );
}
