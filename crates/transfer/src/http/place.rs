//! Where a file is on a storage: a URL as it is sent, and as it may be shown.
//!
//! **One rule for names.** A URL from a queue, a catalogue or Rucio is taken as a URL: what may
//! stand in one is kept, so also `%20`, and `?` begins the query with which signed URLs come.
//! Everything else (blanks, line ends, letters beyond ASCII, quotes, a `%` that begins no pair of
//! digits, and `#`, since a file has no fragment) is encoded. That is what Rucio's own clients do:
//! the server joins prefix and name without encoding, and the client's library encodes what is
//! left. Encoding twice is encoding once. Who makes a URL from a *name*, in which `%20` and `?` are
//! three letters and one, encodes it first by [`encode_path`].

use std::fmt::Write as _;

use ailurus_http::Secret;
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{BadPlaceReason, Cause, Direction, TransferError, toolbox::split_url};

/// What may stand in a URL beside letters and digits, without `%` and `#`.
///
/// Source: RFC 3986, section 2.
const URL_MARKS: &[u8] = b"-._~:/?[]@!$&'()*+,;=";

/// What may stand in the path of a name beside letters and digits.
const NAME_MARKS: &[u8] = b"-._~/";

/// Schemes of this tool and what they mean.
const SCHEMES: [(&str, &str); 4] = [
    ("http", "http"),
    ("https", "https"),
    ("dav", "http"),
    ("davs", "https"),
];

/// Encodes a path made of names for a URL: everything but letters, digits, `-._~` and the slashes.
#[must_use]
pub fn encode_path(path: &str) -> String {
    encode(path, |_, byte| NAME_MARKS.contains(&byte))
}

fn encode(text: &str, is_kept: impl Fn(&[u8], u8) -> bool) -> String {
    let bytes = text.as_bytes();
    let mut encoded = String::with_capacity(bytes.len());
    for (index, &byte) in bytes.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || is_kept(&bytes[index + 1..], byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes everything");
        }
    }
    encoded
}

/// A place on a storage that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Scheme and authority, for example `https://se.example.org:2880`.
    origin: String,
    /// Path, encoded, beginning with a slash.
    path: String,
    /// Query, encoded, with its `?`, or nothing.
    query: String,
    /// User and password, as they stand in the URL.
    user: Option<String>,
}

impl Place {
    /// Reads a URL.
    pub(crate) fn read(direction: Direction, url: &str) -> Result<Self, TransferError> {
        Self::parse(url).ok_or_else(|| {
            let shown = url.split('?').next().unwrap_or_default();
            let cause = Cause::BadPlace(BadPlaceReason::NoUrl);
            TransferError::new(direction, shown, cause)
        })
    }

    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = split_url(url)?;
        let scheme = scheme.to_ascii_lowercase();
        let (_, scheme) = SCHEMES.iter().find(|(name, _)| *name == scheme)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        let rest = encode(rest, |after, byte| {
            let is_pair = || {
                after
                    .get(..2)
                    .is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit))
            };
            URL_MARKS.contains(&byte) || (byte == b'%' && is_pair())
        });
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        Some(Self {
            origin: format!("{scheme}://{}", host.to_ascii_lowercase()),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query: query.to_owned(),
            user,
        })
    }

    /// The URL as it is sent, without user and password.
    pub(crate) fn url(&self) -> String {
        format!("{}{}{}", self.origin, self.path, self.query)
    }

    /// The URL without anything that may be a secret.
    pub(crate) fn shown(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The path, encoded.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Says whether a query belongs to it: then it was signed for just this path.
    pub(crate) fn is_signed(&self) -> bool {
        !self.query.is_empty()
    }

    /// Says whether something in its path is encoded.
    pub(crate) fn is_encoded(&self) -> bool {
        self.path.contains('%')
    }

    /// The place whose name is this one's encoding, letter by letter.
    pub(crate) fn taken_literally(&self) -> Self {
        Self {
            path: self.path.replace('%', "%25"),
            ..self.clone()
        }
    }

    /// Says whether it is encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// The host without its port.
    pub(crate) fn host(&self) -> &str {
        let (_, authority) = self.origin.split_once("://").unwrap_or_default();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|it| it.is_ascii_digit()) => host,
            _ => authority,
        }
    }

    /// The `Authorization` that user and password in the URL make.
    pub(crate) fn basic(&self) -> Option<Secret> {
        let user = decode(self.user.as_deref()?);
        let encoded = BASE64_STANDARD.encode(user);
        Some(Secret::new(format!("Basic {encoded}")))
    }

    /// Another name in the same directory.
    pub(crate) fn sibling(&self, name: &str) -> Self {
        let directory = &self.path[..=self.path.rfind('/').unwrap_or(0)];
        Self {
            path: format!("{directory}{}", encode_path(name)),
            ..self.clone()
        }
    }

    /// The directory that it is in, with a slash at its end; none for the top.
    pub(crate) fn parent(&self) -> Option<Self> {
        let path = self.path.trim_end_matches('/');
        let path = &path[..=path.rfind('/')?];
        Some(Self {
            path: path.to_owned(),
            ..self.clone()
        })
        .filter(|it| it.path != "/")
    }

    /// Where a redirect from here leads.
    pub(crate) fn redirected(&self, location: &str) -> Option<Self> {
        let location = location.trim();
        if split_url(location).is_some_and(|(scheme, _)| !scheme.contains(['?', '#'])) {
            return Self::parse(location);
        }
        let (scheme, _) = self.origin.split_once("://")?;
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let base = if location.starts_with('/') {
            String::new()
        } else if location.starts_with('?') {
            self.path.clone()
        } else {
            self.path[..=self.path.rfind('/').unwrap_or(0)].to_owned()
        };
        Self::parse(&format!("{}{base}{location}", self.origin))
    }
}

