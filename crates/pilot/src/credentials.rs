//! How long the grid proxy lives by which the pilot proves itself.

use std::{path::Path, time::Duration};

use ailurus_http::certificates_end;

use crate::settings::wall_now;

/// Returns how long the first certificate of a proxy's chain to end lives still; zero if it has
/// ended, none if the file cannot be read. A file that is just being replaced is no reason to end
/// anything: the one that was read last is still in use.
pub(crate) fn proxy_left(file: &Path) -> Option<Duration> {
    let now = Duration::from_secs(u64::try_from(wall_now().as_secs()).ok()?);
    match certificates_end(file) {
        Ok(end) => Some(end.saturating_sub(now)),
        Err(error) => {
            tracing::warn!("`{}` is no readable proxy: {error}", file.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_nothing() {
        let place = tempfile::tempdir().expect("space");
        assert_eq!(proxy_left(&place.path().join("missing")), None);
    }
}
