//! From arguments and environment to what the pilot is told: read once, checked once.

mod config_file;
mod data;
mod identity;
mod places;
mod rucio;

use std::{
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ailurus_experiment::{Profile, ProfileError};
use ailurus_http::{ClientCertificate, ClientConfig, Timeouts, Trust, Verification};
use ailurus_model::{ByteCount, QueueName, RequestDetails, SourceLabel, Timestamp};
use ailurus_node::{NodeFacts, node_facts};
use ailurus_pilot_core::{
    PilotConfig,
    config::{self, Catalogue, Cleanup, NextJob, Purpose, Slots},
    data::formats::{UnknownName, check_names},
    payload::log_stream::{ForAll, StreamSettings},
};

use crate::{
    args::Args,
    environment::Environment,
    node_view::NodeSettings,
    server::{JobOverrides, NodeReport, TokenRenewal},
    server_url::server_address,
    site::SitePlaces,
    work_from::{self, WorkFrom},
};
use config_file::{ConfigFile, ConfigFileError};
pub(crate) use data::DataSettings;
use identity::{identity, variables};
use places::site_places;
#[cfg(test)]
pub(crate) use rucio::RucioSettingsError;
pub(crate) use rucio::{RucioSettings, TraceSettings};

/// What stands before the URLs that payloads read through a cache of the site.
const XCACHE_PROXY: &str = "ALRB_XCACHE_PROXY";
/// Pause after a request that brought no job, unless options say another one.
const JOB_REQUEST_PAUSE: Duration = Duration::from_secs(60);
/// CA certificates of grid sites.
const GRID_CA_DIRECTORY: &str = "/etc/grid-security/certificates";
/// The pilot's version as it is reported.
pub(crate) const VERSION: &str = concat!("ailurus-", env!("CARGO_PKG_VERSION"));

/// All that the shell must know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) core: PilotConfig,
    /// How inputs and outputs are moved.
    pub(crate) data: DataSettings,
    pub(crate) log: LogSettings,
    pub(crate) client: ClientConfig,
    /// Scheme, host and port of the PanDA server.
    pub(crate) server: String,
    pub(crate) server_use: ServerUse,
    /// Who gives jobs.
    pub(crate) work_from: WorkFrom,
    /// Where queue and storage data are looked for.
    pub(crate) places: SitePlaces,
    /// Where the pilot was started.
    pub(crate) launch_dir: PathBuf,
    /// Below which it makes its own directory; none to work where it was started.
    pub(crate) base_dir: Option<PathBuf>,
    /// Where `pandaIDs.out` is written.
    pub(crate) source_dir: PathBuf,
    pub(crate) timing_file: Option<PathBuf>,
    /// Where to end the jobs of dead pilots, if nothing else is to be done.
    pub(crate) recover: Option<PathBuf>,
    /// The grid proxy by which the pilot proves itself, if its life is looked at.
    pub(crate) proxy_file: Option<PathBuf>,
    /// Directories of software that must be there, in the order of the profile.
    pub(crate) software: Arc<[PathBuf]>,
    /// What the environment says of every job.
    pub(crate) job_overrides: JobOverrides,
    /// How the token is renewed, if it can be.
    pub(crate) token_renewal: Option<TokenRenewal>,
    /// What the server is told of the node, if anything.
    pub(crate) node_report: Option<NodeReport>,
    /// What the environment says of node and slot.
    pub(crate) node: NodeSettings,
    /// What the node is.
    pub(crate) node_facts: NodeFacts,
    /// Memory for jobs.
    pub(crate) memory: ByteCount,
    /// How Rucio is reached, if anything names a server of it.
    pub(crate) rucio: Option<RucioSettings>,
    /// When the process began.
    pub(crate) begin: Instant,
}

/// What the log is like.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) detail: Detail,
    pub(crate) has_file: bool,
    /// Where lines go besides the file.
    pub(crate) out: LogOut,
}

/// Where log lines go besides `pilotlog.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogOut {
    Stdout,
    /// Standard output is for something else.
    Stderr,
    File(PathBuf),
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    Info,
    /// With debug messages and the place that each comes from.
    Debug,
}

/// Whether updates go to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerUse {
    Updates,
    /// The last update is written to a file.
    FileOnly,
}

/// The pilot cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The profile cannot be used.
    #[error("no usable profile for `--pilot-user {name}`")]
    Profile {
        /// As it was given.
        name: String,
        #[source]
        source: ProfileError,
    },
    /// The profile names a format or a copy tool that there is not.
    #[error("profile `{name}` cannot be used")]
    ProfileName {
        /// The profile.
        name: String,
        #[source]
        source: UnknownName,
    },
    /// A profile's file cannot be read.
    #[error("profile `{}` cannot be read", path.display())]
    ProfileFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Pilot 3's configuration file cannot be used.
    #[error(transparent)]
    File(#[from] ConfigFileError),
    /// The kernel gives no random bytes, or there is no current directory.
    #[error("the node gives no {what}")]
    Node {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl SettingsError {
    /// Returns a word that scripts can rely on.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Profile { .. } | Self::ProfileName { .. } | Self::ProfileFile { .. } => {
                "bad-profile"
            }
            Self::File(_) => "bad-configuration",
            Self::Node { .. } => "bad-node",
        }
    }
}

