//! Sends what a payload writes to a log server, while it runs.
//!
//! One thread a stream reads the files every few seconds and sends what is new. It never makes the
//! job wait: what the server does not take is kept up to a limit, then left out and counted, and
//! what a payload writes faster than that is left out too.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::Duration,
};

use ailurus_http::Client;
use ailurus_pilot_core::payload::log_stream::{Destination, LogStream};
use serde_json::{Map, Value, json};

use crate::{debug::newest_match, payload::open_left_file, settings::wall_now};

/// Time between two looks at the files, as in Pilot 3.
const PERIOD: Duration = Duration::from_secs(5);
/// Most that is read of one file at one look, in bytes. More of it waits for the next look.
const READ_MAX: u64 = 256 << 10;
/// How far behind a file's end the stream may be; what is older is left out, in bytes.
const BEHIND_MAX: u64 = 4 << 20;
/// Most lines that wait for the server.
const PENDING_MAX: usize = 5000;
/// Most lines that are sent at once.
const BATCH_MAX: usize = 1000;
/// Longest line that is sent, in bytes.
const LINE_MAX: usize = 16 << 10;
/// Stack of the thread, in bytes.
const STACK_BYTES: usize = 256 << 10;
/// Limit on a TCP connection and each write to it.
const TCP_LIMIT: Duration = Duration::from_secs(5);

/// A stream that runs; dropping it sends what is left and ends it.
#[derive(Debug)]
pub(crate) struct RunningStream {
    _end: SyncSender<()>,
}

/// Starts a stream of files in a job's directory.
pub(crate) fn start(stream: LogStream, dir: PathBuf, client: Client) -> Option<RunningStream> {
    let (end, ended) = sync_channel(0);
    let mut streamer = Streamer::new(stream, dir, client);
    let run = move || streamer.run(&ended);
    match ailurus_process::spawn_named("log-stream", STACK_BYTES, run) {
        Ok(_) => Some(RunningStream { _end: end }),
        Err(error) => {
            tracing::warn!("the payload's output is not streamed: {error}");
            None
        }
    }
}

struct Streamer {
    stream: LogStream,
    dir: PathBuf,
    client: Client,
    files: Vec<Followed>,
    pending: VecDeque<Value>,
    n_left_out: u64,
    tcp: Option<TcpStream>,
}

/// A file that is read from where the last look ended.
struct Followed {
    name: String,
    file: Option<File>,
    position: u64,
    /// The begin of a line whose end is not there yet.
    open_line: Vec<u8>,
}

impl Streamer {
    fn new(stream: LogStream, dir: PathBuf, client: Client) -> Self {
        let files = stream.files.iter().map(|name| Followed {
            name: name.clone(),
            file: None,
            position: 0,
            open_line: Vec::new(),
        });
        Self {
            files: files.collect(),
            stream,
            dir,
            client,
            pending: VecDeque::new(),
            n_left_out: 0,
            tcp: None,
        }
    }

    fn run(&mut self, ended: &Receiver<()>) {
        loop {
            let is_last = !matches!(ended.recv_timeout(PERIOD), Err(RecvTimeoutError::Timeout));
            self.look();
            if is_last {
                for file in &mut self.files {
                    let line = std::mem::take(&mut file.open_line);
                    if !line.is_empty() {
                        self.pending.push_back(entry(&self.stream, &line));
                    }
                }
            }
            self.send();
            if is_last {
                if !self.pending.is_empty() || self.n_left_out > 0 {
                    let n = self.pending.len() as u64 + self.n_left_out;
                    tracing::warn!("{n} lines of output did not reach the log server");
                }
                return;
            }
        }
    }

    /// Reads what is new in the files.
    fn look(&mut self) {
        for file in &mut self.files {
            if file.file.is_none() {
                let path = newest_match(&self.dir, &file.name);
                file.file = path
                    .and_then(|path| open_left_file(&path).ok())
                    .map(|(it, _)| it);
            }
            let lines = match file.read() {
                Ok(lines) => lines,
                Err(error) => {
                    tracing::debug!("`{}`: {error}", file.name);
                    continue;
                }
            };
            for line in lines {
                self.pending.push_back(entry(&self.stream, &line));
            }
        }
        while self.pending.len() > PENDING_MAX {
            self.pending.pop_front();
            self.n_left_out += 1;
        }
    }

