//! Loads queue and storage data: from URLs and files, by priority, with copies in the pilot's
//! directory.
//!
//! Of each kind the first place whose content makes sense counts. A copy that is young is used
//! instead of asking; an old one if nothing else is to be had. A place that hangs is given up.
//!
//! Source: Pilot 3, `pilot/info/extinfo.py` and `pilot/info/dataloader.py`.

mod fetch;

use std::{collections::BTreeMap, path::Path, time::Duration};

use ailurus_http::Client;
use ailurus_model::{EndpointName, ErrorCode, QueueName, StorageEndpoint};
use ailurus_pilot_core::{Problem, input::Site};
use ailurus_wire::{queue_data, storage_data};

use crate::log;
use fetch::{Missing, fetch};

/// How long a copy of what a server says is used instead of asking again.
pub(crate) const SERVER_AGE_MAX: Duration = Duration::from_secs(3 * 3600);

/// What begins an address that is itself the data.
pub(crate) const INLINE_DATA: &str = "data:,";

/// Where the data of one kind may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// URL or path.
    pub(crate) address: String,
    /// Whether it was named, or is one of the usual places, which need not exist.
    pub(crate) kind: PlaceKind,
    /// Name of the copy in the pilot's directory; only of what comes by URL.
    pub(crate) copy: Option<String>,
}

/// How much a place is expected to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaceKind {
    /// Somebody named it.
    Named,
    /// A file that may be there.
    Usual,
}

/// All places, best first.
#[derive(Debug, Clone, Default)]
pub(crate) struct SitePlaces {
    /// Data of the queue that count most.
    pub(crate) queue: Vec<Place>,
    /// Further data of the queue, or of all queues: what the first do not say is taken from here.
    pub(crate) full_queue: Vec<Place>,
    /// Data of storages.
    pub(crate) storages: Vec<Place>,
    /// Copy tools in place of the queue's, as Python or JSON writes them.
    pub(crate) copy_tools: Option<String>,
}

/// Loads the data of a queue and of all storages.
///
/// Where there are no storage data at all (404) the pilot goes on: jobs that need a storage fail
/// with its name. Where they only cannot be had now, that would fail one job after another.
pub(crate) fn load(
    client: &Client,
    name: &QueueName,
    places: &SitePlaces,
    home: &Path,
) -> Result<Box<Site>, Problem> {
    let is_queue = |bytes: &[u8]| {
        queue_data::decode(bytes, name)
            .map(drop)
            .map_err(|error| Missing::now(Problem::new(error.code(), log::chain(&error))))
    };
    let (queue, full, storages) = std::thread::scope(|scope| {
        let storages = scope.spawn(|| load_storages(client, &places.storages, home));
        let full = scope.spawn(|| first_good(client, &places.full_queue, home, is_queue));
        let queue = first_good(client, &places.queue, home, is_queue);
        (queue, full.join(), storages.join())
    });
    let full = full.unwrap_or_else(|_| Err(Missing::now(bad_end())));
    let layers: Vec<Vec<u8>> = match (full, queue) {
        (Ok(full), Ok(queue)) => vec![full, queue],
        (Err(_), Ok(queue)) => vec![queue],
        (Ok(full), Err(missing)) => {
            tracing::warn!("only the full queue data are used: {}", missing.problem);
            vec![full]
        }
        (Err(_), Err(missing)) => return Err(missing.problem),
    };
    let queue = queue_data::decode_layers(&layers, name, places.copy_tools.as_deref())
        .map_err(|error| Problem::new(error.code(), log::chain(&error)))?;
    let storages = match storages.unwrap_or_else(|_| Err(Missing::now(bad_end()))) {
        Ok(storages) => storages,
        Err(missing) if missing.is_for_good => {
            tracing::warn!("no storage data: {}", missing.problem);
            BTreeMap::new()
        }
        Err(missing) => {
            let why = format!("storage data: {}", missing.problem.detail);
            return Err(Problem::new(ErrorCode::QueueData, why));
        }
    };
    Ok(Box::new(Site { queue, storages }))
}

fn load_storages(
    client: &Client,
    places: &[Place],
    home: &Path,
) -> Result<BTreeMap<EndpointName, StorageEndpoint>, Missing> {
    let decode = |bytes: &[u8]| {
        storage_data::decode(bytes)
            .map_err(|error| Missing::now(Problem::new(error.code(), log::chain(&error))))
    };
    let is_storages = |bytes: &[u8]| {
        if decode(bytes)?.endpoints.is_empty() {
            let problem = Problem::new(ErrorCode::NoStorage, "no endpoint in it");
            return Err(Missing::for_good(problem));
        }
        Ok(())
    };
    let set = decode(&first_good(client, places, home, is_storages)?)?;
    for broken in set.broken {
        tracing::warn!("storage data: {}", log::chain(&broken));
    }
    Ok(set.endpoints)
}