impl Settings {
    pub(crate) fn gather(args: &Args, begin: Instant) -> Result<Self, SettingsError> {
        let environment = Environment::read();
        let mut settings = Self::without_work(args, &environment, begin)?;
        work_from::apply(&mut settings, args, &environment);
        Ok(settings)
    }

    /// Gathers all but who gives jobs.
    fn without_work(
        args: &Args,
        environment: &Environment,
        begin: Instant,
    ) -> Result<Self, SettingsError> {
        let node = |what| move |source| SettingsError::Node { what, source };
        let launch_dir = std::env::current_dir().map_err(node("current directory"))?;
        let file = ConfigFile::read(environment)?;
        let server = server_address(server_url(args, &file), args.server.port);
        let facts = node_facts();
        let client = client_config(args, environment, &server);
        let mut core = core_config(
            args,
            (environment, &file),
            (&facts, begin),
            (&server, &launch_dir),
        )?;
        let rucio = rucio_settings(args, (environment, &file), &mut core);
        Ok(Self {
            data: data_settings(args, (environment, &launch_dir), &core),
            log: LogSettings {
                detail: if args.directories.debug {
                    Detail::Debug
                } else {
                    Detail::Info
                },
                has_file: !args.directories.no_pilot_log && args.own.recover.is_none(),
                out: args
                    .directories
                    .redirect_stdout
                    .as_ref()
                    .map_or(LogOut::Stdout, |file| LogOut::File(launch_dir.join(file))),
            },
            server_use: if args.server.no_server_update {
                ServerUse::FileOnly
            } else {
                ServerUse::Updates
            },
            work_from: WorkFrom::Server,
            places: site_places(args, (environment, &file), &server, &launch_dir),
            server,
            base_dir: args
                .directories
                .work_dir
                .as_ref()
                .filter(|_| args.own.recover.is_none())
                .map(|dir| launch_dir.join(dir)),
            recover: args
                .own
                .recover
                .as_ref()
                .map(|dir| fixed(launch_dir.join(dir))),
            source_dir: environment
                .get("PANDA_PILOT_SOURCE")
                .map_or_else(|| launch_dir.join("pilot3"), PathBuf::from),
            timing_file: args
                .own
                .timing_file
                .as_ref()
                .map(|file| launch_dir.join(file)),
            memory: facts.memory(),
            proxy_file: proxy_file(args, &client),
            software: places::software(&core.profile.software.locations, args, environment),
            client,
            job_overrides: environment.job_overrides(),
            token_renewal: token_renewal(args, environment),
            node: environment.node_settings(),
            node_report: node_report(args, environment, facts.clone()),
            node_facts: facts,
            rucio,
            launch_dir,
            begin,
            core,
        })
    }
}

