//! The Python pilot runs jobs of our own tasks and of `prun`, with and without inputs.

use std::{fs, path::Path};

use ailurus_testkit::rucio::{ACCOUNT, PASSWORD, RucioServer, USER};
use serde_json::{Value, json};

use crate::site::{LABEL, OWN_SCRIPT, PYTHON_ENDPOINT, PYTHON_QUEUE, Site};

const HELLO: &str = "#!/bin/sh\necho \"hello $1\" > \"$2\"\n";

/// Submits a task of `prun` for the Python pilot.
fn begin(site: &Site, name: &str, command: &str, options: &[&str]) -> u64 {
    let options = [&["--site", PYTHON_QUEUE][..], options].concat();
    site.begin(name, command, &options).unwrap()
}

/// The same, runs the Python pilot for the task's only job, and returns the task once it is done.
fn done(site: &Site, name: &str, command: &str, options: &[&str]) -> u64 {
    let task = begin(site, name, command, options);
    site.run_python_pilot(LABEL).unwrap();
    site.wait_for(task, &["done"]).unwrap();
    task
}

#[test]
fn the_python_pilot_runs_jobs_of_our_own_tasks() {
    let site = Site::start(&[(OWN_SCRIPT, HELLO)]).unwrap();
    site.submit_own().unwrap();
    site.run_python_pilot("managed").unwrap();
    let job = site.world.wait_for_job("finished").unwrap();
    let output = site.stored(".txt").unwrap();
    assert_eq!(output.len(), 1, "{job:#}");
    assert!(output[0].1.starts_with("hello "), "{output:?}");
    assert_eq!(site.stored(".log.tgz").unwrap().len(), 1, "{job:#}");
}

#[test]
fn the_python_pilot_brings_libraries_and_what_it_stored_before() {
    let site = Site::start_for_python(&[]).unwrap();
    let outputs = ["--outputs", "a.txt,b.txt"];
    let made = done(
        &site,
        "made",
        "echo one > a.txt; echo two > b.txt",
        &outputs,
    );
    assert_eq!(site.outputs(made, "a.txt").unwrap(), ["one\n"]);
    // A build job stores a library, which is an input beside those of two datasets.
    fs::write(site.user.work().join("source.txt"), "three\n").unwrap();
    let options = [
        "--bexec",
        "tr a-z A-Z < source.txt > built.txt",
        "--inDS",
        "user.jdoe.made_a.txt/",
        "--secondaryDSs",
        "SEC:1:user.jdoe.made_b.txt/",
        "--notExpandInDS",
        "--notExpandSecDSs",
        "--outputs",
        "sum.txt",
    ];
    let read = "cat %IN %SEC built.txt > sum.txt";
    let task = begin(&site, "read", read, &options);
    for _ in ["build", "run"] {
        site.run_python_pilot(LABEL).unwrap();
    }
    site.wait_for(task, &["done"]).unwrap();
    assert_eq!(
        site.outputs(task, "sum.txt").unwrap(),
        ["one\ntwo\nTHREE\n"]
    );
}

/// Writes a dataset of one file into Rucio's catalogue and into the storage of the pilot's queue.
fn fill(rucio: &RucioServer, storage: &Path, text: &str) {
    let code = format!(
        "import hashlib, os, zlib
from rucio.common.types import InternalAccount, InternalScope
from rucio.core.did import add_did, attach_dids
from rucio.core.replica import add_replicas
from rucio.core.rse import add_protocol, add_rse
from rucio.db.sqla.constants import DatabaseOperationType, DIDType
from rucio.db.sqla.session import db_session
account, scope = InternalAccount('{ACCOUNT}'), InternalScope('spd.mc')
name, text, storage = 'sim._1.txt', {text:?}.encode(), {storage:?}
folded = hashlib.md5(f'spd.mc:{{name}}'.encode()).hexdigest()
folder = os.path.join(storage, 'spd.mc', folded[:2], folded[2:4])
os.makedirs(folder)
with open(os.path.join(folder, name), 'wb') as file:
    file.write(text)
uses = dict(read=1, write=1, delete=1)
with db_session(DatabaseOperationType.WRITE) as session:
    rse = add_rse('{PYTHON_ENDPOINT}', session=session)
    add_protocol(rse, dict(scheme='file', hostname='localhost', port=0, prefix=storage,
                           impl='rucio.rse.protocols.posix.Default',
                           domains=dict(lan=uses, wan=uses), extended_attributes=None),
                 session=session)
    add_did(scope, 'sim', DIDType.DATASET, account, session=session)
    files = [dict(scope=scope, name=name, bytes=len(text), adler32='%08x' % zlib.adler32(text),
                  meta=dict(guid='2C4A5C3A1D3B4D6F8A9BACBDCEDFE0F0'))]
    add_replicas(rse, files, account, session=session)
    attach_dids(scope, 'sim', files, account, session=session)
"
    );
    rucio.run_python(&code).unwrap();
}

/// Has the queue's pilots bring inputs by Rucio's own client.
fn stage_in_by_rucio(site: &Site) {
    let path = site.world.deployment.folder().join("queues.json");
    let mut queues: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let queue = &mut queues[PYTHON_QUEUE];
    queue["copytools"]["rucio"] = json!({"setup": ""});
    queue["acopytools"]["pr"] = json!(["rucio"]);
    fs::write(&path, queues.to_string()).unwrap();
}

#[test]
fn the_python_pilot_brings_files_by_rucio_and_verifies_them() {
    let mut site = Site::start_for_python(&[]).unwrap();
    let folder = site.world.folder().to_owned();
    let rucio = RucioServer::start(&folder.join("rucio")).unwrap();
    let storage = site.world.deployment.folder().join("storage");
    fill(&rucio, &storage.join(PYTHON_ENDPOINT), "simulated\n");
    stage_in_by_rucio(&site);
    let password = folder.join("password");
    fs::write(&password, PASSWORD).unwrap();
    let (url, password) = (rucio.url(), password.display());
    let lines = format!(
        "[rucio]\nhost = \"{url}\"\naccount = \"{ACCOUNT}\"\nuser = \"{USER}\"\n\
         password_file = \"{password}\"\n",
    );
    site.configure(&lines).unwrap();
    let options = [
        "--inDS",
        "spd.mc:sim",
        "--notExpandInDS",
        "--outputs",
        "out.txt",
    ];
    let task = begin(&site, "rucio", "cat %IN > out.txt", &options);
    let client = rucio.client_environment(&folder.join("client")).unwrap();
    let run = site.run_python_pilot_with(LABEL, |command| {
        command.args(["--rucio-host", &rucio.url()]).envs(client);
        // Inputs go to the job's own directory.
        command.args(["--input-destination-dir", ""]);
    });
    run.unwrap();
    site.wait_for(task, &["done"]).unwrap();
    assert_eq!(site.outputs(task, "out.txt").unwrap(), ["simulated\n"]);
    let log = fs::read_to_string(folder.join("python-pilot/pilot.log")).unwrap();
    assert!(log.contains("catalog and local checksum values are the same"));
    assert!(!log.contains("mismatched with value from Rucio"));
}
