//! Tasks that read datasets of the real Rucio.

use std::fs;

use ailurus_testkit::rucio::{ACCOUNT, Endpoint, PASSWORD, RucioServer, USER};
use serde_json::{Value, json};

use crate::harness::{QUEUE, Server, wait_for};

/// Files of each dataset.
const FILES_PER_DATASET: usize = 3;

/// Rucio and a server that asks it.
struct Stand {
    server: Server,
    rucio: RucioServer,
    // Dropped last: Rucio's files are in it.
    _folder: tempfile::TempDir,
}

impl Stand {
    /// Starts both, with two datasets of files in a container.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rucio = RucioServer::start(&folder.path().join("rucio")).unwrap();
        fill(&rucio);
        let password = folder.path().join("password");
        fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        let server = Server::start_with(&format!(
            "[rucio]\nhost = \"{}\"\naccount = \"{ACCOUNT}\"\nuser = \"{USER}\"\n\
             password_file = \"{}\"\n",
            rucio.url(),
            password.display()
        ));
        Self {
            server,
            rucio,
            _folder: folder,
        }
    }

    /// Submits a task with a job for each file of a dataset and returns its number.
    fn submit(&self, name: &str, dataset: &str) -> u64 {
        let params = json!({
            "taskName": name, "userName": "prod", "taskType": "prod",
            "prodSourceLabel": "managed", "vo": "spd", "processingType": "reco",
            "nFilesPerJob": 1, "skipScout": true, "transPath": "reco.sh", "architecture": "",
            "log": {"type": "template", "param_type": "log", "dataset": format!("{name}.log"),
                    "value": format!("{name}.$JEDITASKID.${{SN}}.log.tgz")},
            "jobParameters": [
                {"type": "template", "param_type": "input", "dataset": dataset,
                 "value": "-i ${IN/L}"},
                {"type": "template", "param_type": "output", "dataset": format!("{name}.reco"),
                 "value": format!("--out={name}.$JEDITASKID._${{SN/P}}.root")},
            ],
        });
        let answer = self
            .server
            .v1("task/submit", &json!({"task_parameters": params}));
        answer.data().as_u64().unwrap()
    }

    fn columns(&self, id: u64) -> Value {
        let path = format!("/api/v1/task/get_detailed_info?task_id={id}");
        self.server.get(&path).data()
    }

    /// Waits until a task has so many jobs.
    fn wait_for_jobs(&self, id: u64, n: usize) {
        let path = format!("/api/v1/task/get_job_ids?task_id={id}");
        let mut last = Value::Null;
        wait_for(&format!("{n} jobs of task {id}"), || {
            last = self.server.get(&path).data();
            (last.as_array().unwrap().len() == n).then_some(())
        });
    }

    fn acquire(&self) -> Value {
        let request = json!({"site_name": QUEUE, "timeout": 60, "prod_source_label": "managed"});
        let jobs = self.server.v1("pilot/acquire_jobs", &request).data();
        jobs["jobs"][0].clone()
    }
}

/// Writes two datasets in a container into the catalogue, one file of which is on tape only.
fn fill(rucio: &RucioServer) {
    let code = format!(
        "from rucio.common.types import InternalAccount, InternalScope
from rucio.core.did import add_did, attach_dids
from rucio.core.replica import add_replicas
from rucio.core.rse import get_rse_id
from rucio.db.sqla.constants import DatabaseOperationType, DIDType
from rucio.db.sqla.session import db_session
account, scope = InternalAccount('{ACCOUNT}'), InternalScope('spd.mc')
with db_session(DatabaseOperationType.WRITE) as session:
    disk, tape = (get_rse_id(name, session=session) for name in ('{}', '{}'))
    add_did(scope, 'sim.all', DIDType.CONTAINER, account, session=session)
    for dataset in ('sim.one', 'sim.two'):
        add_did(scope, dataset, DIDType.DATASET, account, session=session)
        files = [dict(scope=scope, name=f'{{dataset}}._{{n}}.root', bytes=1000 + n,
                      adler32='0a0b0c0%d' % n, meta=dict(guid='2C4A5C3A1D3B4D6F8A9BACBDCEDFE0F%d' % n))
                 for n in range({FILES_PER_DATASET})]
        rse = tape if dataset == 'sim.two' else disk
        add_replicas(rse, files, account, session=session)
        attach_dids(scope, dataset, files, account, session=session)
    members = [dict(scope=scope, name=name) for name in ('sim.one', 'sim.two')]
    attach_dids(scope, 'sim.all', members, account, session=session)
",
        Endpoint::Disk.name(),
        Endpoint::Tape.name(),
    );
    rucio.run_python(&code).unwrap();
}

#[test]
fn tasks_read_datasets_and_containers_that_rucio_knows() {
    let stand = Stand::start();
    let id = stand.submit("reco.one", "spd.mc:sim.one");
    stand.wait_for_jobs(id, FILES_PER_DATASET);
    let job = stand.acquire();
    assert_eq!(job["inFiles"], "sim.one._0.root", "{job}");
    assert_eq!(job["scopeIn"], "spd.mc", "{job}");
    assert_eq!(job["fsize"], "1000", "{job}");
    assert_eq!(job["checksum"], "ad:0a0b0c00", "{job}");
    assert_eq!(job["realDatasetsIn"], "spd.mc:sim.one", "{job}");
    assert_eq!(job["ddmEndPointIn"], Endpoint::Disk.name(), "{job}");
    assert!(
        job["GUID"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case("2C4A5C3A-1D3B-4D6F-8A9B-ACBDCEDFE0F0"),
        "{job}"
    );
    let all = stand.submit("reco.all", "spd.mc:sim.all/");
    stand.wait_for_jobs(all, 2 * FILES_PER_DATASET);
    let listed = stand
        .server
        .get(&format!(
            "/api/v1/task/get_datasets_and_files?task_id={all}&dataset_types=input"
        ))
        .data();
    let files = listed[0]["files"].as_array().unwrap();
    assert_eq!(files.len(), 2 * FILES_PER_DATASET, "{listed}");
}

#[test]
fn a_task_waits_with_a_reason_for_a_dataset_that_rucio_does_not_know() {
    let stand = Stand::start();
    let id = stand.submit("reco.none", "spd.mc:no.such");
    let message = wait_for("the task to wait", || {
        let columns = stand.columns(id);
        let is_pending = columns["status"] == "pending";
        is_pending.then(|| columns["errorDialog"].clone())
    });
    assert_eq!(
        message,
        "waits for dataset `spd.mc:no.such`, which is not known (yet)"
    );
    wait_for("Rucio to be asked", || {
        let log = stand.server.log();
        log.contains("Rucio does not know a dataset").then_some(())
    });
    // An outage is no answer: the task goes on waiting.
    assert_eq!(stand.columns(id)["status"], "pending");
    drop(stand.rucio);
    assert_eq!(stand.server.get("/api/v1/system/is_alive").status, 200);
}
