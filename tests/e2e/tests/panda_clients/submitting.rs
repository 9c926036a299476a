//! `prun` submits, pilots run, the user gets outputs and logs.

use std::fs;

use serde_json::Value;

use crate::site::Site;

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
