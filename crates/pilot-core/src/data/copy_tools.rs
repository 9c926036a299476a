//! Copy tools as data: their names, what each can move, and which of them serve an activity.
//!
//! Queue data name tools of Pilot 3. What really moves a file is the *mover* of a tool for a URL's
//! scheme: `rucio` stands for a look-up in Rucio and then our own tool for the scheme that was
//! found. Nothing here knows an endpoint or a file.
//!
//! Source: Pilot 3, `pilot/api/data.py`, `StagingClient.transfer`; `pilot/copytool/`.

use std::{fmt, str::FromStr};

use ailurus_model::{ErrorCode, Queue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Problem;

/// A copy tool, by the name that queue data and profiles give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToolName {
    /// Rucio's catalogue, then the mover of the scheme that it names.
    Rucio,
    /// The XRootD client.
    Xrdcp,
    /// `gfal-copy`.
    Gfal,
    /// Pilot 3's `mv`: files that the node sees.
    Mv,
    /// Files that the node sees.
    Local,
    /// HTTP and WebDAV.
    Http,
    /// Object stores through Rucio's own client.
    ObjectStore,
    /// Object stores with Amazon's protocol.
    S3,
    /// Google's object store.
    Gs,
    /// The site's own `lsm-get` and `lsm-put`.
    Lsm,
}

/// What is known of a tool.
struct Properties {
    tool: ToolName,
    name: &'static str,
    /// Whether its replicas are looked up in the catalogue.
    looks_up: bool,
    /// Schemes that it takes, best first; none for all that it has a mover for.
    schemes: &'static [&'static str],
}

const fn properties(
    tool: ToolName,
    name: &'static str,
    looks_up: bool,
    schemes: &'static [&'static str],
) -> Properties {
    Properties {
        tool,
        name,
        looks_up,
        schemes,
    }
}

/// Schemes of XRootD; Pilot 3 knows `root` only.
const XROOTD: [&str; 4] = ["root", "roots", "xroot", "xroots"];
/// Schemes of object stores with Amazon's protocol.
const AMAZON: [&str; 3] = ["s3", "s3+https", "s3+rucio"];

const TABLE: [Properties; 10] = [
    properties(ToolName::Rucio, "rucio", true, &[]),
    properties(ToolName::Xrdcp, "xrdcp", true, &XROOTD),
    properties(
        ToolName::Gfal,
        "gfal",
        true,
        &["srm", "gsiftp", "https", "davs", "root"],
    ),
    properties(ToolName::Mv, "mv", false, &[]),
    properties(ToolName::Local, "local", true, &["file"]),
    properties(
        ToolName::Http,
        "http",
        true,
        &["davs", "https", "dav", "http"],
    ),
    properties(
        ToolName::ObjectStore,
        "objectstore",
        false,
        &["srm", "gsiftp", "https", "davs", "root", "s3", "s3+rucio"],
    ),
    properties(
        ToolName::S3,
        "s3",
        false,
        &["s3", "s3+https", "s3+rucio", "https", "http"],
    ),
    properties(ToolName::Gs, "gs", false, &["gs"]),
    properties(ToolName::Lsm, "lsm", true, &["srm", "gsiftp", "root"]),
];

/// Another name of [`ToolName::Gfal`].
const GFAL_COPY: &str = "gfalcopy";

impl ToolName {
    /// Every tool, in the order of the reference's table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|properties| properties.tool)
    }

    fn properties(self) -> &'static Properties {
        let found = TABLE.iter().find(|properties| properties.tool == self);
        found.expect("every tool stands in the table")
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.properties().name
    }

    /// Says whether the catalogue is asked for replicas.
    #[must_use]
    pub fn looks_up(self) -> bool {
        self.properties().looks_up
    }

    /// Returns the schemes that it takes, best first; empty for all that it can move.
    #[must_use]
    pub fn schemes(self) -> &'static [&'static str] {
        self.properties().schemes
    }

    /// Returns the tool that moves a file with this scheme for this one; none if it cannot.
    #[must_use]
    pub fn mover(self, scheme: &str) -> Option<Self> {
        match self {
            Self::Rucio => mover_of(scheme),
            Self::Mv | Self::Local => (scheme == "file").then_some(Self::Local),
            Self::Xrdcp
            | Self::Gfal
            | Self::Http
            | Self::ObjectStore
            | Self::S3
            | Self::Gs
            | Self::Lsm => self.schemes().contains(&scheme).then_some(self),
        }
    }
}

