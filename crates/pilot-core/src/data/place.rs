//! Where a file is in a storage endpoint: protocols and paths.
//!
//! Source: Pilot 3, `pilot/api/data.py`, `resolve_surl`; `pilot/copytool/s3.py`, `gs.py`,
//! `objectstore.py`.

use std::collections::BTreeMap;

use ailurus_model::{
    DatasetName, EndpointName, ErrorCode, Lfn, PandaId, QueueName, Scope, StorageEndpoint,
    StorageProtocol,
    storage::{deterministic_path, rucio_path},
};
use md5::{Digest, Md5};

use super::{Domain, LeftOutReason, ToolName};
use crate::{Problem, config::Catalogue};

/// Storage endpoints by name.
pub type Storages = BTreeMap<EndpointName, StorageEndpoint>;

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Out of the storage.
    Read,
    /// Into the storage.
    Write,
}

impl Direction {
    /// Activities whose protocols serve this direction, best first.
    const fn activities(self, domain: Domain) -> [&'static str; 5] {
        match (self, domain) {
            (Self::Read, Domain::Lan) => ["read_lan", "r", "pr", "read_wan", "default"],
            (Self::Read, Domain::Wan) => ["read_wan", "read_lan", "r", "pr", "default"],
            (Self::Write, Domain::Lan) => ["write_lan", "w", "pw", "write_wan", "default"],
            (Self::Write, Domain::Wan) => ["write_wan", "write_lan", "w", "pw", "default"],
        }
    }
}

/// Returns the protocols of an endpoint, those for this direction and distance first, each once.
pub(super) fn protocols_of(
    storage: &StorageEndpoint,
    direction: Direction,
    domain: Domain,
) -> Vec<&StorageProtocol> {
    let mut protocols: Vec<&StorageProtocol> = Vec::new();
    for activity in direction.activities(domain) {
        for protocol in storage.protocols_for(&[activity]) {
            if !protocols.contains(&protocol) {
                protocols.push(protocol);
            }
        }
    }
    protocols
}

/// What a path is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming<'a> {
    pub(super) scope: &'a Scope,
    pub(super) lfn: &'a Lfn,
    pub(super) dataset: &'a DatasetName,
    pub(super) panda_id: PandaId,
    pub(super) queue: &'a QueueName,
    pub(super) path_rule: PathRule,
}

/// How the copy tool `rucio` names files on storages whose paths follow from names. The other tools
/// have Pilot 3's rule always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathRule {
    /// As Pilot 3: the parts of every scope are directories.
    Pilot,
    /// As Rucio, which refuses to register a file that lies elsewhere.
    Rucio,
}

impl PathRule {
    /// The rule where that catalogue is asked.
    pub(super) const fn of(catalogue: Catalogue) -> Self {
        match catalogue {
            Catalogue::None => Self::Pilot,
            Catalogue::Rucio => Self::Rucio,
        }
    }
}

/// Stands for the job's number in names of datasets.
const PANDA_ID_IN_DATASET: &str = "#{pandaid}";

