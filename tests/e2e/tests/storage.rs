//! Jobs whose data lie on real storage: XRootD over `root://` and over HTTP, through the real pilot.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ailurus_e2e::lone_pilot::{Stage, adler32};
use ailurus_model::{Lfn, Scope};
use ailurus_testkit::{
    panda::{Update, sample},
    storage::xrootd::XRootD,
};
use ailurus_transfer::deterministic_path;
use serde_json::{Value, json};

/// A second endpoint.
const OTHER: &str = "OTHER_DISK";
const COPY: &str = "#!/bin/sh\ncat in.dat > out.dat\n";
/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// A stage with a real storage.
struct Site {
    stage: Stage,
    storage: XRootD,
    // Dropped last.
    _folder: tempfile::TempDir,
}

/// An endpoint with a protocol for all that is done.
fn endpoint(name: &str, address: &str, path: &str) -> Value {
    let protocols = json!([{"endpoint": address, "path": path, "flavour": "X", "id": 1}]);
    json!({
        "name": name, "id": 1, "site": sample::SITE, "type": "DATADISK", "is_deterministic": true,
        "state": "ACTIVE", "rprotocols": {},
        "arprotocols": {"read_lan": protocols, "write_lan": protocols},
    })
}

impl Site {
    /// A site whose queue uses these tools; none if the machine has no XRootD.
    fn new(tools: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // The server gives its rights up.
        let open = PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).unwrap();
        let storage = XRootD::start(&folder.path().join("xrootd")).unwrap()?;
        let site = Self {
            stage: Stage::new().unwrap(),
            storage,
            _folder: folder,
        };
        site.set_queue(tools, &[]);
        Some(site)
    }

    fn set_queue(&self, tools: &[&str], further: &[(&str, Value)]) {
        let both = json!([sample::ENDPOINT, OTHER]);
        let tools = json!({"read_lan": tools, "write_lan": tools, "pl": tools});
        let mut changes = vec![
            ("acopytools", tools),
            ("astorages", json!({"read_lan": both, "write_lan": both})),
        ];
        changes.extend_from_slice(further);
        self.stage.set_queue(&changes);
    }

    /// Says where the first and the second endpoint are.
    fn serve_storages(&self, first: (&str, &str), second: (&str, &str)) {
        let storages = json!({
            sample::ENDPOINT: endpoint(sample::ENDPOINT, first.0, first.1),
            OTHER: endpoint(OTHER, second.0, second.1),
        });
        self.stage
            .panda
            .serve("/storage.json", storages.to_string());
    }

    fn root(&self) -> String {
        format!("root://{}/", self.storage.root_host())
    }

    fn http(&self) -> String {
        format!("{}/", self.storage.http_endpoint())
    }

    /// Where a file of an endpoint lies on the server's disk.
    fn on_disk(&self, folder: &str, lfn: &str) -> PathBuf {
        let (scope, name) = (Scope::new(sample::SCOPE), Lfn::new(lfn));
        let path = deterministic_path(&scope, &name);
        self.storage.dir().join(folder).join(path)
    }

    fn put(&self, folder: &str, lfn: &str, content: &[u8]) {
        let path = self.on_disk(folder, lfn);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        // The server writes beside it as another user.
        open_to_all(&self.storage.dir());
    }

    /// A job with an input, of which the catalogue knows the content, and an output.
    fn job(&self, panda_id: u64, content: &[u8]) -> Value {
        let mut job = self.stage.job(panda_id, COPY);
        self.stage.add_input(&mut job, "in.dat", content).unwrap();
        sample::add_outputs(&mut job, &["out.dat"]);
        job
    }

    fn run(&self, job: Value) -> (Update, String) {
        let panda_id = job["PandaID"].as_u64().unwrap();
        self.stage.panda.offer(job);
        let ended = self.stage.run().unwrap();
        assert_eq!(self.stage.panda.violations(), Vec::<String>::new());
        (self.stage.end_of(panda_id).unwrap(), ended.log)
    }
}

fn open_to_all(folder: &Path) {
    let mode = PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder, mode).unwrap();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            open_to_all(&entry.path());
        }
    }
}

