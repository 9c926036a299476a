//! The server's JSON API as this program uses it.

use std::time::Duration;

use ailurus_http::{Client, ClientConfig, Response, Timeouts};
use ailurus_wire::rest::ErrorBody;
use serde::{Serialize, de::DeserializeOwned};

use crate::{credentials::Credentials, failure::Failure};

/// Where a server is, if nobody says.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:25080";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_MAX_BYTES: u64 = 256 << 20;

/// One server.
pub(crate) struct Api {
    client: Client,
    server: String,
}

impl Api {
    /// Makes a client of the server at this URL. Nothing is sent.
    ///
    /// # Errors
    ///
    /// The client cannot be made: a certificate or token is of no use.
    pub(crate) fn new(server: &str, credentials: &Credentials) -> Result<Self, Failure> {
        let mut config = ClientConfig {
            timeouts: Timeouts {
                connect: CONNECT_TIMEOUT,
                whole: ANSWER_TIMEOUT,
                download: ANSWER_TIMEOUT,
            },
            response_max_bytes: ANSWER_MAX_BYTES,
            ..ClientConfig::default()
        };
        credentials.apply(server, &mut config);
        Ok(Self {
            client: Client::new(config)?,
            server: server.trim_end_matches('/').to_owned(),
        })
    }

    /// Asks for something.
    ///
    /// # Errors
    ///
    /// No server answers, or it refuses.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self
            .client
            .get(&self.url(path), &[("Accept", "application/json")]);
        self.read(answer.map_err(|source| self.no_answer(source))?)
    }

    /// Has something done.
    ///
    /// # Errors
    ///
    /// No server answers, or it refuses.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.foreign(&error))?;
        let answer = self
            .client
            .post(&self.url(path), &body, "application/json", &[]);
        self.read(answer.map_err(|source| self.no_answer(source))?)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/ailurus/v1/{path}", self.server)
    }

    fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T, Failure> {
        if (200..300).contains(&answer.status) {
            return serde_json::from_slice(&answer.body).map_err(|error| self.foreign(&error));
        }
        match serde_json::from_slice::<ErrorBody>(&answer.body) {
            Ok(error) => Err(Failure::Refused {
                code: error.code,
                message: error.message,
                help: error.help,
            }),
            Err(_) => Err(Failure::Foreign {
                server: self.server.clone(),
                reason: format!("status {}", answer.status),
            }),
        }
    }

    fn no_answer(&self, source: ailurus_http::HttpError) -> Failure {
        Failure::NoAnswer {
            server: self.server.clone(),
            source,
        }
    }

    fn foreign(&self, error: &serde_json::Error) -> Failure {
        Failure::Foreign {
            server: self.server.clone(),
            reason: error.to_string(),
        }
    }
}

/// Encodes a piece of a path or query, so that it cannot become more than one.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_the_url() {
        assert_eq!(encode("spd:a/../b?x"), "spd:a%2F..%2Fb%3Fx");
    }
}