/// Our own tool for a scheme.
fn mover_of(scheme: &str) -> Option<ToolName> {
    match scheme {
        "file" => Some(ToolName::Local),
        "davs" | "https" | "dav" | "http" => Some(ToolName::Http),
        "gs" => Some(ToolName::Gs),
        "srm" | "gsiftp" => Some(ToolName::Gfal),
        scheme if XROOTD.contains(&scheme) => Some(ToolName::Xrdcp),
        scheme if AMAZON.contains(&scheme) => Some(ToolName::S3),
        _ => None,
    }
}

/// Returns a URL's scheme, empty if it has none.
#[must_use]
pub fn scheme_of(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text was not the name of a copy tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no copy tool: there are {known}")]
pub struct UnknownTool {
    /// The text as it was given.
    pub name: String,
    /// The names that there are, joined by commas.
    pub known: String,
}

impl FromStr for ToolName {
    type Err = UnknownTool;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text == GFAL_COPY {
            return Ok(Self::Gfal);
        }
        let found = TABLE.iter().find(|properties| properties.name == text);
        found.map(|it| it.tool).ok_or_else(|| UnknownTool {
            name: text.to_owned(),
            known: TABLE.map(|it| format!("`{}`", it.name)).join(", "),
        })
    }
}

impl Serialize for ToolName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ToolName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// What files are moved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Inputs.
    StageIn,
    /// Outputs.
    StageOut,
    /// The log archive.
    Log,
}

impl Purpose {
    /// Returns the activities whose copy tools serve this, first the one that counts first.
    ///
    /// Pilot 3 looks at `pr` and `pw` only where transfers run in a container; queues name them for
    /// all transfers.
    #[must_use]
    pub const fn activities(self) -> &'static [&'static str] {
        match self {
            Self::StageIn => &["read_lan", "pr", "default"],
            Self::StageOut => &["write_lan", "w", "pw", "default"],
            Self::Log => &["pl", "write_lan", "w", "pw", "default"],
        }
    }
}

/// The copy tools for one purpose, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// The tools, at least one, each once.
    pub tools: Vec<ToolName>,
    /// Names in the queue's data that are no tools.
    pub unknown: Vec<String>,
    /// Who named them.
    pub source: ToolSource,
}

impl Tools {
    /// Says what people should know of the choice.
    pub(super) fn note(&self) -> Vec<String> {
        let unknown = self.unknown.iter();
        let note = |name| format!("{} names `{name}`, which is no copy tool", self.source);
        unknown.map(note).collect()
    }
}

/// Who named the copy tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolSource {
    /// The queue, for this activity.
    Queue(&'static str),
    /// The profile, because the queue names none.
    Profile,
}

impl fmt::Display for ToolSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(activity) => write!(f, "the queue, for `{activity}`"),
            Self::Profile => f.write_str("the profile"),
        }
    }
}

/// Chooses the copy tools for a purpose: those of the first activity for which the queue names any,
/// else `defaults`.
///
/// # Errors
///
/// 1323 if none of the names is one of a tool.
pub fn choose_tools(
    queue: &Queue,
    purpose: Purpose,
    defaults: &[String],
) -> Result<Tools, Problem> {
    let activities = purpose.activities();
    let mut named = activities.iter().filter_map(|activity| {
        let tools = queue.copy_tools.get(*activity)?;
        (!tools.is_empty()).then_some((tools.as_slice(), ToolSource::Queue(activity)))
    });
    let (names, source) = named.next().unwrap_or((defaults, ToolSource::Profile));
    let (mut tools, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        match name.parse::<ToolName>() {
            Ok(tool) if tools.contains(&tool) => {}
            Ok(tool) => tools.push(tool),
            Err(_) => unknown.push(name.clone()),
        }
    }
    if tools.is_empty() {
        let known = ToolName::all().map(|tool| format!("`{tool}`"));
        let known = known.collect::<Vec<_>>().join(", ");
        let detail = format!(
            "{source} names `{}`; there are {known}",
            unknown.join("`, `")
        );
        return Err(Problem::new(ErrorCode::UnknownCopyTool, detail));
    }
    Ok(Tools {
        tools,
        unknown,
        source,
    })
}

