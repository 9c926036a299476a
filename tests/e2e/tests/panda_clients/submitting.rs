//! `prun` submits, pilots run, the user gets outputs and logs.

use std::fs;

use serde_json::Value;

use ailurus_testkit::panda_clients::NICKNAME;

use crate::site::{LABEL, Site};

/// Writes a file of the user's work folder.
fn write(site: &Site, name: &str, text: &str) {
    fs::write(site.user.work().join(name), text).unwrap();
}

#[test]
fn the_tools_find_the_server_and_make_parameters() {
    let site = Site::start(&[]).unwrap();
    let said = site
        .user
        .python("from pandaclient import Client\nprint('HELLO=%s' % Client.hello()[0])")
        .unwrap();
    assert!(said.contains("HELLO=0"), "{said}");
    write(&site, "go.sh", "echo hi > out.txt\n");
    let dump = site.user.work().join("task.json");
    let arguments = [
        "--noBuild",
        "--exec",
        "sh go.sh",
        "--outDS",
        "user.jdoe.dry",
        "--outputs",
        "out.txt",
        "--vo",
        "spd",
        "--nJobs",
        "2",
        "--noSubmit",
        "--dumpTaskParams",
        dump.to_str().unwrap(),
    ];
    site.user.run_well("prun", &arguments).unwrap();
    let text = fs::read(&dump).unwrap();
    let parameters: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(parameters["sourceURL"], site.world.deployment.url());
}

#[test]
fn the_same_sandbox_is_sent_once() {
    let site = Site::start(&[]).unwrap();
    let lines = "import gzip, os\n\
         from pandaclient import Client\n\
         for n in (1, 2):\n    \
             name = 'jobO.%d.tar.gz' % n\n    \
             with open(name, 'wb') as file:\n        \
                 file.write(gzip.compress(b'the same', mtime=0))\n    \
             print('SENT=%s' % (Client.putFile(name, reuseSandbox=True),))\n\
         print('GOT=%s' % (Client.getFile('jobO.1.tar.gz', 'back'),))\n";
    let said = site.user.python(lines).unwrap();
    assert!(said.contains("SENT=(0, 'True')"), "{said}");
    assert!(
        said.contains("SENT=(0, 'NewFileName:jobO.1.tar.gz')"),
        "{said}"
    );
    assert!(said.contains("GOT=(0, True)"), "{said}");
    let work = site.user.work();
    let read = |name| fs::read(work.join(name)).unwrap();
    assert_eq!(read("back"), read("jobO.1.tar.gz"));
}

#[test]
fn a_task_without_build_or_input_gives_outputs_and_logs() {
    let site = Site::start(&[]).unwrap();
    write(&site, "go.sh", "echo \"made by $1\" > out.txt\n");
    let options = ["--outputs", "out.txt", "--nJobs", "2"];
    let task = site.begin("made", "sh go.sh prun", &options).unwrap();
    site.run_pilot(LABEL).unwrap();
    site.wait_for(task, &["done"]).unwrap();
    let outputs = site.stored("out.txt").unwrap();
    assert_eq!(outputs.len(), 2, "{outputs:?}");
    assert!(
        outputs.iter().all(|(_, text)| text == "made by prun\n"),
        "{outputs:?}"
    );
    let own = |path: &std::path::Path| path.to_string_lossy().contains(&format!("user.{NICKNAME}"));
    assert!(outputs.iter().all(|(path, _)| own(path)), "{outputs:?}");
    assert_eq!(site.stored("log.tgz").unwrap().len(), 2);
}

#[test]
fn a_build_job_comes_first_and_its_libraries_are_there() {
    let site = Site::start(&[]).unwrap();
    write(&site, "source.txt", "compiled\n");
    let build = "tr a-z A-Z < source.txt > built.txt";
    let options = ["--bexec", build, "--outputs", "out.txt"];
    let task = site.begin("built", "cp built.txt out.txt", &options);
    let task = task.unwrap();
    for _ in 0..2 {
        site.run_pilot(LABEL).unwrap();
    }
    site.wait_for(task, &["done"]).unwrap();
    let outputs = site.stored("out.txt").unwrap();
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    assert_eq!(outputs[0].1, "COMPILED\n");
}

#[test]
fn a_dataset_of_an_earlier_task_is_the_input_of_the_next() {
    let site = Site::start(&[]).unwrap();
    let options = ["--outputs", "out.txt", "--nJobs", "2"];
    let first = site.begin("first", "echo one > out.txt", &options);
    let first = first.unwrap();
    site.run_pilot(LABEL).unwrap();
    site.wait_for(first, &["done"]).unwrap();
    write(
        &site,
        "sum.sh",
        "cat $(echo $1 | tr , ' ') > sum.txt; cp list.txt listed.txt\n",
    );
    let options = [
        "--inDS",
        "user.jdoe.first_out.txt/",
        "--notExpandInDS",
        "--nFilesPerJob",
        "2",
        "--writeInputToTxt",
        "IN:list.txt",
        "--outputs",
        "sum.txt,listed.txt",
    ];
    let second = site.begin("second", "sh sum.sh %IN", &options).unwrap();
    site.run_pilot(LABEL).unwrap();
    site.wait_for(second, &["done"]).unwrap();
    let sums = site.stored("sum.txt").unwrap();
    assert_eq!(sums.len(), 1, "{sums:?}");
    assert_eq!(sums[0].1, "one\none\n");
    let lists = site.stored("listed.txt").unwrap();
    assert_eq!(lists[0].1.matches("out.txt").count(), 2, "{lists:?}");
}