impl Naming<'_> {
    /// Returns a file's paths below the prefix of a protocol, each with the tools that want it.
    pub(super) fn paths(
        self,
        storage: &StorageEndpoint,
        tools: impl Iterator<Item = ToolName>,
    ) -> Result<Vec<(String, Vec<ToolName>)>, LeftOutReason> {
        let mut paths: Vec<(String, Vec<ToolName>)> = Vec::new();
        let mut problem = None;
        for tool in tools {
            match self.path(storage, tool) {
                Ok(path) => match paths.iter_mut().find(|(other, _)| *other == path) {
                    Some((_, tools)) => tools.push(tool),
                    None => paths.push((path, vec![tool])),
                },
                Err(reason) => problem = problem.or(Some(reason)),
            }
        }
        match problem {
            Some(reason) if paths.is_empty() => Err(reason),
            Some(_) | None => Ok(paths),
        }
    }

    /// Returns a file's path below the prefix of the protocol, as the copy tool wants it.
    pub(super) fn path(
        self,
        storage: &StorageEndpoint,
        tool: ToolName,
    ) -> Result<String, LeftOutReason> {
        let by_dataset = || {
            let number = self.panda_id.to_string();
            let dataset = self.dataset.as_str().replace(PANDA_ID_IN_DATASET, &number);
            let parts = [self.queue.as_str(), dataset.as_str(), self.lfn.as_str()];
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join("/")
        };
        match tool {
            ToolName::Gs => Ok(by_dataset()),
            _ if storage.is_deterministic => {
                let hex = md5_hex(&format!("{}:{}", self.scope, self.lfn));
                let is_rucios = tool == ToolName::Rucio && self.path_rule == PathRule::Rucio;
                let path = if is_rucios {
                    rucio_path
                } else {
                    deterministic_path
                };
                Ok(path(self.scope, self.lfn, &hex))
            }
            ToolName::S3 if storage.is_object_store() => Ok(by_dataset()),
            ToolName::ObjectStore if storage.is_object_store() => Ok(self.lfn.to_string()),
            ToolName::S3
            | ToolName::ObjectStore
            | ToolName::Rucio
            | ToolName::Xrdcp
            | ToolName::Gfal
            | ToolName::Mv
            | ToolName::Local
            | ToolName::Http
            | ToolName::Lsm => Err(LeftOutReason::NotDeterministic),
        }
    }
}

