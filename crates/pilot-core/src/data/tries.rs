//! What a plan is made of: single tries to move a file, and what was left out and why.

use std::{fmt, time::Duration};

use ailurus_model::{ByteCount, EndpointName, StorageEndpoint};
use serde::{Deserialize, Serialize};

use super::{
    StorageRecord,
    copy_tools::{ToolName, scheme_of},
};

/// Time of a blind transfer for all but the bytes.
const BLIND_BEGIN: Duration = Duration::from_secs(400);
/// Longest blind transfer of a file of unknown size.
const BLIND_UNKNOWN: Duration = Duration::from_secs(10_800);
/// Longest blind transfer at all.
const BLIND_MAX: Duration = Duration::from_secs(2 * 86_400);
/// What part of the speed that a storage has shown is expected of it, at least.
const PACE_PART: u64 = 8;
/// Bytes a second that are expected of a storage of unknown speed.
const PACE_UNKNOWN: u64 = 100_000;
/// Fewest and most bytes a second that are expected of any.
const PACE_MIN: u64 = 10_000;
const PACE_MAX: u64 = 1_000_000;

/// How far away a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// In the queue's own network.
    Lan,
    /// Elsewhere.
    Wan,
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lan => "LAN",
            Self::Wan => "WAN",
        })
    }
}

/// Which of the places that an output may go to this is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// The one that is meant. Inputs have no other.
    #[default]
    Primary,
    /// The one that is used where the first takes nothing (alternative stage-out).
    Alternative,
}

/// One way to move a file: a tool and a URL. The unit of a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// What moves it.
    pub tool: ToolName,
    /// The remote side. May hold a signature: people are shown [`Try::place`].
    pub url: String,
    /// The endpoint that the URL belongs to; empty for a directory that the pilot was given.
    pub endpoint: EndpointName,
    /// How far away that is.
    pub domain: Domain,
    /// Which of an output's places it is.
    #[serde(default)]
    pub rank: Rank,
    /// The endpoint's space token, for tools that want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_token: Option<String>,
    /// How fast the storage was, in bytes a second, if the pilot has measured that.
    #[serde(default)]
    pub speed: Option<u64>,
}

impl Try {
    /// Makes a try with a directory that the pilot was given.
    #[must_use]
    pub fn in_directory(url: String) -> Self {
        Self {
            tool: ToolName::Local,
            url,
            endpoint: EndpointName::default(),
            domain: Domain::Lan,
            rank: Rank::Primary,
            space_token: None,
            speed: None,
        }
    }

    /// Adds the storage's space token, if the tool wants it.
    pub(super) fn with_token_of(self, storage: Option<&StorageEndpoint>) -> Self {
        let token = storage.map(|storage| &storage.options.token);
        let token = token.filter(|it| self.tool == ToolName::Lsm && !it.is_empty());
        Self {
            space_token: token.cloned(),
            ..self
        }
    }

    /// Adds how fast the storage was.
    pub(super) fn with_speed_of(self, record: &StorageRecord) -> Self {
        Self {
            speed: record.speed(&self),
            ..self
        }
    }

    /// Returns the longest time for a file by a tool that does not show what it has moved. It
    /// follows the speed that the storage has shown, and leaves much room: a slow transfer that
    /// moves must not be ended, and of one that hangs nothing else is known.
    ///
    /// Source of the beginning: Pilot 3, `pilot/copytool/common.py`, `get_timeout`.
    #[must_use]
    pub fn blind_limit(&self, size: Option<ByteCount>) -> Duration {
        let Some(size) = size else {
            return BLIND_UNKNOWN;
        };
        let pace = self.speed.map_or(PACE_UNKNOWN, |speed| {
            (speed / PACE_PART).clamp(PACE_MIN, PACE_MAX)
        });
        let moving = Duration::from_secs(size.as_bytes().div_ceil(pace));
        BLIND_BEGIN.saturating_add(moving).min(BLIND_MAX)
    }

    /// Returns the URL as people may see it, see [`place_of`].
    #[must_use]
    pub fn place(&self) -> String {
        place_of(&self.url)
    }