fn content() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_jobs_data_come_and_go_over_root_and_over_http() {
    for tools in [["xrdcp"], ["http"]] {
        let Some(site) = Site::new(&tools) else {
            return;
        };
        let address = if tools == ["xrdcp"] {
            site.root()
        } else {
            site.http()
        };
        site.serve_storages((&address, "/data/a/"), (&address, "/data/b/"));
        site.put("a", "in.dat", &content());
        let (end, log) = site.run(site.job(1, &content()));
        assert_eq!(end.status, "finished", "{log}");
        let stored = fs::read(site.on_disk("a", "out.dat")).expect(&log);
        assert!(stored == content(), "{tools:?}");
        assert!(site.on_disk("a", "log.1.tgz").is_file());
        let report = end.report().to_string();
        assert!(
            report.contains(&format!("{:08x}", adler32(&content()))),
            "{report}"
        );
        let left = fs::read_dir(site.on_disk("a", "out.dat").parent().unwrap()).unwrap();
        assert_eq!(left.count(), 1, "a temporary name is left");
    }
}

#[test]
fn a_damaged_replica_is_named_and_the_next_one_is_taken() {
    let Some(site) = Site::new(&["http"]) else {
        return;
    };
    site.serve_storages((&site.http(), "/data/a/"), (&site.http(), "/data/b/"));
    let mut damaged = content();
    damaged[1_000_000] ^= 1;
    site.put("a", "in.dat", &damaged);
    site.put("b", "in.dat", &content());
    let (end, log) = site.run(site.job(1, &content()));
    assert_eq!(end.status, "finished", "{log}");
    let said = end.pilot_error_diag();
    assert!(
        said.contains(&format!(
            "bad replica of `in.dat` at `{}`",
            sample::ENDPOINT
        )),
        "{said}"
    );
}

#[test]
fn an_output_goes_to_the_alternative_where_the_first_storage_is_down() {
    let Some(site) = Site::new(&["http"]) else {
        return;
    };
    let alternative = [("params", json!({"allow_altstageout": true}))];
    site.set_queue(&["http"], &alternative);
    site.serve_storages((NOBODY, "/data/a/"), (&site.http(), "/data/b/"));
    site.put("b", "in.dat", &content());
    let (end, log) = site.run(site.job(1, &content()));
    assert_eq!(end.status, "finished", "{log}");
    assert!(site.on_disk("b", "out.dat").is_file(), "{log}");
    let said = end.pilot_error_diag();
    assert!(
        said.contains("Alternative stage-out for ['out.dat'"),
        "{said}"
    );
}

#[test]
fn a_sample_is_fetched_once_by_pilots_that_share_a_cache() {
    let Some(mut site) = Site::new(&["http"]) else {
        return;
    };
    site.serve_storages((&site.http(), "/data/a/"), (&site.http(), "/data/a/"));
    site.set_queue(&["http"], &[("use_pcache", json!(true))]);
    let cache = site.stage.path("work/cache").display().to_string();
    site.stage = site.stage.with_options(&["--cache-dir", &cache]);
    site.put("a", "in.dat", &content());
    let (end, log) = site.run(site.job(1, &content()));
    assert_eq!(end.status, "finished", "{log}");
    fs::remove_file(site.on_disk("a", "in.dat")).unwrap();
    let (end, log) = site.run(site.job(2, &content()));
    assert_eq!(end.status, "finished", "{log}");
    assert!(log.contains("comes from the cache"), "{log}");
}

#[test]
fn a_job_whose_input_is_nowhere_says_where_it_was_looked_for() {
    let Some(site) = Site::new(&["xrdcp", "http"]) else {
        return;
    };
    site.serve_storages((&site.root(), "/data/a/"), (&site.http(), "/data/b/"));
    let (end, log) = site.run(site.job(1, b"never stored"));
    assert_eq!(end.status, "failed", "{log}");
    assert_eq!(end.pilot_error_code(), 1331, "{log}");
    let said = end.pilot_error_diag();
    assert!(
        said.contains(sample::ENDPOINT) && said.contains(OTHER),
        "{said}"
    );
}

#[test]
fn an_output_that_is_no_whole_root_file_is_not_stored() {
    let Some(site) = Site::new(&["http"]) else {
        return;
    };
    site.serve_storages((&site.http(), "/data/a/"), (&site.http(), "/data/b/"));
    let mut stage_job = site.stage.job(
        1,
        "#!/bin/sh\nprintf root > out.root\nhead -c 5000 /dev/zero >> out.root\n",
    );
    sample::add_outputs(&mut stage_job, &["out.root"]);
    let site = Site {
        stage: site.stage.with_options(&["--pilot-user", "spd", "-b"]),
        ..site
    };
    let (end, log) = site.run(stage_job);
    assert_eq!(end.status, "failed", "{log}");
    let said = end.pilot_error_diag();
    assert!(said.contains("output `out.root` is not sound"), "{said}");
    assert!(!site.on_disk("a", "out.root").exists());
}
