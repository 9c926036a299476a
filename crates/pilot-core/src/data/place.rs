//! Where a file is in a storage endpoint.

use std::collections::BTreeMap;

use ailurus_model::{
    EndpointName, ErrorCode, Lfn, PandaId, Scope, StorageEndpoint, storage::deterministic_path,
};
use md5::{Digest, Md5};

use crate::Problem;

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
    const fn activities(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["read_lan", "r", "pr", "read_wan", "default"],
            Self::Write => &["write_lan", "w", "pw", "write_wan", "default"],
        }
    }
}

/// The scheme of storage that the node mounts.
const MOUNTED: &str = "file";

/// Returns the URL of a file on an endpoint that the node mounts.
///
/// # Errors
///
/// 1133 for an endpoint that is not described, 1329 for one whose paths do not follow from names,
/// 1313 for one without a `file://` protocol in this direction.
pub fn place_file(
    storages: &Storages,
    endpoint: &EndpointName,
    scope: &Scope,
    lfn: &Lfn,
    direction: Direction,
) -> Result<String, Problem> {
    let Some(storage) = storages.get(endpoint) else {
        let detail = format!("storage `{endpoint}` is not in the storage data");
        return Err(Problem::new(ErrorCode::NoStorage, detail));
    };
    if !storage.is_deterministic {
        let detail = format!("storage `{endpoint}` is not deterministic");
        return Err(Problem::new(ErrorCode::NonDeterministicDdm, detail));
    }
    let protocol = direction
        .activities()
        .iter()
        .flat_map(|activity| storage.protocols_for(&[activity]))
        .find(|protocol| protocol.scheme() == MOUNTED);
    let Some(protocol) = protocol else {
        let detail = format!("storage `{endpoint}` has no `{MOUNTED}://` protocol for this node");
        return Err(Problem::new(ErrorCode::NoStorageProtocol, detail));
    };
    let digest = Md5::digest(format!("{scope}:{lfn}"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(protocol.url(&deterministic_path(scope, lfn, &hex)))
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

    fn place(storages: &Storages) -> Result<String, ErrorCode> {
        let (endpoint, scope) = (EndpointName::new("EP"), Scope::new("user.alice"));
        place_file(storages, &endpoint, &scope, &Lfn::new("f"), Direction::Read)
            .map_err(|problem| problem.code)
    }

    #[test]
    fn the_path_follows_from_scope_and_name() {
        // The digest is that of `user.alice:f`.
        let url = place(&site().storages).expect("mounted");
        assert_eq!(url, "file:///store/user/alice/fc/14/f");
    }

    #[test]
    fn what_an_endpoint_lacks_is_told_apart_by_code() {
        assert_eq!(place(&Storages::new()), Err(ErrorCode::NoStorage));
        let with = |change: fn(&mut StorageEndpoint)| {
            let mut storages = site().storages;
            storages.values_mut().for_each(change);
            place(&storages)
        };
        assert_eq!(
            with(|ep| ep.is_deterministic = false),
            Err(ErrorCode::NonDeterministicDdm)
        );
        assert_eq!(
            with(|ep| ep.protocols.clear()),
            Err(ErrorCode::NoStorageProtocol)
        );
    }
}
