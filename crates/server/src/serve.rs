//! Runs the server: opens the database, listens, serves until told to stop, finishes.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ailurus_store::{DatabaseLedger, OpenError, Readers, Writer};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{any, get},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    app::App,
    archive, auth_files,
    bounds::{self, Bounds},
    cache_files, caller,
    catalogue::Catalogue,
    config::Config,
    connections, feeder, housekeeping,
    identities::{self, Identities},
    knowledge::Knowledge,
    listener::BoundedListener,
    messages::Teller,
    metrics, panda,
    reads::Reads,
    reload::Reloader,
    rest, static_files,
    tls::{HandshakeBounds, TlsListener},
    watchdog,
};

/// The server could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The database is of no use.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The address is of no use.
    #[error("`{address}` cannot be listened on")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The port file is of no use.
    #[error("the address cannot be written to `{}`", path.display())]
    PortFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The system refused something that is always there.
    #[error("the system does not let the server {action}")]
    System {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::System { action, source }
}

/// Serves until SIGTERM or SIGINT, then lets running requests end and closes the database.
pub(crate) fn run(
    config: &Config,
    knowledge: Knowledge,
    identities: Identities,
    reloader: Reloader,
    port_file: Option<&Path>,
) -> Result<(), ServeError> {
    // Before the runtime is there: it blocks.
    let ledger = DatabaseLedger::open(config.database.clone())?;
    let writer = Writer::start(ledger).map_err(system("start the database's thread"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("server")
        .build()
        .map_err(system("start its threads"))?;
    let told = (Arc::new(knowledge), Arc::new(identities));
    let result = runtime.block_on(serve(config, told, writer, reloader, port_file));
    // Requests that did not end in time are given up; what was acknowledged is on disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(
    config: &Config,
    (knowledge, identities): (Arc<Knowledge>, Arc<Identities>),
    writer: Writer,
    reloader: Reloader,
    port_file: Option<&Path>,
) -> Result<(), ServeError> {
    let app = Arc::new(App::new(
        Arc::clone(&knowledge),
        Arc::clone(&identities),
        config.transforms.clone(),
        config.body_limit,
        config.cache.clone(),
        writer,
        Reads::new(Readers::new(config.database.clone()), config.reads),
    ));
    let (listener, address) = listen(config.listen).await?;
    let secure = listen_securely(config, &identities).await?;
    // From here on, a signal ends the server in good order.
    let stop = stop_signal()?;
    if let Some(path) = port_file {
        write_port_files(path, address, secure.as_ref())?;
    }
    tracing::info!(%address, queues = knowledge.queues.len(), "serving");
    let sweeper = tokio::spawn(cache_files::sweep(Arc::clone(&app)));
    let housekeeper = tokio::spawn(housekeeping::run(Arc::clone(&app)));
    let archivist = tokio::spawn(archive::run(Arc::clone(&app), config.archive.clone()));
    let watchdog = tokio::spawn(watchdog::run(Arc::clone(&app), reloader, config.clone()));
    let feeder = tokio::spawn(feeder::run(
        Arc::clone(&app),
        config.rucio.clone().map(Catalogue::new),
    ));
    let steerer = watchdog::steer(Arc::clone(&app), config.scheduling.clone());
    let steerer = tokio::spawn(steerer);
    let teller = config.messages.clone();
    let teller = teller.map(|messages| tokio::spawn(Teller::new(Arc::clone(&app), messages).run()));
    let identities = tokio::spawn(identities::watch(identities, config.watch_interval));
    serve_until(config, listener, secure, Arc::clone(&app), stop).await;
    identities.abort();
    app.stop();
    if let Some(teller) = teller {
        drop(tokio::time::timeout(config.stop_timeout, teller).await);
    }
    steerer.abort();
    drop(steerer.await);
    sweeper.abort();
    drop(sweeper.await);
    feeder.abort();
    drop(feeder.await);
    housekeeper.abort();
    drop(housekeeper.await);
    archivist.abort();
    drop(archivist.await);
    watchdog.abort();
    // Whether it was still there or not, it has let go of the app now.
    drop(watchdog.await);
    // With the last handle the database is closed, once what waits is committed.
    drop(app);
    tracing::info!("stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Opens the address of HTTPS, if there is one.
async fn listen_securely(
    config: &Config,
    identities: &Arc<Identities>,
) -> Result<Option<TlsListener>, ServeError> {
    let Some(tls) = &config.identity.tls else {
        return Ok(None);
    };
    let (listener, address) = listen(tls.listen).await?;
    let bounds = HandshakeBounds {
        time: tls.handshake_timeout,
        at_once: tls.handshakes,
    };
    let listener = BoundedListener::new(listener, config.connections, config.idle_timeout);
    tracing::info!(%address, "serving over TLS");
    Ok(Some(TlsListener::new(
        listener,
        address,
        Arc::clone(identities),
        bounds,
    )))
}

/// Answers requests until the stop, then gives those that run some time to end.
async fn serve_until(
    config: &Config,
    listener: TcpListener,
    secure: Option<TlsListener>,
    app: Arc<App>,
    mut stop: watch::Receiver<bool>,
) {
    let listener = BoundedListener::new(listener, config.connections, config.idle_timeout);
    let router = router(Arc::clone(&app), config);
    let mut stop_of_server = stop.clone();
    let mut stop_of_secure = stop.clone();
    let limit = config.idle_timeout;
    let plain = connections::serve(listener, router.clone(), limit, async move {
        stopped(&mut stop_of_server).await;
        app.stop();
    });
    let secure = async move {
        if let Some(listener) = secure {
            let stop = async move { stopped(&mut stop_of_secure).await };
            connections::serve(listener, router, limit, stop).await;
        }
    };
    let servers = async { tokio::join!(plain, secure) };
    let overtime = async {
        stopped(&mut stop).await;
        tokio::time::sleep(config.stop_timeout).await;
    };
    tokio::select! {
        ((), ()) = servers => {}
        () = overtime => tracing::warn!("requests that still run are given up"),
    }
}

fn router(app: Arc<App>, config: &Config) -> Router {
    let bounds = Bounds::new(config);
    let identities = Arc::clone(&app.identities);
    Router::new()
        .route("/server/panda/{method}", any(panda::serve))
        .route("/api/v1/{module}/{method}", any(panda::serve))
        .merge(static_files::routes())
        .merge(auth_files::routes())
        .merge(cache_files::routes())
        .merge(rest::routes())
        .merge(metrics::routes())
        .route("/openapi.json", get(panda::openapi::serve))
        .fallback(panda::serve)
        .with_state(Arc::clone(&app))
        .layer(from_fn_with_state(identities, caller::identify))
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(bounds, bounds::keep))
        .layer(from_fn_with_state(app, metrics::count))
}

/// Returns a flag that becomes true with SIGTERM or SIGINT.
fn stop_signal() -> Result<watch::Receiver<bool>, ServeError> {
    let listen_for = |kind| signal(kind).map_err(system("listen for signals"));
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender goes only after it has said so.
    drop(stop.wait_for(|is_stopped| *is_stopped).await);
}

/// Writes the addresses where programs that start us look for them: that of HTTPS into a file with
/// `.tls` after its name, and before the other, which says that the server is there.
fn write_port_files(
    path: &Path,
    address: SocketAddr,
    secure: Option<&TlsListener>,
) -> Result<(), ServeError> {
    let mut secure_path = path.as_os_str().to_owned();
    secure_path.push(".tls");
    let secure_path = PathBuf::from(secure_path);
    let secure = secure.map(|listener| (secure_path, listener.address()));
    for (path, address) in secure.into_iter().chain([(path.to_owned(), address)]) {
        write_port_file(&path, address).map_err(|source| ServeError::PortFile { path, source })?;
    }
    Ok(())
}

/// Writes the address in one step, so that a reader finds all of it or nothing.
fn write_port_file(path: &Path, address: SocketAddr) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    fs::write(&unfinished, format!("{address}\n"))?;
    fs::rename(&unfinished, path)
}