    /// Sends what waits, until the server takes no more.
    fn send(&mut self) {
        while !self.pending.is_empty() {
            let n = self.pending.len().min(BATCH_MAX);
            let batch: Vec<Value> = self.pending.iter().take(n).cloned().collect();
            if let Err(why) = self.send_batch(&batch) {
                self.tcp = None;
                tracing::debug!("the log server takes nothing: {why}");
                return;
            }
            self.pending.drain(..n);
        }
    }

    fn send_batch(&mut self, batch: &[Value]) -> Result<(), String> {
        match &self.stream.destination {
            Destination::Http(url) => {
                let body = Value::from(batch.to_vec()).to_string();
                self.post(url, &body)
            }
            Destination::Loki(url) => self.post(url, &loki_body(&self.stream, batch)),
            Destination::Tcp(address) => {
                let lines = lines_of(batch);
                let stream = match self.tcp.take() {
                    Some(stream) => stream,
                    None => connect(address).map_err(|error| error.to_string())?,
                };
                let mut stream = stream;
                stream
                    .write_all(lines.as_bytes())
                    .map_err(|error| error.to_string())?;
                self.tcp = Some(stream);
                Ok(())
            }
            Destination::File(path) => append(Path::new(path), &lines_of(batch))
                .map_err(|error| format!("`{path}`: {error}")),
        }
    }

