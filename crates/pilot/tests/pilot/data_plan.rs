//! `ailurus-pilot data plan`.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

fn plan(words: &[&str], place: &Path) -> Output {
    let usual = [
        "data",
        "plan",
        "-q",
        "Q",
        "--pilot-user",
        "spd",
        "--job",
        "job.json",
        "--queuedata-url",
        "queue.json",
        "--storagedata-url",
        "storage.json",
    ];
    Command::new(env!("CARGO_BIN_EXE_ailurus-pilot"))
        .args(usual.iter().chain(words))
        .current_dir(place)
        .output()
        .expect("the pilot is built")
}

/// A queue that reads over two protocols and may store elsewhere.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("space");
    let protocol = |endpoint: &str, path: &str| json!({"endpoint": endpoint, "path": path});
    let storage = |name: &str, protocols: Value| {
        json!({"name": name, "state": "ACTIVE", "type": "DATADISK", "is_deterministic": true,
               "arprotocols": protocols})
    };
    let root = protocol("root://a.example.org:1094/", "/spd/");
    let davs = protocol("davs://a.example.org:443/", "/spd/");
    let other = protocol("davs://b.example.org:443/", "/spd/");
    let near = json!({"read_lan": [root, davs], "write_lan": [davs]});
    let far = json!({"write_wan": [other]});
    let files = [
        (
            "queue.json",
            json!({"nickname": "Q", "state": "ACTIVE", "status": "online",
            "acopytools": {"read_lan": ["xrdcp", "http"], "write_lan": ["http"]},
            "params": {"allow_altstageout": true},
            "astorages": {"read_lan": ["A"], "write_lan": ["A", "B"]}}),
        ),
        (
            "storage.json",
            json!({"A": storage("A", near), "B": storage("B", far)}),
        ),
        (
            "job.json",
            json!({"transformation": "run.sh", "inputs": ["in.root"],
            "outputs": ["out.dat"]}),
        ),
    ];
    for (name, content) in files {
        fs::write(place.path().join(name), content.to_string()).expect("space");
    }
    place
}

#[test]
fn a_plan_names_tool_place_and_check_of_every_try_in_order() {
    let place = place();
    let ended = plan(&["--json"], place.path());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let table: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let tries = |part: usize| {
        let tries = table["parts"][part]["files"][0]["tries"]
            .as_array()
            .cloned();
        let tries = tries.expect("tries").into_iter();
        tries
            .map(|it| {
                format!(
                    "{} {}",
                    it["tool"].as_str().unwrap(),
                    it["endpoint"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(tries(0), ["xrdcp A", "http A"]);
    assert_eq!(tries(1), ["http A", "http B"]);
    assert_eq!(table["parts"][0]["files"][0]["check"], "root, structure");
    assert_eq!(
        table["parts"][1]["files"][0]["tries"][1]["rank"],
        "alternative"
    );
    let ended = plan(&[], place.path());
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        text.contains("1  xrdcp  A  LAN  root://a.example.org:1094//spd/"),
        "{text}"
    );
    assert!(
        fs::read_dir(place.path()).expect("there").count() == 3,
        "nothing is left"
    );
}

#[test]
fn a_file_without_a_way_has_a_reason_and_another_exit_code() {
    let place = place();
    let path = place.path().join("queue.json");
    let queue = fs::read_to_string(&path).expect("there");
    fs::write(&path, queue.replace(r#"["http"]"#, r#"["lsm"]"#)).expect("space");
    let ended = plan(&[], place.path());
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(text.contains("no plan: 1313"), "{text}");
}

#[test]
fn bad_jobs_and_missing_queues_have_exit_codes_of_their_own() {
    let place = place();
    fs::write(place.path().join("job.json"), "{\"inputs\": 7}").expect("space");
    let ended = plan(&[], place.path());
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    fs::write(place.path().join("job.json"), "{\"transformation\": \"x\"}").expect("space");
    fs::remove_file(place.path().join("queue.json")).expect("there");
    let ended = plan(&[], place.path());
    assert_eq!(ended.status.code(), Some(71), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("queue.json"), "{said}");
}
