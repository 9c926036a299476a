//! HTTP storage in the test's own process: honest `WebDAV` until it is told to lie.
//!
//! [`LyingStore::tell`] adds a [`Rule`]: which [`Lie`], to which requests, how often. The first
//! rule that fits a request is used for it; without one it is answered as good storage does:
//! HEAD, GET with one or more ranges, PUT, DELETE, MKCOL, MOVE, COPY within the storage and from
//! another one, PROPFIND, checksums by `Want-Digest`. Everything that it was asked is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    http::Request,
    listener::Listener,
    stand_in::{Door, Entrance},
};

mod connection;
mod listing;
mod path;
mod ranges;
mod service;

/// Something that storage does to its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// GET, HEAD: `Digest` is that of other bytes.
    WrongChecksum,
    /// GET, HEAD: there is no `Digest`, whoever wants one.
    NoChecksum,
    /// GET: one byte of the file is another; the checksum is the right one.
    Flipped {
        /// The place of the byte in the file.
        at: usize,
    },
    /// GET: the connection is closed after so many bytes of the body; `Content-Length` is right.
    Short {
        /// Bytes of the body that come.
        after: usize,
    },
    /// GET: after so many bytes of the body nothing comes any more until the client leaves.
    Hang {
        /// Bytes of the body that come.
        after: usize,
    },
    /// GET: the connection is reset after so many bytes of the body.
    Reset {
        /// Bytes of the body that come.
        after: usize,
    },
    /// GET: as [`Lie::Short`], and from then on the token is no longer good: 401 until
    /// [`LyingStore::demand`] names another one.
    Expires {
        /// Bytes of the body that come.
        after: usize,
    },
    /// GET, HEAD: `Content-Length` differs from the length of the body by this; the connection is
    /// closed after the body.
    WrongLength {
        /// What is added to the right length.
        by: isize,
    },
    /// GET: no length at all; the body ends with the connection.
    NoLength,
    /// GET: the body comes in chunks, without a length.
    Chunked,
    /// GET: the body comes in chunks, and the connection is closed before the last ones.
    ChunkedShort {
        /// Bytes of the body that come.
        after: usize,
    },
    /// GET, HEAD: the file grows by this before each answer.
    Grows {
        /// Bytes that it grows.
        by: usize,
    },
    /// GET: the whole file with 200, whatever range is asked for.
    IgnoresRange,
    /// GET: `Content-Range` names a place that many bytes behind the one that was asked for, and
    /// the bytes are of that place.
    WrongRange {
        /// How far behind.
        by: usize,
    },
    /// GET, HEAD: each answer has another `ETag`, as if the file was written anew meanwhile.
    ChangingTag,
    /// GET, PUT: a page of HTML with 200, as a login page in front of storage answers. A PUT
    /// stores nothing.
    Html,
    /// Any: this status and nothing else.
    Status(u16),
    /// Any: this status, 500 or 503 or 429, and `Retry-After`.
    Busy {
        /// The status.
        status: u16,
        /// Seconds after which the client may try again; none for no header.
        retry_after: Option<u32>,
    },
    /// Any: 302 to itself, for ever.
    RedirectLoop,
    /// Any: 307 to the same path at another place, such as `http://127.0.0.1:4000`.
    RedirectTo(String),
    /// Any: no answer at all until the client leaves.
    Silent,
    /// PUT: 507 after so many bytes of the body; the rest is not taken.
    Full {
        /// Bytes of the body that are taken.
        after: usize,
    },
    /// PUT: the connection is reset after so many bytes of the body.
    BreaksUpload {
        /// Bytes of the body that are taken.
        after: usize,
    },
    /// PUT: 201, and only the first half is stored.
    KeepsHalf,
    /// PUT: 201, and nothing is stored.
    Forgets,
    /// PUT: everything is stored, and the connection is closed before the answer.
    StoresAndLeaves,
    /// COPY: 202, and the failure stands at the end of the body.
    CopyFails,
    /// MOVE: it is done, and the answer says 500.
    MovesAndFails,
}

impl Lie {
    /// Says whether requests by a method can be lied to so.
    fn concerns(&self, method: &str) -> bool {
        match self {
            Self::WrongChecksum
            | Self::NoChecksum
            | Self::WrongLength { .. }
            | Self::Grows { .. }
            | Self::ChangingTag => matches!(method, "GET" | "HEAD"),
            Self::Flipped { .. }
            | Self::Short { .. }
            | Self::Hang { .. }
            | Self::Reset { .. }
            | Self::Expires { .. }
            | Self::NoLength
            | Self::Chunked
            | Self::ChunkedShort { .. }
            | Self::IgnoresRange
            | Self::WrongRange { .. } => method == "GET",
            Self::Html => matches!(method, "GET" | "PUT"),
            Self::Status(_)
            | Self::Busy { .. }
            | Self::RedirectLoop
            | Self::RedirectTo(_)
            | Self::Silent => true,
            Self::Full { .. }
            | Self::BreaksUpload { .. }
            | Self::KeepsHalf
            | Self::Forgets
            | Self::StoresAndLeaves => method == "PUT",
            Self::CopyFails => method == "COPY",
            Self::MovesAndFails => method == "MOVE",
        }
    }
}

