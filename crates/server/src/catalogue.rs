//! Asks Rucio for the files of datasets that tasks wait for, outside of transactions, and gives
//! its answers to the rows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ailurus_model::{EndpointName, Scope};
use ailurus_rucio::{RucioClient, RucioConfig, RucioError};
use ailurus_server_core::tasks::{
    DatasetAnswer, FoundFile, Openness, WantedDataset, answer_dataset, open_datasets,
    wanted_datasets,
};
use ailurus_wire::rucio::{
    Did,
    dids::DidState,
    replicas::{Medium, ReplicaQuery, SwitchedOff},
};

use crate::{app::App, knowledge::chain};

/// How often the rows are asked for datasets that are waited for.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a dataset is not asked for again after an answer.
const ASK_INTERVAL: Duration = Duration::from_secs(60);
/// How often the rows are asked for datasets that were open when they were listed.
const OPEN_INTERVAL: Duration = Duration::from_secs(30);
/// Files of one answer to the rows: one transaction.
const FILES_PER_ANSWER: usize = 5000;

/// The catalogue of files, and when it was asked for what.
#[derive(Debug)]
pub(crate) struct Catalogue {
    config: RucioConfig,
    client: Mutex<Option<Arc<RucioClient>>>,
    looked: Mutex<Option<Instant>>,
    looked_for_open: Mutex<Option<Instant>>,
    asked: Mutex<BTreeMap<String, Instant>>,
}

