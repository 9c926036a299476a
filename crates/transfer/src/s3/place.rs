//! Where an object is: endpoint, bucket and key, read from the URL forms of PanDA and Rucio.

use crate::{BadPlaceReason, Cause, Direction, TransferError, toolbox::split_url};

/// Schemes that mean an encrypted connection, whatever else they mean.
const SECURE_SCHEMES: [&str; 5] = ["s3", "s3s", "s3+https", "s3+rucio", "https"];

/// The port that stands for a connection that is not encrypted.
const PLAIN_PORT: &str = ":80";

/// Where buckets are that a URL names without a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home<'a> {
    /// Scheme, host and port.
    pub(super) endpoint: &'a str,
    /// The scheme whose URLs begin with a bucket: `gs://bucket/key`. `s3://bucket/key` does so if
    /// the bucket cannot be a host, for want of a dot and a port.
    pub(super) bucket_scheme: &'a str,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectPlace {
    /// Scheme, host and port, for example `https://s3.example.org:9000`.
    pub(super) endpoint: String,
    /// The bucket.
    pub(super) bucket: String,
    /// The name of the object in it, not encoded.
    pub(super) key: String,
    url: String,
}

impl ObjectPlace {
    /// Reads `SCHEME://HOST[:PORT]/BUCKET/KEY` or `SCHEME://BUCKET/KEY`. As in Pilot 3, slashes
    /// side by side are one, and nothing is decoded: names come as they are.
    pub(super) fn read(
        direction: Direction,
        url: &str,
        home: &Home<'_>,
    ) -> Result<Self, TransferError> {
        Self::parse(url, home).map_err(|reason| {
            let place = split_url(url).map_or(url, |_| strip_user(url));
            TransferError::new(direction, place, Cause::BadPlace(reason))
        })
    }

    fn parse(url: &str, home: &Home<'_>) -> Result<Self, BadPlaceReason> {
        let (scheme, rest) = split_url(url).ok_or(BadPlaceReason::NoUrl)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(BadPlaceReason::NoUrl);
        }
        let is_bucket = scheme == home.bucket_scheme
            || (scheme == "s3" && !host.contains(['.', ':']) && host != "localhost");
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let (endpoint, bucket) = if is_bucket {
            (home.endpoint.trim_end_matches('/').to_owned(), host)
        } else {
            let is_secure =
                SECURE_SCHEMES.contains(&scheme) && !(scheme == "s3" && host.ends_with(PLAIN_PORT));
            let scheme = match (is_secure, scheme) {
                (true, _) => "https",
                (false, "http" | "s3") => "http",
                (false, _) => return Err(BadPlaceReason::NoUrl),
            };
            let bucket = parts.next().ok_or(BadPlaceReason::NoName)?;
            (format!("{scheme}://{host}"), bucket)
        };
        let key: Vec<&str> = parts.collect();
        if key.is_empty() || path.ends_with('/') {
            return Err(BadPlaceReason::NoName);
        }
        // Where URLs are resolved, such parts lead to another object, even to another bucket.
        if key.iter().any(|part| matches!(*part, "." | "..")) || matches!(bucket, "." | "..") {
            return Err(BadPlaceReason::LeadsUp);
        }
        Ok(Self {
            endpoint,
            bucket: bucket.to_owned(),
            key: key.join("/"),
            url: strip_user(url).to_owned(),
        })
    }

    /// Returns the URL for people.
    pub(super) fn shown(&self) -> &str {
        &self.url
    }

    /// Returns the last part of the name.
    pub(super) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

/// Takes a user and password out of a URL that has them; its scheme then goes, too.
fn strip_user(url: &str) -> &str {
    let authority_end = split_url(url).and_then(|(_, rest)| rest.find('/'));
    let Some((scheme, rest)) = split_url(url) else {
        return url;
    };
    let authority = &rest[..authority_end.unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(at) => &url[scheme.len() + "://".len() + at + 1..],
        None => url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home<'_> = Home {
        endpoint: "https://s3.eu.example.org",
        bucket_scheme: "gs",
    };

    fn parts(url: &str) -> (String, String, String) {
        let place = ObjectPlace::read(Direction::StageIn, url, &HOME).expect(url);
        (place.endpoint, place.bucket, place.key)
    }

    #[test]
    fn all_forms_of_urls_are_read() {
        for (url, endpoint, bucket, key) in [
            ("s3://h.org:443//b/d/k", "https://h.org:443", "b", "d/k"),
            ("s3s://h.org/b/k", "https://h.org", "b", "k"),
            ("s3+rucio://h.org:9000/b/k", "https://h.org:9000", "b", "k"),
            ("s3://h.org:80/b/k", "http://h.org:80", "b", "k"),
            (
                "http://localhost:9/b/a b?%#",
                "http://localhost:9",
                "b",
                "a b?%#",
            ),
            ("s3://u:p@h.org/b/k", "https://h.org", "b", "k"),
            (
                "s3://bucket/d//k",
                "https://s3.eu.example.org",
                "bucket",
                "d/k",
            ),
            (
                "gs://bucket.with.dots/k",
                "https://s3.eu.example.org",
                "bucket.with.dots",
                "k",
            ),
        ] {
            let expected = (endpoint.to_owned(), bucket.to_owned(), key.to_owned());
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn what_names_no_object_or_another_is_refused() {
        for url in [
            "s3://h.org/b",
            "s3://h.org/b/",
            "s3://h.org/b/d/",
            "s3://h.org",
            "s3:///b/k",
            "ftp://h.org/b/k",
            "/b/k",
            "s3://h.org/b/../c/k",
            "s3://h.org/../k",
            "s3://h.org/b/./k",
        ] {
            let error = ObjectPlace::read(Direction::StageOut, url, &HOME).expect_err(url);
            assert!(matches!(error.cause, Cause::BadPlace(_)), "{url}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let place = ObjectPlace::read(Direction::StageIn, "s3://u:p@h.org/b/k@x", &HOME);
        assert_eq!(place.expect("a place").shown(), "h.org/b/k@x");
    }
}