/// A lie, and to whom it is told. Without more it is told to every request that it can concern.
#[derive(Debug, Clone)]
pub struct Rule {
    lie: Lie,
    method: Option<&'static str>,
    path: Option<String>,
    skip: u32,
    times: Option<u32>,
}

impl Rule {
    /// Tells a lie always.
    #[must_use]
    pub const fn always(lie: Lie) -> Self {
        Self {
            lie,
            method: None,
            path: None,
            skip: 0,
            times: None,
        }
    }

    /// Tells a lie so many times.
    #[must_use]
    pub const fn times(lie: Lie, times: u32) -> Self {
        let mut rule = Self::always(lie);
        rule.times = Some(times);
        rule
    }

    /// Only to requests by a method, for example `GET`.
    #[must_use]
    pub const fn on(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Only to requests of a path, for example `/spd/a b`.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Only after so many fitting requests were answered honestly.
    #[must_use]
    pub const fn after(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Says whether it is told to a request, and counts that.
    fn take(&mut self, method: &str, path: &str) -> bool {
        let fits = self.lie.concerns(method)
            && self.method.is_none_or(|own| own == method)
            && self.path.as_deref().is_none_or(|own| own == path);
        if !fits || self.times == Some(0) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times = self.times.map(|left| left - 1);
        true
    }
}

impl From<Lie> for Rule {
    fn from(lie: Lie) -> Self {
        Self::always(lie)
    }
}

/// What a PUT or a MOVE to a collection that is not there does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Collections {
    /// It makes the collection, as `XRootD` does.
    #[default]
    Made,
    /// It is refused with 409, as Apache does.
    Needed,
}

/// Running storage. It ends with this value, and its connections with it.
#[derive(Debug)]
pub struct LyingStore {
    scheme: &'static str,
    shared: Arc<Shared>,
    listener: Listener,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Arc<Vec<u8>>>,
    collections: BTreeSet<String>,
    rule_of_collections: Collections,
    rules: Vec<Rule>,
    heard: Vec<Request>,
    n_lies: u64,
    token: Option<String>,
    has_expired: bool,
    n_tags: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LyingStore {
    /// Starts empty and honest storage on a free port of loopback.
    ///
    /// # Errors
    ///
    /// Loopback has no free port.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_at(Entrance::default())
    }

    /// As [`LyingStore::start`], at an address and through a door.
    ///
    /// # Errors
    ///
    /// The address is in use.
    pub fn start_at(entrance: Entrance) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let door: Option<Arc<dyn Door>> = entrance.door;
        let scheme = if door.is_some() { "https" } else { "http" };
        let of_listener = Arc::clone(&shared);
        let listener = Listener::start(entrance.address, move |stream| {
            // A client that leaves ends only its own connection.
            drop(connection::serve(&of_listener, door.as_deref(), stream));
        })?;
        Ok(Self {
            scheme,
            shared,
            listener,
        })
    }

    /// Returns scheme, host and port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.listener.address())
    }

    /// Returns the URL of a path such as `/spd/a b`, encoded where it must be.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{}", self.endpoint(), path::encode(path))
    }

    /// Returns where it listens, for a proxy before it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Puts a file at a path such as `/spd/a b`.
    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        let content = Arc::new(content.into());
        self.shared.lock().files.insert(path.to_owned(), content);
    }

    /// Returns what is stored at a path.
    #[must_use]
    pub fn stored(&self, path: &str) -> Option<Vec<u8>> {
        let file = self.shared.lock().files.get(path).map(Arc::clone);
        file.map(|content| content.to_vec())
    }

    /// Returns the paths of all that is stored.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.shared.lock().files.keys().cloned().collect()
    }

    /// Tells a lie from now on, as a rule says.
    pub fn tell(&self, rule: impl Into<Rule>) {
        self.shared.lock().rules.push(rule.into());
    }

    /// Is honest from now on.
    pub fn be_honest(&self) {
        self.shared.lock().rules.clear();
    }

    /// Wants `Authorization: Bearer` with this token from now on.
    pub fn demand(&self, token: &str) {
        let mut state = self.shared.lock();
        state.token = Some(token.to_owned());
        state.has_expired = false;
    }

    /// Takes no token any more, until [`LyingStore::demand`] names another.
    pub fn expire(&self) {
        self.shared.lock().has_expired = true;
    }

    /// Says what becomes of a PUT below a collection that is not there.
    pub fn with_collections(&self, rule: Collections) {
        self.shared.lock().rule_of_collections = rule;
    }

    /// Returns what it was asked, in the order of arrival, without the bodies.
    #[must_use]
    pub fn heard(&self) -> Vec<Request> {
        self.shared.lock().heard.clone()
    }

    /// Returns how many requests were lied to.
    #[must_use]
    pub fn lies_told(&self) -> u64 {
        self.shared.lock().n_lies
    }
}