/// Makes a path independent of the directory that the pilot goes to later.
fn fixed(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn core_config(
    args: &Args,
    (environment, file): (&Environment, &ConfigFile),
    (facts, begin): (&NodeFacts, Instant),
    (server, launch_dir): (&str, &Path),
) -> Result<PilotConfig, SettingsError> {
    let mut profile = load_profile(&args.jobs.pilot_user, &args.own.profile_path)?;
    file.apply(&mut profile.limits)?;
    for (given, limit) in [
        (args.own.heartbeat, &mut profile.limits.heartbeat),
        (args.own.sample_interval, &mut profile.limits.sample),
        (args.own.looping_limit, &mut profile.limits.looping),
        (args.own.kill_grace, &mut profile.limits.kill_grace),
    ] {
        *limit = given.unwrap_or(*limit);
    }
    let base_urls = [
        args.server.base_urls.as_str(),
        environment.get("PANDA_BASE_URLS").unwrap_or_default(),
    ];
    let named = base_urls.iter().flat_map(|list| list.split(','));
    let script_urls = named.chain([server]).filter(|url| !url.trim().is_empty());
    Ok(PilotConfig {
        purpose: match args.own.recover {
            Some(_) => Purpose::Recover,
            None => Purpose::Serve,
        },
        profile,
        queue: QueueName::new(&args.jobs.queue),
        source_label: SourceLabel::new(&args.jobs.job_label),
        version_tag: args.jobs.version_tag.clone(),
        job_requests_max: args.jobs.job_requests,
        job_failures_max: args.jobs.job_failures,
        slots: slots(args),
        job_request_pause: args.own.job_request_pause.unwrap_or(JOB_REQUEST_PAUSE),
        lifetime: lifetime(args, environment),
        resource_type: some_text(args.jobs.resource_type.as_ref()),
        request: RequestDetails {
            computing_element: QueueName::new(&args.jobs.queue),
            working_group: some_text(args.jobs.working_group.as_ref()),
            country_group: some_text(args.jobs.country_group.as_ref()),
            allows_other_country: args.jobs.allow_other_country,
            job_type: some_text(args.jobs.job_type.as_ref()),
            is_via_topic: false,
            is_background: false,
            cpu_mhz: clock_mhz(facts),
        },
        next_job: if args.jobs.allow_same_user {
            NextJob::SameTask
        } else {
            NextJob::Any
        },
        script_urls: script_urls.map(str::to_owned).collect(),
        input_dir: some_directory(args.directories.input_dir.as_ref()),
        input_places: Vec::new(),
        output_dir: some_directory(args.directories.output_dir.as_ref()),
        data: config::DataSettings {
            xcache_proxy: environment.get(XCACHE_PROXY).map(str::to_owned),
            ..config::DataSettings::default()
        },
        cleanup: if args.directories.cleanup {
            Cleanup::Remove
        } else {
            Cleanup::Keep
        },
        variables: variables(args, environment, server, launch_dir),
        log_stream: log_stream(args, environment),
        identity: identity(args, environment, facts),
        // The core's clock began with the process.
        start_time: wall_now().before(begin.elapsed()),
        seed: random_bytes()?,
    })
}

/// The clock in whole MHz, if the node says it.
fn clock_mhz(facts: &NodeFacts) -> Option<u32> {
    let rounded = format!("{:.0}", facts.cpu.mhz);
    rounded.parse().ok().filter(|mhz| *mhz > 0)
}

fn slots(args: &Args) -> Slots {
    let ahead = u32::from(args.own.slots > NonZeroU32::MIN);
    Slots {
        payloads: args.own.slots,
        ahead: args.own.slots_ahead.unwrap_or(ahead),
        cores: args.own.slots_cores,
    }
}

/// Tells where the output of payloads is shown while they run.
fn log_stream(args: &Args, environment: &Environment) -> StreamSettings {
    let files = environment.get("REALTIME_LOGFILES").unwrap_or_default();
    let files = files.split([',', ':']).filter(|name| !name.is_empty());
    StreamSettings {
        for_all: if args.streams.use_realtime_logging {
            ForAll::Yes
        } else {
            ForAll::No
        },
        server: args.streams.realtime_logging_server.clone(),
        name: args.streams.realtime_logname.clone(),
        files: files.map(str::to_owned).collect(),
    }
}

fn lifetime(args: &Args, environment: &Environment) -> Duration {
    let overruled = environment
        .get("PANDAPILOT_LIFETIME")
        .and_then(|text| text.parse().ok());
    Duration::from_secs(overruled.unwrap_or(args.jobs.lifetime.into()))
}

fn some_text(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn some_directory(text: Option<&String>) -> Option<String> {
    some_text(text).map(|text| fixed(text.into()).display().to_string())
}

/// Tells how the token is renewed: only if there is one, and a key to it.
fn token_renewal(args: &Args, environment: &Environment) -> Option<TokenRenewal> {
    let token = environment.token()?;
    Some(TokenRenewal {
        token_file: token.file,
        key_file: environment.token_key()?,
    })
    .filter(|_| !args.credentials.no_token_renewal)
}

/// Names the proxy whose life counts: with a token, none does.
fn proxy_file(args: &Args, client: &ClientConfig) -> Option<PathBuf> {
    let certificate = client.certificate.as_ref();
    certificate
        .filter(|_| client.token.is_none() && !args.credentials.no_proxy_verification)
        .map(|certificate| certificate.chain_file.clone())
}

fn node_report(args: &Args, environment: &Environment, facts: NodeFacts) -> Option<NodeReport> {
    let is_told = !args.server.no_worker_status && !args.server.no_server_update;
    is_told.then(|| NodeReport {
        name: environment.node_name(&facts.host_name),
        facts,
        path: environment.get("PATH").unwrap_or_default().to_owned(),
    })
}

/// The server's URL: the command line's, else the configuration file's, else none.
fn server_url<'a>(args: &'a Args, file: &'a ConfigFile) -> &'a str {
    let given = args.server.url.trim();
    if given.is_empty() {
        file.get("Pilot", "pandaserver").unwrap_or_default()
    } else {
        given
    }
}

/// Tells whose certificates are believed. What the command line names counts alone; directories of
/// grid sites lack the authorities of the web, which are believed too.
fn trust(args: &Args, environment: &Environment, is_https: bool) -> Trust {
    // Reading a directory of certificates takes time that plain HTTP need not spend.
    if !is_https {
        return Trust::BuiltIn;
    }
    match args.credentials.ca_directory.clone().map(fixed) {
        Some(path) if path.is_dir() => return Trust::Directory(path),
        Some(path) if path.is_file() => return Trust::File(path),
        Some(_) | None => {}
    }
    let variable = environment.get("X509_CERT_DIR").map(PathBuf::from);
    [variable, Some(PathBuf::from(GRID_CA_DIRECTORY))]
        .into_iter()
        .flatten()
        .find(|directory| directory.is_dir())
        .map(fixed)
        .map_or(Trust::BuiltIn, Trust::DirectoryAndBuiltIn)
}

/// Gathers how Rucio is reached, and tells the core that it can be asked.
fn rucio_settings(
    args: &Args,
    (environment, file): (&Environment, &ConfigFile),
    core: &mut PilotConfig,
) -> Option<RucioSettings> {
    let rucio = RucioSettings::gather(args, (environment, file), |is_https| {
        peer_config(args, environment, is_https)
    });
    if rucio.is_some() {
        core.data.catalogue = Catalogue::Rucio;
    }
    rucio
}

fn data_settings(
    args: &Args,
    (environment, launch_dir): (&Environment, &Path),
    core: &PilotConfig,
) -> DataSettings {
    let client = storage_client(args, environment);
    DataSettings::of(args, (environment, launch_dir), (client, core))
}

/// Storages are reached with the pilot's certificate. They get no token that is meant for PanDA.
fn storage_client(args: &Args, environment: &Environment) -> ClientConfig {
    ClientConfig {
        certificate: certificate(args, environment),
        ..peer_config(args, environment, true)
    }
}

fn certificate(args: &Args, environment: &Environment) -> Option<ClientCertificate> {
    let file = environment.certificate(args.credentials.certificate.as_deref())?;
    Some(ClientCertificate {
        chain_file: file.clone(),
        key_file: file,
    })
}

fn client_config(args: &Args, environment: &Environment, server: &str) -> ClientConfig {
    let is_https = server.starts_with("https://");
    ClientConfig {
        certificate: certificate(args, environment).filter(|_| is_https),
        token: environment.token(),
        ..peer_config(args, environment, is_https)
    }
}

/// What is the same for all peers: whom to believe, how long to wait. Without credentials.
fn peer_config(args: &Args, environment: &Environment, is_https: bool) -> ClientConfig {
    ClientConfig {
        user_agent: format!("pilot/{VERSION} (Linux {})", std::env::consts::ARCH),
        trust: trust(args, environment, is_https),
        verification: if args.own.no_server_verification {
            Verification::Off
        } else {
            Verification::On
        },
        proxy: environment.proxy(is_https),
        timeouts: Timeouts {
            whole: args.own.request_timeout,
            ..Timeouts::default()
        },
        ..ClientConfig::default()
    }
}

fn load_profile(name: &str, path: &str) -> Result<Profile, SettingsError> {
    let profile = find_profile(name, path)?;
    check_names(&profile).map_err(|source| SettingsError::ProfileName {
        name: profile.name.clone(),
        source,
    })?;
    Ok(profile)
}

fn find_profile(name: &str, path: &str) -> Result<Profile, SettingsError> {
    let wrong = |source| SettingsError::Profile {
        name: name.to_owned(),
        source,
    };
    let file_name = format!("{}.toml", name.to_lowercase());
    let directories = path.split(':').filter(|directory| !directory.is_empty());
    for file in directories.map(|directory| Path::new(directory).join(&file_name)) {
        match fs::read_to_string(&file) {
            Ok(text) => {
                return Profile::from_toml(&file.display().to_string(), &text).map_err(wrong);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(SettingsError::ProfileFile { path: file, source }),
        }
    }
    Profile::built_in(name).map_err(wrong)
}

/// Returns the wall-clock time.
pub(crate) fn wall_now() -> Timestamp {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

/// Returns bytes that nobody can guess.
pub(crate) fn random_bytes() -> Result<[u8; 16], SettingsError> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes))
        .map_err(|source| SettingsError::Node {
            what: "random bytes",
            source,
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_in_the_path_comes_before_the_built_in_one_of_its_name() {
        let place = tempfile::tempdir().expect("space");
        let text = "name = \"spd\"\ndescription = \"Ours.\"\n[[payload.commands]]\n\
            transformation = \"*\"\ncommand = [\"./{script}\"]\n";
        fs::write(place.path().join("spd.toml"), text).expect("space");
        let path = format!("/nowhere:{}", place.path().display());
        assert_eq!(
            load_profile("SPD", &path).expect("found").description,
            "Ours."
        );
        assert_eq!(
            load_profile("generic", &path).expect("built in").name,
            "generic"
        );
        assert!(load_profile("atlas", &path).is_err());
    }
}
