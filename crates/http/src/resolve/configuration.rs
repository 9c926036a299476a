//! What the system's files say about names: `hosts`, `resolv.conf`, and `getent`'s answer.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Most servers that are asked. Source: `resolv.conf(5)`, `MAXNS`.
const SERVERS_MAX: usize = 3;
/// Most domains that are tried.
const SEARCH_MAX: usize = 16;
/// Bounds of the options, as `resolv.conf(5)` caps them.
const NDOTS_MAX: usize = 15;
const TIMEOUT_MAX_S: u64 = 30;
const ATTEMPTS_MAX: u32 = 5;

/// How DNS is to be asked. Source: `resolv.conf(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolverConfig {
    /// Servers in the order in which they are asked.
    pub(super) servers: Vec<SocketAddr>,
    /// Domains that are put behind a short name.
    pub(super) search: Vec<String>,
    /// Dots from which on a name is tried as it is first.
    pub(super) ndots: usize,
    /// Wait for one server's answer.
    pub(super) timeout: Duration,
    /// Rounds over all servers.
    pub(super) attempts: u32,
    /// Ask by TCP only.
    pub(super) is_tcp_only: bool,
}

impl ResolverConfig {
    /// Reads the text of a `resolv.conf`. What is not understood is passed over, as the C library
    /// does; without a server the one of this machine is taken.
    pub(super) fn parse(text: &str, port: u16) -> Self {
        let mut config = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            is_tcp_only: false,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address: Option<IpAddr> = words.next().and_then(|it| it.parse().ok());
                    if let Some(address) = address.filter(|_| config.servers.len() < SERVERS_MAX) {
                        config.servers.push(SocketAddr::new(address, port));
                    }
                }
                Some("search" | "domain") => {
                    config.search = words
                        .map(|domain| domain.trim_matches('.').to_owned())
                        .filter(|domain| !domain.is_empty())
                        .take(SEARCH_MAX)
                        .collect();
                }
                Some("options") => words.for_each(|option| config.set(option)),
                Some(_) | None => {}
            }
        }
        if config.servers.is_empty() {
            config.servers = vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)];
        }
        config
    }

    fn set(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        match (name, value.parse::<u64>()) {
            ("ndots", Ok(value)) => {
                self.ndots = usize::try_from(value).unwrap_or(NDOTS_MAX).min(NDOTS_MAX);
            }
            ("timeout", Ok(value)) => {
                self.timeout = Duration::from_secs(value.clamp(1, TIMEOUT_MAX_S));
            }
            ("attempts", Ok(value)) => {
                let value = u32::try_from(value).unwrap_or(ATTEMPTS_MAX);
                self.attempts = value.clamp(1, ATTEMPTS_MAX);
            }
            ("use-vc", _) => self.is_tcp_only = true,
            _ => {}
        }
    }

    /// Returns the full names to ask for, in order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let with_domains = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let as_it_is = std::iter::once(name.to_owned());
        if name.matches('.').count() >= self.ndots {
            as_it_is.chain(with_domains).collect()
        } else {
            with_domains.chain(as_it_is).collect()
        }
    }
}

/// Returns the addresses that a hosts file gives for a name, in its order.
pub(super) fn in_hosts_file(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else {
            continue;
        };
        if words.any(|known| known.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// Reads the answer of `getent ahosts`: an address, a socket type and perhaps a name a line.
pub(super) fn in_getent_output(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(Ok(address)) = line.split_whitespace().next().map(str::parse)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_configuration_is_read_as_the_c_library_does() {
        let text = "# made by hand\nnameserver 192.0.2.1 ; first\nnameserver nonsense\n\
                    nameserver 2001:db8::1\nsearch jinr.ru. example.org\n\
                    options ndots:3 timeout:99 attempts:0 rotate use-vc\n";
        let config = ResolverConfig::parse(text, 53);
        assert_eq!(
            config.servers,
            ["192.0.2.1:53", "[2001:db8::1]:53"].map(|it| it.parse().unwrap())
        );
        assert_eq!(config.search, ["jinr.ru", "example.org"]);
        assert_eq!(config.ndots, 3);
        assert_eq!(config.timeout, Duration::from_secs(30));
        assert_eq!(config.attempts, 1);
        assert!(config.is_tcp_only);
    }

    #[test]
    fn without_a_server_the_one_of_this_machine_is_asked() {
        let config = ResolverConfig::parse("", 53);
        assert_eq!(config.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(config.candidates("panda"), ["panda"]);
    }

    #[test]
    fn short_names_get_the_domains_first_and_long_ones_last() {
        let config = ResolverConfig::parse("search jinr.ru", 53);
        assert_eq!(config.candidates("panda"), ["panda.jinr.ru", "panda"]);
        assert_eq!(
            config.candidates("panda.cern.ch"),
            ["panda.cern.ch", "panda.cern.ch.jinr.ru"]
        );
        assert_eq!(config.candidates("panda."), ["panda"]);
    }

    #[test]
    fn a_hosts_file_gives_all_addresses_of_a_name_and_of_its_aliases() {
        let text = "127.0.0.1 localhost\n10.0.0.1 Node7.site node7 # alias\nbroken line\n\
                    fd00::7 node7\n10.0.0.1 node7\n";
        let expected: [IpAddr; 2] = ["10.0.0.1", "fd00::7"].map(|it| it.parse().unwrap());
        assert_eq!(in_hosts_file(text, "node7"), expected);
        assert_eq!(in_hosts_file(text, "NODE7."), expected);
        assert!(in_hosts_file(text, "node").is_empty());
    }

    #[test]
    fn every_address_of_getent_counts_once() {
        let text = "10.0.0.1        STREAM node7\n10.0.0.1        DGRAM\nfd00::7 RAW\n";
        assert_eq!(in_getent_output(text).len(), 2);
    }
}
