//! Jobs whose inputs are where Rucio says.

use std::fs;

use ailurus_model::{ByteCount, Checksum, EndpointName, Lfn, Scope};
use ailurus_testkit::{
    http::{Answer, Request},
    stand_in::HttpStandIn,
};
use ailurus_wire::rucio::{
    auth,
    replicas::{self, Domain, FileReplicas, Medium, Replica},
    trace,
};
use serde_json::{Value, json};

use crate::{
    COPY_SCRIPT,
    stage::{PilotRun, Stage, adler32},
};

const CONTENT: &[u8] = b"0123456789";

/// A stage whose input Rucio is asked for.
fn stage() -> Stage {
    Stage::new("run.sh", COPY_SCRIPT)
        .with_input("in.dat", CONTENT)
        .with_output("out.dat")
        .with_copy_tool("local")
}

/// Runs a pilot that asks this server.
fn run(stage: &Stage, rucio: &HttpStandIn) -> PilotRun {
    let file = stage.path("rucio.cfg");
    fs::write(&file, "[client]\nrequest_retries = 1\n").expect("space");
    let variables = [
        ("RUCIO_CONFIG", file.to_str().expect("text")),
        ("RUCIO_AUTH_TYPE", "oidc"),
        ("BEARER_TOKEN", "s3cret"),
        ("PILOT_RUCIO_SITENAME", "SITE"),
    ];
    let arguments = ["--rucio-host", &rucio.url()];
    stage.start_where(&variables, &arguments).finish()
}

fn asked<'a>(requests: &'a [Request], path: &str) -> Vec<&'a Request> {
    let asked = requests.iter().filter(|it| it.target() == path);
    asked.collect()
}

#[test]
fn an_input_is_fetched_from_where_only_rucio_knows_it() {
    let stage = stage();
    stage.remove_inputs();
    let elsewhere = stage.path("outside").join("kept in.dat");
    fs::write(&elsewhere, CONTENT).expect("space");
    let replica = |rse: &str, place: &str, priority, medium| Replica {
        rse: EndpointName::new(rse),
        pfn: format!("file://{place}"),
        domain: Domain::Lan,
        priority,
        medium,
        is_in_archive: false,
    };
    let answer = replicas::encode_answer(&[FileReplicas {
        scope: Scope::new("user.a"),
        name: Lfn::new("in.dat"),
        size: Some(ByteCount::from_bytes(10)),
        adler32: Some(Checksum::Adler32(adler32(CONTENT))),
        md5: None,
        replicas: vec![
            replica("EP", "/nowhere/in.dat", 1, Medium::Tape),
            replica("EP", elsewhere.to_str().expect("text"), 2, Medium::Disk),
        ],
    }]);
    let rucio = HttpStandIn::start(move |request| match request.target() {
        replicas::PATH => Some(Answer::new(200, answer.clone())),
        _ => Some(Answer::new(201, "Created")),
    });
    let rucio = rucio.expect("a free port");
    let run = run(&stage, &rucio);
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
    let requests = rucio.requests();
    let [question] = asked(&requests, replicas::PATH)[..] else {
        panic!("one question: {requests:?}");
    };
    assert_eq!(question.header(auth::TOKEN), Some("s3cret"));
    let question = String::from_utf8_lossy(&question.body);
    assert!(question.contains(r#""name":"in.dat""#), "{question}");
    assert!(question.contains(r#""site":"SITE""#), "{question}");
    assert!(!run.output.contains("s3cret"), "{}", run.output);
    let traces = asked(&requests, trace::PATH).into_iter();
    let traces: Vec<Value> = traces
        .map(|it| serde_json::from_slice(&it.body).expect("JSON"))
        .collect();
    let told: Vec<_> = traces
        .iter()
        .map(|it| [&it["eventType"], &it["clientState"], &it["filename"]])
        .collect();
    let done = json!("DONE");
    let [get, put] = [json!("get_sm_a"), json!("put_sm_a")];
    let expected = [
        [&get, &done, &json!("in.dat")],
        [&put, &done, &json!("out.dat")],
        [&put, &done, &json!("log.tgz")],
    ];
    assert_eq!(told, expected, "{}", run.output);
    assert_eq!(traces[0]["appid"], "1001");
}

#[test]
fn without_an_answer_inputs_are_fetched_from_where_their_names_say() {
    let stage = stage();
    let rucio = HttpStandIn::start(|_| Some(Answer::new(503, "down for a while")));
    let rucio = rucio.expect("a free port");
    let run = run(&stage, &rucio);
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
    assert_eq!(asked(&rucio.requests(), replicas::PATH).len(), 1);
    assert!(run.output.contains("503"), "{}", run.output);
}

#[test]
fn an_input_that_rucio_does_not_know_fails_the_job_with_its_own_code() {
    let stage = stage();
    stage.remove_inputs();
    let rucio = HttpStandIn::start(|_| Some(Answer::new(200, "")));
    let rucio = rucio.expect("a free port");
    let run = run(&stage, &rucio);
    let last = run.last_update();
    assert_eq!(last["job_status"], json!("failed"), "{}", run.output);
    assert_eq!(last["pilot_error_code"], json!(1326), "{}", run.output);
}
