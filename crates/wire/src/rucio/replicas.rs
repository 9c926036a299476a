//! Where files are: the request for replicas and its answer, one JSON object a line.
//!
//! Source: Rucio, `lib/rucio/web/rest/flaskapi/v1/replicas.py`, `ListReplicas`; which values
//! Pilot 3 sends: `pilot/api/data.py`, `resolve_replicas`.

use std::time::Duration;

use ailurus_model::{ByteCount, Checksum, EndpointName, Lfn, Scope};
use serde_json::{Map, Value, json};

use super::{Did, RucioAnswerError, refusal::Refusal};
use crate::fields::{FieldError, Fields, flag_of, is_missing, text_of, whole_of};

/// The place of the call below the server's address.
pub const PATH: &str = "/replicas/list";

/// What is asked about all files of one request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReplicaQuery {
    /// URL schemes that can be used here; none for the server's choice, one a replica.
    pub schemes: Vec<String>,
    /// How replicas elsewhere are ordered: `geoip`, `random`; none for the server's choice.
    pub sort: Option<String>,
    /// Where the node is.
    pub location: ClientLocation,
    /// How long signed URLs are to live, with object stores.
    pub signature_lifetime: Option<Duration>,
    /// Which endpoints are looked at, for example `istape=False`; none for all.
    pub rse_expression: Option<String>,
    /// Which doors of the endpoints are told.
    pub doors: Doors,
    /// Whether endpoints that are switched off for reading count.
    pub switched_off: SwitchedOff,
}

/// Where the node is. The server takes the address from the connection, whatever is said here.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClientLocation {
    /// The node's address.
    pub ip: Option<String>,
    /// The node's full name.
    pub fqdn: Option<String>,
    /// Rucio's name of the site (`PILOT_RUCIO_SITENAME`): its endpoints are local.
    pub site: Option<String>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
}

/// Which doors of an endpoint are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Doors {
    /// Those for local use where the endpoint is at the node's site, else those for all.
    #[default]
    BySite,
    /// Those for local use.
    Lan,
    /// Those for all.
    Wan,
    /// Both.
    All,
}

/// What becomes of endpoints that are switched off for reading, in a downtime for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SwitchedOff {
    /// Their replicas are left out.
    #[default]
    LeftOut,
    /// Their replicas are told, as Pilot 3 has it.
    Told,
}

/// One file of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReplicas {
    /// Its scope.
    pub scope: Scope,
    /// Its name.
    pub name: Lfn,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its Adler-32, if known.
    pub adler32: Option<Checksum>,
    /// Its MD5, if known.
    pub md5: Option<Checksum>,
    /// Its replicas by rising priority; none where the catalogue knows the file only.
    pub replicas: Vec<Replica>,
}

impl FileReplicas {
    /// Returns the file's identifier.
    #[must_use]
    pub fn did(&self) -> Did {
        Did::new(self.scope.clone(), self.name.as_str())
    }
}

/// One way to one copy of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The endpoint.
    pub rse: EndpointName,
    /// The URL, as the server has it: names in it are not encoded.
    pub pfn: String,
    /// Whether this is a door for local use.
    pub domain: Domain,
    /// The server's order, 1 is best.
    pub priority: u32,
    /// What it lies on.
    pub medium: Medium,
    /// Whether the file must be taken out of an archive that lies there.
    pub is_in_archive: bool,
}

impl Replica {
    /// Returns the URL's scheme, for example `davs`; empty if it has none.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.pfn.split_once("://").map_or("", |(scheme, _)| scheme)
    }
}

/// Who is to use a door of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain {
    /// Nodes of the same site.
    Lan,
    /// Everybody.
    Wan,
}

/// What an endpoint keeps its files on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Medium {
    /// Files can be read at once.
    Disk,
    /// Files first have to be recalled.
    Tape,
}

impl Medium {
    /// Reads Rucio's type of an endpoint; what is no tape is read as disk.
    pub(super) fn of(value: Option<&Value>) -> Self {
        match value.map(text_of).as_deref() {
            Some("TAPE") => Self::Tape,
            Some(_) | None => Self::Disk,
        }
    }
}

/// Writes the request for at most [`super::DIDS_MAX`] files.
#[must_use]
pub fn encode_query(files: &[Did], query: &ReplicaQuery) -> Value {
    let dids: Vec<Value> = files.iter().map(Did::encode).collect();
    let mut body = Map::new();
    body.insert("dids".into(), dids.into());
    let domain = match query.doors {
        Doors::BySite => Value::Null,
        Doors::Lan => "lan".into(),
        Doors::Wan => "wan".into(),
        Doors::All => "all".into(),
    };
    body.insert("domain".into(), domain);
    body.insert(
        "ignore_availability".into(),
        (query.switched_off == SwitchedOff::Told).into(),
    );
    if !query.schemes.is_empty() {
        body.insert("schemes".into(), query.schemes.clone().into());
    }
    if let Some(lifetime) = query.signature_lifetime {
        body.insert("signature_lifetime".into(), lifetime.as_secs().into());
    }
    for (name, value) in [
        ("sort", &query.sort),
        ("rse_expression", &query.rse_expression),
    ] {
        if let Some(value) = value {
            body.insert(name.into(), value.as_str().into());
        }
    }
    let location = &query.location;
    let mut place = Map::new();
    for (name, value) in [
        ("ip", location.ip.clone().map(Value::from)),
        ("fqdn", location.fqdn.clone().map(Value::from)),
        ("site", location.site.clone().map(Value::from)),
        ("latitude", location.latitude.map(Value::from)),
        ("longitude", location.longitude.map(Value::from)),
    ] {
        if let Some(value) = value {
            place.insert(name.into(), value);
        }
    }
    body.insert("client_location".into(), place.into());
    Value::Object(body)
}