    fn post(&self, url: &str, body: &str) -> Result<(), String> {
        let login = self.stream.login.as_ref().map(|(name, password)| {
            let text = format!("{}:{}", name.reveal(), password.reveal());
            format!("Basic {}", base64(text.as_bytes()))
        });
        let headers: Vec<(&str, &str)> = login
            .iter()
            .map(|it| ("Authorization", it.as_str()))
            .collect();
        let answer = self
            .client
            .post(url, body.as_bytes(), "application/json", &headers);
        match answer {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(format!("HTTP status {}", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Followed {
    fn read(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let Some(file) = &mut self.file else {
            return Ok(Vec::new());
        };
        let length = file.metadata()?.len();
        if length < self.position {
            // It was begun anew.
            self.position = 0;
            self.open_line.clear();
        }
        let mut lines = Vec::new();
        if length - self.position > BEHIND_MAX {
            let skipped = length - self.position - READ_MAX;
            lines.push(format!("({skipped} bytes are left out here)").into_bytes());
            self.position += skipped;
            self.open_line.clear();
        }
        io::Seek::seek(file, io::SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.take(READ_MAX).read_to_end(&mut bytes)?;
        self.position += bytes.len() as u64;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open_line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.open_line.len() > LINE_MAX {
                lines.push(std::mem::take(&mut self.open_line));
            }
        }
        Ok(lines)
    }
}

/// Makes the object of one line. Members of a line that is an object itself are its own.
fn entry(stream: &LogStream, line: &[u8]) -> Value {
    let mut members: Map<String, Value> = Map::new();
    for (name, value) in &stream.labels {
        members.insert((*name).to_owned(), value.as_str().into());
    }
    members.insert("logname".into(), stream.name.as_str().into());
    let text = String::from_utf8_lossy(&line[..line.len().min(LINE_MAX)]);
    match serde_json::from_str(&text) {
        Ok(Value::Object(own)) => members.extend(own),
        Ok(_) | Err(_) => {
            members.insert("message".into(), text.trim().into());
        }
    }
    let seconds = wall_now().as_millis() as f64 / 1000.0;
    members.insert("PilotTimeStamp".into(), json!(seconds));
    Value::Object(members)
}

fn lines_of(batch: &[Value]) -> String {
    batch.iter().map(|entry| format!("{entry}\n")).collect()
}

fn loki_body(stream: &LogStream, batch: &[Value]) -> String {
    let nanos = wall_now().as_millis().saturating_mul(1_000_000);
    let values: Vec<Value> = (nanos..)
        .zip(batch)
        .map(|(nanos, entry)| {
            let text = entry
                .get("message")
                .and_then(Value::as_str)
                .map_or_else(|| entry.to_string(), str::to_owned);
            json!([nanos.to_string(), text])
        })
        .collect();
    let mut labels = stream.labels.clone();
    labels.insert("job", stream.name.clone());
    json!({"streams": [{"stream": labels, "values": values}]}).to_string()
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the host has no address");
    for address in std::net::ToSocketAddrs::to_socket_addrs(address)? {
        match TcpStream::connect_timeout(&address, TCP_LIMIT) {
            Ok(stream) => {
                stream.set_write_timeout(Some(TCP_LIMIT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Encodes bytes for the header of a login.
///
/// Source: RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let byte = |index: usize| u32::from(part.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4_usize {
            let index = (group >> (18 - 6 * digit)) & 0x3F;
            let is_there = digit <= part.len();
            text.push(if is_there {
                char::from(DIGITS[index as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::BufRead as _, net::TcpListener};

    use ailurus_http::ClientConfig;

    use super::*;

    fn stream(destination: Destination, files: &[&str]) -> LogStream {
        LogStream {
            destination,
            name: "pilot-log".into(),
            files: files.iter().map(|it| (*it).to_owned()).collect(),
            labels: BTreeMap::from([("PandaJobID", "42".to_owned())]),
            login: None,
        }
    }

    fn streamer(destination: Destination, dir: &Path) -> Streamer {
        let client = Client::new(ClientConfig::default()).expect("a client");
        Streamer::new(stream(destination, &["out"]), dir.to_owned(), client)
    }

    #[test]
    fn logins_are_encoded_as_the_standard_says() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn lines_go_to_a_file_as_objects_and_own_members_are_kept() {
        let place = tempfile::tempdir().expect("space");
        let log = place.path().join("log");
        let mut streamer = streamer(
            Destination::File(log.to_string_lossy().into_owned()),
            place.path(),
        );
        let out = place.path().join("out");
        std::fs::write(&out, "one\n{\"event\": 3}\nhalf").expect("space");
        streamer.look();
        streamer.send();
        append(&out, " whole\n").expect("space");
        streamer.look();
        streamer.send();
        let text = std::fs::read_to_string(&log).expect("written");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (&lines[0]["message"], &lines[0]["PandaJobID"]),
            (&json!("one"), &json!("42"))
        );
        assert_eq!(lines[1]["event"], 3);
        assert_eq!(lines[2]["message"], "half whole");
    }

    #[test]
    fn a_server_that_is_away_costs_old_lines_and_no_time_of_the_job() {
        let place = tempfile::tempdir().expect("space");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let mut streamer = streamer(Destination::Tcp(address), place.path());
        let many = "line\n".repeat(PENDING_MAX + 10);
        std::fs::write(place.path().join("out"), many).expect("space");
        streamer.look();
        streamer.send();
        assert_eq!(streamer.pending.len(), PENDING_MAX);
        assert_eq!(streamer.n_left_out, 10);
    }

    #[test]
    fn dropping_a_stream_sends_the_rest_over_tcp() {
        let place = tempfile::tempdir().expect("space");
        std::fs::write(place.path().join("out"), "first\nlast without an end").expect("space");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let client = Client::new(ClientConfig::default()).expect("a client");
        let stream = stream(Destination::Tcp(address), &["out"]);
        drop(start(stream, place.path().to_owned(), client).expect("started"));
        let (peer, _) = listener.accept().expect("a connection");
        let lines: Vec<String> = io::BufReader::new(peer)
            .lines()
            .map(|line| line.expect("text"))
            .collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains("last without an end"), "{}", lines[1]);
    }

    #[test]
    fn what_is_too_far_behind_is_left_out() {
        let place = tempfile::tempdir().expect("space");
        let path = place.path().join("out");
        std::fs::write(
            &path,
            vec![b'\n'; usize::try_from(BEHIND_MAX).expect("small") + 10],
        )
        .expect("space");
        let mut followed = Followed {
            name: "out".into(),
            file: Some(File::open(&path).expect("there")),
            position: 0,
            open_line: Vec::new(),
        };
        let lines = followed.read().expect("readable");
        assert!(String::from_utf8_lossy(&lines[0]).contains("bytes are left out"));
        assert_eq!(followed.position, BEHIND_MAX + 10);
    }
}
