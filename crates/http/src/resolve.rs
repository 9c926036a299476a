//! Finds the addresses of a host: hosts file, DNS, then whatever else the system knows.
//!
//! Not `getaddrinfo`: in a static program it loads the name service modules of the machine it
//! runs on, which were made for another C library, or are not there at all. What only such a
//! module knows (LDAP, mDNS) is asked of the system's own `getent`, a process of its own.
//!
//! Main type: [`HostResolver`], which the client gives to its HTTP library.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};

use ailurus_process::run_command;
use ureq::{
    Error,
    config::IpFamily,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

mod configuration;
mod lookup;
mod message;

use configuration::ResolverConfig;
use lookup::{Lookup, LookupError};

/// Longest wait for a name where the caller sets no limit.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for `getent`.
const GETENT_LIMIT: Duration = Duration::from_secs(10);

/// Most bytes that `getent` may say about one name.
const GETENT_MAX_BYTES: usize = 64 << 10;

/// Most bytes of a hosts file or resolver configuration that are read.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// Looks up host names without the C library's name service.
#[derive(Debug)]
pub(crate) struct HostResolver {
    hosts_file: PathBuf,
    configuration_file: PathBuf,
    dns_port: u16,
    /// Words before the name of the command that is asked last.
    last_resort: Vec<String>,
}

impl HostResolver {
    /// The one that reads this machine's files.
    pub(crate) fn of_system() -> Self {
        Self {
            hosts_file: "/etc/hosts".into(),
            configuration_file: "/etc/resolv.conf".into(),
            dns_port: 53,
            last_resort: ["getent", "ahosts"].map(str::to_owned).to_vec(),
        }
    }

    /// Returns the addresses of a host in the order in which they are to be tried.
    fn addresses(
        &self,
        host: &str,
        family: IpFamily,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        if !message::is_host_name(name) {
            return Err(LookupError::NotFound);
        }
        let hosts = read_bounded(&self.hosts_file).unwrap_or_default();
        let mut found = configuration::in_hosts_file(&hosts, name);
        if found.is_empty() && is_localhost(name) {
            found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        found.retain(|address| is_wanted(family, *address));
        if !found.is_empty() {
            return Ok(found);
        }
        let text = read_bounded(&self.configuration_file).unwrap_or_default();
        let config = ResolverConfig::parse(&text, self.dns_port);
        match Lookup::new(&config, family, deadline).addresses(name) {
            Ok(found) => Ok(in_order_of_trial(found)),
            Err(error) => {
                let found = self.ask_system(name, family, deadline);
                if found.is_empty() {
                    return Err(error);
                }
                Ok(found)
            }
        }
    }

    /// Asks the command of the system that knows every source of names that was set up there.
    fn ask_system(&self, name: &str, family: IpFamily, deadline: Instant) -> Vec<IpAddr> {
        let limit = GETENT_LIMIT.min(deadline.saturating_duration_since(Instant::now()));
        if limit.is_zero() {
            return Vec::new();
        }
        let mut words = self.last_resort.clone();
        words.push(name.to_owned());
        let output = match run_command(&words, limit, GETENT_MAX_BYTES) {
            Ok(output) => output,
            Err(error) => {
                tracing::debug!(name, %error, "the system cannot be asked for a name");
                return Vec::new();
            }
        };
        let mut found = configuration::in_getent_output(&output.stdout_text());
        found.retain(|address| is_wanted(family, *address));
        found
    }
}

impl Resolver for HostResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(Error::BadUri(uri.to_string()));
        };
        let with_port = DefaultResolver::host_and_port(scheme, authority);
        let Some((host, Ok(port))) = with_port.as_deref().and_then(split_port) else {
            return Err(Error::BadUri(uri.to_string()));
        };
        let patience = if timeout.after.is_not_happening() {
            PATIENCE
        } else {
            *timeout.after
        };
        let deadline = Instant::now() + patience.min(PATIENCE);
        let found =
            self.addresses(host, config.ip_family(), deadline)
                .map_err(|error| match error {
                    LookupError::NotFound => Error::HostNotFound,
                    LookupError::OutOfTime => Error::Timeout(timeout.reason),
                    LookupError::NoAnswer { .. } => {
                        Error::Io(io::Error::new(io::ErrorKind::HostUnreachable, error))
                    }
                })?;
        let mut result = self.empty();
        for address in found.into_iter().take(result.capacity_left()) {
            result.push(SocketAddr::new(address, port));
        }
        Ok(result)
    }
}

/// Room in the library's list of addresses.
trait Room {
    /// How many more addresses fit.
    fn capacity_left(&self) -> usize;
}

impl<const N: usize> Room for ureq::unversioned::resolver::ArrayVec<SocketAddr, N> {
    fn capacity_left(&self) -> usize {
        N - self.len()
    }
}

fn split_port(text: &str) -> Option<(&str, Result<u16, std::num::ParseIntError>)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host, port.parse()))
}

/// Reads a small file of the system; what is longer is cut.
fn read_bounded(path: &std::path::Path) -> io::Result<String> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(FILE_MAX_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names that never leave the machine. Source: RFC 6761, section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_wanted(family: IpFamily, address: IpAddr) -> bool {
    match family {
        IpFamily::Any => true,
        IpFamily::Ipv4Only => address.is_ipv4(),
        IpFamily::Ipv6Only => address.is_ipv6(),
    }
}

/// Puts addresses that this machine has a route to first, and among them those of IPv6.
///
/// A short form of RFC 6724: rule 1 (unusable destinations) and the default policy table.
fn in_order_of_trial(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_by_key(|address| (!has_route(*address), address.is_ipv4()));
    addresses
}

/// Says whether the system knows a way to an address. Nothing is sent.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect((address, 9)).is_ok())
}

#[cfg(test)]
mod tests;
