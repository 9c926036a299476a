//! Which database keeps the rows: a file, or a server somewhere.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore, pki_types::pem::PemObject as _};
use tokio_postgres::{
    Config, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    schema::{self, OpenError},
    sql::{
        Sql,
        postgres::{Link, LinkError, Postgres},
        sqlite::Sqlite,
    },
};

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the network may be silent about what was sent before the connection is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// Where the rows of a server are.
#[derive(Debug, Clone, PartialEq)]
pub enum Database {
    /// An `SQLite` file.
    File(PathBuf),
    /// A `PostgreSQL` server.
    Server(Box<Server>),
}

/// How a `PostgreSQL` server is reached.
#[derive(Clone)]
pub struct Server {
    /// As it was written, with what is secret.
    text: String,
    config: Config,
    /// File with the certificates that are trusted; none for those of the system.
    authorities: Option<PathBuf>,
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

impl fmt::Display for Server {
    /// Says which one, without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let ports: Vec<String> = self.config.get_ports().iter().map(u16::to_string).collect();
        write!(
            f,
            "postgresql host={} port={} user={} dbname={}",
            hosts.join(","),
            ports.join(","),
            self.config.get_user().unwrap_or("?"),
            self.config.get_dbname().unwrap_or("?"),
        )
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(server) => server.fmt(f),
        }
    }
}

/// A text names no database.
#[derive(Debug, thiserror::Error)]
#[error("it is not understood as a PostgreSQL server: {problem}")]
pub struct ParseDatabaseError {
    /// What is wrong with it. It repeats nothing that may be secret.
    problem: String,
}

impl FromStr for Database {
    type Err = ParseDatabaseError;

    /// A URL (`postgres://user@host:5432/name?sslmode=require`) or `PostgreSQL`'s pairs
    /// (`host=/run/postgresql dbname=ailurus`) name a server, all else a file. Besides what
    /// `PostgreSQL` knows, `sslrootcert` names a file. `sslmode=require` means what
    /// `sslmode=verify-full` does: certificate and name are checked.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_url = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        let is_pairs = ["host=", "dbname=", "hostaddr="]
            .iter()
            .any(|key| text.starts_with(key) || text.contains(&format!(" {key}")));
        if !is_url && !is_pairs {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let whole = text.to_owned();
        let (text, authorities) = without_authorities(text);
        // The driver does not know the word; what it does for `require` here is just that.
        let text = text.replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            let source = std::error::Error::source(&error);
            ParseDatabaseError {
                problem: source.map_or_else(|| error.to_string(), ToString::to_string),
            }
        })?;
        config
            .application_name("ailurus-server")
            .connect_timeout(CONNECT_LIMIT)
            .tcp_user_timeout(SILENCE_LIMIT)
            .keepalives_idle(SILENCE_LIMIT);
        Ok(Self::Server(Box::new(Server {
            text: whole,
            config,
            authorities,
        })))
    }
}

/// Takes `sslrootcert` out, which the driver does not know.
fn without_authorities(text: &str) -> (String, Option<PathBuf>) {
    const KEY: &str = "sslrootcert=";
    let Some(start) = text.find(KEY) else {
        return (text.to_owned(), None);
    };
    let rest = &text[start + KEY.len()..];
    let end = rest.find(['&', ' ']).unwrap_or(rest.len());
    let others = format!("{}{}", &text[..start], rest[end..].trim_start_matches('&'));
    let path = PathBuf::from(&rest[..end]);
    (
        others.trim_end_matches(['&', '?', ' ']).to_owned(),
        Some(path),
    )
}

impl Database {
    /// Connects for reading and writing, and brings the schema up to date.
    pub(crate) fn connect(&self) -> Result<Box<dyn Sql>, OpenError> {
        match self {
            Self::File(path) => {
                let connection = schema::open(path, schema::SERVER)?;
                Ok(Box::new(Sqlite::over(connection)))
            }
            Self::Server(server) => {
                let mut link = server.connect()?;
                schema::postgres::migrate(&mut link, server, schema::SERVER)?;
                server.driver(link)
            }
        }
    }

