//! Names of files in storage, and new globally unique ids.

use std::{fs::File, io, io::Read};

use ailurus_model::{Guid, Lfn, Scope, job::guid_from_random, storage};

use crate::checksum::md5_hex;

/// Returns the path of a file on a deterministic endpoint, relative to the endpoint's own.
#[must_use]
pub fn deterministic_path(scope: &Scope, lfn: &Lfn) -> String {
    storage::deterministic_path(scope, lfn, &md5_hex(&format!("{scope}:{lfn}")))
}

/// Makes a new globally unique id from the kernel's random bytes.
///
/// # Errors
///
/// The operating system's, if `/dev/urandom` cannot be read.
pub fn new_guid() -> io::Result<Guid> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(guid_from_random(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_rucio() {
        // `printf user.alice:f | md5sum`
        assert_eq!(
            deterministic_path(&Scope::new("user.alice"), &Lfn::new("f")),
            "user/alice/fc/14/f"
        );
    }

    #[test]
    fn ids_differ() {
        let first = new_guid().expect("random bytes");
        assert_eq!(first.as_str().len(), 36);
        assert_ne!(first, new_guid().expect("random bytes"));
    }
}
