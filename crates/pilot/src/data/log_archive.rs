//! Packs and stores the log archive.

use std::{fs, path::Path};

use ailurus_model::{ByteCount, Lfn};
use ailurus_pilot_core::{
    Problem,
    data::{LogPlan, StoredFile, TransfersSeen},
};
use ailurus_transfer::{
    archive::{PackError, PackLimits, PackRequest, pack},
    checksum::ChecksumKind,
};

use super::{JobPlace, stage_out::LocalFile};
use crate::log::{self, LOG_FILE};

impl JobPlace {
    /// Puts the pilot's log since the job's begin into the job's directory. A pilot may run thousands
    /// of jobs, and each archive has a log of its own.
    fn cut_log(&self) {
        if self.log_begin == 0 {
            return;
        }
        let home_log = self.dir.with_file_name(LOG_FILE);
        if let Err(error) = log::cut(&home_log, self.log_begin, &self.dir.join(LOG_FILE)) {
            tracing::debug!("the archive gets the whole log: {error}");
        }
    }

    /// Packs the log archive beside the job's directory, and stores it.
    pub(crate) fn save_log(&self, plan: &LogPlan) -> (TransfersSeen, Result<StoredFile, Problem>) {
        // Not under the name that the job gives: that could be one of the pilot's own files.
        let archive = self.dir.with_extension("log.tgz");
        let size = match self.pack_log(plan, &archive) {
            Ok(size) => size,
            Err(problem) => return (TransfersSeen::default(), Err(problem)),
        };
        let local = LocalFile {
            file: &plan.file,
            path: archive.clone(),
            size,
        };
        let (seen, mut stored) = self.store(vec![local], ChecksumKind::Adler32);
        let stored = stored.pop().expect("one result for one file");
        if stored.is_ok()
            && let Err(error) = fs::remove_file(&archive)
        {
            tracing::debug!("`{}` cannot be removed: {error}", archive.display());
        }
        (seen, stored)
    }

    /// Packs the log archive, and returns its size.
    fn pack_log(&self, plan: &LogPlan, archive: &Path) -> Result<ByteCount, Problem> {
        self.cut_log();
        let names = plan.left_out_names.iter().map(ToString::to_string);
        let patterns = plan
            .left_out
            .iter()
            .map(|pattern| pattern.as_str().to_owned());
        let request = PackRequest {
            dir: self.dir.clone(),
            archive: archive.to_owned(),
            root_name: plan.top_directory.clone(),
            exclude: names.chain(patterns).collect(),
            linked_files: vec![self.dir.with_file_name(LOG_FILE)],
            limits: PackLimits::default(),
        };
        let packed = pack(&request).or_else(|error| match error {
            PackError::NoSpace { .. } => {
                tracing::warn!("{}: inputs and outputs make room", log::chain(&error));
                self.remove_files(&plan.left_out_names);
                pack(&request)
            }
            PackError::Unwritable { .. }
            | PackError::Unreadable { .. }
            | PackError::TimedOut { .. } => Err(error),
        });
        let packed = packed.map_err(|error| Problem::new(error.code(), log::chain(&error)))?;
        for note in &packed.notes {
            tracing::info!("log archive: {note}");
        }
        Ok(packed.size)
    }

    /// Removes files of the job that nobody needs any more. What is a link, only that is removed.
    fn remove_files(&self, names: &[Lfn]) {
        for name in names {
            // Most of them may never have been there.
            let _ = fs::remove_file(self.dir.join(name.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::Guid;
    use ailurus_pilot_core::data::{StageOutFile, Try};

    use super::*;
    use crate::data::tools::plain_mover;

    #[test]
    fn a_log_named_like_the_pilots_own_takes_nothing_away_and_leaves_no_archive() {
        let home = tempfile::tempdir().expect("space");
        let storage = tempfile::tempdir().expect("space");
        let place = JobPlace::new(home.path().join("PanDA_Pilot-1"), plain_mover(), 0);
        fs::create_dir(&place.dir).expect("space");
        fs::write(home.path().join(LOG_FILE), "the pilot's").expect("space");
        let target = storage.path().join("log");
        let plan = LogPlan {
            file: StageOutFile::by(
                Lfn::new(LOG_FILE),
                Guid::new("G"),
                Try::in_directory(target.display().to_string()),
            ),
            top_directory: "tarball".into(),
            left_out_names: Vec::new(),
            left_out: Vec::new(),
        };
        place.save_log(&plan).1.expect("saved");
        let own = fs::read_to_string(home.path().join(LOG_FILE)).expect("there");
        assert_eq!(own, "the pilot's");
        assert!(target.is_file());
        assert_eq!(fs::read_dir(home.path()).expect("there").count(), 2);
    }
}
