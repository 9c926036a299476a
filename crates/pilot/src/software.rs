//! Looks whether the experiment's software is on the node. A dead network file system hangs, so
//! each look has a limit.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc::sync_channel,
    time::Duration,
};

use ailurus_process::spawn_named;

/// Longest time for a look at one place. A file system that mounts on demand needs some seconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// Stack of the thread that looks, in bytes.
const STACK_BYTES: usize = 256 << 10;

/// Returns the position of the first place that is not there, empty, or does not answer.
pub(crate) fn first_missing(places: &[PathBuf]) -> Option<u32> {
    let missing = places.iter().position(|place| !is_there(place))?;
    u32::try_from(missing).ok()
}

fn is_there(place: &Path) -> bool {
    let (sender, receiver) = sync_channel(1);
    let own = place.to_owned();
    let look = move || {
        let there = fs::read_dir(&own).map(|mut entries| entries.next().is_some());
        // Nobody waits any more if it took too long.
        let _ = sender.send(there.is_ok_and(|there| there));
    };
    spawn_named("software", STACK_BYTES, look).is_ok()
        && receiver.recv_timeout(LOOK_TIMEOUT).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_is_absent_or_empty_is_found() {
        let node = tempfile::tempdir().expect("space");
        let (full, empty) = (node.path().join("full"), node.path().join("empty"));
        fs::create_dir_all(full.join("release")).expect("space");
        fs::create_dir(&empty).expect("space");
        let absent = node.path().join("absent");
        assert_eq!(first_missing(&[]), None);
        assert_eq!(first_missing(std::slice::from_ref(&full)), None);
        assert_eq!(
            first_missing(&[full.clone(), empty, absent.clone()]),
            Some(1)
        );
        assert_eq!(first_missing(&[full, absent]), Some(1));
    }
}
