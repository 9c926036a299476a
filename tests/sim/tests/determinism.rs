//! The same seed does the same, byte for byte: without that no violation could be replayed.

use ailurus_sim::{Keep, run_seed};

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [0, 1, 17, 100] {
        let (one, two) = (run_seed(seed, Keep::All), run_seed(seed, Keep::All));
        assert!(one.trace.len() > 100, "seed {seed} does hardly anything");
        assert_eq!(one.trace, two.trace, "seed {seed}");
    }
}

#[test]
fn a_run_is_the_same_whether_its_trace_is_kept_or_not() {
    for seed in [2, 3] {
        let (all, recent) = (run_seed(seed, Keep::All), run_seed(seed, Keep::Recent));
        assert_eq!(all.fingerprint, recent.fingerprint, "seed {seed}");
    }
}

#[test]
fn different_seeds_do_different_things() {
    assert_ne!(
        run_seed(4, Keep::Recent).fingerprint,
        run_seed(5, Keep::Recent).fingerprint
    );
}