    /// Connects for reading only, to a database that [`Database::connect`] has made ready.
    pub(crate) fn connect_read_only(&self) -> Result<Box<dyn Sql>, OpenError> {
        match self {
            Self::File(path) => {
                let connection = schema::open_read_only(path)?;
                Ok(Box::new(Sqlite::over(connection)))
            }
            Self::Server(server) => {
                let link = server.connect()?;
                let read_only = "SET default_transaction_read_only = on";
                link.wait(link.client().batch_execute(read_only))
                    .map_err(|source| server.failed("set it up for reading", source))?;
                server.driver(link)
            }
        }
    }

    /// Says whether the database can be used, and changes nothing: a file need not be there yet.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if it cannot be reached, was written by a newer program, or holds something
    /// else.
    pub fn check(&self) -> Result<(), OpenError> {
        match self {
            Self::File(path) if !path.exists() => Ok(()),
            Self::File(path) => schema::check(path, schema::SERVER),
            Self::Server(server) => {
                let mut link = server.connect()?;
                schema::postgres::check(&mut link, server, schema::SERVER)
            }
        }
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Database {
    fn from(path: &P) -> Self {
        Self::File(path.as_ref().to_owned())
    }
}

impl Server {
    fn connect(&self) -> Result<Link, OpenError> {
        let failed = |error| match error {
            LinkError::Database(source) => self.failed("connect", source),
            LinkError::System(source) => OpenError::Failed {
                path: self.to_string(),
                action: "connect",
                source: Box::new(source),
            },
        };
        if self.config.get_ssl_mode() == SslMode::Require {
            let tls = MakeRustlsConnect::new(self.tls()?);
            return Link::connect(&self.config, tls).map_err(failed);
        }
        // Without a checked certificate, encryption would only seem to protect.
        Link::connect(&self.config, NoTls).map_err(failed)
    }

    fn tls(&self) -> Result<ClientConfig, OpenError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Failed {
            path: self.to_string(),
            action: "read the certificates that it trusts",
            source,
        };
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.authorities {
            let certificates = rustls::pki_types::CertificateDer::pem_file_iter(path)
                .map_err(|error| failed(Box::new(error)))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(Box::new(error)))?;
                roots
                    .add(certificate)
                    .map_err(|error| failed(Box::new(error)))?;
            }
        } else {
            for certificate in rustls_native_certs::load_native_certs().certs {
                // One that is of no use leaves the others as they are.
                drop(roots.add(certificate));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(Box::new(error)))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(config)
    }

    fn driver(&self, link: Link) -> Result<Box<dyn Sql>, OpenError> {
        match Postgres::over(link) {
            Ok(driver) => Ok(Box::new(driver)),
            Err(source) => Err(OpenError::Failed {
                path: self.to_string(),
                action: "set its limits",
                source: Box::new(source),
            }),
        }
    }

    /// Says what was being done when the database failed.
    pub(crate) fn failed(&self, action: &'static str, source: tokio_postgres::Error) -> OpenError {
        OpenError::Failed {
            path: self.to_string(),
            action,
            source: Box::new(crate::sql::SqlError::from(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_from_a_file_and_its_password_is_never_shown() {
        for text in [
            "postgres://ailurus:secret@db.example/jobs?sslmode=require&sslrootcert=ca.pem",
            "host=db.example user=ailurus password=secret dbname=jobs sslrootcert=ca.pem",
        ] {
            let database: Database = text.parse().unwrap();
            let shown = format!("{database} {database:?}");
            assert!(
                shown.contains("db.example") && shown.contains("jobs"),
                "{shown}"
            );
            assert!(!shown.contains("secret"), "{shown}");
            let Database::Server(server) = database else {
                panic!("a server");
            };
            assert_eq!(server.authorities, Some(PathBuf::from("ca.pem")));
        }
        for text in ["ailurus-server.db", "/var/lib/ailurus/server.db"] {
            assert_eq!(
                text.parse::<Database>().unwrap(),
                Database::File(text.into())
            );
        }
        assert!("postgres://host:port/x".parse::<Database>().is_err());
    }
}
