//! One connection to a broker.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{Decoder, Frame, StompError};

/// Where the broker is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Its host.
    pub host: String,
    /// Its STOMP port.
    pub port: u16,
    /// Name and word, if it asks for them.
    pub credentials: Option<Credentials>,
    /// Whether the way there is encrypted.
    pub encryption: Encryption,
    /// Limit on each wait: for the connection, for the next bytes, for a receipt.
    pub timeout: Duration,
}

/// Name and word for a broker.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub login: String,
    /// The word.
    pub passcode: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// Whether the way to a broker is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// It is not.
    #[default]
    None,
    /// By TLS, and the broker's certificate is of an authority of this PEM file.
    Tls(PathBuf),
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

trait Stream: Read + Write + Send + Sync {}

impl<T: Read + Write + Send + Sync> Stream for T {}

/// A connection to a broker.
pub struct Connection {
    stream: Box<dyn Stream>,
    address: String,
    timeout: Duration,
    decoder: Decoder,
    /// Receipts that were asked for and have not come.
    expected: BTreeSet<u64>,
    last_receipt: u64,
    /// Messages that came while something else was waited for.
    received: Vec<Received>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects and introduces itself.
    ///
    /// # Errors
    ///
    /// [`StompError`] if there is no broker, or it does not want us.
    pub fn open(config: &BrokerConfig) -> Result<Self, StompError> {
        let address = format!("{}:{}", config.host, config.port);
        let tcp = connect(config).map_err(|source| StompError::Unreachable {
            address: address.clone(),
            source,
        })?;
        let stream: Box<dyn Stream> = match &config.encryption {
            Encryption::None => Box::new(tcp),
            Encryption::Tls(authorities) => Box::new(encrypted(tcp, &config.host, authorities)?),
        };
        let mut connection = Self {
            stream,
            address,
            timeout: config.timeout,
            decoder: Decoder::default(),
            expected: BTreeSet::new(),
            last_receipt: 0,
            received: Vec::new(),
        };
        let mut hello = Frame::new("CONNECT")
            .with("accept-version", "1.2")
            .with("host", &config.host)
            .with("heart-beat", "0,0");
        if let Some(Credentials { login, passcode }) = &config.credentials {
            hello = hello.with("login", login).with("passcode", passcode);
        }
        connection.write(&hello)?;
        loop {
            let frame = connection.read_frame()?;
            if frame.command == "CONNECTED" {
                return Ok(connection);
            }
            connection.take(frame)?;
        }
    }

    /// Sends a message to a destination such as `/queue/panda_jobstatus`. It is taken by the broker
    /// once [`Connection::confirm`] says so.
    ///
    /// # Errors
    ///
    /// [`StompError`] if it cannot be sent.
    pub fn send(
        &mut self,
        destination: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), StompError> {
        let receipt = self.new_receipt();
        let mut frame = Frame::new("SEND")
            .with("destination", destination)
            .with("persistent", "true")
            .with("content-type", "application/json")
            .with("receipt", receipt.to_string());
        for (name, value) in headers {
            frame = frame.with(name, *value);
        }
        self.write(&frame.with_body(body))
    }

    /// Waits until the broker has taken every message that was sent.
    ///
    /// # Errors
    ///
    /// [`StompError`] if it does not say so in time: which messages it took is unknown.
    pub fn confirm(&mut self) -> Result<(), StompError> {
        while !self.expected.is_empty() {
            let frame = self.read_frame()?;
            self.take(frame)?;
        }
        Ok(())
    }

    /// Asks for the messages of a destination.
    ///
    /// # Errors
    ///
    /// [`StompError`] if the broker refuses.
    pub fn subscribe(&mut self, destination: &str) -> Result<(), StompError> {
        let receipt = self.new_receipt();
        let frame = Frame::new("SUBSCRIBE")
            .with("id", receipt.to_string())
            .with("destination", destination)
            .with("ack", "auto")
            .with("receipt", receipt.to_string());
        self.write(&frame)?;
        self.confirm()
    }

    /// Waits for the next message of what was subscribed to.
    ///
    /// # Errors
    ///
    /// [`StompError`] if none comes in time.
    pub fn receive(&mut self) -> Result<Received, StompError> {
        loop {
            if !self.received.is_empty() {
                return Ok(self.received.remove(0));
            }
            let frame = self.read_frame()?;
            self.take(frame)?;
        }
    }

    fn new_receipt(&mut self) -> u64 {
        self.last_receipt += 1;
        self.expected.insert(self.last_receipt);
        self.last_receipt
    }

    fn take(&mut self, frame: Frame) -> Result<(), StompError> {
        match frame.command.as_str() {
            "RECEIPT" => {
                let id = frame.header("receipt-id").and_then(|id| id.parse().ok());
                if let Some(id) = id {
                    self.expected.remove(&id);
                }
                Ok(())
            }
            "MESSAGE" => {
                self.received.push(Received {
                    headers: frame.headers,
                    body: frame.body,
                });
                Ok(())
            }
            "ERROR" => {
                let said = frame.header("message").map_or_else(
                    || String::from_utf8_lossy(&frame.body).into_owned(),
                    str::to_owned,
                );
                Err(StompError::Refused {
                    address: self.address.clone(),
                    reason: said.chars().take(300).collect(),
                })
            }
            // Frames of later versions that were not asked for.
            _ => Ok(()),
        }
    }

    fn write(&mut self, frame: &Frame) -> Result<(), StompError> {
        let written = self.stream.write_all(&frame.encode());
        written
            .and_then(|()| self.stream.flush())
            .map_err(|source| self.failed(source))
    }

    fn read_frame(&mut self) -> Result<Frame, StompError> {
        let deadline = Instant::now() + self.timeout;
        let mut bytes = [0; 8192];
        loop {
            let next = self.decoder.next_frame();
            let next = next.map_err(|source| StompError::Protocol {
                address: self.address.clone(),
                source,
            })?;
            if let Some(frame) = next {
                return Ok(frame);
            }
            if Instant::now() >= deadline {
                return Err(self.silent());
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(n_bytes) => self.decoder.push(&bytes[..n_bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn failed(&self, source: io::Error) -> StompError {
        let is_time_up = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        if is_time_up.contains(&source.kind()) {
            return self.silent();
        }
        StompError::Broken {
            address: self.address.clone(),
            source,
        }
    }

    fn silent(&self) -> StompError {
        StompError::Silent {
            address: self.address.clone(),
            limit: self.timeout,
        }
    }
}

/// Tries every address of the host.
fn connect(config: &BrokerConfig) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (config.host.as_str(), config.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, config.timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(config.timeout))?;
                stream.set_write_timeout(Some(config.timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn encrypted(
    tcp: TcpStream,
    host: &str,
    authorities: &Path,
) -> Result<StreamOwned<ClientConnection, TcpStream>, StompError> {
    let unusable = || StompError::Authorities {
        path: authorities.to_owned(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities).map_err(|_| unusable())? {
        let certificate = certificate.map_err(|_| unusable())?;
        roots.add(certificate).map_err(|_| unusable())?;
    }
    if roots.is_empty() {
        return Err(unusable());
    }
    let no_name = || StompError::HostName {
        host: host.to_owned(),
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| no_name())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), name).map_err(|_| no_name())?;
    Ok(StreamOwned::new(tls, tcp))
}
