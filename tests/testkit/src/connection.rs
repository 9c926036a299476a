//! The smallest HTTP client that keeps its connection: what a test or a load generator needs.

use std::{
    io::{BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::http::Answer;

/// How long a server may be silent before it has answered.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// One kept connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn open(host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).with_context(|| format!("no server at `{host}`"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: host.to_owned(),
        })
    }

    /// Sends a request and returns its answer, whatever its status.
    ///
    /// Each line of `headers` ends with CR and LF; `Host` and `Content-Length` are added.
    ///
    /// # Errors
    ///
    /// No answer comes within 20 s, or not a whole one.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        // A server that refuses the head need not read the body: what counts is its answer.
        drop(self.stream.get_mut().write_all(&request));
        Answer::read(&mut self.stream).with_context(|| format!("no answer to `{method} {path}`"))
    }

    /// Posts JSON and returns the answer's JSON.
    ///
    /// # Errors
    ///
    /// The connection breaks, or the answer is not `200` with JSON.
    pub fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let headers = "Content-Type: application/json\r\nAccept: application/json\r\n";
        let answer = self.send("POST", path, headers, body.to_string().as_bytes())?;
        if answer.status != 200 {
            bail!("`{path}` was answered with {}", answer.status);
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("`{path}` answered no JSON"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stand_in::HttpStandIn;

    #[test]
    fn a_post_returns_the_json_of_a_success_and_fails_with_any_other_status() {
        let server = HttpStandIn::start(|request| {
            let status = if request.target() == "/good" {
                200
            } else {
                503
            };
            Some(Answer::new(status, request.body.clone()))
        });
        let server = server.unwrap();
        let mut connection = Connection::open(server.url().trim_start_matches("http://")).unwrap();
        let body = json!({"a": [1, 2]});
        assert_eq!(connection.post("/good", &body).unwrap(), body);
        let error = connection.post("/bad", &body).unwrap_err();
        assert_eq!(error.to_string(), "`/bad` was answered with 503");
        let json = Some("application/json");
        assert_eq!(server.requests()[0].header("content-type"), json);
    }
}