impl Catalogue {
    /// Prepares to ask; nothing is asked yet.
    pub(crate) fn new(config: RucioConfig) -> Self {
        Self {
            config,
            client: Mutex::default(),
            looked: Mutex::default(),
            looked_for_open: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// Asks for what tasks wait for, unless it was asked for lately.
    pub(crate) async fn answer_all(&self, app: &App) {
        let now = Instant::now();
        if !is_time(&self.looked, now, LOOK_INTERVAL) {
            return;
        }
        let mut wanted = wanted(app).await;
        if is_time(&self.looked_for_open, now, OPEN_INTERVAL) {
            let knowledge = app.knowledge();
            let open = app
                .read(move |reader| open_datasets(&knowledge.context(), reader.ledger()))
                .await;
            match open {
                Ok(open) => wanted.extend(open),
                Err(error) => {
                    tracing::error!(error = chain(&error), "open datasets cannot be listed");
                }
            }
        }
        for dataset in wanted {
            let is_new = {
                let mut asked = lock(&self.asked);
                asked.retain(|_, at| now.duration_since(*at) < ASK_INTERVAL);
                asked.insert(dataset.name.clone(), now).is_none()
            };
            if is_new {
                self.answer(app, &dataset.name).await;
            }
        }
    }

    async fn answer(&self, app: &App, name: &str) {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(error = chain(&error), "Rucio cannot be asked");
                return;
            }
        };
        let did = did_of(name);
        let asked = tokio::task::spawn_blocking(move || files_of(&client, &did)).await;
        let asked = asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        match asked {
            Ok(None) => {
                tracing::info!(dataset = name, "Rucio does not know a dataset");
                give(app, name, DatasetAnswer::Unknown).await;
            }
            Ok(Some((files, openness))) => {
                let n_files = files.len();
                tracing::info!(dataset = name, n_files, "Rucio listed a dataset");
                let mut files = files.into_iter().peekable();
                loop {
                    let piece: Vec<FoundFile> = files.by_ref().take(FILES_PER_ANSWER).collect();
                    let progress = if files.peek().is_some() {
                        DatasetAnswer::SomeFiles(piece)
                    } else {
                        DatasetAnswer::Files(piece, openness)
                    };
                    let is_last = files.peek().is_none();
                    if !give(app, name, progress).await || is_last {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(
                    dataset = name,
                    error = chain(&error),
                    "Rucio could not list a dataset"
                );
            }
        }
    }

    fn client(&self) -> Result<Arc<RucioClient>, RucioError> {
        let mut client = lock(&self.client);
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let new = Arc::new(RucioClient::new(self.config.clone())?);
        *client = Some(Arc::clone(&new));
        Ok(new)
    }
}

/// Answers for datasets that are to be listed again where there is no catalogue: what is known of
/// them is all.
pub(crate) async fn answer_without(app: &App) {
    for dataset in wanted(app).await {
        if dataset.n_known > 0 {
            give(app, &dataset.name, DatasetAnswer::Unknown).await;
        }
    }
}

/// Lists the datasets that tasks wait for.
async fn wanted(app: &App) -> Vec<WantedDataset> {
    match app.read(|reader| wanted_datasets(reader.ledger())).await {
        Ok(wanted) => wanted,
        Err(error) => {
            tracing::error!(error = chain(&error), "wanted datasets cannot be listed");
            Vec::new()
        }
    }
}

/// Gives an answer to the rows, and says whether they took it.
async fn give(app: &App, name: &str, answer: DatasetAnswer) -> bool {
    let name = name.to_owned();
    let given = app
        .write(move |ctx, ledger| answer_dataset(ctx, ledger, &name, answer))
        .await;
    if let Err(error) = &given {
        tracing::error!(error = chain(error), "files of a dataset cannot be noted");
    }
    given.is_ok()
}

/// Says whether it is time to look again, and notes that it was looked.
fn is_time(looked: &Mutex<Option<Instant>>, now: Instant, interval: Duration) -> bool {
    let mut looked = lock(looked);
    if looked.is_some_and(|looked| now.duration_since(looked) < interval) {
        return false;
    }
    *looked = Some(now);
    true
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What they keep is whole whatever happened to a thread.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `SCOPE:NAME`; a bare name has the scope that PanDA's rules give it.
fn did_of(name: &str) -> Did {
    let name = name.trim_end_matches('/');
    match name.split_once(':') {
        Some((scope, name)) => Did::new(Scope::new(scope), name),
        None => Did::new(Scope::new(ailurus_jedi::names::scope_of(name)), name),
    }
}

/// Replicas of a file that are noted; brokerage needs no more of them.
const REPLICAS_MAX: usize = 10;

/// Lists the files of a dataset, each with the places where it lies, and says whether more may come.
fn files_of(
    client: &RucioClient,
    did: &Did,
) -> Result<Option<(Vec<FoundFile>, Openness)>, RucioError> {
    // Before its files: what was closed then is listed whole.
    let openness = match client.state_of(did)? {
        None => return Ok(None),
        Some(DidState::Open) => Openness::Open,
        Some(DidState::Closed) => Openness::Closed,
    };
    let Some(files) = client.list_files(did)? else {
        return Ok(None);
    };
    let names: Vec<Did> = files
        .iter()
        .map(|file| Did::new(file.scope.clone(), file.name.as_str()))
        .collect();
    let query = ReplicaQuery {
        switched_off: SwitchedOff::Told,
        ..ReplicaQuery::default()
    };
    let mut places: BTreeMap<Did, Vec<EndpointName>> = BTreeMap::new();
    client.list_replicas(&names, &query, |file| {
        let is_on_disk = |medium| medium == Medium::Disk;
        let (disk, others): (Vec<_>, Vec<_>) = file
            .replicas
            .iter()
            .partition(|replica| is_on_disk(replica.medium));
        // What lies on disk somewhere need not be recalled from a tape.
        let usable = if disk.is_empty() { others } else { disk };
        let mut names: Vec<EndpointName> = Vec::new();
        for replica in usable {
            if names.len() < REPLICAS_MAX && !names.contains(&replica.rse) {
                names.push(replica.rse.clone());
            }
        }
        places.insert(file.did(), names);
    })?;
    let found = files.into_iter().zip(names).map(|(file, name)| {
        let mut replicas = places.remove(&name).unwrap_or_default().into_iter();
        FoundFile {
            lfn: file.name,
            scope: file.scope,
            guid: file.guid,
            size: file.size,
            checksum: file.adler32,
            endpoint: replicas.next().unwrap_or_default(),
            replicas: replicas.collect(),
            n_events: file.n_events,
        }
    });
    Ok(Some((found.collect(), openness)))
}
