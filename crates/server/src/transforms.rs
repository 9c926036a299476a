//! Payload scripts that come with the server: what tasks of `prun` run when the site's own folder
//! has nothing of that name.

/// One script for all names; it does what the name says under which it is started.
const PRUN: &[u8] = include_bytes!("../../../transforms/prun.py");

/// The names under which PanDA's servers offer the scripts that `prun` relies on.
const NAMES: [&str; 3] = ["runGen-00-00-02", "buildGen-00-00-01", "runMerge-00-00-02"];

/// Finds a script by its name.
pub(crate) fn find(name: &str) -> Option<&'static [u8]> {
    NAMES.contains(&name).then_some(PRUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_of_prun_are_there_and_start_by_themselves() {
        for name in NAMES {
            assert!(find(name).is_some_and(|script| script.starts_with(b"#!/usr/bin/env python3")));
        }
        assert_eq!(find("runAthena-00-00-12"), None);
    }
}