/// Returns the content of the first place that has any that makes sense.
///
/// # Errors
///
/// The first place's problem: it counts most. It is for good only if that of all places is.
fn first_good(
    client: &Client,
    places: &[Place],
    home: &Path,
    check: impl Fn(&[u8]) -> Result<(), Missing>,
) -> Result<Vec<u8>, Missing> {
    let mut first: Option<Missing> = None;
    for place in places {
        match fetch(client, place, home, &check) {
            Ok(bytes) => return Ok(bytes),
            Err(missing) if place.kind == PlaceKind::Named => {
                let detail = format!("`{}`: {}", place.address, missing.problem.detail);
                let problem = Problem::new(missing.problem.code, detail);
                tracing::debug!("{problem}");
                let first = first.get_or_insert(Missing { problem, ..missing });
                first.is_for_good &= missing.is_for_good;
            }
            Err(missing) => tracing::debug!("`{}`: {}", place.address, missing.problem),
        }
    }
    Err(first.unwrap_or_else(|| {
        Missing::for_good(Problem::new(ErrorCode::QueueData, "no place to look at"))
    }))
}

fn bad_end() -> Problem {
    Problem::new(
        ErrorCode::QueueData,
        "the activity that fetches them ended badly",
    )
}

#[cfg(test)]
mod tests {
    use ailurus_http::ClientConfig;

    use super::*;

    fn place(address: &str, copy: Option<&str>) -> Place {
        Place {
            address: address.to_owned(),
            kind: PlaceKind::Named,
            copy: copy.map(str::to_owned),
        }
    }

    fn client() -> Client {
        Client::new(ClientConfig::default()).expect("a client")
    }

    fn load_from(home: &Path, places: &SitePlaces) -> Result<Box<Site>, Problem> {
        load(&client(), &QueueName::new("Q"), places, home)
    }

    const QUEUE: &str = r#"{"nickname": "Q", "state": "ACTIVE", "maxrss": 2000}"#;
    const FULL: &str = r#"{"P": {}, "Q": {"nickname": "Q", "maxrss": 1, "maxwdir": 9}}"#;

    #[test]
    fn the_first_place_that_makes_sense_counts_and_the_full_data_fill_gaps() {
        let home = tempfile::tempdir().expect("space");
        let file = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, text).expect("space");
            path.display().to_string()
        };
        let places = SitePlaces {
            queue: vec![
                place("/no/such/file", None),
                place(&file("html", "<html>"), None),
                place(&file("queue.json", QUEUE), None),
            ],
            full_queue: vec![place(&file("full.json", FULL), None)],
            storages: vec![],
            copy_tools: Some("{'pr': ['mv']}".to_owned()),
        };
        let queue = load_from(home.path(), &places).expect("a site").queue;
        assert_eq!(queue.memory, ailurus_model::ByteCount::from_mib(2000));
        assert_eq!(queue.disk, ailurus_model::ByteCount::from_mib(9));
        assert_eq!(queue.copy_tools["pr"], ["mv"]);
    }

    #[test]
    fn storages_that_do_not_exist_are_done_without_and_unreadable_ones_are_not() {
        let home = tempfile::tempdir().expect("space");
        let file = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, text).expect("space");
            path.display().to_string()
        };
        let load_with = |storages: Vec<Place>| {
            let places = SitePlaces {
                queue: vec![place(&file("queue.json", QUEUE), None)],
                storages,
                ..SitePlaces::default()
            };
            load_from(home.path(), &places)
        };
        assert!(load_with(vec![place("/no/such/file", None)]).is_ok());
        assert!(load_with(vec![place(&file("empty", "{}"), None)]).is_ok());
        let problem =
            load_with(vec![place(&file("html", "<html>"), None)]).expect_err("unreadable");
        assert_eq!(problem.code, ErrorCode::QueueData);
        let both = vec![
            place(&file("html", "<html>"), None),
            place(&file("good", r#"{"EP": {"arprotocols": {}}}"#), None),
        ];
        assert_eq!(load_with(both).expect("a site").storages.len(), 1);
    }

    #[test]
    fn a_queue_that_is_nowhere_is_named_with_the_place_that_counts_most() {
        let home = tempfile::tempdir().expect("space");
        let path = home.path().join("full.json");
        std::fs::write(&path, r#"{"P": {"nickname": "P"}}"#).expect("space");
        let places = SitePlaces {
            queue: vec![place(&path.display().to_string(), None)],
            ..SitePlaces::default()
        };
        let problem = load_from(home.path(), &places).expect_err("no queue");
        assert_eq!(problem.code, ErrorCode::QueueData);
        assert!(
            problem.detail.contains("full.json") && problem.detail.contains("`Q`"),
            "{problem}"
        );
    }

    #[test]
    fn a_young_copy_is_used_without_asking_and_an_old_one_if_nobody_answers() {
        let home = tempfile::tempdir().expect("space");
        let copy = home.path().join("queuedata.json");
        std::fs::write(&copy, QUEUE).expect("space");
        // Nothing listens there.
        let places = SitePlaces {
            queue: vec![place("http://127.0.0.1:9/q.json", Some("queuedata.json"))],
            ..SitePlaces::default()
        };
        assert!(load_from(home.path(), &places).is_ok());
        let old = std::time::SystemTime::now() - SERVER_AGE_MAX - Duration::from_secs(60);
        let file = std::fs::File::options()
            .append(true)
            .open(&copy)
            .expect("own");
        file.set_modified(old).expect("own");
        assert!(load_from(home.path(), &places).is_ok());
        std::fs::write(&copy, "").expect("own");
        assert!(load_from(home.path(), &places).is_err());
    }
}