/// Returns the MD5 of a text in hexadecimal digits.
pub(super) fn md5_hex(text: &str) -> String {
    let digest = Md5::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the code of a file that has no place for this reason.
///
/// Source: Pilot 3, `pilot/api/data.py`, `resolve_protocols`, `require_protocols`.
pub(super) const fn code_of(reason: &LeftOutReason) -> ErrorCode {
    match reason {
        LeftOutReason::Unknown => ErrorCode::NoStorage,
        LeftOutReason::NotDeterministic => ErrorCode::NonDeterministicDdm,
        LeftOutReason::NoProtocol => ErrorCode::NoStorageProtocol,
        LeftOutReason::Tape
        | LeftOutReason::NoLan
        | LeftOutReason::NoWan
        | LeftOutReason::NoTool { .. }
        | LeftOutReason::Enough => ErrorCode::NoReplicas,
    }
}

/// Returns the URL of a file on an endpoint whose paths follow from names, by its first protocol.
///
/// # Errors
///
/// 1133 for an endpoint that is not described, 1329 for one whose paths do not follow from names,
/// 1313 for one without a protocol in this direction.
pub fn place_file(
    storages: &Storages,
    endpoint: &EndpointName,
    scope: &Scope,
    lfn: &Lfn,
    direction: Direction,
) -> Result<String, Problem> {
    let naming = Naming {
        scope,
        lfn,
        dataset: &DatasetName::default(),
        panda_id: PandaId::default(),
        queue: &QueueName::default(),
        path_rule: PathRule::Pilot,
    };
    let url = storages
        .get(endpoint)
        .ok_or(LeftOutReason::Unknown)
        .and_then(|storage| {
            let path = naming.path(storage, ToolName::Rucio)?;
            let protocols = protocols_of(storage, direction, Domain::Lan);
            let first = protocols.first().ok_or(LeftOutReason::NoProtocol)?;
            Ok(first.url(&path))
        });
    url.map_err(|reason| Problem::new(code_of(&reason), format!("storage `{endpoint}`: {reason}")))
}

/// Stands for the job's number in directories that the pilot was given.
const PANDA_ID_MARK: &str = "{panda_id}";

/// Returns the URL of a name in a directory that the pilot was given.
#[must_use]
pub fn place_in_directory(directory: &str, panda_id: PandaId, lfn: &Lfn) -> String {
    let directory = directory.replace(PANDA_ID_MARK, &panda_id.to_string());
    format!("file://{}/{lfn}", directory.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::site;

    fn endpoint() -> StorageEndpoint {
        site().storages[&EndpointName::new("EP")].clone()
    }

    fn path(storage: &StorageEndpoint, tool: ToolName) -> Result<String, LeftOutReason> {
        let naming = Naming {
            scope: &Scope::new("user.alice"),
            lfn: &Lfn::new("f"),
            dataset: &DatasetName::new("ds_#{pandaid}"),
            panda_id: PandaId::new(7),
            queue: &QueueName::new("Q"),
            path_rule: PathRule::Pilot,
        };
        naming.path(storage, tool)
    }

    #[test]
    fn rucio_has_a_rule_of_its_own_where_it_is_asked() {
        let path = |tool, path_rule| {
            let naming = Naming {
                scope: &Scope::new("mc.2026"),
                lfn: &Lfn::new("f"),
                dataset: &DatasetName::default(),
                panda_id: PandaId::new(7),
                queue: &QueueName::new("Q"),
                path_rule,
            };
            naming.path(&endpoint(), tool).expect("deterministic")
        };
        assert!(path(ToolName::Rucio, PathRule::Rucio).starts_with("mc.2026/"));
        assert!(path(ToolName::Rucio, PathRule::Pilot).starts_with("mc/2026/"));
        assert!(path(ToolName::Xrdcp, PathRule::Rucio).starts_with("mc/2026/"));
    }

    #[test]
    fn the_path_follows_from_scope_and_name() {
        // The digest is that of `user.alice:f`.
        let path = path(&endpoint(), ToolName::Rucio);
        assert_eq!(path, Ok("user/alice/fc/14/f".to_owned()));
    }

    #[test]
    fn what_an_endpoint_lacks_is_told_apart_by_code() {
        let place = |change: fn(&mut StorageEndpoint)| {
            let mut storages = site().storages;
            storages.values_mut().for_each(change);
            let (endpoint, scope) = (EndpointName::new("EP"), Scope::new("user.alice"));
            place_file(
                &storages,
                &endpoint,
                &scope,
                &Lfn::new("f"),
                Direction::Read,
            )
            .map_err(|problem| problem.code)
        };
        let url = "file:///store/user/alice/fc/14/f".to_owned();
        assert_eq!(place(|_| {}), Ok(url));
        let of_names = place(|it| it.is_deterministic = false);
        assert_eq!(of_names, Err(ErrorCode::NonDeterministicDdm));
        let without = place(|it| it.protocols.clear());
        assert_eq!(without, Err(ErrorCode::NoStorageProtocol));
    }

    #[test]
    fn object_stores_have_paths_of_their_own() {
        let mut storage = endpoint();
        storage.is_deterministic = false;
        let none = Err(LeftOutReason::NotDeterministic);
        for tool in ToolName::all().filter(|tool| *tool != ToolName::Gs) {
            assert_eq!(path(&storage, tool), none, "{tool}");
        }
        storage.kind = "OS_ES".into();
        assert_eq!(path(&storage, ToolName::S3), Ok("Q/ds_7/f".into()));
        assert_eq!(path(&storage, ToolName::ObjectStore), Ok("f".into()));
        assert_eq!(path(&storage, ToolName::Gs), Ok("Q/ds_7/f".into()));
        assert_eq!(path(&storage, ToolName::Xrdcp), none);
        storage.is_deterministic = true;
        assert_eq!(
            path(&storage, ToolName::S3),
            Ok("user/alice/fc/14/f".into())
        );
        assert_eq!(path(&storage, ToolName::Gs), Ok("Q/ds_7/f".into()));
    }

    #[test]
    fn protocols_for_the_distance_come_first_and_each_counts_once() {
        let protocol = |endpoint: &str| StorageProtocol {
            endpoint: endpoint.into(),
            path: "/p".into(),
            id: None,
        };
        let mut storage = endpoint();
        let (near, far) = (protocol("root://near/"), protocol("davs://far/"));
        storage.protocols = BTreeMap::from([
            ("read_lan".into(), vec![near.clone(), far.clone()]),
            ("read_wan".into(), vec![far.clone()]),
        ]);
        let lan = protocols_of(&storage, Direction::Read, Domain::Lan);
        assert_eq!(lan, [&near, &far]);
        let wan = protocols_of(&storage, Direction::Read, Domain::Wan);
        assert_eq!(wan, [&far, &near]);
        assert!(protocols_of(&storage, Direction::Write, Domain::Lan).is_empty());
    }
}