    /// Returns the server's name with its port, empty for files that the node sees.
    #[must_use]
    pub fn host(&self) -> &str {
        host_of(&self.url)
    }

    /// Returns the URL's scheme.
    #[must_use]
    pub fn scheme(&self) -> &str {
        scheme_of(&self.url)
    }
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tool, self.place())
    }
}

/// Returns a URL without what may be secret: its query, which may be a signature, and a user's name
/// and password.
#[must_use]
pub fn place_of(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    // A mounted file may have any character in its name.
    if scheme == "file" {
        return url.to_owned();
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Returns the server's name with its port, without a user's name; empty if there is none.
#[must_use]
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// A replica or place that a plan leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The URL without its query, empty if there is none.
    pub place: String,
    /// Why.
    pub reason: LeftOutReason,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint,
            place,
            reason,
        } = self;
        match place.as_str() {
            "" => write!(f, "`{endpoint}`: {reason}"),
            place => write!(f, "`{endpoint}` {place}: {reason}"),
        }
    }
}

/// Why a replica or place is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOutReason {
    /// The file lies on tape.
    #[error("it is on tape")]
    Tape,
    /// The queue reads nothing from its own network.
    #[error("the queue does not allow LAN access (`allow_lan`)")]
    NoLan,
    /// The queue reads nothing from elsewhere.
    #[error("the queue does not allow WAN access (`allow_wan`)")]
    NoWan,
    /// None of the copy tools takes the scheme.
    #[error("no copy tool of the queue takes `{scheme}`")]
    NoTool {
        /// The scheme.
        scheme: String,
    },
    /// The storage data do not describe the endpoint.
    #[error("it is not in the storage data")]
    Unknown,
    /// The endpoint's paths do not follow from names.
    #[error("its paths do not follow from names (not deterministic)")]
    NotDeterministic,
    /// The endpoint has no protocol in this direction.
    #[error("it has no protocol for this")]
    NoProtocol,
    /// There are better ones enough.
    #[error("there are enough better ones")]
    Enough,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_neither_signatures_nor_passwords() {
        let it = Try::in_directory("https://me:secret@host:443/a/b?X-Amz-Signature=1".into());
        assert_eq!(it.host(), "host:443");
        assert_eq!(it.place(), "https://host:443/a/b");
        assert_eq!(place_of("file:///a/b?c#d@e"), "file:///a/b?c#d@e");
        assert_eq!(host_of("file:///a"), "");
        assert_eq!(host_of("no url"), "");
    }

    #[test]
    fn a_try_of_a_former_journal_is_a_primary_one() {
        let text = r#"{"tool":"xrdcp","url":"root://h//f","endpoint":"EP","domain":"wan"}"#;
        let it: Try = serde_json::from_str(text).expect("a try");
        assert_eq!((it.tool, it.rank), (ToolName::Xrdcp, Rank::Primary));
    }

    #[test]
    fn time_without_sight_grows_with_the_size_and_with_a_storages_slowness() {
        let limit = |speed: Option<u64>, bytes| {
            let it = Try {
                speed,
                ..Try::in_directory("srm://h/f".into())
            };
            it.blind_limit(Some(ByteCount::from_bytes(bytes)))
        };
        const FILE: u64 = 20_000_000_000;
        // 20 GB at 1 MB/s take 20,000 s, more than Pilot 3 ever waits.
        assert!(limit(Some(1_000_000), FILE) > Duration::from_secs(20_000));
        assert!(limit(Some(1_000_000), FILE) > limit(Some(100_000_000), FILE));
        assert_eq!(limit(Some(u64::MAX), FILE), Duration::from_secs(20_400));
        assert_eq!(limit(None, 0), BLIND_BEGIN);
        assert_eq!(limit(Some(0), u64::MAX), BLIND_MAX);
        let unknown = Try::in_directory("srm://h/f".into()).blind_limit(None);
        assert_eq!(unknown, BLIND_UNKNOWN);
    }
}
