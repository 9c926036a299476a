//! Judges what a file system has left: pure.

use std::{fmt, path::PathBuf, time::Duration};

use ailurus_model::ByteCount;

/// Shortest time between two looks at a file system.
pub(super) const LOOK_MIN: Duration = Duration::from_millis(200);

/// Longest time between two looks at a file system.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(10);

/// What a file system has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Its topmost directory.
    pub mount: PathBuf,
    /// Bytes that this account may still write.
    pub free: ByteCount,
    /// Bytes that it has in all.
    pub total: ByteCount,
    /// Files that may still be made, where the file system has a limit.
    pub inodes_free: Option<u64>,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mount, free, .. } = self;
        let total = self.total;
        write!(
            f,
            "the file system {} ({free} of {total} free",
            mount.display()
        )?;
        match self.inodes_free {
            Some(inodes) => write!(f, ", {inodes} files)"),
            None => write!(f, ")"),
        }
    }
}

/// What has to stay free. The default asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floor {
    /// Bytes.
    pub free_min: ByteCount,
    /// Files.
    pub inodes_min: u64,
}

/// Less is free than has to stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// What is left.
    pub space: Space,
    /// What has to stay.
    pub floor: Floor,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Floor {
            free_min,
            inodes_min,
        } = self.floor;
        let space = &self.space;
        write!(
            f,
            "{space}, where {free_min} and {inodes_min} files have to stay free"
        )
    }
}

/// What a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Enough is left.
    Enough {
        /// Time after which to look again.
        look_after: Duration,
    },
    /// Too little is left.
    Short(Shortage),
}

impl Floor {
    /// Judges what is left at `now`, and when to look again: at half of the time after which the
    /// floor would be reached at the speed since the `last` look.
    #[must_use]
    pub fn judge(&self, now: Duration, space: &Space, last: Option<&(Duration, Space)>) -> Verdict {
        let lacks_inodes = space.inodes_free.is_some_and(|it| it < self.inodes_min);
        if space.free < self.free_min || lacks_inodes {
            return Verdict::Short(Shortage {
                space: space.clone(),
                floor: *self,
            });
        }
        let above = space.free.minus(self.free_min).as_bytes();
        let (time, filled) = last.map_or((Duration::ZERO, 0), |(then, before)| {
            let filled = before.free.minus(space.free).as_bytes();
            (now.saturating_sub(*then), filled)
        });
        let reached_ms = u128::from(above)
            .saturating_mul(time.as_millis())
            .checked_div(u128::from(filled));
        let look_after = match reached_ms {
            // Nothing to judge by, or nothing is written: near the floor still look often.
            None if last.is_none() => LOOK_MIN,
            None => LOOK_MAX,
            Some(ms) => Duration::from_millis(u64::try_from(ms / 2).unwrap_or(u64::MAX)),
        };
        Verdict::Enough {
            look_after: look_after.clamp(LOOK_MIN, LOOK_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn space(free: u64, inodes_free: Option<u64>) -> Space {
        Space {
            mount: "/scratch".into(),
            free: ByteCount::from_bytes(free),
            total: ByteCount::from_gib(1),
            inodes_free,
        }
    }

    const FLOOR: Floor = Floor {
        free_min: ByteCount::from_bytes(1000),
        inodes_min: 10,
    };

    fn look_after(verdict: &Verdict) -> Option<Duration> {
        match verdict {
            Verdict::Enough { look_after } => Some(*look_after),
            Verdict::Short(_) => None,
        }
    }

    #[test]
    fn bytes_and_files_both_have_a_floor() {
        let judge = |free, inodes| FLOOR.judge(Duration::ZERO, &space(free, inodes), None);
        assert!(look_after(&judge(1000, Some(10))).is_some());
        assert!(look_after(&judge(1000, None)).is_some());
        assert!(look_after(&judge(999, None)).is_none());
        assert!(look_after(&judge(5000, Some(9))).is_none());
    }

    #[test]
    fn the_faster_it_fills_the_sooner_is_the_next_look() {
        let after = |filled: u64| {
            let last = (Duration::from_secs(1), space(11_000 + filled, None));
            look_after(&FLOOR.judge(Duration::from_secs(2), &space(11_000, None), Some(&last)))
        };
        // 10,000 bytes above the floor.
        assert_eq!(after(0), Some(LOOK_MAX));
        assert_eq!(after(1000), Some(Duration::from_secs(5)));
        assert_eq!(after(5000), Some(Duration::from_secs(1)));
        assert_eq!(after(1_000_000), Some(LOOK_MIN));
    }

    #[test]
    fn a_shortage_names_the_file_system_and_what_is_left() {
        let Verdict::Short(shortage) = FLOOR.judge(Duration::ZERO, &space(512, Some(7)), None)
        else {
            panic!("it is short");
        };
        let text = shortage.to_string();
        assert!(text.starts_with("the file system /scratch ("), "{text}");
        assert!(text.contains("7 files"), "{text}");
    }

    proptest! {
        #[test]
        fn no_numbers_make_a_judgement_panic(
            free: u64, before: u64, free_min: u64, now_ms: u64, then_ms: u64,
            inodes in any::<Option<u64>>(), inodes_min: u64,
        ) {
            let floor = Floor { free_min: ByteCount::from_bytes(free_min), inodes_min };
            let last = (Duration::from_millis(then_ms), space(before, inodes));
            let now = Duration::from_millis(now_ms);
            let verdict = floor.judge(now, &space(free, inodes), Some(&last));
            if let Some(after) = look_after(&verdict) {
                prop_assert!((LOOK_MIN..=LOOK_MAX).contains(&after));
                prop_assert!(free >= free_min);
            }
        }
    }
}
