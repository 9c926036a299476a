//! One batch job over several nodes: a pilot on each, one list of jobs, no server.

use std::{collections::BTreeMap, fs, process::Child};

use serde_json::json;

use crate::workbench::{Workbench, finish, start};

const COUNT: &str = "#!/bin/sh\necho \"$PANDAID\" >> $COUNTER\necho x > out.dat\n";

/// Starts a pilot as `srun` does on a node.
fn on_node(bench: &Workbench, rank: u32) -> Child {
    let scratch = bench.path(&format!("scratch/{rank}")).display().to_string();
    let point = bench.path("point").display().to_string();
    let words = [
        "-q",
        "Q",
        "-w",
        "generic_hpc",
        "-a",
        &scratch,
        "--harvester-workdir",
        &point,
    ];
    let mut command = bench.command(&words);
    command
        .env("SLURM_PROCID", rank.to_string())
        .env("PANDA_HOSTNAME", format!("node{rank}"))
        .env("COUNTER", bench.path("counter"));
    start(&mut command)
}

/// Says how often each job was run.
fn runs(bench: &Workbench) -> BTreeMap<String, usize> {
    let mut runs = BTreeMap::new();
    for line in bench.read("counter").lines() {
        *runs.entry(line.to_owned()).or_default() += 1;
    }
    runs
}

#[test]
fn pilots_of_several_nodes_run_each_job_of_one_file_exactly_once() {
    let bench = Workbench::new(COUNT);
    let ids = 1..=7_u64;
    let jobs: serde_json::Map<_, _> = ids
        .clone()
        .map(|id| (id.to_string(), bench.job(id)))
        .collect();
    bench.write("point/HPCJobs.json", &json!(jobs).to_string());
    let pilots: Vec<Child> = (0..3).map(|rank| on_node(&bench, rank)).collect();
    for pilot in pilots {
        let ended = finish(pilot);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let expected = ids.clone().map(|id| (id.to_string(), 1)).collect();
    assert_eq!(runs(&bench), expected);
    for id in ids {
        let attributes = bench.read_json(&format!("point/{id}/worker_attributes.json"));
        assert_eq!(attributes["jobStatus"], "finished");
        let dump = bench.read_json(&format!("point/{id}/event_status.dump.json"));
        assert_eq!(dump[id.to_string()].as_array().expect("files").len(), 2);
        let claim = bench.read_json(&format!("point/pilots/claims/{id}.1.json"));
        assert_eq!(claim["end"], "finished");
    }
    assert!(
        bench.path("point/kill_worker.json").is_file(),
        "the leader says the end"
    );
}

#[test]
fn jobs_in_directories_of_their_own_are_found_by_harvesters_list() {
    let bench = Workbench::new(COUNT);
    for id in [5, 6_u64] {
        let spec = json!({id.to_string(): bench.job(id)});
        bench.write(&format!("point/{id}/HPCJobs.json"), &spec.to_string());
    }
    bench.write("point/worker_pandaids.json", "[5, 6]");
    let ended = finish(on_node(&bench, 0));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(runs(&bench).len(), 2);
    for id in [5, 6] {
        let attributes = bench.read_json(&format!("point/{id}/worker_attributes.json"));
        assert_eq!(attributes["jobStatus"], "finished");
    }
}

#[test]
fn a_job_that_another_pilot_claimed_is_left_to_it() {
    let bench = Workbench::new(COUNT);
    let jobs = json!({"5": bench.job(5), "6": bench.job(6)});
    bench.write("point/HPCJobs.json", &jobs.to_string());
    bench.write(
        "point/pilots/claims/5.1.json",
        r#"{"holder": "node9-1-1", "time": ""}"#,
    );
    let claim = fs::File::options()
        .write(true)
        .open(bench.path("point/pilots/claims/5.1.json"));
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    claim
        .expect("a claim")
        .set_modified(long_ago)
        .expect("own file");
    let ended = finish(on_node(&bench, 0));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(runs(&bench), BTreeMap::from([("6".to_owned(), 1)]));
    assert!(
        ended.stdout.contains("job 5 is lost: pilot `node9-1-1`"),
        "{ended:?}"
    );
}

#[test]
fn a_pilot_with_several_slots_runs_jobs_of_the_list_side_by_side() {
    let bench = Workbench::new(COUNT);
    // Each payload goes on only when both run.
    let here = bench.path("here").display().to_string();
    let script = format!(
        "#!/bin/sh\ntouch {here}/on.$PANDAID\n\
         while [ ! -e {here}/on.5 ] || [ ! -e {here}/on.6 ]; do sleep 0.02; done\n\
         echo \"$PANDAID\" >> $COUNTER\necho x > out.dat\n"
    );
    bench.write("here/run.sh", &script);
    let jobs = json!({"5": bench.job(5), "6": bench.job(6)});
    bench.write("point/HPCJobs.json", &jobs.to_string());
    let point = bench.path("point").display().to_string();
    let scratch = bench.path("scratch").display().to_string();
    let words = [
        "-q",
        "Q",
        "-w",
        "generic_hpc",
        "-a",
        &scratch,
        "--harvester-workdir",
        &point,
        "--slots",
        "2",
        "--slots-cores",
        "2",
    ];
    let mut command = bench.command(&words);
    command.env("COUNTER", bench.path("counter"));
    let ended = finish(start(&mut command));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(runs(&bench).len(), 2);
}

#[test]
fn the_profiles_launcher_starts_the_payload() {
    let bench = Workbench::new(COUNT);
    let srun = bench.path("here/srun").display().to_string();
    let used = bench.path("used").display().to_string();
    bench.write(
        "here/srun",
        &format!("#!/bin/sh\necho \"$@\" > {used}\nshift 2\nexec \"$@\"\n"),
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bench.path("here/srun"), mode).expect("own file");
    bench.write(
        "here/cluster.toml",
        &format!(
            "name = \"cluster\"\ndescription = \"By a launcher.\"\n[payload]\n\
             launcher = [\"{srun}\", \"--ntasks\", \"{{cores}}\"]\n\
             [[payload.commands]]\ntransformation = \"*\"\n\
             command = [\"./{{script}}\", \"{{arguments}}\"]\n"
        ),
    );
    let mut job = bench.job(5);
    job["coreCount"] = json!(4);
    bench.write("here/job.json", &job.to_string());
    let words = [
        "once",
        "--job",
        "job.json",
        "--pilot-user",
        "cluster",
        "--profile-path",
        ".",
    ];
    let mut command = bench.command(&words);
    command.env("COUNTER", bench.path("counter"));
    let ended = finish(start(&mut command));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        bench.read("used").starts_with("--ntasks 4 ./run.sh -x 1"),
        "{}",
        bench.read("used")
    );
}