/// Writes an answer of these files, for stand-ins and tests.
#[must_use]
pub fn encode_answer(files: &[FileReplicas]) -> String {
    let line = |file: &FileReplicas| {
        let ways = file.replicas.iter().map(|replica| {
            let way = json!({
                "rse": replica.rse,
                "type": match replica.medium { Medium::Disk => "DISK", Medium::Tape => "TAPE" },
                "domain": match replica.domain { Domain::Lan => "lan", Domain::Wan => "wan" },
                "priority": replica.priority,
                "client_extract": replica.is_in_archive,
            });
            (replica.pfn.clone(), way)
        });
        json!({
            "scope": file.scope,
            "name": file.name,
            "bytes": file.size.map(ByteCount::as_bytes),
            "adler32": digits(file.adler32.as_ref()),
            "md5": digits(file.md5.as_ref()),
            "pfns": ways.collect::<Map<String, Value>>(),
        })
        .to_string()
    };
    files.iter().map(|file| line(file) + "\n").collect()
}

/// A checksum as Rucio writes it: without its kind.
pub(super) fn digits(checksum: Option<&Checksum>) -> Option<String> {
    checksum.map(|checksum| match checksum {
        Checksum::Adler32(value) => format!("{value:08x}"),
        Checksum::Md5(digits) | Checksum::Sha256(digits) => digits.clone(),
    })
}

/// Reads an answer and gives each file to `each`, in the server's order.
///
/// # Errors
///
/// [`RucioAnswerError`] at the first line that is no file, with the files before it given.
pub fn decode_answer(
    bytes: &[u8],
    mut each: impl FnMut(FileReplicas),
) -> Result<(), RucioAnswerError> {
    for line in bytes.split(|byte| *byte == b'\n') {
        if !line.trim_ascii().is_empty() {
            each(decode_line(line)?);
        }
    }
    Ok(())
}

fn decode_line(line: &[u8]) -> Result<FileReplicas, RucioAnswerError> {
    let not_json = |_| RucioAnswerError::not_json(line);
    let value: Value = serde_json::from_slice(line).map_err(not_json)?;
    if let Some(refusal) = Refusal::of_object(&value) {
        return Err(refusal.into());
    }
    let fields = Fields::from_value(value).map_err(|_| RucioAnswerError::not_json(line))?;
    let must = |name: &str| match fields.text(name) {
        text if text.is_empty() => Err(FieldError::new(name, None, "a name")),
        text => Ok(text),
    };
    let mut replicas = match fields.get("pfns") {
        None => Vec::new(),
        Some(Value::Object(ways)) => ways.iter().filter_map(replica_of).collect(),
        Some(other) => {
            return Err(FieldError::new("pfns", Some(other), "an object keyed by URLs").into());
        }
    };
    // Servers write them in this order, but readers of JSON need not keep it.
    replicas.sort_by(|one, other| (one.priority, &one.pfn).cmp(&(other.priority, &other.pfn)));
    Ok(FileReplicas {
        scope: Scope::new(must("scope")?),
        name: Lfn::new(must("name")?),
        size: fields.whole_if_any("bytes").map(ByteCount::from_bytes),
        adler32: checksum_of(fields.get("adler32"), "ad:"),
        md5: checksum_of(fields.get("md5"), "md:"),
        replicas,
    })
}

/// A way that does not say where it leads is of no use.
fn replica_of((pfn, way): (&String, &Value)) -> Option<Replica> {
    let rse = way.get("rse").filter(|rse| !is_missing(rse))?;
    let priority = way.get("priority").and_then(whole_of).unwrap_or_default();
    let is_lan = way.get("domain").is_some_and(|domain| domain == "lan");
    Some(Replica {
        rse: EndpointName::new(text_of(rse)),
        pfn: pfn.clone(),
        domain: if is_lan { Domain::Lan } else { Domain::Wan },
        // A replica in an archive that its own server can open comes first, as -1.
        priority: u32::try_from(priority.max(0)).unwrap_or(u32::MAX),
        medium: Medium::of(way.get("type")),
        is_in_archive: way.get("client_extract").and_then(flag_of).unwrap_or(false),
    })
}

/// A checksum that is none counts as not known: another one, or the size, still guards the file.
fn checksum_of(value: Option<&Value>, prefix: &str) -> Option<Checksum> {
    let digits = text_of(value?);
    format!("{prefix}{}", digits.trim()).parse().ok()
}