/// Replaces `%XX` by its byte.
fn decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let pair = after
            .get(..2)
            .and_then(|it| std::str::from_utf8(it).ok())
            .and_then(|it| u8::from_str_radix(it, 16).ok());
        match (byte, pair) {
            (b'%', Some(value)) => {
                decoded.push(value);
                rest = &after[2..];
            }
            _ => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(url: &str) -> Place {
        Place::read(Direction::StageIn, url).expect(url)
    }

    #[test]
    fn what_may_stand_in_a_url_is_kept_and_the_rest_is_encoded() {
        for (url, sent) in [
            ("davs://se.example.org/a/b", "https://se.example.org/a/b"),
            ("dav://Se.Example.org:80", "http://se.example.org:80/"),
            ("https://h/a b", "https://h/a%20b"),
            ("https://h/a%20b", "https://h/a%20b"),
            ("https://h/50%", "https://h/50%25"),
            ("https://h/50%zz", "https://h/50%25zz"),
            ("https://h/a#1", "https://h/a%231"),
            ("https://h/λ\n\"", "https://h/%CE%BB%0A%22"),
            ("https://h/a?X=1&y=%2F", "https://h/a?X=1&y=%2F"),
            ("https://h/x?a?b", "https://h/x?a?b"),
            ("https://h//data//a", "https://h//data//a"),
            ("https://[::1]:1094/a", "https://[::1]:1094/a"),
            ("https://u:p%40@h/a", "https://h/a"),
            ("https://h/a:b@c,d;e=f+g", "https://h/a:b@c,d;e=f+g"),
        ] {
            assert_eq!(place(url).url(), sent);
        }
    }

    #[test]
    fn names_are_encoded_whole() {
        assert_eq!(encode_path("a/50%20 #?λ"), "a/50%2520%20%23%3F%CE%BB");
        let url = format!("https://h/{}", encode_path("what?.root"));
        assert_eq!(place(&url).url(), "https://h/what%3F.root");
    }

    #[test]
    fn what_is_no_url_is_refused_without_telling_secrets() {
        for url in [
            "",
            "a/b",
            "root://h/a",
            "https://",
            "https:///a",
            "https://h\r\nX: y/a",
        ] {
            let error = Place::read(Direction::StageIn, url).expect_err(url);
            assert!(matches!(error.cause, Cause::BadPlace(_)), "{error}");
        }
        let error = Place::read(Direction::StageIn, "ftp://h/a?secret").expect_err("no URL");
        assert!(!error.to_string().contains("secret"));
        assert_eq!(place("https://u:pw@h/a?token=x").shown(), "https://h/a");
    }

    #[test]
    fn neighbours_and_directories_are_found() {
        let file = place("https://h:1/a/b c/d");
        assert_eq!(file.sibling(".x y").url(), "https://h:1/a/b%20c/.x%20y");
        let parent = file.parent().expect("a directory");
        assert_eq!(parent.url(), "https://h:1/a/b%20c/");
        let above = parent.parent().expect("another");
        assert_eq!(above.url(), "https://h:1/a/");
        assert_eq!(above.parent(), None);
        assert_eq!(place("https://h/d").parent(), None);
        assert!(file.is_encoded() && !parent.sibling("x").taken_literally().path.contains("%20"));
        assert_eq!(file.taken_literally().url(), "https://h:1/a/b%2520c/d");
        assert_eq!(file.host(), "h");
        assert_eq!(place("https://[::1]/a").host(), "[::1]");
    }

    #[test]
    fn redirects_are_followed_as_browsers_do() {
        let from = place("https://h:1/a/b?x=1");
        for (location, to) in [
            ("http://pool:2/c?u=://", "http://pool:2/c?u=://"),
            ("//pool/c", "https://pool/c"),
            ("/c?y=2", "https://h:1/c?y=2"),
            ("c", "https://h:1/a/c"),
            ("?y=2", "https://h:1/a/b?y=2"),
            ("/to/http://x", "https://h:1/to/http://x"),
            (" https://pool/a b ", "https://pool/a%20b"),
        ] {
            let found = from.redirected(location).map(|it| it.url());
            assert_eq!(found.as_deref(), Some(to), "{location}");
        }
        assert_eq!(from.redirected("ftp://pool/c"), None);
    }

    #[test]
    fn user_and_password_become_a_header() {
        let secret = place("http://alice:p%40ss@h/a").basic().expect("a user");
        assert_eq!(secret.reveal(), "Basic YWxpY2U6cEBzcw==");
        assert_eq!(place("http://h/a@b").basic(), None);
    }

    proptest! {
        #[test]
        fn encoding_twice_is_encoding_once(path in ".{0,40}") {
            let once = place(&format!("https://h/{path}")).url();
            prop_assert_eq!(place(&once).url(), once.clone());
            prop_assert!(once.is_ascii());
        }

        #[test]
        fn every_name_survives(name in ".{1,40}") {
            let url = place(&format!("https://h/{}", encode_path(&name))).url();
            prop_assert_eq!(decode(&url["https://h/".len()..]), name.into_bytes());
        }

        #[test]
        fn reading_never_panics(url in ".{0,60}", location in ".{0,60}") {
            if let Ok(place) = Place::read(Direction::StageOut, &url) {
                let _ = (place.parent(), place.redirected(&location), place.basic());
            }
        }
    }
}
