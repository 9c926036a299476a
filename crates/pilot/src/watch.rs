//! Looks at a running payload: its processes and its directory.
//!
//! It measures and decides nothing; the core judges each [`Sample`].

use std::path::PathBuf;

use ailurus_experiment::plan::{STDERR_FILE, STDOUT_FILE};
use ailurus_model::ByteCount;
use ailurus_node::{DirBounds, Sampler, free_space, look_at_dir};
use ailurus_pilot_core::monitoring::{FilesSample, Sample, SampleScope};

use crate::settings::wall_now;

/// What is looked at while a payload runs.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) sampler: Sampler,
    pub(crate) dir: PathBuf,
    /// Texts of paths that say nothing about progress.
    pub(crate) ignored: Vec<String>,
}

impl Watch {
    /// Takes a sample.
    pub(crate) fn sample(&mut self, scope: SampleScope) -> Sample {
        Sample {
            usage: self.sampler.sample(),
            files: match scope {
                SampleScope::Usage => None,
                SampleScope::UsageAndFiles => self.look_at_files(),
            },
            ..Sample::default()
        }
    }

    fn look_at_files(&self) -> Option<FilesSample> {
        let look = look_at_dir(&self.dir, &self.ignored, DirBounds::default());
        let space = free_space(&self.dir);
        let (look, space) = match (look, space) {
            (Ok(look), Ok(space)) => (look, space),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!("`{}` cannot be looked at: {error}", self.dir.display());
                return None;
            }
        };
        let size = |name: &str| {
            let meta = std::fs::metadata(self.dir.join(name));
            ByteCount::from_bytes(meta.map_or(0, |meta| meta.len()))
        };
        Some(FilesSample {
            total: look.size,
            free_space: space.available,
            stdout: size(STDOUT_FILE).max(size(STDERR_FILE)),
            idle: look.newest_change.map(|change| wall_now().since(change)),
            ..FilesSample::default()
        })
    }
}