/// Returns the schemes that a tool may use here, best first; empty if it takes all that it can.
pub fn schemes_of(queue: &Queue, purpose: Purpose, tool: ToolName) -> Vec<&str> {
    let of_queue = queue
        .options
        .schemes_for(purpose.activities(), tool.as_str());
    if of_queue.is_empty() {
        return tool.schemes().to_vec();
    }
    of_queue.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::control::testing::site;

    fn queue(tools: &[(&str, &[&str])]) -> Queue {
        let mut queue = site().queue;
        let owned = |(activity, names): &(&str, &[&str])| {
            let names = names.iter().map(|it| (*it).to_owned()).collect();
            ((*activity).to_owned(), names)
        };
        queue.copy_tools = tools.iter().map(owned).collect();
        queue
    }

    fn chosen(queue: &Queue, purpose: Purpose) -> Vec<&'static str> {
        let tools = choose_tools(queue, purpose, &["rucio".to_owned()]).expect("tools");
        tools.tools.iter().map(|tool| tool.as_str()).collect()
    }

    #[test]
    fn every_tool_is_read_by_its_name_and_gfalcopy_is_gfal() {
        for tool in ToolName::all() {
            assert_eq!(tool.as_str().parse(), Ok(tool));
        }
        assert_eq!("gfalcopy".parse(), Ok(ToolName::Gfal));
        let error = "cp".parse::<ToolName>().expect_err("no tool").to_string();
        assert!(
            error.contains("`cp`") && error.contains("`rucio`"),
            "{error}"
        );
    }

    #[test]
    fn the_first_activity_that_names_tools_counts_in_their_order() {
        let queue = queue(&[
            ("read_lan", &[]),
            ("pr", &["xrdcp", "gfalcopy", "xrdcp"]),
            ("default", &["rucio"]),
            ("pl", &["s3"]),
        ]);
        assert_eq!(chosen(&queue, Purpose::StageIn), ["xrdcp", "gfal"]);
        assert_eq!(chosen(&queue, Purpose::StageOut), ["rucio"]);
        assert_eq!(chosen(&queue, Purpose::Log), ["s3"]);
    }

    #[test]
    fn a_queue_that_names_none_has_those_of_the_profile() {
        let tools = choose_tools(&queue(&[]), Purpose::StageIn, &["local".to_owned()]);
        let tools = tools.expect("tools");
        assert_eq!(
            (tools.tools[0], tools.source),
            (ToolName::Local, ToolSource::Profile)
        );
    }

    #[test]
    fn unknown_names_are_passed_over_and_none_that_is_known_is_1323() {
        let mixed = queue(&[("pr", &["dccp", "mv"])]);
        let tools = choose_tools(&mixed, Purpose::StageIn, &[]).expect("one is known");
        assert_eq!(
            (tools.tools, tools.unknown),
            (vec![ToolName::Mv], vec!["dccp".to_owned()])
        );
        let problem = choose_tools(&queue(&[("pr", &["dccp"])]), Purpose::StageIn, &[]);
        let problem = problem.expect_err("none is known");
        assert_eq!(problem.code, ErrorCode::UnknownCopyTool);
        assert!(problem.detail.contains("`dccp`"), "{problem}");
        assert!(choose_tools(&queue(&[]), Purpose::StageIn, &[]).is_err());
    }

    #[test]
    fn rucio_means_our_own_tool_of_the_scheme() {
        let mover = |scheme| ToolName::Rucio.mover(scheme).map(ToolName::as_str);
        for (scheme, tool) in [
            ("davs", "http"),
            ("https", "http"),
            ("root", "xrdcp"),
            ("xroot", "xrdcp"),
            ("s3", "s3"),
            ("s3+https", "s3"),
            ("gs", "gs"),
            ("srm", "gfal"),
            ("gsiftp", "gfal"),
            ("file", "local"),
        ] {
            assert_eq!(mover(scheme), Some(tool), "{scheme}");
        }
        assert_eq!(mover("dcap"), None);
        assert_eq!(ToolName::Mv.mover("file"), Some(ToolName::Local));
        assert_eq!(ToolName::Gfal.mover("davs"), Some(ToolName::Gfal));
        assert_eq!(ToolName::Xrdcp.mover("davs"), None);
    }

    #[test]
    fn the_queue_overrules_the_schemes_of_a_tool() {
        let mut queue = queue(&[]);
        assert_eq!(schemes_of(&queue, Purpose::StageIn, ToolName::Gs), ["gs"]);
        let by_tool = BTreeMap::from([("gfal".to_owned(), vec!["davs".to_owned()])]);
        queue.options.schemes.insert("pr".to_owned(), by_tool);
        assert_eq!(
            schemes_of(&queue, Purpose::StageIn, ToolName::Gfal),
            ["davs"]
        );
        assert_eq!(
            schemes_of(&queue, Purpose::StageOut, ToolName::Gfal)[0],
            "srm"
        );
    }
}
